"""Storage commitment for peers that have `commits = true`: what they may be sure of.

Committed is what has a row, hence was fsynced under its final name, and whose file is still as it
came: it is read again, whole, before it is promised. It is marked so before the peer is told.

The request is a row, too: whatever dies, its report follows,
sent by one of the nodes, again and again until the peer takes it or `deliver_within_s` is over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import sqlalchemy as sa

from node.config import Config, Peer
from node.current import Current
from node.deliver.confirmation import delay_s
from node.dimse import Address
from node.dimse.commitment_request import (
    CommitmentAnswer,
    NotTaken,
    OpenRequest,
    ReferencedObject,
    report_commitment,
)
from node.dimse.status import (
    CLASS_INSTANCE_CONFLICT,
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_INSTANCE,
    NOT_AUTHORISED,
    PROCESSING_FAILURE,
    SUCCESS,
)
from node.errors import DeliveryError, Unreadable
from node.ledger import CommitmentState, Committing, InstanceState, KeptObject, RequestTaken
from node.logs import naming
from node.store import Store, is_as_it_came

log = logging.getLogger(__name__)

LINGERS_S = 1.0
"""Who waits for the report on the association of his request still has it open then."""
COMMITMENT_EVERY_S = 5
_REMEMBERED_S = 30 * 86_400.0
"""How long a request that has been answered is known when it comes again."""
_TURN_S = 60.0
"""After so long a sweep leaves the rest to the next: it must come round."""
_ANSWER_WITHIN_S = 15.0
"""And so it waits for each answer, whatever the peer's timeout_s."""


class _NotKept(Enum):
    """Why an object is not committed."""

    UNKNOWN = NO_SUCH_INSTANCE, "not here"
    LOST = NO_SUCH_INSTANCE, "file is lost"
    REMOVED = NO_SUCH_INSTANCE, "removed, as nobody was owed it any more"
    DAMAGED = PROCESSING_FAILURE, "file is not as it came"
    OTHER_CLASS = CLASS_INSTANCE_CONFLICT, "of another SOP class here"
    CONTRADICTED = PROCESSING_FAILURE, "came with different pixels, too"
    WITHDRAWN = PROCESSING_FAILURE, "withdrawn by a rejection note"
    OURS = PROCESSING_FAILURE, "a result of ours"

    @property
    def reason(self) -> int:
        """The Failure Reason (0008,1197), PS3.3 C.14.1.1."""
        return self.value[0]


@dataclass(frozen=True, slots=True)
class _Judgement:
    """What is kept of what was asked for."""

    kept: Mapping[str, KeptObject]
    """By SOP Instance UID, right or wrong: objects of which there is a row."""
    why_not: Mapping[ReferencedObject, _NotKept | None]
    """None: it is committed."""

    @property
    def committed(self) -> list[ReferencedObject]:
        """The objects we answer for."""
        return [one for one, why in self.why_not.items() if why is None]

    @property
    def failed(self) -> dict[ReferencedObject, int]:
        """The others, with the Failure Reason of each."""
        return {one: why.reason for one, why in self.why_not.items() if why is not None}

    def notes(self, words: str) -> dict[str, str]:
        """Return what to write into the history of each study."""
        of_study: dict[str, list[_NotKept | None]] = {}
        for (_, sop_uid), why in self.why_not.items():
            if sop_uid in self.kept:
                of_study.setdefault(self.kept[sop_uid].study_uid, []).append(why)
        return {uid: f"{words} {_in_words(answers)}" for uid, answers in of_study.items()}

    def __str__(self) -> str:
        return _in_words(self.why_not.values())


@dataclass(frozen=True, slots=True)
class _Reading:
    """What has been read again for a request: that may take more than one turn."""

    taken: RequestTaken
    found: dict[tuple[str, str], _NotKept | None]
    """By path and digest."""

    def goes_on_with(self, taken: RequestTaken) -> bool:
        """Whether this is the same request, and nobody has had it meanwhile."""
        return replace(self.taken, attempt=self.taken.attempt + 1) == taken


@dataclass(slots=True)
class Committer:
    """Takes requests for storage commitment, and reports. Safe to use from many threads."""

    current: Current
    store: Store
    committing: Committing
    live_nodes: Callable[[], Collection[str]]
    on_asked: Callable[[], None] = lambda: None
    """Told that a report will be due after `LINGERS_S`."""
    _open: dict[tuple[str, str], OpenRequest] = field(default_factory=dict)
    """By peer and Transaction UID: where the report may be waited for."""
    _reading: _Reading | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def _config(self) -> Config:
        return self.current.config

    def take(self, asked: OpenRequest, peer: Peer) -> int:
        """Record a request and return the status that answers it: Success once it is recorded."""
        if not peer.commits:
            words = (
                "%s asked for storage commitment, which is off for it; what commits = true in its "
                "table means stands in docs/storage-commitment.md"
            )
            log.warning(words, peer.name, extra={"peer": peer.name})
            return NOT_AUTHORISED
        try:
            return self._take(asked, peer)
        except NotTaken as error:
            log.warning("A storage commitment request of %s is not taken: %s", peer.name, error)
            return error.status
        except sa.exc.DBAPIError as error:
            log.error("Could not keep a storage commitment request: %s", error.orig)  # noqa: TRY400
        except Exception:  # whatever it was, the peer must get an answer
            log.exception("Could not keep a storage commitment request")
        return PROCESSING_FAILURE

    def _take(self, asked: OpenRequest, peer: Peer) -> int:
        request = asked.read()
        key = (peer.name, request.transaction_uid)
        if not self.committing.ask(*key, request.objects, LINGERS_S):
            raise NotTaken(
                INVALID_ARGUMENT_VALUE, "its Transaction UID was used for other objects before"
            )
        self._open[key] = asked
        log.info("%s asks whether %d objects are kept", peer.name, len(request.objects))
        self.on_asked()
        return SUCCESS

    def report(self) -> None:
        """Report on the requests that are due, for a sweep; of a peer that is away, on one."""
        if not self._turn.acquire(blocking=False):
            return  # the sweep that has begun, or the next, sees to it
        try:
            if self.committing.is_any_due():
                self._report_all()
                self.committing.forget(_REMEMBERED_S)
        finally:
            self._turn.release()

    def _report_all(self) -> None:
        for key, asked in list(self._open.items()):
            if asked.is_over:
                self._open.pop(key, None)
        away: set[str] = set()
        node_id, give_up_at = self.store.node_id, time.monotonic() + _TURN_S
        # What is ours here we have left behind: there is one turn at a time.
        others = set(self.live_nodes()) - {node_id}
        while time.monotonic() < give_up_at:
            taken = self.committing.take(node_id, others, away)
            if taken is None:
                return
            if not any(peer.name == taken.peer and peer.commits for peer in self._config.peers):
                self._withhold(taken)
                continue
            judgement = self._judge(taken, give_up_at)
            if judgement is None:
                return  # it stays ours, and the next turn goes on with it
            if not self._report_on(taken, judgement):
                away.add(taken.peer)

    def _withhold(self, taken: RequestTaken) -> None:
        """End a request of a peer that may not be told any more."""
        why = "storage commitment (commits) is off for it"
        words = "%s is not told what is kept, though it asked: %s"
        log.warning(words, taken.peer, why, extra={"peer": taken.peer})
        kept = self.committing.find_kept(sop_uid for _, sop_uid in taken.objects)
        words = f"{taken.peer} is not told what is kept, though it asked: {why}"
        notes = {one.study_uid: words for one in kept.values()}
        self.committing.end(taken, CommitmentState.GIVEN_UP, notes, why)

    def _report_on(self, taken: RequestTaken, judgement: _Judgement) -> bool:
        """Report; return whether that has ended, well or badly, and not only been put off."""
        with naming(peer=taken.peer):
            return self._has_reported(taken, judgement)

    def _has_reported(self, taken: RequestTaken, judgement: _Judgement) -> bool:
        if not self.committing.mark(sop_uid for _, sop_uid in judgement.committed):
            return self._put_off(taken, judgement, "objects were removed while they were looked at")
        answer = CommitmentAnswer(taken.transaction_uid, judgement.committed, judgement.failed)
        try:
            self._tell(taken, answer)
        except DeliveryError as error:
            return self._put_off(taken, judgement, str(error))
        told = log.warning if judgement.failed else log.info
        told("%s was told what is kept: %s", taken.peer, judgement)
        notes = judgement.notes(f"{taken.peer} was told what is kept (storage commitment):")
        self.committing.end(taken, CommitmentState.REPORTED, notes)
        return True

    def _tell(self, taken: RequestTaken, answer: CommitmentAnswer) -> None:
        waiting = self._open.pop((taken.peer, taken.transaction_uid), None)
        if waiting is not None and waiting.is_waiting and waiting.report(answer):
            return
        peer = self._config.peer(taken.peer)
        within_s = min(peer.timeout_s, _ANSWER_WITHIN_S)
        address = Address(peer.ae_title, peer.host, peer.port, within_s)
        report_commitment(answer, address, self._config.node.ae_title)

    def _put_off(self, taken: RequestTaken, judgement: _Judgement, why: str) -> bool:
        delivery = self._config.delivery
        wait_s = delay_s(taken.attempt, delivery)
        if self.committing.put_off(taken, wait_s, delivery.deliver_within_s, why):
            log.warning("A storage commitment report follows later: %s", why)
            return False
        log.error("A storage commitment report to %s is given up: %s", taken.peer, why)
        notes = judgement.notes(f"{taken.peer} did not take a storage commitment report ({why}):")
        self.committing.end(taken, CommitmentState.GIVEN_UP, notes, why)
        return True

    def _judge(self, taken: RequestTaken, give_up_at: float) -> _Judgement | None:
        """Return what is kept of what was asked for; None if the time is over before all is read.

        What was read until then is remembered for the next turn.
        """
        kept = self.committing.find_kept(sop_uid for _, sop_uid in taken.objects)
        contradicted = self.store.contradicted(kept.keys())
        is_begun = self._reading is not None and self._reading.goes_on_with(taken)
        found = self._reading.found if self._reading is not None and is_begun else {}
        self._reading = _Reading(taken, found)
        why_not: dict[ReferencedObject, _NotKept | None] = {}
        for asked in taken.objects:
            one = kept.get(asked[1])
            why = self._why_not(asked, one, is_contradicted=asked[1] in contradicted)
            if why is None and one is not None:
                key = one.path, one.digest
                if key not in found:
                    if time.monotonic() >= give_up_at:
                        return None
                    found[key] = self._read_again(one)
                why = found[key]
            why_not[asked] = why
        self._reading = None
        return _Judgement(kept, why_not)

    def _why_not(
        self, asked: ReferencedObject, kept: KeptObject | None, *, is_contradicted: bool
    ) -> _NotKept | None:
        """Return what speaks against an object without a look at its file."""
        if kept is None:
            return _NotKept.UNKNOWN
        if kept.sop_class != asked[0]:
            return _NotKept.OTHER_CLASS
        if kept.state != InstanceState.CURRENT:
            # Of a result of ours, a copy that comes back is not kept.
            return _NotKept.OURS if kept.state == InstanceState.OWN else _NotKept.WITHDRAWN
        if kept.is_removed:
            return _NotKept.REMOVED
        return _NotKept.CONTRADICTED if is_contradicted else None

    def _read_again(self, kept: KeptObject) -> _NotKept | None:
        why = "it has other content"
        try:
            if is_as_it_came(self.store.path(kept.path), kept.digest, kept.transfer_syntax):
                return None
        except FileNotFoundError:
            log.error("A file is lost that somebody asks about: %s", kept.path)  # noqa: TRY400
            return _NotKept.LOST
        except OSError as error:
            why = str(error.strerror)
        except Unreadable as error:
            why = str(error)
        log.error("A file is not as it came, and is not answered for: %s (%s)", kept.path, why)
        return _NotKept.DAMAGED


def _in_words(answers: Iterable[_NotKept | None]) -> str:
    counts = Counter(answers)
    parts = [f"{counts.pop(None, 0)} kept"]
    return "; ".join(
        parts + [f"{count} not: {why.value[1]}" for why, count in counts.items() if why]
    )
