"""At which edge of an image, as it is stored, the chest wall is: one place decides it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image

from node.errors import StudyError
from node.imaging.components import largest_component
from node.imaging.grey import Float32
from node.imaging.image import Image
from node.manifest.pixels import WithoutOrientation
from node.study import Laterality

TISSUE_CELLS = 64
"""Rows and columns of cells that tissue is looked for on: noise is grey there, letters small."""
BACKGROUND_PERCENTILE = 5
"""Percentile of the cells that is taken for the background, which need not be black."""
BOX_STRIP = 0.05
"""Share of the width of the tissue's box that counts as its edge."""


@dataclass(frozen=True, slots=True)
class ChestWall:
    """Where the chest wall is."""

    is_right: bool
    """Whether it is at the last column, not at the first."""
    is_against_laterality: bool = False
    """Whether it was found by the pixels where no image of this side has it as acquired."""


def chest_wall_of(
    image: Image, laterality: Laterality | None, without_orientation: WithoutOrientation
) -> ChestWall:
    """Return where the chest wall is: by Patient Orientation (PS3.3 C.7.6.1.1.1), if it is told.

    Else by the laterality or by the pixels, as a manifest says it; by laterality too, if the pixels
    are the same at either edge. Raises StudyError if nothing tells.
    """
    ahead, down = (value[:1] for value in (*image.patient_orientation, "", "")[:2])
    if ahead in ("A", "P") and len(image.patient_orientation) == 2:
        return ChestWall(is_right=ahead == "P")
    if down in ("A", "P"):
        raise StudyError("image rotated: its columns, not its rows, run between front and back")
    is_usual = laterality in (Laterality.RIGHT, Laterality.LEFT)
    is_usually_right = laterality is Laterality.RIGHT  # as acquired, unmirrored
    if without_orientation == "pixels":
        left, right = tissue_at_edges(image.grey("voi"))
        if left != right:
            is_right = right > left
            return ChestWall(is_right, is_usual and is_right != is_usually_right)
    if not is_usual:
        raise StudyError("neither orientation nor laterality tells where the chest wall is")
    return ChestWall(is_usually_right)


def tissue_at_edges(grey: Float32) -> tuple[float, float]:
    """Return the shares of tissue at its left and right edge, of an image (height, width) in 0..1.

    On means over cells, tissue is the largest region that is brighter than halfway from the
    background to the mean of all; its edges are the first and the last BOX_STRIP of its box. A
    breast is cut off straight at the chest wall and round at the other edge. Labels beside it are
    regions of their own, black rims lie outside of the box. 0 and 0 of one tone.

    Right on all of 2,702 screening images of 9 machines (RSNA 2022, 640 x 640), 497 of them
    mirrored, as looked at by us; of the closest one the chest wall had 1.9 times as much.
    """
    small = PIL.Image.fromarray(np.ascontiguousarray(grey)).resize(
        (TISSUE_CELLS, TISSUE_CELLS), PIL.Image.Resampling.BOX
    )
    cells = np.asarray(small, dtype=np.float64)
    threshold = (np.percentile(cells, BACKGROUND_PERCENTILE) + cells.mean()) / 2
    tissue = largest_component(cells > threshold, neighbours=4)
    if tissue is None:
        return 0.0, 0.0
    left, top, right, bottom = tissue.box
    in_box = tissue.mask(cells.shape)[top:bottom, left:right]
    width = max(1, round(BOX_STRIP * (right - left)))
    return float(in_box[:, :width].mean()), float(in_box[:, -width:].mean())
