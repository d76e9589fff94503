"""systemd/ai-node.service: systemd takes it, finds little to blame, and the node lives with it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import free_port
from pydicom import dcmread

from node.app import _DRAIN_ASSOCIATIONS_S, _DRAIN_JOBS_S

from .conftest import Started
from .programs import (
    AI_NODE,
    LOOPBACK,
    MODALITY_AE,
    NODE_AE,
    Journal,
    Node,
    StoreScp,
    dcmtk,
    peer,
    program,
    settings,
    wait_for,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

UNIT = Path(__file__).parents[2] / "systemd" / "ai-node.service"
INSTALL = Path(__file__).parents[2] / "docs" / "install.md"
CONFINED = str(Path(__file__).with_name("confined.py"))
EXPOSURE_ALLOWED = 20
"""In tenths, of 100; a service that forbids itself nothing has 96."""


def values(key: str) -> list[str]:
    """Return what the unit says of a key, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)


def analyze(*arguments: object) -> str:
    ran = subprocess.run(
        [program("systemd-analyze"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    return ran.stdout + ran.stderr


def system_calls(name: str) -> set[str]:
    """Return the system calls of a set of systemd's, such as @system-service."""
    if not name.startswith("@"):
        return {name}
    lines = analyze("syscall-filter", name).splitlines()[1:]
    words = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return set[str]().union(*map(system_calls, words))


def allowed_calls(filters: list[str]) -> set[str]:
    allowed = set[str]()
    for words in filters:
        calls = set[str]().union(*map(system_calls, words.removeprefix("~").split()))
        allowed = allowed - calls if words.startswith("~") else allowed | calls
    return allowed


def test_systemd_takes_the_unit_without_a_word(tmp_path: Path) -> None:
    text = UNIT.read_text("utf-8")
    assert "/opt/ai-node/bin/ai-node run" in text
    here = tmp_path / UNIT.name
    here.write_text(text.replace("/opt/ai-node/bin/ai-node", AI_NODE), "utf-8")
    assert analyze("verify", here) == ""


def test_what_a_gpu_needs_is_a_drop_in_that_systemd_takes(tmp_path: Path) -> None:
    lines = ["PrivateDevices=no", "MemoryDenyWriteExecute=no"]
    text = UNIT.read_text("utf-8")
    assert "\n".join(f"# {line}" for line in lines) in text
    assert "\n".join(["[Service]", *lines]) in INSTALL.read_text("utf-8")
    here = tmp_path / UNIT.name
    here.write_text(text.replace("/opt/ai-node/bin/ai-node", AI_NODE), "utf-8")
    drop_in = tmp_path / f"{UNIT.name}.d" / "override.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("\n".join(["[Service]", *lines]), "utf-8")
    assert analyze("verify", here) == ""


def test_systemd_finds_little_that_it_could_still_forbid() -> None:
    shown = analyze("security", "--offline=true", f"--threshold={EXPOSURE_ALLOWED}", UNIT)
    assert "Overall exposure level" in shown


def test_it_is_stopped_no_sooner_than_a_node_may_take_to_drain() -> None:
    [given] = values("TimeoutStopSec")
    assert int(given.removesuffix("s")) > 1.5 * (_DRAIN_ASSOCIATIONS_S + _DRAIN_JOBS_S)


def run_as_the_unit(key: str, node: Node) -> subprocess.CompletedProcess[str]:
    """Run the node's own command of a key of the unit on a configuration."""
    [command] = [words for words in values(key) if "ai-node" in words]
    here = command.replace("/opt/ai-node/bin/ai-node", AI_NODE)
    words = here.replace("/etc/ai-node/node.toml", str(node.config)).split()
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("key", ["ExecStartPre", "ExecReload"])
def test_only_what_no_node_can_work_by_stops_a_start_or_a_reload(key: str, tmp_path: Path) -> None:
    away = peer("pacs", "PACS", free_port())
    node = Node(tmp_path, free_port(), settings(free_port(), away))
    ran = run_as_the_unit(key, node)
    assert ran.returncode == 0, f"though its only peer is away: {ran.stderr}"
    page = '[web]\nhost = "0.0.0.0"\n'  # nobody may log in yet: it would not be shown
    node.config.write_text(settings(free_port(), away) + page, "utf-8")
    ran = run_as_the_unit(key, node)
    assert ran.returncode == 0, "a node starts, and its page is ill"
    assert "[web]" in ran.stderr
    node.config.write_text("[node]\nae_titel = 1\n", "utf-8")
    ran = run_as_the_unit(key, node)
    assert ran.returncode == 1
    assert "node.toml:2: node.ae_titel: unknown key" in ran.stderr
    assert values("ExecReload")[-1] == "/bin/kill -HUP $MAINPID"


def test_a_node_under_everything_the_unit_forbids_analyses_and_answers(
    tmp_path: Path,
    pacs: StoreScp,
    started: Started,
    exam: Callable[[str], list[Path]],
) -> None:
    assert values("MemoryDenyWriteExecute") == ["yes"]
    port = free_port()
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    archive = peer("pacs", pacs.ae_title, pacs.port)
    calls = allowed_calls(values("SystemCallFilter"))
    assert "read" in calls and "mount" not in calls and "setuid" not in calls
    node = Node(
        tmp_path / "node",
        port,
        settings(port, modality, archive),
        under=[sys.executable, CONFINED, ",".join(sorted(calls)), sys.executable],
    )
    started(node)
    node.send(*exam("confined"))
    kinds = [dataset.Modality for dataset in pacs.wait_for(6)]
    assert sorted(kinds) == ["OT"] * 5 + ["SR"]


def test_what_is_forbidden_is_really_refused_there() -> None:
    calls = ",".join(allowed_calls(["@system-service", "~@privileged"]))
    writable_code = "import mmap; mmap.mmap(-1, 4096, prot=7)"
    for forbidden in ("import os; os.setuid(0)", writable_code):
        ran = subprocess.run(
            [sys.executable, CONFINED, calls, sys.executable, "-c", forbidden],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 1
        assert "PermissionError" in ran.stderr


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journald that nobody else writes to."""
    opened = Journal(tmp_path / "journal")
    opened.start()
    yield opened
    opened.remove()


@contextmanager
def writing_to(journal: Journal, node: Node) -> Iterator[None]:
    """Run a node as systemd does: what it says on standard error goes to the journal."""
    with journal.open_stream() as stream:
        there = os.fstat(stream.fileno())
        running = subprocess.Popen(
            [AI_NODE, "run", "--config", str(node.config)],
            stderr=stream.fileno(),
            env={**os.environ, "JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"},
        )
        try:
            yield
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(120)


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_person_must_act_on_has_its_priority_in_the_journal(
    form: str, journal: Journal, tmp_path: Path, exam: Callable[[str], list[Path]]
) -> None:
    port, nobody = free_port(), free_port()
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    text = settings(port, modality, peer("pacs", "PACS", nobody))
    text = text.replace(
        "[delivery]", f'[logs]\nformat = "{form}"\n[delivery]\ndeliver_within_s = 2'
    )
    node = Node(tmp_path / "node", port, text)
    paths = exam("journal")
    study = str(dcmread(paths[0]).StudyInstanceUID)

    def said(words: str) -> list[tuple[int, str]]:
        return [one for one in journal.records() if words in one[1]]

    with writing_to(journal, node):
        wait_for("it to listen", lambda: said(f"Listening on {LOOPBACK}:{port}"))
        dcmtk("echoscu", "-aet", "STRANGER", "-aec", NODE_AE, LOOPBACK, str(port), ok=False)
        node.send(*paths)
        [(priority, given_up)] = wait_for("a line", lambda: said("are given up"))
        [(refused, _)] = said("Rejected STRANGER")
        assert (priority, refused) == (3, 4)
        if form == "json":
            record = json.loads(given_up)
            assert (record["study"], record["destination"]) == (study, "pacs")
        else:
            words = (
                f"ERROR   node.ledger.rows: The results of study {study} for pacs are given up ("
            )
            assert given_up.startswith(words)
    beginning = [priority for priority, _ in journal.records()]
    assert set(beginning) == {3, 4, 6}
    assert said("ai-node 0.")[0][0] == said("Peer pacs, PACS at")[0][0] == 6


def test_a_configuration_that_is_wrong_is_critical_in_the_journal(
    journal: Journal, tmp_path: Path
) -> None:
    node = Node(tmp_path / "node", free_port(), "[node]\nae_titel = 1\n")
    with writing_to(journal, node):
        [one, *_] = wait_for("it to say so", journal.records)
    assert one[0] == 2
    assert "node.toml:" in one[1]


def test_a_node_whose_database_is_away_ends_so_that_systemd_starts_it_again(
    tmp_path: Path,
) -> None:
    assert values("Restart") == ["always"], "also if somebody has killed it"
    assert values("StartLimitIntervalSec") == ["0"], "however often"
    away = f'database = "postgresql://ainode:SECRET@{LOOPBACK}:{free_port()}/ainode"'
    node = Node(tmp_path, free_port(), settings(free_port(), node=[away]))
    ran = subprocess.run(
        [AI_NODE, "run", "--config", str(node.config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert "[node] database" in line
    assert "SECRET" not in line
