"""What a generated study says really enhances is so, in the body and in its images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.study import Laterality
from node.trial.breast_mr.anatomy import Tissue, paint, rim_of
from node.trial.breast_mr.body import (
    BODIES,
    IMPLANTS,
    MOVED,
    NEAR_THE_MIDLINE,
    ONE_BREAST,
    SHIFTED_AND_TURNED,
    STRONG_BACKGROUND,
    USUAL,
    WITHOUT_LESION,
    Body,
    Lesion,
    Uptake,
)
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation, raster
from node.trial.breast_mr.signal import Scanner, Weighting, enhancement
from node.trial.breast_mr.study import breast_mr
from node.trial.breast_mr.truth import enhancing_elsewhere_ml, true_enhancement

from .studies import centre_of_gain, of_phase, small_plan

SMOOTH = Lesion((72.0, -42.0, 8.0), (9.0, 8.0, 7.0))
COARSE = raster(shape=(24, 48, 48))


def test_a_smooth_lesion_has_the_volume_of_its_ellipsoid() -> None:
    found = true_enhancement(Body(lesions=(SMOOTH,)), COARSE, 100, 0.5)
    ml = 4 / 3 * math.pi * 9 * 8 * 7 / 1000
    assert found.lesions[0].volume_ml == pytest.approx(ml, rel=0.02)
    assert found.volume_ml(Laterality.LEFT) == found.lesions[0].volume_ml
    assert found.volume_ml(Laterality.RIGHT) == 0
    assert len(found.lesions[0].points_mm) * found.voxel_ml == found.lesions[0].volume_ml


def test_only_what_exceeds_the_threshold_counts() -> None:
    weak = replace(SMOOTH, enhancement=0.4)
    found = true_enhancement(Body(lesions=(weak,)), COARSE, 100, 0.5)
    assert found.lesions[0].volume_ml == 0
    assert found.lesions[0].centre_mm == pytest.approx(SMOOTH.centre)
    necrotic = true_enhancement(Body(lesions=(replace(SMOOTH, core=0.0),)), COARSE, 100, 0.5)
    whole = true_enhancement(Body(lesions=(SMOOTH,)), COARSE, 100, 0.5)
    ratio = necrotic.lesions[0].volume_ml / whole.lesions[0].volume_ml
    assert ratio == pytest.approx(7 / 8, rel=0.02)


@given(
    shift=st.tuples(*[st.floats(-40, 40)] * 3),
    angle=st.floats(-15, 15),
    orientation=st.sampled_from(Orientation),
    backwards=st.booleans(),
    turned=st.booleans(),
)
def test_a_lesion_is_where_the_body_is_however_it_is_sliced(
    shift: tuple[float, float, float],
    angle: float,
    orientation: Orientation,
    backwards: bool,
    turned: bool,
) -> None:
    body = Body(lesions=(SMOOTH,), shift_mm=shift, rotation_degrees=angle)
    stack = raster(orientation, (24, 48, 48), backwards=backwards, turned=turned, middle_mm=shift)
    found = true_enhancement(body, stack, 100, 0.5).lesions[0]
    x, y, z = SMOOTH.centre
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    there = (x * cosine - y * sine + shift[0], x * sine + y * cosine + shift[1], z + shift[2])
    assert found.centre_mm == pytest.approx(there, abs=0.6)
    assert found.side is Laterality.LEFT


@pytest.mark.parametrize(("backwards", "turned"), [(False, False), (True, True)])
@pytest.mark.parametrize("orientation", Orientation)
def test_headers_and_pixels_show_the_lesion_where_it_truly_is(
    orientation: Orientation, backwards: bool, turned: bool
) -> None:
    body = replace(SHIFTED_AND_TURNED, lesions=(SMOOTH,))
    plan = small_plan(
        body=body,
        shape=(32, 64, 64),
        schedule=PhaseTimes(posts=1),
        orientation=orientation,
        backwards=backwards,
        turned=turned,
    )
    made = breast_mr("small", plan)
    centre = plan.truth(phase=1, threshold=0.5).lesions[0].centre_mm
    seen = centre_of_gain(of_phase(made, 1), of_phase(made, 2), centre)
    assert seen == pytest.approx(centre, abs=1.0)


def test_the_three_curves_are_those_of_bi_rads() -> None:
    def late(uptake: Uptake) -> float:
        early, after = (1 + 1.3 * uptake.at(seconds) for seconds in (150, 450))
        return after / early - 1

    assert late(Uptake.PERSISTENT) > 0.10
    assert abs(late(Uptake.PLATEAU)) < 0.10
    assert late(Uptake.WASHOUT) < -0.10
    assert [uptake.at(-5) for uptake in Uptake] == [0, 0, 0, 0]


def test_the_signal_of_a_lesion_follows_its_curve() -> None:
    body = Body(lesions=(Lesion((72.0, -42.0, 8.0), (16.0, 16.0, 16.0)),))
    stack = raster(shape=(32, 96, 96))
    scanner = Scanner(body, stack, "curve")
    at = tuple(np.rint(stack.indices(np.array([body.lesions[0].centre]))[0]).astype(int))
    near = tuple(slice(index - 1, index + 2) for index in at)
    before = scanner.image(Weighting.T1_FAT_SUPPRESSED)[near].mean()
    for phase, seconds in enumerate((65.0, 155.0, 245.0, 425.0), start=1):
        after = scanner.image(Weighting.T1_FAT_SUPPRESSED, phase=phase, seconds=seconds)[near]
        truly = enhancement(body, seconds)[rim_of(0)]
        assert after.mean() / before - 1 == pytest.approx(truly, abs=0.05)


def test_nothing_but_lesions_and_blood_enhances_much_without_background() -> None:
    little = enhancing_elsewhere_ml(WITHOUT_LESION, COARSE, 100, 0.3)
    much = enhancing_elsewhere_ml(STRONG_BACKGROUND, COARSE, 150, 0.3)
    assert "background" not in little
    assert {"heart", "vessel"} < set(little)
    assert much["background"] > 20


def test_every_body_has_its_breasts_and_an_implant_is_there_if_it_should_be() -> None:
    for body in BODIES.values():
        labels = paint(body, raster(shape=(24, 48, 48), middle_mm=body.shift_mm))
        assert (Tissue.IMPLANT in labels) == bool(body.implants)
        for number in range(len(body.lesions)):
            assert rim_of(number) in labels
    points = np.array([[-72.0, -40.0, 0.0], [72.0, -40.0, 0.0]])
    at = np.rint(COARSE.indices(points)).astype(int)
    right, left = (paint(ONE_BREAST, COARSE)[tuple(index)] for index in at)
    assert (right, left != Tissue.AIR) == (Tissue.AIR, True)
    assert enhancement(IMPLANTS, 150)[Tissue.IMPLANT] == 0


def test_the_lesion_near_the_midline_is_ten_millimetres_from_it() -> None:
    found = true_enhancement(NEAR_THE_MIDLINE, COARSE, 100, 0.5).lesions[0]
    assert found.centre_mm[0] == pytest.approx(10, abs=0.5)
    assert found.side is Laterality.LEFT


def test_a_body_that_moves_lies_three_millimetres_away_after_the_injection() -> None:
    assert math.dist(MOVED.moved(0).shift_mm, MOVED.moved(1).shift_mm) == pytest.approx(3, abs=0.05)
    assert MOVED.moved(1) == MOVED.moved(4)
    assert USUAL.moved(3) == USUAL


def test_phases_are_early_and_late_enough_for_a_kinetic_curve() -> None:
    schedule = PhaseTimes()
    middles = [schedule.middle_s(phase) for phase in range(schedule.phases)]
    assert middles == sorted(middles)
    assert middles[0] < 0 < middles[1]
    assert min(abs(middle - 150) for middle in middles) < 15
    assert min(abs(middle - 450) for middle in middles) < 30
