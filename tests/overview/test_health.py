"""Which parts of the node are ill, since when, and what to do: as any process may say."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import HOUR_S, Desk

from node import config
from node.ledger import Ill, OwnPart, Role, now, schema
from node.overview.health import LATE_S, Alarm, NodePart, database_away, node_parts, worst_alarm

CONFIG = config.Config(node=config.Node(ae_title="AINODE", state_dir=Path("/srv/ai-node")))
A, B = "ward-a:/srv/ai-node", "ward-b:/srv/ai-node"


def by_name(desk: Desk) -> dict[str, NodePart]:
    return {part.name: part for part in node_parts(desk.ledger, CONFIG)}


def ill(desk: Desk) -> dict[str, Alarm]:
    return {part.name: part.alarm for part in node_parts(desk.ledger, CONFIG) if part.is_ill}


def register(desk: Desk, node_id: str = "a", place: str = A, role: Role = Role.ALL) -> None:
    desk.nodes.register_node(node_id, f"{place} {node_id}", role)


def silence(desk: Desk, node_id: str) -> float:
    """Let a node have said nothing for an hour; return when it last did."""
    table = schema.node
    with desk.ledger.writing() as db:
        is_it = table.c.id == node_id
        db.execute(table.update().where(is_it).values(beat_at=table.c.beat_at - HOUR_S))
        return float(db.execute(sa.select(table.c.beat_at).where(is_it)).scalar_one())


def clock(desk: Desk) -> float:
    with desk.ledger.reading() as db:
        return float(db.execute(sa.select(now())).scalar_one())


def test_a_node_that_does_everything_is_well(desk: Desk) -> None:
    register(desk)
    assert ill(desk) == {}
    found = by_name(desk)
    assert list(found) == ["database", "listener", "worker", "inference", "disk", f"node {A}"]
    assert found["listener"].words == f"{A} listens"
    assert found["worker"].words == f"{A} works"
    assert found[f"node {A}"].words == "listens and works, heard of 0 s ago"
    assert worst_alarm(tuple(found.values())) == Alarm.NONE


def test_without_any_node_nobody_listens_or_works(desk: Desk) -> None:
    assert ill(desk) == {"listener": Alarm.ACT, "worker": Alarm.ACT}
    found = by_name(desk)["listener"]
    assert (found.words, found.since) == ("no node listens", None)
    assert "systemctl start ai-node" in found.what_to_do


def test_a_node_that_was_killed_is_missed_since_its_last_heartbeat(desk: Desk) -> None:
    register(desk)
    last = silence(desk, "a")
    assert ill(desk) == {"listener": Alarm.ACT, "worker": Alarm.ACT, f"node {A}": Alarm.LOOK}
    found = by_name(desk)
    assert found["listener"].words == f"no node listens: {A} ended without saying so"
    assert [found[name].since for name in ("listener", "worker", f"node {A}")] == [last] * 3
    assert found[f"node {A}"].words.startswith("has said nothing for 60 min")


def test_a_node_that_was_stopped_is_missed_since_then(desk: Desk) -> None:
    register(desk)
    silence(desk, "a")
    desk.nodes.retire_node("a")
    found = by_name(desk)
    assert ill(desk) == {"listener": Alarm.ACT, "worker": Alarm.ACT}
    assert found["worker"].words == f"no node works: {A} was stopped"
    assert found["worker"].since == pytest.approx(clock(desk), abs=5)


def test_a_node_whose_work_another_does_is_only_to_be_looked_at(desk: Desk) -> None:
    register(desk)
    register(desk, "b", B, Role.WORKER)
    silence(desk, "b")
    assert ill(desk) == {f"node {B}": Alarm.LOOK}


@pytest.mark.parametrize(
    ("role", "missing"), [(Role.LISTENER, "worker"), (Role.WORKER, "listener")]
)
def test_who_only_listens_or_works_leaves_the_other_undone(
    desk: Desk, role: Role, missing: str
) -> None:
    register(desk, role=role)
    assert ill(desk) == {missing: Alarm.ACT}


def test_who_only_shows_neither_listens_nor_works(desk: Desk) -> None:
    register(desk, role=Role.WEB)
    assert ill(desk) == {"listener": Alarm.ACT, "worker": Alarm.ACT}
    assert by_name(desk)[f"node {A}"].words.startswith("shows")


@pytest.mark.parametrize(
    ("own_part", "name"),
    [
        (OwnPart.LISTENER, "listener"),
        (OwnPart.QUEUE, "worker"),
        (OwnPart.SWEEPS, "worker"),
        (OwnPart.INFERENCE, "inference"),
        (OwnPart.DISK, "disk"),
    ],
)
def test_what_a_node_says_of_itself_is_a_part_that_is_ill(
    desk: Desk, own_part: OwnPart, name: str
) -> None:
    register(desk)
    desk.nodes.record_ill("a", {own_part: Ill(1000.0, "as it says")})
    assert ill(desk) == {name: Alarm.ACT, f"node {A}": Alarm.LOOK}
    found = by_name(desk)[name]
    assert (found.words, found.since) == (f"{A}: as it says", 1000.0)
    assert found.what_to_do
    desk.nodes.record_ill("a", {})
    assert ill(desk) == {}


@pytest.mark.parametrize("own_part", [OwnPart.PAGE, OwnPart.MONITORING])
def test_a_page_or_monitoring_that_is_not_served_is_only_to_be_looked_at(
    desk: Desk, own_part: OwnPart
) -> None:
    register(desk)
    desk.nodes.record_ill("a", {own_part: Ill(1000.0, "its port is taken")})
    assert ill(desk) == {f"node {A}": Alarm.LOOK}
    found = by_name(desk)[f"node {A}"]
    assert (found.words, found.since) == (f"{own_part}: its port is taken", 1000.0)
    assert "works on without it" in found.what_to_do


def test_one_of_several_inference_processes_that_cannot_start_is_to_be_looked_at(
    desk: Desk,
) -> None:
    register(desk)
    words = "1 of 2 inference processes cannot be started: no memory"
    desk.nodes.record_ill("a", {OwnPart.SOME_INFERENCE: Ill(1000.0, words)})
    assert ill(desk) == {"inference": Alarm.LOOK, f"node {A}": Alarm.LOOK}
    assert by_name(desk)["inference"].words == f"{A}: {words}"


def test_a_listener_that_died_is_named_once_its_node_has_stopped_for_it(desk: Desk) -> None:
    register(desk)
    desk.nodes.record_ill("a", {OwnPart.LISTENER: Ill(1000.0, "it has died")})
    desk.nodes.retire_node("a")
    words = f"no node listens: {A} was stopped (listener: it has died)"
    assert by_name(desk)["listener"].words == words


def test_what_one_of_two_nodes_lacks_the_other_has(desk: Desk) -> None:
    register(desk)
    register(desk, "b", B)
    desk.nodes.record_ill("b", {part: Ill(1000.0, "?") for part in OwnPart})
    # The disk is everybody's.
    found = ill(desk)
    assert found == {"inference": Alarm.LOOK, "disk": Alarm.ACT, f"node {B}": Alarm.LOOK}


def late(desk: Desk) -> float:
    """Let a study wait for its analysis for too long; return since when."""
    desk.receive()
    desk.close()
    table = schema.study_version
    desk.change(table, closed_at=table.c.closed_at - 2 * LATE_S)
    return float(desk.version()["closed_at"])


def test_work_that_waits_though_a_node_works_is_the_workers_illness(desk: Desk) -> None:
    register(desk)
    since = late(desk)
    found = by_name(desk)["worker"]
    assert (found.alarm, found.since) == (Alarm.ACT, since)
    assert found.words == "1 study waits for analysis, one since 20 min, and none is finished"


def test_work_that_waits_because_there_is_much_of_it_is_only_to_be_looked_at(desk: Desk) -> None:
    register(desk)
    late(desk)
    desk.analysed("1.2.826.2")
    found = by_name(desk)["worker"]
    assert found.alarm == Alarm.LOOK
    assert found.words == "1 study waits for analysis, one since 20 min; others are finished"


def test_work_that_has_just_come_is_no_illness(desk: Desk) -> None:
    register(desk)
    desk.receive()
    desk.close()
    assert ill(desk) == {}


def test_a_database_that_does_not_answer_is_told_without_its_password() -> None:
    url = "postgresql://ai:se%40cret@db.example/ai"
    node = config.Node(ae_title="AINODE", state_dir=Path("/srv"), database=url)
    error = sa.exc.OperationalError(None, None, Exception("connection refused\n by it"))
    part = database_away(error, config.Config(node=node), since=5.0)
    assert (part.name, part.alarm, part.since) == ("database", Alarm.ACT, 5.0)
    assert part.words.endswith('@db.example/ai" does not answer: connection refused by it')
    assert "cret" not in part.words
    assert part.what_to_do
