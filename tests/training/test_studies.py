"""Breast MRI is learnt from as the node reads it: from labelled studies to a report, without torch.

The network is one of a few nodes, whose only weight is learnt here from what training reads. That
`ai-node train` puts Inception V3 in its place is shown by `torch_test_studies.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from labelled import silent
from mr_labelled import MIP, SLICES, WORDS, LabelledStudies
from numpy.typing import NDArray
from pydicom import dcmread

from node.errors import ConfigError, NodeError
from node.evaluation.evaluating import EvaluationSettings, evaluate_model
from node.evaluation.labels import LabelTable, read_labels
from node.evaluation.report import summary, write_evaluation
from node.manifest import Model
from node.offline import StudyOutcome, analyse_folder
from node.packages.checking import check_package
from node.training.choosing import Chosen, platt, said_parts
from node.training.examples import Examples, read_examples, reading_manifest
from node.training.measuring import cross_validation
from node.training.packing import (
    OUTPUT,
    CardFacts,
    ExportedNetwork,
    amiss_in_card,
    amiss_in_cross_validation,
    finish_package,
    write_trained_package,
)
from node.training.recipe import Recipe
from node.training.scoring import scored
from node.training.splits import divide, duplicates
from node.training.units import units_of

pytestmark = pytest.mark.usefixtures("warm_inference")

COUNT, ROWS, COLUMNS = 8, 76, 208
SPOT_PX = 7
STEEP = 12.0
SPOTS = """
    smooth = AveragePool<kernel_shape = [7, 7]>(image)
    flat = Flatten<axis = 1>(smooth)
    axes = Constant<value_ints = [1]>()
    most = ReduceMax<keepdims = 1>(flat, axes)
    middle = Constant<value_float = {middle}>()
    steep = Constant<value_float = 12.0>()
    more = Sub(most, middle)
    logit = Mul(more, steep)
    score = Sigmoid(logit)
"""
"""Whether somewhere in an image a spot of 7 x 7 pixels is brighter than what was learnt."""


def recipe_of(pixels: list[dict[str, Any]], **changes: Any) -> Recipe:
    return Recipe.model_validate({**WORDS, "pixels": pixels, **changes})


def spots_in(images: NDArray[Any]) -> NDArray[np.float64]:
    """Return the brightest spot of each image (n, 1, rows, columns)."""
    windows = np.lib.stride_tricks.sliding_window_view(
        images[:, 0].astype(np.float64), (SPOT_PX, SPOT_PX), (1, 2)
    )
    return np.asarray(windows.mean((3, 4)).reshape(len(images), -1).max(1))


def network_of(middle: float, images: int) -> bytes:
    shape = f"{images},1,{ROWS},{COLUMNS}"
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        spots (float[{shape}] image) => (float[{images},1] score) {{
            {SPOTS.format(middle=middle)}
        }}"""
    )
    content: bytes = model.SerializeToString()
    return content


def table_of(studies: LabelledStudies) -> LabelTable:
    return read_labels(studies.write(), studies.folder)


def examples_of(studies: LabelledStudies, recipe: Recipe, work: Path) -> Examples:
    return read_examples(table_of(studies), recipe, work, silent, processes=2)


def highest_of_studies(examples: Examples) -> dict[str, float]:
    """Return the brightest spot of each woman, in any of her images."""
    units = units_of(examples.images, "exam")
    return {u.woman: float(spots_in(examples.tensors[list(u.images)]).max()) for u in units}


@dataclass(frozen=True)
class Learnt:
    """What was learnt from some women, and others who are asked."""

    recipe: Recipe
    examples: Examples
    middle: float
    model: Model
    studies: LabelledStudies
    others: LabelledStudies
    work: Path


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    folder = tmp_path_factory.mktemp("studies")
    studies, others = LabelledStudies(folder / "studies"), LabelledStudies(folder / "others")
    for number in range(4):
        studies.add(number, is_ill=number % 2 == 1)
    for number in (10, 11):
        others.add(number, is_ill=number % 2 == 1)
    recipe = recipe_of(SLICES)
    examples = examples_of(studies, recipe, folder / "work")
    spots = highest_of_studies(examples)
    ill = {image.woman for image in examples.images if image.label}
    middle = (
        min(spots[one] for one in ill) + max(spots[one] for one in spots if one not in ill)
    ) / 2
    manifest = reading_manifest(recipe)
    network = ExportedNetwork(
        network_of(middle, COUNT), "score", unit=manifest.unit, inputs=manifest.inputs
    )
    digests = {image.pixel_digest for image in examples.images}
    model = write_trained_package(folder / "packages" / recipe.name, recipe, network, digests)
    return Learnt(recipe, examples, middle, model, studies, others, folder / "work")


@pytest.fixture(scope="module")
def outcomes(learnt: Learnt, tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyOutcome]:
    """What the node makes of women from whom nothing was learnt, by their name."""
    out, found = tmp_path_factory.mktemp("results"), dict[str, StudyOutcome]()
    for row in learnt.others.rows:
        paths = sorted((learnt.others.folder / row["path"]).iterdir())
        (found[row["patient"]],) = analyse_folder(paths, out, learnt.model, lambda: None).studies
    return found


def said_of(outcome: StudyOutcome) -> float:
    assert outcome.result is not None, outcome.words
    (said,) = outcome.result.evaluations
    return said.measurements[0].value / 100


def test_a_study_is_as_many_examples_as_it_has_slices_and_one_exam(learnt: Learnt) -> None:
    images = learnt.examples.images
    assert learnt.examples.tensors.shape == (4 * COUNT, 1, ROWS, COLUMNS)
    assert [image.slice for image in images[:COUNT]] == [*range(1, COUNT + 1)]
    units = units_of(images, "exam")
    assert [(unit.woman, unit.label) for unit in units] == [
        (f"woman {number}", number % 2) for number in range(4)
    ]
    assert all(len(unit.breasts) == COUNT for unit in units), "the highest slice counts"
    assert list(duplicates(learnt.examples)) == []


def test_an_exam_is_measured_by_its_highest_slice_as_the_node_combines_it(learnt: Learnt) -> None:
    images, spots = learnt.examples.images, spots_in(learnt.examples.tensors[:])
    logits = STEEP * (spots - learnt.middle)
    exams = scored("exam", images, logits, [0] * len(images))
    highest = highest_of_studies(learnt.examples)
    assert len(exams) == 4
    for exam in exams:
        expected = 1 / (1 + np.exp(-STEEP * (highest[exam.woman] - learnt.middle)))
        assert exam.score == pytest.approx(float(expected))
        assert (exam.score > 0.5) == exam.is_positive


def test_the_package_says_how_training_has_read(learnt: Learnt) -> None:
    manifest = learnt.model.manifest
    assert manifest.domain == "breast_mr"
    assert manifest.operations == learnt.recipe.operations
    assert manifest.unit == learnt.recipe.unit
    (output,) = manifest.outputs
    assert getattr(output, "over_slices", None) == "highest"


def test_the_node_says_of_other_women_what_their_pixels_say_as_training_reads_them(
    learnt: Learnt, outcomes: Mapping[str, StudyOutcome]
) -> None:
    spots = highest_of_studies(examples_of(learnt.others, learnt.recipe, learnt.work))
    for woman, outcome in outcomes.items():
        expected = 1 / (1 + np.exp(-STEEP * (spots[woman] - learnt.middle)))
        assert said_of(outcome) == pytest.approx(float(expected), abs=2e-3)


def test_a_report_has_the_right_answer_and_names_the_slice(
    outcomes: Mapping[str, StudyOutcome],
) -> None:
    assert said_of(outcomes["woman 11"]) > 0.9
    assert said_of(outcomes["woman 10"]) < 0.1
    for outcome in outcomes.values():
        assert outcome.result is not None
        told = [one for one in outcome.result.statements if f"of the {COUNT} that were read" in one]
        assert len(told) == 1
        modalities = {dcmread(path).Modality for path in outcome.written}
        assert "SR" in modalities
        assert len(outcome.written) > 1, "captures, too"


def test_a_study_is_a_case_and_women_who_were_learnt_from_are_left_out(
    learnt: Learnt, tmp_path: Path
) -> None:
    both = LabelledStudies(learnt.studies.folder.parent)
    both.rows = [
        {**row, "path": f"{one.folder.name}/{row['path']}"}
        for one in (learnt.studies, learnt.others)
        for row in one.rows
    ]
    document = evaluate_model(
        learnt.model, EvaluationSettings(table_of(both), tmp_path / "both"), silent
    )
    assert document.given.patients_left_out == 4
    assert {str(case.about) for case in document.cases} == {"exam"}
    assert [(case.patient, case.said[OUTPUT][0] > 50) for case in document.cases] == [
        ("woman 10", False),
        ("woman 11", True),
    ]
    with pytest.raises(NodeError, match="has learnt from images of every patient"):
        evaluate_model(
            learnt.model, EvaluationSettings(table_of(learnt.studies), tmp_path / "all"), silent
        )


def test_calibration_and_card_are_of_exams_and_the_whole_package_is_in_order(
    learnt: Learnt, tmp_path: Path
) -> None:
    asked = EvaluationSettings(table_of(learnt.others), tmp_path / "first")
    first = evaluate_model(learnt.model, asked, silent)
    said = said_parts(first.cases, OUTPUT, frozenset({"1"}), "exam")
    assert [(part.woman, part.is_positive) for part in said] == [
        ("woman 10", False),
        ("woman 11", True),
    ]
    data = "2 exams of 2 women."
    chosen = Chosen(platt(said, data), (), (), data, "a package of breast MRI has no levels")
    manifest = reading_manifest(learnt.recipe)
    network = ExportedNetwork(
        learnt.model.read_weights(), "score", unit=manifest.unit, inputs=manifest.inputs
    )
    folder = tmp_path / "packages" / learnt.recipe.name
    model = write_trained_package(folder, learnt.recipe, network, [], chosen)
    document = evaluate_model(model, replace(asked, out_dir=tmp_path / "second"), silent)
    images = learnt.examples.images
    logits = STEEP * (spots_in(learnt.examples.tensors[:]) - learnt.middle)
    cross = cross_validation(scored("exam", images, logits, [0] * len(images)), ())
    facts = CardFacts("Generated.", "", "train", "evaluate", "", cross, document, chosen)
    finish_package(model, learnt.recipe, facts)

    assert list(amiss_in_card(model, document)) == []
    assert list(amiss_in_cross_validation(model, cross)) == []
    assert [one for one in check_package(model) if not one.is_ok] == []
    card = " ".join((model.folder / "README.md").read_text("utf-8").split())
    assert "gives each of 8 slices of a breast MRI a score (post 1)" in card
    assert "its images show both breasts, and its score does not say of which it is" in card
    assert "No level follows from the score." in card
    assert any(line.startswith("score, exam: AUC 1") for line in summary(document))
    assert all(path.is_file() for path in write_evaluation(document, tmp_path / "second"))


def test_a_projection_is_one_image_of_a_study(learnt: Learnt, tmp_path: Path) -> None:
    found = examples_of(learnt.others, recipe_of(MIP), tmp_path)
    assert found.tensors.shape == (2, 1, ROWS, COLUMNS)
    spots = highest_of_studies(found)
    assert spots["woman 11"] > learnt.middle > spots["woman 10"]


def test_a_study_under_two_names_is_found_by_its_pixels(learnt: Learnt, tmp_path: Path) -> None:
    studies = LabelledStudies(tmp_path)
    studies.add(0, is_ill=False)
    studies.add(20, is_ill=True)
    copy = tmp_path / "again"
    copy.mkdir()
    for number, path in enumerate(sorted((tmp_path / "study-0").iterdir())):
        dataset = dcmread(path)
        dataset.StudyInstanceUID += ".1"
        dataset.SeriesInstanceUID += ".1"
        dataset.SOPInstanceUID += ".1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(copy / f"{number}.dcm")
    studies.rows.append({"path": "again", "patient": "another", "label": "1"})
    found = examples_of(studies, learnt.recipe, tmp_path / "work")
    with pytest.raises(ConfigError, match=r"the same pixels as .*yet of another, not of woman 0"):
        divide(found, learnt.recipe.folds)


def test_what_is_no_folder_of_one_study_is_told_with_its_line(
    learnt: Learnt, tmp_path: Path
) -> None:
    studies = LabelledStudies(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing", "utf-8")
    both = tmp_path / "both"
    for one in (learnt.studies, learnt.others):
        folder = one.folder / one.rows[0]["path"]
        (both / one.folder.name).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:2]:
            (both / one.folder.name / path.name).write_bytes(path.read_bytes())
    studies.rows = [
        {"path": name, "patient": name, "label": "0"} for name in ("empty", "notes.txt", "both")
    ]
    with pytest.raises(ConfigError) as raised:
        examples_of(studies, learnt.recipe, tmp_path / "work")
    words = str(raised.value)
    assert "labels.csv:2: " in words
    assert "expected the folder of one study, found no DICOM object" in words
    assert "is no folder, expected the folder of a study" in words
    assert "found objects of 2 studies" in words


def test_a_study_that_the_node_would_refuse_is_no_example(learnt: Learnt, tmp_path: Path) -> None:
    recipe = recipe_of(
        SLICES,
        unit={"of": "exam", "roles": ["pre", "post 9"]},
        channels=["post 9"],
    )
    with pytest.raises(ConfigError, match="none of its 2 images is given to the network"):
        examples_of(learnt.others, recipe, tmp_path)
