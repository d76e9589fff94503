"""The images of a unit -> the tensors that a network takes, by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from node.imaging.grey import Float32
from node.inference.session import Session, Tensor, only_input
from node.manifest import InputTensor, Manifest
from node.study import IMAGE


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
