"""Scores -> Result: what is found, what its domain says of it together, what level follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from node.analysis.triage import triage_of, unassessed
from node.domains.domain import Combined
from node.domains.table import domain_of
from node.imaging.motion import caution_of
from node.manifest import BoxClass, BoxesOutput, ClassesOutput, MaskOutput, Model, ScoreOutput
from node.numbers_in_words import on_its_side, share_in_percent
from node.result import (
    Code,
    Evaluation,
    Finding,
    HeatMap,
    Mark,
    OutputScore,
    Pictured,
    Refusal,
    Region,
    Result,
    UnitScore,
)
from node.study import IMAGE, PRE_CONTRAST, Laterality, Unit

Marking = BoxesOutput | MaskOutput
"""Outputs that say where something is."""


def conclude(
    model: Model,
    selected: Sequence[Unit],
    refused: Sequence[Refusal],
    scores: Mapping[str, UnitScore],
    damaged: int = 0,
) -> Result:
    """Combine the scores of the selected units, given by their keys, into one Result.

    A selected unit without a score joins the refused ones: no image goes unmentioned. `damaged` is
    how many objects of the study were refused as such: any may be one that is meant for the model.
    """
    analysed = [unit for unit in selected if unit.key in scores]
    refused = [*refused, *_without_score(selected, refused, scores)]
    if not analysed:
        return not_analysed(model, refused, _why_nothing(refused))
    combined = domain_of(model.manifest).combine(model, analysed, scores)
    combined = replace(combined, evaluations=tuple(_told_apart(model, combined.evaluations)))
    triage = triage_of(model, combined, refused, damaged)
    return Result(
        model=model.identity,
        analysed=tuple(uid for unit in analysed for uid in unit.sop_uids),
        refused=tuple(refused),
        findings=tuple(_findings(model, analysed, scores, combined.lesions)),
        evaluations=combined.evaluations,
        statements=tuple(_statements(model, analysed, scores, combined)),
        looked_for=model.manifest.looks_for,
        heat_maps=tuple(_heat_maps(analysed, scores)),
        triage=triage,
        breasts=_breasts(scores[unit.key].breasts for unit in analysed if unit.volumes),
        pictured=tuple(_pictured(analysed)),
        stack=combined.stack,
        contrasted=combined.contrasted,
        solids=combined.solids,
        phases=tuple(dict.fromkeys(phase for unit in analysed for phase in unit.phases)),
        curves=combined.curves,
    )


def _breasts(seen: Iterable[Laterality | None]) -> Laterality | None:
    """Return which breasts all units show, None if they differ."""
    sides = set(seen)
    return sides.pop() if len(sides) == 1 else None


def _pictured(analysed: Sequence[Unit]) -> Iterator[Pictured]:
    """Yield the middle slice of each volume: thousands of slices are looked at by nobody."""
    for unit in analysed:
        for role, volume in unit.volumes.items():
            middle = len(volume) // 2
            name = f"{role}, slice {middle + 1} of {len(volume)}"
            yield Pictured(name, volume[middle].instance.sop_uid, volume[middle].number)


def _told_apart(model: Model, evaluations: Sequence[Evaluation]) -> Iterator[Evaluation]:
    """Yield what is said, each score written on its side of its output's operating points."""
    thresholds = {
        output.name: [point.threshold for point in output.operating_points]
        for output in model.manifest.outputs
        if isinstance(output, ScoreOutput)
    }
    for said in evaluations:
        of = thresholds.get(said.output, ())
        yield replace(said, measurements=tuple(on_its_side(m, of) for m in said.measurements))


def not_analysed(model: Model, refused: Sequence[Refusal], reason: str) -> Result:
    """Return the answer for a study of which nothing could be analysed."""
    return Result(
        model=model.identity,
        analysed=(),
        refused=tuple(refused),
        reason=reason,
        looked_for=model.manifest.looks_for,
        triage=None if model.manifest.triage is None else unassessed(reason),
    )


def refused_images(unit: Unit, reason: str) -> Iterator[Refusal]:
    """Yield that each image of a unit should have been analysed, and why it was not.

    Of volumes the first slice stands for all: thousands are read by nobody.
    """
    if unit.volumes:
        yield Refusal(unit.sop_uids[0], unit.name, reason, is_failure=True)
    for image in unit.instances.values():
        is_alone = len(unit.instances) == 1
        name = unit.name if is_alone else str(image.view or unit.name)
        yield Refusal(image.sop_uid, name, reason, is_failure=True)


def _without_score(
    selected: Sequence[Unit], refused: Sequence[Refusal], scores: Mapping[str, UnitScore]
) -> list[Refusal]:
    known = {refusal.sop_uid for refusal in refused}
    return [
        refusal
        for unit in selected
        if unit.key not in scores
        for refusal in refused_images(unit, "could not be analysed")
        if refusal.sop_uid not in known
    ]


def _why_nothing(refused: Sequence[Refusal]) -> str:
    reasons = list(dict.fromkeys(refusal.reason for refusal in refused))
    if len(reasons) == 1:
        return reasons[0]
    return "; ".join(reasons) or "the study holds no image this model reads"


def _marking(
    model: Model, scores: Mapping[str, UnitScore]
) -> Iterator[tuple[int, Marking, Mapping[str, OutputScore]]]:
    """Yield the outputs that mark something, with their places and what they say of each unit."""
    for number, output in enumerate(model.manifest.outputs):
        if isinstance(output, Marking):
            yield number, output, {key: score.outputs[number] for key, score in scores.items()}


def _findings(
    model: Model,
    analysed: Sequence[Unit],
    scores: Mapping[str, UnitScore],
    lesions: Mapping[tuple[int, str, int], str],
) -> Iterator[Finding]:
    """Yield one finding for each mark, output by output and image by image."""
    for place, output, of_output in _marking(model, scores):
        for unit in analysed:
            marks = of_output[unit.key].marks
            for number, (mark, label) in enumerate(zip(marks, _labels(output, marks), strict=True)):
                yield Finding(
                    label=f"{unit.name} {label}",
                    kind=_kind(output, mark),
                    laterality=unit.laterality,
                    region=Region(unit.sop_uid, mark.outline, mark.is_box),
                    measurements=mark.measurements,
                    lesion=lesions.get((place, unit.sop_uid, number), ""),
                    output=output.name,
                )


def _labels(output: Marking, marks: Sequence[Mark]) -> list[str]:
    """Return what each mark is called; those of one kind are numbered if there are several."""
    names = [_of_class(output, mark).label for mark in marks]
    count, numbered = Counter(names), Counter[str]()
    labels = []
    for name in names:
        numbered[name] += 1
        labels.append(f"{name} {numbered[name]}" if count[name] > 1 else name)
    return labels


def _kind(output: Marking, mark: Mark) -> Code:
    return _of_class(output, mark).finding.as_code()


def _of_class(output: Marking, mark: Mark) -> Marking | BoxClass:
    """Return what names a mark: its class, where the output tells several apart."""
    if isinstance(output, BoxesOutput) and mark.of_class is not None:
        return output.classes[mark.of_class]
    return output


def _heat_maps(analysed: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Iterator[HeatMap]:
    for unit in analysed:
        for score in scores[unit.key].outputs:
            if score.heat_map is not None:
                yield replace(score.heat_map, sop_uid=unit.sop_uid)


def _statements(
    model: Model, analysed: Sequence[Unit], scores: Mapping[str, UnitScore], combined: Combined
) -> list[str]:
    statements = [model.manifest.statement]
    for _, output, of_output in _marking(model, scores):
        empty = [unit.name for unit in analysed if not of_output[unit.key].marks]
        if empty:
            statements.append(f"No {output.label} found on: {', '.join(empty)}.")
    statements += combined.remarks
    statements += _calibrations(model)
    doubts = {
        unit.key: (*unit.doubts, *_turned(unit, scores[unit.key]), *scores[unit.key].remarks)
        for unit in analysed
    }
    for doubt in dict.fromkeys(doubt for of_unit in doubts.values() for doubt in of_unit):
        doubtful = ", ".join(unit.name for unit in analysed if doubt in doubts[unit.key])
        # What is no sentence of its own stands behind what it is about.
        of_whom = f"{doubtful}: {doubt}" if doubt[0].islower() else f"{doubt}: {doubtful}"
        statements.append(f"{of_whom}.")
    for unit in analysed:
        statements += _displacements(unit, scores[unit.key])
    return [*statements, *combined.gaps]


MIRRORED = "Lies mirrored against its laterality, Patient Orientation is missing; check the side"


def _turned(unit: Unit, score: UnitScore) -> Iterator[str]:
    """Yield which images of a unit were turned by their pixels, against what is usual."""
    for role in unit.instances:
        if role in score.mirrored:
            yield MIRRORED if role == IMAGE else f"{MIRRORED} ({role})"


def _displacements(unit: Unit, score: UnitScore) -> Iterator[str]:
    """Yield between which phases of a unit the body moved by more than a little, and how far."""
    for role, mm in score.displaced:
        if role not in unit.volumes:
            continue
        if mm is None:
            words = f"by how much it moved between {PRE_CONTRAST} and {role} could not be measured"
            yield f"{unit.name}: {words}."
        elif caution := caution_of(mm, PRE_CONTRAST, role):
            yield f"{unit.name}: {caution}."


def _calibrations(model: Model) -> Iterator[str]:
    """Yield where a probability holds: at another prevalence it is another."""
    said = {
        output.label: output.calibration
        for output in model.manifest.outputs
        if isinstance(output, ScoreOutput | ClassesOutput) and output.calibration is not None
    }
    for label, calibration in said.items():
        if calibration.prevalence is not None:
            share = share_in_percent(calibration.prevalence)
            yield (
                f"{label}: calibrated where {share} have the disease; "
                "where more or fewer have it, it is another number."
            )
