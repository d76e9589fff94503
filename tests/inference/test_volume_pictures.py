"""A child draws slices of a phase and what it adds, of classic and enhanced objects alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mr_models import uptake_model
from mr_studies import phases_in, small_plan, written

from node import config
from node.errors import StudyError
from node.imaging.stack import stack_of
from node.imaging.standard_view import axial_projection
from node.imaging.volume import signal_of, volume_of
from node.imaging.volume_pictures import volume_picture
from node.inference import Inference
from node.inference.line import Message
from node.inference.messages import answered, volume_picture_in
from node.packages.exams import selected
from node.study import Frame, Picture, VolumePicture
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.styles import STYLES


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inference]:
    model = uptake_model(tmp_path_factory.mktemp("model"))
    with Inference(config.InferenceSettings(), [model]) as running:
        yield running


def phases(folder: Path, **changes: object) -> tuple[tuple[Frame, ...], ...]:
    model = uptake_model(folder / "models")
    (unit,) = selected(model, written(small_plan(**changes), folder / "study")).units
    return tuple(unit.volumes.values())


@pytest.mark.parametrize("style", ["standard", "enhanced", "Philips, slice by slice"])
@pytest.mark.parametrize("orientation", [Orientation.AXIAL, Orientation.SAGITTAL])
def test_slices_are_those_that_were_asked_for_and_brighter_where_there_is_more_signal(
    inference: Inference, tmp_path: Path, style: str, orientation: Orientation
) -> None:
    before, after = phases(tmp_path, style=STYLES[style], orientation=orientation)
    places = (5, 9, 2)
    made = inference.volume_picture(before, after, places)
    assert tuple(made.slices) == places
    slices = phases_in(sorted((tmp_path / "study").iterdir()))
    posts = {(one.plane.sop_uid, one.plane.frame): one for one in slices["post 1"]}
    stack = stack_of([one.plane for one in slices["post 1"]])
    at = {(plane.sop_uid, plane.frame): n for n, plane in enumerate(stack.planes)}
    signal = volume_of(slices["post 1"]).array
    for place in places:
        frame = after[place]
        key = (frame.instance.sop_uid, frame.number)
        assert key in posts
        shown, stored = made.slices[place].grey.astype(float), signal[at[key]]
        assert shown.shape == stored.shape
        assert np.corrcoef(shown.ravel(), stored.ravel())[0, 1] > 0.95
    pre = volume_of(slices["pre"]).array
    projection = axial_projection(stack.affine)
    expected = projection.of(enumerate(np.maximum(signal - pre, 0)), stack.shape)
    assert made.projection is not None
    seen = made.projection.grey.astype(float)
    assert seen.shape == expected.shape
    assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.85
    brightest = np.unravel_index(expected.argmax(), expected.shape)
    assert seen[brightest] == 255


def test_one_phase_alone_has_no_projection(inference: Inference, tmp_path: Path) -> None:
    before, _ = phases(tmp_path)
    made = inference.volume_picture(before, (), (0,))
    assert made.projection is None and list(made.slices) == [0]


@pytest.mark.parametrize("style", ["standard", "enhanced"])
def test_slices_of_phases_are_drawn_in_one_window_so_that_they_can_be_compared(
    inference: Inference, tmp_path: Path, style: str
) -> None:
    before, after = phases(tmp_path, style=STYLES[style])
    of = phases_in(sorted((tmp_path / "study").iterdir()))
    pictures = inference.slice_pictures((before[8], after[8]))
    signals = []
    for name, frame in (("pre", before[8]), ("post 1", after[8])):
        (one,) = [
            s
            for s in of[name]
            if (s.plane.sop_uid, s.plane.frame) == (frame.instance.sop_uid, frame.number)
        ]
        signals.append(signal_of(one))
    dark, bright = (picture.grey.astype(float) for picture in pictures)
    assert dark.shape == bright.shape == small_plan().shape[1:]
    seen = np.concatenate([dark.ravel(), bright.ravel()])
    true = np.concatenate([one.ravel() for one in signals])
    within = (seen > 0) & (seen < 255)
    slope, offset = np.polyfit(true[within], seen[within], 1)
    assert slope > 0
    assert np.abs(seen[within] - (slope * true[within] + offset)).max() < 1, "one scale for both"
    # Drawn the other way round, each is as bright as before.
    again = inference.slice_pictures((after[8], before[8]))
    assert [one.grey.tobytes() for one in again] == [p.grey.tobytes() for p in pictures[::-1]]


def test_a_slice_that_is_none_is_refused(inference: Inference, tmp_path: Path) -> None:
    before, _ = phases(tmp_path, style=STYLES["enhanced"])
    with pytest.raises(StudyError, match="99"):
        inference.slice_pictures((replace(before[0], number=99),))


def test_phases_of_other_grids_and_slices_that_are_none_are_refused(
    inference: Inference, tmp_path: Path
) -> None:
    before, after = phases(tmp_path)
    other, _ = phases(tmp_path / "other", shape=(16, 32, 40))
    with pytest.raises(StudyError, match="another grid"):
        inference.volume_picture(before, other, ())
    with pytest.raises(StudyError, match="not of the stack"):
        inference.volume_picture(before, after, (16,))
    slices = phases_in(sorted((tmp_path / "study").iterdir()))
    with pytest.raises(StudyError, match="missing"):
        volume_picture(slices["pre"][:4] + slices["pre"][5:], (), ())


SOUND = VolumePicture(
    {4: Picture(np.zeros((2, 3), np.uint8), 1.0)}, Picture(np.zeros((5, 2), np.uint8), 1.0)
)


def test_an_answer_is_read_as_it_was_given() -> None:
    read = volume_picture_in(answered(SOUND), [4], has_projection=True)
    assert isinstance(read, VolumePicture) and read.projection is not None
    assert read.slices[4].grey.shape == (2, 3) and read.projection.grey.shape == (5, 2)


@pytest.mark.parametrize(
    ("answer", "places", "has_projection"),
    [
        (SOUND, [4, 5], True),
        (SOUND, [], True),
        (SOUND, [4], False),
        (replace(SOUND, projection=None), [4], True),
    ],
)
def test_an_answer_to_another_question_is_none(
    answer: VolumePicture, places: list[int], has_projection: bool
) -> None:
    with pytest.raises(ValueError, match=r"other slices|projection"):
        volume_picture_in(answered(answer), places, has_projection=has_projection)


def test_bytes_too_few_or_too_many_are_no_answer() -> None:
    sound = answered(SOUND)
    for body in (sound.body[:-1], sound.body + b"\0", b""):
        with pytest.raises(ValueError, match="another size"):
            volume_picture_in(Message(sound.head, body), [4], has_projection=True)
