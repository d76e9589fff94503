"""A ledger as tests fill it, the study's objects made up of a few words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from node import schema
from node.files import Store
from node.ledger import (
    Arrival,
    BuiltReport,
    Finished,
    Job,
    Ledger,
    PlannedAnalysis,
    Reception,
    Work,
    parse_view,
)
from node.result import ModelIdentity, Priority, Result
from node.selection import MG_FOR_PRESENTATION
from node.study import Instance

STUDY = "1.2.826.1"
NODE = "node-1"
SOMEBODY, SOMEBODY_ELSE = "patient-1 - accession-1", "patient-2 - accession-1"
PLAN = (PlannedAnalysis("breast-area", "1.0.0", "0" * 64, "deliver"),)
MODEL = ModelIdentity("breast-area", "Breast Area", "1.0.0", "Test", "2.25.1", "0" * 64)


@dataclass(slots=True)
class Desk:
    """A ledger, the queue beside it that only remembers, and the words tests use of them."""

    ledger: Ledger
    store: Store
    jobs: list[Job] = field(default_factory=list)

    def enqueue(self, db: sa.Connection, job: Job) -> None:
        self.jobs.append(job)

    def receive(
        self,
        sop_uid: str = f"{STUDY}.1",
        *,
        study: str = STUDY,
        digest: str = "digest",
        identity: str = SOMEBODY,
        view: str | None = "R MLO",
        modality: str = "MG",
        sender: str = "modality",
        association: str = "association",
        is_own: bool = False,
        sop_class: str = MG_FOR_PRESENTATION,
        is_standard: bool = True,
        is_in_scope: bool = True,
    ) -> Literal["new", "same", "conflict"]:
        """Record an instance as the listener does."""
        instance = Instance(
            study_uid=study,
            series_uid=f"{study}.0",
            sop_uid=sop_uid,
            sop_class=sop_class,
            transfer_syntax="1.2.840.10008.1.2.1",
            modality=modality,
            path=Path("unused"),
            digest=digest,
            view=parse_view(view),
            is_standard=is_standard,
        )
        return self.ledger.record_instance(
            instance,
            Reception(
                relative_path=f"received/{study}/{sop_uid}.dcm",
                sender=sender,
                association_id=association,
                identity=identity,
                is_own=is_own,
                is_in_scope=is_in_scope,
            ),
        )

    def arrivals(self) -> list[Arrival]:
        return self.ledger.arrivals({MG_FOR_PRESENTATION})

    def close(self, plan: Iterable[PlannedAnalysis] = PLAN, *, study: str = STUDY) -> Job:
        """Close what has arrived as a version, and return its job."""
        arrival = next(a for a in self.arrivals() if a.study_uid == study)
        assert self.ledger.close_version(arrival, "4/4 views", tuple(plan), self.enqueue)
        number = self.row(schema.study, study)["version"]
        return Job("process", study, number, 1)

    def begin(self, job: Job, node_id: str = NODE) -> Work:
        return self.ledger.begin_version(job, node_id, self.store)

    def finish(
        self,
        job: Job,
        *,
        destinations: tuple[str, ...] = ("pacs",),
        deliver_within_s: float = 3600,
        reports: int = 2,
    ) -> list[Job]:
        """Finish a version that has begun; return the jobs of its deliveries."""
        before = len(self.jobs)
        built = tuple(
            BuiltReport(f"2.25.{job.number}{n}", "1.2.3", f"reports/{n}.dcm", "digest")
            for n in range(reports)
        )
        result = Result(MODEL, analysed=(f"{job.study_uid}.1",), priority=Priority.NOT_ASSESSED)
        finished = Finished((result,), built, destinations, deliver_within_s)
        self.ledger.finish_version(job, finished, self.enqueue)
        return self.jobs[before:]

    def analysed(self, **how: Any) -> list[Job]:
        """Take a study of one image up to its deliveries, and return their jobs."""
        self.receive()
        job = self.close()
        self.begin(job)
        return self.finish(job, **how)

    def row(self, table: sa.Table, *key: object) -> dict[str, Any]:
        """Return the row with this primary key."""
        columns = list(table.primary_key.columns)
        query = sa.select(table).where(*(c == v for c, v in zip(columns, key, strict=True)))
        with self.ledger.reading() as db:
            return dict(db.execute(query).one()._mapping)

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.ledger.reading() as db:
            return [dict(row._mapping) for row in db.execute(sa.select(table)).all()]

    def history(self, study: str = STUDY) -> list[str]:
        return [str(row["event"]) for row in self.rows(schema.history) if row["study_uid"] == study]

    def change(self, table: sa.Table, **values: Any) -> None:
        """Set columns of every row, as time or another process would have."""
        with self.ledger.writing() as db:
            db.execute(table.update().values(values))

    def let_pass(self, seconds: float) -> None:
        """Make everything received that much older."""
        study = schema.study
        self.change(study, first_at=study.c.first_at - seconds, last_at=study.c.last_at - seconds)
