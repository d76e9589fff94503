"""Breasts, skin and chest wall are found where they are, however the body lies and is sliced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from examples import examples
from highdicom import Volume
from hypothesis import given, settings
from hypothesis import strategies as st
from mr_bodies import Body as PlainBody
from mr_bodies import Grid, volume_of_body
from mr_stacks import SAGITTAL
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.breast_region import (
    NIPPLE_DEEP_MM,
    SKIN_MM,
    BreastLabel,
    BreastRegion,
    breast_region,
)
from node.imaging.components import Bools
from node.imaging.distances import distance_mm
from node.study import Laterality
from node.trial.breast_mr.anatomy import Tissue, core_of, paint, rim_of
from node.trial.breast_mr.body import (
    BODIES,
    IMPLANTS,
    NEAR_THE_MIDLINE,
    ONE_BREAST,
    SHIFTED_AND_TURNED,
    STRONG_BACKGROUND,
    USUAL,
    Body,
    Lesion,
)
from node.trial.breast_mr.raster import Orientation, Raster
from node.trial.breast_mr.signal import Scanner
from node.trial.breast_mr.solids import trunk
from node.trial.breast_mr.study import StudyPlan

SHAPE = (48, 96, 96)
"""Voxels of 3.5 mm, coarser than any scanner's."""
LABELS = {Laterality.RIGHT: BreastLabel.RIGHT_BREAST, Laterality.LEFT: BreastLabel.LEFT_BREAST}
GLANDS = (Tissue.GLAND_1, Tissue.GLAND_2, Tissue.GLAND_3, Tissue.GLAND_4)
ONE_ALONE = Grid(SAGITTAL, (4.0, 3.0, 3.0), (140.0, 150.0, 210.0), (78.0, 0.0, 0.0))
"""Of sagittal slices of the left breast, which fills them."""
AT_THE_CHEST_WALL = replace(
    USUAL,
    density=0.7,
    lesions=(
        Lesion((72.0, 13.0, 0.0), (5.0, 5.0, 5.0)),
        Lesion((-110.0, 24.0, 10.0), (5.0, 5.0, 5.0)),
        Lesion((-30.0, 3.0, 10.0), (4.5, 4.5, 4.5)),
        Lesion((120.0, 30.0, -20.0), (5.0, 5.0, 5.0)),
    ),
)
"""Each about 4 mm in front of the muscle, the third 30 mm from the midline."""
NEAR_THE_MIDLINE_AND_TURNED = replace(
    NEAR_THE_MIDLINE, shift_mm=(40.0, 0.0, 0.0), rotation_degrees=10.0
)


@dataclass(frozen=True)
class Made:
    """A generated volume before the injection, with its truth."""

    body: Body
    raster: Raster
    volume: Volume
    region: BreastRegion

    @property
    def labels(self) -> NDArray[np.uint8]:
        return np.asarray(self.region.labels.array)

    def tissue(self) -> NDArray[np.uint8]:
        return paint(self.body.moved(0), self.raster)

    def own(self) -> NDArray[np.float32]:
        """Return where voxels lie in the body's own mm: (3, slices, rows, columns)."""
        indices = np.indices(self.raster.shape).reshape(3, -1).T.astype(float)
        places = self.body.own(self.raster.points(indices)).astype(np.float32)
        return np.asarray(places.T.reshape(3, *self.raster.shape))

    def behind_the_front(self) -> Bools:
        """Return what is of the trunk from the front of its muscle on."""
        x, y, z = self.own()
        return np.asarray(trunk(Tissue.MUSCLE, 148, 98, 112).inside(x, y, z))

    def breast(self, side: Laterality) -> Bools:
        """Return fat and gland of a breast that is far enough from the skin and the nipple."""
        x, y, z = self.own()
        sign = 1 if side is Laterality.LEFT else -1
        within = ((sign * x - 72) / 64) ** 2 + (z / 65) ** 2 < 1
        tissue, step = self.tissue(), self.raster.spacing_mm
        deep = distance_mm(tissue == Tissue.AIR, step, 12.0) > SKIN_MM + max(step)
        deep &= distance_mm(tissue == Tissue.NIPPLE, step, 12.0) > NIPPLE_DEEP_MM
        soft = np.isin(tissue, (Tissue.FAT, *GLANDS))
        return np.asarray(soft & within & deep & (y < 40) & ~self.behind_the_front())


@cache
def made(
    body: Body,
    *,
    fat_suppressed: bool = True,
    orientation: Orientation = Orientation.AXIAL,
    shape: tuple[int, int, int] = SHAPE,
    opposite: bool = False,
) -> Made:
    plan = StudyPlan(
        body=body,
        fat_suppressed=fat_suppressed,
        orientation=orientation,
        shape=shape,
        backwards=opposite,
        turned=opposite,
    )
    raster = plan.raster()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = raster.vectors().T, raster.first_mm
    signal = Scanner(body, raster, "region").image(plan.weighting())
    volume = Volume(signal, affine, "PATIENT")
    return Made(body, raster, volume, breast_region(volume))


def check(one: Made) -> None:
    """Hold it against the limits that the module states."""
    labels, tissue = one.labels, one.tissue()
    assert labels.dtype == np.uint8
    assert one.region.labels.shape == one.volume.shape
    np.testing.assert_array_equal(one.region.labels.affine, one.volume.affine)
    for side in one.body.sides:
        breast = one.breast(side)
        for tissues in ((Tissue.FAT,), GLANDS):
            here = breast & np.isin(tissue, tissues)
            assert np.mean(labels[here] == LABELS[side]) >= 0.95
    for number, lesion in enumerate(one.body.lesions):
        here = np.isin(tissue, [rim_of(number), core_of(number)]) & (labels != BreastLabel.SKIN)
        assert here.any()
        assert np.mean(labels[here] == LABELS[one.body.side_of(lesion)]) >= 0.98
    of_breasts = np.isin(
        labels, [BreastLabel.RIGHT_BREAST, BreastLabel.LEFT_BREAST, BreastLabel.SKIN]
    )
    of_chest = np.isin(tissue, [Tissue.HEART, Tissue.LIVER, Tissue.VESSEL])
    assert not (of_breasts & of_chest & one.behind_the_front()).any()
    assert not (of_breasts & (tissue == Tissue.LUNG)).any()


@pytest.mark.parametrize("name", BODIES)
def test_breasts_and_lesions_have_their_side_and_the_chest_has_none(name: str) -> None:
    one = made(BODIES[name])
    check(one)
    assert one.region.doubts == ()
    assert one.region.midline.only is (Laterality.LEFT if name == "one breast" else None)


@pytest.mark.parametrize(
    "body",
    [SHIFTED_AND_TURNED, ONE_BREAST, IMPLANTS, STRONG_BACKGROUND],
)
def test_they_are_found_where_fat_is_bright_too(body: Body) -> None:
    check(made(body, fat_suppressed=False))


@pytest.mark.parametrize(
    ("orientation", "shape", "fat_suppressed"),
    [
        (Orientation.AXIAL, SHAPE, True),
        (Orientation.SAGITTAL, (96, 72, 72), False),
        (Orientation.CORONAL, (70, 96, 96), True),
        (Orientation.OBLIQUE, SHAPE, False),
    ],
)
def test_lesions_at_the_chest_wall_are_in_the_breast_however_it_is_sliced(
    orientation: Orientation, shape: tuple[int, int, int], fat_suppressed: bool
) -> None:
    body = AT_THE_CHEST_WALL
    check(made(body, orientation=orientation, shape=shape, fat_suppressed=fat_suppressed))


@pytest.mark.parametrize("opposite", [True, False])
def test_a_lesion_10_mm_from_the_midline_is_on_its_side_of_a_turned_body(opposite: bool) -> None:
    check(made(NEAR_THE_MIDLINE_AND_TURNED, opposite=opposite))


@pytest.mark.parametrize(
    ("side", "turned"), [(Laterality.RIGHT, -1.0), (Laterality.RIGHT, 1.0), (Laterality.LEFT, 1.0)]
)
def test_the_side_without_a_breast_has_none(side: Laterality, turned: float) -> None:
    body = replace(
        USUAL,
        lesions=(),
        sides=(side,),
        shift_mm=(40.0 * turned, 0.0, 0.0),
        rotation_degrees=10 * turned,
    )
    one = made(body)
    check(one)
    other = Laterality.LEFT if side is Laterality.RIGHT else Laterality.RIGHT
    assert not (one.labels == LABELS[other]).any()
    assert one.region.midline.only is side


@pytest.mark.parametrize("name", ["usual", "implants"])
def test_skin_is_a_shell_at_the_surface_and_the_nipple(name: str) -> None:
    one = made(BODIES[name], shape=(64, 128, 128))
    tissue, step = one.tissue(), one.raster.spacing_mm
    _, y, _ = one.own()
    nipple = tissue == Tissue.NIPPLE
    assert np.mean(one.labels[nipple] == BreastLabel.SKIN) >= 0.95
    in_front = (tissue == Tissue.SKIN) & (y < -10)
    assert np.mean(one.labels[in_front] == BreastLabel.SKIN) >= 0.95
    deep = distance_mm(tissue == Tissue.AIR, step, 20.0) > SKIN_MM + 1.5 * max(step)
    beside = distance_mm(nipple, step, 20.0) > NIPPLE_DEEP_MM + max(step)
    assert np.mean(deep[beside & (one.labels == BreastLabel.SKIN)]) <= 0.01


@pytest.mark.parametrize("fat_suppressed", [True, False])
def test_the_chest_wall_is_muscle_and_breastbone_and_the_front_of_the_heart(
    fat_suppressed: bool,
) -> None:
    one = made(USUAL, fat_suppressed=fat_suppressed)
    x, y, z = one.own()
    beneath = (np.abs(x) < 110) & (np.abs(z) < 55)
    front = np.isin(one.tissue(), [Tissue.MUSCLE, Tissue.BONE]) & beneath & (y < 50)
    assert np.mean(one.labels[front] == BreastLabel.CHEST_WALL) >= 0.97
    heart = (one.tissue() == Tissue.HEART) & (y < 65)
    assert np.mean(one.labels[heart] == BreastLabel.CHEST_WALL) >= 0.95
    lung = (one.tissue() == Tissue.LUNG) | (one.tissue() == Tissue.AIR)
    assert np.mean(one.labels[lung] == BreastLabel.CHEST_WALL) <= 0.03


def _reordered(volume: Volume, order: tuple[int, ...], flipped: list[int]) -> Volume:
    turned = volume.permute_spatial_axes(order)
    return turned.flip_spatial(flipped) if flipped else turned


@settings(max_examples=examples(30))
@given(
    order=st.permutations([0, 1, 2]),
    flipped=st.sets(st.integers(0, 2)),
    shift=st.tuples(*[st.floats(-300, 300)] * 3),
    name=st.sampled_from(["shifted and turned", "one breast"]),
)
def test_the_labels_are_the_same_in_the_patient_whatever_the_axes_and_the_origin(
    order: list[int], flipped: set[int], shift: tuple[float, float, float], name: str
) -> None:
    one = made(BODIES[name], shape=(42, 64, 64))
    moved = _reordered(one.volume, tuple(order), sorted(flipped))
    affine = moved.affine.copy()
    affine[:3, 3] += shift
    found = breast_region(Volume(moved.array, affine, "PATIENT"))
    expected = _reordered(one.region.labels, tuple(order), sorted(flipped))
    assert np.mean(found.labels.array == expected.array) >= 0.999
    assert found.doubts == one.region.doubts


@pytest.mark.parametrize("is_fat_suppressed", [True, False])
@pytest.mark.parametrize("has_implant", [True, False])
def test_another_body_has_its_breasts_in_front_of_its_chest_too(
    is_fat_suppressed: bool, has_implant: bool
) -> None:
    body = PlainBody(is_fat_suppressed=is_fat_suppressed, has_implant=has_implant)
    volume = volume_of_body(body, Grid(spacing=(4.0, 3.0, 3.0)))
    labels = breast_region(volume).labels.array
    places = np.indices(volume.shape).reshape(3, -1).T @ volume.affine[:3, :3].T
    x, y, z = (places + volume.affine[:3, 3]).T.reshape(3, *volume.shape)
    for sign, region in ((-1, BreastLabel.RIGHT_BREAST), (1, BreastLabel.LEFT_BREAST)):
        breast = ((sign * x - 78) / 56) ** 2 + ((y - 10) / 74) ** 2 + (z / 64) ** 2 < 1
        assert np.mean(labels[breast & (y < 15)] == region) >= 0.98
    chest = (x / 138) ** 2 + ((y - 105) / 80) ** 2 < 1
    assert not np.isin(labels[chest], [1, 2, 3]).any()


def test_where_the_image_ends_before_the_lungs_that_is_said() -> None:
    whole = made(USUAL)
    _, y, _ = whole.own()
    rows = int((y[0, :, 0] < 40).sum())
    found = breast_region(Volume(whole.volume.array[:, :rows], whole.volume.affine, "PATIENT"))
    assert found.doubts == (
        "no lung is seen: the chest wall is taken to lie where it usually does",
    )
    same = found.labels.array == whole.labels[:, :rows]
    assert same.mean() >= 0.97


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (volume_of_body(PlainBody(breasts="")), "nothing protrudes like a breast"),
        (volume_of_body(PlainBody(), ONE_ALONE), "one breast only, and not which"),
        (volume_of_body(PlainBody(), Grid(size_mm=(6.0, 9.0, 9.0))), "too few slices or pixels"),
    ],
)
def test_where_no_breast_is_found_that_is_said(volume: Volume, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        breast_region(volume)
