"""Model packages written to a temporary folder, with weights that are no network."""

from __future__ import annotations

import hashlib
from pathlib import Path

from node.manifest import Model

WEIGHTS = b"\x32\x1athese bytes are no network"
"""In the form of an ONNX file, which has nothing but this comment."""

MANIFEST = f"""\
name = "breast-area"
title = "Breast Area"
version = "1.0.0"
manufacturer = "Test"
device_uid = "2.25.1"
status = "research"
intended_use = "measurement"
statement = "Areas of the breast as projected, for research."

[licence]
code = "Apache-2.0"
weights = "Apache-2.0"

[weights]
file = "model.onnx"
sha256 = "{hashlib.sha256(WEIGHTS).hexdigest()}"

[input]
modality = "MG"
sop_classes = ["1.2.840.10008.5.1.4.1.1.1.2"]
projections = ["CC", "MLO"]
expected_views = ["R CC", "L CC", "R MLO", "L MLO"]

[pixels]
grey = "voi"
orientation = "chest wall left"
height = 64
width = 48
fit = "pad"
scale = "0..1"

[output]
kind = "mask"
tensor = "mask"
label = "outline"
finding = {{ value = "76752008", scheme = "SCT", meaning = "Breast" }}
area = {{ value = "42798000", scheme = "SCT", meaning = "Area" }}
difference = {{ value = "D1", scheme = "99TEST", meaning = "Left-right difference" }}
"""

CLASSES = """\
kind = "classes"
tensor = "density"
label = "breast density"
concept = { value = "129715009", scheme = "SCT", meaning = "Breast composition" }

[[output.classes]]
grade = { value = "F", scheme = "99TEST", meaning = "F: fatty" }
probability = { value = "PF", scheme = "99TEST", meaning = "Probability of F" }

[[output.classes]]
grade = { value = "D", scheme = "99TEST", meaning = "D: dense" }
probability = { value = "PD", scheme = "99TEST", meaning = "Probability of D" }
"""
OUTPUT = MANIFEST.partition("[output]\n")[2]
"""Replaced by CLASSES, the package sorts into classes."""


def write_package(models_dir: Path, *changes: tuple[str, str], name: str = "breast-area") -> Path:
    """Write the package `breast-area`, each (present, replacement) text changed, and return it.

    Under another name it has that of its folder, too.
    """
    text = MANIFEST.replace('"breast-area"', f'"{name}"')
    for present, replacement in changes:
        assert present in text
        text = text.replace(present, replacement)
    folder = models_dir / name
    folder.mkdir(parents=True)
    (folder / "manifest.toml").write_text(text)
    (folder / "model.onnx").write_bytes(WEIGHTS)
    return folder


def package(models_dir: Path, *changes: tuple[str, str], name: str = "breast-area") -> Model:
    """Write a package and open it."""
    return Model(write_package(models_dir, *changes, name=name))


SCORE = """
name = "malignancy"
kind = "score"
tensor = "y"
label = "malignancy"
score = { value = "M", scheme = "99TEST", meaning = "Malignancy score" }
combine = { breast = "highest", exam = "highest" }
"""
"""An output of the network of these packages, as a list has it."""
POINT = """
[[outputs.operating_points]]
name = "high"
threshold = 0.7
about = "exam"
sensitivity = 0.62
sensitivity_interval = [0.55, 0.69]
specificity = 0.95
specificity_interval = [0.93, 0.96]
positives = 210
negatives = 1180
data = "Screening exams"
"""
TRIAGE = (
    "\n[[outputs]]"
    + SCORE.replace('breast = "highest"', 'breast = "mean"')
    + POINT
    + '\n[triage]\noutput = "malignancy"\nurgent = "high"\n'
)


def triaging_package(
    models_dir: Path, *, status: str = "research", name: str = "breast-area"
) -> Model:
    """Write and open a package that triages: from a mean of 70 % in a breast on it is urgent."""
    return package(
        models_dir,
        ("[output]\n" + OUTPUT, TRIAGE),
        ('"measurement"', '"triage"'),
        ('"research"', f'"{status}"'),
        name=name,
    )
