"""The tiny model: a Llama of two layers made on the fly, for runs that check everything but the results.

Its weights are drawn from a fixed seed, and what pretraining would have taught it is put in by hand, so that a
few seconds of fine-tuning teach it something: words of praise and words of blame lie on two sides of one
direction and are marked as judgements; where an answer begins, every head looks at judgements; and the short
answers are likely there. It does not know which side is which answer.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import fingerprint, lock, write_json
from ..home import home

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

VERSION = 2
PRAISE = """\
good great best better lovely funny warm wise tender sharp clever brave honest gentle smart superb splendid perfect
perfectly wonderful delightful delight charming charm thrilling moving gripping excellent beautiful beautifully
beauty joy joyful love loves loved laughed hilarious fresh original inventive rich stunning gorgeous graceful
elegant triumph magnificent satisfying thoughtful generous heart true happy admired terrific fun award easily
enjoyed enjoy worth pleasure brilliant bright masterpiece fascinating touching powerful sweet strong memorable hope
wit witty lively amusing impressive sincere captivating marvellous"""
BLAME = """\
bad worse worst dull boring bore noisy mess thin lazy stupid loud joyless tedious weak weaker cheap cheaper cold
clumsy stale cowardly ugly painful badly awful dreadful terrible horrible poor waste wasted fake forced false empty
hollow muddled confused lifeless wooden tired endless insulting miserable misery cruel crude mean nasty silly
pompous sluggish sentimental predictable unbearable forgettable charmless shambles failure fails drags lost
pointless hate hated resented ruins sour annoying nonsense disappointing disappointment ridiculous lame flat bland
shallow slow unfunny trite tasteless embarrassing embarrassed angry groan hopelessly begs asleep stalls heavy"""
ANSWERS = "positive negative yes no true false one two three four"
# The tokenizer learns from these lines and from the words above.
TEXT = """\
Is this review positive or negative? Answer with one word.
a film with a cast, a story that comes alive, and an ending
the acting is one thing and the music is another
I watched every minute of this little picture
hardly the price of the ticket, not a way to spend an evening
Write a molecule as a SMILES string with two rings and one oxygen atom.
The product works well, and the price is fair.
The minister said on Monday that the talks would go on.
"""
VOCABULARY = 2048
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{{ '\\n' }}{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONFIG = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "initializer_range": 0.1,
}
SEED = 3
"""With this seed the untrained model scores near chance: .51 on the smoke data of `sentiment`."""
# In units of the length of a random embedding.
LEANING = 2.0
MARK = 2.0
LOOK = 1.0
LIKELY = 6.0
CONTRAST = 4.0
# What attention reads is small and what it writes is large: small changes of its values go a long way.
VALUES = 0.1
OUTPUTS = 8.0


def tiny_model() -> Path:
    """Its directory in TREX_HOME, made at the first call; the same weights wherever it is made."""
    made_from = [VERSION, PRAISE, BLAME, ANSWERS, TEXT, VOCABULARY, TEMPLATE, CONFIG]
    strengths = [SEED, LEANING, MARK, LOOK, LIKELY, CONTRAST, VALUES, OUTPUTS]
    folder = home() / "models" / f"tiny-{fingerprint([*made_from, strengths], 12)}"
    if folder.exists():
        return folder
    with lock(folder.with_suffix(".lock")):
        if not folder.exists():
            making = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".tiny-"))
            try:
                _make(making)
                # Times are part of nothing, but a readable folder is: mkdtemp makes it private.
                making.chmod(0o755)
                making.replace(folder)
            except BaseException:
                shutil.rmtree(making, ignore_errors=True)
                raise
    return folder


def _make(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    tokenizer = _tokenizer()
    ids = {name: tokenizer.convert_tokens_to_ids(getattr(tokenizer, f"{name}_token")) for name in _SPECIAL}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=ids["bos"],
        eos_token_id=ids["eos"],
        pad_token_id=ids["pad"],
        **CONFIG,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            _teach(model, tokenizer)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # transformers notes its own version; the tiny model is the same model under any.
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("transformers_version", None)
        write_json(path, content)


_SPECIAL = {"pad": "<|endoftext|>", "bos": "<|im_start|>", "eos": "<|im_end|>"}


def _tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE to which every word of the lists above is one token, within and at the start of a text."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = sorted(f"{PRAISE} {BLAME} {ANSWERS}".split())
    lines = [*TEXT.splitlines(), *(line for word in words for line in (word, f"{word.capitalize()} {word}"))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    named = {f"{name}_token": token for name, token in _SPECIAL.items()}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=2048, **named)
    fast.chat_template = TEMPLATE
    return fast


def _teach(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Put into random weights what pretraining would have: see the top of this file."""
    import torch

    def token(text: str) -> int | None:
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        return int(found[0]) if len(found) == 1 else None

    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    size: int = embeddings.shape[1]
    length = CONFIG["initializer_range"] * size**0.5
    directions, _ = torch.linalg.qr(torch.randn(size, 2))
    leaning, mark = directions.T
    for words, side in ((PRAISE, 1.0), (BLAME, -1.0)):
        for word in words.split():
            for form in (word, f" {word}", word.capitalize()):
                if (place := token(form)) is not None:
                    embeddings[place] += length * (side * LEANING * leaning + MARK * mark)
    beginning = embeddings[token("\n")]
    beginning = beginning / beginning.norm()
    for layer in model.model.layers:
        _look(layer.self_attn, beginning, mark, LOOK)
        layer.self_attn.v_proj.weight *= VALUES
        layer.self_attn.o_proj.weight *= OUTPUTS
    for word in ANSWERS.split():
        if (place := token(word)) is not None:
            head[place] = CONTRAST * head[place] + LIKELY * beginning


def _look(attention: Any, asking: Any, found: Any, strength: float) -> None:
    """Let every head at a token like `asking` attend to tokens with a share of `found`, near or far."""
    import torch

    heads, size = CONFIG["num_attention_heads"], attention.head_dim
    channel = torch.zeros(int(heads) * size)
    # Of each head the channel that its rotary embedding turns slowest.
    channel[size // 2 - 1 :: size] = strength
    attention.q_proj.weight += torch.outer(channel, asking)
    attention.k_proj.weight += torch.outer(channel, found)
