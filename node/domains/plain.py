"""Image by image: of any modality and body part that a manifest names, nothing else known.

Each image stands for itself: there are no views, nothing is missing, nothing is combined, and the
images hang in the order of Series Number (0020,0011) and Instance Number (0020,0013), those that
have none in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from pydicom import Dataset

from node.domains.domain import Awaited, Combined, Selection
from node.domains.evaluation import calibrated, evaluated, label_of
from node.domains.naming import class_words, image_name, place_in_study
from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid, Points
from node.imaging.visibility import Hidden
from node.manifest import (
    ClassesOutput,
    Input,
    Manifest,
    ManifestUnit,
    MaskOutput,
    Model,
    ScoreOutput,
)
from node.result import Refusal, UnitScore
from node.study import IMAGE, Instance, Shown, Unit, View

NO_BODY_PART = "does not say which body part it shows"


def read(_: Dataset, shown: Shown) -> Shown:
    """Add nothing to what all objects say."""
    return shown


def is_in_scope(shown: Shown, wanted: Input) -> bool:
    """Whether an object is of the modality and of a body part that the model was made for."""
    return shown.modality == wanted.modality and shown.body_part in wanted.body_parts


def why_not_in_scope(_: Collection[Shown], __: Input) -> str:
    """Return "": each image stands for itself."""
    return ""


def told(_: Collection[Shown]) -> tuple[str, ...]:
    """Tell nothing: nothing is known."""
    return ()


def awaited(_: Collection[Shown], __: Sequence[Input]) -> Awaited:
    """Wait for nothing: how many images there should be, nobody knows."""
    return Awaited()


def units(
    instances: Sequence[Instance], headers: Mapping[str, Dataset], wanted: Input
) -> Selection:
    """Take every image as a unit of its own.

    What does not say its body part is refused, for it may be of another one.
    """
    of_modality = sorted(
        (
            instance
            for instance in instances
            if instance.modality == wanted.modality
            and instance.body_part in ("", *wanted.body_parts)
        ),
        key=lambda instance: _hanging_order(headers[instance.sop_uid]),
    )
    reasons = {i.sop_uid: _why_refused(i.shown, wanted) for i in of_modality}
    names = {i.sop_uid: image_name(i.shown, headers[i.sop_uid]) for i in of_modality}
    return Selection(
        units=tuple(
            Unit({IMAGE: i}, names[i.sop_uid]) for i in of_modality if not reasons[i.sop_uid]
        ),
        refused=tuple(
            Refusal(i.sop_uid, names[i.sop_uid], reasons[i.sop_uid])
            for i in of_modality
            if reasons[i.sop_uid]
        ),
    )


def require_visible(_: Hidden) -> None:
    """Accept any window: of a CT or MR they leave out much on purpose."""


def require_plausible(seen: Float32, _: Manifest) -> None:
    """Raise StudyError if an image shows one tone, of which any answer would be made up."""
    if np.ptp(seen) == 0:
        raise StudyError("nothing to be seen in this image: it is of one tone")


def require_plausible_outline(region: Points, _: PlaneGrid, manifest: Manifest) -> None:
    """Raise StudyError if there is no region."""
    if not len(region):
        outlined = [one.label for one in manifest.outputs if isinstance(one, MaskOutput)]
        raise StudyError(f"no {' or '.join(outlined)} found in this image")


def combine(model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore]) -> Combined:
    """Say of each image what was said of it; nothing is said of several together."""
    evaluations = [
        replace(
            evaluated(
                output,
                label_of(output, "image", None, unit.name),
                calibrated(output, scores[unit.key].outputs[number]),
                (unit.sop_uid,),
                unit.laterality,
            ),
            about="image",
        )
        for number, output in enumerate(model.manifest.outputs)
        if isinstance(output, ScoreOutput | ClassesOutput)
        for unit in units
    ]
    return Combined(tuple(evaluations))


def grouped(
    selection: Selection, _: ManifestUnit, __: Sequence[Instance], ___: Mapping[str, Dataset]
) -> Selection:
    """Leave each image by itself: no manifest of this domain asks for another unit."""
    return selection


def hanging() -> tuple[View, ...]:
    """Return no places: whatever there is hangs."""
    return ()


def _hanging_order(header: Dataset) -> tuple[bool, tuple[int, ...]]:
    place = place_in_study(header)
    return not place, place


def _why_refused(shown: Shown, wanted: Input) -> str:
    if not shown.body_part:
        return NO_BODY_PART
    if shown.sop_class not in wanted.sop_classes:
        return f"{class_words(shown.sop_class)}, which this model does not read"
    return ""
