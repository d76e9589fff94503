"""Objects of the Deflated transfer syntax (PS3.5 A.5), whose few bytes may inflate to gigabytes.

What such an object inflates to is measured in pieces before anything is read of it, and read in
pieces then: no more than its header is ever in memory at once. To go back in
it, it is put on disk if it is long (`part10`).
"""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from node.errors import Unreadable

LARGEST = 1 << 29
"""Bytes a deflated object may inflate to. A segmentation of ten thousand blank frames comes near,
at 300 times its deflated size: only the size, not the ratio, tells an attack."""
LARGEST_HEADER = 1 << 26
"""Bytes before its pixel data: these pydicom has in memory. Tens of thousands of frames, each with
its own attributes, come near."""
_PIECE = 1 << 20
_COMPRESSED_PIECE = 1 << 16


def inflating(file: BinaryIO, begins_at: int) -> tuple[Inflated, int]:
    """Return what the data set that begins there inflates to, and its size in bytes.

    Raises Unreadable if it inflates to more than it may, as soon as that shows.
    """
    inflated = Inflated(file, begins_at)
    size = inflated.seek(LARGEST + 1)
    if size > LARGEST:
        raise Unreadable(f"the deflated object inflates to more than {LARGEST >> 20} MiB")
    return inflated, size


@contextlib.contextmanager
def limiting_the_header(inflated: Inflated | None) -> Iterator[int | None]:
    """Let no more of a deflated object be read than its header may be, which is yielded."""
    if inflated is None:
        yield None
        return
    inflated.most = LARGEST_HEADER
    try:
        yield LARGEST_HEADER
    finally:
        inflated.most = None
        if inflated.is_cut:  # which pydicom may have put in other words
            raise Unreadable(
                f"the header of the deflated object is larger than {LARGEST_HEADER >> 20} MiB"
            ) from None


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
