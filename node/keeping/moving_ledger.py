"""A ledger moved to another database: copied, compared, and only then not the one that counts.

All nodes are stopped meanwhile. Wherever it is broken off, the same command goes on with it; until
the last step the former ledger is the right one, and a node starts on nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError

from node.config import Config, DatabaseURL
from node.errors import ConfigError, NodeError
from node.ledger import Ledger, release_of_tables, schema
from node.ledger.copying import (
    OnRows,
    copy_ledger,
    end_copy,
    source_of_copy,
    steps_of_copy,
)
from node.ledger.moving import (
    address_without_password,
    backup_alive,
    has_password,
    keep_writers_away,
    places_alive,
    record_move,
)
from node.site import database_errors_as_messages, ledger_to_move
from node.state_dir import lock_state_dir, place_of

Showing = Callable[[str, int], contextlib.AbstractContextManager[OnRows]]
"""Shows how far it is: what is done, and of how many steps."""

_FILE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move has come to."""

    former: str
    """Where the ledger was, without a password, as `to`."""
    to: str
    has_password: bool
    """Whether one was given, which `to` does not say."""
    rows: int
    """That were copied and compared; 0 if that had been done before."""


def move_ledger(config: Config, to: str, showing: Showing) -> Moved:
    """Move the ledger of a configuration, or go on with that; raise NodeError if it cannot be."""
    state_dir = config.node.state_dir
    with contextlib.ExitStack() as stack:
        for name in ("lock", "lock.web"):
            stack.enter_context(lock_state_dir(state_dir, name))
        source = ledger_to_move(config)
        if source is None:
            raise ConfigError(
                "there is no ledger to move: no node has run with this configuration yet"
            )
        stack.callback(source.close)
        where = _address(to)
        former = address_without_password(config.database_url)
        if where == former:
            raise NodeError(f"--to {where}: {_why_not_from_there(source)}")
        with database_errors_as_messages(to, "--to"):
            target = stack.enter_context(contextlib.closing(_open_target(to, source)))
        rows = 0
        with _errors_as_messages():
            left = _what_is_left(source, target, (former, where))
            if left == _Left.ALL:
                rows = _move(source, target, _places(state_dir), (former, where), showing)
            if left != _Left.NOTHING:
                end_copy(target)
        return Moved(former, where, has_password(to), rows)


def _why_not_from_there(source: Ledger) -> str:
    """Return why a ledger is not moved to where the configuration says that it is."""
    with source.reading() as db:
        moved_to = db.execute(sa.select(schema.installation.c.moved_to)).scalar_one_or_none()
    if moved_to is None:
        return "the ledger is there already"
    return (
        f"the ledger was there, and has moved to {moved_to}: write that one into [node] database, "
        "then this command moves it back"
    )


def _places(state_dir: Path) -> list[str]:
    """Return who has this state folder, whose locks are ours: they are dead."""
    there = (name for name in ("place", "place.web") if (state_dir / name).exists())
    return [place_of(state_dir, name) for name in there]


@contextlib.contextmanager
def _errors_as_messages() -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise NodeError(
            f"the move was broken off, for one of the two databases says: {reason}. Nothing is "
            "lost, and the former ledger is the right one until this command says that it is not: "
            "run it again, it goes on from there"
        ) from error


def _address(to: str) -> str:
    try:
        TypeAdapter(DatabaseURL).validate_python(to)
    except ValidationError as error:
        [problem] = error.errors(include_input=False)
        raise NodeError(f"--to: {problem['ctx']['error']}") from None
    return address_without_password(to)


def _open_target(to: str, source: Ledger) -> Ledger:
    """Open the database to move to, with the tables of this release."""
    if to.startswith(_FILE):
        folder = Path(to.removeprefix(_FILE)).parent
        if not folder.is_dir():
            raise NodeError(f"--to: there is no folder {folder}; make it, for the node's user")
    target = Ledger(to, dead_after_s=source.dead_after_s)
    try:
        with target.reading() as db:
            tables = release_of_tables(db)
            if tables in ("older", "newer"):
                raise NodeError(
                    f"--to {address_without_password(to)}: has tables of a"
                    f"{'n older' if tables == 'older' else ' newer'} release; name an empty "
                    "database"
                )
        target.migrate()
    except BaseException:
        target.close()
        raise
    return target


class _Left(Enum):
    """What of a move is still to be done."""

    ALL = auto()
    LAST_STEP = auto()
    """The copy is whole and the former ledger says so; no node starts on the copy yet."""
    NOTHING = auto()


def _what_is_left(source: Ledger, target: Ledger, addresses: tuple[str, str]) -> _Left:
    """Return what is still to be done; raise NodeError if the ledger is elsewhere by now."""
    former, where = addresses
    with source.reading() as db, target.reading() as other:
        ours = db.execute(sa.select(schema.installation)).one()
        theirs = other.execute(sa.select(schema.installation)).one()
    if ours.moving is not None:
        raise NodeError(
            "this ledger is to be a copy of another, and is not whole: run the command again that "
            "was broken off"
        )
    if ours.moved_to is None:
        return _Left.ALL
    if ours.moved_to != where:
        raise NodeError(
            f"this ledger has moved to {ours.moved_to}: name that one in [node] database, then "
            "move it on"
        )
    if ours.id != theirs.id:
        raise NodeError(
            f"this ledger has moved to {where}, and what is there is another's by now: restore "
            "it from a backup"
        )
    if theirs.moving is None:
        return _Left.NOTHING
    if (source_now := source_of_copy(theirs.moving)) != former:
        raise NodeError(
            f"this ledger has moved to {where}, and that one has moved on: it is to be a copy of "
            f"{source_now} now, and is not whole. Name that one in [node] database, and run the "
            "command again that was broken off"
        )
    return _Left.LAST_STEP


def _move(
    source: Ledger,
    target: Ledger,
    dead: Sequence[str],
    addresses: tuple[str, str],
    showing: Showing,
) -> int:
    """Copy and compare, and say in the source that it is no longer the one; return the rows."""
    former, where = addresses
    with source.writing(even_if_moved=True) as db:
        keep_writers_away(db)
        if backup := backup_alive(db):
            raise NodeError(
                f"a backup of this ledger is being made, to {backup}: wait until it has ended; one "
                "that was killed counts as alive for five minutes"
            )
        if alive := places_alive(db, dead, source.dead_after_s):
            raise NodeError(
                f"nodes are alive on this ledger: {', '.join(alive)}. Stop them, and move it "
                f"then; one that was killed counts as alive for {source.dead_after_s:g} s"
            )
        steps = steps_of_copy(db)
        try:
            with showing("Copying and comparing rows", steps) as on_rows:
                copy_ledger(db, target, on_rows, name=former)
        except NodeError as error:
            raise NodeError(f"--to {where}: {error}") from error
        record_move(db, where)
    return steps // 3
