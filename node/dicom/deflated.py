"""Objects of the Deflated transfer syntax (PS3.5 A.5), whose few bytes may inflate to gigabytes.

What such an object inflates to is measured in pieces before anything is read of it, and read in
pieces then: no more than its header is ever in memory at once.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import BinaryIO

from pydicom import FileDataset
from pydicom.filereader import read_dataset, read_file_meta_info, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from node.errors import Unreadable

LARGEST = 1 << 29
"""Bytes a deflated object may inflate to. A segmentation of ten thousand blank frames comes near,
at 300 times its deflated size: only the size, not the ratio, tells an attack."""
LARGEST_HEADER = 1 << 26
"""Bytes before its pixel data: these pydicom has in memory. Tens of thousands of frames, each with
its own attributes, come near."""
MOST_ATTRIBUTES = 1 << 16
"""Outside of sequences; no object has a tenth of it, and zeros read as attributes without end."""

_PIXEL_DATA = frozenset({0x7FE00010, 0x7FE00009, 0x7FE00008})
_PREAMBLE, _PREFIX, _GROUP_LENGTH = 128, 4, 12
"""Bytes that come before the rest of the file meta information (PS3.10 7.1)."""
_PIECE = 1 << 20
_COMPRESSED_PIECE = 1 << 16


def read_until_pixels(
    file: io.BufferedReader, defer_bytes: int, tags: Sequence[int] = ()
) -> tuple[FileDataset, BinaryIO]:
    """Read a Part 10 file up to its pixel data; return it, and where to read on.

    With tags, these alone. Values longer than `defer_bytes` stay on disk; of a deflated object
    they do not. Raises Unreadable for one that inflates too far, else whatever pydicom raises.
    """
    stop, wanted = _Stop(), list(tags) or None
    meta = read_file_meta_info(file.name)
    # As pydicom asks: it must not be the one who inflates.
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return read_partial(file, stop, defer_bytes, specific_tags=wanted), file
    preamble = file.read(_PREAMBLE)
    begins_at = _PREAMBLE + _PREFIX + _GROUP_LENGTH + int(meta.FileMetaInformationGroupLength)
    _measure(Inflated(file, begins_at))
    inflated = Inflated(file, begins_at, LARGEST_HEADER)
    body = io.BufferedReader(inflated, _PIECE)
    try:
        # What claims to be longer than all of the header may be is not even asked memory for.
        data_set = read_dataset(
            body, False, True, stop_when=stop, defer_size=LARGEST_HEADER, specific_tags=wanted
        )
    finally:
        if inflated.is_cut:  # which pydicom may have put in other words
            raise Unreadable(
                f"the header of the deflated object is larger than {LARGEST_HEADER >> 20} MiB"
            ) from None
    inflated.most = None
    header = FileDataset(file, data_set, preamble, meta, False, True)
    header.set_original_encoding(False, True, data_set.original_character_set)
    return header, body


class Inflated(io.RawIOBase):
    """The data set of a deflated object as if it were not; to go back is to begin again."""

    def __init__(self, file: BinaryIO, begins_at: int, most: int | None = None) -> None:
        self._file = file
        self._begins_at = begins_at
        self.most = most
        """Where it ends at the latest."""
        self.is_cut = False
        """Whether somebody wanted more than that."""
        self._begin()

    def _begin(self) -> None:
        self._file.seek(self._begins_at)
        self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
        self._position = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read some bytes, none at the end."""
        piece = self._next(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, the end if it is behind that; places cannot be told from the end."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("nobody knows yet where it ends")
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target < self._position:
            self._begin()
        while self._position < target and self._next(min(target - self._position, _PIECE)):
            pass
        return self._position

    def _next(self, size: int) -> bytes:
        if self.most is not None:
            size = min(size, max(self.most - self._position, 1))  # one more tells whether it ends
        piece = self._inflate(size)
        if piece and self._position == self.most:
            self.is_cut = True
            raise Unreadable(f"the deflated object goes on behind byte {self.most}")
        self._position += len(piece)
        return piece

    def _inflate(self, size: int) -> bytes:
        while not self._zlib.eof:
            deflated = self._zlib.unconsumed_tail or self._file.read(_COMPRESSED_PIECE)
            if piece := self._zlib.decompress(deflated, size):
                return piece
            if not deflated and not self._zlib.eof:
                raise Unreadable("the deflated object ends early")
        return b""


class _Stop:
    """Tells pydicom's parser where to stop: at the pixel data."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        self._seen += 1
        if self._seen > MOST_ATTRIBUTES:
            raise Unreadable(f"the object has more than {MOST_ATTRIBUTES} attributes")
        return tag in _PIXEL_DATA


def _measure(inflated: Inflated) -> None:
    """Raise Unreadable if the object inflates to more than it may, as soon as that shows."""
    if inflated.seek(LARGEST + 1) > LARGEST:
        raise Unreadable(f"the deflated object inflates to more than {LARGEST >> 20} MiB")
