"""A page of a site that has had a busy morning: a ledger and a store filled as the node does."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import factories
from ledgers import NODE, Desk
from outputs import drafts
from pages import ServedPage, Visitor
from pydicom import Dataset

from node.config import ChosenModel, Config, Peer, WebSettings
from node.config import Node as NodeSettings
from node.ledger import (
    BuiltReport,
    Closing,
    DeliveryState,
    Finished,
    Job,
    Ledger,
    Mode,
    Patience,
    PlannedAnalysis,
    Role,
    VersionState,
    schema,
)
from node.outputs.case import Draft
from node.outputs.report_set import build_report_set, to_bytes
from node.result import Priority, SliceStack, Solid
from node.store import Store
from node.study import View
from node.trial import phantom
from node.trial.phantom import Technique

KINDS = frozenset({"capture", "measurement-report"})
SHADOW = replace(drafts.CLASSIFIER, name="shadowy", title="Shadowy Model")
EXAMPLE = replace(drafts.TRIAGE, name="example-triage", title="Example Triage")
"""Its figures are invented: it bears the name of no model that there is."""

HOSTILE = (
    "<script>document.title='pwned'</script>^\"O'Brien\" & \u202e\u05d3\u05d5\u05d3\n" + "X" * 300
)


@dataclass(frozen=True, slots=True)
class Who:
    """Whose study it is, as its header says."""

    name: str = "PHANTOM^ADA"
    patient_id: str = "PH-0001"
    accession: str = "A-1001"
    description: str = "Mammography screening"
    date: str = "20261129"


def settings(folder: Path, database: str, **web: Any) -> Config:
    """Return the configuration of a site with one modality, one archive and two models."""
    return Config(
        node=NodeSettings(ae_title="AINODE", state_dir=folder, database=database, min_free_mb=0),
        peers=(
            Peer(
                name="modality",
                ae_title="MG1",
                host="192.0.2.1",
                port=104,
                sends=True,
                results_to=("pacs",),
            ),
            Peer(name="pacs", ae_title="PACS", host="192.0.2.2", port=104, receives="default"),
        ),
        models=(
            ChosenModel(name=EXAMPLE.name, mode="deliver"),
            ChosenModel(name="breast-area", mode="deliver"),
            ChosenModel(name="shadowy", mode="shadow"),
        ),
        web=WebSettings.model_validate({"port": 0} | web),  # which the system picks
    )


@dataclass
class Site:
    """The site, and its page where it is served."""

    desk: Desk
    config: Config

    @property
    def ledger(self) -> Ledger:
        return self.desk.ledger

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve the page on loopback; yields its address."""
        with self._served() as served:
            yield served.page.address

    @contextmanager
    def visited(self, user: str = "") -> Iterator[Visitor]:
        """Visit the page, as a user if one is named; the users are there then."""
        if user:
            self.add_users()
        with self._served() as served, served.visitor(user) as visitor:
            yield visitor

    @contextmanager
    def _served(self) -> Iterator[ServedPage]:
        served = self._page()
        try:
            served.page.start()
            yield served
        finally:
            served.page.stop()

    def _page(self) -> ServedPage:
        return ServedPage(self.ledger, self.desk.store, self.config)

    def add_users(self) -> None:
        """Let an operator and a reader log in."""
        self._page().add_users()

    def is_well(self) -> None:
        """Let a node be alive that does everything."""
        self.desk.nodes.register_node(NODE, "reading-room:/var/lib/ai-node", Role.ALL)

    def beat(self) -> None:
        """Let the node be alive still."""
        self.desk.nodes.beat(NODE)

    def exam(
        self,
        number: int,
        level: Priority | None = None,
        *,
        who: Who | None = None,
        views: Sequence[View] = phantom.EXAM,
        refuse: Mapping[View, str] | None = None,
        technique: Technique = factories.SMALL,
        age_s: float = 0.0,
        delivered: Sequence[DeliveryState] | None = (DeliveryState.SENT,),
        given_up: bool = False,
        change: Callable[[Dataset], object] | None = None,
        is_demonstration: bool = False,
        has_marks: bool = False,
        solids: tuple[Solid, ...] = (),
    ) -> str:
        """Take an exam the whole way; return its Study Instance UID.

        `delivered` is what the archive says of its objects, the last for all that follow; None:
        nothing has been sent yet.
        """
        draft = self._draft(number, level, views, refuse, technique, change)
        if is_demonstration:
            model = replace(draft.results[0].model, is_demonstration=True)
            draft = drafts.ranking(drafts.with_result(draft, model=model))
        if has_marks:
            measured = self._draft(number, None, views, refuse, technique, change)
            draft = replace(draft, results=(*draft.results, *measured.results))
        if solids:
            stack = SliceStack(((draft.version.instances[0].sop_uid, None),), 1, 1)
            draft = drafts.with_result(draft, solids=solids, stack=stack)
        study_uid = self.arrived(number, who=who, views=draft.version.instances)
        job = self._closed(study_uid, draft, len(views))
        self.desk.begin(job)
        deliveries = self._finish(job, draft)
        for one in deliveries if delivered is not None else ():
            self._deliver(one, delivered or (), given_up)
        self.let_pass(study_uid, age_s)
        return study_uid

    def arrived(
        self, number: int, *, who: Who | None = None, views: Sequence[Any] = (), **how: Any
    ) -> str:
        """Let the images of a study come; without any, one R MLO."""
        study_uid = uid_of(number)
        if views:
            for one in views:
                self.desk.receive(one.sop_uid, study=study_uid, view=str(one.view), **how)
        else:
            self.desk.receive(f"{study_uid}.1", study=study_uid, **how)
        self.known_as(study_uid, who or Who(accession=f"A-{1000 + number}"))
        return study_uid

    def excluded(self, number: int, why: str = "older than 30 days", **how: Any) -> str:
        """Let a study come that is not analysed by itself."""
        study_uid = self.arrived(number, why_excluded=why, **how)
        closing = Closing("quiet 60 s", state=VersionState.EXCLUDED, why_not=why)
        self.desk.close(closing, study=study_uid)
        return study_uid

    def known_as(self, study_uid: str, who: Who) -> None:
        """Let a study say whose it is."""
        self._change(
            study_uid,
            accession_number=who.accession,
            patient_id=who.patient_id,
            patient_name=who.name,
            study_date=who.date,
            study_description=who.description,
        )

    def let_pass(self, study_uid: str, seconds: float) -> None:
        """Let everything of a study have happened that much earlier."""
        for table in (schema.study, schema.study_version, schema.delivery, schema.instance):
            with self.ledger.writing() as db:
                times = [c for c in table.c if c.name.endswith("_at") and c.name != "read_at"]
                change = table.update().where(table.c.study_uid == study_uid)
                db.execute(change.values({c.name: c - seconds for c in times}))

    def _change(self, study_uid: str, **values: Any) -> None:
        table = schema.study
        with self.ledger.writing() as db:
            db.execute(table.update().where(table.c.study_uid == study_uid).values(values))

    def _draft(
        self,
        number: int,
        level: Priority | None,
        views: Sequence[View],
        refuse: Mapping[View, str] | None,
        technique: Technique,
        change: Callable[[Dataset], object] | None,
    ) -> Draft:
        def of_study(dataset: Dataset) -> None:
            dataset.StudyInstanceUID = uid_of(number)
            dataset.SeriesInstanceUID = f"{uid_of(number)}.0"
            view = View(dataset.ImageLaterality, dataset.ViewPosition)
            dataset.SOPInstanceUID = f"{uid_of(number)}.{[*phantom.EXAM].index(view) + 1}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            if change is not None:
                change(dataset)

        made = drafts.draft(views, change=of_study, refuse=refuse, technique=technique)
        if level is None:
            return made
        return drafts.with_result(drafts.triaged(made, level), model=EXAMPLE)

    def _closed(self, study_uid: str, draft: Draft, images: int) -> Job:
        models = [result.model for result in draft.results]
        plan = (
            *(PlannedAnalysis(m.name, m.version, m.weights_sha256, Mode.DELIVER) for m in models),
            PlannedAnalysis(SHADOW.name, SHADOW.version, SHADOW.weights_sha256, Mode.SHADOW),
        )
        return self.desk.close(Closing(f"{images}/4 views", plan), study=study_uid)

    def _finish(self, job: Job, draft: Draft) -> list[Job]:
        before = len(self.desk.jobs)
        built = [self._kept(job.study_uid, one.kind, one.dataset) for one in _built(draft)]
        shadow = drafts.with_result(
            replace(draft, results=draft.results[:1]),
            model=SHADOW,
            triage=drafts.triage_at(Priority.URGENT),
            statements=("Hush.",),
        ).results
        finished = Finished(
            (*draft.results, *shadow),
            tuple(built),
            {"pacs": KINDS},
            3600,
            decided_by=draft.decided_by,
        )
        self.desk.processing.finish_version(job, finished, self.desk.enqueue)
        return self.desk.jobs[before:]

    def _kept(self, study_uid: str, kind: str, dataset: Dataset) -> BuiltReport:
        content = to_bytes(dataset)
        sop_uid = str(dataset.SOPInstanceUID)
        path = self.desk.store.write_report(content, study_uid, sop_uid)
        digest = hashlib.sha256(content).hexdigest()
        return BuiltReport(sop_uid, kind, str(dataset.SOPClassUID), path, digest)

    def _deliver(self, job: Job, states: Sequence[DeliveryState], given_up: bool) -> None:
        shipment = self.desk.delivering.begin_dispatch(job, NODE)
        count = len(shipment.to_send)
        said = [*states, *[states[-1]] * count][:count]
        why = "pacs did not answer for 3 days" if given_up else None
        self.desk.deliver(job, *said, patience=Patience(600, gives_up=why))


def _built(draft: Draft) -> list[Any]:
    return build_report_set(draft)


def uid_of(number: int) -> str:
    """Return the Study Instance UID of the exam of this number."""
    return f"1.2.826.0.1.{number}"


def listed(html: str) -> list[str]:
    """Return the studies of a list, in its order."""
    return re.findall(r'id="study-([0-9.]+)"', html)


def opened(store: Store, ledger: Ledger, folder: Path, **web: Any) -> Site:
    """Return a site with nothing in it."""
    address = ledger._engine.url  # the page has connections of its own
    database = address.set(drivername=address.get_backend_name())
    database_url = database.render_as_string(hide_password=False)
    return Site(Desk(ledger, store), settings(folder, database_url, **web))
