"""Part 10 files (PS3.10 7): where their data set begins, and its header as pydicom reads it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom import Dataset, FileDataset
from pydicom.charset import default_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from node.dicom.deflated import Inflated, inflating, limiting_the_header
from node.dicom.plain_elements import Where, read_plain
from node.dicom.structure import (
    ANY_PIXEL_DATA,
    BIG_ENDIAN,
    KNOWN_TAGS,
    LITTLE_ENDIAN,
    MOST_ATTRIBUTES,
    Order,
    Structure,
    is_explicit_vr,
    structure_between,
)
from node.errors import Unreadable

_PREAMBLE, _PREFIX = 128, b"DICM"
_META_AT = _PREAMBLE + len(_PREFIX)
_META_GROUP, _GROUP_LENGTH, _TRANSFER_SYNTAX = 0x0002, 0x00020000, 0x00020010
_LONGEST_HEAD = 12
_WRITTEN_UID = re.compile(rb"[0-9.]+\0?")
_LONGEST_OF_META = 1 << 20
_BUFFER_BYTES = 1 << 20
_LONGEST_SHORT = 128
_SPOOLED_BYTES = 1 << 24
"""Of what a deflated object inflates to; what is longer is on disk while it is looked at."""


class Header(FileDataset):
    """The attributes of an object but its pixel data, and how they lie in its file."""

    structure: Structure = Structure()


def structure_of(header: Dataset) -> Structure:
    """Return how a header lies in its file; as it should, if it was made in memory."""
    return header.structure if isinstance(header, Header) else Structure()


@dataclass(frozen=True, slots=True)
class Part10:
    """A Part 10 file that is open."""

    file: BinaryIO
    preamble: bytes
    meta: FileMetaDataset
    body: BinaryIO
    """Holds the data set: the file itself, or what it inflates to."""
    inflated: Inflated | None
    """What the body reads, if it is not the file."""
    begins_at: int
    """Where in the body the data set begins."""
    size: int
    """Of the body."""
    is_implicit: bool = False
    """Whether the transfer syntax has no VRs."""
    is_little_endian: bool = True
    """Whether the transfer syntax has the low byte first; each but one has."""

    def read_until_pixels(self, defer_bytes: int, tags: Sequence[int] = ()) -> Header:
        """Read up to the pixel data, where the body stays.

        With tags, these alone. Values longer than `defer_bytes` stay on disk; of a deflated
        object they do not. Raises Unreadable for one that inflates too far, else whatever pydicom
        raises.
        """
        self.body.seek(self.begins_at)
        encoding = self.is_implicit, self.is_little_endian
        with limiting_the_header(self.inflated) as most_bytes:
            data_set = read_dataset(
                self.body,
                *encoding,
                stop_when=_Stop(),
                # What claims to be longer than all of it may be is not even asked memory for.
                defer_size=most_bytes or defer_bytes,
                specific_tags=list(tags) or None,
            )
        header = Header(self.file, data_set, self.preamble, self.meta, *encoding)
        header.set_original_encoding(*encoding, data_set.original_character_set)
        return header

    def read_header(self, defer_bytes: int) -> Header:
        """Do so, and look how the elements lie, those behind the pixel data too.

        Of one that is there twice the first counts, as in other software; pydicom takes the last.
        One that is there behind the pixel data alone is read as well. Raises Unreadable as well if
        an element, an item or a sequence ends elsewhere than it says.
        """
        if self.inflated is None and self._is_implicit_in(self.body) == self.is_implicit:
            with contextlib.suppress(Exception):  # it is found again below, in its words
                return self._read_plain(defer_bytes)
        return self.read_any_header(defer_bytes)

    def read_any_header(self, defer_bytes: int) -> Header:
        """Do the same with pydicom's reader and a walk of its own, whatever lies there."""
        header = self.read_until_pixels(defer_bytes)
        with self._to_walk_over() as body:
            is_implicit = self._is_implicit_in(body)
            order = LITTLE_ENDIAN if self.is_little_endian else BIG_ENDIAN
            header.structure = structure_between(
                body, self.begins_at, self.size, order, is_implicit=is_implicit
            )
            for tag, at in header.structure.counts_at.items():
                body.seek(at)
                encoding = is_implicit, self.is_little_endian
                element = next(data_element_generator(body, *encoding, defer_size=defer_bytes))
                if element.value is not None or self.inflated is None:  # else nobody can read it
                    header[BaseTag(tag)] = element
        return header

    def _read_plain(self, defer_bytes: int) -> Header:
        encoding = self.is_implicit, self.is_little_endian
        plain = read_plain(Where(self.body, self.begins_at, self.size, *encoding), defer_bytes)
        header = Header(self.file, plain.elements, self.preamble, self.meta, *encoding)
        header.set_original_encoding(*encoding, plain.characters)
        header.structure = plain.structure
        return header

    def _is_implicit_in(self, body: BinaryIO) -> bool:
        """Return whether the data set has no VRs, whatever the transfer syntax says."""
        body.seek(self.begins_at)
        return not is_explicit_vr(body.read(6)[4:])

    @contextlib.contextmanager
    def _to_walk_over(self) -> Iterator[BinaryIO]:
        """Yield the body, where to go back costs nothing."""
        if self.inflated is None:
            yield self.body
            return
        with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as spooled:
            self.body.seek(0)
            shutil.copyfileobj(self.body, spooled, _BUFFER_BYTES)
            yield cast("BinaryIO", spooled)

    def short_values(self, tags: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yield the values of these attributes until damage is met: then raise whatever comes."""
        self.body.seek(self.begins_at)
        encoding = self.is_implicit, self.is_little_endian
        with limiting_the_header(self.inflated):
            for element in data_element_generator(
                self.body, *encoding, _Stop(), _LONGEST_SHORT, specific_tags=list(tags)
            ):
                if isinstance(element.value, bytes):  # else it is no short value
                    yield element.tag, element.value


def is_part10(path: Path) -> bool:
    """Whether a file begins as one of Part 10 does (PS3.10 7.1). Raises OSError."""
    with path.open("rb") as file:
        return file.read(_META_AT)[_PREAMBLE:] == _PREFIX


def open_part10(file: BinaryIO) -> Part10:
    """Read the file meta information, and find the data set; raise Unreadable if it cannot be."""
    begins_at = data_set_begins_at(file)
    file.seek(0)
    preamble = file.read(_META_AT)[:_PREAMBLE]
    meta = _read_meta(file.read(begins_at - _META_AT))
    syntax = _syntax_in(meta)
    if syntax == DeflatedExplicitVRLittleEndian:
        inflated, size = inflating(file, begins_at)
        beginning = io.BufferedReader(inflated)
        begins_at = _behind_group_2(beginning, 0, LITTLE_ENDIAN)
        beginning.detach()  # or it would close what it reads
        body = io.BufferedReader(inflated, _BUFFER_BYTES)
        return Part10(file, preamble, meta, body, inflated, begins_at, size)
    is_implicit, is_little_endian = _encoding_of(syntax)
    order = LITTLE_ENDIAN if is_little_endian else BIG_ENDIAN
    begins_at = _behind_group_2(file, begins_at, order)
    size = os.fstat(file.fileno()).st_size
    encoding = is_implicit, is_little_endian
    return Part10(file, preamble, meta, file, None, begins_at, size, *encoding)


def _read_meta(encoded: bytes) -> FileMetaDataset:
    """Read the file meta information as pydicom does, which takes some in Implicit VR as well."""
    file = io.BytesIO(encoded)
    elements: Dataset | dict[BaseTag, RawDataElement | DataElement] | None = None
    if is_explicit_vr(encoded[4:6]):
        with contextlib.suppress(Exception):  # it is found again below, in its words
            elements = read_plain(Where(file, 0, len(encoded), False, True), len(encoded)).elements
    if elements is None:
        file.seek(0)
        elements = read_dataset(file, False, True)
    meta = FileMetaDataset(elements)
    meta.set_original_encoding(False, True, default_encoding)
    return meta


def _syntax_in(meta: FileMetaDataset) -> str:
    """Return the Transfer Syntax UID as pydicom reads it, "" if there is none."""
    raw: Any = meta.get_item(KNOWN_TAGS[_TRANSFER_SYNTAX], keep_deferred=True)
    if (
        isinstance(raw, RawDataElement)
        and raw.VR == "UI"
        and _WRITTEN_UID.fullmatch(raw.value or b"")
    ):
        return (raw.value or b"").decode("ascii").rstrip("\0")
    return str(meta.get("TransferSyntaxUID", ""))


@lru_cache(maxsize=64)
def _encoding_of(syntax: str) -> tuple[bool, bool]:
    """Return whether a transfer syntax has no VRs, and whether it has the low byte first."""
    known = UID(syntax)
    if not known.is_transfer_syntax:
        return False, True
    return known.is_implicit_VR, known.is_little_endian


def data_set_begins_at(file: BinaryIO) -> int:
    """Return where the data set of a Part 10 file begins: what came over the network, if it did.

    That is where the group length (0002,0000) says, if an element ends there and the transfer
    syntax has been named by then; else behind what there is of group 0002. The file has just been
    opened.
    """
    if file.read(_META_AT)[_PREAMBLE:] != _PREFIX:
        raise Unreadable("not a DICOM Part 10 file")
    order = LITTLE_ENDIAN
    at, stated_end, is_named = _META_AT, 0, False
    while (head := _head(file, at, order)) is not None:
        tag, value_at, end = head
        if tag == _GROUP_LENGTH:
            file.seek(value_at)
            stated_end = end + int.from_bytes(file.read(4), "little")
        at, is_named = end, is_named or tag == _TRANSFER_SYNTAX
        if is_named and at == stated_end:
            break
    return at


def _behind_group_2(file: BinaryIO, at: int, order: Order) -> int:
    """Return where a data set goes on that begins with what belongs before it."""
    while (head := _head(file, at, order)) is not None:
        at = head[2]
    return at


def _head(file: BinaryIO, at: int, order: Order) -> tuple[int, int, int] | None:
    """Return the tag of an element of group 0002, and where its value begins and ends."""
    file.seek(at)
    content = file.read(_LONGEST_HEAD)
    if len(content) < _LONGEST_HEAD:
        return None
    tag, _, length, size = order.head(content, 0, is_implicit=False)
    if tag >> 16 != _META_GROUP or length > _LONGEST_OF_META:
        return None
    return tag, at + size, at + size + length


class _Stop:
    """Tells pydicom's parser where to stop: at the pixel data."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self._seen += 1
        if self._seen > MOST_ATTRIBUTES:
            raise Unreadable(f"the object has more than {MOST_ATTRIBUTES} attributes")
        return tag in ANY_PIXEL_DATA
