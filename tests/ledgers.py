"""A ledger as tests fill it, the study's objects made up of a few words."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from networks import AREA
from pydantic import TypeAdapter
from pydicom import Dataset

from node import config
from node.config import bundled_models_dir
from node.current import Current
from node.domains.mammography.sop_classes import MG_FOR_PRESENTATION
from node.flow.completeness import why_all_excluded
from node.flow.study_scope import awaited_by
from node.ledger import (
    Again,
    Arrival,
    BuiltReport,
    ByHand,
    Claiming,
    Closing,
    Delivering,
    DeliveryState,
    Filing,
    Finished,
    Hurrying,
    Job,
    KeptScores,
    Ledger,
    Mode,
    Nodes,
    Outcome,
    Patience,
    PlannedAnalysis,
    Processing,
    Received,
    Receiving,
    Recorded,
    Settling,
    Sweeping,
    VersionState,
    Withdrawal,
    Work,
    parse_view,
    schema,
)
from node.manifest import load_model
from node.receive.reception import Came, Reception
from node.result import (
    Code,
    Finding,
    HeatMap,
    ModelIdentity,
    Priority,
    Refusal,
    Region,
    Result,
    Triage,
)
from node.store import Store
from node.study import Instance, Laterality, Shown, StudyLabels, View

HOUR_S = 3600.0
STUDY = "1.2.826.1"
NODE = "node-1"
SOMEBODY, SOMEBODY_ELSE = "patient-1 - accession-1 - -", "patient-2 - accession-1 - -"
PLAN = (PlannedAnalysis("breast-area", "1.0.0", "0" * 64, Mode.DELIVER),)
CLOSING = Closing("4/4 views", PLAN)
OUT_OF_SCOPE = Closing("quiet 60 s", state=VersionState.OUT_OF_SCOPE, why_not="no model reads CT")
PATIENCE = Patience(60)
KIND, OTHER_KIND = "measurement-report-3d", "measurement-report"
"""Of the reports here, which all have one SOP class: nothing may depend on it."""
EXCLUDED = Closing("4/4 views", state=VersionState.EXCLUDED, why_not="no Patient ID")
RECEIVING = config.Config(
    node=config.Node(ae_title="AINODE", state_dir=Path("unused"), min_free_mb=0),
    intake=config.Intake(max_study_age_days=0),
)
NO_LABELS = StudyLabels()
MODEL = ModelIdentity("breast-area", "Breast Area", "1.0.0", "Test", "2.25.1", "0" * 64)


MAMMOGRAPHY = load_model("breast-area", bundled_models_dir()).manifest


def views(arrival: Arrival) -> list[str]:
    """Return which of the four views are there, in objects that can stand for them."""
    return list(awaited_by([MAMMOGRAPHY], arrival.shown).there)


def modalities(arrival: Arrival) -> set[str]:
    return {shown.modality for shown in arrival.shown}


def apart(arrival: Arrival) -> str | None:
    """Return why a study of mammograms is not analysed by itself."""
    return why_all_excluded(arrival, [MAMMOGRAPHY])


def is_mammogram(shown: Shown) -> bool:
    """Whether a node that reads mammograms is meant for an object."""
    return shown.modality == "MG" and shown.body_part in ("", "BREAST")


@dataclass
class Desk:
    """A ledger, the queue beside it that only remembers, and the words tests use of them."""

    ledger: Ledger
    store: Store
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = Nodes(self.ledger)
        self.receiving = Receiving(self.ledger)
        self.settling = Settling(self.ledger)
        self.claiming = Claiming(self.ledger)
        self.processing = Processing(self.ledger)
        self.scores = KeptScores(self.ledger)
        self.delivering = Delivering(self.ledger)
        self.sweeping = Sweeping(self.ledger)
        self.hurrying = Hurrying(self.ledger)
        self.filing = Filing(self.ledger)
        self.by_hand = ByHand(self.ledger)

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
        body_part: str = "",
        details: str = "",
        is_in_scope: bool = True,
        why_excluded: str | None = None,
        again: Again | None = None,
        withdraws: Withdrawal | None = None,
        relative_path: str | None = None,
        labels: StudyLabels = NO_LABELS,
    ) -> Recorded:
        """Record an instance, made up, as reception does."""
        instance = Instance(
            study_uid=study,
            series_uid=f"{study}.0",
            sop_uid=sop_uid,
            sop_class=sop_class,
            transfer_syntax="1.2.840.10008.1.2.1",
            modality=modality,
            path=Path("unused"),
            digest=digest,
            body_part=body_part,
            view=parse_view(view),
            is_standard=is_standard,
            details=details,
        )
        return self.receiving.record_instance(
            instance,
            Received(
                relative_path=relative_path or f"received/{study}/{sop_uid}.dcm",
                sender=sender,
                association_id=association,
                identity=identity,
                is_own=is_own,
                is_in_scope=is_in_scope,
                why_excluded=why_excluded,
                again=again,
                withdraws=withdraws,
                labels=labels,
            ),
        )

    def keep(self, dataset: Dataset, *, sender: str = "modality") -> Recorded:
        """Let a node that reads mammograms receive an object."""
        path = self.store.incoming / f"{uuid.uuid4()}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        with contextlib.closing(
            Reception(Current(RECEIVING), self.store, self.receiving, is_mammogram)
        ) as reception:
            return reception.keep(path, Came(sender, "association"))

    def receive_again(
        self,
        sop_uid: str = f"{STUDY}.1",
        *,
        digest: str = "corrected",
        pixels: Literal["same", "other", "unknown"] = "same",
        changed: tuple[str, ...] = ("Patient ID",),
        **how: Any,
    ) -> Recorded:
        """Record an instance that we have, compared with it as reception does."""
        kept = self.receiving.find_kept(sop_uid)
        assert kept is not None
        former = {row["digest"] for row in self.rows(schema.former_instance)}
        again = Again(
            kept.digest,
            pixels,
            changed,
            digest in former,
            is_mammogram(kept.shown),
            was_removed=kept.is_removed,
        )
        return self.receive(sop_uid, digest=digest, again=again, **how)

    def withdraw(
        self,
        *sop_uids: str,
        note: str = f"{STUDY}.900",
        reason: str = "Rejected for Quality Reasons",
        digest: str = "note",
        **how: Any,
    ) -> Recorded:
        """Record a rejection note."""
        return self.receive(
            note,
            digest=digest,
            modality="KO",
            view=None,
            is_in_scope=False,
            withdraws=Withdrawal(reason, sop_uids, is_mammogram),
            **how,
        )

    def arrivals(self) -> list[Arrival]:
        found = (self.settling.arrival(one.study_uid) for one in self.settling.arriving())
        return [arrival for arrival in found if arrival is not None]

    def close(self, closing: Closing = CLOSING, *, study: str = STUDY) -> Job:
        """Close what has arrived as a version, and return its job."""
        arrival = next(a for a in self.arrivals() if a.study_uid == study)
        assert self.settling.close_version(arrival, closing, self.enqueue)
        number = self.row(schema.study, study)["version"]
        return Job("process", study, number, 1)

    def begin(self, job: Job, node_id: str = NODE) -> Work:
        return self.processing.begin_version(job, node_id, self.store)

    def finish(
        self,
        job: Job,
        *,
        destinations: tuple[str, ...] = ("pacs",),
        deliver_within_s: float = 3600,
        reports: int = 2,
        substitutes: int = 0,
        level: Priority | None = None,
        first_report: int = 0,
        refused: tuple[Refusal, ...] = (),
        model: ModelIdentity = MODEL,
    ) -> list[Job]:
        """Finish a version that has begun; return the jobs of its deliveries.

        `substitutes` are objects of another kind, which no destination should get; `level` is what
        a model says that triages the study; `first_report` counts the reports, where there are
        several studies.
        """
        before = len(self.jobs)
        first = first_report
        built = tuple(
            BuiltReport(f"2.25.{job.number}{n}", KIND, "1.2.3", f"reports/{n}.dcm", "digest")
            for n in range(first, first + reports)
        ) + tuple(
            BuiltReport(f"2.25.{job.number}{n}", OTHER_KIND, "1.2.3", f"reports/{n}.dcm", "digest")
            for n in range(first + reports, first + reports + substitutes)
        )
        triage = None if level is None else Triage(level, f"the score is {level}")
        result = Result(model, analysed=(f"{job.study_uid}.1",), refused=refused, triage=triage)
        wanted = dict.fromkeys(destinations, frozenset({KIND}))
        decided_by = result if triage else None
        finished = Finished((result,), built, wanted, deliver_within_s, decided_by=decided_by)
        self.processing.finish_version(job, finished, self.enqueue)
        return self.jobs[before:]

    def analysed(self, study: str = STUDY, *, image: int = 1, **how: Any) -> list[Job]:
        """Take a study of one image, or one more, up to its deliveries; return their jobs."""
        self.receive(f"{study}.{image}", study=study)
        job = self.close(study=study)
        self.begin(job)
        return self.finish(job, **how)

    def deliver(
        self, job: Job, *states: DeliveryState, patience: Patience = PATIENCE, node_id: str = NODE
    ) -> None:
        """Make an attempt at a delivery, with an answer for each object; without any: "sent"."""
        shipment = self.delivering.begin_dispatch(job, node_id)
        states = states or (DeliveryState.SENT,) * len(shipment.to_send)
        pairs = zip(shipment.to_send, states, strict=True)
        outcomes = [self.outcome(report, state) for report, state in pairs]
        self.delivering.record_sent(job, outcomes)
        self.delivering.finish_dispatch(job, (), patience, self.enqueue)

    def outcome(self, report: BuiltReport, state: DeliveryState) -> Outcome:
        error = (
            None if state in (DeliveryState.SENT, DeliveryState.CONFIRMED) else f"{state} by PACS"
        )
        by = "find" if state == DeliveryState.CONFIRMED else None
        return Outcome(report.sop_uid, state, error, by)

    def revived(self) -> Job:
        """Let the sweep take up the only job that is left, and return its next attempt."""
        (job,) = self.sweeping.unfinished()
        self.sweeping.revive(job, self.enqueue)
        return self.jobs[-1]

    def row(self, table: sa.Table, *key: object) -> dict[str, Any]:
        """Return the row with this primary key."""
        columns = list(table.primary_key.columns)
        query = sa.select(table).where(*(c == v for c, v in zip(columns, key, strict=True)))
        with self.ledger.reading() as db:
            return dict(db.execute(query).one()._mapping)

    def study(self, study: str = STUDY) -> dict[str, Any]:
        return self.row(schema.study, study)

    def version(self, number: int = 1, *, study: str = STUDY) -> dict[str, Any]:
        return self.row(schema.study_version, study, number)

    def dispatch(self, number: int = 1, destination: str = "pacs") -> dict[str, Any]:
        return self.row(schema.dispatch, STUDY, number, destination)

    def objects(self) -> list[str]:
        """Return the states of all objects to be delivered, in the order of their UIDs."""
        rows = sorted(self.rows(schema.delivery), key=lambda row: row["sop_uid"])
        return [row["state"] for row in rows]

    def everything(self) -> list[list[dict[str, Any]]]:
        return [self.rows(table) for table in schema.metadata.sorted_tables]

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.ledger.reading() as db:
            return [dict(row._mapping) for row in db.execute(sa.select(table)).all()]

    def history(self, study: str = STUDY) -> list[str]:
        events = schema.history.c
        query = sa.select(events.event).where(events.study_uid == study).order_by(events.id)
        with self.ledger.reading() as db:
            return list(db.execute(query).scalars())

    def change(self, table: sa.Table, **values: Any) -> None:
        """Set columns of every row, as time or another process would have."""
        with self.ledger.writing() as db:
            db.execute(table.update().values(values))

    def delete(self, table: sa.Table) -> None:
        with self.ledger.writing() as db:
            db.execute(table.delete())

    def let_pass(self, seconds: float) -> None:
        """Make everything received that much older."""
        study = schema.study
        names = "first_at", "last_at", "last_image_at"
        self.change(study, **{name: study.c[name] - seconds for name in names})


def run_at_once(*works: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rows_of(ledger: Ledger) -> dict[str, list[Any]]:
    """Return what is in each table, as the database has it: words of former releases, too."""
    found = {}
    with ledger.reading() as db:
        for table in schema.metadata.sorted_tables:
            columns = [column.name for column in table.columns]
            raw = db.execute(sa.text(f"SELECT {', '.join(columns)} FROM {table.name}"))
            found[table.name] = sorted(
                (
                    [
                        bool(value) if isinstance(column.type, sa.Boolean) else value
                        for column, value in zip(table.columns, row, strict=True)
                    ]
                    for row in raw
                ),
                key=repr,
            )
    return found


POINTS_OF_AN_OUTLINE = 120


def fill(ledger: Ledger, studies: int, *, first: int = 0) -> None:
    """Put in studies that are done, from "1.9.0" on, with as many rows as the node would write.

    Straight into the tables: thousands of them take a second.
    """
    numbers = range(first, first + studies)
    uids = [f"1.9.{number}" for number in numbers]
    of_version = [{"study_uid": uid, "number": 1} for uid in uids]
    result = result_as_written()
    rows: dict[sa.Table, list[dict[str, Any]]] = {
        schema.study: [
            {"study_uid": uid, "sender": "modality", "state": "closed", "identity": SOMEBODY}
            | {"version": 1, "first_at": 1000.0 + number, "last_at": 1000.0 + number}
            | {"last_image_at": 1000.0 + number}
            for number, uid in zip(numbers, uids, strict=True)
        ],
        schema.instance: [
            {"sop_uid": f"{uid}.{n}", "study_uid": uid, "series_uid": f"{uid}.0"}
            | {"sop_class": MG_FOR_PRESENTATION, "transfer_syntax": "1.2.840.10008.1.2.1"}
            | {"modality": "MG", "view": ("R CC", "L CC", "R MLO", "L MLO")[n]}
            | {"is_standard": True, "path": f"received/{uid}.{n}.dcm", "digest": "digest"}
            | {"identity": SOMEBODY, "state": "current", "version": 1}
            | {"association_id": "association", "received_at": 1000.0}
            for uid in uids
            for n in range(4)
        ],
        schema.study_version: [
            key
            | {"reason": "4/4 views", "state": "finished", "closed_at": 1010.0}
            | {"last_image_at": 1000.0, "decided_at": 1010.0, "finished_at": 1020.0}
            for key in of_version
        ],
        schema.analysis: [
            key
            | {"model": MODEL.name, "model_version": "1.0.0", "weights_sha256": "0" * 64}
            | {"mode": "deliver", "result": result}
            for key in of_version
        ],
        schema.dispatch: [
            key | {"destination": "pacs", "state": "finished", "deadline_at": 2000.0}
            for key in of_version
        ],
        schema.delivery: [
            key
            | {"sop_uid": f"2.25.{str(key['study_uid'])[4:]}{n}", "destination": "pacs"}
            | {"state": "sent", "sent_at": 1030.0}
            for key in of_version
            for n in range(6)
        ],
        schema.history: [
            {"at": 1010.0 + n, "study_uid": uid, "event": event}
            for uid in uids
            for n, event in enumerate(("version 1 closed: 4/4 views", "version 1 finished"))
        ],
    }
    with ledger.writing() as db:
        for table, of_it in rows.items():
            db.execute(table.insert(), of_it)


def result_as_written(points: int = POINTS_OF_AN_OUTLINE) -> str:
    """Return the JSON of a result with outlines, as the ledger keeps it."""
    views = [View(side, name) for name in ("CC", "MLO") for side in Laterality if side != "B"]
    outline = tuple((1234.5678 + n, 987.6543 + n) for n in range(points - 1))
    findings = tuple(
        Finding(
            label=f"{view} outline",
            kind=Code("76752008", "SCT", "Breast"),
            laterality=view.laterality,
            region=Region(f"1.9.0.{number}", (*outline, outline[0])),
            measurements=(AREA,),
        )
        for number, view in enumerate(views)
    )
    heat = HeatMap("1.9.0.0", AREA.concept, 16, 12, "AAAA" * 64, (0.0, 0.0, 100.0, 100.0))
    uids = tuple(finding.region.sop_uid for finding in findings)
    result = Result(MODEL, uids, findings=findings, heat_maps=(heat,))
    return TypeAdapter(Result).dump_json(result).decode()
