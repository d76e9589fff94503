"""A destination that is away while studies wait, and back: nothing waits out its back-off.

What is waited between attempts is set so long that only hurrying explains what comes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import factories
import pytest
from factories import R_CC
from ports import free_port

from .conftest import Started
from .programs import MODALITY_AE, Node, Orthanc, StoreScp, peer, settings, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

RESULTS = 3
"""Of one image: the report, the summary and the marked image."""
WAITS = "[delivery]\nretry_first_s = 3000\nretry_max_s = 3000"


def impatient_settings(port: int, *peers: str) -> str:
    """Return a configuration that closes studies soon, and tries again after 50 minutes."""
    waits = f"[completeness]\nsettle_s = 0.2\nquiet_s = 0.2\n{WAITS}"
    whole = settings(port, *peers)
    head, _ = whole.split("[completeness]")
    return f"{head}{waits}\n"


def open_node(tmp_path: Path, archive: StoreScp | Orthanc, port: int) -> Node:
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    there = peer("pacs", archive.ae_title, archive.port)
    return Node(tmp_path / "node", port, impatient_settings(port, modality, there))


def send_studies(node: Node, folder: Path, count: int) -> None:
    """Send studies of one image each."""
    for number in range(count):
        node.send(*factories.saved_exam(folder / str(number), f"waits {number}", [R_CC]))


def states(node: Node) -> list[str]:
    return [study["state"] for study in node.studies().values()]


def deliveries(node: Node) -> list[dict[str, Any]]:
    return [one for study in node.studies().values() for one in study["deliveries"]]


def all_wait(node: Node, count: int) -> bool:
    """Whether every study's results are made, were tried once, and are put off for long."""
    found = deliveries(node)
    return len(found) == RESULTS * count and all(one["next_at"] for one in found)


def times_sent(node: Node, name: str) -> int:
    return node.says().count(f"{name} stored {RESULTS} of {RESULTS} objects")


@pytest.mark.parametrize(("kind", "count"), [("storescp", 8), ("orthanc", 30)])
def test_all_that_waited_for_an_archive_is_there_soon_after_it_is_back(
    kind: str, count: int, tmp_path: Path, started: Started
) -> None:
    port = free_port()
    archive = (
        StoreScp(tmp_path / "pacs", "PACS")
        if kind == "storescp"
        else Orthanc(tmp_path / "orthanc", port)
    )
    node = open_node(tmp_path, archive, port)
    started(node)
    send_studies(node, tmp_path / "exams", count)
    wait_for("all to wait", lambda: all_wait(node, count))
    started(archive)
    wait_for("all to be delivered", lambda: states(node) == ["done"] * count)
    assert times_sent(node, "pacs") == count
    assert "that waited for it at once" in node.says()
    if isinstance(archive, StoreScp):
        assert len(archive.objects()) == RESULTS * count
    else:
        assert archive.ask("/statistics")["CountInstances"] == RESULTS * count


def test_retry_tries_at_once_where_a_person_says_so_and_nowhere_else(
    tmp_path: Path, started: Started
) -> None:
    pacs, port = StoreScp(tmp_path / "pacs", "PACS"), free_port()
    other = free_port()  # where nobody listens
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs", "other"])
    there = peer("pacs", "PACS", pacs.port), peer("other", "OTHER", other)
    node = Node(tmp_path / "node", port, impatient_settings(port, modality, *there))
    started(node)
    send_studies(node, tmp_path / "exams", 3)
    wait_for("all to wait", lambda: all_wait(node, 6))
    started(pacs)
    said = node.command("retry", "--destination", "pacs")
    assert "3 deliveries that waited will be tried now: 3 to pacs." in said
    pacs.wait_for(3 * RESULTS)
    words = [one["error"] for one in deliveries(node) if one["destination"] == "other"]
    assert all("cannot be reached" in str(error) for error in words)
    node.command("retry", "--destination", "pasc", ok=False)
