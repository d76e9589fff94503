"""Which sign stands for which solid of a result, and how large that is, below pictures of it.

The volume alone, and whether it counts: what else was measured stands on the summary page.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from node.outputs import wording
from node.outputs.canvas import (
    BODY,
    INKS,
    WARNING,
    WHITE,
    Box,
    Canvas,
    Ink,
    Stroke,
    fitting_size,
    shorten,
    width,
)
from node.result import Result, Solid, UptakeCurve

COUNTED_INK: Ink = INKS[0]
LEFT_OUT_INK: Ink = INKS[1]
LEGEND_TYPE = 28
MOST_LEGEND_ROWS = 7
_IN_ONE_COLUMN = 3
_GAP = 48
"""Between two columns."""
_SMALLEST = 20
"""Type size below which a name is cut."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A solid in the legend."""

    sign: str
    label: str
    said: str
    ink: Ink


def ink_of_solid(solid: Solid) -> Ink:
    """Return how a solid is drawn."""
    return LEFT_OUT_INK if solid.is_left_out else COUNTED_INK


def sign_of_solid(result: Result, place: int) -> str:
    """Return the sign of a solid, by its place in the result; none of a single one."""
    return str(place + 1) if len(result.solids) > 1 else ""


def sign_of_curve(result: Result, curve: UptakeCurve) -> str:
    """Return the sign of the solid that a curve follows; none if there is no such solid."""
    followed = (place for place, one in enumerate(result.solids) if one.label == curve.label)
    place = next(followed, None)
    return "" if place is None else sign_of_solid(result, place)


def volume_said(solid: Solid) -> str:
    """Return how large a solid is and whether it counts: "2.00 ml", "17.0 ml, not counted"."""
    first = [wording.quantity(one) for one in solid.measurements[:1]]
    return wording.ascii_text(", ".join([*first, *(["not counted"] if solid.is_left_out else [])]))


def entries(result: Result, room: int) -> tuple[list[Entry], int]:
    """Return as many solids as there is room for, what counts first, and how many there are more.

    What is not shown takes the last place, to be said there.
    """
    in_order = sorted(enumerate(result.solids), key=lambda one: one[1].is_left_out)
    shown = len(in_order) if len(in_order) <= room else room - 1
    made = [
        Entry(
            sign_of_solid(result, place),
            wording.ascii_text(solid.label),
            volume_said(solid),
            ink_of_solid(solid),
        )
        for place, solid in in_order[:shown]
    ]
    return made, len(in_order) - shown


def legend_rows(result: Result) -> int:
    """Return how many lines the legend has."""
    count = len(result.solids)
    return count if count <= _IN_ONE_COLUMN else min(MOST_LEGEND_ROWS, ceil(count / 2))


def legend_height(result: Result) -> int:
    """Return how high the legend is."""
    return legend_rows(result) * _line()


def draw_legend(canvas: Canvas, result: Result, box: Box) -> None:
    """Write what each sign is, with a sample of its line; in two columns if there are many.

    Columns are filled one after the other.
    """
    rows = legend_rows(result)
    across = 1 if len(result.solids) <= _IN_ONE_COLUMN else 2
    room = (box[2] - box[0] - _GAP * (across - 1)) // across
    made, more = entries(result, rows * across)
    for number, entry in enumerate(made):
        at = (box[0] + number // rows * (room + _GAP), box[1] + number % rows * _line())
        _draw_entry(canvas, entry, at, room)
    if more:
        at = (box[0] + len(made) // rows * (room + _GAP), box[1] + len(made) % rows * _line())
        canvas.text(at, f"... and {more} more, which the report names", LEGEND_TYPE, WARNING)


def _draw_entry(canvas: Canvas, entry: Entry, at: tuple[int, int], room: int) -> None:
    left, y = at
    middle = y + LEGEND_TYPE * 0.62
    canvas.line(
        ((float(left), middle), (left + LEGEND_TYPE * 2.2, middle)), Stroke(entry.ink, 3, 0)
    )
    x = left + round(LEGEND_TYPE * 2.7)
    if entry.sign:
        x = max(
            canvas.text((x, y), entry.sign, LEGEND_TYPE, entry.ink.colour) + 10, x + _sign_room()
        )
    begin = canvas.text_right((left + room, y), entry.said, LEGEND_TYPE, WHITE)
    free = begin - x - LEGEND_TYPE
    size = fitting_size(entry.label, LEGEND_TYPE, free, _SMALLEST)
    canvas.text((x, y + (LEGEND_TYPE - size) // 2), shorten(entry.label, size, free), size, BODY)


def _line() -> int:
    return round(LEGEND_TYPE * 1.45)


def _sign_room() -> int:
    """Return how much room signs of two digits take, so that names stand below one another."""
    return width("00", LEGEND_TYPE) + 10
