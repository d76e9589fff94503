"""docs/train.md, "Breast MRI", is followed to the letter: from generated studies to a report."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mr_labelled import LabelledStudies
from pydicom import dcmread
from typer.testing import CliRunner

from node.cli import app
from node.manifest import Model
from node.offline import analyse_folder
from node.training.export import export_network
from node.training.networks import ScoringNetwork
from node.training.recipe import Folds, read_recipe
from node.training.splits import Half, fold_of, half_of

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("warm_inference"),
]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "train.md").read_text("utf-8")
(SECTION,) = re.findall(r"^## Breast MRI\n(.*?)(?=^## )", DOCUMENT, re.M | re.S)
PACKAGE = Path("packages/first-mri")
FOLDS = Folds(count=2)
PER_HALF = 4


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.S)


def do(command: str) -> str:
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    return result.output


def women() -> list[tuple[int, bool]]:
    """Return women, as many ill as not in each half of each fold."""
    halves, chosen = defaultdict[tuple[int, Half], int](int), list[tuple[int, bool]]()
    for number in range(100):
        name = f"woman {number}"
        half = fold_of(name, FOLDS), half_of(name, FOLDS)
        if halves[half] < PER_HALF:
            chosen.append((number, halves[half] % 2 == 1))
            halves[half] += 1
    assert [*halves.values()] == [PER_HALF] * 4
    return chosen


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is, with studies of women, others to be asked of, and the recipe."""
    folder = tmp_path_factory.mktemp("reader")
    studies, others = (LabelledStudies(folder / name) for name in ("mri-studies", "mri-new"))
    for number, is_ill in women():
        studies.add(number, is_ill=is_ill)
    studies.write()
    for number in (200, 201, 202, 203):
        others.add(number, is_ill=number % 2 == 1)
    (recipe,) = blocks("toml")
    (folder / "mri.toml").write_text(recipe, "utf-8")
    return folder


def test_from_studies_to_a_package_and_a_report(
    reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reader)
    train, check, evaluate, analyse = "".join(blocks("shell")).splitlines()

    said = do(train)
    assert "| AUC within folds, averaged | " in said
    model = Model(PACKAGE)
    assert model.manifest.domain == "breast_mr"
    recipe = read_recipe(PACKAGE / "recipe.toml")
    assert recipe == read_recipe(Path("mri.toml"))
    assert (recipe.network.trunk, recipe.network.frozen) == ("inception-v3", "all")
    assert "README.md states what was measured" in do(check)

    (auc,) = re.findall(r"score, exam: AUC (.*?);", do(evaluate))
    card = (PACKAGE / "README.md").read_text("utf-8")
    assert f"| AUC, exam | {auc} |" in card
    assert "gives each of 32 slices of a breast MRI a score" in " ".join(card.split())

    do(analyse)
    written = list(Path("mri-results").rglob("*.dcm"))
    reports = [path for path in written if dcmread(path).Modality == "SR"]
    assert len(reports) == 4

    scores = dict[int, float]()
    for number in (200, 201, 202, 203):
        paths = sorted(Path(f"mri-new/study-{number}").iterdir())
        (study,) = analyse_folder(paths, Path("again"), model, lambda: None).studies
        assert study.result is not None, study.words
        (evaluation,) = study.result.evaluations
        scores[number] = evaluation.measurements[0].value
        assert any("of the 32 that were read" in one for one in study.result.statements)
    assert min(scores[201], scores[203]) > max(scores[200], scores[202]), scores


class Means(ScoringNetwork):
    """A network that says of each image how bright it is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))[:, None]

    def scored_and_shown(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pytest.fail("of slices nothing is shown beside the score")


def test_slices_of_a_study_are_exported_as_one_batch(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    cases = [[random.random((8, 1, 12, 16), np.float32)] for _ in range(2)]
    exported = export_network(Means(), (), cases, tmp_path / "network.onnx")
    assert exported.parity < 1e-6
    assert exported.inputs == {}
