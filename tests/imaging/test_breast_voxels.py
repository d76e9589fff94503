"""What is made of phases by looking at the one before contrast, and at where that shows breasts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mr_studies import phases_in, small_plan, written
from numpy.typing import NDArray
from pydantic import TypeAdapter

from node.errors import StudyError
from node.imaging.breast_region import BreastLabel
from node.imaging.voxel_steps import plane_places
from node.imaging.voxels import PreparedPhases, prepare_phases
from node.manifest.pixels import Operations
from node.study import Laterality
from node.trial.breast_mr.body import ONE_BREAST, SHIFTED_AND_TURNED
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan

OPERATIONS: TypeAdapter[Operations] = TypeAdapter(Operations)
SIGNAL, ORIENT = {"op": "signal"}, {"op": "orient", "axes": "HPL"}
SPACING = {"op": "spacing", "mm": [4, 4, 4]}
SIZE = {"op": "size", "slices": 46, "rows": 64, "columns": 96}
SHAPE = (20, 40, 48)
WAYS: list[dict[str, Any]] = [
    {},
    {"backwards": True},
    {"turned": True},
    {"orientation": Orientation.SAGITTAL},
    {"orientation": Orientation.CORONAL},
    {"orientation": Orientation.OBLIQUE},
    {"body": SHIFTED_AND_TURNED},
]


def prepared(
    folder: Path, *operations: dict[str, Any], roles: Sequence[str] = ("pre", "post 1"), **of: Any
) -> PreparedPhases:
    phases = phases_in(written(plan(**of), folder))
    read = OPERATIONS.validate_python([SIGNAL, ORIENT, SPACING, *operations])
    return prepare_phases({role: phases[role] for role in roles}, read, with_region=True)


def plan(**of: Any) -> StudyPlan:
    return small_plan(**{"shape": SHAPE, **of})


def volumes(of: PreparedPhases) -> list[NDArray[np.float64]]:
    return [one.tensor[0, 0].astype(np.float64) for one in of.volumes.values()]


def labels(of: PreparedPhases) -> NDArray[np.uint8]:
    assert of.region is not None
    return of.region.labels


def breasts(of: PreparedPhases) -> NDArray[np.bool_]:
    return np.isin(labels(of), (BreastLabel.RIGHT_BREAST, BreastLabel.LEFT_BREAST))


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_left_and_right_are_the_patients_however_slices_lie(
    way: dict[str, Any], tmp_path: Path
) -> None:
    found = prepared(tmp_path, SIZE, **way)
    grid, body = found.volumes["pre"].grid, plan(**way).body
    for region, sign in ((BreastLabel.RIGHT_BREAST, -1), (BreastLabel.LEFT_BREAST, 1)):
        own = body.own(grid.map_indices_to_reference(np.argwhere(labels(found) == region)))
        assert len(own) * 0.064 > 300, "ml"
        assert (np.sign(own[:, 0]) == sign).mean() > 0.98
        assert abs(own[:, 0].mean() - sign * 75) < 12
    assert found.region is not None and found.region.doubts == ()
    np.testing.assert_array_equal(found.tensors["region"][0, 0], labels(found))


def test_the_enhancement_of_a_lesion_is_that_of_its_phase(tmp_path: Path) -> None:
    of = plan(shape=(48, 96, 112))
    phases = phases_in(written(of, tmp_path))
    fine = {**SPACING, "mm": [2.5, 2.5, 2.5]}
    size = {**SIZE, "slices": 64, "rows": 100, "columns": 136}
    relative = {"op": "relative enhancement", "least": 0.1}
    read = OPERATIONS.validate_python([SIGNAL, ORIENT, fine, size, relative])
    found = prepare_phases({role: phases[role] for role in ("pre", "post 1")}, read)
    (lesion,) = of.truth(1, 0.5).lesions
    at = found.volumes["post 1"].grid.map_reference_to_indices(np.array([lesion.centre_mm]))
    share = found.volumes["post 1"].tensor[0, 0][tuple(np.rint(at[0]).astype(int))]
    uptake = of.body.lesions[0]
    expected = uptake.enhancement * uptake.uptake.at(of.schedule.middle_s(1))
    assert share == pytest.approx(expected, rel=0.15)


def test_comparing_is_arithmetic_with_the_phase_before_contrast(tmp_path: Path) -> None:
    as_it_is = prepared(tmp_path, SIZE)
    pre, post = volumes(as_it_is)
    first, more = volumes(prepared(tmp_path, SIZE, {"op": "subtract"}))
    np.testing.assert_array_equal(first, pre)
    np.testing.assert_allclose(more, post - pre, rtol=1e-5, atol=1e-3)

    least = 0.2 * np.percentile(pre[breasts(as_it_is)], 95)
    first, share = volumes(prepared(tmp_path, SIZE, {"op": "relative enhancement", "least": 0.2}))
    np.testing.assert_array_equal(first, pre)
    np.testing.assert_allclose(share, (post - pre) / np.maximum(pre, least), rtol=1e-4, atol=1e-5)


def test_scales_may_be_those_of_the_breasts_alone(tmp_path: Path) -> None:
    as_it_is = prepared(tmp_path, SIZE)
    within, (pre, post) = breasts(as_it_is), volumes(as_it_is)
    found = volumes(prepared(tmp_path, SIZE, {"op": "z-score", "over": "breasts"}))
    for before, after in zip((pre, post), found, strict=True):
        inside = before[within]
        np.testing.assert_allclose(after, (before - inside.mean()) / inside.std(), atol=1e-3)
    for of in ("pre", "each"):
        words = {"op": "percentiles", "low": 5, "high": 90, "of": of, "over": "breasts"}
        found = volumes(prepared(tmp_path, SIZE, words))
        for before, after in zip((pre, post), found, strict=True):
            low, high = np.percentile((pre if of == "pre" else before)[within], (5, 90))
            np.testing.assert_allclose(
                after, np.clip((before - low) / (high - low), 0, 1), atol=1e-4
            )


def test_a_window_lies_about_the_breasts_and_within_the_volume(tmp_path: Path) -> None:
    whole = prepared(tmp_path, SIZE, body=SHIFTED_AND_TURNED)
    small = {**SIZE, "rows": 46, "columns": 66}
    cut = prepared(tmp_path, {**small, "about": "breasts"}, body=SHIFTED_AND_TURNED)
    middle = prepared(tmp_path, small, body=SHIFTED_AND_TURNED)
    at = whole.volumes["pre"].grid.map_indices_to_reference(np.argwhere(breasts(whole)))
    kept = [
        ((inside := one.volumes["pre"].grid.map_reference_to_indices(at)) > -0.5)
        & (inside < np.array([46, 46, 66]) - 0.5)
        for one in (cut, middle)
    ]
    about, of_volume = (one.all(axis=1).mean() for one in kept)
    assert about > of_volume + 0.01
    assert middle.region is not None
    assert "breast lie outside what the network sees" in middle.region.doubts[0]


def test_images_are_planes_evenly_over_the_volume_or_its_highest_voxels(tmp_path: Path) -> None:
    _, post = volumes(prepared(tmp_path, SIZE))
    assert plane_places(40, 8).tolist() == [2, 7, 12, 17, 22, 27, 32, 37]
    assert plane_places(5, 5).tolist() == [0, 1, 2, 3, 4]
    for axis, along in enumerate(("slices", "rows", "columns")):
        found = prepared(tmp_path, SIZE, {"op": "mip", "along": along}).volumes["post 1"].tensor
        np.testing.assert_allclose(found[0, 0], post.max(axis=axis), rtol=1e-6)
        planes = {"op": "slices", "along": along, "count": 4}
        three = {"op": "channels", "count": 3}
        of = prepared(tmp_path, SIZE, planes, three)
        tensor = of.volumes["post 1"].tensor
        taken = np.moveaxis(np.take(post, plane_places(post.shape[axis], 4), axis), axis, 0)
        np.testing.assert_allclose(tensor, np.repeat(taken[:, None], 3, axis=1), rtol=1e-6)
        assert of.tensors["region"].shape == tensor.shape


def test_images_of_a_volume_are_normalised_each_by_itself(tmp_path: Path) -> None:
    planes = {"op": "slices", "along": "slices", "count": 4}
    found = prepared(tmp_path, SIZE, planes, {"op": "z-score"})
    tensor = found.volumes["pre"].tensor
    np.testing.assert_allclose(tensor.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(tensor.std(axis=(1, 2, 3)), 1, atol=1e-3)
    assert set(np.unique(found.tensors["region"])) <= set(map(float, BreastLabel))
    each = {"op": "normalise", "subtract": [1.0, 2.0], "divide": [1.0, 4.0]}
    two = prepared(tmp_path, SIZE, planes, {"op": "channels", "count": 2}, each)
    first, second = two.volumes["pre"].tensor.transpose(1, 0, 2, 3)
    np.testing.assert_allclose(second, (first - 1) / 4, rtol=1e-4, atol=1e-3)


def test_one_breast_is_doubted_and_none_is_refused(tmp_path: Path) -> None:
    found = prepared(tmp_path / "one", SIZE, body=ONE_BREAST)
    assert found.region is not None
    assert found.region.midline.only is Laterality.LEFT
    assert not (labels(found) == BreastLabel.RIGHT_BREAST).any()
    behind = phases_in(written(plan(), tmp_path / "none"))["pre"]
    read = OPERATIONS.validate_python([SIGNAL, ORIENT, SPACING, SIZE])
    far = [one for one in behind if one.plane.position[2] > 60]
    with pytest.raises(StudyError, match=r"^pre: "):
        prepare_phases({"pre": far}, read, with_region=True)
