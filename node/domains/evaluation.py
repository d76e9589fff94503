"""What the scores of one thing become, whether it is an image, a breast or an exam."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from node.manifest import ClassesOutput, ScoreOutput
from node.result import PERCENT, Evaluation, Grade, ImageScore, Measurement
from node.study import Laterality, Unit


def scored(output: ScoreOutput, unit: Unit, score: ImageScore) -> Evaluation:
    """Return the score of an image by itself."""
    return Evaluation(
        label=f"{unit.name} {output.label}",
        sop_uids=(unit.sop_uid,),
        measurements=score.measurements,
        laterality=unit.laterality,
    )


def evaluation_of_grades(
    output: ClassesOutput,
    label: str,
    parts: Sequence[ImageScore] | Sequence[Evaluation],
    laterality: Laterality | None,
) -> Evaluation:
    """Return the mean of the probabilities of the parts, and the most probable class."""
    means = [fmean(values) for values in zip(*map(_values, parts), strict=True)]
    best = means.index(max(means))
    return Evaluation(
        label=label,
        sop_uids=tuple(uid for part in parts for uid in _images(part)),
        measurements=tuple(
            Measurement(one.probability.as_code(), mean, PERCENT, output.decimals)
            for one, mean in zip(output.classes, means, strict=True)
        ),
        laterality=laterality,
        grade=Grade(output.concept.as_code(), output.classes[best].grade.as_code()),
    )


def _values(part: ImageScore | Evaluation) -> list[float]:
    return [measurement.value for measurement in part.measurements]


def _images(part: ImageScore | Evaluation) -> tuple[str, ...]:
    return (part.sop_uid,) if isinstance(part, ImageScore) else part.sop_uids
