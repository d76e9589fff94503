"""An exam that is analysed, delivered, removed, forgotten and sent again, through a whole node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import pytest
from forgotten import YEAR_S
from giving import GivingArchive
from ledgers import Desk
from peers import Pacs, modality, store
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from node import app, config
from node.app import App
from node.ledger import COMES_BACK, Remembering
from node.overview import study_overview
from node.receive import asking_back

pytestmark = pytest.mark.slow

DONE_WITHIN_S = 120


@pytest.fixture
def archive() -> Iterator[GivingArchive]:
    opened = GivingArchive()
    yield opened
    opened.close()


@pytest.fixture
def node(
    tmp_path: Path, pacs: Pacs, archive: GivingArchive, monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    for name in ("FORGET_EVERY_S", "RETENTION_EVERY_S", "ASK_BACK_EVERY_S"):
        monkeypatch.setattr(app, name, 0.3)
    monkeypatch.setattr(asking_back, "_FIRST_S", 0.3)
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=tmp_path / "state", min_free_mb=0),
        listener=config.ListenerSettings(host="127.0.0.1", port=0),
        peers=(
            modality(port=archive.port, results_to=["pacs"], retrieve="get"),
            pacs.peer("pacs"),
        ),
        models=(config.ChosenModel(name="breast-area", mode="deliver"),),
        completeness=config.Completeness(settle_s=0.5, quiet_s=2),
        retention=config.RetentionSettings(
            images_days=30, results_days=90, records_days=365, ask_back_within_s=3
        ),
    )
    started = App(settings)
    started.start()
    yield started
    started.stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + DONE_WITHIN_S
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def is_at(node: App, study_uid: str, state: str, version: int = 1) -> bool:
    seen = study_overview(node.ledger, study_uid)
    return seen is not None and (seen.state, seen.version) == (state, version)


def reports(pacs: Pacs) -> list[Dataset]:
    """Return the structured reports that were sent, in their order."""
    sent = [one.read() for one in pacs.received]
    return [one for one in sent if one.Modality == "SR"]


def send_and_forget(node: App, paths: list[Path], study_uid: str) -> None:
    """Have an exam analysed and delivered, and let so much time pass that it is forgotten."""
    assert store(node.port, paths) == [0x0000] * len(paths)
    wait_until(lambda: is_at(node, study_uid, "done"))
    Desk(node.ledger, node.store).let_pass(2 * YEAR_S)
    wait_until(lambda: Remembering(node.ledger).find(study_uid) is not None)


def late_image(file: Path) -> Path:
    """Write a view once more, as a technologist repeats an exposure."""
    image = dcmread(file)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    image.save_as(file.with_suffix(".late"))
    return file.with_suffix(".late")


def predecessor_of(report: Dataset) -> tuple[str, str]:
    """Return the series and the object that a report says it replaces."""
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    return series.SeriesInstanceUID, reference.ReferencedSOPInstanceUID


def test_an_exam_that_is_forgotten_and_sent_again_is_known_and_has_no_second_report(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    study = str(factories.exam("forgotten")[0].StudyInstanceUID)
    paths = factories.saved_exam(tmp_path / "exam", "forgotten")
    send_and_forget(node, paths, study)
    assert study_overview(node.ledger, study) is None
    sent = len(pacs.received)
    found = Remembering(node.ledger).find(study)
    assert found is not None
    assert found.sent == {"pacs": sent}
    assert list(node.store.root.rglob("*.dcm")) == []

    assert store(node.port, paths) == [0x0000] * 4
    again = study_overview(node.ledger, study)
    assert again is not None
    assert (again.version, again.images) == (1, 4)
    assert [event for _, event in again.history if event.startswith("recalled")]
    assert len(pacs.received) == sent


def test_a_late_image_of_a_forgotten_exam_makes_a_second_report_once_all_is_here(
    node: App, pacs: Pacs, archive: GivingArchive, tmp_path: Path
) -> None:
    exam = factories.exam("forgotten, then late")
    study = str(exam[0].StudyInstanceUID)
    paths = factories.saved_exam(tmp_path / "exam", "forgotten, then late")
    send_and_forget(node, paths, study)
    sent = len(pacs.received)

    archive.has = exam[:2]
    assert store(node.port, [late_image(paths[0])]) == [0x0000]
    wait_until(lambda: is_at(node, study, "held"))
    seen = study_overview(node.ledger, study)
    assert seen is not None
    assert str(seen.error).startswith("2 images needed for a new report, removed since ")
    assert str(seen.error).endswith(COMES_BACK)
    events = [event for _, event in seen.history]
    assert events[0].startswith("recalled, for something of it came")
    assert "4 images of it removed, needed for a new report: asked back" in events
    assert len(list(node.store.root.rglob("received/*/*.dcm"))) == 3, "two came back"
    assert len(pacs.received) == sent, "nothing is said of a part of it"

    assert store(node.port, paths) == [0x0000] * 4
    wait_until(lambda: is_at(node, study, "done", 2))
    seen = study_overview(node.ledger, study)
    assert seen is not None
    assert seen.models[0].outcome.startswith("5 of 5 images analysed")
    assert "released: all its images are here again" in [event for _, event in seen.history]
    first, second = reports(pacs)
    assert predecessor_of(second) == (first.SeriesInstanceUID, first.SOPInstanceUID)
    assert not list(node.store.incoming.iterdir())
