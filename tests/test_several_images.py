"""Networks that read several images at once, and answer several things, from DICOM to result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO, exam
from packages import CLASSES
from pydicom import Dataset
from several_images import (
    HEIGHT,
    PIXELS,
    WIDTH,
    breast_network,
    parsed,
    sides_network,
    write,
)

from node import config
from node.analysis.pipeline import (
    Pipeline,
    ScoresInMemory,
    Task,
    analyse,
    image_digest_of,
)
from node.dicom.header import read_header
from node.domains.description import describe
from node.imaging.image import open_image
from node.imaging.operations import prepare
from node.inference import Inference
from node.manifest import Model
from node.packages.checking import check_package
from node.result import Evaluation, Result
from node.store import dataset_digest
from node.study import Instance, StudyVersion, Unit
from node.trial import phantom

VIEWS = (R_CC, L_CC, R_MLO, L_MLO)
SEVERAL = f"""(float[1,1,{HEIGHT},{WIDTH}] image)
    => (float[1,3] y, float[1,2] density, float[1,2,6] boxes, float[1,1,8,6] heat) {{
    y = Constant<value = float[1,3] {{0.0, -1.5, 2.0}}>()
    density = Constant<value = float[1,2] {{0.25, 0.75}}>()
    boxes = Constant<value = float[1,2,6] {{
        4.0, 8.0, 10.0, 20.0, 0.0, 1.0,  12.0, 30.0, 16.0, 36.0, 2.0, 0.0}}>()
    heat = MaxPool<kernel_shape = [8, 8], strides = [8, 8]>(image)
}}"""
GRADES = CLASSES.replace("[[output.", "[[outputs.").replace(
    "\n[[", 'combine = { breast = "none", exam = "none" }\n\n[[', 1
)
SEVERAL_OUTPUTS = f"""
[[outputs]]
name = "benign"
kind = "score"
tensor = "y"
element = 1
activation = "softmax"
label = "benign"
score = {{ value = "B", scheme = "99TEST", meaning = "Benign score" }}
combine = {{ breast = "mean of views", exam = "none" }}

[[outputs]]
name = "malignancy"
kind = "score"
tensor = "y"
element = 2
activation = "sigmoid"
label = "malignancy"
score = {{ value = "M", scheme = "99TEST", meaning = "Malignancy score" }}
combine = {{ breast = "highest", exam = "highest" }}

[outputs.calibration]
kind = "platt"
slope = 2.0
intercept = -1.0
data = "made up"

[[outputs]]
name = "density"
{GRADES}
[[outputs]]
name = "places"
kind = "boxes"
tensor = "boxes"
boxes = 2
threshold = 0.5
label = "lesion"
finding = {{ value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }}
score = {{ value = "L", scheme = "99TEST", meaning = "Lesion score" }}
activation = "sigmoid"
form = "left top right bottom score class"
classes = [
  {{ finding = {{ value = "M", scheme = "99TEST", meaning = "Mass" }}, label = "mass" }},
  {{ finding = {{ value = "C", scheme = "99TEST", meaning = "Calcium" }}, label = "calcium" }},
]

[[outputs]]
name = "warm"
kind = "heat map"
tensor = "heat"
label = "warmth"
height = 8
width = 6
concept = {{ value = "H", scheme = "99TEST", meaning = "Heat" }}
"""


def several_answers(folder: Path) -> Model:
    """Write and open a package with an output of nearly every kind."""
    return write(folder, parsed(SEVERAL), PIXELS + SEVERAL_OUTPUTS)


NETWORKS: dict[str, Callable[[Path], Model]] = {
    "breast": breast_network,
    "breast-blank": lambda folder: breast_network(folder, missing="blank"),
    "breast-first": lambda folder: breast_network(folder, repeated="first"),
    "breast-last": lambda folder: breast_network(folder, repeated="last"),
    "sides": sides_network,
    "several": several_answers,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {name: make(folder / name) for name, make in NETWORKS.items()}


@pytest.fixture(scope="module")
def inference(models: dict[str, Model]) -> Iterator[Inference]:
    settings = config.InferenceSettings(threads=1, processes=1)
    with Inference(settings, tuple(models.values())) as started:
        yield started


def received(datasets: Sequence[Dataset], folder: Path) -> tuple[Instance, ...]:
    paths = phantom.save(datasets, folder)
    return tuple(describe(read_header(path), path, dataset_digest(path)) for path in paths)


def concluded(inference: Inference, model: Model, instances: Sequence[Instance]) -> Result:
    pipeline = Pipeline(inference, ScoresInMemory(), UTC, ())
    moment = datetime(2026, 3, 10, 12, tzinfo=UTC)
    version = StudyVersion(instances[0].study_uid, 1, "all", tuple(instances), moment, "test")
    (result,), _ = analyse(pipeline, Task(version, (model,), frozenset()))
    return result


def said(result: Result) -> dict[str, float]:
    """Return the first number of what is said of each thing, by its label."""
    return {e.label: e.measurements[0].value for e in result.evaluations}


def percent(model: Model, instance: Instance) -> float:
    """Return 100 times the mean of what a network gets of an image."""
    image = prepare(open_image(instance.path), model.manifest.operations, instance.view)
    return 100 * float(image.tensor.mean())


def test_the_key_of_a_score_knows_which_image_is_in_which_role(tmp_path: Path) -> None:
    images = received(exam("key", VIEWS), tmp_path / "key")
    right, left = images[0], images[1]
    one = image_digest_of(Unit({"R CC": right, "L CC": left}, "Exam"))
    assert image_digest_of(Unit({"R CC": right, "L CC": left}, "Exam")) == one
    assert image_digest_of(Unit({"R CC": left, "L CC": right}, "Exam")) != one
    assert image_digest_of(Unit({"R CC": right}, "Exam")) != one


# The two images of a breast


def test_each_breast_is_scored_by_its_two_images_and_the_exam_by_the_higher(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    model = models["breast"]
    images = received(exam("breasts", VIEWS), tmp_path / "breasts")
    r_cc, l_cc, r_mlo, l_mlo = (percent(model, image) for image in images)
    right, left = 0.25 * r_cc + 0.75 * r_mlo, 0.25 * l_cc + 0.75 * l_mlo
    assert abs(right - left) > 0.1, "or they would be exchanged unnoticed"
    assert abs(right - (0.75 * r_cc + 0.25 * r_mlo)) > 0.1
    result = concluded(inference, model, images)
    assert said(result) == pytest.approx(
        {
            "Exam malignancy": max(right, left),
            "R breast malignancy": right,
            "L breast malignancy": left,
        },
        abs=1e-4,
    )
    assert result.is_complete
    assert set(result.analysed) == {image.sop_uid for image in images}


def test_a_breast_without_a_view_is_not_read_or_read_with_zeros_as_the_author_chose(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    images = received(exam("missing", VIEWS[:3]), tmp_path / "missing")
    result = concluded(inference, models["breast"], images)
    assert said(result).keys() == {"R breast malignancy"}, "nor is anything said of the exam"
    (refused,) = result.refused
    assert (refused.what, refused.reason) == ("L CC", "this model does not read it without MLO")
    assert not refused.is_failure
    model = models["breast-blank"]
    left = 0.25 * percent(model, images[1])
    found = said(concluded(inference, model, images))
    assert found["L breast malignancy"] == pytest.approx(left, abs=1e-4)


def test_of_two_images_of_a_view_none_or_the_first_or_the_last_is_read(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    datasets = exam("repeated", (R_CC, R_CC, R_MLO))
    for dataset, time in zip(datasets, ("111500", "101500", "120000"), strict=True):
        dataset.AcquisitionDate, dataset.AcquisitionTime = "20260310", time
    datasets[1].PixelData = (datasets[1].pixel_array // 2).tobytes()
    images = received(datasets, tmp_path / "repeated")
    later, earlier, mlo = (percent(models["breast"], image) for image in images)
    assert abs(later - earlier) > 1, "or the other would be read unnoticed"
    assert concluded(inference, models["breast"], images).reason == (
        "more than one image of CC, and this model reads one"
    )
    for name, read, other in (("first", earlier, images[0]), ("last", later, images[1])):
        result = concluded(inference, models[f"breast-{name}"], images)
        score = said(result)["R breast malignancy"]
        assert score == pytest.approx(0.25 * read + 0.75 * mlo, abs=1e-4)
        (refused,) = result.refused
        assert refused.sop_uid == other.sop_uid
        assert refused.reason == f"another image of this view is read, the {name}"


def test_where_no_time_is_known_the_first_that_came_is_the_first(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    datasets = exam("untimed", (R_CC, R_CC, R_MLO))
    del datasets[0].AcquisitionTime
    images = received(datasets, tmp_path / "untimed")
    for came in (images, images[::-1]):
        read, _ = (image for image in came if image.view == R_CC)
        (refused,) = concluded(inference, models["breast-first"], came).refused
        assert refused.sop_uid != read.sop_uid


def test_an_image_that_cannot_be_read_costs_its_breast_and_not_the_other(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    datasets = exam("damaged", VIEWS)
    datasets[3].PixelData = bytes(len(datasets[3].PixelData))
    result = concluded(inference, models["breast"], received(datasets, tmp_path / "damaged"))
    assert said(result).keys() == {"R breast malignancy"}
    assert [(r.what, r.is_failure) for r in result.refused] == [("L CC", True), ("L MLO", True)]
    assert all(r.reason.startswith("MLO: no breast found in this image") for r in result.refused)


# An exam whose network says something of each side


def test_a_network_of_the_exam_says_of_each_side_what_is_its_own(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    model = models["sides"]
    images = received(exam("sides", VIEWS), tmp_path / "sides")
    r_cc, l_cc, r_mlo, l_mlo = (percent(model, image) for image in images)
    result = concluded(inference, model, images)
    assert abs(r_cc + r_mlo - l_cc - l_mlo) > 0.1, "or they would be exchanged unnoticed"
    expected = {"R": (r_cc + r_mlo) / 2, "L": (l_cc + l_mlo) / 2}
    assert said(result) == pytest.approx(
        {
            "Exam malignancy": max(expected.values()),
            "R breast malignancy": expected["R"],
            "L breast malignancy": expected["L"],
        },
        abs=1e-4,
    )
    # In whatever order they come, each is taken for the view that it is.
    assert said(concluded(inference, model, images[::-1])) == said(result)
    right = result.evaluations[1]
    assert right.laterality == "R"
    assert set(right.sop_uids) == {images[0].sop_uid, images[2].sop_uid}


def test_of_a_breast_that_was_not_sent_a_network_of_the_exam_says_nothing(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    images = received(exam("one side", (R_CC, R_MLO)), tmp_path / "one side")
    result = concluded(inference, models["sides"], images)
    assert said(result).keys() == {"R breast malignancy"}
    assert "Views not analysed or not received: L CC, L MLO." in result.statements


# Several answers


def test_each_output_says_its_own_and_is_combined_as_the_author_chose(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    images = received(exam("several", (R_CC, L_CC)), tmp_path / "several")
    result = concluded(inference, models["several"], images)
    powers = np.exp([0.0, -1.5, 2.0])
    benign = 100 * powers[1] / powers.sum()
    malignant = 100 / (1 + np.exp(-(2.0 * 2.0 - 1.0)))  # sigmoid and logit cancel out
    expected = {f"{name} benign": benign for name in ("R breast", "L breast", "R CC", "L CC")}
    about = ("Exam", "R breast", "L breast", "R CC", "L CC")
    expected |= {f"{name} malignancy": malignant for name in about}
    expected |= {f"{name} breast density": 25.0 for name in ("R CC", "L CC")}
    assert said(result) == pytest.approx(expected, abs=1e-4)
    by_output = {(e.output, e.about) for e in result.evaluations}
    assert ("benign", "exam") not in by_output
    assert ("density", "image") in by_output
    marks = [(f.label, f.kind.value, f.measurements[0].value) for f in result.findings]
    sure = pytest.approx(100 / (1 + np.exp(-2.0)), abs=1e-4)
    assert marks[:2] == [("R CC mass", "M", sure), ("R CC calcium", "C", 50.0)]
    assert [code.value for code in result.looked_for] == ["M", "C"]
    assert [heat.sop_uid for heat in result.heat_maps] == list(result.analysed)


def grade_of(evaluation: Evaluation) -> str:
    assert evaluation.grade is not None
    return evaluation.grade.value.value


def test_a_grade_of_an_image_is_that_of_its_most_probable_class(
    models: dict[str, Model], inference: Inference, tmp_path: Path
) -> None:
    images = received(exam("grade", (R_CC, L_CC)), tmp_path / "grade")
    result = concluded(inference, models["several"], images)
    assert {grade_of(e) for e in result.evaluations if e.output == "density"} == {"D"}


def test_packages_that_read_several_images_can_be_checked(models: dict[str, Model]) -> None:
    for name in ("breast", "sides"):
        found = {one.what: one for one in check_package(models[name])}
        assert [what for what, one in found.items() if not one.is_ok] == ["card"]
        assert found["exam"].words.startswith("a generated exam of four views: Exam malig")
