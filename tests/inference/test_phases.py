"""A child reads the phases that it is asked about, each header once, and says what failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from mr_models import uptake_model
from mr_studies import small_plan, written

from node import config
from node.errors import ModelError, StudyError
from node.imaging import volume
from node.imaging.source import PixelSource, opened
from node.inference import Inference, child, inputs
from node.inference.inputs import slices_by_role
from node.inference.messages import Failure, Package, ScoreJob, Setup, score_in
from node.manifest import Model
from node.packages.exams import selected
from node.study import Unit
from node.trial.breast_mr.styles import STYLES, Family


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return uptake_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def inference(model: Model) -> Iterator[Inference]:
    with Inference(config.InferenceSettings(), [model]) as running:
        yield running


def unit_in(folder: Path, model: Model, **changes: object) -> Unit:
    (unit,) = selected(model, written(small_plan(**changes), folder)).units
    return unit


def test_a_score_says_how_far_each_phase_is_displaced(
    inference: Inference, model: Model, tmp_path: Path
) -> None:
    unit = unit_in(tmp_path, model)
    score = inference.score(unit, model)
    assert score.unit == unit.key
    ((role, mm),) = score.displaced
    assert role == "post 1"
    assert mm is not None and mm < 2, "slices are 10 mm apart"


def test_slices_are_put_in_order_by_where_they_lie(
    inference: Inference, model: Model, tmp_path: Path
) -> None:
    unit = unit_in(tmp_path, model)
    mixed = {role: tuple(sorted(of, key=hash)) for role, of in unit.volumes.items()}
    other = inference.score(replace(unit, volumes=mixed), model)
    assert other.outputs == inference.score(unit, model).outputs


def test_what_the_child_refuses_names_the_phase(
    inference: Inference, model: Model, tmp_path: Path
) -> None:
    unit = unit_in(tmp_path, model)
    pre, post = unit.volumes.values()
    for volumes, words in (
        ({"pre": pre, "post 1": post[1:]}, r"^post 1 has another grid than pre: 15 slices of"),
        ({"pre": pre, "post 1": (*post[:5], *post[6:])}, r"^post 1: a slice is missing between"),
        ({"pre": pre[:1], "post 1": post}, "^pre: one slice is no volume"),
        ({"post 1": post}, "^there is no phase before contrast"),
        (
            {"pre": pre, "post 1": tuple(replace(one, number=2) for one in post)},
            "^post 1: an object of 1 frames, of which none is 2",
        ),
    ):
        with pytest.raises(StudyError, match=words):
            inference.score(replace(unit, volumes=volumes), model)
    (tmp_path / post[3].instance.path.name).unlink()
    with pytest.raises(ModelError, match=r"the image file cannot be read \(No such file"):
        inference.score(unit, model)


def test_volumes_that_need_too_much_memory_are_told_as_such(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(child, "prepared_phases", fail)
    networks = child._Networks(
        Setup(config.InferenceSettings(), (Package(model.folder, model.manifest),))
    )
    answer = child._answer(networks, ScoreJob.about(unit_in(tmp_path, model), model))
    words = "the exam's volumes need more memory than [inference] memory_mb"
    assert score_in(answer, "", ()) == Failure("ModelError", words)


def test_a_header_is_read_once_and_its_pixels_once(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = next(style for style in STYLES.values() if style.family is not Family.CLASSIC)
    headers, pixels = list[Path](), list[Path]()

    def reading(path: Path) -> tuple[volume.Slice, ...]:
        headers.append(path)
        return volume.slices_of(path)

    def opening(path: Path) -> AbstractContextManager[PixelSource]:
        pixels.append(path)
        return opened(path)

    monkeypatch.setattr(inputs, "slices_of", reading)
    monkeypatch.setattr(volume, "opened", opening)
    for number, changes in enumerate(({}, {"style": style})):
        unit = unit_in(tmp_path / str(number), model, **changes)
        frames = {
            role: [(one.instance.path, one.number) for one in of]
            for role, of in unit.volumes.items()
        }
        headers.clear()
        pixels.clear()
        inputs.prepared_phases(slices_by_role(frames), model.manifest)
        files = {path for of in frames.values() for path, _ in of}
        assert sorted(headers) == sorted(files)
        once_a_phase = [path for of in frames.values() for path in {path for path, _ in of}]
        assert sorted(pixels) == sorted(once_a_phase)
