"""One analysed view as a reader sees it, with the outline on it and every word beside it.

Text stands in bands above and below the picture: the breast is never covered by anything but
the outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.outputs import wording
from node.outputs.canvas import (
    BODY,
    MARK,
    MUTED,
    WHITE,
    Canvas,
    Colour,
    Stroke,
    fitting_size,
    shorten,
    width,
)
from node.outputs.draft import Draft
from node.result import Finding
from node.study import Picture

LONGEST_SIDE = 2048
PICTURE_HEIGHT = 1712
SMALL_HEIGHT = 1000
"""Pictures smaller than this are enlarged to it, so that there is room for words beside them."""
PADDING = 10
"""Around the picture, so that an outline along its edge is seen whole."""
COLOURS: tuple[Colour, ...] = (MARK, (230, 159, 0), (204, 121, 167))
"""One for each model; told apart by every kind of colour blindness."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are on the page, in pixels."""

    scale: float
    """Pixels of the page per pixel of the picture."""
    picture: tuple[int, int]
    """Width and height of the picture on the page."""
    page: tuple[int, int]
    header: int
    unit: float
    """A hundredth of the page's height: the measure of type and margins."""

    @property
    def left(self) -> int:
        """Where the picture begins."""
        return (self.page[0] - self.picture[0]) // 2

    def size(self, units: float) -> int:
        """Return a type size or distance."""
        return round(self.unit * units)


def draw(draft: Draft, sop_uid: str) -> NDArray[np.uint8]:
    """Return the page of one image: rows, columns, RGB."""
    picture = draft.pictures[sop_uid]
    layout = _layout(picture)
    canvas = Canvas(layout.page)
    top = layout.header + PADDING
    box = (layout.left, top, layout.left + layout.picture[0], top + layout.picture[1])
    canvas.picture(picture.grey, box)
    found = findings_on(draft, sop_uid)
    stroke = Stroke(MARK, width=layout.unit * 0.17, halo=layout.unit * 0.06)
    for colour, finding in found:
        points = [
            (x * picture.scale * layout.scale + box[0], y * picture.scale * layout.scale + box[1])
            for x, y in finding.region.outline
        ]
        canvas.outline(points, Stroke(colour, stroke.width, stroke.halo))
    view = draft.instance(sop_uid).view
    _header(canvas, layout, str(view) if view else "Image", found)
    _footer(canvas, layout, draft)
    return canvas.pixels()


def findings_on(draft: Draft, sop_uid: str) -> list[tuple[Colour, Finding]]:
    """Return what the models found on one image, each in its model's colour."""
    return [
        (COLOURS[index % len(COLOURS)], finding)
        for index, result in enumerate(draft.results)
        for finding in result.findings
        if finding.region.sop_uid == sop_uid
    ]


def _layout(picture: Picture) -> Layout:
    rows, columns = picture.grey.shape
    room = LONGEST_SIDE - 2 * PADDING
    scale = min(PICTURE_HEIGHT / rows, room / columns, max(1.0, SMALL_HEIGHT / rows))
    size = (round(columns * scale), round(rows * scale))
    height = round((size[1] + 2 * PADDING) / 0.845)
    unit = max(height, size[0]) / 100
    header, footer = round(unit * 8.2), round(unit * 7.2)
    page = (
        max(size[0] + 2 * PADDING, round(unit * 62)),
        header + size[1] + 2 * PADDING + footer,
    )
    return Layout(scale, size, page, header, unit)


def _header(canvas: Canvas, layout: Layout, view: str, found: list[tuple[Colour, Finding]]) -> None:
    margin = layout.size(2)
    left = canvas.text((margin, layout.size(1.2)), view, layout.size(5), WHITE)
    right = canvas.size[0] - margin
    room = right - left - layout.size(4)
    lines = [
        (colour, measurement.concept.meaning, wording.quantity(measurement))
        for colour, finding in found
        for measurement in finding.measurements
    ][:3]
    if not lines:
        words = "nothing marked by the algorithm" if not found else ""
        canvas.text_right((right, layout.size(3.2)), words, layout.size(2), BODY)
        return
    step = 5.0 / len(lines)
    for index, (colour, name, value) in enumerate(lines):
        size = layout.size(4.2 if len(lines) == 1 else step * 0.8)
        y = layout.size(1.6 + step * index)
        begin = canvas.text_right((right, y), value, size, colour)
        gap = layout.size(1.2)
        small = fitting_size(name, layout.size(2), room - (right - begin) - gap, layout.size(1.2))
        name = shorten(name, small, room - (right - begin) - gap)
        drop = round((size - small) * 0.8)
        begin = canvas.text_right((begin - gap, y + drop), name, small, BODY)


def _footer(canvas: Canvas, layout: Layout, draft: Draft) -> None:
    margin, size = layout.size(2), layout.size(1.75)
    y = canvas.size[1] - layout.size(6.6)
    right = canvas.size[0] - margin
    x = canvas.tag((margin, y), "AI generated - not verified", size)
    if any(result.model.is_research for result in draft.results):
        x = canvas.tag((x + size, y), "RESEARCH USE", size)
    canvas.text_right((right, y + round(size * 0.27)), "Not for measurement", size, BODY)
    y += layout.size(3.6)
    when = wording.moment(draft)
    models = ", ".join(f"{r.model.title} {r.model.version}" for r in draft.results)
    small = layout.size(1.6)
    canvas.text_right((right, y), when, small, MUTED)
    room = right - margin - width(when, small) - 2 * small
    canvas.text((margin, y), shorten(wording.ascii_text(models), small, room), small, MUTED)
