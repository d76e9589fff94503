"""What `ai-node check --deep` asks the ledger, and what it has it say of files that are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.coming_back import COMES_BACK, ask_back, missing_words
from node.ledger.database import Ledger
from node.ledger.going import ChangedError, GoingFile, StoredFile, say_gone
from node.ledger.owed import why_owed
from node.ledger.rows import add_note, hold, is_held, lock_study, note_once
from node.ledger.states import HeldBecause, InstanceState

_WITHOUT = {
    True: "result objects are not made again: put them back from a backup",
    False: "none of that is in use, and nothing waits for it",
}
_Of = Literal["image", "other object", "former object", "result object"]
_OF: Mapping[_Of, Literal["instance", "former", "report"]] = {
    "image": "instance",
    "other object": "instance",
    "former object": "former",
    "result object": "report",
}
_TABLES = (schema.instance, schema.former_instance, schema.report)


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file that a row says is in the store, and what it should hold."""

    of: _Of
    """An image is in use; what is in use no more is an other object."""
    study_uid: str
    sop_uid: str
    sop_class: str
    sender: str
    """The peer that sent its study."""
    path: str
    digest: str
    """Of a received object the SHA-256 of its data set, of a result object that of the file."""

    @property
    def going(self) -> GoingFile:
        """The same, to be said gone."""
        return GoingFile(StoredFile(_OF[self.of], self.sop_uid, self.digest, self.path, None))


@dataclass(frozen=True, slots=True)
class Checking:
    """Rows beside files, and rows whose files are gone."""

    ledger: Ledger

    def count(self) -> int:
        """Return of how many files rows say that they are in the store."""
        with self.ledger.reading() as db:
            return sum(db.execute(_how_many(table)).scalar_one() for table in _TABLES)

    def files(self, study_uids: Collection[str]) -> list[CheckedFile]:
        """Return every file that should be there of these studies, those of a study together."""
        with self.ledger.reading() as db:
            found = [file for query in _queries(study_uids) for file in _read(db, query)]
        return sorted(found, key=lambda file: (file.study_uid, file.path))

    def spoken_of(self, study_uids: Collection[str]) -> frozenset[str]:
        """Return the paths that rows of these studies speak of, also of files that are removed."""
        with self.ledger.reading() as db:
            rows = [
                row for query in _queries(study_uids, removed=True) for row in db.execute(query)
            ]
            going = sa.select(schema.unlinking.c.path).where(
                schema.unlinking.c.study_uid.in_(study_uids)
            )
            return frozenset((*(row.path for row in rows), *db.execute(going).scalars()))

    def are_named(self, files: Sequence[CheckedFile]) -> list[CheckedFile]:
        """Return those of which rows still say what they said."""
        now_named = {(file.path, file.digest) for file in self.files({f.study_uid for f in files})}
        return [file for file in files if (file.path, file.digest) in now_named]

    def hold_missing(self, study_uid: str, files: Sequence[CheckedFile]) -> str:
        """Say in the history of a study that files of it are missing, once; return what follows.

        If images are among them that are in use, it is held and asked back: nothing is made of it
        without them.
        """
        words = missing_words([file.path for file in files])
        images = [file.path for file in files if file.of == "image"]
        with self.ledger.writing() as db:
            study = lock_study(db, study_uid)
            note_once(db, study_uid, words)
            if not images:
                return _WITHOUT[any(file.of == "result object" for file in files)]
            if is_held(study):
                return f"it is held already: {study.held_reason}"
            reason = f"{missing_words(images)}; {COMES_BACK}"
            hold(db, study_uid, HeldBecause.MISSING, reason)
            ask_back(db, study_uid)
            return "it is held until they are here again, and asked back where a peer answers"

    def let_go(self, study_uid: str, files: Sequence[CheckedFile]) -> str:
        """Say that the files of a study are removed, if nobody is owed anything of it any more.

        Return what follows: what is owed something is held until its images are here again.
        """
        try:
            with self.ledger.writing() as db:
                lock_study(db, study_uid)
                if why_owed(db, study_uid) is None:
                    at = db.execute(sa.select(now())).scalar_one()
                    say_gone(db, study_uid, [file.going for file in files], at)
                    words = missing_words([file.path for file in files])
                    add_note(db, study_uid, f"{words}; lost with the store, and needed no more")
                    return "nothing of it is owed, so that the ledger has it as removed"
        except ChangedError:
            return "something of it has just come, or gone: check once more"
        return self.hold_missing(study_uid, files)


def _how_many(table: sa.Table) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(table).where(table.c.removed_at.is_(None))


def _queries(study_uids: Collection[str], *, removed: bool = False) -> Iterator[sa.Select[Any]]:
    """Yield one query for each table that speaks of files; by choice of removed ones, too."""
    study, instance = schema.study, schema.instance
    former, report = schema.former_instance, schema.report
    is_in_use = instance.c.state == InstanceState.CURRENT
    of_instance = sa.case((is_in_use, "image"), else_="other object")
    for of, table, source, study_column, sop_class in (
        (of_instance, instance, instance, instance.c.study_uid, instance.c.sop_class),
        (
            sa.literal("former object"),
            former,
            former.join(instance, instance.c.sop_uid == former.c.sop_uid),
            instance.c.study_uid,
            instance.c.sop_class,
        ),
        (sa.literal("result object"), report, report, report.c.study_uid, report.c.sop_class),
    ):
        query = (
            sa.select(
                of.label("of"),
                study_column.label("study_uid"),
                table.c.sop_uid,
                sop_class.label("sop_class"),
                study.c.sender,
                table.c.path,
                table.c.digest,
            )
            .select_from(source.join(study, study.c.study_uid == study_column))
            .where(study_column.in_(study_uids))
        )
        yield query if removed else query.where(table.c.removed_at.is_(None))


def _read(db: sa.Connection, query: sa.Select[Any]) -> Iterator[CheckedFile]:
    for row in db.execute(query):
        yield CheckedFile(**row._mapping)
