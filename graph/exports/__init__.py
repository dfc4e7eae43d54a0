"""Exports: a finished run's winner in the forms of other tools.

To add a form: a function that writes into a new folder and returns notes, and a line in `FORMATS`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ...errors import InputError
from .merged import write_merged, write_peft
from .ollama import write_gguf, write_ollama
from .other_tools import write_axolotl, write_llamafactory
from .trl_script import write_trl_script
from .winner_files import WinnerFiles, open_winner

FORMATS: dict[str, Callable[[WinnerFiles, Path], list[str]]] = {
    "peft": write_peft,
    "merged": write_merged,
    "ollama": write_ollama,
    "gguf": write_gguf,
    "trl-script": write_trl_script,
    "axolotl": write_axolotl,
    "llamafactory": write_llamafactory,
}


def export_winner(directory: Path, form: str, out: Path) -> list[str]:
    """Write the winner of a run into a new folder; returns what there is to say about it, a line each.

    Nothing is left of an export that fails. Raises InputError for an unknown form, a folder that is there already, a
    run without a winner, and a winner that has no such form; IntegrityError for damaged weights.
    """
    if form not in FORMATS:
        raise InputError(f"no export {form!r}: there are {', '.join(FORMATS)}")
    if out.exists():
        raise InputError(f"{out} is there already: give another folder with --out, or remove it")
    winner = open_winner(directory)
    out.mkdir(parents=True)
    try:
        return FORMATS[form](winner, out.absolute())
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
