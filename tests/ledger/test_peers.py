"""What peers did last."""

from __future__ import annotations

from typing import Any

import pytest
from ledgers import Desk, run_at_once

from node.ledger import DeliveryState, PeerNote, Peers, schema


def peers(desk: Desk) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in desk.rows(schema.peer)}


def test_what_a_peer_did_is_written_down_and_the_rest_stays(desk: Desk) -> None:
    recorder = Peers(desk.ledger)
    recorder.record_notes([PeerNote("ct", seen_s=5), PeerNote("mg", seen_s=0, object_s=0)])
    recorder.record_notes([PeerNote("mg", rejected_s=0, rejection="an object is unreadable")])
    ct, mg = peers(desk)["ct"], peers(desk)["mg"]
    assert mg["seen_at"] - ct["seen_at"] == pytest.approx(5, abs=1)
    assert (ct["object_at"], ct["rejected_at"], ct["rejection"]) == (None, None, None)
    assert mg["object_at"] == pytest.approx(mg["seen_at"], abs=1)
    assert mg["rejection"] == "an object is unreadable"
    recorder.record_notes([PeerNote("mg", seen_s=0)])
    assert peers(desk)["mg"]["rejection"] == "an object is unreadable"


def test_what_a_destination_says_is_written_down_with_its_deliveries(desk: Desk) -> None:
    first, second = desk.analysed(destinations=("pacs", "archive"))
    desk.deliver(first)
    desk.deliver(second, DeliveryState.QUEUED, DeliveryState.QUEUED)
    pacs, archive = peers(desk)["pacs"], peers(desk)["archive"]
    assert pacs["sent_at"] > 0
    assert (pacs["failed_at"], pacs["failure"]) == (None, None)
    assert (archive["sent_at"], archive["failure"]) == (None, "queued by PACS")
    assert archive["failed_at"] > 0


def test_many_may_write_of_the_same_peers_at_once(desk: Desk) -> None:
    notes = [PeerNote(name, seen_s=0) for name in ("a", "b", "c")]
    recorder = Peers(desk.ledger)
    works = [lambda n=n: recorder.record_notes(n) for n in (notes, notes[::-1], notes[1:])]
    run_at_once(*works)
    assert set(peers(desk)) == {"a", "b", "c"}
