"""The size of a pixel at the breast."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from node.errors import Unreadable
from node.imaging.source import (
    as_number,
    name_of,
    number_of,
    stated_number,
    tags_of,
    values_of,
    words_of,
)

_FINEST_MM, _LARGEST_MM = 0.001, 1000
"""Of a pixel, and of an image of a breast: beyond these the spacing is an error."""


_FACTOR = "EstimatedRadiographicMagnificationFactor"


_DISTANCES = ("DistanceSourceToDetector", "DistanceSourceToPatient")


_IN_PATIENT = ("ImageOrientationPatient", "ImagePositionPatient")


SPACING_KEYWORDS = (
    *("ImagerPixelSpacing", "PixelSpacing", "PixelSpacingCalibrationType", *_IN_PATIENT),
    *(_FACTOR, *_DISTANCES, "Rows", "Columns"),
)
"""What the spacing follows from."""


_LARGEST_FACTOR = 3
"""No stand magnifies more; beyond it the factor, or a distance, is of something else."""


_ROUNDED = 0.05
"""As far as factor and distances may differ, or the distances be the wrong way round, as written
carelessly: 1.073 stands beside 700 and 657 mm in images of a maker."""


_WITHIN_A_BREAST = 0.2
"""As far as they may differ if one is of the support of a compressed breast and the other of where
the beam enters: 10 cm at 60 cm from the source."""


FROM_DISTANCES = "Magnification taken from the distances of the source"
AT_DETECTOR = "Magnification not given, and the size at the detector taken"
DIFFERING = "Magnification factor differs from that of the distances of the source"


@dataclass(frozen=True, slots=True)
class Spacing:
    """The size of a pixel at the breast, and how it is known."""

    mm: tuple[float, float] | None
    """Between rows and between columns; None if the image does not tell, or contradicts itself."""
    doubt: str = ""
    """What a reader of the size should know, or why there is none."""
    is_at_detector: bool = False
    """Whether nothing is said of a magnification, and the size at the detector taken for it."""


def spacing_mm(dataset: Dataset) -> tuple[float, float] | None:
    """Return row and column spacing at the breast, None if there is none that can be right."""
    return spacing_of(dataset).mm


def spacing_of(dataset: Dataset) -> Spacing:
    """Return the spacing at the breast: the detector's over the magnification.

    Pixel Spacing (0028,0030) counts only where there is no Imager Pixel Spacing (0018,1164). It
    too is the detector's, unless a calibration type (0028,0A02) says it has been corrected, or the
    image is no projection but a plane in the patient, as of CT and MR (PS3.3 C.7.6.2): what these
    say of distances of the source (C.8.2.1) magnifies nothing.
    """
    read = Dataset({tag: dataset.get_item(tag) for tag in _TAGS if tag in dataset})  # undecoded
    at_detector = _pair(read, "ImagerPixelSpacing")
    if at_detector is None:
        at_detector = _pair(read, "PixelSpacing")
        is_plane = any(values_of(read, keyword) for keyword in _IN_PATIENT)
        if at_detector is None or is_plane or _is_calibrated(read):
            return Spacing(_believed(at_detector, read))
    try:
        factor, doubt = _magnification(read)
    except Unreadable as error:
        return Spacing(None, str(error))
    row_mm, column_mm = at_detector
    magnified = _believed((row_mm / (factor or 1), column_mm / (factor or 1)), read)
    return Spacing(magnified, doubt, is_at_detector=factor is None)


_TAGS = tags_of(SPACING_KEYWORDS)


def _magnification(dataset: Dataset) -> tuple[float | None, str]:
    """Return the factor, None if nothing is said of one, and what should be known of it.

    That is Estimated Radiographic Magnification Factor (0018,1114), else what it is defined as: the
    distance of the source to the detector (0018,1110) over that to the patient (0018,1111), which
    of mammograms is to the support of the breast (PS3.3 C.8.11.7). Raise Unreadable if they
    contradict each other, or cannot be.
    """
    stated = stated_number(dataset, _FACTOR) or None  # 0: not filled in
    if stated is not None and not _is_possible(stated):
        raise Unreadable(f"{name_of(_FACTOR)} that cannot be right")
    try:
        by_distances = _factor_of_distances(dataset)
    except Unreadable:
        if stated is None:
            raise
        return stated, ""
    if stated is None:
        return by_distances, "" if by_distances is None else FROM_DISTANCES
    if by_distances is None:
        return stated, ""
    apart = max(stated / by_distances, by_distances / stated) - 1
    if apart > _WITHIN_A_BREAST:
        raise Unreadable("magnification factor and distances of the source contradict each other")
    return stated, DIFFERING if apart > _ROUNDED else ""


def _factor_of_distances(dataset: Dataset) -> float | None:
    """Return what the two distances magnify by, None if one is not given."""
    to_detector, to_patient = (stated_number(dataset, keyword) for keyword in _DISTANCES)
    if not to_detector or not to_patient:
        return None
    factor = to_detector / to_patient
    if to_patient < 0 or not _is_possible(factor):
        raise Unreadable("distances of the source that cannot be right")
    return max(1.0, factor)


def _is_possible(factor: float) -> bool:
    return 1 - _ROUNDED <= factor <= _LARGEST_FACTOR


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
