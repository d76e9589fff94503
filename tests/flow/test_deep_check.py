"""Every file is read; what is amiss is said, and put right as often as one asks for it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import factories
import pytest
import sqlalchemy as sa
from ledgers import Desk
from postgres import NewDatabase

from node.belonging import adopt, owner_of
from node.errors import NodeError
from node.flow.deep_check import DeepCheck, Found
from node.flow.inventory import OLD_AFTER_S
from node.ledger import (
    BuiltReport,
    CheckedFile,
    Checking,
    Finished,
    HeldBecause,
    Keeping,
    Ledger,
    now,
    schema,
)
from node.store import Store


@contextlib.contextmanager
def quiet(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


class Look:
    """Deep checks of a desk, and what the last one said."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.said: list[str] = []

    def __call__(self, **how: bool) -> Found:
        self.said = []
        desk = self._desk
        return DeepCheck(desk.ledger, desk.store, self.said.append, quiet, **how).run()


@pytest.fixture
def look(desk: Desk) -> Look:
    return Look(desk)


@pytest.fixture
def study(desk: Desk) -> str:
    """An exam that has been received, and is analysed; one report of it is there."""
    exam = factories.exam()
    for dataset in exam:
        desk.keep(dataset)
    uid = str(exam[0].StudyInstanceUID)
    job = desk.close(study=uid)
    desk.begin(job)
    content = b"a report"
    path = desk.store.write_report(content, uid, "2.25.1")
    digest = hashlib.sha256(content).hexdigest()
    built = (BuiltReport("2.25.1", "measurement-report", "1.2.3", path, digest),)
    desk.processing.finish_version(job, Finished((), built, {}, 3600), desk.enqueue)
    return uid


def images(desk: Desk) -> list[Path]:
    return sorted(desk.store.path(row["path"]) for row in desk.rows(schema.instance))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def stored(desk: Desk) -> dict[str, bytes]:
    root = desk.store.root
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_store_that_is_as_its_rows_say_is_well(desk: Desk, look: Look, study: str) -> None:
    assert look() == Found(files=5)
    assert look().is_well
    assert look.said == []


def test_it_says_what_is_amiss_and_changes_nothing_unless_asked(
    desk: Desk, look: Look, study: str
) -> None:
    gone, damaged, *_ = images(desk)
    gone.unlink()
    damage(damaged)
    desk.store.path(f"received/{study}/stray.dcm").write_bytes(b"?")
    before = stored(desk), [desk.rows(table) for table in schema.metadata.sorted_tables]
    found = look()
    assert (found.orphans, found.missing, found.damaged, found.is_well) == (1, 1, 1, False)
    assert [line.partition(":")[0].partition(",")[0] for line in look.said] == [
        f"received/{study}/stray.dcm",
        f"received/{study}/{damaged.name}",
        f"received/{study}/{gone.name}",
    ]
    assert "image 2.25." in look.said[1]
    after = stored(desk), [desk.rows(table) for table in schema.metadata.sorted_tables]
    assert after == before


def test_a_study_of_which_an_image_is_missing_is_held_and_asked_back_once(
    desk: Desk, look: Look, study: str
) -> None:
    Keeping(desk.ledger).keep_study(study, "court case", by="somebody")  # so that it is owed
    gone, damaged, *_ = images(desk)
    gone.unlink()
    damage(damaged)
    found = look(repairs=True)
    assert (found.missing, found.damaged, found.is_well) == (1, 1, False)
    row = desk.study(study)
    assert row["held_because"] == HeldBecause.MISSING
    for path in (gone, damaged):
        assert path.name in row["held_reason"]
    assert "send the whole study again" in row["held_reason"]
    [asked] = desk.rows(schema.asked_back)
    assert asked["study_uid"] == study
    assert look.said[-1].startswith(f"study {study}: it is held until they are here again")
    [aside] = [path for path in stored(desk) if path.startswith("unreadable/") if "dcm" in path]
    assert aside in look.said[0]
    assert not damaged.exists()
    again = look(repairs=True)
    assert (again.missing, again.damaged) == (2, 0)
    assert "is held already" in look.said[-1]
    history = desk.history(study)
    look(repairs=True)
    assert desk.history(study) == history  # said once
    assert len(desk.rows(schema.asked_back)) == 1


def test_what_comes_again_after_a_repair_is_well_again(desk: Desk, look: Look, study: str) -> None:
    Keeping(desk.ledger).keep_study(study, "court case", by="somebody")  # so that it is owed
    gone, damaged, *_ = images(desk)
    gone.unlink()
    damage(damaged)
    look(repairs=True)
    for dataset in factories.exam():
        desk.keep(dataset)
    assert look().is_well


def test_missing_images_of_which_nothing_is_owed_are_as_if_removed_once_a_person_says_so(
    desk: Desk, look: Look, study: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gone, damaged, *_ = images(desk)
    gone.unlink()
    damage(damaged)
    found = look(repairs=True)
    assert (found.missing, found.damaged, found.put_right, found.is_well) == (1, 1, 0, False)
    assert "put back from a backup what there is" in look.said[-1]
    row = desk.study(study)
    assert (row["held_because"], desk.rows(schema.asked_back)) == (None, [])
    found = look(repairs=True, is_store_lost=True)
    assert (found.missing, found.damaged, found.put_right, found.is_well) == (2, 0, 2, True)
    row = desk.study(study)
    assert (row["held_because"], row["images_removed_at"]) == (None, None)
    assert sum(one["removed_at"] is not None for one in desk.rows(schema.instance)) == 2
    assert "nothing of it is owed" in look.said[-2]
    assert any(gone.name in record.getMessage() for record in caplog.records)
    assert look() == Found(files=3)


def test_a_folder_that_cannot_be_looked_into_is_said_and_the_rest_is_looked_at(
    desk: Desk, look: Look, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.store.path("received/1.2.3").mkdir()
    stray = desk.store.path(f"received/{study}/stray.dcm")
    stray.write_bytes(b"?")
    files = Store.files

    def denied(self: Store, folder: str, before_s: float) -> list[str]:
        if folder == "received/1.2.3":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return files(self, folder, before_s)

    monkeypatch.setattr(Store, "files", denied)
    found = look()
    assert (found.unread, found.orphans) == (1, 1)
    assert "received/1.2.3: cannot be read (Permission denied); see to the disk" in look.said[0]


def test_what_a_node_writes_that_is_started_meanwhile_is_left_alone(desk: Desk, study: str) -> None:
    """Its row comes a second later."""
    written: list[str] = []

    @contextlib.contextmanager
    def and_a_node_starts(what: str, total: int) -> Iterator[Callable[[], None]]:
        if not written:
            desk.nodes.register_node("node-1", "somewhere:/state 4711")
            written.append(desk.store.write_report(b"x", study, "2.25.7"))
        yield lambda: None

    said: list[str] = []
    found = DeepCheck(desk.ledger, desk.store, said.append, and_a_node_starts, repairs=True).run()
    assert (found.orphans, said) == (0, [])
    assert desk.store.path(written[0]).exists()


def test_files_without_a_row_are_put_away_and_found_no_more(
    desk: Desk, look: Look, study: str
) -> None:
    stray = desk.store.path("received/1.2.3/stray.dcm")
    stray.parent.mkdir()
    stray.write_bytes(b"?")
    found = look(repairs=True)
    assert (found.orphans, found.put_right, found.is_well) == (1, 1, True)
    assert stored(desk)["orphans/received/1.2.3/stray.dcm"] == b"?"
    assert look.said == [
        f"received/1.2.3/stray.dcm: no row speaks of it; put away in {desk.store.orphans}"
    ]
    assert look(repairs=True) == Found(files=5)


def test_beside_a_node_only_files_that_must_have_a_row_are_looked_at(
    desk: Desk, look: Look, study: str
) -> None:
    desk.nodes.register_node("node-1", "somewhere:/state 4711")
    young, old = (desk.store.path(f"received/{study}/{name}.dcm") for name in ("young", "old"))
    for path in (young, old):
        path.write_bytes(b"?")
    at_s = desk.store.now_s() - 2 * OLD_AFTER_S
    os.utime(old, (at_s, at_s))
    assert look().orphans == 1
    assert look.said == [f"received/{study}/old.dcm: no row speaks of it"]
    desk.nodes.retire_node("node-1")
    assert look().orphans == 2


def test_what_rows_say_is_removed_is_neither_missing_nor_an_orphan(
    desk: Desk, look: Look, study: str
) -> None:
    desk.change(schema.instance, removed_at=1.0, header_digest="as it was")
    assert look() == Found(files=1)  # they are still there: they go by themselves
    for path in images(desk):
        path.unlink()
    assert look() == Found(files=1)


def test_a_file_that_a_row_lets_go_while_it_is_looked_for_is_not_missing(
    desk: Desk, look: Look, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, *_ = images(desk)
    gone.unlink()
    files = Checking.files

    def and_then_remove(self: Checking, study_uids: Collection[str]) -> list[CheckedFile]:
        found = files(self, study_uids)
        desk.change(schema.instance, removed_at=1.0)
        return found

    monkeypatch.setattr(Checking, "files", and_then_remove)
    assert look().missing == 0


def test_a_result_object_that_is_gone_is_said_and_holds_nothing(
    desk: Desk, look: Look, study: str
) -> None:
    [row] = desk.rows(schema.report)
    damage(desk.store.path(row["path"]))
    found = look(repairs=True)
    assert (found.damaged, found.is_well) == (1, False)
    assert desk.study(study)["held_because"] is None
    assert "put them back from a backup" in look.said[-1]
    assert desk.history(study)[-1].startswith("1 file of it is missing in the store: reports/")


def test_a_missing_file_that_lies_among_the_orphans_is_put_back(
    desk: Desk, look: Look, study: str
) -> None:
    gone, *_ = images(desk)
    desk.store.orphan(str(gone.relative_to(desk.store.root)))
    found = look(repairs=True)
    assert (found.missing, found.put_right, found.is_well) == (1, 1, True)
    assert gone.exists()


def test_an_empty_store_is_taken_for_one_that_is_not_mounted(
    desk: Desk, look: Look, study: str
) -> None:
    shutil.rmtree(desk.store.root)
    for is_prepared in (False, True):
        if is_prepared:
            desk.store.prepare()
        with pytest.raises(NodeError, match=r"If its disk is not mounted.*--store-is-lost"):
            look(repairs=True)
    assert desk.study(study)["held_because"] is None


def test_of_a_store_that_is_lost_only_what_is_owed_is_held(
    desk: Desk, look: Look, study: str
) -> None:
    waiting = factories.exam("waiting")
    for dataset in waiting:
        desk.keep(dataset)
    uid = str(waiting[0].StudyInstanceUID)
    desk.close(study=uid)
    shutil.rmtree(desk.store.root)
    found = look(repairs=True, is_store_lost=True)
    assert (found.missing, found.put_right) == (9, 5)
    assert desk.study(uid)["held_because"] == HeldBecause.MISSING
    assert desk.study(study)["held_because"] is None
    assert desk.study(study)["images_removed_at"] is not None
    assert [row["removed_at"] is None for row in desk.rows(schema.report)] == [False]
    assert f"study {study}: nothing of it is owed" in " ".join(look.said)
    assert look(repairs=True, is_store_lost=True).missing == 4


def test_of_a_store_that_is_lost_in_part_what_is_there_still_goes_in_its_turn(
    desk: Desk, look: Look, study: str
) -> None:
    gone, *there = images(desk)
    gone.unlink()
    found = look(repairs=True, is_store_lost=True)
    assert (found.missing, found.put_right) == (1, 1)
    row = desk.study(study)
    assert (row["images_removed_at"], row["results_removed_at"]) == (None, None)
    assert [path.exists() for path in there] == [True] * 3
    words = f"1 file of it is missing in the store: received/{study}/{gone.name}; nothing "
    assert desk.history(study)[-1].startswith(words)


def test_it_remembers_no_more_where_there_is_more(
    desk: Desk, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Portions, one after the other: with two studies each as with a hundred, all are seen."""
    monkeypatch.setattr("node.flow.deep_check.PORTION", 2)
    for number in range(5):
        desk.receive(f"2.{number}.1", study=f"2.{number}")
        desk.store.path(f"received/1.{number}").mkdir()
        desk.store.path(f"received/1.{number}/x.dcm").write_bytes(b"?")
    at_once, files = [], Checking.files

    def noted(self: Checking, study_uids: Collection[str]) -> list[CheckedFile]:
        at_once.append(len(study_uids))
        return files(self, study_uids)

    monkeypatch.setattr(Checking, "files", noted)
    found = look()
    assert (found.missing, found.orphans) == (5, 5)
    assert max(at_once) == 2


def test_the_clock_of_the_database_marks_what_was_lost(desk: Desk, look: Look, study: str) -> None:
    shutil.rmtree(desk.store.root)
    look(repairs=True, is_store_lost=True)
    with desk.ledger.reading() as db:
        at = db.execute(sa.select(now())).scalar_one()
    assert all(at - row["removed_at"] < 60 for row in desk.rows(schema.instance))


def test_a_new_ledger_takes_over_a_store_and_nothing_in_it_is_lost(
    desk: Desk, look: Look, study: str, new_database: NewDatabase, tmp_path: Path
) -> None:
    adopt(desk.store, desk.ledger.installation)
    before = stored(desk)
    (tmp_path / "new").mkdir()
    with contextlib.closing(Ledger(new_database(tmp_path / "new"))) as ledger:
        with ledger.writing() as db:
            db.execute(schema.installation.update().values(id="new"))
        another = Look(Desk(ledger, desk.store))
        found = another(repairs=True, is_ledger_new=True)
        assert (found.orphans, found.is_well) == (5, True)
        assert owner_of(desk.store) == ledger.installation
        after = stored(desk)
        del after["installation.json"], before["installation.json"]
        assert after == {f"orphans/{path}": content for path, content in before.items()}
        assert another(repairs=True, is_ledger_new=True) == Found()
    with pytest.raises(NodeError, match="knows of nothing yet, and this one has studies"):
        look(repairs=True, is_ledger_new=True)
    adopt(desk.store, desk.ledger.installation)  # the ledger was found again
    assert look(repairs=True).is_well
    assert len(stored(desk)) == 6
