"""What a model is shown of a study: its domain divides, and what is doubtful for all is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.dicom.lossy import compressed_with_loss
from node.domains.domain import Selection
from node.domains.table import domain_of
from node.manifest import Model
from node.study import Instance, Unit


def select(
    instances: Sequence[Instance], headers: Mapping[str, Dataset], model: Model
) -> Selection:
    """Divide the instances of a study that a model is meant for; headers are by SOP Instance UID.

    What is not meant for it appears nowhere.
    """
    selection = domain_of(model.manifest).units(instances, headers, model.manifest.input)
    units = (_with_doubts(unit, headers[unit.sop_uid]) for unit in selection.units)
    with_doubts = replace(selection, units=tuple(units))
    wanted = model.manifest.unit
    return domain_of(model.manifest).grouped(with_doubts, wanted, instances, headers)


def _with_doubts(unit: Unit, header: Dataset) -> Unit:
    """Add what does not keep an image from being analysed, and should be known."""
    if loss := compressed_with_loss(header):
        return replace(unit, doubts=(*unit.doubts, f"{loss} before it came"))
    return unit
