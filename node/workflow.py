"""The durable jobs: process a study version (steps 3 to 7), deliver its report set (8).

Each may die at any point and be run again: it reads the ledger, works, and commits once,
naming its attempt. What comes out of here never depends on how often it was tried.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pydicom import Dataset
from sqlalchemy.exc import SQLAlchemyError

from node.config import Config
from node.delivery import Confirmation, Courier, Transaction, delay_s, record_commitment
from node.engine import Engine
from node.errors import DeliveryError, ModelError, StudyError, Superseded
from node.files import Store
from node.ledger import BuiltReport, Finished, Job, Ledger, Outcome, Patience, Shipment, Work
from node.manifest import Model
from node.outputs.table import SUBSTITUTES, sop_classes, to_bytes
from node.pipeline import Pipeline, Task, analyse

log = logging.getLogger(__name__)

TRIES = 3
"""How often a model may fail on a study before its failure is the answer."""

RETRY_S = 5.0
RETRY_MAX_S = 300.0


@dataclass(frozen=True, slots=True)
class Workflow:
    """What the jobs need."""

    config: Config
    ledger: Ledger
    store: Store
    pipeline: Pipeline
    models: Mapping[str, Model]
    node_id: str

    def process(self, job: Job, engine: Engine) -> None:
        """Analyse a study version, build its report set and enqueue the deliveries."""
        is_last_chance = False
        try:
            work = self.ledger.begin_version(job, self.node_id, self.store)
            is_last_chance = work.is_set_aside
            self._process(job, work, engine)
        except Superseded as reason:
            log.info("Nothing to do: %s", reason)
        except StudyError as error:
            self.ledger.hold_version(job, str(error))
        except ModelError as error:
            self._try_again(job, str(error), engine, is_its_fault=True)
        except (OSError, SQLAlchemyError) as error:
            words = f"{type(error).__name__} of the machine: {getattr(error, 'strerror', '')}"
            is_missing = isinstance(error, FileNotFoundError)
            self._try_again(job, words, engine, is_its_fault=is_missing)
        except Exception as error:  # a defect of ours: visible, counted, and tried again
            log.exception("%s failed", job.id)
            words = type(error).__name__
            if is_last_chance:
                self.ledger.hold_version(job, f"its report could not be built ({words})")
            else:
                self._try_again(job, words, engine, is_its_fault=True)

    def _try_again(self, job: Job, error: str, engine: Engine, *, is_its_fault: bool) -> None:
        log.warning("%s failed: %s", job.id, error)
        delay_s = min(RETRY_S * job.attempt, RETRY_MAX_S)
        self.ledger.fail_version(job, error, delay_s, engine.enqueue, is_its_fault=is_its_fault)

    def _process(self, job: Job, work: Work, engine: Engine) -> None:
        task = self._task(work)
        if not task.models:
            names = ", ".join(analysis.model for analysis in work.analyses)
            self.ledger.cancel_version(job, f"model {names} has been switched off")
            return
        results, objects = analyse(self.pipeline, task)
        destinations = directions(self.config, work.sender)
        finished = Finished(
            results=results,
            reports=tuple(self._write(work, dataset) for dataset in objects),
            destinations=destinations,
            deliver_within_s=self.config.delivery.deliver_within_s,
            problem=self._why_undelivered(task, work.sender, has_objects=bool(objects)),
        )
        self.ledger.finish_version(job, finished, engine.enqueue)
        log.info("Study %s version %d is analysed", job.study_uid, job.number)

    def _task(self, work: Work) -> Task:
        planned = {analysis.model: analysis for analysis in work.analyses}
        return Task(
            version=work.version,
            models=tuple(self.models[name] for name in self.models if name in planned),
            delivering=frozenset(name for name, a in planned.items() if a.mode == "deliver"),
            is_last_try=work.failures + 1 >= TRIES,
            set_aside=(
                "the analysis ended unexpectedly several times" if work.is_set_aside else ""
            ),
        )

    def _why_undelivered(self, task: Task, sender: str, *, has_objects: bool) -> str | None:
        if not task.delivering:
            return None  # in shadow, nothing is meant to be sent
        if not has_objects:
            return "no result can be written: none of the study's objects can be read"
        if self.config.destinations_of(sender):
            return None
        if not any(peer.name == sender for peer in self.config.peers):
            return f"no destination: no peer is called {sender} any more"
        return f"no destination: peer {sender} neither receives nor names one in results_to"

    def _write(self, work: Work, dataset: Dataset) -> BuiltReport:
        content = to_bytes(dataset)
        path = self.store.write_report(content, work.version.study_uid, dataset.SOPInstanceUID)
        return BuiltReport(
            sop_uid=str(dataset.SOPInstanceUID),
            sop_class=str(dataset.SOPClassUID),
            path=path,
            digest=hashlib.sha256(content).hexdigest(),
        )

    def deliver(self, job: Job, engine: Engine) -> None:
        """Send what a destination does not have yet of a report set, and have it confirmed."""
        try:
            shipment = self.ledger.begin_dispatch(job, self.node_id)
            confirmation = self._deliver(job, shipment)
            self.ledger.finish_dispatch(
                job, confirmation.outcomes, confirmation.patience, engine.enqueue
            )
        except Superseded as reason:
            log.info("Nothing to send: %s", reason)

    def _deliver(self, job: Job, shipment: Shipment) -> Confirmation:
        retry_s = delay_s(job.attempt, self.config.delivery)
        try:
            peer = self.config.peer(job.destination)
            courier = Courier(peer, self.store, self.config.node.ae_title, self.config.delivery)
            return self._send_and_confirm(job, shipment, courier)
        except Superseded:
            raise
        except (DeliveryError, StudyError) as reason:
            log.warning("Delivery to %s: %s", job.destination, reason)
            error = str(reason)
        except (OSError, SQLAlchemyError) as trouble:  # of the machine: tried again
            error = f"{type(trouble).__name__} of this machine"
            log.warning("Delivery to %s: %s", job.destination, error)
        except Exception as defect:  # of ours: visible, and tried again with growing delay
            log.exception("%s failed", job.id)
            error = type(defect).__name__
        outcomes = [Outcome(report.sop_uid, "queued", error) for report in shipment.to_send]
        return Confirmation(Patience(retry_s, retry_s, waits_for=error), outcomes)

    def _send_and_confirm(self, job: Job, shipment: Shipment, courier: Courier) -> Confirmation:
        tried: set[str] = set()
        while unsent := [r for r in shipment.to_send if r.sop_uid not in tried]:
            conflict = None if tried else courier.find_conflict(unsent)
            if conflict is not None:
                self.ledger.hold_dispatch(job, conflict)
                raise Superseded(f"{job.id}: {conflict}")
            tried |= {report.sop_uid for report in unsent}
            outcomes = courier.send(unsent, lambda: self.ledger.require_current(job))
            shipment = self.ledger.record_sent(job, outcomes, SUBSTITUTES)
            sent = sum(outcome.state == "sent" for outcome in outcomes)
            words = "%s stored %d of %d objects of study %s"
            log.info(words, job.destination, sent, len(outcomes), job.study_uid)
        if shipment.to_send or not shipment.to_confirm:
            return Confirmation(Patience(delay_s(job.attempt, self.config.delivery)))
        transaction = Transaction(
            ask=lambda uid: self.ledger.ask_commitment(job, uid),
            withdraw=lambda uid: self.ledger.withdraw_commitment(job, uid),
            record=lambda report: record_commitment(self.ledger, report, self.config.delivery),
            is_answered=self.ledger.is_answered,
        )
        try:
            return courier.confirm(shipment, transaction, job.attempt, has_just_sent=bool(tried))
        except (Superseded, SQLAlchemyError):
            raise
        except Exception as error:  # what was sent stays sent; it is asked again later
            log.exception("%s: the confirmation failed", job.id)
            retry_s = delay_s(job.attempt, self.config.delivery)
            return Confirmation(Patience(retry_s, retry_s, waits_for=type(error).__name__))


def directions(config: Config, sender: str) -> dict[str, frozenset[str]]:
    """Return who gets the results of a sender's studies, and the SOP classes each should get."""
    names = config.destinations_of(sender)
    return {name: sop_classes(config.peer(name).kinds) for name in names}
