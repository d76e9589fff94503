"""Networks that read phases of breast MRI, from files to a result, against another computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mr_models import ramp_of, uptake_model
from mr_studies import small_plan, written
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from node.analysis.pipeline import image_digest_of
from node.dicom.header import read_header
from node.domains.description import describe
from node.errors import StudyError
from node.manifest import Model
from node.offline import StudyOutcome, analyse_folder
from node.packages.exams import selected
from node.study import Frame, Unit
from node.trial.breast_mr.body import MOVED, ONE_BREAST, STRONG_BACKGROUND, USUAL, Body
from node.trial.breast_mr.faults import Fault
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.styles import STYLES, Family

Floats = NDArray[np.float64]
ALL = ("pre", "post 1", "post 2")
MM, SIZE = 4.0, (32, 48, 96)
"""As in the manifest of tests/mr_models.py."""


def analysed(paths: Sequence[Path], model: Model, folder: Path) -> StudyOutcome:
    (study,) = analyse_folder(paths, folder / "results", model, lambda: None).studies
    return study


def score_of(study: StudyOutcome) -> float:
    assert study.result is not None, study.words
    (evaluation,) = study.result.evaluations
    (score,) = evaluation.measurements
    return score.value


# Another computation: stored pixels by position, matrices of weights, and a sigmoid


def signal(objects: Sequence[Dataset]) -> tuple[Floats, list[float]]:
    """Return a phase with its axes to head, back and left, and the length of its voxels."""
    cosines = np.array(objects[0].ImageOrientationPatient, float)
    across, down = cosines[:3], cosines[3:]
    through = np.cross(across, down)
    objects = sorted(objects, key=lambda one: float(np.array(one.ImagePositionPatient) @ through))
    slopes = [float(one.get("RescaleSlope", 1)) for one in objects]
    stored = np.stack([one.pixel_array * slope for one, slope in zip(objects, slopes, strict=True)])
    first, last = (np.array(one.ImagePositionPatient, float) for one in (objects[0], objects[-1]))
    between = float(np.linalg.norm(last - first)) / (len(objects) - 1)
    mm = [between, *map(float, objects[0].PixelSpacing)]
    axes = [through, down, across]
    order = [int(np.argmax([abs(axis[of]) for axis in axes])) for of in (2, 1, 0)]
    turned = np.transpose(stored, order)
    for at, (axis, of) in enumerate(zip(order, (2, 1, 0), strict=True)):
        if axes[axis][of] < 0:
            turned = np.flip(turned, at)
    return turned, [mm[axis] for axis in order]


def weights(count: int, mm: float) -> Floats:
    new = round(count * mm / MM)
    at = (np.arange(new) - (new - 1) / 2) * MM / mm + (count - 1) / 2
    reach = max(1.0, MM / mm)
    matrix = np.maximum(0, 1 - np.abs(np.arange(count) - at[:, np.newaxis]) / reach)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def seen(objects: Sequence[Dataset]) -> Floats:
    values, mm = signal(objects)
    for axis in range(3):
        matrix = weights(values.shape[axis], mm[axis])
        values = np.moveaxis(np.tensordot(matrix, values, (1, axis)), 0, axis)
    window = np.zeros(SIZE)
    shares = [
        (max(there - room, 0) // 2, max(room - there, 0) // 2, min(there, room))
        for there, room in zip(values.shape, SIZE, strict=True)
    ]
    window[tuple(slice(begin, begin + n) for _, begin, n in shares)] = values[
        tuple(slice(cut, cut + n) for cut, _, n in shares)
    ]
    return window


def expected_score(paths: Sequence[Path], positions: tuple[int, int]) -> float:
    objects = [dcmread(path) for path in paths]
    pre, post = (
        seen([one for one in objects if one.TemporalPositionIdentifier == position])
        for position in positions
    )
    low, high = np.percentile(pre, (1, 99))
    first, last = (np.clip((phase - low) / (high - low), 0, 1) for phase in (pre, post))
    return float(100 / (1 + np.exp(-((last - first) * ramp_of(SIZE)).mean())))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"backwards": True},
        {"turned": True},
        {"orientation": Orientation.SAGITTAL},
        {"orientation": Orientation.OBLIQUE},
        {"body": STRONG_BACKGROUND},
    ],
    ids=str,
)
def test_a_score_is_what_another_computation_makes_of_the_files(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    paths = written(small_plan(**changes), tmp_path / "study")
    study = analysed(paths, uptake_model(tmp_path), tmp_path)
    assert score_of(study) == pytest.approx(expected_score(paths, (1, 2)), abs=1e-4)


def test_enhanced_objects_are_read_as_the_same_slices_one_by_one_are(tmp_path: Path) -> None:
    styles = [style for style in STYLES.values() if style.family is not Family.CLASSIC]
    assert styles
    model = uptake_model(tmp_path)
    for number, style in enumerate(styles):
        scores = []
        for family in (style.family, Family.CLASSIC):
            folder = tmp_path / f"{number} {family}"
            paths = written(small_plan(style=replace(style, family=family)), folder / "study")
            scores.append(score_of(analysed(paths, model, folder)))
        assert scores[0] == pytest.approx(scores[1], abs=1e-4), style


# What is amiss


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.MISSING_SLICE, "post 2: a slice is missing between "),
        (Fault.MISSING_PHASE, "this model does not read it without post 2; there: pre, post 1"),
        (Fault.OTHER_GRID, "post 2 has another grid than pre: voxels of "),
        (Fault.WRONG_RESCALE, "pre and post 2: signal on different scales ("),
    ],
)
def test_what_is_amiss_is_answered_once_in_words(fault: Fault, words: str, tmp_path: Path) -> None:
    paths = written(small_plan(fault=fault), tmp_path / "study")
    study = analysed(paths, uptake_model(tmp_path, roles=ALL), tmp_path)
    assert study.result is not None
    (refusal,) = study.result.refused
    assert (refusal.what, refusal.reason[: len(words)]) == ("Exam", words)
    assert study.words == f"not analysed: {refusal.reason}"
    assert study.details == (f"not analysed: Exam: {refusal.reason}",)


def test_a_phase_that_is_missing_may_be_blank(tmp_path: Path) -> None:
    paths = written(small_plan(fault=Fault.MISSING_PHASE), tmp_path / "study")
    model = uptake_model(tmp_path, roles=ALL, missing="blank")
    study = analysed(paths, model, tmp_path)
    pre = seen([one for one in map(dcmread, paths) if one.TemporalPositionIdentifier == 1])
    low, high = np.percentile(pre, (1, 99))
    mean = (np.clip((pre - low) / (high - low), 0, 1) * ramp_of(SIZE)).mean()
    assert score_of(study) == pytest.approx(100 / (1 + np.exp(mean)), abs=1e-4)


def test_a_slice_that_cannot_be_decoded_is_told_with_its_phase(tmp_path: Path) -> None:
    paths = written(small_plan(), tmp_path / "study")
    spoilt = next(path for path in paths if dcmread(path).TemporalPositionIdentifier == 2)
    one = dcmread(spoilt)
    one.PixelData = one.PixelData[:100]
    one.save_as(spoilt)
    study = analysed(paths, uptake_model(tmp_path), tmp_path)
    assert study.words.startswith("not analysed: post 1: pixel data is 100 bytes long")


def test_a_phase_of_one_tone_is_not_given_to_the_network(tmp_path: Path) -> None:
    paths = written(small_plan(), tmp_path / "study")
    for path in paths:
        one = dcmread(path)
        if one.TemporalPositionIdentifier == 2:
            one.PixelData = bytes(len(one.PixelData))
            one.save_as(path)
    study = analysed(paths, uptake_model(tmp_path), tmp_path)
    words = "post 1: nothing to be seen in this volume: it is of one tone"
    assert study.words == f"not analysed: {words}"


def test_a_body_that_moved_is_told_with_how_far(tmp_path: Path) -> None:
    paths = written(small_plan(body=MOVED, shape=(48, 80, 96)), tmp_path / "study")
    study = analysed(paths, uptake_model(tmp_path, roles=ALL), tmp_path)
    assert study.result is not None
    told = [one for one in study.result.statements if "moved" in one]
    assert [one[:14] for one in told] == ["Exam: moved by"] * 2
    for one, role in zip(told, ("post 1", "post 2"), strict=True):
        assert one.endswith(f" mm between pre and {role} (more than 2 mm).")


# What a score is kept by


def unit_of(paths: Sequence[Path], model: Model) -> Unit:
    (unit,) = selected(model, paths).units
    return unit


def test_a_score_is_known_again_by_all_its_slices_and_where_they_lie(tmp_path: Path) -> None:
    paths = written(small_plan(), tmp_path / "study")
    model = uptake_model(tmp_path)
    unit = unit_of(paths, model)
    known = {image_digest_of(unit)}
    assert image_digest_of(unit_of(paths, model)) in known

    frame = unit.volumes["post 1"][3]
    one = dcmread(frame.instance.path)
    one.PatientName = "Other^Name"
    one.save_as(frame.instance.path)
    assert image_digest_of(unit) in known, "who the patient is does not count"

    for keyword, value in (
        ("ImagePositionPatient", [0, 0, 1]),
        ("RescaleSlope", 2),
        ("PixelSpacing", [9, 9]),
        ("PixelData", bytes(len(one.PixelData))),
    ):
        other = dcmread(frame.instance.path)
        if keyword == "RescaleSlope":
            other.RescaleIntercept = 0
        setattr(other, keyword, value)
        other.save_as(frame.instance.path)
        digest = image_digest_of(unit)
        assert digest not in known, keyword
        known.add(digest)


def test_frames_and_roles_count_too(tmp_path: Path) -> None:
    style = next(style for style in STYLES.values() if style.family is not Family.CLASSIC)
    (path, *_) = written(small_plan(style=style), tmp_path)
    instance = describe(read_header(path), path, "")
    first, second = (
        {"pre": (Frame(instance, 1), Frame(instance, 2)), "post 1": (Frame(instance, number),)}
        for number in (3, 4)
    )
    units = [Unit({}, "Exam", volumes=volumes) for volumes in (first, second)]
    units.append(Unit({}, "Exam", volumes={"post 2": first["post 1"], "pre": first["pre"]}))
    assert len({image_digest_of(unit) for unit in units}) == 3


def test_what_cannot_be_placed_is_refused_with_its_phase(tmp_path: Path) -> None:
    paths = written(small_plan(), tmp_path / "study")
    unit = unit_of(paths, uptake_model(tmp_path))
    path = unit.volumes["post 1"][0].instance.path
    one = dcmread(path)
    del one.ImagePositionPatient
    one.save_as(path)
    with pytest.raises(StudyError, match=r"^post 1: Image Position \(Patient\) missing"):
        image_digest_of(unit)


def test_slices_with_more_between_them_than_they_show_are_doubted(tmp_path: Path) -> None:
    paths = written(small_plan(), tmp_path / "study")
    for path in paths:
        one = dcmread(path)
        one.SliceThickness = 2.0
        one.save_as(path)
    study = analysed(paths, uptake_model(tmp_path / "models"), tmp_path)
    assert study.result is not None
    assert "Exam: slices 10.6 mm apart, but 2.0 mm thick." in study.result.statements


SIDES = """
about = "R breast"

[[outputs]]
kind = "score"
name = "uptake"
label = "AI uptake score"
tensor = "score"
activation = "sigmoid"
about = "L breast"
score = { value = "UPTAKE", scheme = "99TEST", meaning = "Uptake score" }
"""


@pytest.mark.parametrize(
    ("body", "labels", "said", "laterality"),
    [
        (
            ONE_BREAST,
            ["L breast AI uptake score"],
            [
                "One breast only is seen in the images, the left one.",
                "Nothing is said of the right breast: it is not in the images.",
            ],
            "L",
        ),
        (USUAL, ["R breast AI uptake score", "L breast AI uptake score"], [], "B"),
    ],
)
def test_nothing_is_said_of_a_breast_that_is_not_in_the_images(
    body: Body, labels: list[str], said: list[str], laterality: str, tmp_path: Path
) -> None:
    paths = written(small_plan(body=body, shape=(32, 64, 96)), tmp_path / "study")
    study = analysed(paths, uptake_model(tmp_path / "models", rest=SIDES), tmp_path)
    assert study.result is not None
    assert [one.label for one in study.result.evaluations] == labels
    about_sides = ("One breast", "Nothing is said", "Which breasts")
    assert [one for one in study.result.statements if one.startswith(about_sides)] == said
    (page,) = [one for path in study.written if (one := dcmread(path)).Modality == "OT"]
    assert page.ImageLaterality == laterality
