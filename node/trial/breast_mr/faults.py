"""What can be wrong with a generated study, on demand: always in a phase after the injection."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from enum import StrEnum

from node.identity import stable_uid
from node.trial.breast_mr.headers import Scan, Shot, TakenShot
from node.trial.breast_mr.raster import Raster

SPOILT_PHASE = 2
"""Which phase is wrong or missing; 1 is the first after the injection."""
WRONG_SLOPE = 2.5


class Fault(StrEnum):
    """One thing that is wrong."""

    MISSING_SLICE = "the middle slice of the second phase after the injection is missing"
    MISSING_PHASE = "the second phase after the injection is missing"
    OTHER_GRID = "the second phase after the injection is on another grid"
    WRONG_RESCALE = "the second phase after the injection states another Rescale Slope"
    DOUBLED_SLICE = "a slice of the second phase after the injection is there twice"


Retake = Callable[[Shot, Raster], Shot]
"""Takes a volume again, on another raster."""


def spoil_shots(
    fault: Fault | None, scans: list[tuple[Scan, list[Shot]]], retake: Retake
) -> list[tuple[Scan, list[Shot]]]:
    """Return the series with what is wrong with whole phases."""
    spoilt = []
    for scan, shots in scans:
        taken = [shot for shot in (_spoilt(fault, shot, retake) for shot in shots) if shot]
        if taken:
            spoilt.append((scan, taken))
    return spoilt


def spoil_images(fault: Fault | None, taken: list[TakenShot]) -> list[TakenShot]:
    """Return the objects of a series with what is wrong with single slices."""
    spoilt = [one for one in taken if one[0].phase == SPOILT_PHASE]
    if fault not in (Fault.MISSING_SLICE, Fault.DOUBLED_SLICE) or not spoilt:
        return taken
    shot, image = chosen = spoilt[len(spoilt) // 2]
    if fault is Fault.MISSING_SLICE:
        return [one for one in taken if one is not chosen]
    double = deepcopy(image)
    double.SOPInstanceUID = stable_uid(str(image.SOPInstanceUID), "double")
    double.file_meta.MediaStorageSOPInstanceUID = double.SOPInstanceUID
    double.InstanceNumber = len(taken) + 1
    return [*taken, (shot, double)]


def _spoilt(fault: Fault | None, shot: Shot, retake: Retake) -> Shot | None:
    if shot.phase != SPOILT_PHASE:
        return shot
    if fault is Fault.MISSING_PHASE:
        return None
    if fault is Fault.WRONG_RESCALE:
        return replace(shot, wrong_slope=WRONG_SLOPE)
    if fault is Fault.OTHER_GRID:
        between, row, column = shot.raster.spacing_mm
        return retake(shot, replace(shot.raster, spacing_mm=(between, row * 0.9, column * 0.9)))
    return shot
