"""Images of which nothing is known but that they are of what the model was made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import radiographs
from factories import SMALL, unit_score
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage, SegmentationStorage
from radiographs import ALL, BOXES, CHEST, CLASSES, LARGEST, SCORE, blank, chest_model, radiograph

from node import offline
from node.analysis.conclusion import conclude
from node.analysis.selection import select
from node.domains import plain
from node.domains.description import describe
from node.domains.domain import Awaited, Selection
from node.errors import StudyError
from node.imaging.grid import PlaneGrid
from node.imaging.visibility import Hidden
from node.manifest import Model
from node.result import PERCENT, Code, Finding, Measurement, Result
from node.study import Instance

SCORED = Code("OPACITY", "99TEST", "Opacity score")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return chest_model(tmp_path_factory.mktemp("models"))


def selected_from(images: list[Dataset], model: Model) -> Selection:
    headers = {str(image.SOPInstanceUID): image for image in images}
    return select([described(image) for image in images], headers, model)


def described(image: Dataset) -> Instance:
    return describe(image, Path("unused"), "digest")


# Which images


def test_each_image_is_a_unit_in_the_order_of_its_numbers_whatever_came_first(model: Model) -> None:
    came = [radiograph(number=2), radiograph(series=2), radiograph(number=10), radiograph(number=1)]
    units = selected_from(came, model).units
    assert [unit.name for unit in units] == [
        "Series 1 image 1",
        "Series 1 image 2",
        "Series 1 image 10",
        "Series 2 image 1",
    ]
    assert all(len(unit.instances) == 1 and unit.laterality is None for unit in units)


def test_images_without_numbers_follow_in_the_order_in_which_they_came(model: Model) -> None:
    first, second = radiograph("a"), radiograph("b")
    for image in (first, second):
        image.InstanceNumber = None
    units = selected_from([second, radiograph("c"), first], model).units
    assert [unit.name for unit in units] == ["Series 1 image 1", "Image", "Image"]
    assert [unit.sop_uid for unit in units[1:]] == [second.SOPInstanceUID, first.SOPInstanceUID]


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("BodyPartExamined", "", plain.NO_BODY_PART),
        ("BodyPartExamined", "PHANTOM", plain.NO_BODY_PART),
        (
            "SOPClassUID",
            "1.2.840.10008.5.1.4.1.1.7",
            "Secondary Capture image, which this model does not read",
        ),
    ],
)
def test_what_may_not_be_read_is_refused_beside_the_others(
    keyword: str, value: str, reason: str, model: Model
) -> None:
    odd = radiograph(number=2)
    setattr(odd, keyword, value)
    selection = selected_from([radiograph(), odd], model)
    assert [unit.sop_uid for unit in selection.units] == [radiograph().SOPInstanceUID]
    assert [(one.what, one.reason) for one in selection.refused] == [("Series 1 image 2", reason)]


@pytest.mark.parametrize(("keyword", "value"), [("BodyPartExamined", "HAND"), ("Modality", "CR")])
def test_what_the_model_is_not_meant_for_appears_nowhere_and_is_out_of_scope(
    keyword: str, value: str, model: Model
) -> None:
    other = radiograph()
    setattr(other, keyword, value)
    assert not plain.is_in_scope(described(other).shown, model.manifest.input)
    assert selected_from([other], model) == Selection((), ())


def test_an_image_is_in_scope_by_modality_and_body_part_together() -> None:
    assert plain.is_in_scope(described(radiograph()).shown, CHEST)
    unsaid = radiograph()
    unsaid.BodyPartExamined = ""
    assert not plain.is_in_scope(described(unsaid).shown, CHEST)


def test_nothing_is_waited_for() -> None:
    assert plain.awaited([described(radiograph()).shown], [CHEST]) == Awaited()


# What is judged


def test_an_image_of_one_tone_is_not_read(model: Model) -> None:
    with pytest.raises(StudyError, match="of one tone"):
        plain.require_plausible(np.full((9, 9), 0.5, np.float32), model.manifest)
    plain.require_plausible(np.eye(9, dtype=np.float32), model.manifest)


def test_a_window_of_a_plain_image_may_leave_out_as_much_as_it_likes() -> None:
    plain.require_visible(Hidden(black=1, white=0))
    plain.require_visible(Hidden(black=0, white=1))


def test_a_region_that_every_image_shows_must_be_there(tmp_path: Path) -> None:
    manifest = chest_model(tmp_path, LARGEST).manifest
    grid = PlaneGrid.whole(9, 9, 9, 9, is_mirrored=False)
    with pytest.raises(StudyError, match="no lung found in this image"):
        plain.require_plausible_outline(np.empty((0, 2)), grid, manifest)
    plain.require_plausible_outline(np.zeros((4, 2)), grid, manifest)


# What is said


def test_the_score_of_an_image_is_said_of_that_image_alone(model: Model) -> None:
    units = selected_from([radiograph(number=n) for n in (1, 2)], model).units
    scores = {
        unit.sop_uid: unit_score(unit.sop_uid, (Measurement(SCORED, value, PERCENT),))
        for unit, value in zip(units, (20.0, 80.0), strict=True)
    }
    result = conclude(model, units, [], scores)
    assert [(e.label, e.sop_uids, e.measurements[0].value) for e in result.evaluations] == [
        ("Series 1 image 1 opacity score", (units[0].sop_uid,), 20.0),
        ("Series 1 image 2 opacity score", (units[1].sop_uid,), 80.0),
    ]
    assert all(evaluation.laterality is None for evaluation in result.evaluations)
    assert result.statements == (model.manifest.statement,)


# The whole of it


def answered(model: Model, folder: Path, *images: Dataset) -> tuple[Result, list[Dataset]]:
    """Do all that the node does with a study, every kind of object built."""
    result, built = radiographs.answered(model, folder, *images)
    return result, [one.dataset for one in built]


def of_class(objects: list[Dataset], sop_class: str) -> list[Dataset]:
    return [one for one in objects if one.SOPClassUID == sop_class]


def texts(item: Dataset) -> str:
    """Return all that is said below a content item, in order."""
    said = [str(item.get("TextValue", ""))]
    said += [code.CodeMeaning for code in item.get("ConceptCodeSequence", [])]
    said += [texts(child) for child in item.get("ContentSequence", [])]
    return "\n".join(part for part in said if part)


@pytest.mark.parametrize("output", [SCORE, CLASSES], ids=["score", "classes"])
def test_a_score_or_grade_of_each_image_becomes_a_report_and_captures(
    output: str, tmp_path: Path
) -> None:
    model = chest_model(tmp_path, output)
    images = [radiograph(number=2), radiograph(number=1)]
    result, objects = answered(model, tmp_path / "study", *images)
    assert result.analysed == tuple(str(one.SOPInstanceUID) for one in reversed(images))
    assert [e.label for e in result.evaluations] == [
        f"Series 1 image {n} {model.manifest.outputs[0].label}" for n in (1, 2)
    ]
    (report,) = of_class(objects, ComprehensiveSRStorage)
    said = texts(report)
    assert "Imaging procedure" in said
    assert said.count("Chest") >= 2, "the finding site"
    assert "reast" not in said
    assert report.StudyInstanceUID == images[0].StudyInstanceUID
    (summary,) = of_class(objects, SecondaryCaptureImageStorage)
    assert summary.BodyPartExamined == "CHEST"
    assert "ImageLaterality" not in summary


@pytest.mark.parametrize("output", [LARGEST, ALL, BOXES], ids=["largest", "all", "boxes"])
def test_marks_are_findings_without_a_side_in_every_kind_of_object(
    output: str, tmp_path: Path
) -> None:
    model = chest_model(tmp_path, output)
    result, objects = answered(model, tmp_path / "study", radiograph())
    label = f"Series 1 image 1 {model.manifest.outputs[0].label}"
    assert result.findings
    assert all(finding.label.startswith(label) for finding in result.findings)
    assert all(is_inside(finding) and finding.laterality is None for finding in result.findings)
    (report,) = of_class(objects, ComprehensiveSRStorage)
    assert "Chest" in texts(report)
    assert "reast" not in texts(report)
    assert len(of_class(objects, SecondaryCaptureImageStorage)) == 2
    for segmentation in of_class(objects, SegmentationStorage):
        (region,) = segmentation.SegmentSequence[0].AnatomicRegionSequence
        assert (region.CodeValue, region.CodeMeaning) == ("816094009", "Chest")
        assert "AnatomicRegionModifierSequence" not in region
    assert bool(of_class(objects, SegmentationStorage)) == (output != BOXES)


def is_inside(finding: Finding) -> bool:
    x, y = zip(*finding.region.outline, strict=True)
    return bool(min(*x, *y) >= 0 and max(x) <= SMALL.columns)


def test_an_image_of_one_tone_is_refused_by_the_child_and_the_other_is_read(
    model: Model, tmp_path: Path
) -> None:
    result, _ = answered(model, tmp_path, radiograph(number=1), blank(radiograph(number=2)))
    assert result.analysed == (radiograph(number=1).SOPInstanceUID,)
    (refusal,) = result.refused
    assert (refusal.what, refusal.is_failure) == ("Series 1 image 2", True)
    assert "of one tone" in refusal.reason


def test_a_folder_with_a_study_of_each_kind_is_told_apart(model: Model, tmp_path: Path) -> None:
    hand, unsaid = radiograph("hand"), radiograph("unsaid")
    hand.BodyPartExamined, unsaid.BodyPartExamined = "HAND", ""
    paths = radiographs.saved([radiograph(), hand, unsaid], tmp_path / "in")
    outcome = offline.analyse_folder(paths, tmp_path / "out", model, lambda: None)
    chest, of_hand, of_nothing = outcome.studies
    assert chest.words.startswith("Series 1 image 1 opacity score")
    assert {dcmread(path).Modality for path in chest.written} == {"SR", "OT"}
    assert of_hand.words == of_nothing.words == "out of scope of chest"
    assert of_hand.details == ("no model reads DX of HAND",)
    assert of_nothing.details == ("no model reads DX that does not say its body part",)
    assert not of_hand.written
