"""Manifest of models/breast-mr-enhancement."""

from __future__ import annotations

import hashlib
from pathlib import Path

from node.training.breast_mr_enhancement.graph import PARTS, SIZE, build_enhancement

ENHANCEMENT_PACKAGE = "breast-mr-enhancement"
MOST_DISPLACED_MM = 2.0
EARLY_MIDDLE_S, EARLY_WITHIN_S = 150, 60
LATE_MIDDLE_S, LATE_WITHIN_S = 450, 120

_WORDS = {
    "enhancing": (
        "enhancing volume above threshold",
        "ENH-VOLUME",
        "Enhancing volume above threshold",
    ),
    "washout": ("washout", "ENH-WASHOUT", "Of it washout (BI-RADS delayed phase)"),
    "plateau": ("plateau", "ENH-PLATEAU", "Of it plateau (BI-RADS delayed phase)"),
    "persistent": ("persistent", "ENH-PERSIST", "Of it persistent (BI-RADS delayed phase)"),
    "thin": ("enhancing, thinner than 3 mm", "ENH-THIN", "Enhancing, thinner than 3 mm"),
    "skin": ("enhancing skin and nipple", "ENH-SKIN", "Enhancing skin and nipple"),
    "chest wall": (
        "side, chest wall and heart",
        "ENH-WALL",
        "Enhancing chest wall and heart",
    ),
}
"""Label, code and meaning of each part."""
_OF_CURVES = ("washout", "plateau", "persistent")
_LEFT_OUT = ("thin", "skin", "chest wall")

_HEAD = """\
# Written by `python -m node.training.breast_mr_enhancement`.
name = "breast-mr-enhancement"
title = "Breast MR Enhancement"
version = "1.0.0"
manufacturer = "DICOM AI Node Project"
device_uid = "2.25.268471133490586247906871533294718220466"
status = "research"
intended_use = "measurement"
domain = "breast_mr"
statement = "{statement}"

[licence]
code = "Apache-2.0"
weights = "Apache-2.0"

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
modality = "MR"
sop_classes = [
    "1.2.840.10008.5.1.4.1.1.4",    # MR Image
    "1.2.840.10008.5.1.4.1.1.4.1",  # Enhanced MR Image
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image
]

[unit]
of = "exam"
roles = ["pre", "early", "late"]
early = {{ middle_s = {early}, within_s = {early_within} }}
late = {{ middle_s = {late}, within_s = {late_within} }}
optional = ["late"]
most_displaced_mm = {moved}
"""
_INPUT = """
[[inputs]]
tensor = "{name}"
roles = ["{name}"]
"""
_PIXELS = """
[[pixels]]
op = "signal"

[[pixels]]
op = "orient"
axes = "HPL"

[[pixels]]
op = "spacing"
mm = [1, 1, 1]

[[pixels]]
op = "size"
slices = {0}
rows = {1}
columns = {2}
about = "breasts"

[[outputs]]
name = "enhancement"
kind = "solids"
tensor = "masks"
split = "breasts"
smallest_ml = 0.05
curve = true
decimals = 1
"""
_RATIO = """
[[outputs]]
name = "ratio"
kind = "number"
tensor = "ratios"
element = {element}
about = "{side} breast"
label = "signal enhancement ratio"
quantity = {{ value = "ENH-SER", scheme = "99AINODE", meaning = "Signal enhancement ratio" }}
unit = {{ value = "1", scheme = "UCUM", meaning = "no units" }}
decimals = 2
needs = ["late"]
none_if = "nothing there enhances above the threshold, or nothing late"
"""
_EVERY = """
[[outputs]]
name = "every"
kind = "number"
tensor = "every"
element = {element}
about = "{side} breast"
label = "every voxel above threshold"
quantity = {{ value = "ENH-EVERY", scheme = "99AINODE", meaning = "Every voxel above threshold" }}
unit = {{ value = "ml", scheme = "UCUM", meaning = "milliliter" }}
decimals = 1
"""
_STATEMENT = (
    "Volume of what rises by at least 70 % early after contrast, inside the breasts and up to its"
    " edges, whatever it is: normal tissue counts, too, and a lesion that rises less does not. No"
    " tumour volume, and not the functional tumour volume of the I-SPY trials."
)


def write_enhancement(folder: Path) -> None:
    """Write network and manifest, the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    content = build_enhancement().SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    (folder / "manifest.toml").write_text(manifest_of(content), "utf-8")


def manifest_of(network: bytes) -> str:
    """Return the manifest of a network."""
    head = _HEAD.format(
        statement=_STATEMENT,
        sha256=hashlib.sha256(network).hexdigest(),
        early=EARLY_MIDDLE_S,
        early_within=EARLY_WITHIN_S,
        late=LATE_MIDDLE_S,
        late_within=LATE_WITHIN_S,
        moved=MOST_DISPLACED_MM,
    )
    inputs = "".join(_INPUT.format(name=name) for name in ("pre", "early", "late", "region"))
    numbers = (
        of_side.format(element=at, side=side)
        for of_side in (_RATIO, _EVERY)
        for at, side in enumerate("RL")
    )
    return "".join([head, inputs, _PIXELS.format(*SIZE), *map(_part, PARTS), *numbers])


def _part(name: str) -> str:
    label, code, meaning = _WORDS[name]
    lines = [
        "",
        "[[outputs.parts]]",
        f'label = "{label}"',
        f'finding = {{ value = "{code}", scheme = "99AINODE", meaning = "{meaning}" }}',
    ]
    if name in _OF_CURVES:
        lines.append(
            f'volume = {{ value = "{code}-ML", scheme = "99AINODE", meaning = "{meaning}" }}'
        )
        lines += [f'of = "{_WORDS["enhancing"][0]}"', 'needs = ["late"]']
    else:
        lines.append('volume = { value = "118565006", scheme = "SCT", meaning = "Volume" }')
    if name == "chest wall":
        lines.append('site = { value = "78904004", scheme = "SCT", meaning = "Chest wall" }')
    if name in _LEFT_OUT:
        lines.append("left_out = true")
    return "\n".join([*lines, ""])
