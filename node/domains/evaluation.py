"""What answers become: said of what was read, and combined to what is said of more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from node.manifest import ClassesOutput, PartOfStudy, ScoreOutput
from node.result import Evaluation, Grade, Measurement, OutputScore
from node.study import Laterality

Numbers = tuple[Measurement, ...]
Said = ScoreOutput | ClassesOutput
"""Outputs that say something without a place."""


def evaluated(
    output: Said, label: str, numbers: Numbers, sop_uids: Sequence[str], side: Laterality | None
) -> Evaluation:
    """Return what numbers say of something, with the most probable class if they are of classes."""
    grade = None
    if isinstance(output, ClassesOutput):
        values = [number.value for number in numbers]
        best = output.classes[values.index(max(values))]
        grade = Grade(output.concept.as_code(), best.grade.as_code())
    return Evaluation(label, tuple(sop_uids), numbers, side, grade, output=output.name)


def calibrated(output: Said, score: OutputScore) -> Numbers:
    """Return the numbers of an answer as they are reported (models/README.md, Calibration)."""
    if output.calibration is None:
        return score.measurements
    if isinstance(output, ScoreOutput):
        (number,) = score.measurements
        return (replace(number, value=100 * output.calibration.calibrated(number.value / 100)),)
    # The softmax of logits over the temperature: of logarithms, which differ from logits by the
    # same number, counted from the highest, so that none is too small to be written.
    highest = max(number.value for number in score.measurements)
    shares = [
        math.exp(math.log(number.value / highest) / output.calibration.temperature)
        if number.value
        else 0.0
        for number in score.measurements
    ]
    return tuple(
        replace(number, value=100 * share / sum(shares))
        for number, share in zip(score.measurements, shares, strict=True)
    )


def combination_of(output: Said, how: str, parts: Sequence[Numbers]) -> Numbers:
    """Return the numbers of the highest part, or their mean."""
    if how == "highest":
        deciding = output.deciding if isinstance(output, ClassesOutput) else 0
        return max(parts, key=lambda part: part[deciding].value)
    means = (fmean(one.value for one in same) for same in zip(*parts, strict=True))
    return tuple(replace(number, value=mean) for number, mean in zip(parts[0], means, strict=True))


def label_of(output: Said, about: PartOfStudy, side: Laterality | None, name: str) -> str:
    """Return what is said to be evaluated: "R MLO AI score"; `name` is that of what was read."""
    if about == "exam":
        return f"Exam {output.label}"
    if about == "breast":  # classes have it in their label: "R breast density"
        of_breast = "" if isinstance(output, ClassesOutput) else "breast "
        return f"{side} {of_breast}{output.label}"
    return f"{name} {output.label}"
