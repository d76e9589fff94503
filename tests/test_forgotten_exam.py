"""An exam that is analysed, delivered, removed, forgotten and sent again, through a whole node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import pytest
from forgotten import YEAR_S
from ledgers import Desk
from peers import Pacs, modality, store

from node import app, config
from node.app import App
from node.ledger import Remembering
from node.overview import study_overview

pytestmark = pytest.mark.slow

DONE_WITHIN_S = 120


@pytest.fixture
def node(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    for name in ("FORGET_EVERY_S", "RETENTION_EVERY_S"):
        monkeypatch.setattr(app, name, 0.3)
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=tmp_path / "state", min_free_mb=0),
        listener=config.ListenerSettings(host="127.0.0.1", port=0),
        peers=(modality(results_to=["pacs"]), pacs.peer("pacs")),
        models=(config.ChosenModel(name="breast-area", mode="deliver"),),
        completeness=config.Completeness(settle_s=0.5, quiet_s=2),
        retention=config.RetentionSettings(images_days=30, results_days=90, records_days=365),
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


def is_done(node: App, study_uid: str) -> bool:
    seen = study_overview(node.ledger, study_uid)
    return seen is not None and seen.state == "done"


def test_an_exam_that_is_forgotten_and_sent_again_is_known_and_has_no_second_report(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    study = str(factories.exam("forgotten")[0].StudyInstanceUID)
    paths = factories.saved_exam(tmp_path / "exam", "forgotten")
    assert store(node.port, paths) == [0x0000] * 4
    wait_until(lambda: is_done(node, study))
    Desk(node.ledger, node.store).let_pass(2 * YEAR_S)
    remembering = Remembering(node.ledger)
    wait_until(lambda: remembering.find(study) is not None)
    assert study_overview(node.ledger, study) is None
    sent = len(pacs.received)
    found = remembering.find(study)
    assert found is not None
    assert found.sent == {"pacs": sent}
    assert list(node.store.root.rglob("*.dcm")) == []

    assert store(node.port, paths) == [0x0000] * 4
    again = study_overview(node.ledger, study)
    assert again is not None
    assert (again.version, again.images) == (1, 4)
    assert [event for _, event in again.history if event.startswith("recalled")]
    assert len(pacs.received) == sent
