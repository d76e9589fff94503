"""Samples -> grey values: modality LUT, VOI LUT, padding (PS3.3 C.11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid

from node.errors import Unreadable
from node.imaging.decoding import SampleLayout
from node.imaging.source import number_of, words_of

Float32 = NDArray[np.float32]


def finished(grey: NDArray[np.floating[Any]], is_inverted: bool, padding: slice | None) -> Float32:
    """Make brighter mean denser, padding black, and everything lie in 0..1."""
    shown = np.clip(np.nan_to_num(grey), 0, 1)
    finished = np.asarray(1 - shown if is_inverted else shown, dtype=np.float32).copy()
    if padding is not None:
        finished[padding] = 0
    return finished


def padding_steps(dataset: Dataset, layout: SampleLayout) -> slice | None:
    """Return the steps from Pixel Padding Value to its Range Limit (PS3.3 C.7.5.1.1.2)."""
    value = number_of(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = number_of(dataset, "PixelPaddingRangeLimit")
    first, last = sorted((int(value), int(value if limit is None else limit)))
    first, last = max(first, layout.lowest), min(last, layout.highest)
    return slice(first - layout.lowest, last - layout.lowest + 1) if first <= last else None


def displayed(numbers: NDArray[np.int64], dataset: Dataset) -> NDArray[np.float64]:
    """Return the display's grey, 0..1, of each stored number: modality LUT, then VOI LUT."""
    real = _rescaled(numbers, dataset)
    if dataset.get("VOILUTSequence"):
        table = _lookup_table(dataset, "VOILUTSequence")
        return np.asarray(table.applied_to(real) / table.highest, dtype=np.float64)
    window = _window(dataset)
    if window is None:
        return np.asarray((real - real.min()) / max(float(np.ptp(real)), 1e-9))
    function = "".join(words_of(dataset, "VOILUTFunction")[:1])
    return _windowed(real, *window, function or "LINEAR")


def _rescaled(numbers: NDArray[np.int64], dataset: Dataset) -> NDArray[np.float64]:
    """Apply the modality LUT, or Rescale Slope and Intercept (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _lookup_table(dataset, "ModalityLUTSequence").applied_to(numbers.astype(float))
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept")
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

    def applied_to(self, real: NDArray[np.float64]) -> NDArray[np.float64]:
        # Where values can be negative, the first one is signed whatever its VR says.
        is_negative = self.first > 0x7FFF and real.min() < 0
        first = self.first - 0x10000 if is_negative else self.first
        indices = np.clip(np.round(real) - first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[indices].astype(np.float64)


def _lookup_table(dataset: Dataset, keyword: str) -> _LookupTable:
    """Read the first table of a sequence; its entries may be words, or bytes two to a word."""
    item = dataset[keyword].value[0]
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
    return _LookupTable(entries[:count].astype(np.int64), first % 0x10000, bits)


def _window(dataset: Dataset) -> tuple[float, float] | None:
    """Return the first window's centre and width."""
    centre, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    return None if centre is None or width is None else (centre, width)


def _windowed(
    real: NDArray[np.float64], centre: float, width: float, function: str
) -> NDArray[np.float64]:
    """Apply a window as PS3.3 C.11.2.1.2 and C.11.2.1.3 write it, to 0..1."""
    if width < (function == "LINEAR"):
        raise Unreadable("window that cannot be displayed")
    if function == "SIGMOID":
        exponent = -4 * (real - centre) / max(width, 1e-9)
        return np.asarray(1 / (1 + np.exp(np.clip(exponent, -700, 700))))
    if function == "LINEAR_EXACT":
        return np.clip((real - centre) / max(width, 1e-9) + 0.5, 0, 1)
    if width == 1:
        return np.where(real <= centre - 0.5, 0.0, 1.0)
    return np.clip((real - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
