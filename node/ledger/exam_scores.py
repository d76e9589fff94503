"""What a delivering model said of each exam, once: what "shifted" compares (docs/shift.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.rows import insert_into
from node.ledger.states import Mode
from node.result import Priority

EXAMS_AT_ONCE = 5000
"""Exams that are taken over by one call; of a ledger of years, the rest with the next ones."""
_LATE_S = 60.0
"""A result that is committed so long after the time it bears is found, too."""


@dataclass(frozen=True, slots=True)
class ExamScore:
    """What was said of an exam, by its newest version."""

    at: float
    """When its first version was analysed, epoch seconds: its place among the others."""
    score: float | None
    level: Priority | None
    has_refusals: bool
    """Whether an image was refused."""


@dataclass(frozen=True, slots=True)
class ExamScores:
    """Exams by model, its version, and sender. However large the ledger, each is found by an index.

    A version here is that of the model, and, where the site lets levels begin elsewhere, from which
    operating point on: exams of before the change say nothing of those after it.
    """

    ledger: Ledger

    def take_over(self, model: str, settings: str) -> str | None:
        """Take over what was analysed since the last call; return the version that is newest.

        What is the same in several processes, whoever does it, and however often. `settings` is
        what is added to the version, "" for nothing. None: the model has delivered nothing.
        """
        analysis, exam = schema.analysis, schema.exam_score
        with self.ledger.reading() as db:
            newest = sa.select(sa.func.max(exam.c.finished_at)).where(exam.c.model == model)
            since = db.execute(newest).scalar_one() or 0.0
            version = (analysis.c.model_version + settings).label("model_version")
            is_its = [analysis.c.model == model, analysis.c.mode == Mode.DELIVER]
            last = sa.select(version).where(*is_its, analysis.c.finished_at.is_not(None))
            found = db.execute(last.order_by(analysis.c.finished_at.desc()).limit(1)).scalar()
            is_known = (
                (exam.c.model == analysis.c.model)
                & (exam.c.model_version == version)
                & (exam.c.study_uid == analysis.c.study_uid)
                & (exam.c.number >= analysis.c.number)
            )
            query = (
                sa.select(
                    analysis.c.model,
                    version,
                    analysis.c.study_uid,
                    schema.study.c.sender,
                    analysis.c.number,
                    analysis.c.score,
                    analysis.c.level,
                    sa.func.coalesce(analysis.c.refusals, "{}").label("refusals"),
                    analysis.c.finished_at,
                )
                .join(schema.study, schema.study.c.study_uid == analysis.c.study_uid)
                .where(*is_its, analysis.c.finished_at > since - _LATE_S)
                .where(analysis.c.analysed.is_not(None))  # else of a release before 0013
                .where(~sa.exists().where(is_known))
                .order_by(analysis.c.finished_at)
                .limit(EXAMS_AT_ONCE)
            )
            rows = [dict(row) for row in db.execute(query).mappings()]
        if rows:
            self._keep(rows)
        return found

    def _keep(self, rows: Sequence[dict[str, object]]) -> None:
        table = schema.exam_score
        for row in rows:
            row["has_refusals"] = row.pop("refusals") != "{}"
            row["first_at"] = row["finished_at"]
        with self.ledger.writing() as db:
            insert = insert_into(db, table)
            newer = {
                name: insert.excluded[name]
                for name in ("number", "score", "level", "has_refusals", "finished_at")
            }
            kept = insert.on_conflict_do_update(
                index_elements=list(table.primary_key.columns),
                set_=newer,
                where=insert.excluded.number > table.c.number,
            )
            db.execute(kept, rows)

    def first(
        self, model: str, version: str, sender: str, after: float, count: int
    ) -> list[ExamScore]:
        """Return so many exams, or as many as there are, from a time on."""
        return self._some(model, version, sender, after, count, is_newest=False)

    def last(
        self, model: str, version: str, sender: str, after: float, count: int
    ) -> list[ExamScore]:
        """Return the newest ones, in the order in which they came."""
        return self._some(model, version, sender, after, count, is_newest=True)[::-1]

    def _some(
        self, model: str, version: str, sender: str, after: float, count: int, *, is_newest: bool
    ) -> list[ExamScore]:
        table = schema.exam_score
        order = [table.c.first_at, table.c.study_uid]
        query = (
            sa.select(table.c.first_at, table.c.score, table.c.level, table.c.has_refusals)
            .where(table.c.model == model, table.c.model_version == version)
            .where(table.c.sender == sender, table.c.first_at > after)
            .order_by(*(column.desc() if is_newest else column for column in order))
            .limit(count)
        )
        with self.ledger.reading() as db:
            return [ExamScore(*row) for row in db.execute(query)]

    def reference(self, model: str, version: str, sender: str) -> str | None:
        """Return the content of what is frozen, None if nothing is."""
        table = schema.score_reference
        query = sa.select(table.c.content).where(table.c.model == model)
        query = query.where(table.c.model_version == version, table.c.sender == sender)
        with self.ledger.reading() as db:
            return db.execute(query).scalar_one_or_none()

    def freeze(
        self, model: str, version: str, sender: str, content: str, former: str | None = None
    ) -> None:
        """Keep a reference in place of the former; if that is another by now, that one stands."""
        table = schema.score_reference
        values = {"model": model, "model_version": version, "sender": sender, "content": content}
        with self.ledger.writing() as db:
            insert = insert_into(db, table).values(**values, frozen_at=now())
            if former is None:
                db.execute(insert.on_conflict_do_nothing())
                return
            db.execute(
                insert.on_conflict_do_update(
                    index_elements=list(table.primary_key.columns),
                    set_={"content": content, "frozen_at": now()},
                    where=table.c.content == former,
                )
            )

    def references(self, model: str, sender: str) -> dict[str, str]:
        """Return by version what is frozen of a model and sender."""
        table = schema.score_reference
        query = sa.select(table.c.model_version, table.c.content)
        query = query.where(table.c.model == model, table.c.sender == sender)
        with self.ledger.reading() as db:
            return {row.model_version: row.content for row in db.execute(query)}
