"""`ai-node doctor` beside a running node and a stock Orthanc: both stay as they were."""

from __future__ import annotations

import pytest

from .programs import Node, Orthanc

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
    assert "cannot be reached" in red
