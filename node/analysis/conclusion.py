"""Scores -> Result: what is found, what its domain says of it together, what priority follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from node.domains.domain import Combined
from node.domains.table import domain_of
from node.manifest import BoxesOutput, MaskOutput, Model
from node.result import Finding, ImageScore, Priority, Refusal, Region, Result
from node.study import Unit


def conclude(
    model: Model,
    selected: Sequence[Unit],
    refused: Sequence[Refusal],
    scores: Mapping[str, ImageScore],
) -> Result:
    """Combine the scores of the selected units, given by SOP Instance UID, into one Result.

    A selected unit without a score joins the refused ones: no image goes unmentioned.
    """
    analysed = [unit for unit in selected if unit.sop_uid in scores]
    refused = [*refused, *_without_score(selected, refused, scores)]
    if not analysed:
        return not_analysed(model, refused, _why_nothing(refused))
    combined = domain_of(model.manifest).combine(model, analysed, scores)
    return Result(
        model=model.identity,
        analysed=tuple(unit.sop_uid for unit in analysed),
        refused=tuple(refused),
        findings=tuple(_findings(model, analysed, scores, combined.lesions)),
        evaluations=combined.evaluations,
        statements=tuple(_statements(model, analysed, scores, combined)),
        priority=Priority.NOT_ASSESSED,
        looked_for=model.manifest.looks_for,
        heat_maps=tuple(
            replace(heat_map, sop_uid=unit.sop_uid)
            for unit in analysed
            if (heat_map := scores[unit.sop_uid].heat_map) is not None
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
        looked_for=model.manifest.looks_for,
    )


def _without_score(
    selected: Sequence[Unit], refused: Sequence[Refusal], scores: Mapping[str, ImageScore]
) -> list[Refusal]:
    known = scores.keys() | {refusal.sop_uid for refusal in refused}
    return [
        Refusal(unit.sop_uid, unit.name, "could not be analysed", is_failure=True)
        for unit in selected
        if unit.sop_uid not in known
    ]


def _why_nothing(refused: Sequence[Refusal]) -> str:
    reasons = list(dict.fromkeys(refusal.reason for refusal in refused))
    if len(reasons) == 1:
        return reasons[0]
    return "; ".join(reasons) or "the study holds no image this model reads"


def _findings(
    model: Model,
    analysed: Sequence[Unit],
    scores: Mapping[str, ImageScore],
    lesions: Mapping[tuple[str, int], str],
) -> list[Finding]:
    """Return one finding for each mark, image by image."""
    output = model.manifest.outputs[0]
    if not isinstance(output, MaskOutput | BoxesOutput):
        return []
    findings = []
    for unit in analysed:
        marks = scores[unit.sop_uid].marks
        for number, mark in enumerate(marks):
            label = f"{unit.name} {output.label}"
            findings.append(
                Finding(
                    label=f"{label} {number + 1}" if len(marks) > 1 else label,
                    kind=output.finding.as_code(),
                    laterality=unit.laterality,
                    region=Region(unit.sop_uid, mark.outline, mark.is_box),
                    measurements=mark.measurements,
                    lesion=lesions.get((unit.sop_uid, number), ""),
                )
            )
    return findings


def _statements(
    model: Model, analysed: Sequence[Unit], scores: Mapping[str, ImageScore], combined: Combined
) -> list[str]:
    statements = [model.manifest.statement]
    output = model.manifest.outputs[0]
    empty = [unit.name for unit in analysed if not scores[unit.sop_uid].marks]
    if isinstance(output, MaskOutput | BoxesOutput) and empty:
        statements.append(f"No {output.label} found on: {', '.join(empty)}.")
    statements += combined.remarks
    for doubt in dict.fromkeys(doubt for unit in analysed for doubt in unit.doubts):
        doubtful = ", ".join(unit.name for unit in analysed if doubt in unit.doubts)
        statements.append(f"{doubt}: {doubtful}.")
    return [*statements, *combined.gaps]
