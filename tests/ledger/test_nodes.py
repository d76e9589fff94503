"""Who is alive, and which associations are waited for."""

from __future__ import annotations

import pytest
from ledgers import HOUR_S, NODE, STUDY, Desk

from node.errors import Superseded
from node.ledger import DispatchState, Ill, OwnPart, Role, VersionState, schema


def test_an_open_association_that_brought_images_counts_until_it_ends(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("a", NODE, "modality")
    desk.receive(f"{STUDY}.1", association="a")
    desk.receive(f"{STUDY}.2", association="a")
    assert desk.arrivals()[0].open_associations == 1
    desk.receiving.close_association("a")
    assert desk.arrivals()[0].open_associations == 0


def test_an_association_that_brings_images_again_counts_for_them(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    for name in ("a", "b"):
        desk.receiving.open_association(name, NODE, "modality")
    desk.receive(association="a")
    desk.receive_again(association="b")
    desk.receiving.close_association("a")
    assert desk.arrivals()[0].open_associations == 1


def test_an_association_of_a_dead_node_is_not_waited_for(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("a", NODE, "modality")
    desk.receive(association="a")
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    assert desk.arrivals()[0].open_associations == 0


def test_a_missed_end_of_an_association_is_made_good_by_the_sweep(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    for name, sop_uid in (("a", "2.25.1"), ("b", "2.25.2")):
        desk.receiving.open_association(name, NODE, "modality")
        desk.receive(sop_uid, association=name)
    assert desk.arrivals()[0].open_associations == 2
    desk.receiving.close_associations(NODE, lambda association_id: association_id == "b")
    assert desk.arrivals()[0].open_associations == 1


def test_a_node_lives_while_it_beats_and_has_not_stopped(desk: Desk) -> None:
    for node_id in ("beats", "silent", "stopped"):
        desk.nodes.register_node(node_id)
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    desk.nodes.beat("beats")
    desk.nodes.beat("stopped")
    desk.nodes.retire_node("stopped")
    assert desk.nodes.live_nodes() == {"beats"}
    assert desk.nodes.live_nodes(even_if_late=True) == {"beats", "silent"}
    assert desk.nodes.registered(["beats", "stopped", "of another ledger"]) == {"beats", "stopped"}


def test_whoever_starts_on_a_state_folder_declares_only_those_before_on_it_dead(desk: Desk) -> None:
    desk.nodes.register_node("before", "ward-a:/srv/ai-node 1-1")
    desk.nodes.register_node("elsewhere", "ward-b:/srv/ai-node 2-2")
    desk.nodes.register_node("of a former release")
    desk.nodes.register_node("now", "ward-a-renamed:/srv/moved 1-1")
    assert desk.nodes.live_nodes() == {"elsewhere", "of a former release", "now"}
    with pytest.raises(Superseded, match="another process has started"):
        desk.nodes.beat("before")
    assert "before" not in desk.nodes.live_nodes()


def test_nodes_are_listed_with_who_is_alive_each_place_once(desk: Desk) -> None:
    desk.nodes.register_node("1", "ward-a:/srv/ai-node 1-1")
    desk.nodes.register_node("2", "ward-a:/srv/ai-node 1-1", Role.LISTENER)
    desk.nodes.register_node("3", "ward-b:/srv/ai-node 2-2", Role.WORKER)
    desk.nodes.register_node("4", "ward-c:/srv/ai-node 3-3", Role.WORKER)
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    desk.nodes.beat("2")
    desk.nodes.retire_node("4")
    assert [(one.place, one.role, one.state) for one in desk.nodes.presences()] == [
        ("ward-a:/srv/ai-node", "listener", "alive"),
        ("ward-b:/srv/ai-node", "worker", "silent"),
        ("ward-c:/srv/ai-node", "worker", "stopped"),
    ]
    desk.change(schema.node, beat_at=schema.node.c.beat_at - 14 * 24 * HOUR_S)
    assert desk.nodes.presences() == []


def test_a_node_says_which_of_its_parts_are_ill_until_they_are_well(desk: Desk) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    (seen,) = desk.nodes.presences()
    assert seen.ill == {}
    ill = {OwnPart.DISK: Ill(1000.0, "5 MB free"), OwnPart.INFERENCE: Ill(900.0, "no memory")}
    desk.nodes.record_ill(NODE, ill)
    desk.nodes.beat(NODE)
    (seen,) = desk.nodes.presences()
    assert seen.ill == ill
    desk.nodes.record_ill(NODE, {})
    (seen,) = desk.nodes.presences()
    assert seen.ill == {}


def test_a_part_that_only_another_release_knows_is_passed_over(desk: Desk) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    desk.change(schema.node, ill='{"flux compensator": [1, "?"], "disk": [2, "full"]}')
    (seen,) = desk.nodes.presences()
    assert seen.ill == {OwnPart.DISK: Ill(2, "full")}


def test_a_node_that_stopped_was_last_there_when_it_stopped(desk: Desk) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    (silent,) = desk.nodes.presences()
    desk.nodes.retire_node(NODE)
    (stopped,) = desk.nodes.presences()
    assert stopped.last_at - silent.last_at == pytest.approx(HOUR_S, abs=5)


def test_a_heart_knows_how_long_it_has_not_beaten(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    assert 0 <= desk.nodes.beat(NODE) < 5
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    assert HOUR_S <= desk.nodes.beat(NODE) < HOUR_S + 5


def test_the_history_names_the_node_that_died_with_an_attempt(desk: Desk) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.change(schema.node, beat_at=schema.node.c.beat_at - HOUR_S)
    desk.sweeping.revive(job, desk.enqueue)
    words = "process: attempt 1 died with its node on ward-a:/srv/ai-node; attempt 2 follows"
    assert desk.history()[-1] == words


def test_an_attempt_that_ended_without_its_node_is_not_said_to_have_died_with_it(
    desk: Desk,
) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    (job,) = desk.analysed()
    desk.delivering.begin_dispatch(job, NODE)
    desk.sweeping.revive(job, desk.enqueue, {NODE})
    words = (
        "deliver: attempt 1 could not say how it ended on ward-a:/srv/ai-node; attempt 2 follows"
    )
    assert desk.history()[-1] == words


def test_a_clean_stop_releases_only_what_was_its_own(desk: Desk) -> None:
    desk.receive()
    desk.begin(desk.close(), "another")
    desk.nodes.retire_node(NODE)
    assert desk.version()["state"] == VersionState.RUNNING


def test_a_clean_stop_gives_back_a_delivery(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.nodes.register_node(NODE)
    desk.delivering.begin_dispatch(job, NODE)
    desk.nodes.retire_node(NODE)
    assert desk.dispatch()["state"] == DispatchState.QUEUED
    assert desk.sweeping.unfinished() == [job]


def test_a_node_that_wakes_up_after_its_row_was_forgotten_stops_at_once(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    desk.delete(schema.node)
    with pytest.raises(Superseded, match="not heard of for longer than records_days"):
        desk.nodes.beat(NODE)
