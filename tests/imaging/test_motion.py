"""How far a body moved between two phases is measured within the stated error, in any direction."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from examples import examples
from highdicom import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from mr_bodies import Body, Grid, volume_of_body
from mr_stacks import AXIAL, SAGITTAL

from node.errors import StudyError
from node.imaging.motion import (
    CAUTION_MM,
    MOTION_ERROR_MM,
    caution_of,
    cell_means,
    coarse,
    displacement_of,
)

OBLIQUE = (0.9848, 0.1736, 0.0, -0.171, 0.9698, -0.1736)
BODY = Body(is_fat_suppressed=True)
SPACING = (4.0, 3.0, 3.0)


@cache
def grid(orientation: tuple[float, ...]) -> Grid:
    size = (350.0, 150.0, 210.0) if orientation == SAGITTAL else (150.0, 210.0, 350.0)
    return Grid(orientation, SPACING, size)


@cache
def pre(orientation: tuple[float, ...] = AXIAL) -> Volume:
    return volume_of_body(BODY, grid(orientation))


@settings(max_examples=examples(60))
@given(
    direction=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1),
    mm=st.floats(0, 20),
    orientation=st.sampled_from([AXIAL, SAGITTAL, OBLIQUE]),
    uptake=st.sampled_from([0.0, 2.0]),
    noise=st.sampled_from([4.0, 12.0]),
)
def test_a_body_that_moved_as_a_whole_is_measured_within_the_stated_error(
    direction: tuple[float, float, float],
    mm: float,
    orientation: tuple[float, ...],
    uptake: float,
    noise: float,
) -> None:
    x, y, z = np.array(direction) * mm / np.linalg.norm(direction)
    moved = BODY.of(shift_mm=(x, y, z), uptake=uptake, noise=noise, seed=1)
    found = displacement_of(pre(orientation), volume_of_body(moved, grid(orientation)))
    np.testing.assert_allclose(found.vector_mm, (x, y, z), atol=MOTION_ERROR_MM)


def test_a_caution_names_the_phases_and_how_far() -> None:
    moved = volume_of_body(BODY.of(shift_mm=(0, 3, 0), uptake=1.0), grid(AXIAL))
    still = volume_of_body(BODY.of(uptake=1.0, seed=2), grid(AXIAL))
    caution = caution_of(displacement_of(pre(), moved).mm, "pre", "post 1")
    assert caution.startswith("moved by ")
    assert caution.endswith(" mm between pre and post 1 (more than 2 mm)")
    assert displacement_of(pre(), still).mm < MOTION_ERROR_MM < CAUTION_MM
    assert caution_of(displacement_of(pre(), still).mm, "pre", "post 1") == ""


@pytest.mark.parametrize("mm", [(0.5, 0.7, 1.4), (3.0, 1.9, 6.0)])
def test_a_coarse_volume_lies_where_its_voxels_are_the_means_of_others(
    mm: tuple[float, float, float],
) -> None:
    index = np.stack(np.meshgrid(*map(np.arange, (14, 15, 16)), indexing="ij"), -1)
    axes = np.array([(0, 0, 1.0), (0, 1.0, 0), (1.0, 0, 0)]) * mm
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes, (-30, 20, 10)
    there = index @ axes.T + affine[:3, 3]
    ramp = (there @ (1.0, 2.0, 3.0)).astype(np.float32)
    found = coarse(Volume(ramp, affine, "PATIENT"))
    index = np.stack(np.meshgrid(*map(np.arange, found.shape), indexing="ij"), -1).reshape(-1, 3)
    expected = found.map_indices_to_reference(index) @ (1.0, 2.0, 3.0)
    np.testing.assert_allclose(found.array.reshape(-1), expected, atol=1e-3)
    assert all(2.4 <= one <= 6 for one in found.spacing)


def test_of_coarse_volumes_the_same_is_measured() -> None:
    fine = Grid(AXIAL, (2.0, 1.4, 1.4), (60.0, 80.0, 120.0))
    one, other = (volume_of_body(BODY.of(shift_mm=shift), fine) for shift in ((0, 0, 0), (3, 0, 0)))
    assert displacement_of(coarse(one), coarse(other)) == displacement_of(one, other)


def test_one_side_that_moved_alone_is_seen() -> None:
    moved = volume_of_body(BODY.of(shift_mm=(0, 0, 6)), grid(AXIAL))
    half = pre().array.copy()
    half[..., half.shape[2] // 2 :] = moved.array[..., half.shape[2] // 2 :]
    found = displacement_of(pre(), pre().with_array(half))
    assert found.mm == pytest.approx(6, abs=2 * MOTION_ERROR_MM)


def test_noise_has_no_displacement() -> None:
    rng = np.random.default_rng(18)
    first, second = (
        pre().with_array(rng.normal(10, 3, pre().shape).astype(np.float32)) for _ in range(2)
    )
    with pytest.raises(StudyError, match="displacement cannot be measured"):
        displacement_of(first, second)


def test_a_few_slices_are_too_few() -> None:
    with pytest.raises(StudyError, match="too few slices or pixels"):
        displacement_of(pre()[:5], pre()[:5])


def test_volumes_of_two_grids_are_not_compared() -> None:
    with pytest.raises(ValueError, match="two grids"):
        displacement_of(pre(), pre()[1:])


def test_images_of_one_value_are_not_measured() -> None:
    flat = pre().with_array(np.zeros(pre().shape, np.float32))
    with pytest.raises(StudyError, match="displacement cannot be measured"):
        displacement_of(flat, flat)


def test_cells_are_means_of_their_voxels() -> None:
    values = np.random.default_rng(1).random((7, 9, 11)).astype(np.float32)
    means = cell_means(values, [2, 3, 5])
    assert means.shape == (3, 3, 2)
    expected = values[:6, :9, :10].reshape(3, 2, 3, 3, 2, 5).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(means, expected, rtol=1e-5)
