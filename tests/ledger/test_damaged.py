"""A study knows of what was refused of it as damaged, until that comes whole."""

from __future__ import annotations

from ledgers import STUDY, Desk

from node.ledger import DamagedObject, damaged_in, schema

OTHER = "1.2.826.2"


def refuse(
    desk: Desk,
    key: str,
    study_uid: str | None = STUDY,
    association: str = "association",
    reason: str = "the object ends in the middle of an attribute",
) -> None:
    desk.receiving.record_damaged(DamagedObject(key, study_uid, association, reason))


def damaged(desk: Desk, *study_uids: str) -> dict[str, list[str]]:
    with desk.ledger.reading() as db:
        found = damaged_in(db, study_uids or (STUDY, OTHER))
        return {study_uid: list(reasons) for study_uid, reasons in found.items()}


def test_a_damaged_object_is_of_the_study_that_it_names(desk: Desk) -> None:
    desk.receive()
    desk.receive(f"{OTHER}.1", study=OTHER)
    refuse(desk, f"{STUDY}.2", reason="no end")
    assert damaged(desk) == {STUDY: ["no end"]}
    arrivals = {arrival.study_uid: arrival.damaged for arrival in desk.arrivals()}
    assert arrivals == {STUDY: ("no end",), OTHER: ()}


def test_one_that_names_none_is_of_the_studies_of_its_association(desk: Desk) -> None:
    refuse(desk, "digest", study_uid=None, association="one", reason="no end")
    desk.receive(association="one")
    desk.receive(f"{STUDY}.2", association="one")
    desk.receive(f"{OTHER}.1", study=OTHER, association="two")
    assert damaged(desk) == {STUDY: ["no end"]}


def test_one_that_comes_whole_is_not_spoken_of_any_more(desk: Desk) -> None:
    desk.receive()
    refuse(desk, f"{STUDY}.2")
    refuse(desk, f"{STUDY}.3", study_uid=None)
    assert len(damaged(desk)[STUDY]) == 2
    desk.receive(f"{STUDY}.2")
    desk.receive(f"{STUDY}.3")
    assert damaged(desk) == {}


def test_who_repeats_a_damaged_object_makes_no_second_one_of_it(desk: Desk) -> None:
    desk.receive()
    for reason in ("one", "two"):
        refuse(desk, f"{STUDY}.2", reason=reason)
    refuse(desk, f"{STUDY}.3", reason="three")
    assert damaged(desk) == {STUDY: ["two", "three"]}
    assert len(desk.rows(schema.damaged_object)) == 2


def test_what_is_asked_of_one_study_says_nothing_of_another(desk: Desk) -> None:
    desk.receive(association="one")
    desk.receive(f"{OTHER}.1", study=OTHER, association="one")
    refuse(desk, f"{STUDY}.2", association="one")
    refuse(desk, "digest", study_uid=None, association="one")
    assert len(damaged(desk, OTHER)[OTHER]) == 1
    assert len(damaged(desk, STUDY)[STUDY]) == 2


def test_a_version_knows_how_many_were_damaged_when_it_was_closed_whatever_comes_later(
    desk: Desk,
) -> None:
    desk.receive()
    refuse(desk, f"{STUDY}.2")
    first = desk.close()
    refuse(desk, f"{STUDY}.3")
    assert desk.begin(first).version.damaged == 1
    desk.finish(first)
    desk.receive(f"{STUDY}.2")
    desk.receive(f"{STUDY}.3")
    assert desk.begin(desk.close()).version.damaged == 0
