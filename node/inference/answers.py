"""A network's answers -> what they say, output by output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid
from node.imaging.image import Image
from node.inference.boxes import score_boxes
from node.inference.classes import score_classes
from node.inference.mask import score_mask
from node.inference.number import read_number
from node.inference.on_volumes import OnVolumes
from node.inference.slices import score_slices
from node.inference.solids import score_solids
from node.inference.whole_image import read_heat_map, score_whole
from node.manifest import (
    BoxesOutput,
    ClassesOutput,
    Manifest,
    MapOutput,
    MaskOutput,
    NumberOutput,
    Output,
    ScoreOutput,
    SolidsOutput,
)
from node.result import OutputScore


@dataclass(frozen=True, slots=True)
class OnImage:
    """The image that was read, if it was one: what has a place has it there."""

    sop_uid: str
    image: Image
    grid: PlaneGrid


def read_output(
    output: Output,
    answers: Mapping[str, Float32],
    manifest: Manifest,
    on: OnImage | None,
    volumes: OnVolumes | None = None,
) -> OutputScore:
    """Return what a network says at one of its outputs; raise ModelError if it says nothing."""
    values = answers[output.tensor][0]
    match output:
        case NumberOutput() | SolidsOutput():
            assert volumes is not None, "a manifest has these of volumes alone"
            return _of_volumes(values, output, volumes)
        case ClassesOutput() | ScoreOutput():
            score = _of_all(answers[output.tensor], output, manifest, volumes)
            return score if on is None else _with_map(score, output, answers, manifest, on)
        case _:
            assert on is not None, "a manifest has no places on several images"
            return _of_places(values, output, answers, manifest, on)


def _of_places(
    values: Float32,
    output: MapOutput | BoxesOutput | MaskOutput,
    answers: Mapping[str, Float32],
    manifest: Manifest,
    on: OnImage,
) -> OutputScore:
    match output:
        case MapOutput():
            return _with_map(OutputScore(), output, answers, manifest, on)
        case BoxesOutput():
            scores = activated(values[:, 4], output.activation)
            rows = np.concatenate((values[:, :4], scores[:, None], values[:, 5:]), axis=1)
            return score_boxes(rows, output, manifest, on.grid, on.image.spacing_mm)
        case MaskOutput():
            mask, spacing_mm = activated(values[0], output.activation), on.image.measured_spacing_mm
            return score_mask(mask, output, manifest, on.grid, spacing_mm)


def _of_all(
    values: Float32,
    output: ScoreOutput | ClassesOutput,
    manifest: Manifest,
    volumes: OnVolumes | None,
) -> OutputScore:
    """Return what is said of all that was read: of one answer, or of one for each slice."""
    each = partial(_of_one, output)
    if output.over_slices is None:
        return each(values[0])
    return score_slices(values, output, manifest, volumes, each)


def _of_one(output: ScoreOutput | ClassesOutput, values: Float32) -> OutputScore:
    """Return what is said of one slice of a batch."""
    values = activated(values, output.activation)
    return (
        score_whole(values, output)
        if isinstance(output, ScoreOutput)
        else score_classes(values, output)
    )


def _of_volumes(
    values: Float32, output: NumberOutput | SolidsOutput, volumes: OnVolumes
) -> OutputScore:
    if isinstance(output, SolidsOutput):
        marked = activated(values, output.activation)
        return score_solids(marked, output, volumes)
    has_phases = set(output.needs) <= volumes.roles
    return read_number(values, output) if has_phases else OutputScore()


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
    output: ScoreOutput | ClassesOutput | MapOutput,
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
