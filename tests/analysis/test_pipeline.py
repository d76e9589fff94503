"""One study from instances to objects: what is computed, and what is known already."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import packages
import pytest
from networks import Network
from pydicom import Dataset, uid
from pydicom.sr.codedict import codes
from small_images import instance, mammogram, saved
from small_models import model

from node import config, score_key
from node.analysis import pipeline as pipeline_module
from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse, rank
from node.config import presets
from node.dicom.header import read_header
from node.errors import Held
from node.identity import identity_of
from node.inference import Inference
from node.manifest import Model
from node.outputs.report_set import Built, to_bytes
from node.result import Priority, UnitScore
from node.study import Instance, Laterality, StudyVersion, Unit, View
from node.triage import FoundBefore

ROWS, COLUMNS = 300, 200


class Counting(Inference):
    """Remembers what it was asked to compute."""

    def __init__(self, *models: Model) -> None:
        super().__init__(config.InferenceSettings(threads=1), models)
        self.computed: list[str] = []

    def score(self, unit: Unit, model: Model) -> UnitScore:
        self.computed.append(unit.sop_uid)
        return super().score(unit, model)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def inference(small: Model) -> Iterator[Counting]:
    with Counting(small) as started:
        yield started


@pytest.fixture
def pipeline(inference: Counting) -> Pipeline:
    inference.computed.clear()
    return Pipeline(inference, ScoresInMemory(), UTC, presets()["default"])


def image(folder: Path, sop_uid: str, *, radius: int = 90, **changes: Any) -> Instance:
    """Write a right CC: a white half disc on the right edge."""
    y, x = np.indices((ROWS, COLUMNS)) + 0.5
    inside = (COLUMNS - x) ** 2 + (y - ROWS / 2) ** 2 < radius**2
    dataset = mammogram(np.where(inside, 4095, 0).astype(np.uint16))
    dataset.SOPInstanceUID = sop_uid
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID(sop_uid)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.PatientID, dataset.ViewPosition = "4711", "CC"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    number = len(list(folder.iterdir()))
    return replace(instance(saved(dataset, folder, f"{number}.dcm")), sop_uid=sop_uid)


def task(small: Model, *instances: Instance) -> Task:
    version = StudyVersion(
        study_uid="1.2.3",
        number=1,
        reason="a test",
        instances=instances,
        decided_at=datetime(2026, 3, 10, 9, tzinfo=UTC),
        installation="here",
    )
    return Task(version, (small,), frozenset({"small"}))


def report_of(objects: list[Built]) -> Dataset:
    (report,) = (found.dataset for found in objects if found.kind == "measurement-report")
    return report


def values(dataset: Dataset, name: Any, keyword: str) -> list[str]:
    """Return the values of all content items with a concept name, wherever they are."""
    return [
        str(getattr(item, keyword))
        for item in every_item(dataset)
        if item.get("ConceptNameCodeSequence")
        and item.ConceptNameCodeSequence[0].CodeValue == name.value
    ]


def every_item(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from every_item(item)


def regions(report: Dataset) -> list[str]:
    """Return which image each region lies on."""
    return [
        str(item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in every_item(report)
        if item.ValueType == "SCOORD"
    ]


def test_a_corrected_header_gives_new_words_and_computes_nothing(
    pipeline: Pipeline, inference: Counting, small: Model, tmp_path: Path
) -> None:
    first = image(tmp_path, "1.2.3.4")
    corrected = image(tmp_path, "1.2.3.4", PatientID="4712", PatientName="Smith^Ann")
    (before,), _ = analyse(pipeline, task(small, first))
    (after,), objects = analyse(pipeline, task(small, corrected))
    assert inference.computed == ["1.2.3.4"]
    assert after == before
    assert {found.dataset.PatientID for found in objects} == {"4712"}


def test_of_a_late_image_that_alone_is_computed(
    pipeline: Pipeline, inference: Counting, small: Model, tmp_path: Path
) -> None:
    first, late = image(tmp_path, "1.2.3.4"), image(tmp_path, "1.2.3.5", radius=80)
    analyse(pipeline, task(small, first))
    (result,), _ = analyse(pipeline, task(small, first, late))
    assert inference.computed == ["1.2.3.4", "1.2.3.5"]
    assert set(result.analysed) == {"1.2.3.4", "1.2.3.5"}


def test_two_instances_of_the_same_pixels_get_each_its_own_place_in_the_results(
    pipeline: Pipeline, inference: Counting, small: Model, tmp_path: Path
) -> None:
    first, twin = image(tmp_path, "1.2.3.4"), image(tmp_path, "1.2.3.5")
    (result,), objects = analyse(pipeline, task(small, first, twin))
    assert inference.computed == ["1.2.3.4"]
    assert [found.region.sop_uid for found in result.findings] == ["1.2.3.4", "1.2.3.5"]
    report = report_of(objects)
    assert regions(report) == ["1.2.3.4", "1.2.3.5"]
    tracked = values(report, codes.DCM.TrackingUniqueIdentifier, "UID")
    assert len(tracked) == len(set(tracked)) >= 2


@pytest.mark.parametrize(
    "changes",
    [
        {"radius": 80},
        {"ImagerPixelSpacing": [0.2, 0.2]},
        {"WindowCenter": 3000, "WindowWidth": 100},
        {"PatientOrientation": ["A", "L"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_number_depends_on_is_computed_anew(
    changes: dict[str, Any],
    pipeline: Pipeline,
    inference: Counting,
    small: Model,
    tmp_path: Path,
) -> None:
    analyse(pipeline, task(small, image(tmp_path, "1.2.3.4")))
    analyse(pipeline, task(small, image(tmp_path, "1.2.3.4", **changes)))
    assert inference.computed == ["1.2.3.4"] * 2


@pytest.mark.parametrize(("part", "times"), [("plausibility", 2), ("decoding", 2), ("boxes", 1)])
def test_a_score_does_not_outlive_the_code_that_judged_the_image(
    part: str,
    times: int,
    pipeline: Pipeline,
    inference: Counting,
    small: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    analyse(pipeline, task(small, image(tmp_path, "1.2.3.4")))
    table = score_key.JUDGES if part in score_key.JUDGES else score_key.READERS
    monkeypatch.setitem(table, part, replace(table[part], number=table[part].number + 1))
    analyse(pipeline, task(small, image(tmp_path, "1.2.3.4")))
    assert inference.computed == ["1.2.3.4"] * times


def test_another_side_is_computed_anew_because_the_image_may_not_say_how_it_lies(
    pipeline: Pipeline, inference: Counting, small: Model, tmp_path: Path
) -> None:
    right = image(tmp_path, "1.2.3.4", PatientOrientation=None)
    left = image(tmp_path, "1.2.3.4", PatientOrientation=None, ImageLaterality="L")
    analyse(pipeline, task(small, right))
    analyse(pipeline, task(small, replace(left, view=View(Laterality.LEFT, "CC"))))
    assert inference.computed == ["1.2.3.4"] * 2


def test_a_score_that_is_known_of_another_instance_is_not_changed_in_the_memory(
    pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    first = image(tmp_path, "1.2.3.4")
    analyse(pipeline, task(small, first))
    scores = pipeline.scores
    assert isinstance(scores, ScoresInMemory)
    known = copy.deepcopy(scores._scores)
    analyse(pipeline, task(small, image(tmp_path, "1.2.3.5")))
    assert scores._scores == known


def test_an_image_that_cannot_be_read_is_refused_beside_the_others(
    pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    good, broken = image(tmp_path, "1.2.3.4"), image(tmp_path, "1.2.3.5")
    broken.path.write_bytes(broken.path.read_bytes()[:-100])
    (result,), _ = analyse(pipeline, task(small, good, broken))
    assert result.analysed == ("1.2.3.4",)
    assert [(one.sop_uid, one.reason) for one in result.refused] == [
        ("1.2.3.5", "pixel data ends early")
    ]


# Objects that no model reads


def other(of: Instance, sop_uid: str = "1.2.3.9", **changes: Any) -> Instance:
    """Return a Structured Report of the same study as the ledger knows it; its file is gone."""
    described = replace(of, sop_uid=sop_uid, sop_class=uid.ComprehensiveSRStorage, modality="SR")
    path = of.path.with_name(f"{sop_uid}.dcm")
    identity = identity_of(read_header(of.path))
    return replace(described, path=path, identity=identity, view=None, **changes)


def written(instance: Instance, of: Instance, **changes: Any) -> Instance:
    """Write the file of an object that no model reads: an image's, as if it were no image."""
    dataset = read_header(of.path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.UID(instance.sop_class)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID(
        instance.sop_uid
    )
    dataset.Modality = instance.modality
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(instance.path, enforce_file_format=True)
    return instance


def test_the_file_of_an_object_that_no_model_reads_is_not_opened(
    pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    first = image(tmp_path, "1.2.3.4")
    alone, expected = analyse(pipeline, task(small, first))
    others = [other(first, f"1.2.3.9.{number}") for number in range(3)]
    together, objects = analyse(pipeline, task(small, first, *others))
    assert together == alone
    assert [to_bytes(one.dataset) for one in objects] == [to_bytes(one.dataset) for one in expected]


@pytest.mark.parametrize("kept", ["", "4711 - -"], ids=["none", "of an earlier release"])
def test_it_is_opened_where_its_identity_was_not_kept_whole(
    kept: str, pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    first = image(tmp_path, "1.2.3.4")
    stranger = replace(other(first), identity=kept)
    with pytest.raises(FileNotFoundError):
        analyse(pipeline, task(small, first, stranger))
    written(stranger, first, PatientID="4712")
    with pytest.raises(Held, match="Patient ID"):
        analyse(pipeline, task(small, first, stranger))


def test_an_object_that_is_not_opened_still_tells_that_it_is_another_patients(
    pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    first = image(tmp_path, "1.2.3.4")
    somebody_else = identity_of(read_header(image(tmp_path, "1.2.3.4", PatientID="4712").path))
    with pytest.raises(Held, match="Patient ID"):
        analyse(pipeline, task(small, first, replace(other(first), identity=somebody_else)))
    with pytest.raises(Held, match="Study Instance UID"):
        analyse(pipeline, task(small, first, replace(other(first), study_uid="1.2.4")))


def test_whose_the_results_are_any_object_may_tell_if_no_image_does(
    pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    first = image(tmp_path, "1.2.3.4", PatientID="")
    told = written(other(first), first, PatientID="4711")
    _, objects = analyse(pipeline, task(small, first, told))
    assert {found.dataset.PatientID for found in objects} == {"4711"}


def test_a_study_of_which_no_image_can_be_read_is_answered_with_what_another_object_tells(
    pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    first = image(tmp_path, "1.2.3.4")
    told = written(other(first), first)
    first.path.write_bytes(b"no DICOM")
    (result,), objects = analyse(pipeline, task(small, first, told))
    assert [refusal.sop_uid for refusal in result.refused] == ["1.2.3.4"]
    assert {found.dataset.PatientID for found in objects} == {"4711"}


def test_what_changes_what_is_said_changes_the_uids_and_nothing_else_does(
    pipeline: Pipeline, small: Model, tmp_path: Path
) -> None:
    def digest(of: Pipeline) -> str:
        return pipeline_module._configuration_digest(of, one)

    one = task(small, image(tmp_path, "1.2.3.4"))
    settings = {
        "models": [pipeline_module._settings_digest(small, "cpu")],
        "outputs": pipeline.outputs,
        "zone": "UTC",
        "set_aside": "",
    }
    assert digest(pipeline) == hashlib.sha256(json.dumps(settings).encode()).hexdigest(), (
        "results of studies without triage keep the UIDs that earlier releases gave them"
    )
    others = (
        replace(pipeline, demonstration_may_rank=True),
        replace(pipeline, has_level_in_lists=True),
    )
    assert len({digest(pipeline), *map(digest, others)}) == 3


@pytest.mark.parametrize("percent", [90.0, 10.0])
def test_in_two_stages_the_same_is_said_byte_for_byte_and_nothing_is_computed_twice(
    small: Model, tmp_path: Path, percent: float
) -> None:
    triaging = packages.triaging_package(tmp_path / "models")
    (tmp_path / "images").mkdir()
    one = task(small, image(tmp_path / "images", "1.2.3.4"))
    one = replace(one, models=(small, triaging), delivering=frozenset({"small", "breast-area"}))

    def of_network() -> tuple[Network, Pipeline]:
        network = Network(percents={"1.2.3.4": percent})
        return network, Pipeline(network, ScoresInMemory(), UTC, presets()["default"])  # type: ignore[arg-type]

    def written_out(said: tuple[object, list[Built]]) -> tuple[object, list[bytes]]:
        return said[0], [to_bytes(built.dataset) for built in said[1]]

    _, at_once = of_network()
    expected = written_out(analyse(at_once, one))
    network, staged = of_network()
    ranked = rank(staged, one)
    assert [result.model.name for result in ranked.results] == ["breast-area"]
    assert network.asked_by == [("breast-area", "1.2.3.4")]
    assert written_out(analyse(staged, one, ranked=ranked)) == expected
    assert network.asked_by == [("breast-area", "1.2.3.4"), ("small", "1.2.3.4")]
    assert ranked.decided_by is not None
    assert ranked.decided_by.triage is not None
    found = ranked.decided_by.triage.level
    assert found == (Priority.URGENT if percent > 70 else Priority.NOT_ASSESSED)
    later = replace(
        one, found_before=FoundBefore(found, "breast-area")
    )  # as the attempt after that of triage has it
    assert written_out(analyse(staged, later)) == expected
    assert len(network.asked_by) == 2


def test_a_level_found_before_stays_with_the_model_that_found_it(
    small: Model, tmp_path: Path
) -> None:
    first = packages.triaging_package(tmp_path / "models")
    second = packages.triaging_package(tmp_path / "others", name="second")
    (tmp_path / "images").mkdir()
    one = task(small, image(tmp_path / "images", "1.2.3.4"))
    one = replace(one, models=(first, second), delivering=frozenset({"breast-area", "second"}))
    one = replace(one, why_given_up="it has crashed too often")
    network = Network(percents={})
    pipeline = Pipeline(network, ScoresInMemory(), UTC, presets()["default"])  # type: ignore[arg-type]

    def levels(found_before: FoundBefore) -> dict[str, Priority]:
        ranked = rank(pipeline, replace(one, found_before=found_before))
        assert ranked.decided_by is not None
        assert ranked.decided_by.triage is not None
        assert ranked.decided_by.triage.level == Priority.URGENT
        return {said.model.name: said.triage.level for said in ranked.results if said.triage}

    kept = {"breast-area": Priority.NOT_ASSESSED, "second": Priority.URGENT}
    assert levels(FoundBefore(Priority.URGENT, "second")) == kept
    gone = {"breast-area": Priority.URGENT, "second": Priority.NOT_ASSESSED}
    assert levels(FoundBefore(Priority.URGENT, "a model that is gone")) == gone


def test_only_who_delivers_and_may_rank_looks_first(small: Model, tmp_path: Path) -> None:
    triaging = packages.triaging_package(tmp_path / "models", status="demonstration")
    (tmp_path / "images").mkdir()
    one = task(small, image(tmp_path / "images", "1.2.3.4"))
    one = replace(one, models=(small, triaging), delivering=frozenset({"small", "breast-area"}))
    network = Network(percents={"1.2.3.4": 10.0})
    pipeline = Pipeline(network, ScoresInMemory(), UTC, presets()["default"])  # type: ignore[arg-type]
    assert rank(pipeline, one).results == ()
    may_rank = replace(pipeline, demonstration_may_rank=True)
    assert rank(may_rank, replace(one, delivering=frozenset({"small"}))).results == ()
    assert len(rank(may_rank, one).results) == 1
