"""What may be removed of the store, and the transaction that says it is.

The rows say so first, and the files go later (`Unlinking`): a crash in between leaves no file that
somebody would look for, and none that nobody would remove.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.coming_back import may_be_needed
from node.ledger.database import Ledger
from node.ledger.going import ChangedError, GoingFile, StoredFile, say_gone
from node.ledger.owed import is_owed, why_owed
from node.ledger.rows import SHOWN, add_note, find_locked, insert_into, shown_in, update_study
from node.ledger.states import VersionState
from node.result import Result
from node.study import Shown

log = logging.getLogger(__name__)

_RESULT = TypeAdapter(Result)


class Removable(StrEnum):
    """What is removed for one reason; in the order in which a disk that fills is cleaned."""

    OUT_OF_SCOPE = "the images, which no model reads"
    EXCLUDED = "the images, which are excluded"
    NEIGHBOURS = "what no model reads"
    """Of a study that is done, beside what one has read."""
    IMAGES = "the images"
    """Of a study that is done."""
    RESULTS = "the result objects"


StudyPlace = tuple[float, str]
"""Where a walk over the studies is: when the last object of one came, and its UID."""
BEGINNING: StudyPlace = (-1.0, "")


@dataclass(frozen=True, slots=True)
class Portion:
    """What a walk found at its next step."""

    studies: tuple[StudyPlace, ...]
    """Of which nothing is owed, the oldest first."""
    end: StudyPlace
    """Where the walk goes on."""
    is_last: bool
    """There is no more just now."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What of a study is to go, all of it or nothing."""

    study: StudyPlace
    what: Removable
    files: tuple[GoingFile, ...]
    why: str
    """In words: "30 days are over"."""


@dataclass(frozen=True, slots=True)
class Readers:
    """The models that a node has by now, of which not all need be as when a study was read."""

    names: Collection[str]
    is_in_scope: Callable[[Shown], bool]
    """Of one of them."""


@dataclass(frozen=True, slots=True)
class Retaining:
    """What is kept no longer."""

    ledger: Ledger

    def portion(
        self, what: Removable, after: StudyPlace, older_than_s: float, count: int
    ) -> Portion:
        """Look at the next studies in the order in which their last objects came.

        At `count` of those that may have something to remove, however many there are, and however
        many of the first are owed something.
        """
        table = schema.study.c
        gone_at = _gone_at(what)
        place = sa.tuple_(table.last_at, table.study_uid)
        with self.ledger.reading() as db:
            at = db.execute(sa.select(now())).scalar_one()  # PostgreSQL knows then where to stop
            keys = db.execute(
                sa.select(table.last_at, table.study_uid)
                .where(gone_at.is_(None), place > sa.tuple_(*map(sa.literal, after)))
                .where(table.last_at <= at - older_than_s)
                .order_by(table.last_at, table.study_uid)
                .limit(count)
            ).all()
            uids = [key.study_uid for key in keys]
            found = set(db.execute(_removable(what, table.study_uid.in_(uids))).scalars())
        places: list[StudyPlace] = [(key.last_at, key.study_uid) for key in keys]
        return Portion(
            studies=tuple(place for place in places if place[1] in found),
            end=places[-1] if places else after,
            is_last=len(places) < count,
        )

    def files(self, study_uid: str, what: Removable, readers: Readers) -> tuple[StoredFile, ...]:
        """Return the files of a study that go with the rest of their kind."""
        with self.ledger.reading() as db:
            if what == Removable.RESULTS:
                return tuple(_reports(db, study_uid))
            if what == Removable.NEIGHBOURS:
                return tuple(_neighbours(db, study_uid, readers))
            return tuple(file for file, _ in _received(db, study_uid))

    def remove(self, removal: Removal) -> bool:
        """Say that files are removed, and let them be so; False, and nothing, if they may not be.

        As when something of the study has come since they were looked for, a person keeps it, or
        a peer was told that it is kept.
        """
        last_at, study_uid = removal.study
        files = [going.file for going in removal.files]
        try:
            with self.ledger.writing() as db:
                study = find_locked(db, study_uid)
                if study is None:  # forgotten meanwhile
                    return False
                is_it = schema.study.c.study_uid == study_uid
                is_still = db.execute(_removable(removal.what, is_it)).first() is not None
                if study.last_at != last_at or not is_still:
                    return False
                at = db.execute(sa.select(now())).scalar_one()
                say_gone(db, study_uid, removal.files, at)
                if removal.what == Removable.NEIGHBOURS:
                    db.execute(update_study(study_uid).values(neighbours_removed_at=at))
                _let_go(db, study_uid, files, at)
                if not files:
                    return True
                words = f"removed {removal.what} ({size_in_words(files)}): {removal.why}"
                add_note(db, study_uid, words)
        except ChangedError:
            return False
        log.info("Study %s: %s", study_uid, words, extra={"study": study_uid})
        return True

    def is_here(self, sop_uid: str) -> bool:
        """Return whether an object is in the store, as its row says."""
        table = schema.instance
        is_it = (table.c.sop_uid == sop_uid) & table.c.removed_at.is_(None)
        with self.ledger.reading() as db:
            return db.execute(sa.select(table.c.sop_uid).where(is_it)).first() is not None

    def why_owed(self, study_uid: str) -> str | None:
        """Return why nothing may be removed of a study; None if something may, or it is unknown."""
        with self.ledger.reading() as db:
            return why_owed(db, study_uid)


@dataclass(frozen=True, slots=True)
class Unlinking:
    """The files that are to go, until they are gone."""

    ledger: Ledger

    def is_paused(self) -> bool:
        """Whether a backup copies the store just now: what its ledger names must stay."""
        with self.ledger.reading() as db:
            until = schema.installation.c.backup_until
            return db.execute(sa.select(until).where(until > now())).first() is not None

    def due(self, after: str, count: int) -> list[str]:
        """Return so many paths that come after one, in their order; none during a backup."""
        if self.is_paused():
            return []
        path = schema.unlinking.c.path
        query = sa.select(path).where(path > after).order_by(path).limit(count)
        with self.ledger.reading() as db:
            return list(db.execute(query).scalars())

    def ask_again(self, paths: Mapping[str, str]) -> list[str]:
        """Let files be removed that lie in the store although their rows say that they are removed.

        With each the study it is of. Not if that waits for its files: then somebody put them back.
        Return which are to go.
        """
        table = schema.unlinking
        with self.ledger.writing() as db:
            at = db.execute(sa.select(now())).scalar_one()
            awaited = {uid for uid in sorted({*paths.values()}) if _may_be_needed(db, uid)}
            rows = [
                {"path": path, "study_uid": uid, "asked_at": at}
                for path, uid in paths.items()
                if uid not in awaited
            ]
            if rows:
                db.execute(insert_into(db, table).on_conflict_do_nothing(), rows)
        return [path for path, uid in paths.items() if uid not in awaited]

    def gone(self, paths: Collection[str]) -> None:
        """Record that these are not there any more, which a power cut does not undo."""
        table = schema.unlinking
        with self.ledger.writing() as db:
            db.execute(table.delete().where(table.c.path.in_(sorted(paths))))


def _may_be_needed(db: sa.Connection, study_uid: str) -> bool:
    study = find_locked(db, study_uid)
    return study is not None and may_be_needed(db, study)


def size_in_words(files: Sequence[StoredFile]) -> str:
    """Return how many files these are, and how large, as far as that is known."""
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    sizes = [file.size_bytes for file in files if file.size_bytes is not None]
    return f"{count}, {sum(sizes) / 1e6:.1f} MB" if len(sizes) == len(files) else count


def _gone_at(what: Removable) -> sa.Column[float]:
    """Return the column that says there is nothing left of it, over which an index walks."""
    table = schema.study.c
    return table.results_removed_at if what == Removable.RESULTS else table.images_removed_at


def _removable(what: Removable, are_these: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Select the UIDs of those of some studies of which it may go."""
    study, version = schema.study, schema.study_version
    is_newest = (version.c.study_uid == study.c.study_uid) & (version.c.number == study.c.version)
    return (
        sa.select(study.c.study_uid)
        .join_from(study, version, is_newest, isouter=True)
        .where(are_these, _gone_at(what).is_(None), *_is_such(what), ~is_owed)
    )


def _is_such(what: Removable) -> Iterator[sa.ColumnElement[bool]]:
    study, state = schema.study.c, schema.study_version.c.state
    match what:
        case Removable.OUT_OF_SCOPE:
            # Of one without a version nothing has come that says anything, such as results of ours.
            yield sa.or_(study.version == 0, state == VersionState.OUT_OF_SCOPE)
        case Removable.EXCLUDED:
            yield state == VersionState.EXCLUDED
        case Removable.NEIGHBOURS:
            yield state.in_(_DONE)
            yield study.neighbours_removed_at.is_(None)
        case Removable.IMAGES:
            yield state.in_(_DONE)
        case Removable.RESULTS:
            return


_DONE = (VersionState.FINISHED, VersionState.WITHDRAWN)


def _received(db: sa.Connection, study_uid: str) -> Iterator[tuple[StoredFile, Shown]]:
    instance, former = schema.instance, schema.former_instance
    columns: list[sa.ColumnElement[Any]] = [instance.c.sop_uid, *SHOWN]
    here = [instance.c.digest, instance.c.path, instance.c.size_bytes]
    query = sa.select(*columns, *here)
    of_study = instance.c.study_uid == study_uid
    for row in db.execute(query.where(of_study, instance.c.removed_at.is_(None))):
        file = StoredFile("instance", row.sop_uid, row.digest, row.path, row.size_bytes)
        yield file, shown_in(row)
    before = [*columns, former.c.digest, former.c.path]
    formers = sa.select(*before).join(former, former.c.sop_uid == instance.c.sop_uid)
    for row in db.execute(formers.where(of_study, former.c.removed_at.is_(None))):
        yield StoredFile("former", row.sop_uid, row.digest, row.path, None), shown_in(row)


def _neighbours(db: sa.Connection, study_uid: str, readers: Readers) -> Iterator[StoredFile]:
    """Yield what no model has read, or was meant for, of whichever version.

    What a model was meant for, its result names; but not if its analysis was given up: then that
    is known of a model that is still here, and of one that is switched off nothing is.
    """
    table, named = schema.analysis, set[str]()
    query = sa.select(table.c.model, table.c.result).where(table.c.study_uid == study_uid)
    for row in db.execute(query):
        if row.model not in readers.names:
            return
        if row.result is not None:
            result = _RESULT.validate_json(row.result)
            named |= {*result.analysed, *(refusal.sop_uid for refusal in result.refused)}
    for file, shown in _received(db, study_uid):
        if file.sop_uid not in named and not readers.is_in_scope(shown):
            yield file


def _reports(db: sa.Connection, study_uid: str) -> Iterator[StoredFile]:
    table = schema.report
    query = sa.select(table).where(table.c.study_uid == study_uid, table.c.removed_at.is_(None))
    for row in db.execute(query):
        is_named = row.series_uid is not None
        yield StoredFile("report", row.sop_uid, row.digest, row.path, row.size_bytes, is_named)


def _let_go(db: sa.Connection, study_uid: str, files: Sequence[StoredFile], at: float) -> None:
    if files:
        rows = [{"path": file.path, "study_uid": study_uid, "asked_at": at} for file in files]
        db.execute(insert_into(db, schema.unlinking).on_conflict_do_nothing(), rows)
