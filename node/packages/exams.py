"""Images to try a package on: generated ones of a class that it takes, or those that are given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset

from node.analysis.selection import select
from node.dicom.header import read_header
from node.dicom.part10 import is_part10
from node.domains.description import describe
from node.domains.domain import Selection
from node.errors import ConfigError, ModelError, NodeError, StudyError, Unreadable
from node.imaging.image import Image
from node.imaging.operations import Prepared
from node.imaging.signal_scale import ScaleSource
from node.imaging.stack import Stack
from node.imaging.voxels import PreparedVolume, require_comparable
from node.inference.inputs import (
    inputs_of,
    joined,
    prepared_image,
    prepared_phases,
    slices_by_role,
)
from node.inference.session import Session, Tensor
from node.manifest import REGION, Model
from node.packages.mr_exams import UNLIKE_BODIES, generated_mr
from node.result import Refusal
from node.study import Instance, Unit
from node.trial import phantom
from node.trial.breast_mr.body import USUAL, Body

GIVE_FILES = "give images that the model was made for: --files FOLDER, of DICOM objects"
"""What helps where a generated exam does not do."""
_DISC_MM = 12.0


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image in its role, and what the network gets of it."""

    role: str
    instance: Instance
    image: Image
    prepared: Prepared


@dataclass(frozen=True, slots=True)
class PreparedPhase:
    """A phase in its role, and what the network gets of it."""

    role: str
    stack: Stack
    """How its slices are stored."""
    scale: ScaleSource
    volume: PreparedVolume
    displaced: tuple[float | None, ...]
    """How far, in mm, the body lies from where it was before contrast, None if that cannot be
    measured; nothing where there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class PreparedUnit:
    """What the network reads at once."""

    name: str
    """What results call it: "R MLO"."""
    images: tuple[PreparedImage, ...] = ()
    phases: tuple[PreparedPhase, ...] = ()
    region: Tensor | None = None
    """Where the breasts are, as the network gets it; None if it does not."""

    @property
    def by_role(self) -> dict[str, Tensor]:
        """What is made of each image, or of each phase."""
        images = {one.role: one.prepared.tensor for one in self.images}
        phases = {one.role: one.volume.tensor for one in self.phases}
        return images | phases | ({} if self.region is None else {REGION: self.region})


@contextmanager
def generated_files(model: Model, exams: Sequence[Sequence[Dataset]]) -> Iterator[list[list[Path]]]:
    """Write generated exams, each to a folder of its own that lives as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="ai-node-check-") as folder:
        yield [phantom.save(exam, Path(folder) / str(number)) for number, exam in enumerate(exams)]


def generated_exam(
    model: Model, study: str, technique: phantom.Technique | None = None
) -> list[Dataset]:
    """Return mammograms, a breast MRI, or for what reads something else one image that says it."""
    wanted = model.manifest.input
    if model.manifest.unit.is_of_volumes:
        return _breast_mr(model, study)
    if model.manifest.domain != "mammography":
        return [phantom.image_for(wanted, study, technique=technique)]
    images = phantom.exam_for(wanted, study, technique=technique)
    if not images:
        views = ", ".join(wanted.projections)
        raise NodeError(f"no view of {views} can be generated; {GIVE_FILES}")
    return images


def unlike_exams(model: Model, study: str) -> list[list[Dataset]]:
    """Return three exams that differ clearly."""
    names = [f"{study}{number}" for number in ("", " 2", " 3")]
    if model.manifest.unit.is_of_volumes:
        bodies = zip(names, UNLIKE_BODIES, strict=True)
        return [_breast_mr(model, name, body) for name, body in bodies]
    first, second, third = (generated_exam(model, name) for name in names)
    return [first, second, with_discs(third)]


def _breast_mr(model: Model, study: str, body: Body = USUAL) -> list[Dataset]:
    try:
        return generated_mr(model.manifest, study, body)
    except NodeError as error:
        raise NodeError(f"{error}; {GIVE_FILES}") from error


def with_discs(exam: Sequence[Dataset]) -> list[Dataset]:
    """Plant a bright disc into each image of a generated exam, where glands are thickest."""
    for image in exam:
        pixels = np.array(image.pixel_array)
        y, x = np.mgrid[: image.Rows, : image.Columns]
        is_right = image.ImageLaterality == "R"
        across, down = (0.7 if is_right else 0.3) * image.Columns, 0.54 * image.Rows
        radius = max(_DISC_MM / 2 / float(image.ImagerPixelSpacing[0]), 2)
        pixels[(x - across) ** 2 + (y - down) ** 2 < radius**2] = 4000
        image.PixelData = pixels.astype("<u2").tobytes()
        image["PixelData"].VR = "OW"
    return list(exam)


def files_in(folder: Path) -> list[Path]:
    """Return all files of a folder, or raise ConfigError."""
    if not folder.is_dir():
        raise ConfigError(f"--files {folder}: is no folder")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def files_of(paths: Sequence[Path]) -> list[Path]:
    """Return files, and of folders the DICOM objects in them, or raise NodeError."""
    found = list[Path]()
    for path in paths:
        if not path.is_dir():
            if not path.is_file():
                raise NodeError(f"{path}: is no file")
            found.append(path)
        elif in_folder := dicom_among(files_in(path)):
            found += in_folder
        else:
            raise NodeError(f"{path}: holds no DICOM object")
    return found


def dicom_among(paths: Sequence[Path]) -> list[Path]:
    """Return those files that are DICOM Part 10."""
    return [path for path in paths if is_part10(path)]


def selected(model: Model, files: Sequence[Path]) -> Selection:
    """Divide the images of files as the node does, study by study."""
    units, refused = list[Unit](), list[Refusal]()
    studies: dict[str, list[Instance]] = {}
    headers: dict[str, Dataset] = {}
    for path in files:
        try:
            header = read_header(path)
        except Unreadable as error:
            refused.append(Refusal("", path.name, str(error), is_failure=True))
            continue
        instance = describe(header, path, "")
        if instance.sop_uid not in headers:
            headers[instance.sop_uid] = header
            studies.setdefault(instance.study_uid, []).append(instance)
    for instances in studies.values():
        of_study = {one.sop_uid: headers[one.sop_uid] for one in instances}
        selection = select(instances, of_study, model)
        units += selection.units
        refused += selection.refused
    return Selection(tuple(units), tuple(refused))


def prepared_units(model: Model, files: Sequence[Path]) -> tuple[list[PreparedUnit], list[str]]:
    """Return what the network gets of files, and why of some of them it gets nothing."""
    selection = selected(model, files)
    units, refused = [], [f"{one.what}: {one.reason}" for one in selection.refused]
    for unit in selection.units:
        try:
            images = tuple(_prepared(model, *one) for one in unit.instances.items())
            phases, region = _prepared_phases(model, unit) if unit.volumes else ((), None)
        except (StudyError, ModelError) as error:
            refused.append(f"{unit.name}: {error}")
        else:
            units.append(PreparedUnit(unit.name, images, phases, region))
    return units, refused


def _prepared(model: Model, role: str, instance: Instance) -> PreparedImage:
    image, prepared = prepared_image(instance.path, instance.view, model.manifest)
    return PreparedImage(role, instance, image, prepared)


def _prepared_phases(model: Model, unit: Unit) -> tuple[tuple[PreparedPhase, ...], Tensor | None]:
    frames = {
        role: [(one.instance.path, one.number) for one in volume]
        for role, volume in unit.volumes.items()
    }
    slices = slices_by_role(frames)
    stored, prepared = require_comparable(slices), prepared_phases(slices, model.manifest)
    displaced = dict(prepared.displaced)
    phases = tuple(
        PreparedPhase(
            role,
            stored.stacks[role],
            stored.scale,
            one,
            (displaced[role],) if role in displaced else (),
        )
        for role, one in prepared.volumes.items()
    )
    return phases, None if prepared.region is None else prepared.region.tensor


def tensors_of(model: Model, session: Session, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what goes into the network, from what was made of each image."""
    inputs = inputs_of(model.manifest, session)
    made = model.manifest.image_shape, model.manifest.image_batch
    return joined(inputs, images, *made)
