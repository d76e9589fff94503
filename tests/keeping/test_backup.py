"""A backup is consistent, and the former one stays as it was until the next is whole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import pytest
import sqlalchemy as sa
from ledgers import STUDY, Desk

from node import config
from node.belonging import adopt, belong_to
from node.config import load_config
from node.errors import NodeError
from node.keeping import backup as backup_module
from node.keeping.backup import Backup, back_up
from node.keeping.backup_folder import BackupFolder
from node.keeping.backup_settings import FOLDERS
from node.keeping.files import put_all
from node.ledger import LEASE_S, BackingUp, Ledger, VersionState, now, schema
from node.store import Store, dataset_digest
from node.toml_file import Section

TREES = ("received", "reports")


@contextlib.contextmanager
def quiet(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def settings(desk: Desk, folder: Path) -> Path:
    """Write a configuration of the desk's store."""
    path = folder / "etc" / "node.toml"
    path.parent.mkdir(exist_ok=True)
    own = f'[node]\nae_title = "AINODE"\nstate_dir = "{folder / "state"}"\nmin_free_mb = 0\n'
    path.write_text(f'{own}store_dir = "{desk.store.root}"\n', "utf-8")
    return path


@pytest.fixture
def make(desk: Desk, tmp_path: Path) -> Callable[..., Backup]:
    """Back the desk up, into one folder unless another is named."""
    path = settings(desk, tmp_path)

    def backed_up(to: Path = tmp_path / "backup", **how: bool) -> Backup:
        return back_up(desk.ledger, load_config(path), path, to, progress=quiet, **how)

    return backed_up


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the backup lies no file may have a second name, as on another disk."""
    monkeypatch.setattr(backup_module, "may_link", lambda source, target: False)


def receive_exam(desk: Desk, study: str = "test") -> str:
    exam = factories.exam(study)
    for dataset in exam:
        desk.keep(dataset)
    return str(exam[0].StudyInstanceUID)


def stored(root: Path) -> dict[str, bytes]:
    """Return what lies in a store, by name."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for tree in TREES
        for path in (root / tree).rglob("*")
        if path.is_file()
    }


def restored(made: Backup, folder: Path) -> Desk:
    """Put a backup where another node would work on it, as docs/operate.md says."""
    folder.mkdir()
    shutil.copy(made.folder / "ledger.db", folder / "ledger.db")
    shutil.copytree(made.folder.parent / "store", folder / "store")
    store = Store(folder / "store")
    store.prepare()
    return Desk(Ledger(f"sqlite:///{folder / 'ledger.db'}"), store)


def whole(to: Path) -> list[str]:
    return sorted(path.name for path in to.glob("whole-*"))


def test_all_rows_and_all_files_of_them_are_there_again_elsewhere(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path
) -> None:
    receive_exam(desk)
    receive_exam(desk, "other")
    other = restored(make(), tmp_path / "elsewhere")
    with contextlib.closing(other.ledger):
        assert other.ledger.installation == desk.ledger.installation
        for table in schema.metadata.sorted_tables:
            if table is not schema.installation:
                there, here = other.rows(table), desk.rows(table)
                assert sorted(map(str, there)) == sorted(map(str, here)), table.name
        assert stored(other.store.root) == stored(desk.store.root)
        assert len(stored(other.store.root)) == 8


def test_who_ran_something_has_stopped_in_it_and_it_is_no_crash(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path
) -> None:
    desk.nodes.register_node("node-1", "somewhere:/state 4711")
    desk.receiving.open_association("association", "node-1", "modality")
    desk.receive()
    desk.begin(desk.close())
    desk.store.path(f"received/{STUDY}").mkdir()
    desk.store.path(f"received/{STUDY}/{STUDY}.1.dcm").write_bytes(b"bytes")
    other = restored(make(), tmp_path / "elsewhere")
    with contextlib.closing(other.ledger):
        assert other.version()["state"] == VersionState.QUEUED
        assert other.version()["crashes"] == 0
        assert other.nodes.live_nodes() == frozenset()
        assert other.rows(schema.association)[0]["closed_at"] is not None
        job = other.revived()
        assert (job.attempt, other.version()["crashes"]) == (2, 0)
    assert desk.version()["state"] == VersionState.RUNNING  # here it goes on


def test_a_second_one_takes_only_what_is_new_and_drops_what_no_row_speaks_of_any_more(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path, copies: None
) -> None:
    study = receive_exam(desk)
    first = make()
    assert (first.files, first.fresh, first.are_linked) == (4, 4, False)
    kept = first.folder.parent / "store" / "received" / study
    before = {path: path.stat().st_ino for path in kept.iterdir()}
    gone = min(before)
    table = schema.instance
    with desk.ledger.writing() as db:
        is_it = table.c.path == f"received/{study}/{gone.name}"
        db.execute(table.update().where(is_it).values(removed_at=now()))
    other = receive_exam(desk, "other")
    second = make()
    assert (second.files, second.fresh) == (7, 4)
    assert {path: path.stat().st_ino for path in kept.iterdir()} == {
        path: inode for path, inode in before.items() if path != gone
    }
    assert len(list((kept.parent / other).iterdir())) == 4
    assert whole(tmp_path / "backup") == [second.folder.name]
    assert first.folder != second.folder


def test_on_the_disk_of_the_store_objects_have_a_second_name_and_outlive_the_first(
    desk: Desk, make: Callable[..., Backup]
) -> None:
    receive_exam(desk)
    before = stored(desk.store.root)
    made = make()
    assert made.are_linked
    for relative in before:
        there = made.folder.parent / "store" / relative
        assert there.samefile(desk.store.path(relative))
        desk.store.remove(relative)
    assert stored(made.folder.parent / "store") == before


def test_what_is_put_aside_is_in_it_and_what_is_on_its_way_is_not(
    desk: Desk, make: Callable[..., Backup]
) -> None:
    belong_to(desk.store, desk.ledger.installation)
    for name in ("unreadable/a.dcm", "unreadable/a.json", "contradicting/b.dcm"):
        desk.store.path(name).write_text(name)
    desk.store.path("orphans/received/1.2").mkdir(parents=True)
    desk.store.path("orphans/received/1.2/c.dcm").write_text("c")
    (desk.store.incoming / "half.part").write_text("half")
    there = make().folder.parent / "store"
    found = sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file())
    assert found == [
        "contradicting/b.dcm",
        "installation.json",
        "orphans/received/1.2/c.dcm",
        "unreadable/a.dcm",
        "unreadable/a.json",
    ]
    desk.store.path("contradicting/b.dcm").unlink()
    make()
    assert not (there / "contradicting").exists()


def test_configuration_the_files_it_names_and_model_packages_are_in_it(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path
) -> None:
    path = settings(desk, tmp_path)
    (path.parent / "tls").mkdir()
    outside = tmp_path / "outside.key"
    for name in (path.parent / "tls" / "page.crt", outside):
        name.write_text(name.name)
    package = path.parent / "models" / "mine" / "manifest.toml"
    package.parent.mkdir(parents=True)
    package.write_text("as it was")
    text = path.read_text("utf-8").replace("[node]", '[node]\nmodels_dir = "models"')
    page = f'[web]\ntls_certificate = "tls/page.crt"\ntls_key = "{outside}"\n'
    path.write_text(f"{text}{page}", "utf-8")
    made = make()
    there = made.folder / "configuration"
    assert (there / "node.toml").read_text("utf-8") == path.read_text("utf-8")
    assert (there / "tls" / "page.crt").read_text() == "page.crt"
    assert (there / "elsewhere" / outside.relative_to("/")).read_text() == outside.name
    assert (made.folder / "models" / "mine" / "manifest.toml").read_text() == "as it was"
    package.write_text("as it is now, which is longer")
    assert (made.folder / "models" / "mine" / "manifest.toml").read_text() == "as it was"
    outside.unlink()
    second = make()
    assert second.unread == (str(outside),)
    assert "now" in (second.folder / "models" / "mine" / "manifest.toml").read_text()
    assert json.loads((second.folder / "backup.json").read_text())["configuration"] == str(path)


def test_a_file_that_is_not_in_the_store_is_said_and_one_of_a_former_backup_stays(
    desk: Desk, make: Callable[..., Backup], copies: None
) -> None:
    receive_exam(desk)
    known, *_ = stored(desk.store.root)
    made = make()
    desk.store.remove(known)
    other = receive_exam(desk, "other")
    lost = min(path for path in stored(desk.store.root) if other in path)
    desk.store.remove(lost)
    second = make()
    assert (second.missing.count, second.missing.first) == (1, [lost])
    assert (second.only_here.count, second.only_here.first) == (1, [known])
    assert (second.files, second.fresh) == (8, 3)
    assert known in stored(made.folder.parent / "store")


def test_a_file_that_its_disk_does_not_give_any_more_keeps_no_other_out_of_it(
    desk: Desk, make: Callable[..., Backup], copies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive_exam(desk)
    bad, *others = sorted(stored(desk.store.root))
    copyfile = shutil.copyfile

    def copied(source: Path, target: Path) -> Path:
        if source == desk.store.path(bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copied)
    with pytest.raises(NodeError, match="Input/output error"):
        make()  # it can be read: it is the other disk that fails
    monkeypatch.setattr("node.keeping.files.is_readable", lambda path: False)
    made = make()
    assert made.missing.first == [bad]
    assert sorted(stored(made.folder.parent / "store")) == others


def test_a_verified_one_mends_what_was_damaged_and_names_what_is_damaged_in_the_store(
    desk: Desk, make: Callable[..., Backup], copies: None
) -> None:
    receive_exam(desk)
    there = make().folder.parent / "store"
    here, both, *_ = sorted(stored(desk.store.root))
    for path in (there / here, there / both, desk.store.path(both)):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert not make().mended.count  # names and sizes are right
    made = make(verifies=True)
    assert (made.mended.first, made.damaged.first) == ([here], [both])
    assert (there / here).read_bytes() == desk.store.path(here).read_bytes()


def test_no_file_goes_while_it_copies_and_they_may_go_after_it(
    desk: Desk, make: Callable[..., Backup], monkeypatch: pytest.MonkeyPatch
) -> None:
    receive_exam(desk)
    seen = []

    def put_all_and_look(*args: object, **how: bool) -> object:
        [row] = desk.rows(schema.installation)
        with desk.ledger.reading() as db:
            seen.append(row["backup_until"] - db.execute(sa.select(now())).scalar_one())
        return put_all(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr("node.keeping.backup.put_all", put_all_and_look)
    made = make()
    assert seen and all(0 < left <= LEASE_S for left in seen)
    [row] = desk.rows(schema.installation)
    assert (row["backup_until"], row["backup_to"]) == (None, None)
    assert row["backed_up_at"] == made.began_at
    assert row["backed_up_to"].endswith(str(made.folder.parent))


def test_one_that_was_silent_for_too_long_is_not_whole(
    desk: Desk, make: Callable[..., Backup], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receive_exam(desk)
    first = make()

    def freeze(*args: object, **how: bool) -> object:
        desk.change(schema.installation, backup_until=1.0)
        return put_all(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr("node.keeping.backup.put_all", freeze)
    receive_exam(desk, "other")
    with pytest.raises(NodeError, match="files may have been removed meanwhile"):
        make()
    assert whole(tmp_path / "backup") == [first.folder.name]


def test_one_whose_database_was_away_for_too_long_is_not_whole(
    desk: Desk, make: Callable[..., Backup], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receive_exam(desk)
    first = make()
    tried = threading.Event()

    def away(self: BackingUp, to: str) -> bool:
        tried.set()
        raise sa.exc.OperationalError("UPDATE", None, Exception("the server is away"))

    def copy_for_long(*args: object, **how: bool) -> object:
        assert tried.wait(60)
        return put_all(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(backup_module, "_RENEW_AFTER_S", 0.01)
    monkeypatch.setattr("node.keeping.backup.put_all", copy_for_long)
    receive_exam(desk, "other")
    renew = BackingUp.renew
    monkeypatch.setattr(BackingUp, "renew", away)
    with pytest.raises(NodeError, match=r"the server is away.*a former one there is as it was"):
        make()  # it asks for the last time, and there is no answer
    assert whole(tmp_path / "backup") == [first.folder.name]
    lease = backup_module._Lease(0, time.monotonic() - LEASE_S)
    with pytest.raises(NodeError, match="files may have been removed meanwhile"):
        lease.require()
    monkeypatch.setattr(BackingUp, "renew", renew)
    assert make().fresh == 0


def test_two_into_one_folder_or_of_one_node_exclude_each_other(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive_exam(desk)
    said = []

    def try_others(*args: object, **how: bool) -> object:
        for to in (tmp_path / "backup", tmp_path / "another"):
            monkeypatch.setattr("node.keeping.backup.put_all", put_all)
            with pytest.raises(NodeError) as raised:
                make(to)
            said.append(str(raised.value))
        return put_all(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr("node.keeping.backup.put_all", try_others)
    make()
    assert f"another backup to {tmp_path / 'backup'} is being made" in said[0]
    assert "another backup of this node is being made" in said[1]
    assert f":{tmp_path / 'backup'}; wait" in said[1]
    make(tmp_path / "another")


def test_a_killed_one_does_not_keep_the_next_to_the_same_folder_waiting(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path
) -> None:
    receive_exam(desk)
    to = make().folder.parent
    [row] = desk.rows(schema.installation)
    BackingUp(desk.ledger).begin(row["backed_up_to"])  # and was killed
    (to / "next").mkdir()
    (to / "next" / "ledger.db").write_bytes(b"half of it")
    (to / "old-1").mkdir()
    with pytest.raises(NodeError, match="another backup of this node"):
        make(tmp_path / "another")
    made = make()
    assert whole(to) == [made.folder.name]
    assert sorted(path.name for path in to.iterdir()) == [
        "lock",
        "owner.json",
        "store",
        made.folder.name,
    ]


def test_what_would_not_fit_is_said_before_anything_is_copied(
    desk: Desk,
    make: Callable[..., Backup],
    tmp_path: Path,
    copies: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    receive_exam(desk)
    first = make()
    receive_exam(desk, "other")
    size = sum(map(len, stored(desk.store.root).values())) // 2
    usage = shutil.disk_usage(tmp_path)._replace(free=backup_module._RESERVE + size - 100)
    monkeypatch.setattr(BackingUp, "size_bytes", lambda self: 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(NodeError, match="GB free, and 4 files that are to be copied take"):
        make()
    assert len(stored(tmp_path / "backup" / "store")) == 4
    assert whole(tmp_path / "backup") == [first.folder.name]


def test_a_disk_that_fills_up_leaves_the_former_one(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive_exam(desk)
    first = make()
    before = stored(tmp_path / "backup" / "store")
    receive_exam(desk, "other")

    def full(*args: object, **how: object) -> None:
        raise OSError(28, "No space left on device", "store/x")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(NodeError, match="No space left on device"):
        make()
    assert whole(tmp_path / "backup") == [first.folder.name]
    assert before.items() <= stored(tmp_path / "backup" / "store").items()
    assert desk.rows(schema.installation)[0]["backup_until"] is None


@pytest.mark.parametrize("by", ["disk", "database"])
def test_one_that_is_whole_is_so_although_what_former_ones_spoke_of_cannot_be_removed(
    desk: Desk,
    make: Callable[..., Backup],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    receive_exam(desk)
    first = make()
    faults = {
        "disk": OSError(errno.EIO, "Input/output error", "store/x"),
        "database": sa.exc.OperationalError("", {}, Exception("Input/output error")),
    }

    def fails(*args: object) -> None:
        raise faults[by]

    with monkeypatch.context() as broken:
        if by == "disk":
            broken.setattr(BackupFolder, "remove_former", fails)
        else:
            broken.setattr(BackingUp, "end", fails)
        made = make()
    assert "Input/output error" in made.not_removed
    assert made.folder.is_dir()
    assert made.folder != first.folder
    again = make()
    assert again.not_removed == ""
    assert whole(tmp_path / "backup") == [again.folder.name]


def test_a_store_whose_disk_is_not_mounted_replaces_no_backup(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path
) -> None:
    receive_exam(desk)
    first = make()
    shutil.rmtree(desk.store.root)
    desk.store.root.mkdir()
    with pytest.raises(NodeError, match=r"its disk is not mounted.*No backup was made"):
        make()
    desk.store.prepare()  # as a node of a former release does
    with pytest.raises(NodeError, match=r"its disk is not mounted.*No backup was made"):
        make()
    assert whole(tmp_path / "backup") == [first.folder.name]
    assert len(stored(tmp_path / "backup" / "store")) == 4


def test_of_a_store_that_has_lost_everything_the_backup_keeps_what_it_has(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path, copies: None
) -> None:
    belong_to(desk.store, desk.ledger.installation)
    receive_exam(desk)
    desk.store.path("orphans/received/1.2").mkdir(parents=True)
    desk.store.path("orphans/received/1.2/c.dcm").write_text("acknowledged")
    there = make().folder.parent / "store"
    before = stored(there)
    shutil.rmtree(desk.store.root)
    desk.store.root.mkdir()
    adopt(desk.store, "another")  # whatever lies there now
    made = make()
    assert (made.fresh, made.only_here.count, made.missing.count) == (1, 4, 0)
    assert stored(there) == before
    assert (there / "orphans/received/1.2/c.dcm").read_text() == "acknowledged"


def test_a_file_that_the_store_has_damaged_replaces_none_that_is_good(
    desk: Desk, make: Callable[..., Backup], copies: None
) -> None:
    receive_exam(desk)
    there = make().folder.parent / "store"
    here, backed_up, both, *_ = sorted(before := stored(desk.store.root))
    desk.store.path(here).write_bytes(b"")  # as a power cut leaves it
    (there / backed_up).write_bytes(b"")
    for path in (desk.store.path(both), there / both):
        path.write_bytes(before[both][:-1])
    (there / both).write_bytes(b"")
    made = make()
    assert made.only_here.first == [here]
    assert made.mended.first == [backed_up]
    assert made.damaged.first == [both]
    assert (made.fresh, made.missing.count) == (1, 0)
    assert (there / here).read_bytes() == before[here]
    assert (there / backed_up).read_bytes() == before[backed_up]
    assert make(verifies=True).damaged.first == [both]


def test_what_is_not_the_nodes_in_the_folder_of_the_store_is_left_out(
    desk: Desk, make: Callable[..., Backup], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk.store.root / "lost+found").mkdir()
    scandir = os.scandir

    def denied(path: Path) -> object:
        if Path(path).name == "lost+found":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    receive_exam(desk)
    there = make().folder.parent / "store"
    assert [path.name for path in there.iterdir()] == ["received"]


def test_a_database_that_cannot_be_used_is_a_message(
    desk: Desk, make: Callable[..., Backup], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(BackingUp, "snapshot", full)
    with pytest.raises(NodeError, match=r"the database: database or disk is full.*call it again"):
        make()


@pytest.mark.parametrize("where", ["store/backup", "state/backup", "store", "."])
def test_a_backup_does_not_lie_in_what_it_backs_up_nor_around_it(
    make: Callable[..., Backup], tmp_path: Path, where: str
) -> None:
    with pytest.raises(NodeError, match="lie one in the other"):
        make(tmp_path / where)


def test_a_folder_of_something_else_or_of_another_installation_is_left_alone(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path
) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "letter.txt").write_text("Dear ...")
    with pytest.raises(NodeError, match="is no folder of backups and holds other files"):
        make(tmp_path / "documents")
    assert [path.name for path in (tmp_path / "documents").iterdir()] == ["letter.txt"]
    make()
    desk.change(schema.installation, id="another")
    with pytest.raises(NodeError, match="holds backups of another installation"):
        make()


def test_a_file_of_a_row_that_came_after_the_snapshot_is_in_the_next(
    desk: Desk, make: Callable[..., Backup], monkeypatch: pytest.MonkeyPatch
) -> None:
    receive_exam(desk)
    snapshot = BackingUp.snapshot

    def and_one_more(self: BackingUp, target: Path, to: str, began_at: float) -> None:
        snapshot(self, target, to, began_at)
        receive_exam(desk, "late")

    monkeypatch.setattr(BackingUp, "snapshot", and_one_more)
    assert make().files == 4
    monkeypatch.setattr(BackingUp, "snapshot", snapshot)
    assert make().files == 8


def test_the_digest_of_what_is_restored_is_the_one_in_its_row(
    desk: Desk, make: Callable[..., Backup], tmp_path: Path
) -> None:
    receive_exam(desk)
    other = restored(make(), tmp_path / "elsewhere")
    with contextlib.closing(other.ledger):
        for row in other.rows(schema.instance):
            assert dataset_digest(other.store.path(row["path"])) == row["digest"]


def test_a_configuration_names_its_files_wherever_they_stand() -> None:
    """Each setting that is a path is either a folder, or a file that is backed up."""
    named = {
        name
        for section in vars(config).values()
        if isinstance(section, type) and issubclass(section, Section)
        for name, one in section.model_fields.items()
        if "Path" in str(one.annotation)
    }
    assert named > FOLDERS
    assert named - FOLDERS == {"tls_ca", "tls_certificate", "tls_key"}
