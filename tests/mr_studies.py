"""Small generated breast MRI as files of a folder, and the slices of its phases."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydicom import Dataset

from node.dicom.header import read_header
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import read
from node.imaging.volume import Slice, slices_of
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr

SHAPE = (16, 32, 48)
STUDY = "small breast MRI"


def small_plan(**changes: Any) -> StudyPlan:
    """Return a study of few small slices and two phases after the injection, nothing beside it."""
    usual = {"shape": SHAPE, "schedule": PhaseTimes(posts=2), "beside": False}
    return StudyPlan(**{**usual, **changes})


@cache
def made(plan: StudyPlan, study: str = STUDY) -> tuple[Dataset, ...]:
    return tuple(breast_mr(study, plan))


def written(plan: StudyPlan, folder: Path, study: str = STUDY) -> list[Path]:
    """Write a study, under names that say nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = list(made(plan, study))
    random.Random(len(objects)).shuffle(objects)
    paths = []
    for number, one in enumerate(objects):
        paths.append(folder / f"{number:04}.dcm")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths


def phases_in(paths: Sequence[Path]) -> dict[str, list[Slice]]:
    """Return the slices of each phase by its name."""
    slices = {
        (one.plane.sop_uid, one.plane.frame): one for path in paths for one in slices_of(path)
    }
    reading = read(fact for path in paths for fact in facts_of(read_header(path)))
    assert reading.refusal == ""
    return {phase.name: [slices[image] for image in phase.images] for phase in reading.phases}
