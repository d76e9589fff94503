"""C-GET and C-MOVE in the Study Root model: what is asked back (PS3.4 C.4.2 and C.4.3).

By C-GET its objects come over the association that asks, by C-MOVE over one that the other side
opens. What came is no matter of the status: who asks looks what is there.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import (
    StoragePresentationContexts,
    _config,
    build_context,
    build_role,
    evt,
)
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.dimse.association import NOT_DEFLATED, associate, offered
from node.dimse.refusal import Address
from node.dimse.status import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS
from node.errors import DeliveryError, Unsupported

log = logging.getLogger(__name__)

# Streams a data set to a file as it arrives, instead of holding it in memory.
_config.STORE_RECV_CHUNKED_DATASET = True
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False

RETRIEVING = {
    "get": str(StudyRootQueryRetrieveInformationModelGet),
    "move": str(StudyRootQueryRetrieveInformationModelMove),
}
"""The services by which `[[peers]] retrieve` has images asked back."""

_STORAGE_PER_ASSOCIATION = 127
"""PS3.8 9.3.2.2: there are 128 presentation contexts, and one is that of C-GET."""
_UIDS_PER_REQUEST = 100
_ENDED_WITHIN_S = 5
_PENDING = (0xFF00, 0xFF01)
_SOME_FAILED = 0xB000
_NOT_OFFERED = {
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0211: "unrecognised operation",
}
"""PS3.7 C.5: asking again would not help."""
_WHY_NOT = {
    0xA701: "out of resources: it cannot count what matches",
    0xA702: "out of resources: it cannot send",
    0xA801: "it does not know {destination}: enter it there, with this node's address and port",
    0xA900: "it does not understand the request",
    0xFE00: "cancelled",
}
"""PS3.4 tables C.4-2 and C.4-3."""
_UNABLE_TO_PROCESS = range(0xC000, 0xD000)

_Offer = tuple[str, tuple[str, ...]]
"""SOP class and the transfer syntaxes of one presentation context."""


@dataclass(frozen=True, slots=True)
class WantedObject:
    """An object that is asked back, as it was."""

    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What is asked back of a study."""

    study_uid: str
    objects: Sequence[WantedObject]
    is_whole: bool = False
    """The whole study is asked for, where single objects of it are not understood."""

    def identifiers(self) -> Iterator[Dataset]:
        """Yield what is asked for, one request after the other."""
        if self.is_whole:
            yield self._identifier("STUDY")
            return
        for series_uid in dict.fromkeys(one.series_uid for one in self.objects):
            uids = [one.sop_uid for one in self.objects if one.series_uid == series_uid]
            for start in range(0, len(uids), _UIDS_PER_REQUEST):
                query = self._identifier("IMAGE")
                query.SeriesInstanceUID = series_uid
                query.SOPInstanceUID = uids[start : start + _UIDS_PER_REQUEST]
                yield query

    def _identifier(self, level: str) -> Dataset:
        query = Dataset()
        query.QueryRetrieveLevel = level
        query.StudyInstanceUID = self.study_uid
        return query


@dataclass(frozen=True, slots=True)
class Retrieved:
    """How a peer says that it ended; which objects came, who asked knows better."""

    completed: int
    failed: int
    words: str = ""
    """What was wrong, "" if nothing was."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What ends a retrieval early."""

    whole_s: float
    """Nothing takes longer, however much comes."""
    on_begun: Callable[[Callable[[], None]], None] = lambda end: None
    """Told how to end it, by whoever wants to."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Where what comes by C-GET is written, and who keeps it."""

    folder: Path
    """Of what is not yet kept, on the file system of what is."""
    take: Callable[[Path], int]
    """Keeps a Part 10 file, which is gone afterwards; returns the status to answer."""


def get_objects(
    wanted: Retrieval, to: Address, calling_ae: str, keep: Keep, bounds: Bounds
) -> Retrieved:
    """Ask for objects by C-GET; each is kept as it comes.

    Encoded as they were, if the other side has them so, else uncompressed. Raises Unsupported if
    C-GET is not offered to us, DeliveryError if there is no answer.
    """
    with _written_to(keep.folder):
        parts = _by_contexts(wanted)
        return _sum(
            [one for part in parts for one in _get(wanted, part, to, calling_ae, keep, bounds)]
        )


def _get(
    wanted: Retrieval,
    part: Sequence[_Offer],
    to: Address,
    calling_ae: str,
    keep: Keep,
    bounds: Bounds,
) -> list[Retrieved]:
    service = StudyRootQueryRetrieveInformationModelGet
    association = associate(
        to,
        calling_ae,
        [build_context(service, list(NOT_DEFLATED)), *_contexts(part)],
        [(evt.EVT_C_STORE, lambda event: _take(event, keep))],
        _roles(part),
    )
    try:
        if not any(one.abstract_syntax == service for one in association.accepted_contexts):
            raise Unsupported(f"{to} does not offer C-GET")
        with _bounded(association, bounds):
            asks = [partial(association.send_c_get, one, service) for one in wanted.identifiers()]
            answers = [_ended(_asked(ask, to), "C-GET", to) for ask in asks]
    except BaseException:
        association.abort()
        _remove_unkept(association)
        raise
    association.release()
    return answers


@contextlib.contextmanager
def _written_to(folder: Path) -> Iterator[None]:
    """Have pynetdicom write what arrives into a folder: it does where tempfile says.

    A listener in this process has it write there for good.
    """
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        if tempfile.tempdir == str(folder):  # else the listener has stopped meanwhile
            tempfile.tempdir = before


def _remove_unkept(association: Association) -> None:
    """Remove what is left of an association that was broken off: half an object, or an unread one.

    Of an object that comes in parts, pynetdicom keeps the file open until the last.
    """
    association.join(_ENDED_WITHIN_S)  # until then more may be written
    dimse = association.dimse
    _remove(dimse.message)
    while not dimse.msg_queue.empty():
        _remove(dimse.msg_queue.get()[1], "_dataset")


def _remove(message: Any, name: str = "_data_set") -> None:
    """Remove the file of an object; of a message and of a request its name differs."""
    file, path = getattr(message, f"{name}_file", None), getattr(message, f"{name}_path", None)
    if file is not None and path is not None:
        with contextlib.suppress(OSError):  # what is still to be written cannot be
            file.close()
        Path(path).unlink(missing_ok=True)


def move_objects(
    wanted: Retrieval, to: Address, calling_ae: str, destination: str, bounds: Bounds
) -> Retrieved:
    """Ask for objects by C-MOVE, to an AE title that the other side knows as this node's.

    Raises as `get_objects` does.
    """
    # It need not say anything before the end (PS3.4 C.4.2.3.1), and opens an association first.
    patient = replace(to, timeout_s=max(to.timeout_s, bounds.whole_s))
    service = StudyRootQueryRetrieveInformationModelMove
    answers: list[Retrieved] = []
    with offered(service, patient, calling_ae) as association, _bounded(association, bounds):
        for query in wanted.identifiers():
            asked = _asked(partial(association.send_c_move, query, destination, service), to)
            answers.append(_ended(asked, "C-MOVE", to, destination))
    return _sum(answers)


def _sum(answers: Sequence[Retrieved]) -> Retrieved:
    words = dict.fromkeys(one.words for one in answers if one.words)
    return Retrieved(
        sum(one.completed for one in answers),
        sum(one.failed for one in answers),
        "; ".join(words),
    )


def _by_contexts(wanted: Retrieval) -> list[list[_Offer]]:
    """Return SOP classes with their transfer syntaxes, in parts that fit into an association.

    Of a whole study all that is common is taken: some give up at the first they may not send.
    """
    uncompressed = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
    offers: list[_Offer] = [(one.sop_class, (one.transfer_syntax,)) for one in wanted.objects]
    offers += [(one.sop_class, uncompressed) for one in wanted.objects]
    offers = list(dict.fromkeys(offers))
    size = _STORAGE_PER_ASSOCIATION
    parts = [offers[start : start + size] for start in range(0, len(offers), size)]
    if wanted.is_whole:
        known = {sop_class for sop_class, _ in offers}
        others = (str(context.abstract_syntax) for context in StoragePresentationContexts)
        more: list[_Offer] = [(one, uncompressed) for one in others if one not in known]
        parts[-1] += more[: size - len(parts[-1])]
    return parts


def _contexts(offers: Sequence[_Offer]) -> list[PresentationContext]:
    return [build_context(one, list(syntaxes)) for one, syntaxes in offers]


def _roles(offers: Sequence[_Offer]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Say that we take what comes: who asks for an association most often sends (PS3.7 D.3.3.4)."""
    return [build_role(UID(one), scp_role=True) for one in dict.fromkeys(one for one, _ in offers)]


@contextlib.contextmanager
def _bounded(association: Association, bounds: Bounds) -> Iterator[None]:
    """Abort what takes too long, or when somebody says so."""
    end = partial(_end, association)
    timer = threading.Timer(bounds.whole_s, end)
    timer.daemon = True
    timer.start()
    bounds.on_begun(end)
    try:
        yield
    finally:
        timer.cancel()


def _end(association: Association) -> None:
    association.abort()
    # Who waits for an answer would do so for the whole time-out: what was left to wake him, its own
    # loop may have taken, which is resumed by an abort, and ends.
    association.join(_ENDED_WITHIN_S)
    association.dimse.msg_queue.put((None, None))


def _asked(
    ask: Callable[[], Iterator[tuple[Dataset, Dataset | None]]], to: Address
) -> Iterator[tuple[Dataset, Dataset | None]]:
    try:
        return ask()
    except (RuntimeError, ValueError) as error:
        raise DeliveryError(f"{to.ae_title} ended the association") from error


def _ended(
    answers: Iterator[tuple[Dataset, Dataset | None]],
    service: str,
    to: Address,
    destination: str = "",
) -> Retrieved:
    """Wait for the last answer; raise unless there is one."""
    for answer, _ in answers:
        status = getattr(answer, "Status", None)
        if status is None:
            raise DeliveryError(f"{to.ae_title} has not answered {service} to its end")
        if status not in _PENDING:
            return _in_words(answer, status, service, to, destination)
    raise DeliveryError(f"{to.ae_title} has not answered {service}")


def _in_words(
    answer: Dataset, status: int, service: str, to: Address, destination: str
) -> Retrieved:
    if status in _NOT_OFFERED:
        words = f"{to.ae_title} answered {service} with 0x{status:04X} ({_NOT_OFFERED[status]})"
        raise Unsupported(words)
    completed = _count(answer, "Completed") + _count(answer, "Warning")
    failed = _count(answer, "Failed")
    if status == SUCCESS:
        return Retrieved(completed, failed)
    if status == _SOME_FAILED:
        words = f"{to.ae_title} sent {completed} objects, and {failed} it could not"
        return Retrieved(completed, failed, words)
    unknown = "it cannot do it" if status in _UNABLE_TO_PROCESS else "it does not say why"
    why = _WHY_NOT.get(status, unknown).format(destination=destination)
    return Retrieved(
        completed, failed, f"{to.ae_title} answered {service} with 0x{status:04X} ({why})"
    )


def _count(answer: Dataset, which: str) -> int:
    count: Any = answer.get(f"NumberOf{which}Suboperations")
    return count if isinstance(count, int) else 0


def _take(event: Event, keep: Keep) -> int:
    """Have an object that came kept; answer what became of it."""
    request: Any = event.request
    file, path = getattr(request, "_dataset_file", None), getattr(request, "_dataset_path", None)
    if file is None or path is None:
        return CANNOT_UNDERSTAND
    target = keep.folder / f"{uuid.uuid4()}.part"
    try:
        file.close()
        shutil.move(path, target)  # most often it is there already
        return keep.take(target)
    except OSError as error:
        log.error("Could not keep an object: %s", error.strerror)  # noqa: TRY400 - the disk's
        return OUT_OF_RESOURCES
    finally:
        Path(path).unlink(missing_ok=True)
        target.unlink(missing_ok=True)
