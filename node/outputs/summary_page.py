"""The one page over everything the models said about a study version.

Left the views as radiologists hang them, right breast on the left, chest walls together; right
the numbers, what they mean, and what was not analysed and why. Nothing identifies the patient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node import __version__
from node.errors import StudyError
from node.imaging.planes import Plane, planes_of
from node.outputs import wording
from node.outputs.canvas import (
    BODY,
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
from node.outputs.marked_view import (
    LEVEL_COLOURS,
    fitted_lines,
    headlines,
    marks_images,
    scores_of,
    shortened,
)
from node.outputs.marking import Pen, draw_marks, ink_of, marks_on, placed
from node.outputs.volume_legend import ink_of_solid, sign_of_solid, volume_said
from node.outputs.volume_panels import (
    Panelled,
    draw_projection,
    draw_slice,
    draw_standing_slice,
    panelled,
    places_shown,
)
from node.result import Finding, Pictured, Result
from node.study import View

PAGE = (2048, 1536)
MARGIN = 64
TOP, BOTTOM = 226, 1424
GRID_RIGHT = 1180
COLUMN_LEFT = 1252
SIZES = (42, 40, 38, 36, 34, 32, 30, 28, 26, 24)
"""Type sizes of the column of words; the largest that fits is taken."""
SMALLEST = (24, 22, 20, 18, 16)
"""Sizes in which long lists of findings and numbers are cut, so that all else has room."""
PROJECTED = "Maximum intensity projection, after minus before contrast"
PEN = Pen(width=2.8, halo=1, sign=34)
"""Marks in the small pictures."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line in the column of words."""

    left: str
    right: str = ""
    colour: Colour = BODY
    right_colour: Colour = WHITE
    above: float = 0
    """Extra distance from the line before, in lines."""
    scale: float = 1.0
    ink: Ink | None = None
    """Whose mark or name it is."""
    sign: str = ""
    """The number of the mark; a sample of the line if there is none."""
    entry: ColumnEntry | None = None
    """What it belongs to in a list that may be cut; the other rows must be on the page."""


@dataclass(frozen=True, slots=True)
class ColumnEntry:
    """One finding or number of a list."""

    model: int
    """The place of its model in the report set."""
    kind: str
    """"findings" or "numbers"."""
    place: int


def draw_summary(draft: Draft) -> NDArray[np.uint8]:
    """Return the page: rows, columns, RGB."""
    canvas = Canvas(PAGE)
    _header(canvas, draft)
    left = MARGIN
    if any(result.analysed for result in draft.results):
        shown = [one for one in (panelled(draft, r) for r in draft.results) if one is not None]
        if shown and not draft.hanging:
            _volume(canvas, shown[0])
        else:
            _grid(canvas, draft)
        left = COLUMN_LEFT
    _column(canvas, draft, (left, TOP + 34, PAGE[0] - MARGIN, BOTTOM - 24))
    _footer(canvas, draft)
    return canvas.pixels()


def framed(draft: Draft, what: str) -> Canvas:
    """Return an empty page with what stands above and below on every page; `what` is on it.

    Beside the models stands the study's triage level, which on the summary has a place of its own.
    """
    canvas = Canvas(PAGE)
    room = PAGE[0] - MARGIN - _header(canvas, draft, has_level=True) - 48
    size = fitting_size(what, 34, room, 20)
    canvas.text_right((PAGE[0] - MARGIN, 150), shorten(what, size, room), size, WHITE)
    _footer(canvas, draft)
    return canvas


def _header(canvas: Canvas, draft: Draft, *, has_level: bool = False) -> int:
    """Write what was done, by whom and when; return where the second line ends."""
    right = PAGE[0] - MARGIN
    size = 30
    labels = [("AI generated - not verified", WARNING)]
    labels += [(label, WARNING) for label in [wording.status_label(draft.results)] if label]
    if has_level and draft.level is not None:
        labels.insert(0, (f"AI triage: {draft.level}", LEVEL_COLOURS[draft.level]))
    x = right - sum(width(label, size) + 27 for label, _ in labels) - 28 * (len(labels) - 1)
    room = x - MARGIN - 40
    for label, colour in labels:
        x = canvas.tag((x, 66), label, size, colour) + 28
    titles = [
        ", ".join(shortened(r.model.title, letters) for r in draft.results)
        for letters in (64, 40, 28, 16)
    ]
    lines, large = fitted_lines(titles, ((1, 72, 44), (2, 40, 28)), room)
    for index, line in enumerate(lines):
        canvas.text((MARGIN, 48 + line_height(large) * index), line, large, WHITE)
    when = f"AI analysis of {wording.moment(draft)}"
    x = canvas.text((MARGIN, 150), when, 34, BODY)
    replaced = wording.version(draft)
    if replaced:
        x = canvas.text((x + 48, 150), replaced, 34, WARNING)
    canvas.rule(MARGIN, right, TOP - 8)
    return x


def _footer(canvas: Canvas, draft: Draft) -> None:
    right = PAGE[0] - MARGIN
    canvas.rule(MARGIN, right, BOTTOM)
    note = "Not for measurement"
    canvas.text_right((right, BOTTOM + 20), note, 30, BODY)
    room = right - MARGIN - width(note, 30) - 60
    lines, size = fitted_lines(summary_origin(draft), ((1, 28, 22), (2, 28, 22)), room)
    y = BOTTOM + 20
    for line in lines:
        canvas.text((MARGIN, y), line, size, MUTED)
        y += line_height(size)


def summary_origin(draft: Draft) -> list[str]:
    """Return who spoke and what it ran on, in decreasing detail."""
    models = [result.model for result in draft.results]
    ran_on = ", ".join(dict.fromkeys(r.ran_on for r in draft.results if r.ran_on))
    node = f"DICOM AI Node {__version__}" + (f" on {ran_on}" if ran_on else "")
    weights = [f"{m.title} {m.version}, weights {m.weights_sha256[:12]}" for m in models]
    both = [f"{w}, {m.manufacturer}" for w, m in zip(weights, models, strict=True)]
    names = [[f"{shortened(m.title, n)} {m.version}" for m in models] for n in (64, 32, 16)]
    return [wording.ascii_text("; ".join([*words, node])) for words in (both, weights, *names)]


def _grid(canvas: Canvas, draft: Draft) -> None:
    gap = 24
    cell = ((GRID_RIGHT - MARGIN - gap) // 2, (BOTTOM - TOP - 48 - gap) // 2)
    for index, (label, sop_uid, absent) in enumerate(_cells(draft)):
        left = MARGIN + (index % 2) * (cell[0] + gap)
        top = TOP + 24 + (index // 2) * (cell[1] + gap)
        box = (left, top, left + cell[0], top + cell[1] - 8)
        _cell_label(canvas, draft, box, (label, sop_uid, index % 2 == 1))
        inside = (box[0], box[1] + 64, box[2], box[3])
        slice_of = _pictured(draft).get(sop_uid)
        if slice_of is not None and (plane := _plane(draft, slice_of)) is not None:
            draw_standing_slice(canvas, draft.pictures[sop_uid], plane, inside)
        elif slice_of is None and sop_uid in draft.pictures:
            _thumbnail(canvas, draft, inside, (sop_uid, index % 2 == 1))
        else:
            _placeholder(canvas, inside, absent)


def _volume(canvas: Canvas, shown: Panelled) -> None:
    """Draw the projection of a volume, and below it the slices that say most."""
    places = places_shown(shown, 2)
    gap, top, bottom = 24, TOP + 24, BOTTOM - 24
    if shown.projection is not None:
        end = bottom if not places else top + round((bottom - top) * 0.56)
        canvas.text((MARGIN, top), PROJECTED, 28, BODY)
        draw_projection(canvas, shown, (MARGIN, top + 40, GRID_RIGHT, end))
        top = end + gap
    across = (GRID_RIGHT - MARGIN - gap) // 2 if len(places) > 1 else GRID_RIGHT - MARGIN
    for number, place in enumerate(places):
        left = MARGIN + number * (across + gap)
        draw_slice(canvas, shown, place, (left, top, left + across, bottom))


def _pictured(draft: Draft) -> dict[str, Pictured]:
    """Return the slices that stand for volumes, by what their pictures go by."""
    return {one.key: one for result in draft.results for one in result.pictured}


def _plane(draft: Draft, one: Pictured) -> Plane | None:
    """Return where a slice lies that there is a picture of: none is shown without its sides."""
    if one.key not in draft.pictures:
        return None
    try:
        return planes_of(draft.headers[one.sop_uid])[(one.frame or 1) - 1]
    except (StudyError, IndexError):
        return None


def _cells(draft: Draft) -> list[tuple[str, str, str]]:
    """Return label, SOP Instance UID (empty if there is no image), and why there is none."""
    if pictured := _pictured(draft):
        return [(one.name, key, "no picture") for key, one in list(pictured.items())[:4]]
    images = analysed(draft)
    shown: dict[View, str] = {}
    for sop_uid in images:
        view = draft.instance(sop_uid).view
        if view is not None:
            shown[view] = max(shown.get(view, ""), sop_uid, key=lambda u: _largest(draft, u))
    if not any(view in draft.hanging for view in shown):
        some = images[:4]
        return [(draft.name_of(uid), uid, "no picture") for uid in some]
    return [(str(view), shown.get(view, ""), _why_absent(draft, view)) for view in draft.hanging]


def _largest(draft: Draft, sop_uid: str) -> float:
    """Order repeats of a view: the one that counts is the one with the larger number."""
    if not sop_uid:
        return -2.0
    numbers = [m.value for mark in marks_on(draft, sop_uid) for m in mark.finding.measurements]
    numbers += [m.value for r in draft.results for m in scores_of(r, sop_uid)]
    return max(numbers, default=-1.0)


def _why_absent(draft: Draft, view: View) -> str:
    received = {i.sop_uid for i in draft.version.instances if i.view == view}
    if not received.isdisjoint(analysed(draft)):
        return "analysed, but cannot be displayed"
    refused = [refusal for result in draft.results for refusal in result.refused]
    for refusal in refused:
        if refusal.sop_uid in received:
            return f"not analysed: {wording.ascii_text(refusal.reason)}"
    if received:
        return "not used"
    unplaced = {refusal.sop_uid for refusal in refused} & _without_view(draft)
    if not unplaced:
        return "not received" + (", or refused as damaged" if draft.version.damaged else "")
    images = "an image" if len(unplaced) == 1 else f"{len(unplaced)} images"
    return f"not identified: {images} of unclear view, see right"


def _without_view(draft: Draft) -> set[str]:
    """Return the images that may show any view, for they do not say, or contradict themselves."""
    return {i.sop_uid for i in draft.version.instances if i.view is None and i.is_standard}


def _cell_label(canvas: Canvas, draft: Draft, box: Box, cell: tuple[str, str, bool]) -> None:
    """Write the view on the outer side, where a film carries its marker, what is said beside it."""
    label, sop_uid, is_mirrored = cell
    words, colour = _in_a_word(draft, sop_uid)
    room = box[2] - box[0] - width(label, 48) - 32
    size = fitting_size(words, 42, room, 28)
    words = shorten(words, size, room)
    y = box[1] + 4 + (42 - size) // 2
    if is_mirrored:
        begin = canvas.text_right((box[2], box[1]), label, 48, WHITE)
        canvas.text_right((begin - 32, y), words, size, colour)
    else:
        end = canvas.text((box[0], box[1]), label, 48, WHITE)
        canvas.text((end + 32, y), words, size, colour)


def _in_a_word(draft: Draft, sop_uid: str) -> tuple[str, Colour]:
    """Return what is said of one image, as short as it can be."""
    looked_for = [r for r in draft.results if r.looked_for and sop_uid in r.analysed]
    if not looked_for:
        said = headlines(draft, sop_uid)
        return (said[0].value, said[0].colour) if said else ("", MUTED)
    marks = [m for m in marks_on(draft, sop_uid) if draft.results[m.model].looked_for]
    if not marks:
        scores = [m for r in draft.results for m in scores_of(r, sop_uid)]
        if not scores:
            return "nothing found", MUTED
        # One model marks nothing, another scores the image: neither may hide the other.
        only = f"score {wording.quantity(scores[0])}" if len(scores) == 1 else "scores at right"
        return f"{only}, no mark", WHITE
    if len(marks) > 1:
        is_of_one = len({mark.model for mark in marks}) == 1
        return (
            (f"{len(marks)} findings", marks[0].ink.colour)
            if is_of_one
            else (f"{len(marks)} marks", WHITE)
        )
    (own,) = marks
    score = own.finding.score or next(iter(own.finding.measurements), None)
    return ("marked" if score is None else wording.quantity(score)), own.ink.colour


def _thumbnail(canvas: Canvas, draft: Draft, box: Box, cell: tuple[str, bool]) -> None:
    """Fit the picture into the box, against the middle of the page as it would hang."""
    sop_uid, is_mirrored = cell
    picture = draft.pictures[sop_uid]
    rows, columns = picture.grey.shape
    scale = min((box[2] - box[0]) / columns, (box[3] - box[1]) / rows)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    left = box[0] if is_mirrored else box[2] - size[0]
    inside = (left, box[1], left + size[0], box[1] + size[1])
    canvas.picture(picture.grey, inside)
    draw_marks(canvas, marks_on(draft, sop_uid), placed(picture, inside), (PEN, 10))


def _placeholder(canvas: Canvas, box: Box, words: str) -> None:
    canvas.frame(box)
    lines = wrap(words, 34, box[2] - box[0] - 60)[:6]
    y = (box[1] + box[3] - line_height(34) * len(lines)) // 2
    for line in lines:
        canvas.text(((box[0] + box[2] - width(line, 34)) // 2, y), line, 34, MUTED)
        y += line_height(34)


def _column(canvas: Canvas, draft: Draft, box: Box) -> None:
    """Write the rows that `fitted` chose; the box has room for them."""
    size, rows = fitted(draft, (box[2] - box[0], box[3] - box[1]))
    y = box[1]
    for row in rows:
        y += round(row.above * line_height(size))
        type_size = round(size * row.scale)
        left = box[0] + _indent(canvas, row, (box[0], y), type_size)
        canvas.text((left, y), row.left, type_size, row.colour)
        canvas.text_right((box[2], y), row.right, type_size, row.right_colour)
        y += line_height(type_size)


def fitted(draft: Draft, space: tuple[int, int]) -> tuple[int, list[Row]]:
    """Return the type size and the rows that fit into a width and height.

    All rows as large as they fit. If they fit at no size, lists of findings and numbers are cut:
    what was refused, what the numbers mean and what to beware of is never left out for them.
    """
    room, height = space
    size, rows = SIZES[0], list[Row]()
    for size in SIZES:
        rows = list(_rows(draft, size, room))
        if _heights(rows, size) <= height:
            return size, rows
    for size in SMALLEST:
        rows = _cut(list(_rows(draft, size, room)), size, height)
        if _heights(rows, size) <= height:
            return size, rows
    while _heights(rows, size) > height - line_height(size):
        rows.pop()
    return size, [*rows, Row("... and more that this page has no room for", colour=WARNING)]


def _cut(rows: list[Row], size: int, height: int) -> list[Row]:
    """Return the rows with as much of each list as there is room for, one entry at least."""
    listed = dict.fromkeys(row.entry for row in rows if row.entry is not None)
    lists = Counter((entry.model, entry.kind) for entry in listed)
    most = dict(lists)
    shown = rows
    while _heights(shown, size) > height and max(most.values(), default=1) > 1:
        longest = max(most, key=lambda key: most[key])
        most[longest] -= 1
        shown = list(_first_of_each(rows, most, lists))
    return shown


def _first_of_each(
    rows: Iterable[Row], most: Mapping[tuple[int, str], int], lists: Mapping[tuple[int, str], int]
) -> Iterator[Row]:
    """Yield the rows with so many entries of each list, and how many more there are."""
    said: set[tuple[int, str]] = set()
    for row in rows:
        entry = row.entry
        key = (entry.model, entry.kind) if entry is not None else None
        if entry is None or key is None or entry.place < most[key]:
            yield row
        elif key not in said:
            said.add(key)
            count = lists[key] - most[key]
            kind = entry.kind.removesuffix("s") if count == 1 else entry.kind
            yield Row(f"... and {count} more {kind}", colour=WARNING, above=0.35)


def _heights(rows: Iterable[Row], size: int) -> int:
    return sum(_height(row, size) for row in rows)


def _height(row: Row, size: int) -> int:
    return round(row.above * line_height(size)) + line_height(round(size * row.scale))


def _indent(canvas: Canvas, row: Row, at: tuple[int, int], size: int) -> int:
    """Draw the sign or a sample of the line before a row; return how much room it takes."""
    if row.sign and row.ink is not None:
        canvas.text(at, row.sign, size, row.ink.colour)
    elif row.ink is not None:
        middle = at[1] + size * 0.62
        line = ((float(at[0]), middle), (at[0] + size * 1.7, middle))
        canvas.line(line, Stroke(row.ink, PEN.width, 0))
    return _indented(row, size)


def _indented(row: Row, size: int) -> int:
    if row.ink is None:
        return 0
    return round(size * (1.4 if row.sign else 2.2))


def _rows(draft: Draft, size: int, room: int) -> Iterator[Row]:
    yield from _level(draft, size, room)
    for index, result in enumerate(draft.results):
        if len(draft.results) > 1:
            ink = ink_of(index) if marks_images(result) else None
            row = Row("", colour=WHITE, above=0.7 if index else 0, ink=ink)
            title = wording.ascii_text(result.model.title)
            yield replace(row, left=shorten(title, size, room - _indented(row, size)))
        yield from _outcome(draft, index, size, room)
        yield from _paragraphs(tuple(_triage(draft, result)), size, room)
        meaning = wording.score_meaning(result)
        yield from _paragraphs(tuple(filter(None, [meaning])), size, room)
        if result.heat_maps:
            yield from _paragraphs((wording.NOT_A_PLACE,), size, room)
        yield from _paragraphs(tuple(wording.phases_read(result)), size, room)
        yield from _paragraphs(result.statements, size, room)
    yield from _closing(draft, size, room)
    yield from _refusals(draft, size, room)


def _level(draft: Draft, size: int, room: int) -> Iterator[Row]:
    """Say how soon the study should be read, first and largest, why, and what was said before."""
    by = draft.decided_by
    if by is not None and by.triage is not None:
        kind = wording.kind_of_model(by.model)
        colour = LEVEL_COLOURS[by.triage.level]
        yield Row(str(by.triage.level).capitalize(), colour=colour, scale=2.2)
        given = f"AI triage level by {wording.ascii_text(by.model.title)}"
        given = f"{given}, a {kind} model" if kind else given
        yield from _lines((given,), (size, room), MUTED)
        yield from _lines(wording.why_level(by.triage), (size, room), WHITE)
        yield from _lines((wording.MEANINGS[by.triage.level],), (size, room), BODY)
    change = wording.level_change(draft)
    yield from _lines(filter(None, [change]), (size, room), WARNING)
    if by is not None or change:
        yield Row("", above=0.2)


def _lines(texts: Iterable[str], space: tuple[int, int], colour: Colour) -> Iterator[Row]:
    for text in texts:
        for number, line in enumerate(wrap(text, *space)):
            yield Row(line, colour=colour, above=0 if number else 0.25)


def _triage(draft: Draft, result: Result) -> Iterator[str]:
    """Yield what the head of the column does not say of a model's triage level."""
    triage = result.triage
    if triage is None:
        return
    by = draft.decided_by
    if by is None or by.triage != triage:
        yield f"AI triage level: {wording.level_name(result)}. {wording.MEANINGS[triage.level]}"
        yield " ".join(wording.why_level(triage))
        yield from filter(None, [wording.beside_study(draft, result)])
    yield from filter(None, [wording.at_point(triage)])


def _outcome(draft: Draft, index: int, size: int, room: int) -> Iterator[Row]:
    result = draft.results[index]
    if not result.analysed:
        yield Row(wording.NOT_ANALYSED, colour=WARNING, scale=1.6)
        reason = wording.ascii_text(result.reason) or "no reason was recorded"
        for number, line in enumerate(wrap(reason, round(size * 1.2), room)):
            yield Row(line, colour=WHITE, scale=1.2, above=0 if number else 0.3)
        return
    if result.looked_for:
        yield from _found(draft, index, size, room)
    elif marks_images(result):
        for place, rows in enumerate(_measured(draft, result, size, room)):
            yield from _listed(rows, ColumnEntry(index, "measured images", place))
    for place, rows in enumerate(_solids(result, size, room)):
        yield from _listed(rows, ColumnEntry(index, "volumes", place))
    for place, rows in enumerate(_evaluated(result, size, room)):
        yield from _listed(rows, ColumnEntry(index, "numbers", place))


def _listed(rows: Iterable[Row], entry: ColumnEntry) -> Iterator[Row]:
    return (replace(row, entry=entry) for row in rows)


def _found(draft: Draft, index: int, size: int, room: int) -> Iterator[Row]:
    """Say how many lesions there are, large, then which, the surest first."""
    result = draft.results[index]
    yield Row(wording.found(result).capitalize(), colour=WHITE, scale=1.6)
    count = len(result.analysed)
    marks = "" if len(result.findings) < 2 else f"{len(result.findings)} marks, "
    yield Row(f"{marks}{count} image{'s' * (count > 1)} analysed", colour=MUTED)
    signs = dict(zip(result.findings, wording.signs(draft)[index], strict=True))
    in_order = sorted(wording.lesions(result), key=lambda one: int(signs[one[0]] or 0))
    for place, lesion in enumerate(in_order):
        rows = _lesion(draft, lesion, (ink_of(index), signs[lesion[0]]), (size, room))
        yield from _listed(rows, ColumnEntry(index, "findings", place))


def _lesion(
    draft: Draft, lesion: tuple[Finding, ...], drawn: tuple[Ink, str], space: tuple[int, int]
) -> Iterator[Row]:
    size, room = space
    in_order = {f.region.sop_uid: f for f in lesion}
    first = max(lesion, key=lambda f: f.score.value if f.score is not None else 0.0)
    also = wording.seen_on(draft, lesion)
    view = draft.instance(first.region.sop_uid).view
    where = str(view.laterality) if also and view else draft.name_of(first.region.sop_uid)
    value = ", ".join(wording.quantity(m) for m in first.measurements)
    row = Row("", value, above=0.35, ink=drawn[0], sign=drawn[1], right_colour=drawn[0].colour)
    left = room - _indented(row, size)
    label = f"{where} {wording.thing(first)}"
    yield replace(row, left=shorten(label, size, left - width(value, size) - size))
    if also:
        uids = _in_hanging_order(draft, tuple(in_order))
        values = [wording.quantity(s) for u in uids if (s := in_order[u].score) is not None]
        after = f": {', '.join(values)}" if values else ""
        if width(also + after, size) > left:
            also = wording.briefly_seen_on(draft, lesion)
        yield Row(shorten(also + after, size, left), sign=" ", ink=drawn[0])


def _measured(draft: Draft, result: Result, size: int, room: int) -> Iterator[list[Row]]:
    """Yield the rows of each image: what was measured on it."""
    for sop_uid in _in_hanging_order(draft, result.analysed):
        label = draft.name_of(sop_uid)
        measured = [
            m for f in result.findings if f.region.sop_uid == sop_uid for m in f.measurements
        ]
        rows: list[Row] = []
        for measurement in measured:
            name = f"{label}  {wording.ascii_text(measurement.concept.meaning)}"
            rows += _pair(name, wording.quantity(measurement), (size, room))
        yield rows or [Row(label, "nothing found", right_colour=MUTED)]


def _solids(result: Result, size: int, room: int) -> Iterator[list[Row]]:
    """Yield the rows of each solid: what it is called, how large it is, and below it the rest."""
    for place, solid in enumerate(result.solids):
        ink = ink_of_solid(solid)
        head = Row("", above=0.35, ink=ink, sign=sign_of_solid(result, place))
        left = room - _indented(head, size)
        label, value = wording.ascii_text(solid.label), volume_said(solid)
        colour = BODY if solid.is_left_out else WHITE
        below = replace(head, above=0, sign=" ", right_colour=colour)
        if width(label, size) + width(value, size) + size <= left:
            rows = [replace(head, left=label, right=value, right_colour=colour)]
        else:
            lines = wrap(label, size, left)
            rows = [replace(head, left=lines[0])]
            rows += [replace(below, left=line) for line in lines[1:]]
            rows += [replace(below, right=line) for line in wrap(value, size, left)]
        for line in wrap(wording.of_solid(solid), size, left):
            rows.append(replace(below, right=line, right_colour=BODY))
        yield rows


def _evaluated(result: Result, size: int, room: int) -> Iterator[list[Row]]:
    """Yield the rows of each evaluation: of exam, breasts, images; the exam's is largest.

    Beside marks or volumes none is: it is not the answer.
    """
    for number, evaluation in enumerate(result.evaluations):
        label = wording.ascii_text(evaluation.label)
        is_answer = number == 0 and not (marks_images(result) or result.solids)
        scale = 1.5 if is_answer else 1.0
        above = 0.5 if number == 0 and not is_answer else 0
        said: list[Row] = []
        if evaluation.grade is not None:
            value = wording.ascii_text(evaluation.grade.value.meaning)
            said += _pair(label, value, (size, room), scale=scale)
        shown = evaluation.measurements if evaluation.grade is None or is_answer else ()
        for measurement in shown:
            value = wording.quantity(measurement)
            name = wording.ascii_text(measurement.concept.meaning)
            is_named = evaluation.grade is not None
            rows = _pair(
                name if is_named else label, value, (size, room), scale=1 if is_named else scale
            )
            for row in rows:
                said.append(replace(row, above=above))
                above = 0
        yield said


def _pair(label: str, value: str, space: tuple[int, int], *, scale: float = 1.0) -> Iterator[Row]:
    """Write a name and its value: on one line if there is room, else the value below; uncut."""
    size, room = space
    large = round(size * scale)
    if width(label, large) + width(value, large) + large <= room:
        yield Row(label, value, scale=scale)
        return
    for line in wrap(label, size, room):
        yield Row(line)
    for line in wrap(value, large, room):
        yield Row(line, colour=WHITE, scale=scale) if scale > 1 else Row("", line)


def _paragraphs(texts: tuple[str, ...], size: int, room: int) -> Iterator[Row]:
    for text in texts:
        for index, line in enumerate(wrap(wording.ascii_text(text), size, room)):
            yield Row(line, above=0 if index else 0.6)


def _refusals(draft: Draft, size: int, room: int) -> Iterator[Row]:
    """Say which images were not analysed and why, once for all models that say the same."""
    titles: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for result in draft.results:
        if result.refused:
            said = (
                wording.counted_refusals(result.refused),
                tuple(wording.refusals(result.refused)),
            )
            titles.setdefault(said, []).append(wording.ascii_text(result.model.title))
    for (what, lines), names in titles.items():
        by = f" by {', '.join(names)}" if len(names) < len(draft.results) else ""
        title = f"{what} not analysed{by}"
        for index, line in enumerate(wrap(title, size, room)):
            yield Row(line, colour=WARNING, above=0 if index else 0.7)
        for refused in lines:
            for index, line in enumerate(wrap(refused, size, room)):
                yield Row(line, above=0 if index else 0.15)
    for index, line in enumerate(wrap(wording.damaged(draft), size, room)):
        yield Row(line, colour=WARNING, above=0 if index else 0.7)


def _closing(draft: Draft, size: int, room: int) -> Iterator[Row]:
    reason = wording.ascii_text(draft.version.reason)
    for number, line in enumerate(wrap(f"Study closed for analysis: {reason}", size, room)):
        yield Row(line, colour=MUTED, above=0 if number else 0.7)


def analysed(draft: Draft) -> list[str]:
    """Return every image some model analysed, as it would hang."""
    return _in_hanging_order(
        draft, tuple(dict.fromkeys(uid for result in draft.results for uid in result.analysed))
    )


def _in_hanging_order(draft: Draft, sop_uids: tuple[str, ...]) -> list[str]:
    order = {view: place for place, view in enumerate(draft.hanging)}

    def place(sop_uid: str) -> int:
        view = draft.instance(sop_uid).view
        return len(order) if view is None else order.get(view, len(order))

    return sorted(sop_uids, key=place)
