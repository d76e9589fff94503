"""The README names every command and every promise a file backs, and its configuration works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from node import cli, config
from node.kinds import with_substitutes
from node.site import load_models

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(get_command(cli.app).commands))  # type: ignore[attr-defined]
def test_the_readme_names_the_command(name: str) -> None:
    assert f"| `ai-node {name}" in README


def test_the_readme_names_no_command_that_is_not_there() -> None:
    named = set(re.findall(r"ai-node ([a-z]+(?:-[a-z]+)*)", README))
    assert named <= set(get_command(cli.app).commands)  # type: ignore[attr-defined]


def test_the_configuration_of_the_readme_works_and_leaves_nothing_to_advise(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "node.toml"
    path.write_text(block, "utf-8")
    loaded = config.load_config(path)
    assert config.advice(loaded) == []
    assert list(load_models(loaded)) == ["breast-area"]


def test_the_readme_says_of_every_preset_what_it_sends() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", README, re.MULTILINE))
    assert set(config.presets()) <= set(rows)
    words = {
        "capture": "Secondary Captures",
        "measurement-report": "Comprehensive SR",
        "measurement-report-3d": "Comprehensive 3D SR",
        "mammography-cad": "Mammography CAD SR",
        "segmentation": "Segmentations",
    }
    for name, kinds in config.presets().items():
        said = rows[name].replace("the same", rows["default"])
        for kind, word in words.items():
            assert (word in said) == (kind in with_substitutes(kinds)), (name, kind)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        "models/README.md",
        "models/breast-area/README.md",
        "models/breast-density/README.md",
        "models/breast-mr-enhancement/README.md",
        "models/breast-triage/README.md",
        "models/planted-disc/README.md",
        "docs/alarms.md",
        "docs/completeness.md",
        "docs/breast-mr.md",
        "docs/corrections.md",
        "docs/told-json.md",
        "docs/destinations.md",
        "docs/evaluate.md",
        "docs/install.md",
        "docs/models.md",
        "docs/odd-objects.md",
        "docs/operate.md",
        "docs/page-access.md",
        "docs/performance.md",
        "docs/records.md",
        "docs/reliability.md",
        "docs/retention.md",
        "docs/several-machines.md",
        "docs/shift.md",
        "docs/storage-commitment.md",
        "docs/train.md",
        "docs/transfer-syntaxes.md",
        "docs/triage.md",
        "docs/viewers.md",
    ],
)
def test_links_lead_to_files_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_the_tests_that_a_document_names_are_there() -> None:
    text = (ROOT / "docs" / "odd-objects.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    sources = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    written = {name for source in sources for name in re.findall(r"^def (test_\w+)", source, re.M)}
    assert len(named) > 20
    assert named - written == set()
