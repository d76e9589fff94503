"""An object that contradicts itself, second of four: it is kept, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile

import factories
import odd_structure as odd
import pytest
from factories import R_CC
from ledgers import RECEIVING, Desk, is_mammogram
from locks import impatient, locked

from node.current import Current
from node.errors import NodeError, Unreadable
from node.ledger import HeldBecause, Nodes, Receiving, Recorded, schema
from node.overview import study_overviews
from node.receive.reception import Came, Reception

Maker = Callable[[bytes], bytes]


class Door:
    """Where four mammograms of an exam come in, one after the other."""

    def __init__(self, desk: Desk, reception: Reception, folder: Path) -> None:
        self.desk, self.reception = desk, reception
        self.paths = factories.saved_exam(folder)
        self.study_uid = str(factories.exam()[0].StudyInstanceUID)
        self.came = reception.begin("modality")

    def keep(self, path: Path, came: Came | None = None) -> Recorded:
        copy = self.desk.store.incoming / "coming.dcm"
        copyfile(path, copy)
        return self.reception.keep(copy, came or self.came)

    def change(self, make: Maker, number: int = 1) -> None:
        path = self.paths[number]
        path.write_bytes(make(path.read_bytes()))

    def held(self) -> tuple[HeldBecause | None, str | None]:
        study = self.desk.study(self.study_uid)
        return study["held_because"], study["held_reason"]


@pytest.fixture
def door(desk: Desk, tmp_path: Path) -> Iterator[Door]:
    Nodes(desk.ledger).register_node(desk.store.node_id)
    reception = Reception(Current(RECEIVING), desk.store, Receiving(desk.ledger), is_mammogram)
    yield Door(desk, reception, tmp_path / "exam")
    reception.close()


IDENTIFIERS: dict[Maker, str] = {
    odd.two_patient_ids: "Patient ID",
    odd.two_names: "Patient's Name",
    odd.two_birth_dates: "Patient's Birth Date",
    odd.two_study_uids: "Study Instance UID",
    odd.two_sop_uids: "SOP Instance UID",
}


@pytest.mark.parametrize("make", IDENTIFIERS, ids=lambda make: make.__name__)
def test_two_different_identifiers_in_one_object_hold_the_study(make: Maker, door: Door) -> None:
    door.change(make)
    assert [door.keep(path) for path in door.paths] == ["new"] * 4
    words = f"one object states {IDENTIFIERS[make]} twice, with different values"
    assert door.held() == (HeldBecause.IDENTITY, words)
    assert {row["study_uid"] for row in door.desk.rows(schema.instance)} == {door.study_uid}
    with pytest.raises(NodeError, match=f"stays held: {words}"):
        door.desk.by_hand.release_study(door.study_uid)


def test_what_states_it_once_takes_the_place_of_what_stated_it_twice(door: Door) -> None:
    whole = door.paths[1].read_bytes()
    door.change(odd.two_patient_ids)
    for path in door.paths:
        door.keep(path)
    assert door.held()[0] == HeldBecause.IDENTITY
    door.paths[1].write_bytes(whole)
    assert door.keep(door.paths[1]) == "corrected"
    assert door.held() == (None, None)


@pytest.mark.parametrize(
    "make",
    [odd.same_patient_id_twice, odd.two_station_names, odd.two_lateralities, odd.two_windows],
)
def test_nothing_else_that_is_twice_holds_a_study(make: Maker, door: Door) -> None:
    door.change(make)
    assert [door.keep(path) for path in door.paths] == ["new"] * 4
    assert door.held() == (None, None)


def test_a_view_that_is_said_twice_is_none(door: Door) -> None:
    door.change(odd.two_lateralities)
    for path in door.paths:
        door.keep(path)
    views = sorted(str(row["view"]) for row in door.desk.rows(schema.instance))
    assert views == ["L MLO", "None", "R CC", "R MLO"]


@pytest.mark.parametrize("make", odd.DAMAGED, ids=lambda make: make.__name__)
def test_a_damaged_object_is_put_aside_with_the_reason_and_costs_no_other(
    make: Maker, door: Door
) -> None:
    door.change(make)
    kept, reason = [], ""
    for path in door.paths:
        try:
            kept.append(door.keep(path))
        except Unreadable as error:
            reason = str(error)
    assert kept == ["new"] * 3
    (aside,) = door.desk.store.unreadable.glob("*.dcm")
    assert aside.read_bytes() == door.paths[1].read_bytes()
    assert reason
    assert reason in aside.with_suffix(".json").read_text("utf-8")


@pytest.mark.parametrize("make", odd.DAMAGED, ids=lambda make: make.__name__)
def test_its_study_says_that_it_was_refused_until_it_comes_whole(make: Maker, door: Door) -> None:
    whole = door.paths[1].read_bytes()
    door.change(make)
    with pytest.raises(Unreadable) as refused:  # before anything else of its association
        door.keep(door.paths[1])
    for number in (0, 2, 3):
        door.keep(door.paths[number])
    [study] = study_overviews(door.desk.ledger)
    assert study.damaged == (str(refused.value),)
    [arrival] = door.desk.arrivals()
    assert arrival.damaged == study.damaged
    door.paths[1].write_bytes(whole)
    door.keep(door.paths[1], door.reception.begin("modality"))
    [study] = study_overviews(door.desk.ledger)
    assert study.damaged == ()


def test_a_damaged_object_is_known_by_its_own_uids_though_its_association_brings_others(
    door: Door, tmp_path: Path
) -> None:
    door.change(odd.sequence_that_covers_the_name)
    [other] = factories.saved_exam(tmp_path / "other", "other", [R_CC])
    door.keep(door.paths[0], door.reception.begin("modality"))
    door.keep(other)
    with pytest.raises(Unreadable):
        door.keep(door.paths[1])
    said = {study.study_uid: len(study.damaged) for study in study_overviews(door.desk.ledger)}
    assert said.pop(door.study_uid) == 1
    assert list(said.values()) == [0]


def test_what_is_no_dicom_is_of_no_study(door: Door, tmp_path: Path) -> None:
    door.keep(door.paths[0])
    letter = tmp_path / "letter"
    letter.write_text("Dear colleague, " * 20)
    with pytest.raises(Unreadable):
        door.keep(letter)
    [study] = study_overviews(door.desk.ledger)
    assert study.damaged == ()


def test_who_is_refused_hears_why_though_the_ledger_cannot_be_told(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(door.desk.ledger, monkeypatch)
    door.change(odd.sequence_that_covers_the_name)
    with locked(door.desk.ledger), pytest.raises(Unreadable, match="is damaged"):
        door.keep(door.paths[1])
    assert len(list(door.desk.store.unreadable.glob("*.dcm"))) == 1


@pytest.mark.parametrize("make", odd.READABLE, ids=lambda make: make.__name__)
def test_what_has_one_reading_is_received_as_it_was(make: Maker, door: Door) -> None:
    door.change(make)
    assert [door.keep(path) for path in door.paths] == ["new"] * 4
    assert door.held() == (None, None)
    views = sorted(row["view"] for row in door.desk.rows(schema.instance))
    assert views == ["L CC", "L MLO", "R CC", "R MLO"]
