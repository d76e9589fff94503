"""Images that are no mammograms, and model packages of the domain "plain" that read them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from factories import SMALL
from pydicom import Dataset, uid

from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.config import InferenceSettings
from node.dicom.header import read_header
from node.domains.description import describe
from node.identity import identity_of, stable_uid
from node.inference import Inference
from node.kinds import KINDS
from node.manifest import Input, Model
from node.outputs.report_set import Built
from node.result import Result
from node.store import dataset_digest
from node.study import StudyVersion
from node.trial import phantom

DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"
SIZE = 64
CHEST = Input(modality="DX", body_parts=("CHEST",), sop_classes=(DIGITAL_X_RAY,))

SCORE = """\
kind = "score"
tensor = "score"
label = "opacity score"
score = { value = "OPACITY", scheme = "99AINODE", meaning = "Opacity score" }
"""
CLASSES = """\
kind = "classes"
tensor = "score"
label = "quality"
concept = { value = "QUALITY", scheme = "99AINODE", meaning = "Image quality" }

[[output.classes]]
grade = { value = "GOOD", scheme = "99AINODE", meaning = "Good" }
probability = { value = "PGOOD", scheme = "99AINODE", meaning = "Probability of good" }

[[output.classes]]
grade = { value = "POOR", scheme = "99AINODE", meaning = "Poor" }
probability = { value = "PPOOR", scheme = "99AINODE", meaning = "Probability of poor" }
"""
LARGEST = """\
kind = "mask"
tensor = "mask"
label = "lung"
finding = { value = "39607008", scheme = "SCT", meaning = "Lung" }
area = { value = "42798000", scheme = "SCT", meaning = "Area" }
"""
ALL = LARGEST.replace('"lung"', '"opacity"') + 'regions = "all"\n'
BOXES = """\
kind = "boxes"
tensor = "boxes"
boxes = 1
threshold = 0.3
label = "nodule"
finding = { value = "27925004", scheme = "SCT", meaning = "Nodule" }
score = { value = "NODULE", scheme = "99AINODE", meaning = "Nodule score" }
"""

_MEAN = "white = ReduceMean<keepdims = 0>(image)"
_NETWORKS = {
    SCORE: (
        "float[1,1] score",
        f"{_MEAN} shape = Constant<value_ints = [1, 1]>() score = Reshape(white, shape)",
    ),
    CLASSES: (
        "float[1,2] score",
        f"""{_MEAN} shape = Constant<value_ints = [1, 1]>() one = Constant<value_float = 1.0>()
        black = Sub(one, white) first = Reshape(white, shape) second = Reshape(black, shape)
        score = Concat<axis = 1>(first, second)""",
    ),
    BOXES: (
        "float[1,1,5] boxes",
        """box = Constant<value_floats = [10.0, 12.0, 40.0, 44.0, 0.9]>()
        shape = Constant<value_ints = [1, 1, 5]>() fixed = Reshape(box, shape)
        zero = Constant<value_float = 0.0>() white = ReduceMean<keepdims = 0>(image)
        nothing = Mul(white, zero) boxes = Add(fixed, nothing)""",
    ),
} | dict.fromkeys(
    (LARGEST, ALL),
    (
        f"float[1,1,{SIZE},{SIZE}] mask",
        """dark = Constant<value_float = 0.1>() is_bright = Greater(image, dark)
        mask = Cast<to = 1>(is_bright)""",
    ),
)

MANIFEST = """\
name = "chest"
title = "Chest"
version = "1.0.0"
manufacturer = "Test"
device_uid = "2.25.7"
status = "research"
intended_use = "detection"
domain = "plain"
statement = "How bright a generated image is, for tests."

[licence]
code = "Apache-2.0"
weights = "Apache-2.0"

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
modality = "DX"
body_parts = ["CHEST"]
sop_classes = ["1.2.840.10008.5.1.4.1.1.1.1"]

[pixels]
grey = "voi"
orientation = "as stored"
height = {size}
width = {size}
fit = "pad"
scale = "0..1"

[output]
"""


def chest_model(models_dir: Path, output: str = SCORE) -> Model:
    """Write the package `chest` with a network of a few nodes, and open it."""
    outputs, nodes = _NETWORKS[output]
    network = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        chest (float[1,1,{SIZE},{SIZE}] image) => ({outputs}) {{ {nodes} }}"""
    )
    content = network.SerializeToString()
    folder = models_dir / "chest"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / "manifest.toml").write_text(MANIFEST.format(sha256=sha256, size=SIZE) + output)
    return Model(folder)


def radiograph(study: str = "chest", number: int = 1, series: int = 1) -> Dataset:
    """Return a digital X-ray image that says it shows a chest; the text `study` decides UIDs."""
    image = phantom.image_for(CHEST, study, technique=SMALL)
    image.SeriesNumber, image.InstanceNumber = series, number
    image.SeriesInstanceUID = stable_uid(study, "series", str(series))
    image.SOPInstanceUID = uid.UID(stable_uid(study, "instance", str(series), str(number)))
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def saved(images: list[Dataset], folder: Path) -> list[Path]:
    """Write objects as Part 10 files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, image in enumerate(images):
        paths.append(folder / f"{number}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def blank(image: Dataset) -> Dataset:
    """Let an image show one tone."""
    image.PixelData = np.full((image.Rows, image.Columns), 100, "<u2").tobytes()
    return image


def answered(model: Model, folder: Path, *images: Dataset) -> tuple[Result, list[Built]]:
    """Do all that the node does with a study, every kind of object built."""
    instances = []
    for path in saved(list(images), folder):
        header = read_header(path)
        instance = describe(header, path, dataset_digest(path))
        instances.append(replace(instance, identity=identity_of(header)))
    version = StudyVersion(
        study_uid=instances[0].study_uid,
        number=1,
        reason="quiet 60 s",
        instances=tuple(instances),
        decided_at=datetime(2026, 3, 10, 9, 42, 7, tzinfo=UTC),
        installation="test",
    )
    with Inference(InferenceSettings(threads=1), (model,)) as inference:
        pipeline = Pipeline(inference, ScoresInMemory(), UTC, tuple(KINDS))
        (result,), built = analyse(pipeline, Task(version, (model,), frozenset({"chest"})))
    return result, built
