"""Marks on a picture: where findings are drawn, in whose colour, and the signs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf

import numpy as np
from numpy.typing import NDArray

from node.outputs import wording
from node.outputs.canvas import INKS, Box, Canvas, Ink, Stroke, width
from node.outputs.case import Draft
from node.result import Finding, Point
from node.study import Picture

DIRECTIONS = ((1, -1), (-1, -1), (1, 1), (-1, 1), (1, 0), (-1, 0), (0, -1), (0, 1))
"""Where a sign may stand beside its mark: right (1) or left (-1), above (-1) or below (1)."""
FARTHEST = 16
"""How many steps away from its mark a sign may go to find a free place."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture on a page."""

    box: Box
    scale: tuple[float, float]
    """Pixels of the page per pixel of the stored matrix, across and down."""
    kept_free: tuple[Box, ...] = ()
    """Where something else is written, and no sign."""

    def point(self, stored: Point) -> Point:
        """Return where a point of the stored matrix is, or the nearest place of the picture."""
        left, top, right, bottom = self.box
        x, y = stored[0] * self.scale[0] + left, stored[1] * self.scale[1] + top
        return (min(max(x, left), right), min(max(y, top), bottom))


@dataclass(frozen=True, slots=True)
class Pen:
    """How large marks are drawn, in pixels of the page."""

    width: float
    halo: float
    sign: int
    """Type size of the signs."""


@dataclass(frozen=True, slots=True)
class Marked:
    """A finding and how it is drawn wherever it is shown."""

    finding: Finding
    sign: str
    """"1", "2", ...; empty if it needs none."""
    model: int
    """The place of its model in the report set."""
    own_ink: Ink | None = None
    """How it is drawn, if not as its model draws."""

    @property
    def ink(self) -> Ink:
        """How it is drawn."""
        return self.own_ink or ink_of(self.model)


def marks_on(draft: Draft, sop_uid: str) -> list[Marked]:
    """Return what the models found on one image, with the same signs as on every other page."""
    return [
        Marked(finding, sign, index)
        for index, (result, signs) in enumerate(
            zip(draft.results, wording.signs(draft), strict=True)
        )
        for finding, sign in zip(result.findings, signs, strict=True)
        if finding.region.sop_uid == sop_uid
    ]


def ink_of(index: int) -> Ink:
    """Return how the index-th model of a report set draws."""
    return INKS[index % len(INKS)]


def placed(picture: Picture, box: Box) -> Placed:
    """Return how the picture's stored matrix lies on the page if it fills the box."""
    rows, columns = picture.grey.shape
    across, down = (box[2] - box[0]) / columns, (box[3] - box[1]) / rows
    return Placed(box, (across * picture.scale, down * picture.scale))


def draw_marks(
    canvas: Canvas, marks: Sequence[Marked], picture: Placed, how: tuple[Pen, int]
) -> None:
    """Draw outlines and signs; `how` is the pen, and how far signs may leave the picture."""
    with_pen, _ = how
    boxes = sign_boxes(canvas, marks, picture, how)
    for mark in marks:
        path = path_of(mark, picture, with_pen)
        canvas.line(path, Stroke(mark.ink, with_pen.width, with_pen.halo))
    for mark, box in zip(marks, boxes, strict=True):
        if box is not None:
            canvas.sign(box, mark.sign, with_pen.sign, mark.ink.colour)


def path_of(mark: Marked, picture: Placed, with_pen: Pen) -> list[Point]:
    """Return the line to draw: an outline where it is, a box a little outside what is in it."""
    points = [picture.point(point) for point in mark.finding.region.outline]
    if not mark.finding.region.is_box:
        return points
    away = ceil(with_pen.width / 2 + 2 * with_pen.halo) + 1
    columns, rows = zip(*points, strict=True)
    left, right = floor(min(columns)) - away, ceil(max(columns)) + away
    top, bottom = floor(min(rows)) - away, ceil(max(rows)) + away
    corners = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return [(float(x), float(y)) for x, y in corners]


def sign_boxes(
    canvas: Canvas, marks: Sequence[Marked], picture: Placed, how: tuple[Pen, int]
) -> list[Box | None]:
    """Return where the sign of each mark is written: beside it, and inside of none of them.

    Of the places that are equally near, the darkest: background rather than tissue.
    """
    if not any(mark.sign for mark in marks):
        return [None for _ in marks]
    with_pen, margin = how
    left, top, right, bottom = picture.box
    frame = (left - margin, top - margin, right + margin, bottom + margin)
    around_all = [outer(path_of(mark, picture, with_pen), with_pen) for mark in marks]
    taken = [box for mark, box in zip(marks, around_all, strict=True) if mark.sign]
    taken += picture.kept_free
    page = canvas.pixels()[..., 0]
    boxes: list[Box | None] = []
    for mark, around in zip(marks, around_all, strict=True):
        box = None
        if mark.sign:
            size = (width(mark.sign, with_pen.sign) + 8, round(with_pen.sign * 0.86))
            box = _free_place(around, size, (frame, taken), page)
        if box is not None:
            taken.append(box)
        boxes.append(box)
    return boxes


def _free_place(
    around: Box, size: tuple[int, int], limits: tuple[Box, list[Box]], page: NDArray[np.uint8]
) -> Box | None:
    """Return the nearest free place beside a mark, None if there is none."""
    frame, taken = limits
    for step in range(FARTHEST):
        best, darkest = None, inf
        for direction in DIRECTIONS:
            box = _beside(around, size, direction, 2 + step * size[1] // 2)
            if not _is_within(box, frame) or any(overlap(box, other) for other in taken):
                continue
            grey = float(page[box[1] : box[3], box[0] : box[2]].mean())
            if grey < darkest:
                best, darkest = box, grey
        if best is not None:
            return best
    return None


def _beside(around: Box, size: tuple[int, int], direction: tuple[int, int], gap: int) -> Box:
    """Return a box beside another; above and below at a corner, it is level with that edge."""
    to_right, to_below = direction
    left, top, right, bottom = around
    x = {1: right + gap, -1: left - gap - size[0], 0: (left + right - size[0]) // 2}[to_right]
    if to_right:
        y = {1: bottom - size[1], -1: top, 0: (top + bottom - size[1]) // 2}[to_below]
    else:
        y = bottom + gap if to_below > 0 else top - gap - size[1]
    return (x, y, x + size[0], y + size[1])


def outer(path: Sequence[Point], with_pen: Pen) -> Box:
    """Return the box around a line as it is drawn."""
    reach = with_pen.width / 2 + with_pen.halo
    columns, rows = zip(*path, strict=True)
    return (
        floor(min(columns) - reach),
        floor(min(rows) - reach),
        ceil(max(columns) + reach) + 1,
        ceil(max(rows) + reach) + 1,
    )


def _is_within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
