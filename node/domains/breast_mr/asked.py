"""What a header says of one image, asked in all places where that may stand, its own first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from node.dicom import untrusted
from node.dicom.untrusted import items, numbers, terms, text
from node.domains.breast_mr.habits import Private
from node.errors import Unreadable

_LONGEST_TEXT = 128


@dataclass(frozen=True, slots=True)
class AskedHeader:
    """Where the statements on one image may stand, its own first."""

    header: Dataset
    places: tuple[Dataset, ...]

    def terms(self, keyword: str) -> tuple[str, ...]:
        """Return the values of a Code String, in capitals."""
        return next((found for one in self.places if (found := terms(one, keyword))), ())

    def term(self, keyword: str) -> str:
        """Return the values of a Code String as one text."""
        return "\\".join(self.terms(keyword))

    def text(self, keyword: str) -> str:
        """Return an attribute as written, cut where no header is longer."""
        found = next((found for one in self.places if (found := text(one, keyword))), "")
        return found[:_LONGEST_TEXT]

    def number(self, keyword: str) -> float | None:
        """Return the first number of an attribute."""
        for one in self.places:
            if found := numbers(one, keyword):
                return found[0]
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
        return [item for one in self.places for item in items(one, keyword)]

    def private(self, private: Private) -> str:
        """Return a private attribute as text, "" if it is not there."""
        return next((found for one in self.places if (found := _private(one, private))), "")

    def private_number(self, private: Private) -> float | None:
        """Return a private attribute that is a number, not below 0."""
        try:
            number = float(self.private(private).split("\\")[0])
        except ValueError:
            return None
        return number if math.isfinite(number) and number >= 0 else None


def _private(dataset: Dataset, private: Private) -> str:
    """Return a private value as text, "" if its creator has not reserved a block."""
    try:
        with untrusted.failing_as("a private attribute cannot be read"):
            for block in range(0x10, 0x100):
                reserved, tag = Tag(private.group, block), Tag(private.group, block << 8)
                if reserved in dataset and _as_text(dataset[reserved].value) == private.creator:
                    tag = Tag(tag + private.element)
                    return _as_text(dataset[tag].value) if tag in dataset else ""
    except Unreadable:
        pass
    return ""


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    elif isinstance(value, MultiValue):
        value = "\\".join(map(str, value))
    return str("" if value is None else value).strip(" \0")[:_LONGEST_TEXT]
