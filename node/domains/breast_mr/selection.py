"""MR objects of a study -> the phases that a network reads at once, each as a volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from node.imaging.stack import stack_of
from node.manifest import Input, ManifestUnit
from node.result import Refusal
from node.study import IMAGE, Frame, Instance, PhaseRead, Unit

EXAM_NAME = "Exam"
"""What a result calls what was read."""


def units(
    instances: Sequence[Instance], headers: Mapping[str, Dataset], wanted: Input
) -> Selection:
    """Take the MR images, one by one: what they are of, `grouped` finds out.

    Those of a class that can be read and that this model does not read are refused; what is no
    image of a slice appears nowhere.
    """
    images, refused = list[Unit](), list[Refusal]()
    for one in instances:
        if one.modality != wanted.modality or one.sop_class not in SLICED:
            continue
        name = image_name(one.shown, headers[one.sop_uid])
        if one.sop_class in wanted.sop_classes:
            images.append(Unit({IMAGE: one}, name))
        else:
            reason = f"{class_words(one.sop_class)}, which this model does not read"
            refused.append(Refusal(one.sop_uid, name, reason))
    return Selection(tuple(images), tuple(refused))


def grouped(
    selection: Selection,
    wanted: ManifestUnit,
    _: Sequence[Instance],
    headers: Mapping[str, Dataset],
) -> Selection:
    """Make units of the phases that are wanted, each a volume; or refuse them with the reason."""
    of_uid = {unit.sop_uid: unit.instance for unit in selection.units}
    reading = read_phases(fact for uid in of_uid for fact in facts_of(headers[uid]))
    try:
        if reading.refusal:
            raise StudyError(reading.refusal)
        chosen = chosen_phases(reading, wanted)
    except StudyError as error:
        refused = [Refusal(uid, EXAM_NAME, str(error)) for uid in _first_of(reading, of_uid)]
        return Selection((), (*selection.refused, *refused))
    units_of = (_unit(one, reading, selection, headers) for one in chosen)
    return replace(selection, units=tuple(units_of))


def _unit(
    chosen: ChosenPhases,
    reading: Reading,
    selection: Selection,
    headers: Mapping[str, Dataset],
) -> Unit:
    """Return what is read at once: slices of each phase in the order of space, and its time."""
    of_uid = {unit.sop_uid: unit.instance for unit in selection.units}
    posts = {phase.name: phase for phase in reading.phases if phase.name != PRE}
    volumes, followed = (
        {
            role: tuple(Frame(of_uid[uid], number) for uid, number in phase.images)
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
    of_stacks = _of_stacks(volumes.values(), headers)
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
    return f"injection by {reading.injected_by}, start by {reading.ordered_by}, {phase.lasts_by}"


def _first_of(reading: Reading, of_uid: Mapping[str, Instance]) -> tuple[str, ...]:
    """Return the object that stands for a study of which nothing is read: of its phases' first."""
    of_phases = (uid for phase in reading.phases for uid, _ in phase.images)
    return (next(of_phases, next(iter(of_uid))),) if of_uid else ()


def _of_stacks(
    volumes: Iterable[tuple[Frame, ...]], headers: Mapping[str, Dataset]
) -> Iterator[str]:
    """Yield what is doubtful of how the slices of each phase lie; what is amiss, others refuse."""
    planes = cache(lambda uid: planes_of(headers[uid]))  # an object of many frames is asked once
    for volume in volumes:
        of_volume = [planes(one.instance.sop_uid)[(one.number or 1) - 1] for one in volume]
        yield from stack_of(of_volume).doubts


def _of_images(selection: Selection, volumes: Mapping[str, tuple[Frame, ...]]) -> list[str]:
    """Return what is doubtful of the images that are read."""
    read = {frame.instance.sop_uid for volume in volumes.values() for frame in volume}
    return [doubt for unit in selection.units if unit.sop_uid in read for doubt in unit.doubts]
