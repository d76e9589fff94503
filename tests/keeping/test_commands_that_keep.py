"""`ai-node backup` and `ai-node check --deep`, as a person calls them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import factories
import pytest
from ledgers import Desk
from typer.testing import CliRunner, Result

from node import cli
from node.belonging import belong_to
from node.config import load_config
from node.ledger import HeldBecause, Ledger, connections, schema
from node.site import open_own_ledger
from node.store import Store


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "AINODE"\nstate_dir = "state"\nmin_free_mb = 0\n', "utf-8")
    return path


@pytest.fixture
def desk(settings: Path, sqlite_template: Path) -> Iterator[Desk]:
    """A node that has received an exam."""
    loaded = load_config(settings)
    store = Store(loaded.store_dir)
    store.prepare()
    (loaded.node.state_dir / "ledger.db").write_bytes(sqlite_template.read_bytes())
    with contextlib.closing(Ledger(loaded.database_url)) as ledger:
        belong_to(store, ledger.installation)
        made = Desk(ledger, store)
        made.nodes.register_node("node-1", "somewhere:/state 4711")
        made.nodes.retire_node("node-1")
        for dataset in factories.exam():
            made.keep(dataset)
        yield made


def paths(desk: Desk) -> list[Path]:
    return sorted(desk.store.path(row["path"]) for row in desk.rows(schema.instance))


def test_backup_says_what_it_made_and_is_nothing_for_others(
    desk: Desk, settings: Path, tmp_path: Path
) -> None:
    to = tmp_path / "backup"
    made = call("backup", to, "--verify", "-c", settings)
    assert made.exit_code == 0, made.output
    [whole] = to.glob("whole-*")
    lines = made.stdout.splitlines()
    assert lines[0].startswith(f"{whole} is whole, as of ")
    assert lines[0].endswith(": the ledger and 5 files, 5 of them linked now.")  # whose it is, too
    assert "is lost with it" in lines[1]
    assert "read again" in lines[2]
    others = stat.S_IRWXO
    assert not any(
        path.stat().st_mode & others for path in (to, whole, whole / "ledger.db", to / "store")
    )
    status = call("status", "-c", settings).stdout
    assert str(to) in next(line for line in status.splitlines() if line.startswith("backup"))


def test_backup_ends_with_1_if_files_are_missing_or_damaged_and_names_them(
    desk: Desk, settings: Path, tmp_path: Path
) -> None:
    gone, damaged, *_ = paths(desk)
    gone.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    made = call("backup", tmp_path / "backup", "--verify", "-c", settings)
    assert made.exit_code == 1
    assert "is whole" in made.stdout
    assert (
        f"Not to be had from the store, and not in the backup: received/{gone.parent.name}"
        in made.stderr
    )
    assert f"Damaged in the store, and in the backup: received/{gone.parent.name}" in made.stderr
    assert gone.name in made.stderr
    assert damaged.name in made.stderr


def test_backup_of_nothing_or_to_a_bad_place_is_one_message(
    desk: Desk, settings: Path, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    made = call("backup", full, "-c", settings)
    assert (made.exit_code, made.stdout) == (1, "")
    assert "holds other files; name one that is empty" in made.stderr
    (tmp_path / "file").touch()
    made = call("backup", tmp_path / "file" / "x", "-c", settings)
    assert made.exit_code == 1
    assert "no backup was made" in made.stderr


def test_check_deep_says_and_repairs(desk: Desk, settings: Path) -> None:
    assert call("check", "--deep", "-c", settings).stdout == "4 files compared: all is well.\n"
    gone, *_ = paths(desk)
    gone.unlink()
    desk.store.path("received/1.2").mkdir()
    desk.store.path("received/1.2/stray.dcm").touch()
    found = call("check", "--deep", "-c", settings)
    assert found.exit_code == 1
    assert "4 files compared: 1 without a row, 1 missing." in found.stdout
    assert f"{gone.name}, image " in found.stdout
    assert "`ai-node check --deep --repair`" in found.stdout
    assert call("check", "--deep", "--repair", "-c", settings).exit_code == 1
    [study] = desk.rows(schema.study)
    assert study["held_because"] == HeldBecause.MISSING
    for dataset in factories.exam():
        desk.keep(dataset)
    assert call("check", "--deep", "--repair", "-c", settings).exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--repair",),
        ("--deep", "--new-ledger"),
        ("--store-is-lost",),
        ("--deep", "--repair", "--new-ledger", "--store-is-lost"),
    ],
)
def test_what_check_is_to_take_for_lost_has_to_be_said_in_full(
    settings: Path, options: tuple[str, ...]
) -> None:
    assert call("check", *options, "-c", settings).exit_code == 2


def test_a_ledger_that_is_lost_is_replaced_on_a_persons_word_alone(
    desk: Desk, settings: Path
) -> None:
    desk.ledger.close()
    loaded = load_config(settings)
    for path in loaded.node.state_dir.glob("ledger.db*"):
        path.unlink()
    before = {path.name: path.read_bytes() for path in desk.store.root.rglob("*.dcm")}
    for command in ("status", "studies", "check --deep --repair"):
        told = call(*command.split(), "-c", settings)
        assert told.exit_code != 0
        assert "--new-ledger" in told.output
    repaired = call("check", "--deep", "--repair", "--new-ledger", "-c", settings)
    assert repaired.exit_code == 0, repaired.output
    assert f"ai-node send {desk.store.orphans / 'received'} --to" in repaired.stdout
    assert {path.name: path.read_bytes() for path in desk.store.orphans.rglob("*.dcm")} == before
    again = call("check", "--deep", "--repair", "--new-ledger", "-c", settings)
    assert again.exit_code == 0, again.output
    open_own_ledger(loaded, desk.store).close()  # as a node does at its start


def test_a_store_that_is_lost_is_replaced_on_a_persons_word_alone(
    desk: Desk, settings: Path
) -> None:
    for path in sorted(desk.store.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    os.rmdir(desk.store.root)  # noqa: PTH106 - what a lost disk leaves
    told = call("check", "--deep", "--repair", "-c", settings)
    assert told.exit_code == 1
    assert "--store-is-lost" in told.stderr
    repaired = call("check", "--deep", "--repair", "--store-is-lost", "-c", settings)
    assert "4 files compared: 4 missing." in repaired.stdout
    assert "is held until they are here again" in repaired.stdout  # it was being received
    open_own_ledger(load_config(settings), desk.store).close()


@pytest.mark.parametrize("command", [("backup", "elsewhere"), ("hold", "1.2", "--why", "court")])
def test_a_database_that_somebody_else_has_for_long_is_one_message(
    command: tuple[str, ...], desk: Desk, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_WAIT_S", 0.1)
    monkeypatch.chdir(settings.parent)
    with desk.ledger.writing():
        told = call(*command, "-c", settings)
    assert told.exit_code == 1
    assert isinstance(told.exception, SystemExit)
    assert "database is locked" in told.stderr
    assert "call" in told.stderr and "again" in told.stderr
