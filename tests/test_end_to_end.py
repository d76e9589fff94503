"""A study in by C-STORE, results back by C-STORE: the whole node, nothing made up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import factories
import pytest
from factories import L_MLO
from peers import Pacs, association, contexts_of, modality, refused_connections, store
from ports import free_port
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node import config
from node.app import App
from node.errors import ConfigError
from node.ledger import DeliveryState
from node.overview import StudyOverview, study_overviews
from node.trial import phantom

SUCCESS = 0x0000
DONE_WITHIN_S = 120


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, _standing_pacs: Pacs) -> config.Config:
    return config.Config(
        node=config.Node(
            ae_title="AINODE", state_dir=tmp_path_factory.mktemp("state"), min_free_mb=0
        ),
        listener=config.ListenerSettings(host="127.0.0.1", port=0),
        peers=(
            modality(results_to=["pacs"]),
            modality(name="other-room", ae_title="OTHER", results_to=["dead", "pacs"]),
            _standing_pacs.peer("pacs"),
            config.Peer(  # it is down
                name="dead",
                ae_title="DEAD",
                host="127.0.0.1",
                port=free_port(),
                receives="default",
            ),
        ),
        models=(config.ChosenModel(name="breast-area", mode="deliver"),),
        completeness=config.Completeness(settle_s=0.5, quiet_s=2),
        delivery=config.Delivery(retry_first_s=0.5, retry_max_s=0.5),
    )


@pytest.fixture(scope="module")
def running(settings: config.Config) -> Iterator[list[App]]:
    """The node of this module, in a list so that a test can put another in its place."""
    apps = [App(settings)]
    apps[0].start()
    yield apps
    apps[0].stop()


@pytest.fixture
def node(running: list[App]) -> App:
    return running[0]


def reaches(node: App, study: str, is_so: Callable[[StudyOverview], bool]) -> StudyOverview:
    give_up_at = time.monotonic() + DONE_WITHIN_S
    while time.monotonic() < give_up_at:
        for seen in study_overviews(node.ledger):
            if seen.study_uid == study and is_so(seen):
                return seen
        time.sleep(0.2)
    pytest.fail(f"{[s for s in study_overviews(node.ledger) if s.study_uid == study]}")


def is_done(seen: StudyOverview) -> bool:
    return seen.state == "done"


def of_class(objects: list[Dataset], sop_class: str) -> list[Dataset]:
    return [dataset for dataset in objects if dataset.SOPClassUID == sop_class]


def test_the_node_answers_an_echo(node: App) -> None:
    with association(node.port, [build_context(Verification)]) as opened:
        assert opened.send_c_echo().Status == SUCCESS


def test_an_exam_comes_back_as_results_in_the_same_study(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    exam = factories.exam("end to end")
    assert store(node.port, factories.saved_exam(tmp_path, "end to end")) == [SUCCESS] * 4
    seen = reaches(node, exam[0].StudyInstanceUID, is_done)
    assert seen.reason == "4/4 views, association ended"
    assert seen.models[0].outcome.startswith("4 of 4 images analysed")
    objects = [received.read() for received in pacs.received]
    assert len(of_class(objects, ComprehensiveSRStorage)) == 1
    assert len(of_class(objects, SecondaryCaptureImageStorage)) == 5  # a summary, four views
    for dataset in objects:
        assert dataset.StudyInstanceUID == exam[0].StudyInstanceUID
        assert dataset.PatientID == exam[0].PatientID
        assert dataset.AccessionNumber == exam[0].AccessionNumber
        assert dataset.SeriesInstanceUID not in {image.SeriesInstanceUID for image in exam}


def test_a_sender_that_keeps_its_association_open_is_waited_for_a_quiet_moment(
    node: App, tmp_path: Path
) -> None:
    paths = factories.saved_exam(tmp_path, "kept open")
    study = factories.exam("kept open")[0].StudyInstanceUID
    with association(node.port, contexts_of(paths)) as opened:
        assert [opened.send_c_store(path).Status for path in paths] == [SUCCESS] * 4
        seen = reaches(node, study, is_done)
    assert seen.reason == "4/4 views, quiet 0.5 s"


@pytest.mark.slow
def test_the_areas_it_reports_are_the_true_ones(node: App, tmp_path: Path) -> None:
    exam = factories.exam("true areas")
    store(node.port, factories.saved_exam(tmp_path, "true areas"))
    seen = reaches(node, exam[0].StudyInstanceUID, is_done)
    result = seen.models[0].result
    assert result is not None
    areas = {f.region.sop_uid: f.measurements[0].value for f in result.findings}
    for dataset, view in zip(exam, phantom.EXAM, strict=True):
        true = phantom.area_cm2(view, factories.SMALL)
        assert areas[dataset.SOPInstanceUID] == pytest.approx(true, rel=0.05)


@pytest.mark.slow
def test_an_exam_that_lacks_a_view_is_answered_and_the_late_view_makes_a_second_answer(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    paths = factories.saved_exam(tmp_path, "late view")
    study = factories.exam("late view")[0].StudyInstanceUID
    store(node.port, paths[:3])
    seen = reaches(node, study, is_done)
    assert seen.reason == f"quiet 2 s, {L_MLO} missing"
    first = len(pacs.received)
    store(node.port, paths[3:])
    seen = reaches(node, study, lambda s: s.version == 2 and is_done(s))
    assert seen.reason == "4/4 views, association ended"
    assert len(pacs.received) == first + 6


@pytest.mark.slow
def test_results_that_come_back_to_the_node_start_nothing(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    study = factories.exam("echoed")[0].StudyInstanceUID
    store(node.port, factories.saved_exam(tmp_path / "exam", "echoed"))
    before = reaches(node, study, is_done)
    paths = []
    for number, received in enumerate(pacs.received):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(received.content)
    assert store(node.port, paths) == [SUCCESS] * 6
    time.sleep(1)
    after = reaches(node, study, is_done)
    assert replace(after, asked_at=before.asked_at) == before


@pytest.mark.slow
@refused_connections
def test_a_dead_destination_does_not_keep_results_from_another(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    study = factories.exam("half dead")[0].StudyInstanceUID
    store(node.port, factories.saved_exam(tmp_path, "half dead"), "OTHER")
    seen = reaches(
        node,
        study,
        lambda s: sum(d.state == DeliveryState.SENT for d in s.deliveries) == 6 and bool(s.error),
    )
    assert seen.state == "delivering"
    assert "DEAD at 127.0.0.1" in str(seen.error)
    assert {received.read().StudyInstanceUID for received in pacs.received} == {study}


def test_a_second_node_on_the_same_state_does_not_start(node: App, settings: config.Config) -> None:
    with pytest.raises(ConfigError, match="another ai-node is running"):
        App(settings)


@pytest.mark.slow
@refused_connections
def test_after_a_restart_nothing_is_done_again_and_the_rest_goes_on(
    running: list[App], settings: config.Config, pacs: Pacs, tmp_path: Path
) -> None:
    before = {seen.study_uid: seen.state for seen in study_overviews(running[0].ledger)}
    running[0].stop()
    running[0] = App(settings)
    running[0].start()
    study = factories.exam("after restart")[0].StudyInstanceUID
    paths = factories.saved_exam(tmp_path, "after restart")
    assert store(running[0].port, paths) == [SUCCESS] * 4
    reaches(running[0], study, is_done)
    after = {seen.study_uid: seen.state for seen in study_overviews(running[0].ledger)}
    assert before.items() <= after.items()
    assert {received.read().StudyInstanceUID for received in pacs.received} == {study}
