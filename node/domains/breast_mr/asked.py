"""What a header says of one image, asked in all places where that may stand, its own first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from node.dicom import untrusted
from node.dicom.untrusted import items, numbers, terms, text
from node.domains.breast_mr.habits import Private
from node.errors import Unreadable
from node.imaging.source import as_number, values_of

_LONGEST_TEXT = 128
_FIRST_BLOCK = 0x10
"""The first element in which a private creator stands; the last is FF (PS3.5 7.8.1)."""


@dataclass(frozen=True, slots=True)
class HeldBy:
    """What stands where."""

    by_tag: Mapping[int, Sequence[Dataset]] = field(default_factory=dict)
    """By tag, the places that have it."""
    creators: Sequence[int] = ()
    """The tags that private creators have, in order."""


def held_by(places: Iterable[Dataset]) -> HeldBy:
    """Return what stands where, so that thousands of frames need not be searched for each."""
    held: dict[int, tuple[Dataset, ...]] = {}
    for one in places:
        tags = list(map(int, one.keys()))
        if not held:
            held = dict.fromkeys(tags, (one,))
            continue
        for tag in tags:
            held[tag] = (*held.get(tag, ()), one)
    return HeldBy(held, sorted(tag for tag in held if tag & 0x1FF00 == 0x10000))


_NOTHING = HeldBy()


@dataclass(frozen=True, slots=True)
class AskedHeader:
    """Where the statements on one image may stand, its own first."""

    header: Dataset
    common: HeldBy
    """What is said of all images of an object."""
    own: HeldBy = _NOTHING
    """What is said of one frame."""

    def having(self, keyword: str) -> Sequence[Dataset]:
        """Return the places that have an attribute."""
        tag = untrusted.known_tag(keyword)
        common = self.common.by_tag.get(tag, ())
        if not self.own.by_tag:
            return common
        return [*self.own.by_tag.get(tag, ()), *common]

    def terms(self, keyword: str) -> tuple[str, ...]:
        """Return the values of a Code String, in capitals."""
        for one in self.having(keyword):
            if said := terms(one, keyword):
                return said
        return ()

    def term(self, keyword: str) -> str:
        """Return the values of a Code String as one text."""
        return "\\".join(self.terms(keyword))

    def text(self, keyword: str) -> str:
        """Return an attribute as written, cut where no header is longer."""
        for one in self.having(keyword):
            if said := text(one, keyword):
                return said[:_LONGEST_TEXT]
        return ""

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
            for tag in held.creators:
                group, block = tag >> 16, tag & 0xFFFF
                if group != private.group or block < _FIRST_BLOCK:
                    continue
                for one in held.by_tag[tag]:
                    if _private(one, group, block) == private.creator:
                        return _private(one, group, block << 8 | private.element)
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
    tag = BaseTag(group << 16 | element)
    raw: Any = dataset.get_item(tag, keep_deferred=True)
    if raw is None:
        return ""
    if isinstance(raw, RawDataElement) and _is_plain_text(raw):
        return (raw.value or b"").decode("ascii").strip(" \0")[:_LONGEST_TEXT]
    try:
        with untrusted.failing_as("a private attribute cannot be read"):
            value = dataset[tag].value
    except Unreadable:
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    elif isinstance(value, MultiValue):
        value = "\\".join(map(str, value))
    return str("" if value is None else value).strip(" \0")[:_LONGEST_TEXT]


_TEXTS = frozenset({"AE", "AS", "CS", "DA", "LO", "SH", "TM", "UI"})


def _is_plain_text(element: RawDataElement) -> bool:
    """Whether it is one text of ASCII, which is the same in all character sets."""
    value = element.value
    return (
        element.VR in _TEXTS
        and isinstance(value, bytes)
        and value.isascii()
        and b"\\" not in value
        and b"\x1b" not in value
    )
