"""`ai-node train` where torch is missing, and where a recipe is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from node.cli import app
from node.training import group


def said(*words: str) -> str:
    result = CliRunner().invoke(app, ["train", *words])
    assert result.exit_code == 1, result.output
    return result.output


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, str, str]:
    """A folder and its table, without a word of it being wrong."""
    (tmp_path / "labels.csv").write_text("path,patient,side,view,label\n", "utf-8")
    return str(tmp_path), "--labels", str(tmp_path / "labels.csv")


def test_without_torch_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, images: tuple[str, str, str]
) -> None:
    monkeypatch.setattr(group, "MODULES", ("torch_that_is_not_there",))
    words = said("mine", *images)
    assert "torch_that_is_not_there cannot be found here" in words
    assert 'pip install "dicom-ai-node[training]"' in words
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in words


def test_a_recipe_that_is_not_there_is_told_before_torch_is_missed(
    monkeypatch: pytest.MonkeyPatch, images: tuple[str, str, str]
) -> None:
    monkeypatch.setattr(group, "MODULES", ("torch_that_is_not_there",))
    assert "first.toml" in said("first.toml", *images)
    assert "expected a name for the package" in said("Not A Name", *images)


def test_a_misspelt_word_of_a_recipe_is_told_with_its_line(
    tmp_path: Path, images: tuple[str, str, str]
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "mine"\ntitle = "Mine"\n\n[network]\ntrnk = "x"\n', "utf-8")
    words = said(str(path), *images)
    assert "recipe.toml:5: network.trnk" in words
    assert "trunk" in words


def test_labels_that_count_as_one_are_said_in_one_place(
    tmp_path: Path, images: tuple[str, str, str]
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "mine"\ntitle = "Mine"\n', "utf-8")
    assert "[labels] positive" in said(str(path), *images, "--positive", "M")
