"""Images are scored as they arrive: each once, by one node, and only what an analysis would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import factories
import packages
import pytest
import small_models
from costs import counted
from factories import L_CC, R_CC
from ledgers import Desk, run_at_once
from mr_desk import breast, receive_mr
from mr_models import uptake_model
from networks import Network
from peers import Pacs, modality, store
from pydicom import Dataset
from several_images import sides_network

from node import config
from node.analysis.pipeline import Pipeline, Task, analyse
from node.app import App
from node.config import presets
from node.dicom.header import read_header
from node.errors import InferenceUnavailable, ModelError, Unreadable
from node.flow.early_scoring import EarlyScorer
from node.inference import Inference
from node.ledger import KeptScores, schema
from node.manifest import Model
from node.overview import study_overviews
from node.result import Result, UnitScore
from node.study import Instance, Unit
from node.trial import phantom
from node.trial.phantom import Technique


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return packages.package(tmp_path / "models")


@pytest.fixture
def pipeline(desk: Desk, network: Network) -> Pipeline:
    return Pipeline(network, desk.scores, UTC, presets()["default"])  # type: ignore[arg-type]


@pytest.fixture
def scorer(desk: Desk, pipeline: Pipeline, model: Model) -> EarlyScorer:
    return EarlyScorer(desk.claiming, desk.store, pipeline, (model,))


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files whose headers are read from now on."""
    read: list[Path] = []

    def remember(path: Path) -> Dataset:
        read.append(path)
        return read_header(path)

    monkeypatch.setattr("node.flow.early_scoring.read_header", remember)
    return read


def until(is_so: Callable[[], bool], within_s: float = 30) -> bool:
    give_up_at = time.monotonic() + within_s
    while not is_so() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return is_so()


def test_each_image_is_scored_once_and_only_if_the_model_may_see_it(
    desk: Desk, scorer: EarlyScorer, network: Network
) -> None:
    right, left = factories.exam("two", [R_CC, L_CC])
    enlarged = Technique(rows=332, columns=256, spacing_mm=0.72, magnification=1.5)
    (magnified,) = phantom.exam("magnified", [R_CC], technique=enlarged)
    (other,) = factories.exam("another modality", [R_CC])
    other.Modality = "CT"
    for dataset in (right, magnified, other):
        desk.keep(dataset)
    scorer.score_what_came()
    scorer.score_what_came()
    assert network.asked == [right.SOPInstanceUID]
    desk.keep(left)
    scorer.score_what_came()
    assert network.asked == [right.SOPInstanceUID, left.SOPInstanceUID]


def test_of_several_images_at_once_none_is_scored_before_the_study_is_complete(
    desk: Desk, pipeline: Pipeline, network: Network, model: Model, tmp_path: Path
) -> None:
    of_exam = sides_network(tmp_path / "models" / "sides")
    for dataset in factories.exam("several", [R_CC, L_CC]):
        desk.keep(dataset)
    EarlyScorer(desk.claiming, desk.store, pipeline, (of_exam,)).score_what_came()
    assert network.asked == []
    EarlyScorer(desk.claiming, desk.store, pipeline, (of_exam, model)).score_what_came()
    assert len(network.asked) == 2, "by the model of single images"


def test_slices_of_a_volume_are_scored_by_nobody_before_the_study_is_complete(
    desk: Desk, pipeline: Pipeline, network: Network, model: Model, tmp_path: Path
) -> None:
    of_volumes = uptake_model(tmp_path / "models")
    receive_mr(desk, breast()[:3])
    with counted() as cost:
        assert not EarlyScorer(
            desk.claiming, desk.store, pipeline, (of_volumes, model)
        ).score_what_came()
    assert network.asked == []
    assert not any(statement.startswith("UPDATE") for statement in cost.statements)


def test_of_what_is_out_of_scope_nothing_is_read_and_it_is_found_once(
    desk: Desk, scorer: EarlyScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.receive(view=None, body_part="HAND", is_in_scope=False)
    assert desk.claiming.arriving(desk.store, ["MG"])
    read = reads(monkeypatch)
    assert not scorer.score_what_came()
    assert read == []
    assert desk.claiming.arriving(desk.store, ["MG"]) == []


def test_a_header_is_read_once_for_all_models(
    desk: Desk, pipeline: Pipeline, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image,) = factories.exam("for two", [R_CC])
    desk.keep(image)
    read = reads(monkeypatch)
    EarlyScorer(desk.claiming, desk.store, pipeline, (model, model)).score_what_came()
    assert len(read) == 1


def test_however_many_wait_each_is_scored_in_the_order_in_which_they_came(
    desk: Desk, scorer: EarlyScorer, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.ledger.settling._AT_ONCE", 3)
    images = [image for n in range(2) for image in factories.exam(f"waiting {n}")]
    for image in images:
        desk.keep(image)
    assert scorer.score_what_came()
    assert network.asked == [image.SOPInstanceUID for image in images]
    assert not scorer.score_what_came()


def test_an_image_with_a_corrected_header_is_not_scored_anew(
    desk: Desk, scorer: EarlyScorer, network: Network
) -> None:
    (image,) = factories.exam("corrected", [R_CC])
    desk.keep(image)
    scorer.score_what_came()
    image.PatientID = "CORRECTED"
    assert desk.keep(image) == "corrected"
    scorer.score_what_came()
    assert network.asked == [image.SOPInstanceUID]


def test_what_no_analysis_waits_for_is_not_scored(
    desk: Desk, scorer: EarlyScorer, network: Network
) -> None:
    (apart,) = factories.exam("apart", [R_CC])
    apart.PatientID = ""
    desk.keep(apart)
    (closed,) = factories.exam("closed", [R_CC])
    desk.keep(closed)
    desk.close(study=closed.StudyInstanceUID)
    held = factories.exam("held", [R_CC, L_CC])
    held[1].PatientID = "SOMEBODY ELSE"
    for image in held:
        desk.keep(image)
    scorer.score_what_came()
    assert network.asked == []


def test_nodes_share_the_images_and_none_is_scored_twice(
    desk: Desk, network: Network, pipeline: Pipeline, model: Model
) -> None:
    images = [image for n in range(3) for image in factories.exam(f"shared {n}")]
    for image in images:
        desk.keep(image)
    nodes = [EarlyScorer(desk.claiming, desk.store, pipeline, (model,)) for _ in range(3)]
    run_at_once(*(node.score_what_came for node in nodes))
    assert sorted(network.asked) == sorted(image.SOPInstanceUID for image in images)


def test_an_image_whose_node_died_over_it_is_left_to_the_analysis(
    desk: Desk, scorer: EarlyScorer, network: Network
) -> None:
    deadly, harmless = factories.exam("deadly", [R_CC, L_CC])
    for image in (deadly, harmless):
        desk.keep(image)
    assert desk.claiming.claim(deadly.SOPInstanceUID)
    assert not desk.claiming.claim(deadly.SOPInstanceUID)
    scorer.score_what_came()
    assert network.asked == [harmless.SOPInstanceUID]


@pytest.mark.parametrize(
    "error",
    [ModelError("out of memory"), Unreadable("no pixels"), FileNotFoundError(), KeyError("what?")],
    ids=lambda error: type(error).__name__,
)
def test_an_image_that_fails_does_not_keep_the_others_waiting_and_is_left_alone(
    desk: Desk,
    scorer: EarlyScorer,
    network: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(instance: Instance) -> None:
        if instance.view == R_CC:
            raise error

    network.fail = fail
    monkeypatch.setattr("node.flow.early_scoring._PAUSE_S", 0.01)
    images = factories.exam("failing", [R_CC, L_CC])
    for image in images:
        desk.keep(image)
    scorer.start()

    def are_both_asked() -> bool:
        scorer.wake()
        return len(network.asked) >= 2

    assert until(are_both_asked)
    scorer.score_what_came()
    scorer.stop()
    scorer.join()
    assert network.asked == [image.SOPInstanceUID for image in images]


def test_while_no_inference_process_can_be_started_no_more_images_are_claimed(
    desk: Desk, scorer: EarlyScorer, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(instance: Instance) -> None:
        raise InferenceUnavailable("no inference process can be started")

    network.fail = fail
    images = factories.exam("unavailable")
    for image in images:
        desk.keep(image)
    scorer.start()
    scorer.wake()
    assert until(lambda: "no inference process can be started" in caplog.text)
    scorer.stop()
    scorer.join()
    assert network.asked == [images[0].SOPInstanceUID]
    (line,) = [r for r in caplog.records if "for a while" in r.getMessage()]
    assert line.exc_info is None


def test_once_stopped_it_begins_nothing_more(
    desk: Desk, scorer: EarlyScorer, network: Network
) -> None:
    go_on = threading.Event()

    def wait(instance: Instance) -> None:
        go_on.wait(10)

    network.fail = wait
    for image in factories.exam("many"):
        desk.keep(image)
    scorer.start()
    scorer.wake()
    assert until(lambda: bool(network.asked))
    scorer.stop()
    go_on.set()
    scorer.join()
    assert len(network.asked) == 1


def test_after_the_last_image_only_that_is_left_to_score(
    desk: Desk,
    scorer: EarlyScorer,
    network: Network,
    pipeline: Pipeline,
    model: Model,
    tmp_path: Path,
) -> None:
    *first, last = factories.exam("early")
    for image in first:
        desk.keep(image)
        scorer.score_what_came()
    assert network.asked == [image.SOPInstanceUID for image in first]
    desk.keep(last)
    network.asked.clear()
    version = desk.begin(desk.close(study=last.StudyInstanceUID)).version
    (result,), objects = analyse(pipeline, Task(version, (model,), frozenset({"breast-area"})))
    assert network.asked == [last.SOPInstanceUID]
    assert len(result.analysed) == 4
    assert objects


def test_an_image_that_is_just_being_scored_is_waited_for_by_the_analysis_and_not_run_again(
    desk: Desk,
    scorer: EarlyScorer,
    network: Network,
    pipeline: Pipeline,
    model: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def hold(instance: Instance) -> None:
        is_running.set()
        may_end.wait(20)

    def find(scores: KeptScores, *key: str) -> UnitScore | None:
        threads.append(threading.current_thread())
        return find_score(scores, *key)

    threads: list[threading.Thread] = []
    find_score = KeptScores.find_score
    monkeypatch.setattr(KeptScores, "find_score", find)
    is_running, may_end = threading.Event(), threading.Event()
    network.fail = hold
    (image,) = factories.exam("just now", [R_CC])
    desk.keep(image)
    early = threading.Thread(target=scorer.score_what_came)
    early.start()
    assert is_running.wait(20)
    version = desk.begin(desk.close(study=image.StudyInstanceUID)).version
    results: list[Result] = []
    task = Task(version, (model,), frozenset({"breast-area"}))
    analysis = threading.Thread(target=lambda: results.extend(analyse(pipeline, task)[0]))
    analysis.start()
    assert until(lambda: analysis in threads)
    assert network.asked == [image.SOPInstanceUID]
    may_end.set()
    early.join(20)
    analysis.join(20)
    assert network.asked == [image.SOPInstanceUID]
    assert [one.analysed for one in results] == [(image.SOPInstanceUID,)]


@pytest.fixture
def two(desk: Desk, pipeline: Pipeline, model: Model, tmp_path: Path) -> EarlyScorer:
    """Has one model that may rank a study, the second of two."""
    ranking = small_models.model(tmp_path)
    return EarlyScorer(desk.claiming, desk.store, pipeline, (model, ranking), {"small"})


def test_who_may_rank_a_study_looks_at_all_that_came_before_any_other_model(
    desk: Desk, two: EarlyScorer, network: Network
) -> None:
    images = [image for n in range(2) for image in factories.exam(f"ranked {n}", [R_CC, L_CC])]
    for image in images:
        desk.keep(image)
    assert two.score_what_came()
    uids = [image.SOPInstanceUID for image in images]
    expected = [*(("small", uid) for uid in uids), *(("breast-area", uid) for uid in uids)]
    assert network.asked_by == expected
    assert not two.score_what_came()


@pytest.mark.parametrize("has_failed", [False, True])
def test_while_a_complete_study_waits_only_those_look_that_may_rank_one(
    desk: Desk, two: EarlyScorer, network: Network, has_failed: bool
) -> None:
    (waits,) = factories.exam("waits", [R_CC])
    desk.keep(waits)
    job = desk.close(study=waits.StudyInstanceUID)
    if has_failed:
        desk.begin(job)
        desk.processing.fail_version(job, "no room", 0, desk.enqueue, is_its_fault=False)
    (image,) = factories.exam("comes", [R_CC])
    desk.keep(image)
    two.score_what_came()
    others = ["breast-area"] * has_failed
    assert [name for name, _ in network.asked_by] == ["small", *others], (
        "a failed one may wait long"
    )
    desk.change(schema.study_version, state="running")
    assert two.score_what_came() is not has_failed
    assert [name for name, _ in network.asked_by] == ["small", "breast-area"]


def test_if_none_may_rank_what_came_stays_unclaimed_while_a_complete_study_waits(
    desk: Desk, scorer: EarlyScorer, network: Network
) -> None:
    waits, image = factories.exam("waits", [R_CC]) + factories.exam("comes", [R_CC])
    desk.keep(waits)
    desk.close(study=waits.StudyInstanceUID)
    desk.keep(image)
    assert not scorer.score_what_came()
    assert network.asked == []
    assert [one.sop_uid for one in desk.claiming.arriving(desk.store, ["MG"])] == [
        image.SOPInstanceUID
    ]


def test_what_is_complete_by_then_is_left_to_the_analysis(
    desk: Desk, two: EarlyScorer, network: Network
) -> None:
    for name in ("first", "second"):
        (image,) = factories.exam(name, [R_CC])
        desk.keep(image)
        if name == "first":
            desk.close(study=image.StudyInstanceUID)
    (image,) = factories.exam("third", [R_CC])
    desk.keep(image)
    two.score_what_came()
    desk.change(schema.study_version, state="running")
    desk.close(study=image.StudyInstanceUID)
    desk.change(schema.study_version, state="running")
    network.asked_by.clear()
    two.score_what_came()
    second = factories.exam("second", [R_CC])[0].SOPInstanceUID
    assert network.asked_by == [("breast-area", second)]


@pytest.mark.slow
def test_a_node_scores_images_while_the_rest_of_the_study_comes(
    pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole node, with a network that runs; the calls are only counted."""
    asked: list[str] = []

    class Counted(Inference):
        def score(self, unit: Unit, model: Model) -> UnitScore:
            score = super().score(unit, model)
            asked.append(unit.sop_uid)
            return score

    monkeypatch.setattr("node.running.networks.Inference", Counted)
    small_models.model(tmp_path, small_models.BRIGHT)
    node = App(
        config.Config(
            node=config.Node(
                ae_title="AINODE", state_dir=tmp_path / "state", models_dir=tmp_path, min_free_mb=0
            ),
            listener=config.ListenerSettings(host="127.0.0.1", port=0),
            peers=(modality(results_to=["pacs"]), pacs.peer("pacs")),
            models=(config.ChosenModel(name="small", mode="deliver"),),
            completeness=config.Completeness(settle_s=0.2),
        )
    )
    paths = factories.saved_exam(tmp_path / "exam", "node")
    uids = [image.SOPInstanceUID for image in factories.exam("node")]
    node.start()
    try:
        store(node.port, paths[:3])
        assert until(lambda: len(asked) == 3, 30)
        assert study_overviews(node.ledger)[0].state == "receiving"
        store(node.port, paths[3:])
        assert until(lambda: study_overviews(node.ledger)[0].state == "done", 30)
    finally:
        node.stop()
    assert sorted(asked[:3]) == sorted(uids[:3])
    # Where the study is closed before its score is kept, the last image is looked at twice.
    assert asked[3:] in (uids[3:], uids[3:] * 2)
    assert len(pacs.received) == 6
