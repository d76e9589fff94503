"""A trained network -> model.onnx: one file, with scores of 0 to 1, compared with torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from node.errors import ConfigError
from node.inference.onnx import Graph
from node.training.examples import IMAGE_TENSOR
from node.training.features import replaced
from node.training.networks import OfRoles, ScoringNetwork

OPSET = 18
SCORE_TENSOR, CELLS_TENSOR = "score", "cells"
"""Names of tensors: the score, what each cell of the image contributes."""
PARITY = 1e-4
"""Scores by torch and by ONNX Runtime differ by less; scores are given to 0.1 %."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, for manifest and card."""

    inputs: Mapping[str, str]
    """The tensor of each role; of a single image there is none."""
    cells: tuple[int, int] | None
    """Rows and columns of the heat map, if there is one."""
    parity: float
    """By how much scores of torch and ONNX Runtime differed at most."""


class _Shipped(nn.Module):
    """From what the node gives to what the manifest names."""

    def __init__(self, network: ScoringNetwork, roles: Sequence[str], has_cells: bool):
        super().__init__()
        self.network = network
        self.of_roles = OfRoles(network, roles) if roles else None
        self.has_cells = has_cells

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        if self.of_roles is not None:
            return (torch.sigmoid(self.of_roles(*images)),)
        if not self.has_cells:
            return (torch.sigmoid(self.network(images[0])[:, :1]),)
        logits, cells = self.network.scored_and_shown(images[0])
        return torch.sigmoid(logits[:, :1]), cells


def export_network(
    network: ScoringNetwork,
    roles: Sequence[str],
    examples: Sequence[Sequence[NDArray[np.float32]]],
    path: Path,
    *,
    has_cells: bool = False,
) -> Exported:
    """Write a network as ONNX, or raise ConfigError if it answers otherwise there.

    Without roles it reads one image; else one of each role: "CC" of a breast, "R CC" of an exam,
    zeros where there is none. Examples are real inputs to compare with, each an image
    (channels, rows, columns) for each role; the first one gives the shape. Of slices an example is
    all of a study, (slices, channels, rows, columns), of which each has a score.
    """
    shipped = _Shipped(network.cpu().eval(), roles, has_cells).eval()
    inputs = {role: role.lower().replace(" ", "_") for role in roles}
    names = list(inputs.values()) or [IMAGE_TENSOR]
    batches = [[torch.from_numpy(_batch(one)) for one in example] for example in examples]
    outputs = [SCORE_TENSOR, CELLS_TENSOR] if has_cells and not roles else [SCORE_TENSOR]
    replaced(path, _as_onnx(shipped, batches[0], names, outputs))
    with torch.inference_mode():
        said = [shipped(*batch) for batch in batches]
    parity = _difference(path, said, batches, names, outputs)
    if not parity < PARITY:
        raise ConfigError(
            f"{path}: ONNX Runtime and torch differ by {parity:.2g}, expected less than {PARITY}; "
            "try another release of torch: what it exports is not the network that was trained"
        )
    cells = (
        (int(said[0][1].shape[2]), int(said[0][1].shape[3])) if CELLS_TENSOR in outputs else None
    )
    return Exported(inputs, cells, parity)


def _batch(example: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an image as a batch of one; what is a batch as it is."""
    batch = example if example.ndim == 4 else example[None]
    return np.ascontiguousarray(batch, np.float32)


def _as_onnx(
    shipped: nn.Module, batch: Sequence[Tensor], names: Sequence[str], outputs: Sequence[str]
) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The other exporter needs one package more; sizes become constants, as they are to.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            shipped,
            tuple(batch),
            buffer,
            input_names=list(names),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


def _difference(
    path: Path,
    said: Sequence[tuple[Tensor, ...]],
    batches: Sequence[Sequence[Tensor]],
    names: Sequence[str],
    outputs: Sequence[str],
) -> float:
    """Return by how much any answer differs at most; infinity if there is none."""
    graph, largest = Graph(path), 0.0
    for expected, batch in zip(said, batches, strict=True):
        tensors = dict(zip(names, (one.numpy() for one in batch), strict=True))
        answers = graph.answers(tensors)
        for name, values in zip(outputs, expected, strict=True):
            if name not in answers or answers[name].shape != tuple(values.shape):
                return float("inf")
            largest = max(largest, float(np.abs(answers[name] - values.numpy()).max()))
    return largest
