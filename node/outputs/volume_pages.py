"""Pages of a result that is about a volume: decisive slices, a projection, curves over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from node.outputs import wording
from node.outputs.canvas import (
    BODY,
    INKS,
    MUTED,
    RULE,
    WHITE,
    Box,
    Canvas,
    Ink,
    Stroke,
    line_height,
    width,
    wrap,
)
from node.outputs.case import Draft
from node.outputs.summary_page import BOTTOM, MARGIN, PAGE, PROJECTED, TOP, framed
from node.outputs.volume_legend import (
    COUNTED_INK,
    LEFT_OUT_INK,
    draw_legend,
    legend_height,
    sign_of_curve,
)
from node.outputs.volume_panels import (
    Panelled,
    draw_projection,
    draw_slice,
    panelled,
    places_shown,
    side_shown,
    tiles,
)
from node.result import Result, UptakeCurve
from node.study import PRE_CONTRAST, Laterality

CURVE_INKS = tuple(
    replace(COUNTED_INK, dashes=ink.dashes) for ink in INKS if ink is not LEFT_OUT_INK
)
"""All in the colour of what counts, as on slices; told apart by their dashes and signs."""
_TYPE = 28
OF_PROJECTION = (
    "Seen from the feet. The heart, vessels and the background enhance too, and where the body "
    "moved between the two phases, edges look as if they did. Outlines are of all that lies along "
    "the body there: how far up or down, the slices show."
)
SLICE_PAGES = (
    "The slices that say most, of the phase after contrast that was measured. Pictures are cut "
    "around what counts."
)
OF_SLICES_ALONE = "The slices that say most. Pictures are cut around what counts."
OF_CURVES = (
    "Percent by which the signal exceeds that before contrast, where it is 0 %; between the points "
    "nothing was measured."
)
_STEPS = (10, 20, 25, 50, 100, 200, 250, 500)


@dataclass(frozen=True, slots=True)
class VolumePage:
    """A page of one result."""

    name: str
    """What tells it from the others of the set."""
    what: str
    result: Result
    sop_uids: tuple[str, ...]
    """The images that it shows; none of a projection of all."""
    draw: Callable[[], NDArray[np.uint8]]
    laterality: Laterality = Laterality.BOTH
    """Which breasts it shows."""


def volume_pages(draft: Draft, result: Result) -> Iterator[VolumePage]:
    """Yield the pages of a result, none if it is about no volume."""
    alone, name = replace(draft, results=(result,)), result.model.name
    shown = panelled(alone, result)
    if shown is not None and shown.projection is not None:
        draw = partial(_projection, shown)
        yield VolumePage(f"{name} projection", "projection with marks", result, (), draw)
    if shown is not None and places_shown(shown):
        stack = result.contrasted or result.stack
        assert stack is not None
        uids = tuple(dict.fromkeys(stack.slices[place][0] for place in places_shown(shown)))
        draw = partial(_slices, shown)
        what, side = "decisive slices with outlines", side_shown(shown, places_shown(shown))
        yield VolumePage(f"{name} slices", what, result, uids, draw, side)
    if any(curve.points for curve in result.curves):
        draw = partial(_curves, alone, result)
        yield VolumePage(f"{name} curves", "enhancement over time", result, (), draw)


def _projection(shown: Panelled) -> NDArray[np.uint8]:
    canvas = framed(shown.draft, PROJECTED)
    legend = _legend_box(shown.result)
    note = _note(canvas, OF_PROJECTION, legend[1])
    draw_projection(canvas, shown, (MARGIN, TOP + 16, PAGE[0] - MARGIN, note - 16))
    draw_legend(canvas, shown.result, legend)
    return canvas.pixels()


def _slices(shown: Panelled) -> NDArray[np.uint8]:
    places = places_shown(shown)
    canvas = framed(shown.draft, "Decisive slices")
    legend = _legend_box(shown.result)
    words = SLICE_PAGES if shown.result.contrasted is not None else OF_SLICES_ALONE
    note = _note(canvas, words, legend[1])
    gap, space = 24, (PAGE[0] - 2 * MARGIN, note - 16 - TOP - 16)
    across = tiles(shown, len(places), space, gap)
    down = ceil(len(places) / across)
    wide, high = (space[0] - gap * (across - 1)) // across, (space[1] - gap * (down - 1)) // down
    for number, place in enumerate(places):
        left, top = (
            MARGIN + number % across * (wide + gap),
            TOP + 16 + number // across * (high + gap),
        )
        draw_slice(canvas, shown, place, (left, top, left + wide, top + high))
    draw_legend(canvas, shown.result, legend)
    return canvas.pixels()


def _legend_box(result: Result) -> Box:
    """Return where the legend stands, at the bottom of the page."""
    top = BOTTOM - 16 - legend_height(result)
    return (MARGIN, top, PAGE[0] - MARGIN, BOTTOM - 16)


def _note(canvas: Canvas, words: str, bottom: int) -> int:
    """Write what a reader should know, in lines that end there; return where it begins."""
    lines = wrap(words, 26, PAGE[0] - 2 * MARGIN)
    top = bottom - 12 - len(lines) * line_height(26)
    for number, line in enumerate(lines):
        canvas.text((MARGIN, top + number * line_height(26)), line, 26, MUTED)
    return top


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where seconds and percent lie on a page."""

    box: Box
    seconds: tuple[float, float]
    percent: tuple[float, float]

    def at(self, seconds: float, percent: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        across = (seconds - self.seconds[0]) / (self.seconds[1] - self.seconds[0])
        up = (percent - self.percent[0]) / (self.percent[1] - self.percent[0])
        return left + across * (right - left), bottom - up * (bottom - top)


def _curves(draft: Draft, result: Result) -> NDArray[np.uint8]:
    canvas = framed(draft, "Enhancement over time")
    followed = [curve for curve in result.curves if curve.points][: len(CURVE_INKS)]
    curves = [_from_nothing(curve, result) for curve in followed]
    step = round(_TYPE * 1.45)
    bottom = BOTTOM - 16 - step * len(curves)
    note = _note(canvas, " ".join(filter(None, [OF_CURVES, wording.times_rest_on(result)])), bottom)
    axes = _axes(curves, result, (MARGIN + 150, TOP + 90, PAGE[0] - MARGIN - 40, note - 110))
    _grid_lines(canvas, axes)
    _phases(canvas, axes, result)
    for number, curve in enumerate(curves):
        sign = sign_of_curve(result, curve)
        _curve(canvas, axes, curve, CURVE_INKS[number], sign)
        y = bottom + number * step
        line = ((float(MARGIN), y + _TYPE * 0.62), (MARGIN + 64.0, y + _TYPE * 0.62))
        canvas.line(line, Stroke(CURVE_INKS[number], 3, 0))
        x = MARGIN + 80
        if sign:
            x = canvas.text((x, y), sign, _TYPE, CURVE_INKS[number].colour) + 16
        canvas.text((x, y), wording.ascii_text(curve.label), _TYPE, BODY)
    return canvas.pixels()


def _from_nothing(curve: UptakeCurve, result: Result) -> UptakeCurve:
    """Return the curve from the phase before contrast on, where it is 0 % by what it measures."""
    middles = (one.middle_s for one in result.phases if one.role == PRE_CONTRAST)
    before = next(middles, None)
    return curve if before is None else replace(curve, points=((before, 0.0), *curve.points))


def _axes(curves: list[UptakeCurve], result: Result, box: Box) -> _Axes:
    percents = [0.0, *(percent for curve in curves for _, percent in curve.points)]
    seconds = [0.0, *(second for curve in curves for second, _ in curve.points)]
    seconds += [p.middle_s for p in result.phases if p.middle_s is not None]
    low, high, step = min(percents), max(percents), _step(max(percents) - min(percents), 6)
    earliest, latest = 60 * floor(min(seconds) / 60), 60 * ceil((max(seconds) + 1) / 60)
    floor_of, top = step * floor(low / step), step * ceil((high + step / 4) / step)
    return _Axes(box, (earliest, latest), (floor_of, max(top, floor_of + step)))


def _step(extent: float, most: int) -> int:
    """Return the smallest round step with which so many cover the extent."""
    return next((step for step in _STEPS if extent / step <= most), _STEPS[-1])


def _grid_lines(canvas: Canvas, axes: _Axes) -> None:
    left, top, right, bottom = axes.box
    step = _step(axes.percent[1] - axes.percent[0], 8)
    for percent in range(ceil(axes.percent[0]), floor(axes.percent[1]) + 1):
        if percent % step:
            continue
        _, y = axes.at(0, percent)
        canvas.rule(left, right, round(y))
        canvas.text_right((left - 16, round(y) - 18), f"{percent} %", _TYPE, BODY)
    span = axes.seconds[1] - axes.seconds[0]
    every = next((s for s in (60, 120, 300, 600) if span / s <= 14), 3600)
    for seconds in range(round(axes.seconds[0]), round(axes.seconds[1]) + 1, every):
        x, _ = axes.at(seconds, 0)
        canvas.line(((x, float(bottom)), (x, bottom + 10.0)), Stroke(Ink(RULE), 2, 0))
        words = f"{seconds}"
        canvas.text((round(x) - width(words, _TYPE) // 2, bottom + 16), words, _TYPE, BODY)
    words = "seconds after the injection"
    canvas.text_right((right, bottom + 56), words, _TYPE, MUTED)
    canvas.text((MARGIN, top - 76), "enhancement", _TYPE, MUTED)


def _phases(canvas: Canvas, axes: _Axes, result: Result) -> None:
    """Mark the middle of each phase that was read; names that would meet stand one lower."""
    _, top, _, bottom = axes.box
    ends = [0, 0]
    for phase in result.phases:
        if phase.middle_s is None or not axes.seconds[0] <= phase.middle_s <= axes.seconds[1]:
            continue
        x, _ = axes.at(phase.middle_s, 0)
        canvas.line(((x, float(top)), (x, float(bottom))), Stroke(Ink(MUTED, (2, 4)), 2, 0))
        name = phase.role if phase.role == phase.name else f"{phase.role} ({phase.name})"
        words = wording.ascii_text(name)
        left = min(round(x) - width(words, _TYPE) // 2, PAGE[0] - MARGIN - width(words, _TYPE))
        line = 0 if left > ends[0] else 1
        ends[line] = left + width(words, _TYPE) + 16
        canvas.text((left, top - 40 - 36 * line), words, _TYPE, WHITE)


def _curve(canvas: Canvas, axes: _Axes, curve: UptakeCurve, ink: Ink, sign: str) -> None:
    points = [axes.at(*point) for point in sorted(curve.points)]
    if len(points) > 1:
        canvas.line(points, Stroke(ink, 4, 1))
    for x, y in points:
        square = ((x - 7, y - 7), (x + 7, y - 7), (x + 7, y + 7), (x - 7, y + 7), (x - 7, y - 7))
        canvas.line(square, Stroke(Ink(ink.colour), 4, 1))
    if sign:
        x, y = points[-1]
        canvas.text((min(round(x) + 16, PAGE[0] - MARGIN), round(y) - 18), sign, _TYPE, ink.colour)
