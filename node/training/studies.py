"""A breast MRI study -> the images that the node gives a network of it: slices or a projection."""

from __future__ import annotations

from dataclasses import dataclass

from node.analysis.selection import select
from node.dicom.header import read_header
from node.errors import StudyError
from node.imaging.digests import pixel_digest
from node.imaging.grey import Float32
from node.inference.inputs import joined, prepared_phases, slices_by_role
from node.manifest import Model
from node.study import StudyVersion


@dataclass(frozen=True, slots=True)
class PreparedStudy:
    """What a network gets of a study."""

    images: Float32
    """(images, channels, rows, columns)"""
    pixel_digest: str
    """Of the object in the middle of the first phase: by it the study is known again."""


def prepared_study(version: StudyVersion, model: Model) -> PreparedStudy:
    """Return what the node would give the network, or raise StudyError with why it would not."""
    manifest = model.manifest
    headers = {one.sop_uid: read_header(one.path) for one in version.instances}
    selection = select(version.instances, headers, model)
    if not selection.units:
        reasons = dict.fromkeys(one.reason for one in selection.refused)
        raise StudyError("; ".join(reasons) or "no phases that the model reads")
    (unit,) = selection.units
    frames = {
        role: [(frame.instance.path, frame.number) for frame in volume]
        for role, volume in unit.volumes.items()
    }
    phases = prepared_phases(slices_by_role(frames), manifest)
    (images,) = joined(
        manifest.inputs, phases.tensors, manifest.image_shape, manifest.image_batch
    ).values()
    first = next(iter(unit.volumes.values()))
    return PreparedStudy(images, pixel_digest(first[len(first) // 2].instance.path))
