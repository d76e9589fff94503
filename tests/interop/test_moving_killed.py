"""`ai-node move` is killed at each of its steps, and run again: nothing is lost, nothing is twice.

With KILL_MATRIX=all at each step in both directions, else in one of both.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import fill, rows_of
from postgres import PostgreSQL

from node.config import load_config
from node.errors import ConfigError
from node.ledger import Ledger, Nodes, schema
from node.site import existing_ledger
from node.state_dir import place_of

from .killing import Fate, Point, killed_words, run_mortal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

IS_WHOLE = os.environ.get("KILL_MATRIX") == "all"
DIRECTIONS = ("SQLite to PostgreSQL", "PostgreSQL to SQLite")
STUDIES = 150
"""So many that a table takes several portions."""

_COPYING = "node.ledger.copying:"
_MOVING = "node.keeping.moving_ledger:"
POINTS = (
    Point("move", "the tables are made", "inside", "node.ledger:Ledger.migrate"),
    Point("move", "the tables are made", "after", "node.ledger:Ledger.migrate"),
    Point("move", "the copy is begun", "inside", f"{_COPYING}_begin"),
    Point("move", "the copy is begun", "after", f"{_COPYING}_begin"),
    Point("move", "how far it is, of the third portion", "after", f"{_COPYING}_record", 3),
    Point("move", "the third portion is written", "after", f"{_COPYING}_insert", 3),
    Point("move", "the fourth portion is written", "before", f"{_COPYING}_insert", 4),
    Point("move", "the tenth table is copied", "after", f"{_COPYING}_copy_table", 10),
    Point("move", "the fifth table is compared", "after", f"{_COPYING}_digest", 9),
    Point("move", "all is compared", "after", f"{_MOVING}copy_ledger"),
    Point("move", "the former ledger says where it is", "after", f"{_MOVING}record_move"),
    Point("move", "the new one is the one", "before", f"{_MOVING}end_copy"),
    Point("move", "the new one is the one", "inside", f"{_MOVING}end_copy"),
    Point("move", "the new one is the one", "after", f"{_MOVING}end_copy"),
)
_IS_MOVED = ("before", "inside")
"""When neither is the one, around the last step: only the command goes on."""


def _cases() -> list[tuple[Point, str]]:
    return [
        (point, direction)
        for number, point in enumerate(POINTS)
        for direction in (DIRECTIONS if IS_WHOLE else [DIRECTIONS[number % 2]])
    ]


def configure(folder: Path, database: str) -> Path:
    path = folder / "node.toml"
    path.write_text(
        f'[node]\nae_title = "AINODE"\nstate_dir = "state"\ndatabase = "{database}"\n', "utf-8"
    )
    return path


def is_the_one(folder: Path, database: str) -> bool:
    """Whether a node goes on with a ledger: it has run there, and is not sent elsewhere."""
    try:
        with closing(existing_ledger(load_config(configure(folder, database)))) as ledger:
            return ledger.has_run
    except ConfigError:
        return False


@pytest.mark.parametrize(
    ("point", "direction"), _cases(), ids=lambda one: one.words if isinstance(one, Point) else one
)
def test_a_move_that_is_killed_anywhere_goes_on(
    point: Point, direction: str, tmp_path: Path, postgresql: PostgreSQL
) -> None:
    addresses = [f"sqlite:///{tmp_path / 'file.db'}", postgresql.new_database(is_empty=True)]
    former, to = addresses if direction == DIRECTIONS[0] else reversed(addresses)
    (tmp_path / "state").mkdir()
    with closing(Ledger(former)) as ledger:
        ledger.migrate()
        Nodes(ledger).register_node("node", place_of(tmp_path / "state"))
        fill(ledger, STUDIES)
        wanted = rows_of(ledger)
    log = tmp_path / "log"
    arguments = ["move", "--to", to, "--config", "node.toml"]
    configure(tmp_path, former)

    status = run_mortal(arguments, tmp_path, log, Fate(_anybodys(point), ()))
    said = log.read_text("utf-8")
    assert status == -signal.SIGKILL, said
    assert killed_words(point) in said
    ready = [one for one in (former, to) if is_the_one(tmp_path, one)]
    is_last = point.target.endswith("end_copy")
    expected = [to] if point.when == "after" else []
    assert ready == (expected if is_last else [former])

    configure(tmp_path, former)
    assert run_mortal(arguments, tmp_path, log) == 0, log.read_text("utf-8")
    assert [one for one in (former, to) if is_the_one(tmp_path, one)] == [to]
    with closing(Ledger(to)) as moved:
        assert rows_of(moved) == wanted
        with moved.writing() as db:  # its own numbers go on
            row = {"at": 1.0, "study_uid": "1.9.0", "event": "next"}
            made = db.execute(schema.history.insert().values(row)).inserted_primary_key
            assert made == (2 * STUDIES + 1,)
            assert db.execute(sa.select(schema.installation.c.moved_to)).scalar() is None
    assert postgresql.password not in log.read_text("utf-8")


def _anybodys(point: Point) -> Point:
    from dataclasses import replace

    return replace(point, is_of_study=False)
