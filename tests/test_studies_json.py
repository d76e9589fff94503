"""docs/studies-json.md says what `ai-node studies --json` prints, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from domains.breast_mr.generated import made, planned
from ledgers import STUDY, Desk
from test_cli import call, desk_of_node, settings

from node.domains.breast_mr.series import SeriesKind
from node.overview import Standing
from node.result import Priority

__all__ = ["desk_of_node", "settings"]  # fixtures

PAGE = (Path(__file__).parent.parent / "docs" / "studies-json.md").read_text("utf-8")


WHERE_NAMED = PAGE.partition("Of a study that is named")[2].partition("\n## ")[0]


def keys(heading: str) -> list[str]:
    """Return the keys of the table below a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)


@pytest.fixture
def printed(settings: Path, desk_of_node: Desk) -> Mapping[str, Any]:
    (job,) = desk_of_node.analysed(level=Priority.URGENT)
    desk_of_node.deliver(job)
    (study,) = json.loads(call("studies", "-c", settings, "--json").output)
    return study  # type: ignore[no-any-return]


def test_the_page_names_the_keys_that_are_printed(printed: Mapping[str, Any]) -> None:
    assert keys("A study") == [*printed, "mri"], "which stands apart: lists do not have it"
    assert keys("One of `models`") == list(printed["models"][0])
    assert keys("One of `deliveries`") == list(printed["deliveries"][0])
    assert keys("A `result`") == list(printed["models"][0]["result"])


def test_the_page_names_what_is_said_of_a_study_that_is_asked_back(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.receive()
    desk_of_node.settling.ask_back(STUDY, 1)
    (study,) = json.loads(call("studies", "-c", settings, "--json").output)
    assert keys("What is in `asked_back`") == list(study["asked_back"])


def test_the_page_names_what_is_told_of_an_mri(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.store.prepare()
    objects = made(planned(shape=(4, 16, 16)))
    for one in objects:
        desk_of_node.keep(one)
    uid = objects[0].StudyInstanceUID
    (study,) = json.loads(call("studies", uid, "-c", settings, "--json").output)
    told = study.pop("mri")
    assert re.findall(r"^\| `(\w+)` \|", WHERE_NAMED, re.MULTILINE) == ["mri"]
    assert keys("What is in `mri`") == list(told)
    assert keys("One of `series` in `mri`") == list(told["series"][0])
    assert keys("One of `phases` in `mri`") == list(told["phases"][0])
    assert f"| {', '.join(SeriesKind)} |" in PAGE


def test_the_page_names_every_state() -> None:
    (line,) = re.findall(r"^\| `state` \| (receiving.*) \|$", PAGE, re.MULTILINE)
    assert line.split(", ") == list(Standing)


def test_spans_are_printed_once_a_step_has_ended(printed: Mapping[str, Any]) -> None:
    for step in ("received_s", "waited_s", "analysed_s", "delivered_s"):
        assert 0 <= printed[step] < 60, step
