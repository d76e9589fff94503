"""An image as a network gets it; the images of a unit -> the tensors it takes, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from node.domains.table import domain_of
from node.imaging.grey import Float32
from node.imaging.image import Image, open_image
from node.imaging.operations import Prepared, prepare
from node.inference.session import Session, Tensor, only_input
from node.manifest import InputTensor, Manifest
from node.study import IMAGE, View


def prepared_image(path: Path, view: View | None, manifest: Manifest) -> tuple[Image, Prepared]:
    """Return an image and what a network gets of it; raise StudyError if it must not get it."""
    image, domain = open_image(path), domain_of(manifest)
    domain.require_visible(image.hidden)
    prepared = prepare(image, manifest.operations, view)
    domain.require_plausible(prepared.seen, manifest)
    return image, prepared


def inputs_of(manifest: Manifest, session: Session) -> tuple[InputTensor, ...]:
    """Return a network's inputs with their roles: of one that names none, the image's."""
    if manifest.inputs:
        return manifest.inputs
    return (InputTensor(tensor=only_input(session), roles=(IMAGE,)),)


def joined(
    inputs: tuple[InputTensor, ...], images: Mapping[str, Float32], of_image: tuple[int, ...]
) -> dict[str, Tensor]:
    """Return the tensors, from what was made of each image, by role; zeros where there is none.

    `of_image` is the shape of what is made of an image, which has a first axis of one beside it.
    """
    blank = np.zeros((1, *of_image), np.float32)
    return {
        one.tensor: np.concatenate(
            [images.get(role, blank) for role in one.roles], axis=0 if one.join == "batch" else 1
        )
        for one in inputs
    }
