"""A network's answers -> what they say, output by output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid
from node.imaging.image import Image
from node.inference.boxes import score_boxes
from node.inference.classes import score_classes
from node.inference.mask import score_mask
from node.inference.whole_image import read_heat_map, score_whole
from node.manifest import (
    BoxesOutput,
    ClassesOutput,
    Manifest,
    MapOutput,
    MaskOutput,
    Output,
    ScoreOutput,
)
from node.result import OutputScore


@dataclass(frozen=True, slots=True)
class OnImage:
    """The image that was read, if it was one: what has a place has it there."""

    sop_uid: str
    image: Image
    grid: PlaneGrid


def read_output(
    output: Output, answers: Mapping[str, Float32], manifest: Manifest, on: OnImage | None
) -> OutputScore:
    """Return what a network says at one of its outputs; raise ModelError if it says nothing."""
    values = answers[output.tensor][0]
    match output:
        case ClassesOutput():
            return score_classes(activated(values, output.activation), output)
        case ScoreOutput():
            score = score_whole(activated(values, output.activation), output)
            return score if on is None else _with_map(score, output, answers, manifest, on)
        case MapOutput():
            assert on is not None, "a manifest has no places on several images"
            return _with_map(OutputScore(), output, answers, manifest, on)
        case BoxesOutput():
            assert on is not None, "a manifest has no places on several images"
            scores = activated(values[:, 4], output.activation)
            rows = np.concatenate((values[:, :4], scores[:, None], values[:, 5:]), axis=1)
            return score_boxes(rows, output, manifest, on.grid, on.image.spacing_mm)
        case MaskOutput():
            assert on is not None, "a manifest has no places on several images"
            mask, spacing_mm = activated(values[0], output.activation), on.image.measured_spacing_mm
            return score_mask(mask, output, manifest, on.grid, spacing_mm)


def activated(values: Float32, activation: str) -> Float32:
    """Apply what the graph was left without; softmax is over the last axis."""
    if activation == "none":
        return values
    logits = values.astype(np.float64)
    if activation == "softmax":
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares: Float32 = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
        return shares
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)


def _with_map(
    score: OutputScore,
    output: ScoreOutput | MapOutput,
    answers: Mapping[str, Float32],
    manifest: Manifest,
    on: OnImage,
) -> OutputScore:
    wanted = output.warmth
    if wanted is None:
        return score
    values = answers[wanted.tensor][0, 0]
    if isinstance(output, MapOutput):
        values = activated(values, output.activation)
    heat_map = read_heat_map(on.sop_uid, values, wanted, manifest.image_shape[-2:], on.grid)
    return replace(score, heat_map=heat_map)
