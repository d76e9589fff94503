"""Labelled images for `ai-node evaluate`: generated exams, a lesion in some, and their table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lesions
import numpy as np
import PIL.Image
from factories import SMALL
from pydicom import Dataset

from node.manifest import Model
from node.study import Laterality, View
from node.trial import phantom
from node.trial.phantom import Patient

LESION = lesions.Lesion(Laterality.RIGHT, 60, {"CC": -15, "MLO": 10}, 8, 3950)
"""On the right side; `lesion_score` says more than 80 % of a view that shows it, else below 40."""


@contextmanager
def silent(_: str, __: int) -> Iterator[Callable[[], None]]:
    """In place of a progress bar."""
    yield lambda: None


@dataclass
class Labelled:
    """A folder of images, and the rows of its table."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(
        self,
        patient: str,
        *,
        has_lesion: bool,
        views: Sequence[View] = phantom.EXAM,
        as_png: bool = False,
        **columns: str,
    ) -> list[Path]:
        """Write an exam; images of the right breast with a lesion are labelled 1."""
        made = phantom.exam(patient, views, patient=Patient(patient), technique=SMALL)
        if has_lesion:
            for dataset, view in zip(made, views, strict=True):
                lesions.draw(dataset, view, [LESION])
        if as_png:
            paths = [self._png(dataset, patient) for dataset in made]
        else:
            paths = phantom.save(made, self.folder / patient)
        for path, view in zip(paths, views, strict=True):
            is_shown = has_lesion and LESION.is_on(view)
            row = {
                "path": str(path.relative_to(self.folder)),
                "patient": patient,
                "side": view.laterality.value,
                "view": view.projection,
                "label": str(int(is_shown)),
            }
            self.rows.append(row | columns)
        return paths

    def _png(self, dataset: Dataset, patient: str) -> Path:
        folder = self.folder / patient
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{dataset.ImageLaterality}-{dataset.ViewPosition}.png"
        PIL.Image.fromarray(dataset.pixel_array.astype(np.uint16)).save(path)
        return path

    def write(self, name: str = "labels.csv", rows: Sequence[Mapping[str, str]] = ()) -> Path:
        """Write the table, or other rows."""
        rows = rows or self.rows
        path = self.folder / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(k for row in rows for k in row)))
            writer.writeheader()
            writer.writerows(rows)
        return path


POINT = """
[[outputs.operating_points]]
name = "NAME"
threshold = THRESHOLD
about = "exam"
sensitivity = SENSITIVITY
sensitivity_interval = [0.1, 0.99]
specificity = SPECIFICITY
specificity_interval = [0.1, 0.99]
positives = 10
negatives = 100
data = "made up"
"""


def triaging(scoring: Model) -> Model:
    """Make the package of `lesion_score` one that triages: urgent from 0.9 on, soon from 0.4."""
    path = scoring.folder / "manifest.toml"
    head, _, output = path.read_text("utf-8").partition("[output]\n")
    score, _, heat = output.partition("\n[output.heat_map]\n")
    text = head.replace('"detection"', '"triage"')
    text += f'[[outputs]]\nname = "lesions"\n{score}'
    text += 'combine = { breast = "highest", exam = "highest" }\n'
    for words in (("high", "0.9", "0.6", "0.9"), ("low", "0.4", "0.8", "0.5")):
        point = POINT
        for word, value in zip(
            ("NAME", "THRESHOLD", "SENSITIVITY", "SPECIFICITY"), words, strict=True
        ):
            point = point.replace(word, value)
        text += point
    text += f'\n[[outputs]]\nname = "where"\nkind = "heat map"\nlabel = "brightness"\n{heat}'
    text += '\n[triage]\noutput = "lesions"\nurgent = "high"\nsoon = "low"\n'
    path.write_text(text, "utf-8")
    return Model(scoring.folder)
