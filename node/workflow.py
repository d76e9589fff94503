"""The durable jobs: process a study version (steps 3 to 7), deliver its report set (8).

Each may die at any point and be run again: it reads the ledger, works, and commits once,
naming its attempt. What comes out of here never depends on how often it was tried.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from node import delivery
from node.config import Config
from node.engine import Engine
from node.errors import ModelError, StudyError, Superseded
from node.files import Store
from node.ledger import BuiltReport, Finished, Job, Ledger, Outcome, Work
from node.manifest import Model
from node.outputs.table import to_bytes
from node.pipeline import Pipeline, Task, analyse

log = logging.getLogger(__name__)

TRIES = 3
"""How often a model may fail on a study before its failure is the answer."""

RETRY_MODEL_S = 5.0


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
        try:
            work = self.ledger.begin_version(job, self.node_id, self.store)
            self._process(job, work, engine)
        except Superseded as reason:
            log.info("Nothing to do: %s", reason)
        except StudyError as error:
            log.error("Study %s is held: %s", job.study_uid, error)  # noqa: TRY400 - no defect
            self.ledger.hold_version(job, str(error))
        except ModelError as error:
            log.warning("%s failed: %s", job.id, error)
            self.ledger.fail_version(job, str(error), RETRY_MODEL_S * job.attempt, engine.enqueue)
        except Exception as error:  # a defect of ours: visible, counted, and tried again
            log.exception("%s failed", job.id)
            error_name, delay_s = type(error).__name__, RETRY_MODEL_S * job.attempt
            self.ledger.fail_version(job, error_name, delay_s, engine.enqueue)

    def _process(self, job: Job, work: Work, engine: Engine) -> None:
        results, objects = analyse(self.pipeline, self._task(work))
        reports = tuple(self._write(work, dataset) for dataset in objects)
        finished = Finished(
            results=results,
            reports=reports,
            destinations=self.config.destinations_of(work.sender),
            deliver_within_s=self.config.delivery.deliver_within_s,
        )
        self.ledger.finish_version(job, finished, engine.enqueue)
        log.info("Study %s version %d is analysed", job.study_uid, job.number)

    def _task(self, work: Work) -> Task:
        planned = {analysis.model: analysis for analysis in work.analyses}
        for name in planned.keys() - self.models.keys():
            log.warning("Study %s waits for %s, which is off now", work.version.study_uid, name)
        return Task(
            version=work.version,
            models=tuple(self.models[name] for name in self.models if name in planned),
            delivering=frozenset(name for name, a in planned.items() if a.mode == "deliver"),
            is_last_try=work.failures + 1 >= TRIES,
            set_aside=(
                "the analysis ended unexpectedly several times" if work.is_set_aside else ""
            ),
        )

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
        """Send what a destination does not have yet of a report set, over one association."""
        try:
            reports = self.ledger.begin_dispatch(job, self.node_id)
            outcomes = self._send(reports, job)
            delay_s = delivery.delay_s(job.attempt, self.config.delivery)
            self.ledger.finish_dispatch(job, outcomes, delay_s, engine.enqueue)
        except Superseded as reason:
            log.info("Nothing to send: %s", reason)

    def _send(self, reports: Sequence[BuiltReport], job: Job) -> list[Outcome]:
        try:
            peer = self.config.peer(job.destination)
            return delivery.send_reports(reports, peer, self.store, self.config.node.ae_title)
        except StopIteration:
            error = f"no peer is called {job.destination} any more"
        except Exception as defect:  # of ours: visible, and tried again with growing delay
            log.exception("%s failed", job.id)
            error = type(defect).__name__
        return [Outcome(report.sop_uid, "queued", error) for report in reports]
