"""`ai-node models list` shows every folder that is looked into, and `check` who is who."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from packages import package
from small_models import model
from test_package_beginning import call

from node.config import bundled_models_dir
from node.manifest import Model
from node.packages.checking import PackageFinding, check_package

BUNDLED = bundled_models_dir()


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A configuration whose models lie in a folder `own`."""
    (tmp_path / "own").mkdir()
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "AINODE"\nmodels_dir = "own"\n', "utf-8")
    return path


def listed(settings: Path) -> dict[str, list[str]]:
    """Return the lines below each folder."""
    code, said = call("models", "list", "--config", settings)
    assert code == 0, said
    below: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in said.splitlines():
        if line.startswith("In "):
            lines = below.setdefault(line.removeprefix("In ").removesuffix(":"), [])
        else:
            lines.append(line)
    return below


def test_every_folder_that_is_looked_into_is_listed(settings: Path, tmp_path: Path) -> None:
    model(tmp_path / "own")
    below = listed(settings)
    assert list(below) == [str(tmp_path / "own"), str(BUNDLED)]
    assert below[str(tmp_path / "own")][0].startswith("  small 1.0.0, research, measurement")
    names = {line.split()[0] for line in below[str(BUNDLED)] if not line.startswith("    ")}
    assert names == {
        *("breast-area", "breast-density", "breast-mr-enhancement"),
        *("breast-triage", "planted-disc"),
    }


def test_a_folder_without_a_model_is_listed_too(settings: Path, tmp_path: Path) -> None:
    assert listed(settings)[str(tmp_path / "own")] == ["  no model"]


def test_of_two_of_one_name_it_is_said_which_is_used(settings: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(BUNDLED / "breast-area", tmp_path / "own" / "breast-area")
    same = next(line for line in listed(settings)[str(BUNDLED)] if "breast-area" in line)
    assert same.endswith(f"; not used: {copy} is taken, the same")
    manifest = copy / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("threshold = 0.5", "threshold = 0.4"))
    other = next(line for line in listed(settings)[str(BUNDLED)] if "breast-area" in line)
    assert other.endswith(f"; not used: {copy} is taken, which is another")


def test_a_package_that_cannot_be_used_is_listed_with_its_reason(
    settings: Path, tmp_path: Path
) -> None:
    manifest = model(tmp_path / "own").folder / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('kind = "mask"', 'kind = "musk"'))
    [line] = listed(settings)[str(tmp_path / "own")]
    assert line.startswith("  small cannot be used: ")
    assert "manifest.toml:" in line
    assert '"musk"' in line


def identity(package: Model, *folders: Path) -> PackageFinding:
    return {one.what: one for one in check_package(package, folders=folders)}["identity"]


def test_a_device_uid_that_another_package_has_is_told(tmp_path: Path) -> None:
    other = package(tmp_path / "other", ('"1.0.0"', '"1.2.0"'))
    found = identity(package(tmp_path / "own"), tmp_path / "other")
    assert not found.is_ok
    assert found.words.startswith(
        f"device_uid 2.25.1 is also that of breast-area 1.2.0 in {other.folder}: of two algorithms "
        "or versions each needs its own, or their results cannot be told apart"
    )


def test_a_copy_of_a_package_is_the_same_device(tmp_path: Path) -> None:
    own = package(tmp_path / "own")
    shutil.copytree(own.folder, tmp_path / "other" / "breast-area")
    assert identity(own, tmp_path / "other").is_ok
