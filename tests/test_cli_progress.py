"""What a command shows on a terminal while it works."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from node.cli import common


def test_while_a_step_is_waited_for_it_is_shown_and_while_it_is_printed_nothing_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(common, "err", Console(file=terminal, force_terminal=True, width=80))
    found = []
    for step in common.working_on("Checking", ["weights", "network"]):
        shown = terminal.getvalue()
        found.append((step, shown.count("Checking") > 0, shown.endswith("\x1b[2K")))
    assert found == [("weights", True, True), ("network", True, True)]


def test_where_there_is_no_terminal_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(common, "err", Console(file=file))
    assert list(common.working_on("Checking", iter((1, None, 2)))) == [1, None, 2]
    assert "Checking" not in file.getvalue()
