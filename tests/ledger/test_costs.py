"""What one object costs does not grow with its study, counted in the database's own steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import packages
import pytest
from costs import Cost, counted
from ledgers import NODE, OUT_OF_SCOPE, STUDY, Desk
from mr_desk import breast
from mr_models import uptake_model
from networks import Network

from node import config
from node.analysis.pipeline import Pipeline
from node.domains.table import shown_by
from node.flow.completeness import Settler
from node.flow.early_scoring import EarlyScorer
from node.ledger import DamagedObject, Mode, damaged_in, schema

FEW, MANY = 10, 300
MR: dict[str, Any] = {"modality": "MR", "view": None, "is_in_scope": False}
"""An object that no model reads."""
Ways = dict[str, Any]


def costs(
    desk: Desk, ways: Ways, what: Callable[[int], object], count: int = MANY
) -> tuple[Cost, Cost]:
    """Return what something costs beside few objects of one study, and beside many."""
    for number in range(FEW):
        desk.receive(f"{STUDY}.{number}", **ways)
    with counted() as few:
        what(FEW)
    like = desk.row(schema.instance, f"{STUDY}.0")  # by the listener's way, it takes seconds
    new = like | {"warmed_at": None}
    more = [new | {"sop_uid": f"{STUDY}.{number}"} for number in range(FEW, count)]
    with desk.ledger.writing() as db:
        db.execute(schema.instance.insert(), more)
    with counted() as many:
        what(count)
    return few, many


def assert_alike(few: Cost, many: Cost) -> None:
    assert few.statements
    assert len(many.statements) == len(few.statements)
    assert many.steps <= 1.1 * few.steps


@pytest.mark.parametrize(
    "ways", [{}, MR, MR | {"is_own": True}], ids=["an image", "of another modality", "our own"]
)
def test_a_new_object_costs_as_much_beside_many_as_beside_few(desk: Desk, ways: Ways) -> None:
    assert_alike(*costs(desk, ways, lambda n: desk.receive(f"{STUDY}.new.{n}", **ways)))


def test_so_does_an_object_that_comes_when_its_study_has_been_closed(desk: Desk) -> None:
    def come_late(number: int) -> None:
        desk.receive(f"{STUDY}.late.{number}", **MR)

    desk.receive(**MR)
    desk.close(OUT_OF_SCOPE)
    assert_alike(*costs(desk, MR, come_late))


def test_so_does_an_object_that_corrects_another(desk: Desk) -> None:
    def correct(number: int) -> None:
        assert desk.receive_again(digest=f"corrected {number}") == "corrected"

    desk.receive()
    desk.receive_again()  # the first costs more: it reads whether it may be taken back
    assert_alike(*costs(desk, MR, correct))


def test_so_does_an_object_of_a_study_that_is_held_for_several_patients(desk: Desk) -> None:
    for patient in range(3):
        desk.receive(f"{STUDY}.of.{patient}", identity=f"patient-{patient} - - - -")
    assert_alike(*costs(desk, {}, lambda n: desk.receive(f"{STUDY}.new.{n}")))
    assert desk.study()["held_because"] == "identity"


def test_a_look_for_what_may_be_scored_costs_nothing_more_where_no_model_reads_it(
    desk: Desk, tmp_path: Any
) -> None:
    pipeline = Pipeline(Network(), desk.scores, None, ())  # type: ignore[arg-type]  # not used
    scorer = EarlyScorer(
        desk.claiming, desk.store, pipeline, (packages.package(tmp_path / "models"),)
    )
    assert_alike(*costs(desk, MR, lambda n: scorer.score_what_came()))


def test_what_is_out_of_scope_is_passed_over_many_at_once(desk: Desk, tmp_path: Any) -> None:
    pipeline = Pipeline(Network(), desk.scores, None, ())  # type: ignore[arg-type]  # not used
    models = (packages.package(tmp_path / "models"),)
    scorer = EarlyScorer(desk.claiming, desk.store, pipeline, models)
    hand: Ways = {"view": None, "body_part": "HAND", "is_in_scope": False}
    _, many = costs(desk, hand, lambda n: scorer.score_what_came())
    claims = [statement for statement in many.statements if statement.startswith("UPDATE")]
    assert 0 < len(claims) <= (MANY - FEW) / 10


def test_a_look_at_a_study_costs_nothing_more_while_it_is_not_yet_quiet(
    desk: Desk, tmp_path: Any
) -> None:
    model = packages.package(tmp_path / "models")
    patient = config.Completeness(settle_s=3600, quiet_s=3600)
    settler = Settler(desk.settling, desk.enqueue, patient, [(model, Mode.DELIVER)])
    being_sent(desk)
    assert_alike(*costs(desk, {}, lambda n: settler.settle()))


def being_sent(desk: Desk) -> None:
    """Open the association that all objects come with; beside it there were many."""
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("association", NODE, "modality")
    for number in range(MANY):
        desk.receiving.open_association(f"former {number}", NODE, "modality")
        desk.receiving.close_association(f"former {number}")


def test_a_look_whether_any_association_of_it_is_open_costs_as_much_of_a_large_study(
    desk: Desk,
) -> None:
    being_sent(desk)
    desk.receiving.open_association("of another", NODE, "modality")
    desk.receive("1.9.1", study="1.9", association="of another")

    def look(number: int) -> None:
        found.append(desk.settling.arriving(quiet_s=3600, age_s=3600, ended_s=0))

    found: list[Sequence[object]] = []
    assert_alike(*costs(desk, {}, look))
    desk.receiving.close_association("association")
    look(0)
    assert [len(one) for one in found] == [0, 0, 1]


def test_a_look_at_a_quiet_study_that_cannot_be_closed_takes_as_many_statements(
    desk: Desk, tmp_path: Any
) -> None:
    """Their steps do grow with the study, about 45 for each object: it is grouped by what it is."""
    model = packages.package(tmp_path / "models")
    impatient = config.Completeness(settle_s=1e-6, quiet_s=1e-6)
    settler = Settler(desk.settling, desk.enqueue, impatient, [(model, Mode.DELIVER)])
    being_sent(desk)
    few, many = costs(desk, {}, lambda n: settler.settle())
    assert desk.study()["state"] == "receiving"
    assert len(many.statements) == len(few.statements) > 1


def test_a_look_for_what_is_damaged_costs_as_much_however_much_there_is(desk: Desk) -> None:
    def refuse(number: int) -> None:
        desk.receiving.record_damaged(
            DamagedObject(f"digest {number}", None, f"association {number}", f"reason {number}")
        )

    def look(number: int) -> None:
        with desk.ledger.reading() as db:
            found.append(damaged_in(db, [STUDY]))

    found: list[Mapping[str, Sequence[str]]] = []
    for number in range(FEW):
        refuse(number)
    ways = {"association": "association 0"}
    few, many_of_its_own = costs(desk, ways, look)
    assert_alike(few, many_of_its_own)
    for number in range(FEW, MANY):
        refuse(number)
    with counted() as many_of_others:
        look(MANY)
    assert_alike(few, many_of_others)
    assert found == [{STUDY: ["reason 0"]}] * 3


SLICE: dict[str, Any] = {"modality": "MR", "view": None, "sop_class": "1.2.840.10008.5.1.4.1.1.4"}


def of_mr(desk: Desk, tmp_path: Any, seconds: float) -> Settler:
    model = uptake_model(tmp_path / "models", expected_phases=6)
    settings = config.Completeness(settle_s=seconds, quiet_s=max(seconds, 3600))
    return Settler(desk.settling, desk.enqueue, settings, [(model, Mode.DELIVER)])


def a_slice() -> dict[str, Any]:
    """Return a slice of a breast, with what is kept of what it says."""
    shown = shown_by(breast()[0])
    return SLICE | {"details": shown.details, "body_part": shown.body_part}


def test_a_slice_of_an_mr_costs_as_much_beside_many_as_beside_few(
    desk: Desk, tmp_path: Any
) -> None:
    settler = of_mr(desk, tmp_path, 3600)
    being_sent(desk)

    def come(number: int) -> None:
        desk.receive(f"{STUDY}.new.{number}", **a_slice())
        settler.settle()

    assert_alike(*costs(desk, a_slice(), come, 1000))


def test_a_look_at_a_quiet_mr_takes_as_many_statements_and_its_details_are_read_once(
    desk: Desk, tmp_path: Any
) -> None:
    settler = of_mr(desk, tmp_path, 1e-6)

    def come(number: int) -> None:
        desk.receive(f"{STUDY}.new.{number}", **a_slice())
        desk.let_pass(1)
        settler.settle()

    few, many = costs(desk, a_slice(), come, 1000)
    assert desk.study()["state"] == "receiving"
    assert len(many.statements) == len(few.statements)
    with counted() as again:
        settler.settle()
    read = [one for one in many.statements if "instance.details \nFROM" in one]
    assert len(read) == 1
    assert read[0] not in again.statements
