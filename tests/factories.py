"""DICOM objects made in memory or in a temporary folder: nobody's data, no files kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset

from node import phantom
from node.phantom import Patient, Technique
from node.study import Laterality, View

R_CC = View(Laterality.RIGHT, "CC")
L_CC = View(Laterality.LEFT, "CC")
R_MLO = View(Laterality.RIGHT, "MLO")
L_MLO = View(Laterality.LEFT, "MLO")

SMALL = Technique(rows=332, columns=256, spacing_mm=0.72)
"""The usual field of view in large pixels: quick to make and quick to read."""


def exam(
    study: str = "test", views: Iterable[View] = phantom.EXAM, patient: Patient | None = None
) -> list[Dataset]:
    """Return small phantom mammograms; the text `study` decides all UIDs."""
    return phantom.exam(study, views, patient=patient or Patient(), technique=SMALL)


def saved_exam(
    folder: Path, study: str = "test", views: Iterable[View] = phantom.EXAM
) -> list[Path]:
    """Write small phantom mammograms as Part 10 files and return their paths."""
    return phantom.save(exam(study, views), folder)
