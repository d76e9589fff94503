"""What a model is shown of a study: its domain divides, and what is doubtful for all is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.dicom.lossy import compressed_with_loss
from node.domains.contradictions import why_contradictory
from node.domains.domain import Selection
from node.domains.table import domain_of
from node.imaging.spacing import AT_DETECTOR, spacing_of
from node.manifest import BoxesOutput, MaskOutput, Model
from node.result import Refusal
from node.study import Instance, Unit


def select(
    instances: Sequence[Instance], headers: Mapping[str, Dataset], model: Model
) -> Selection:
    """Divide the instances of a study that a model is meant for; headers are by SOP Instance UID.

    What is not meant for it appears nowhere. What contradicts itself is seen by no model.
    """
    selection = domain_of(model.manifest).units(instances, headers, model.manifest.input)
    reasons = {unit.sop_uid: why_contradictory(headers[unit.sop_uid]) for unit in selection.units}
    contradictory = tuple(
        Refusal(unit.sop_uid, unit.name, reasons[unit.sop_uid], is_failure=True)
        for unit in selection.units
        if reasons[unit.sop_uid]
    )
    units = [unit for unit in selection.units if not reasons[unit.sop_uid]]
    of_sizes = _doubts_about_sizes([headers[unit.sop_uid] for unit in units], model)
    of_images = Selection(
        units=tuple(
            _with_doubts(unit, headers[unit.sop_uid], of_size)
            for unit, of_size in zip(units, of_sizes, strict=True)
        ),
        refused=(*selection.refused, *contradictory),
    )
    wanted = model.manifest.unit
    chosen = domain_of(model.manifest).grouped(of_images, wanted, instances, headers)
    if model.manifest.is_followed:
        return chosen
    unfollowed = (replace(unit, followed={}, followed_phases=()) for unit in chosen.units)
    return replace(chosen, units=tuple(unfollowed))


def _with_doubts(unit: Unit, header: Dataset, of_size: str) -> Unit:
    """Add what does not keep an image from being analysed, and should be known."""
    loss = compressed_with_loss(header)
    of_image = (f"{loss} before it came" if loss else "", of_size)
    return replace(unit, doubts=(*unit.doubts, *filter(None, of_image)))


def _doubts_about_sizes(headers: Sequence[Dataset], model: Model) -> list[str]:
    """Return of each image what should be known of the sizes that are measured on it, if any are.

    An image that says nothing of a magnification is named only beside others that do.
    """
    if not any(isinstance(one, MaskOutput | BoxesOutput) for one in model.manifest.outputs):
        return ["" for _ in headers]
    spacings = [spacing_of(header) for header in headers]
    is_mixed = any(one.mm and not one.is_at_detector for one in spacings)
    return [
        AT_DETECTOR if is_mixed and one.is_at_detector and one.mm else one.doubt for one in spacings
    ]
