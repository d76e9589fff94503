"""A volume has the signal of its slices where they lie, whatever order and object they came in."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from mr_stacks import AXIAL, CORONAL, SAGITTAL, Stacked, enhanced, header, saved, with_pixels
from numpy.typing import NDArray
from pydicom import dcmread, uid

from node.errors import StudyError, Unreadable
from node.imaging.volume import Slice, slices_of, volume_of

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)
STACKED = Stacked(count=7, rows=8, columns=10)


def stored_of(stacked: Stacked) -> NDArray[np.uint16]:
    shape = (stacked.count, stacked.rows, stacked.columns)
    return np.random.default_rng(18).integers(0, 4000, shape).astype(np.uint16)


def written(stacked: Stacked, folder: Path) -> list[Path]:
    """One file a slice; names and Instance Numbers say something else than places."""
    folder.mkdir(exist_ok=True)
    paths = []
    for index, values in enumerate(stored_of(stacked)):
        one = with_pixels(header(stacked, index), values)
        one.InstanceNumber = (index * 5) % stacked.count
        paths.append(saved(one, folder / f"{(index * 3) % stacked.count:04}.dcm"))
    return paths


def read(paths: list[Path]) -> list[Slice]:
    return [one for path in paths for one in slices_of(path)]


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("step_mm", [2.5, -2.5])
def test_a_volume_is_as_another_reader_makes_it(
    orientation: tuple[float, ...], step_mm: float, tmp_path: Path
) -> None:
    paths = written(STACKED.of(orientation=orientation, step_mm=step_mm), tmp_path)

    ours = volume_of(read(sorted(paths)))

    theirs = highdicom.get_volume_from_series([dcmread(path) for path in paths])
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)
    assert ours.frame_of_reference_uid == theirs.frame_of_reference_uid
    assert ours.array.dtype == np.float32


def test_an_enhanced_object_gives_the_volume_of_its_slices(tmp_path: Path) -> None:
    classic = volume_of(read(written(STACKED, tmp_path / "classic")))
    order = [3, 0, 6, 1, 5, 2, 4]
    one = with_pixels(enhanced(STACKED, order), stored_of(STACKED)[order])
    path = saved(one, tmp_path / "enhanced.dcm")

    volume = volume_of(slices_of(path))

    np.testing.assert_array_equal(volume.array, classic.array)
    np.testing.assert_allclose(volume.affine, classic.affine, atol=1e-6)


def test_one_phase_of_an_enhanced_object_of_several_is_read_alone(tmp_path: Path) -> None:
    order = [*range(7), *range(7)]
    values = np.concatenate([stored_of(STACKED), stored_of(STACKED) + 1000])
    slices = slices_of(saved(with_pixels(enhanced(STACKED, order), values), tmp_path / "both.dcm"))

    pre, post = volume_of(slices[:7]), volume_of(slices[7:])

    np.testing.assert_array_equal(post.array, pre.array + 1000)
    with pytest.raises(StudyError, match=r"2 slices at -18\.0 mm; .*; 4 more"):
        volume_of(slices)


def test_compressed_slices_are_read_as_well(tmp_path: Path) -> None:
    paths = written(STACKED, tmp_path)
    plain = volume_of(read(paths))
    for path in paths:
        one = dcmread(path)
        one.compress(uid.RLELossless, generate_instance_uid=False)
        one.save_as(path)
    np.testing.assert_array_equal(volume_of(read(paths)).array, plain.array)


def test_signal_is_rescaled_and_may_be_signed(tmp_path: Path) -> None:
    paths = []
    for index in range(3):
        one = with_pixels(header(STACKED, index), np.full((8, 10), -7, np.int16))
        one.RescaleSlope, one.RescaleIntercept = 2, 100
        paths.append(saved(one, tmp_path / f"{index}.dcm"))
    assert np.unique(volume_of(read(paths)).array).tolist() == [86.0]


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(1.0, 0.0), (0.1234567, -50.0), (2.442002442, 0.0), (0.0071, -29.05), (0.01, 8e4)],
)
def test_signal_is_rounded_once_and_no_two_stored_values_become_one(
    slope: float, intercept: float, tmp_path: Path
) -> None:
    stored = np.arange(4096, dtype=np.uint16).reshape(2, 32, 64)
    paths = []
    for index, values in enumerate(stored):
        one = with_pixels(header(STACKED, index), values)
        one.RescaleSlope, one.RescaleIntercept = slope, intercept
        paths.append(saved(one, tmp_path / f"{index}.dcm"))
    signal = volume_of(read(paths)).array[::-1]  # from the head
    np.testing.assert_array_equal(signal, (stored * slope + intercept).astype(np.float32))
    assert np.unique(signal).size == 4096


def test_padding_is_no_signal(tmp_path: Path) -> None:
    paths = []
    for index in range(2):
        one = with_pixels(header(STACKED, index), np.full((8, 10), 65000, np.uint16))
        one.PixelPaddingValue = 65000
        paths.append(saved(one, tmp_path / f"{index}.dcm"))
    assert not volume_of(read(paths)).array.any()


def test_a_volume_with_a_slice_missing_is_refused(tmp_path: Path) -> None:
    slices = read(written(STACKED, tmp_path))
    with pytest.raises(StudyError, match=r"a slice is missing between -26\.0 mm and -22\.0 mm"):
        volume_of(slices[:3] + slices[4:])


def test_slices_on_different_scales_are_refused(tmp_path: Path) -> None:
    first, *others = read(written(STACKED, tmp_path))
    other = replace(first, scale=replace(first.scale, slope=1.5))
    with pytest.raises(StudyError, match="signal on different scales"):
        volume_of([other, *others])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour image"),
        ({"PixelData": b"\0" * 20}, "pixel data is 20 bytes long"),
        ({"BitsStored": 12}, "cannot be read"),
        ({"BitsStored": 2, "HighBit": 1}, "values of more than 2 bits"),
    ],
)
def test_a_slice_that_cannot_be_read_is_refused_in_words(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    paths = written(STACKED, tmp_path)
    one = dcmread(paths[2])
    for keyword, value in change.items():
        setattr(one, keyword, value)
    one.save_as(paths[2])
    with pytest.raises(Unreadable, match=words):
        volume_of(read(paths))


def test_of_4000_slices_one_phase_and_one_slice_are_in_memory(tmp_path: Path) -> None:
    stacked = STACKED.of(rows=64, columns=64, count=200)
    values = np.full((64, 64), 7, np.uint16)
    path = saved(with_pixels(header(stacked, 0), values), tmp_path / "each.dcm")
    (first,) = slices_of(path)
    phases = [
        [_moved(first, stacked, phase, index) for index in range(stacked.count)]
        for phase in range(20)
    ]
    of_a_phase, of_a_slice = 200 * 64 * 64 * 4, 64 * 64 * 4

    tracemalloc.start()
    try:
        for slices in phases:
            assert volume_of(slices).array.shape == (200, 64, 64)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert sum(map(len, phases)) == 4000
    assert most < of_a_phase + 8 * of_a_slice + (1 << 20)  # 1 MiB: of the list, and of reading


def _moved(first: Slice, stacked: Stacked, phase: int, index: int) -> Slice:
    x, y, z = stacked.position(index)
    plane = replace(first.plane, sop_uid=f"2.25.{phase}{index:03}", position=(x, y, z))
    return replace(first, plane=plane)
