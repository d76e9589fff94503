"""Results in a folder: whole files or none, whoever looks and whatever dies in between."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest
from pydicom import dcmread

from node import config
from node.deliver.choice import destination_of
from node.deliver.confirmation import Confirmation, Transaction
from node.deliver.courier import Courier
from node.deliver.destination import Parcel
from node.deliver.folder import FolderDestination
from node.ledger import BuiltReport, DeliveryState, Outcome, Shipment
from node.store import Store

SETTINGS = config.Delivery(retry_first_s=30)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "research"
    made.mkdir(mode=0o750)
    return made


@pytest.fixture
def courier(root: Path, store: Store) -> Courier:
    """What brings report sets to the folder, as a configuration names it."""
    folder = config.FolderSettings(kind="folder", name="research", path=root)
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=store.root), destinations=(folder,)
    )
    return Courier("research", destination_of(settings, "research"), store, SETTINGS)


def study_of(reports: list[BuiltReport], store: Store) -> str:
    return str(dcmread(store.path(reports[0].path)).StudyInstanceUID)


def send(courier: Courier, reports: list[BuiltReport]) -> list[Outcome]:
    return list(courier.send(reports, lambda: None).outcomes)


def confirm(courier: Courier, reports: list[BuiltReport], store: Store) -> Confirmation:
    parcels = [Parcel(report, store.path(report.path)) for report in reports]
    return courier.destination.confirm(parcels, None)


def there(root: Path) -> dict[str, str]:
    """Return what lies in it: the digest of each file by its path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def wanted(reports: list[BuiltReport], study: str) -> dict[str, str]:
    return {f"{study}/{one.sop_uid}.dcm": one.digest for one in reports}


def test_each_object_is_a_file_in_the_folder_of_its_study_and_found_again(
    courier: Courier, root: Path, reports: list[BuiltReport], store: Store
) -> None:
    assert courier.find_conflict(reports) is None
    assert send(courier, reports) == [Outcome(r.sop_uid, DeliveryState.SENT) for r in reports]
    assert there(root) == wanted(reports, study_of(reports, store))
    transaction = Transaction(lambda uid: None, lambda uid: None, bool, lambda uid: False)
    ending = courier.confirm(Shipment((), tuple(reports), 0), transaction, 1, has_just_sent=True)
    assert {(one.state, one.confirmed_by) for one in ending.outcomes} == {
        (DeliveryState.CONFIRMED, "folder")
    }
    assert ending.patience.waits_for is None


def test_what_is_there_already_is_not_written_again(
    courier: Courier, root: Path, reports: list[BuiltReport]
) -> None:
    send(courier, reports)
    before = {path: path.stat().st_ino for path in root.rglob("*.dcm")}
    assert {one.state for one in send(courier, reports)} == {DeliveryState.SENT}
    assert {path: path.stat().st_ino for path in root.rglob("*.dcm")} == before


def test_a_folder_that_is_not_there_is_away_and_never_made(
    courier: Courier, root: Path, reports: list[BuiltReport]
) -> None:
    root.rmdir()
    sending = courier.send(reports, lambda: None)
    words = f"the folder {root} is not there: see that it is mounted, or make it"
    assert [(one.state, one.error) for one in sending.outcomes] == [("queued", words)] * 3
    assert sending.is_unreached
    assert not root.exists()


def test_a_folder_that_cannot_be_written_to_says_why(
    courier: Courier, root: Path, reports: list[BuiltReport], store: Store
) -> None:
    (root / study_of(reports, store)).write_text("a file, where a folder should be")
    sending = courier.send(reports, lambda: None)
    words = f"the folder {root} cannot be used: Not a directory"
    assert {one.error for one in sending.outcomes} == {words}
    assert sending.is_unreached


def test_what_somebody_has_taken_away_is_accepted_and_unconfirmed(
    courier: Courier, root: Path, reports: list[BuiltReport], store: Store
) -> None:
    send(courier, reports)
    taken, *others = reports
    (root / study_of(reports, store) / f"{taken.sop_uid}.dcm").unlink()
    found = confirm(courier, reports, store)
    assert {one.sop_uid for one in found.outcomes} == {one.sop_uid for one in others}
    assert found.waits_for is None


def test_what_was_changed_there_is_put_anew(
    courier: Courier, root: Path, reports: list[BuiltReport], store: Store
) -> None:
    send(courier, reports)
    changed = root / study_of(reports, store) / f"{reports[0].sop_uid}.dcm"
    changed.write_bytes(changed.read_bytes()[:-2])
    outcome, *_ = confirm(courier, reports, store).outcomes
    words = f"its file in {root} is not as it was written"
    assert outcome == Outcome(reports[0].sop_uid, DeliveryState.QUEUED, words)
    send(courier, reports)
    assert there(root) == wanted(reports, study_of(reports, store))


@pytest.mark.parametrize(
    ("mode", "of_folder", "of_file"),
    [(0o700, 0o700, 0o600), (0o2770, 0o2770, 0o660), (0o755, 0o755, 0o644)],
)
def test_who_may_read_the_folder_may_read_what_is_put_into_it(
    courier: Courier,
    root: Path,
    reports: list[BuiltReport],
    mode: int,
    of_folder: int,
    of_file: int,
) -> None:
    root.chmod(mode)
    before = os.umask(0o077)
    try:
        send(courier, reports)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in root.iterdir()}
    assert modes == {of_folder}
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*.dcm")} == {of_file}


def put_and_die(count: int, folder: FolderDestination, parcels: list[Parcel]) -> None:
    """Put objects into a folder, and be killed at the so-and-so-many-th fsync."""
    left, fsync = count, os.fsync

    def fsync_or_die(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = fsync_or_die  # type: ignore[assignment]  # this process is its own
    list(folder.send(parcels, lambda: None))


@pytest.mark.parametrize(
    "count", [2, 3, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 4, 6, 7))]
)
def test_whenever_its_writer_is_killed_what_has_a_name_is_whole_and_the_rest_follows(
    courier: Courier,
    root: Path,
    reports: list[BuiltReport],
    store: Store,
    count: int,
) -> None:
    """Each object is made sure of twice, after the root: its bytes, then its name."""
    parcels = [Parcel(report, store.path(report.path)) for report in reports]
    folder = FolderDestination("research", root)
    arguments = (count, folder, parcels)
    child = multiprocessing.get_context("spawn").Process(target=put_and_die, args=arguments)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    study = study_of(reports, store)
    whole = {path: digest for path, digest in there(root).items() if path.endswith(".dcm")}
    assert whole.items() <= wanted(reports, study).items()
    assert len(whole) == max(0, (count - 1) // 2)
    assert {one.state for one in send(courier, reports)} == {DeliveryState.SENT}
    assert there(root) == wanted(reports, study)  # and nothing else: no half file is left
