"""Where voxels of a tensor lie on the slices they were made of, and on which side they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mr_solid_models import enhancing_model
from mr_studies import phases_in, small_plan, written

from node.errors import ModelError
from node.imaging.breast_region import BreastLabel
from node.imaging.solid_bits import voxels_of_bits
from node.imaging.voxels import require_comparable
from node.inference.inputs import prepared_phases
from node.inference.on_volumes import OnVolumes, on_volumes
from node.inference.solids import score_solids
from node.manifest import Model, SolidsOutput
from node.study import Laterality
from node.trial.breast_mr.body import ONE_BREAST
from node.trial.breast_mr.raster import Orientation

SIZE = (50, 70, 100)
SHAPE = (20, 40, 48)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return enhancing_model(tmp_path_factory.mktemp("model"), mm=4.0, size=SIZE)


def read(model: Model, folder: Path, *, backwards: bool = False, **of: Any) -> OnVolumes:
    phases = phases_in(written(small_plan(shape=SHAPE, **of), folder))
    slices = {"pre": phases["pre"], "early": phases["post 2"]}
    if backwards:
        slices = {role: one[::-1] for role, one in slices.items()}
    prepared = prepared_phases(slices, model.manifest)
    return on_volumes(slices, require_comparable(slices).stacks, prepared)


def output_of(model: Model, **changes: Any) -> SolidsOutput:
    output = model.manifest.outputs[0]
    assert isinstance(output, SolidsOutput)
    return output.model_copy(update=changes)


def tensor(*voxels: tuple[int, int, int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = np.zeros((2, *SIZE), np.float32)
    for at in voxels:
        values[(0, *at)] = 1.0
    return values


@pytest.mark.parametrize("orientation", [Orientation.AXIAL, Orientation.SAGITTAL], ids=str)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_voxel_marks_the_pixel_that_it_lies_in(
    orientation: Orientation, backwards: bool, model: Model, tmp_path: Path
) -> None:
    on = read(model, tmp_path, backwards=backwards, orientation=orientation)
    mask = np.zeros(SIZE, np.bool_)
    mask[20, 30, 60] = True
    (found, *_) = np.argwhere(on.on_slices(mask))
    there = (on.order[found[0]], found[1], found[2])
    at = on.stack.geometry.affine @ [*there, 1]
    wanted = on.grid.affine @ [20, 30, 60, 1]
    half = np.abs(on.stack.geometry.affine[:3, :3]).sum(axis=1) / 2
    assert (np.abs(at - wanted)[:3] <= half + 4).all()


def test_what_lies_on_what_was_filled_up_counts_for_nothing(model: Model, tmp_path: Path) -> None:
    on = read(model, tmp_path)
    everything = np.ones((2, *SIZE), np.float32)
    score = score_solids(everything, output_of(model, split="none"), on)
    ml = np.prod([one.sum() for one in on.covered()]) * 0.064
    assert score.solids[0].ml == pytest.approx(ml)
    assert ml < np.prod(SIZE) * 0.064
    assert voxels_of_bits(score.solids[0].bits, *on.size).on(3)[:-1].all(), (
        "the window ends within the last row"
    )


def test_a_plane_beside_the_slices_lies_nearest_to_none_of_them(tmp_path: Path) -> None:
    on = read(enhancing_model(tmp_path / "model", mm=4.0, size=(90, 70, 100)), tmp_path / "study")
    covered = on.covered()[0].tolist()
    assert {*covered} == {True, False}
    assert [on.nearest_slice(0, place) is not None for place in range(90)] == covered


def test_sides_are_those_of_labels_and_of_the_midline(model: Model, tmp_path: Path) -> None:
    on = read(model, tmp_path)
    assert on.phases.region is not None
    labels = on.phases.region.labels
    for region in (BreastLabel.RIGHT_BREAST, BreastLabel.LEFT_BREAST):
        values = np.zeros((2, *SIZE), np.float32)
        values[0][labels == region] = 1
        right, left = score_solids(values, output_of(model), on).solids[:2]
        most, none = (right, left) if region is BreastLabel.RIGHT_BREAST else (left, right)
        assert most.ml == pytest.approx((labels == region).sum() * 0.064, rel=0.02)
        assert none.ml == 0 and not none.decisive
    values = np.zeros((2, *SIZE), np.float32)
    values[1][labels == BreastLabel.SKIN] = 1
    of_skin = [one for one in score_solids(values, output_of(model), on).solids if one.part == 1]
    assert [one.side for one in of_skin] == [Laterality.RIGHT, Laterality.LEFT]
    first, second = (one.ml for one in of_skin)
    assert 0.7 < first / second < 1.4


def test_of_one_breast_all_is_of_its_side(model: Model, tmp_path: Path) -> None:
    on = read(model, tmp_path, body=ONE_BREAST)
    found = score_solids(np.ones((2, *SIZE), np.float32), output_of(model), on).solids
    assert [(one.part, one.side) for one in found if one.ml] == [
        (0, Laterality.LEFT),
        (1, Laterality.LEFT),
    ]


def test_what_is_smaller_than_wanted_counts_as_none(model: Model, tmp_path: Path) -> None:
    on = read(model, tmp_path)
    values = tensor((20, 30, 60), (20, 30, 61))
    for smallest, expected in ((0.1, 0.128), (0.2, 0.0)):
        output = output_of(model, split="none", smallest_ml=smallest)
        assert score_solids(values, output, on).solids[0].ml == pytest.approx(expected)


def test_parts_of_phases_that_lack_are_not_said_and_what_is_no_share_is_refused(
    model: Model, tmp_path: Path
) -> None:
    on = read(model, tmp_path)
    output = output_of(model, split="none")
    first, second = output.parts
    lacking = second.model_copy(update={"needs": ("late",)})
    needing = output.model_copy(update={"parts": (first, lacking)})
    assert [one.part for one in score_solids(tensor(), needing, on).solids] == [0]
    with pytest.raises(ModelError, match=r"holds values outside 0\.\.1"):
        score_solids(2 * tensor((1, 1, 1)), output, on)
