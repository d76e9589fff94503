"""The voxels of a solid as a result keeps them: a bit each, compressed, as text.

Whoever reads them gets one slice at a time: the bits of a stack of 200 slices of 512 x 512 are
6.5 MB, its voxels as bytes 52.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.imaging.components import Bools
from node.result import SliceStack, Solid


def packed(mask: Bools) -> str:
    """Return the bits of a mask (slices, rows, columns) as `Solid.bits` has them."""
    bits = np.packbits(np.ascontiguousarray(mask, np.bool_).ravel(), bitorder="little")
    return base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode("ascii")


@dataclass(frozen=True)
class Voxels:
    """The voxels of a solid, slice by slice."""

    bits: NDArray[np.uint8]
    """Eight voxels a byte, the first in the lowest bit."""
    slices: int
    rows: int
    columns: int

    def on(self, place: int) -> Bools:
        """Return the voxels of a slice of the stack, counted from 0: (rows, columns)."""
        first, count = place * self.rows * self.columns, self.rows * self.columns
        begin, skipped = divmod(first, 8)
        of_slice = self.bits[begin : (first + count + 7) // 8]
        found = np.unpackbits(of_slice, bitorder="little")[skipped : skipped + count]
        return found.reshape(self.rows, self.columns).astype(np.bool_)

    def places(self) -> Iterator[int]:
        """Yield the slices that have voxels."""
        (set_bytes,) = np.nonzero(self.bits)
        # A byte may end one slice and begin the next, and span several that are small.
        found = [np.unique((set_bytes * 8 + bit) // (self.rows * self.columns)) for bit in range(8)]
        for place in np.unique(np.concatenate(found)):
            if place < self.slices and self.on(int(place)).any():
                yield int(place)


def voxels_of(solid: Solid, stack: SliceStack) -> Voxels:
    """Return the voxels of a solid; raise ValueError if they are not those of its stack."""
    return voxels_of_bits(solid.bits, len(stack.slices), stack.rows, stack.columns)


def voxels_of_bits(text: str, slices: int, rows: int, columns: int) -> Voxels:
    """Return the voxels of a stack of so many slices; raise ValueError if they are not its."""
    count = slices * rows * columns
    length = (count + 7) // 8
    try:
        expanding = zlib.decompressobj()
        content = expanding.decompress(base64.b64decode(text, validate=True), length + 1)
    except (zlib.error, binascii.Error) as error:
        raise ValueError("voxels that cannot be read") from error
    if len(content) != length or not expanding.eof:
        raise ValueError("voxels of another stack")
    bits = np.frombuffer(content, np.uint8)
    if count % 8 and bits[-1] >> (count % 8):
        raise ValueError("voxels behind the last slice")
    return Voxels(bits, slices, rows, columns)
