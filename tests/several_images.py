"""Model packages whose networks of a few nodes read several images at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
from packages import MANIFEST

from node.manifest import Model

HEAD = MANIFEST.partition("[pixels]\n")[0]
PIXELS = "[pixels]\n" + MANIFEST.partition("[pixels]\n")[2].partition("[output]")[0]
HEIGHT, WIDTH = 64, 48
"""Of the network's images, as PIXELS say."""

MALIGNANCY = """
[[outputs]]
name = "malignancy"
kind = "score"
tensor = "y"
label = "malignancy"
score = { value = "MALIGN", scheme = "99TEST", meaning = "Malignancy score" }
"""

# A breast: a quarter of the mean of CC and three quarters of that of MLO.

BREAST_UNIT = """
[unit]
of = "breast"
roles = ["CC", "MLO"]
missing = "MISSING"
repeated = "REPEATED"

[[inputs]]
tensor = "both"
roles = ["CC", "MLO"]
join = "channels"

"""
BREAST = f"""(float[1,2,{HEIGHT},{WIDTH}] both) => (float[1,1] y) {{
    axes = Constant<value_ints = [2, 3]>()
    means = ReduceMean<keepdims = 0>(both, axes)
    weights = Constant<value = float[2,1] {{0.25, 0.75}}>()
    y = MatMul(means, weights)
}}"""


def breast_network(folder: Path, *, missing: str = "refuse", repeated: str = "refuse") -> Model:
    """Write and open a package that scores each breast by its two views."""
    unit = BREAST_UNIT.replace("MISSING", missing).replace("REPEATED", repeated)
    described = unit + PIXELS + MALIGNANCY + 'combine = { exam = "highest" }\n'
    return write(folder, parsed(BREAST), described)


# An exam: of each side the mean of all its pixels, in one tensor of two numbers.

SIDES_UNIT = """
[unit]
of = "exam"
roles = ["R CC", "L CC", "R MLO", "L MLO"]
missing = "blank"

[[inputs]]
tensor = "cc"
roles = ["R CC", "L CC"]
join = "batch"

[[inputs]]
tensor = "mlo"
roles = ["R MLO", "L MLO"]
join = "batch"

"""
SIDES = f"""(float[2,1,{HEIGHT},{WIDTH}] cc, float[2,1,{HEIGHT},{WIDTH}] mlo)
    => (float[1,2] y) {{
    both = Concat<axis = 1>(cc, mlo)
    axes = Constant<value_ints = [1, 2, 3]>()
    means = ReduceMean<keepdims = 0>(both, axes)
    first = Constant<value_ints = [0]>()
    y = Unsqueeze(means, first)
}}"""


def sides_network(folder: Path) -> Model:
    """Write and open a package that reads four views and scores each side."""
    of_sides = "".join(
        f'{MALIGNANCY}element = {n}\nabout = "{side} breast"\ncombine = {{ exam = "highest" }}\n'
        for n, side in enumerate("RL")
    )
    return write(folder, parsed(SIDES), SIDES_UNIT + PIXELS + of_sides)


def parsed(graph: str) -> onnx.ModelProto:
    """Return the network that a text describes."""
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> small {graph}')


def write(folder: Path, network: onnx.ModelProto, described: str, head: str = HEAD) -> Model:
    """Write and open a package; `described` is all that its manifest says behind its [input]."""
    onnx.checker.check_model(network, full_check=True)
    folder.mkdir(parents=True)
    content = network.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    number = int(_digest(folder.name.encode())[:12], 16)
    head = head.replace('device_uid = "2.25.1"', f'device_uid = "2.25.{number}"')
    lines = [
        line if not line.startswith("sha256") else f'sha256 = "{_digest(content)}"'
        for line in head.replace('name = "breast-area"', f'name = "{folder.name}"').splitlines()
    ]
    (folder / "manifest.toml").write_text("\n".join(lines) + "\n" + described, "utf-8")
    return Model(folder)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
