"""What becomes of an object that comes by another way than the listener: from a folder."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path

import factories
import pytest
import small_models
from factories import R_CC
from ledgers import RECEIVING, Desk, is_mammogram
from locks import impatient, locked
from peers import Pacs, modality
from pydicom import Dataset
from pydicom.uid import UID, ComprehensiveSRStorage, RLELossless
from sqlalchemy.exc import OperationalError

from node import config
from node.app import App
from node.current import Current
from node.identity import OWN_DEVICE_UID
from node.ledger import Kept, Ledger, Nodes, Receiving, schema
from node.overview import study_overviews
from node.receive.reception import Reception
from node.store import Store, dataset_digest
from node.trial import phantom

from .folders import Status, receive_folder

DONE_WITHIN_S = 60


@pytest.fixture
def reception(store: Store, ledger: Ledger) -> Iterator[Reception]:
    Nodes(ledger).register_node(store.node_id)
    opened = Reception(Current(RECEIVING), store, Receiving(ledger), is_mammogram)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody puts files."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


def put(folder: Path, name: str, change: Callable[[Dataset], None] = lambda dataset: None) -> Path:
    """Put a mammogram with something changed into a folder."""
    (dataset,) = factories.exam(views=[R_CC])
    change(dataset)
    dataset.save_as(folder / name, enforce_file_format=True)
    return folder / name


def repaint(dataset: Dataset) -> None:
    dataset.PixelData = bytes(reversed(dataset.PixelData))


def rename(dataset: Dataset) -> None:
    dataset.PatientName = "Corrected^Name"


def another(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.77")


def reencode(dataset: Dataset) -> None:
    dataset.compress(RLELossless, generate_instance_uid=False)


def statuses(folder: Path, reception: Reception, store: Store) -> dict[str, Status]:
    found = receive_folder(folder, reception, store.incoming, "modality")
    return {path.name: status for path, status in found}


def test_each_thing_that_may_become_of_a_file_is_told_in_the_words_of_the_folder(
    folder: Path, reception: Reception, store: Store, desk: Desk
) -> None:
    put(folder, "1 new")
    put(folder, "2 again")
    put(folder, "3 encoded otherwise", reencode)
    put(folder, "4 with another name", rename)
    put(folder, "5 with other pixels", repaint)
    (folder / "6 no DICOM").write_text("a letter")
    cut = put(folder, "7 cut short")
    cut.write_bytes(cut.read_bytes()[:900])
    assert statuses(folder, reception, store) == {
        "1 new": Status.TAKEN,
        "2 again": Status.KNOWN,
        "3 encoded otherwise": Status.KNOWN,
        "4 with another name": Status.CORRECTED,
        "5 with other pixels": Status.CONTRADICTS,
        "6 no DICOM": Status.UNREADABLE,
        "7 cut short": Status.UNREADABLE,
    }
    assert len(list(folder.iterdir())) == 7
    assert not list(store.incoming.iterdir())
    (kept,) = desk.rows(schema.instance)
    (former,) = desk.rows(schema.former_instance)
    received = {path for path in (store.root / "received").rglob("*") if path.is_file()}
    assert received == {store.path(kept["path"]), store.path(former["path"])}
    assert store.count_unusable() == {store.unreadable: 2, store.contradicting: 1}
    assert desk.study(kept["study_uid"])["held_reason"]


def test_what_cannot_be_kept_while_the_database_is_locked_is_taken_the_next_time(
    folder: Path,
    reception: Reception,
    store: Store,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(desk.ledger, monkeypatch)
    put(folder, "1")
    put(folder, "2", another)
    walk = receive_folder(folder, reception, store.incoming, "modality")
    assert next(walk)[1] is Status.TAKEN
    with locked(desk.ledger):
        assert next(walk)[1] is Status.LATER
    assert next(walk, None) is None
    assert len(desk.rows(schema.instance)) == 1
    assert statuses(folder, reception, store) == {"1": Status.KNOWN, "2": Status.TAKEN}
    assert len(desk.rows(schema.instance)) == 2


def test_what_does_not_fit_on_the_disk_is_taken_once_there_is_room(
    folder: Path, reception: Reception, store: Store, ledger: Ledger
) -> None:
    put(folder, "1")
    node = RECEIVING.node.model_copy(update={"min_free_mb": 1 << 40})
    full = RECEIVING.model_copy(update={"node": node})
    with closing(Reception(Current(full), store, Receiving(ledger), is_mammogram)) as without_room:
        assert statuses(folder, without_room, store) == {"1": Status.LATER}
    received = store.root / "received"
    received.rmdir()
    received.write_text("in the way")
    assert statuses(folder, reception, store) == {"1": Status.LATER}
    received.unlink()
    assert statuses(folder, reception, store) == {"1": Status.TAKEN}


def test_from_the_refuse_watermark_on_nothing_is_taken_and_it_says_why(
    folder: Path, reception: Reception, store: Store, ledger: Ledger, desk: Desk
) -> None:
    put(folder, "1")
    retention = config.RetentionSettings(refuse_from_percent=0.001)
    full = RECEIVING.model_copy(update={"retention": retention})
    with closing(Reception(Current(full), store, Receiving(ledger), is_mammogram)) as without_room:
        assert statuses(folder, without_room, store) == {"1": Status.LATER}
        without_room.peers.write()
    (peer,) = desk.rows(schema.peer)
    assert re.fullmatch(
        rf"an object is not taken: {store.root}: [\d.]+ % of the disk in use, "
        r"refuse_from_percent = 0\.001 reached",
        peer["rejection"],
    )
    assert not list(store.incoming.iterdir())
    with closing(
        Reception(
            Current(
                RECEIVING.model_copy(
                    update={"retention": config.RetentionSettings(refuse_from_percent=99.999)}
                )
            ),
            store,
            Receiving(ledger),
            is_mammogram,
        )
    ) as with_room:
        assert statuses(folder, with_room, store) == {"1": Status.TAKEN}


def test_a_study_is_waited_for_while_a_folder_is_read_and_no_sweep_ends_that(
    folder: Path, reception: Reception, store: Store, desk: Desk
) -> None:
    put(folder, "1")
    put(folder, "2", another)
    walk = receive_folder(folder, reception, store.incoming, "modality")
    next(walk)
    desk.receiving.close_associations(store.node_id, reception.is_open)
    assert desk.arrivals()[0].open_associations == 1
    assert len(list(walk)) == 1
    assert desk.arrivals()[0].open_associations == 0


def test_it_is_told_of_which_study_an_object_was_kept_and_which_were_brought_until_the_end(
    folder: Path, store: Store, desk: Desk, tmp_path: Path
) -> None:
    def end(study_uids: Collection[str]) -> None:
        open_then.extend(arrival.open_associations for arrival in desk.arrivals())
        ended.append(set(study_uids))

    Nodes(desk.ledger).register_node(store.node_id)
    kept, ended, open_then = list[str](), list[set[str]](), list[int]()
    put(folder, "1")
    put(folder, "2", another)
    (tmp_path / "empty").mkdir()
    reception = Reception(
        *(Current(RECEIVING), store, desk.receiving, is_mammogram), kept.append, end
    )
    with closing(reception):
        list(receive_folder(folder, reception, store.incoming, "modality"))
        assert ended == [set(kept)]
        assert len(kept) == 2
        assert not any(open_then), "its end is recorded by then"
        list(receive_folder(tmp_path / "empty", reception, store.incoming, "modality"))
    assert len(ended) == 1, "who has brought nothing ends nothing"


def test_an_end_that_could_not_be_recorded_is_recorded_by_the_sweep(
    reception: Reception, store: Store, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(desk.ledger, monkeypatch)
    came = reception.begin("modality")
    with locked(desk.ledger), pytest.raises(OperationalError):
        reception.end(came)
    desk.receiving.close_associations(store.node_id, reception.is_open)
    (row,) = desk.rows(schema.association)
    assert row["closed_at"] is not None


def from_us(dataset: Dataset) -> None:
    dataset.DeviceUID = OWN_DEVICE_UID


def test_only_the_same_bytes_take_the_place_of_an_object_of_ours_that_was_lost(
    folder: Path, reception: Reception, store: Store, desk: Desk
) -> None:
    first = put(folder, "1", from_us)
    assert statuses(folder, reception, store) == {"1": Status.TAKEN}
    (row,) = desk.rows(schema.instance)
    store.path(row["path"]).unlink()
    ours = first.rename(folder.with_name("ours"))
    put(folder, "2 of somebody else", repaint)
    assert statuses(folder, reception, store) == {"2 of somebody else": Status.KNOWN}
    assert not store.path(row["path"]).exists()
    ours.rename(folder / "1")
    assert statuses(folder, reception, store)["1"] is Status.KNOWN
    assert dataset_digest(store.path(row["path"])) == row["digest"]


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:900])


def test_what_comes_again_is_kept_beside_a_damaged_file_and_its_study_held(
    folder: Path, reception: Reception, store: Store, desk: Desk
) -> None:
    put(folder, "1")
    assert statuses(folder, reception, store) == {"1": Status.TAKEN}
    (row,) = desk.rows(schema.instance)
    damage(store.path(row["path"]))
    again = dataset_digest(put(folder, "1", rename))
    assert statuses(folder, reception, store) == {"1": Status.CONTRADICTS}
    assert "cannot be compared" in desk.study(row["study_uid"])["held_reason"]
    assert desk.rows(schema.instance) == [row]
    (beside,) = store.contradicting.glob("*.dcm")
    assert dataset_digest(beside) == again
    assert store.count_unusable()[store.unreadable] == 0


def test_a_faster_sender_whose_file_is_damaged_does_not_make_the_slower_one_unreadable(
    folder: Path,
    reception: Reception,
    store: Store,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(folder, "1")
    assert statuses(folder, reception, store) == {"1": Status.TAKEN}
    (row,) = desk.rows(schema.instance)
    damage(store.path(row["path"]))
    put(folder, "1", rename)
    find_kept, answers = Receiving.find_kept, iter([False])

    def find_later(self: Receiving, sop_uid: str) -> Kept | None:
        return find_kept(self, sop_uid) if next(answers, True) else None

    monkeypatch.setattr(Receiving, "find_kept", find_later)
    assert statuses(folder, reception, store) == {"1": Status.CONTRADICTS}
    assert store.count_unusable() == {store.unreadable: 0, store.contradicting: 1}


def test_where_a_former_file_is_damaged_another_sender_does_not_correct(
    folder: Path, reception: Reception, store: Store, desk: Desk
) -> None:
    put(folder, "1")
    put(folder, "2", rename)
    assert list(statuses(folder, reception, store).values()) == [Status.TAKEN, Status.CORRECTED]
    (row,) = desk.rows(schema.instance)
    (former,) = desk.rows(schema.former_instance)
    damage(store.path(former["path"]))
    (folder / "2").unlink()
    found = receive_folder(folder, reception, store.incoming, "archive")
    assert [status for _, status in found] == [Status.CONTRADICTS]
    assert desk.rows(schema.instance) == [row]


@pytest.mark.slow
def test_studies_from_a_folder_come_back_as_results_as_those_of_a_modality_do(
    folder: Path, pacs: Pacs, tmp_path: Path
) -> None:
    """The whole node, with a network that runs."""
    small_models.model(tmp_path, small_models.BRIGHT)
    node = App(
        config.Config(
            node=config.Node(
                ae_title="AINODE", state_dir=tmp_path / "state", models_dir=tmp_path, min_free_mb=0
            ),
            listener=config.ListenerSettings(host="127.0.0.1", port=0),
            peers=(modality(results_to=["pacs"]), pacs.peer("pacs")),
            models=(config.ChosenModel(name="small", mode="deliver"),),
            completeness=config.Completeness(settle_s=0.2, quiet_s=1),
        )
    )
    whole, partial = factories.exam("whole"), factories.exam("partial", [R_CC])
    phantom.save(whole, folder / "whole")
    phantom.save(partial, folder / "partial")
    (folder / "letter.txt").write_text("no DICOM")
    node.start()
    try:
        found = receive_folder(folder, node.reception, node.store.incoming, "modality")
        assert Counter(status for _, status in found) == {Status.TAKEN: 5, Status.UNREADABLE: 1}
        assert until(lambda: [one.state for one in study_overviews(node.ledger)] == ["done"] * 2)
        reasons = {one.study_uid: one.reason for one in study_overviews(node.ledger)}
    finally:
        node.stop()
    assert reasons[whole[0].StudyInstanceUID] == "4/4 views, association ended"
    assert "missing" in str(reasons[partial[0].StudyInstanceUID])
    objects = [received.read() for received in pacs.received]
    reports = [one for one in objects if one.SOPClassUID == ComprehensiveSRStorage]
    assert {one.StudyInstanceUID for one in reports} == reasons.keys()


def until(is_so: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + DONE_WITHIN_S
    while not (is_it := is_so()) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    return is_it
