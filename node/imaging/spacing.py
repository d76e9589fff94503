"""The size of a pixel at the breast."""

from __future__ import annotations

from pydicom import Dataset

from node.imaging.source import as_number, number_of, values_of, words_of

_FINEST_MM, _LARGEST_MM = 0.001, 1000
"""Of a pixel, and of an image of a breast: beyond these the spacing is an error."""


def spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Return row and column spacing at the breast: the detector's over the magnification.

    None where there is none, or none that can be right.

    Pixel Spacing (0028,0030) counts only where there is no Imager Pixel Spacing (0018,1164);
    it too is the detector's, unless a calibration type (0028,0A02) says it has been corrected.
    """
    at_detector = _pair(dataset, "ImagerPixelSpacing")
    if at_detector is None:
        at_detector = _pair(dataset, "PixelSpacing")
        if at_detector is None or _is_calibrated(dataset):
            return _believed(at_detector, dataset)
    factor = number_of(dataset, "EstimatedRadiographicMagnificationFactor")
    magnification = factor if factor is not None and factor > 0 else 1.0
    return _believed((at_detector[0] / magnification, at_detector[1] / magnification), dataset)


def _believed(spacing: tuple[float, float] | None, dataset: Dataset) -> tuple[float, float] | None:
    """Return the spacing, or None if nothing that is imaged is so small or so large."""
    if spacing is None or min(spacing) < _FINEST_MM:
        return None
    sizes = (number_of(dataset, keyword) or 0 for keyword in ("Rows", "Columns"))
    is_too_large = any(size * mm > _LARGEST_MM for size, mm in zip(sizes, spacing, strict=True))
    return None if is_too_large else spacing


def _is_calibrated(dataset: Dataset) -> bool:
    return words_of(dataset, "PixelSpacingCalibrationType")[:1] in (("GEOMETRY",), ("FIDUCIAL",))


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    """Return two lengths, None unless there are two and both can be."""
    numbers = [as_number(part) for part in values_of(dataset, keyword)]
    if len(numbers) != 2:
        return None
    row, column = (number or 0.0 for number in numbers)
    return (row, column) if row > 0 and column > 0 else None
