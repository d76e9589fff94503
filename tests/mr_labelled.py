"""Labelled breast MRI for training: generated studies, a lesion in some, and their table."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from mr_studies import small_plan, written

from node.trial.breast_mr.body import Body, Lesion
from node.trial.phantom import Patient

SHAPE = (20, 48, 64)
WORDS: dict[str, Any] = {
    "name": "mri",
    "title": "MRI",
    "input": {"modality": "MR"},
    "unit": {"of": "exam", "roles": ["pre", "post 1"]},
    "channels": ["post 1"],
}
"""Of a recipe, but for what is done to the phases."""
SIZE = {"slices": 24, "rows": 76, "columns": 208}


def pixels_of(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is done to phases, to make images of 76 x 208: what the agent adds."""
    return [
        {"op": "signal"},
        {"op": "orient", "axes": "HPL"},
        {"op": "spacing", "mm": [6, 1.6, 1.6]},
        {"op": "size", **SIZE, "about": "breasts"},
        {"op": "subtract"},
        {"op": "percentiles", "low": 0, "high": 99.9, "of": "pre", "over": "breasts"},
        operation,
    ]


SLICES = pixels_of({"op": "slices", "along": "slices", "count": 8})
MIP = pixels_of({"op": "mip", "along": "slices"})


def woman(number: int, *, is_ill: bool) -> Body:
    """Return a body like no other; one that is ill has a lesion somewhere in a breast."""
    random = np.random.default_rng(number)
    x = float(random.uniform(60, 85)) * (-1 if random.integers(2) else 1)
    centre = (x, float(random.uniform(-50, -35)), float(random.uniform(-25, 25)))
    lesion = Lesion(centre, (13, 12, 13))
    return Body(
        lesions=(lesion,) if is_ill else (),
        density=float(random.uniform(0.3, 0.7)),
        background=float(random.uniform(0.08, 0.16)),
        shift_mm=tuple(random.uniform(-6, 6, 3).tolist()),
    )


@dataclass
class LabelledStudies:
    """A folder of studies, and the rows of its table."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, number: int, *, is_ill: bool, patient: str = "") -> Path:
        """Write a study of a woman into a folder of its own."""
        name = patient or f"woman {number}"
        plan = replace(
            small_plan(shape=SHAPE),
            body=woman(number, is_ill=is_ill),
            patient=Patient(name.replace(" ", "-"), "GENERATED^BREAST MRI"),
        )
        folder = self.folder / f"study-{number}"
        written(plan, folder, f"study {number} {is_ill}")
        row = {"path": folder.name, "patient": name, "label": str(int(is_ill))}
        self.rows.append(row)
        return folder

    def write(self) -> Path:
        """Write the table."""
        path = self.folder / "labels.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["path", "patient", "label"])
            writer.writeheader()
            writer.writerows(self.rows)
        return path
