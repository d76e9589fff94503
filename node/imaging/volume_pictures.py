"""Phases -> pictures: some slices of one, and what it adds to another from head to feet.

One phase or two are there at a time, as volumes of float32 (`volume`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.resampling import resized
from node.imaging.signal_scale import one_scale
from node.imaging.stack import Stack, require_one_grid, stack_of
from node.imaging.standard_view import axial_projection
from node.imaging.volume import Slice, signal_of, volume_of
from node.study import LONGEST_SIDE_PX, Picture, VolumePicture

_DARKEST, _BRIGHTEST = 1.0, 99.7
"""Percentiles of the signal that are black and white."""
_SAMPLED = 4
"""Percentiles are of every so manieth row and column: noise there is enough of."""


def slice_pictures(slices: Sequence[Slice]) -> VolumePicture:
    """Return slices of several phases, by their places here, in one window: they are compared.

    It is that of the one whose signal goes highest; a window of its own would make each phase as
    bright as the others. Raises StudyError where their values cannot be compared.
    """
    one_scale(one.scale for one in slices)
    signals = [signal_of(one) for one in slices]
    window = max(map(_window, signals), key=lambda ends: ends[1])
    pictures = {place: _picture(signal, *window) for place, signal in enumerate(signals)}
    return VolumePicture(pictures, None)


def volume_picture(
    before: Sequence[Slice], after: Sequence[Slice], places: Sequence[int]
) -> VolumePicture:
    """Return slices of a phase by their places in it, and the projection of what it adds.

    Of one phase alone `after` is empty, and there is no projection. Raises StudyError if there is
    no volume, or the two cannot be compared.
    """
    shown = after or before
    if not all(0 <= place < len(shown) for place in places):
        raise StudyError("a slice that is not of the stack")
    first = volume_of(before).array
    last = first
    if after:
        require_one_grid({"one phase": _stack(before), "the other": _stack(after)})
        one_scale(one.scale for one in (*before, *after))
        last = volume_of(after).array
    window = _window(last)
    at = _order(shown)
    slices = {place: _picture(last[at[place]], *window) for place in places}
    return VolumePicture(slices, _projection(first, last, before) if after else None)


def _projection(first: Float32, last: Float32, slices: Sequence[Slice]) -> Picture:
    stack = _stack(slices)
    subtracted = (
        (place, np.maximum(two - one, 0))
        for place, (one, two) in enumerate(zip(first, last, strict=True))
    )
    made = axial_projection(stack.affine).of(subtracted, stack.shape)
    return _picture(made, float(np.percentile(made, 25)), float(np.percentile(made, _BRIGHTEST)))


def _stack(slices: Sequence[Slice]) -> Stack:
    return stack_of([one.plane for one in slices])


def _order(slices: Sequence[Slice]) -> list[int]:
    """Return where in its volume each slice is."""
    places = {(p.sop_uid, p.frame): at for at, p in enumerate(_stack(slices).planes)}
    return [places[one.plane.sop_uid, one.plane.frame] for one in slices]


def _window(signal: NDArray[np.float32]) -> tuple[float, float]:
    """Return what is black and what is white."""
    sampled = signal[..., ::_SAMPLED, ::_SAMPLED]
    low, high = np.percentile(sampled, [_DARKEST, _BRIGHTEST])
    return float(low), float(high)


def _picture(signal: NDArray[np.float32], low: float, high: float) -> Picture:
    grey = np.clip((signal.astype(np.float64) - low) / max(high - low, 1e-6), 0, 1)
    rows, columns = grey.shape
    scale = min(1.0, LONGEST_SIDE_PX / max(rows, columns))
    stored = np.round(grey * 255).astype(np.uint8)
    if scale < 1:
        size = max(1, round(rows * scale)), max(1, round(columns * scale))
        stored = resized(stored, *size, "bilinear", antialias=True)
    return Picture(stored, scale)
