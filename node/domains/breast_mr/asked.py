"""What a header says of one image, asked in all places where that may stand, its own first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from node.dicom import untrusted
from node.dicom.untrusted import items, numbers, terms, text
from node.domains.breast_mr.habits import Private
from node.errors import Unreadable
from node.imaging.source import as_number, values_of

_LONGEST_TEXT = 128
_FIRST_BLOCK, _LAST_BLOCK = 0x10, 0xFF
"""Elements in which private creators stand (PS3.5 7.8.1)."""

PlacesByTag = Mapping[int, Sequence[Dataset]]
"""By tag, the places that have it."""


def held_by(places: Iterable[Dataset]) -> PlacesByTag:
    """Return what stands where, so that thousands of frames need not be searched for each."""
    held: dict[int, list[Dataset]] = {}
    for one in places:
        for tag in one.keys():  # noqa: SIM118 - a data set, whose values stay undecoded
            held.setdefault(int(tag), []).append(one)
    return held


@dataclass(frozen=True, slots=True)
class AskedHeader:
    """Where the statements on one image may stand, its own first."""

    header: Dataset
    common: PlacesByTag
    """What is said of all images of an object."""
    own: PlacesByTag = field(default_factory=dict)
    """What is said of one frame."""

    def having(self, keyword: str) -> list[Dataset]:
        """Return the places that have an attribute."""
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        return [*self.own.get(tag, ()), *self.common.get(tag, ())]

    def terms(self, keyword: str) -> tuple[str, ...]:
        """Return the values of a Code String, in capitals."""
        return next((said for one in self.having(keyword) if (said := terms(one, keyword))), ())

    def term(self, keyword: str) -> str:
        """Return the values of a Code String as one text."""
        return "\\".join(self.terms(keyword))

    def text(self, keyword: str) -> str:
        """Return an attribute as written, cut where no header is longer."""
        said = next((said for one in self.having(keyword) if (said := text(one, keyword))), "")
        return said[:_LONGEST_TEXT]

    def number(self, keyword: str) -> float | None:
        """Return the first number of an attribute."""
        for one in self.having(keyword):
            if said := _numbers(one, keyword):
                return said[0]
        return None

    def whole(self, keyword: str) -> int | None:
        """Return the first number of an attribute if it is whole."""
        number = self.number(keyword)
        return int(number) if number is not None and number == int(number) else None

    def positive(self, keyword: str) -> float | None:
        """Return the first number of an attribute if it is above 0."""
        number = self.number(keyword)
        return number if number is not None and number > 0 else None

    def items(self, keyword: str) -> list[Dataset]:
        """Return the items of a sequence in all places."""
        return [item for one in self.having(keyword) for item in items(one, keyword)]

    def private(self, private: Private) -> str:
        """Return a private attribute as text, "" if it is not there."""
        for held in (self.own, self.common):
            for block in range(_FIRST_BLOCK, _LAST_BLOCK + 1):
                for one in held.get(private.group << 16 | block, ()):
                    if _private(one, private.group, block) == private.creator:
                        return _private(one, private.group, block << 8 | private.element)
        return ""

    def private_number(self, private: Private) -> float | None:
        """Return a private attribute that is a number, not below 0."""
        try:
            number = float(self.private(private).split("\\")[0])
        except ValueError:
            return None
        return number if math.isfinite(number) and number >= 0 else None


_IN_BINARY = frozenset({"FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
"""Value Representations of numbers that are not written as text (PS3.5 6.2)."""


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    if dictionary_VR(keyword) not in _IN_BINARY:
        return numbers(dataset, keyword)
    return [
        number for value in values_of(dataset, keyword) if (number := as_number(value)) is not None
    ]


def _private(dataset: Dataset, group: int, element: int) -> str:
    try:
        with untrusted.failing_as("a private attribute cannot be read"):
            tag = Tag(group, element)
            value = dataset[tag].value if tag in dataset else None
    except Unreadable:
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    elif isinstance(value, MultiValue):
        value = "\\".join(map(str, value))
    return str("" if value is None else value).strip(" \0")[:_LONGEST_TEXT]
