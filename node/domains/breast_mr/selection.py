"""MR objects of a study -> the phases that a network reads at once, each as a volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from pydicom import Dataset

from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import Reading
from node.domains.breast_mr.phases import read as read_phases
from node.domains.domain import Selection
from node.domains.naming import class_words, image_name
from node.imaging.planes import SLICED, planes_of
from node.imaging.stack import Stack, stack_of
from node.manifest import Input, ManifestUnit
from node.result import Refusal
from node.study import IMAGE, Frame, Instance, Unit

_MODALITY = "MR"
_EXAM = "Exam"
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
            uids[0], _EXAM, f"{_counted(uids)} {class_words(of)}, which this model does not read"
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
    """Make one unit of the phases that are wanted, each a volume; or refuse it with the reason.

    Where there is one, what is of classes that are not read is like all that is no phase: passed
    over without a word.
    """
    of_uid = {unit.sop_uid: unit.instance for unit in selection.units}
    others = [one.sop_uid for one in instances if _is_image(one) and one.sop_uid not in of_uid]
    reading = read_phases(
        (fact for uid in of_uid for fact in facts_of(headers[uid])),
        (fact for uid in others for fact in facts_of(headers[uid])),
    )
    if why := reading.refusal or _why_not_read(reading, wanted):
        refused = [Refusal(uid, _EXAM, why) for uid in _first_of(reading, of_uid)]
        return Selection((), (*selection.refused, *refused))
    planes = cache(lambda uid: planes_of(headers[uid]))  # an object of many frames is asked once
    stacks = {
        phase.name: stack_of([planes(uid)[(number or 1) - 1] for uid, number in phase.images])
        for phase in reading.phases
        if phase.name in wanted.roles
    }
    in_order = {role: stacks[role] for role in wanted.roles if role in stacks}
    volumes = {
        role: tuple(Frame(of_uid[plane.sop_uid], plane.frame) for plane in stack.planes)
        for role, stack in in_order.items()
    }
    doubts = (*reading.doubts, *_of_stacks(in_order.values()), *_of_images(selection, volumes))
    unit = Unit({}, _EXAM, volumes=volumes, doubts=tuple(dict.fromkeys(doubts)))
    refused = [one for one in selection.refused if one.what != _EXAM]
    return replace(selection, units=(unit,), refused=tuple(refused))


def _why_not_read(reading: Reading, wanted: ManifestUnit) -> str:
    if reading.uncertain and wanted.missing == "refuse":
        return f"it is not known which phase is missing: {reading.uncertain}"
    there = [phase.name for phase in reading.phases]
    missing = [role for role in wanted.roles if role not in there]
    if not missing or (wanted.missing == "blank" and len(missing) < len(wanted.roles)):
        return ""
    return f"this model does not read it without {', '.join(missing)}; there: {', '.join(there)}"


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
