"""Slices of one phase -> a volume of signal (`highdicom.Volume` of float32).

Memory is bounded: of a phase there is the volume, and of its slices one at a time, as it was
decoded; headers are read and closed before. Whoever looks at several phases takes one after the
other: 4,000 slices of 512 x 512 are 4 GiB of float32 at once, and a phase of 200 of them 200 MiB.
Of an object of many frames that is compressed, its compressed bytes come on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray

from node.dicom import untrusted
from node.dicom.header import read_header
from node.errors import ModelError, Unreadable
from node.imaging.decoding import (
    SampleLayout,
    require_no_more_bits,
    sample_layout,
    samples_of,
    unreadable_samples,
)
from node.imaging.grey import Float32, padding_steps
from node.imaging.planes import Plane, planes_of
from node.imaging.signal_scale import SignalScale, one_scale, scales_of
from node.imaging.source import PixelSource, blaming_the_bytes, opened
from node.imaging.stack import stack_of


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame in a file: where it lies, and what its stored values mean."""

    plane: Plane
    scale: SignalScale
    path: Path


def slices_of(path: Path) -> tuple[Slice, ...]:
    """Return the slices of an object in the order of its frames; raise StudyError in words."""
    try:
        header = read_header(path)
    except OSError as error:
        raise _unopened(error) from error
    found = zip(planes_of(header), scales_of(header), strict=True)
    return tuple(Slice(plane, scale, path) for plane, scale in found)


def volume_of(slices: Sequence[Slice]) -> Volume:
    """Return the signal of one phase, axes (slice, row, column), in the patient's coordinates.

    Raises StudyError, in words with numbers, if slices are missing, doubled, unequally far apart or
    of different grids or scales; Unreadable if one cannot be decoded.
    """
    stack = stack_of([one.plane for one in slices])
    stack.require_whole()
    one_scale(one.scale for one in slices)
    index = {(plane.sop_uid, plane.frame): at for at, plane in enumerate(stack.planes)}
    signal = np.empty(stack.shape, np.float32)
    for path, of_file in _by_file(slices).items():
        for one, values in _signals(path, of_file):
            signal[index[one.plane.sop_uid, one.plane.frame]] = values
    return stack.geometry.with_array(signal)


def signal_of(one: Slice) -> Float32:
    """Return the signal of one slice: rows, columns."""
    ((_, signal),) = _signals(one.path, [one])
    return signal


def _by_file(slices: Sequence[Slice]) -> dict[Path, list[Slice]]:
    by_file: dict[Path, list[Slice]] = {}
    for one in slices:
        by_file.setdefault(one.path, []).append(one)
    return by_file


def _signals(path: Path, slices: Sequence[Slice]) -> Iterator[tuple[Slice, Float32]]:
    """Yield the signal of slices of a file, each before the next is decoded."""
    try:
        with untrusted.quietly(), opened(path) as source:
            yield from _decoded(source, slices)
    except OSError as error:
        raise _unopened(error) from error


def _decoded(source: PixelSource, slices: Sequence[Slice]) -> Iterator[tuple[Slice, Float32]]:
    with blaming_the_bytes("the header does not say how the pixels are stored"):
        layout = _layout(source)
        padding = padding_steps(source.header, layout)
    wanted: dict[int, list[Slice]] = {}
    for one in slices:
        if (layout.rows, layout.columns) != (one.plane.rows, one.plane.columns):
            raise Unreadable("rows and columns are others than the header said")
        wanted.setdefault(one.plane.frame or 1, []).append(one)
    frames = samples_of(source, layout, wanted)
    for number in sorted(wanted):
        with blaming_the_bytes("pixel data cannot be decoded"):
            samples = next(frames)
            require_no_more_bits(samples, layout, source.header)
        for one in wanted[number]:
            yield one, _signal(layout.steps(samples), layout, one.scale, padding)


def _layout(source: PixelSource) -> SampleLayout:
    """Return how samples lie, of objects whose samples are one number that means signal."""
    if not source.tag:
        raise Unreadable("no pixel data")
    layout = sample_layout(source.header)
    photometric = untrusted.term(source.header, "PhotometricInterpretation")
    if layout.samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Unreadable("colour image, which shows no signal")
    if layout.allocated > 16 or layout.high_bit + 1 != layout.stored:
        raise Unreadable(unreadable_samples(layout))
    return layout


def _signal(
    steps: NDArray[Any], layout: SampleLayout, scale: SignalScale, padding: slice | None
) -> Float32:
    """Return signal; 0 where there is padding, which is no measurement (PS3.3 C.7.5.1.1.2)."""
    stored = steps.astype(np.float64) + layout.lowest
    signal = (stored * scale.slope + scale.intercept).astype(np.float32)
    if padding is not None:
        signal[(steps >= padding.start) & (steps < padding.stop)] = 0
    return signal


def _unopened(error: OSError) -> ModelError:
    return ModelError(f"the image file cannot be read ({error.strerror})")
