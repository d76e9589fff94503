"""What the scores of a breast MRI say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from node.domains.breast_mr.selection import EXAM_NAME
from node.domains.domain import Combined
from node.domains.evaluation import (
    Numbers,
    Said,
    calibrated,
    combination_of,
    evaluated,
    label_of,
)
from node.manifest import UNCOMBINED, ClassesOutput, Model, ScoreOutput, part_of
from node.result import Evaluation, UnitScore
from node.study import Laterality, Unit, View

_SIDES = {"R breast": Laterality.RIGHT, "L breast": Laterality.LEFT}


def combine(model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Combined:
    """Say of the exam, or of a breast, what was said of it, or of each phase after contrast."""
    evaluations = list[Evaluation]()
    for number, output in enumerate(model.manifest.outputs):
        if isinstance(output, ScoreOutput | ClassesOutput):
            numbers = [calibrated(output, scores[unit.key].outputs[number]) for unit in units]
            evaluations += _said_of_exam(model, output, units, numbers)
    return Combined(tuple(evaluations))


def _said_of_exam(
    model: Model, output: Said, units: Sequence[Unit], numbers: Sequence[Numbers]
) -> Iterator[Evaluation]:
    about, side = part_of(output, model.manifest.unit.of), _SIDES.get(output.about or "")
    how = (output.combine or UNCOMBINED).exam
    label = label_of(output, about, side, "")
    if how in ("highest", "mean"):
        together = combination_of(output, how, numbers)
        read = [u for u, n in zip(units, numbers, strict=True) if how == "mean" or n == together]
        slices = dict.fromkeys(uid for unit in read for uid in _middle_slices(unit))
        yield replace(evaluated(output, label, together, tuple(slices), side), about=about)
        return
    for unit, said in zip(units, numbers, strict=True):
        phase = unit.name.removeprefix(EXAM_NAME).strip()
        named = f"{label} {phase}".strip()
        yield replace(evaluated(output, named, said, _middle_slices(unit), side), about=about)


def _middle_slices(unit: Unit) -> tuple[str, ...]:
    """Return the objects with the middle slice of each volume, which stand for all that was read.

    A report that refers to thousands is read by nobody, and by some viewers not at all.
    """
    middle = (volume[len(volume) // 2] for volume in unit.volumes.values())
    return tuple(dict.fromkeys(frame.instance.sop_uid for frame in middle))


def hanging() -> tuple[View, ...]:
    """Return no places: there are no views."""
    return ()
