"""A model for Ollama: merged safetensors and a Modelfile whose TEMPLATE is read off the chat template."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ...errors import InputError, TrexError
from ...evaluation.conversations import Message
from ...evaluation.rendering import Renderer, open_renderer
from .merged import open_tokenizer, write_merged
from .winner_files import WinnerFiles

CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf.py", "convert_hf_to_gguf")
"""llama.cpp's converter, by its names on the PATH."""

_SYSTEM, _USER, _ANSWER, _LAST = "Ssystemtextq", "Uusertextq", "Aanswertextq", "Llasttextq"


def write_ollama(winner: WinnerFiles, out: Path) -> list[str]:
    """The merged model and a Modelfile: `ollama create NAME -f Modelfile`."""
    notes = write_merged(winner, out)
    renderer = open_renderer(winner.base_model, winner.task.rendering)
    try:
        template = f'TEMPLATE """{go_template(renderer, _added_bos(winner))}"""'
    except InputError as error:
        template = f"# no TEMPLATE: {error}"
        notes.append(f"the Modelfile has no TEMPLATE: {error}; write one before `ollama create`")
    stops = sorted(
        {text for end in renderer.ends if '"' not in (text := renderer.text([end])) and text.strip()}
    )
    lines = [
        "FROM .",
        template,
        *(f'PARAMETER stop "{stop}"' for stop in stops),
        "PARAMETER temperature 0",
        f"PARAMETER num_predict {winner.task.generation.max_new_tokens}",
    ]
    (out / "Modelfile").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*notes, f"ollama create NAME -f {out / 'Modelfile'}"]


def write_gguf(winner: WinnerFiles, out: Path) -> list[str]:
    """A GGUF file by llama.cpp's converter. Raises InputError if there is none on the PATH."""
    tool = next(filter(None, map(shutil.which, CONVERTERS)), None)
    if tool is None:
        raise InputError(
            f"GGUF needs llama.cpp's {CONVERTERS[0]} on the PATH: install it, or export --to ollama"
        )
    merged = out / "merged"
    merged.mkdir()
    notes = write_merged(winner, merged)
    command = [tool, str(merged), "--outfile", str(out / "model.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not (out / "model.gguf").exists():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrexError(f"{tool} failed: {last[:300]}")
    shutil.rmtree(merged)
    return notes


def go_template(renderer: Renderer, bos: str = "") -> str:
    """Ollama's TEMPLATE for conversations of an optional system turn, and user and assistant in turns.

    The renderer writes conversations of marked turns; what stands between the marks is the template. `bos` is left out
    at the beginning. Raises InputError for a chat template that is not of this form.
    """
    opening, asked = _parts(renderer, [_user(_USER)], (_USER,), bos)
    again = _parts(
        renderer, [_user(_USER), _turn("assistant", _ANSWER), _user(_LAST)], (_USER, _ANSWER, _LAST), bos
    )
    if (again[0], again[1], again[3]) != (opening, asked, asked):
        raise InputError("the chat template writes earlier turns in another way")
    answered = again[2]
    try:
        system = _parts(renderer, [_turn("system", _SYSTEM), _user(_USER)], (_SYSTEM, _USER), bos)
    except InputError:
        system = []
    if system and system[2] != asked:
        raise InputError("the chat template writes a question after a system turn in another way")
    start = f"{{{{ if .System }}}}{system[0]}{{{{ .System }}}}{system[1]}{{{{ else }}}}{opening}{{{{ end }}}}"
    return (
        (start if system else opening)
        + '{{ range .Messages }}{{ if eq .Role "user" }}{{ .Content }}'
        + asked
        + '{{ else if eq .Role "assistant" }}{{ .Content }}'
        + answered
        + "{{ end }}{{ end }}"
    )


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _user(content: str) -> Message:
    return _turn("user", content)


def _parts(renderer: Renderer, conversation: Sequence[Message], marks: Sequence[str], bos: str) -> list[str]:
    """The text of a prompt without `bos`, cut at the marks."""
    [ids] = renderer.prompts([conversation])
    rest, parts = renderer.text(ids), list[str]()
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found:
            raise InputError("the chat template changes or leaves out a turn")
        parts.append(before)
    parts[0] = parts[0].removeprefix(bos)
    if any("{{" in part or '"""' in part for part in (*parts, rest)):
        raise InputError("the chat template holds characters that Ollama's has a meaning for")
    return [*parts, rest]


def _added_bos(winner: WinnerFiles) -> str:
    """The token that the tokenizer puts before every text, as Ollama then does too."""
    tokenizer = open_tokenizer(winner)
    return str(tokenizer.bos_token) if tokenizer("")["input_ids"] == [tokenizer.bos_token_id] else ""
