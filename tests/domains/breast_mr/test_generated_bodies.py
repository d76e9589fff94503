"""Midline, single breast and motion of the generated bodies, as measured in their images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom import Volume

from node.imaging.midline import BESIDE_ERROR_MM, MIDLINE_ERROR_MM, Midline, midline_of
from node.imaging.motion import MOTION_ERROR_MM, caution_of, displacement_of
from node.study import Laterality
from node.trial.breast_mr.body import BODIES, MOVED, ONE_BREAST, USUAL, Body
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan

from .generated import planned, volumes_of

ONE_POST = PhaseTimes(posts=1)


def plan_of(
    body: Body, orientation: Orientation = Orientation.AXIAL, *, fat_suppressed: bool = True
) -> StudyPlan:
    shape = (64, 56, 56) if orientation is Orientation.SAGITTAL else (42, 64, 64)
    return planned(
        body=body,
        orientation=orientation,
        shape=shape,
        schedule=ONE_POST,
        fat_suppressed=fat_suppressed,
    )


def off_mm(found: Midline, body: Body) -> float:
    """How far off the plane is at most, where breasts are."""
    between = np.array([[0.0, y, z] for y in (-60, -20, 20) for z in (-50, 0, 50)])
    return float(np.abs(found.to_left_mm(body.placed(between))).max())


def midline(body: Body, volume: Volume) -> Midline:
    found = midline_of(volume)
    if len(body.sides) == 2:
        assert found.doubt == ""
        assert off_mm(found, body) <= MIDLINE_ERROR_MM
    else:
        side = "left" if body.sides[0] is Laterality.LEFT else "right"
        assert found.doubt == f"one breast only ({side})"
        assert off_mm(found, body) <= BESIDE_ERROR_MM
    return found


@pytest.mark.parametrize(
    ("name", "fat_suppressed"),
    [*((name, True) for name in BODIES), ("usual", False), ("implants", False)],
)
def test_the_midline_and_the_side_of_each_lesion_are_found(
    name: str, fat_suppressed: bool, tmp_path: Path
) -> None:
    body = BODIES[name]
    volumes = volumes_of(plan_of(body, fat_suppressed=fat_suppressed), tmp_path)
    for phase, volume in enumerate(volumes.values()):
        found = midline(body.moved(phase), volume)
        for lesion in body.lesions:
            x, y, z = map(float, body.moved(phase).placed(np.array([lesion.centre]))[0])
            assert found.side_of((x, y, z)) is body.side_of(lesion)


@pytest.mark.parametrize("orientation", [Orientation.SAGITTAL, Orientation.CORONAL])
@pytest.mark.parametrize("name", ["shifted and turned", "one breast", "near the midline"])
def test_the_midline_is_found_however_the_body_is_sliced(
    name: str, orientation: Orientation, tmp_path: Path
) -> None:
    body = BODIES[name]
    midline(body, volumes_of(plan_of(body, orientation), tmp_path)["pre"])


@pytest.mark.parametrize("side", Laterality)
@pytest.mark.parametrize("turned", [-1.0, 1.0])
@pytest.mark.parametrize("orientation", [Orientation.AXIAL, Orientation.SAGITTAL])
def test_the_side_of_a_turned_chest_without_a_breast_is_none(
    orientation: Orientation, turned: float, side: Laterality, tmp_path: Path
) -> None:
    body = replace(
        USUAL, sides=(side,), shift_mm=(40 * turned, 0.0, 0.0), rotation_degrees=10 * turned
    )
    volumes = volumes_of(plan_of(body, orientation), tmp_path)
    midline(body, volumes["pre"])
    found = displacement_of(volumes["pre"], volumes["post 1"])
    assert found.mm <= max(volumes["pre"].spacing) / 2


@pytest.mark.parametrize("orientation", Orientation)
def test_three_millimetres_of_motion_are_measured_and_a_caution_is_printed(
    orientation: Orientation, tmp_path: Path
) -> None:
    volumes = volumes_of(plan_of(MOVED, orientation), tmp_path)
    found = displacement_of(volumes["pre"], volumes["post 1"])
    off = np.linalg.norm(np.subtract(found.vector_mm, MOVED.motion_mm))
    assert off <= MOTION_ERROR_MM
    assert caution_of(found.mm, "pre", "post 1") == (
        f"moved by {found.mm:.1f} mm between pre and post 1 (more than 2 mm)"
    )


@pytest.mark.parametrize("body", [USUAL, ONE_BREAST, BODIES["strong background"]])
def test_a_body_that_lay_still_is_not_said_to_have_moved(body: Body, tmp_path: Path) -> None:
    volumes = volumes_of(plan_of(body), tmp_path)
    found = displacement_of(volumes["pre"], volumes["post 1"])
    assert found.mm <= MOTION_ERROR_MM
    assert caution_of(found.mm, "pre", "post 1") == ""
