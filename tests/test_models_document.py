"""docs/models.md is followed to the letter, up to where a node runs (tests/interop does that)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from factories import exam
from models_document import (
    BOXES,
    CLASSES,
    NAME,
    SCORE,
    SECTIONS,
    TWO,
    answered,
    blocks,
    commands,
    network,
    without_questions,
)
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage
from typer.testing import CliRunner

from node import config
from node.cli import app
from node.manifest import Model
from node.packages.checking import check_package
from node.trial import phantom

pytestmark = pytest.mark.usefixtures("warm_inference", "small_exam")

PACKAGE = Path("my-models") / NAME


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the reader is, with the network and what `ai-node demo --phantom` leaves."""
    monkeypatch.chdir(tmp_path)
    onnx.save(network(SCORE), f"{NAME}.onnx")
    phantom.save(exam("A"), Path("demo-results/exams/A"))
    return tmp_path


def do(command: str) -> tuple[int, str]:
    words = shlex.split(command)
    assert words[0] == "ai-node"
    result = CliRunner().invoke(app, words[1:])
    return result.exit_code, result.output


def follow(section: str) -> str:
    """Do what a section says; return what its last command printed."""
    said = ""
    for command in commands(section):
        code, said = do(command)
        assert code == 0, (command, said)
    return said


def answer() -> None:
    """Edit manifest and card as sections 2 and 3 show them."""
    [manifest], [card] = (
        blocks("2. Answer the questions", "toml"),
        blocks("3. Write the card", "markdown"),
    )
    path = PACKAGE / "manifest.toml"
    path.write_text(answered(path.read_text("utf-8"), manifest), "utf-8")
    (PACKAGE / "README.md").write_text(card, "utf-8")


def scores(report: Dataset) -> Iterator[float]:
    """Yield the numbers of the document's score, in percent."""
    for item in report.get("ContentSequence", []):
        if item.ValueType == "NUM":
            assert item.ConceptNameCodeSequence[0].CodeValue == "SUSPICION"
            yield float(item.MeasuredValueSequence[0].NumericValue)
        yield from scores(item)


@pytest.mark.slow
def test_the_document_leads_from_a_network_to_its_results(folder: Path) -> None:
    assert commands("Before") == ['export PATH="$PWD/.venv/bin:$PATH"', "ai-node demo --phantom"]
    follow("1. Begin")
    code, told = do(f"ai-node models check {PACKAGE}")
    assert (code, "open question: Who makes it?" in told) == (1, True)
    answer()
    check = follow("4. Check")
    assert "FAILED" not in check
    assert "there is none to compare with" in check
    follow("5. Look at what the network gets")
    with Image.open("tensor.png") as drawn:
        assert drawn.size[1] > 512, "three channels beside one another, under their title"
    assert (PACKAGE / "reference" / "reference.toml").is_file()
    [report] = [
        found
        for path in (folder / "results").rglob("*.dcm")
        if (found := dcmread(path)).SOPClassUID == ComprehensiveSRStorage
    ]
    said = list(scores(report))
    assert len(said) == 7, "four images, two breasts, the exam"
    assert all(0 < score < 100 for score in said)
    again = do(commands("4. Check")[0])[1]
    assert "of 1 in reference/reference.toml 1 compared, and the same" in again


def test_the_configuration_of_the_document_uses_the_package() -> None:
    follow("1. Begin")
    answer()
    [toml] = blocks("6. Run it, first in shadow", "toml")
    Path("node.toml").write_text(toml, "utf-8")
    listed, checked = commands("6. Run it, first in shadow")[:2]
    assert "breast-score 0.1.0, research, detection" in do(listed)[1]
    code, said = do(checked)
    assert code == 0, said
    assert "Model breast-score 0.1.0: weights verified, runs." in said
    loaded = config.load_config(Path("node.toml"))
    assert [(one.name, one.mode) for one in loaded.models] == [(NAME, "shadow")]


@pytest.mark.parametrize(
    ("section", "number", "graph", "use", "said"),
    [
        ("Classes", 0, CLASSES, "density", "R density B: scattered"),
        ("Classes", 1, TWO, "detection", "Exam malignancy 69 %"),
        ("Boxes", 0, BOXES, "detection", "8 findings"),
    ],
    ids=["classes", "two", "boxes"],
)
def test_other_answers_are_described_as_shown(
    section: str, number: int, graph: str, use: str, said: str
) -> None:
    onnx.save(network(graph), "other.onnx")
    assert do("ai-node models new other --onnx other.onnx --into my-models")[0] == 0
    path = Path("my-models/other/manifest.toml")
    before, head, written = path.read_text("utf-8").partition("[[outputs]]\n")
    shown = blocks(section, "toml")[number]
    assert f'intended_use = "{use}"' in before
    assert number or f'intended_use = "{use}"' in SECTIONS[section]
    small = before.replace("height = 1024", "height = 256").replace("width = 832", "width = 208")
    path.write_text(without_questions(small) + answered(head + written, shown), "utf-8")
    found = {one.what: one for one in check_package(Model(path.parent))}
    assert [what for what, one in found.items() if not one.is_ok] == ["card"]
    assert said in found["exam"].words


def test_a_network_of_other_images_is_described_as_shown() -> None:
    follow("1. Begin")
    path = PACKAGE / "manifest.toml"
    [shown] = blocks("Other images than mammograms", "toml")
    text = 'domain = "plain"\n' + without_questions(path.read_text("utf-8"))
    text = re.sub(r"(?s)\[input\]\n.*?\n\n", f"{shown}\n", text)
    text = text.replace('[[pixels]]\nop = "mirror"\nchest_wall = "left"\n', "")
    text = re.sub(r"combine = .*\n", "", text)
    path.write_text(text, "utf-8")
    found = {one.what: one for one in check_package(Model(PACKAGE))}
    assert [what for what, one in found.items() if not one.is_ok] == ["card"]
    assert found["exam"].words.startswith("a generated exam of one image: Series 1 image 1 score")


def test_a_level_follows_from_what_is_shown_under_triage() -> None:
    follow("1. Begin")
    answer()
    [triage] = blocks("7. Triage", "toml")
    path = PACKAGE / "manifest.toml"
    manifest = path.read_text("utf-8").replace('use = "detection"', 'use = "triage"')
    path.write_text(manifest + triage, "utf-8")
    model = Model(PACKAGE)
    assert model.manifest.triage is not None
    found = {one.what: one for one in check_package(model)}
    assert all(one.is_ok for one in found.values())
    code, said = do(f"ai-node analyse demo-results/exams/A --out results --model {PACKAGE}")
    assert code == 0
    assert "routine" in said
