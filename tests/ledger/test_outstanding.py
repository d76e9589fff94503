"""What waits for a person, or for a node that starts, is told of the newest versions alone."""

from __future__ import annotations

from ledgers import EXCLUDED, STUDY, Desk

from node.ledger import (
    Excluded,
    HeldBecause,
    HeldStudy,
    Outstanding,
    Stranded,
    schema,
)


def test_where_nothing_has_come_nothing_is_outstanding(desk: Desk) -> None:
    outstanding = Outstanding(desk.ledger)
    assert outstanding.unfinished().is_nothing
    assert not outstanding.held()
    assert not outstanding.stranded(3600) and not outstanding.excluded()


def test_of_a_held_study_only_that_is_told(desk: Desk) -> None:
    desk.analysed()
    desk.change(schema.study, held_because=HeldBecause.REPORT, held_reason="no report")
    outstanding = Outstanding(desk.ledger)
    assert outstanding.held() == [HeldStudy(STUDY, HeldBecause.REPORT, "no report")]


def test_results_without_a_destination_are_stranded_with_the_reason(desk: Desk) -> None:
    desk.analysed(destinations=())
    desk.change(schema.study_version, error="no destination")
    assert Outstanding(desk.ledger).stranded(3600) == [Stranded(STUDY, "no destination")]
    table = schema.study_version
    desk.change(table, finished_at=table.c.finished_at - 3601)
    assert Outstanding(desk.ledger).stranded(3600) == []


def test_excluded_studies_are_counted_for_each_sender(desk: Desk) -> None:
    desk.analysed("1.9.0")
    for number, sender in enumerate(["modality", "room", "room"], start=1):
        desk.receive(f"1.9.{number}.1", study=f"1.9.{number}", sender=sender)
        desk.let_pass(1)
        desk.close(EXCLUDED, study=f"1.9.{number}")
    assert Outstanding(desk.ledger).excluded() == [
        Excluded("modality", excluded=1, others=1, study_uid="1.9.1", reasons=("no Patient ID",)),
        Excluded("room", excluded=2, others=0, study_uid="1.9.3", reasons=("no Patient ID",)),
    ]
