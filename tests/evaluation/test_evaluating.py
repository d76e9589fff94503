"""Labelled images through the node's own pipeline, with models that are known to be right."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from factories import L_CC, R_CC, R_MLO
from labelled import Labelled, silent, triaging
from lesion_models import lesion_detector, lesion_score, lesion_segmenter
from mr_models import uptake_model
from packages import CLASSES
from pydicom import Dataset, dcmread
from radiographs import chest_model
from small_models import SHARE_OF_WHITE, SIZE, model
from typer.testing import CliRunner

from node import config, offline
from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.cli import app
from node.errors import ConfigError, NodeError
from node.evaluation.cases import CaseAbout
from node.evaluation.evaluating import EvaluationDocument, EvaluationSettings, evaluate_model
from node.evaluation.labels import read_labels
from node.evaluation.report import summary, write_evaluation
from node.imaging.digests import pixel_digest
from node.inference import Inference
from node.manifest import Model, load_model
from node.result import Result
from node.trial.reports import content_lines

pytestmark = pytest.mark.usefixtures("warm_inference")


@pytest.fixture
def images(tmp_path: Path) -> Labelled:
    return Labelled(tmp_path / "images")


def measured(images: Labelled, used: Model, tmp_path: Path, **settings: Any) -> EvaluationDocument:
    asked = EvaluationSettings(
        table=read_labels(images.write(), images.folder), out_dir=tmp_path / "out", **settings
    )
    return evaluate_model(used, asked, silent)


def aucs(document: EvaluationDocument) -> dict[str, float | None]:
    (question,) = document.questions
    return {str(about): figures.auc.value for about, figures in question.about.items()}


def screening(images: Labelled) -> None:
    """Four women with four views each; two have a lesion in the right breast."""
    for number in range(4):
        images.add(
            f"P{number}", has_lesion=number < 2, device="AB"[number % 2], age=str(48 + number)
        )


def test_a_model_that_sees_what_is_there_tells_all_apart_and_one_that_is_shuffled_does_not(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    score = lesion_score(tmp_path / "models")
    document = measured(images, score, tmp_path)
    assert aucs(document) == {"image": 1.0, "breast": 1.0, "exam": 1.0}
    counts = [figures.counts for figures in document.questions[0].about.values()]
    assert [(c.cases, c.positives, c.patients) for c in counts] == [
        (16, 4, 4),
        (8, 2, 4),
        (4, 2, 4),
    ]


def test_labels_that_have_nothing_to_do_with_the_images_give_a_half_on_average(
    images: Labelled, tmp_path: Path
) -> None:
    """Over every way to call two of four women positive."""
    screening(images)
    score = lesion_score(tmp_path / "models")
    found = []
    for chosen in combinations(range(4), 2):
        for number, row in enumerate(images.rows):
            row["label"] = str(int(number // 4 in chosen))
        found.append(aucs(measured(images, score, tmp_path))["exam"])
    assert len(set(found)) > 2
    assert np.mean([one for one in found if one is not None]) == pytest.approx(0.5)


@pytest.mark.parametrize("write", [lesion_detector, lesion_segmenter])
def test_of_marks_the_highest_on_an_image_counts(
    write: Any, images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    document = measured(images, write(tmp_path / "models"), tmp_path)
    assert aucs(document) == {"image": 1.0, "breast": 1.0, "exam": 1.0}
    said = {case.said[next(iter(case.said))][0] for case in document.cases}
    assert 0.0 in said
    assert all(value > 0 for value in said - {0.0})
    assert document.questions[0].about[CaseAbout.IMAGE].calibration is None


def test_what_is_written_is_what_the_ward_gets_to_the_last_decimal(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    score = lesion_score(tmp_path / "models")
    document = measured(images, score, tmp_path, processes=2)
    write_evaluation(document, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    of_case = {case["name"]: case["said"]["score"] for case in written["cases"]}
    assert len(of_case) == 16 + 8 + 4
    rows = images.rows
    for number, row in enumerate(rows[::4], start=1):
        paths = [images.folder / one["path"] for one in rows if one["patient"] == row["patient"]]
        result, report = analysed_alone(paths, score)
        names = [f"exam {number}", f"exam {number} R", f"exam {number} L"]
        names += [f"line {2 + place}" for place in (4 * number - 4, 4 * number - 3)]
        names += [f"line {2 + place}" for place in (4 * number - 2, 4 * number - 1)]
        assert [e.measurements[0].value for e in result.evaluations] == [
            of_case[name][0] for name in names
        ]
        for evaluation, name in zip(result.evaluations, names, strict=True):
            assert report[evaluation.label] == f"{of_case[name][0]:.0f} %"


def analysed_alone(paths: list[Path], used: Model) -> tuple[Result, dict[str, str]]:
    """Return what `ai-node analyse` makes of a study: the result, and what its report says."""
    ((study_uid, study),) = offline._read(paths, lambda: None).studies.items()
    version = offline._version(study_uid, study)
    with Inference(config.InferenceSettings(), (used,)) as inference:
        pipeline = Pipeline(inference, ScoresInMemory(), UTC, ("measurement-report",))
        task = Task(version, (used,), frozenset({used.manifest.name}))
        (result,), (built,) = analyse(pipeline, task)
    return result, numbers_of(built.dataset)


def numbers_of(report: Dataset) -> dict[str, str]:
    """Return each number of a report as it is written, by what it says it is about."""
    found, value = {}, ""
    for line in content_lines(report, {}):
        if line.kind == "NUM":
            value = line.value
        if line.concept == "Equivalent Meaning of Concept Name":
            found[line.value] = value
    return found


def test_image_files_score_as_the_objects_they_were_exported_from(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=True, bits="")
    images.add("P2", has_lesion=True, as_png=True, bits="12")
    # The clouds of a phantom follow from its study: give P2 the pixels of P1.
    for was, png in zip(images.rows[:4], images.rows[4:], strict=True):
        pixels = dcmread(images.folder / was["path"]).pixel_array
        PIL.Image.fromarray(pixels).save(images.folder / png["path"])
    document = measured(images, lesion_score(tmp_path / "models"), tmp_path)
    said = {case.name: case.said["score"] for case in document.cases}
    assert said["exam 1"] == said["exam 2"]
    assert [said[f"line {n}"] for n in (2, 3, 4, 5)] == [said[f"line {n}"] for n in (6, 7, 8, 9)]


def test_images_of_16_bits_that_use_12_are_pointed_out(images: Labelled, tmp_path: Path) -> None:
    images.add("P1", has_lesion=True, as_png=True)
    images.add("P2", has_lesion=False, as_png=True)
    document = measured(images, lesion_score(tmp_path / "models"), tmp_path)
    (note,) = (note for note in document.notes if "16 bits" in note)
    assert "If white is 4095 there, add a column bits with 12" in note


def test_what_is_refused_is_counted_with_its_reason_and_sensitivity_both_ways(
    images: Labelled, tmp_path: Path
) -> None:
    """Of three women with a lesion one has nothing but magnification views."""
    for number in range(3):
        images.add(f"P{number}", has_lesion=True, views=[R_CC])
    paths = images.add("P3", has_lesion=True, views=[R_CC, R_MLO])
    images.add("P4", has_lesion=False, views=[R_CC])
    for path in paths:
        dataset = dcmread(path)
        dataset.EstimatedRadiographicMagnificationFactor = 1.8
        dataset.save_as(path)
    document = measured(images, lesion_score(tmp_path / "models"), tmp_path, thresholds=(0.5,))
    of_each = document.questions[0].about
    of_breast = of_each[CaseAbout.BREAST]
    assert of_breast.counts.why_not_assessed == {"magnification view": 1}
    assert of_each[CaseAbout.IMAGE].counts.why_not_assessed == {"magnification view": 2}
    assert (of_breast.counts.positives, of_breast.counts.positives_not_assessed) == (4, 1)
    (at,) = of_breast.thresholds
    assert (at.true_positives, at.false_negatives, at.true_negatives) == (3, 0, 1)
    assert (at.sensitivity.value, at.sensitivity_of_all.value) == (1.0, 0.75)
    assert at.sensitivity.interval == pytest.approx((0.025 ** (1 / 3), 1.0))
    # Of one breast alone nothing is said of the exam.
    reasons = of_each[CaseAbout.EXAM].counts.why_not_assessed
    assert reasons == {
        "the model says nothing of an exam of these images": 4,
        "magnification view": 1,
    }


def test_figures_are_broken_down_by_columns_and_by_what_the_objects_say(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    for row in images.rows:
        del row["view"]
    document = measured(
        images, lesion_score(tmp_path / "models"), tmp_path, by=("device", "age", "view")
    )
    of_each = document.questions[0].about
    by = of_each[CaseAbout.IMAGE].by
    assert {name: sorted(groups) for name, groups in by.items()} == {
        "device": ["A", "B"],
        "age": ["40 to 49", "50 to 59"],
        "view": ["CC", "MLO"],
    }
    assert [group.counts.cases for group in by["age"].values()] == [8, 8]
    assert all(group.auc.value == 1.0 for group in by["device"].values())
    assert of_each[CaseAbout.EXAM].by["view"] == {}  # each has both


def test_a_line_break_or_a_bar_in_a_cell_breaks_no_table(images: Labelled, tmp_path: Path) -> None:
    images.add("P0", has_lesion=True, device="A\nof | 2020")
    images.add("P1", has_lesion=False, device="A\nof | 2020")
    document = measured(images, lesion_score(tmp_path / "models"), tmp_path, by=("device",))
    write_evaluation(document, tmp_path / "out")
    report = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| exam | A of / 2020 | 2 |" in report


def test_a_column_that_is_not_there_is_refused_with_the_nearest(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    score = lesion_score(tmp_path / "models")
    with pytest.raises(ConfigError, match='--by devise: no such column, did you mean "device"'):
        measured(images, score, tmp_path, by=("devise",))
    for number, row in enumerate(images.rows * 4):
        row["number"] = str(number)
    images.rows = [dict(row, number=str(n)) for n, row in enumerate(images.rows)]
    from node.evaluation import evaluating

    assert evaluating.MOST_GROUPS == 50
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "MOST_GROUPS", 15)
        with pytest.raises(ConfigError, match="--by number: 16 different values, 15 at most"):
            measured(images, score, tmp_path, by=("number",))


def test_numbers_per_thousand_are_those_of_the_prevalence_that_was_given(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    for number, row in enumerate(images.rows):  # one of three positives is missed: P2
        row["label"] = str(int(number // 4 < 3))
    document = measured(
        images,
        lesion_score(tmp_path / "models"),
        tmp_path,
        thresholds=(0.5,),
        prevalence=0.006,
    )
    (at,) = document.questions[0].about[CaseAbout.EXAM].thresholds
    assert at.per_thousand is not None
    numbers = at.per_thousand
    assert numbers.found.value == pytest.approx(4)
    assert numbers.missed.value == pytest.approx(2)
    assert numbers.called.value == pytest.approx(4)  # no negative one is called
    assert numbers.found.interval and numbers.missed.interval
    assert numbers.missed.interval[0] == pytest.approx(6 - numbers.found.interval[1])
    assert document.questions[0].about[CaseAbout.IMAGE].thresholds[0].per_thousand is None


def test_how_many_exams_are_counted_without_an_expected_view_is_said(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=True)
    images.add("P2", has_lesion=False, views=[R_CC, L_CC])
    used = lesion_score(tmp_path / "models")
    path = used.folder / "manifest.toml"
    text = path.read_text("utf-8").replace("[output]", "[[outputs]]")
    text = text.replace("[output.heat_map]", "[outputs.heat_map]")
    head, _, tail = text.partition("[[outputs]]")
    combine = 'combine = { breast = "highest", exam = "highest" }'
    path.write_text(f'{head}[[outputs]]\nname = "lesions"\n{combine}{tail}', "utf-8")
    document = measured(images, Model(used.folder), tmp_path)
    assert document.questions[0].about[CaseAbout.EXAM].counts.negatives_not_assessed == 0
    assert document.notes[-1] == (
        "1 exam lacks an expected view and is counted as assessed, with what was seen, as the "
        "model combines it."
    )
    write_evaluation(document, tmp_path / "out")
    assert f"- {document.notes[-1]}" in (tmp_path / "out" / "evaluation.md").read_text()


def triaged(images: Labelled, tmp_path: Path) -> EvaluationDocument:
    """Six women: with a lesion two whole exams, one of one view, one of nothing that is read."""
    for number in range(3):
        images.add(f"P{number}", has_lesion=number < 2)
    images.add("P3", has_lesion=False, views=[R_CC])  # a view is missing, nothing to be seen
    images.add("P4", has_lesion=True, views=[R_CC])  # a view is missing, and the lesion is there
    (path,) = images.add("P5", has_lesion=True, views=[R_CC])
    dataset = dcmread(path)
    dataset.EstimatedRadiographicMagnificationFactor = 1.8
    dataset.save_as(path)
    return measured(images, triaging(lesion_score(tmp_path / "models")), tmp_path, prevalence=0.006)


def test_levels_are_those_that_the_ward_would_see(images: Labelled, tmp_path: Path) -> None:
    document = triaged(images, tmp_path)
    levels = {case.patient: case.level for case in document.cases if case.level}
    assert levels == {
        "P0": "urgent",
        "P1": "urgent",
        "P2": "routine",
        "P3": "not assessed",
        "P4": "urgent",
        "P5": "not assessed",
    }
    assert document.triage is not None
    by_level = document.triage.levels
    assert list(by_level) == ["urgent", "soon", "not assessed", "routine"]
    counts = {name: (one.positives, one.negatives) for name, one in by_level.items()}
    assert counts == {
        "urgent": (3, 0),
        "soon": (0, 0),
        "not assessed": (1, 1),
        "routine": (0, 1),
    }
    assert by_level["urgent"].share.value == 0.5
    assert by_level["urgent"].share_of_positives.value == 0.75
    numbers = document.triage.per_thousand
    assert numbers is not None
    of_each = (numbers.called, numbers.found, numbers.missed)
    assert [number.value for number in of_each] == pytest.approx([4.5, 4.5, 1.5])
    assert document.triage.routine_per_thousand is not None
    assert document.triage.routine_per_thousand.value == 0
    write_evaluation(document, tmp_path / "out")
    report = (tmp_path / "out" / "evaluation.md").read_text()
    assert "| urgent | 3 | 0 | 50.0 % (" in report
    assert "| not assessed | 1 | 1 |" in report
    assert any(line.startswith("urgent: 50.0 % (") for line in summary(document))


def test_operating_points_are_measured_where_they_are_meant_beside_what_the_package_states(
    images: Labelled, tmp_path: Path
) -> None:
    document = triaged(images, tmp_path)
    (question,) = document.questions  # there is none of a heat map
    assert question.name == "lesions"
    assert question.about[CaseAbout.IMAGE].thresholds == ()
    high, low = question.about[CaseAbout.EXAM].thresholds
    assert (high.name, low.name) == ("high (0.9)", "low (0.4)")
    assert (high.true_positives, high.false_negatives) == (2, 0)  # of P4 and P5 no exam score
    assert (high.true_negatives, high.false_positives) == (1, 0)
    assert high.sensitivity_of_all.value == 0.5
    assert high.stated is not None
    assert (high.stated.sensitivity, high.stated.positives) == (0.6, 10)
    write_evaluation(document, tmp_path / "out")
    report = (tmp_path / "out" / "evaluation.md").read_text()
    assert "of 1 | 60 % and 90 % |" in report


def test_of_a_network_that_reads_the_exam_at_once_only_exams_are_cases(
    images: Labelled, tmp_path: Path
) -> None:
    """How white four views are together; without one of them the exam is not assessed."""
    for number in range(3):
        images.add(f"P{number}", has_lesion=number < 2)
    images.add("P3", has_lesion=True, views=[R_CC])
    document = measured(images, four_views(tmp_path), tmp_path)
    (question,) = document.questions
    of_image, of_breast, of_exam = question.about.values()
    assert of_image.auc.value is of_breast.auc.value is None
    assert of_exam.auc.value is not None
    assert (of_exam.counts.cases, of_exam.counts.positives_not_assessed) == (4, 1)
    (reason,) = of_exam.counts.why_not_assessed
    assert "L CC" in reason or "missing" in reason
    assert "the model says nothing of single images" in of_image.counts.why_not_assessed


def four_views(folder: Path) -> Model:
    views = ("r_cc", "l_cc", "r_mlo", "l_mlo")
    inputs = ", ".join(f"float[1,1,{SIZE},{SIZE}] {name}" for name in views)
    body = f"""
        all = Concat<axis = 1>({", ".join(views)})
        white = ReduceMean<keepdims = 0>(all)
        single = Constant<value_ints = [1, 1]>()
        score = Reshape(white, single)
    """
    package = model(folder, body, inputs=inputs, output="float[1,1] score").folder
    path = package / "manifest.toml"
    text = path.read_text().partition("[output]\n")[0]
    text = text.replace('intended_use = "measurement"', 'intended_use = "detection"')
    text += '[unit]\nof = "exam"\nmissing = "refuse"\nrepeated = "refuse"\n'
    text += f"roles = {[name.upper().replace('_', ' ') for name in views]}\n"
    for name in views:
        text += f"[[inputs]]\ntensor = '{name}'\nroles = ['{name.upper().replace('_', ' ')}']\n"
    text += """[[outputs]]
name = "whiteness"
kind = "score"
tensor = "score"
label = "whiteness"
score = { value = "WHITE", scheme = "99TEST", meaning = "Whiteness" }
"""
    path.write_text(text)
    return Model(package)


def test_whoever_was_cut_short_goes_on_where_it_was(
    images: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screening(images)
    score = lesion_score(tmp_path / "models")
    asked, limit = list[str](), 6
    was = Inference.score

    def score_and_fall(self: Inference, unit: Any, used: Model) -> Any:
        if len(asked) == limit:
            raise KeyboardInterrupt
        asked.append(unit.sop_uid)
        return was(self, unit, used)

    monkeypatch.setattr(Inference, "score", score_and_fall)
    with pytest.raises(KeyboardInterrupt):
        measured(images, score, tmp_path)
    kept = tmp_path / "out" / "scores.jsonl"
    kept.write_text(kept.read_text() + '["cut sho')  # as a power cut leaves it
    first, asked, limit = asked, [], 99
    document = measured(images, score, tmp_path)
    assert len(first) == 6
    assert len(asked) == 10
    assert not set(first) & set(asked)
    assert aucs(document) == {"image": 1.0, "breast": 1.0, "exam": 1.0}
    asked.clear()
    assert measured(images, score, tmp_path) == document
    assert asked == []


def test_patients_with_an_image_that_the_package_has_learnt_from_are_left_out(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    images.add("P1 later", has_lesion=True)
    for row in images.rows[-4:]:
        row["patient"] = "P1"
    score = lesion_score(tmp_path / "models")
    seen = pixel_digest(images.folder / images.rows[5]["path"])  # one view of the first exam of P1
    (score.folder / "training-images.txt").write_text(f"# of the set X\n{seen}  # a note\n\n")
    document = measured(images, score, tmp_path)
    assert (document.given.trained_on, document.given.patients_left_out) == (1, 1)
    assert {case.patient for case in document.cases} == {"P0", "P2", "P3"}
    assert document.questions[0].about[CaseAbout.EXAM].counts.cases == 3
    lines = list(summary(document))
    assert any(
        "has learnt from 1 of the images: all of 1 patients are left out" in x for x in lines
    )
    everything = [pixel_digest(images.folder / row["path"]) for row in images.rows]
    (score.folder / "training-images.txt").write_text("\n".join(everything))
    with pytest.raises(NodeError, match="images of every patient: nothing is left"):
        measured(images, score, tmp_path)
    (score.folder / "training-images.txt").write_text("deadbeef\n")
    with pytest.raises(ConfigError, match=r"training-images\.txt:1: expected a SHA-256"):
        measured(images, score, tmp_path)


def test_the_digests_of_training_images_are_written_by_a_command_and_found_again(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P0", has_lesion=True, bits="")
    images.add("P1", has_lesion=False, as_png=True, bits="12")
    images.add("P2", has_lesion=False, bits="")
    images.add("P3", has_lesion=True, bits="")
    (images.folder / "P0" / "notes.txt").write_text("no image")
    score = lesion_score(tmp_path / "models")
    learnt = images.folder / "learnt"
    learnt.mkdir()
    for patient in ("P0", "P1"):
        shutil.copytree(images.folder / patient, learnt / patient)
    result = CliRunner().invoke(app, ["models", "digests", str(score.folder), str(learnt)])
    assert result.exit_code == 0, result.output
    assert "notes.txt: neither DICOM nor PNG, JPEG, TIFF or PGM" in result.stderr
    assert re.fullmatch(r"([0-9a-f]{64}\n){8}", result.stdout)
    cut_off = next((learnt / "P1").glob("*.png"))
    (learnt / "cut off.png").write_bytes(cut_off.read_bytes()[:-2000])
    again = CliRunner().invoke(app, ["models", "digests", str(score.folder), str(learnt)])
    assert again.exit_code == 1
    assert again.stdout == result.stdout
    assert "cut off.png: the picture cannot be decoded" in again.stderr
    (score.folder / "training-images.txt").write_text(result.stdout)
    document = measured(images, score, tmp_path)
    assert (document.given.trained_on, document.given.patients_left_out) == (8, 2)


def test_a_package_that_does_not_say_what_it_has_learnt_from_is_pointed_out(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    score = lesion_score(tmp_path / "models")
    document = measured(images, score, tmp_path)
    assert document.given.trained_on is None
    assert any("training-images.txt" in note for note in document.notes)
    (score.folder / "training-images.txt").write_text("")
    document = measured(images, score, tmp_path)
    assert document.given.trained_on == 0
    assert document.notes == ()


def test_grades_are_compared_with_labels_that_are_classes(images: Labelled, tmp_path: Path) -> None:
    """A network that says how white an image is: a lesion makes it whiter."""
    for number in range(4):
        images.add(f"P{number}", has_lesion=number < 2)
    used = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
    for row in images.rows:
        row["label"] = "d" if row["patient"] == "P3" else "F: fatty"
    document = measured(images, used, tmp_path)
    assert [question.name for question in document.questions] == ["classes: F", "classes: D"]
    grades = document.grades["classes"]
    assert sorted(grades) == ["breast", "exam"]  # nothing is said of single images
    assert grades["exam"].classes == ("F", "D")
    assert grades["exam"].counts == ((3, 0), (1, 0))  # every image is rather black
    assert grades["exam"].accuracy.value == 0.75
    assert grades["exam"].kappa.value == 0.0
    fatty, dense = (q.about[CaseAbout.EXAM] for q in document.questions)
    assert fatty.auc.value == dense.auc.value  # of two classes one is the other's complement
    chosen = measured(images, used, tmp_path, positive=("D",))
    assert [q.name for q in chosen.questions] == ["classes: D", "classes: F"]
    assert chosen.questions[0].about == document.questions[1].about


@pytest.mark.parametrize(
    ("labels", "positive", "expected"),
    [
        ({"malignant", "benign"}, (), 'label: expected 0 or 1, found "benign"; .*--positive NAME'),
        ({"malignant", "0"}, (), 'found "malignant"'),
        ({"0", "1"}, ("malignant",), "--positive malignant: neither a label nor a class"),
    ],
)
def test_labels_that_nobody_understands_are_refused_with_what_to_write(
    labels: set[str], positive: tuple[str, ...], expected: str, images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=False)
    for row, label in zip(images.rows, sorted(labels) * 2, strict=True):
        row["label"] = label
    with pytest.raises(ConfigError, match=expected):
        measured(images, lesion_score(tmp_path / "models"), tmp_path, positive=positive)


def test_names_count_as_positive_if_they_are_said_to(images: Labelled, tmp_path: Path) -> None:
    screening(images)
    for row in images.rows:
        row["label"] = "malignant" if row["label"] == "1" else "benign"
    document = measured(
        images, lesion_score(tmp_path / "models"), tmp_path, positive=("malignant",)
    )
    assert aucs(document) == {"image": 1.0, "breast": 1.0, "exam": 1.0}
    assert document.questions[0].positive == "label malignant"


def test_classes_need_to_be_told_which_of_them_1_stands_for(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=True)
    images.add("P2", has_lesion=False)
    used = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
    with pytest.raises(
        ConfigError, match=r"which class of the model 1 is: --positive CLASS, one of F, D"
    ):
        measured(images, used, tmp_path)
    document = measured(images, used, tmp_path, positive=("D",))
    assert [question.name for question in document.questions] == ["classes: D"]
    assert document.grades == {}


def test_labels_that_are_no_class_of_the_model_are_named_with_the_classes(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=False)
    used = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
    for row, label in zip(images.rows, ("F", "F", "dense", "F"), strict=True):
        row["label"] = label
    with pytest.raises(ConfigError, match=r':4: label: expected one of .* F, D, found "dense"'):
        measured(images, used, tmp_path)


def test_a_breast_has_one_grade(images: Labelled, tmp_path: Path) -> None:
    images.add("P1", has_lesion=False)
    used = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES)
    for row, label in zip(images.rows, "FFDF", strict=True):  # R CC, L CC, R MLO, L MLO
        row["label"] = label
    with pytest.raises(ConfigError, match=r':4: label: a breast has one grade; found "D", and "F"'):
        measured(images, used, tmp_path)


def test_a_model_that_only_measures_has_nothing_to_be_judged(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=False)
    area = load_model("breast-area", config.bundled_models_dir())
    with pytest.raises(NodeError, match="breast-area measures; there is nothing in it"):
        measured(images, area, tmp_path)


def test_of_a_model_of_volumes_a_line_is_the_folder_of_a_study_and_of_no_other(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=False)
    with pytest.raises(ConfigError, match=r"labels.csv:2: .* is no folder, expected the folder of"):
        measured(images, uptake_model(tmp_path), tmp_path)
    images.rows = [{"path": "P1", "patient": "P1", "label": "0"}]
    with pytest.raises(ConfigError, match=r"labels.csv:2: .*P1: is a folder, expected an image"):
        density = load_model("breast-density", config.bundled_models_dir())
        measured(images, density, tmp_path, positive=("MIAS-D",))


def test_of_other_images_than_mammograms_each_stands_for_itself(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=True, views=[R_CC, L_CC], as_png=True, bits="12")
    images.add("P2", has_lesion=False, views=[R_CC], as_png=True, bits="12")
    for row in images.rows:
        del row["side"], row["view"]
    document = measured(images, chest_model(tmp_path), tmp_path)
    assert list(document.questions[0].about) == [CaseAbout.IMAGE]
    assert document.questions[0].about[CaseAbout.IMAGE].counts.cases == 3
    assert all(case.said for case in document.cases)


def test_what_the_model_leaves_aside_is_no_case_of_it(images: Labelled, tmp_path: Path) -> None:
    screening(images)
    score = lesion_score(tmp_path / "models")
    path = score.folder / "manifest.toml"
    text = path.read_text().replace(
        'projections = ["CC", "MLO"]', 'projections = ["MLO"]\npassed_over = ["CC"]'
    )
    path.write_text(text)
    document = measured(images, Model(score.folder), tmp_path)
    counts = document.questions[0].about[CaseAbout.IMAGE].counts
    assert (counts.cases, counts.left_aside, counts.why_not_assessed) == (8, 8, {})
    assert aucs(document) == {"image": 1.0, "breast": 1.0, "exam": 1.0}


def test_a_study_that_a_node_would_hold_is_held_here(images: Labelled, tmp_path: Path) -> None:
    screening(images)
    path = images.folder / images.rows[0]["path"]
    dataset = dcmread(path)
    dataset.PatientID = "ANOTHER"
    dataset.save_as(path)
    document = measured(images, lesion_score(tmp_path / "models"), tmp_path)
    counts = document.questions[0].about[CaseAbout.EXAM].counts
    (reason,) = counts.why_not_assessed
    assert reason == "held: the objects of the study disagree about Patient ID"
    assert any(note.startswith("1 exams would be held by a node") for note in document.notes)


def test_an_exam_that_is_held_is_not_assessed_and_one_out_of_scope_has_no_level_as_in_a_ward(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    held, *_ = images.add("P4", has_lesion=True)
    [other] = images.add("P5", has_lesion=True, views=[R_CC])
    for path, keyword, value in (
        (held, "PatientID", "ANOTHER"),
        (other, "Modality", "CR"),
    ):
        dataset = dcmread(path)
        setattr(dataset, keyword, value)
        dataset.save_as(path)
    document = measured(images, triaging(lesion_score(tmp_path / "models")), tmp_path)
    levels = {case.patient: case.level for case in document.cases if case.level}
    assert (levels["P4"], levels["P5"]) == ("not assessed", "no level")
    assert document.triage is not None
    counts = {k: (one.positives, one.negatives) for k, one in document.triage.levels.items()}
    assert counts == {
        "urgent": (2, 0),
        "soon": (0, 0),
        "not assessed": (1, 0),
        "routine": (0, 2),
        "no level": (1, 0),
    }


def test_a_file_that_cannot_be_decoded_keeps_an_exam_from_being_routine_as_in_a_ward(
    images: Labelled, tmp_path: Path
) -> None:
    paths = images.add("P0", has_lesion=False, as_png=True, bits="12")
    again = paths[0].with_name("again.png")
    again.write_bytes(paths[0].read_bytes()[:-2000])
    images.rows.append({**images.rows[0], "path": str(again.relative_to(images.folder))})
    images.add("P1", has_lesion=True, bits="")
    document = measured(images, triaging(lesion_score(tmp_path / "models")), tmp_path)
    levels = {case.patient: case.level for case in document.cases if case.level}
    assert levels["P0"] == "not assessed"


def test_the_patient_of_an_exam_that_is_held_is_left_out_if_the_package_has_learnt_from_it(
    images: Labelled, tmp_path: Path
) -> None:
    screening(images)
    held = images.folder / images.rows[0]["path"]
    dataset = dcmread(held)
    dataset.PatientID = "ANOTHER"
    dataset.save_as(held)
    score = lesion_score(tmp_path / "models")
    (score.folder / "training-images.txt").write_text(pixel_digest(held))
    document = measured(images, score, tmp_path)
    assert (document.given.trained_on, document.given.patients_left_out) == (1, 1)


def contradictions(images: Labelled, tmp_path: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        measured(images, lesion_score(tmp_path / "models"), tmp_path)
    return [re.sub(r"^.*?labels.csv", "labels.csv", x) for x in str(raised.value).split("\n")]


def test_an_object_must_not_say_something_else_than_its_row(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=False)
    images.rows[0]["side"], images.rows[2]["view"] = "L", "CC"
    one, two = contradictions(images, tmp_path)
    assert one.startswith("labels.csv:2: side: the table says L, the object R: ")
    assert two.startswith("labels.csv:4: view: the table says CC, the object MLO: ")


def test_an_image_file_of_a_breast_needs_its_side_and_view(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=False, as_png=True)
    images.rows[0]["side"] = images.rows[3]["view"] = ""
    one, two = contradictions(images, tmp_path)
    assert one == "labels.csv:2: side: missing; R-CC.png is no DICOM object, which would say it"
    assert two == "labels.csv:5: view: missing; L-MLO.png is no DICOM object, which would say it"


def test_an_image_under_two_names_is_refused(images: Labelled, tmp_path: Path) -> None:
    for patient, as_png in (("P1", False), ("P2", True)):
        (path, *_) = images.add(patient, has_lesion=False, as_png=as_png)
        copy = path.with_stem("copy")
        shutil.copy(path, copy)
        images.rows.append(images.rows[-4] | {"path": str(copy.relative_to(images.folder))})
    one, two = contradictions(images, tmp_path)
    assert one == "labels.csv:6: the same SOP Instance UID as in line 2"
    assert two == "labels.csv:11: the same image as in line 7"


def test_a_study_of_two_patients_in_the_table_is_refused(images: Labelled, tmp_path: Path) -> None:
    images.add("P1", has_lesion=False)
    images.rows[2]["patient"] = "P2"
    (line,) = contradictions(images, tmp_path)
    assert line == "labels.csv:4: patient: another than in line 2, of the same DICOM study"


def test_a_file_that_is_no_image_is_named(images: Labelled, tmp_path: Path) -> None:
    (path, other, *_) = images.add("P1", has_lesion=False)
    path.write_bytes(b"no image")
    other.write_bytes(other.read_bytes()[:300])
    one, two = contradictions(images, tmp_path)
    assert one == f"labels.csv:2: {path}: neither DICOM nor PNG, JPEG, TIFF or PGM"
    assert two.startswith(f"labels.csv:3: {other}: ")


def test_exams_of_one_patient_are_told_apart_by_study_or_by_the_column(
    images: Labelled, tmp_path: Path
) -> None:
    """Two studies of one patient are two exams, unless the table says that they are one."""
    score = lesion_score(tmp_path / "models")
    images.add("first", has_lesion=True, views=[R_CC])
    images.add("second", has_lesion=False, views=[L_CC])
    for row in images.rows:
        row["patient"] = "P1"
    apart = measured(images, score, tmp_path)
    assert apart.given.exams == 2
    for row in images.rows:
        row["exam"] = "2020"
    document = measured(images, score, tmp_path)
    assert document.given.exams == 1
    assert [c.said["score"] for c in document.cases if c.about == CaseAbout.EXAM] != [()]
    assert any("1 of 1 exams are several DICOM studies" in note for note in document.notes)


def call(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_prints_figures_and_writes_files(images: Labelled, tmp_path: Path) -> None:
    screening(images)
    score = lesion_score(tmp_path / "models").folder
    table, out = images.write(), tmp_path / "results" / "one"
    arguments = (score, images.folder, "--labels", table, "--out", out, "--processes", 1)
    code, said = call(*arguments, "--threshold", 0.5, "--prevalence", 0.006, "--by", "device")  # type: ignore[arg-type]
    assert code == 0, said
    assert "16 images, 4 exams, 4 patients." in said
    assert "score, exam: AUC 1.000; 2 positive, 2 negative, 0 not assessed" in said
    for name in ("evaluation.json", "evaluation.md", "roc-1.png", "calibration-1.png"):
        assert (out / name).is_file()
        assert str(out / name) in said
    report = (out / "evaluation.md").read_text()
    assert "| exam | at least 0.5 | 100.0 % (15.8 to 100.0), 2 of 2 |" in report
    assert (  # of 2 with the disease and 2 without
        "Of 1,000 exams at a prevalence of 0.6 %, 6 (1 to 843) are called positive, at least 0.5, "
        "6.0 (0.9 to 6.0) of them with the disease; 0.0 (0.0 to 5.1) with it are not."
    ) in report
    assert "score, exam, at least 0.5: sensitivity 100.0 % (15.8 to 100.0), 2 of 2; spec" in said
    numbers = json.loads((out / "evaluation.json").read_text())["questions"][0]["about"]["exam"]
    found = numbers["thresholds"][0]["per_thousand"]["found"]
    assert found["interval"] == pytest.approx([6 * 0.1581, 6], abs=0.001)
    assert not any("lack" in line for line in said.splitlines())
    assert "### By device" in report
    with PIL.Image.open(out / "roc-1.png") as picture:
        assert len(picture.getcolors(1 << 24) or ()) > 3
    before = (out / "evaluation.json").read_bytes()
    assert call(*arguments, "--threshold", 0.5, "--prevalence", 0.006, "--by", "device")[0] == 0  # type: ignore[arg-type]
    assert (out / "evaluation.json").read_bytes() == before


def test_a_person_who_stops_the_command_is_told_that_it_can_go_on(
    images: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.add("P1", has_lesion=True, views=[R_CC])
    images.add("P2", has_lesion=False, views=[R_CC])

    def stop(self: Inference, unit: Any, used: Model) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Inference, "score", stop)
    score = lesion_score(tmp_path / "models").folder
    table = images.write()
    code, said = call(score, images.folder, "--labels", table, "--out", tmp_path / "out")
    assert code == 130
    assert "The same command goes on" in said


def test_the_command_fails_if_nothing_was_assessed_or_something_is_wrong(
    images: Labelled, tmp_path: Path
) -> None:
    images.add("P1", has_lesion=True, views=[R_CC], as_png=True)
    PIL.Image.fromarray(np.full((99, 99), 7, np.uint16)).save(images.folder / "P1/R-CC.png")
    score = lesion_score(tmp_path / "models").folder
    table = images.write()
    code, said = call(score, images.folder, "--labels", table, "--out", tmp_path / "out")
    assert code == 1
    assert "1 not assessed" in said
    code, said = call(score, images.folder, "--labels", tmp_path / "none.csv")
    assert code == 1
    assert "none.csv: cannot be read" in said
    (tmp_path / "file").write_text("")
    code, said = call(score, images.folder, "--labels", table, "--out", tmp_path / "file")
    assert code == 1
    assert "cannot be a folder" in said
