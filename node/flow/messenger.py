"""The durable job that sends a reading list one message: the same bytes at each attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from node.config import Delivery
from node.deliver.confirmation import delay_s
from node.deliver.messages.receiver import MessageRefused, Receiver
from node.errors import DeliveryError, Superseded, Unreached, Unsent
from node.flow.workflow import left_to_the_sweep
from node.ledger import Enqueue, Hurrying, Job, Letter, MessageEnd, Messages, subjects_of
from node.logs import naming

log = logging.getLogger(__name__)

_NOT_TOLD = "%s is not told of study %s yet: %s"


@dataclass(frozen=True, slots=True)
class Messenger:
    """What the job needs."""

    messages: Messages
    delivery: Delivery
    node_id: str
    receiver_of: Callable[[str], Receiver]
    """Who is told of levels by a name; raises DeliveryError if there is none any more."""
    hurrying: Hurrying

    def send(self, job: Job, enqueue: Enqueue) -> None:
        """Send a message that waits, and record what was said of it."""
        with naming(**subjects_of(job)):
            try:
                with left_to_the_sweep(job):
                    letter = self.messages.begin_message(job, self.node_id, enqueue)
                    end = self._bring(job, letter)
                    self.messages.finish_message(job, end, enqueue)
                    if end.ended != "failed":  # one that refuses this message is there, too
                        self.hurrying.hurry(job.destination, enqueue)
            except Superseded as reason:
                log.info("%s: nothing to tell: %s", job.id, reason)

    def _bring(self, job: Job, letter: Letter) -> MessageEnd:
        retry_s = delay_s(letter.failures + 1, self.delivery)
        try:
            self.receiver_of(job.destination).bring(letter.content, letter.control_id)
        except MessageRefused as reason:
            return MessageEnd("refused", str(reason), is_unknown=not letter.may_be_known)
        except DeliveryError as reason:
            log.warning(_NOT_TOLD, job.destination, job.study_uid, reason)
            is_unreached = isinstance(reason, Unreached)
            return MessageEnd(
                "failed",
                str(reason),
                delay_s(job.attempt, self.delivery) if is_unreached else retry_s,
                is_unreached=is_unreached,
                is_unknown=isinstance(reason, Unsent) and not letter.may_be_known,
            )
        except Exception as defect:  # of ours: visible, and tried again with growing delay
            log.exception(_NOT_TOLD, job.destination, job.study_uid, type(defect).__name__)
            return MessageEnd("failed", type(defect).__name__, retry_s)
        return MessageEnd("acknowledged")
