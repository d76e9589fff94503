"""An object -> one decoded image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from node.dicom import untrusted
from node.errors import ModelError, StudyError, Unreadable
from node.imaging.decoding import (
    SampleLayout,
    require_no_lower_bits,
    require_no_more_bits,
    sample_layout,
    samples_of,
    unreadable_samples,
)
from node.imaging.grey import (
    Float32,
    displayed,
    finished,
    is_shown_inverted,
    padding_steps,
    says_how_to_display,
)
from node.imaging.resampling import looked_up
from node.imaging.source import PixelSource, blaming_the_bytes, opened, words_of
from node.imaging.spacing import spacing_of
from node.imaging.visibility import NOTHING_HIDDEN, Hidden, hidden_by


@dataclass(frozen=True, slots=True)
class Image:
    """One decoded image: stored values, and what each of them looks like."""

    values: NDArray[np.uint16]
    """Shape (rows, columns); steps above the lowest value that can be stored."""
    stored_grey: Float32
    """For each value its grey, 0 (background) to 1 (brightest that can be stored)."""
    voi_grey: Float32
    """For each value its grey on a display, 0 (black) to 1 (white)."""
    patient_orientation: tuple[str, ...]
    """Patient Orientation (0020,0020): where rows and columns run to; may be empty."""
    spacing_mm: tuple[float, float] | None
    """Row and column spacing in the breast, None if the image does not tell."""
    spacing_doubt: str = ""
    """What should be known of it, or why there is none."""
    hidden: Hidden = NOTHING_HIDDEN
    """What the window, VOI LUT or padding that it brings does not show."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.values.shape
        return rows, columns

    def table(self, kind: Literal["voi", "stored"]) -> Float32:
        """Return for each value its grey as `grey` has it."""
        return self.voi_grey if kind == "voi" else self.stored_grey

    def grey(self, kind: Literal["voi", "stored"]) -> Float32:
        """Return grey values 0..1, brighter being denser and padding being 0."""
        return looked_up(self.table(kind), self.values)

    @property
    def highest_step(self) -> int:
        """2^Bits Stored - 1."""
        return len(self.stored_grey) - 1

    @property
    def steps(self) -> Float32:
        """Return stored values as whole numbers, 0 (background) to `highest_step`."""
        table = np.rint(self.stored_grey.astype(np.float64) * self.highest_step)
        return looked_up(np.asarray(table, dtype=np.float32), self.values)

    @property
    def measured_spacing_mm(self) -> tuple[float, float]:
        """Return the spacing, or say that areas cannot be measured."""
        if self.spacing_mm is None:
            reason = self.spacing_doubt or "has no usable detector pixel spacing"
            raise StudyError(f"{reason}, so no area can be measured")
        return self.spacing_mm


def open_image(path: Path) -> Image:
    """Read and decode one file, or raise Unreadable."""
    try:
        with untrusted.quietly(), opened(path) as source:
            return _image(source)
    except OSError as error:
        raise ModelError(f"the image file cannot be read ({error.strerror})") from error


def _image(source: PixelSource) -> Image:
    header = source.header
    with blaming_the_bytes("the header does not say how the pixels are stored"):
        if not source.tag:
            raise Unreadable("no pixel data")
        layout = sample_layout(header)
        is_inverted = is_shown_inverted(header)
        _require_grey_image(layout)
    with blaming_the_bytes("pixel data cannot be decoded"):
        (samples,) = samples_of(source, layout)
        require_no_more_bits(samples, layout, header)
        require_no_lower_bits(source, layout)
    values, padding = layout.steps(samples), padding_steps(header, layout)
    numbers = np.arange(layout.lowest, layout.highest + 1)
    with blaming_the_bytes("window or lookup table that cannot be displayed"):
        voi_grey = finished(displayed(numbers, header), is_inverted, padding)
        stored = (numbers - layout.lowest) / (len(numbers) - 1)
        brightness = 1 - stored if is_inverted else stored
        is_left_to_us = not says_how_to_display(header)
        hidden = (
            NOTHING_HIDDEN if is_left_to_us else hidden_by(voi_grey, brightness, values, padding)
        )
    spacing = spacing_of(header)
    return Image(
        values=values,
        stored_grey=finished(stored, is_inverted, padding),
        voi_grey=voi_grey,
        patient_orientation=words_of(header, "PatientOrientation"),
        spacing_mm=spacing.mm,
        spacing_doubt=spacing.doubt,
        hidden=hidden,
    )


def _require_grey_image(layout: SampleLayout) -> None:
    if layout.samples != 1:
        raise Unreadable("colour image")
    if layout.frames != 1:
        raise Unreadable("several frames in one object")
    if layout.allocated > 16 or layout.stored < 2:
        raise Unreadable(unreadable_samples(layout))
