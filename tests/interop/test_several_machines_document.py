"""docs/several-machines.md is followed to the letter, by two machines on loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from ports import free_port
from postgres import PostgreSQL

from .actors import RESULTS, Archive, Modality, wait_until_all_is_done
from .programs import AI_NODE, LOOPBACK, Node, wait_for

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DEAD_AFTER_S = 4
DOCUMENT = (Path(__file__).parents[2] / "docs" / "several-machines.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return what the document has in its boxes of a language."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def line_with(word: str) -> list[str]:
    """Return the command of the document's sh boxes that has a word in it."""
    [line] = [line for line in "".join(blocks("sh")).splitlines() if word in line.split()]
    return line.split()


def follow(node: Node, command: list[str], *allowed: int) -> str:
    """Run a command of the document on a machine; return what it says."""
    assert command[0] == "ai-node"
    ran = subprocess.run(
        [AI_NODE, *command[1:]], cwd=node.folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode in (allowed or (0,)), ran.stderr
    return ran.stdout


@pytest.fixture
def archive() -> Iterator[Archive]:
    opened = Archive("PACS")
    yield opened
    opened.close()


@pytest.fixture
def database(
    tmp_path: Path, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Do what section 1 says, but for names that are taken here; return "user@host:port/name"."""
    [statements], [allowed], [password_line] = blocks("sql"), blocks("conf"), blocks("pgpass")
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as db:
        for statement in statements.replace("ainode", "walker").strip().splitlines():
            db.execute(statement.encode())
        [(rules,)] = db.execute("SHOW hba_file").fetchall()
        with Path(rules).open("a") as file:
            file.write(allowed)
        db.execute("SELECT pg_reload_conf()")
        wrong = "SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL"
        assert [error for (error,) in db.execute(wrong) if "SSL is disabled" not in error] == []
    where = f"{LOOPBACK}:{postgresql.port}"
    password = tmp_path / "pgpass"
    line = password_line.replace("192.0.2.5:5432", where).replace("ainode", "walker")
    password.write_text(line, "ascii")
    password.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(password))
    yield f"walker@{where}/walker"
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as db:
        db.execute("DROP DATABASE walker WITH (FORCE)")
        db.execute("DROP ROLE walker")


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
            "[node]\n": f"[node]\ndead_after_s = {DEAD_AFTER_S}\n",  # not to wait for long here
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


@pytest.fixture
def answered(archive: Archive, tmp_path: Path) -> Callable[[Node], str]:
    """Have a machine answer one study more; return its UID."""
    modality = Modality(0, "PACS")

    def answer(node: Node) -> str:
        modality.port = node.port
        exam = modality.acquire(tmp_path)
        modality.insist()
        wait_for("its results", lambda: archive.has_all_of(exam.study_uid), 300)
        return exam.study_uid

    return answer


def test_whoever_follows_the_document_has_two_machines_that_share_the_work(
    machines: list[Node],
    answered: Callable[[Node], str],
    archive: Archive,
    postgresql: PostgreSQL,
) -> None:
    check, run = blocks("sh")[0].splitlines()
    assert run.split()[1:] == ["run", "--config", "node.toml"]  # as Node.start does
    for node in machines:
        assert "is right" in follow(node, check.split())
        node.start()
    for node in machines:
        answered(node)
    first, second = machines
    assert follow(second, line_with("nodes")).count("  listens and works  alive") == 2
    wait_until_all_is_done(second)  # what the first has sent, and not recorded, would go twice
    first.kill()
    assert answered(second) in follow(second, line_with("studies"))
    assert len(archive.received) == 3 * RESULTS
    wait_for("its silence", lambda: "silent" in follow(second, line_with("nodes"), 0, 1))
    one, other = follow(second, line_with("nodes"), 1).splitlines()
    assert "first/state  listens and works  silent" in one
    assert "second/state  listens and works  alive" in other

    [most] = re.findall(r"opens at most (\d+)\s+connections", DOCUMENT)
    with psycopg.connect(postgresql.url("walker")) as db:
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'walker'"
        [(found,)] = db.execute(query).fetchall()
    assert 1 < found <= int(most) + 1  # and this one


def test_a_backup_that_is_made_and_restored_by_the_document_knows_all_and_sends_nothing_twice(
    tmp_path: Path,
    machines: list[Node],
    answered: Callable[[Node], str],
    archive: Archive,
    postgresql: PostgreSQL,
) -> None:
    def run(block: str) -> None:
        text = block.replace("--host 192.0.2.5", f"--host {LOOPBACK} --port {postgresql.port}")
        text = text.replace("/srv/ai-node/store", str(store)).replace("/srv/backup", str(backup))
        text = text.replace("--username ainode", "--username walker")
        text = text.replace("--dbname ainode", "--dbname walker")
        for line in re.sub(r"ainode$", "walker", text, flags=re.MULTILINE).splitlines():
            subprocess.run(line.split(), check=True, cwd=tmp_path, timeout=120)

    store, backup = tmp_path / "shared" / "store", tmp_path / "backup"
    backup.mkdir()
    node = machines[0]
    node.start()
    answered(node)
    wait_until_all_is_done(node)
    [saving], [restoring] = blocks("backup"), blocks("restore")
    run(saving)
    before, kept = node.studies(), node.kept
    answered(node)  # too late for the backup
    assert node.stop() == 0
    shutil.rmtree(store)
    shutil.copytree(backup / "store", store)
    run(restoring)
    assert node.studies() == before
    assert node.kept.keys() == kept.keys()
    node.start()
    time.sleep(3)
    assert len(archive.received) == 2 * RESULTS


def test_the_document_names_only_options_that_exist() -> None:
    roles = blocks("sh")[1]
    shown = subprocess.run([AI_NODE, "run", "--help"], capture_output=True, text=True, check=True)
    for line in roles.splitlines():
        _, _, role = line.partition("--only ")
        assert role in shown.stdout
