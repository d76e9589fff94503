"""A real node moves from SQLite to PostgreSQL with what waits in it, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_port
from postgres import PostgreSQL

from .conftest import Started
from .programs import MODALITY_AE, Node, StoreScp, peer, settings, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

RESULTS = 6


@pytest.fixture
def pacs(tmp_path: Path) -> StoreScp:
    """An archive that is away at first."""
    return StoreScp(tmp_path / "pacs", "PACS", port=free_port())


@pytest.fixture
def node(tmp_path: Path, pacs: StoreScp) -> Iterator[Node]:
    port = free_port()
    peers = (
        peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"]),
        peer("pacs", pacs.ae_title, pacs.port),
    )
    made = Node(tmp_path / "node", port, settings(port, *peers))
    yield made
    made.stop()


def test_what_waited_is_sent_after_a_move_and_nothing_is_answered_twice(
    node: Node,
    pacs: StoreScp,
    postgresql: PostgreSQL,
    started: Started,
    exam: Callable[[str], list[Path]],
) -> None:
    file = f"sqlite:///{node.config.parent / 'state' / 'ledger.db'}"
    server = postgresql.new_database(is_empty=True)
    first, second = exam("first"), exam("second")
    node.start()
    node.send(*first)
    wait_for("its results to wait", lambda: states(node) == ["delivering"])
    assert "another ai-node is running" in refused(node, server)
    assert node.stop() == 0

    assert postgresql.password not in node.command("move", "--to", server)
    with pytest.raises(pytest.fail.Exception, match="has moved to postgresql://"):
        node.start()
    name_database(node, server)
    started(pacs)
    node.start()
    pacs.wait_for(RESULTS)
    node.send(*first)
    node.send(*second)
    pacs.wait_for(2 * RESULTS)
    wait_for("both to be done", lambda: states(node) == ["done", "done"])
    assert node.stop() == 0

    node.command("move", "--to", file)
    name_database(node, file)
    node.start()
    node.send(*first, *second)  # each is known as soon as this is answered
    assert states(node) == ["done", "done"]
    assert {study["version"] for study in node.studies().values()} == {1}
    assert node.stop() == 0
    objects = pacs.objects()
    assert len(objects) == 2 * RESULTS
    assert sum(str(one.Modality) == "SR" for one in objects) == 2


def states(node: Node) -> list[str]:
    """Return where each study stands."""
    return [str(study["state"]) for study in node.studies().values()]


def name_database(node: Node, url: str) -> None:
    """Write another database into the configuration."""
    text = re.sub(r"(?m)^database = .*\n", "", node.config.read_text("utf-8"))
    node.config.write_text(text.replace("[node]\n", f'[node]\ndatabase = "{url}"\n'), "utf-8")


def refused(node: Node, to: str) -> str:
    """Return why a ledger is not moved."""
    with pytest.raises(AssertionError) as why:
        node.command("move", "--to", to)
    return str(why.value)
