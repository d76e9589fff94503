"""What a person keeps from being removed, and that the study's history says who did."""

from __future__ import annotations

import pytest
from ledgers import STUDY, Desk

from node.errors import NodeError
from node.ledger import Keeping, now, schema


def test_who_keeps_a_study_and_why_is_known_until_it_is_let_go(desk: Desk) -> None:
    desk.receive()
    keeping = Keeping(desk.ledger)
    said = keeping.keep_study(STUDY, "court case\n 4711 ", by="anna")
    assert said == "nothing of it is removed until `ai-node unhold`"
    study = desk.study()
    assert (study["kept_by"], study["kept_why"]) == ("anna", "court case 4711")
    assert study["kept_at"] == pytest.approx(study["last_at"], abs=60)
    said = keeping.unkeep_study(STUDY, by="otto")
    assert said == "it goes when its days are over; anna had kept it: court case 4711"
    study = desk.study()
    assert (study["kept_at"], study["kept_by"], study["kept_why"]) == (None, None, None)
    assert desk.history()[-2:] == [
        "kept from removal by anna: court case 4711",
        "no longer kept from removal, by otto",
    ]


def test_who_says_it_last_is_who_keeps_a_study(desk: Desk) -> None:
    desk.receive()
    keeping = Keeping(desk.ledger)
    keeping.keep_study(STUDY, "teaching", by="anna")
    said = keeping.keep_study(STUDY, "court case", by="otto")
    assert said.endswith("until `ai-node unhold`. anna had kept it before: teaching")
    assert (desk.study()["kept_by"], desk.study()["kept_why"]) == ("otto", "court case")


def test_what_had_been_removed_before_is_said(desk: Desk) -> None:
    desk.analysed(reports=2)
    desk.change(schema.instance, removed_at=now())
    said = Keeping(desk.ledger).keep_study(STUDY, "teaching", by="anna")
    count = len(desk.rows(schema.instance))
    assert said.endswith(f"; removed before: {count} of its {count} received objects")


def test_a_kept_study_is_analysed_as_any_other(desk: Desk) -> None:
    desk.receive()
    Keeping(desk.ledger).keep_study(STUDY, "teaching", by="anna")
    assert desk.study()["held_reason"] is None
    assert len(desk.arrivals()) == 1


def test_a_study_that_is_not_known_or_not_kept_is_refused_in_words(desk: Desk) -> None:
    keeping = Keeping(desk.ledger)
    with pytest.raises(NodeError, match=r"study 1\.2\.3 is not known here"):
        keeping.keep_study("1.2.3", "teaching", by="anna")
    with pytest.raises(NodeError, match=r"study 1\.2\.3 is not known here"):
        keeping.unkeep_study("1.2.3", by="anna")
    desk.receive()
    with pytest.raises(NodeError, match=f"study {STUDY} is not kept by a person"):
        keeping.unkeep_study(STUDY, by="anna")
    for why in (" ", "x" * 501):
        with pytest.raises(NodeError, match="say in 1 to 500 characters why"):
            keeping.keep_study(STUDY, why, by="anna")
    assert desk.study()["kept_at"] is None
