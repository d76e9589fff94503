"""docs/train.md is followed to the letter, on a small generated collection laid out as TCIA's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.manifest import Model
from node.training.recipe import read_recipe
from training.tcia import Planted, write_collection

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("warm_inference"),
]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "train.md").read_text("utf-8")
PACKAGE = Path("packages/first-try")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader is, with the collection and the recipe of the first try."""
    folder = tmp_path_factory.mktemp("reader")
    write_collection(folder / "cbis-ddsm", Planted(women=24))
    (recipe,) = blocks("toml", "A first try")
    (folder / "first.toml").write_text(recipe, "utf-8")
    return folder


def blocks(language: str, section: str) -> list[str]:
    (text,) = re.findall(rf"^##+ {re.escape(section)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.M | re.S)
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def commands(section: str) -> list[str]:
    lines = "\n".join(blocks("shell", section)).splitlines()
    return [line for line in lines if line.startswith("ai-node ")]


def do(command: str) -> str:
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    return result.output


def test_from_the_collection_to_a_package_and_its_figures(
    reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reader)
    train, check, evaluate = commands("A first try")

    said = do(train)
    assert "| AUC within folds, averaged | " in said
    assert "packages/first-try" in said

    assert "README.md states what was measured" in do(check)
    assert Model(PACKAGE).identity.is_demonstration

    (auc,) = re.findall(r"score, breast: AUC (.*?);", do(evaluate))
    card = (PACKAGE / "README.md").read_text("utf-8")
    assert f"| AUC, breast | {auc} |" in card


def test_two_recipes_are_compared_on_some_folds(
    reader: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reader)
    (compare,) = commands("The recipe")
    said = do(compare)
    assert "| fold 0 |" in said
    assert len(re.findall(r"^\| fold", said, re.M)) == 2


def test_the_recipe_of_the_regression_can_be_read(tmp_path: Path) -> None:
    (words,) = [one for one in blocks("toml", "The recipe") if "[regression]" in one]
    path = tmp_path / "recipe.toml"
    path.write_text(f'name = "it"\ntitle = "It"\n{words}', "utf-8")
    assert read_recipe(path).regression is not None
