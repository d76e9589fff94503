"""The node between dcmtk's modality and dcmtk's archive."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from odd_conversion import LATIN_1_NAME, name_in_latin_1_under_utf_8, values_of
from ports import free_port
from pydicom import dcmread
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from .conftest import Started
from .programs import (
    LOOPBACK,
    MODALITY_AE,
    NODE_AE,
    Node,
    StoreScp,
    data_set,
    dcmtk,
    peer,
    settings,
    wait_for,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

Exam = Callable[[str], list[Path]]

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
RESULTS = 6
"""Of a four-view exam: the report, the summary and one marked image per view."""


def test_an_echo_is_answered(node: Node) -> None:
    dcmtk("echoscu", "-aet", MODALITY_AE, "-aec", NODE_AE, LOOPBACK, str(node.port))


def test_a_stranger_is_rejected_and_the_log_shows_what_would_let_it_in(
    node: Node, exam: Exam
) -> None:
    address = ("-aec", NODE_AE, LOOPBACK, str(node.port))
    assert "Calling AE Title Not Recognized" in dcmtk(
        "echoscu", "-aet", "STRANGER", *address, ok=False
    )
    node.send(*exam("stranger"), calling="STRANGER", ok=False)
    assert not node.kept
    wait_for("a line about the stranger", lambda: "STRANGER" in node.says())


def test_a_wrong_called_ae_title_is_rejected(node: Node) -> None:
    address = ("-aec", "SOMEBODY", LOOPBACK, str(node.port))
    said = dcmtk("echoscu", "-aet", MODALITY_AE, *address, ok=False)
    assert "Called AE Title Not Recognized" in said


@pytest.mark.parametrize(
    ("encoder", "proposal", "syntax"),
    [
        ("dcmconv", "-x=", ExplicitVRLittleEndian),
        ("dcmcrle", "-xr", RLELossless),
        ("dcmcjpeg", "-xs", JPEGLosslessSV1),
    ],
    ids=["uncompressed", "RLE", "JPEG Lossless"],
)
def test_an_exam_is_kept_as_it_was_sent_and_answered(
    node: Node, pacs: StoreScp, exam: Exam, encoder: str, proposal: str, syntax: str
) -> None:
    sent = []
    for path in exam("whole"):
        dcmtk(encoder, path, path.with_suffix(".sent"))
        sent.append(path.with_suffix(".sent"))
    node.send(proposal, *sent)

    kept = node.kept
    assert len(kept) == len(sent)
    for path in sent:
        twin = kept[dcmread(path).SOPInstanceUID]
        assert data_set(twin) == data_set(path)
        assert dcmread(twin).file_meta.TransferSyntaxUID == syntax
    results = pacs.wait_for(RESULTS)
    assert {result.StudyInstanceUID for result in results} == {dcmread(sent[0]).StudyInstanceUID}
    assert sorted(result.Modality for result in results).count("SR") == 1


def test_what_the_archive_gets_is_what_the_node_kept(
    node: Node, pacs: StoreScp, exam: Exam
) -> None:
    node.send(*exam("kept"))
    pacs.wait_for(RESULTS)
    for path in pacs.received.iterdir():
        uid = str(dcmread(path).SOPInstanceUID)
        [built] = node.store.rglob(f"reports/**/{uid}*")
        if dcmread(path).SOPClassUID == SecondaryCaptureImageStorage:  # it takes JPEG-LS, too
            assert np.array_equal(dcmread(path).pixel_array, dcmread(built).pixel_array)
            assert path.stat().st_size < built.stat().st_size / 2
        else:
            assert data_set(path) == data_set(built)


def test_the_report_is_a_readable_document_with_a_measurement_of_every_view(
    node: Node, pacs: StoreScp, exam: Exam
) -> None:
    node.send(*exam("report"))
    pacs.wait_for(RESULTS)
    [report] = [p for p in pacs.received.iterdir() if dcmread(p).Modality == "SR"]
    assert dcmread(report).SOPClassUID == COMPREHENSIVE_SR
    page = dcmtk("dsr2html", report)
    assert len(re.findall(r"\b\d+(?:\.\d+)?\s*cm2", page)) >= 4
    dcmtk("dsrdump", report)


def test_results_keep_the_bytes_of_every_value_in_an_archive_that_takes_implicit_vr_alone(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    pacs = StoreScp(tmp_path / "pacs", "PACS", takes="+xi")
    port = free_port()
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    archive = peer("pacs", pacs.ae_title, pacs.port)
    node = Node(tmp_path / "node", port, settings(port, modality, archive))
    started(pacs)
    started(node)
    paths = exam("named in another character set")
    for path in paths:
        path.write_bytes(name_in_latin_1_under_utf_8(path.read_bytes()))
    node.send(*paths)
    pacs.wait_for(RESULTS)
    for path in pacs.received.iterdir():
        received = dcmread(path)
        assert received.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        values = values_of(received)
        [built] = node.store.rglob(f"reports/**/{received.SOPInstanceUID}*")
        assert values == values_of(dcmread(built))
        assert values[0x00100010] == LATIN_1_NAME


def test_many_associations_at_once_lose_nothing(node: Node, pacs: StoreScp, exam: Exam) -> None:
    studies = [exam(f"crowd {number}") for number in range(10)]
    senders = [node.send_in_background(path) for study in studies for path in study]
    assert [sender.wait(120) for sender in senders] == [0] * 40
    kept = node.kept
    for path in (path for study in studies for path in study):
        assert data_set(kept[dcmread(path).SOPInstanceUID]) == data_set(path)
    pacs.wait_for(len(studies) * RESULTS)
    told = node.studies()
    assert len(told) == len(studies)
    assert {study["version"] for study in told.values()} == {1}


def test_a_destination_that_is_down_or_refuses_delays_nobody_else_and_gets_its_results_later(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    port = free_port()
    down, steady = (StoreScp(tmp_path / name, name) for name in ("DOWN", "STEADY"))
    refusing = StoreScp(tmp_path / "REFUSING", "REFUSING", "--refuse")
    archives = (down, steady, refusing)
    names = [archive.ae_title.lower() for archive in archives]
    peers = [
        peer(name, archive.ae_title, archive.port)
        for name, archive in zip(names, archives, strict=True)
    ]
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=names)
    node = Node(tmp_path / "node", port, settings(port, modality, *peers))
    for program in (steady, refusing, node):
        started(program)

    node.send(*exam("spread"))
    results = {result.SOPInstanceUID for result in steady.wait_for(RESULTS)}
    assert not refusing.objects()
    [study] = node.studies().values()
    waiting = [d for d in study["deliveries"] if d["destination"] != "steady"]
    assert len(waiting) == 2 * RESULTS
    assert {delivery["state"] for delivery in waiting} == {"queued"}

    refusing.stop()
    willing = StoreScp(tmp_path / "WILLING", "REFUSING", port=refusing.port)
    for program in (willing, down):
        started(program)
    for archive in (willing, down):
        assert {result.SOPInstanceUID for result in archive.wait_for(RESULTS)} == results


def test_an_archive_that_dies_in_the_middle_gets_the_rest_when_it_is_back(
    tmp_path: Path, exam: Exam, started: Started
) -> None:
    port = free_port()
    aborting = StoreScp(tmp_path / "aborting", "PACS", "--abort-after")
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    archive = peer("pacs", "PACS", aborting.port)
    node = Node(tmp_path / "node", port, settings(port, modality, archive))
    started(aborting)
    started(node)
    node.send(*exam("aborted"))
    aborting.wait_until("it has aborted", lambda: "ABORT" in aborting.says())
    aborting.stop()

    back = StoreScp(tmp_path / "back", "PACS", port=aborting.port)
    started(back)
    assert len({result.SOPInstanceUID for result in back.wait_for(RESULTS)}) == RESULTS


def test_a_sender_that_is_cut_off_loses_nothing_it_was_told_is_safe(
    node: Node, pacs: StoreScp, exam: Exam
) -> None:
    files = exam("cut")
    whole = sum(path.stat().st_size for path in files)
    for part in (0.1, 0.4, 0.6, 0.9):
        with _cut_after(node.port, int(whole * part)) as port:
            address = ("-aet", MODALITY_AE, "-aec", NODE_AE, LOOPBACK, str(port))
            said = dcmtk("storescu", "-v", *address, *files, ok=False)
        stored = said.count("Received Store Response (Success)")
        kept = node.kept
        for path in files[:stored]:
            assert data_set(kept[dcmread(path).SOPInstanceUID]) == data_set(path)
        assert len(kept) < len(files)
    node.send(*files)
    assert len(pacs.wait_for(RESULTS)) == RESULTS
    assert not [path for path in (node.store / "incoming").rglob("*") if path.is_file()]


def test_a_sender_that_is_killed_leaves_the_node_working(
    node: Node, pacs: StoreScp, exam: Exam
) -> None:
    files = exam("killed")
    for _ in range(10):
        sender = node.send_in_background(*files * 3)
        wait_for("the first object", lambda: bool(node.kept))
        sender.kill()
        sender.wait()
    node.send(*files)
    assert len(pacs.wait_for(RESULTS)) == RESULTS


@pytest.mark.parametrize("attribute", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_uid_that_is_a_path_is_refused_and_kept_aside_with_the_reason(
    node: Node, exam: Exam, attribute: str, tmp_path: Path
) -> None:
    hostile = exam("hostile")[0]
    dcmtk("dcmodify", "-nb", "-m", f"{attribute}=../../etc", hostile)
    before = {path for path in tmp_path.rglob("*") if node.store not in path.parents}
    said = node.send(hostile, ok=False)
    assert "Received Store Response (Success)" not in said
    assert not node.kept
    assert not node.studies()
    after = {path for path in tmp_path.rglob("*") if node.store not in path.parents}
    assert {path for path in after - before if "state" not in path.parts} == set()
    assert len(list((node.store / "unreadable").glob("*.json"))) == 1
    dcmtk("echoscu", "-aet", MODALITY_AE, "-aec", NODE_AE, LOOPBACK, str(node.port))


@contextmanager
def _cut_after(port: int, count: int) -> Iterator[int]:
    """Listen on another port and pass one connection on to the node, but reset it in the middle."""
    with socket.create_server((LOOPBACK, 0)) as door:
        worker = threading.Thread(target=_pass_on, args=(door, port, count))
        worker.start()
        yield int(door.getsockname()[1])
        worker.join(60)


def _pass_on(door: socket.socket, port: int, count: int) -> None:
    caller, _ = door.accept()
    with caller, socket.create_connection((LOOPBACK, port)) as node:
        back = threading.Thread(target=_pump, args=(node, caller))
        back.start()
        while count > 0 and (piece := caller.recv(min(count, 4096))):
            node.sendall(piece)
            count -= len(piece)
        for end in (caller, node):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.shutdown(socket.SHUT_RD)
        back.join(60)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        pass  # the other thread has cut the line
