"""On which scale stored values are a signal: phases are compared on one scale only.

A scanner may store each series with its own scale, chosen to fill the bits. Where Rescale Slope
and Intercept are the same everywhere, the values compare. Philips chooses them anew for each
series, and says in a private attribute how to come back to what was measured: with Rescale Slope
RS, Rescale Intercept RI and Scale Slope SS (2005,xx0E), or Scale Intercept SI (2005,xx0D),

    signal = (stored x RS + RI) / (RS x SS) = (stored - SI) / SS

(Chenevert et al., Errors in Quantitative Image Analysis due to Platform-Dependent Image Scaling,
Transl Oncol 2014;7(1):65-71, PMC3998685; the same in dcm2niix, Philips/README.md, "Image Scaling").
Philips's own words are in the head of its PAR files: FP = DV / (RS x SS).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pydicom import Dataset
from pydicom.tag import Tag

from node.dicom import untrusted
from node.errors import StudyError
from node.imaging.planes import ENHANCED
from node.imaging.source import as_number, name_of, stated_number, values_of

PHILIPS_CREATOR = "Philips MR Imaging DD 001"
"""The private creator whose elements 0D and 0E are scale intercept and scale slope."""

_GROUP, _SCALE_INTERCEPT, _SCALE_SLOPE = 0x2005, 0x0D, 0x0E

_ALIKE = 1e-5
"""Relative; a Decimal String has up to sixteen characters, and some write six figures."""

_HIGHEST = 1e9
"""Above it, or below one part of it, a slope is no slope."""

_FARTHEST = 2.0**23
"""Slopes from 0 beyond which an intercept is none: in 32 bits two stored values would be one signal
beside it."""


class ScaleSource(StrEnum):
    """What a scale rests on, in words."""

    STORED = "stored values, no rescale given"
    RESCALE = "Rescale Slope and Intercept"
    PHILIPS = "Scale Slope of Philips (2005,100E)"


@dataclass(frozen=True, slots=True)
class SignalScale:
    """What turns stored values into signal: `signal = stored x slope + intercept`."""

    slope: float = 1.0
    intercept: float = 0.0
    source: ScaleSource = ScaleSource.STORED

    def __str__(self) -> str:
        if self.source is ScaleSource.STORED:
            return self.source
        return f"{self.source}: x {self.slope:.6g} {self.intercept:+.6g}"


def scales_of(header: Dataset) -> tuple[SignalScale, ...]:
    """Return the scale of each frame, in the order of frames; raise StudyError in words.

    An enhanced object says it in Pixel Value Transformation (PS3.3 C.7.6.16.2.9), of a frame or of
    all. That of Philips is read of objects of one slice only: where it stands in others no source
    that we know of says.
    """
    with untrusted.quietly():
        if untrusted.items(header, "ModalityLUTSequence"):
            raise StudyError("a lookup table in place of a rescale, on which nothing is compared")
        if untrusted.text(header, "SOPClassUID") not in ENHANCED:
            return (_philips(header) or _rescale(header, ""),)
        shared = untrusted.items(header, "SharedFunctionalGroupsSequence")[:1]
        return tuple(
            _of_frame([own, *shared], f"frame {number}: ")
            for number, own in enumerate(
                untrusted.items(header, "PerFrameFunctionalGroupsSequence"), 1
            )
        )


def one_scale(scales: Iterable[SignalScale]) -> ScaleSource:
    """Return what the one scale of all rests on; raise StudyError in words if there are several.

    Values scaled as Philips says are signal, whatever the slopes; others compare where slope and
    intercept are equal.
    """
    found = list(dict.fromkeys(scales))
    if not found:
        raise StudyError("no signal scale")
    is_philips = [scale.source is ScaleSource.PHILIPS for scale in found]
    if all(is_philips):
        return ScaleSource.PHILIPS
    first = found[is_philips.index(False)]
    for scale in found:
        if scale.source is ScaleSource.PHILIPS or not _are_alike(first, scale):
            raise StudyError(f"signal on different scales ({first}; {scale})")
    return next(
        (scale.source for scale in found if scale.source is ScaleSource.RESCALE),
        ScaleSource.STORED,
    )


def _are_alike(one: SignalScale, other: SignalScale) -> bool:
    """Whether slopes and intercepts are equal, but for how many figures are written."""
    slopes, intercepts = (one.slope, other.slope), (one.intercept, other.intercept)
    differing = abs(slopes[0] - slopes[1]), abs(intercepts[0] - intercepts[1])
    # An intercept counts against the steps of the slope: less than a hundredth changes nothing.
    allowed = _ALIKE * max(slopes), max(_ALIKE * max(map(abs, intercepts)), max(slopes) / 100)
    return differing[0] <= allowed[0] and differing[1] <= allowed[1]


def _of_frame(groups: list[Dataset], name: str) -> SignalScale:
    found = [
        item
        for group in groups
        for item in untrusted.items(group, "PixelValueTransformationSequence")
    ]
    scales = {_rescale(item, name) for item in found} or {SignalScale()}
    if len(scales) > 1:
        raise StudyError(f"{name}Rescale Slope is said twice, and differently")
    return scales.pop()


def _rescale(dataset: Dataset, name: str) -> SignalScale:
    """Return the standard's rescale (PS3.3 C.11.1.1.2); both values or none."""
    slope = stated_number(dataset, "RescaleSlope")
    intercept = stated_number(dataset, "RescaleIntercept")
    if slope is None and intercept in (None, 0):
        return SignalScale()
    if slope is None:
        raise StudyError(f"{name}Rescale Intercept without Rescale Slope")
    if intercept is None and slope != 1:
        raise StudyError(f"{name}Rescale Slope without Rescale Intercept")
    _require_slope(slope, f"{name}{name_of('RescaleSlope')}")
    if abs(intercept or 0) > _FARTHEST * slope:
        raise StudyError(f"{name}{name_of('RescaleIntercept')} of {intercept:g}, beside any signal")
    return SignalScale(slope, intercept or 0.0, ScaleSource.RESCALE)


def _philips(header: Dataset) -> SignalScale | None:
    """Return the scale of Philips, None if the private creator or the slope is not there."""
    scale_slope = _private(header, _SCALE_SLOPE)
    if scale_slope is None:
        return None
    _require_slope(scale_slope, "Scale Slope of Philips")
    rescale = _rescale(header, "")
    if rescale.source is ScaleSource.RESCALE:
        offset = rescale.intercept / rescale.slope
    else:
        offset = -(_private(header, _SCALE_INTERCEPT) or 0.0)
    if abs(offset) > _FARTHEST:
        raise StudyError(f"Scale Intercept of Philips of {-offset:g}, beside any signal")
    return SignalScale(1 / scale_slope, offset / scale_slope, ScaleSource.PHILIPS)


def _private(header: Dataset, element: int) -> float | None:
    """Return the number in an element of the block that PHILIPS_CREATOR reserves (PS3.5 7.8.1)."""
    for block in range(0x10, 0x100):
        creator = Tag(_GROUP, block)
        if creator in header and str(values_of(header, creator)[:1]) == f"['{PHILIPS_CREATOR}']":
            values = values_of(header, Tag(_GROUP, block << 8 | element))
            return _as_number(values[0]) if values else None
    return None


def _as_number(value: object) -> float | None:
    """Return a number; of an element whose VR got lost on the way its four bytes are one."""
    if isinstance(value, bytes) and len(value) == 4:
        (value,) = struct.unpack("<f", value)
    return as_number(value)


def _require_slope(slope: float, name: str) -> None:
    if not 1 / _HIGHEST <= slope <= _HIGHEST:
        raise StudyError(f"{name} of {slope:g}, which makes no signal")
