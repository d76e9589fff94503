"""Files without rows are orphans, rows without files are said, and everything else is left."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from ledgers import HOUR_S, KIND, STUDY, Desk

from node.flow.inventory import NAMED, OLD_AFTER_S, Inventory
from node.ledger import BuiltReport, Finished, schema
from node.store import Store

OTHER_STUDY = "1.2.826.2"


def put(store: Store, relative: str, *, age_s: float = 2 * OLD_AFTER_S) -> Path:
    """Put a file into the store, as if some time ago."""
    path = store.path(relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"some bytes")
    at_s = store.now_s() - age_s
    os.utime(path, (at_s, at_s))
    return path


def files(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


@pytest.fixture
def inventory(desk: Desk) -> Inventory:
    return Inventory(desk.filing, desk.store)


def let_rows_age(desk: Desk) -> None:
    for table in (schema.instance, schema.former_instance):
        desk.change(table, received_at=table.c.received_at - 2 * OLD_AFTER_S)
    version = schema.study_version
    desk.change(version, finished_at=version.c.finished_at - 2 * OLD_AFTER_S)


def build_report(desk: Desk, path: str) -> None:
    """Finish what has been received, with one report."""
    job = desk.close()
    desk.begin(job)
    built = (BuiltReport("2.25.1", KIND, "1.2.3", path, "digest"),)
    assert desk.processing.finish_version(job, Finished((), built, {}, HOUR_S), desk.enqueue)


def test_a_file_without_a_row_is_an_orphan_and_every_other_stays(
    desk: Desk, inventory: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    received, corrected = f"received/{STUDY}/a.dcm", f"received/{STUDY}/b.dcm"
    report = f"reports/{STUDY}/2.25.1.dcm"
    young = f"received/{STUDY}/young.dcm"
    desk.receive(relative_path=received)
    desk.receive_again(relative_path=corrected)  # the former one keeps its file
    build_report(desk, report)
    for path in (received, corrected, report):
        put(desk.store, path)
    put(desk.store, young, age_s=OLD_AFTER_S / 2)
    for path in (f"received/{STUDY}/x.dcm", f"received/{OTHER_STUDY}/y.dcm"):
        put(desk.store, path)
    put(desk.store, f"reports/{STUDY}/z.dcm")
    before = files(desk.store)
    inventory.look()
    assert files(desk.store) == before  # once is not enough
    inventory.look()
    assert files(desk.store) == sorted(
        [
            received,
            corrected,
            report,
            young,
            f"orphans/received/{STUDY}/x.dcm",
            f"orphans/received/{OTHER_STUDY}/y.dcm",
            f"orphans/reports/{STUDY}/z.dcm",
        ]
    )
    [line] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith("3 files in the store have no row in the ledger")
    inventory.look()
    assert len(caplog.records) == 1


def test_a_row_that_comes_after_the_first_look_keeps_its_file(
    desk: Desk, inventory: Inventory
) -> None:
    """A machine that slept for hours between the two."""
    relative = f"received/{STUDY}/a.dcm"
    path = put(desk.store, relative)
    inventory.look()
    desk.receive(relative_path=relative)
    inventory.look()
    assert path.exists()


def test_a_file_whose_row_comes_after_all_is_put_back(
    desk: Desk, inventory: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    """Or a ledger that was restored from a backup, and then from a newer one."""
    relative = f"received/{STUDY}/a.dcm"
    path = put(desk.store, relative)
    inventory.look()
    inventory.look()
    assert not path.exists()
    desk.receive(relative_path=relative)
    let_rows_age(desk)
    inventory.look()
    assert path.read_bytes() == b"some bytes"
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]


def test_several_nodes_may_look_at_once(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    put(desk.store, f"received/{STUDY}/x.dcm")
    nodes = [Inventory(desk.filing, Store(desk.store.root, name)) for name in ("a", "b")]
    for name in ("a", "b"):
        Store(desk.store.root, name).prepare()
    for _ in range(2):
        for inventory in nodes:
            inventory.look()
    assert files(desk.store) == [f"orphans/received/{STUDY}/x.dcm"]
    assert len(caplog.records) == 1


def test_an_orphan_stays_however_old_it_is(desk: Desk, inventory: Inventory) -> None:
    """After a ledger was restored from a backup, it may be the only copy."""
    years = {"age_s": 1000 * 86_400.0}
    put(desk.store, f"orphans/received/{STUDY}/old.dcm", **years)
    put(desk.store, f"received/{STUDY}/x.dcm", **years)
    for _ in range(4):
        inventory.look()
    assert orphans(desk) == [f"orphans/received/{STUDY}/{name}.dcm" for name in ("old", "x")]


def test_what_is_said_of_orphans_is_true_of_a_restored_ledger_and_says_what_to_do(
    desk: Desk, inventory: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    put(desk.store, f"received/{STUDY}/x.dcm")
    for _ in range(2):
        inventory.look()
    [line] = [record.getMessage() for record in caplog.records]
    assert "restored from a backup or lost, their senders may have been told" in line
    assert f"ai-node send {desk.store.orphans}/received --to" in line


def test_a_row_without_its_file_is_said_once_whoever_finds_it(
    desk: Desk, inventory: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    desk.receive(relative_path=f"received/{STUDY}/a.dcm")
    build_report(desk, f"reports/{STUDY}/2.25.1.dcm")
    inventory.look()
    assert caplog.records == []  # it may be on its way
    let_rows_age(desk)
    for _ in range(3):
        inventory.look()
        Inventory(desk.filing, desk.store).look()
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(lines) == 2
    assert f"received/{STUDY}/a.dcm, the file of {STUDY}.1, is missing in the store" in lines[0]
    assert f"reports/{STUDY}/2.25.1.dcm, the file of 2.25.1" in lines[1]
    paths = f"received/{STUDY}/a.dcm, reports/{STUDY}/2.25.1.dcm"
    words = f"2 files of it are missing in the store: {paths}"
    assert desk.history().count(words) == 1


def test_a_study_that_is_done_is_not_held_for_a_file_that_is_missing(
    desk: Desk, inventory: Inventory
) -> None:
    """Nothing is to be made of it: whatever is, looks for the files itself."""
    desk.receive(relative_path=f"received/{STUDY}/a.dcm")
    build_report(desk, f"reports/{STUDY}/2.25.1.dcm")
    let_rows_age(desk)
    inventory.look()
    assert told(desk) == 1
    assert desk.study()["held_reason"] is None
    assert desk.rows(schema.asked_back) == []


def test_what_rows_say_is_removed_is_not_missing_even_if_it_goes_at_that_moment(
    desk: Desk,
    inventory: Inventory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk.receive(relative_path=f"received/{STUDY}/a.dcm")
    build_report(desk, f"reports/{STUDY}/2.25.1.dcm")
    let_rows_age(desk)
    put_back = Store.put_back

    def and_then_remove(self: Store, relative: str) -> bool:
        for table in (schema.instance, schema.report):
            desk.change(table, removed_at=1.0)
        return put_back(self, relative)

    monkeypatch.setattr(Store, "put_back", and_then_remove)
    inventory.look()
    inventory.look()
    assert told(desk) == 0
    assert caplog.records == []


def test_a_store_that_has_gone_does_not_flood_the_log(
    desk: Desk, inventory: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3 * NAMED):
        desk.receive(f"{STUDY}.{number}")
    let_rows_age(desk)
    inventory.look()
    assert len(caplog.records) == NAMED + 1
    assert f"{2 * NAMED} more files of study {STUDY}" in caplog.records[-1].getMessage()


def test_a_folder_in_the_way_costs_no_other_and_does_not_end_the_node(
    desk: Desk, inventory: Inventory, caplog: pytest.LogCaptureFixture
) -> None:
    put(desk.store, f"received/{STUDY}/x.dcm")
    put(desk.store, "received/stray")
    for _ in range(2):
        inventory.look()
    assert files(desk.store) == [f"orphans/received/{STUDY}/x.dcm", "received/stray"]
    desk.store.incoming.rmdir()
    desk.store.incoming.write_text("in the way")
    inventory.look()
    assert "cannot be compared with the ledger" in caplog.text


def test_a_look_costs_the_same_however_much_there_is_and_all_is_seen_in_turn(
    desk: Desk, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.flow.inventory.PORTION", 2)
    for number in range(5):
        put(desk.store, f"received/1.{number}/x.dcm")
        desk.receive(f"2.{number}.1", study=f"2.{number}")
    let_rows_age(desk)
    found = []
    for _ in range(5):
        inventory.look()
        found.append((len(orphans(desk)), told(desk)))
    assert found == [(0, 2), (2, 4), (4, 5), (5, 5), (5, 5)]


def orphans(desk: Desk) -> list[str]:
    return [path for path in files(desk.store) if path.startswith("orphans/")]


def told(desk: Desk) -> int:
    return sum("missing in the store" in row["event"] for row in desk.rows(schema.history))
