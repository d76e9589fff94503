"""A child reads the phases that it is asked about, each header once, and says what failed."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagecodecs import jpeg2k_encode
from mr_models import PIXELS, uptake_model
from mr_studies import small_plan, written
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from node import config
from node.errors import ModelError, StudyError
from node.imaging import decoding, volume
from node.imaging.source import PixelSource, opened
from node.imaging.voxels import PreparedPhases, prepare_phases
from node.inference import Inference, child, inputs
from node.inference.inputs import slices_by_role
from node.inference.messages import Failure, Package, ScoreJob, Setup, score_in
from node.manifest import InputTensor, Model
from node.packages.exams import selected
from node.study import Unit
from node.trial.breast_mr.styles import STYLES, Arrangement, Family

PLAIN = PIXELS[: PIXELS.index('[[pixels]]\nop = "percentiles"')]


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


@pytest.mark.parametrize(
    ("mm", "words"),
    [
        (2.4, r"^post 1: moved by 2\.4 mm since pre, more than the 2 mm that this model takes"),
        (None, "^post 1: how far it moved since pre cannot be measured"),
        (1.9, ""),
    ],
)
def test_a_model_that_takes_little_motion_is_given_no_more(
    mm: float | None, words: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(*given: object, **named: object) -> PreparedPhases:
        prepared = prepare_phases(*given, **named)  # type: ignore[arg-type]
        return replace(prepared, displaced=(("post 1", mm),))

    monkeypatch.setattr(inputs, "prepare_phases", moved)
    unit = model.manifest.unit.model_copy(update={"most_displaced_mm": 2.0})
    careful = model.manifest.model_copy(update={"unit": unit})
    given = {
        role: [(one.instance.path, one.number) for one in of]
        for role, of in unit_in(tmp_path, model).volumes.items()
    }
    inputs.prepared_phases(slices_by_role(given), model.manifest)
    if not words:
        inputs.prepared_phases(slices_by_role(given), careful)
        return
    with pytest.raises(StudyError, match=words):
        inputs.prepared_phases(slices_by_role(given), careful)


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


@pytest.mark.parametrize("encode", [None, "jpeg 2000", "rle"])
def test_a_frame_of_an_object_of_all_phases_is_decoded_once(
    encode: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = next(
        one
        for one in STYLES.values()
        if one.family is Family.ENHANCED and one.arrangement is Arrangement.BY_PHASE
    )
    (path,) = written(small_plan(style=style), tmp_path / "study")
    wanted = uptake_model(tmp_path, roles=("post 1", "post 2"), name="all", pixels=PLAIN)
    (unit,) = selected(wanted, [path]).units
    frames = {
        role: [(one.instance.path, one.number) for one in of] for role, of in unit.volumes.items()
    }
    plain = inputs.prepared_phases(slices_by_role(frames), wanted.manifest)
    if encode is not None:
        one = dcmread(path)
        if encode == "rle":
            one.compress(uid.RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        else:
            frames_of_all = one.pixel_array
            one.PixelData = encapsulate(
                [bytes(jpeg2k_encode(x, level=0, reversible=True)) for x in frames_of_all]
            )
            one["PixelData"].is_undefined_length = True
            one.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
        one.save_as(path)

    decoded = list[str]()

    def counting(name: str) -> None:
        real = getattr(decoding, name)

        def count(*given: Any, **named: Any) -> Any:
            decoded.append(name)
            return real(*given, **named)

        monkeypatch.setattr(decoding, name, count)

    counting({None: "_native", "jpeg 2000": "_coded", "rle": "_rle"}[encode])
    found = inputs.prepared_phases(slices_by_role(frames), wanted.manifest)
    for role, one_volume in found.volumes.items():
        np.testing.assert_array_equal(one_volume.tensor, plain.volumes[role].tensor)
    assert len(decoded) == sum(map(len, frames.values())) == 32, "of 48"


def test_joining_makes_each_tensor_once_and_no_zeros_that_nobody_needs() -> None:
    shape = (1, 16, 64, 64)
    volumes = {role: np.ones((1, *shape), np.float32) for role in ("pre", "post 1", "post 2")}
    of_one = volumes["pre"].nbytes
    (given,) = uptake_inputs(tuple(volumes))
    tracemalloc.start()
    try:
        found = inputs.joined((given,), volumes, shape)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found["phases"].shape == (1, 3, 16, 64, 64)
    assert most < 3.2 * of_one
    del volumes["post 1"]
    blank = inputs.joined((given,), volumes, shape)["phases"]
    assert [float(blank[0, at].max()) for at in range(3)] == [1, 0, 1]


def test_of_slices_a_phase_that_is_not_there_is_as_many_black_ones() -> None:
    slices = {"pre": np.ones((8, 1, 16, 24), np.float32)}
    (given,) = inputs.joined(uptake_inputs(("pre", "post 1")), slices, (1, 16, 24), 8).values()
    assert given.shape == (8, 2, 16, 24)
    assert [float(given[:, at].max()) for at in range(2)] == [1, 0]


def uptake_inputs(roles: tuple[str, ...]) -> tuple[InputTensor, ...]:
    return (InputTensor(tensor="phases", roles=roles, join="channels"),)
