"""A node, the programs around it, and the promise that none outlives its test."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import factories
import pytest
from ports import free_port

from .programs import MODALITY_AE, Daemon, Node, Orthanc, StoreScp, dcmtk, peer, settings

Started = Callable[[Daemon], None]

CHECKED = "checked"
"""The property of a test's report that holds a `Checked`."""


class Checked(NamedTuple):
    """What one validator said of the objects of one kind, of one case from one source."""

    kind: str
    validator: str
    objects: int
    findings: int
    unexpected: int


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what `make test-conformance` is for: objects, cases and validators."""
    reports = [r for state in ("passed", "failed") for r in terminalreporter.stats.get(state, [])]
    checks = [
        Checked(*value) for r in reports for key, value in r.user_properties if key == CHECKED
    ]
    if not checks:
        return
    terminalreporter.section("conformance")
    row = "{:<22} {:<16} {:>13} {:>8} {:>17} {:>11}".format
    terminalreporter.write_line(
        row("kind", "validator", "case x source", "objects", "allowed findings", "unexpected")
    )
    for place in sorted({check[:2] for check in checks}):
        of = [check for check in checks if check[:2] == place]
        new = sum(check.unexpected for check in of)
        allowed = sum(check.findings for check in of) - new
        objects = sum(check.objects for check in of)
        terminalreporter.write_line(row(*place, len(of), objects, allowed, new))
    new = sum(check.unexpected for check in checks)
    terminalreporter.write_line(f"{len(checks)} checks, {new} unexpected findings")


OUR_ERROR = re.compile(r"\S+ \S+ (ERROR|CRITICAL) +(?! |pynetdicom|node.alarms.raising: Alarm )")
"""A line of the log. pynetdicom calls it an error when the other side hangs up, and an alarm tells
of what is wrong around a node, which tests do on purpose, such as to kill it again and again."""


@contextmanager
def running() -> Iterator[Started]:
    """Start programs that end with the block; an error in the log of a node fails it."""
    daemons: list[Daemon] = []

    def start(daemon: Daemon) -> None:
        daemons.append(daemon)
        daemon.start()

    yield start
    for daemon in reversed(daemons):
        daemon.stop()
    for daemon in daemons:
        output = daemon.log.read_text("utf-8", "replace")
        sys.stdout.write(f"--- {daemon.log}\n{output[-6000:]}\n")  # shown where a test fails
        if isinstance(daemon, Node):
            errors = [line for line in output.splitlines() if OUR_ERROR.match(line)]
            assert not errors


@pytest.fixture
def started() -> Iterator[Started]:
    """Start programs that end with the test; an error in the log of a node fails it."""
    with running() as start:
        yield start


@pytest.fixture
def pacs(tmp_path: Path, started: Started) -> StoreScp:
    """An archive of dcmtk's that takes results."""
    archive = StoreScp(tmp_path / "pacs", "PACS")
    started(archive)
    return archive


@pytest.fixture
def node(tmp_path: Path, pacs: StoreScp, started: Started) -> Node:
    """A running node between a modality that only sends and the archive `pacs`."""
    port = free_port()
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    archive = peer("pacs", pacs.ae_title, pacs.port)
    running = Node(tmp_path / "node", port, settings(port, modality, archive))
    started(running)
    return running


@pytest.fixture
def orthanc_node(tmp_path: Path, started: Started) -> tuple[Orthanc, Node]:
    """The configuration of the README between a stock Orthanc and itself: its only peer."""
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    running = Node(tmp_path / "node", port, _readme_settings(port, orthanc.port))
    started(orthanc)
    started(running)
    return orthanc, running


@pytest.fixture
def exam(tmp_path: Path) -> Callable[[str], list[Path]]:
    """Make the files of a four-view exam, encoded as dcmtk encodes when it sends them."""

    def make(study: str) -> list[Path]:
        folder = tmp_path / "exams" / study
        made = factories.saved_exam(folder / "made", study)
        for path in made:
            dcmtk("dcmconv", path, folder / path.name)
        return [folder / path.name for path in made]

    return make


def _readme_settings(port: int, orthanc_port: int) -> str:
    return f"""
[node]
ae_title = "AINODE"
state_dir = "state"
[listener]
host = "127.0.0.1"
port = {port}
[[peers]]
name = "orthanc"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {orthanc_port}
sends = true
receives = "default"
[[models]]
name = "breast-area"
mode = "deliver"
"""
