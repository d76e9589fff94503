"""What the scores of a breast MRI say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from node.domains.domain import Combined
from node.domains.evaluation import calibrated, evaluated, label_of
from node.manifest import ClassesOutput, Model, ScoreOutput, part_of
from node.result import Evaluation, UnitScore
from node.study import Laterality, Unit, View

_SIDES = {"R breast": Laterality.RIGHT, "L breast": Laterality.LEFT}


def combine(model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Combined:
    """Say of the exam, or of a breast, what was said of it: nothing is combined.

    Of a breast that is not seen in the images nothing is said, whatever the network answers.
    """
    evaluations, unseen = list[Evaluation](), dict[str, None]()
    for number, output in enumerate(model.manifest.outputs):
        if not isinstance(output, ScoreOutput | ClassesOutput):
            continue
        about, side = part_of(output, model.manifest.unit.of), _SIDES.get(output.about or "")
        for unit in units:
            shown = scores[unit.key].breasts
            if side is not None and shown not in (side, Laterality.BOTH):
                unseen[_unseen(side, shown)] = None
                continue
            said = evaluated(
                output,
                label_of(output, about, side, unit.name),
                calibrated(output, scores[unit.key].outputs[number]),
                _middle_slices(unit),
                side,
            )
            evaluations.append(replace(said, about=about))
    seen = dict.fromkeys(scores[unit.key].breasts for unit in units)
    remarks = tuple(_SEEN[one] for one in seen if one in _SEEN)
    return Combined(tuple(evaluations), remarks=remarks, gaps=tuple(unseen))


_SEEN: Mapping[Laterality | None, str] = {
    Laterality.RIGHT: "One breast only is seen in the images, the right one.",
    Laterality.LEFT: "One breast only is seen in the images, the left one.",
    None: "Which breasts the images show could not be seen in them.",
}
_SIDE_WORDS = {Laterality.RIGHT: "right", Laterality.LEFT: "left"}


def _unseen(side: Laterality, shown: Laterality | None) -> str:
    why = "it could not be seen which there are" if shown is None else "it is not in the images"
    return f"Nothing is said of the {_SIDE_WORDS[side]} breast: {why}."


def _middle_slices(unit: Unit) -> tuple[str, ...]:
    """Return the objects with the middle slice of each volume, which stand for all that was read.

    A report that refers to thousands is read by nobody, and by some viewers not at all.
    """
    middle = (volume[len(volume) // 2] for volume in unit.volumes.values())
    return tuple(dict.fromkeys(frame.instance.sop_uid for frame in middle))


def hanging() -> tuple[View, ...]:
    """Return no places: there are no views."""
    return ()
