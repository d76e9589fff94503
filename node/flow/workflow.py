"""The durable jobs: process a study version (steps 3 to 7), deliver its report set (8).

Each may die at any point and be run again: it reads the ledger, works, and commits once,
naming its attempt. What comes out of here never depends on how often it was tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from node.analysis.pipeline import Pipeline, Ranked, Task, analyse, models_named_in, rank
from node.config import Config
from node.deliver.confirmation import Transaction, delay_s, record_commitment
from node.deliver.courier import Courier, Ending, Sending
from node.deliver.destination import Destination
from node.domains.table import is_in_scope
from node.errors import DeliveryError, InferenceUnavailable, ModelError, StudyError, Superseded
from node.flow.engine import Engine
from node.kinds import KINDS, SUBSTITUTES, with_substitutes
from node.ledger import (
    GIVE_UP_AFTER,
    BuiltReport,
    Delivering,
    DeliveryState,
    Finished,
    Hurrying,
    Job,
    Mode,
    Outcome,
    Patience,
    PlannedAnalysis,
    Processing,
    Shipment,
    Stage,
    Triaged,
    Work,
    is_trouble,
    missing_words,
    named_objects,
    subjects_of,
    unless_recorded,
)
from node.logs import naming
from node.manifest import Model
from node.numbers_in_words import counted
from node.outputs import wording
from node.outputs.report_set import Built, to_bytes
from node.result import Result
from node.store import Store

log = logging.getLogger(__name__)

TRIES = GIVE_UP_AFTER
"""How often a model, or its process, may fail on a study before its failure is the answer."""

LOST_AFTER = 3
"""Attempts at a delivery after which a file of it that is not there, or damaged, is given up: on a
shared store it may only come late."""

_WRITERS = 4
"""A file that is made sure of waits for the disk most of the time."""

RETRY_S = 5.0
RETRY_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Workflow:
    """What the jobs need."""

    config: Config
    processing: Processing
    delivering: Delivering
    hurrying: Hurrying
    store: Store
    pipeline: Pipeline
    models: Mapping[str, Model]
    node_id: str
    destination_of: Callable[[str], Destination]
    """How results get to the peer of a name; raises DeliveryError if there is none any more."""
    former: Callable[[PlannedAnalysis], Model | None] = lambda planned: None
    """A model as it was when a version was closed; None if its package is not kept any more."""

    def process(self, job: Job, engine: Engine) -> None:
        """Analyse a study version, build its report set and enqueue the deliveries."""
        with naming(study=job.study_uid):
            self._attempt(job, engine)

    def _attempt(self, job: Job, engine: Engine) -> None:
        work = None
        try:
            work = self.processing.begin_version(job, self.node_id, self.store)
            self._process(job, work, engine)
        except Superseded as reason:
            log.info("%s: nothing to do: %s", job.id, reason)
        except Exception as error:  # noqa: BLE001 - each kind is said, and most are tried again
            with left_to_the_sweep(job):
                self._fail(job, work, error, engine)

    def _fail(self, job: Job, work: Work | None, error: Exception, engine: Engine) -> None:
        """Record how an attempt failed, and whose fault it is: a study's, or the machine's."""
        if work and isinstance(error, FileNotFoundError) and self._is_held_for_files(job, work):
            return
        is_of_the_machine = is_trouble_of_the_machine(error)
        delay_s = RETRY_S if is_of_the_machine else min(RETRY_S * job.attempt, RETRY_MAX_S)
        if isinstance(error, StudyError):
            self.processing.hold_version(job, str(error))
            return
        if is_of_the_machine:
            words = f"{type(error).__name__} of the machine: {_reason(error)}"
            log.error("%s failed: %s; tried again for as long as it lasts", job.id, words)
        elif isinstance(error, ModelError):
            words = str(error)
            log.warning("%s failed: %s", job.id, words)
        else:  # a defect of ours: visible, counted, and tried again
            words = type(error).__name__
            log.error("%s failed", job.id, exc_info=error)
        self.processing.fail_version(
            job,
            words,
            delay_s,
            engine.enqueue,
            is_its_fault=not is_of_the_machine,
            has_begun=work is not None,
        )

    def _process(self, job: Job, work: Work, engine: Engine) -> None:
        task = self._task(work)
        if not task.models:
            names = ", ".join(analysis.model for analysis in work.analyses)
            why_not = f"model {names} has been switched off"
            if any(analysis.package_digest for analysis in work.analyses):
                why_not = f"the package of model {names} that was to read it is not kept any more"
            log.warning("Study %s is not analysed: %s", job.study_uid, why_not)
            self.processing.cancel_version(job, why_not)
            return
        if self._is_held_for_files(job, work):
            return
        ranked = rank(self.pipeline, task) if work.stage == Stage.TRIAGE else None
        if ranked is None or self._end_triage(job, work, ranked, engine):
            self._report(job, work, task, ranked, engine)

    def _report(
        self, job: Job, work: Work, task: Task, ranked: Ranked | None, engine: Engine
    ) -> None:
        """Run the models that have not been `ranked` just now, build and enqueue what is sent."""
        decided_by: Result | None = None

        def decided(result: Result) -> None:
            nonlocal decided_by
            decided_by = result
            if ranked is None or result is not ranked.decided_by:  # else it is known
                self.processing.record_decision(job, result)  # whatever becomes of the report

        destinations = self._destinations(work)
        results, objects = analyse(self._pipeline_for(destinations), task, decided, ranked)
        if self._is_held_for_files(job, work):  # one was removed meanwhile: it looks refused
            return
        reports: list[BuiltReport] = []

        def remove() -> None:
            for report in reports:
                self.store.remove(report.path)

        with unless_recorded(remove):
            self._write_all(work, objects, reports)
            finished = Finished(
                results=results,
                reports=tuple(reports),
                destinations=destinations,
                deliver_within_s=self.config.delivery.deliver_within_s,
                problem=self._why_undelivered(task, work, has_objects=bool(objects)),
                decided_by=decided_by,
                briefs={result.model.name: wording.outcome(result) for result in results},
            )
            is_recorded = self.processing.finish_version(job, finished, engine.enqueue)
        if is_recorded:
            _say_what_is_analysed(job, work, finished)
        else:
            remove()

    def _end_triage(self, job: Job, work: Work, ranked: Ranked, engine: Engine) -> bool:
        """Record what triage found; return whether it is the turn of the study's report, too."""
        triaged = Triaged(
            results=ranked.results,
            decided_by=ranked.decided_by,
            briefs={result.model.name: wording.outcome(result) for result in ranked.results},
            sender_priority=self.config.priority_of(work.sender),
        )
        is_next = self.processing.end_triage(job, triaged, engine.enqueue)
        if not is_next:
            log.info("Study %s is triaged; others are due before its report", job.study_uid)
        return is_next

    def _is_held_for_files(self, job: Job, work: Work) -> bool:
        """Hold a study of which a file that is needed is not in the store: no report without it.

        Not if the store itself is away: then nothing can be said of a study.
        """
        root = self.store.root
        paths = [str(instance.path.relative_to(root)) for instance in work.version.instances]
        missing = self.store.lacks(paths)
        planned = [self.models[one.model] for one in work.analyses if one.model in self.models]
        is_removed = any(
            is_in_scope(shown, model.manifest) for shown in work.removed for model in planned
        )
        if not missing and not is_removed:
            return False
        words = missing_words(missing) if missing else "images of it are removed"
        self.processing.hold_missing(job, words)
        return True

    def _task(self, work: Work) -> Task:
        planned = {analysis.model: analysis for analysis in work.analyses}
        is_last_try = work.failures + 1 >= TRIES
        return Task(
            version=work.version,
            models=tuple(self._models_of(planned)),
            delivering=frozenset(name for name, a in planned.items() if a.mode == Mode.DELIVER),
            is_last_try=is_last_try,
            why_given_up=(
                "the analysis ended unexpectedly several times" if work.is_given_up else ""
            ),
            former_levels=work.former_levels,
            found_before=work.found_before,
        )

    def _models_of(self, planned: Mapping[str, PlannedAnalysis]) -> Iterator[Model]:
        """Yield what reads a version: as it was closed, whatever the configuration says by now."""
        first = [name for name in self.models if name in planned]
        for name in [*first, *sorted(planned.keys() - set(first))]:
            wanted, current = planned[name], self.models.get(name)
            is_it = current is not None and (
                (current.package_digest, current.points)
                == (wanted.package_digest, wanted.levels_from)
            )
            is_unsaid = wanted.package_digest is None  # of a former release
            model = current if is_it or is_unsaid else self.former(wanted)
            if model is not None:
                yield model

    def _destinations(self, work: Work) -> Mapping[str, frozenset[str]]:
        """Return who gets the results of a version: those of when it was closed."""
        if work.directions is None:
            return self.config.directions(work.sender)
        return work.directions

    def _pipeline_for(self, destinations: Mapping[str, frozenset[str]]) -> Pipeline:
        """Return what builds whatever these are to get, though nobody may any more."""
        wanted = frozenset[str]().union(*destinations.values()) & KINDS.keys()
        if not (more := sorted(wanted.difference(self.pipeline.outputs))):
            return self.pipeline
        return replace(self.pipeline, outputs=with_substitutes((*self.pipeline.outputs, *more)))

    def _why_undelivered(self, task: Task, work: Work, *, has_objects: bool) -> str | None:
        if not task.delivering:
            return None  # in shadow, nothing is meant to be sent
        if not has_objects:
            return "no result can be written: none of the study's objects can be read"
        return None if self._destinations(work) else self._why_nobody(work)

    def _why_nobody(self, work: Work) -> str:
        sender = work.sender
        if self.config.directions(sender):
            words = "no destination: when the study was complete, nobody got the results of"
            return f"{words} {sender}; `ai-node retry {work.version.study_uid}` sends them now"
        if not any(peer.name == sender for peer in self.config.peers):
            return f"no destination: no peer is called {sender} any more"
        folders = ", and no folder is for it" if self.config.folders else ""
        words = f"no destination: peer {sender} neither receives nor names one in results_to"
        return f"{words}{folders}"

    def _write_all(self, work: Work, objects: Sequence[Built], reports: list[BuiltReport]) -> None:
        """Write objects, several at once, and add to `reports` what is written, whatever fails."""
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="writer") as pool:
            written = [pool.submit(self._write, work, built) for built in objects]
        # The pool has ended: nothing of it is written any more.
        reports += [one.result() for one in written if one.exception() is None]
        for one in written:
            one.result()

    def _write(self, work: Work, built: Built) -> BuiltReport:
        dataset = built.dataset
        content = to_bytes(dataset)
        path = self.store.write_report(content, work.version.study_uid, dataset.SOPInstanceUID)
        return BuiltReport(
            sop_uid=str(dataset.SOPInstanceUID),
            kind=built.kind,
            sop_class=str(dataset.SOPClassUID),
            path=path,
            digest=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            series_uid=str(dataset.SeriesInstanceUID),
            made_by=models_named_in(dataset),
        )

    def deliver(self, job: Job, engine: Engine) -> None:
        """Send what a destination does not have yet of a report set, and have it confirmed."""
        with naming(**subjects_of(job)):
            try:
                with left_to_the_sweep(job):
                    shipment = self.delivering.begin_dispatch(job, self.node_id)
                    ending = self._deliver(job, shipment)
                    self.delivering.finish_dispatch(
                        job, ending.outcomes, ending.patience, engine.enqueue
                    )
                    if ending.has_taken:
                        self._hurry_others(job.destination, engine)
            except Superseded as reason:
                log.info("%s: nothing to send: %s", job.id, reason)

    def _hurry_others(self, destination: str, engine: Engine) -> None:
        """Let what waited for a destination go at once: it is there."""
        if hurried := self.hurrying.hurry(destination, engine.enqueue):
            words = "%s takes results: %s that waited for it at once"
            extra = {"destination": destination}
            go = counted(hurried, "delivery goes", "deliveries go")
            log.info(words, destination, go, extra=extra)

    def _deliver(self, job: Job, shipment: Shipment) -> Ending:
        retry_s = delay_s(_tries(job, shipment), self.config.delivery)
        is_unreached = False
        courier: Courier | None = None
        objects = named_objects(shipment.to_send or shipment.to_confirm)
        subjects = (job.study_uid, job.destination, objects)
        try:
            destination = self.destination_of(job.destination)
            courier = Courier(job.destination, destination, self.store, self.config.delivery)
            return self._send_and_confirm(job, shipment, courier)
        except Superseded:
            raise
        except (DeliveryError, StudyError) as reason:
            error = str(reason)
            is_unreached = isinstance(reason, DeliveryError) and courier is not None
            log.warning(_NOT_DELIVERED, *subjects, error)
        except (OSError, SQLAlchemyError) as trouble:  # of the machine: tried again
            error = f"{type(trouble).__name__} of this machine"
            log.error(_NOT_DELIVERED, *subjects, error)  # noqa: TRY400 - the machine's
        except Exception as defect:  # of ours: visible, and tried again with growing delay
            error = type(defect).__name__
            log.exception(_NOT_DELIVERED, *subjects, error)
        outcomes = [
            Outcome(report.sop_uid, DeliveryState.QUEUED, error) for report in shipment.to_send
        ]
        if is_unreached:
            retry_s = delay_s(job.attempt, self.config.delivery)
        patience = Patience(retry_s, retry_s, waits_for=error, is_unreached=is_unreached)
        return Ending(patience, outcomes)

    def _send_and_confirm(self, job: Job, shipment: Shipment, courier: Courier) -> Ending:
        tries = _tries(job, shipment)
        if lost := courier.lost(shipment.to_send) if tries >= LOST_AFTER else ():
            # Nothing goes in place of it, as for what a destination refuses.
            words = "is missing or damaged in the store: put it back, then `ai-node retry`"
            shipment = self.delivering.record_sent(
                job,
                [
                    Outcome(one.sop_uid, DeliveryState.REFUSED, f"its file {one.path} {words}")
                    for one in lost
                ],
            )
        to_send, has_taken = shipment.to_send, False
        if to_send:
            conflict = courier.find_conflict(to_send)
            if conflict is not None:
                self.delivering.hold_dispatch(job, conflict)
                raise Superseded(conflict)
            sending = courier.send(to_send, lambda: self.delivering.require_current(job))
            if sending.is_unreached:
                _say_what_was_stored(job, to_send, sending.outcomes)
                away = Patience(delay_s(job.attempt, self.config.delivery), is_unreached=True)
                return Ending(away, sending.outcomes)
            shipment, has_taken = self._record_and_substitute(job, to_send, sending, courier)
        if shipment.to_send or not shipment.to_confirm:
            return Ending(Patience(delay_s(tries, self.config.delivery)), has_taken=has_taken)
        ending = self._confirm(job, shipment, courier, tries, has_just_sent=bool(to_send))
        has_taken |= any(one.state == DeliveryState.CONFIRMED for one in ending.outcomes)
        return replace(ending, has_taken=has_taken)

    def _record_and_substitute(
        self, job: Job, reports: Sequence[BuiltReport], sending: Sending, courier: Courier
    ) -> tuple[Shipment, bool]:
        """Record what was said of objects, and send what goes in place of those that are refused.

        Returns what is left to do, and whether anything was taken.
        """
        tried: set[str] = set()
        has_taken = False
        while True:
            tried |= {report.sop_uid for report in reports}
            has_taken |= any(one.state == DeliveryState.SENT for one in sending.outcomes)
            shipment = self.delivering.record_sent(job, sending.outcomes, SUBSTITUTES)
            _say_what_was_stored(job, reports, sending.outcomes)
            reports = [report for report in shipment.to_send if report.sop_uid not in tried]
            if not reports:
                return shipment, has_taken
            sending = courier.send(reports, lambda: self.delivering.require_current(job))

    def _confirm(
        self,
        job: Job,
        shipment: Shipment,
        courier: Courier,
        tries: int,
        *,
        has_just_sent: bool,
    ) -> Ending:
        transaction = Transaction(
            ask=lambda uid: self.delivering.ask_commitment(job, uid),
            forget=lambda uid: self.delivering.forget_commitment(job, uid),
            record=lambda report: record_commitment(self.delivering, report, self.config.delivery),
            is_answered=self.delivering.is_answered,
        )
        try:
            ending = courier.confirm(shipment, transaction, tries, has_just_sent=has_just_sent)
        except (Superseded, SQLAlchemyError):
            raise
        except Exception as error:  # what was sent stays sent; it is asked again later
            log.exception("%s: the confirmation failed", job.id)
            retry_s = delay_s(tries, self.config.delivery)
            return Ending(Patience(retry_s, retry_s, waits_for=type(error).__name__))
        if ending.trouble is not None:
            objects = named_objects(shipment.to_confirm)
            words = "The results of study %s are not confirmed by %s (%s): %s"
            log.warning(words, job.study_uid, job.destination, objects, ending.trouble)
        if not ending.patience.is_unreached:
            return ending
        retry_s = delay_s(job.attempt, self.config.delivery)
        patience = replace(ending.patience, retry_s=retry_s, wait_s=retry_s)
        return replace(ending, patience=patience)


def _say_what_is_analysed(job: Job, work: Work, finished: Finished) -> None:
    log.info("Study %s version %d is analysed", job.study_uid, job.number)
    if work.is_given_up:
        words = "Study %s is given up, its analysis ended unexpectedly too often: not analysed"
        log.error(words, job.study_uid)
    if finished.problem:
        # Where nothing could be written, it is the study; else somebody has to be named.
        level = logging.ERROR if finished.reports else logging.WARNING
        words = "The results of study %s go nowhere: %s"
        log.log(level, words, job.study_uid, finished.problem)


def _tries(job: Job, shipment: Shipment) -> int:
    """Return how often it has been tried, but for what its destination was away for."""
    return 1 if shipment.waited_for_it else job.attempt


_NOT_DELIVERED = "The results of study %s are not delivered to %s yet (%s): %s"


def _say_what_was_stored(
    job: Job, reports: Sequence[BuiltReport], outcomes: Sequence[Outcome]
) -> None:
    """Say what a destination has stored; what has another in its place is missed by nobody."""
    replaced = {report.sop_uid for report in reports if report.kind in SUBSTITUTES}
    sent = [one for one in outcomes if one.state == DeliveryState.SENT]
    refused = [one for one in outcomes if one.state == DeliveryState.REFUSED]
    missed = [
        one
        for one in outcomes
        if one not in sent and not (one in refused and one.sop_uid in replaced)
    ]
    words = f"stored {len(sent)} of {len(outcomes)} objects"
    if refused:
        words += f", refuses {len(refused)} for good"
    if why := "; ".join(_reasons(reports, {one.sop_uid: one for one in (*missed, *refused)})):
        words += f": {why}"
    level = logging.WARNING if missed else logging.INFO
    log.log(level, "Study %s: %s %s", job.study_uid, job.destination, words)


def _reasons(reports: Sequence[BuiltReport], outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield each reason once, with the objects that it is the reason of."""
    for why in dict.fromkeys(outcome.error for outcome in outcomes.values() if outcome.error):
        of_it = [r for r in reports if r.sop_uid in outcomes and outcomes[r.sop_uid].error == why]
        yield f"{why} ({named_objects(of_it)})"


def is_trouble_of_the_machine(error: Exception) -> bool:
    """Whether it is the machine's, such as a full disk or a locked database, and may pass.

    So is an inference process that cannot be started: nobody has looked at the image.

    An OSError without a number is none of the system's: libraries raise those of what they read.
    """
    if isinstance(error, OSError):
        return error.errno is not None or isinstance(error, (ConnectionError, TimeoutError))
    return isinstance(error, InferenceUnavailable) or is_trouble(error)


@contextlib.contextmanager
def left_to_the_sweep(job: Job) -> Iterator[None]:
    """Let a job end whose end cannot be recorded: the reconcile sweep finds that nobody has it."""
    try:
        yield
    except SQLAlchemyError as error:
        if not is_trouble(error):
            raise
        words = "%s could not say how it ended, and is taken up again: the database says: %s"
        log.error(words, job.id, _reason(error))  # noqa: TRY400 - the machine's


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(getattr(error, "orig", None) or error)
    return " ".join(words.split())
