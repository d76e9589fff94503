"""Whole generated studies as they come to a node: shuffled over associations, kept as files."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from highdicom import Volume
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from node.domains.breast_mr.facts import Facts, as_text, from_text
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import MrPhase, Reading, read
from node.imaging.volume import Slice, slices_of, volume_of
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.signal import Scanner
from node.trial.breast_mr.study import StudyPlan, breast_mr
from node.trial.breast_mr.styles import STYLES

STUDY = "generated"
BEGUN_AT = datetime(2026, 3, 3, 10, 15)
SHAPE = (12, 32, 32)
SLICES = SHAPE[0]
ASSOCIATIONS = 3


def planned(style: str = "standard", **changes: Any) -> StudyPlan:
    """Return a study of few small slices, of the dynamic series only; styles are named."""
    own = {name: changes.pop(name) for name in ("arrangement", "body_part") if name in changes}
    usual: dict[str, Any] = {
        "style": replace(STYLES[style], **own),
        "shape": SHAPE,
        "schedule": PhaseTimes(posts=3),
        "beside": False,
        "begun_at": BEGUN_AT,
    }
    return StudyPlan(**(usual | changes))


@cache
def made(plan: StudyPlan) -> tuple[Dataset, ...]:
    return tuple(breast_mr(STUDY, plan))


def received(objects: Sequence[Dataset], seed: int = 18) -> list[Facts]:
    """Return the facts of objects, as a ledger has them, that came shuffled over associations."""
    shuffled = list(objects)
    random.Random(seed).shuffle(shuffled)
    return [
        one
        for first in range(ASSOCIATIONS)
        for header in shuffled[first::ASSOCIATIONS]
        for one in from_text(as_text(facts_of(header)))
    ]


def reading_of(plan: StudyPlan, seed: int = 18) -> Reading:
    return read(received(made(plan), seed))


def kept(objects: Sequence[Dataset], folder: Path) -> list[Slice]:
    """Return the slices of all objects, from files whose names say nothing."""
    order = list(range(len(objects)))
    random.Random(len(objects)).shuffle(order)
    for number, one in zip(order, objects, strict=True):
        one.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
    return [one for path in sorted(folder.glob("*.dcm")) for one in slices_of(path)]


def of_phase(slices: Sequence[Slice], phase: MrPhase) -> list[Slice]:
    by_name = {(one.plane.sop_uid, one.plane.frame): one for one in slices}
    return [by_name[image] for image in phase.images]


def phases_of(plan: StudyPlan, folder: Path) -> dict[str, list[Slice]]:
    """Return the slices of each phase by its name, read from files."""
    slices = kept(made(plan), folder)
    headers = [dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))]
    found = read(received(headers))
    assert found.refusal == ""
    return {phase.name: of_phase(slices, phase) for phase in found.phases}


def volumes_of(plan: StudyPlan, folder: Path) -> dict[str, Volume]:
    return {name: volume_of(slices) for name, slices in phases_of(plan, folder).items()}


def seen(plan: StudyPlan, volume: Volume, phase: int) -> NDArray[np.float32]:
    """Return what the scanner truly saw in a phase, at the places where a volume has its voxels."""
    raster = plan.raster()
    scanned = Scanner(plan.body, raster, STUDY).image(
        plan.weighting(), phase=phase, seconds=plan.schedule.middle_s(phase)
    )
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1).reshape(-1, 3)
    there = raster.indices(volume.map_indices_to_reference(index))
    voxels = np.rint(there).astype(int)
    np.testing.assert_allclose(there, voxels, atol=0.02)
    assert len(np.unique(voxels, axis=0)) == scanned.size
    at: NDArray[np.float32] = scanned[tuple(voxels.T)].reshape(volume.shape)
    return at


def around(volume: Volume, place: Sequence[float], mm: float) -> NDArray[np.bool_]:
    """Return which voxels lie within so many millimetres of a place."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1).reshape(-1, 3)
    away = volume.map_indices_to_reference(index) - np.asarray(place)
    near: NDArray[np.bool_] = (np.linalg.norm(away, axis=1) < mm).reshape(volume.shape)
    return near


def gained(volumes: Mapping[str, Volume], name: str, near: NDArray[np.bool_]) -> float:
    """Return by what part of the signal before, voxels got brighter; the brightest of them."""
    pre, post = volumes["pre"].array[near], volumes[name].array[near]
    return float(((post - pre) / np.maximum(pre, 0.05 * volumes["pre"].array.max())).max())
