"""Chat templates in the forms of model families, and small tokenizers to try them on. All written for these tests."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

CORPUS = [
    "Is this review positive or negative? Answer with one word. a good film, a bad film",
    "user assistant system model human gpt USER ASSISTANT System User Assistant Human instruction Response",
    "positive negative yes no billing network accounts 0 1 2 10 12 100 the end of the story",
    "You are a helpful assistant. You route tickets. Below is an instruction that describes a task.",
    "What is the capital of the country? Think about it first, then give the answer.",
] * 4


def each(user: str, assistant: str, system: str = "", generation: str = "", begin: str = "") -> str:
    """A template of one text a role, with @ for the content."""
    said = "m['content']|trim" if user.startswith("~") else "m['content']"
    user = user.removeprefix("~")

    def write(text: str) -> str:
        before, found, after = text.partition("@")
        return repr(text) if not found else f"{before!r} + {said} + {after!r}"

    branches = f"{{% if m['role'] == 'user' %}}{{{{ {write(user)} }}}}"
    if system:
        branches += f"{{% elif m['role'] == 'system' %}}{{{{ {write(system)} }}}}"
    branches += f"{{% else %}}{{{{ {write(assistant)} }}}}{{% endif %}}"
    return (
        f"{{{{ {begin!r} }}}}{{% for m in messages %}}{branches}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ {generation!r} }}}}{{% endif %}}"
    )


def chatml(end: str = "<|im_end|>", begin: str = "") -> str:
    """Turns between <|im_start|> and an end."""
    turn = f"<|im_start|>{{}}\n@{end}\n"
    return each(
        turn.format("user"), turn.format("assistant"), turn.format("system"), "<|im_start|>assistant\n", begin
    )


REFUSES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
)
ALTERNATES = (
    "{% for m in messages %}{% if loop.index0 > 0 and m['role'] == messages[loop.index0 - 1]['role'] %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
)
# The last answer has an empty block of thoughts, earlier ones have none, and thoughts given are kept apart.
THINKING = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% set parts = m['content'].split('</think>') %}{% if loop.last %}{{ '<think>\n' + "
    "(parts[0].split('<think>')[-1].strip('\n') if parts|length > 1 else '') + '\n</think>\n\n' }}{% endif %}"
    "{{ parts[-1].lstrip('\n') + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
# The generation prompt opens thoughts, and the answers of a conversation lose theirs.
OPENS_THOUGHTS = (
    "{{ '<s>' }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + '</s>' }}"
    "{% elif m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
CLOSES_THOUGHTS = OPENS_THOUGHTS.replace("'<|Assistant|>' + m", "'<|Assistant|></think>' + m").replace(
    "<|Assistant|><think>\n", "<|Assistant|></think>"
)
NO_THINK_MODE = (
    "{{ '<|im_start|>system\nReasoning: ' + ('on' if enable_thinking is not defined or enable_thinking else 'off') }}"
    "{{ '\n' + (messages[0]['content'] if messages[0]['role'] == 'system' else '') + '<|im_end|>\n' }}"
    "{% for m in messages if m['role'] != 'system' %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n' }}{% endif %}{% endif %}"
)
SYSTEM_IN_FIRST_USER = (
    "{{ '<s>' }}{% for m in messages if m['role'] != 'system' %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
    "{% if loop.first and messages[0]['role'] == 'system' %}"
    "{{ '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' }}{% endif %}{{ m['content']|trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content']|trim + ' </s>' }}{% endif %}{% endfor %}"
)
CHANNELS = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] }}{% if m['role'] == 'assistant' %}"
    "{{ '<|channel|>final<|message|>' + m['content'] + ('<|return|>' if loop.last else '<|end|>') }}"
    "{% else %}{{ '<|message|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A chat template in the form of a family. `opening`: what it writes right before an answer. `end`: its end of a
    turn, `</s>` where it writes none. `folds`: it takes no system turn."""

    name: str
    template: str
    opening: str
    end: str = "<|im_end|>"
    folds: bool = False


HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n@<|eot_id|>"
TURNS = "<|START_OF_TURN_TOKEN|><|{}_TOKEN|>@<|END_OF_TURN_TOKEN|>"
GEMMA = ("<start_of_turn>user\n@<end_of_turn>\n", "<start_of_turn>model\n@<end_of_turn>\n")
ALPACA = "Below is an instruction that describes a task.\n\n### Instruction:\n@\n\n### Response:\n"
FAMILIES = [
    Family("chatml", chatml(), "<|im_start|>assistant\n"),
    Family("qwen2.5", "{% if messages[0]['role'] != 'system' %}"
           "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}" + chatml(),
           "<|im_start|>assistant\n"),
    Family("qwen3", THINKING, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    Family("smollm", chatml(begin="<|endoftext|>"), "<|im_start|>assistant\n"),
    Family("smollm3", NO_THINK_MODE, "<|im_start|>assistant\n<think>\n\n</think>\n"),
    Family("yi", chatml().replace("{{ '' }}", ""), "<|im_start|>assistant\n"),
    Family("internlm2", chatml(begin="<s>"), "<|im_start|>assistant\n"),
    Family("llama2", SYSTEM_IN_FIRST_USER, "[/INST] ", "</s>"),
    Family("llama3", each("~" + HEADER.format("user"), HEADER.format("assistant"), HEADER.format("system"),
           "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|begin_of_text|>"),
           "<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
    Family("mistral-v1", REFUSES + ALTERNATES + each("[INST] @ [/INST]", " @</s>", begin="<s>"), "[/INST] ",
           "</s>", True),
    Family("mistral-v3", REFUSES + each("[INST] @[/INST]", " @</s>", begin="<s>"), "[/INST] ", "</s>", True),
    Family("mistral-v7", each("[INST]@[/INST]", "@</s>", "[SYSTEM_PROMPT]@[/SYSTEM_PROMPT]", begin="<s>"),
           "[/INST]", "</s>"),
    Family("vicuna", each("USER: @ ", "ASSISTANT: @</s>", "@\n\n", "ASSISTANT:"), "ASSISTANT: ", "</s>"),
    Family("alpaca", each(ALPACA, "@</s>\n\n", "@\n\n"), "### Response:\n", "</s>"),
    Family("gemma", REFUSES + each("~" + GEMMA[0], GEMMA[1], "", "<start_of_turn>model\n", "<s>"),
           "<start_of_turn>model\n", "<end_of_turn>", True),
    Family("gemma3-without-system", "{{ '<s>' }}" + each("~" + GEMMA[0], GEMMA[1], " ", "<start_of_turn>model\n"),
           "<start_of_turn>model\n", "<end_of_turn>", True),
    Family("phi3", each("<|user|>\n@<|end|>\n", "<|assistant|>\n@<|end|>\n", "<|system|>\n@<|end|>\n",
           "<|assistant|>\n")
           + "{% if not add_generation_prompt %}{{ '<|endoftext|>' }}{% endif %}", "<|assistant|>\n", "<|end|>"),
    Family("phi4", each(*(f"<|im_start|>{role}<|im_sep|>@<|im_end|>" for role in ("user", "assistant", "system")),
           "<|im_start|>assistant<|im_sep|>"), "<|im_start|>assistant<|im_sep|>"),
    Family("deepseek-v2", each("User: @\n\n", "Assistant: @</s>", "@\n\n", "Assistant:", "<s>"), "Assistant: ",
           "</s>"),
    Family("deepseek-v3", CLOSES_THOUGHTS, "<|Assistant|></think>", "</s>"),
    Family("deepseek-r1", OPENS_THOUGHTS, "<|Assistant|>", "</s>"),
    Family("command-r", each(TURNS.format("USER"), TURNS.format("CHATBOT"), TURNS.format("SYSTEM"),
           "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<s>"), "<|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    Family("zephyr", each("<|user|>\n@</s>\n", "<|assistant|>\n@</s>\n", "<|system|>\n@</s>\n", "<|assistant|>\n"),
           "<|assistant|>\n", "</s>"),
    Family("stablelm", each("<|user|>\n@<|endoftext|>\n", "<|assistant|>\n@<|endoftext|>\n",
           "<|system|>\n@<|endoftext|>\n",
           "<|assistant|>\n"), "<|assistant|>\n", "<|endoftext|>"),
    Family("olmo2", each("<|user|>\n@\n", "<|assistant|>\n@</s>\n", "<|system|>\n@\n", "<|assistant|>\n",
           "<|endoftext|>"),
           "<|assistant|>\n", "</s>"),
    Family("granite", each("<|start_of_role|>user<|end_of_role|>@<|endoftext|>\n",
           "<|start_of_role|>assistant<|end_of_role|>@<|endoftext|>\n",
           "<|start_of_role|>system<|end_of_role|>@<|endoftext|>\n",
           "<|start_of_role|>assistant<|end_of_role|>"), "<|end_of_role|>", "<|endoftext|>"),
    Family("falcon", each("User: @\n\n", "Assistant: @\n\n", "System: @\n\n", "Assistant:"), "Assistant: ", "</s>"),
    Family("solar", each("### User:\n@\n\n", "### Assistant:\n@</s>\n\n", "### System:\n@\n\n", "### Assistant:\n"),
           "### Assistant:\n", "</s>"),
    Family("openchat", each("GPT4 Correct User: @<|end_of_turn|>", "GPT4 Correct Assistant: @<|end_of_turn|>",
           "@<|end_of_turn|>",
           "GPT4 Correct Assistant:", "<s>"), "GPT4 Correct Assistant: ", "<|end_of_turn|>"),
    Family("space-kept", each("Human: @\n", "Bot: @</s>\n", "@\n", "Bot: "), "Bot: ", "</s>"),
    Family("channels", CHANNELS, "<|channel|>final<|message|>", "<|return|>"),
]  # fmt: skip

SPECIAL = [
    "<unk>", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|user|>", "<|assistant|>",
    "<|system|>", "<|end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>",
    "<start_of_turn>", "<end_of_turn>", "<|end_of_turn|>", "<|User|>", "<|Assistant|>", "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<|start_of_role|>",
    "<|end_of_role|>", "<|start|>", "<|channel|>", "<|message|>", "<|return|>",
]  # fmt: skip


@lru_cache
def byte_level() -> Any:
    """A byte-level BPE, as GPT-2, Llama 3 and Qwen have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@lru_cache
def metaspace() -> Any:
    """A BPE in the form of SentencePiece, as Llama 2 and Gemma have: spaces are letters, one is put in front."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    letters = sorted({*string.printable, "▁"})
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


TOKENIZERS = {"byte-level": byte_level, "metaspace": metaspace}


def tokenizer_of(kind: str, template: str | None, **fields: Any) -> Any:
    """A fast tokenizer of that kind with a chat template; <think> and </think> are tokens, but no special ones."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    copy = Tokenizer.from_str(TOKENIZERS[kind]().to_str())
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"} | fields
    fast = PreTrainedTokenizerFast(tokenizer_object=copy, **named)
    fast.add_tokens(["<think>", "</think>"])
    fast.chat_template = template
    return fast
