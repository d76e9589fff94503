"""Images and phases as a network gets them; what it gets of a unit -> its tensors, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from node.domains.table import domain_of
from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.image import Image, open_image
from node.imaging.operations import Prepared, prepare
from node.imaging.volume import Slice, slices_of
from node.imaging.voxels import Phases, PreparedPhases, naming_phase, prepare_phases
from node.inference.session import Session, Tensor, only_input
from node.manifest import InputTensor, Manifest
from node.study import IMAGE, PRE_CONTRAST, View


def prepared_image(
    path: Path,
    view: View | None,
    manifest: Manifest,
    opening: Callable[[Path], Image] = open_image,
) -> tuple[Image, Prepared]:
    """Return an image and what a network gets of it; raise StudyError if it must not get it."""
    image, domain = opening(path), domain_of(manifest)
    domain.require_visible(image.hidden)
    prepared = prepare(image, manifest.operations, view)
    domain.require_plausible(prepared.seen, manifest)
    return image, prepared


def slices_by_role(
    volumes: Mapping[str, Iterable[tuple[Path, int | None]]],
) -> dict[str, list[Slice]]:
    """Return the slices of volumes, each given by its file and its frame; a header is read once."""
    read, found = dict[Path, tuple[Slice, ...]](), dict[str, list[Slice]]()
    for role, frames in volumes.items():
        with naming_phase(role):
            for path, number in frames:
                if path not in read:
                    read[path] = slices_of(path)
                found.setdefault(role, []).append(_slice(read[path], number))
    return found


def _slice(of_file: Sequence[Slice], number: int | None) -> Slice:
    """Return a frame of a file, as it is now."""
    if number is None and len(of_file) == 1:
        return of_file[0]
    if number is None or not 1 <= number <= len(of_file):
        raise StudyError(f"an object of {len(of_file)} frames, of which none is {number}")
    return of_file[number - 1]


def prepared_phases(phases: Phases, manifest: Manifest) -> PreparedPhases:
    """Return what a network gets of phases; raise StudyError if it must not get it."""
    wanted = manifest.sees_region
    # Of a breast that was not read whole, no triage may say that nothing is there.
    triages = manifest.triage is not None and PRE_CONTRAST in phases
    prepared = prepare_phases(phases, manifest.operations, with_region=wanted, with_unread=triages)
    domain = domain_of(manifest)
    _require_still(prepared, manifest.unit.most_displaced_mm)
    for role, one in prepared.volumes.items():
        with naming_phase(role):
            domain.require_plausible(one.tensor, manifest)
    return prepared


def _require_still(prepared: PreparedPhases, most_mm: float | None) -> None:
    """Raise StudyError if the body moved too far for a model that takes no more."""
    if most_mm is None:
        return
    for role, mm in prepared.displaced:
        if mm is None:
            raise StudyError(f"{role}: how far it moved since {PRE_CONTRAST} cannot be measured")
        if mm > most_mm:
            words = f"moved by {mm:.1f} mm since {PRE_CONTRAST}"
            raise StudyError(f"{role}: {words}, more than the {most_mm:g} mm that this model takes")


def inputs_of(manifest: Manifest, session: Session) -> tuple[InputTensor, ...]:
    """Return a network's inputs with their roles: of one that names none, the image's."""
    if manifest.inputs:
        return manifest.inputs
    return (InputTensor(tensor=only_input(session), roles=(IMAGE,)),)


def joined(
    inputs: tuple[InputTensor, ...],
    images: Mapping[str, Float32],
    of_image: tuple[int, ...],
    batch: int = 1,
) -> dict[str, Tensor]:
    """Return the tensors, from what was made of each image, by role; zeros where there is none.

    `of_image` is the shape of what is made of an image, which has a first axis of one beside it, or
    of `batch`; or of a volume.
    """
    return {
        one.tensor: np.concatenate(
            [_given(images, role, (batch, *of_image)) for role in one.roles],
            axis=0 if one.join == "batch" else 1,
        )
        for one in inputs
    }


def _given(images: Mapping[str, Float32], role: str, shape: tuple[int, ...]) -> Float32:
    """Return what was made of the image in a role, zeros if there is none."""
    found = images.get(role)
    return np.zeros(shape, np.float32) if found is None else found
