"""Odd peers at the ports of the node, dcmtk's storescp and a stock Orthanc; a disk that fills."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from pathlib import Path

import factories
import odd_classes
import pytest
from odd_requests import ODD, odd_requests
from ports import free_port

from .conftest import Started
from .programs import (
    LOOPBACK,
    MODALITY_AE,
    NODE_AE,
    Node,
    Orthanc,
    StoreScp,
    dcmtk,
    peer,
    program,
    settings,
    wait_for,
)

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

ACCEPTED = 0x02


def answer(port: int, said: bytes) -> int:
    """Return the type of the PDU that something is answered with, 0 if there is none."""
    with socket.create_connection((LOOPBACK, port), timeout=30) as caller:
        caller.sendall(said)
        try:
            return (caller.recv(1) or b"\0")[0]
        except ConnectionResetError:
            return 0


def test_odd_requests_that_dcmtk_or_orthanc_accept_are_accepted_by_the_node(
    node: Node, pacs: StoreScp, tmp_path: Path, started: Started
) -> None:
    orthanc = Orthanc(tmp_path / "orthanc", node.port)
    started(orthanc)
    accepted = {
        other.ae_title: {
            name
            for name, said in odd_requests(other.ae_title.encode(), NODE_AE.encode()).items()
            if answer(other.port, said) == ACCEPTED
        }
        for other in (pacs, orthanc)
    }
    for by_others in accepted.values():
        assert by_others >= {"NUL behind AE titles", "unknown user information"}
    assert {name for name, said in ODD.items() if answer(node.port, said) == ACCEPTED} == set(ODD)
    wait_for("lines of who left", lambda: node.says().count("broke off its conn") == len(ODD))
    assert "Traceback" not in node.says()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "HTTP"),
        (b"\x0bMSH|^~\\&|HIS\x1c\r", "HL7"),
        (b"\x16\x03\1", "TLS"),
    ],
)
def test_what_speaks_something_else_is_named(node: Node, said: bytes, kind: str) -> None:
    with socket.create_connection((LOOPBACK, node.port), timeout=30) as caller:
        caller.sendall(said)
        caller.shutdown(socket.SHUT_WR)
        caller.recv(10)
    wait_for("a line", lambda: f"from {LOOPBACK}: it sent {kind}" in node.says())


def test_a_hundred_silent_connections_keep_no_modality_out(node: Node, tmp_path: Path) -> None:
    files = factories.saved_exam(tmp_path / "exam", "silent")
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection((LOOPBACK, node.port), timeout=30))
        said = node.send("-ta", "5", *files)
    assert said.count("Received Store Response (Success)") == len(files)


def test_a_private_class_stops_neither_storescu_nor_orthanc(
    orthanc_node: tuple[Orthanc, Node], tmp_path: Path
) -> None:
    orthanc, node = orthanc_node
    files = factories.saved_exam(tmp_path / "exam", "private")
    files[1].write_bytes(odd_classes.private_class(files[1].read_bytes()))
    orthanc.forward(orthanc.upload(files))
    wait_for("all four", lambda: len(node.kept) == len(files))


def test_a_disk_that_fills_is_told_and_the_association_goes_on(
    tmp_path: Path, started: Started
) -> None:
    """A store on a file system of its own, in which there is room for one image and a half."""
    big = factories.saved_exam(tmp_path / "exam", "full")
    size = big[0].stat().st_size
    store, port = tmp_path / "node" / "full", free_port()
    store.mkdir(parents=True)
    (tmp_path / "node" / "ballast").write_bytes(bytes((8 << 20) - 2 * size))
    mount = 'mount -t tmpfs -o size=8m tmpfs "$0" && cp "$0"/../ballast "$0" && exec "$@"'
    under = [program("unshare"), "--mount", "sh", "-c", mount, str(store)]
    modality = peer("modality", MODALITY_AE, 104, sends=True)
    written = settings(port, modality, node=['store_dir = "full"'])
    node = Node(
        tmp_path / "node", port, written.replace("min_free_mb = 64", "min_free_mb = 0"), under=under
    )
    node.start()
    try:
        address = ("-aet", MODALITY_AE, "-aec", NODE_AE, LOOPBACK, str(port))
        said = dcmtk("storescu", "-v", "-nh", *address, *big)
    finally:
        node.stop()
    answers = re.findall(r"Received Store Response \((.*)\)", said)
    assert answers == ["Success", *["Refused: OutOfResources"] * 3]
    assert "Releasing Association" in said
    assert node.says().count("Could not keep an object: No space left on device") == 3
    assert "Traceback" not in node.says()
