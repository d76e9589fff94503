"""What a model is shown of a study: its domain divides, and what is doubtful for all is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.dicom.lossy import compressed_with_loss
from node.domains.contradictions import why_contradictory
from node.domains.domain import Selection
from node.domains.table import domain_of
from node.manifest import Model
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
        Refusal(unit.sop_uid, unit.name, reasons[unit.sop_uid])
        for unit in selection.units
        if reasons[unit.sop_uid]
    )
    units = (unit for unit in selection.units if not reasons[unit.sop_uid])
    return Selection(
        units=tuple(_with_doubts(unit, headers[unit.sop_uid]) for unit in units),
        refused=(*selection.refused, *contradictory),
    )


def _with_doubts(unit: Unit, header: Dataset) -> Unit:
    """Add what does not keep an image from being analysed, and should be known."""
    if loss := compressed_with_loss(header):
        return replace(unit, doubts=(*unit.doubts, f"{loss} before it came"))
    return unit
