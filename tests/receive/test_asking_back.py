"""Images that are needed again come back from an archive, or the study is held with the words."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import factories
import pytest
from factories import L_CC, R_CC, R_MLO
from giving import GivingArchive
from ledgers import Desk, is_mammogram
from peers import modality
from pydicom import Dataset
from pydicom.uid import RLELossless
from retained import retention_on

from node import config
from node.current import Current
from node.flow.deep_check import DeepCheck
from node.flow.inventory import Inventory
from node.imaging.digests import encoded_digest
from node.ledger import (
    COMES_BACK,
    Asking,
    HeldBecause,
    Job,
    Kept,
    Ledger,
    Nodes,
    Receiving,
    now,
    schema,
)
from node.ledger.coming_back import ask_back
from node.receive import asking_back
from node.receive.asking_back import AskingBack
from node.receive.header_changes import header_digest
from node.receive.reception import Came, Reception
from node.store import Store

from .doors import OpenDoor


@dataclass
class Asker:
    """A node that received a study, of which the images were removed; its sweep is made by hand."""

    desk: Desk
    sweep: AskingBack
    reception: Reception
    exam: list[Dataset]
    backup: dict[str, bytes] = field(default_factory=dict)
    """What was removed, by its path."""

    @property
    def study(self) -> str:
        return str(self.exam[0].StudyInstanceUID)

    def look(self) -> None:
        """Make the sweep, as if the time to it had passed, and wait for the archive's answer."""
        self.desk.change(schema.asked_back, next_at=0.0)
        self.sweep.look()
        self.sweep.wait()

    def receive(self, *datasets: Dataset) -> list[str]:
        return [str(self.desk.keep(one)) for one in datasets]

    def remove(self) -> None:
        for row in self.desk.rows(schema.instance):
            path = self.desk.store.path(row["path"])
            table = schema.instance
            digests = {"pixels_digest": encoded_digest(path), "header_digest": header_digest(path)}
            with self.desk.ledger.writing() as db:
                is_it = table.c.sop_uid == row["sop_uid"]
                db.execute(table.update().where(is_it).values(removed_at=now(), **digests))
            self.backup[row["path"]] = path.read_bytes()
            path.unlink()
        self.desk.change(schema.study, images_removed_at=now())

    def files(self) -> int:
        return sum(path.is_file() for path in (self.desk.store.root / "received").rglob("*"))

    def events(self) -> list[str]:
        return self.desk.history(self.study)


OpenAsker = Callable[..., Asker]
NewAsker = Callable[..., Asker]


@pytest.fixture
def archive() -> Iterator[GivingArchive]:
    opened = GivingArchive()
    yield opened
    opened.close()


@pytest.fixture
def new_asker(store: Store, ledger: Ledger, tmp_path: Path) -> Iterator[NewAsker]:
    """Open nodes that ask some peers for an exam."""
    opened: list[Asker] = []

    def start(exam: list[Dataset], *peers: config.Peer, within_s: float = 3600) -> Asker:
        settings = config.Config(
            node=config.Node(ae_title="AINODE", state_dir=tmp_path, min_free_mb=0),
            peers=peers,
            retention=config.RetentionSettings(ask_back_within_s=within_s),
        )
        reception = Reception(Current(settings), store, Receiving(ledger), is_mammogram)
        sweep = AskingBack(Current(settings), store, Asking(ledger), reception, is_mammogram)
        opened.append(Asker(Desk(ledger, store), sweep, reception, exam))
        return opened[-1]

    nodes = Nodes(ledger)
    if not nodes.registered([store.node_id]):  # a door has done it
        nodes.register_node(store.node_id)
    yield start
    for asker in opened:
        asker.sweep.stop()
        asker.reception.close()


@pytest.fixture
def open_asker(new_asker: NewAsker) -> OpenAsker:
    """Open nodes that lack two removed images, since a third came late."""

    def start(*peers: config.Peer, within_s: float = 3600) -> Asker:
        asker = new_asker(factories.exam("asked back", [R_CC, L_CC]), *peers, within_s=within_s)
        asker.receive(*asker.exam)
        asker.desk.close(study=asker.study)
        asker.remove()
        asker.receive(late(asker.exam[0]))
        asker.desk.settling.ask_back(asker.study, 2)
        return asker

    return start


def late(image: Dataset) -> Dataset:
    """Return an image of the same study that comes later."""
    (made,) = factories.exam("late", [R_MLO])
    made.StudyInstanceUID = image.StudyInstanceUID
    for keyword in ("PatientID", "PatientName", "AccessionNumber", "PatientBirthDate"):
        setattr(made, keyword, image[keyword].value)
    return made


SENDER = modality(results_to=["giving"])


def test_what_was_removed_comes_back_from_who_gets_the_results_and_the_study_goes_on(
    open_asker: OpenAsker, archive: GivingArchive
) -> None:
    asker = open_asker(SENDER, archive.peer("get"))
    archive.has = asker.exam
    assert asker.files() == 1
    assert asker.desk.arrivals() == [], "nobody looks at it while it waits"
    asker.look()
    assert asker.files() == 3
    assert {row["removed_at"] for row in asker.desk.rows(schema.instance)} == {None}
    assert asker.desk.rows(schema.asked_back) == []
    assert asker.events()[-1] == "all its images are here again"
    assert list(asker.desk.store.incoming.iterdir()) == []
    (arrival,) = asker.desk.arrivals()
    assert sum(part.removed for part in arrival.parts) == 0


def test_by_c_move_it_comes_through_the_door(
    open_door: OpenDoor, open_asker: OpenAsker, archive: GivingArchive
) -> None:
    asker = open_asker(SENDER, archive.peer("move"))
    archive.has = asker.exam
    archive.node_port = open_door(archive.peer("move")).port
    asker.look()
    assert asker.files() == 3
    assert asker.desk.rows(schema.asked_back) == []


def test_an_archive_that_has_it_encoded_otherwise_gives_it_uncompressed(
    open_asker: OpenAsker, archive: GivingArchive
) -> None:
    asker = open_asker(SENDER, archive.peer("get"))
    archive.has = asker.exam
    for row in asker.desk.rows(schema.instance):  # as if they had come compressed
        if row["removed_at"] is not None:
            table = schema.instance
            with asker.desk.ledger.writing() as db:
                is_it = table.c.sop_uid == row["sop_uid"]
                other = {"transfer_syntax": str(RLELossless), "digest": "compressed"}
                db.execute(table.update().where(is_it).values(other))
    asker.look()
    assert asker.desk.rows(schema.asked_back) == []
    assert sum("its pixels cannot be compared" in event for event in asker.events()) == 2


def test_an_archive_that_has_not_all_is_asked_again_and_then_the_study_is_held(
    open_asker: OpenAsker, archive: GivingArchive
) -> None:
    asker = open_asker(SENDER, archive.peer("get"))
    archive.has = asker.exam[:1]
    asker.look()
    asker.look()
    levels = [one.QueryRetrieveLevel for one in archive.asked]
    assert levels == ["IMAGE", "IMAGE", "STUDY"], "each image is a series of its own"
    assert asker.desk.study(asker.study)["held_because"] is None
    asker.desk.change(schema.asked_back, asked_at=now() - 3600)
    asker.look()
    study = asker.desk.study(asker.study)
    assert study["held_because"] == HeldBecause.MISSING
    assert study["held_reason"].startswith("1 image needed for a new report, removed since ")
    assert "giving was asked for 1 h (1 of 1 image asked for did not come)" in study["held_reason"]
    assert asker.receive(asker.exam[1]) == ["restored"]
    asker.look()
    assert asker.desk.study(asker.study)["held_because"] is None


def test_nothing_is_given_up_before_somebody_was_asked_for_it(
    open_asker: OpenAsker, archive: GivingArchive
) -> None:
    """As after a weekend in which the node stood still, or behind thousands of others."""
    asker = open_asker(SENDER, archive.peer("get"))
    asker.desk.change(schema.asked_back, asked_at=now() - 3600)
    for times in (1, 2):
        asker.look()
        (row,) = asker.desk.rows(schema.asked_back)
        assert (len(archive.asked) > 0, row["attempts"]) == (True, times)
    archive.has = asker.exam
    asker.look()
    asker.look()
    assert asker.desk.rows(schema.asked_back) == []


def test_a_store_that_is_away_is_no_attempt_to_ask(
    open_asker: OpenAsker, archive: GivingArchive
) -> None:
    asker = open_asker(SENDER, archive.peer("get"))
    root = asker.desk.store.root
    root.rename(root.with_name("elsewhere"))
    asker.look()
    (row,) = asker.desk.rows(schema.asked_back)
    assert row["attempts"] == 0
    assert row["error"] == "not yet, the store of this machine is away"


def test_one_look_sees_to_so_many_studies_however_many_are_due(new_asker: NewAsker) -> None:
    asker = new_asker(factories.exam("lost", [R_CC]), modality())
    desk, count = asker.desk, 2 * asking_back._PORTION + 1
    asker.receive(*asker.exam)
    for number in range(count):
        desk.receive(f"1.9.{number}.1", study=f"1.9.{number}", relative_path="not there")
        with desk.ledger.writing() as db:
            ask_back(db, f"1.9.{number}")
    left = []
    for _ in range(3):
        asker.sweep.look()
        left.append(len(desk.rows(schema.asked_back)))
    assert left == [count - asking_back._PORTION, 1, 0]


def test_a_study_that_waits_is_not_looked_through_again_while_it_lacks_the_same(
    desk: Desk, new_asker: NewAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = factories.exam("lost", [R_CC, L_CC])
    for one in exam:
        desk.keep(one)
    study = str(exam[0].StudyInstanceUID)
    desk.close(study=study)
    paths = [store_path(desk, one) for one in exam]
    paths[1].unlink()
    DeepCheck(desk.ledger, desk.store, lambda line: None, unseen, repairs=True).run()
    asker = new_asker(exam, modality())
    asker.look()
    looked: list[Path] = []
    as_it_is = Path.exists

    def seen(path: Path) -> bool:
        looked.append(path)
        return as_it_is(path)

    with monkeypatch.context() as disk:
        disk.setattr(Path, "exists", seen)
        asker.look()
    assert paths[0] not in looked and looked.count(paths[1]) == 1
    paths[0].unlink()
    desk.keep(exam[1])
    asker.look()
    assert desk.study(study)["held_because"] == HeldBecause.MISSING, "now it lacks the other"
    desk.keep(exam[0])
    asker.look()
    assert desk.study(study)["held_because"] is None


def store_path(desk: Desk, image: Dataset) -> Path:
    return desk.store.path(desk.row(schema.instance, image.SOPInstanceUID)["path"])


def test_where_nobody_can_be_asked_the_study_is_held_at_once(open_asker: OpenAsker) -> None:
    asker = open_asker(modality())
    asker.look()
    reason = asker.desk.study(asker.study)["held_reason"]
    assert reason.startswith("2 images needed for a new report, removed since ")
    assert "nobody can be asked for them: modality has no `retrieve`" in reason
    assert asker.receive(*asker.exam) == ["restored", "restored"]
    asker.look()
    assert asker.desk.study(asker.study)["held_because"] is None


def test_removed_files_that_a_person_puts_back_are_used_and_nobody_removes_them_again(
    open_asker: OpenAsker,
) -> None:
    """As the words of a held study tell him to; a copy has the time of the original."""
    asker = open_asker(modality())
    asker.look()
    assert "put the files back" in asker.desk.study(asker.study)["held_reason"]
    for row in asker.desk.rows(schema.instance):
        if row["removed_at"] is not None:
            path = asker.desk.store.path(row["path"])
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(asker.backup[row["path"]])
            os.utime(path, (1e9, 1e9))
    inventory = Inventory(asker.desk.filing, asker.desk.store)
    inventory.look()
    inventory.look()
    asker.look()
    retention_on(asker.desk.ledger, asker.desk.store).sweep()
    assert asker.files() == 3
    assert asker.desk.study(asker.study)["held_because"] is None
    assert {row["removed_at"] for row in asker.desk.rows(schema.instance)} == {None}
    assert asker.desk.study(asker.study)["images_removed_at"] is None
    words = "2 removed images are here again, where they were and as they came"
    assert words in asker.events()


def test_a_removed_file_that_may_be_unlinked_just_now_is_used_only_if_it_stays(
    open_asker: OpenAsker,
) -> None:
    """Whoever unlinks has read which files, and asks nobody again."""
    asker = open_asker(modality())
    for row in asker.desk.rows(schema.instance):
        if row["removed_at"] is None:
            continue
        path = asker.desk.store.path(row["path"])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(asker.backup[row["path"]])
        with asker.desk.ledger.writing() as db:
            going = {"path": row["path"], "study_uid": asker.study, "asked_at": 1.0}
            db.execute(schema.unlinking.insert().values(going))
    asker.look()
    assert removed(asker) == 2 and asker.desk.rows(schema.unlinking) == []
    asker.look()
    assert removed(asker) == 0
    assert asker.desk.study(asker.study)["held_because"] is None


def removed(asker: Asker) -> int:
    return sum(row["removed_at"] is not None for row in asker.desk.rows(schema.instance))


def test_another_file_in_the_place_of_a_removed_one_is_not_used_and_said_so_once(
    open_asker: OpenAsker, caplog: pytest.LogCaptureFixture
) -> None:
    asker = open_asker(modality())
    asker.look()
    row = next(row for row in asker.desk.rows(schema.instance) if row["removed_at"] is not None)
    path = asker.desk.store.path(row["path"])
    path.parent.mkdir(exist_ok=True)
    asker.exam[1].save_as(path, enforce_file_format=True)
    asker.look()
    asker.look()
    assert asker.desk.study(asker.study)["held_because"] == HeldBecause.MISSING
    said = [line for line in caplog.messages if "was put back, but is not used" in line]
    assert len(said) == 1 and row["path"] in said[0]
    path.write_bytes(asker.backup[row["path"]])  # now the right one
    os.utime(path, (1e9, 1e9))
    asker.look()
    assert asker.desk.row(schema.instance, row["sop_uid"])["removed_at"] is None


def test_an_archive_that_is_away_is_asked_again_later(
    open_asker: OpenAsker, archive: GivingArchive
) -> None:
    asker = open_asker(SENDER, archive.peer("get"))
    archive.close()
    asker.look()
    (row,) = asker.desk.rows(schema.asked_back)
    assert (row["peer"], row["attempts"]) == ("giving", 1)
    assert "nothing listens there" in row["error"]
    assert row["next_at"] > row["asked_at"]


def test_a_file_that_is_put_back_is_noticed_before_anybody_is_asked(
    open_asker: OpenAsker, archive: GivingArchive
) -> None:
    asker = open_asker(SENDER, archive.peer("get"))
    asker.receive(*asker.exam)
    asker.look()
    assert archive.asked == []
    assert asker.desk.rows(schema.asked_back) == []


def test_other_pixels_than_the_removed_ones_are_put_aside_and_hold_the_study(
    open_asker: OpenAsker,
) -> None:
    asker = open_asker(modality())
    image = asker.exam[0]
    image.PixelData = bytes(reversed(image.PixelData))
    assert asker.receive(image) == ["contradicts"]
    assert asker.desk.study(asker.study)["held_because"] == HeldBecause.PIXELS


def test_a_corrected_header_is_taken_though_the_former_file_is_removed(
    open_asker: OpenAsker,
) -> None:
    asker = open_asker(modality())
    before = asker.desk.row(schema.instance, asker.exam[0].SOPInstanceUID)
    for image in asker.exam:
        image.PatientName = "Corrected^Name"
    assert asker.receive(*asker.exam) == ["corrected", "corrected"]
    assert "its header differs from the removed one" in asker.events()[-1]
    former = {row["sop_uid"]: row for row in asker.desk.rows(schema.former_instance)}
    assert former[before["sop_uid"]]["header_digest"] == before["header_digest"]


def test_a_stale_copy_does_not_take_the_place_of_a_correction_though_both_files_are_removed(
    open_asker: OpenAsker,
) -> None:
    asker = open_asker(modality())
    stale = factories.exam("asked back", [R_CC, L_CC])
    for image in asker.exam:
        image.PatientName = "Corrected^Name"
    asker.receive(*asker.exam)
    came = Came("another", "another association")
    path = asker.desk.store.incoming / "stale.dcm"
    stale[0].save_as(path, enforce_file_format=True)
    assert asker.reception.keep(path, came) == "unchanged"


def test_a_lost_file_is_healed_by_whatever_is_sent_under_its_uid(desk: Desk, store: Store) -> None:
    exam = factories.exam("lost", [R_CC, L_CC])
    for one in exam:
        desk.keep(one)
    row = desk.row(schema.instance, exam[0].SOPInstanceUID)
    store.path(row["path"]).unlink()
    exam[0].StudyDescription = "As the archive has it"
    assert desk.keep(exam[0]) == "corrected"
    assert desk.history(str(exam[0].StudyInstanceUID))[-1] == (
        "R CC came again, with whatever header: what it was is not known, its file here is lost"
    )
    assert store.path(desk.row(schema.instance, exam[0].SOPInstanceUID)["path"]).exists()
    (former,) = desk.rows(schema.former_instance)
    assert former["removed_at"] is not None, "nobody looks for it any more"
    exam[0].StudyDescription = "As it was corrected"
    assert desk.keep(exam[0]) == "corrected"


def test_a_correction_is_taken_though_the_files_of_former_ones_are_lost(
    desk: Desk, store: Store
) -> None:
    exam = factories.exam("lost", [R_CC, L_CC])
    for words in ("At first", "Corrected", "Corrected again"):
        exam[0].StudyDescription = words
        desk.keep(exam[0])
    for row in desk.rows(schema.former_instance):
        store.path(row["path"]).unlink()
    exam[0].StudyDescription = "Corrected once more"
    assert desk.keep(exam[0]) == "corrected"


def test_other_pixels_contradict_though_the_file_is_removed_while_they_are_looked_at(
    open_asker: OpenAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = open_asker(modality())
    image = asker.exam[0]
    as_it_is = Receiving.find_kept
    looks: list[Kept | None] = []

    def just_before_it_is_removed(receiving: Receiving, sop_uid: str) -> Kept | None:
        kept = as_it_is(receiving, sop_uid)
        if kept is not None and not looks:
            before = replace(kept, is_removed=False, is_awaited=False, pixels_digest="")
            kept = replace(before, header_digest="")
        looks.append(kept)
        return kept

    monkeypatch.setattr(Receiving, "find_kept", just_before_it_is_removed)
    image.PixelData = bytes(reversed(image.PixelData))
    path = asker.desk.store.incoming / "other.dcm"
    image.save_as(path, enforce_file_format=True)
    assert asker.reception.keep(path, Came("modality", "association")) == "contradicts"
    assert len(looks) == 2, "it is compared once more"


@pytest.mark.parametrize("lost", ["gone", "damaged"])
def test_a_study_that_a_deep_check_has_held_goes_on_once_it_is_sent_again(
    desk: Desk, store: Store, new_asker: NewAsker, lost: str
) -> None:
    exam = factories.exam("checked", [R_CC, L_CC])
    for one in exam:
        desk.keep(one)
    study = str(exam[0].StudyInstanceUID)
    desk.close(study=study)
    path = store.path(desk.row(schema.instance, exam[0].SOPInstanceUID)["path"])
    if lost == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-2])
    DeepCheck(desk.ledger, store, lambda line: None, unseen, repairs=True).run()
    assert desk.study(study)["held_because"] == HeldBecause.MISSING
    assert len(desk.rows(schema.asked_back)) == 1
    asker = new_asker(exam, modality())
    asker.look()
    reason = desk.study(study)["held_reason"]
    assert "nobody can be asked for them: modality has no `retrieve`" in reason
    assert reason.count(COMES_BACK) == 1
    for one in exam:
        desk.keep(one)
    asker.look()
    assert desk.study(study)["held_because"] is None
    assert path.exists()
    desk.begin(Job("process", study, 1, 1))  # which was queued before


@contextlib.contextmanager
def unseen(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None
