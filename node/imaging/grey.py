"""Samples -> grey values: modality LUT, VOI LUT, padding (PS3.3 C.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid

from node.errors import Unreadable
from node.imaging.decoding import SampleLayout
from node.imaging.source import (
    blaming_the_bytes,
    name_of,
    not_understood,
    stated_number,
    stated_term,
    values_of,
)

Float32 = NDArray[np.float32]


def finished(grey: NDArray[np.floating[Any]], is_inverted: bool, padding: slice | None) -> Float32:
    """Make brighter mean denser, padding black, and everything lie in 0..1."""
    shown = np.clip(np.nan_to_num(grey), 0, 1)
    finished = np.asarray(1 - shown if is_inverted else shown, dtype=np.float32).copy()
    if padding is not None:
        finished[padding] = 0
    return finished


_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}


_COLOURS = (
    *("PALETTE_COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422"),
    *("YBR_ICT", "YBR_RCT", "XYB", "ARGB", "CMYK", "HSV"),
)


def is_shown_inverted(dataset: Dataset) -> bool:
    """Whether the lowest value is meant to be white; raise Unreadable of colours.

    Photometric Interpretation says so, and Presentation LUT Shape may say it again (PS3.3
    C.8.11.3.1): where the two disagree viewers do, for some follow the one and some the other.
    """
    photometric = stated_term(dataset, "PhotometricInterpretation", *_SHAPES, *_COLOURS)
    if photometric in _COLOURS:
        raise Unreadable("colour image")
    shape = stated_term(dataset, "PresentationLUTShape", *_SHAPES.values())
    if shape not in ("", _SHAPES[photometric]):
        raise Unreadable(f"Presentation LUT Shape {shape} contradicts {photometric}")
    return photometric == "MONOCHROME1"


def padding_steps(dataset: Dataset, layout: SampleLayout) -> slice | None:
    """Return the steps from Pixel Padding Value to its Range Limit (PS3.3 C.7.5.1.1.2)."""
    value = stated_number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = stated_number(dataset, "PixelPaddingRangeLimit")
    first, last = sorted((int(value), int(value if limit is None else limit)))
    first, last = max(first, layout.lowest), min(last, layout.highest)
    return slice(first - layout.lowest, last - layout.lowest + 1) if first <= last else None


def says_how_to_display(dataset: Dataset) -> bool:
    """Whether an image brings a VOI LUT, a window or a range of padding.

    If it does not, that is left to whoever displays it.
    """
    numbers = ("WindowCenter", "PixelPaddingRangeLimit")
    is_said = any(values_of(dataset, keyword) for keyword in numbers)
    return bool(is_said or dataset.get("VOILUTSequence"))


def displayed(numbers: NDArray[np.int64], dataset: Dataset) -> NDArray[np.float64]:
    """Return the display's grey, 0..1, of each stored number: modality LUT, then VOI LUT.

    Raise Unreadable if the image says how it is displayed, and it cannot be understood.
    """
    real = _rescaled(numbers, dataset)
    table = _lookup_table(dataset, "VOILUTSequence")
    if table is not None:
        table.require_contrast()
        return np.asarray(table.applied_to(real) / table.highest, dtype=np.float64)
    window = _window(dataset)
    if window is None:
        return np.asarray((real - real.min()) / max(float(np.ptp(real)), 1e-9))
    return window.applied_to(real)


def _rescaled(numbers: NDArray[np.int64], dataset: Dataset) -> NDArray[np.float64]:
    """Apply the modality LUT, or Rescale Slope and Intercept (PS3.3 C.11.1).

    One of the two without the other is read where it changes nothing: viewers disagree.
    """
    table = _lookup_table(dataset, "ModalityLUTSequence")
    if table is not None:
        return table.applied_to(numbers.astype(float))
    slope = stated_number(dataset, "RescaleSlope")
    intercept = stated_number(dataset, "RescaleIntercept")
    if slope == 0:
        raise Unreadable("Rescale Slope of 0, which makes all values alike")
    if intercept is None and slope not in (None, 1):
        raise Unreadable("Rescale Slope without Rescale Intercept")
    if slope is None and intercept not in (None, 0):
        raise Unreadable("Rescale Intercept without Rescale Slope")
    if slope is None or intercept is None:
        return numbers.astype(np.float64)
    return np.asarray(numbers * slope + intercept, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class _LookupTable:
    """A modality or VOI LUT (PS3.3 C.11.1.1.1, C.11.2.1.1)."""

    entries: NDArray[np.int64]
    first: int
    """The value that the first entry belongs to, 0..65535 as it was written."""
    bits: int

    @property
    def highest(self) -> int:
        return (1 << self.bits) - 1

    def require_contrast(self) -> None:
        """Refuse what would be shown too dark: the highest bit of its entries is unused."""
        used = int(self.entries.max()).bit_length()
        if used < self.bits:
            raise Unreadable(f"VOI LUT Sequence said to be of {self.bits} bits, but of {used}")

    def applied_to(self, real: NDArray[np.float64]) -> NDArray[np.float64]:
        # Where values can be negative, the first one is signed whatever its VR says.
        is_negative = self.first > 0x7FFF and real.min() < 0
        first = self.first - 0x10000 if is_negative else self.first
        indices = np.clip(np.round(real) - first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[indices].astype(np.float64)


def _lookup_table(dataset: Dataset, keyword: str) -> _LookupTable | None:
    """Read the first table of a sequence, None if there is none.

    Its entries may be words, or bytes two to a word.
    """
    name = name_of(keyword)
    with blaming_the_bytes(f"{name} cannot be understood"):
        if not dataset.get(keyword):
            return None
        item, *others = dataset[keyword].value
        # PS3.3 C.11.1: one item; of VOI LUTs (C.11.2) there may be several to choose from.
        if others and keyword == "ModalityLUTSequence":
            raise not_understood(keyword)
        count, first, bits = (int(number) for number in item.LUTDescriptor)
        count = count % 0x10000 or 0x10000
        content = item.LUTData
        if isinstance(content, bytes):
            is_big_endian = dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
            words = np.frombuffer(content, ">u2" if is_big_endian else "<u2")
        else:
            words = np.atleast_1d(np.asarray(content, dtype=np.int64)).astype("<u2")
        is_in_bytes = bits == 8 and len(words) == (count + 1) // 2
        entries = np.frombuffer(words.astype("<u2").tobytes(), "u1") if is_in_bytes else words
        if not 1 <= count <= len(entries) or not 8 <= bits <= 16:
            raise ValueError("descriptor and table do not agree")
        used = int(entries[:count].max()).bit_length()
        if used > bits:
            raise Unreadable(f"{name} said to be of {bits} bits, but of {used}")
        return _LookupTable(entries[:count].astype(np.int64), first % 0x10000, bits)


@dataclass(frozen=True, slots=True)
class _Window:
    """A window (PS3.3 C.11.2.1.2, C.11.2.1.3)."""

    centre: float
    width: float
    function: str

    def applied_to(self, real: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return grey 0..1 as the standard writes it."""
        if self.function == "SIGMOID":
            exponent = -4 * (real - self.centre) / self.width
            return np.asarray(1 / (1 + np.exp(np.clip(exponent, -700, 700))))
        if self.function == "LINEAR_EXACT":
            return np.clip((real - self.centre) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return np.where(real <= self.centre - 0.5, 0.0, 1.0)
        return np.clip((real - (self.centre - 0.5)) / (self.width - 1) + 0.5, 0, 1)


def _window(dataset: Dataset) -> _Window | None:
    """Return the first window, None if there is none."""
    centre = stated_number(dataset, "WindowCenter")
    width = stated_number(dataset, "WindowWidth")
    if centre is None and width is None:
        return None
    if centre is None:
        raise Unreadable("Window Width without Window Center")
    if width is None:
        raise Unreadable("Window Center without Window Width")
    functions = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    function = stated_term(dataset, "VOILUTFunction", *functions) or "LINEAR"
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise Unreadable(f"Window Width of {width:g}, which nothing can be displayed with")
    return _Window(centre, width, function)
