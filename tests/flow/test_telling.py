"""What reading lists are told of a study, what is taken back, and what they are never told.

Objects come through reception, so whose a study is, is read from their files.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Any

import factories
import hl7
import pytest
from factories import L_CC, R_CC
from forgotten import forget
from ledgers import MODEL, NODE, Desk
from levels_told import SCORE
from pydantic import TypeAdapter
from pydicom import Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.uid import SecondaryCaptureImageStorage
from webhooks import SECRET

from node import config
from node.deliver.messages.level_message import TOLD, LevelMessage
from node.deliver.messages.receiver import HL7Receiver
from node.errors import DeliveryError, Superseded
from node.flow import telling
from node.flow.telling import Teller
from node.ledger import (
    Closing,
    DispatchState,
    Finished,
    HeldBecause,
    Hurrying,
    Job,
    MessageEnd,
    MessageKind,
    Messages,
    Mode,
    PlannedAnalysis,
    Stage,
    StudyLevels,
    Telling,
    Triaged,
    VersionState,
    now,
    schema,
)
from node.ledger.rows import ask_to_tell, hold
from node.result import ModelIdentity, Priority, Result, Triage
from node.trial.phantom import Patient

_EXAM = dict(zip((R_CC, L_CC), factories.exam("told", (R_CC, L_CC)), strict=True))
ACKNOWLEDGED = MessageEnd("acknowledged")
NO_ANSWER = MessageEnd("failed", "ris has not answered", 30, is_unreached=True)
NOT_THERE = MessageEnd("failed", "ris cannot be reached", 30, is_unreached=True, is_unknown=True)
REFUSED = MessageEnd("refused", "ris answered AE", is_unknown=True)
SOMEBODY, SOMEBODY_ELSE = Patient("P-1", "Doe^Jane"), Patient("P-2", "Roe^Mary")
OTHER = replace(MODEL, name="other-model", title="Other Model")
RIS = config.HL7Settings(kind="hl7", name="ris", host="localhost", port=1, models=("breast-area",))
HOOK = config.WebhookSettings(
    kind="webhook", name="hook", url="https://x.example", secret=SECRET, models=("breast-area",)
)


@dataclass
class Scene:
    """A study, and the lists that may be told of it."""

    desk: Desk
    lists: tuple[config.HL7Settings | config.WebhookSettings, ...] = (RIS,)
    may_rank: bool = False
    study: str = ""
    versions: int = 0
    images: list[Dataset] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.telling = Telling(self.desk.ledger)
        self.messages = Messages(self.desk.ledger)

    @property
    def teller(self) -> Teller:
        settings = config.Config(
            node=config.Node(ae_title="AINODE", state_dir=Path("unused")),
            peers=(
                config.Peer(name="modality", ae_title="M", host="127.0.0.1", port=1, sends=True),
                config.Peer(name="elsewhere", ae_title="E", host="127.0.0.2", port=1, sends=True),
            ),
            models=tuple(
                config.ChosenModel(name=name, mode="deliver")
                for name in ("breast-area", "other-model")
            ),
            destinations=self.lists,
            triage=config.TriageSettings(demonstration_may_rank=self.may_rank),
        )
        return Teller(self.telling, settings, self.desk.store, UTC, self.desk.enqueue)

    def arrives(
        self, *views: Any, patient: Patient = SOMEBODY, accession: str = "A-1", **said: str
    ) -> None:
        """Let images come, or come again with other headers."""
        images = [copy.deepcopy(_EXAM[view]) for view in views or (R_CC,)]
        for image in images:
            image.AccessionNumber = accession
            image.PatientID, image.PatientName = patient.patient_id, patient.name
            for name, value in said.items():
                image.add(anything(image, name, value))
            assert self.desk.keep(image) in ("new", "corrected")
        self.images, self.study = images, str(images[0].StudyInstanceUID)

    def judged(
        self, *results: Result, level: Priority | None = Priority.URGENT, version: str = "1.0.0"
    ) -> None:
        """Let what has come be analysed: by one model that says this level, or with these."""
        model = replace(MODEL, version=version)
        found = results or (result(model, level),)
        job = self.begun(*found)
        ranking = [one for one in found if one.triage is not None]
        decides = max(ranking, key=lambda one: _level(one), default=None)
        finished = Finished(found, (), {}, 3600, decided_by=decides)
        assert self.desk.processing.finish_version(job, finished, self.desk.enqueue)

    def begun(self, *results: Result) -> Job:
        plan = tuple(
            PlannedAnalysis(one.model.name, one.model.version, "0" * 64, Mode.DELIVER)
            for one in results
        )
        job = self.desk.close(Closing("1/1 views", plan), study=self.study)
        self.desk.begin(job)
        return job

    def said(self) -> list[str]:
        """Let the sweep run; return what was written for each list, in short."""
        before = {row["control_id"] for row in self.rows()}
        self.teller.tell()
        new = [row for row in self.rows() if row["control_id"] not in before]
        return [f"{row['destination']}: {row['kind']} {row['level']}" for row in new]

    def rows(self, name: str | None = None) -> list[dict[str, Any]]:
        rows = [row for row in self.desk.rows(schema.message) if name in (None, row["destination"])]
        return sorted(rows, key=lambda row: (row["sequence"], row["destination"]))

    def told(self) -> list[LevelMessage]:
        return [TOLD.validate_json(row["told"]) for row in self.rows()]

    def contents(self) -> list[hl7.Message]:
        return [hl7.parse(row["content"].decode()) for row in self.rows("ris")]

    def sent(self, end: MessageEnd = ACKNOWLEDGED) -> int:
        """Make an attempt at each message that waits; return how many there were."""
        waiting = [row for row in self.rows() if row["state"] == DispatchState.QUEUED]
        for row in waiting:
            job = self.job(row)
            self.messages.begin_message(job, NODE, self.desk.enqueue)
            self.messages.finish_message(job, end, self.desk.enqueue)
        return len(waiting)

    def job(self, row: dict[str, Any]) -> Job:
        return Job("message", self.study, row["sequence"], row["attempt"], row["destination"])

    def states(self) -> list[str]:
        return [str(row["state"]) for row in self.rows()]

    def history(self) -> list[str]:
        lines = self.desk.history(self.study)
        return [line for line in lines if "ris" in line or "hook" in line]

    def held(self, because: HeldBecause, reason: str = "for a reason") -> None:
        with self.desk.ledger.writing() as db:
            hold(db, self.study, because, reason)

    def later(self) -> None:
        """Let so much time pass that what was put off is looked at."""
        table = schema.study_to_tell
        self.desk.change(table, asked_at=table.c.asked_at - 120, next_at=table.c.next_at - 600)

    def asked(self) -> bool:
        return bool(self.telling.asked())


def anything(image: Dataset, name: str, value: str) -> DataElement:
    """Return an attribute with a value that need not be one of its kind."""
    tag = tag_for_keyword(name)
    assert tag is not None
    return DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)


def _level(one: Result) -> Priority:
    assert one.triage is not None
    return one.triage.level


def result(model: ModelIdentity, level: Priority | None, why: str = "the score says so") -> Result:
    return Result(model, ("1.2",), triage=None if level is None else Triage(level, why))


@pytest.fixture
def scene(desk: Desk) -> Scene:
    return Scene(desk)


def test_a_list_is_told_the_level_once(scene: Scene) -> None:
    scene.arrives()
    assert scene.said() == []
    scene.judged()
    assert scene.said() == ["ris: level urgent"]
    assert scene.said() == []
    (message,) = scene.contents()
    assert str(message.segment("PID")(3)) == "P-1"
    assert str(message.segment("PID")(5)) == "Doe^Jane^^^^^^A"
    assert str(message.segment("OBR")(2)) == "A-1"
    (job,) = [job for job in scene.desk.jobs if job.kind == "message"]
    assert (job.number, job.attempt, job.destination) == (1, 1, "ris")
    assert scene.sent() == 1
    assert scene.states() == ["finished"]
    assert scene.history() == [
        "ris is to be told: triage level urgent",
        "ris acknowledged: triage level urgent",
    ]
    assert not scene.asked()


def test_it_is_told_as_soon_as_the_level_is_known(scene: Scene) -> None:
    scene.arrives()
    found = result(MODEL, Priority.URGENT)
    job = scene.begun(found)
    scene.desk.processing.record_decision(job, found)
    assert scene.said() == []  # by which model is not known yet
    table = schema.analysis
    dumped = telling_result(found)
    with scene.desk.ledger.writing() as db:
        db.execute(table.update().values(result=dumped, level=Priority.URGENT))
        ask_to_tell(db, scene.study)
    assert scene.said() == ["ris: level urgent"]
    finished = Finished((found,), (), {}, 3600, decided_by=found)
    assert scene.desk.processing.finish_version(job, finished, scene.desk.enqueue)
    assert scene.said() == []


def telling_result(found: Result) -> str:
    return TypeAdapter(Result).dump_json(found).decode()


def test_a_late_image_that_changes_the_level_is_told_with_what_it_was(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    assert scene.said() == ["ris: level urgent"]
    scene.sent()
    scene.arrives(L_CC)
    assert scene.said() == []
    scene.judged(level=Priority.ROUTINE)
    assert scene.said() == ["ris: level routine"]
    first, second = scene.told()
    assert (first.before, second.before) == (None, Priority.URGENT)
    assert (first.version, second.version) == (1, 2)
    assert first.thread == second.thread
    orders = {str(message.segment("OBR")(3)) for message in scene.contents()}
    assert len(orders) == 1
    assert scene.history()[-1] == "ris is to be told: triage level routine, urgent before"


def test_while_a_late_image_is_judged_the_former_level_stands(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.arrives(L_CC)
    lower = result(MODEL, Priority.ROUTINE)
    job = scene.begun(lower)
    scene.desk.processing.record_decision(job, lower)
    with scene.desk.ledger.writing() as db:
        table = schema.analysis
        of_second = table.update().where(table.c.number == 2)
        db.execute(of_second.values(result=telling_result(lower), level=Priority.ROUTINE))
        ask_to_tell(db, scene.study)
    assert scene.said() == []
    assert scene.told()[-1].level == Priority.URGENT


def test_the_same_again_is_not_told_again_but_another_release_of_a_model_is(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.arrives(L_CC)
    scene.judged()
    assert scene.said() == []
    scene.arrives(R_CC, patient=SOMEBODY, StudyDescription="Corrected")
    scene.judged(version="2.0.0")
    assert scene.said() == ["ris: level urgent"]


def test_a_level_that_no_model_gives_any_more_is_withdrawn(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(level=None)
    assert scene.said() == ["ris: withdrawn urgent"]
    message = scene.contents()[-1]
    assert {str(one(11)) for one in message.segments("OBX")} == {"D"}
    assert scene.sent() == 1
    assert scene.history()[-2:] == [
        "ris is to be told: triage level urgent withdrawn",
        "ris acknowledged: triage level urgent withdrawn",
    ]
    scene.arrives(R_CC, StudyDescription="Corrected")
    scene.judged(level=Priority.SOON)
    assert scene.said() == ["ris: level soon"]


def test_images_that_must_not_be_used_take_the_level_with_them(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.desk.keep(factories.rejection_note(scene.images))
    (arrival,) = scene.desk.arrivals()
    withdrawn = Closing("withdrawn", state=VersionState.WITHDRAWN, why_not="no image is left")
    assert scene.desk.settling.close_version(arrival, withdrawn, scene.desk.enqueue)
    assert scene.said() == ["ris: withdrawn urgent"]


def test_after_a_merge_what_was_told_is_said_to_be_wrong_and_told_anew(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    scene.judged()
    assert scene.said() == ["ris: wrong urgent", "ris: level urgent"]
    first, wrong, anew = scene.contents()
    for segment, number in (("PID", 3), ("OBR", 2), ("OBR", 3)):
        assert str(wrong.segment(segment)(number)) == str(first.segment(segment)(number))
    assert {str(one(11)) for one in wrong.segments("OBX")} == {"W"}
    assert str(anew.segment("PID")(3)) == "P-2"
    assert str(anew.segment("OBR")(3)) != str(first.segment("OBR")(3))
    assert {str(one(11)) for one in anew.segments("OBX")} == {"R"}
    assert scene.sent() == 2
    assert scene.states() == ["finished"] * 3


def test_what_is_wrong_is_said_before_the_study_is_judged_again(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(R_CC, accession="A-2")
    assert scene.said() == ["ris: wrong urgent", "ris: level urgent"]
    scene.judged()
    assert scene.said() == []


def test_of_what_nobody_can_know_yet_nothing_is_taken_back(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent(NOT_THERE)
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == ["ris: level urgent"]
    assert scene.states() == ["cancelled", "queued"]
    scene.arrives(L_CC, patient=SOMEBODY_ELSE)
    scene.judged(level=None)
    assert scene.said() == []
    assert scene.states() == ["cancelled", "cancelled"]


@pytest.mark.parametrize("end", [ACKNOWLEDGED, NO_ANSWER])
def test_what_may_be_known_is_taken_back(scene: Scene, end: MessageEnd) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent(end)
    scene.arrives(L_CC)
    scene.judged(level=None)
    assert scene.said() == ["ris: withdrawn urgent"]


@pytest.mark.parametrize("end", [None, NOT_THERE, REFUSED])
def test_what_is_known_is_taken_back_though_a_newer_message_was_never_seen(
    scene: Scene, end: MessageEnd | None
) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(level=Priority.ROUTINE)
    assert scene.said() == ["ris: level routine"]
    if end is not None:
        scene.sent(end)
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    scene.arrives(L_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == ["ris: wrong urgent", "ris: level routine"]
    assert scene.states() == ["finished", "cancelled", "queued", "queued"]
    assert [one.whose.patient_id for one in scene.told()] == ["P-1", "P-1", "P-1", "P-2"]


def test_what_is_known_is_withdrawn_though_a_newer_message_was_never_seen(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(level=Priority.ROUTINE)
    scene.said()
    scene.arrives(R_CC, StudyDescription="Corrected")
    scene.judged(level=None)
    assert scene.said() == ["ris: withdrawn urgent"]
    assert scene.states() == ["finished", "cancelled", "queued"]


def test_what_was_to_be_taken_back_and_was_not_is_so_the_next_time(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.sent()
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == ["ris: wrong urgent", "ris: level urgent"]
    scene.arrives(R_CC, StudyDescription="Back")
    assert scene.said() == ["ris: level urgent"]
    assert scene.states() == ["finished", "cancelled", "cancelled", "queued"]
    scene.arrives(R_CC, patient=Patient("P-3", "Poe^Anne"))
    assert scene.said() == ["ris: wrong urgent", "ris: level urgent"]
    assert [one.whose.patient_id for one in scene.told()[-2:]] == ["P-1", "P-3"]


def test_what_it_was_before_is_what_the_list_may_have(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(level=Priority.ROUTINE)
    scene.said()
    scene.arrives(R_CC, StudyDescription="Corrected")
    scene.judged(level=Priority.SOON)
    assert scene.said() == ["ris: level soon"]
    assert scene.told()[-1].before == Priority.URGENT


@pytest.mark.parametrize(
    ("end", "deleted"), [(ACKNOWLEDGED, set()), (NO_ANSWER, {"AI-SCORE"}), (None, {"AI-SCORE"})]
)
def test_what_the_list_may_have_of_any_message_is_deleted(
    scene: Scene, end: MessageEnd | None, deleted: set[str]
) -> None:
    scored = replace(
        result(MODEL, Priority.URGENT), triage=Triage(Priority.URGENT, "x", score=SCORE)
    )
    scene.arrives(R_CC)
    scene.judged(scored)
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(level=Priority.ROUTINE)
    scene.said()
    if end is not None:
        scene.sent(end)
    scene.arrives(R_CC, StudyDescription="Corrected")
    scene.judged(level=Priority.SOON)
    scene.said()
    last = scene.contents()[-1]
    found = {str(one(3)[0][0]) for one in last.segments("OBX") if str(one(11)) == "D"}
    assert found == deleted


def test_a_newer_message_takes_the_place_of_those_that_wait(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.sent(NO_ANSWER)
    scene.arrives(L_CC)
    scene.judged(level=Priority.ROUTINE)
    assert scene.said() == ["ris: level routine"]
    assert scene.states() == ["cancelled", "queued"]
    job = scene.job(scene.rows()[0])
    with pytest.raises(Superseded):
        scene.messages.begin_message(job, NODE, scene.desk.enqueue)


def test_what_an_attempt_is_told_too_late_changes_nothing(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    (row,) = scene.rows()
    job = scene.job(row)
    scene.messages.begin_message(job, NODE, scene.desk.enqueue)
    scene.arrives(L_CC)
    scene.judged(level=Priority.ROUTINE)
    scene.said()
    with pytest.raises(Superseded):
        scene.messages.finish_message(job, ACKNOWLEDGED, scene.desk.enqueue)
    assert scene.states() == ["cancelled", "queued"]


def test_a_refusal_waits_for_a_person_and_stops_nobody(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.sent(REFUSED)
    assert scene.states() == ["dead"]
    assert scene.history()[-1] == (
        "ris did not take what it was told (triage level urgent): ris answered AE"
    )
    assert scene.desk.sweeping.unfinished() == []
    with scene.desk.ledger.writing() as db:
        ask_to_tell(db, scene.study)
    assert scene.said() == []
    scene.arrives(L_CC)
    scene.judged(level=Priority.SOON)
    assert scene.said() == ["ris: level soon"]
    assert scene.states() == ["cancelled", "queued"]


def test_without_an_answer_the_same_goes_again(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    scene.said()
    (before,) = scene.rows()
    scene.sent(NO_ANSWER)
    (row,) = scene.rows()
    assert (row["state"], row["attempt"], row["error"]) == ("queued", 2, "ris has not answered")
    assert row["is_unreached"]
    assert row["next_at"] is not None
    assert (row["control_id"], row["content"]) == (before["control_id"], before["content"])
    following = scene.desk.jobs[-1]
    assert (following.kind, following.attempt, following.delay_s) == ("message", 2, 30)
    scene.sent()
    (row,) = scene.rows()
    assert (row["state"], row["error"], row["is_unreached"]) == ("finished", None, False)
    assert row["acknowledged_at"] >= row["tried_at"]


def test_after_too_long_it_is_given_up(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    scene.said()
    scene.desk.change(schema.message, deadline_at=1000.0)
    scene.sent(NO_ANSWER)
    assert scene.states() == ["dead"]


def test_control_ids_fit_and_are_of_one_message(scene: Scene) -> None:
    scene.lists = (RIS, RIS.model_copy(update={"name": "second"}))
    scene.arrives()
    scene.judged()
    scene.said()
    ids = [row["control_id"] for row in scene.rows()]
    assert len(set(ids)) == 2
    assert all(len(one) == 20 and one.isalnum() for one in ids)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"patient": Patient("", "Doe^Jane")}, "the study has no patient ID"),
        ({"accession": ""}, "the study has no accession number"),
    ],
)
def test_without_what_finds_its_order_nothing_is_told_and_the_study_says_so_once(
    scene: Scene, said: dict[str, Any], why: str
) -> None:
    scene.arrives(R_CC, **said)
    scene.judged()
    assert scene.said() == []
    scene.arrives(L_CC, **said)
    scene.judged(level=Priority.SOON)
    assert scene.said() == []
    assert scene.history() == [f"ris is told nothing: {why}"]
    assert not scene.asked()


def test_a_program_is_told_without_them(scene: Scene) -> None:
    scene.lists = (RIS, HOOK)
    scene.arrives(R_CC, accession="")
    scene.judged()
    assert scene.said() == ["hook: level urgent"]


@pytest.mark.parametrize(
    ("shows", "follows"),
    [
        ("nothing", []),
        ("accession", []),
        ("patient", ["hook: wrong urgent", "hook: level urgent"]),
    ],
)
def test_a_program_is_told_no_more_of_whose_it_is_than_it_is_shown(
    scene: Scene, shows: str, follows: Sequence[str]
) -> None:
    scene.lists = (HOOK.model_copy(update={"shows": shows}),)
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    content, told = scene.rows()[0]["content"].decode(), scene.rows()[0]["told"]
    for text in (content, told):
        assert ("P-1" in text) == (shows == "patient")
        assert ("Doe" in text) == (shows == "patient")
        assert ("A-1" in text) == (shows != "nothing")
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == follows


def test_an_issuer_that_was_told_already_is_nothing_new(scene: Scene) -> None:
    scene.lists = (RIS.model_copy(update={"assigning_authority": "HOSPITAL"}),)
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(R_CC, IssuerOfPatientID="HOSPITAL")
    scene.judged()
    assert scene.said() == []
    scene.arrives(R_CC, IssuerOfPatientID="ELSEWHERE")
    assert scene.said() == ["ris: wrong urgent", "ris: level urgent"]


def test_what_was_left_blank_and_is_said_later_was_not_wrong(scene: Scene) -> None:
    scene.lists = (RIS, HOOK)
    scene.arrives(R_CC, accession="")
    scene.judged()
    assert scene.said() == ["hook: level urgent"]
    scene.sent()
    scene.arrives(R_CC, accession="A-1")
    assert sorted(scene.said()) == ["hook: level urgent", "ris: level urgent"]
    scene.sent()
    scene.arrives(R_CC, accession="A-1", IssuerOfPatientID="HOSPITAL")
    assert scene.said() == ["ris: level urgent"]
    first, second = scene.contents()
    assert str(first.segment("OBR")(3)) == str(second.segment("OBR")(3))
    assert str(second.segment("PID")(3)) == "P-1^^^HOSPITAL"
    scene.sent()
    scene.arrives(R_CC, accession="A-2", IssuerOfPatientID="HOSPITAL")
    both = ["level urgent", "wrong urgent"]
    assert sorted(scene.said()) == [f"{name}: {what}" for name in ("hook", "ris") for what in both]


def test_a_name_that_is_corrected_is_told_in_the_place_of_the_former(scene: Scene) -> None:
    scene.lists = (RIS, HOOK)
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(R_CC, patient=Patient("P-1", "Doe^Joan"))
    assert scene.said() == ["ris: level urgent"]
    first, second = scene.contents()
    assert str(second.segment("PID")(5)) == "Doe^Joan^^^^^^A"
    assert str(first.segment("OBR")(3)) == str(second.segment("OBR")(3))


def test_a_level_of_a_model_that_is_gone_is_withdrawn_and_the_history_says_why(
    scene: Scene,
) -> None:
    gone = replace(MODEL, name="gone-model")
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(result(gone, Priority.URGENT))
    assert scene.said() == ["ris: withdrawn urgent"]
    assert scene.history()[-2:] == [
        "ris is not told of triage level urgent any more: "
        "gone-model, which gave it, is not in the configuration any more",
        "ris is to be told: triage level urgent withdrawn",
    ]


def test_an_accession_number_that_comes_with_what_no_model_reads_is_told(scene: Scene) -> None:
    scene.arrives(accession="")
    scene.judged()
    assert scene.said() == []
    other = copy.deepcopy(_EXAM[L_CC])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    other.Modality, other.AccessionNumber = "OT", "A-1"
    other.PatientID, other.PatientName = SOMEBODY.patient_id, SOMEBODY.name
    assert scene.desk.keep(other) == "new"
    assert scene.said() == ["ris: level urgent"]
    assert scene.told()[0].whose.accession_number == "A-1"


@pytest.mark.parametrize("is_known", [True, False])
def test_what_was_told_of_somebody_else_is_wrong_though_the_study_is_held(
    scene: Scene, is_known: bool
) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent(ACKNOWLEDGED if is_known else NOT_THERE)
    scene.held(HeldBecause.REPORT)
    assert scene.said() == []
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == (["ris: wrong urgent"] if is_known else [])
    assert scene.states() == (["finished", "queued"] if is_known else ["cancelled"])
    assert scene.said() == [], "once"


def test_what_is_taken_back_has_the_highest_level_that_may_be_known(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.URGENT)
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(level=Priority.ROUTINE)
    scene.said()
    scene.sent(NO_ANSWER)
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    scene.arrives(L_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == ["ris: wrong urgent", "ris: level routine"]


def test_whose_level_was_found_before_is_not_taken_from_a_list_by_another_model(
    scene: Scene,
) -> None:
    scene.lists = (RIS.model_copy(update={"models": ("other-model",)}),)
    scene.arrives()
    found = (result(MODEL, Priority.ROUTINE), result(OTHER, Priority.URGENT))
    job = scene.begun(*found)
    scene.desk.change(schema.study_version, stage=Stage.TRIAGE)
    scene.desk.processing.end_triage(job, Triaged(found, found[1]), scene.desk.enqueue)
    assert scene.said() == ["ris: level urgent"]
    (version,) = scene.desk.rows(schema.study_version)
    assert (version["level"], version["level_by"]) == (Priority.URGENT, "other-model")


def test_an_asking_is_as_old_as_the_last_one(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    scene.desk.change(schema.study_to_tell, asked_at=now() - 7200, next_at=now() + 600)
    scene.arrives(patient=SOMEBODY_ELSE)
    (asked,) = scene.telling.asked()
    assert asked.for_s < 60


def test_a_node_without_lists_forgets_nothing_that_another_has_put_off(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    scene.desk.change(schema.study_to_tell, asked_at=now() - 90_000, next_at=now() + 600)
    scene.lists = ()
    scene.said()
    assert scene.desk.rows(schema.study_to_tell)
    # No node that has lists has looked at it again for so long: it would be owed for ever.
    scene.desk.change(schema.study_to_tell, next_at=now() - 90_000)
    scene.said()
    assert not scene.desk.rows(schema.study_to_tell)


def test_what_cannot_be_decided_waits_until_it_is_looked_at_again_and_not_for_ever(
    scene: Scene,
) -> None:
    scene.arrives()
    scene.judged()
    scene.said()
    with scene.desk.ledger.writing() as db:
        ask_to_tell(db, scene.study)
    scene.desk.change(schema.study_to_tell, next_at=now() + 300)
    with pytest.raises(Superseded, match="something else by now"):
        scene.sent()
    (row,) = scene.rows()
    assert row["next_at"] - row["made_at"] == pytest.approx(300, abs=60)
    assert (row["state"], row["failures"]) == ("queued", 0)
    scene.desk.change(schema.message, deadline_at=now() - 1)
    with pytest.raises(Superseded):
        scene.sent()
    (row,) = scene.rows()
    assert (row["state"], row["tried_at"]) == ("dead", None)
    assert "what to tell cannot be found out" in row["error"]


def test_what_takes_back_goes_before_any_level(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(level=Priority.ROUTINE)
    scene.said()
    scene.sent()
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == ["ris: wrong routine", "ris: level routine"]
    wrong, anew = scene.rows()[-2:]
    assert anew["due_at"] - wrong["due_at"] > 3600
    scene.sent(NOT_THERE)
    wrong, anew = scene.rows()[-2:]
    assert anew["due_at"] - wrong["due_at"] > 3600
    scene.desk.by_hand.hurry_waiting()
    wrong, anew = scene.rows()[-2:]
    assert anew["due_at"] - wrong["due_at"] > 3600
    scene.sent(NOT_THERE)
    assert Hurrying(scene.desk.ledger).hurry("ris", scene.desk.enqueue, at_most=1) == 1
    assert scene.desk.jobs[-1].number == wrong["sequence"]


def test_a_list_hears_only_of_the_models_it_names(scene: Scene) -> None:
    scene.lists = (RIS, RIS.model_copy(update={"name": "both", "models": ("other-model",)}))
    scene.arrives(R_CC)
    scene.judged(result(MODEL, Priority.ROUTINE), result(OTHER, Priority.URGENT))
    assert scene.said() == ["both: level urgent"]
    assert scene.history() == [
        "ris is not told of triage level urgent: by other-model, "
        "which is none of the models it is told of"
    ]


def test_a_level_that_another_model_has_raised_is_withdrawn(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged(result(MODEL, Priority.ROUTINE), result(OTHER, Priority.ROUTINE))
    assert scene.said() == ["ris: level routine"]
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(result(MODEL, Priority.ROUTINE), result(OTHER, Priority.URGENT))
    assert scene.said() == ["ris: withdrawn routine"]


def test_a_list_hears_only_of_the_senders_it_names(scene: Scene) -> None:
    scene.lists = (RIS.model_copy(update={"senders": ("elsewhere",)}),)
    scene.arrives()
    scene.judged()
    assert scene.said() == []
    assert not scene.asked()


def test_a_demonstration_is_told_as_one_and_withdrawn_where_it_may_rank_no_more(
    scene: Scene,
) -> None:
    scene.may_rank = True
    shown = replace(MODEL, is_demonstration=True)
    scene.arrives()
    scene.judged(result(shown, Priority.URGENT))
    assert scene.said() == ["ris: level urgent"]
    assert "Demonstration model." in scene.rows()[0]["content"].decode()
    scene.sent()
    scene.may_rank = False
    StudyLevels(scene.desk.ledger).drop_demonstrations()
    assert scene.said() == ["ris: withdrawn urgent"]


def test_where_nobody_is_to_be_told_nothing_piles_up(scene: Scene) -> None:
    scene.lists = ()
    scene.arrives()
    scene.judged()
    assert scene.asked()
    assert scene.said() == []
    assert scene.asked()  # another node may have a list already, or this one soon
    scene.desk.change(schema.study_to_tell, asked_at=schema.study_to_tell.c.asked_at - 86401)
    assert scene.said() == []
    assert not scene.asked()


def test_a_list_that_is_there_later_is_told_of_the_last_day(scene: Scene) -> None:
    scene.lists = ()
    scene.arrives()
    scene.judged()
    assert scene.said() == []
    scene.lists = (RIS,)
    assert scene.said() == ["ris: level urgent"]


def test_of_a_held_study_nothing_new_is_told(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.held(HeldBecause.PIXELS)
    assert scene.said() == []
    assert not scene.asked()
    scene.desk.by_hand.release_study(scene.study)
    assert scene.said() == ["ris: level urgent"]


def test_what_waits_when_a_study_is_held_is_told_after_its_release(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.held(HeldBecause.PIXELS)
    scene.said()
    with pytest.raises(Superseded, match="held"):
        scene.sent()
    assert scene.states() == ["cancelled"]
    scene.desk.by_hand.release_study(scene.study)
    assert scene.said() == ["ris: level urgent"]


def test_a_study_held_for_its_pixels_stays_as_it_was_told(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.held(HeldBecause.PIXELS)
    assert scene.said() == []
    scene.desk.by_hand.release_study(scene.study)
    assert scene.said() == []


def test_doubt_about_whose_a_study_is_is_told_only_if_it_lasts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.arrives(R_CC, L_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    assert scene.desk.study(scene.study)["held_because"] == HeldBecause.IDENTITY
    assert scene.said() == []
    assert scene.asked()  # looked at again
    monkeypatch.setattr(telling, "DOUBT_LASTS_S", 0.0)
    assert scene.said() == ["ris: withdrawn urgent"]
    assert not scene.asked()
    scene.sent()
    scene.arrives(L_CC, patient=SOMEBODY_ELSE)
    scene.judged()
    assert scene.said() == ["ris: wrong urgent", "ris: level urgent"]
    assert [one.whose.patient_id for one in scene.told()] == ["P-1", "P-1", "P-1", "P-2"]
    scene.sent()
    with scene.desk.ledger.writing() as db:
        ask_to_tell(db, scene.study)
    assert scene.said() == [], "once"


def test_a_merge_of_several_images_is_told_as_one(scene: Scene) -> None:
    scene.arrives(R_CC, L_CC)
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == []
    scene.arrives(L_CC, patient=SOMEBODY_ELSE)
    assert scene.said() == ["ris: wrong urgent", "ris: level urgent"]


def test_a_message_that_may_be_out_of_date_is_looked_at_before_it_is_sent(scene: Scene) -> None:
    scene.arrives(R_CC)
    scene.judged()
    scene.said()
    scene.arrives(R_CC, patient=SOMEBODY_ELSE)  # and the sweep has not seen it
    with pytest.raises(Superseded, match="something else by now"):
        scene.sent()
    (row,) = scene.rows()
    assert (row["state"], row["attempt"], row["tried_at"]) == ("queued", 2, None)
    assert scene.said() == ["ris: level urgent"]
    assert scene.states() == ["cancelled", "queued"]


def test_one_study_that_cannot_be_told_of_stops_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scene.arrives()
    scene.judged()
    broken = scene.rows()
    real = Telling.result_of
    monkeypatch.setattr(Telling, "result_of", lambda *args: 1 / 0)
    assert scene.said() == []
    monkeypatch.setattr(Telling, "result_of", real)
    assert broken == scene.rows()
    assert not scene.asked()  # at once
    why = "ris is told nothing yet: ZeroDivisionError, as the log says"
    assert why in scene.desk.history(scene.study)
    assert "cannot be found out" in caplog.text
    scene.later()
    assert scene.said() == ["ris: level urgent"]
    assert not scene.desk.rows(schema.study_to_tell)


def test_what_cannot_be_told_one_list_is_told_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.lists = (RIS, HOOK)
    scene.arrives()
    scene.judged(level=Priority.ROUTINE)
    scene.said()
    scene.arrives(L_CC)
    scene.judged()

    def fails(*args: Any, **how: Any) -> bytes:
        raise DeliveryError("it cannot be written")

    with monkeypatch.context() as patched:
        patched.setattr(HL7Receiver, "build", fails)
        assert scene.said() == ["hook: level urgent"]
    assert "ris is told nothing yet: it cannot be written" in scene.history()
    former, hook, new = scene.rows("ris") + scene.rows("hook")
    assert [one["state"] for one in (former, hook, new)] == ["cancelled", "cancelled", "queued"]
    scene.messages.begin_message(scene.job(new), NODE, scene.desk.enqueue)
    assert scene.teller.trouble == ""
    with monkeypatch.context() as patched:
        patched.setattr(HL7Receiver, "build", fails)
        scene.later()
        assert scene.said() == []
        assert scene.teller.trouble.startswith("reading lists are not told of 1 study: what to")
    scene.later()
    assert scene.said() == ["ris: level urgent"]
    assert scene.teller.trouble == ""


@pytest.mark.parametrize(
    "said",
    [
        {"PatientBirthDate": "00000000"},
        {"PatientBirthDate": "19991399"},
        {"PatientBirthDate": "19500229"},
        {"patient": Patient("P-1", "")},
        {"patient": Patient("P-1", "^^^")},
    ],
)
def test_what_is_amiss_in_a_header_keeps_no_level_from_a_list(
    scene: Scene, said: dict[str, Any]
) -> None:
    scene.arrives(**said)
    scene.judged()
    assert scene.said() == ["ris: level urgent"]


def test_a_store_that_is_away_for_a_moment_withdraws_nothing(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    scene.said()
    scene.sent()
    scene.arrives(L_CC)
    scene.judged(level=Priority.SOON)
    root = scene.desk.store.root
    root.rename(root.with_name("away"))
    assert scene.said() == []
    assert not scene.asked()  # at once
    assert scene.history()[-1] == "ris acknowledged: triage level urgent"
    scene.later()
    assert scene.said() == []
    assert (
        "nobody is told of its triage level yet: an object of it cannot be read"
        in (scene.desk.history(scene.study)[-1])
    )
    assert scene.teller.trouble != ""
    root.with_name("away").rename(root)
    scene.later()
    assert scene.said() == ["ris: level soon"]
    assert scene.teller.trouble == ""


def test_what_waits_while_the_store_is_away_is_not_sent_before_it_is_looked_at(
    scene: Scene,
) -> None:
    scene.arrives()
    scene.judged()
    scene.said()
    scene.arrives(patient=SOMEBODY_ELSE)
    root = scene.desk.store.root
    root.rename(root.with_name("away"))
    assert scene.said() == []
    with pytest.raises(Superseded, match="something else by now"):
        scene.sent()
    root.with_name("away").rename(root)
    scene.arrives(patient=Patient("P-3", "Poe^Anne"))  # which asks anew, at once
    assert scene.said() == ["ris: level urgent"]
    assert scene.told()[-1].whose.patient_id == "P-3"


def test_one_damaged_object_of_several_keeps_no_level_from_a_list(scene: Scene) -> None:
    scene.arrives(R_CC, L_CC)
    scene.judged()
    (paths,) = scene.telling.situation(scene.study).paths
    assert len(paths) == 2
    scene.desk.store.path(paths[0]).write_bytes(b"")
    assert scene.said() == ["ris: level urgent"]


def test_who_is_overtaken_while_deciding_changes_nothing(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    situation = scene.telling.situation(scene.study)
    scene.held(HeldBecause.PIXELS)
    assert not scene.telling.record(
        situation, [], cancelled=(), notes=["never"], deliver_within_s=1, enqueue=scene.desk.enqueue
    )
    assert scene.asked()
    assert "never" not in scene.desk.history(scene.study)


def test_two_nodes_write_one_message(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    situation = scene.telling.situation(scene.study)
    assert scene.said() == ["ris: level urgent"]
    assert not scene.telling.record(
        situation, [], cancelled=(), notes=(), deliver_within_s=1, enqueue=scene.desk.enqueue
    )
    assert len(scene.rows()) == 1


def test_a_node_that_died_while_it_sent_sends_the_same_again(scene: Scene) -> None:
    scene.arrives()
    scene.judged()
    scene.said()
    (row,) = scene.rows()
    scene.messages.begin_message(scene.job(row), NODE, scene.desk.enqueue)
    following = scene.desk.revived()
    assert (following.kind, following.attempt) == ("message", 2)
    letter = scene.messages.begin_message(following, "node-2", scene.desk.enqueue)
    assert (letter.control_id, letter.content) == (row["control_id"], row["content"])
    assert letter.may_be_known
    scene.messages.finish_message(following, ACKNOWLEDGED, scene.desk.enqueue)
    assert scene.states() == ["finished"]
    assert scene.rows()[0]["kind"] == MessageKind.LEVEL


def test_of_a_study_that_was_forgotten_a_list_is_told_anew_in_a_message_of_its_own(
    scene: Scene,
) -> None:
    scene.arrives()
    scene.judged()
    assert scene.said() == ["ris: level urgent"]
    scene.sent()
    (former,) = scene.rows()
    forget(scene.desk, scene.study)
    scene.arrives(L_CC)
    assert scene.said() == []  # there is no result any more: it waits for the next
    scene.judged(level=Priority.SOON)
    assert scene.said() == ["ris: level soon"]
    kept, new = scene.rows()
    assert (kept["control_id"], kept["told"]) == (former["control_id"], "")
    assert (new["sequence"], new["number"]) == (2, 2)
    assert new["control_id"] != former["control_id"]
