from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import factories
import pytest
from ledgers import Desk, is_mammogram
from peers import modality

from node import config
from node.current import Current
from node.ledger import Committing, Delivering, Ledger, Nodes, Receiving
from node.receive.committing import Committer
from node.receive.listener import Listener
from node.receive.reception import Reception
from node.store import Store

from .doors import Door, OpenDoor


@pytest.fixture
def open_door(store: Store, ledger: Ledger, tmp_path: Path) -> Iterator[OpenDoor]:
    """Start a listener for peers, with settings of the node."""
    doors: list[Door] = []

    def start(*peers: config.Peer, min_free_mb: int = 0, **settings_of_listener: object) -> Door:
        settings = config.Config(
            node=config.Node(ae_title="AINODE", state_dir=tmp_path, min_free_mb=min_free_mb),
            listener=config.ListenerSettings.model_validate(
                {"host": "127.0.0.1", "port": 0} | settings_of_listener
            ),
            peers=peers or (modality(),),
        )
        stored: list[float] = []
        receptions.append(
            Reception(
                Current(settings),
                store,
                Receiving(ledger),
                is_mammogram,
                lambda study_uid: stored.append(time.time()),
            )
        )
        committer = Committer(Current(settings), store, Committing(ledger), lambda: {store.node_id})
        listener = Listener(
            Current(settings), store.incoming, Delivering(ledger), receptions[-1], committer
        )
        listener.start()
        doors.append(Door(listener, store, Desk(ledger, store), receptions[-1], stored))
        return doors[-1]

    receptions: list[Reception] = []
    Nodes(ledger).register_node(store.node_id)
    yield start
    for door in doors:
        door.listener.stop(0)
    for reception in receptions:
        reception.close()


@pytest.fixture
def door(open_door: OpenDoor) -> Door:
    return open_door()


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return factories.saved_exam(tmp_path_factory.mktemp("exam"))
