"""Other people's objects, read without trusting them.

Values are taken as the bytes they are, so that a wrong character set, an odd VR or a value out
of range elsewhere in an object decides nothing; a value that cannot be had says nothing.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import Any, cast

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes, default_encoding, python_encoding
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from node.dicom.structure import KNOWN_TAGS, holds_items
from node.errors import Unreadable

log = logging.getLogger(__name__)

_ESCAPE = b"\x1b"
_WITH_ASCII = frozenset({default_encoding, "latin_1", "UTF8"})
"""Python encodings in which ASCII is written as it is."""
_is_quiet = ContextVar("_is_quiet", default=False)


class _WhereItIsQuiet:
    """In a warning's filter, in place of a pattern: matches whatever a quiet thread warns of."""

    def match(self, _: str) -> bool:
        return _is_quiet.get()


_IGNORED = cast("Any", ("ignore", None, Warning, _WhereItIsQuiet(), 0))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep pydicom from warning, with quoted values, of oddities it copes with, in this thread."""
    # catch_warnings (before Python 3.14) exchanges the filters of all threads, so that only one
    # could be here at a time. This filter is for all, stays, and looks whose warning it is. It
    # must come first, and is put there again after somebody has exchanged them.
    if warnings.filters[:1] != [_IGNORED]:
        others = [one for one in warnings.filters if one is not _IGNORED]
        warnings.filters = [_IGNORED, *others]
    was_quiet = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(was_quiet)


@contextlib.contextmanager
def failing_as(
    reason: str, *passing: type[Exception], level: int = logging.DEBUG
) -> Iterator[None]:
    """Turn whatever foreign bytes make a reader raise into Unreadable, in these words.

    pydicom and the codecs raise nearly anything, so everything is caught but what is named as
    passing: MemoryError where memory can be had elsewhere, OSError where a file can be tried
    again (an OSError without a number is pydicom's own, about the bytes).
    """
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        is_pydicoms = isinstance(error, OSError) and error.errno is None
        if isinstance(error, passing) and not is_pydicoms:
            raise
        # The cause's text may quote the file, hence patient data: keep only its kind, in the log.
        log.log(level, "%s: %s", reason, type(error).__name__)
        raise Unreadable(reason) from None


@cache
def known_tag(keyword: str) -> BaseTag:
    """Return a tag as pydicom's data sets have it."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return KNOWN_TAGS[tag]


def value_as_it_came(dataset: Dataset, tag: BaseTag) -> Any:
    """Return a value, as bytes if it has not been decoded; None if it is absent or empty.

    Raises Unreadable if it cannot be had: a long one is on disk. What is asked most often.
    """
    if tag not in dataset.keys():  # noqa: SIM118 - as most are, and without making a tag anew
        return None
    try:
        element: Any = dataset.get_item(tag, keep_deferred=True)
        if (value := element.value) is not None:
            return value
        with quietly():
            return dataset.get_item(tag).value
    except Exception:
        with failing_as(f"{keyword_for_tag(tag)} cannot be read"):
            raise


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of an attribute as ASCII text, () if it is absent, empty or broken."""
    try:
        value = value_as_it_came(dataset, known_tag(keyword))
    except Unreadable:
        return ()
    if value is None:
        return ()
    if isinstance(value, bytes):
        written = value.decode("ascii", "replace")
        if "\\" not in written:
            written = written.strip(" \0")
            return (written,) if written else ()
        value = written.split("\\")
    elif not isinstance(value, MultiValue):
        value = [] if isinstance(value, Sequence) else [value]
    found = tuple(str(part).strip(" \0") for part in value)
    return found if any(found) else ()


def text(dataset: Dataset, keyword: str) -> str:
    """Return the values of an attribute as written, "" if it is absent."""
    return "\\".join(texts(dataset, keyword))


def terms(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a Code String in the capitals that it is made of (PS3.5 6.2).

    What some write in small letters has no other reading.
    """
    return tuple(part.upper() for part in texts(dataset, keyword))


def term(dataset: Dataset, keyword: str) -> str:
    """Return the values of a Code String as one text, in capitals, "" if it is absent."""
    return "\\".join(terms(dataset, keyword))


def decoded_text(dataset: Dataset, keyword: str) -> str:
    """Return an attribute in the data set's character set, "?" for what is not of that.

    "" if it is absent or empty.
    """
    try:
        value = value_as_it_came(dataset, known_tag(keyword))
        if isinstance(value, bytes):
            if value.isascii() and _ESCAPE not in value and _is_ascii_read_as_such(dataset):
                return value.decode("ascii").strip(" \0")
            with quietly(), failing_as(f"{keyword} cannot be read"):
                value = decode_bytes(value, encodings_of(dataset) or [default_encoding], set())
    except Unreadable:
        return "?"
    return str("" if value is None else value).replace("\ufffd", "?").strip(" \0")


def _is_ascii_read_as_such(dataset: Dataset) -> bool:
    """Whether it is in the data set's character set, where nothing switches to another."""
    found = _encodings_by(texts(dataset, "SpecificCharacterSet"))
    return found is None or found[0] in _WITH_ASCII


def encodings_of(dataset: Dataset) -> list[str] | None:
    """Return the Python encodings of Specific Character Set (0008,0005), None if it has unknown."""
    found = _encodings_by(texts(dataset, "SpecificCharacterSet"))
    return None if found is None else list(found)


@lru_cache(maxsize=64)
def _encodings_by(terms: tuple[str, ...]) -> tuple[str, ...] | None:
    if not all(term in python_encoding for term in terms):
        return None
    with quietly():
        return tuple(convert_encodings(list(terms)))


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, none if it is absent, or none is in it."""
    tag = known_tag(keyword)
    if tag not in dataset:
        return []
    try:
        with quietly(), failing_as(f"{keyword} cannot be read"):
            if not holds_items(dataset.get_item(tag)):
                return []
            return [item for item in dataset[tag].value or () if isinstance(item, Dataset)]
    except Unreadable:
        return []


def saying_items(header: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence that say something; anonymisers leave empty ones."""
    return [
        item
        for item in items(header, keyword)
        if any(item.get_item(tag).value for tag in item.keys())  # noqa: SIM118 - undecoded
    ]


def numbers(header: Dataset, keyword: str) -> list[float]:
    """Return those values of an attribute that are numbers."""
    found = []
    for value in texts(header, keyword):
        with contextlib.suppress(ValueError):
            found.append(float(value))
    return [number for number in found if math.isfinite(number)]
