"""Where the slices of MR images lie in the patient: of each frame its plane.

Read from MR Image (PS3.3 C.7.6.2) and from Enhanced MR and Legacy Converted Enhanced MR (the
functional groups of PS3.3 C.7.6.16.2), and from nothing else: no Slice Location, no number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydicom import Dataset, uid

from node.dicom import untrusted
from node.errors import StudyError
from node.imaging.source import as_number, name_of, plain_numbers, values_of

Vector = tuple[float, float, float]

ENHANCED = (uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage)
"""Objects of many frames, which say in functional groups where each lies."""

SLICED = (uid.MRImageStorage, *ENHANCED)
"""The SOP classes that `planes_of` reads."""

_ROUNDED = 2e-3
"""As far as cosines may be from unit vectors at right angles: three decimals are 3e-4 off."""

_FARTHEST_MM = 10_000.0
"""No magnet is as long; beyond it a position is something else."""

_FINEST_MM, _COARSEST_MM = 0.01, 100.0
"""Between which a pixel of a body must lie."""

_MOST_FRAMES = 100_000
"""Of one object: refused before the items of so many are read."""


@dataclass(frozen=True, slots=True)
class Plane:
    """Where the pixels of one frame lie, in millimetres of the patient's coordinates (LPS)."""

    sop_uid: str
    frame: int | None
    """From 1; None of an object that is one slice."""
    position: Vector
    """The centre of the first pixel."""
    orientation: tuple[float, float, float, float, float, float]
    """Along a row, then along a column: unit vectors at right angles, made so where rounded."""
    spacing: tuple[float, float]
    """Between rows, between columns."""
    rows: int
    columns: int
    thickness: float | None
    """None if not said."""
    frame_of_reference: str = ""
    """Frame of Reference UID (0020,0052), "" if not said."""

    @property
    def right(self) -> Vector:
        """The direction in which columns are counted."""
        return self.orientation[:3]

    @property
    def down(self) -> Vector:
        """The direction in which rows are counted."""
        return self.orientation[3:]

    @property
    def normal(self) -> Vector:
        """`right` x `down`: towards the head of an axial slice as it is usually stored."""
        return _cross(self.right, self.down)


def planes_of(header: Dataset) -> tuple[Plane, ...]:
    """Return the plane of each frame, in the order of frames; raise StudyError in words.

    What is missing is not made up, and two statements that differ are not chosen between.
    """
    sop_class = untrusted.text(header, "SOPClassUID")
    if sop_class not in SLICED:
        raise StudyError("no MR image whose slices can be placed")
    sop_uid = untrusted.text(header, "SOPInstanceUID")
    if not sop_uid:
        raise StudyError("SOP Instance UID missing")
    with untrusted.quietly():
        whole = _Whole(
            sop_uid=sop_uid,
            rows=_count(header, "Rows"),
            columns=_count(header, "Columns"),
            frame_of_reference=untrusted.text(header, "FrameOfReferenceUID"),
        )
        if sop_class in ENHANCED:
            return _planes_of_frames(header, whole)
        if (frames := _frames(header)) not in (None, 1):
            raise StudyError(f"{frames} frames in an MR Image, which is one slice")
        return (_plane(whole, None, _of_one(header)),)


class _Whole(NamedTuple):
    """What is the same of all frames of an object."""

    sop_uid: str
    rows: int
    columns: int
    frame_of_reference: str


class _Placing(NamedTuple):
    """Where the statements on one frame stand."""

    position: Dataset
    orientation: Dataset
    measures: Dataset
    name: str
    """Of the frame in words: "frame 7: ", "" of an object that is one slice."""


def _of_one(header: Dataset) -> _Placing:
    return _Placing(header, header, header, "")


def _planes_of_frames(header: Dataset, whole: _Whole) -> tuple[Plane, ...]:
    frames = _frames(header)
    if frames is None or not 1 <= frames <= _MOST_FRAMES:
        raise StudyError("Number of Frames missing, or it cannot be right")
    per_frame = untrusted.items(header, "PerFrameFunctionalGroupsSequence")
    if len(per_frame) != frames:
        raise StudyError(f"functional groups of {len(per_frame)} frames, but {frames} frames")
    shared = untrusted.items(header, "SharedFunctionalGroupsSequence")
    if len(shared) > 1:
        raise StudyError("more than one item of shared functional groups")
    common = shared[0] if shared else Dataset()
    return tuple(
        _plane(whole, number, _of_frame(common, groups, f"frame {number}: "))
        for number, groups in enumerate(per_frame, 1)
    )


_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
}
"""The functional groups that place a frame, and what is read of each (PS3.3 C.7.6.16.2)."""


def _of_frame(shared: Dataset, own: Dataset, name: str) -> _Placing:
    position, orientation, measures = (_group(shared, own, keyword, name) for keyword in _GROUPS)
    return _Placing(position, orientation, measures, name)


def _group(shared: Dataset, own: Dataset, keyword: str, name: str) -> Dataset:
    """Return the one item of a group, which is of the frame or of all; refuse two that differ."""
    found = [item for groups in (own, shared) for item in untrusted.items(groups, keyword)]
    if not found:
        raise StudyError(f"{name}{name_of(keyword)} missing")
    for value in _GROUPS[keyword]:
        if len({tuple(map(str, values_of(item, value))) for item in found}) > 1:
            raise StudyError(f"{name}{name_of(value)} is said twice, and differently")
    return found[0]


def _plane(whole: _Whole, frame: int | None, placing: _Placing) -> Plane:
    name = placing.name
    x, y, z = _numbers(placing.position, "ImagePositionPatient", 3, name)
    if max(abs(x), abs(y), abs(z)) > _FARTHEST_MM:
        raise StudyError(f"{name}Image Position (Patient) that cannot be right")
    between_rows, between_columns = _numbers(placing.measures, "PixelSpacing", 2, name)
    spacing = (between_rows, between_columns)
    if min(spacing) < _FINEST_MM or max(spacing) > _COARSEST_MM:
        raise StudyError(f"{name}Pixel Spacing that cannot be right")
    return Plane(
        sop_uid=whole.sop_uid,
        frame=frame,
        position=(x, y, z),
        orientation=_orientation(placing.orientation, name),
        spacing=spacing,
        rows=whole.rows,
        columns=whole.columns,
        thickness=_thickness(placing.measures),
        frame_of_reference=whole.frame_of_reference,
    )


def _orientation(dataset: Dataset, name: str) -> tuple[float, float, float, float, float, float]:
    """Return the cosines, with what was rounded made whole; refuse what no rounding explains."""
    cosines = _numbers(dataset, "ImageOrientationPatient", 6, name)
    right, down = cosines[:3], cosines[3:]
    lengths = (math.hypot(*right), math.hypot(*down))
    if max(abs(length - 1) for length in lengths) > _ROUNDED:
        raise StudyError(f"{name}Image Orientation (Patient) not of unit vectors")
    skew = _dot(right, down)
    if abs(skew) > _ROUNDED:
        raise StudyError(f"{name}Image Orientation (Patient) not at right angles")
    a, b, c = (part / lengths[0] for part in right)
    skew = _dot((a, b, c), down)
    rest = [part - skew * along for part, along in zip(down, (a, b, c), strict=True)]
    d, e, f = (part / math.hypot(*rest) for part in rest)
    return (a, b, c, d, e, f)


def _thickness(measures: Dataset) -> float | None:
    keyword = "SliceThickness"
    parts = plain_numbers(measures, keyword) or values_of(measures, keyword)
    thickness = as_number(parts[0]) if len(parts) == 1 else None
    return thickness if thickness is not None and 0 < thickness <= _COARSEST_MM else None


def _frames(header: Dataset) -> int | None:
    """Return how many frames are said to be there, None if that is not said."""
    if not values_of(header, "NumberOfFrames"):
        return None
    (number,) = _numbers(header, "NumberOfFrames", 1, "")
    return int(number)


def _count(header: Dataset, keyword: str) -> int:
    (number,) = _numbers(header, keyword, 1, "")
    if number < 1:
        raise StudyError(f"{keyword} of {number:g}")
    return int(number)


def _numbers(dataset: Dataset, keyword: str, count: int, name: str) -> list[float]:
    parts: Sequence[object] = plain_numbers(dataset, keyword) or values_of(dataset, keyword)
    if not parts:
        raise StudyError(f"{name}{name_of(keyword)} missing")
    numbers = [number for part in parts if (number := as_number(part)) is not None]
    if len(numbers) != len(parts) or len(numbers) != count:
        raise StudyError(f"{name}{name_of(keyword)} cannot be understood")
    return numbers


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _cross(one: Vector, other: Vector) -> Vector:
    (a, b, c), (d, e, f) = one, other
    return (b * f - c * e, c * d - a * f, a * e - b * d)
