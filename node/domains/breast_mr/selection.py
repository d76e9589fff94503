"""MR objects of a study -> the phases that a network reads at once, each as a volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from pydicom import Dataset

from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import PRE, MrPhase, Reading
from node.domains.breast_mr.phases import read as read_phases
from node.domains.breast_mr.roles import ChosenPhases, chosen_phases
from node.domains.domain import Selection
from node.domains.naming import class_words, image_name
from node.errors import StudyError
from node.imaging.planes import SLICED, planes_of
from node.imaging.stack import Stack, stack_of
from node.manifest import Input, ManifestUnit
from node.result import Refusal
from node.study import IMAGE, Frame, Instance, PhaseRead, Unit

_MODALITY = "MR"
EXAM_NAME = "Exam"
"""What a result calls what was read."""


def units(
    instances: Sequence[Instance], headers: Mapping[str, Dataset], wanted: Input
) -> Selection:
    """Take the MR images, one by one: what they are of, `grouped` finds out.

    Those of a class that can be read and that this model does not read are refused, class by class:
    what stands in a thousand lines is read by nobody. What is no image of a slice appears nowhere.
    """
    images, others = list[Unit](), defaultdict[str, list[str]](list)
    for one in instances:
        if not _is_image(one):
            continue
        if one.sop_class in wanted.sop_classes:
            images.append(Unit({IMAGE: one}, image_name(one.shown, headers[one.sop_uid])))
        else:
            others[one.sop_class].append(one.sop_uid)
    refused = (
        Refusal(
            uids[0],
            EXAM_NAME,
            f"{_counted(uids)} {class_words(of)}, which this model does not read",
        )
        for of, uids in others.items()
    )
    return Selection(tuple(images), tuple(refused))


def _is_image(one: Instance) -> bool:
    """Whether it is of slices: what else an MR study has says nothing of it."""
    return one.modality == _MODALITY and one.sop_class in SLICED


def _counted(uids: Sequence[str]) -> str:
    return f"{len(uids)} object{'s' * (len(uids) > 1)} of"


def grouped(
    selection: Selection,
    wanted: ManifestUnit,
    instances: Sequence[Instance],
    headers: Mapping[str, Dataset],
) -> Selection:
    """Make units of the phases that are wanted, each a volume; or refuse them with the reason.

    Where there are some, what is of classes that are not read is like all that is no phase: passed
    over without a word.
    """
    of_uid = {unit.sop_uid: unit.instance for unit in selection.units}
    others = [one.sop_uid for one in instances if _is_image(one) and one.sop_uid not in of_uid]
    reading = read_phases(
        (fact for uid in of_uid for fact in facts_of(headers[uid])),
        (fact for uid in others for fact in facts_of(headers[uid])),
    )
    try:
        if reading.refusal:
            raise StudyError(reading.refusal)
        chosen = chosen_phases(reading, wanted)
    except StudyError as error:
        refused = [Refusal(uid, EXAM_NAME, str(error)) for uid in _first_of(reading, of_uid)]
        return Selection((), (*selection.refused, *refused))
    planes = cache(lambda uid: planes_of(headers[uid]))  # an object of many frames is asked once
    stacks = {
        phase.name: stack_of([planes(uid)[(number or 1) - 1] for uid, number in phase.images])
        for phase in reading.phases
    }
    units_of = (_unit(one, reading, selection, stacks) for one in chosen)
    refused = [one for one in selection.refused if one.what != EXAM_NAME]
    return replace(selection, units=tuple(units_of), refused=tuple(refused))


def _unit(
    chosen: ChosenPhases,
    reading: Reading,
    selection: Selection,
    stacks: Mapping[str, Stack],
) -> Unit:
    """Return what is read at once: slices of each phase in the order of space, and its time."""
    of_uid = {unit.sop_uid: unit.instance for unit in selection.units}
    posts = {phase.name: phase for phase in reading.phases if phase.name != PRE}
    volumes, followed = (
        {
            role: tuple(
                Frame(of_uid[plane.sop_uid], plane.frame) for plane in stacks[phase.name].planes
            )
            for role, phase in cast.items()
        }
        for cast in (chosen.cast, posts)
    )
    phases, followed_phases = (
        tuple(
            PhaseRead(role, one.name, len(one.images), one.middle_s, _rests_on(one, reading))
            for role, one in cast.items()
        )
        for cast in (chosen.cast, posts)
    )
    of_stacks = _of_stacks([stacks[phase.name] for phase in chosen.cast.values()])
    of_images = _of_images(selection, volumes)
    doubts = dict.fromkeys((*reading.doubts, *chosen.lacking, *of_stacks, *of_images))
    name = f"{EXAM_NAME} {chosen.name}" if chosen.name else EXAM_NAME
    return Unit(
        {},
        name,
        volumes=volumes,
        phases=phases,
        doubts=tuple(doubts),
        followed=followed,
        followed_phases=followed_phases,
    )


def _rests_on(phase: MrPhase, reading: Reading) -> str:
    """Return what the time of a phase rests on; "" if it has none."""
    if phase.middle_s is None:
        return ""
    lasts = f", length by {phase.lasts_by}" if phase.lasts_by else ""
    return f"injection by {reading.injected_by}, start by {reading.ordered_by}{lasts}"


def _first_of(reading: Reading, of_uid: Mapping[str, Instance]) -> tuple[str, ...]:
    """Return the object that stands for a study of which nothing is read: of its phases' first."""
    of_phases = (uid for phase in reading.phases for uid, _ in phase.images)
    return (next(of_phases, next(iter(of_uid))),) if of_uid else ()


def _of_stacks(stacks: Collection[Stack]) -> Iterator[str]:
    """Yield what is doubtful of how the slices of each phase lie; what is amiss, others refuse."""
    for stack in stacks:
        yield from stack.doubts
    spaces = {plane.frame_of_reference for stack in stacks for plane in stack.planes}
    if len(stacks) > 1 and spaces == {""}:
        yield "Frame of Reference UID missing, so that nothing says that phases lie in one space"


def _of_images(selection: Selection, volumes: Mapping[str, tuple[Frame, ...]]) -> list[str]:
    """Return what is doubtful of the images that are read."""
    read = {frame.instance.sop_uid for volume in volumes.values() for frame in volume}
    return [doubt for unit in selection.units if unit.sop_uid in read for doubt in unit.doubts]
