"""What may not be removed is counted, with what it takes, and a disk that fills says so in time."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from costs import counted
from ledgers import STUDY, Desk
from peers import modality

from node import config
from node.ledger import BackingUp, DeliveryState, Keeping, now, schema
from node.overview.disk_space import DiskSpace, disk_spaces
from node.overview.health import Alarm
from node.overview.space_taken import (
    Blocked,
    BlockedBecause,
    blocked_in_words,
    filling,
    space_blocked,
)
from node.overview.status import node_status, status_as_json, status_in_lines

GB = 1_000_000_000


@pytest.fixture
def settings(desk: Desk, tmp_path: Path) -> config.Config:
    """A node on the desk's store."""
    node = config.Node(
        ae_title="AINODE", state_dir=tmp_path, store_dir=desk.store.root, min_free_mb=0
    )
    pacs = config.Peer(name="pacs", ae_title="PACS", host="192.0.2.2", port=104, receives="default")
    sender = modality(name="modality", ae_title="MODALITY", results_to=["pacs"])
    return config.Config(node=node, peers=(pacs, sender))


def held(desk: Desk, uid: str, *, days: float, size: int | None) -> None:
    """Have a study that is held since some days, its one object so large."""
    desk.receive(f"{uid}.1", study=uid)
    desk.receive_again(f"{uid}.1", study=uid, pixels="other")
    with desk.ledger.writing() as db:
        of_it = schema.instance.c.study_uid == uid
        db.execute(schema.instance.update().where(of_it).values(size_bytes=size))
        it = schema.study.c.study_uid == uid
        aged = {"last_at": schema.study.c.last_at - days * 86_400}
        db.execute(schema.study.update().where(it).values(aged))


def blocked(desk: Desk, settings: config.Config) -> dict[BlockedBecause, Blocked]:
    return {one.because: one for one in space_blocked(desk.ledger, settings)}


def test_nothing_is_said_where_nothing_is_blocked(desk: Desk, settings: config.Config) -> None:
    desk.analysed()
    assert space_blocked(desk.ledger, settings) == ()


def test_held_studies_are_told_with_what_they_take_the_oldest_first(
    desk: Desk, settings: config.Config
) -> None:
    for number in range(7):
        held(desk, f"1.2.{number}", days=number, size=1000 + number)
    (one,) = space_blocked(desk.ledger, settings)
    assert (one.because, one.studies, one.size) == (BlockedBecause.HELD, 7, 7021)
    assert [study.study_uid for study in one.oldest] == [f"1.2.{n}" for n in (6, 5, 4, 3, 2)]
    assert [study.size for study in one.oldest] == [1006, 1005, 1004, 1003, 1002]
    assert not one.is_least


def test_given_up_is_a_delivery_an_analysis_and_what_has_no_destination(
    desk: Desk, settings: config.Config
) -> None:
    (job,) = desk.analysed(reports=1)
    desk.deliver(job, DeliveryState.REFUSED)
    desk.change(schema.instance, size_bytes=1000)
    desk.change(schema.report, size_bytes=50)
    found = blocked(desk, settings)[BlockedBecause.GIVEN_UP]
    count = len(desk.rows(schema.instance))
    assert (found.studies, found.size) == (1, 1000 * count + 50)
    desk.change(schema.dispatch, state="finished")
    assert blocked(desk, settings) == {}
    desk.change(schema.study_version, state="cancelled")
    assert blocked(desk, settings)[BlockedBecause.GIVEN_UP].studies == 1
    desk.change(schema.study, held_because="report", held_reason="its report could not be built")
    assert {*blocked(desk, settings)} == {BlockedBecause.HELD}


def test_kept_by_persons_and_promised_are_each_told(desk: Desk, settings: config.Config) -> None:
    desk.analysed()
    desk.change(schema.instance, size_bytes=1000)
    Keeping(desk.ledger).keep_study(STUDY, "teaching", by="anna")
    count = len(desk.rows(schema.instance))
    desk.change(schema.instance, committed_at=now())
    found = blocked(desk, settings)
    assert {*found} == {BlockedBecause.KEPT, BlockedBecause.PROMISED}
    assert {(one.studies, one.size) for one in found.values()} == {(1, 1000 * count)}
    assert found[BlockedBecause.PROMISED].oldest == ()


def test_what_is_removed_takes_no_space_any_more(desk: Desk, settings: config.Config) -> None:
    held(desk, "1.2.3", days=1, size=1000)
    desk.change(schema.instance, removed_at=now())
    assert blocked(desk, settings)[BlockedBecause.HELD].size == 0


def test_what_an_earlier_release_did_not_measure_is_measured_by_its_files(
    desk: Desk, settings: config.Config
) -> None:
    held(desk, "1.2.3", days=1, size=None)
    folder = desk.store.root / "received" / "1.2.3"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"a" * 7000)
    assert blocked(desk, settings)[BlockedBecause.HELD].size == 7000
    desk.change(schema.instance, committed_at=now())
    promised = blocked(desk, settings)[BlockedBecause.PROMISED]
    assert (promised.size, promised.is_least) == (0, True)


def test_of_very_many_the_oldest_are_measured_and_that_there_are_more_is_said(
    desk: Desk, settings: config.Config
) -> None:
    held(desk, "1.2.0", days=0, size=1000)
    study = desk.row(schema.study, "1.2.0")
    instance = desk.row(schema.instance, "1.2.0.1")
    uids = [f"1.2.{number}" for number in range(1, 150)]
    with desk.ledger.writing() as db:
        db.execute(schema.study.insert(), [study | {"study_uid": uid} for uid in uids])
        rows = [instance | {"study_uid": uid, "sop_uid": f"{uid}.1"} for uid in uids]
        db.execute(schema.instance.insert(), rows)
    (one,) = space_blocked(desk.ledger, settings)
    assert (one.studies, one.size, one.is_least) == (150, 100_000, True)
    assert blocked_in_words(one) == "at least 0.0 GB of 150 studies held"


def test_it_costs_no_more_beside_many_studies_of_which_nothing_is_blocked(
    desk: Desk, settings: config.Config
) -> None:
    (job,) = desk.analysed(reports=1)
    desk.deliver(job)
    held(desk, "1.2.3", days=1, size=1000)
    Keeping(desk.ledger).keep_study("1.2.3", "teaching", by="anna")
    with counted() as few:
        space_blocked(desk.ledger, settings)
    tables = (schema.study, schema.study_version, schema.dispatch, schema.instance)
    with desk.ledger.writing() as db:
        for table in tables:
            rows: list[Any] = [row for row in desk.rows(table) if row["study_uid"] == STUDY]
            more = [
                row
                | {"study_uid": f"9.{n}"}
                | ({"sop_uid": f"9.{n}.{i}"} if "sop_uid" in row else {})
                for n in range(300)
                for i, row in enumerate(rows)
            ]
            db.execute(table.insert(), more)
    with counted() as many:
        space_blocked(desk.ledger, settings)
    assert few.statements
    assert len(many.statements) == len(few.statements)
    assert many.steps <= 1.1 * few.steps


# A disk that fills


def disk(used_percent: float, **what: Any) -> DiskSpace:
    """Return the store's disk of 1000 GB, so much of it in use."""
    free = round(1000 * GB * (1 - used_percent / 100))
    values: dict[str, Any] = {
        "name": "store_dir",
        "folder": Path("/srv/store"),
        "free": free,
        "total": 1000 * GB,
        "least_free": 2 * GB,
        "used_percent": used_percent,
    }
    return DiskSpace(**values | what)


def words(one: DiskSpace, *blocked: Blocked) -> str:
    found = filling(one, 2 * GB, blocked)
    return "" if found is None else f"{found.words} - {found.what_to_do}"


def test_a_disk_that_is_cleaned_is_told_of_half_way_to_refusing() -> None:
    marks = {"clean_from": 80.0, "refuse_from": 95.0}
    for fine in (50, 80, 87.4):
        assert words(disk(fine, **marks)) == ""
    assert words(disk(88, **marks)) == (
        "/srv/store: 120.0 GB of 1000.0 GB free, 88 % in use though it is cleaned from 80 % on; "
        "images are refused from 95 % on - fewer days in [retention]; make room, or use a larger "
        "disk"
    )
    assert words(disk(89.9, clean_from=80.0)) == ""
    assert "images are refused once it is full" in words(disk(90, clean_from=80.0))


def test_a_disk_that_is_not_cleaned_is_told_of_five_percent_before_refusing() -> None:
    assert words(disk(89.9, refuse_from=95.0)) == ""
    said = words(disk(90, refuse_from=95.0))
    assert "90 % in use; images are refused from 95 % on - let [retention] remove" in said


def test_what_blocks_the_space_is_told_with_what_ends_it() -> None:
    of_each = [Blocked(because, 3, 12 * GB, False, ()) for because in BlockedBecause]
    said = words(disk(92, clean_from=80.0, refuse_from=95.0), *of_each)
    assert (
        "not removed: 12.0 GB of 3 studies held, 12.0 GB of 3 studies given up, 12.0 GB of 3 "
        "studies kept by persons, 12.0 GB of 3 studies promised by storage commitment"
    ) in said
    for what in ("--state held`", "`ai-node retry`", "`ai-node unhold`"):
        assert what in said


def test_little_more_than_must_be_free_is_told_where_cleaning_does_not_prevent_it() -> None:
    assert words(disk(99.3)) != ""
    assert words(disk(99.1)) == ""
    assert words(disk(99.8, clean_from=99.6)) != "", "refused for min_free_mb before it is cleaned"
    assert words(disk(20, days_left=3.0)) == (
        "/srv/store: 800.0 GB of 1000.0 GB free, full in 3 days; images are refused once it is "
        "full - let [retention] remove what nobody is owed (docs/retention.md); make room, or use "
        "a larger disk"
    )


def test_a_backup_on_the_disk_that_keeps_it_from_being_cleaned_is_named() -> None:
    said = words(disk(92, clean_from=80.0, refuse_from=95.0, backup="/srv/backup"))
    assert said.endswith(
        " - fewer days in [retention]; keep the backup in /srv/backup on another disk, since what "
        "it has is not removed for want of room; make room, or use a larger disk"
    )


@pytest.fixture
def filled(desk: Desk) -> Desk:
    """A store whose one study, of today, is so large that the disk is full within days."""
    desk.receive()
    folder = desk.store.root / "received" / STUDY
    folder.mkdir()
    with (folder / "large.dcm").open("wb") as file:
        file.truncate(desk.store.free_bytes() * 2)
    return desk


def left(desk: Desk, settings: config.Config, **retention: float) -> float | None:
    kept = config.RetentionSettings(**retention)
    (found,) = disk_spaces(desk.ledger, settings.model_copy(update={"retention": kept}))
    return found.days_left


def test_days_are_left_only_until_images_go_by_their_days(
    filled: Desk, settings: config.Config
) -> None:
    assert left(filled, settings) == pytest.approx(3.5, rel=0.1)
    assert left(filled, settings, images_days=30) == pytest.approx(3.5, rel=0.1)
    assert left(filled, settings, images_days=3) is None, "the oldest go before it is full"
    assert left(filled, settings, clean_from_percent=99) is None
    filled.change(schema.study, last_at=schema.study.c.last_at - 28 * 86_400)
    assert left(filled, settings, images_days=30) is None
    filled.change(schema.study, held_reason="they contradict", held_because="pixels")
    assert left(filled, settings, images_days=30) == pytest.approx(3.5, rel=0.1), "held stays"


def test_what_came_a_day_counts_though_it_is_removed_by_now(
    desk: Desk, settings: config.Config
) -> None:
    desk.receive()
    desk.change(schema.instance, size_bytes=7 * GB)
    (before,) = disk_spaces(desk.ledger, settings)
    desk.change(schema.instance, removed_at=now())
    desk.change(schema.study, images_removed_at=now())
    (after,) = disk_spaces(desk.ledger, settings)
    assert before.a_day == after.a_day == GB


def test_refusing_sooner_leaves_fewer_days(filled: Desk, settings: config.Config) -> None:
    (found,) = disk_spaces(filled.ledger, settings)
    half = (100 + found.used_percent) / 2
    sooner = left(filled, settings, refuse_from_percent=half)
    assert sooner == pytest.approx(3.5 / 2, rel=0.1)


def test_status_says_how_full_the_disk_is_what_fits_and_what_blocks(
    filled: Desk, settings: config.Config
) -> None:
    filled.nodes.register_node("a", "ward-a:/srv/ai-node a")
    held(filled, "1.2.3", days=12, size=3 * GB)
    kept = config.RetentionSettings(clean_from_percent=0.001, refuse_from_percent=99.999)
    found = node_status(filled.ledger, settings.model_copy(update={"retention": kept}))
    lines = "\n".join(status_in_lines(found))
    assert "% in use, cleaned from 0.001 % on, refused from 99.999 % on" in lines
    assert " GB came a day in the last week: 0 days of that fit on the disk" in lines
    assert "blocked      3.0 GB of 1 study held, the oldest 1.2.3, 12 d old" in lines
    said = status_as_json(found)
    assert said["blocked"][0]["because"] == "held"
    assert said["blocked"][0]["oldest"][0]["study_uid"] == "1.2.3"
    assert {"used_percent", "clean_from", "refuse_from", "a_day"} <= said["disks"][0].keys()
    # A disk more than half full, and a machine that is slow, are remarked upon, too.
    of_studies = [one for one in found.remarks if one.words.startswith("1 study held: ")]
    assert [one.alarm for one in of_studies] == [Alarm.LOOK]


def test_status_says_that_a_backup_is_on_the_disk_of_the_store(
    desk: Desk, settings: config.Config, tmp_path: Path
) -> None:
    backing_up = BackingUp(desk.ledger)
    for machine, is_beside in ((socket.gethostname(), True), ("another", False)):
        to = f"{machine}:{tmp_path}"
        backing_up.end(to, backing_up.begin(to))
        found = node_status(desk.ledger, settings)
        (line,) = [line for line in status_in_lines(found) if line.startswith("backup")]
        assert line.endswith("what it has frees no room before the next one") == is_beside
        assert status_as_json(found)["disks"][0]["backup"] == (str(tmp_path) if is_beside else "")
