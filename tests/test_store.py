"""Objects lie where the ledger says, whole, and under names no sender can choose."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import factories
import pytest
from factories import R_CC
from ledgers import run_at_once

from node.errors import Unreadable
from node.store import BELONGS, Aside, Store, checked_uid, dataset_digest

STUDY, SOP = "1.2.3", "1.2.3.4"


def incoming(store: Store, content: bytes = b"some bytes") -> Path:
    path = store.incoming / "tmp1234.dcm"
    path.write_bytes(content)
    return path


def keep(store: Store, temporary: Path, study_uid: str, sop_uid: str, digest: str) -> str:
    """Make a received file permanent, alone."""
    relative = store.place(temporary, study_uid, sop_uid, digest)
    for error in store.make_sure_of([relative]).values():
        store.remove(relative)
        raise error
    return relative


def saved(path: Path, version_name: str) -> Path:
    """Write a mammogram whose file meta names another implementation."""
    dataset = factories.exam(views=[R_CC])[0]
    dataset.file_meta.ImplementationVersionName = version_name
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_the_digest_covers_the_data_set_and_not_the_file_meta(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "1.dcm", "ONE"), saved(tmp_path / "2.dcm", "TWO_IS_LONGER")
    assert one.read_bytes() != two.read_bytes()
    assert dataset_digest(one) == dataset_digest(two)


def test_the_digest_is_that_of_the_bytes_behind_the_file_meta(tmp_path: Path) -> None:
    path = saved(tmp_path / "1.dcm", "ONE")
    content = path.read_bytes()
    start = content.index(b"\x08\x00\x05\x00")  # (0008,0005), the first of the data set
    assert dataset_digest(path) == hashlib.sha256(content[start:]).hexdigest()


def test_one_other_bit_makes_another_digest(tmp_path: Path) -> None:
    path = saved(tmp_path / "1.dcm", "ONE")
    content = path.read_bytes()
    digest = dataset_digest(path)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert dataset_digest(path) != digest


def test_a_file_that_is_no_part_10_file_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear colleague, " * 20)
    with pytest.raises(Unreadable):
        dataset_digest(path)


def test_a_kept_object_lies_under_study_and_instance_and_has_left_incoming(store: Store) -> None:
    temporary = incoming(store)
    relative = keep(store, temporary, STUDY, SOP, "abcdef0123456789")
    assert re.fullmatch(r"received/1\.2\.3/1\.2\.3\.4\.abcdef012345\.[0-9a-f]{8}\.dcm", relative)
    assert store.path(relative).read_bytes() == b"some bytes"
    assert list(store.incoming.iterdir()) == []


def test_two_contents_of_one_instance_do_not_meet(store: Store) -> None:
    one = keep(store, incoming(store, b"one"), STUDY, SOP, "1" * 64)
    two = keep(store, incoming(store, b"two"), STUDY, SOP, "2" * 64)
    assert store.path(one).read_bytes() == b"one"
    assert store.path(two).read_bytes() == b"two"


def test_bytes_are_on_disk_before_the_name_and_the_name_before_anything_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def watched_replace(path: Path, target: Path) -> Path:
        events.append(f"rename {path.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    keep(store, incoming(store), STUDY, SOP, "1" * 64)
    assert events == ["fsync tmp1234.dcm", "rename tmp1234.dcm", "fsync 1.2.3", "fsync received"]


def test_several_names_in_one_folder_are_made_sure_of_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = (
        store.place(incoming(store), study, SOP, "1" * 64) for study in (STUDY, STUDY, "1.2.4")
    )
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    assert store.make_sure_of([one, other, two]) == {}
    assert synced == ["1.2.3", "received", "1.2.4", "received"]
    assert store.make_sure_of([one, two]) == {}
    assert synced[4:] == ["1.2.3"]


def test_who_comes_second_into_a_new_folder_makes_sure_of_the_folder_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one has not done so yet, and may never."""
    store.place(incoming(store), STUDY, f"{SOP}.1", "1" * 64)
    second = store.place(incoming(store), STUDY, f"{SOP}.2", "1" * 64)
    fsync = os.fsync
    is_broken = True

    def broken_for_received(descriptor: int) -> None:
        if is_broken and Path(f"/proc/self/fd/{descriptor}").readlink().name == "received":
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken_for_received)
    assert list(store.make_sure_of([second])) == [second]
    assert list(store.make_sure_of([second])) == [second]  # not forgotten by having failed
    is_broken = False
    assert store.make_sure_of([second]) == {}


def test_a_folder_of_a_process_that_was_killed_is_made_sure_of_by_the_next_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the one that made it knows that a power cut may take it, and all that lies in it."""
    store.place(incoming(store), STUDY, SOP, "1" * 64)
    synced: list[Path] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    Store(store.root).prepare()
    assert sorted(synced) == [store.root, store.path("received"), store.path("reports")]


def test_what_cannot_be_made_sure_of_is_told_apart_from_what_can(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (
        store.place(incoming(store), study, SOP, "1" * 64) for study in (STUDY, f"{STUDY}.1")
    )
    fsync = os.fsync

    def broken_for_one(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == STUDY:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken_for_one)
    assert list(store.make_sure_of([one, two])) == [one]


HOSTILE = [
    "../..",
    "..",
    "",
    "1" * 65,
    "1.2/3",
    "/etc/passwd",
    "1.2\n",
    "1.2\0",
    "1..2",
    ".1",
    "\N{ARABIC-INDIC DIGIT ONE}.2",
]


@pytest.mark.parametrize("uid", HOSTILE)
def test_a_hostile_uid_becomes_no_file_name(store: Store, uid: str) -> None:
    temporary = incoming(store)
    with pytest.raises(Unreadable):
        checked_uid(uid)
    with pytest.raises(Unreadable):
        keep(store, temporary, uid, SOP, "1" * 64)
    with pytest.raises(Unreadable):
        keep(store, temporary, STUDY, uid, "1" * 64)
    assert temporary.exists()


def test_the_longest_allowed_uid_is_a_file_name(store: Store) -> None:
    relative = keep(store, incoming(store), "1." + "2" * 62, "1." + "3" * 62, "1" * 64)
    assert store.path(relative).exists()


def test_a_report_that_an_attempt_takes_away_is_no_other_attempts(store: Store) -> None:
    ours, theirs = (store.write_report(b"report", STUDY, SOP) for _ in range(2))
    assert re.fullmatch(r"reports/1\.2\.3/1\.2\.3\.4\.[0-9a-f]{8}\.dcm", ours)
    store.remove(ours)
    assert not store.path(ours).exists()
    assert store.path(theirs).read_bytes() == b"report"
    assert list(store.incoming.iterdir()) == []


def test_a_name_that_is_not_sure_to_last_is_taken_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def broken_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken_for_folders)
    with pytest.raises(OSError, match="Input/output error"):
        keep(store, incoming(store), STUDY, SOP, "1" * 64)
    with pytest.raises(OSError, match="Input/output error"):
        store.write_report(b"report", STUDY, SOP)
    assert not [path for path in store.root.rglob("*") if path.is_file()]
    assert not (store.root / "received" / STUDY).exists()  # the next one makes sure of it anew


def test_an_object_that_cannot_be_put_away_leaves_no_reason_without_it(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_unreadable(
            store.incoming / "gone.dcm", Aside("no SOP Class UID", "modality", False)
        )
    assert list(store.unreadable.iterdir()) == []


def test_what_a_dead_node_half_received_is_swept_and_what_is_kept_stays(store: Store) -> None:
    dead, alive = Store(store.root, "dead"), Store(store.root, "alive")
    for other in (dead, alive):
        other.prepare()
        incoming(other, b"half an obj")
    kept = keep(dead, incoming(dead), STUDY, SOP, "1" * 64)
    (dead.incoming / "pymp-1234").mkdir()  # other parts of Python leave folders
    (dead.incoming / "pymp-1234" / "file").write_text("x")
    incoming(store)
    assert store.others() == {"dead", "alive"}
    store.remove_leftovers({"dead", "gone before"})
    assert store.others() == {"alive"}
    assert len(list(alive.incoming.iterdir())) == len(list(store.incoming.iterdir())) == 1
    assert store.path(kept).exists()


def test_a_node_that_was_taken_for_dead_gets_its_folder_back(store: Store) -> None:
    Store(store.root, "other").remove_leftovers({store.node_id})
    assert not store.incoming.exists()
    store.prepare()
    assert incoming(store).exists()


def test_what_a_node_that_was_taken_for_dead_writes_next_does_not_fail(store: Store) -> None:
    store.remove_leftovers([store.node_id])
    assert store.now_s() > 0
    store.remove_leftovers([store.node_id])
    assert store.path(store.write_report(b"report", "1.2", "1.2.3")).read_bytes() == b"report"


def test_an_unreadable_object_has_its_reason_beside_it(store: Store) -> None:
    kept = store.put_unreadable(
        incoming(store, b"damaged"), Aside("no SOP Class UID", "modality", False)
    )
    assert kept.parent == store.unreadable
    assert kept.read_bytes() == b"damaged"
    assert json.loads(kept.with_suffix(".json").read_text())["reason"] == "no SOP Class UID"
    assert list(store.incoming.iterdir()) == []


def contradicting(sop_uid: str) -> Aside:
    return Aside("other pixels", "modality", True, sop_instance_uid=sop_uid)


def test_a_contradicting_object_that_comes_again_is_kept_once_under_its_uid(store: Store) -> None:
    first, again = (
        store.put_contradicting(incoming(store), contradicting(SOP), "1" * 64) for _ in range(2)
    )
    assert first == again == store.contradicting / f"{SOP}.{'1' * 12}.dcm"
    assert store.count_unusable() == {store.unreadable: 0, store.contradicting: 1}
    with pytest.raises(Unreadable):
        store.put_contradicting(incoming(store), contradicting("../1"), "1" * 64)


def test_of_what_contradicts_only_what_was_asked_for_is_named(store: Store) -> None:
    for sop_uid in (SOP, f"{SOP}.1"):
        store.put_contradicting(incoming(store), contradicting(sop_uid), "1" * 64)
    (store.contradicting / f"{SOP}.2.{'1' * 12}.json").write_text("{}")  # its object has gone
    assert store.contradicted([SOP, f"{SOP}.2", f"{SOP}.3"]) == {SOP}
    shutil.rmtree(store.contradicting)
    assert store.contradicted([SOP]) == frozenset()


def rejected_by_the_former_release(store: Store, count: int = 1) -> None:
    folder = store.root / "rejected"
    folder.mkdir()
    for number in range(count):
        for name in (f"20261128T204339-{number:08x}", f"{SOP}.{number:012x}"):
            (folder / f"{name}.dcm").write_bytes(name.encode())
            (folder / f"{name}.json").write_text(json.dumps({"reason": name}))


def test_what_a_former_release_left_is_sorted_by_what_it_is(store: Store) -> None:
    rejected_by_the_former_release(store)
    store.sort_former()
    assert not (store.root / "rejected").exists()
    for folder, name in (
        (store.unreadable, "20261128T204339-00000000"),
        (store.contradicting, f"{SOP}.000000000000"),
    ):
        assert {path.name for path in folder.iterdir()} == {f"{name}.dcm", f"{name}.json"}
        assert (folder / f"{name}.dcm").read_bytes() == name.encode()
    store.sort_former()
    assert store.count_unusable() == {store.unreadable: 1, store.contradicting: 1}


def test_nodes_that_start_at_once_lose_nothing_of_what_a_former_release_left(store: Store) -> None:
    rejected_by_the_former_release(store, 50)
    run_at_once(*[Store(store.root, f"node-{n}").sort_former for n in range(4)])
    assert not (store.root / "rejected").exists()
    assert store.count_unusable() == {store.unreadable: 50, store.contradicting: 50}
    for folder in store.count_unusable():
        assert len(list(folder.glob("*.json"))) == 50


def test_the_free_space_is_that_of_the_disk(store: Store) -> None:
    statistics = os.statvfs(store.root)
    assert store.free_bytes() == pytest.approx(statistics.f_bavail * statistics.f_frsize, rel=0.1)


def test_the_share_in_use_is_the_one_that_df_says(store: Store) -> None:
    said = subprocess.run(
        ["df", "--output=pcent", store.root], capture_output=True, text=True, check=True
    )
    assert store.used_percent() == pytest.approx(int(said.stdout.split()[-1].rstrip("%")), abs=1.5)


def test_what_goes_for_good_takes_the_folders_with_it_that_are_empty_then(store: Store) -> None:
    one, two, three = (
        keep(store, incoming(store), study, f"{SOP}.{n}", "1" * 64)
        for n, study in enumerate((STUDY, STUDY, f"{STUDY}.1"))
    )
    assert store.remove_for_good([one, three]) == [one, three]
    assert store.path(two).exists() and not store.path(three).parent.exists()
    assert store.remove_for_good([one, three, two]) == [one, three, two]  # as after a crash
    assert store.folders("received") == [] and store.path("received").is_dir()


def test_what_cannot_be_removed_is_said_and_told_apart(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    gone = keep(store, incoming(store), STUDY, SOP, "1" * 64)
    stuck = f"received/{STUDY}/stuck.dcm"
    store.path(stuck).mkdir()
    assert store.remove_for_good([stuck, gone]) == [gone]
    [line] = caplog.messages
    assert line.startswith(f"{stuck} cannot be removed")


def test_an_object_is_kept_although_its_empty_folder_goes_at_that_moment(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of a study comes late, just as all that there was of it is removed."""
    replace, removed = Path.replace, list[Path]()

    def replace_a_moment_later(path: Path, target: Path) -> Path:
        if not removed:
            target.parent.rmdir()
            removed.append(target.parent)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replace_a_moment_later)
    relative = keep(store, incoming(store), STUDY, SOP, "1" * 64)
    assert removed and store.path(relative).read_bytes() == b"some bytes"


def test_a_file_with_another_name_is_known(store: Store, tmp_path: Path) -> None:
    relative = keep(store, incoming(store), STUDY, SOP, "1" * 64)
    assert not store.is_linked(relative) and not store.is_linked("received/none.dcm")
    os.link(store.path(relative), tmp_path / "backup.dcm")
    assert store.is_linked(relative)


def test_where_a_mount_has_gone_nothing_is_begun_on_the_disk_below(
    store: Store, tmp_path: Path
) -> None:
    (store.root / BELONGS).touch()
    shutil.rmtree(store.incoming)  # as others do with the folder of one that is taken for dead
    store.prepare_anew()
    assert store.incoming.is_dir()
    store.root.rename(tmp_path / "mounted")
    store.root.mkdir()
    store.prepare_anew()
    assert list(store.root.iterdir()) == []
    assert store.lacks(["received/1.2/x.dcm"]) == ()
    with pytest.raises(FileNotFoundError):
        store.write_report(b"a report", "1.2", "1.2.3")
    assert list(store.root.iterdir()) == []
