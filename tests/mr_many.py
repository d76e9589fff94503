"""A dynamic breast MRI of thousands of slices as large as scanners make them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom import Dataset

from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr

_ACROSS = 16


def many_slices(
    study: str, phases: int = 20, slices: int = 200, side: int = 512
) -> Iterator[Dataset]:
    """Yield slices of `side` x `side`, one at a time: few pixels of a body, each many times."""
    schedule = PhaseTimes(posts=phases - 1, phase_s=30.0)
    plan = StudyPlan(shape=(slices, _ACROSS, _ACROSS), schedule=schedule, beside=False)
    times = side // _ACROSS
    for one in breast_mr(study, plan):
        small = one.pixel_array
        one.Rows = one.Columns = side
        one.PixelSpacing = [float(mm) / times for mm in one.PixelSpacing]
        one.PixelData = np.kron(small, np.ones((times, times), small.dtype)).tobytes()
        yield one
        one.PixelData = b""


def saved_slices(folder: Path, study: str, **sizes: int) -> list[Path]:
    """Write them as Part 10 files and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, one in enumerate(many_slices(study, **sizes), 1):
        path = folder / f"{number:05}.dcm"
        one.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
