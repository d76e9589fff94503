"""Four views, each a histogram, into one small network: from DICOM to its four probabilities.

As the histogram model of Wu et al. 2018, with generated weights. What the node says is compared
with a script that reads the files with pydicom and does the rest in numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import factories
import numpy as np
import onnx
import pydicom
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from pydicom import Dataset
from test_manifest_examples import HEAD
from test_recipes import RECIPES

from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.config import InferenceSettings, presets
from node.dicom.header import read_header
from node.domains.description import describe
from node.inference import Inference
from node.manifest import Model
from node.result import Result
from node.study import StudyVersion

pytestmark = pytest.mark.slow

ORDER = ("L CC", "R CC", "L MLO", "R MLO")
BINS, HIDDEN, CLASSES = 50, 12, ("A", "B", "C", "D")
RANDOM = np.random.default_rng(5)
FIRST = RANDOM.normal(0, 9, (4 * BINS, HIDDEN)).astype(np.float32)
SECOND = RANDOM.normal(0, 1, (HIDDEN, len(CLASSES))).astype(np.float32)

NETWORK = f"""<ir_version: 10, opset_import: ["": 21]>
small (float[1,{4 * BINS}] views) => (float[1,4] density) {{
    hidden = MatMul(views, first)
    above = Relu(hidden)
    logits = MatMul(above, second)
    density = Softmax<axis = 1>(logits)
}}"""

UNIT = f"""
[unit]
of = "exam"
roles = {list(ORDER)!r}

[[inputs]]
tensor = "views"
roles = {list(ORDER)!r}
join = "concatenate"

""".replace("'", '"')
OUTPUT = """
[[outputs]]
name = "density"
kind = "classes"
tensor = "density"
label = "breast density"
concept = { value = "129715009", scheme = "SCT", meaning = "Breast composition" }
decimals = 2
"""
EACH = """
[[outputs.classes]]
grade = { value = "GRADE-%s", scheme = "99AINODE", meaning = "%s" }
probability = { value = "GRADE-%s-PROB", scheme = "99AINODE", meaning = "Probability of %s" }
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    network = onnx.parser.parse_model(NETWORK)
    for name, weights in (("first", FIRST), ("second", SECOND)):
        network.graph.initializer.append(numpy_helper.from_array(weights, name))
    content = network.SerializeToString()
    head, _, _ = HEAD.partition("[pixels]")
    before, _, after = head.partition("sha256 = ")
    sha256 = hashlib.sha256(content).hexdigest()
    head = before + f'sha256 = "{sha256}"\n' + after.split("\n", 1)[1]
    head = head.replace('"breast-area"', '"four-views"').replace('"measurement"', '"density"')
    classes = "".join(EACH % (name, name, name, name) for name in CLASSES)
    folder = tmp_path_factory.mktemp("models") / "four-views"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    text = head + UNIT + RECIPES["b"] + OUTPUT + classes
    (folder / "manifest.toml").write_text(text, "utf-8")
    return Model(folder)


@pytest.fixture(scope="module")
def inference(model: Model) -> Iterator[Inference]:
    with Inference(InferenceSettings(threads=1), [model]) as started:
        yield started


def exam() -> list[Dataset]:
    """Four views of which no two have the same histogram."""
    images = factories.exam()
    for number, image in enumerate(images, start=1):
        values = np.frombuffer(image.PixelData, "<u2").astype(float)
        image.PixelData = np.round(values ** (1 - 0.04 * number)).astype("<u2").tobytes()
    return images


def said(images: list[Dataset], model: Model, inference: Inference, folder: Path) -> Result:
    instances = []
    for number, image in enumerate(images):
        path = folder / f"{number}.dcm"
        image.save_as(path, enforce_file_format=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        instances.append(describe(read_header(path), path, digest))
    version = StudyVersion(
        study_uid=str(images[0].StudyInstanceUID),
        number=1,
        reason="a test",
        instances=tuple(instances),
        decided_at=datetime(2026, 3, 10, 9, tzinfo=UTC),
        installation="here",
    )
    pipeline = Pipeline(inference, ScoresInMemory(), UTC, presets()["default"])
    (result,), _ = analyse(pipeline, Task(version, (model,), frozenset({"four-views"})))
    return result


def by_hand(folder: Path) -> NDArray[np.float64]:
    """From the files to the probabilities, with pydicom and numpy alone."""
    shares = {}
    for path in folder.glob("*.dcm"):
        image = pydicom.dcmread(path)
        values = image.pixel_array.astype(np.int64)
        assert image.PhotometricInterpretation == "MONOCHROME2"
        place = (values - values.min()) * BINS // (values.max() - values.min())
        counts = np.bincount(np.minimum(place, BINS - 1).reshape(-1), minlength=BINS)
        shares[f"{image.ImageLaterality} {image.ViewPosition}"] = counts / values.size
    views = np.concatenate([shares[name] for name in ORDER])
    logits = np.maximum(views @ FIRST, 0) @ SECOND
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def probabilities(result: Result) -> list[float]:
    (evaluation,) = result.evaluations
    assert evaluation.about == "exam"
    return [number.value / 100 for number in evaluation.measurements]


def test_the_four_probabilities_are_those_of_a_script(
    model: Model, inference: Inference, tmp_path: Path
) -> None:
    result = said(exam(), model, inference, tmp_path)
    assert len(result.analysed) == 4
    expected = by_hand(tmp_path)
    assert expected.max() < 0.99, "weights that leave something to be compared"
    assert probabilities(result) == pytest.approx(expected, abs=1e-5)
    (evaluation,) = result.evaluations
    assert evaluation.grade is not None
    assert evaluation.grade.value.meaning == CLASSES[int(expected.argmax())]


def test_left_and_right_cannot_be_exchanged_unnoticed(
    model: Model, inference: Inference, tmp_path: Path
) -> None:
    """The same pixels with the sides exchanged are another exam, and get another answer."""
    there, exchanged = tmp_path / "there", tmp_path / "exchanged"
    there.mkdir()
    exchanged.mkdir()
    before = probabilities(said(exam(), model, inference, there))
    images = exam()
    pixels = {(i.ImageLaterality, i.ViewPosition): i.PixelData for i in images}
    for image in images:
        other = "L" if image.ImageLaterality == "R" else "R"
        image.PixelData = pixels[other, image.ViewPosition]
        values = np.frombuffer(image.PixelData, "<u2").reshape(image.Rows, image.Columns)
        image.PixelData = np.ascontiguousarray(values[:, ::-1]).tobytes()  # as acquired
    after = probabilities(said(images, model, inference, exchanged))
    assert after == pytest.approx(by_hand(exchanged), abs=1e-5)
    assert np.abs(np.subtract(before, after)).max() > 0.01


def test_without_a_view_nothing_is_said(model: Model, inference: Inference, tmp_path: Path) -> None:
    result = said(exam()[:3], model, inference, tmp_path)
    assert not result.evaluations
    assert not result.analysed
