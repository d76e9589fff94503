"""The kinds of result object there are: one line of the table each.

Light to import: who reads a configuration builds nothing. What builds an object of a kind is a
module of `outputs`, which the table names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Needs(Enum):
    """What there must be in a result so that there is an object of a kind."""

    NOTHING = auto()
    """There is one whatever the result is, "not analysed" too."""
    SUBJECT = auto()
    """It was looked for something, whether or not that was found."""
    MARKS = auto()
    """Something has a place on an image."""
    REGIONS = auto()
    """Something was outlined by the model itself."""
    SOLIDS = auto()
    """Something takes up room in a volume."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of result object."""

    sop_class: str
    """SOP Class UID (PS3.4 B.5). Several kinds may have the same: it tells none from another."""
    built_by: tuple[str, ...]
    """"module:function" in `node.outputs`; each function takes a Draft and returns datasets."""
    needs: tuple[Needs, ...] = (Needs.NOTHING,)
    """One of these."""
    substitute: str = ""
    """The kind that a destination gets which does not take this one, if there is such."""

    @property
    def always_answers(self) -> bool:
        """Whether there is an object of this kind whatever the result is, "not analysed" too."""
        return Needs.NOTHING in self.needs


KINDS: Mapping[str, Kind] = {
    "capture": Kind("1.2.840.10008.5.1.4.1.1.7", ("capture:build",)),
    "measurement-report": Kind("1.2.840.10008.5.1.4.1.1.88.33", ("measurement_report:build",)),
    "measurement-report-3d": Kind(
        "1.2.840.10008.5.1.4.1.1.88.34",
        ("measurement_report:build_3d",),
        substitute="measurement-report",
    ),
    "mammography-cad": Kind(
        "1.2.840.10008.5.1.4.1.1.88.50", ("mammography_cad:build",), (Needs.SUBJECT,)
    ),
    "segmentation": Kind(
        "1.2.840.10008.5.1.4.1.1.66.4",
        ("segmentation:build", "solid_segmentation:build"),
        (Needs.REGIONS, Needs.SOLIDS),
    ),
    "presentation-state": Kind(
        "1.2.840.10008.5.1.4.1.1.11.1", ("presentation_state:build",), (Needs.MARKS,)
    ),
    "key-images": Kind("1.2.840.10008.5.1.4.1.1.88.59", ("key_images:build",), (Needs.SUBJECT,)),
    "encapsulated-pdf": Kind("1.2.840.10008.5.1.4.1.1.104.1", ("encapsulated_pdf:build",)),
}
"""By the name that configurations, presets and the ledger's rows call it by."""

SUBSTITUTES: Mapping[str, str] = {
    name: kind.substitute for name, kind in KINDS.items() if kind.substitute
}
"""What goes to a destination that does not take the kind it should get."""


def sop_classes(kinds: Iterable[str]) -> frozenset[str]:
    """Return the SOP classes of the objects of these kinds."""
    return frozenset(KINDS[kind].sop_class for kind in kinds)


def with_substitutes(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds and what may have to stand in for them, each once, in order."""
    wanted = tuple(kinds)
    return tuple(dict.fromkeys([*wanted, *(SUBSTITUTES[k] for k in wanted if k in SUBSTITUTES)]))
