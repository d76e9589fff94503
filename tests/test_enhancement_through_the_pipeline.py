"""What `ai-node analyse` says with breast-mr-enhancement: slices, times, and what is not given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mr_studies import small_plan, written
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from node.cli import app
from node.trial.breast_mr.body import THREE_LESIONS
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan

MODELS = Path(__file__).parents[1] / "models"


def plan(posts: int, **changes: object) -> StudyPlan:
    usual = {"shape": (32, 96, 96), "body": THREE_LESIONS, "schedule": PhaseTimes(posts=posts)}
    return small_plan(**{**usual, **changes})


def analysed(of: StudyPlan, folder: Path) -> Dataset:
    """Analyse a study as a person does who types the command; return its report."""
    written(of, folder / "study")
    package = MODELS / "breast-mr-enhancement"
    words = [
        "analyse",
        str(folder / "study"),
        "--out",
        str(folder / "out"),
        "--model",
        str(package),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (report,) = (folder / "out").rglob("SR-*.dcm")
    return dcmread(report)


def items(tree: Dataset) -> Iterator[Dataset]:
    for item in tree.get("ContentSequence", []):
        yield item
        yield from items(item)


def text_of(report: Dataset) -> str:
    return " ".join(str(item.TextValue) for item in items(report) if "TextValue" in item)


def numbers(report: Dataset) -> list[str]:
    found = [item for item in items(report) if item.ValueType == "NUM"]
    return [str(item.ConceptNameCodeSequence[0].CodeMeaning) for item in found]


def test_the_report_lists_slices_that_stand_for_volumes_and_says_which_phase_was_when(
    tmp_path: Path,
) -> None:
    of = plan(5)
    report = analysed(of, tmp_path)
    (library,) = [
        item
        for item in items(report)
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Image Library"
    ]
    listed = [item for item in items(library) if item.ValueType == "IMAGE"]
    assert 0 < len(listed) < 32, "of three phases of as many slices"
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    evidence = {
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert len(evidence) == 6 * 32, "all that was read: curves follow every phase"
    referred = {
        one.ReferencedSOPInstanceUID
        for item in items(report)
        if item.ValueType == "IMAGE"
        for one in item.ReferencedSOPSequence
    }
    assert referred <= evidence
    said = text_of(report)
    assert "Phase early (post 2): 32 slices, middle 155 s after the injection." in said
    assert "Phase late (post 5): 32 slices, middle 425 s after the injection." in said
    assert (
        "Times rest on: injection by Contrast/Bolus Start Time, start by Acquisition Time" in said
    )
    assert "Of it washout (BI-RADS delayed phase)" in numbers(report)


def test_an_exam_without_an_early_phase_is_refused_with_the_times_that_there_are(
    tmp_path: Path,
) -> None:
    late = plan(3, schedule=PhaseTimes(posts=3, delay_s=300, phase_s=60))
    report = analysed(late, tmp_path)
    said = text_of(report)
    assert "NOT ANALYSED: no early phase: none has its middle within 60 s of 150 s" in said
    assert "(post 1 330 s, post 2 390 s, post 3 450 s)" in said
    assert numbers(report) == []


def test_without_a_late_phase_no_curve_type_is_given_and_the_reason_is(tmp_path: Path) -> None:
    report = analysed(plan(2), tmp_path)
    said = text_of(report)
    assert "no late phase: none has its middle within 120 s of 450 s after the injection" in said
    unsaid = "washout, plateau, persistent and signal enhancement ratio"
    assert f"Exam: {unsaid} are not given, without late." in said
    names = numbers(report)
    assert "Volume" in names
    assert not [one for one in names if one.startswith("Of it")]
    assert said.count("washout") == 1, "in that sentence alone"


def test_times_that_rest_on_the_first_phase_after_the_injection_say_so(tmp_path: Path) -> None:
    of = plan(3)
    without = replace(of, style=replace(of.style, injection_time=False))
    said = text_of(analysed(without, tmp_path))
    assert (
        "Times rest on: injection by the start of post 1, as no Contrast/Bolus Start Time is given"
        in said
    )
    assert "Phase early (post 2): 32 slices, middle 135 s after the injection." in said
