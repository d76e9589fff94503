"""Storage commitment asked of the node: by Orthanc, and across a kill before the report."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers import COMMITMENT, MODALITY_AE, Console, association, request_for
from ports import free_port
from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import build_context
from pynetdicom.sop_class import StorageCommitmentPushModelInstance

from .conftest import Started
from .programs import Node, Orthanc, peer, settings, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

Exam = Callable[[str], list[Path]]
ANSWERED = "modality was told what is kept (storage commitment): 4 kept"


def objects_of(paths: list[Path]) -> list[dict[str, str]]:
    images = [dcmread(path, stop_before_pixels=True) for path in paths]
    return [
        {"SOPClassUID": str(one.SOPClassUID), "SOPInstanceUID": str(one.SOPInstanceUID)}
        for one in images
    ]


def ask_by(orthanc: Orthanc, objects: list[dict[str, str]]) -> dict[str, Any]:
    """Let Orthanc ask the node, and return the report that it was given."""
    body = json.dumps({"DicomInstances": objects, "Timeout": 10}).encode()
    answer = orthanc.ask("/modalities/ainode/storage-commitment", body)
    path = f"/storage-commitment/{answer['ID']}"

    def report() -> dict[str, Any] | None:
        found: dict[str, Any] = orthanc.ask(path)
        return found if found["Status"] != "Pending" else None

    return wait_for("the report", report)


@pytest.fixture
def open_node(tmp_path: Path, started: Started) -> Callable[[str], tuple[Orthanc, Node]]:
    """Start Orthanc, and a node that has it as its only peer, with a line more in its table."""

    def start(line: str) -> tuple[Orthanc, Node]:
        port = free_port()
        orthanc = Orthanc(tmp_path / "orthanc", port)
        table = f"{peer('orthanc', orthanc.ae_title, orthanc.port, sends=True)}\n{line}"
        node = Node(tmp_path / "node", port, settings(port, table))
        started(orthanc)
        started(node)
        return orthanc, node

    return start


def test_orthanc_is_told_what_is_kept_of_what_it_sent(
    open_node: Callable[[str], tuple[Orthanc, Node]], exam: Exam
) -> None:
    orthanc, node = open_node("commits = true")
    files = exam("asked for")
    orthanc.forward(orthanc.upload(files))
    report = ask_by(orthanc, objects_of(files))
    assert report["Status"] == "Success"
    assert len(report["Success"]) == 4
    unknown = objects_of(files)[0] | {"SOPInstanceUID": str(generate_uid(None))}
    of_other_class = objects_of(files)[1] | {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}
    report = ask_by(orthanc, [*objects_of(files)[2:], unknown, of_other_class])
    assert report["Status"] == "Failure"
    assert len(report["Success"]) == 2
    reasons = {one["SOPInstanceUID"]: one["FailureReason"] for one in report["Failures"]}
    assert reasons == {
        unknown["SOPInstanceUID"]: 0x0112,
        of_other_class["SOPInstanceUID"]: 0x0119,
    }

    def told() -> list[str]:
        [study] = node.studies().values()
        return [words for _, words in study["history"] if "storage commitment" in words]

    # Orthanc has its report before the node has its answer, and remembers that it was told.
    wait_for("the node to remember both", lambda: len(told()) >= 2)
    assert told() == [
        "orthanc was told what is kept (storage commitment): 4 kept",
        "orthanc was told what is kept (storage commitment): 2 kept; 1 not: of another SOP class "
        "here",
    ]


def test_orthanc_is_refused_in_negotiation_and_its_own_reports_are_heard(
    open_node: Callable[[str], tuple[Orthanc, Node]], exam: Exam
) -> None:
    orthanc, node = open_node("")
    files = exam("off")
    orthanc.forward(orthanc.upload(files))

    def confirmed() -> bool:
        deliveries = [one for study in node.studies().values() for one in study["deliveries"]]
        return bool(deliveries) and {one["confirmed_by"] for one in deliveries} == {"commitment"}

    wait_for("Orthanc to answer for the results", confirmed)
    with pytest.raises(urllib.error.HTTPError):
        ask_by(orthanc, objects_of(files))
    assert "No acceptable presentation context" in orthanc.says()
    wait_for("a line", lambda: "orthanc proposes storage commitment, which is off" in node.says())


def test_a_report_comes_although_the_node_is_killed_after_it_has_taken_the_request(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    port, own_port = free_port(), free_port()
    table = peer("modality", MODALITY_AE, own_port, sends=True) + "\ncommits = true"
    # It takes no results, and is sent none: once they are refused, that is an error of the log.
    in_shadow = settings(port, table).replace('mode = "deliver"', 'mode = "shadow"')
    node = Node(tmp_path / "node", port, in_shadow)
    started(node)
    files = exam("killed")
    node.send(*files)
    objects = [(one["SOPClassUID"], one["SOPInstanceUID"]) for one in objects_of(files)]
    with association(port, [build_context(COMMITMENT)]) as opened:
        answer, _ = opened.send_n_action(
            request_for(objects), 1, COMMITMENT, StorageCommitmentPushModelInstance
        )
        node.kill()
        opened.abort()
    assert answer.Status == 0x0000

    console = Console(own_port)
    try:
        node.start()
        wait_for("the answer", lambda: ANSWERED in json.dumps(list(node.studies().values())))
    finally:
        console.close()
    [report] = console.reports
    assert report.TransactionUID == request_for(objects).TransactionUID
    assert len(report.ReferencedSOPSequence) == 4
