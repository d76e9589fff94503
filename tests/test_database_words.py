"""What a command says of a database: in a line where a person can mend it, else all of it."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa
import typer

from node.cli.common import errors_as_messages
from node.ledger import OutcomeUnknown


def test_a_database_that_is_away_is_a_line_that_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), errors_as_messages():
        raise sa.exc.OperationalError("", {}, sqlite3.OperationalError("database is locked"))
    said = capsys.readouterr().err
    assert "the database says: database is locked. What had not been said" in said


def test_of_a_step_that_nobody_knows_to_be_done_it_is_not_said_that_it_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), errors_as_messages():
        raise OutcomeUnknown(None, None, sqlite3.OperationalError("disk I/O error"))
    said = capsys.readouterr().err
    assert "That may be done, or not: look" in said
    assert "is not done;" not in said


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    for statement in ("INSERT INTO one VALUES (1)", "SELECT no_such FROM one"):
        with (
            pytest.raises(sa.exc.DBAPIError),
            errors_as_messages(),
            sa.create_engine("sqlite://").begin() as db,
        ):
            db.execute(sa.text("CREATE TABLE one (number INTEGER PRIMARY KEY)"))
            db.execute(sa.text("INSERT INTO one VALUES (1)"))
            db.execute(sa.text(statement))
