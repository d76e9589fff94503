"""What `ai-node check --deep` asks the ledger, and what it has it say of files that are gone."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.coming_back import hold_for_files, missing_words, note_files
from node.ledger.database import Ledger
from node.ledger.going import ChangedError, GoingFile, StoredFile, say_gone
from node.ledger.owed import why_owed
from node.ledger.rows import (
    add_note,
    find_locked,
    is_held,
    lock_study,
    note_once,
    update_study,
)
from node.ledger.states import InstanceState
from node.numbers_in_words import counted

log = logging.getLogger(__name__)

_WITHOUT = {
    True: "result objects are not made again: put them back from a backup",
    False: "none of that is in use, and nothing waits for it",
}
_NOT_OWED = (
    "nothing of it is owed, so that it is not held: put back from a backup what there is; if there "
    "is none, say so with --store-is-lost"
)
_Of = Literal["image", "other object", "former object", "result object"]
_OF: Mapping[_Of, Literal["instance", "former", "report"]] = {
    "image": "instance",
    "other object": "instance",
    "former object": "former",
    "result object": "report",
}
_TABLE_OF = {"instance": schema.instance, "former": schema.former_instance, "report": schema.report}
_TABLES = tuple(_TABLE_OF.values())


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

        If images are among them that are in use, and something of it is owed, it is held and asked
        back: nothing is made of it without them.
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
            if why_owed(db, study_uid) is None:
                return _NOT_OWED
            hold_for_files(db, study_uid, missing_words(images))
            return "it is held until they are here again, and asked back where a peer answers"

    def let_go(self, study_uid: str, files: Sequence[CheckedFile]) -> str:
        """Say that the files of a study are lost, if nobody is owed anything of it any more.

        For whoever was told so by a person: from then on no backup keeps them. Return what follows:
        what is owed something is held until its images are here again.
        """
        words = ""
        try:
            with self.ledger.writing() as db:
                lock_study(db, study_uid)
                if why_owed(db, study_uid) is None:
                    at = db.execute(sa.select(now())).scalar_one()
                    say_gone(db, study_uid, [file.going for file in files], at)
                    words = missing_words([file.path for file in files])
                    words += "; nothing of it is owed, so that they are as if removed"
                    add_note(db, study_uid, words)
        except ChangedError:
            return "something of it has just come, or gone: check once more"
        if words:
            log.info("Study %s: %s", study_uid, words, extra={"study": study_uid})
            return "nothing of it is owed, so that the ledger has it as removed"
        return self.hold_missing(study_uid, files)

    def lost(self, study_uids: Collection[str]) -> list[CheckedFile]:
        """Return the files of these studies that rows say are gone, and nobody has removed."""
        with self.ledger.reading() as db:
            queries = _queries(study_uids, removed=True)
            return [
                file
                for table, query in zip(_TABLES, queries, strict=True)
                for file in _read(db, query.where(_is_lost(table)))
            ]

    def give_back(self, study_uid: str, files: Sequence[CheckedFile]) -> int:
        """Record that lost files of a study lie where they were, as they were; return how many.

        Retention removes them in their turn, as any other.
        """
        count, given = 0, set[sa.Table]()
        with self.ledger.writing() as db:
            study = find_locked(db, study_uid)
            if study is None:  # forgotten meanwhile
                return 0
            for file in files:
                table = _TABLE_OF[_OF[file.of]]
                is_it = (table.c.sop_uid == file.sop_uid) & (table.c.path == file.path)
                was = is_it & (table.c.digest == file.digest) & _is_lost(table)
                if db.execute(table.update().where(was).values(removed_at=None)).rowcount:
                    count += 1
                    given.add(table)
            if count == 0:
                return 0
            if given != {schema.report}:
                note_files(db, study)
            if schema.report in given:
                db.execute(update_study(study_uid).values(results_removed_at=None))
            words = f"{counted(count, 'lost file is', 'lost files are')} here again, as they were"
            add_note(db, study_uid, words)
        log.info("Study %s: %s", study_uid, words, extra={"study": study_uid})
        return count


def _is_lost(table: sa.Table) -> sa.ColumnElement[bool]:
    """Say of rows that their files are gone although nobody removed them.

    Retention writes down the digest of a header before it lets a file go. Of result objects it has
    none to write: one of those that somebody puts back is taken for lost, and goes in its turn.
    """
    is_going = sa.exists().where(schema.unlinking.c.path == table.c.path)
    is_it = table.c.removed_at.is_not(None) & ~is_going
    return is_it & table.c.header_digest.is_(None) if "header_digest" in table.c else is_it


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
