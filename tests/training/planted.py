"""Small generated images, half of the breasts with a bright spot, as `examples.Tensors` gives them.

No torch is needed: numpy arrays and examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.evaluation.labels import LabelRow
from node.study import Laterality
from node.training.examples import Example
from node.training.recipe import Recipe

ROWS, COLUMNS = 96, 64
SPOT_PX = 10


@dataclass(frozen=True, slots=True)
class Planted:
    """Examples and what the node would give a network of each."""

    examples: tuple[Example, ...]
    tensors: NDArray[np.float16]

    def shuffled(self, seed: int = 0, first: int = 0) -> Planted:
        """Return the same images, the labels given to other women.

        The first women are shuffled among themselves, and so are the others: what the labels of
        the ones happen to go with tells nothing of the others'.
        """
        random = np.random.default_rng(seed)
        labels = {example.woman: example.label for example in self.examples}
        women, values = list(labels), list(labels.values())
        given = [*random.permutation(values[:first]), *random.permutation(values[first:])]
        other = dict(zip(women, map(float, given), strict=True))
        examples = tuple(_relabelled(one, other[one.woman]) for one in self.examples)
        return Planted(examples, self.tensors)


def _relabelled(example: Example, label: float) -> Example:
    words = {name: getattr(example, name) for name in Example.__slots__}
    return Example(**{**words, "label": label})


def planted(women: int = 120, seed: int = 1) -> Planted:
    """Return a left breast of each woman, CC and MLO; of every second one with a spot on both."""
    random = np.random.default_rng(seed)
    examples, tensors = list[Example](), list[NDArray[np.float16]]()
    for woman in range(women):
        label = float(woman % 2)
        machine = "AB"[woman // 2 % 2]
        row, column = int(random.integers(15, ROWS - 25)), int(random.integers(5, 30))
        for view in ("CC", "MLO"):
            tensors.append(_breast(random, (row, column) if label else None, machine))
            examples.append(_example(woman, view, label, machine, len(examples)))
    return Planted(tuple(examples), np.stack(tensors))


def _breast(
    random: np.random.Generator, spot: tuple[int, int] | None, machine: str
) -> NDArray[np.float16]:
    y, x = np.mgrid[0:ROWS, 0:COLUMNS]
    inside = (x / 55) ** 2 + ((y - ROWS / 2) / 45) ** 2 < 1
    texture = random.normal(0.45 if machine == "A" else 0.55, 0.08, (ROWS // 4, COLUMNS // 4))
    image = np.kron(texture, np.ones((4, 4)))
    if spot is not None:
        row, column = spot
        image[row : row + SPOT_PX, column : column + SPOT_PX] += 0.4
    return np.asarray((np.clip(image, 0, 1) * inside)[None], np.float16)


def _example(woman: int, view: str, label: float, machine: str, line: int) -> Example:
    name = f"woman {woman}"
    columns = {"machine": machine, "age": str(50 + woman % 7)}
    row = LabelRow(line, Path(f"{name} {view}.png"), name, f"{label:g}", columns=columns)
    return Example(
        row=row,
        exam=woman + 1,
        woman=name,
        side=Laterality.LEFT,
        projection=view,
        pixel_digest=f"{line:064x}",
        label=label,
        auxiliary={"dense": float(machine == "B")},
    )


def small_recipe(**words: object) -> Recipe:
    """Return a recipe that learns in seconds."""
    # An epoch has few steps, and the optimiser needs some to know how large gradients are: with the
    # default rate and two epochs in which it rises, later stages go on from where the head is.
    schedule = {
        "head_epochs": 40,
        "head_rate": 0.03,
        "epochs": 5,
        "rate": 1e-4,
        "rate_of_head": 3e-4,
        "moving_average": 0.8,
        "warm_up_epochs": 2,
        "batch": 8,
    }
    known: dict[str, object] = {
        "name": "planted",
        "title": "Planted",
        "about": "breast",
        "network": {"frozen": "block 2"},
        "schedule": schedule,
        "labels": {
            "auxiliary": [{"column": "dense", "weight": 0.1}],
            "balanced_within": "machine",
        },
    }
    return Recipe.model_validate(known | words)


def area_under_curve(scores: Sequence[float], labels: Sequence[float]) -> float:
    """Return how often a positive scores higher than a negative."""
    found, truth = np.asarray(scores), np.asarray(labels) > 0.5
    higher = found[truth][:, None] - found[~truth][None]
    return float(np.mean(higher > 0) + np.mean(higher == 0) / 2)
