"""What was only away is not lost: its rows have it again, and no copy of it goes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import pytest
from ledgers import Desk

from node.belonging import belong_to
from node.errors import NodeError
from node.flow.deep_check import DeepCheck, Found, Steps
from node.flow.inventory import OLD_AFTER_S, Inventory
from node.flow.unlinking import Unlinker
from node.ledger import BackingUp, BuiltReport, Finished, Snapshot, Unlinking, schema
from node.store import recorded_digest


@contextlib.contextmanager
def quiet(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


@pytest.fixture
def study(desk: Desk) -> str:
    """An exam that has been analysed, with a report, in a store that says whose it is."""
    belong_to(desk.store, desk.ledger.installation)
    exam = factories.exam()
    for dataset in exam:
        desk.keep(dataset)
    uid = str(exam[0].StudyInstanceUID)
    job = desk.close(study=uid)
    desk.begin(job)
    path = desk.store.write_report(b"a report", uid, "2.25.1")
    digest = recorded_digest(desk.store.path(path), is_received=False)
    built = (BuiltReport("2.25.1", "measurement-report", "1.2.3", path, digest),)
    desk.processing.finish_version(job, Finished((), built, {}, 3600), desk.enqueue)
    return uid


def check(
    desk: Desk, steps: Steps = quiet, *, repairs: bool = True, is_lost: bool = False
) -> Found:
    said: list[str] = []
    how = {"repairs": repairs, "is_store_lost": is_lost}
    return DeepCheck(desk.ledger, desk.store, said.append, steps, **how).run()


def files(desk: Desk) -> list[Path]:
    trees = (desk.store.path(tree) for tree in ("received", "reports"))
    return sorted(path for tree in trees for path in tree.rglob("*.dcm"))


def removed(desk: Desk) -> int:
    tables = (schema.instance, schema.report)
    return sum(row["removed_at"] is not None for table in tables for row in desk.rows(table))


def nodes_look(desk: Desk) -> None:
    """Let nodes compare store and ledger, and unlink what is to go."""
    at_s = desk.store.now_s() - 2 * OLD_AFTER_S
    for path in files(desk):
        os.utime(path, (at_s, at_s))
    inventory = Inventory(desk.filing, desk.store)
    for _ in range(3):
        inventory.look()
    Unlinker(Unlinking(desk.ledger), desk.store).unlink()


@contextlib.contextmanager
def away(desk: Desk, path: Path) -> Iterator[None]:
    """Have a mount away for a while: what is there then is an empty folder."""
    elsewhere = desk.store.root.with_name(f"{path.name}.away")
    path.rename(elsewhere)
    path.mkdir()
    yield
    shutil.rmtree(path)
    elsewhere.rename(path)


@pytest.mark.parametrize("is_one_study", [False, True])
def test_a_repair_while_images_are_away_removes_none_of_them(
    desk: Desk, study: str, *, is_one_study: bool
) -> None:
    before = files(desk)
    with away(desk, desk.store.path(f"received/{study}" if is_one_study else "received")):
        found = check(desk)
    assert (found.missing, found.put_right, removed(desk)) == (4, 0, 0)
    assert desk.study(study)["held_because"] is None  # nobody is owed anything of it
    nodes_look(desk)
    assert files(desk) == before
    assert check(desk, repairs=False) == Found(files=5)


def test_the_next_backup_still_names_what_a_repair_found_missing(
    desk: Desk, study: str, tmp_path: Path
) -> None:
    with away(desk, desk.store.path("received")):
        check(desk)
        BackingUp(desk.ledger).snapshot(tmp_path / "copy.db", "here", 1.0)
    assert len(list(Snapshot(tmp_path / "copy.db").files())) == 5


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_mount_that_goes_while_a_check_reads_ends_it_and_nothing_is_missing(
    desk: Desk, study: str, *, is_lost: bool
) -> None:
    rows = [desk.rows(table) for table in schema.metadata.sorted_tables]
    with contextlib.ExitStack() as gone:

        @contextlib.contextmanager
        def then_it_goes(what: str, total: int) -> Iterator[Callable[[], None]]:
            if what == "Reading files":
                gone.enter_context(away(desk, desk.store.root))
            yield lambda: None

        with pytest.raises(NodeError, match="went away while it was read: mount it again"):
            check(desk, then_it_goes, is_lost=is_lost)
    assert [desk.rows(table) for table in schema.metadata.sorted_tables] == rows


@pytest.mark.parametrize("by", ["node", "check"])
def test_what_was_said_to_be_lost_and_is_here_again_is_its_rows_again(
    desk: Desk, study: str, by: str
) -> None:
    before = files(desk)
    with away(desk, desk.store.path("received")), away(desk, desk.store.path("reports")):
        assert check(desk, is_lost=True).put_right == 5
    assert removed(desk) == 5
    assert desk.study(study)["images_removed_at"] is not None
    if by == "check":
        found = check(desk, repairs=False)
        assert (found.back, found.is_well, removed(desk)) == (5, False, 5)
        assert check(desk).is_well
        assert desk.history(study)[-1] == "5 lost files are here again, as they were"
    nodes_look(desk)
    assert (files(desk), removed(desk)) == (before, 0)
    row = desk.study(study)
    assert (row["images_removed_at"], row["results_removed_at"]) == (None, None)
    assert check(desk, repairs=False) == Found(files=5)


def test_what_lies_where_a_lost_file_was_and_is_another_is_put_away(
    desk: Desk, study: str, caplog: pytest.LogCaptureFixture
) -> None:
    one, *others = files(desk)
    with away(desk, desk.store.path("received")), away(desk, desk.store.path("reports")):
        check(desk, is_lost=True)
    one.write_bytes(b"another")
    nodes_look(desk)
    assert files(desk) == others
    aside = desk.store.orphans / one.relative_to(desk.store.root)
    assert aside.read_bytes() == b"another"
    assert f"{one.name} is not what was there before it was lost" in caplog.text


def test_what_retention_removed_and_lies_there_again_goes_once_more_with_a_line(
    desk: Desk, study: str, caplog: pytest.LogCaptureFixture
) -> None:
    images = [desk.store.path(row["path"]) for row in desk.rows(schema.instance)]
    desk.change(schema.instance, removed_at=1.0, header_digest="as it was")
    nodes_look(desk)
    assert not any(path.exists() for path in images)
    lines = [line for line in caplog.messages if "was removed, and lies there again" in line]
    assert len(lines) == len(images)
