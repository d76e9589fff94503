"""Scores -> Result: how images combine into breast and exam, and what priority follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from node.domains.mammography.lesions import how_lesions_were_counted, lesions_of_marks
from node.manifest import BoxesOutput, ClassesOutput, MaskOutput, Model, ScoreOutput
from node.result import (
    PERCENT,
    Evaluation,
    Finding,
    Grade,
    ImageScore,
    Measurement,
    Priority,
    Refusal,
    Region,
    Result,
)
from node.study import Instance, Laterality, View


def conclude(
    model: Model,
    selected: Sequence[Instance],
    refused: Sequence[Refusal],
    scores: Mapping[str, ImageScore],
) -> Result:
    """Combine the scores of the selected images, given by SOP Instance UID, into one Result.

    A selected image without a score joins the refused ones: no image goes unmentioned.
    """
    analysed = [instance for instance in selected if instance.sop_uid in scores]
    refused = [*refused, *_without_score(selected, refused, scores)]
    if not analysed:
        return not_analysed(model, refused, _why_nothing(refused))
    findings = _findings(model, analysed, scores)
    return Result(
        model=model.identity,
        analysed=tuple(instance.sop_uid for instance in analysed),
        refused=tuple(refused),
        findings=tuple(findings),
        evaluations=tuple(_evaluations(model, analysed, scores)),
        statements=tuple(_statements(model, analysed, scores, findings)),
        priority=Priority.NOT_ASSESSED,
        looked_for=model.manifest.output.looks_for,
        heat_maps=tuple(
            replace(heat_map, sop_uid=instance.sop_uid)
            for instance in analysed
            if (heat_map := scores[instance.sop_uid].heat_map) is not None
        ),
    )


def not_analysed(model: Model, refused: Sequence[Refusal], reason: str) -> Result:
    """Return the answer for a study of which nothing could be analysed."""
    return Result(
        model=model.identity,
        analysed=(),
        refused=tuple(refused),
        priority=Priority.NOT_ASSESSED,
        reason=reason,
        looked_for=model.manifest.output.looks_for,
    )


def missing_views(model: Model, present: Sequence[Instance]) -> list[View]:
    """Return the expected views of the model that no instance shows, in a fixed order."""
    wanted = model.manifest.input
    expected = {view for view in wanted.expected if view.projection in wanted.projections}
    return sorted(
        expected - {instance.view for instance in present if instance.view},
        key=lambda view: (view.projection, view.laterality != Laterality.RIGHT),
    )


def _without_score(
    selected: Sequence[Instance], refused: Sequence[Refusal], scores: Mapping[str, ImageScore]
) -> list[Refusal]:
    known = scores.keys() | {refusal.sop_uid for refusal in refused}
    return [
        Refusal(instance.sop_uid, str(instance.view), "could not be analysed", is_failure=True)
        for instance in selected
        if instance.sop_uid not in known
    ]


def _why_nothing(refused: Sequence[Refusal]) -> str:
    reasons = list(dict.fromkeys(refusal.reason for refusal in refused))
    if len(reasons) == 1:
        return reasons[0]
    return "; ".join(reasons) or "the study holds no image this model reads"


def _findings(
    model: Model, analysed: Sequence[Instance], scores: Mapping[str, ImageScore]
) -> list[Finding]:
    """Return one finding for each mark, image by image."""
    output = model.manifest.output
    if not isinstance(output, MaskOutput | BoxesOutput):
        return []
    lesions = lesions_of_marks(output, analysed, scores)
    findings = []
    for instance in analysed:
        assert instance.view is not None, "selection lets only images with a view through"
        marks = scores[instance.sop_uid].marks
        for number, mark in enumerate(marks):
            label = f"{instance.view} {output.label}"
            findings.append(
                Finding(
                    label=f"{label} {number + 1}" if len(marks) > 1 else label,
                    kind=output.finding.as_code(),
                    laterality=instance.view.laterality,
                    region=Region(instance.sop_uid, mark.outline, mark.is_box),
                    measurements=mark.measurements,
                    lesion=lesions.get((instance.sop_uid, number), ""),
                )
            )
    return findings


def _evaluations(
    model: Model, analysed: Sequence[Instance], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    output = model.manifest.output
    match output:
        case ClassesOutput():
            return _grades(output, analysed, scores)
        case ScoreOutput():
            return _highest(output, analysed, scores)
        case MaskOutput():
            return _differences(model, output, analysed, scores)
        case BoxesOutput():
            return []


def _highest(
    output: ScoreOutput, analysed: Sequence[Instance], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    """Score each image by its own, each breast by the highest of them, and the exam of two."""
    of_image = {
        instance.sop_uid: Evaluation(
            label=f"{instance.view} {output.label}",
            sop_uids=(instance.sop_uid,),
            measurements=scores[instance.sop_uid].measurements,
            laterality=instance.view.laterality if instance.view else None,
        )
        for instance in analysed
    }
    of_breast = [
        _highest_of([e for e in of_image.values() if e.laterality == side], label, side)
        for side in (Laterality.RIGHT, Laterality.LEFT)
        for label in [f"{side} breast {output.label}"]
        if any(e.laterality == side for e in of_image.values())
    ]
    of_exam = [_highest_of(of_breast, f"Exam {output.label}", None)] if len(of_breast) > 1 else []
    return [*of_exam, *of_breast, *of_image.values()]


def _highest_of(
    parts: Sequence[Evaluation], label: str, laterality: Laterality | None
) -> Evaluation:
    highest = max(parts, key=lambda part: part.measurements[0].value)
    images = tuple(uid for part in parts for uid in part.sop_uids)
    return Evaluation(label, images, highest.measurements, laterality)


def _grades(
    output: ClassesOutput, analysed: Sequence[Instance], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    """Grade each breast, and the exam if it is of two: what is one breast's is not the exam's."""
    breasts: dict[Laterality, list[ImageScore]] = {}
    for instance in analysed:
        assert instance.view is not None
        breasts.setdefault(instance.view.laterality, []).append(scores[instance.sop_uid])
    of_breast = {
        side: _evaluation(output, f"{side} {output.label}", breasts[side], side)
        for side in (Laterality.RIGHT, Laterality.LEFT)
        if side in breasts
    }
    parts = list(of_breast.values())
    if len(parts) < 2:
        return parts
    return [_evaluation(output, f"Exam {output.label}", parts, None), *parts]


def _evaluation(
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


def _differences(
    model: Model,
    output: MaskOutput,
    analysed: Sequence[Instance],
    scores: Mapping[str, ImageScore],
) -> list[Evaluation]:
    """Compare right and left, projection by projection; of repeats the larger area counts."""
    concept = output.difference
    if concept is None:
        return []
    largest: dict[View, tuple[float, str]] = {}
    for instance in analysed:
        assert instance.view is not None
        for breast in scores[instance.sop_uid].marks:
            area = (breast.measurements[0].value, instance.sop_uid)
            largest[instance.view] = max(area, largest.get(instance.view, area))
    evaluations = []
    for projection in model.manifest.input.projections:
        right = largest.get(View(Laterality.RIGHT, projection))
        left = largest.get(View(Laterality.LEFT, projection))
        if right is None or left is None or right[0] == left[0] == 0:
            continue
        percent = 100 * abs(right[0] - left[0]) / max(right[0], left[0])
        evaluations.append(
            Evaluation(
                label=f"{projection} left-right difference",
                sop_uids=(right[1], left[1]),
                measurements=(Measurement(concept.as_code(), percent, PERCENT),),
            )
        )
    return evaluations


def _statements(
    model: Model,
    analysed: Sequence[Instance],
    scores: Mapping[str, ImageScore],
    findings: Sequence[Finding],
) -> list[str]:
    statements = [model.manifest.statement]
    output = model.manifest.output
    empty = [str(i.view) for i in analysed if not scores[i.sop_uid].marks]
    if isinstance(output, MaskOutput | BoxesOutput):
        if empty:
            statements.append(f"No {output.label} found on: {', '.join(empty)}.")
        statements += how_lesions_were_counted(output, analysed, scores, findings)
    for doubt in dict.fromkeys(doubt for i in analysed for doubt in i.doubts):
        doubtful = ", ".join(str(i.view) for i in analysed if doubt in i.doubts)
        statements.append(f"{doubt}: {doubtful}.")
    missing = missing_views(model, analysed)
    if missing:
        statements.append(f"Views not analysed or not received: {', '.join(map(str, missing))}.")
    return statements
