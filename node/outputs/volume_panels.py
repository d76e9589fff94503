"""Volumes as panels of a page: slices with the outlines of solids, and a projection with marks.

Each is shown as viewers show it, with letters at its edges for where it lies in the patient. What
counts and what a rule left out differ in colour and in rhythm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from node.imaging.components import Bools
from node.imaging.outlines import regions
from node.imaging.planes import Plane
from node.imaging.standard_view import StandardView, axial_projection, view_of
from node.outputs import verbatim
from node.outputs.canvas import BODY, WHITE, Box, Canvas, Ink, Stroke, shorten, width
from node.outputs.case import Draft
from node.outputs.marking import Marked, Pen, Placed, draw_marks
from node.outputs.solid_segmentation import Lain, lain_of
from node.outputs.volume_legend import ink_of_solid, sign_of_solid
from node.result import Finding, Region, Result
from node.study import Laterality, Picture, VolumePicture

MOST_PANELS = 6
"""On a page."""
LEAST_SHOWN = 0.6
"""Share of a slice's rows or columns that is shown at least."""
STRAIGHT = 0.996
"""Cosine of the 5 degrees by which a slice may be turned without being called oblique."""
CAPTION = 40
"""Height of the line above a slice."""
BAR_MM = 50
"""Length of the scale bar."""
SCALE_STROKE = Stroke(Ink(BODY), 3, 1)


@dataclass(frozen=True, slots=True)
class Panelled:
    """A result whose volume can be shown."""

    draft: Draft
    result: Result
    lain: Lain
    picture: VolumePicture

    @property
    def projection(self) -> NDArray[np.uint8] | None:
        """The projection, None if there is none, or not one of this stack."""
        projection = axial_projection(self.lain.affine)
        shape = projection.of([], self.lain.shape).shape
        shown = self.picture.projection
        return shown.grey if shown is not None and shown.grey.shape == shape else None


def panelled(draft: Draft, result: Result) -> Panelled | None:
    """Return what can be shown of a result's volume, None if nothing."""
    picture = draft.volumes.get(result.model.name)
    lain = None if picture is None else lain_of(draft, result)
    return None if picture is None or lain is None else Panelled(draft, result, lain, picture)


def decisive_places(result: Result, most: int = MOST_PANELS) -> tuple[int, ...]:
    """Return the slices of the stack that are shown, in the order of space.

    Of each solid in turn those that say most, of what was left out only if nothing counts.
    """
    counted = [solid.decisive for solid in result.solids if not solid.is_left_out]
    others = [solid.decisive[:1] for solid in result.solids if solid.is_left_out]
    chosen = counted if any(counted) else others
    in_turn = (place for row in zip_longest(*chosen) for place in row if place is not None)
    return tuple(sorted(list(dict.fromkeys(in_turn))[:most]))


def draw_slice(canvas: Canvas, shown: Panelled, place: int, box: Box) -> None:
    """Draw a slice of the stack with the outlines on it, and above it which image it is."""
    plane = shown.lain.planes[place]
    view = view_of(plane.right, plane.down, plane.spacing)
    grey = shown.picture.slices[place].grey
    masks = {of: view.of(voxels.on(place)) for of, voxels in shown.lain.voxels.items()}
    caption = slice_name(shown, place)
    canvas.text((box[0], box[1]), shorten(caption, 28, box[2] - box[0]), 28, BODY)
    inside = (box[0], box[1] + CAPTION, box[2], box[3])
    rows, columns = shown.lain.shape[1:]
    shape = (columns, rows) if view.is_transposed else (rows, columns)
    counted = [mask for of, mask in masks.items() if not shown.result.solids[of].is_left_out]
    aspect = (inside[2] - inside[0]) / (inside[3] - inside[1])
    cut = _cut_to(shape, counted or list(masks.values()), view, aspect)
    grey = _cut_picture(view.of(grey), cut, shape)
    _panel(
        canvas, shown.result, (grey, {of: mask[cut] for of, mask in masks.items()}), view, inside
    )


def draw_projection(canvas: Canvas, shown: Panelled, box: Box) -> None:
    """Draw the projection with the outlines of what lies along it."""
    grey = shown.projection
    assert grey is not None, "asked for before"
    projection = axial_projection(shown.lain.affine)
    masks = {}
    for of, voxels in shown.lain.voxels.items():
        on_slices = ((place, voxels.on(place)) for place in voxels.places())
        masks[of] = projection.of(on_slices, shown.lain.shape).astype(np.bool_)
    _panel(canvas, shown.result, (grey, masks), projection.view, box)


def slice_name(shown: Panelled, place: int) -> str:
    """Return which image is shown, as a reader finds it: "axial, series 5, image 15"."""
    stack = shown.result.contrasted or shown.result.stack
    assert stack is not None
    sop_uid, frame = stack.slices[place]
    header, plane = shown.draft.headers[sop_uid], shown.lain.planes[place]
    numbers = {
        name: verbatim.plain(header, keyword)
        for name, keyword in (("series", "SeriesNumber"), ("image", "InstanceNumber"))
    }
    words = [view_of(plane.right, plane.down, plane.spacing).name]
    is_oblique = max(map(abs, plane.normal)) < STRAIGHT
    if is_oblique:
        words = [f"oblique {words[0]}"]
    if words[0].endswith("sagittal"):  # which shows nothing of the other side
        words += [f"{' and '.join(sides)} breast"] if (sides := _sides_on(shown, place)) else []
    if frame is not None:
        numbers = {"series": numbers["series"], "frame": str(frame)}
    words += [f"{name} {value}" for name, value in numbers.items() if value.isdigit()]
    return ", ".join(words)


def side_shown(shown: Panelled, places: Sequence[int]) -> Laterality:
    """Return which breasts slices show: sagittal ones that of what is outlined on them."""
    plane = shown.lain.planes[0]
    is_sagittal = view_of(plane.right, plane.down, plane.spacing).name == "sagittal"
    sides = {side for place in places for side in _sides_on(shown, place)}
    return Laterality(sides.pop()) if is_sagittal and len(sides) == 1 else Laterality.BOTH


def _sides_on(shown: Panelled, place: int) -> list[str]:
    """Return the sides of the solids on a slice."""
    voxels, solids = shown.lain.voxels, shown.result.solids
    sides = [solids[of].laterality for of in voxels if voxels[of].on(place).any()]
    return list(dict.fromkeys(str(side) for side in sides if side is not None))


def tiles(shown: Panelled, count: int, space: tuple[int, int], gap: int) -> int:
    """Return how many slices stand side by side so that they are largest."""
    plane = shown.lain.planes[0]
    view = view_of(plane.right, plane.down, plane.spacing)
    rows, columns = shown.lain.shape[1:]
    shape = (columns, rows) if view.is_transposed else (rows, columns)
    high, wide = (count * step for count, step in zip(shape, view.spacing, strict=True))

    def per_mm(across: int) -> float:
        down = -(-count // across)
        width = (space[0] - gap * (across - 1)) / across
        height = (space[1] - gap * (down - 1)) / down - CAPTION
        rows_cut = max(LEAST_SHOWN * high, min(high, wide * height / width))
        columns_cut = max(LEAST_SHOWN * wide, min(wide, high * width / height))
        by_rows = min(width / wide, height / rows_cut)
        return (
            by_rows if view.left == "R" else max(by_rows, min(width / columns_cut, height / high))
        )

    return max(range(1, min(count, 3) + 1), key=per_mm)


def _panel(
    canvas: Canvas,
    result: Result,
    shown: tuple[NDArray[np.uint8], dict[int, Bools]],
    view: StandardView,
    box: Box,
) -> None:
    """Draw a picture and outlines of masks, both turned as they are shown, as large as it fits."""
    grey, masks = shown
    rows, columns = next(iter(masks.values())).shape if masks else grey.shape
    mm = (rows * view.spacing[0], columns * view.spacing[1])
    per_mm = min((box[3] - box[1]) / mm[0], (box[2] - box[0]) / mm[1])
    size = (round(mm[1] * per_mm), round(mm[0] * per_mm))
    left, top = (box[0] + box[2] - size[0]) // 2, (box[1] + box[3] - size[1]) // 2
    inside = (left, top, left + size[0], top + size[1])
    canvas.picture(grey, inside)
    letters, bar = _letters(view, inside), _scale_bar(inside, per_mm)
    kept_free = tuple(at for _, at in (*letters, *([] if bar is None else [bar])))
    placed = Placed(inside, (size[0] / columns, size[1] / rows), kept_free)
    marks = [mark for of, mask in masks.items() for mark in _marks(result, of, mask)]
    draw_marks(canvas, marks, placed, (Pen(width=2.4, halo=1, sign=30), 0))
    _draw_letters(canvas, letters)
    if bar is not None:
        _draw_scale_bar(canvas, bar)


def draw_standing_slice(canvas: Canvas, picture: Picture, plane: Plane, box: Box) -> None:
    """Draw a slice as viewers show it, with letters at its edges, as large as it fits."""
    view = view_of(plane.right, plane.down, plane.spacing)
    grey = view.of(picture.grey)
    sides = (plane.columns, plane.rows) if view.is_transposed else (plane.rows, plane.columns)
    mm = (sides[0] * view.spacing[0], sides[1] * view.spacing[1])
    per_mm = min((box[3] - box[1]) / mm[0], (box[2] - box[0]) / mm[1])
    size = (round(mm[1] * per_mm), round(mm[0] * per_mm))
    left = (box[0] + box[2] - size[0]) // 2
    inside = (left, box[1], left + size[0], box[1] + size[1])
    canvas.picture(grey, inside)
    _draw_letters(canvas, _letters(view, inside))


Cut = tuple[slice, slice]


def _cut_to(
    shape: tuple[int, int], masks: Sequence[Bools], view: StandardView, aspect: float
) -> Cut:
    """Return the rows and columns that fill a panel, around what is outlined, if that fits.

    Only rows are cut where left and right of the patient lie beside each other: by what is beside
    it a reader knows a breast.
    """
    every = (slice(0, shape[0]), slice(0, shape[1]))
    outlined = [mask for mask in masks if mask.any()]
    mm = [count * step for count, step in zip(shape, view.spacing, strict=True)]
    axis = 0 if mm[1] / mm[0] < aspect else 1
    if axis == 1 and view.left == "R":
        return every
    wanted = mm[1] / aspect if axis == 0 else mm[0] * aspect
    kept = max(1, round(max(wanted, LEAST_SHOWN * mm[axis]) / view.spacing[axis]))
    if not outlined or kept >= shape[axis]:
        return every
    (at,) = np.nonzero(np.logical_or.reduce(outlined).any(axis=1 - axis))
    if at[-1] - at[0] >= kept:
        return every
    first = int(np.clip((at[0] + at[-1] + 1 - kept) // 2, 0, shape[axis] - kept))
    of_axis = slice(first, first + kept)
    return (of_axis, every[1]) if axis == 0 else (every[0], of_axis)


def _cut_picture(grey: NDArray[np.uint8], cut: Cut, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a picture cut to those rows and columns of the matrix that it is a copy of."""
    rows, columns = (
        slice(round(of.start * have / full), round(of.stop * have / full))
        for of, have, full in zip(cut, grey.shape, shape, strict=True)
    )
    return grey[rows, columns]


def _marks(result: Result, place: int, mask: Bools) -> list[Marked]:
    """Return a mark for each part of a mask; the largest bears the sign."""
    solid = result.solids[place]
    sign = sign_of_solid(result, place)
    return [
        Marked(
            Finding(solid.label, solid.kind, None, Region("", tuple(map(tuple, line.tolist())))),
            sign if number == 0 else "",
            0,
            ink_of_solid(solid),
        )
        for number, line in enumerate(regions(mask.astype(np.float32), 0.5))
    ]


_Written = tuple[str, Box]
"""Words on a picture, and where."""
_LETTER = 34


def _letters(view: StandardView, box: Box) -> Sequence[_Written]:
    """Return where is written where left, right, top and bottom of a picture lie in the patient."""
    left, top, right, bottom = box
    half, edge = _LETTER // 2 + 4, _LETTER + 12
    across, down = (left + right) // 2, (top + bottom) // 2
    return (
        (view.left, (left, down - half, left + edge, down + half)),
        (view.right, (right - edge, down - half, right, down + half)),
        (view.top, (across - half, top, across + half, top + edge)),
        (view.bottom, (across - half, bottom - edge, across + half, bottom)),
    )


def _draw_letters(canvas: Canvas, letters: Sequence[_Written]) -> None:
    for letter, at in letters:
        canvas.sign(at, letter, _LETTER, WHITE)


def _scale_bar(box: Box, per_mm: float) -> _Written | None:
    """Return where is drawn how long 5 cm are, at the lower left; None without room for it."""
    length = round(BAR_MM * per_mm)
    if length > (box[2] - box[0]) // 3:
        return None
    left, y = box[0] + 16, box[3] - 16
    return f"{BAR_MM // 10} cm", (left, y - 34, left + length, y + 4)


def _draw_scale_bar(canvas: Canvas, bar: _Written) -> None:
    words, (left, top, right, bottom) = bar
    y, at = float(bottom - 4), (left + right - width(words, 20)) // 2
    canvas.line(((float(left), y), (float(right), y)), SCALE_STROKE)
    canvas.sign((at, top, at + width(words, 20), top + 26), words, 20, WHITE)


def places_shown(shown: Panelled, most: int = MOST_PANELS) -> tuple[int, ...]:
    """Return the decisive slices that there are pictures of."""
    return tuple(at for at in decisive_places(shown.result, most) if at in shown.picture.slices)
