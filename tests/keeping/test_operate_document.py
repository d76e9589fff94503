"""docs/operate.md, "Back up" and "Restore", followed in a folder in place of `/`."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import factories
import pytest
from ledgers import Desk
from typer.testing import CliRunner

from node import cli
from node.belonging import belong_to
from node.config import load_config
from node.ledger import Ledger, schema
from node.site import existing_ledger
from node.store import Store

DOCUMENT = (Path(__file__).parents[2] / "docs" / "operate.md").read_text("utf-8")
NOT_HERE = ("systemctl", "chown")
"""What needs a machine of its own."""


def follow(block: str, root: Path) -> None:
    """Do what a block of the document says, as whoever we are."""
    [text] = re.findall(rf"```{block}\n(.*?)```", DOCUMENT, re.DOTALL)
    for line in text.splitlines():
        words = shlex.split(line)
        assert words[0] == "sudo"
        words = words[3:] if words[1] == "-u" else words[1:]
        if words[0] in NOT_HERE:
            continue
        here = [f"{root}{word}" if word.startswith("/") else word for word in words]
        if words[0] == "ai-node":
            ran = CliRunner().invoke(cli.app, here[1:])
            assert ran.exit_code == 0, f"{line}\n{ran.output}"
            continue
        here = [word for word in here if word not in ("-o", "-g", "ai-node")]
        # By a shell, for the star in it.
        shell = " ".join(word if "*" in word else shlex.quote(word) for word in here)
        subprocess.run(["/bin/sh", "-c", shell], check=True, timeout=60)


@pytest.fixture
def root(tmp_path: Path, sqlite_template: Path) -> Path:
    """A machine with a node that has received an exam."""
    path = tmp_path / "etc" / "ai-node" / "node.toml"
    path.parent.mkdir(parents=True)
    state = tmp_path / "var" / "lib" / "ai-node"
    path.write_text(f'[node]\nae_title = "AINODE"\nstate_dir = "{state}"\nmin_free_mb = 0\n')
    store = Store(state / "store")
    store.prepare()
    shutil.copy(sqlite_template, state / "ledger.db")
    with contextlib.closing(Ledger(f"sqlite:///{state / 'ledger.db'}")) as ledger:
        belong_to(store, ledger.installation)
        desk = Desk(ledger, store)
        for dataset in factories.exam():
            desk.keep(dataset)
    return tmp_path


def test_whoever_follows_the_document_has_all_of_it_again(root: Path) -> None:
    follow("back-up", root)
    follow("back-up", root)  # as on the next day
    follow("restore", root)
    follow("restored", root)
    state = root / "var" / "lib" / "ai-node"
    assert (state.with_name("ai-node.before") / "ledger.db").exists()
    with contextlib.closing(existing_ledger(load_config(root / "etc/ai-node/node.toml"))) as ledger:
        rows = Desk(ledger, Store(state / "store")).rows(schema.instance)
    assert len([*(state / "store" / "received").rglob("*.dcm")]) == len(rows) == 4


def test_the_document_names_the_options_there_are() -> None:
    for command in re.findall(r"ai-node ((?:check|backup) [^`\n]*)", DOCUMENT):
        name, *words = command.split()
        shown = CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"}).output
        for option in (word for word in words if word.startswith("--")):
            assert option in shown, command
