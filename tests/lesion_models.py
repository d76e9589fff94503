"""Three small model packages that find the lesions of `lesions`: real networks, written as text.

`python tests/lesion_models.py FOLDER` writes them. The networks are a few kB of operators; they
know nothing but that a lesion is brighter than any tissue of a generated mammogram, and would
find nothing of worth in a real one.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import onnx

from node.manifest import Model

HEIGHT, WIDTH = 320, 256
BOXES = 8
CELL = 8
"""Pixels of the input, down and across, in a cell of the heat map."""
IMAGE = f"float[1,1,{HEIGHT},{WIDTH}] image"

DETECTOR = f"""
    smooth = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(image)
    least = Constant<value_float = 0.7>()
    is_bright = Greater(smooth, least)
    inside = Cast<to = 1>(is_bright)

    nothing = Sub(image, image)
    one = Constant<value_float = 1.0>()
    ones = Add(nothing, one)
    along_row = Constant<value_int = 3>()
    along_column = Constant<value_int = 2>()
    right = CumSum(ones, along_row)
    bottom = CumSum(ones, along_column)
    width = Constant<value_float = {WIDTH}.0>()
    height = Constant<value_float = {HEIGHT}.0>()
    width_and_one = Add(width, one)
    height_and_one = Add(height, one)
    to_right_edge = Sub(width_and_one, right)
    to_bottom_edge = Sub(height_and_one, bottom)
    before = Mul(bottom, width)
    number = Add(before, right)
    pixel = Concat<axis = 1>(smooth, number, right, bottom, to_right_edge, to_bottom_edge)
    bright_pixel = Mul(pixel, inside)

    steps = Constant<value_int = 48>()
    go = Cast<to = 9>(one)
    region = Loop(steps, go, bright_pixel) <body = spread
      (int64 n, bool c, float[1,6,{HEIGHT},{WIDTH}] x)
      => (bool again, float[1,6,{HEIGHT},{WIDTH}] y) {{
        wider = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)
        y = Mul(wider, inside)
        again = Identity(c)
    }}>

    flat = Constant<value_ints = [6, {HEIGHT * WIDTH}]>()
    of_region = Reshape(region, flat)
    of_pixel = Reshape(bright_pixel, flat)
    greatest, last, r, b, from_l, from_t = Split<axis = 0, num_outputs = 6>(of_region)
    _1, own, _2, _3, _4, _5 = Split<axis = 0, num_outputs = 6>(of_pixel)
    is_last = Equal(own, last)
    stands_for_region = Cast<to = 1>(is_last)
    candidate = Mul(greatest, stands_for_region)
    l = Sub(width, from_l)
    t = Sub(height, from_t)
    edges = Concat<axis = 0>(l, t, r, b)

    boxes_wanted = Constant<value_ints = [{BOXES}]>()
    grey, place = TopK<axis = 1>(candidate, boxes_wanted)
    row = Constant<value_ints = [{BOXES}]>()
    places = Reshape(place, row)
    chosen = Gather<axis = 1>(edges, places)
    x0, y0, x1, y1 = Split<axis = 0, num_outputs = 4>(chosen)
    across = Sub(x1, x0)
    down = Sub(y1, y0)
    longest = Max(across, down)
    too_long = Constant<value_float = 48.0>()
    is_small = Less(longest, too_long)
    small = Cast<to = 1>(is_small)
    tissue = Constant<value_float = 0.75>()
    rest = Constant<value_float = 0.25>()
    zero = Constant<value_float = 0.0>()
    above_tissue = Sub(grey, tissue)
    share = Div(above_tissue, rest)
    limited = Clip(share, zero, one)
    score = Mul(limited, small)
    table = Concat<axis = 0>(chosen, score)
    lines = Transpose<perm = [1, 0]>(table)
    first = Constant<value_ints = [0]>()
    boxes = Unsqueeze(lines, first)
"""
"""Spreads the greatest grey, the last pixel's number and the edges through each bright region,
so that they are known at its last pixel; the brightest regions are kept. A region that 48 steps
do not cross is too long for a lesion."""

SCORE = f"""
    smooth = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(image)
    tissue = Constant<value_float = 0.6>()
    rest = Constant<value_float = 0.4>()
    zero = Constant<value_float = 0.0>()
    one = Constant<value_float = 1.0>()
    above_tissue = Sub(smooth, tissue)
    share = Div(above_tissue, rest)
    level = Clip(share, zero, one)
    heat = MaxPool<kernel_shape = [{CELL}, {CELL}], strides = [{CELL}, {CELL}]>(level)
    highest = ReduceMax<keepdims = 0>(level)
    single = Constant<value_ints = [1, 1]>()
    score = Reshape(highest, single)
"""

SEGMENTER = """
    edge = Constant<value_float = 0.7>()
    steep = Constant<value_float = 50.0>()
    above_edge = Sub(image, edge)
    steeply = Mul(above_edge, steep)
    mask = Sigmoid(steeply)
"""


def lesion_detector(models_dir: Path) -> Model:
    """Write and open the package that draws boxes, scores them and pairs CC with MLO."""
    output = f"""
kind = "boxes"
tensor = "boxes"
boxes = {BOXES}
threshold = 0.5
label = "lesion"
finding = {MASS_CODE}
score = {SCORE_CODE}
same_lesion_within_mm = 10
"""
    network = f"({IMAGE}) => (float[1,{BOXES},5] boxes) {{ {DETECTOR} }}"
    return _package(models_dir, "lesion-detector", network, output, FOUND)


def lesion_score(models_dir: Path) -> Model:
    """Write and open the package that scores images, and shows where they are bright."""
    rows, columns = HEIGHT // CELL, WIDTH // CELL
    output = f"""
kind = "score"
tensor = "score"
label = "lesion score"
score = {SCORE_CODE}

[output.heat_map]
tensor = "heat"
height = {rows}
width = {columns}
concept = {{ value = "BRIGHT", scheme = "99AINODE", meaning = "Brighter than tissue" }}
"""
    network = f"({IMAGE}) => (float[1,1] score, float[1,1,{rows},{columns}] heat) {{ {SCORE} }}"
    return _package(models_dir, "lesion-score", network, output, SCORED)


def lesion_segmenter(models_dir: Path) -> Model:
    """Write and open the package that outlines lesions."""
    output = f"""
kind = "mask"
tensor = "mask"
regions = "all"
min_area_mm2 = 30
label = "lesion"
finding = {MASS_CODE}
area = {{ value = "42798000", scheme = "SCT", meaning = "Area" }}
decimals = 2
"""
    network = f"({IMAGE}) => (float[1,1,{HEIGHT},{WIDTH}] mask) {{ {SEGMENTER} }}"
    return _package(models_dir, "lesion-segmenter", network, output, FOUND)


MODELS: tuple[Callable[[Path], Model], ...] = (lesion_detector, lesion_score, lesion_segmenter)

MASS_CODE = '{ value = "129793001", scheme = "SCT", meaning = "Mammography breast density" }'
"""What mammography workstations draw as a soft tissue mark (CID 6014)."""
SCORE_CODE = '{ value = "LESION-SCORE", scheme = "99AINODE", meaning = "Lesion score" }'
"""No probability: nobody calibrated it."""

MANIFEST = f"""\
name = "NAME"
title = "TITLE"
version = "1.0.0"
manufacturer = "DICOM AI Node Project"
device_uid = "2.25.DEVICE"
status = "research"
intended_use = "detection"
statement = "Finds bright discs in generated images, for tests; it knows nothing of real lesions."

[licence]
code = "Apache-2.0"
weights = "Apache-2.0"

[weights]
file = "model.onnx"
sha256 = "SHA256"

[input]
modality = "MG"
sop_classes = ["1.2.840.10008.5.1.4.1.1.1.2"]     # Digital Mammography X-Ray - For Presentation
projections = ["CC", "MLO"]
expected_views = ["R CC", "L CC", "R MLO", "L MLO"]

[pixels]
grey = "voi"
orientation = "chest wall left"
height = {HEIGHT}
width = {WIDTH}
fit = "pad"
scale = "0..1"

[output]
"""

FOUND = """\
On the exam with drawn lesions of `tests/lesions.py` (n = 7 places in 4 views) it finds all 7 and
nothing else; on the exam without lesions (n = 4 views) it finds nothing."""
SCORED = """\
Each view with a lesion of `tests/lesions.py` (n = 4) scores more than 80 %, each view without one
(n = 4) less than 40 %."""

CARD = """\
# TITLE 1.0.0

A network of a few operators for tests: it tells what is brighter than the tissue of a generated
mammogram. It was not trained and has seen no patient. Research only; not a medical device.

## Measured

MEASURED On real mammograms nothing was measured.
`pytest tests/test_lesions.py` measures it again.
"""


def _package(models_dir: Path, name: str, network: str, output: str, measured: str) -> Model:
    folder = models_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    identifier = name.replace("-", "_")
    graph = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 21]> {identifier} {network}'
    )
    onnx.checker.check_model(graph, full_check=True)
    content = graph.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    title = name.replace("-", " ").title()
    text = MANIFEST + output.lstrip()
    for word, value in {
        "NAME": name,
        "TITLE": title,
        "DEVICE": str(int(sha256[:24], 16)),
        "SHA256": sha256,
    }.items():
        text = text.replace(word, value, 1)
    (folder / "manifest.toml").write_text(text, "utf-8")
    card = CARD.replace("TITLE", title).replace("MEASURED", measured)
    (folder / "README.md").write_text(card, "utf-8")
    return Model(folder)


if __name__ == "__main__":
    for write in MODELS:
        write(Path(sys.argv[1]))
