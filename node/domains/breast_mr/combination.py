"""What the scores of a breast MRI say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from node.domains.breast_mr.selection import EXAM_NAME
from node.domains.breast_mr.solids import first_volume, lacking, solids_of
from node.domains.domain import Combined
from node.domains.evaluation import (
    Said,
    calibrated,
    combination_of,
    evaluated,
    label_of,
)
from node.manifest import (
    EACH_POST,
    UNCOMBINED,
    ClassesOutput,
    Model,
    NumberOutput,
    ScoreOutput,
    part_of,
)
from node.manifest.voxels import Slices
from node.result import Evaluation, OutputScore, UnitScore
from node.study import Laterality, Unit, View

_SIDES = {"R breast": Laterality.RIGHT, "L breast": Laterality.LEFT}


def combine(model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Combined:
    """Say of the exam, or of a breast, what was said of it, or of each phase after contrast.

    Of a breast that is not seen in the images nothing is said, whatever the network answers.
    """
    evaluations, unseen = list[Evaluation](), list[str]()
    breasts = dict.fromkeys(scores[unit.key].breasts for unit in units)
    unread = dict.fromkeys(side for unit in units for side in scores[unit.key].unread)
    unseen += [_UNREAD.format(side.word) for side in unread]
    remarks = [_SEEN[one] for one in breasts if one in _SEEN]
    lain = solids_of(model, units, scores)
    for place, output in enumerate(model.manifest.outputs):
        of_output = [scores[unit.key].outputs[place] for unit in units]
        side = _SIDES.get(output.about or "")
        if side is not None and not breasts.keys() <= {side, Laterality.BOTH}:
            unseen += [_unseen(side, shown) for shown in breasts]
            continue
        if side in unread:
            continue
        if isinstance(output, ScoreOutput | ClassesOutput):
            evaluations += _said_of_exam(model, output, units, of_output)
            remarks += _deciding(model, output, units, of_output)
        elif isinstance(output, NumberOutput):
            evaluations += _measured(model, output, units, of_output, _marked_slices(lain, side))
            remarks += _of_none(output, units, of_output)
    gaps = dict.fromkeys([*unseen, *(gap for unit in units for gap in lacking(model, unit))])
    return replace(
        lain,
        evaluations=tuple(evaluations),
        remarks=tuple(remarks),
        gaps=tuple(gaps),
        missing=tuple(
            dict.fromkeys([*_phases_missing(model, units), *_sides_missing(breasts, unread)])
        ),
    )


def _phases_missing(model: Model, units: Sequence[Unit]) -> Iterator[str]:
    """Yield what the model would have read: roles without a phase, and phases that did not come."""
    wanted, expected = model.manifest.unit, model.manifest.input.expected_phases
    for role in wanted.roles:
        if role != EACH_POST and any(role not in unit.volumes for unit in units):
            yield f"{role} phase"
    if wanted.is_repeated:
        read = {unit.name.removeprefix(EXAM_NAME).strip() for unit in units}
        yield from (f"post {at}" for at in range(1, expected or 0) if f"post {at}" not in read)


def _sides_missing(
    breasts: Collection[Laterality | None], unread: Collection[Laterality]
) -> Iterator[str]:
    """Yield which breasts were not read: of one alone nobody can say that the other has nothing."""
    for shown in breasts:
        if shown is None:
            yield "both breasts (which there are could not be seen)"
        elif shown is not Laterality.BOTH:
            yield from (name for name, side in _SIDES.items() if side is not shown)
    yield from (name for name, side in _SIDES.items() if side in unread)


def _marked_slices(lain: Combined, side: Laterality | None) -> tuple[str, ...]:
    """Return the objects with the slices that say most about what counts of a breast."""
    if lain.stack is None or side is None:
        return ()
    counted = [one for one in lain.solids if one.laterality is side and not one.is_left_out]
    places = (place for one in counted for place in one.decisive)
    return tuple(dict.fromkeys(lain.stack.slices[place][0] for place in places))


def _measured(
    model: Model,
    output: NumberOutput,
    units: Sequence[Unit],
    scores: Sequence[OutputScore],
    marked: tuple[str, ...],
) -> Iterator[Evaluation]:
    """Yield the numbers, of each phase after contrast its own where they are read in turn.

    Each stands beside the slices that are marked in its breast, without any the middle ones.
    """
    about, side = part_of(output, model.manifest.unit.of), _SIDES.get(output.about or "")
    for unit, score in zip(units, scores, strict=True):
        if score.measurements:
            slices = marked or _middle_slices(unit)
            said = Evaluation(_number_label(output, unit), slices, score.measurements, side)
            yield replace(said, output=output.name, about=about)


def _of_none(
    output: NumberOutput, units: Sequence[Unit], scores: Sequence[OutputScore]
) -> Iterator[str]:
    """Yield of which there is no number, though all is there that it needs, and what that means."""
    for unit, score in zip(units, scores, strict=True):
        if not score.measurements and set(output.needs) <= unit.volumes.keys():
            yield f"{_number_label(output, unit)} is not given: {output.none_if}."


def _number_label(output: NumberOutput, unit: Unit) -> str:
    side = _SIDES.get(output.about or "")
    whose = "Exam" if side is None else f"{side} breast"
    phase = unit.name.removeprefix(EXAM_NAME).strip()
    return f"{whose} {output.label} {phase}".strip()


def _deciding(
    model: Model, output: Said, units: Sequence[Unit], scores: Sequence[OutputScore]
) -> Iterator[str]:
    """Yield which slice decides, where a network answers slice by slice."""
    cut = next((one for one in model.manifest.operations if isinstance(one, Slices)), None)
    for unit, score in zip(units, scores, strict=True):
        if score.deciding is not None and cut is not None:
            along = "" if cut.along == "slices" else f" across the {cut.along}"
            where = f"slice {score.deciding.number + 1} of the {cut.count}{along} that were read"
            if (nearest := score.deciding.nearest) is not None:
                role, volume = first_volume(unit)
                where += f", nearest to {role}, slice {nearest + 1} of {len(volume)}"
            yield f"{unit.name}: {output.label} is that of {where}."


def _said_of_exam(
    model: Model, output: Said, units: Sequence[Unit], scores: Sequence[OutputScore]
) -> Iterator[Evaluation]:
    numbers = [calibrated(output, score) for score in scores]
    about, side = part_of(output, model.manifest.unit.of), _SIDES.get(output.about or "")
    how = (output.combine or UNCOMBINED).exam
    label = label_of(output, about, side, "")
    if how in ("highest", "mean"):
        together = combination_of(output, how, numbers)
        read = [u for u, n in zip(units, numbers, strict=True) if how == "mean" or n == together]
        of_unit = dict(zip([unit.key for unit in units], scores, strict=True))
        slices = dict.fromkeys(uid for unit in read for uid in _telling(unit, of_unit[unit.key]))
        yield replace(evaluated(output, label, together, tuple(slices), side), about=about)
        return
    for unit, said, score in zip(units, numbers, scores, strict=True):
        phase = unit.name.removeprefix(EXAM_NAME).strip()
        named = f"{label} {phase}".strip()
        yield replace(evaluated(output, named, said, _telling(unit, score), side), about=about)


def _telling(unit: Unit, score: OutputScore) -> tuple[str, ...]:
    """Return the object with the slice that decides, if one does; else the middle ones."""
    if score.deciding is None or score.deciding.nearest is None:
        return _middle_slices(unit)
    _, volume = first_volume(unit)
    return (volume[score.deciding.nearest].instance.sop_uid,)


_SEEN: Mapping[Laterality | None, str] = {
    Laterality.RIGHT: "One breast only is seen in the images, the right one.",
    Laterality.LEFT: "One breast only is seen in the images, the left one.",
    None: "Which breasts the images show could not be seen in them.",
}
_UNREAD = (
    "The {} breast is missing: it was not found, or not all of it lies in what the network saw; "
    "nothing is measured of it."
)


def _unseen(side: Laterality, shown: Laterality | None) -> str:
    why = "it could not be seen which there are" if shown is None else "it is not in the images"
    return f"Nothing is said of the {side.word} breast: {why}."


def _middle_slices(unit: Unit) -> tuple[str, ...]:
    """Return the objects with the middle slice of each volume, which stand for all that was read.

    A report that refers to thousands is read by nobody, and by some viewers not at all.
    """
    middle = (volume[len(volume) // 2] for volume in unit.volumes.values())
    return tuple(dict.fromkeys(frame.instance.sop_uid for frame in middle))


def hanging() -> tuple[View, ...]:
    """Return no places: there are no views."""
    return ()
