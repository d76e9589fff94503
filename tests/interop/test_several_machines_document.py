"""docs/several-machines.md is followed to the letter, by two machines on loopback."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from postgres import PostgreSQL

from .actors import RESULTS, Archive, Modality
from .programs import AI_NODE, LOOPBACK, Node, free_port, wait_for

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "several-machines.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return what the document has in its boxes of a language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def archive() -> Iterator[Archive]:
    opened = Archive("PACS")
    yield opened
    opened.close()


@pytest.fixture
def database(tmp_path: Path, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> str:
    """Do what section 1 says, but for names that are taken here; return "user@host:port/name"."""
    [statements], [password_line] = blocks("sql"), blocks("pgpass")
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as db:
        for statement in statements.replace("ainode", "walker").strip().splitlines():
            db.execute(statement.encode())
    where = f"{LOOPBACK}:{postgresql.port}"
    password = tmp_path / "pgpass"
    line = password_line.replace("192.0.2.5:5432", where).replace("ainode", "walker")
    password.write_text(line, "ascii")
    password.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(password))
    return f"walker@{where}/walker"


@pytest.fixture
def machines(tmp_path: Path, database: str, archive: Archive) -> Iterator[list[Node]]:
    """Do what sections 2 and 3 say; addresses are all on loopback."""
    [toml] = blocks("toml")
    made = []
    for name in ("first", "second"):
        port, text = free_port(), toml
        for written, here in {
            "/var/lib/ai-node": str(tmp_path / name / "state"),
            "/srv/ai-node/store": str(tmp_path / "shared" / "store"),
            "ainode@192.0.2.5/ainode": database,
            "192.0.2.11": LOOPBACK,
            "11112": str(port),
            "192.0.2.10": LOOPBACK,
            "port = 104\n": f"port = {archive.port}\n",
        }.items():
            assert written in text, written
            text = text.replace(written, here)
        made.append(Node(tmp_path / name, port, text))
    yield made
    for node in made:
        node.stop()


def test_whoever_follows_the_document_has_two_machines_that_share_the_work(
    tmp_path: Path, machines: list[Node], archive: Archive
) -> None:
    check, run = blocks("sh")[0].splitlines()
    assert run.split()[1:] == ["run", "--config", "node.toml"]  # as Node.start does
    for node in machines:
        command = [AI_NODE, *check.split()[1:]]
        said = subprocess.run(command, cwd=node.folder, capture_output=True, text=True, check=True)
        assert "is right" in said.stdout
        node.start()
    modality = Modality(machines[0].port, "PACS")

    def is_answered(node: Node) -> str:
        modality.port = node.port
        exam = modality.acquire(tmp_path)
        modality.insist()
        wait_for("its results", lambda: archive.has_all_of(exam.study_uid), 120)
        return exam.study_uid

    for node in machines:
        is_answered(node)
    machines[0].kill()
    study_uid = is_answered(machines[1])
    assert len(archive.received) == 3 * RESULTS
    [shown] = [line for line in "".join(blocks("sh")).splitlines() if " studies " in line]
    told = subprocess.run(
        [AI_NODE, *shown.split()[1:]],
        cwd=machines[1].folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert study_uid in told.stdout


def test_the_document_names_only_options_that_exist() -> None:
    [_, roles, _] = blocks("sh")
    shown = subprocess.run([AI_NODE, "run", "--help"], capture_output=True, text=True, check=True)
    for line in roles.splitlines():
        _, _, role = line.partition("--only ")
        assert role in shown.stdout
