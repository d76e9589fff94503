"""Scores -> Result: how images combine into breast and exam, and what priority follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.manifest import Model
from node.result import (
    Code,
    Evaluation,
    Finding,
    ImageScore,
    Measurement,
    Priority,
    Refusal,
    Region,
    Result,
)
from node.study import Instance, Laterality, View

PERCENT = Code("%", "UCUM", "percent")


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
    return Result(
        model=model.identity,
        analysed=tuple(instance.sop_uid for instance in analysed),
        refused=tuple(refused),
        findings=tuple(
            finding
            for instance in analysed
            for finding in _findings(model, instance, scores[instance.sop_uid])
        ),
        evaluations=tuple(_differences(model, analysed, scores)),
        statements=tuple(_statements(model, analysed, scores)),
        priority=Priority.NOT_ASSESSED,
    )


def not_analysed(model: Model, refused: Sequence[Refusal], reason: str) -> Result:
    """Return the answer for a study of which nothing could be analysed."""
    return Result(
        model=model.identity,
        analysed=(),
        refused=tuple(refused),
        priority=Priority.NOT_ASSESSED,
        reason=reason,
    )


def missing_views(model: Model, present: Sequence[Instance]) -> list[View]:
    """Return the expected views that no instance shows, in a fixed order."""
    return sorted(
        model.manifest.input.expected - {instance.view for instance in present if instance.view},
        key=lambda view: (view.projection, view.laterality != Laterality.RIGHT),
    )


def _without_score(
    selected: Sequence[Instance], refused: Sequence[Refusal], scores: Mapping[str, ImageScore]
) -> list[Refusal]:
    known = scores.keys() | {refusal.sop_uid for refusal in refused}
    return [
        Refusal(instance.sop_uid, str(instance.view), "could not be analysed")
        for instance in selected
        if instance.sop_uid not in known
    ]


def _why_nothing(refused: Sequence[Refusal]) -> str:
    reasons = list(dict.fromkeys(refusal.reason for refusal in refused))
    if len(reasons) == 1:
        return reasons[0]
    return "; ".join(reasons) or "the study holds no image this model reads"


def _findings(model: Model, instance: Instance, score: ImageScore) -> list[Finding]:
    if not score.outline:
        return []
    assert instance.view is not None, "selection lets only images with a view through"
    output = model.manifest.output
    return [
        Finding(
            label=f"{instance.view} {output.label}",
            kind=output.finding.as_code(),
            laterality=instance.view.laterality,
            region=Region(instance.sop_uid, score.outline),
            measurements=score.measurements,
        )
    ]


def _differences(
    model: Model, analysed: Sequence[Instance], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    """Compare right and left, projection by projection; of repeats the larger area counts."""
    concept = model.manifest.output.difference
    if concept is None:
        return []
    largest: dict[View, tuple[float, str]] = {}
    for instance in analysed:
        assert instance.view is not None
        area = (scores[instance.sop_uid].measurements[0].value, instance.sop_uid)
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
    model: Model, analysed: Sequence[Instance], scores: Mapping[str, ImageScore]
) -> list[str]:
    statements = [model.manifest.statement]
    empty = [str(i.view) for i in analysed if not scores[i.sop_uid].outline]
    if empty:
        statements.append(f"No {model.manifest.output.label} found on: {', '.join(empty)}.")
    missing = missing_views(model, analysed)
    if missing:
        statements.append(f"Views not analysed or not received: {', '.join(map(str, missing))}.")
    return statements
