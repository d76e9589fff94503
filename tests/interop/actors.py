"""Who talks to a node that gets killed: a modality that insists, an archive that keeps count."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import factories
from peers import shut_down
from pydicom import Dataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from node.trial import phantom
from node.trial.phantom import Technique

from .programs import LOOPBACK, MODALITY_AE, NODE_AE, Node, data_set, wait_for

SUCCESS = 0x0000
RESULTS = 6
"""Of a four-view exam: the report, the summary and one marked image per view."""

Studies = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sent:
    """One object the node has sent."""

    study_uid: str
    sop_uid: str
    modality: str
    digest: str


class Archive:
    """A storage SCP that records every object it is sent, repeats too.

    With `calls` it answers for them by storage commitment, on an association that it opens to
    that port, again and again until somebody there has taken the report.
    """

    def __init__(self, ae_title: str = "ARCHIVE", calls: int | None = None) -> None:
        self.received: list[Sent] = []
        self.before_answer: Callable[[Sent], object] = bool
        """Called with every object, before the node is told that it is stored."""
        self._calls = calls
        self._is_closing = threading.Event()
        self._reports: list[threading.Thread] = []
        self._ae = AE(ae_title)
        self._ae.supported_contexts = AllStoragePresentationContexts
        if calls is not None:
            self._ae.add_supported_context(StorageCommitmentPushModel)
        server = self._ae.start_server(
            (LOOPBACK, 0),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._receive), (evt.EVT_N_ACTION, self._promise)],
        )
        assert server is not None
        self.port = int(server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._is_closing.set()
        shut_down(self._ae)
        for thread in self._reports:
            thread.join()

    def of_study(self, study_uid: str) -> list[Sent]:
        """Return what came of a study."""
        return [sent for sent in list(self.received) if sent.study_uid == study_uid]

    def has_all_of(self, study_uid: str) -> bool:
        """Say whether a whole report set has come."""
        return len({sent.sop_uid for sent in self.of_study(study_uid)}) >= RESULTS

    def has_some_of(self, study_uid: str) -> bool:
        """Say whether a report has come."""
        return any(sent.modality == "SR" for sent in self.of_study(study_uid))

    def _receive(self, event: evt.Event) -> int:
        result = event.dataset
        digest = hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest()
        uids = str(result.StudyInstanceUID), str(result.SOPInstanceUID)
        sent = Sent(*uids, str(result.Modality), digest)
        self.received.append(sent)
        self.before_answer(sent)
        return SUCCESS

    def _promise(self, event: evt.Event) -> tuple[int, None]:
        asked = event.action_information
        self._reports.append(threading.Thread(target=self._report, args=[asked]))
        self._reports[-1].start()
        return SUCCESS, None

    def _report(self, asked: Dataset) -> None:
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        report.ReferencedSOPSequence = asked.ReferencedSOPSequence
        while not self._is_closing.wait(0.2) and not self._is_taken(report):
            continue

    def _is_taken(self, report: Dataset) -> bool:
        assert self._calls is not None
        ae = AE(self._ae.ae_title)
        ae.acse_timeout = ae.dimse_timeout = 5
        roles: list[Any] = [build_role(StorageCommitmentPushModel, scp_role=True)]
        contexts = [build_context(StorageCommitmentPushModel)]
        opened = ae.associate(LOOPBACK, self._calls, contexts, ae_title=NODE_AE, ext_neg=roles)
        if not opened.is_established:
            return False
        try:
            status, _ = opened.send_n_event_report(
                report, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        except (RuntimeError, ValueError):
            return False
        if "Status" in status:
            opened.release()
        return int(status.get("Status", 1)) == SUCCESS


@dataclass(frozen=True, slots=True)
class Exam:
    """The files of one study."""

    study_uid: str
    files: dict[str, Path]
    """By SOP Instance UID."""


class Modality:
    """A scanner that repeats what was not answered with Success, for as long as it takes."""

    def __init__(self, port: int, ae_title: str = MODALITY_AE) -> None:
        self.port = port
        self._ae = AE(ae_title)
        self._ae.add_requested_context(
            DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
        )
        self.exams: list[Exam] = []
        self.acknowledged: set[str] = set()
        """The objects the node said are safe."""

    def acquire(self, folder: Path, technique: Technique = factories.SMALL) -> Exam:
        """Make another exam."""
        exam = make_exam(folder, f"exam {len(self.exams)}", technique)
        self.exams.append(exam)
        return exam

    def send(self, *, at_once: bool = False) -> bool:
        """Try once to send what is not yet acknowledged; say whether nothing is left.

        `at_once`: each object of a study over an association of its own.
        """
        for exam in self.exams:
            left = [(uid, exam.files[uid]) for uid in exam.files if uid not in self.acknowledged]
            if left and at_once:
                with ThreadPoolExecutor(len(left)) as senders:
                    list(senders.map(lambda one: self._send([one]), left))
            elif left:
                self._send(left)
        return all(exam.files.keys() <= self.acknowledged for exam in self.exams)

    def insist(self) -> None:
        """Send until everything is acknowledged."""
        wait_for("the node to acknowledge everything", self.send)

    def _send(self, files: Sequence[tuple[str, Path]]) -> None:
        association = self._ae.associate(LOOPBACK, self.port, ae_title=NODE_AE)
        if not association.is_established:
            return
        for sop_uid, file in files:
            # pynetdicom calls an association that ends established for a moment longer, and who
            # sends or releases within it waits the whole time-out: no answer is the end.
            try:
                status = association.send_c_store(file).get("Status")
            except RuntimeError:
                return
            if status is None:
                return
            if status == SUCCESS:
                self.acknowledged.add(sop_uid)
        association.release()


def make_exam(folder: Path, name: str, technique: Technique = factories.SMALL) -> Exam:
    """Make the files of a four-view exam; the name decides its UIDs."""
    made = phantom.exam(name, technique=technique)
    paths = phantom.save(made, folder / name)
    uids = [str(one.SOPInstanceUID) for one in made]
    return Exam(str(made[0].StudyInstanceUID), dict(zip(uids, paths, strict=True)))


def wait_until_all_is_done(node: Node, within_s: float = 240) -> Studies:
    """Wait until the node says that every study is done; return what it says."""

    def look() -> Studies | None:
        told = node.studies()
        states = {study["state"] for study in told.values()}
        assert not states & {"held", "cancelled", "undelivered"}, states
        return told if states == {"done"} else None

    return wait_for("every study to be done", look, within_s)


def faults(exam: Exam, archive: Archive, told: Studies, kept: Mapping[str, Path]) -> list[str]:
    """Return what is wrong with a study that a node has received and said to be done."""
    sent = archive.of_study(exam.study_uid)
    uids = {one.sop_uid for one in sent}
    reports = {one.sop_uid for one in sent if one.modality == "SR"}
    study = told.get(exam.study_uid, {"version": 0, "models": []})
    is_safe = {
        uid: uid in kept and data_set(kept[uid]) == data_set(file)
        for uid, file in exam.files.items()
    }
    wrong = {
        "an image is lost or changed": not all(is_safe.values()),
        "a result is lost": len(uids) < RESULTS,
        "there is a second report set": len(uids) > RESULTS or len(reports) > 1,
        "a repeat differs": len(set(sent)) > len(uids),
        "there is another version": study["version"] != 1,
        "it was not analysed": "4 of 4 images" not in str(study["models"]),
    }
    return [words for words, is_so in wrong.items() if is_so]
