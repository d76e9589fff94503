"""Of volumes a score is asked for once, one slice each is drawn, and one refusal stands for all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from mr_models import uptake_model
from mr_studies import small_plan, written
from pydicom import dcmread

from node.analysis.conclusion import conclude, refused_images
from node.analysis.pipeline import MODEL_FAILED, Pipeline, ScoresInMemory, Task, analyse
from node.dicom.header import read_header
from node.domains.description import describe
from node.errors import ModelError, StudyError
from node.imaging.planes import planes_of
from node.manifest import Model, load_model
from node.packages.exams import selected
from node.result import PERCENT, Code, Measurement, OutputScore, Result, UnitScore
from node.study import Frame, Instance, Picture, StudyVersion, Unit, VolumePicture
from node.trial.breast_mr.styles import STYLES, Family

SCORE = OutputScore((Measurement(Code("UPTAKE", "99TEST", "Uptake score"), 51.0, PERCENT),))


class Told:
    """Answers as it is told, and remembers what it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.scored, self.drawn = error, list[str](), list[str]()

    def score(self, unit: Unit, model: Model) -> UnitScore:
        self.scored.append(unit.key)
        if self.error is not None:
            raise self.error
        return UnitScore(unit.key, (SCORE,))

    def picture(self, instance: Instance) -> Picture:
        self.drawn.append(instance.sop_uid)
        return Picture(np.zeros((32, 48), np.uint8), 1.0)

    def slice_pictures(self, frames: Sequence[Frame]) -> tuple[Picture, ...]:
        self.drawn += [one.instance.sop_uid for one in frames]
        return tuple(Picture(np.zeros((32, 48), np.uint8), 1.0) for _ in frames)

    def volume_picture(
        self, before: Sequence[Frame], after: Sequence[Frame], places: Sequence[int]
    ) -> VolumePicture:
        raise AssertionError("there are no solids")

    def pixel_digest(self, path: Path) -> str:
        raise AssertionError("nobody asks")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return uptake_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return written(small_plan(), tmp_path_factory.mktemp("study"))


def unit_of(model: Model, paths: Sequence[Path]) -> Unit:
    (unit,) = selected(model, paths).units
    return unit


def analysed(
    model: Model, paths: Sequence[Path], told: Told, scores: ScoresInMemory, *, is_last: bool = True
) -> Result:
    instances = tuple(describe(read_header(path), path, path.name) for path in paths)
    version = StudyVersion(
        study_uid=instances[0].study_uid,
        number=1,
        reason="all there",
        instances=instances,
        decided_at=datetime(2026, 3, 3, tzinfo=UTC),
        installation="tests",
    )
    pipeline = Pipeline(told, scores, UTC, ())
    task = Task(version, (model,), frozenset({"uptake"}), is_last_try=is_last)
    (result,), _ = analyse(pipeline, task)
    return result


def test_a_score_is_asked_for_once_and_middle_slices_are_drawn(
    model: Model, paths: list[Path]
) -> None:
    told, scores = Told(), ScoresInMemory()
    first, again = (analysed(model, paths, told, scores) for _ in range(2))
    assert first.evaluations == again.evaluations
    unit = unit_of(model, paths)
    assert told.scored == [unit.key]
    middle = {volume[len(volume) // 2].instance.sop_uid for volume in unit.volumes.values()}
    assert len(middle) == 2
    assert sorted(told.drawn) == sorted([*middle, *middle])
    assert [one.name for one in first.pictured] == [
        "pre, slice 9 of 16",
        "post 1, slice 9 of 16",
    ]


WOBBLES = {
    "position": ("ImagePositionPatient", 0, 0.0005),
    "orientation": ("ImageOrientationPatient", 1, 1e-7),
}


@pytest.mark.parametrize("wobble", WOBBLES)
def test_the_slice_that_is_drawn_and_referred_to_is_the_middle_one_wherever_numbers_wobble(
    wobble: str, model: Model, tmp_path: Path
) -> None:
    keyword, place, off = WOBBLES[wobble]
    heights = dict[str, float]()
    paths = written(small_plan(), tmp_path)
    places = sorted({float(dcmread(path).ImagePositionPatient[2]) for path in paths})
    for path in paths:
        one = dcmread(path)
        heights[one.SOPInstanceUID] = float(one.ImagePositionPatient[2])
        values = [float(value) for value in one[keyword].value]
        values[place] += off * (places.index(heights[one.SOPInstanceUID]) % 2)
        setattr(one, keyword, [f"{value:.9g}" for value in values])
        one.save_as(path)
    unit = unit_of(model, paths)
    for volume in unit.volumes.values():
        assert [heights[one.instance.sop_uid] for one in volume] == places[::-1], "from the head"
    result = analysed(model, paths, Told(), ScoresInMemory())
    (said,) = result.evaluations
    for uids in ([one.sop_uid for one in result.pictured], said.sop_uids):
        assert [heights[uid] for uid in uids] == [places[::-1][8]] * 2
    assert {one.name.split(", ")[1] for one in result.pictured} == {"slice 9 of 16"}


def test_frames_of_an_object_are_in_the_order_of_space_as_well(
    model: Model, tmp_path: Path
) -> None:
    for number, style in enumerate(one for one in STYLES.values() if one.family != Family.CLASSIC):
        paths = written(small_plan(style=style), tmp_path / str(number))
        heights = {
            (plane.sop_uid, plane.frame): plane.position[2]
            for path in paths
            for plane in planes_of(read_header(path))
        }
        for volume in unit_of(model, paths).volumes.values():
            found = [heights[one.instance.sop_uid, one.number] for one in volume]
            assert found == sorted(found, reverse=True)
            assert len(found) == 16


def test_a_study_of_a_class_that_is_not_read_is_refused_once(
    model: Model, paths: list[Path], tmp_path: Path
) -> None:
    other = uptake_model(tmp_path, name="enhanced-only")
    manifest = other.folder / "manifest.toml"
    text = manifest.read_text("utf-8").replace('    "1.2.840.10008.5.1.4.1.1.4",\n', "")
    manifest.write_text(text, "utf-8")
    result = analysed(load_model("enhanced-only", tmp_path), paths, Told(), ScoresInMemory())
    (refusal,) = result.refused
    assert refusal.what == "Exam"
    assert refusal.reason == "48 objects of MR Image, which this model does not read"

    style = next(style for style in STYLES.values() if style.family is Family.ENHANCED)
    beside = written(small_plan(style=style), tmp_path / "beside", study="other")
    read = analysed(
        load_model("enhanced-only", tmp_path), [*beside, *paths], Told(), ScoresInMemory()
    )
    assert read.refused == ()
    assert read.evaluations


def test_phases_without_a_frame_of_reference_are_doubted(model: Model, tmp_path: Path) -> None:
    paths = written(small_plan(), tmp_path)
    words = "Frame of Reference UID missing, so that nothing says that phases lie in one space"
    assert words not in unit_of(model, paths).doubts
    for path in paths:
        one = dcmread(path)
        del one.FrameOfReferenceUID
        one.save_as(path)
    assert unit_of(model, paths).doubts.count(words) == 1
    result = analysed(model, paths, Told(), ScoresInMemory())
    assert f"{words}: Exam." in result.statements


def test_a_failure_is_told_once_not_of_each_slice(model: Model, paths: list[Path]) -> None:
    unit = unit_of(model, paths)
    with pytest.raises(ModelError):
        analysed(model, paths, Told(ModelError("x")), ScoresInMemory(), is_last=False)
    failed = analysed(model, paths, Told(ModelError("x")), ScoresInMemory())
    refused = analysed(model, paths, Told(StudyError("post 1: no")), ScoresInMemory())
    for result, reason in ((failed, f"{MODEL_FAILED} Exam"), (refused, "post 1: no")):
        (refusal,) = result.refused
        assert (refusal.what, refusal.reason, refusal.is_failure) == ("Exam", reason, True)
        assert refusal.sop_uid == unit.volumes["pre"][0].instance.sop_uid
        assert result.reason == reason
    (one,) = refused_images(unit, "why")
    assert one.reason == "why"


def test_a_unit_without_a_score_is_refused_once(model: Model, paths: list[Path]) -> None:
    result = conclude(model, [unit_of(model, paths)], [], {})
    assert [one.reason for one in result.refused] == ["could not be analysed"]


def test_what_moved_is_stated_with_its_phase_and_how_far(model: Model, paths: list[Path]) -> None:
    unit = unit_of(model, paths)
    for displaced, words in (
        (("post 1", 3.14), ["Exam: moved by 3.1 mm between pre and post 1 (more than 2 mm)."]),
        (("post 1", 2.0), []),
        (
            ("post 1", None),
            ["Exam: by how much it moved between pre and post 1 could not be measured."],
        ),
        (("post 9", 30.0), []),
    ):
        score = UnitScore(unit.key, (SCORE,), displaced=(displaced,))
        said = conclude(model, [unit], [], {unit.key: score}).statements
        assert [one for one in said if "moved" in one] == words
