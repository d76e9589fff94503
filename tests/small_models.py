"""Model packages with networks of a few nodes."""

import hashlib
import re
from pathlib import Path

import numpy as np
import onnx

from node.config import bundled_models_dir
from node.manifest import Model

SIZE = 64
IMAGE = f"float[1,1,{SIZE},{SIZE}] image"
MASK = f"float[1,1,{SIZE},{SIZE}] mask"

COPY = "mask = Identity(image)"
BRIGHT = """
    dark = Constant<value_float = 0.1>()
    is_bright = Greater(image, dark)
    mask = Cast<to = 1>(is_bright)
"""
NOT_A_NUMBER = """
    nothing = Sub(image, image)
    mask = Div(nothing, nothing)
"""
NAN_WHEN_BRIGHT = """
    half = Constant<value_float = 0.5>()
    lower = Sub(half, image)
    mask = Sqrt(lower)
"""
ENDLESS = f"""
    many = Constant<value_int = 1000000000>()
    is_bright = ReduceMax<keepdims = 0>(image)
    half = Constant<value_float = 0.5>()
    go = Greater(is_bright, half)
    mask = Loop(many, go, image) <body = turn
      (int64 n, bool c, float[1,1,{SIZE},{SIZE}] x) => (bool again, float[1,1,{SIZE},{SIZE}] y) {{
        y = Sqrt(x)
        again = Identity(c)
    }}>
"""
"""Ends at once on a dark image, as in the warm-up, and never on a bright one."""


SHARE_OF_WHITE = """
    white = ReduceMean<keepdims = 0>(image)
    one = Constant<value_float = 1.0>()
    black = Sub(one, white)
    axis = Constant<value_ints = [0]>()
    first = Unsqueeze(black, axis)
    second = Unsqueeze(white, axis)
    both = Concat<axis = 0>(first, second)
    density = Unsqueeze(both, axis)
"""
"""Two classes: how black and how white the image is."""


def model(
    folder: Path,
    body: str = COPY,
    *,
    inputs: str = IMAGE,
    output: str = MASK,
    size: int = SIZE,
    described: str = "",
    several: bool = False,
) -> Model:
    """Write a model package around the nodes of a network from its inputs to its output.

    `described` is another [output] than that of breast-area, or the first of several [[outputs]].
    """
    package = folder / "small"
    package.mkdir()
    network = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        small ({inputs}) => ({output}) {{ {body} }}"""
    )
    content = network.SerializeToString()
    (package / "model.onnx").write_bytes(content)
    text = (bundled_models_dir() / "breast-area" / "manifest.toml").read_text("utf-8")
    for key, value in {
        "name": '"small"',
        "device_uid": '"2.25.2"',
        "sha256": f'"{hashlib.sha256(content).hexdigest()}"',
        "height": str(size),
        "width": str(size),
    }.items():
        text = re.sub(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
    if described:
        head = "[[outputs]]" if several else "[output]"
        text = text.partition("[output]\n")[0] + f"{head}\n{described}"
    (package / "manifest.toml").write_text(text, "utf-8")
    return Model(package)


def model_in_two_files(folder: Path) -> Model:
    """Write a model package as torch.onnx.export does by default: most of it is beside the file."""
    package = model(folder).folder
    weights = onnx.numpy_helper.from_array(np.ones((1, 1, SIZE, SIZE), np.float32), "weights")
    path = package / "model.onnx"
    network = onnx.load(path)
    network.graph.node[0].CopyFrom(onnx.helper.make_node("Mul", ["image", "weights"], ["mask"]))
    network.graph.initializer.append(weights)
    onnx.save(network, path, save_as_external_data=True, location="model.onnx.data")
    return declared(package)


def declared(package: Path) -> Model:
    """Put the hash that the network has into its manifest."""
    sha256 = hashlib.sha256((package / "model.onnx").read_bytes()).hexdigest()
    manifest = package / "manifest.toml"
    manifest.write_text(re.sub(r"(?m)^sha256 = .*$", f'sha256 = "{sha256}"', manifest.read_text()))
    return Model(package)
