"""The one page over everything the models said about a study version.

Left the views as radiologists hang them, right breast on the left, chest walls together; right
the numbers, what they mean, and what was not analysed and why. Nothing identifies the patient.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node import __version__
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
    Stroke,
    fitting_size,
    line_height,
    shorten,
    width,
    wrap,
)
from node.outputs.draft import Draft
from node.outputs.marked_view import findings_on
from node.result import Evaluation, Grade, Measurement, Result
from node.study import Laterality, View

PAGE = (2048, 1536)
MARGIN = 64
TOP, BOTTOM = 226, 1424
GRID_RIGHT = 1180
COLUMN_LEFT = 1252
SIZES = (42, 40, 38, 36, 34, 32, 30, 28, 26, 24)
"""Type sizes of the column of words; the largest that fits is taken."""
HANGING = tuple(
    View(side, projection)
    for projection in ("CC", "MLO")
    for side in (Laterality.RIGHT, Laterality.LEFT)
)


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


def draw(draft: Draft) -> NDArray[np.uint8]:
    """Return the page: rows, columns, RGB."""
    canvas = Canvas(PAGE)
    _header(canvas, draft)
    left = MARGIN
    if any(result.analysed for result in draft.results):
        _grid(canvas, draft)
        left = COLUMN_LEFT
    _column(canvas, draft, (left, TOP + 34, PAGE[0] - MARGIN, BOTTOM - 24))
    _footer(canvas, draft)
    return canvas.pixels()


def _header(canvas: Canvas, draft: Draft) -> None:
    right = PAGE[0] - MARGIN
    size = 30
    labels = ["AI generated - not verified"]
    if any(result.model.is_research for result in draft.results):
        labels.append("RESEARCH USE")
    x = right - sum(width(label, size) + 27 for label in labels) - 28 * (len(labels) - 1)
    room = x - MARGIN - 40
    for label in labels:
        x = canvas.tag((x, 66), label, size) + 28
    title = wording.ascii_text(", ".join(r.model.title for r in draft.results))
    large = fitting_size(title, 72, room, 40)
    canvas.text((MARGIN, 48), shorten(title, large, room), large, WHITE)
    when = f"AI analysis of {wording.moment(draft)}"
    x = canvas.text((MARGIN, 150), when, 34, BODY)
    replaced = wording.version(draft)
    if replaced:
        canvas.text((x + 48, 150), replaced, 34, WARNING)
    canvas.rule(MARGIN, right, TOP - 8)


def _footer(canvas: Canvas, draft: Draft) -> None:
    right = PAGE[0] - MARGIN
    canvas.rule(MARGIN, right, BOTTOM)
    note = "Not for measurement"
    canvas.text_right((right, BOTTOM + 26), note, 30, BODY)
    room = right - MARGIN - width(note, 30) - 60
    for line in _model_lines(draft):
        size = fitting_size(line, 28, room, 22)
        if width(line, size) <= room:
            break
    else:
        line, size = shorten(line, 22, room), 22
    canvas.text((MARGIN, BOTTOM + 28), line, size, MUTED)


def _model_lines(draft: Draft) -> list[str]:
    """Return who spoke, in decreasing detail."""
    models = [result.model for result in draft.results]
    node = f"DICOM AI Node {__version__}"
    weights = [f"{m.title} {m.version}, weights {m.weights_sha256[:12]}" for m in models]
    both = [f"{w}, {m.manufacturer}" for w, m in zip(weights, models, strict=True)]
    names = [f"{m.title} {m.version}" for m in models]
    return [wording.ascii_text("; ".join([*words, node])) for words in (both, weights, names)]


def _grid(canvas: Canvas, draft: Draft) -> None:
    gap = 24
    cell = ((GRID_RIGHT - MARGIN - gap) // 2, (BOTTOM - TOP - 48 - gap) // 2)
    for index, (label, sop_uid, absent) in enumerate(_cells(draft)):
        left = MARGIN + (index % 2) * (cell[0] + gap)
        top = TOP + 24 + (index // 2) * (cell[1] + gap)
        box = (left, top, left + cell[0], top + cell[1] - 8)
        _cell_label(canvas, draft, box, (label, sop_uid, index % 2 == 1))
        inside = (box[0], box[1] + 64, box[2], box[3])
        if sop_uid in draft.pictures:
            _thumbnail(canvas, draft, inside, (sop_uid, index % 2 == 1))
        else:
            _placeholder(canvas, inside, absent)


def _cells(draft: Draft) -> list[tuple[str, str, str]]:
    """Return label, SOP Instance UID (empty if there is no image), and why there is none."""
    images = analysed(draft)
    shown: dict[View, str] = {}
    for sop_uid in images:
        view = draft.instance(sop_uid).view
        if view is not None:
            shown[view] = max(shown.get(view, ""), sop_uid, key=lambda u: _headline(draft, u))
    if not any(view in HANGING for view in shown):
        some = images[:4]
        return [(str(draft.instance(uid).view or "Image"), uid, "no picture") for uid in some]
    return [(str(view), shown.get(view, ""), _why_absent(draft, view)) for view in HANGING]


def _headline(draft: Draft, sop_uid: str) -> float:
    """Order repeats of a view: the one that counts is the one with the larger number."""
    return max((m.value for m in _numbers_on(draft, sop_uid)), default=-1.0) if sop_uid else -2.0


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
        return "not received"
    images = "an image" if len(unplaced) == 1 else f"{len(unplaced)} images"
    return f"not identified: {images} of unclear view, see right"


def _without_view(draft: Draft) -> set[str]:
    """Return the images that may show any view, for they do not say, or contradict themselves."""
    return {i.sop_uid for i in draft.version.instances if i.view is None and i.is_standard}


def _cell_label(canvas: Canvas, draft: Draft, box: Box, cell: tuple[str, str, bool]) -> None:
    """Write the view on the outer side, where a film carries its marker, the number beside it."""
    label, sop_uid, is_mirrored = cell
    number = next(map(wording.quantity, _numbers_on(draft, sop_uid)), "")
    colour = next((colour for colour, _ in findings_on(draft, sop_uid)), MARK)
    if is_mirrored:
        begin = canvas.text_right((box[2], box[1]), label, 48, WHITE)
        canvas.text_right((begin - 32, box[1] + 4), number, 42, colour)
    else:
        end = canvas.text((box[0], box[1]), label, 48, WHITE)
        canvas.text((end + 32, box[1] + 4), number, 42, colour)


def _thumbnail(canvas: Canvas, draft: Draft, box: Box, cell: tuple[str, bool]) -> None:
    """Fit the picture into the box, against the middle of the page as it would hang."""
    sop_uid, is_mirrored = cell
    picture = draft.pictures[sop_uid]
    rows, columns = picture.grey.shape
    scale = min((box[2] - box[0]) / columns, (box[3] - box[1]) / rows)
    size = (round(columns * scale), round(rows * scale))
    left = box[0] if is_mirrored else box[2] - size[0]
    canvas.picture(picture.grey, (left, box[1], left + size[0], box[1] + size[1]))
    for colour, finding in findings_on(draft, sop_uid):
        points = [
            (x * picture.scale * scale + left, y * picture.scale * scale + box[1])
            for x, y in finding.region.outline
        ]
        canvas.outline(points, Stroke(colour, width=2.6, halo=0.8))


def _placeholder(canvas: Canvas, box: Box, words: str) -> None:
    canvas.frame(box)
    lines = wrap(words, 34, box[2] - box[0] - 60)[:6]
    y = (box[1] + box[3] - line_height(34) * len(lines)) // 2
    for line in lines:
        canvas.text(((box[0] + box[2] - width(line, 34)) // 2, y), line, 34, MUTED)
        y += line_height(34)


def _column(canvas: Canvas, draft: Draft, box: Box) -> None:
    """Write all rows as large as they fit; what fits at no size is said to be in the report."""
    room = box[2] - box[0]
    size, rows = SIZES[0], []
    for size in SIZES:
        rows = list(_rows(draft, size, room))
        if sum(_height(row, size) for row in rows) <= box[3] - box[1]:
            break
    y = box[1]
    for index, row in enumerate(rows):
        is_last = index == len(rows) - 1
        if y + _height(row, size) + (0 if is_last else line_height(size)) > box[3]:
            more = f"... and {len(rows) - index} more lines: see the AI report"
            canvas.text((box[0], y), more, size, WARNING)
            return
        y += round(row.above * line_height(size))
        type_size = round(size * row.scale)
        canvas.text((box[0], y), row.left, type_size, row.colour)
        canvas.text_right((box[2], y), row.right, type_size, row.right_colour)
        y += line_height(type_size)


def _height(row: Row, size: int) -> int:
    return round(row.above * line_height(size)) + line_height(round(size * row.scale))


def _rows(draft: Draft, size: int, room: int) -> Iterator[Row]:
    for index, result in enumerate(draft.results):
        if len(draft.results) > 1:
            title = shorten(wording.ascii_text(result.model.title), size, room)
            yield Row(title, colour=WHITE, above=0.7 if index else 0)
        yield from _outcome(draft, result, size, room)
        yield from _paragraphs(result.statements, size, room)
    yield from _closing(draft, size, room)
    for result in draft.results:
        yield from _refusals(result, size, room)


def _outcome(draft: Draft, result: Result, size: int, room: int) -> Iterator[Row]:
    if not result.analysed:
        yield Row(wording.NOT_ANALYSED, colour=WARNING, scale=1.6)
        reason = wording.ascii_text(result.reason) or "no reason was recorded"
        for index, line in enumerate(wrap(reason, round(size * 1.2), room)):
            yield Row(line, colour=WHITE, scale=1.2, above=0 if index else 0.3)
        return
    for sop_uid in _in_hanging_order(draft, result.analysed) if result.is_about_places else ():
        label = str(draft.instance(sop_uid).view or "Image")
        measured = [
            m for f in result.findings if f.region.sop_uid == sop_uid for m in f.measurements
        ]
        for measurement in measured:
            yield _number_row(label, measurement, size, room)
        if not measured:
            yield Row(label, "nothing found", right_colour=MUTED)
    yield from _evaluated(result, size, room)


def _evaluated(result: Result, size: int, room: int) -> Iterator[Row]:
    for index, evaluation in enumerate(result.evaluations):
        above = 0.5 if index == 0 and result.is_about_places else 0
        if evaluation.grade is not None:
            yield from _graded(evaluation, evaluation.grade, size, room)
            continue
        for measurement in evaluation.measurements:
            label = wording.ascii_text(evaluation.label)
            row = _number_row(label, measurement, size, room, is_named=True)
            yield Row(row.left, row.right, above=above)


def _graded(evaluation: Evaluation, grade: Grade, size: int, room: int) -> Iterator[Row]:
    """Name the grade; the probabilities below it where it is that of the exam."""
    label, value = map(wording.ascii_text, (evaluation.label, grade.value.meaning))
    is_exam = evaluation.laterality is None
    scale = 1.2 if is_exam else 1.0
    if is_exam and width(f"{label}  {value}", round(size * scale)) > room:
        yield Row(shorten(label, size, room))
        label = ""
    large = round(size * scale)
    yield Row(shorten(label, large, room - width(value, large) - large), value, scale=scale)
    if is_exam:
        for measurement in evaluation.measurements:
            name = wording.ascii_text(measurement.concept.meaning)
            yield _number_row(name, measurement, size, room, is_named=True)


def _number_row(
    label: str, measurement: Measurement, size: int, room: int, *, is_named: bool = False
) -> Row:
    value = wording.quantity(measurement)
    name = label if is_named else f"{label}  {wording.ascii_text(measurement.concept.meaning)}"
    return Row(shorten(name, size, room - width(value, size) - size), value)


def _paragraphs(texts: tuple[str, ...], size: int, room: int) -> Iterator[Row]:
    for text in texts:
        for index, line in enumerate(wrap(wording.ascii_text(text), size, room)):
            yield Row(line, above=0 if index else 0.6)


def _refusals(result: Result, size: int, room: int) -> Iterator[Row]:
    if not result.refused:
        return
    count = len(result.refused)
    yield Row(f"{count} image{'s' * (count > 1)} not analysed", colour=WARNING, above=0.7)
    for refused in wording.refusals(result):
        for index, line in enumerate(wrap(refused, size, room)):
            yield Row(line, above=0 if index else 0.15)


def _closing(draft: Draft, size: int, room: int) -> Iterator[Row]:
    priorities = ", ".join(dict.fromkeys(str(result.priority) for result in draft.results))
    yield Row(f"Priority: {priorities}", colour=MUTED, above=0.7)
    reason = wording.ascii_text(draft.version.reason)
    for line in wrap(f"Study closed for analysis: {reason}", size, room):
        yield Row(line, colour=MUTED)


def analysed(draft: Draft) -> list[str]:
    """Return every image some model analysed, as it would hang."""
    return _in_hanging_order(
        draft, tuple(dict.fromkeys(uid for result in draft.results for uid in result.analysed))
    )


def _in_hanging_order(draft: Draft, sop_uids: tuple[str, ...]) -> list[str]:
    order = {view: place for place, view in enumerate(HANGING)}

    def place(sop_uid: str) -> int:
        view = draft.instance(sop_uid).view
        return len(order) if view is None else order.get(view, len(order))

    return sorted(sop_uids, key=place)


def _numbers_on(draft: Draft, sop_uid: str) -> list[Measurement]:
    return [m for _, finding in findings_on(draft, sop_uid) for m in finding.measurements]
