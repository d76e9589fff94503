"""The whole node with models of two domains: each study goes to the one that is meant for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import pytest
import radiographs
import small_models
from factories import R_CC
from peers import Pacs, modality, store
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from radiographs import radiograph

from node import config
from node.app import App
from node.overview import StudyOverview, study_overviews

pytestmark = pytest.mark.slow

DONE_WITHIN_S = 120


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, _standing_pacs: Pacs) -> Iterator[App]:
    models_dir = tmp_path_factory.mktemp("models")
    small_models.model(models_dir, small_models.BRIGHT)
    radiographs.chest_model(models_dir)
    app = App(
        config.Config(
            node=config.Node(
                ae_title="AINODE",
                state_dir=tmp_path_factory.mktemp("state"),
                models_dir=models_dir,
                min_free_mb=0,
            ),
            listener=config.ListenerSettings(host="127.0.0.1", port=0),
            peers=(modality(results_to=["pacs"]), _standing_pacs.peer("pacs")),
            models=(
                config.ChosenModel(name="small", mode="deliver"),
                config.ChosenModel(name="chest", mode="deliver"),
            ),
            completeness=config.Completeness(settle_s=0.5, quiet_s=1),
        )
    )
    app.start()
    yield app
    app.stop()


def sent(node: App, folder: Path, *images: Dataset) -> str:
    """Send images of one study as a modality does, and return its UID."""
    assert store(node.port, radiographs.saved(list(images), folder)) == [0x0000] * len(images)
    return str(images[0].StudyInstanceUID)


def reaches(node: App, study: str, is_so: Callable[[StudyOverview], bool]) -> StudyOverview:
    give_up_at = time.monotonic() + DONE_WITHIN_S
    while time.monotonic() < give_up_at:
        for seen in study_overviews(node.ledger):
            if seen.study_uid == study and is_so(seen):
                return seen
        time.sleep(0.1)
    pytest.fail(f"{[s for s in study_overviews(node.ledger) if s.study_uid == study]}")


def in_state(state: str, version: int = 1) -> Callable[[StudyOverview], bool]:
    return lambda seen: (seen.state, seen.version) == (state, version)


def of_study(pacs: Pacs, study: str, sop_class: str) -> list[Dataset]:
    objects = [received.read() for received in pacs.received if received.sop_class == sop_class]
    return [one for one in objects if one.StudyInstanceUID == study]


def test_a_radiograph_and_a_mammogram_go_each_to_the_model_that_is_meant_for_it(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    chest = sent(node, tmp_path / "chest", radiograph(number=1), radiograph(number=2))
    breast = sent(node, tmp_path / "breast", *factories.exam("beside it"))
    seen = reaches(node, chest, in_state("done"))
    assert seen.reason == "quiet 1 s"
    assert [model.model for model in seen.models] == ["chest"]
    assert seen.models[0].outcome.startswith("2 of 2 images analysed; Series 1 image 1 opacity")
    assert len(of_study(pacs, chest, ComprehensiveSRStorage)) == 1
    assert len(of_study(pacs, chest, SecondaryCaptureImageStorage)) == 1  # nothing is marked
    seen = reaches(node, breast, in_state("done"))
    assert seen.reason == "4/4 views, association ended"
    assert [model.model for model in seen.models] == ["small"]
    assert len(of_study(pacs, breast, ComprehensiveSRStorage)) == 1


def test_a_study_of_another_body_part_is_closed_with_words_and_nothing_is_sent(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    hand, unsaid = radiograph("hand"), radiograph("unsaid")
    hand.BodyPartExamined, unsaid.BodyPartExamined = "HAND", ""
    mammogram = factories.exam("hand in a mammograph", [R_CC])[0]
    mammogram.BodyPartExamined = "HAND"
    mammogram.AnatomicRegionSequence, mammogram.ViewCodeSequence = [], []
    mammogram.ImageLaterality = ""  # who says a view has said that it is a breast
    for image, words in (
        (hand, "no model reads DX of HAND"),
        (unsaid, "no model reads DX that does not say its body part"),
        (mammogram, "no model reads MG of HAND"),
    ):
        study = sent(node, tmp_path / words, image)
        seen = reaches(node, study, in_state("out of scope"))
        assert (seen.error, seen.models) == (words, ())
    assert pacs.received == []


def test_in_a_study_of_both_each_model_answers_of_its_own_images(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    exam = factories.exam("both")
    images = [radiograph("both", series=9), radiograph("both", series=9, number=2)]
    images[1].BodyPartExamined = "HAND"
    for image in images:
        for keyword in ("StudyInstanceUID", "StudyID", "AccessionNumber", "StudyDescription"):
            image[keyword] = exam[0][keyword]
    study = sent(node, tmp_path / "both", *exam, *images)
    seen = reaches(node, study, in_state("done"))
    results = {model.model: model.result for model in seen.models}
    assert results.keys() == {"small", "chest"}
    of_breast, of_chest = results["small"], results["chest"]
    assert of_breast is not None
    assert of_chest is not None
    assert len(of_breast.analysed) == 4
    assert of_chest.analysed == (images[0].SOPInstanceUID,)
    assert of_breast.refused == of_chest.refused == ()
    assert len(of_study(pacs, study, ComprehensiveSRStorage)) == 2
    # The summary, and the mammograms that are marked.
    assert len(of_study(pacs, study, SecondaryCaptureImageStorage)) == 5


def test_what_no_model_is_meant_for_does_not_open_a_study_again(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    study = sent(node, tmp_path / "first", radiograph("late"))
    reaches(node, study, in_state("done"))
    hand, chest = radiograph("late", number=2), radiograph("late", number=3)
    hand.BodyPartExamined = "HAND"
    sent(node, tmp_path / "hand", hand)
    event = "an object came that no model reads; nothing follows"
    seen = reaches(node, study, lambda s: any(event in words for _, words in s.history))
    assert (seen.state, seen.version) == ("done", 1)
    sent(node, tmp_path / "chest", chest)
    seen = reaches(node, study, in_state("done", version=2))
    assert seen.models[0].outcome.startswith("2 of 2 images analysed")
