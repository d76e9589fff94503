"""A package that marks what enhances in breast MRI, with a network of a few nodes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx

from node.manifest import Model
from node.manifest.package import load_model

SIZE = (90, 128, 176)
"""Of voxels of 2 mm: all that a generated exam covers."""

GRAPH = """
    threshold = Constant<value_float = 0.5>()
    above = Greater(early, threshold)
    low = Constant<value_float = 0.5>()
    middle = Constant<value_float = 2.5>()
    high = Constant<value_float = 3.5>()
    some = Greater(region, low)
    breast = Less(region, middle)
    within = And(some, breast)
    beyond = Greater(region, middle)
    thin = Less(region, high)
    skin = And(beyond, thin)
    of_breast = And(above, within)
    of_skin = And(above, skin)
    first = Cast<to = 1>(of_breast)
    second = Cast<to = 1>(of_skin)
    masks = Concat<axis = 1>(first, second)
    most = ReduceMax<keepdims = 0>(early)
    later = ReduceMax<keepdims = 0>(late)
    least = Constant<value_float = 0.01>()
    divisor = Max(later, least)
    ratio_of_all = Div(most, divisor)
    axes = Constant<value_ints = [0, 1]>()
    ratio = Unsqueeze(ratio_of_all, axes)
    most_of_all = Unsqueeze(most, axes)
"""
MANIFEST = """
name = "enhancing"
title = "Enhancing volume"
version = "1.0.0"
manufacturer = "Test"
device_uid = "2.25.78"
status = "research"
intended_use = "measurement"
domain = "breast_mr"
statement = "What exceeds the threshold is measured, whatever it is; a test."

[licence]
code = "MIT"
weights = "MIT"

[weights]
file = "model.onnx"
sha256 = "{sha256}"

[input]
modality = "MR"
sop_classes = [
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.4.4",
]

[unit]
of = "exam"
roles = ["pre", "early", "late"]
early = {{ middle_s = 150, within_s = 50 }}
late = {{ middle_s = 450, within_s = 50 }}
optional = ["late"]

[[inputs]]
tensor = "early"
roles = ["early"]

[[inputs]]
tensor = "late"
roles = ["late"]

[[inputs]]
tensor = "region"
roles = ["region"]

[[pixels]]
op = "signal"

[[pixels]]
op = "orient"
axes = "HPL"

[[pixels]]
op = "spacing"
mm = [{mm}, {mm}, {mm}]

[[pixels]]
op = "size"
slices = {slices}
rows = {rows}
columns = {columns}
about = "breasts"

[[pixels]]
op = "relative enhancement"
least = 0.4

[[outputs]]
name = "enhancement"
kind = "solids"
tensor = "masks"
threshold = 0.5
split = "breasts"
curve = true
decimals = 2

[[outputs.parts]]
label = "enhancing volume"
finding = {{ value = "ENHANCING", scheme = "99TEST", meaning = "Enhancing volume" }}
volume = {{ value = "118565006", scheme = "SCT", meaning = "Volume" }}

[[outputs.parts]]
label = "enhancing skin"
finding = {{ value = "SKIN", scheme = "99TEST", meaning = "Enhancing skin" }}
volume = {{ value = "118565006", scheme = "SCT", meaning = "Volume" }}
left_out = true

[[outputs]]
name = "most"
kind = "number"
tensor = "most_of_all"
label = "highest enhancement"
quantity = {{ value = "MOST", scheme = "99TEST", meaning = "Highest enhancement" }}
unit = {{ value = "1", scheme = "UCUM", meaning = "no units" }}
decimals = 2

[[outputs]]
name = "ratio"
kind = "number"
tensor = "ratio"
label = "early to late ratio"
quantity = {{ value = "RATIO", scheme = "99TEST", meaning = "Early to late ratio" }}
unit = {{ value = "1", scheme = "UCUM", meaning = "no units" }}
needs = ["late"]
"""


def enhancing_model(
    folder: Path, *, mm: float = 2.0, size: tuple[int, int, int] = SIZE, graph: str = GRAPH
) -> Model:
    """Write a package that marks what enhances by more than half, and open it."""
    package = folder / "enhancing"
    package.mkdir(parents=True)
    shape = ",".join(map(str, (1, 1, *size)))
    both = ",".join(map(str, (1, 2, *size)))
    network = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        enhancing (float[{shape}] early, float[{shape}] late, float[{shape}] region)
        => (float[{both}] masks, float[1,1] most_of_all, float[1,1] ratio) {{ {graph} }}"""
    )
    content = network.SerializeToString()
    (package / "model.onnx").write_bytes(content)
    slices, rows, columns = size
    text = MANIFEST.format(
        sha256=hashlib.sha256(content).hexdigest(), mm=mm, slices=slices, rows=rows, columns=columns
    )
    (package / "manifest.toml").write_text(text, "utf-8")
    (package / "README.md").write_text("# Enhancing\n\nA test.\n", "utf-8")
    return load_model("enhancing", folder)
