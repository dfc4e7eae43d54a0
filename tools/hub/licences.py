"""What a licence allows, by the identifier in the metadata; the text of a card is not considered.

The identifiers are those of the hub (https://huggingface.co/docs/hub/repositories-licenses): SPDX's in lower case
where SPDX has one. The table is cautious and is not legal advice: a licence that is not listed, forbids adaptations
or restricts uses needs a person's decision.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel

UNKNOWN = "unknown"

# (training, commercial use, share alike): licence identifiers.
_TABLE = {
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
_ALLOWED = {name: rights for rights, names in _TABLE.items() for name in names.split()}


class LicenceVerdict(BaseModel, frozen=True):
    """What a licence allows. `training` False: a person has to decide."""

    licence: str
    training: bool
    commercial: bool
    share_alike: bool

    def __str__(self) -> str:
        if not self.training:
            why = "it is not declared" if self.licence == UNKNOWN else "a person has to read its terms"
            return f"{self.licence}: no training without a person's decision ({why})"
        commercial = "" if self.commercial else ", non-commercial use only"
        alike = "; derived works need the same licence" if self.share_alike else ""
        return f"{self.licence}: training allowed{commercial}{alike}"


def judge(declared: Sequence[str]) -> LicenceVerdict:
    """What all of the declared licences allow together. No licence counts as 'unknown'."""
    names = sorted({name for text in declared if (name := _plain(text))})
    verdicts = [_verdict(name) for name in names] or [_verdict(UNKNOWN)]
    return LicenceVerdict(
        licence=" + ".join(verdict.licence for verdict in verdicts[:4]),
        training=len(verdicts) <= 4 and all(verdict.training for verdict in verdicts),
        commercial=all(verdict.commercial for verdict in verdicts),
        share_alike=any(verdict.share_alike for verdict in verdicts),
    )


def _verdict(name: str) -> LicenceVerdict:
    training, commercial, share_alike = _ALLOWED.get(name, (False, False, False))
    return LicenceVerdict(licence=name, training=training, commercial=commercial, share_alike=share_alike)


def _plain(text: str) -> str:
    """The identifier in normal form: lower case, safe characters, bounded length."""
    name = re.sub(r"[\s_]+", "-", str(text).strip().lower()).removeprefix("license:")
    return re.sub(r"[^a-z0-9.+-]", "?", name)[:40]
