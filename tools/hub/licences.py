"""What a licence allows, by the identifier that metadata declares; never by what a text says of itself.

The identifiers are those of the hub (https://huggingface.co/docs/hub/repositories-licenses), which are SPDX's in
lower case where SPDX has one. The judgements are cautious readings, not advice: what is not listed, and what
forbids adaptations or restricts uses, is left to a person.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

UNKNOWN = "unknown"

# (training, commercial, share alike): the licences so judged.
_JUDGEMENTS = {
    (
        True,
        True,
        False,
    ): "0bsd afl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear "
    "bsl-1.0 c-uda cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cdla-permissive-1.0 cdla-permissive-2.0 ecl-2.0 "
    "etalab-2.0 isc mit mit-0 ms-pl ncsa odc-by odc-by-1.0 pddl pddl-1.0 postgresql unlicense wtfpl zlib",
    (
        True,
        True,
        True,
    ): "agpl-3.0 cc-by-sa-2.0 cc-by-sa-2.5 cc-by-sa-3.0 cc-by-sa-4.0 cdla-sharing-1.0 epl-1.0 "
    "epl-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 lgpl-lr mpl-2.0 odbl odbl-1.0 osl-3.0",
    (True, False, False): "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0",
    (True, False, True): "cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0",
}
_ALLOWED = {name: judgement for judgement, names in _JUDGEMENTS.items() for name in names.split()}


class Verdict(BaseModel):
    """What may be done with data under a licence. `training` False: not without a person's decision."""

    model_config = ConfigDict(frozen=True)

    licence: str
    training: bool
    commercial: bool
    share_alike: bool

    def __str__(self) -> str:
        if not self.training:
            why = "it is not declared" if self.licence == UNKNOWN else "a person has to read its terms"
            return f"{self.licence}: not to be trained on without a person's decision ({why})"
        commercial = "" if self.commercial else ", but not for commercial ends"
        alike = "; what is derived from the data is shared alike" if self.share_alike else ""
        return f"{self.licence}: training allowed{commercial}{alike}"


def judge(declared: Sequence[str]) -> Verdict:
    """The verdict on licences declared together: what all of them allow. None at all is unknown."""
    names = sorted({name for text in declared if (name := _plain(text))})
    verdicts = [_judged(name) for name in names] or [_judged(UNKNOWN)]
    return Verdict(
        licence=" + ".join(verdict.licence for verdict in verdicts[:4]),
        training=len(verdicts) <= 4 and all(verdict.training for verdict in verdicts),
        commercial=all(verdict.commercial for verdict in verdicts),
        share_alike=any(verdict.share_alike for verdict in verdicts),
    )


def _judged(name: str) -> Verdict:
    training, commercial, share_alike = _ALLOWED.get(name, (False, False, False))
    return Verdict(licence=name, training=training, commercial=commercial, share_alike=share_alike)


def _plain(text: str) -> str:
    """An identifier in its one spelling, of harmless characters and bounded length."""
    name = re.sub(r"[\s_]+", "-", str(text).strip().lower()).removeprefix("license:")
    return re.sub(r"[^a-z0-9.+-]", "?", name)[:40]
