"""What a network gets of phases is what its manifest says, and lies where its grid says."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, permutations, product
from pathlib import Path

import numpy as np
import pytest
from highdicom import VolumeGeometry
from hypothesis import given, settings
from hypothesis import strategies as st
from mr_stacks import Stacked, header, saved, with_pixels
from mr_studies import phases_in, small_plan, written
from numpy.typing import NDArray
from PIL import Image

from node.errors import StudyError
from node.imaging import voxels
from node.imaging.motion import Displacement, displacement_of
from node.imaging.signal_scale import ScaleSource
from node.imaging.volume import Slice, slices_of, volume_of
from node.imaging.volume_resampling import axis_of, resampled_volume
from node.imaging.voxels import PreparedPhases, prepare_phases, require_comparable
from node.manifest.pixels import Normalise, Operation, ZScore
from node.manifest.voxels import OrientAxes, Percentiles, Signal, VolumeSize, VoxelSpacing
from node.trial.breast_mr.body import MOVED
from node.trial.breast_mr.faults import Fault
from node.trial.breast_mr.raster import Orientation, Raster
from node.trial.breast_mr.signal import Scanner
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import STYLES, Family, Style

Floats = NDArray[np.float64]
SIGNAL = Signal(op="signal")
ORIENT = OrientAxes(op="orient", axes="HPL")
WAYS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
"""In which a block of voxels can be cut into slices: 48."""


def spacing(*mm: float) -> VoxelSpacing:
    return VoxelSpacing(op="spacing", mm=(mm[0], mm[1], mm[2]))


def size(*counts: int, fill: float = 0) -> VolumeSize:
    slices, rows, columns = counts
    return VolumeSize(op="size", slices=slices, rows=rows, columns=columns, fill=fill)


def percentiles(low: float, high: float, of: str = "pre") -> Percentiles:
    return Percentiles.model_validate({"op": "percentiles", "low": low, "high": high, "of": of})


def cut(
    block: NDArray[np.uint16],
    mm: Sequence[float],
    way: tuple[Sequence[int], Sequence[int]] = ((0, 1, 2), (1, 1, 1)),
    name: str = "block",
    first: Sequence[float] = (-20.0, -30.0, -10.0),
) -> Iterator[Slice]:
    """Cut a block (z, y, x; towards head, back, left) into slices along any axis, either way."""
    order, signs = way
    there = np.transpose(block, order)
    flipped = there[tuple(slice(None, None, sign) for sign in signs)]
    axes = np.array([(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)])
    corner = np.array(first)
    for axis, sign in zip(order, signs, strict=True):
        if sign < 0:
            corner = corner + axes[axis] * mm[axis] * (block.shape[axis] - 1)
    through, down, across = (axes[axis] * sign for axis, sign in zip(order, signs, strict=True))
    stacked = Stacked(
        orientation=(*across, *down),
        step_mm=mm[order[0]] * float(np.sign(np.cross(across, down) @ through)),
        first=(corner[0], corner[1], corner[2]),
        spacing=(mm[order[1]], mm[order[2]]),
        count=len(flipped),
        name=name,
    )
    for index, values in enumerate(flipped):
        one = with_pixels(header(stacked, index), np.ascontiguousarray(values))
        (of_file,) = slices_of(saved(one, FOLDERS[-1] / f"{next(NUMBERS)}.dcm"))
        yield of_file


FOLDERS: list[Path] = []
NUMBERS = count()


@pytest.fixture(autouse=True)
def a_folder(tmp_path: Path) -> None:
    """Where slices are written: of a property, those of all examples."""
    FOLDERS.append(tmp_path)


def random_block(shape: Sequence[int], seed: int = 0, highest: int = 4000) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, highest, tuple(shape)).astype(np.uint16)


def prepared(
    slices: Sequence[Slice] | Mapping[str, Sequence[Slice]], *operations: Operation
) -> PreparedPhases:
    phases = slices if isinstance(slices, Mapping) else {"pre": slices}
    return prepare_phases(phases, operations)


def tensor_of(slices: Sequence[Slice], *operations: Operation) -> NDArray[np.float32]:
    return prepared(slices, *operations).volumes["pre"].tensor


def centres(grid: VolumeGeometry) -> Floats:
    """Return where each voxel lies, (slices, rows, columns, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    at: Floats = grid.map_indices_to_reference(index.reshape(-1, 3)).reshape(*grid.shape, 3)
    return at


# The same body, however it was cut


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(WAYS), st.sampled_from(["HPL", "FAR", "LPH", "PHL"]), st.integers(0, 9))
def test_one_body_gives_one_tensor_however_it_was_cut(
    way: tuple[tuple[int, ...], tuple[int, ...]], axes: str, seed: int
) -> None:
    block, mm = random_block((5, 6, 7), seed), (2.5, 0.75, 1.25)
    operations = (
        SIGNAL,
        OrientAxes(op="orient", axes=axes),
        spacing(1.5, 1.1, 1.9),
        size(5, 8, 4),
    )
    straight, turned = (
        prepared(list(cut(block, mm, one)), *operations).volumes["pre"]
        for one in (((0, 1, 2), (1, 1, 1)), way)
    )
    np.testing.assert_allclose(turned.tensor, straight.tensor, rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(turned.grid.affine, straight.grid.affine, atol=1e-6)


def test_axes_run_to_where_their_letters_say() -> None:
    block, mm = random_block((4, 5, 6)), (2.0, 1.0, 1.0)
    slices = list(cut(block, mm))
    to_head = tensor_of(slices, SIGNAL, ORIENT)[0, 0]
    np.testing.assert_array_equal(to_head, block.astype(np.float32))
    other = tensor_of(slices, SIGNAL, OrientAxes(op="orient", axes="RAF"))[0, 0]
    np.testing.assert_array_equal(other, block.transpose(2, 1, 0)[::-1, ::-1, ::-1])


@settings(max_examples=25, deadline=None)
@given(
    way=st.sampled_from(WAYS),
    slopes=st.tuples(*[st.integers(1, 9)] * 3),
    mm=st.tuples(*[st.sampled_from([0.5, 1.0, 2.0])] * 3),
    wanted=st.tuples(*[st.floats(0.4, 3.0)] * 3),
    counts=st.tuples(*[st.integers(4, 12)] * 3),
)
def test_a_ramp_is_in_each_voxel_what_it_is_at_the_place_that_the_grid_says(
    way: tuple[tuple[int, ...], tuple[int, ...]],
    slopes: tuple[int, ...],
    mm: tuple[float, ...],
    wanted: tuple[float, ...],
    counts: tuple[int, ...],
) -> None:
    shape = (11, 12, 13)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    block = (index @ np.array(slopes)).astype(np.uint16)
    first = (-20.0, -30.0, -10.0)
    found = prepared(
        list(cut(block, mm, way, first=first)),
        *(SIGNAL, ORIENT, spacing(*wanted), size(*counts, fill=-1)),
    ).volumes["pre"]
    at = (centres(found.grid) - first)[..., ::-1] / mm  # x, y, z are the last axis first
    expected = at @ np.array(slopes, float)
    reach = np.maximum(1.0, np.array(wanted) / mm)
    inside = ((at >= reach) & (at <= np.array(shape) - 1 - reach)).all(axis=-1)
    # A triangle over whole voxels is not quite balanced where the reduction is no whole number.
    off = 0.1 * float(np.array(slopes) @ (np.array(wanted) > mm))
    np.testing.assert_allclose(found.tensor[0, 0][inside], expected[inside], atol=2e-3 + off)
    outside = ((at < -0.75 * reach) | (at > np.array(shape) - 1 + 0.75 * reach)).any(axis=-1)
    assert (found.tensor[0, 0][outside] == -1).all()
    np.testing.assert_allclose(found.grid.spacing, wanted)


@pytest.mark.parametrize("orientation", Orientation)
@pytest.mark.parametrize("changes", [{}, {"backwards": True}, {"turned": True}], ids=str)
def test_a_generated_body_is_seen_as_it_is_at_the_grid_however_its_slices_lie(
    orientation: Orientation, changes: dict[str, bool], tmp_path: Path
) -> None:
    plan = small_plan(orientation=orientation, shape=(48, 56, 64), **changes)
    pre = phases_in(written(plan, tmp_path))["pre"]
    found = prepared(pre, SIGNAL, ORIENT, spacing(6, 6, 6), size(24, 36, 48)).volumes["pre"]
    expected = scanned(plan, found.grid)
    inside = covered(plan, found.grid)
    assert inside.mean() > 0.5
    here, there = found.tensor[0, 0][inside], expected[inside]
    assert np.corrcoef(here, there)[0, 1] > 0.97
    assert abs(here.mean() - there.mean()) < 0.03 * there.mean()
    if orientation is not Orientation.OBLIQUE:
        np.testing.assert_allclose(found.grid.direction, [[0, 0, 1], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    "style", [one for one in STYLES.values() if one.family is not Family.CLASSIC]
)
@pytest.mark.parametrize("orientation", Orientation)
def test_frames_give_voxel_by_voxel_what_slices_one_by_one_give(
    style: Style, orientation: Orientation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voxels, "_breasts_in", lambda _: None)  # which takes seconds
    found = [
        prepared(
            phases_in(written(small_plan(style=one, orientation=orientation), tmp_path / str(n))),
            *(SIGNAL, ORIENT, percentiles(0, 100)),
        ).volumes
        for n, one in enumerate((style, replace(style, family=Family.CLASSIC)))
    ]
    for role in ("pre", "post 1", "post 2"):
        frames, slices = found[0][role], found[1][role]
        np.testing.assert_allclose(frames.tensor, slices.tensor, atol=1e-5)
        np.testing.assert_allclose(frames.grid.affine, slices.grid.affine, atol=1e-6)
        assert frames.tensor.std() > 0.05


def raster_of(grid: VolumeGeometry) -> Raster:
    through, down, across = (tuple(map(float, axis)) for axis in grid.direction.T)
    first, mm = tuple(map(float, grid.position)), tuple(map(float, grid.spacing))
    return Raster(first, across, down, through, mm, grid.shape)  # type: ignore[arg-type]


def scanned(plan: StudyPlan, grid: VolumeGeometry) -> NDArray[np.float32]:
    """Return what a scanner sees of the body where the tensor has its voxels."""
    seconds = plan.schedule.middle_s(0)
    return Scanner(plan.body, raster_of(grid), "other").image(plan.weighting(), seconds=seconds)


def covered(plan: StudyPlan, grid: VolumeGeometry) -> NDArray[np.bool_]:
    """Return which voxels lie in what the slices cover."""
    at = plan.raster().indices(centres(grid).reshape(-1, 3))
    inside = ((at > 1) & (at < np.array(plan.shape) - 2)).all(axis=1)
    return np.asarray(inside.reshape(grid.shape))


# Phases whose headers differ a little


def of_stack(block: NDArray[np.uint16], name: str, **how: object) -> list[Slice]:
    """Write a block as the slices of a stack as it is described."""
    stacked = Stacked(count=len(block), name=name).of(**how)
    paths = [
        saved(with_pixels(header(stacked, at), values), FOLDERS[-1] / f"{next(NUMBERS)}.dcm")
        for at, values in enumerate(block)
    ]
    return [one for path in paths for one in slices_of(path)]


def turned_by(radians: float) -> tuple[float, ...]:
    """Return the orientation of axial slices that are turned about the first row."""
    return (1.0, 0.0, 0.0, 0.0, float(np.cos(radians)), float(np.sin(radians)))


STEEP = {"first": (-10.0, -10.0, -10.0), "step_mm": 2.0, "spacing": (2.0, 2.0)}


@pytest.mark.parametrize(
    ("shape", "of_pre", "of_post", "operations"),
    [
        ((24, 9, 9), {"step_mm": 2.0}, {"step_mm": 2.0000001}, [size(16, 16, 16)]),
        (
            (16, 16, 16),
            {**STEEP, "orientation": turned_by(np.pi / 4 - 2e-4)},
            {**STEEP, "orientation": turned_by(np.pi / 4 + 2e-4)},
            [size(16, 16, 16)],
        ),
        (
            (8, 24, 24),
            {"spacing": (1.0, 30.5007 / 24)},
            {"spacing": (1.0, 30.503 / 24)},
            [spacing(1.5, 1, 1), size(8, 24, 32)],
        ),
        (
            (16, 32, 32),
            {"first": (0.0, 0.0, 0.0), "step_mm": 1.0, "spacing": (1.0, 1.0)},
            {"first": (0.08, 0.0, 0.0), "step_mm": 1.0, "spacing": (1.0, 1.0005)},
            [size(8, 24, 32)],
        ),
    ],
    ids=["coarse", "axes", "half a voxel", "beside"],
)
def test_phases_of_one_grid_get_the_same_whatever_late_digits_of_their_headers_say(
    shape: tuple[int, int, int],
    of_pre: dict[str, object],
    of_post: dict[str, object],
    operations: list[Operation],
) -> None:
    block = random_block(shape, highest=1000)
    pre, post = of_stack(block, "a", **of_pre), of_stack(block, "b", **of_post)
    for phases in ({"pre": pre, "post 1": post}, {"post 1": post, "pre": pre}):
        found = prepared(phases, SIGNAL, ORIENT, *operations)
        one, other = found.volumes["pre"], found.volumes["post 1"]
        np.testing.assert_array_equal(other.tensor, one.tensor)
        np.testing.assert_array_equal(other.grid.affine, one.grid.affine)
        alone = prepared({"pre": pre}, SIGNAL, ORIENT, *operations).volumes["pre"]
        np.testing.assert_array_equal(one.grid.affine, alone.grid.affine)
        ((_, mm),) = found.displaced
        assert mm is None or mm == pytest.approx(0, abs=0.01)


def test_a_phase_without_another_before_it_is_measured_by_the_first() -> None:
    block = random_block((8, 9, 9))
    phases = {
        "post 1": of_stack(block, "a", step_mm=2.0),
        "post 2": of_stack(block, "b", step_mm=2.001),
    }
    found = prepared(phases, SIGNAL, ORIENT).volumes.values()
    assert [one.grid.spacing[0] for one in found] == [pytest.approx(2.0, abs=1e-9)] * 2


# Arithmetic


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    to=st.tuples(*[st.integers(1, 20)] * 3),
    seed=st.integers(0, 99),
)
def test_where_the_new_voxels_fill_the_same_length_it_is_what_pillow_makes(
    shape: tuple[int, ...], to: tuple[int, ...], seed: int
) -> None:
    values = random_block(shape, seed).astype(np.float32)
    axes = [axis_of(n, 1.0, n / new) for n, new in zip(shape, to, strict=True)]
    expected = values
    for axis, new in enumerate(to):
        planes = np.moveaxis(expected, axis, -1)
        made = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(plane)).resize(
                    (new, plane.shape[0]), Image.Resampling.BILINEAR
                )
            )
            for plane in planes
        ]
        expected = np.moveaxis(np.stack(made), -1, axis)
    np.testing.assert_allclose(resampled_volume(values, axes), expected, atol=2e-2)


def test_a_volume_of_the_spacing_that_is_wanted_is_left_as_it_is() -> None:
    block = random_block((6, 7, 8))
    found = tensor_of(list(cut(block, (2.0, 0.7, 0.7))), SIGNAL, ORIENT, spacing(2.0, 0.7, 0.7))
    np.testing.assert_array_equal(found[0, 0], block.astype(np.float32))


def test_numbers_of_a_header_that_are_a_little_off_make_no_other_number_of_voxels() -> None:
    for off in (-1e-9, 0, 1e-9):
        assert axis_of(85, 1.0 + off, 2.0).count == 42, "42.5"


def test_what_is_too_much_is_cut_and_what_is_free_is_filled_about_the_middle() -> None:
    block = random_block((7, 4, 6))
    found = prepared(list(cut(block, (2.0, 1.0, 1.0))), SIGNAL, ORIENT, size(4, 7, 6, fill=9))
    expected = np.full((4, 7, 6), 9, np.float32)
    expected[:, 1:5] = block[1:5]
    np.testing.assert_array_equal(found.volumes["pre"].tensor[0, 0], expected)
    np.testing.assert_allclose(found.volumes["pre"].grid.position, (-20.0, -31.0, -8.0))


def test_phases_are_scaled_by_that_before_contrast_wherever_it_stands() -> None:
    before, after = random_block((5, 6, 7), 1), random_block((5, 6, 7), 2, 6000)
    mm = (2.0, 1.0, 1.0)
    found = prepared(
        {"post 1": list(cut(after, mm, name="b")), "pre": list(cut(before, mm, name="a"))},
        *(SIGNAL, ORIENT, percentiles(5, 90)),
    )
    low, high = np.percentile(before.astype(np.float64), (5, 90))
    assert list(found.volumes) == ["post 1", "pre"]
    for role, block in (("pre", before), ("post 1", after)):
        expected = np.clip((block - low) / (high - low), 0, 1)
        np.testing.assert_allclose(found.volumes[role].tensor[0, 0], expected, atol=1e-5)


def test_or_each_by_its_own() -> None:
    before, after = random_block((5, 6, 7), 1), random_block((5, 6, 7), 2, 6000)
    mm = (2.0, 1.0, 1.0)
    phases = {"pre": list(cut(before, mm, name="a")), "post 1": list(cut(after, mm, name="b"))}
    found = prepared(phases, SIGNAL, ORIENT, percentiles(0, 100, "each"))
    for one in found.volumes.values():
        assert (one.tensor.min(), one.tensor.max()) == (0, 1)


def test_numbers_are_normalised_and_scored() -> None:
    block = random_block((5, 6, 7))
    slices = list(cut(block, (2.0, 1.0, 1.0)))
    normalise = Normalise(op="normalise", subtract=(100.0,), divide=(50.0,))
    found = tensor_of(slices, SIGNAL, ORIENT, normalise)[0, 0]
    np.testing.assert_allclose(found, (block.astype(float) - 100) / 50, rtol=1e-6)
    score = tensor_of(slices, SIGNAL, ORIENT, ZScore(op="z-score"))[0, 0]
    expected = (block - block.mean()) / block.std()
    np.testing.assert_allclose(score, expected, atol=1e-5)


def test_a_phase_of_one_tone_cannot_be_scaled() -> None:
    flat = np.full((4, 5, 6), 7, np.uint16)
    with pytest.raises(StudyError, match="pre: nothing to be seen: 1 % and 99 % of its voxels"):
        tensor_of(list(cut(flat, (2.0, 1.0, 1.0))), SIGNAL, ORIENT, percentiles(1, 99))


def test_what_is_scaled_by_a_phase_that_is_not_there_is_refused() -> None:
    slices = list(cut(random_block((4, 5, 6)), (2.0, 1.0, 1.0)))
    with pytest.raises(StudyError, match="there is no phase before contrast, by which"):
        prepared({"post 1": slices}, SIGNAL, ORIENT, percentiles(1, 99))


def test_a_spacing_that_makes_too_much_is_refused() -> None:
    slices = list(cut(random_block((4, 5, 6)), (80.0, 90.0, 90.0)))
    with pytest.raises(StudyError, match=r"pre: .* voxels of 0.1 x 0.1 x 0.1 mm are more than"):
        tensor_of(slices, SIGNAL, ORIENT, spacing(0.1, 0.1, 0.1))


# Refusals, before a pixel is decoded


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.MISSING_SLICE, r"^post 2: a slice is missing between -?\d+\.\d mm and "),
        (Fault.OTHER_GRID, r"^post 2 has another grid than pre: voxels of .* instead of "),
        (Fault.WRONG_RESCALE, r"^pre and post 2: signal on different scales \("),
    ],
)
def test_what_is_amiss_is_said_of_its_phase_before_a_pixel_is_read(
    fault: Fault, words: str, tmp_path: Path
) -> None:
    paths = written(small_plan(fault=fault), tmp_path)
    phases = phases_in(paths)
    for path in paths:
        path.unlink()
    with pytest.raises(StudyError, match=words):
        prepared(phases, SIGNAL, ORIENT, size(16, 16, 16))


def test_what_is_not_amiss_is_told(tmp_path: Path) -> None:
    stored = require_comparable(phases_in(written(small_plan(), tmp_path)))
    assert [stack.shape for stack in stored.stacks.values()] == [(16, 32, 48)] * 3
    assert stored.scale is ScaleSource.STORED


# Displacement, and memory


def test_displacement_is_measured_against_the_phase_before_contrast(tmp_path: Path) -> None:
    plan = small_plan(body=MOVED, shape=(48, 80, 96))
    phases = phases_in(written(plan, tmp_path))
    found = prepared(phases, SIGNAL, ORIENT, size(16, 16, 16))
    pre = volume_of(phases["pre"])
    for role, mm in found.displaced:
        assert mm is not None
        assert mm == pytest.approx(displacement_of(pre, volume_of(phases[role])).mm, abs=1e-6)
        assert mm == pytest.approx(3.0, abs=0.5)
    assert [role for role, _ in found.displaced] == ["post 1", "post 2"]


def test_what_cannot_be_measured_is_said_and_stops_nothing() -> None:
    one, other = (random_block((5, 6, 7), seed) for seed in (1, 2))
    mm = (2.0, 1.0, 1.0)
    phases = {"pre": list(cut(one, mm, name="a")), "post 1": list(cut(other, mm, name="b"))}
    assert prepared(phases, SIGNAL, ORIENT).displaced == (("post 1", None),)
    assert prepared({"post 1": phases["post 1"]}, SIGNAL, ORIENT).displaced == ()


@pytest.mark.parametrize("operations", [[spacing(6, 3, 3)], []], ids=["respaced", "cut"])
def test_one_phase_in_its_own_resolution_is_in_memory(
    operations: list[Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    # These work in cells of some millimetres, whatever the resolution is.
    monkeypatch.setattr(voxels, "displacement_of", lambda *_: Displacement((0, 0, 0), 1))
    monkeypatch.setattr(voxels, "_breasts_in", lambda _: None)
    shape, mm = (40, 160, 160), (3.0, 1.5, 1.5)
    of_a_phase = int(np.prod(shape)) * 4
    names = ["pre", "post 1", "post 2", "post 3"]
    phases = {
        name: list(cut(random_block(shape, seed), mm, name=name)) for seed, name in enumerate(names)
    }
    tracemalloc.start()
    try:
        prepared(phases, SIGNAL, ORIENT, *operations, size(8, 32, 32), percentiles(1, 99))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1.6 * of_a_phase
