"""Who is alive, and which associations are waited for."""

from __future__ import annotations

from ledgers import HOUR_S, NODE, STUDY, Desk

from node import schema


def test_an_open_association_that_brought_images_counts_until_it_ends(desk: Desk) -> None:
    desk.ledger.register_node(NODE)
    desk.ledger.open_association("a", NODE, "modality")
    desk.receive(f"{STUDY}.1", association="a")
    desk.receive(f"{STUDY}.2", association="a")
    assert desk.arrivals()[0].open_associations == 1
    desk.ledger.close_association("a")
    assert desk.arrivals()[0].open_associations == 0


def test_an_association_that_brings_images_again_counts_for_them(desk: Desk) -> None:
    desk.ledger.register_node(NODE)
    for name in ("a", "b"):
        desk.ledger.open_association(name, NODE, "modality")
    desk.receive(association="a")
    desk.receive_again(association="b")
    desk.ledger.close_association("a")
    assert desk.arrivals()[0].open_associations == 1


def test_an_association_of_a_dead_node_is_not_waited_for(desk: Desk) -> None:
    desk.ledger.register_node(NODE)
    desk.ledger.open_association("a", NODE, "modality")
    desk.receive(association="a")
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    assert desk.arrivals()[0].open_associations == 0


def test_a_missed_end_of_an_association_is_made_good_by_the_sweep(desk: Desk) -> None:
    desk.ledger.register_node(NODE)
    for name, sop_uid in (("a", "2.25.1"), ("b", "2.25.2")):
        desk.ledger.open_association(name, NODE, "modality")
        desk.receive(sop_uid, association=name)
    assert desk.arrivals()[0].open_associations == 2
    desk.ledger.close_associations(NODE, lambda association_id: association_id == "b")
    assert desk.arrivals()[0].open_associations == 1


def test_a_node_lives_while_it_beats_and_has_not_stopped(desk: Desk) -> None:
    for node_id in ("beats", "silent", "stopped"):
        desk.ledger.register_node(node_id)
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    desk.ledger.beat("beats")
    desk.ledger.beat("stopped")
    desk.ledger.retire_node("stopped")
    assert desk.ledger.live_nodes() == {"beats"}


def test_whoever_holds_the_state_folder_may_declare_the_others_dead(desk: Desk) -> None:
    desk.ledger.register_node("before")
    desk.ledger.register_node("now")
    desk.ledger.bury_other_nodes("now")
    assert desk.ledger.live_nodes() == {"now"}


def test_a_clean_stop_releases_only_what_was_its_own(desk: Desk) -> None:
    desk.receive()
    desk.begin(desk.close(), "another")
    desk.ledger.retire_node(NODE)
    assert desk.version()["state"] == "running"


def test_a_clean_stop_gives_back_a_delivery(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.ledger.register_node(NODE)
    desk.ledger.begin_dispatch(job, NODE)
    desk.ledger.retire_node(NODE)
    assert desk.dispatch()["state"] == "queued"
    assert desk.ledger.unfinished() == [job]
