"""`ai-node doctor` beside a running node and a stock Orthanc: both stay as they were."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from ports import free_port

from .conftest import Started
from .programs import LOOPBACK, Node, Orthanc, peer, settings

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]


def test_a_running_node_is_examined_and_neither_it_nor_the_archive_notices(
    orthanc_node: tuple[Orthanc, Node],
) -> None:
    orthanc, node = orthanc_node
    shown = node.command("doctor")
    assert "FAILED" not in shown
    assert "the node is running and answers (it does not let us in, and should not)" in shown
    assert "its tables are of this release" in shown
    assert "ORTHANC at 127.0.0.1" in shown
    assert "confirms results by storage commitment" in shown
    assert "nothing is held, given up, or without a destination" in shown
    assert "back and read: 1 report, 5 images" in shown
    assert orthanc.ask("/instances") == []
    assert node.studies() == {}
    assert node.kept == {}
    assert node.command("nodes").count("alive") == 1
    assert node.stop() == 0


def test_an_archive_that_has_gone_is_red(orthanc_node: tuple[Orthanc, Node]) -> None:
    orthanc, node = orthanc_node
    orthanc.stop()
    shown = node.command("doctor", ok=False)
    [red] = [line for line in shown.splitlines() if line.startswith("FAILED")]
    assert "peer orthanc" in red
    assert "cannot be reached: nothing listens there (connection refused)" in red


def red_lines(folder: Path, ae_title: str, port: int, more: str = "") -> list[str]:
    """Return what doctor finds red of a node that has one PACS, and has never run."""
    pacs = peer("pacs", ae_title, port, sends=True)
    node = Node(folder, free_port(), settings(free_port(), f"{pacs}\n{more}"))
    lines = node.command("doctor", ok=False).splitlines()
    reds = [f"{line} {lines[n + 1]}" for n, line in enumerate(lines) if line.startswith("FAILED")]
    assert not [line for line in reds if " peer pacs " not in line]
    return reds


@pytest.fixture
def stranger(tmp_path: Path, started: Started) -> Callable[..., Orthanc]:
    """Start an Orthanc that has never heard of the node."""

    def start(**more: object) -> Orthanc:
        orthanc = Orthanc(tmp_path / "orthanc", free_port(), DicomModalities={}, **more)
        started(orthanc)
        return orthanc

    return start


def test_an_orthanc_as_it_is_installed_that_does_not_know_the_node_is_red(
    tmp_path: Path, stranger: Callable[..., Orthanc]
) -> None:
    """It answers C-ECHO, negotiates and stores with everybody, and answers nobody's queries."""
    orthanc = stranger(DicomAlwaysAllowEcho=True, DicomAlwaysAllowStore=True)
    [red] = red_lines(tmp_path / "node", "ORTHANC", orthanc.port)
    assert "broke off instead of answering C-FIND (negotiation went well)" in red
    assert "perhaps it does not know AINODE. On it, enter AINODE" in red


def test_an_orthanc_that_rejects_whom_it_does_not_know_is_red_in_its_words(
    tmp_path: Path, stranger: Callable[..., Orthanc]
) -> None:
    orthanc = stranger()
    [red] = red_lines(tmp_path / "node", "ORTHANC", orthanc.port)
    assert "rejected the association: it does not know AINODE" in red
    assert "(calling AE title not recognized)" in red
    assert "On it, enter AINODE with this machine's address" in red


def test_an_orthanc_that_is_called_otherwise_is_red_and_the_mistake_is_here(
    tmp_path: Path, stranger: Callable[..., Orthanc]
) -> None:
    orthanc = stranger(DicomCheckCalledAet=True)
    [red] = red_lines(tmp_path / "node", "ORTHNAC", orthanc.port)
    assert "it is not called ORTHNAC (called AE title not recognized)" in red
    assert "Give peer pacs the AE title that it has" in red


def test_a_port_that_takes_connections_and_never_answers_has_timed_out(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server((LOOPBACK, port)):
        [red] = red_lines(tmp_path / "node", "PACS", port, "timeout_s = 2")
    assert "has not answered the association request in 2 s (timed out)" in red
    assert "firewall" in red


def test_a_peer_that_was_renamed_while_results_wait_for_it_is_red(
    orthanc_node: tuple[Orthanc, Node], exam: Callable[[str], list[Path]]
) -> None:
    orthanc, node = orthanc_node
    images = exam("renamed")
    orthanc.upload(images)
    orthanc.stop()
    node.send(*images, calling="ORTHANC")
    node.wait_until("it waits", lambda: "delivering" in str(node.studies()))
    assert node.stop() == 0
    text = node.config.read_text("utf-8")
    node.config.write_text(text.replace('name = "orthanc"', 'name = "archive"'), "utf-8")
    orthanc.start()
    shown = node.command("doctor", ok=False)
    [red] = [line for line in shown.splitlines() if line.startswith("FAILED")]
    assert 'the results of 1 study are for "orthanc", and no peer is called that' in red
    assert 'call it "orthanc" again and restart the node; they are sent then' in shown
    node.config.write_text(text, "utf-8")
    node.start()
    node.wait_until("they are sent", lambda: len(orthanc.ask("/instances")) == 10)
