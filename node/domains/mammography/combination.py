"""How the scores of images become what is said of a breast and of the exam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.domains.domain import Combined
from node.domains.evaluation import evaluation_of_grades, scored
from node.domains.mammography.lesions import how_lesions_were_counted, lesions_of_marks
from node.domains.mammography.scope import missing_views
from node.manifest import BoxesOutput, ClassesOutput, MapOutput, MaskOutput, Model, ScoreOutput
from node.result import PERCENT, Evaluation, ImageScore, Measurement
from node.study import Laterality, Unit, View


def combine(model: Model, units: Sequence[Unit], scores: Mapping[str, ImageScore]) -> Combined:
    """Combine the scores of mammograms, by SOP Instance UID; each has one."""
    output = model.manifest.outputs[0]
    missing = missing_views(model.manifest.input, [unit.instance.view for unit in units])
    gap = f"Views not analysed or not received: {', '.join(map(str, missing))}."
    lesions, remarks = dict[tuple[str, int], str](), list[str]()
    if isinstance(output, MaskOutput | BoxesOutput):
        lesions = lesions_of_marks(output, units, scores)
        remarks = how_lesions_were_counted(output, units, scores, lesions)
    return Combined(
        evaluations=tuple(_evaluations(model, units, scores)),
        lesions=lesions,
        remarks=tuple(remarks),
        gaps=(gap,) if missing else (),
    )


def _evaluations(
    model: Model, units: Sequence[Unit], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    output = model.manifest.outputs[0]
    match output:
        case ClassesOutput():
            return _grades(output, units, scores)
        case ScoreOutput():
            return _highest(output, units, scores)
        case MaskOutput():
            return _differences(model, output, units, scores)
        case BoxesOutput() | MapOutput():
            return []


def _highest(
    output: ScoreOutput, units: Sequence[Unit], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    """Score each image by its own, each breast by the highest of them, and the exam of two."""
    of_image = {unit.sop_uid: scored(output, unit, scores[unit.sop_uid]) for unit in units}
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
    output: ClassesOutput, units: Sequence[Unit], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    """Grade each breast, and the exam if it is of two: what is one breast's is not the exam's."""
    breasts: dict[Laterality, list[ImageScore]] = {}
    for unit in units:
        breasts.setdefault(_view(unit).laterality, []).append(scores[unit.sop_uid])
    of_breast = {
        side: evaluation_of_grades(output, f"{side} {output.label}", breasts[side], side)
        for side in (Laterality.RIGHT, Laterality.LEFT)
        if side in breasts
    }
    parts = list(of_breast.values())
    if len(parts) < 2:
        return parts
    return [evaluation_of_grades(output, f"Exam {output.label}", parts, None), *parts]


def _differences(
    model: Model, output: MaskOutput, units: Sequence[Unit], scores: Mapping[str, ImageScore]
) -> list[Evaluation]:
    """Compare right and left, projection by projection; of repeats the larger area counts."""
    concept = output.difference
    if concept is None:
        return []
    largest: dict[View, tuple[float, str]] = {}
    for unit in units:
        view = _view(unit)
        for breast in scores[unit.sop_uid].marks:
            area = (breast.measurements[0].value, unit.sop_uid)
            largest[view] = max(area, largest.get(view, area))
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


def _view(unit: Unit) -> View:
    view = unit.instance.view
    assert view is not None, "selection lets only images with a view through"
    return view
