"""One analysed view as a reader sees it, with the marks on it and every word beside it.

Text stands in bands above and below the picture: the breast is never covered by anything but
thin outlines and, beside them, the signs by which the list below names them. A heat map gets a
page of its own, where the picture is shown without it too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.outputs import wording
from node.outputs.canvas import (
    BODY,
    MARK,
    MUTED,
    WARNING,
    WHITE,
    Box,
    Canvas,
    Colour,
    Ink,
    Stroke,
    fitting_size,
    line_height,
    shorten,
    width,
    wrap,
)
from node.outputs.case import Draft
from node.outputs.marking import Marked, Pen, Placed, draw_marks, ink_of, marks_on, placed
from node.result import HeatMap, Measurement, Priority, Result
from node.study import Picture

LONGEST_SIDE = 2040
SMALL_HEIGHT = 1000
"""Pictures smaller than this are enlarged to it, so that there is room for words beside them."""
HEADER, FOOTER, ROW, TYPE = 8.2, 9.0, 2.4, 1.75
"""Heights of the bands, of a line of the legend and of its type, in units."""
PADDING, PADDING_WITH_SIGNS = 1.0, 2.8
"""Around a picture, so that marks along its edge, and their signs, are seen whole; in units."""
NARROWEST = 62
"""A page is at least this wide, in units: room for the words."""
MOST_ROWS = 8
"""Lines of marks in the legend; what else there is bears its number in the picture alone."""

LEVEL_COLOURS: Mapping[Priority, Colour] = {
    Priority.URGENT: (255, 112, 67),
    Priority.SOON: (230, 159, 0),
    Priority.NOT_ASSESSED: WARNING,
    Priority.ROUTINE: BODY,
}
"""Of a triage level; its words say the same."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are on a page, in pixels."""

    panels: tuple[Box, ...]
    """Where the picture stands: once, or side by side, or one below the other."""
    page: tuple[int, int]
    unit: float
    """A hundredth of the page's longer side: the measure of type and margins."""
    padding: int

    def size(self, units: float) -> int:
        """Return a type size or distance."""
        return round(self.unit * units)

    @property
    def legend_top(self) -> int:
        """Where the words below the picture begin."""
        return self.panels[-1][3] + self.padding


@dataclass(frozen=True, slots=True)
class Headline:
    """What one model says of an image, in a few words."""

    name: str
    value: str
    colour: Colour = BODY


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of the legend: a model's name, a mark, or a sentence."""

    text: str
    value: str = ""
    ink: Ink | None = None
    """None for a sentence."""
    sign: str = ""
    is_title: bool = False
    short: str = ""
    """What stands for the text where that does not fit; empty if it would be cut."""

    def fitting(self, size: int, room: int) -> str:
        """Return the text, in its short form if the long one does not fit."""
        if self.short and width(self.text, size) > room:
            return shorten(self.short, size, room)
        return shorten(self.text, size, room)


def draw_marked_view(draft: Draft, sop_uid: str) -> NDArray[np.uint8]:
    """Return the page of one image with all marks on it: rows, columns, RGB."""
    picture = draft.pictures[sop_uid]
    page = layout_of(draft, sop_uid)
    canvas = Canvas(page.page)
    marks = marks_on(draft, sop_uid)
    canvas.picture(picture.grey, page.panels[0])
    draw_marks(canvas, marks, placed(picture, page.panels[0]), (pen(page), page.padding))
    _header(canvas, page, _titled(canvas, page, draft, sop_uid), headlines(draft, sop_uid))
    _legend(canvas, page, _rows(legend(draft, sop_uid)))
    _footer(canvas, page, draft, draft.results)
    return canvas.pixels()


def draw_heat_map(draft: Draft, result: Result, heat_map: HeatMap) -> NDArray[np.uint8]:
    """Return the page of one heat map: the picture without it, and the picture with it."""
    picture = draft.pictures[heat_map.sop_uid]
    sentences = [
        LegendEntry(line)
        for text in heat_legend(draft, result, heat_map)
        for line in _wrapped(text)
    ]
    rows = _rows(sentences)
    page = layout(picture, ROW * (len(rows) + 1), panels=2)
    canvas = Canvas(page.page)
    for panel in page.panels:
        canvas.picture(picture.grey, panel)
    last = page.panels[-1]
    canvas.tint(warmth(heat_map, placed(picture, last)), last)
    said = headlines(draft, heat_map.sop_uid, only=result)
    _header(canvas, page, _titled(canvas, page, draft, heat_map.sop_uid), said)
    _colour_bar(canvas, page, heat_map)
    _legend(canvas, page, rows, skipped=1)
    _footer(canvas, page, draft, [result])
    return canvas.pixels()


def layout_of(draft: Draft, sop_uid: str) -> Layout:
    """Return the layout of a marked view; pictures of one size get pages of one size."""
    lines = max(len(_rows(legend(draft, uid))) for uid in draft.pictures)
    is_signed = any(any(signs) for signs in wording.signs(draft))
    padding = PADDING_WITH_SIGNS if is_signed else PADDING
    return layout(draft.pictures[sop_uid], ROW * lines, padding=padding)


def view_name(draft: Draft, sop_uid: str) -> str:
    """Return what the image is called, "R MLO"."""
    return draft.name_of(sop_uid)


def marks_images(result: Result) -> bool:
    """Whether a page per image shows what the model says; heat maps have pages of their own."""
    if result.stack is not None or result.phases:
        return False  # thousands of slices are looked at by nobody: volumes have their own pages
    if result.findings or result.looked_for:
        return True
    return not result.evaluations and not result.heat_maps


def headlines(draft: Draft, sop_uid: str, only: Result | None = None) -> list[Headline]:
    """Return what each model says of the image, or one of them, in the order of the models."""
    marks = marks_on(draft, sop_uid)
    said: list[Headline] = []
    for index, result in enumerate(draft.results):
        if sop_uid in result.analysed and only in (None, result):
            own = [mark for mark in marks if mark.model == index]
            said += _headlines(result, sop_uid, own)
    return said


def _headlines(result: Result, sop_uid: str, marks: Sequence[Marked]) -> Iterator[Headline]:
    if len(marks) > 1 and result.looked_for:
        yield Headline("", f"{len(marks)} findings", marks[0].ink.colour)
    elif marks:
        measured = [m for mark in marks for m in mark.finding.measurements]
        for m in measured:
            yield _numbered(m, marks[0].ink.colour)
        if not measured:
            yield Headline(wording.thing(marks[0].finding), "marked", marks[0].ink.colour)
    elif marks_images(result):
        title = wording.ascii_text(result.model.title)
        yield Headline(title, "nothing found" if result.looked_for else "nothing marked")
    else:
        for m in scores_of(result, sop_uid):
            yield _numbered(m, MARK)


def _numbered(measurement: Measurement, colour: Colour) -> Headline:
    name = wording.ascii_text(measurement.concept.meaning)
    return Headline(name, wording.quantity(measurement), colour)


def scores_of(result: Result, sop_uid: str) -> list[Measurement]:
    """Return the scores of this one image as a whole; of a slice of a volume there is none."""
    if result.pictured:
        return []
    own = [e for e in result.evaluations if e.sop_uids == (sop_uid,) and e.grade is None]
    return [m for m in own[-1].measurements if m.is_score] if own else []


def legend(draft: Draft, sop_uid: str) -> list[LegendEntry]:
    """Return what stands below the picture: whose each mark is, what it is and its score."""
    marks = marks_on(draft, sop_uid)
    entries: list[LegendEntry] = []
    for index, result in enumerate(draft.results):
        if sop_uid not in result.analysed or not marks_images(result):
            continue
        own = [mark for mark in marks if mark.model == index]
        if len(draft.results) > 1:
            title = f"{shortened(result.model.title, 40)} {result.model.version}"
            said = "" if own else "nothing found" if result.looked_for else "nothing marked"
            entries.append(LegendEntry(title, said, ink_of(index), is_title=True))
        if result.looked_for:
            entries += _listed(draft, result, own)
        elif own and len(draft.results) == 1:
            things = list(dict.fromkeys(wording.thing(mark.finding) for mark in own))
            entries.append(LegendEntry(", ".join(things), ink=ink_of(index)))
        if own:
            entries += [LegendEntry(line) for line in _wrapped(wording.score_meaning(result))]
    return entries


def _listed(draft: Draft, result: Result, marks: Sequence[Marked]) -> Iterator[LegendEntry]:
    most = MOST_ROWS * 2
    for mark in sorted(marks, key=lambda mark: int(mark.sign or 0))[:most]:
        lesion, *_ = (one for one in wording.lesions(result) if mark.finding in one)
        thing = wording.thing(mark.finding)
        seen, briefly = wording.seen_on(draft, lesion), wording.briefly_seen_on(draft, lesion)
        numbers = [
            wording.quantity(m) if m.is_score else f"{m.concept.meaning} {wording.quantity(m)}"
            for m in mark.finding.measurements
        ]
        yield LegendEntry(
            f"{thing}, {seen}" if seen else thing,
            wording.ascii_text(", ".join(numbers)),
            mark.ink,
            mark.sign,
            short=f"{thing}, {briefly}" if briefly else "",
        )
    if len(marks) > most:
        yield LegendEntry(f"... and {len(marks) - most} more marks")


def heat_legend(draft: Draft, result: Result, heat_map: HeatMap) -> list[str]:
    """Return the sentences below a heat map."""
    where = (
        ("Above", "Below") if is_stacked(draft.pictures[heat_map.sop_uid]) else ("Left", "Right")
    )
    return [
        f"{where[0]}: the image. {where[1]}: the same image with the heat map.",
        wording.NOT_A_PLACE,
        *filter(None, [wording.score_meaning(result)]),
    ]


def is_stacked(picture: Picture) -> bool:
    """Whether two panels of a picture stand one below the other."""
    rows, columns = picture.grey.shape
    return bool(columns > rows)


def layout(
    picture: Picture, legend_height: float, *, panels: int = 1, padding: float = PADDING
) -> Layout:
    """Return the largest layout whose page is not beyond the longest side."""
    rows, columns = picture.grey.shape
    across, down = (1, panels) if is_stacked(picture) else (panels, 1)
    share_across = 1 - (across + 1) * padding / 100
    share_down = 1 - ((down + 1) * padding + HEADER + FOOTER + legend_height) / 100
    scale = min(
        LONGEST_SIDE * share_down / (down * rows),
        LONGEST_SIDE * share_across / (across * columns),
        max(1.0, SMALL_HEIGHT / rows),
    )
    wide, high = max(1, round(columns * scale)), max(1, round(rows * scale))
    unit = max(down * high / share_down, across * wide / share_across) / 100
    pad = round(unit * padding)
    block = (across * wide + (across - 1) * pad, down * high + (down - 1) * pad)
    page = (
        max(block[0] + 2 * pad, round(unit * NARROWEST)),
        round(unit * HEADER) + block[1] + 2 * pad + round(unit * (legend_height + FOOTER)),
    )
    left, top = (page[0] - block[0]) // 2, round(unit * HEADER) + pad
    places = [
        (left + i * (wide + pad), top + j * (high + pad))
        for j in range(down)
        for i in range(across)
    ]
    return Layout(tuple((x, y, x + wide, y + high) for x, y in places), page, unit, pad)


def pen(page: Layout) -> Pen:
    """Return the size of marks on a page of one image."""
    return Pen(width=page.unit * 0.17, halo=page.unit * 0.06, sign=page.size(2.5))


def warmth(heat_map: HeatMap, picture: Placed) -> NDArray[np.float64]:
    """Return the map's values, 0..1, at every pixel of the picture on the page; 0 outside it."""
    content = np.frombuffer(base64.b64decode(heat_map.values), np.uint8)
    values = content.reshape(heat_map.rows, heat_map.columns) / 255
    left, top, right, bottom = heat_map.box
    wide, high = picture.box[2] - picture.box[0], picture.box[3] - picture.box[1]
    across = _weights(wide / picture.scale[0], wide, (left, right, heat_map.columns))
    down = _weights(high / picture.scale[1], high, (top, bottom, heat_map.rows))
    return np.asarray(down @ values @ across.T, np.float64)


def _weights(length: float, pixels: int, cells: tuple[float, float, int]) -> NDArray[np.float64]:
    """Return how much of each cell is in each pixel: bilinear between the middles of cells.

    `length` is that of the picture in stored pixels; cells are where they begin and end in it,
    and how many they are.
    """
    begin, end, count = cells
    place = ((np.arange(pixels) + 0.5) / pixels * length - begin) / (end - begin) * count
    middle = np.clip(place - 0.5, 0, count - 1)
    weights = np.maximum(0.0, 1 - np.abs(middle[:, None] - np.arange(count)))
    weights[(place < 0) | (place > count)] = 0
    return np.asarray(weights, np.float64)


def _titled(canvas: Canvas, page: Layout, draft: Draft, sop_uid: str) -> int:
    """Write the view, and beside it the study's triage level; return where that ends."""
    name = view_name(draft, sop_uid)
    left = canvas.text((page.size(2), page.size(1.2)), name, page.size(5), WHITE)
    by = draft.decided_by
    if by is None or by.triage is None:
        return left + page.size(4)
    left, colour = left + page.size(2.4), LEVEL_COLOURS[by.triage.level]
    size, small = page.size(2), page.size(1.5)
    end = canvas.tag((left, page.size(1.5)), str(by.triage.level).upper(), size, colour)
    kind = wording.kind_of_model(by.model)
    said = f"AI triage, {kind}" if kind else "AI triage"
    below = canvas.text((left, page.size(5.2)), said, small, BODY)
    return max(end, below) + page.size(2)


def _header(canvas: Canvas, page: Layout, left: int, said: Sequence[Headline]) -> None:
    right = canvas.size[0] - page.size(2)
    lines = said[:3]
    step = min(5.0, 6.6 / max(1, len(lines)))
    for index, line in enumerate(lines):
        y = page.size((1.6 if len(lines) == 1 else 1.0) + step * index)
        size = fitting_size(line.value, page.size(step * 0.82), right - left, page.size(1.2))
        begin = canvas.text_right((right, y), line.value, size, line.colour) - page.size(1.2)
        largest = min(size, page.size(2))
        small = fitting_size(line.name, largest, begin - left, page.size(1.2))
        name = shorten(line.name, small, begin - left) if begin > left else ""
        canvas.text_right((begin, y + round((size - small) * 0.8)), name, small, BODY)


def _rows(entries: Iterable[LegendEntry]) -> list[tuple[LegendEntry, ...]]:
    """Return the lines of the legend: numbered marks two to a line where there are many."""
    rows: list[tuple[LegendEntry, ...]] = []
    entries = list(entries)
    is_wide = sum(bool(entry.sign) for entry in entries) > 3
    for entry in entries:
        if is_wide and entry.sign and rows and len(rows[-1]) == 1 and rows[-1][0].sign:
            rows[-1] = (*rows[-1], entry)
        else:
            rows.append((entry,))
    return rows


def _wrapped(text: str) -> list[str]:
    """Break a sentence into lines of the legend, measured on the narrowest page."""
    return wrap(text, round(TYPE * 100), (NARROWEST - 5) * 100)


def _legend(
    canvas: Canvas, page: Layout, rows: Sequence[tuple[LegendEntry, ...]], skipped: int = 0
) -> None:
    margin, gap = page.size(2), page.size(3)
    half = (canvas.size[0] - 2 * margin - gap) // 2
    for number, row in enumerate(rows, start=skipped):
        y = page.legend_top + page.size(ROW * number)
        is_pair = any(entry.sign for entry in row) and any(len(other) > 1 for other in rows)
        for place, entry in enumerate(row):
            left = margin + place * (half + gap)
            right = left + half if is_pair else canvas.size[0] - margin
            _entry(canvas, page, entry, (left, y, right))


def _entry(canvas: Canvas, page: Layout, entry: LegendEntry, at: tuple[int, int, int]) -> None:
    """Write one line of the legend; `at` is left, top, right."""
    left, y, right = at
    size = page.size(TYPE)
    if entry.ink is None:
        canvas.text((left, y), shorten(entry.text, size, right - left), size, BODY)
        return
    if entry.sign:
        canvas.text((left, y), entry.sign, size, entry.ink.colour)
        left += page.size(2.8)
    else:
        middle = y + size * 0.62
        line = ((float(left), middle), (left + page.unit * 4.2, middle))
        canvas.line(line, Stroke(entry.ink, page.unit * 0.17, 0))
        left += page.size(5.2)
    value = shorten(entry.value, size, right - left)
    begin = canvas.text_right((right, y), value, size, entry.ink.colour if entry.sign else BODY)
    room = begin - left - page.size(0.8)
    words = entry.fitting(size, room)
    canvas.text((left, y), words, size, WHITE if entry.is_title else BODY)


def _colour_bar(canvas: Canvas, page: Layout, heat_map: HeatMap) -> None:
    size = page.size(TYPE)
    y = page.legend_top
    left = canvas.text((page.size(2), y), "0", size, BODY) + page.size(0.8)
    bar = (left, y + round(size * 0.16), left + page.size(24), y + round(size * 1.16))
    canvas.colour_bar(bar)
    at = canvas.text((bar[2] + page.size(0.8), y), "highest", size, BODY) + page.size(2)
    room = canvas.size[0] - page.size(2) - at
    canvas.text((at, y), shorten(colour_bar_name(heat_map), size, room), size, WHITE)


def colour_bar_name(heat_map: HeatMap) -> str:
    """Return what is 0 at one end of the colour bar and highest at the other."""
    return wording.ascii_text(heat_map.concept.meaning)


def _footer(canvas: Canvas, page: Layout, draft: Draft, results: Sequence[Result]) -> None:
    margin, size = page.size(2), page.size(1.75)
    y = canvas.size[1] - page.size(7.8)
    right = canvas.size[0] - margin
    x = canvas.tag((margin, y), "AI generated - not verified", size)
    if label := wording.status_label(results):
        x = canvas.tag((x + size, y), label, size)
    note = "Not for measurement"
    canvas.text_right((right, y + round(size * 0.27)), note, size, BODY)
    y += page.size(3.5)
    largest, smallest = page.size(1.55), page.size(1.2)
    sizes = ((1, largest, smallest), (2, largest, smallest))
    lines, small = fitted_lines(page_origin(draft, results), sizes, right - margin)
    for line in lines:
        canvas.text((margin, y), line, small, MUTED)
        y += line_height(small)


def page_origin(draft: Draft, results: Sequence[Result]) -> list[str]:
    """Return who made the page and when, in decreasing detail."""
    when = ", ".join(filter(None, [wording.moment(draft), wording.version(draft)]))
    texts = []
    for letters in (64, 40, 28, 16):
        names = [
            f"{shortened(result.model.title, letters)} {result.model.version}" for result in results
        ]
        texts.append(f"{', '.join(names)} - {when}")
    return texts


def shortened(title: str, letters: int) -> str:
    """Return the title in plain ASCII, cut where it is too long: the version behind it stays."""
    title = wording.ascii_text(title)
    return title if len(title) <= letters else f"{title[: letters - 3].rstrip()}..."


def fitted_lines(
    texts: Sequence[str], sizes: Sequence[tuple[int, int, int]], room: int
) -> tuple[list[str], int]:
    """Return the first text that fits, in lines, and its type size.

    `sizes` says how many lines it may have, and the largest and smallest size with so many.
    """
    for text in texts:
        for most, largest, smallest in sizes:
            for size in range(largest, smallest - 1, -1):
                lines = wrap(text, size, room)
                if len(lines) <= most:
                    return lines, size
    most, _, smallest = sizes[-1]
    return wrap(texts[-1], smallest, room)[:most], smallest
