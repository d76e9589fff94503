"""What docs/models.md shows, and networks such as it speaks of."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import onnx

NAME = "breast-score"
DOCUMENT = (Path(__file__).parent.parent / "docs" / "models.md").read_text("utf-8")
_HEADING = re.compile(r"(?m)^## (?=[0-9A-Z])(?!What|Measured|Limits)")
"""Of the document, not of the card that is shown in it."""
SECTIONS = {
    section.partition("\n")[0]: section.partition("\n")[2]
    for section in _HEADING.split("Before\n" + DOCUMENT)
}
_LINE = re.compile(r"(?m)^(?:\[+[a-z._]+\]+|\w+(?= =))")
_QUESTION = "# OPEN QUESTION"

SCORE = """(float[N,3,512,416] image) => (float[N,1] score) {
    means = GlobalAveragePool(image)
    row = Constant<value_ints = [-1, 3]>()
    each = Reshape(means, row)
    weights = Constant<value = float[3,1] {0.5, 0.25, 0.25}>()
    sum = MatMul(each, weights)
    one = Constant<value_float = 1.0>()
    score = Sub(sum, one)
}"""
CLASSES = """(float[N,3,H,W] image) => (float[N,4] logits) {
    means = GlobalAveragePool(image)
    row = Constant<value_ints = [-1, 3]>()
    each = Reshape(means, row)
    weights = Constant<value = float[3,4]
        {1.0, 2.0, -3.0, 1.0, 1.0, 0.5, 1.0, 1.0, -2.0, 1.0, 1.0, 0.1}>()
    logits = MatMul(each, weights)
}"""
TWO = (
    CLASSES.replace("[N,4]", "[N,2]")
    .replace("[3,4]", "[3,2]")
    .replace(
        "{1.0, 2.0, -3.0, 1.0, 1.0, 0.5, 1.0, 1.0, -2.0, 1.0, 1.0, 0.1}",
        "{-1.0, 1.0, -1.0, 1.0, 0.0, 0.5}",
    )
)
BOXES = """(float[1,3,640,640] images) => (float[1,20,6] output0) {
    mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(images)
    shape = Constant<value_ints = [1, 1, 1]>()
    bright = Reshape(mean, shape)
    by_brightness = Constant<value = float[1,2,6]
        {0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0}>()
    more = Mul(by_brightness, bright)
    two = Constant<value = float[1,2,6]
        {80.0, 300.0, 140.0, 350.0, 0.6, 0.0, 60.0, 200.0, 90.0, 240.0, 0.4, 1.0}>()
    found = Add(two, more)
    behind = Constant<value_ints = [0, 0, 0, 0, 18, 0]>()
    output0 = Pad(found, behind)
}"""
"""In Classes and Boxes, one score more than another by how bright the image is."""


def network(graph: str) -> onnx.ModelProto:
    """Return a network as a common exporter would write it."""
    made = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> exported {graph}')
    onnx.checker.check_model(made, full_check=True)
    return made


def blocks(section: str, language: str) -> list[str]:
    """Return what a section has in its boxes of a language."""
    boxes = re.findall(rf"(?ms)^( *)```{language}\n(.*?)^ *```", SECTIONS[section])
    return [textwrap.dedent(text) for _, text in boxes]


def commands(section: str) -> list[str]:
    """Return the lines of a section's boxes of commands."""
    return "".join(blocks(section, "sh")).splitlines()


def answered(written: str, shown: str) -> str:
    """Return a manifest with the answers that the document shows; `"..."` is what was there."""
    lines = [line for line in written.splitlines() if line and not line.startswith(_QUESTION)]
    assert _LINE.findall(shown) == _LINE.findall("\n".join(lines)), "what the command writes"
    was = {line.partition(" = ")[0]: line for line in lines}
    kept = [
        was[line.partition(" = ")[0]] if line.endswith('= "..."') else line
        for line in shown.splitlines()
    ]
    return "\n".join(kept) + "\n"


def without_questions(written: str) -> str:
    """Return a manifest of which all guesses are right."""
    lines = (line for line in written.splitlines() if not line.startswith(_QUESTION))
    return "\n".join(lines) + "\n"
