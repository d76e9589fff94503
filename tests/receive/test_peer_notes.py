"""When peers came last, and why something of theirs was not taken, is told to people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from locks import impatient, locked
from peers import association, modality, store
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from sqlalchemy.exc import OperationalError

from node.errors import Unreadable
from node.ledger import schema
from node.receive.reception import Came

from .doors import Door, OpenDoor


def noted(door: Door) -> dict[str, Any]:
    """Write down what there is, and return what is known of the modality."""
    door.reception.peers.write()
    (row,) = door.desk.rows(schema.peer)
    assert row["name"] == "modality"
    return row


def test_who_sends_was_seen_and_sent_something(door: Door, exam: list[Path]) -> None:
    store(door.port, exam[:1])
    row = noted(door)
    assert row["seen_at"] <= row["object_at"]
    assert row["rejected_at"] is None


def test_who_only_asks_whether_we_are_there_was_seen(door: Door) -> None:
    with association(door.port, [build_context(Verification)]) as opened:
        opened.send_c_echo()
    row = noted(door)
    assert row["seen_at"] > 0
    assert row["object_at"] is None


def test_an_unreadable_object_is_told_of_its_sender(door: Door) -> None:
    path = door.store.incoming / "damaged.dcm"
    path.write_bytes(b"no object")
    with pytest.raises(Unreadable):
        door.reception.keep(path, Came("modality", "association"))
    row = noted(door)
    assert row["rejection"] == "an object is unreadable: not a DICOM Part 10 file"
    assert (row["rejected_at"] > 0, row["object_at"]) == (True, None)


def test_who_calls_somebody_else_was_not_let_in_and_it_is_said_why(door: Door) -> None:
    with association(door.port, [build_context(Verification)], called_ae="OTHER") as opened:
        assert not opened.is_established
    row = noted(door)
    assert row["rejection"] == "not let in: it called OTHER, this is AINODE"
    assert row["seen_at"] is None


def test_a_stranger_is_no_peer(door: Door) -> None:
    with association(door.port, [build_context(Verification)], "STRANGER") as opened:
        assert not opened.is_established
    door.reception.peers.write()
    assert door.desk.rows(schema.peer) == []


def test_who_may_not_send_is_told_of(open_door: OpenDoor, exam: list[Path]) -> None:
    door = open_door(modality(sends=False, receives="default"))
    store(door.port, exam[:1])
    assert noted(door)["rejection"] == "an object is not taken: this peer has no sends = true"


def test_what_cannot_be_written_is_written_later(
    door: Door, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(door.desk.ledger, monkeypatch)
    store(door.port, exam[:1])
    with locked(door.desk.ledger), pytest.raises(OperationalError):
        door.reception.peers.write()
    assert noted(door)["object_at"] > 0
