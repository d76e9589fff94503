"""Whatever happens in whatever order: what must never be, never is."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from ledgers import (
    CLOSING,
    EXCLUDED,
    HOUR_S,
    MODEL,
    NODE,
    SOMEBODY,
    SOMEBODY_ELSE,
    STUDY,
    Desk,
    apart,
    modalities,
)
from retained import READERS

from node.errors import NodeError, Superseded
from node.identity import disagreement
from node.ledger import (
    BEGINNING,
    Again,
    Closing,
    DeliveryState,
    DispatchState,
    GoingFile,
    InstanceState,
    Job,
    Ledger,
    Patience,
    Processing,
    Removable,
    Removal,
    Retaining,
    Shipment,
    Stage,
    StudyState,
    Triaged,
    VersionState,
    schema,
)
from node.result import Priority, Result, Triage
from node.store import Store

IMAGES = tuple(f"{STUDY}.{n}" for n in range(1, 4))
STAGES = ("nothing", "received", "closed", "running", "analysed", "sent")
UNREAD = f"{STUDY}.77"
"""An object that no model reads."""

_ANSWERS = (DeliveryState.SENT, DeliveryState.SENT, DeliveryState.QUEUED, DeliveryState.REFUSED)
WITHDRAWN = Closing("quiet 60 s", state=VersionState.WITHDRAWN, why_not="no image is left")
PATIENCES = (
    Patience(60),
    Patience(60, 600, waits_for="a report", has_asked=True),
    Patience(60, gives_up="never confirmed"),
    Patience(2 * HOUR_S, 2 * HOUR_S, waits_for="a report"),  # past the deadline
)

identities = st.sampled_from((*[SOMEBODY] * 3, SOMEBODY_ELSE))
levels = st.sampled_from((None, *Priority))
"""Those of a model that triages, or of none."""
numbers = st.integers(0, 3)
"""Of one of several things, as many as there are."""


T = TypeVar("T")


@contextlib.contextmanager
def what_waits(desk: Desk, is_there: bool) -> Iterator[None]:
    """Let another study wait meanwhile that is due before all."""
    table = schema.study_version
    other = {"study_uid": "1.2", "number": 1, "reason": "4/4 views", "state": "queued"}
    if is_there:
        with desk.ledger.writing() as db:
            db.execute(table.insert().values(other | {"closed_at": 0.0, "last_image_at": 0.0}))
    try:
        yield
    finally:
        with desk.ledger.writing() as db:
            db.execute(table.delete().where(table.c.study_uid == "1.2"))


def one_of(things: Sequence[T], number: int) -> T:
    """Return one of the last: of the early ones most are stale."""
    return things[-1 - number % len(things)]


class StudyLife(RuleBasedStateMachine):
    """All that can happen to one study, some of it to attempts that are long stale."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.fresh = itertools.count(100)
        self.seen: dict[str, list[dict[str, Any]]] = {}
        self.unfinished: list[Job] = []
        self.made_of: dict[int, set[tuple[str, str]]] = {}
        """The images of each version, as they were when it was closed."""
        self.sending: list[tuple[Job, Shipment]] = []
        self.confirmed: set[tuple[str, str]] = set()
        self.must_be_looked_at = False
        """An image contradicted another, and nobody has released the study since."""
        self.level: Priority | None = None
        """The study's, before."""
        self.look()

    def teardown(self) -> None:
        self.desk.ledger.close()

    # What comes

    @rule(
        sop_uid=st.sampled_from(IMAGES),
        identity=identities,
        how=st.sampled_from(("as before", "corrected", "corrected", "encoded anew", "repainted")),
        why_excluded=st.sampled_from((*[None] * 9, "no Patient ID")),
    )
    def an_image_comes(
        self, sop_uid: str, identity: str, how: str = "as before", why_excluded: str | None = None
    ) -> None:
        self._come(sop_uid, how, identity=identity, why_excluded=why_excluded)

    @rule(identity=identities)
    def an_object_comes_that_no_model_reads(self, identity: str) -> None:
        what = {"modality": "PR", "view": None, "is_in_scope": False}
        self._come(UNREAD, "as before", identity=identity, **what)

    @precondition(lambda self: self.seen["instance"])
    @rule(identity=identities)
    def all_images_are_corrected(self, identity: str) -> None:
        for instance in self.seen["instance"]:
            if instance["modality"] == "MG":
                self.an_image_comes(instance["sop_uid"], identity, "corrected")

    @precondition(lambda self: len(self.seen["rejection"]) < 2)
    @rule(sop_uid=st.sampled_from((IMAGES[0], UNREAD)))
    def a_rejection_note_comes(self, sop_uid: str) -> None:
        self.desk.withdraw(sop_uid, note=f"{STUDY}.{next(self.fresh)}", identity="- - -")

    def _come(self, sop_uid: str, how: str, *, identity: str, **what: Any) -> None:
        edition = 0 if how == "as before" else next(self.fresh)
        what |= {"digest": f"{identity}, edition {edition}", "identity": identity}
        recorded = self.desk.receive(sop_uid, **what)
        if recorded == "compare":
            kept = self.desk.row(schema.instance, sop_uid)
            is_changed = how != "encoded anew" or kept["identity"] != identity
            changed = ("Patient ID",) if is_changed else ()
            pixels: Literal["same", "other"] = "other" if how == "repainted" else "same"
            is_removed = kept["removed_at"] is not None
            again = Again(kept["digest"], pixels, changed, was_removed=is_removed)
            recorded = self.desk.receive(sop_uid, again=again, **what)
        assert recorded != "compare"
        self.must_be_looked_at |= recorded == "contradicts"

    # What is made of it

    @precondition(lambda self: self.is_arriving)
    @rule(stage=st.sampled_from(Stage))
    def it_is_closed(self, stage: Stage = Stage.REPORT) -> None:
        self._close(stage)

    def _close(self, stage: Stage = Stage.REPORT) -> Job:
        (arrival,) = self.desk.arrivals()
        closing = replace(CLOSING, stage=stage) if apart(arrival) is None else EXCLUDED
        job = self.desk.close(closing if "MG" in modalities(arrival) else WITHDRAWN)
        self.made_of[job.number] = self._images()
        return job

    @precondition(lambda self: self.jobs("process"))
    @rule(number=numbers)
    def an_attempt_begins(self, number: int) -> None:
        job = one_of(self.jobs("process"), number)
        with contextlib.suppress(Superseded):
            self.desk.begin(job)
            self._may_go_on(job)

    @precondition(lambda self: self.is_any("study_version", VersionState.RUNNING))
    @rule(number=numbers, level=levels, is_next=st.booleans())
    def triage_ends(self, number: int, level: Priority | None, is_next: bool) -> None:
        job = one_of(self.jobs("process"), number)
        result = None if level is None else Result(MODEL, (), triage=Triage(level, "a score"))
        said = Triaged(() if result is None else (result,), result)
        with contextlib.suppress(Superseded), what_waits(self.desk, not is_next):
            self.desk.processing.end_triage(job, said, self.desk.enqueue)
            self._may_go_on(job)

    @precondition(lambda self: self.jobs("process"))
    @rule(
        number=numbers,
        how=st.sampled_from(("well", "well", "badly", "without report")),
        level=levels,
    )
    def an_attempt_ends(self, number: int, how: str, level: Priority | None) -> None:
        job = one_of(self.jobs("process"), number)
        ledger = self.desk.ledger
        if how == "badly":
            Processing(ledger).fail_version(
                job, "out of memory", 5, self.desk.enqueue, is_its_fault=True
            )
        elif how == "without report":
            Processing(ledger).hold_version(job, "no report can be built")
        else:
            with contextlib.suppress(Superseded):
                if self.desk.finish(job, destinations=("pacs", "workstation"), level=level):
                    self._may_go_on(job)

    # Where it goes

    @precondition(lambda self: self.jobs("deliver"))
    @rule(number=numbers)
    def a_delivery_begins(self, number: int) -> None:
        job = one_of(self.jobs("deliver"), number)
        with contextlib.suppress(Superseded):
            self.sending.append((job, self.desk.delivering.begin_dispatch(job, NODE)))
            self._may_go_on(job)

    @precondition(lambda self: self.sending)
    @rule(
        number=numbers,
        states=st.lists(st.sampled_from(_ANSWERS), min_size=2),
    )
    def objects_are_sent(self, number: int, states: list[DeliveryState]) -> None:
        job, shipment = one_of(self.sending, number)
        outcomes = [
            self.desk.outcome(report, state)
            for report, state in zip(shipment.to_send, states, strict=False)
        ]
        with contextlib.suppress(Superseded):
            self.desk.delivering.require_current(job)
            self._may_go_on(job)
            self.sending.append((job, self.desk.delivering.record_sent(job, outcomes)))
            self._may_go_on(job)

    @precondition(lambda self: self.sending)
    @rule(number=numbers)
    def confirmation_is_asked_for(self, number: int) -> None:
        job, _ = one_of(self.sending, number)
        with contextlib.suppress(Superseded):
            self.desk.delivering.ask_commitment(job, f"2.25.{next(self.fresh)}")

    @precondition(lambda self: self.sending)
    @rule(
        number=numbers,
        patience=st.sampled_from(PATIENCES),
        state=st.sampled_from((None, DeliveryState.CONFIRMED, DeliveryState.QUEUED)),
    )
    def a_delivery_ends(self, number: int, patience: Patience, state: DeliveryState | None) -> None:
        job, shipment = one_of(self.sending, number)
        outcomes = [self.desk.outcome(report, state) for report in shipment.to_confirm if state]
        with contextlib.suppress(Superseded):
            self.desk.delivering.finish_dispatch(job, outcomes, patience, self.desk.enqueue)

    @precondition(lambda self: self.sending)
    @rule(number=numbers)
    def a_destination_knows_another_patient(self, number: int) -> None:
        job, _ = one_of(self.sending, number)
        with contextlib.suppress(Superseded):
            self.desk.delivering.hold_dispatch(job, "pacs has it under another patient ID")

    @precondition(lambda self: self.seen["commitment"])
    @rule(number=numbers, committed=st.sets(numbers), failed=st.sets(numbers, max_size=1))
    def a_destination_reports(self, number: int, committed: set[int], failed: set[int]) -> None:
        asked = one_of(self.seen["commitment"], number)
        uids = sorted({row["sop_uid"] for row in self.seen["delivery"]})
        assert self.desk.delivering.record_commitment(
            asked["transaction_uid"],
            {one_of(uids, one) for one in committed},
            {one_of(uids, one): "no such object instance" for one in failed},
            lambda attempt: 60.0,
        )

    # As it should go: without this, chance would seldom get far

    @initialize(stage=st.sampled_from(STAGES))
    def it_has_come_so_far(self, stage: str) -> None:
        steps = STAGES.index(stage)
        if steps >= STAGES.index("received"):
            for sop_uid in IMAGES[:-1]:  # one may come late
                self.an_image_comes(sop_uid, SOMEBODY)
        if steps >= STAGES.index("closed"):
            self.it_is_closed()
        if steps >= STAGES.index("running"):
            self.desk.begin(self.desk.jobs[-1])
        if steps >= STAGES.index("analysed"):
            self.desk.finish(self.desk.jobs[-1], destinations=("pacs", "workstation"))
        if steps >= STAGES.index("sent"):
            self.look()
            self.it_is_sent(0, is_over=True)
            self.it_is_sent(1, is_over=False)

    @precondition(lambda self: self.is_arriving)
    @rule()
    def it_is_analysed(self) -> None:
        job = self._close()
        if job in self.desk.sweeping.unfinished():
            self.desk.begin(job)
            self.desk.finish(job, destinations=("pacs", "workstation"))

    @precondition(lambda self: self.unsent())
    @rule(number=numbers, is_over=st.booleans())
    def it_is_sent(self, number: int, is_over: bool) -> None:
        job = one_of(self.unsent(), number)
        with contextlib.suppress(Superseded):
            shipment = self.desk.delivering.begin_dispatch(job, NODE)
            outcomes = [
                self.desk.outcome(report, DeliveryState.SENT) for report in shipment.to_send
            ]
            shipment = self.desk.delivering.record_sent(job, outcomes)
            self.desk.delivering.ask_commitment(job, f"2.25.{next(self.fresh)}")
            self.sending.append((job, shipment))
            if is_over:
                self.desk.delivering.finish_dispatch(job, (), PATIENCES[1], self.desk.enqueue)

    # Sweeps, hands and crashes

    @precondition(lambda self: self.unfinished)
    @rule(number=numbers)
    def a_job_is_taken_up_again(self, number: int) -> None:
        job = one_of(self.unfinished, number)
        self.desk.sweeping.revive(job, self.desk.enqueue)

    @precondition(lambda self: self.is_any("dispatch", DispatchState.DEAD))
    @rule()
    def what_was_given_up_is_sent_again(self) -> None:
        self.desk.by_hand.retry_dead(HOUR_S)

    @precondition(lambda self: self.is_held or self.is_any("study_version", VersionState.EXCLUDED))
    @rule()
    def a_person_lets_it_go_on(self) -> None:
        with contextlib.suppress(NodeError):
            self.desk.by_hand.release_study(STUDY)
            self.must_be_looked_at = False

    @precondition(
        lambda self: (
            self.is_any("study_version", VersionState.RUNNING)
            or self.is_any("dispatch", DispatchState.RUNNING)
        )
    )
    @rule()
    def the_node_stops(self) -> None:
        self.desk.nodes.retire_node(NODE)

    @rule(what=st.sampled_from(Removable))
    def what_nobody_is_owed_is_removed(self, what: Removable) -> None:
        self.desk.delete(schema.study_to_tell)  # as who tells reading lists does
        retaining = Retaining(self.desk.ledger)
        for study in retaining.portion(what, BEGINNING, 0, 10).studies:
            files = retaining.files(STUDY, what, READERS)
            assert retaining.remove(Removal(study, what, tuple(map(GoingFile, files)), "days"))
            self._nothing_was_owed()

    def _nothing_was_owed(self) -> None:
        self.look()
        (study,) = self.seen["study"]
        assert study["state"] == StudyState.CLOSED and not self.is_held and not self.unfinished
        for row in self.seen["study_version"]:
            is_given_up = row["state"] == VersionState.CANCELLED
            assert not (is_given_up and row["number"] == study["version"])
        for row in self.seen["dispatch"]:
            is_given_up = row["state"] == DispatchState.DEAD
            assert not (is_given_up and row["number"] == study["version"])

    # What must never be

    @invariant()
    def every_promise_is_kept(self) -> None:
        self.look()
        self._a_study_that_nobody_can_be_sure_of_is_held()
        self._what_is_not_final_is_listed()
        self._a_version_that_finished_has_one_report_set_and_no_other_has_any()
        self._what_is_confirmed_stays_confirmed()
        self._nothing_is_left_to_send_in_a_delivery_that_is_over()
        self._a_study_at_rest_has_an_answer_to_all_its_images()
        self._a_level_never_falls_silently()

    def _a_study_that_nobody_can_be_sure_of_is_held(self) -> None:
        said = {
            row["identity"]
            for row in self.seen["instance"]
            if row["state"] == InstanceState.CURRENT
        }
        if disagreement(said):
            assert self.is_held
        if self.must_be_looked_at:
            assert self.is_held

    def _what_is_not_final_is_listed(self) -> None:
        open_rows = {
            (row["number"], row.get("destination", ""), row["attempt"])
            for row in self.seen["study_version"] + self.seen["dispatch"]
            if not row["state"].is_final
        }
        listed = {(job.number, job.destination, job.attempt) for job in self.unfinished}
        assert listed == open_rows

    def _a_version_that_finished_has_one_report_set_and_no_other_has_any(self) -> None:
        versions = self.seen["study_version"]
        finished = [row["number"] for row in versions if row["state"] == VersionState.FINISHED]
        reports = [row["number"] for row in self.seen["report"]]
        assert sorted(reports) == sorted(finished * 2)

    def _what_is_confirmed_stays_confirmed(self) -> None:
        confirmed = {
            (row["sop_uid"], row["destination"])
            for row in self.seen["delivery"]
            if row["state"] == DeliveryState.CONFIRMED
        }
        assert self.confirmed <= confirmed
        self.confirmed = confirmed

    def _nothing_is_left_to_send_in_a_delivery_that_is_over(self) -> None:
        finished = {
            (row["number"], row["destination"])
            for row in self.seen["dispatch"]
            if row["state"] == DispatchState.FINISHED
        }
        for row in self.seen["delivery"]:
            if (row["number"], row["destination"]) in finished:
                assert row["state"] in (DeliveryState.SENT, DeliveryState.CONFIRMED)

    def _a_study_at_rest_has_an_answer_to_all_its_images(self) -> None:
        """Neither held nor received: what is there is answered, or somebody works on it."""
        for study in self.seen["study"]:
            if self.is_held or study["state"] != StudyState.CLOSED:
                return
            for row in self.seen["instance"]:
                if row["state"] == InstanceState.CURRENT and row["modality"] == "MG":
                    assert row["version"] is not None
            for row in self.seen["study_version"] + self.seen["dispatch"]:
                assert row["state"] != VersionState.CANCELLED or row["number"] != study["version"]

    def _a_level_never_falls_silently(self) -> None:
        for study in self.seen["study"]:
            before, after = self.level, study["level"]
            if before is not None and (after is None or after < before):
                lately = [e for e in self.desk.history()[-8:] if e.startswith("triage level")]
                assert f"{before}" in lately[-1]
                assert f"now {after or 'none'}" in lately[-1]
            self.level = after

    def _may_go_on(self, job: Job) -> None:
        """Check that nobody began or sent what is held, old, or not of the images as they are."""
        study = self.desk.study()
        assert study["held_reason"] is None
        assert study["version"] == job.number
        assert self.made_of[job.number] <= self._images()

    def _images(self) -> set[tuple[str, str]]:
        return {
            (row["sop_uid"], row["digest"])
            for row in self.desk.rows(schema.instance)
            if row["state"] == InstanceState.CURRENT and row["modality"] == "MG"
        }

    # What is seen of it

    def look(self) -> None:
        """Read all there is, once after each step."""
        tables = ("study", "instance", "rejection", "study_version", "report")
        for name in (*tables, "dispatch", "delivery", "commitment"):
            self.seen[name] = self.desk.rows(schema.metadata.tables[name])
        self.unfinished = self.desk.sweeping.unfinished()

    @property
    def is_held(self) -> bool:
        return any(row["held_reason"] for row in self.seen["study"])

    @property
    def is_arriving(self) -> bool:
        return (
            any(row["state"] == StudyState.RECEIVING for row in self.seen["study"])
            and not self.is_held
        )

    def is_any(self, table: str, state: str) -> bool:
        return any(row["state"] == state for row in self.seen[table])

    def jobs(self, kind: str) -> list[Job]:
        """Return all there ever were, and last those that still count."""
        return [job for job in self.desk.jobs + self.unfinished if job.kind == kind]

    def unsent(self) -> list[Job]:
        return [job for job in self.unfinished if job.kind == "deliver"]


@pytest.fixture(scope="module")
def new_life(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Callable[[], StudyLife]:
    folder = tmp_path_factory.mktemp("lives")
    lives = itertools.count()

    def new_life() -> StudyLife:
        copy = Path(shutil.copyfile(sqlite_template, folder / f"{next(lives)}.db"))
        return StudyLife(Desk(Ledger(f"sqlite:///{copy}"), Store(folder)))

    return new_life


@pytest.mark.parametrize("lives", [10, pytest.param(100, marks=pytest.mark.interop)])
@pytest.mark.slow
def test_no_order_of_events_breaks_a_promise(new_life: Callable[[], StudyLife], lives: int) -> None:
    run_state_machine_as_test(
        new_life,  # type: ignore[arg-type]  # a factory will do, it says itself
        settings=settings(
            max_examples=lives,
            phases=set(Phase) - {Phase.shrink},  # takes minutes; without this line, it is done
            stateful_step_count=40,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
