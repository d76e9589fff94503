"""What cannot be a breast is refused before a network's answer counts."""

from __future__ import annotations

from typing import Literal

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from node.errors import StudyError
from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid, Points
from node.imaging.outlines import signed_area
from node.imaging.visibility import Hidden
from node.manifest import Manifest, MaskOutput
from node.manifest.pixels import Operations, chest_wall, grey_values


def require_plausible(seen: Float32, manifest: Manifest) -> None:
    """Raise StudyError if an image shows no breast; an outline of one shows by itself if not."""
    is_outlined = any(
        isinstance(output, MaskOutput) and output.regions == "largest"
        for output in manifest.outputs
    )
    if not is_outlined:
        refuse_what_is_no_breast(seen, manifest.operations)


def require_plausible_outline(region: Points, grid: PlaneGrid, manifest: Manifest) -> None:
    """Raise StudyError if the outline of a breast is none."""
    if not len(region):
        raise StudyError("no breast outline found in this image")
    refuse_what_is_no_breast_outline(region, grid, chest_wall(manifest.operations))


MOST_BLACK, MOST_WHITE = 0.3, 0.5
"""Of what stands out from the background. On generated exams, where half of it is black the outline
holds half of the breast, and where half of it is white the density grade is another."""


def require_visible(hidden: Hidden) -> None:
    """Raise StudyError if an image, displayed as it says, shows too little of a breast."""
    for share, most, tone in (
        (hidden.black, MOST_BLACK, "black"),
        (hidden.white, MOST_WHITE, "white"),
    ):
        if share > most:
            raise StudyError(
                f"its window, VOI LUT or padding makes {share:.0%} of what it shows {tone}"
            )


MOST_OF_IMAGE = 0.95
"""A region that covers more than this share of the image is no breast: air must be visible."""


EDGE_STRIP = 0.05
"""Share of the width, opposite the chest wall, that counts as the edge."""


MOST_OF_EDGE = 0.5
"""A region in more than this share of that edge's rows is no breast, or lies the wrong way."""


def refuse_what_is_no_breast_outline(
    region: Points, grid: PlaneGrid, chest_wall_at: Literal["left", "right"] | None
) -> None:
    """Raise StudyError if a region leaves no air, or lies where no breast can."""
    image = grid.whole_image
    if abs(signed_area(region)) > MOST_OF_IMAGE * image.height * image.width:
        raise StudyError("no breast outline found: the bright region covers the whole image")
    x, y = region.T
    if chest_wall_at == "right":
        is_at_edge = x <= image.left + EDGE_STRIP * image.width
    else:
        is_at_edge = x >= image.left + (1 - EDGE_STRIP) * image.width
    rows = np.unique(np.floor(y[is_at_edge]))
    if chest_wall_at is not None and len(rows) > MOST_OF_EDGE * image.height:
        raise StudyError(
            "no breast outline found: the bright region lies along the edge opposite the chest wall"
        )


BOX = PIL.Image.Resampling.BOX


CELLS = 24
"""Rows and columns of cells on which a breast is looked for."""


MOST_OF_GREY = 0.75
"""Where what is darker than the mean has more than this share of the grey of the rest, no air is
visible: noise, one tone, or tissue from edge to edge."""


MOST_OF_ROWS = 0.8
"""No breast is bright in more than this share of the rows throughout the last quarter."""


MOST_OF_CHEST_WALL = 2.0
"""No breast is so many times as bright in the last quarter as at the chest wall, in most rows."""


FEWEST_PIXELS = 8
"""A strip narrower than this, as the network sees it, shows nobody anything."""


def refuse_what_is_no_breast(seen: Float32, prepared_by: Operations) -> None:
    """Raise StudyError if an image, shape (height, width), shows no air, or air in the wrong place.

    Only means over large cells are looked at: noise is grey there, and small labels are lost.
    A film that was turned over is not always noticed: many have as much black on either side.
    """
    if min(seen.shape) < FEWEST_PIXELS:
        raise StudyError("no breast found in this image: it is a strip of a few pixels")
    small = PIL.Image.fromarray(np.ascontiguousarray(seen)).resize((CELLS, CELLS), BOX)
    cells = np.asarray(small, dtype=np.float64)
    mean = np.clip(cells.mean(), cells.min(), cells.max())  # rounding may set it beside equal cells
    if cells[cells <= mean].mean() >= MOST_OF_GREY * cells[cells >= mean].mean():
        raise StudyError("no breast found in this image: no dark air beside bright tissue")
    outer = cells[:, -CELLS // 4 :] > mean
    is_as_shown = grey_values(prepared_by).values == "voi" and chest_wall(prepared_by) is not None
    if is_as_shown and outer.all(axis=1).mean() > MOST_OF_ROWS:
        raise StudyError(
            "no breast found in this image: the side opposite the chest wall is bright, as in an"
            " image shown inverted"
        )
    if is_as_shown and _is_turned_over(cells, mean):
        raise StudyError(
            "no breast found in this image where its laterality and Patient Orientation say: it is"
            " brighter along the side opposite the chest wall"
        )


def _is_turned_over(cells: NDArray[np.float64], mean: float) -> bool:
    """Whether most rows that show tissue on a side show it opposite the chest wall.

    The last column is left out, where a film may have a bright edge.
    """
    inner, outer = (
        part.mean(axis=1) for part in (cells[:, : CELLS // 4], cells[:, -CELLS // 4 : -1])
    )
    has_tissue = np.maximum(inner, outer) > mean
    if not has_tissue.any():
        return False
    ratios = outer[has_tissue] / np.maximum(inner[has_tissue], 1e-3)
    return bool(np.median(ratios) > MOST_OF_CHEST_WALL)
