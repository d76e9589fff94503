"""Model packages that read phases of breast MRI, with networks of a few nodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray

from node.manifest import Model
from node.manifest.package import load_model

UPTAKE = """
    {phases} = Split<axis = 1, num_outputs = {count}>(phases)
    more = Sub(phase{last}, phase0)
    none = Constant<value_float = 0.0>()
    one = Constant<value_float = 1.0>()
    slices = Constant<value_float = {slices}.0>()
    rows = Constant<value_float = {rows}.0>()
    columns = Constant<value_float = {columns}.0>()
    headwards = Range(none, slices, one)
    backwards = Range(none, rows, one)
    leftwards = Range(none, columns, one)
    last_two = Constant<value_ints = [1, 2]>()
    last_one = Constant<value_ints = [1]>()
    of_slice = Unsqueeze(headwards, last_two)
    of_row = Unsqueeze(backwards, last_one)
    tenth = Constant<value_float = 0.1>()
    twentieth = Constant<value_float = 0.05>()
    fortieth = Constant<value_float = 0.025>()
    by_slice = Mul(of_slice, tenth)
    by_row = Mul(of_row, twentieth)
    by_column = Mul(leftwards, fortieth)
    of_plane = Add(by_row, by_column)
    ramp = Add(by_slice, of_plane)
    there = Mul(more, ramp)
    mean = ReduceMean<keepdims = 0>(there)
    axes = Constant<value_ints = [0, 1]>()
    score = Unsqueeze(mean, axes)
"""
"""By how much the last phase is brighter than the first, of all voxels; the more, the farther they
lie along each axis, so that what was flipped or swapped has another score."""


def ramp_of(size: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return how much the network makes of each voxel."""
    slices, rows, columns = np.meshgrid(*map(np.arange, size), indexing="ij")
    return np.asarray(0.1 * slices + 0.05 * rows + 0.025 * columns)


MANIFEST = """
name = "{name}"
title = "Uptake of both breasts"
version = "1.0.0"
manufacturer = "Test"
device_uid = "2.25.77"
status = "research"
intended_use = "detection"
domain = "breast_mr"
statement = "The score says by how much the second phase is brighter than the first; a test."
{before}

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
{expected}

[unit]
of = "exam"
roles = {roles}
missing = "{missing}"

[[inputs]]
tensor = "phases"
roles = {roles}
join = "channels"

{pixels}

[[outputs]]
kind = "score"
name = "uptake"
label = "AI uptake score"
tensor = "score"
activation = "sigmoid"
score = {{ value = "UPTAKE", scheme = "99TEST", meaning = "Uptake score" }}
{rest}
"""

PIXELS = """
[[pixels]]
op = "signal"

[[pixels]]
op = "orient"
axes = "HPL"

[[pixels]]
op = "spacing"
mm = [4, 4, 4]

[[pixels]]
op = "size"
slices = 32
rows = 48
columns = 96

[[pixels]]
op = "percentiles"
low = 1
high = 99
of = "pre"
"""


def uptake_model(
    folder: Path,
    *,
    name: str = "uptake",
    expected_phases: int | None = None,
    pixels: str = PIXELS,
    size: tuple[int, int, int] = (32, 48, 96),
    roles: tuple[str, ...] = ("pre", "post 1"),
    missing: str = "refuse",
    before: str = "",
    rest: str = "",
    words: Mapping[str, str] = MappingProxyType({}),
) -> Model:
    """Write a package that gives a score of the first and last of some phases, and open it.

    `words` are other words of the manifest for some of these.
    """
    package = folder / name
    package.mkdir(parents=True)
    shape = ",".join(map(str, (1, len(roles), *size)))
    phases = ", ".join(f"phase{number}" for number in range(len(roles)))
    graph = UPTAKE.format(
        phases=phases,
        count=len(roles),
        last=len(roles) - 1,
        **dict(zip(("slices", "rows", "columns"), size, strict=True)),
    )
    network = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 21]>
        uptake (float[{shape}] phases) => (float[1,1] score) {{ {graph} }}"""
    )
    content = network.SerializeToString()
    (package / "model.onnx").write_bytes(content)
    expected = "" if expected_phases is None else f"expected_phases = {expected_phases}"
    text = MANIFEST.format(
        name=name,
        before=before,
        sha256=hashlib.sha256(content).hexdigest(),
        expected=expected,
        roles=json.dumps(roles),
        missing=missing,
        pixels=pixels,
        rest=rest,
    )
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    (package / "manifest.toml").write_text(text, "utf-8")
    (package / "README.md").write_text("# Uptake\n\nA test.\n", "utf-8")
    return load_model(name, folder)
