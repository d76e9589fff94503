"""From a closed study to objects at its destinations, whatever fails on the way.

The parts are the real ones; only the network's answers are made up, at `pipeline.inference`.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import itertools
import logging
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from functools import partial
from io import BytesIO
from pathlib import Path

import factories
import packages
import pytest
import small_models
from factories import L_CC, L_MLO, R_CC, R_MLO
from folders import FolderDestination
from ledgers import Desk, is_mammogram
from locks import locked
from networks import Network
from peers import FIND, Answers, Archive, Pacs, Received, modality, refused_connections, report_of
from postgres import NewDatabase
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom.association import Association
from retained import retention_on
from sqlalchemy.exc import OperationalError

from node import config
from node.analysis.pipeline import Pipeline
from node.current import Current
from node.deliver.choice import destination_of
from node.deliver.courier import Courier
from node.errors import InferenceUnavailable, ModelError, Unreadable
from node.flow.engine import Engine
from node.flow.timers import reconcile
from node.flow.workflow import LOST_AFTER, TRIES, Workflow, is_trouble_of_the_machine
from node.inference import Inference
from node.kinds import KINDS, Kind, with_substitutes
from node.ledger import (
    GIVE_UP_AFTER,
    Arrival,
    Asking,
    Closing,
    Delivering,
    DispatchState,
    HeldBecause,
    Hurrying,
    Job,
    KeptScores,
    Ledger,
    Mode,
    Nodes,
    PlannedAnalysis,
    Processing,
    Settling,
    Stage,
    VersionState,
    schema,
)
from node.manifest import Model
from node.outputs import capture
from node.outputs.case import Draft
from node.outputs.report_set import BUILDERS
from node.overview import StudyOverview, study_overviews
from node.receive.asking_back import AskingBack
from node.receive.reception import Reception
from node.result import Priority
from node.store import Store
from node.study import Instance, Picture

pytestmark = pytest.mark.slow

NODE_ID = "node-1"


@dataclass(slots=True)
class Works:
    """A node without its door: ledger, store, queue and jobs."""

    settings: config.Config
    desk: Desk
    network: Network
    engine: Engine
    model: Model
    models: dict[str, Model]
    """What the node runs."""
    folders: dict[str, FolderDestination]

    def receive(self, datasets: Sequence[Dataset], sender: str = "modality") -> str:
        """Receive objects; return the study."""
        for dataset in datasets:
            self.desk.keep(dataset, sender=sender)
        return str(datasets[0].StudyInstanceUID)

    def arrival(self, study: str) -> Arrival:
        arrivals = self.desk.arrivals()
        return next(arrival for arrival in arrivals if arrival.study_uid == study)

    def closing(self, mode: Mode = Mode.DELIVER) -> Closing:
        identity = self.model.identity
        plan = PlannedAnalysis("breast-area", identity.version, identity.weights_sha256, mode)
        return Closing("4/4 views", (plan,))

    def close(self, study: str, mode: Mode = Mode.DELIVER) -> None:
        """Close what has arrived of a study, its processing enqueued."""
        ledger, closing = self.desk.ledger, self.closing(mode)
        assert Settling(ledger).close_version(self.arrival(study), closing, self.engine.enqueue)

    def reconcile(self) -> None:
        reconcile(self.desk.sweeping, self.engine, lambda: {NODE_ID})

    def overview(self, study: str) -> StudyOverview:
        return next(s for s in study_overviews(self.desk.ledger) if s.study_uid == study)

    def reaches(self, study: str, state: str) -> StudyOverview:
        """Wait until a study is in a state that makes a line in its history."""
        known: list[str] = []

        def is_there() -> bool:
            history = self.desk.history(study)
            if history == known:
                return False  # looking at all studies costs more
            known[:] = history
            return self.overview(study).state == state

        assert until(is_there), self.overview(study)
        return self.overview(study)


def of_study(study: str, pacs: Pacs) -> list[Received]:
    """Return what came of a study; that of an earlier test may be on its way still."""
    return [one for one in pacs.received if one.read().StudyInstanceUID == study]


def until(is_so: Callable[[], bool], within_s: float = 60) -> bool:
    give_up_at = time.monotonic() + within_s
    while not (is_now := is_so()) and time.monotonic() < give_up_at:
        time.sleep(0.05)
    return is_now


def said(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    """Return what the node has logged at a level; pynetdicom is not heard where it runs."""
    records = [record for record in caplog.records if record.name.startswith("node.")]
    return [record.getMessage() for record in records if record.levelname == level]


@pytest.fixture(scope="module")
def second_pacs() -> Iterator[Pacs]:
    opened = Pacs("PACS2")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def standing_archive() -> Iterator[Archive]:
    opened = Archive()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def standing_catalogue() -> Iterator[Archive]:
    opened = Archive("CATALOGUE", offers=[FIND])
    yield opened
    opened.close()


@pytest.fixture
def archive(standing_archive: Archive) -> Archive:
    """It answers for what it keeps, and tells whose it is; results of room 1 go there."""
    standing_archive.forget()
    return standing_archive


@pytest.fixture
def catalogue(standing_catalogue: Archive) -> Archive:
    """It only tells what it keeps and whose it is; results of room 2 go there."""
    standing_catalogue.forget()
    return standing_catalogue


@pytest.fixture(scope="module")
def old_pacs() -> Iterator[Pacs]:
    """It has never heard of Comprehensive 3D SR."""
    opened = Pacs("OLD", sop_classes=[ComprehensiveSRStorage, SegmentationStorage])
    yield opened
    opened.close()


def page(draft: Draft) -> list[Dataset]:
    """Build what has the SOP class of captures, and is a kind of its own."""
    made, *_ = capture.build(draft)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(draft.uid("page"))
    return [made]


@pytest.fixture(scope="module")
def _pages() -> Iterator[None]:
    """There is another kind of result object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, "page", Kind(SecondaryCaptureImageStorage, ("not looked up:page",)))
        patch.setitem(BUILDERS, "page", page)
        yield


def folder_peer(name: str, *kinds: str) -> config.Peer:
    """Return a peer that gets its results as files."""
    return config.Peer(
        name=name,
        ae_title=name.upper(),
        host="localhost",
        port=104,
        receives="default",
        outputs=kinds,
    )


@pytest.fixture(scope="module")
def standing_works(
    _pages: None,
    new_database: NewDatabase,
    tmp_path_factory: pytest.TempPathFactory,
    _standing_pacs: Pacs,
    second_pacs: Pacs,
    standing_archive: Archive,
    standing_catalogue: Archive,
    old_pacs: Pacs,
) -> Iterator[Works]:
    """One for the module: the queue takes seconds to start and to stop."""
    folder = tmp_path_factory.mktemp("works")
    url = new_database(folder)
    ledger = Ledger(url)
    Nodes(ledger).register_node(NODE_ID)
    store = Store(folder / "store")
    store.prepare()
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=folder),
        peers=(
            modality(results_to=["pacs", "second"]),
            _standing_pacs.peer("pacs"),
            second_pacs.peer("second"),
            modality(name="room-1", ae_title="ROOM1", results_to=["archive"]),
            standing_archive.peer("archive"),
            modality(name="room-2", ae_title="ROOM2", results_to=["catalogue"]),
            standing_catalogue.peer("catalogue"),
            modality(name="room-3", ae_title="ROOM3", results_to=["modern", "old", "captures"]),
            second_pacs.peer("modern").model_copy(update={"receives": "air"}),
            old_pacs.peer("old").model_copy(update={"receives": "air"}),
            second_pacs.peer("captures").model_copy(update={"receives": "cad-off"}),
            modality(name="room-4", ae_title="ROOM4", results_to=["outbox"]),
            folder_peer("outbox", "measurement-report-3d", "capture"),
            modality(name="room-5", ae_title="ROOM5", results_to=["pages", "pictures"]),
            folder_peer("pages", "page"),
            folder_peer("pictures", "capture"),
        ),
        delivery=config.Delivery(retry_first_s=0.2, retry_max_s=0.2),
    )
    tenants = {name: FolderDestination(folder / name) for name in ("outbox", "pages", "pictures")}
    model = packages.package(folder / "models")
    models = {"breast-area": model}
    network = Network()
    workflow = Workflow(
        config=settings,
        processing=Processing(ledger),
        delivering=Delivering(ledger),
        hurrying=Hurrying(ledger),
        store=store,
        pipeline=Pipeline(network, KeptScores(ledger), UTC, with_substitutes(settings.kinds)),  # type: ignore[arg-type]
        models=models,
        node_id=NODE_ID,
        destination_of=lambda name: tenants.get(name) or destination_of(settings, name),
    )
    jobs: dict[str, Callable[[Job], None]] = {
        "process": lambda job: workflow.process(job, engine),
        "deliver": lambda job: workflow.deliver(job, engine),
    }
    engine = Engine(url, NODE_ID, jobs)
    engine.start(processes=1)
    yield Works(settings, Desk(ledger, store), network, engine, model, models, tenants)
    engine.stop(drain_s=10)
    ledger.close()


@pytest.fixture
def works(
    standing_works: Works, pacs: Pacs, second_pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> Works:
    monkeypatch.setattr("node.flow.workflow.RETRY_S", 0.0)
    monkeypatch.setattr("node.ledger.sweeping.DELAY_PER_CRASH_S", 0.0)
    second_pacs.forget()
    standing_works.network.asked.clear()
    standing_works.network.asked_by.clear()
    standing_works.network.fail = lambda instance: None
    standing_works.network.percents = {}
    return standing_works


def test_a_study_is_analysed_and_its_report_set_delivered_everywhere(
    works: Works, pacs: Pacs, second_pacs: Pacs
) -> None:
    study = works.receive(factories.exam("delivered"))
    works.close(study)
    seen = works.reaches(study, "done")
    assert seen.models[0].outcome.startswith("4 of 4 images analysed")
    for archive in (pacs, second_pacs):
        objects = [received.read() for received in archive.received]
        assert [d.Modality for d in objects].count("SR") == 1
        assert {d.StudyInstanceUID for d in objects} == {study}
        assert len(objects) == 6  # a report, a summary, four marked views
        assert len({d.SOPInstanceUID for d in objects}) == 6
    assert len(seen.deliveries) == 12


def test_each_destination_gets_the_kinds_of_its_preset_and_a_substitute_for_what_it_refuses(
    works: Works, second_pacs: Pacs, old_pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "node")
    study = works.receive(factories.exam("presets", [R_CC]), sender="room-3")
    works.close(study)
    seen = works.reaches(study, "done")
    states = {
        name: {d.sop_uid: d.state for d in seen.deliveries if d.destination == name}
        for name in ("modern", "old", "captures")
    }
    classes = sorted(received.sop_class for received in of_study(study, second_pacs))
    captures = [str(SecondaryCaptureImageStorage)] * 2  # summary and marked view
    kinds = [str(Comprehensive3DSRStorage), str(SegmentationStorage)]
    assert classes == sorted([*kinds, *captures])
    taken = sorted(received.sop_class for received in of_study(study, old_pacs))
    assert taken == [str(SegmentationStorage), str(ComprehensiveSRStorage)]
    assert list(states["modern"].values()) == ["sent", "sent"]
    assert sorted(states["old"].values()) == ["replaced", "sent", "sent"]
    assert list(states["captures"].values()) == ["sent", "sent"]
    assert any("the other goes in its place" in line for line in works.desk.history(study))
    complaints = [*said(caplog, "WARNING"), *said(caplog, "ERROR")]
    assert not [words for words in complaints if study in words]
    words = f"Study {study}: old stored 1 of 2 objects, refuses 1 for good: OLD accepts no"
    assert words in caplog.text


def test_what_is_delivered_is_what_lies_in_the_store(works: Works, pacs: Pacs) -> None:
    study = works.receive(factories.exam("stored", [R_CC]))
    works.close(study)
    works.reaches(study, "done")
    for received in pacs.received:
        row = works.desk.row(schema.report, received.sop_uid)
        assert received.read() == dcmread(works.desk.store.path(row["path"]))


def test_a_model_in_shadow_sends_nothing_and_its_result_is_kept(works: Works, pacs: Pacs) -> None:
    study = works.receive(factories.exam("shadow", [R_CC]))
    works.close(study, mode=Mode.SHADOW)
    seen = works.reaches(study, "done")
    assert seen.models[0].result
    assert seen.deliveries == ()
    assert pacs.received == []


def test_a_model_that_fails_is_tried_again_and_only_where_it_failed(works: Works) -> None:
    failures = iter([ModelError("out of memory")])

    def fail_at_the_second(instance: Instance) -> None:
        if len(works.network.asked) == 2:
            raise next(failures)

    works.network.fail = fail_at_the_second
    study = works.receive(factories.exam("failing once", [R_CC, L_CC]))
    works.close(study)
    seen = works.reaches(study, "done")
    assert seen.models[0].outcome.startswith("2 of 2 images analysed")
    assert len(works.network.asked) == 3
    assert any("attempt 1 failed: out of memory" in event for _, event in seen.history)


def test_a_model_that_keeps_failing_is_answered_not_analysed(works: Works, pacs: Pacs) -> None:
    def fail(instance: Instance) -> None:
        raise ModelError("out of memory")

    works.network.fail = fail
    study = works.receive(factories.exam("failing", [R_CC]))
    works.close(study)
    seen = works.reaches(study, "done")
    assert seen.models[0].outcome.startswith("not analysed: ")
    assert works.desk.row(schema.study_version, study, 1)["attempt"] == TRIES
    (report,) = [r.read() for r in pacs.received if r.read().Modality == "SR"]
    assert "not analysed" in report.to_json().lower()


def test_one_image_that_cannot_be_read_does_not_silence_the_others(
    works: Works, pacs: Pacs
) -> None:
    def fail(instance: Instance) -> None:
        if instance.view == R_CC:
            raise Unreadable("the pixels cannot be decoded")

    works.network.fail = fail
    study = works.receive(factories.exam("partly", [R_CC, L_CC]))
    works.close(study)
    seen = works.reaches(study, "done")
    assert seen.models[0].outcome.startswith("1 of 2 images analysed")
    assert pacs.received


def test_a_defect_of_ours_is_tried_again_and_at_last_answered(works: Works, pacs: Pacs) -> None:
    def fail(instance: Instance) -> None:
        raise KeyError("nobody thought of this")

    works.network.fail = fail
    study = works.receive(factories.exam("defect", [R_CC]))
    works.close(study)
    seen = works.reaches(study, "done")
    assert "ended unexpectedly" in seen.models[0].outcome
    assert pacs.received


@pytest.mark.parametrize("first_is", ["there", "lost", "removed, of a former release"])
def test_a_late_image_makes_a_second_report_set_with_one_inference(
    works: Works, pacs: Pacs, first_is: str
) -> None:
    exam = factories.exam(f"late, first {first_is}", [R_CC, L_CC])
    study = works.receive(exam[:1])
    works.close(study)
    works.reaches(study, "done")
    first = {received.sop_uid for received in pacs.received}
    if first_is == "lost":
        shutil.rmtree(works.desk.store.root / "reports" / study)
    elif first_is != "there":
        works.desk.change(schema.report, series_uid=None, made_by=None)
        remove_results(works)
        assert not list((works.desk.store.root / "reports").rglob("*.dcm"))
    works.network.asked.clear()
    works.receive(exam[1:])
    works.close(study)
    seen = works.reaches(study, "done")
    assert seen.version == 2
    assert works.network.asked == [exam[1].SOPInstanceUID]
    assert seen.models[0].outcome.startswith("2 of 2 images analysed")
    second = {received.sop_uid for received in pacs.received} - first
    assert len(second) == 4
    reports = [r.read() for r in pacs.received if r.sop_class == ComprehensiveSRStorage]
    (study_reference,) = reports[1].PredecessorDocumentsSequence
    (series,) = study_reference.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == reports[0].SOPInstanceUID
    assert series.SeriesInstanceUID == reports[0].SeriesInstanceUID
    assert reports[1].SeriesInstanceUID == reports[0].SeriesInstanceUID
    assert "PredecessorDocumentsSequence" not in reports[0]
    assert "Version 2, replaces that of " in reports[1].to_json()


@pytest.fixture
def triaging(works: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    """Has the model exchanged for one that triages by the mean of each breast's views."""
    model = packages.triaging_package(tmp_path)
    monkeypatch.setitem(works.models, "breast-area", model)
    monkeypatch.setattr(works, "model", model)
    return works


def test_a_late_image_that_lowers_the_level_is_told_to_whoever_looks(
    triaging: Works, pacs: Pacs
) -> None:
    works = triaging
    exam = factories.exam("lowered", [R_CC, L_CC, R_MLO, L_MLO])
    works.network.percents = {one.SOPInstanceUID: 10.0 for one in exam}
    works.network.percents[exam[0].SOPInstanceUID] = 90.0
    study = works.receive(exam[:1])
    works.close(study)
    assert works.reaches(study, "done").level == "urgent"
    works.receive(exam[1:])
    works.close(study)
    assert works.overview(study).level == "urgent", "until the new version is there"
    seen = works.reaches(study, "done")
    assert (seen.level, seen.level_words) == ("routine", "urgent in version 1, now routine")
    first, second = (
        r.read().to_json() for r in pacs.received if r.sop_class == ComprehensiveSRStorage
    )
    assert "AIURGENT" in first
    assert "AILEVELBEFORE" not in first
    assert "AI triage level changed: urgent in version 1, now routine." in second
    assert {"AIROUTINE", "AIURGENT"} <= set(re.findall("AI[A-Z]{6,}", second))
    high = "the operating point high (70 %)"
    assert [event for event in works.desk.history(study) if "triage level" in event] == [
        "triage level of version 1: urgent: "
        f"at or above {high}; not analysed or not received: L CC, R MLO, L MLO",
        f"triage level of version 2: urgent in version 1, now routine: below {high}",
    ]


# In two stages

_numbers = itertools.count()
"""So that no two exams are the same study."""


@pytest.fixture
def staged(triaging: Works, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Works:
    """Has another model beside the one that triages, the first of the configuration."""
    triaging.models.pop("breast-area")
    monkeypatch.setitem(triaging.models, "small", small_models.model(tmp_path))
    monkeypatch.setitem(triaging.models, "breast-area", triaging.model)
    return triaging


def planned(model: Model, mode: Mode = Mode.DELIVER) -> PlannedAnalysis:
    identity = model.identity
    return PlannedAnalysis(identity.name, identity.version, identity.weights_sha256, mode)


def close_for_triage(works: Works, study: str) -> None:
    """Close what has arrived of a study for both models."""
    plan = tuple(planned(model) for model in works.models.values())
    closing = Closing("4/4 views", plan, stage=Stage.TRIAGE)
    settling = works.desk.settling
    assert settling.close_version(works.arrival(study), closing, works.engine.enqueue)


@contextlib.contextmanager
def kept_busy(works: Works) -> Iterator[None]:
    """Let everything wait that is closed meanwhile."""
    begun, go_on = threading.Event(), threading.Event()

    def wait(instance: Instance) -> None:
        begun.set()
        go_on.wait(60)

    works.network.fail = wait
    exam = factories.exam(f"in the way {next(_numbers)}", [R_CC])
    works.network.percents = {**works.network.percents, exam[0].SOPInstanceUID: 10.0}
    first = works.receive(exam, sender="room-5")
    works.close(first, mode=Mode.SHADOW)
    assert begun.wait(60)
    yield
    if works.network.fail is wait:
        works.network.fail = lambda instance: None
    works.network.asked_by.clear()
    go_on.set()


def urgent_among(works: Works, names: Sequence[str], urgent: str) -> dict[str, str]:
    """Receive exams of one image each, of which one is urgent; return their studies by name."""
    studies, percents = {}, {}
    for name in names:
        (image,) = factories.exam(f"{name} {next(_numbers)}", [R_CC])
        percents[image.SOPInstanceUID] = 90.0 if name == urgent else 10.0
        studies[name] = works.receive([image])
    works.network.percents = percents
    return studies


def asked_in_order(works: Works, studies: dict[str, str]) -> list[tuple[str, str]]:
    """Return which model looked at which exam."""
    rows = works.desk.rows(schema.instance)
    study_of = {row["sop_uid"]: row["study_uid"] for row in rows}
    names = {study: name for name, study in studies.items()}
    asked = [(model, names.get(study_of[uid])) for model, uid in works.network.asked_by]
    return [(model, name) for model, name in asked if name is not None]


def test_all_that_wait_are_triaged_first_and_what_is_urgent_is_reported_and_sent_first(
    staged: Works, pacs: Pacs
) -> None:
    works = staged
    studies = urgent_among(works, ["first", "second", "urgent"], "urgent")
    with kept_busy(works):
        for study in studies.values():
            close_for_triage(works, study)
    for study in studies.values():
        works.reaches(study, "done")
    assert asked_in_order(works, studies) == [
        *(("breast-area", name) for name in ("first", "second", "urgent")),
        *(("small", name) for name in ("urgent", "first", "second")),
    ]
    sent = list(dict.fromkeys(one.read().StudyInstanceUID for one in pacs.received))
    assert sent[0] == studies["urgent"]
    assert set(sent) == set(studies.values())  # the others are due in the same second
    for name, study in studies.items():
        seen = works.overview(study)
        attempts = works.desk.row(schema.study_version, study, 1)["attempt"]
        assert attempts == (1 if name == "urgent" else 2), "its report was due next"
        assert not [event for _, event in seen.history if "attempt" in event]


def test_a_study_that_nothing_waits_beside_is_done_in_one_attempt(staged: Works) -> None:
    works = staged
    studies = urgent_among(works, ["alone"], "")
    study = studies["alone"]
    close_for_triage(works, study)
    assert works.reaches(study, "done").level == "not assessed"
    assert works.desk.row(schema.study_version, study, 1)["attempt"] == 1
    assert asked_in_order(works, studies) == [("breast-area", "alone"), ("small", "alone")]


def test_what_triage_found_is_to_be_seen_while_the_report_waits(
    staged: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = staged
    studies = urgent_among(works, ["first", "urgent"], "urgent")
    is_reporting, go_on = threading.Event(), threading.Event()
    drawn = Network.picture

    def picture(network: Network, instance: Instance) -> Picture:
        is_reporting.set()
        go_on.wait(60)
        return drawn(network, instance)

    with kept_busy(works):
        for study in studies.values():
            close_for_triage(works, study)
        monkeypatch.setattr(Network, "picture", picture)
    try:
        assert is_reporting.wait(60), "of the urgent one"
        first, urgent = (works.overview(studies[name]) for name in ("first", "urgent"))
        assert (first.level, first.state, first.levels) == ("not assessed", "queued", ())
        assert (urgent.level, urgent.state, urgent.level_words) == ("urgent", "running", "")
        assert {model.model: model.level for model in first.models} == {
            "small": "",
            "breast-area": "not assessed",
        }
        pending = {model.model for model in first.models if model.outcome == "pending"}
        assert pending == {"small"}
    finally:
        go_on.set()
    for study in studies.values():
        works.reaches(study, "done")


def test_a_model_that_is_switched_off_between_the_stages_leaves_the_level_it_found(
    staged: Works,
) -> None:
    works = staged
    studies = urgent_among(works, ["first", "second"], "second")
    with kept_busy(works):
        for study in studies.values():
            close_for_triage(works, study)

        def switch_off(instance: Instance) -> None:
            if len(works.network.asked_by) == 2:
                works.models.pop("breast-area")  # both have been looked at

        works.network.fail = switch_off
    for study in studies.values():
        works.reaches(study, "done")
    assert works.overview(studies["second"]).level == "urgent"
    first = works.overview(studies["first"])
    assert first.level == ""
    words = "triage level of version 1: not assessed found first, now none: no model gives one"
    assert any(event.startswith(words) for _, event in first.history)


def test_a_model_in_shadow_gives_no_study_a_level(triaging: Works) -> None:
    works = triaging
    exam = factories.exam("shadowed", [R_CC])
    works.network.percents = {exam[0].SOPInstanceUID: 90.0}
    study = works.receive(exam)
    works.close(study, mode=Mode.SHADOW)
    seen = works.reaches(study, "done")
    assert (seen.level, seen.levels) == ("", ())
    assert seen.models[0].level == "urgent", "which operators see"
    assert not [event for event in works.desk.history(study) if "triage level" in event]


def test_what_was_found_urgent_stays_so_where_its_report_would_go_into_another_file(
    triaging: Works,
) -> None:
    works = triaging
    exam = factories.exam("urgent and held", [R_CC, L_CC])
    works.network.percents = {one.SOPInstanceUID: 90.0 for one in exam}
    study = works.receive(exam)
    kept = works.desk.store.path(works.desk.row(schema.instance, exam[1].SOPInstanceUID)["path"])
    dataset = dcmread(kept)
    dataset.PatientID = "SOMEBODY-ELSE"
    dataset.save_as(kept, enforce_file_format=True)
    works.close(study)
    assert works.reaches(study, "held").level == "urgent"


def test_a_version_that_was_overtaken_while_it_ran_delivers_nothing(
    works: Works, pacs: Pacs
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(instance: Instance) -> None:
        begun.set()
        go_on.wait(20)

    works.network.fail = wait
    exam = factories.exam("overtaken", [R_CC, L_CC])
    study = works.receive(exam[:1])
    works.close(study)
    assert begun.wait(20)
    works.receive(exam[1:])
    works.close(study)
    go_on.set()
    works.reaches(study, "done")
    assert works.desk.row(schema.study_version, study, 1)["state"] == VersionState.CANCELLED
    assert len(pacs.received) == 4


def test_what_would_go_into_another_file_is_held_and_not_sent(works: Works, pacs: Pacs) -> None:
    exam = factories.exam("held", [R_CC, L_CC])
    study = works.receive(exam)
    row = works.desk.row(schema.instance, exam[1].SOPInstanceUID)
    kept = works.desk.store.path(row["path"])
    dataset = dcmread(kept)
    dataset.PatientID = "SOMEBODY-ELSE"
    dataset.save_as(kept, enforce_file_format=True)
    works.close(study)
    seen = works.reaches(study, "held")
    assert seen.error
    assert "patient" in seen.error.lower()
    assert pacs.received == []


def test_a_study_of_which_a_file_is_missing_is_held_at_once_until_the_file_is_there(
    works: Works, pacs: Pacs
) -> None:
    exam = factories.exam("gone", [R_CC, L_CC])
    study = works.receive(exam)
    path = works.desk.row(schema.instance, exam[0].SOPInstanceUID)["path"]
    works.desk.store.path(path).unlink()
    works.close(study)
    seen = works.reaches(study, "held")
    assert str(seen.error).startswith(f"1 file of it is missing in the store: {path}; send the")
    assert works.desk.study(study)["held_because"] == HeldBecause.MISSING
    assert works.desk.row(schema.study_version, study, 1)["failures"] == 0
    assert (works.network.asked, pacs.received) == ([], [])
    look_for_files(works)
    assert works.overview(study).state == "held"
    works.receive(exam)  # the same again, which puts the file where it was
    look_for_files(works)
    works.close(study)
    assert works.reaches(study, "done").models[0].outcome.startswith("2 of 2 images analysed")
    assert works.desk.rows(schema.asked_back) == []


def test_a_store_that_is_away_is_the_machines_trouble_and_holds_no_study(works: Works) -> None:
    study = works.receive(factories.exam("store away", [R_CC]))
    received = works.desk.store.root / "received"
    away = received.rename(works.desk.store.root / "away")
    works.close(study)
    assert until(lambda: counts(works, study)[2] > GIVE_UP_AFTER)
    away.rename(received)
    assert works.reaches(study, "done").models[0].outcome.startswith("1 of 1 images analysed")
    assert counts(works, study)[:2] == (0, 0)


def remove_results(works: Works) -> None:
    """Let the days of all results be over, and those of nothing else."""
    desk = works.desk
    desk.delete(schema.study_to_tell)  # a node tells, or finds that nobody is to be told
    desk.let_pass(2 * 86_400.0)
    settings = config.RetentionSettings(results_days=1)
    retention_on(desk.ledger, desk.store, lambda: settings).sweep()


def look_for_files(works: Works) -> None:
    """Make the sweep that lets studies go on of which all files are there."""
    desk = works.desk
    reception = Reception(Current(works.settings), desk.store, desk.receiving, is_mammogram)
    asking = Asking(desk.ledger)
    with contextlib.closing(reception):
        AskingBack(Current(works.settings), desk.store, asking, reception, is_mammogram).look()


def test_a_full_disk_is_the_machines_even_if_a_file_of_the_study_is_missing(
    works: Works, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("node.flow.workflow.analyse", full)
    desk.receive()
    job = desk.close()
    for row in desk.rows(schema.instance):
        desk.store.path(row["path"]).unlink(missing_ok=True)
    workflow = replace(alone(works, desk), models={"breast-area": works.model})
    workflow.process(job, desk)  # type: ignore[arg-type]
    assert (desk.version()["failures"], desk.version()["troubles"]) == (0, 1)


def test_what_an_earlier_attempt_found_urgent_is_urgent_in_the_report_of_the_last(
    triaging: Works, pacs: Pacs
) -> None:
    works = triaging
    study = works.receive(factories.exam("found before", [R_CC, L_CC, R_MLO, L_MLO]))
    version = schema.study_version
    ledger, enqueue = works.desk.ledger, works.desk.enqueue
    assert Settling(ledger).close_version(works.arrival(study), works.closing(), enqueue)
    with works.desk.ledger.writing() as db:  # as record_decision leaves it, and five crashes after
        of_study = version.update().where(version.c.study_uid == study)
        db.execute(of_study.values(crashes=5, level=Priority.URGENT))
    works.reconcile()
    seen = works.reaches(study, "done")
    assert seen.level == "urgent"
    (report,) = (one.read() for one in pacs.received if one.read().Modality == "SR")
    content = report.to_json()
    assert "AIURGENT" in content
    assert "AINOTASSESSED" not in content
    assert "found by an earlier attempt, of which there is no report; now not" in content


def test_a_study_that_killed_its_processes_is_answered_with_its_pixels_untouched(
    works: Works, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    study = works.receive(factories.exam("deadly", [R_CC]))
    version = schema.study_version
    works.network.fail = lambda instance: pytest.fail("its pixels were touched")
    ledger, enqueue = works.desk.ledger, works.desk.enqueue
    assert Settling(ledger).close_version(works.arrival(study), works.closing(), enqueue)
    with works.desk.ledger.writing() as db:
        db.execute(version.update().where(version.c.study_uid == study).values(crashes=5))
    works.reconcile()
    seen = works.reaches(study, "done")
    assert "ended unexpectedly" in seen.models[0].outcome
    assert works.network.asked == []
    assert any(received.read().Modality == "SR" for received in pacs.received)
    assert said(caplog, "ERROR") == [
        f"Study {study} is given up, its analysis ended unexpectedly too often: not analysed"
    ]


def result_files(works: Works, study: str) -> set[str]:
    root = works.desk.store.root
    return {str(path.relative_to(root)) for path in (root / "reports" / study).glob("*")}


def recorded_files(works: Works, study: str) -> set[str]:
    return {row["path"] for row in works.desk.rows(schema.report) if row["study_uid"] == study}


def counts(works: Works, study: str, number: int = 1) -> tuple[int, int, int]:
    row = works.desk.row(schema.study_version, study, number)
    return row["crashes"], row["failures"], row["troubles"]


def test_a_database_that_is_locked_at_the_end_of_an_analysis_is_no_crash_of_the_study(
    works: Works,
    pacs: Pacs,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    locks = contextlib.ExitStack()
    is_locked = threading.Event()
    picture = Network.picture

    def lock_at_the_end(self: Network, instance: Instance) -> Picture:
        if not is_locked.is_set():
            locks.enter_context(locked(works.desk.ledger))
            is_locked.set()
        return picture(self, instance)

    with locks:
        monkeypatch.setattr(Network, "picture", lock_at_the_end)
        study = works.receive(factories.exam("locked", [R_CC]))
        works.close(study)
        assert until(lambda: "could not say how it ended" in caplog.text)
        assert result_files(works, study) == set()  # no row, no file
    ends = [r for r in caplog.records if "could not say how it ended" in r.getMessage()]
    assert [record.levelno for record in ends] == [logging.ERROR]

    def is_taken_up() -> bool:
        with contextlib.suppress(OperationalError):  # the queue has waited for its turn, too
            works.reconcile()
        return works.overview(study).state == "done"

    assert until(is_taken_up), works.desk.history(study)
    assert counts(works, study) == (0, 0, 1)
    assert works.overview(study).models[0].outcome.startswith("1 of 1 images analysed")
    assert result_files(works, study) == recorded_files(works, study)
    assert pacs.received


@pytest.mark.parametrize("folder", ["reports", "incoming"])
def test_a_store_that_cannot_be_written_is_waited_out_however_long(
    works: Works, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A mount that has gone, a folder in the wrong place: the machine's, never the study's."""
    study = works.receive(factories.exam(f"without {folder}", [R_CC]))
    store = works.desk.store
    there = store.root / folder
    away = there.rename(store.root / "away")
    if folder == "reports":
        there.write_text("in the way")
    works.close(study)
    assert until(lambda: counts(works, study)[2] > GIVE_UP_AFTER)
    there.unlink(missing_ok=True)
    away.rename(there)
    seen = works.reaches(study, "done")
    assert seen.models[0].outcome.startswith("1 of 1 images analysed")
    assert counts(works, study)[:2] == (0, 0)
    lines = [r for r in caplog.records if "of the machine" in r.getMessage()]
    assert {record.levelno for record in lines} == {logging.ERROR}
    assert result_files(works, study) == recorded_files(works, study)


def test_reports_of_a_version_that_was_overtaken_as_they_were_written_are_taken_away(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = factories.exam("corrected as it was written", [R_CC])
    study = works.receive(exam)
    write_report = Store.write_report
    is_first = iter([True])

    def correct_at_the_first(self: Store, content: bytes, study_uid: str, sop_uid: str) -> str:
        if study_uid == study and next(is_first, False):
            correct(exam, "RIGHT")
            works.receive(exam)
        return write_report(self, content, study_uid, sop_uid)

    monkeypatch.setattr(Store, "write_report", correct_at_the_first)
    works.close(study)
    version = schema.study_version
    assert until(lambda: works.desk.row(version, study, 1)["state"] == VersionState.CANCELLED)
    assert until(lambda: result_files(works, study) == set())


def test_a_file_that_is_missing_once_results_are_out_brings_no_other_answer(
    works: Works, pacs: Pacs
) -> None:
    exam = factories.exam("lost after all", [R_CC, L_CC])
    study = works.receive(exam[:1])
    works.close(study)
    works.reaches(study, "done")
    sent = len(pacs.received)
    path = works.desk.row(schema.instance, exam[0].SOPInstanceUID)["path"]
    works.desk.store.path(path).unlink()
    works.receive(exam[1:])
    works.close(study)
    seen = works.reaches(study, "held")
    assert str(seen.error).startswith(f"1 file of it is missing in the store: {path}; ")
    assert len(pacs.received) == sent
    exam[0].save_as(works.desk.store.path(path), enforce_file_format=True)  # from a backup
    look_for_files(works)
    works.close(study)
    assert works.reaches(study, "done").models[0].outcome.startswith("2 of 2 images analysed")


def test_a_result_whose_file_is_missing_is_given_up_by_name_and_the_others_are_sent(
    works: Works, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report = Store.write_report
    lost: list[str] = []

    def lose_the_report(self: Store, content: bytes, study_uid: str, sop_uid: str) -> str:
        path = write_report(self, content, study_uid, sop_uid)
        written = dcmread(BytesIO(content), stop_before_pixels=True)
        if (study_uid, written.SOPClassUID) == (study, ComprehensiveSRStorage):
            self.remove(path)
            lost.append(path)
        return path

    study = works.receive(factories.exam("result lost", [R_CC]))
    monkeypatch.setattr(Store, "write_report", lose_the_report)
    works.close(study)
    seen = works.reaches(study, "undelivered")
    words = f"its file {lost[0]} is missing or damaged in the store"
    dispatch = works.desk.row(schema.dispatch, study, 1, "pacs")
    assert dispatch["state"] == DispatchState.DEAD
    assert dispatch["error"].startswith(words)
    assert dispatch["attempt"] == LOST_AFTER
    assert len(pacs.received) == len(seen.deliveries) // 2 - 1


def test_a_study_of_which_no_file_is_left_is_held(works: Works) -> None:
    exam = factories.exam("all gone", [R_CC, L_CC])
    study = works.receive(exam)
    rows = [works.desk.row(schema.instance, one.SOPInstanceUID) for one in exam]
    for row in rows:
        works.desk.store.path(row["path"]).unlink()
    works.close(study)
    seen = works.reaches(study, "held")
    words = f"2 files of it are missing in the store: {rows[0]['path']}, {rows[1]['path']}; "
    assert str(seen.error).startswith(words)


def closed_for(works: Works, study: str, closing: Closing) -> None:
    settling = Settling(works.desk.ledger)
    assert settling.close_version(works.arrival(study), closing, works.engine.enqueue)


def test_a_study_goes_to_whom_it_was_for_when_it_was_complete(
    works: Works, pacs: Pacs, second_pacs: Pacs
) -> None:
    study = works.receive(factories.exam("for another", [R_CC]))
    assert "second" not in works.settings.directions("room-5")
    directions = {"pacs": {"measurement-report-3d"}}
    closed_for(works, study, replace(works.closing(), directions=directions))
    seen = works.reaches(study, "done")
    assert [received.read().Modality for received in of_study(study, pacs)] == ["SR"]
    assert not of_study(study, second_pacs), "the sender's table of now names both"
    assert len(seen.deliveries) == 1


def test_a_study_that_was_for_nobody_when_it_was_complete_says_how_it_is_sent_now(
    works: Works, pacs: Pacs
) -> None:
    study = works.receive(factories.exam("for nobody", [R_CC]))
    closed_for(works, study, replace(works.closing(), directions={}))
    seen = works.reaches(study, "undelivered")
    assert seen.error == (
        "no destination: when the study was complete, nobody got the results of modality; "
        f"`ai-node retry {study}` sends them now"
    )
    assert not pacs.received
    settings = works.settings
    works.desk.by_hand.retry_study(study, 3600, settings.directions)
    works.reconcile()
    works.reaches(study, "done")
    assert pacs.received


def test_kinds_that_nobody_gets_any_more_are_built_for_whom_they_were_promised(
    works: Works, desk: Desk
) -> None:
    workflow = alone(works, desk)
    built = workflow._pipeline_for({"gone": frozenset({"segmentation", "of another release"})})
    assert built.outputs == ("segmentation",)
    assert workflow._pipeline_for({"gone": frozenset()}) is workflow.pipeline


def test_a_model_is_the_one_of_when_the_study_was_complete_or_it_is_not_analysed(
    works: Works, desk: Desk
) -> None:
    [planned] = works.closing().analyses
    other = replace(planned, package_digest="another", levels_from=None)
    asked: list[PlannedAnalysis] = []

    def former(wanted: PlannedAnalysis) -> Model | None:
        asked.append(wanted)
        return works.model

    workflow = replace(alone(works, desk), models=works.models, former=former)
    for name, wanted, is_former in (
        ("of a former release", planned, False),
        ("the same", replace(planned, package_digest=works.model.package_digest), False),
        ("another package", other, True),
        ("switched off", replace(other, model="gone"), True),
    ):
        asked.clear()
        assert list(workflow._models_of({wanted.model: wanted})) == [works.model], name
        assert asked == [wanted] * is_former, name
    desk.receive()
    job = desk.close(Closing("4/4 views", (other,)))
    alone(works, desk).process(job, desk)  # type: ignore[arg-type]
    assert desk.version()["state"] == "cancelled"
    words = "the package of model breast-area that was to read it is not kept any more"
    assert desk.version()["error"] == words


def alone(works: Works, desk: Desk) -> Workflow:
    """The jobs on a ledger that only remembers what it would enqueue, and without models."""
    return Workflow(
        config=works.settings,
        processing=desk.processing,
        delivering=desk.delivering,
        hurrying=desk.hurrying,
        store=desk.store,
        pipeline=Pipeline(works.network, desk.scores, UTC, ()),  # type: ignore[arg-type]
        models={},
        node_id=NODE_ID,
        destination_of=partial(destination_of, works.settings),
    )


def test_what_cannot_even_be_taken_is_not_tried_for_ever(works: Works, desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.change(schema.instance, view="from nowhere")  # as no release has ever written it
    for number in range(GIVE_UP_AFTER):
        assert desk.version()["failures"] == number
        alone(works, desk).process(job, desk)  # type: ignore[arg-type]
        job = desk.jobs[-1]
    alone(works, desk).process(job, desk)  # type: ignore[arg-type]
    assert desk.study()["held_reason"] == "its report could not be built (ValueError)"
    assert desk.sweeping.unfinished() == []


@pytest.mark.slow
def test_a_study_whose_inference_process_is_killed_each_time_is_given_up(
    works: Works, desk: Desk, tmp_path: Path
) -> None:
    """A real network that does not end, in a real process."""
    package = small_models.model(tmp_path, small_models.ENDLESS)
    desk.keep(factories.exam("endless", [R_CC])[0])
    identity = package.identity
    plan = PlannedAnalysis("small", identity.version, identity.weights_sha256, Mode.SHADOW)
    job = desk.close(Closing("4/4 views", (plan,)), study=desk.rows(schema.study)[0]["study_uid"])
    settings = config.InferenceSettings(threads=1, deadline_s=1)
    with Inference(settings, [package]) as inference:
        workflow = replace(
            alone(works, desk),
            models={"small": package},
            pipeline=Pipeline(inference, desk.scores, UTC, ()),
        )
        for attempt in range(1, GIVE_UP_AFTER + 1):
            assert job.attempt == attempt
            workflow.process(job, desk)  # type: ignore[arg-type]
            job = desk.jobs[-1]
    (version,) = desk.rows(schema.study_version)
    assert (version["state"], version["crashes"], version["failures"]) == (
        VersionState.FINISHED,
        0,
        4,
    )
    assert version["troubles"] == 0
    (seen,) = study_overviews(desk.ledger)
    assert seen.models[0].outcome.startswith("not analysed")
    assert len([line for _, line in seen.history if "took longer than 1 s" in line]) == 4


def test_an_inference_process_that_cannot_be_started_counts_against_no_study(
    works: Works, desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Real ones, whose weights are replaced after the start and put back in the end."""
    package = small_models.model(tmp_path)
    desk.keep(factories.exam("no process", [R_CC])[0])
    identity = package.identity
    plan = PlannedAnalysis("small", identity.version, identity.weights_sha256, Mode.SHADOW)
    job = desk.close(Closing("4/4 views", (plan,)), study=desk.rows(schema.study)[0]["study_uid"])
    desk.change(schema.study_version, failures=TRIES - 1)  # not even on the last try
    weights = package.weights_path.read_bytes()
    with Inference(config.InferenceSettings(threads=1), [package]) as inference:
        workflow = replace(
            alone(works, desk),
            models={"small": package},
            pipeline=Pipeline(inference, desk.scores, UTC, ()),
        )
        (child,) = inference._children
        child.kill()
        package.weights_path.write_bytes(b"not ONNX")
        for _ in range(2):
            workflow.process(job, desk)  # type: ignore[arg-type]
            job = desk.jobs[-1]
        (version,) = desk.rows(schema.study_version)
        assert (version["failures"], version["troubles"]) == (TRIES - 1, 2)
        package.weights_path.write_bytes(weights)
        workflow.process(job, desk)  # type: ignore[arg-type]
    (seen,) = study_overviews(desk.ledger)
    assert seen.models[0].outcome.startswith("1 of 1 images analysed")
    lines = [r for r in caplog.records if "no inference process can be started" in r.getMessage()]
    assert [record.levelno for record in lines] == [logging.ERROR] * 2


def test_an_error_that_a_library_makes_up_is_not_the_machines() -> None:
    assert is_trouble_of_the_machine(OSError(errno.ENOSPC, "No space left on device"))
    assert is_trouble_of_the_machine(ConnectionResetError())
    assert is_trouble_of_the_machine(InferenceUnavailable("inference is shutting down"))
    assert not is_trouble_of_the_machine(OSError("cannot identify image file"))
    assert not is_trouble_of_the_machine(KeyError("nobody thought of this"))


def test_a_model_that_was_switched_off_leaves_no_study_waiting(works: Works, desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    alone(works, desk).process(job, desk)  # type: ignore[arg-type]
    (seen,) = study_overviews(desk.ledger)
    assert (seen.state, seen.error) == ("cancelled", "model breast-area has been switched off")


def test_a_result_that_can_go_nowhere_is_said(
    works: Works, caplog: pytest.LogCaptureFixture
) -> None:
    study = works.receive(factories.exam("nowhere", [R_CC]), sender="removed")
    works.close(study)
    seen = works.reaches(study, "undelivered")
    assert seen.error == "no destination: no peer is called removed any more"
    assert f"The results of study {study} go nowhere: {seen.error}" in caplog.text
    assert works.desk.by_hand.retry_undirected(lambda sender: {}, 3600) == (0, 1)
    to_pacs = {"pacs": frozenset({"measurement-report", "capture"})}
    assert works.desk.by_hand.retry_undirected({"removed": to_pacs}.__getitem__, 3600) == (1, 0)
    works.reconcile()
    works.reaches(study, "done")
    assert works.desk.by_hand.retry_undirected(lambda sender: {}, 3600) == (0, 0)


def test_a_full_disk_is_waited_out(
    works: Works, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real file system's ENOSPC cannot be had here; the error is the one it raises."""
    fulls = iter([True] * 7)
    write_report = Store.write_report

    def full_at_first(self: Store, content: bytes, study_uid: str, sop_uid: str) -> str:
        if study_uid == study and next(fulls, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_report(self, content, study_uid, sop_uid)

    study = works.receive(factories.exam("full", [R_CC]))
    monkeypatch.setattr(Store, "write_report", full_at_first)
    works.close(study)
    seen = works.reaches(study, "done")
    assert seen.models[0].outcome.startswith("1 of 1 images analysed")
    assert pacs.received


def test_a_report_that_cannot_be_built_holds_the_study_in_the_end(
    works: Works, pacs: Pacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*args: object) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr("node.analysis.pipeline.build_report_set", defect)
    study = works.receive(factories.exam("unbuildable", [R_CC]))
    works.close(study)
    seen = works.reaches(study, "held")
    assert seen.error == "its report could not be built (KeyError)"
    assert pacs.received == []


# A destination that is a folder


@pytest.fixture
def outbox(works: Works) -> FolderDestination:
    """It is empty; results of room 4 go there."""
    folder = works.folders["outbox"]
    shutil.rmtree(folder.root, ignore_errors=True)
    folder.root.mkdir()
    folder.refuses.clear()
    folder.loses.clear()
    return folder


def files_in(folder: FolderDestination, study: str) -> dict[str, str]:
    """Return which objects lie in a folder: their digests by their UIDs."""
    paths = (folder.root / study).glob("*")
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def recorded(works: Works, study: str, *kinds: str) -> dict[str, str]:
    """Return the digests of the reports of these kinds by their UIDs, as the ledger has them."""
    rows = [row for row in works.desk.rows(schema.report) if row["study_uid"] == study]
    return {row["sop_uid"]: row["digest"] for row in rows if row["kind"] in kinds}


def test_a_report_set_goes_to_a_folder_and_is_confirmed_there(
    works: Works, outbox: FolderDestination, tmp_path: Path
) -> None:
    study = works.receive(factories.exam("to a folder", [R_CC]), "room-4")
    works.close(study)
    seen = works.reaches(study, "done")
    assert files_in(outbox, study) == recorded(works, study, "measurement-report-3d", "capture")
    assert {(one.state, one.confirmed_by) for one in seen.deliveries} == {("confirmed", "reading")}
    assert "delivered to outbox, confirmed" in [event for _, event in seen.history]


def test_a_folder_that_is_away_gets_it_once_it_is_there(
    works: Works, outbox: FolderDestination, tmp_path: Path
) -> None:
    outbox.root.rmdir()
    study = works.receive(factories.exam("no folder", [R_CC]), "room-4")
    works.close(study)
    words = "outbox: the folder outbox is not there"
    assert until(lambda: works.overview(study).error == words)
    outbox.root.mkdir()
    works.reaches(study, "done")
    assert len(files_in(outbox, study)) == 3


def test_a_folder_that_is_full_gets_the_rest_once_it_is_not(
    works: Works, outbox: FolderDestination, tmp_path: Path
) -> None:
    outbox.root.rmdir()
    study = works.receive(factories.exam("full folder", [R_CC]), "room-4")
    works.close(study)
    assert until(lambda: works.overview(study).error is not None)
    planned = sorted(one.sop_uid for one in works.overview(study).deliveries)
    full = outbox.root / study / f"{planned[0]}.part"
    away = outbox.root.with_name("away")
    (away / study).mkdir(parents=True)
    (away / study / full.name).symlink_to("/dev/full")
    away.rename(outbox.root)
    assert until(lambda: works.overview(study).error == "outbox: No space left on device")
    assert sorted(files_in_whole(outbox, study)) == planned[1:]
    full.unlink()
    works.reaches(study, "done")
    assert sorted(files_in(outbox, study)) == planned


def files_in_whole(folder: FolderDestination, study: str) -> list[str]:
    return [path.stem for path in (folder.root / study).glob("*.dcm")]


def test_what_a_folder_has_lost_is_sent_again_and_nothing_else(
    works: Works, outbox: FolderDestination, tmp_path: Path
) -> None:
    outbox.loses |= {"measurement-report-3d"}
    study = works.receive(factories.exam("lost in a folder", [R_CC]), "room-4")
    works.close(study)
    seen = works.reaches(study, "done")
    assert {one.state for one in seen.deliveries} == {"confirmed"}
    assert len(files_in(outbox, study)) == 3
    assert works.desk.row(schema.dispatch, study, 1, "outbox")["attempt"] == 2


def test_what_a_folder_refuses_is_replaced_or_told(
    works: Works, outbox: FolderDestination, tmp_path: Path
) -> None:
    outbox.refuses |= {"measurement-report-3d", "capture"}
    study = works.receive(factories.exam("refused by a folder", [R_CC]), "room-4")
    works.close(study)
    seen = works.reaches(study, "undelivered")
    assert seen.error == "outbox: outbox takes no capture"
    assert files_in(outbox, study) == recorded(works, study, "measurement-report")
    states = Counter(one.state for one in seen.deliveries)
    assert states == {"confirmed": 1, "replaced": 1, "refused": 2}


def test_a_folder_that_has_the_study_of_another_patient_gets_nothing(
    works: Works, outbox: FolderDestination, tmp_path: Path
) -> None:
    exam = factories.exam("another's", [R_CC])
    other = copy.deepcopy(exam[0])
    other.PatientID = "SOMEBODY ELSE"
    (outbox.root / str(other.StudyInstanceUID)).mkdir()
    path = outbox.root / str(other.StudyInstanceUID) / "other.dcm"
    other.save_as(path, enforce_file_format=True)
    study = works.receive(exam, "room-4")
    works.close(study)
    seen = works.reaches(study, "held")
    assert seen.error == "in outbox the objects of the study disagree about Patient ID"
    assert files_in_whole(outbox, study) == ["other"]


def test_two_kinds_of_one_sop_class_go_to_two_destinations(works: Works, tmp_path: Path) -> None:
    pages, pictures = works.folders["pages"], works.folders["pictures"]
    for folder in (pages, pictures):
        folder.root.mkdir(exist_ok=True)
    study = works.receive(factories.exam("one class", [R_CC]), "room-5")
    works.close(study)
    works.reaches(study, "done")
    assert files_in(pages, study) == recorded(works, study, "page")
    assert files_in(pictures, study) == recorded(works, study, "capture")
    assert [len(files_in(folder, study)) for folder in (pages, pictures)] == [1, 2]
    paths = [path for folder in (pages, pictures) for path in (folder.root / study).iterdir()]
    assert {dcmread(path).SOPClassUID for path in paths} == {SecondaryCaptureImageStorage}


# Delivery


def test_a_destination_that_refuses_for_now_gets_the_rest_later(
    works: Works, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    busy = iter([0x0000, 0xA700, 0xA700])
    pacs.answer = lambda received: next(busy, 0x0000)
    study = works.receive(factories.exam("busy", [R_CC]))
    works.close(study)
    works.reaches(study, "done")
    sent = [received.sop_uid for received in pacs.received]
    assert len(sent) == 3 + 2
    assert len(set(sent)) == 3
    assert said(caplog, "WARNING") == [
        f"Study {study}: pacs stored 1 of 3 objects: PACS answered 0xA700 "
        f"(capture {sent[1]} and 1 more)"
    ]


@pytest.mark.parametrize(
    ("sender", "how", "words"),
    [
        ("room-1", ("confirmed", "commitment"), "delivered to archive, confirmed"),
        ("room-2", ("confirmed", "find"), "delivered to catalogue, confirmed"),
        ("modality", ("sent", None), "accepted by pacs, unconfirmed"),
    ],
)
@pytest.mark.usefixtures("archive", "catalogue")
def test_what_was_accepted_is_confirmed_as_the_destination_offers(
    works: Works, sender: str, how: tuple[str, str | None], words: str
) -> None:
    study = works.receive(factories.exam(f"from {sender}", [R_CC]), sender)
    works.close(study)
    seen = works.reaches(study, "done")
    assert {(one.state, one.confirmed_by) for one in seen.deliveries} == {how}
    assert words in [event for _, event in seen.history]


def test_what_the_destination_does_not_answer_for_is_sent_again_and_nothing_else(
    works: Works, archive: Archive
) -> None:
    def lose_one(request: Dataset, association: Association) -> int:
        archive.commit = archive.commit_to_what_is_held
        first, *others = [item.ReferencedSOPInstanceUID for item in request.ReferencedSOPSequence]
        report = report_of(request.TransactionUID, others, {first: 0x0112})
        archive.report_later(association, report)
        return 0x0000

    archive.commit = lose_one
    study = works.receive(factories.exam("lost", [R_CC]), "room-1")
    works.close(study)

    def is_asked_again() -> bool:
        works.reconcile()
        return len(archive.requests) == 2

    assert until(is_asked_again)
    works.reaches(study, "done")
    lost, *_ = archive.requests[0].ReferencedSOPSequence
    asked_again = [
        item.ReferencedSOPInstanceUID for item in archive.requests[1].ReferencedSOPSequence
    ]
    assert asked_again == [lost.ReferencedSOPInstanceUID]
    sent = Counter(received.sop_uid for received in archive.received)
    assert sorted(sent.values()) == [1, 1, 2]
    assert sent[lost.ReferencedSOPInstanceUID] == 2


# Corrections


def correct(exam: Sequence[Dataset], patient_id: str) -> None:
    for image in exam:
        image.PatientID, image.PatientName = patient_id, "Right^Her"


def test_what_is_somebody_elses_at_the_destination_is_held_until_it_is_corrected(
    works: Works, archive: Archive
) -> None:
    def find(query: Dataset) -> Answers:
        match = Dataset()
        match.QueryRetrieveLevel, match.PatientID = "STUDY", "RIGHT"
        match.StudyInstanceUID = query.StudyInstanceUID
        return [(0xFF00, match)]

    archive.find = find
    exam = factories.exam("mistaken", [R_CC, L_CC])
    study = works.receive(exam, "room-1")
    works.close(study)
    seen = works.reaches(study, "held")
    assert seen.error == "archive has it under another patient ID"
    assert archive.received == []
    correct(exam, "RIGHT")
    works.receive(exam, "room-1")
    works.close(study)
    assert works.reaches(study, "done").version == 2
    assert len(works.network.asked) == 2
    headers = [received.read() for received in archive.received]
    assert {(d.PatientID, str(d.PatientName)) for d in headers} == {("RIGHT", "Right^Her")}
    assert len(headers) == 4


def test_a_correction_stops_what_is_being_analysed(works: Works, pacs: Pacs) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(instance: Instance) -> None:
        begun.set()
        go_on.wait(20)

    works.network.fail = wait
    exam = factories.exam("corrected as it ran", [R_CC])
    study = works.receive(exam)
    works.close(study)
    assert begun.wait(20)
    correct(exam, "RIGHT")
    works.receive(exam)
    go_on.set()
    version = schema.study_version
    assert until(lambda: works.desk.row(version, study, 1)["state"] == VersionState.CANCELLED)
    assert pacs.received == []
    works.close(study)
    works.reaches(study, "done")
    assert {received.read().PatientID for received in pacs.received} == {"RIGHT"}
    assert len(works.network.asked) == 1


def test_a_correction_stops_what_is_being_delivered(works: Works, archive: Archive) -> None:
    exam = factories.exam("corrected as it went out", [R_CC])
    former = exam[0].PatientID

    def correct_at_the_first(received: Received) -> int:
        if not archive.received:
            correct(exam, "RIGHT")
            works.receive(exam, "room-1")
        return 0x0000

    archive.answer = correct_at_the_first
    study = works.receive(exam, "room-1")
    works.close(study)
    dispatch = schema.dispatch
    assert until(lambda: study in {row["study_uid"] for row in works.desk.rows(dispatch)})
    assert until(
        lambda: works.desk.row(dispatch, study, 1, "archive")["state"] == DispatchState.CANCELLED
    )
    archive.find = lambda query: []  # it has been corrected there, too
    works.close(study)
    works.reaches(study, "done")
    names = [received.read().PatientID for received in archive.received]
    assert names == [former, "RIGHT", "RIGHT", "RIGHT"]
    assert len(works.network.asked) == 1


def test_an_older_version_is_not_sent_after_a_newer(works: Works, archive: Archive) -> None:
    taken: list[int] = []
    is_busy = threading.Event()
    is_busy.set()

    def take(received: Received) -> int:
        if is_busy.is_set():
            return 0xA700
        taken.append(received.read().InstanceNumber)
        return 0x0000

    archive.answer = take
    exam = factories.exam("slow", [R_CC, L_CC])
    study = works.receive(exam[:1], "room-1")
    works.close(study)
    assert until(lambda: bool(archive.received))
    works.receive(exam[1:], "room-1")
    works.close(study)
    assert until(lambda: works.overview(study).state == "delivering")
    is_busy.clear()
    works.reaches(study, "done")
    older = schema.dispatch, study, 1, "archive"
    assert until(lambda: works.desk.row(*older)["state"] == "cancelled")
    assert len(taken) == 4
    assert min(taken) > 1000  # numbers of the second version


@refused_connections
def test_a_dead_destination_does_not_hold_up_another(
    works: Works, pacs: Pacs, second_pacs: Pacs
) -> None:
    second_pacs.stop_accepting()
    studies = [works.receive(factories.exam(f"dead {n}", [R_CC])) for n in range(2)]
    for study in studies:
        works.close(study)
    for study in studies:
        assert until(lambda: bool(works.overview(study).error))  # noqa: B023 - at once
        words = f"PACS2 at 127.0.0.1:{second_pacs.port} cannot be reached"
        assert words in str(works.overview(study).error)
        assert works.overview(study).state == "delivering"
    assert until(lambda: len(pacs.received) == 6)
    assert {received.read().StudyInstanceUID for received in pacs.received} == set(studies)
    second_pacs.accept_again()
    for study in studies:
        works.reaches(study, "done")


@refused_connections  # of the test before, collected here
def test_a_destination_that_was_taken_out_of_the_configuration_is_given_up(
    works: Works, desk: Desk
) -> None:
    """On a ledger and a queue of its own that only remember, without the running ones."""
    (job, *_) = desk.analysed(destinations=("gone",))
    alone(works, desk).deliver(job, desk)  # type: ignore[arg-type]
    dispatch = desk.row(schema.dispatch, job.study_uid, 1, "gone")
    assert dispatch["state"] == DispatchState.QUEUED
    assert dispatch["error"] == "no peer is called gone any more"
    assert desk.jobs[-1].attempt == 2


def test_a_defect_while_a_result_is_sent_is_not_taken_for_a_destination_that_is_gone(
    works: Works, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a `next` raises that finds nothing, deep inside."""

    def defect(*args: object) -> None:
        next(iter(()))

    monkeypatch.setattr(Courier, "find_conflict", defect)
    (job, *_) = desk.analysed(destinations=("pacs",))
    alone(works, desk).deliver(job, desk)  # type: ignore[arg-type]
    dispatch = desk.row(schema.dispatch, job.study_uid, 1, "pacs")
    assert (dispatch["state"], dispatch["error"]) == (DispatchState.QUEUED, "StopIteration")
