"""What the scores of a breast MRI say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from node.domains.domain import Combined
from node.domains.evaluation import calibrated, evaluated, label_of
from node.manifest import ClassesOutput, Model, ScoreOutput, part_of
from node.result import UnitScore
from node.study import Laterality, Unit, View

_SIDES = {"R breast": Laterality.RIGHT, "L breast": Laterality.LEFT}


def combine(model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Combined:
    """Say of the exam, or of a breast, what was said of it: nothing is combined."""
    evaluations = []
    for number, output in enumerate(model.manifest.outputs):
        if not isinstance(output, ScoreOutput | ClassesOutput):
            continue
        about, side = part_of(output, model.manifest.unit.of), _SIDES.get(output.about or "")
        for unit in units:
            said = evaluated(
                output,
                label_of(output, about, side, unit.name),
                calibrated(output, scores[unit.key].outputs[number]),
                _middle_slices(unit),
                side,
            )
            evaluations.append(replace(said, about=about))
    return Combined(tuple(evaluations))


def _middle_slices(unit: Unit) -> tuple[str, ...]:
    """Return the objects with the middle slice of each volume, which stand for all that was read.

    A report that refers to thousands is read by nobody, and by some viewers not at all.
    """
    middle = (volume[len(volume) // 2] for volume in unit.volumes.values())
    return tuple(dict.fromkeys(frame.instance.sop_uid for frame in middle))


def hanging() -> tuple[View, ...]:
    """Return no places: there are no views."""
    return ()
