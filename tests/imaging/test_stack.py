"""Slices are put in order by where they lie, and what is amiss is said with numbers."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from mr_stacks import AXIAL, CORONAL, SAGITTAL, Stacked, enhanced, header

from node.errors import StudyError
from node.imaging.planes import Plane, planes_of
from node.imaging.stack import Stack, difference_of_grids, require_one_grid, stack_of

STACKED = Stacked(count=8, step_mm=3.0)


def planes_at(stacked: Stacked, *indices: float) -> list[Plane]:
    return [plane for index in indices for plane in planes_of(header(stacked, index))]


def stacked_at(*indices: float) -> Stack:
    return stack_of(planes_at(STACKED, *indices))


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    """The usual three, and any other turn."""
    usual = draw(st.sampled_from([AXIAL, SAGITTAL, CORONAL, None]))
    if usual is not None:
        return usual
    w, x, y, z = draw(st.tuples(st.floats(0.01, 1), *[st.floats(-1, 1)] * 3))
    w, x, y, z = np.array([w, x, y, z]) / np.linalg.norm([w, x, y, z])
    right = (1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w))
    down = (2 * (x * y - z * w), 1 - 2 * (x * x + z * z), 2 * (y * z + x * w))
    return (*map(float, right), *map(float, down))


@st.composite
def stacks(draw: st.DrawFn) -> Stacked:
    """Stacks as scanners make them, upwards and downwards."""
    millimetres = st.floats(-300, 300).map(lambda x: round(x, 3))
    return Stacked(
        count=draw(st.integers(2, 12)),
        rows=draw(st.integers(1, 40)),
        columns=draw(st.integers(1, 40)),
        orientation=draw(orientations()),
        first=draw(st.tuples(millimetres, millimetres, millimetres)),
        step_mm=draw(st.floats(0.4, 9)) * draw(st.sampled_from([1, -1])),
        spacing=draw(st.tuples(st.floats(0.2, 3), st.floats(0.2, 3))),
    )


@settings(max_examples=examples(200))
@given(stacked=stacks(), order=st.randoms(use_true_random=False), is_enhanced=st.booleans())
def test_each_voxel_lies_where_its_slice_says_and_comes_back(
    stacked: Stacked, order: random.Random, is_enhanced: bool
) -> None:
    shuffled = list(range(stacked.count))
    order.shuffle(shuffled)
    if is_enhanced:
        planes = list(planes_of(enhanced(stacked, shuffled)))
    else:
        planes = planes_at(stacked, *shuffled)

    stack = stack_of(planes)

    assert stack.amiss == ()
    geometry = stack.geometry
    assert stack.step_mm == pytest.approx(abs(stacked.step_mm), rel=1e-4)
    assert geometry.spacing == pytest.approx((abs(stacked.step_mm), *stacked.spacing), rel=1e-4)
    assert geometry.handedness.value == "RIGHT_HANDED"
    row, column = stacked.rows - 1, stacked.columns - 1
    voxels = np.array([[at, row, column] for at in range(stacked.count)])
    places = geometry.map_indices_to_reference(voxels)
    for place, plane in zip(places, stack.planes, strict=True):
        along = row * stacked.spacing[0] * np.array(stacked.orientation[3:])
        along += column * stacked.spacing[1] * np.array(stacked.orientation[:3])
        np.testing.assert_allclose(place, plane.position + along, atol=0.01)
    np.testing.assert_allclose(geometry.map_reference_to_indices(places), voxels, atol=1e-6)


@settings(max_examples=examples(100))
@given(stacked=stacks(), order=st.randoms(use_true_random=False))
def test_the_order_in_which_slices_came_decides_nothing(
    stacked: Stacked, order: random.Random
) -> None:
    planes = planes_at(stacked, *range(stacked.count))
    reversed_planes = planes_at(
        stacked.of(first=tuple(stacked.position(stacked.count - 1)), step_mm=-stacked.step_mm),
        *range(stacked.count),
    )
    shuffled = order.sample(planes, len(planes))

    assert stack_of(shuffled) == stack_of(planes)
    assert difference_of_grids(stack_of(planes), stack_of(reversed_planes)) == ""


def test_a_missing_slice_is_named_by_where_it_should_be() -> None:
    assert stacked_at(0, 1, 2, 4, 5).amiss == ("a slice is missing between -24.0 mm and -18.0 mm",)


def test_places_are_said_towards_left_back_and_head() -> None:
    sagittal = STACKED.of(orientation=SAGITTAL, first=(60.0, 0.0, 0.0))
    stack = stack_of(planes_at(sagittal, 0, 1, 2, 5, 6))  # towards the right, which is -x
    assert stack.amiss == ("2 slices are missing between 45.0 mm and 54.0 mm",)


def test_a_doubled_slice_is_named_by_where_it_is() -> None:
    assert stacked_at(0, 1, 1, 2, 3, 3, 3).amiss == ("3 slices at -21.0 mm", "2 slices at -27.0 mm")


def test_slices_unequally_far_apart_are_refused() -> None:
    assert stacked_at(0, 1, 2, 3, 3.5).amiss == ("slices 1.5 and 3.0 mm apart",)
    assert stacked_at(0, 1, 2.03, 3).amiss == ("slices 2.9 and 3.0 mm apart",)


def test_many_missing_slices_are_counted() -> None:
    amiss = stacked_at(*range(5), 6, 8, 10, 12, 14, *range(15, 20)).amiss
    assert len(amiss) == 4
    assert amiss[-1] == "2 more of the kind"


def test_places_rounded_to_a_hundredth_are_equally_far_apart() -> None:
    planes = planes_at(STACKED.of(step_mm=1 / 3, count=60), *range(60))
    places = [[round(x, 2) for x in plane.position] for plane in planes]
    rounded = [
        replace(plane, position=(x, y, z)) for plane, (x, y, z) in zip(planes, places, strict=True)
    ]
    stack = stack_of(rounded)
    assert stack.amiss == ()
    assert stack.step_mm == pytest.approx(1 / 3, rel=1e-3)


def test_slices_that_do_not_lie_over_each_other_are_refused() -> None:
    planes = planes_at(STACKED, 0, 1, 2)
    x, y, z = planes[2].position
    stack = stack_of([*planes[:2], replace(planes[2], position=(x + 4, y, z))])
    assert stack.amiss == ("slices lie up to 4.0 mm beside each other",)


def test_slices_of_different_grids_are_refused() -> None:
    first = planes_at(STACKED, 0, 1, 2)
    assert stack_of([*first, *planes_at(STACKED.of(orientation=SAGITTAL), 0)]).amiss == (
        "slices turned against each other by 90.0 degrees",
    )
    assert stack_of([*first, *planes_at(STACKED.of(rows=9), 4)]).amiss == (
        "8 x 10 and 9 x 10 pixels in slices",
    )
    assert stack_of([*first, *planes_at(STACKED.of(spacing=(0.5, 0.7)), 4)]).amiss == (
        "pixels of 0.5 x 0.7 mm and 0.8 x 0.7 mm",
    )
    elsewhere = replace(first[2], frame_of_reference="2.25.1")
    assert stack_of([*first[:2], elsewhere]).amiss == ("slices of different frames of reference",)


def test_no_slice_and_one_slice_are_no_volume() -> None:
    with pytest.raises(StudyError, match="no slices"):
        stack_of([])
    with pytest.raises(StudyError, match="one slice is no volume"):
        stacked_at(0).require_whole()


def test_a_gap_between_thin_slices_is_a_doubt_and_no_refusal() -> None:
    thin = [replace(plane, thickness=1.2) for plane in planes_at(STACKED, *range(4))]
    stack = stack_of(thin)
    assert (stack.amiss, stack.doubts) == ((), ("slices 3.0 mm apart, but 1.2 mm thick",))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (STACKED.of(rows=9), "8 slices of 9 x 10 instead of 8 slices of 8 x 10"),
        (STACKED.of(step_mm=2.5), "voxels of 2.5 x 0.8 x 0.7 mm instead of 3 x 0.8 x 0.7 mm"),
        (STACKED.of(first=(-48.0, -40.0, -30.0)), "its first slice lies 2.0 mm elsewhere"),
        (STACKED.of(orientation=(0.0, 1.0, 0.0, -1.0, 0.0, 0.0)), "turned by 90.0 degrees"),
        (STACKED, ""),
    ],
)
def test_phases_of_another_grid_are_told_why(other: Stacked, why: str) -> None:
    pre = stacked_at(*range(8))
    post = stack_of(planes_at(other, *range(8)))
    assert difference_of_grids(pre, post) == why
    if why:
        with pytest.raises(StudyError, match=f"post 1 has another grid than pre: {why}"):
            require_one_grid({"pre": pre, "post 1": post})
    else:
        require_one_grid({"pre": pre, "post 1": post})


def test_a_phase_with_a_slice_less_has_another_grid() -> None:
    assert difference_of_grids(stacked_at(*range(8)), stacked_at(*range(7))) == (
        "7 slices of 8 x 10 instead of 8 slices of 8 x 10"
    )


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (
            {"orientation": (np.cos(9e-4), np.sin(9e-4), 0.0, -np.sin(9e-4), np.cos(9e-4), 0.0)},
            "a corner lies 0.4 mm elsewhere",
        ),
        ({"spacing": (1.0, 1.0009)}, "a corner lies 0.3 mm elsewhere"),
        ({"step_mm": 2.9975, "first": (0.0, 0.0, 0.13)}, "a corner lies 0.1 mm elsewhere"),
        ({"spacing": (1.0, 1.0002)}, ""),
    ],
)
def test_every_corner_lies_within_a_tenth_of_a_millimetre(
    other: dict[str, object], why: str
) -> None:
    large = STACKED.of(
        rows=300, columns=300, spacing=(1.0, 1.0), count=16, step_mm=3.0, first=(0.0, 0.0, 0.0)
    )
    pre, post = (stack_of(planes_at(one, *range(16))) for one in (large, large.of(**other)))
    assert difference_of_grids(pre, post) == why
    assert difference_of_grids(post, pre) == why
