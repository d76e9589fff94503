"""The example of docs/evaluate.md, followed."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.evaluation import counting, evaluating
from node.evaluation.cases import LabelledCase
from node.evaluation.labels import KNOWN_COLUMNS
from node.trial.exams import write_exams

DOCUMENT = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text("utf-8")


def block(kind: str) -> str:
    (found,) = re.findall(rf"```{kind}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_inference")
def test_the_example_does_what_the_document_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_exams(tmp_path / "demo-results" / "exams", "document", None)  # as the demonstration does
    (tmp_path / "labels.csv").write_text(block("csv"))
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(block("sh"))
    assert program == "ai-node"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    named = re.findall(r"^\| `(evaluation\.md|evaluation\.json|scores\.jsonl)`", DOCUMENT, re.M)
    for name in (*named, "roc-1.png", "calibration-1.png"):
        assert (tmp_path / "evaluation" / name).is_file()
    written = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    counts = written["questions"][0]["about"]["exam"]["counts"]
    assert counts["cases"] == 4
    assert counts["why_not_assessed"] == {
        "the model says nothing of an exam of these images": 1,
        "magnification view": 1,
    }
    assert (
        "| exam | magnification view | 1 |" in (tmp_path / "evaluation/evaluation.md").read_text()
    )
    images = written["questions"][0]["about"]["image"]["counts"]
    assert images["left_aside"] == 6  # CC views; the magnified one is refused


def test_every_column_and_every_field_is_explained() -> None:
    for column in KNOWN_COLUMNS:
        assert re.search(rf"^\| (`\w+`, )?`{column}`", DOCUMENT, re.MULTILINE), column
    explained: list[Any] = [
        evaluating.EvaluationDocument,
        evaluating.GivenImages,
        counting.QuestionFigures,
        counting.FiguresAbout,
        counting.CaseCounts,
        counting.CalibrationFigures,
        counting.Bin,
        counting.GradeFigures,
        counting.TriageFigures,
        counting.LevelOfTriage,
        LabelledCase,
    ]
    said = DOCUMENT.partition("## `evaluation.json`")[2]
    missing = {
        field.name
        for one in explained
        for field in fields(one)
        if not re.search(rf"\b{field.name}\b", said)
    }
    assert missing <= {"labels_sha256", "images", "exams", "patients"}  # of `given`, in words
