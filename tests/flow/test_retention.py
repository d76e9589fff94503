"""A store is kept to its days and below its watermark, and never at the expense of anybody."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from costs import counted
from ledgers import EXCLUDED, STUDY, Desk, fill
from peers import modality
from pydicom import Dataset
from retained import ALL, DAY_S, Site, retention_on, small_object

from node import config
from node.app import App
from node.config import RetentionSettings
from node.flow import retention, unlinking
from node.flow.inventory import OLD_AFTER_S, Inventory
from node.imaging.digests import encoded_digest
from node.ledger import Readers, Retaining, Role, StoredFile, schema
from node.receive.header_changes import header_digest
from node.store import Aside, Store


@pytest.fixture
def site(desk: Desk) -> Site:
    return Site(desk)


def test_each_kind_stays_for_its_days_and_goes_when_they_are_over(site: Site) -> None:
    image, result = site.done("1.9.1")
    excluded = site.apart("1.9.2", EXCLUDED)
    unread = site.apart("1.9.3", Modality="MR")
    site.retention.sweep()
    assert all(path.exists() for path in (image, result, excluded, unread))
    there = [image, result, excluded, unread]
    for days, goes in ((3.1, unread), (7, excluded), (20, image), (60, result)):
        site.desk.let_pass(days * DAY_S)
        Site(site.desk).retention.sweep()
        there.remove(goes)
        assert not goes.exists() and all(path.exists() for path in there)
    assert site.files() == []  # nor their folders
    assert not site.desk.rows(schema.unlinking)


def test_a_result_of_a_former_release_is_named_by_its_row_once_its_file_is_removed(
    site: Site,
) -> None:
    """A report of a later version names it, and the models it is of."""
    _, result = site.done("1.9.1")
    report = small_object("1.9.1", "1.9.1.77", Modality="SR")
    report.SeriesInstanceUID = "1.9.1.7"
    maker = Dataset()
    maker.ManufacturerModelName = "Breast Area"
    report.ContributingEquipmentSequence = [maker]
    report.save_as(result, enforce_file_format=True)
    site.desk.change(schema.report, series_uid=None, made_by=None)
    site.desk.let_pass(91 * DAY_S)
    site.retention.sweep()
    assert not result.exists()
    [row] = site.desk.rows(schema.report)
    assert (row["series_uid"], row["made_by"]) == ("1.9.1.7", '["Breast Area"]')


def test_a_damaged_result_of_a_former_release_keeps_nothing_else_from_being_removed(
    site: Site, small_disk: Callable[[int], None]
) -> None:
    """Its first attributes can be read, and one behind them cannot: that is seen late."""
    _, result = site.done("1.9.1")
    small_object("1.9.1", "1.9.1.77", Modality="SR").save_as(result, enforce_file_format=True)
    damaged = bytearray(result.read_bytes())
    damaged[damaged.index(b"\x08\x00\x60\x00CS") + 5] = 0x06
    result.write_bytes(damaged)
    site.desk.change(schema.report, series_uid=None, made_by=None)
    site.desk.let_pass(85 * DAY_S)
    image, _ = site.done("1.9.2")
    site.desk.let_pass(6 * DAY_S)
    site.settings = RetentionSettings(results_days=90, clean_from_percent=1)
    small_disk(10_000)
    site.retention.sweep()
    assert not result.exists() and not image.exists()


def test_a_result_that_nobody_can_read_is_removed_all_the_same(site: Site) -> None:
    _, result = site.done("1.9.1")
    site.desk.change(schema.report, series_uid=None, made_by=None)
    site.desk.let_pass(91 * DAY_S)
    site.retention.sweep()
    assert not result.exists()
    [row] = site.desk.rows(schema.report)
    assert row["removed_at"] and row["series_uid"] is None


def test_without_a_number_of_days_nothing_is_ever_removed(site: Site) -> None:
    site.settings = RetentionSettings()
    site.done("1.9.1")
    site.apart("1.9.2")
    site.desk.let_pass(3650 * DAY_S)
    before = site.files()
    site.retention.sweep()
    assert site.files() == before


def test_what_no_model_reads_goes_before_what_one_has_read(site: Site) -> None:
    neighbour = site.keep("1.9.1", 9, Modality="SR")
    image, result = site.done("1.9.1")
    site.desk.let_pass(8 * DAY_S)
    site.retention.sweep()
    assert not neighbour.exists() and image.exists() and result.exists()
    words = "removed what no model reads (1 file, "
    assert site.desk.history("1.9.1")[-1].startswith(words)


@pytest.mark.parametrize(
    "readers",
    [
        Readers([], lambda shown: False),  # it is switched off
        Readers(["breast-area"], lambda shown: False),  # a newer one is meant for less
    ],
)
def test_what_a_model_has_read_stays_for_its_days_whatever_is_read_by_now(
    site: Site, readers: Readers
) -> None:
    """A reload with other models must not remove what those of before have read."""
    neighbour = site.keep("1.9.1", 9, Modality="SR")
    refused = site.keep("1.9.1", 2)
    image, _ = site.done("1.9.1", refused="1.9.1.2")
    site.desk.let_pass(8 * DAY_S)
    retention_on(site.desk.ledger, site.desk.store, readers=lambda: readers).sweep()
    assert image.exists() and refused.exists()
    assert neighbour.exists() == (not readers.names)
    site.desk.let_pass(23 * DAY_S)
    retention_on(site.desk.ledger, site.desk.store, readers=lambda: readers).sweep()
    assert not image.parent.exists()


def test_of_what_is_removed_digests_stay_to_tell_what_comes_again(site: Site) -> None:
    image, _ = site.done("1.9.1")
    pixels, header = encoded_digest(image), header_digest(image)
    size = image.stat().st_size
    site.desk.let_pass(31 * DAY_S)
    site.retention.sweep()
    row = site.desk.row(schema.instance, "1.9.1.1")
    assert (row["pixels_digest"], row["header_digest"]) == (pixels, header)
    assert row["removed_at"] and row["size_bytes"] == size
    megabytes = f"{size / 1e6:.1f} MB"
    assert site.desk.history("1.9.1")[-1] == (
        f"removed the images (1 file, {megabytes}): 30 days are over"
    )


@pytest.mark.parametrize("is_there", [True, False])
def test_a_file_that_cannot_be_understood_or_is_gone_goes_all_the_same(
    site: Site, is_there: bool
) -> None:
    image, _ = site.done("1.9.1")
    image.unlink()
    if is_there:
        image.write_bytes(b"no DICOM")
    site.desk.let_pass(31 * DAY_S)
    site.retention.sweep()
    assert not image.exists()
    row = site.desk.row(schema.instance, "1.9.1.1")
    assert row["removed_at"] and row["pixels_digest"] is None


def test_a_disk_that_is_away_removes_nothing(
    site: Site, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Its files cannot be found, which does not mean that they may be forgotten."""
    site.done("1.9.1")
    site.desk.let_pass(31 * DAY_S)
    site.desk.store.root.rename(tmp_path / "elsewhere")
    before = site.desk.everything()
    site.retention.sweep()
    assert site.desk.everything() == before
    [line] = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.startswith("Nothing can be removed of the store")


def test_while_a_backup_copies_no_file_goes_and_after_it_all_that_were_to(site: Site) -> None:
    image, _ = site.done("1.9.1")
    site.desk.let_pass(31 * DAY_S)
    at = site.desk.study("1.9.1")["last_at"] + 31 * DAY_S
    site.desk.change(schema.installation, backup_until=at + 3600)
    site.retention.sweep()
    assert image.exists()
    site.desk.change(schema.installation, backup_until=None)
    site.retention.sweep()
    assert not image.exists()


def test_a_study_of_which_a_file_cannot_be_read_stays_and_the_rest_goes(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, _ = site.done("1.9.1")
    other, _ = site.done("1.9.2")
    site.desk.let_pass(31 * DAY_S)
    stuck.unlink()
    stuck.mkdir()  # as if somebody had put it there: no file can be removed of that name
    (stuck / "something").touch()
    site.retention.sweep()
    assert not other.exists()
    assert [row["study_uid"] for row in site.desk.rows(schema.unlinking)] == []
    assert "cannot be read" in caplog.text


def test_the_inventory_neither_misses_what_is_removed_nor_puts_away_what_is_to_go(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    image, _ = site.done("1.9.1")
    removed, _ = site.done("1.9.2")
    site.desk.let_pass(31 * DAY_S)
    site.desk.change(schema.installation, backup_until=9e9)
    site.retention.sweep()
    site.desk.change(schema.instance, received_at=0.0)
    old = site.desk.store.now_s() - 2 * OLD_AFTER_S
    os.utime(image, (old, old))
    removed.unlink()
    inventory = Inventory(site.desk.filing, site.desk.store)
    inventory.look()
    inventory.look()
    assert image.exists()  # it waits for the backup
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_file_that_was_put_back_at_the_moment_of_its_removal_goes_too(site: Site) -> None:
    """Reception restores a file that is missing; it may have looked before it was removed."""
    image, _ = site.done("1.9.1")
    site.desk.let_pass(31 * DAY_S)
    site.retention.sweep()
    image.parent.mkdir()
    image.write_bytes(b"the same again")
    old = site.desk.store.now_s() - 2 * OLD_AFTER_S
    os.utime(image, (old, old))
    inventory = Inventory(site.desk.filing, site.desk.store)
    inventory.look()
    inventory.look()
    assert image.exists()
    site.retention.sweep()
    assert not image.exists()


def test_several_nodes_may_sweep_at_once(site: Site) -> None:
    for number in range(3):
        site.done(f"1.9.{number}")
    site.desk.let_pass(31 * DAY_S)
    nodes = [site.on(site.desk.ledger, Store(site.desk.store.root, name)) for name in ("a", "b")]
    for name in ("a", "b"):
        Store(site.desk.store.root, name).prepare()
    for node in nodes:
        node.sweep()
    for number in range(3):
        lines = [line for line in site.desk.history(f"1.9.{number}") if "removed" in line]
        assert len(lines) == 1


# By need


@pytest.fixture
def small_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk have so many bytes, and hold what the store does."""

    def used() -> int:
        return sum(p.stat().st_size for p in desk.store.root.rglob("*") if p.is_file())

    def let_it_have(total: int) -> None:
        def usage(path: object) -> Any:
            return SimpleNamespace(total=total, free=total - used(), used=used())

        monkeypatch.setattr(shutil, "disk_usage", usage)

    return let_it_have


def test_a_disk_that_fills_is_cleaned_before_the_days_are_over_until_it_is_less_full(
    site: Site, small_disk: Callable[[int], None]
) -> None:
    site.settings = RetentionSettings(clean_from_percent=80)
    files = []
    for number in range(6):
        files.append(site.done(f"1.9.{number}")[0])
        site.desk.let_pass(DAY_S)
    held = files[0]
    with site.desk.ledger.writing() as db:
        first = schema.study.c.study_uid == "1.9.0"
        db.execute(schema.study.update().where(first).values(held_reason="a reason"))
    unread = site.apart("1.9.8", Modality="MR")
    excluded = site.apart("1.9.9", EXCLUDED)
    size = held.stat().st_size
    store = site.desk.store
    used = sum(p.stat().st_size for p in store.root.rglob("*") if p.is_file())
    small_disk(int((used - 3.5 * size) / 0.8))  # four files too many
    site.retention.sweep()
    assert not unread.exists() and not excluded.exists()
    assert [path.exists() for path in files] == [True, False, False, True, True, True]
    assert store.used_percent() < 80
    assert len(list(store.path("reports").rglob("*.dcm"))) == 6  # of results none
    assert site.desk.history("1.9.1")[-1].endswith(" % full")
    before = site.files()
    site.retention.sweep()
    assert site.files() == before


def test_what_is_owed_stays_even_on_a_full_disk(
    site: Site, small_disk: Callable[[int], None]
) -> None:
    site.settings = RetentionSettings(clean_from_percent=1)
    waiting = site.keep("1.9.1")
    site.desk.close(study="1.9.1")
    receiving = site.keep("1.9.2")
    gone, result = site.done("1.9.3")
    small_disk(10_000)
    site.retention.sweep()
    site.retention.sweep()
    assert waiting.exists() and receiving.exists() and result.exists() and not gone.exists()


def test_what_a_backup_on_the_same_disk_holds_is_not_removed_to_make_room(
    site: Site,
    small_disk: Callable[[int], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It would free nothing; and so one study after the other would go. It is said, once."""
    site.settings = RetentionSettings(clean_from_percent=1)
    (held, _), (linked, _) = site.done("1.9.1"), site.done("1.9.3")
    free, _ = site.done("1.9.2")
    os.link(held, tmp_path / "backup.dcm")
    os.link(linked, tmp_path / "another.dcm")
    small_disk(10_000)
    for _ in range(2):
        site.retention.sweep()
    assert held.exists() and linked.exists() and not free.exists()
    [line] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "second names on this disk" in line and "keep the backup on another disk" in line


def on_a_disk_just_too_full(
    desk: Desk,
    disk: Callable[[int], None],
    studies: int,
    clock: Callable[[], float] = time.monotonic,
) -> Site:
    """Return a site of some studies, of which one more than its disk should have."""
    site = Site(desk, clock=clock)
    site.settings = RetentionSettings(clean_from_percent=80)
    for number in range(studies):
        site.done(f"1.9.{number}")
    used = sum(p.stat().st_size for p in desk.store.root.rglob("*") if p.is_file())
    disk(int(used / 0.81))
    return site


def removed(desk: Desk) -> int:
    return sum(row["removed_at"] is not None for row in desk.rows(schema.instance))


def test_where_files_cannot_be_removed_no_more_go_to_make_room(
    desk: Desk,
    small_disk: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = on_a_disk_just_too_full(desk, small_disk, 30)
    unlink = Path.unlink

    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        if "received" in self.parts:  # its owner is another, as after a restore by root
            raise PermissionError(13, "Permission denied")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    for _ in range(3):
        site.retention.sweep()
    assert removed(desk) == 1
    assert len(desk.rows(schema.unlinking)) == 1
    assert sum("have not made room" in line for line in caplog.messages) == 1
    monkeypatch.setattr(Path, "unlink", unlink)
    site.retention.sweep()
    assert not desk.rows(schema.unlinking)
    assert desk.store.used_percent() < 80 and removed(desk) <= 2


def test_where_a_snapshot_holds_what_is_removed_few_studies_go_to_make_room(
    desk: Desk,
    small_disk: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    at = [0.0]
    site = on_a_disk_just_too_full(desk, small_disk, 30, lambda: at[0])
    full = SimpleNamespace(total=100_000, free=19_000, used=81_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    for _ in range(3):
        site.retention.sweep()
    assert removed(desk) == 10
    assert sum("have not made room" in line for line in caplog.messages) == 1
    at[0] += retention.ROUND_AFTER_S
    site.retention.sweep()
    site.retention.sweep()
    assert removed(desk) == 11
    full.used, full.free = 70_000, 30_000  # the snapshot is gone
    site.retention.sweep()
    full.used, full.free = 81_000, 19_000  # and later it is too full again
    site.retention.sweep()
    assert removed(desk) == 21


def test_what_a_file_system_frees_a_moment_later_is_seen_by_the_next_sweep(
    desk: Desk, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = on_a_disk_just_too_full(desk, small_disk, 30)
    held = [90_000]
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: SimpleNamespace(total=100_000, free=100_000 - held[0], used=held[0]),
    )
    site.retention.sweep()
    assert removed(desk) == 10
    held[0] = 85_000
    site.retention.sweep()
    assert removed(desk) == 20


def test_nothing_is_removed_to_make_room_while_a_backup_copies(
    site: Site, small_disk: Callable[[int], None]
) -> None:
    site.settings = RetentionSettings(clean_from_percent=1)
    image, _ = site.done("1.9.1")
    small_disk(10_000)
    site.desk.change(schema.installation, backup_until=9e9)
    site.retention.sweep()
    assert image.exists() and not site.desk.rows(schema.unlinking)


def test_where_images_are_refused_it_is_soon_tried_again_whether_room_can_be_made(
    desk: Desk, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came meanwhile may have filled it as fast as it was freed; now nothing comes."""
    at = [0.0]
    site = on_a_disk_just_too_full(desk, small_disk, 30, lambda: at[0])
    site.settings = RetentionSettings(clean_from_percent=80, refuse_from_percent=90)
    disk = SimpleNamespace(total=100_000, free=5_000, used=95_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    for _ in range(3):
        site.retention.sweep()
    assert removed(desk) == 10
    at[0] += retention.REFUSING_AGAIN_S
    site.retention.sweep()
    assert removed(desk) == 11
    disk.used, disk.free = 94_000, 6_000  # that one has made room: so do the others
    site.retention.sweep()
    assert removed(desk) == 21


def test_what_goes_by_its_days_leaves_time_to_make_room(
    desk: Desk, small_disk: Callable[[int], None]
) -> None:
    at = [0.0]
    site = Site(desk, clock=lambda: at[0])
    for number in range(12):
        site.done(f"1.9.{number}")
    desk.let_pass(31 * DAY_S)
    unread = site.apart("1.8.1", Modality="MR")

    def slow(path: Path) -> str:
        at[0] += 1.0  # of the ten that a sweep has
        return header_digest(path)

    site.settings = RetentionSettings(images_days=30, clean_from_percent=1)
    site.retention = site.on(desk.ledger, desk.store, slow)
    small_disk(10_000)
    site.retention.sweep()
    assert not unread.exists() and 5 < removed(desk) < 12


def test_images_have_their_turn_however_many_studies_have_no_neighbours(
    desk: Desk, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round is over once all kinds had a turn, though it takes longer than it should."""
    at = [0.0]
    site = Site(desk, clock=lambda: at[0])
    files = [site.done(f"1.9.{number}")[0] for number in range(6)]
    site.settings = RetentionSettings(clean_from_percent=1)
    small_disk(10_000)
    look = Retaining.files

    def slow(self: Retaining, *asked: Any) -> tuple[StoredFile, ...]:
        at[0] += 4.0  # of the ten that a sweep has
        return look(self, *asked)

    monkeypatch.setattr(Retaining, "files", slow)
    monkeypatch.setattr(retention, "CLEAN_ROUND_AFTER_S", 10.0)
    for _ in range(6):
        site.retention.sweep()
        at[0] += 10.0
    assert not all(path.exists() for path in files)


def test_a_sweep_ends_in_time_and_the_next_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [0.0]
    site = Site(desk, clock=lambda: at[0])
    for number in range(6):
        site.done(f"1.9.{number}")
    desk.let_pass(31 * DAY_S)

    def slow(path: Path) -> str:
        at[0] += 3.0  # of the ten that a sweep has
        return header_digest(path)

    site.retention = site.on(desk.ledger, desk.store, slow)
    monkeypatch.setattr(retention, "_PORTION", 3)
    monkeypatch.setattr(unlinking, "_PORTION", 1)
    left = []
    for _ in range(3):
        site.retention.sweep()
        left.append(len(list(desk.store.path("received").rglob("*.dcm"))))
    assert left == [2, 0, 0]


def test_a_sweep_looks_at_as_many_studies_as_it_has_time_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a study that no model reads stays for days behind all that is kept for longer."""
    fill(site.desk.ledger, 30)
    path = site.apart("1.8.1", Modality="MR")
    site.desk.let_pass(4 * DAY_S)
    monkeypatch.setattr(retention, "_PORTION", 3)
    site.retention.sweep()
    assert not path.exists()


def test_what_was_owed_something_goes_when_the_walk_begins_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, _ = site.done("1.9.1")
    site.desk.change(schema.study, kept_at=1.0)
    site.desk.let_pass(31 * DAY_S)
    site.retention.sweep()
    site.desk.change(schema.study, kept_at=None)
    site.retention.sweep()
    assert image.exists()  # the walk is at its end
    monkeypatch.setattr(retention, "ROUND_AFTER_S", 0.0)
    site.retention.sweep()
    site.retention.sweep()
    assert not image.exists()


def test_what_is_delivered_after_an_outage_goes_while_the_disk_is_still_full(
    site: Site, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.settings = RetentionSettings(clean_from_percent=1)
    image, _ = site.done("1.9.1")
    site.desk.change(schema.dispatch, state="queued")
    small_disk(10_000)
    site.retention.sweep()
    site.desk.change(schema.dispatch, state="finished")
    site.retention.sweep()
    assert image.exists()  # the walk is behind it
    monkeypatch.setattr(retention, "CLEAN_ROUND_AFTER_S", 0.0)
    site.retention.sweep()
    assert not image.exists()


def test_the_oldest_goes_first_again_soon_after_it_was_owed_something_on_a_disk_always_just_full(
    desk: Desk, small_disk: Callable[[int], None]
) -> None:
    """The walk that makes room is seldom at its end: each day brings as much as has to go."""
    at = [0.0]
    site = Site(desk, clock=lambda: at[0])
    site.settings = RetentionSettings(clean_from_percent=80)
    files = [site.done(f"1.9.{number}")[0] for number in range(6)]
    held = schema.study.update().where(schema.study.c.study_uid == "1.9.0")
    with desk.ledger.writing() as db:
        db.execute(held.values(held_reason="a reason"))
    results = sum(p.stat().st_size for p in desk.store.path("reports").rglob("*.dcm"))
    small_disk(int((6.5 * files[0].stat().st_size + results) / 0.8))
    for number in range(6, 12):
        files.append(site.done(f"1.9.{number}")[0])
        site.retention.sweep()
    assert files[0].exists() and not files[1].exists()
    with desk.ledger.writing() as db:
        db.execute(held.values(held_reason=None))
    at[0] += retention.CLEAN_ROUND_AFTER_S
    files.append(site.done("1.9.12")[0])
    before = [path.exists() for path in files]
    site.retention.sweep()
    assert [path.exists() for path in files] == [False, *before[1:]]


@pytest.mark.parametrize("is_full", [False, True])
def test_a_sweep_costs_as_much_however_large_the_ledger_is(
    site: Site, small_disk: Callable[[int], None], is_full: bool
) -> None:
    """Of studies that are owed something, and of such as are kept for their days."""
    site.settings = ALL.model_copy(update={"clean_from_percent": 1 if is_full else None})
    small_disk(10_000)
    costs = []
    for first, count in ((0, 200), (200, 800)):
        fill(site.desk.ledger, count, first=first)
        site.desk.change(schema.study, held_reason="a reason")
        for _ in range(10):  # it has come round before
            site.retention.sweep()
        with counted() as cost:
            site.retention.sweep()
        costs.append(cost)
    few, many = costs
    assert len(many.statements) == len(few.statements) > 5
    assert many.steps <= 1.1 * few.steps


# What was put aside


def put_aside(store: Store, study: str, *, age_days: float) -> Path:
    temporary = store.incoming / "a.part"
    temporary.write_bytes(b"some bytes")
    about = Aside("a reason", "modality", True, "1.2.3", f"{study}.1", study)
    path = store.put_contradicting(temporary, about, "0" * 64)
    at = store.now_s() - age_days * DAY_S
    os.utime(path, (at, at))
    return path


def test_what_was_put_aside_goes_after_its_days_with_the_words_beside_it(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = site.desk.store
    old, young = put_aside(store, "1.9.1", age_days=21), put_aside(store, "1.9.2", age_days=19)
    orphan = store.orphans / "received" / "1.9.3" / "x.dcm"
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    os.utime(orphan, (0, 0))
    words = store.unreadable / "alone.json"  # its object went, and then the node died
    words.write_text("{}", "utf-8")
    os.utime(words, (0, 0))
    site.retention.sweep()
    assert not old.exists() and not old.with_suffix(".json").exists()
    assert young.exists() and young.with_suffix(".json").exists()
    assert not orphan.exists() and not orphan.parent.exists() and not words.exists()
    said = [line for line in caplog.messages if "was put aside" in line]
    assert len(said) == 3 and said[0].startswith("Removed ")
    [loud] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert loud.startswith("Removed orphans/")


def test_but_not_while_a_person_has_to_look_at_its_study(site: Site) -> None:
    site.keep(STUDY)
    path = put_aside(site.desk.store, STUDY, age_days=100)
    site.desk.change(schema.study, held_reason="an image came twice with different pixels")
    site.retention.sweep()
    assert path.exists()
    site.desk.change(schema.study, held_reason=None, state="closed")
    site.retention.sweep()
    site.retention.sweep()
    assert path.exists()  # or a peer could be told that the object here is kept, which is another
    site.desk.change(schema.instance, removed_at=1.0)
    site.retention.sweep()
    site.retention.sweep()
    assert not path.exists()


# A whole node


@pytest.mark.slow
def test_a_running_node_sweeps_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.app.RETENTION_EVERY_S", 0.2)
    monkeypatch.setattr(retention, "ROUND_AFTER_S", 0.0)
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=tmp_path / "state", min_free_mb=0),
        listener=config.ListenerSettings(host="127.0.0.1", port=0),
        peers=(modality(),),
        models=(),
        retention=RetentionSettings(out_of_scope_days=3),
    )
    node = App(settings, Role.LISTENER)
    node.start()
    try:
        site = Site(Desk(node.ledger, node.store))
        kept = site.keep("1.9.1")
        path = site.apart("1.9.2", Modality="MR")
        site.desk.let_pass(4 * DAY_S)
        give_up_at = time.monotonic() + 60
        while path.exists() and time.monotonic() < give_up_at:
            time.sleep(0.05)
        assert not path.exists() and kept.exists()
    finally:
        node.stop()
