"""What a child says of volumes, believed only if it can be: it may be in an attacker's hands."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from node.imaging.solid_bits import Voxels, voxels_of_bits
from node.inference.solids import MOST_TELLING
from node.manifest import ClassesOutput, NumberOutput, Output, ScoreOutput, SolidsOutput
from node.result import OutputScore, SolidSaid, UnitScore
from node.study import PRE_CONTRAST, Laterality

MOST_ML = 20_000.0
"""No body has more in a magnet's coil for breasts."""
LEAST_VOXEL_ML, MOST_VOXEL_ML = 1e-5, 1.0
"""Of the slices: 0.2 x 0.2 x 0.25 mm, and 10 mm along each edge. How large they are the parent does
not know, and what is thinner than the slices' distance marks fewer voxels than it would fill."""
LONGEST_SLICE_SIDE = 4096
MOST_REMARKS, LONGEST_REMARK = 16, 300
MOST_PERCENT = 100_000.0
BREASTS = (Laterality.RIGHT, Laterality.LEFT)
_SIDES: Mapping[str, tuple[Laterality | None, ...]] = {"breasts": BREASTS, "none": (None,)}


def remark_of(words: str) -> str:
    """Return words as the parent takes them: printable ASCII, and not too long."""
    return "".join(c if " " <= c <= "~" else "?" for c in words)[:LONGEST_REMARK]


def require_of_volumes(
    score: UnitScore,
    outputs: Sequence[Output],
    volumes: Mapping[str, int],
    followed: Collection[str],
    batch: int,
) -> None:
    """Raise ValueError for what a network cannot have said of phases of so many slices each.

    `followed`: the names of the phases whose signal is followed; `batch`: how many images are made
    of each volume.
    """
    _require(len(score.remarks) <= MOST_REMARKS, "more remarks than there are")
    for remark in score.remarks:
        is_said = remark.isascii() and remark.isprintable() and 1 <= len(remark) <= LONGEST_REMARK
        _require(is_said, "a remark that cannot be printed")
    has_solids = any(isinstance(one, SolidsOutput) for one in outputs)
    _require((score.stack is not None) == has_solids, "a stack too many, or none")
    if score.stack is not None:
        slices, rows, columns = score.stack
        fits = slices == volumes.get(PRE_CONTRAST) and min(rows, columns) >= 1
        _require(fits and max(rows, columns) <= LONGEST_SLICE_SIDE, "solids on other slices")
    for one, output in zip(score.outputs, outputs, strict=True):
        _require_numbers(one, output, volumes)
        _require_deciding(one, output, volumes, batch)
        if isinstance(output, SolidsOutput) and score.stack is not None:
            _require_solids(one.solids, output, volumes, score)
            _require_curves(one.solids, output, followed)
        else:
            _require(not one.solids, "solids of what gives none")


def _require_numbers(score: OutputScore, output: Output, volumes: Mapping[str, int]) -> None:
    if isinstance(output, NumberOutput):
        has_phases = set(output.needs) <= volumes.keys()
        _require(has_phases or not score.measurements, "a number of phases that are not there")
        may_be_none = not has_phases or output.none_if is not None
        _require(may_be_none or bool(score.measurements), "no number where there must be one")
        is_finite = all(math.isfinite(one.value) for one in score.measurements)
        _require(is_finite, "a number that is none")
        is_of_unit = all(one.unit == output.unit.as_code() for one in score.measurements)
        _require(is_of_unit, "a number in another unit")


def _require_deciding(
    score: OutputScore, output: Output, volumes: Mapping[str, int], batch: int
) -> None:
    found = score.deciding
    if found is None:
        return
    said = output.over_slices if isinstance(output, ScoreOutput | ClassesOutput) else None
    _require(said == "highest", "a slice of what has none")
    _require(0 <= found.number < batch, "a slice that is none")
    slices = volumes.get(PRE_CONTRAST, max(volumes.values(), default=0))
    _require(found.nearest is None or 0 <= found.nearest < slices, "a slice that is none")


def _require_solids(
    solids: Sequence[SolidSaid],
    output: SolidsOutput,
    volumes: Mapping[str, int],
    score: UnitScore,
) -> None:
    assert score.stack is not None, "whoever calls has seen it"
    sides = [side for side in _SIDES[output.split] if side not in score.unread]
    possible = [
        (at, side)
        for at, part in enumerate(output.parts)
        if set(part.needs) <= volumes.keys()
        for side in sides
    ]
    said = [(one.part, one.side) for one in solids]
    _require(said == [one for one in possible if one in said], "other solids than there can be")
    parts = {part for part, _ in possible}
    _require({part for part, _ in said} == parts, "parts that are missing")
    for one in solids:
        _require_solid(one, output, score.stack)


def _require_solid(one: SolidSaid, output: SolidsOutput, stack: tuple[int, int, int]) -> None:
    _require(0 <= one.ml <= MOST_ML, "a volume that cannot be")
    voxels = voxels_of_bits(one.bits, *stack)
    _require((one.ml > 0) == bool(voxels.bits.any()), "a volume without voxels, or none of them")
    count = int(np.bitwise_count(voxels.bits).sum(dtype=np.int64))
    fits = count * LEAST_VOXEL_ML <= one.ml <= count * MOST_VOXEL_ML
    _require(fits, "another volume than its voxels have")
    _require_decisive(one.decisive, voxels, stack[0])


def _require_curves(
    solids: Sequence[SolidSaid], output: SolidsOutput, followed: Collection[str]
) -> None:
    for one in solids:
        names = [name for name, _ in one.percents]
        is_said_once = len(set(names)) == len(names) and set(names) <= {*followed}
        is_possible = all(abs(percent) <= MOST_PERCENT for _, percent in one.percents)
        may_follow = one.part == output.followed or not names
        _require(may_follow and is_said_once and is_possible, "a curve that cannot be")


def _require_decisive(places: Sequence[int], voxels: Voxels, slices: int) -> None:
    _require(len(places) <= MOST_TELLING, "more slices than say most")
    _require(len(set(places)) == len(places), "a slice that is there twice")
    for place in places:
        _require(0 <= place < slices and bool(voxels.on(place).any()), "a slice without voxels")


def _require(is_so: bool, what_else: str) -> None:
    if not is_so:
        raise ValueError(what_else)
