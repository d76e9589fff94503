"""Lesions are found where they were drawn: whole exams through real networks in real children."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lesion_models
import lesions
import numpy as np
import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO, SMALL
from lesions import DEEP, FAINT, LARGE, LEFT, LESIONS, ONLY_ON_MLO, SHOWN, SPECK, Lesion
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing

from node import config, offline
from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.dicom.header import read_header
from node.domains.description import describe
from node.imaging.outlines import signed_area
from node.inference import Inference
from node.manifest import Model
from node.packages.checking import check_package
from node.result import Finding, HeatMap, Region, Result
from node.study import Instance, StudyVersion, View
from node.trial import phantom
from node.trial.phantom import Technique

OTHERS = {
    "large pixels": Technique(rows=260, columns=200, spacing_mm=0.92),
    "small pixels": Technique(rows=996, columns=768, spacing_mm=0.24),
    "a wide image": Technique(rows=300, columns=330, spacing_mm=0.6),
    "MONOCHROME1": replace(SMALL, monochrome1=True),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    folder = tmp_path_factory.mktemp("models")
    return {build.__name__: build(folder) for build in lesion_models.MODELS}


@pytest.fixture(scope="module")
def detector(models: dict[str, Model]) -> Model:
    return models["lesion_detector"]


@pytest.fixture(scope="module")
def scorer(models: dict[str, Model]) -> Model:
    return models["lesion_score"]


@pytest.fixture(scope="module")
def segmenter(models: dict[str, Model]) -> Model:
    return models["lesion_segmenter"]


@pytest.fixture(scope="module")
def inference(models: dict[str, Model]) -> Iterator[Inference]:
    settings = config.InferenceSettings(threads=1)
    with Inference(settings, tuple(models.values())) as started:
        yield started


@pytest.fixture
def pipeline(inference: Inference) -> Pipeline:
    return Pipeline(inference, ScoresInMemory(), UTC, ())


def instances(exam: Sequence[Dataset], folder: Path) -> tuple[Instance, ...]:
    paths = phantom.save(exam, folder)
    return tuple(describe(read_header(path), path, path.name) for path in paths)


def analysed(pipeline: Pipeline, model: Model, exam: Sequence[Dataset], folder: Path) -> Result:
    """Return what a model says of an exam."""
    version = StudyVersion(
        study_uid=str(exam[0].StudyInstanceUID),
        number=1,
        reason="a test",
        instances=instances(exam, folder),
        decided_at=datetime(2026, 3, 10, 9, 42, tzinfo=UTC),
        installation="test",
    )
    (result,), _ = analyse(pipeline, Task(version, (model,), frozenset({model.manifest.name})))
    return result


def by_view(result: Result, exam: Sequence[Dataset]) -> dict[View, list[Finding]]:
    """Return the findings by the view that shows them."""
    views = {str(d.SOPInstanceUID): phantom.EXAM[n] for n, d in enumerate(exam)}
    found: dict[View, list[Finding]] = {view: [] for view in views.values()}
    for finding in result.findings:
        found[views[finding.region.sop_uid]].append(finding)
    return found


def edges(region: Region) -> tuple[float, float, float, float]:
    points = np.array(region.outline)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def tolerance_px(technique: Technique) -> float:
    """Return 1.5 pixels of the network, or of the image if those are larger, in stored ones."""
    per_pixel = max(
        technique.rows / lesion_models.HEIGHT, technique.columns / lesion_models.WIDTH, 1
    )
    return 1.5 * per_pixel


def finding_of(lesion: Lesion, view: View, found: Sequence[Finding], at: Technique) -> Finding:
    """Return the only finding whose region is where a lesion was drawn."""
    truth = lesion.box(view, at)
    near = [f for f in found if edges(f.region) == pytest.approx(truth, abs=tolerance_px(at))]
    assert len(near) == 1, (view, truth, [edges(f.region) for f in found])
    return near[0]


@pytest.mark.parametrize("name", ["lesion_detector", "lesion_segmenter"])
@pytest.mark.parametrize("technique", [SMALL, *OTHERS.values()], ids=["small", *OTHERS])
def test_every_lesion_is_found_where_it_was_drawn_and_nothing_else(
    name: str,
    technique: Technique,
    models: dict[str, Model],
    pipeline: Pipeline,
    tmp_path: Path,
) -> None:
    exam = lesions.exam(technique=technique)
    result = analysed(pipeline, models[name], exam, tmp_path)
    assert len(result.analysed) == 4
    assert result.is_complete
    found = by_view(result, exam)
    for view, drawn in SHOWN.items():
        assert len(found[view]) == len(drawn)
        for lesion in drawn:
            finding = finding_of(lesion, view, found[view], technique)
            assert finding.laterality is view.laterality
            assert finding.region.is_box == (name == "lesion_detector")
            assert finding.region.outline[0] == finding.region.outline[-1]
            assert signed_area(np.array(finding.region.outline)) > 0, "clockwise on the screen"
    assert [code.value for code in result.looked_for] == ["129793001"]
    assert result.triage is None


def test_an_image_that_is_stored_mirrored_is_marked_where_it_shows_the_lesion(
    detector: Model, segmenter: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam()
    for dataset in exam:
        lesions.turn_over(dataset)
    for number, model in enumerate((detector, segmenter)):
        found = by_view(analysed(pipeline, model, exam, tmp_path / str(number)), exam)
        for view, drawn in SHOWN.items():
            assert len(found[view]) == len(drawn)
            for lesion in drawn:
                truth = lesions.turned_over(lesion.box(view))
                close = pytest.approx(truth, abs=tolerance_px(SMALL))
                assert [edges(f.region) == close for f in found[view]].count(True) == 1


def test_cc_and_mlo_of_a_lesion_are_one_and_what_one_view_shows_stands_alone(
    detector: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam()
    found = by_view(analysed(pipeline, detector, exam, tmp_path), exam)
    names = {}
    for lesion in (LARGE, DEEP, LEFT):
        side = lesion.side
        pair = [
            finding_of(lesion, view, found[view], SMALL).lesion
            for view in (View(side, "CC"), View(side, "MLO"))
        ]
        assert pair[0] == pair[1] != ""
        names[lesion.depth_mm] = pair[0]
    assert set(names.values()) == {"R lesion 1", "R lesion 2", "L lesion 1"}
    assert finding_of(ONLY_ON_MLO, L_MLO, found[L_MLO], SMALL).lesion == ""


def test_the_brighter_lesion_is_the_surer_one_and_comes_first(
    detector: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam()
    found = by_view(analysed(pipeline, detector, exam, tmp_path), exam)
    for view, drawn in SHOWN.items():
        scores = [f.score.value for f in found[view] if f.score is not None]
        expected = [100 * (lesion.value / lesions.BRIGHTEST - 0.75) / 0.25 for lesion in drawn]
        assert scores == pytest.approx(expected, abs=2)
    assert [f.label for f in found[R_CC]] == ["R CC lesion 1", "R CC lesion 2"]
    assert [f.label for f in found[L_CC]] == ["L CC lesion"]


def test_what_is_below_the_threshold_is_no_finding(
    detector: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    result = analysed(pipeline, detector, lesions.exam(lesions=[FAINT]), tmp_path)
    assert (len(result.analysed), result.findings) == (4, ())


def test_a_lesion_has_the_area_it_was_drawn_with(
    segmenter: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam()
    found = by_view(analysed(pipeline, segmenter, exam, tmp_path), exam)
    for view, drawn in SHOWN.items():
        for lesion in drawn:
            finding = finding_of(lesion, view, found[view], SMALL)
            (area,) = finding.measurements
            assert area.value == pytest.approx(lesion.area_cm2, rel=0.1)
            assert (area.concept.value, area.unit.value) == ("42798000", "cm2")
            assert (finding.score, finding.lesion) == (None, "")
            pixels = abs(signed_area(np.array(finding.region.outline)))
            assert pixels * SMALL.spacing_mm**2 / 100 == pytest.approx(area.value, rel=0.06)
    assert [len(found[view]) for view in phantom.EXAM] == [2, 1, 2, 2]


def test_a_speck_is_too_small_for_the_segmenter_but_not_for_the_detector(
    segmenter: Model, detector: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam(lesions=[LARGE, SPECK])
    outlined = by_view(analysed(pipeline, segmenter, exam, tmp_path / "1"), exam)
    boxed = by_view(analysed(pipeline, detector, exam, tmp_path / "2"), exam)
    assert (len(outlined[R_CC]), len(boxed[R_CC])) == (1, 2)


def test_nothing_is_found_in_an_exam_without_lesions(
    detector: Model, segmenter: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam(lesions=[])
    for number, model in enumerate((detector, segmenter)):
        result = analysed(pipeline, model, exam, tmp_path / str(number))
        assert (len(result.analysed), result.findings, result.reason) == (4, (), "")
        assert len(result.looked_for) == 1
        assert "No lesion found on: R CC, L CC, R MLO, L MLO." in result.statements


def test_a_magnified_view_is_refused_and_the_others_are_read(
    detector: Model, segmenter: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam(magnified=R_MLO)
    for number, model in enumerate((detector, segmenter)):
        result = analysed(pipeline, model, exam, tmp_path / str(number))
        (refusal,) = result.refused
        assert (refusal.what, refusal.reason) == ("R MLO", "magnification view")
        assert refusal.sop_uid == exam[2].SOPInstanceUID
        assert (len(result.analysed), result.is_complete) == (3, False)
        found = by_view(result, exam)
        assert [len(found[view]) for view in phantom.EXAM] == [2, 1, 0, 2]
        assert {f.lesion for f in found[R_CC]} == {""}, "its other half was not read"


def test_a_blank_view_is_refused_and_not_called_clean(
    models: dict[str, Model], pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam()
    exam[1].PixelData = bytes(len(exam[1].PixelData))
    for name, model in models.items():
        result = analysed(pipeline, model, exam, tmp_path / name)
        (refusal,) = result.refused
        assert refusal.what == "L CC"
        assert refusal.reason.startswith("no breast found in this image")
        assert len(result.analysed) == 3


def test_where_nothing_may_be_read_nothing_is_said_about_lesions(
    models: dict[str, Model], pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam()
    for dataset in exam:
        dataset.SOPClassUID = DigitalMammographyXRayImageStorageForProcessing
        dataset.PresentationIntentType = "FOR PROCESSING"
    for name, model in models.items():
        result = analysed(pipeline, model, exam, tmp_path / name)
        assert (result.analysed, result.findings, result.heat_maps) == ((), (), ())
        assert result.evaluations == ()
        assert "For Processing" in result.reason
        assert len(result.looked_for) == (0 if name == "lesion_score" else 1)


def test_images_breasts_and_the_exam_are_scored_by_what_is_brightest_in_them(
    scorer: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    exam = lesions.exam(lesions=[lesion for lesion in LESIONS if lesion is not LEFT])
    result = analysed(pipeline, scorer, exam, tmp_path)
    scores = {e.label.removesuffix(" lesion score"): e.measurements[0] for e in result.evaluations}
    bright = {view: max(lesion.value for lesion in SHOWN[view]) for view in (R_CC, R_MLO)}
    for view, value in {**bright, L_MLO: ONLY_ON_MLO.value}.items():
        expected = 100 * (value / lesions.BRIGHTEST - 0.6) / 0.4
        assert scores[str(view)].value == pytest.approx(expected, abs=2)
    assert scores["L CC"].value < 40
    assert scores["R breast"].value == max(scores["R CC"].value, scores["R MLO"].value)
    assert scores["L breast"] == scores["L MLO"]
    assert scores["Exam"] == scores["R breast"]
    assert all(number.is_score and number.unit.value == "%" for number in scores.values())
    assert (result.findings, result.looked_for) == ((), ())


def values(heat_map: HeatMap) -> NDArray[np.uint8]:
    content = np.frombuffer(base64.b64decode(heat_map.values), np.uint8)
    return content.reshape(heat_map.rows, heat_map.columns)


def warm_at(heat_map: HeatMap, point: tuple[float, float]) -> int:
    """Return the value of the cell that covers a point of the stored matrix."""
    left, top, right, bottom = heat_map.box
    column = int((point[0] - left) / (right - left) * heat_map.columns)
    row = int((point[1] - top) / (bottom - top) * heat_map.rows)
    return int(values(heat_map)[row, column])


@pytest.mark.parametrize("technique", [SMALL, *OTHERS.values()], ids=["small", *OTHERS])
@pytest.mark.parametrize("is_turned_over", [False, True])
def test_a_heat_map_is_warm_where_the_lesions_are_and_nowhere_else(
    technique: Technique,
    is_turned_over: bool,
    scorer: Model,
    pipeline: Pipeline,
    tmp_path: Path,
) -> None:
    exam = lesions.exam(technique=technique)
    if is_turned_over:
        for dataset in exam:
            lesions.turn_over(dataset)
    result = analysed(pipeline, scorer, exam, tmp_path)
    assert [heat_map.sop_uid for heat_map in result.heat_maps] == list(result.analysed)
    for view, heat_map in zip(phantom.EXAM, result.heat_maps, strict=True):
        left, top, right, bottom = heat_map.box
        height_px = (bottom - top) / heat_map.rows
        width_px = (right - left) / heat_map.columns
        assert height_px == pytest.approx(width_px, rel=0.02)
        for lesion in SHOWN[view]:
            column, row = lesion.middle(view, technique)
            column = technique.columns - column if is_turned_over else column
            assert warm_at(heat_map, (column, row)) > 0.75 * 255
            assert warm_at(heat_map, (technique.columns - column, row)) < 0.4 * 255
        y, x = np.nonzero(values(heat_map) > 0.6 * 255)
        middles = np.column_stack((left + (x + 0.5) * width_px, top + (y + 0.5) * height_px))
        for middle in middles:
            assert any(
                is_near(middle, lesion, view, technique, is_turned_over, width_px)
                for lesion in SHOWN[view]
            )


def is_near(
    point: NDArray[np.float64],
    lesion: Lesion,
    view: View,
    technique: Technique,
    is_turned_over: bool,
    cell_px: float,
) -> bool:
    """Whether a cell, given by its middle, may reach into a lesion."""
    column, row = lesion.middle(view, technique)
    column = technique.columns - column if is_turned_over else column
    far = float(np.hypot(point[0] - column, point[1] - row))
    return far < lesion.radius_px(technique) + 1.2 * cell_px


def test_a_clean_exam_is_cold_and_scores_low(
    scorer: Model, pipeline: Pipeline, tmp_path: Path
) -> None:
    result = analysed(pipeline, scorer, lesions.exam(lesions=[]), tmp_path)
    assert all(e.measurements[0].value < 40 for e in result.evaluations)
    assert max(int(values(heat_map).max()) for heat_map in result.heat_maps) < 0.4 * 255


@pytest.mark.usefixtures("warm_inference", "small_exam")
@pytest.mark.parametrize("build", lesion_models.MODELS)
def test_each_package_passes_the_check_of_models_and_is_small(
    build: Callable[[Path], Model], tmp_path: Path
) -> None:
    model = build(tmp_path)
    assert [found.words for found in check_package(model) if not found.is_ok] == []
    assert model.weights_path.stat().st_size < 10_000


@pytest.mark.parametrize("build", lesion_models.MODELS)
def test_a_package_is_built_the_same_each_time(
    build: Callable[[Path], Model], tmp_path: Path
) -> None:
    once, twice = build(tmp_path / "once"), build(tmp_path / "twice")
    assert once.manifest == twice.manifest
    assert once.weights_path.read_bytes() == twice.weights_path.read_bytes()


@pytest.mark.usefixtures("warm_inference")
def test_a_folder_is_answered_in_words_and_objects(
    detector: Model, segmenter: Model, scorer: Model, tmp_path: Path
) -> None:
    paths = phantom.save(lesions.exam(), tmp_path / "exam")
    for model, words in (
        (detector, "4 findings"),
        (segmenter, "7 findings"),
        (scorer, "Exam lesion score "),
    ):
        folder = tmp_path / model.manifest.name
        outcome = offline.analyse_folder(paths, folder, model, lambda: None, ["measurement-report"])
        (study,) = outcome.studies
        assert outcome.is_clean
        assert study.words.startswith(words)
        assert study.analysed == 4
        kinds = {dcmread(path, stop_before_pixels=True).Modality for path in study.written}
        assert "SR" in kinds


def test_another_exam_has_the_same_lesions_in_another_breast() -> None:
    one, other = (lesions.exam(study, views=[L_CC]) for study in ("one", "other"))
    assert one[0].PixelData != other[0].PixelData
    assert one[0].SOPInstanceUID != other[0].SOPInstanceUID


def test_a_drawn_lesion_is_brighter_than_all_tissue_and_the_rest_is_untouched() -> None:
    for view, drawn in SHOWN.items():
        (clean,) = lesions.exam(views=[view], lesions=[])
        (marked,) = lesions.exam(views=[view])
        changed = clean.pixel_array != marked.pixel_array
        true_cm2 = sum(lesion.area_cm2 for lesion in drawn)
        assert changed.sum() * SMALL.spacing_mm**2 / 100 == pytest.approx(true_cm2, rel=0.15)
        assert clean.pixel_array.max() < 2800
        assert marked.pixel_array.max() == max(lesion.value for lesion in drawn)
        assert phantom.breast(view, SMALL)[changed].all()
