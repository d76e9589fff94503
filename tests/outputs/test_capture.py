"""The captures: what they show, where words stand, and that nothing is covered or cut off."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.outputs import canvas, capture, marked_view, marking, summary_page, wording
from node.outputs.case import Draft
from node.outputs.marked_view import Layout
from node.outputs.marking import Marked, Placed
from node.outputs.report_set import to_bytes
from node.result import Code, Finding, Measurement, Refusal, Region
from node.study import Laterality, Picture, View
from node.trial import phantom
from outputs.drafts import (
    AI_SCORE,
    MASS,
    PERCENT,
    as_version_2,
    detected,
    draft,
    graded,
    reread,
    scored,
    segmented,
    with_bytes,
    with_damaged,
    with_result,
)

EXAM = draft()
ONE = draft([R_CC])


@cache
def full() -> Draft:
    """Return a draft whose pictures stand on their pages in their own size."""
    return draft([R_CC, L_CC, R_MLO], technique=phantom.Technique())


LONG = "A sentence that goes on and on and says what the numbers are and what they are not. " * 4
LARGE = phantom.Technique(rows=2656, columns=2048, spacing_mm=0.09)


def many_refused(count: int) -> tuple[Refusal, ...]:
    return tuple(Refusal("", "R MLO spot", f"image {n} is damaged") for n in range(count))


def together(*drafts: Draft) -> Draft:
    """Return one draft in which the models of all of them speak."""
    return replace(drafts[0], results=tuple(r for made in drafts for r in made.results))


def titled(made: Draft, title: str) -> Draft:
    model = replace(made.results[0].model, title=title, version="12.34.567")
    return with_result(made, model=model)


def box(left: float, top: float, right: float, bottom: float) -> tuple[tuple[float, float], ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))


def with_boxes(made: Draft, *boxes: tuple[float, float, float, float]) -> Draft:
    """Return the draft as of a detector that draws these boxes on its first image."""
    sop_uid = made.version.instances[0].sop_uid
    findings = [
        Finding(
            label=f"R CC mass {number}",
            kind=MASS,
            laterality=Laterality.RIGHT,
            region=Region(sop_uid, box(*edges), is_box=True),
            measurements=(Measurement(AI_SCORE, 95.0 - number, PERCENT, 0, is_score=True),),
        )
        for number, edges in enumerate(boxes, start=1)
    ]
    return with_result(detected(made), findings=tuple(findings))


def shaped(rows: int, columns: int) -> Draft:
    """Return an exam of one image of this shape, all of it tissue."""
    made = draft([R_CC])
    grey = np.full((rows, columns), 120, np.uint8)
    return replace(made, pictures={made.version.instances[0].sop_uid: Picture(grey, 1.0)})


@cache
def eight() -> Draft:
    """Return a draft with eight boxes on one image."""
    boxes = ((500.0 + 37 * n, 400.0 + 61 * n, 580 + 37 * n, 470 + 61 * n) for n in range(8))
    return with_boxes(full(), *boxes)


LONGEST_NAME = "A Name of an Algorithm that Goes On and On to 64 Characters, so"

CASES: Mapping[str, Callable[[], Draft]] = {
    "four views": lambda: EXAM,
    "three views": lambda: as_version_2(draft([R_CC, L_CC, R_MLO])),
    "one view": lambda: draft([L_MLO]),
    "one refused": lambda: draft(refuse={R_MLO: LONG}),
    "none": lambda: draft(refuse=dict.fromkeys(phantom.EXAM, LONG)),
    "nothing found": lambda: with_result(EXAM, findings=(), evaluations=()),
    "graded": lambda: graded(EXAM),
    "much to say": lambda: with_result(EXAM, statements=(LONG, LONG), refused=many_refused(50)),
    "unbroken": lambda: with_result(EXAM, statements=("x" * 400,), refused=many_refused(2)),
    "large": lambda: draft([R_CC], technique=LARGE),
    "detected": lambda: detected(EXAM),
    "nothing detected": lambda: with_result(detected(EXAM), findings=()),
    "detected, one refused": lambda: as_version_2(detected(draft(refuse={R_MLO: "magnified"}))),
    "segmented": lambda: segmented(EXAM),
    "scored": lambda: scored(EXAM),
    "eight on one image": eight,
    "forty on one image": lambda: with_boxes(
        EXAM, *((9.0 * n % 230, 8.0 * n, 9 * n % 230 + 12, 8 * n + 9) for n in range(40))
    ),
    "two models": lambda: together(detected(EXAM), EXAM),
    "three models": lambda: together(detected(EXAM), segmented(EXAM), scored(EXAM)),
    "long names": lambda: together(
        *(titled(m(ONE), LONGEST_NAME) for m in (detected, segmented, scored))
    ),
    "tall": lambda: detected(shaped(3000, 400)),
    "wide": lambda: together(detected(shaped(300, 2000)), scored(shaped(300, 2000))),
    "tiny": lambda: together(detected(shaped(300, 230)), scored(shaped(300, 230))),
}


@pytest.fixture(scope="module", params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> list[Dataset]:
    return capture.build(request.param())


def pixels(dataset: Dataset) -> NDArray[np.uint8]:
    return np.asarray(reread(dataset).pixel_array)


def test_every_page_is_an_rgb_secondary_capture_of_sensible_size(case: list[Dataset]) -> None:
    for dataset in case:
        assert dataset.SOPClassUID == SecondaryCaptureImageStorage
        assert dataset.PhotometricInterpretation == "RGB"
        assert 600 <= max(dataset.Rows, dataset.Columns) <= 2048
        assert len(dataset.PixelData) % 2 == 0
        assert pixels(dataset).shape == (dataset.Rows, dataset.Columns, 3)


@pytest.mark.parametrize("name", ["two models", "tiny", "graded"])
def test_the_same_draft_gives_the_same_bytes(name: str) -> None:
    first, second = ([to_bytes(d) for d in capture.build(CASES[name]())] for _ in range(2))
    assert first == second
    assert len({d.SOPInstanceUID for d in capture.build(CASES[name]())}) == len(first)


def test_no_word_touches_the_edge_of_a_page(case: list[Dataset]) -> None:
    for dataset in case:
        page = pixels(dataset)
        for edge in (page[:8], page[-8:], page[:, :5], page[:, -5:]):
            assert not edge.any()


def test_a_summary_comes_first_then_a_page_for_each_analysed_view() -> None:
    made = capture.build(draft(refuse={L_CC: "implant"}))
    assert [d.ConversionType for d in made] == ["SYN", "WSD", "WSD", "WSD"]
    assert [d.InstanceNumber for d in made] == [1, 2, 3, 4]
    assert [d.get("ImageLaterality") for d in made] == ["B", "R", "R", "L"]


def test_what_is_about_the_exam_alone_is_on_the_summary_alone() -> None:
    assert [d.ConversionType for d in capture.build(graded(EXAM))] == ["SYN"]
    with_outlines = replace(EXAM, results=(*EXAM.results, *graded(EXAM).results))
    assert len(capture.build(with_outlines)) == 5


def test_a_heat_map_has_a_page_of_its_own_and_no_empty_page_beside_it() -> None:
    made = capture.build(scored(EXAM))
    whats = [str(d.DerivationDescription).split(": ")[1] for d in made]
    assert whats[1:] == ["heat map on a resampled copy. Not for measurement."] * 4
    assert [d.ImageLaterality for d in made] == ["B", "R", "L", "R", "L"]
    both = capture.build(together(detected(EXAM), scored(EXAM)))
    assert len(both) == 9
    assert len({d.SOPInstanceUID for d in both}) == 9


def test_not_analysed_is_a_page_too() -> None:
    (page,) = capture.build(CASES["none"]())
    assert "SourceImageSequence" not in page
    assert pixels(page).any()


@dataclass(frozen=True)
class Page:
    """A page of one image, and what of the picture is not as it was."""

    layout: Layout
    marks: list[Marked]
    placed: Placed
    changed: NDArray[np.bool_]
    """By row and column of the picture as it stands on the page."""
    outers: list[canvas.Box]
    """Around each mark as drawn."""
    signs: list[canvas.Box | None]


def page_of(made: Draft, place: int = 0) -> Page:
    sop_uid = made.version.instances[place].sop_uid
    picture = made.pictures[sop_uid]
    layout = marked_view.layout_of(made, sop_uid)
    (panel,) = layout.panels
    placed = marking.placed(picture, panel)
    empty = canvas.Canvas(layout.page)
    empty.picture(picture.grey, panel)
    pen = marked_view.pen(layout)
    marks = marking.marks_on(made, sop_uid)
    before = empty.pixels().astype(int)
    after = marked_view.draw_marked_view(made, sop_uid).astype(int)
    left, top, right, bottom = panel
    return Page(
        layout=layout,
        marks=marks,
        placed=placed,
        changed=(before != after).any(axis=2)[top:bottom, left:right],
        outers=[marking.outer(marking.path_of(m, placed, pen), pen) for m in marks],
        signs=marking.sign_boxes(empty, marks, placed, (pen, layout.padding)),
    )


def within(page: Page, boxes: Sequence[canvas.Box | None]) -> NDArray[np.bool_]:
    """Return which pixels of the picture lie in one of the boxes on the page."""
    inside = np.zeros_like(page.changed)
    for one in boxes:
        if one is not None:
            left, top = page.placed.box[:2]
            x0, y0, x1, y1 = (max(0, edge) for edge in np.subtract(one, (left, top, left, top)))
            inside[y0:y1, x0:x1] = True
    return inside


@pytest.mark.parametrize("make", [lambda: detected(full()), eight], ids=["detected", "eight"])
def test_a_box_and_its_sign_lie_outside_of_what_is_marked(make: Callable[[], Draft]) -> None:
    page = page_of(make())
    assert page.changed.any()
    assert not (page.changed & ~within(page, [*page.outers, *page.signs])).any()
    assert page.placed.scale[0] <= 1
    for mark in page.marks:
        (left, top), _, (right, bottom), *_ = map(page.placed.point, mark.finding.region.outline)
        inside = (round(left) + 1, round(top) + 1, round(right) - 1, round(bottom) - 1)
        others = [o for m, o in zip(page.marks, page.outers, strict=True) if m is not mark]
        alone = within(page, [inside]) & ~within(page, others)
        assert not (page.changed & alone).any()


@pytest.mark.parametrize("make", [lambda: detected(full()), eight], ids=["detected", "eight"])
def test_a_box_is_drawn_all_around_what_the_result_says_and_close_to_it(
    make: Callable[[], Draft],
) -> None:
    page = page_of(make())
    for mark, outer in zip(page.marks, page.outers, strict=True):
        (left, top), _, (right, bottom), *_ = map(page.placed.point, mark.finding.region.outline)
        gaps = (left - outer[0], top - outer[1], outer[2] - right, outer[3] - bottom)
        assert all(3 <= gap <= page.layout.unit for gap in gaps), gaps
        x, y = page.placed.box[0], page.placed.box[1]
        middle = (round((left + right) / 2) - x, round((top + bottom) / 2) - y)
        assert page.changed[outer[1] - y : round(top) - y, middle[0]].any()
        assert page.changed[round(bottom) - y : outer[3] - y, middle[0]].any()
        assert page.changed[middle[1], outer[0] - x : round(left) - x].any()
        assert page.changed[middle[1], round(right) - x : outer[2] - x].any()


def test_signs_stand_apart_beside_their_marks_and_inside_of_none() -> None:
    page = page_of(eight())
    signs = [sign for sign in page.signs if sign is not None]
    assert len(signs) == 8
    for number, sign in enumerate(signs):
        others = [*page.outers, *signs[:number]]
        assert not any(marking.overlap(sign, other) for other in others)
        left, top, right, bottom = page.outers[number]
        size = marked_view.pen(page.layout).sign
        assert left - 3 * size < sign[0] < right + 2 * size
        assert top - 3 * size < sign[1] < bottom + 2 * size


def test_a_mark_that_fills_the_picture_has_its_sign_in_the_margin() -> None:
    page = page_of(with_boxes(full(), (0, 0, 1024, 1328), (400, 400, 500, 500)))
    first = page.signs[0]
    assert first is not None
    assert not marking.overlap(first, page.placed.box)
    assert first[0] >= 0
    assert first[2] <= page.layout.page[0]


def test_a_sign_goes_where_it_is_dark() -> None:
    made = shaped(1000, 800)
    (sop_uid,) = made.pictures
    grey = made.pictures[sop_uid].grey.copy()
    grey[:, :400] = 0
    made = replace(made, pictures={sop_uid: Picture(grey, 1.0)})
    page = page_of(with_boxes(made, (380, 300, 500, 400), (100, 800, 120, 820)))
    assert page.signs[0] is not None
    assert page.signs[0][2] <= page.outers[0][0]


def test_words_stand_beside_the_picture_only() -> None:
    """What is neither mark nor sign of a page lies above or below the picture."""
    page = page_of(together(detected(full()), full()))
    corridors = within(page, [*page.outers[:1], *page.signs])
    outline = page.marks[1]
    path = marking.path_of(outline, page.placed, marked_view.pen(page.layout))
    reach = round(page.layout.unit * 0.17) + 2
    for x, y in path:
        at = (round(x) - reach, round(y) - reach, round(x) + reach, round(y) + reach)
        corridors |= within(page, [at])
    assert (page.changed & ~corridors).mean() < 0.0005


def test_a_region_beyond_the_image_is_drawn_to_its_edge() -> None:
    page = page_of(with_boxes(full(), (-300, -200, 90, 80)))
    left, top, right, bottom = page.outers[0]
    assert page.placed.box[0] - page.layout.padding <= left < right
    assert page.layout.size(marked_view.HEADER) <= top < bottom


def test_an_outline_is_where_the_result_says() -> None:
    made = draft([L_CC])
    sop_uid = made.version.instances[0].sop_uid
    picture = made.pictures[sop_uid]
    half = Picture(picture.grey[::2, ::2].copy(), 0.5)
    made = replace(made, pictures={sop_uid: half})
    page = marked_view.draw_marked_view(made, sop_uid).astype(int)
    (left, top, right, _) = marked_view.layout_of(made, sop_uid).panels[0]
    scale = (right - left) / half.grey.shape[1]
    (mark,) = marking.marks_on(made, sop_uid)
    outline = mark.finding.region.outline
    for x, y in outline[:: len(outline) // 40]:
        column, row = round(x * 0.5 * scale) + left, round(y * 0.5 * scale) + top
        around = page[row - 2 : row + 3, column - 2 : column + 3]
        assert (around[..., 2] - around[..., 0]).max() > 60, (x, y)


def test_a_picture_that_fits_is_not_resampled() -> None:
    page = page_of(detected(draft([R_CC], technique=phantom.Technique(rows=1100, columns=900))))
    left, top, right, bottom = page.placed.box
    assert (bottom - top, right - left) == (1100, 900)


def test_one_lesion_bears_one_sign_on_all_its_images() -> None:
    made = detected(EXAM)
    assert wording.signs(made) == [["1", "2", "1"]]
    assert [f.label for f in made.results[0].findings] == ["R CC mass", "L CC mass", "R MLO mass"]


def test_signs_of_several_models_are_told_apart() -> None:
    made = together(detected(EXAM), EXAM, segmented(EXAM))
    signs = wording.signs(made)
    assert signs[1] == [""] * 4
    assert sorted({*signs[0], *signs[2]}) == ["1", "2", "3", "4", "5", "6"]


def test_a_mark_that_stands_alone_needs_no_sign() -> None:
    findings = detected(EXAM).results[0].findings
    assert wording.signs(with_result(detected(EXAM), findings=findings[1:2])) == [[""]]
    assert wording.signs(EXAM) == [[""] * 4]


def words(entries: Sequence[marked_view.LegendEntry]) -> list[tuple[str, str, str]]:
    return [(entry.sign, entry.text, entry.value) for entry in entries]


def test_the_legend_lists_the_marks_by_their_signs() -> None:
    made = detected(EXAM)
    r_cc, l_cc, _, l_mlo = (i.sop_uid for i in made.version.instances)
    meaning = ("", "Score: Probability of cancer, in percent.", "")
    expected = [("1", "mass, seen on CC and MLO", "87 %"), meaning]
    assert words(marked_view.legend(made, r_cc)) == expected
    assert words(marked_view.legend(made, l_cc)) == [("2", "mass", "56 %"), meaning]
    assert marked_view.legend(made, l_mlo) == []
    assert [(h.name, h.value) for h in marked_view.headlines(made, l_mlo)] == [
        ("Mass Detector", "nothing found")
    ]
    said = marked_view.headlines(eight(), eight().version.instances[0].sop_uid)
    assert [h.value for h in said] == ["8 findings"]


def test_marks_beyond_the_room_of_the_legend_are_counted() -> None:
    made = CASES["forty on one image"]()
    entries = marked_view.legend(made, made.version.instances[0].sop_uid)
    assert "... and 24 more marks" in [entry.text for entry in entries]


def test_several_models_are_named_with_the_line_each_draws() -> None:
    made = together(detected(EXAM), EXAM, scored(EXAM))
    entries = marked_view.legend(made, made.version.instances[3].sop_uid)
    titles = [(e.text, e.value, e.ink) for e in entries if e.is_title]
    assert titles == [
        ("Mass Detector 1.0.0", "nothing found", canvas.INKS[0]),
        ("Breast Area 1.0.0", "", canvas.INKS[1]),
    ]
    assert len({ink.colour for ink in canvas.INKS}) == len({i.dashes for i in canvas.INKS}) == 4


def test_a_dashed_line_has_gaps_and_an_unbroken_one_has_none() -> None:
    for ink, is_broken in zip(canvas.INKS, (False, True, True, True), strict=True):
        page = canvas.Canvas((400, 40))
        page.line(((20, 20), (380, 20)), canvas.Stroke(ink, 3, 0))
        drawn = np.asarray(page.pixels()[20, 20:380].any(axis=1))
        assert drawn[0]
        assert drawn.all() != is_broken
        assert drawn.mean() > 0.4


@pytest.mark.parametrize("made", [detected(EXAM), scored(EXAM)], ids=["detector", "classifier"])
def test_a_score_is_said_to_be_what_it_is(made: Draft) -> None:
    meaning = wording.score_meaning(made.results[0])
    is_probability = made.results[0].findings != ()
    assert ("Probability of cancer" in meaning) == is_probability
    assert ("It is not a probability of cancer." in meaning) != is_probability
    assert "in percent" in meaning
    assert meaning in " ".join(column(made))


def test_a_measured_number_is_no_score() -> None:
    assert (
        wording.score_meaning(EXAM.results[0])
        == wording.score_meaning(graded(EXAM).results[0])
        == ""
    )


def heat_page(made: Draft) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]:
    """Return of the first heat map its page, the plain picture and the tinted one on it."""
    result = made.results[0]
    heat_map = result.heat_maps[0]
    page = marked_view.draw_heat_map(made, result, heat_map).astype(int)
    sentences = marked_view.heat_legend(made, result, heat_map)
    picture = made.pictures[heat_map.sop_uid]
    legend = marked_view.ROW * (len(sentences) + 1)
    panels = marked_view.layout(picture, legend, panels=2).panels
    plain, tinted = (page[top:bottom, left:right] for left, top, right, bottom in panels)
    return page, plain, tinted


def with_heat(
    made: Draft, values: NDArray[np.uint8], edges: tuple[float, float, float, float]
) -> Draft:
    """Return the draft with one heat map, on its first image."""
    heat_map = replace(
        scored(made).results[0].heat_maps[0],
        rows=values.shape[0],
        columns=values.shape[1],
        values=base64.b64encode(values.tobytes()).decode(),
        box=edges,
    )
    return with_result(scored(made), heat_maps=(heat_map,))


@pytest.mark.parametrize(("rows", "columns"), [(1000, 600), (300, 230), (500, 1000)])
def test_a_heat_map_is_warm_where_the_network_looked_and_nowhere_else(
    rows: int, columns: int
) -> None:
    values = np.zeros((4, 4), np.uint8)
    values[1, 2] = 255
    made = with_heat(shaped(rows, columns), values, (0, 0, columns, rows))
    _, plain, tinted = heat_page(made)
    assert (plain[..., 0] == plain[..., 2]).all()
    difference = np.abs(tinted - plain).sum(axis=2)
    row, column_ = np.unravel_index(np.argmax(difference), difference.shape)
    assert abs(row / tinted.shape[0] - 1.5 / 4) < 0.02
    assert abs(column_ / tinted.shape[1] - 2.5 / 4) < 0.02
    warm = canvas.MOST_TINT * np.array(canvas.RAMP[-1]) + (1 - canvas.MOST_TINT) * 120
    assert np.abs(tinted[row, column_] - warm).max() < 8
    height, width = difference.shape
    assert not difference[int(height * 0.65) :].any()
    assert not difference[:, : int(width * 0.36)].any()


def test_a_heat_map_that_reaches_beyond_the_image_is_clipped_to_it() -> None:
    values = np.full((2, 2), 255, np.uint8)
    made = with_heat(shaped(1000, 600), values, (-600.0, -1000.0, 300.0, 500.0))
    _, plain, tinted = heat_page(made)
    is_tinted = (plain != tinted).any(axis=2)
    assert is_tinted[:498, :298].mean() == 1
    assert not is_tinted[502:].any()
    assert not is_tinted[:, 302:].any()


def test_the_tissue_stays_visible_below_the_warmest_place() -> None:
    made = shaped(1000, 600)
    (sop_uid,) = made.pictures
    grey = made.pictures[sop_uid].grey.copy()
    grey[::2] = 60
    made = replace(made, pictures={sop_uid: Picture(grey, 1.0)})
    _, plain, tinted = heat_page(with_heat(made, np.full((2, 2), 255, np.uint8), (0, 0, 600, 1000)))
    assert np.ptp(tinted[..., 1]) >= 0.39 * np.ptp(plain[..., 1])


def test_warmer_is_lighter_in_even_steps() -> None:
    linear = (np.array(canvas.RAMP) / 255) ** 2.2
    lightness = 116 * np.cbrt(linear @ (0.2126, 0.7152, 0.0722)) - 16
    steps = np.diff(lightness)
    assert steps.min() > 5
    assert steps.max() < 10


def test_a_heat_map_says_what_it_is_and_what_it_is_not() -> None:
    made = scored(EXAM)
    result = made.results[0]
    sentences = " ".join(marked_view.heat_legend(made, result, result.heat_maps[0]))
    assert "where the network looked, not where a lesion is" in sentences
    assert "not a probability of cancer" in sentences
    assert "Left: the image. Right: the same image with the heat map." in sentences
    assert marked_view.colour_bar_name(result.heat_maps[0]) == "Where the network looked"
    assert wording.NOT_A_PLACE in column(made)


def column(made: Draft, size: int = 24, room: int = 2000) -> list[str]:
    """Return the lines of the summary's words."""
    return [
        f"{row.sign} {row.left} {row.right}".strip() for row in summary_page._rows(made, size, room)
    ]


def test_the_summary_counts_a_lesion_once_and_says_where_it_is_seen() -> None:
    lines = column(detected(EXAM))
    assert lines[:5] == [
        "2 findings",
        "3 marks, 4 images analysed",
        "1 R mass 91 %",
        "seen on CC and MLO: 87 %, 91 %",
        "2 L CC mass 56 %",
    ]


MAGNIFIED = {L_MLO: "magnification view"}
MANY = with_boxes(
    draft(refuse=MAGNIFIED),
    *((5.0 + 8 * (n % 7), 20.0 + 8 * n, 10.0 + 8 * (n % 7), 25.0 + 8 * n) for n in range(28)),
)
"""28 findings on an exam with an image that was refused."""


def shown(made: Draft) -> tuple[int, list[summary_page.Row]]:
    """Return type size and rows of the summary page, as large as it draws them."""
    room = summary_page.PAGE[0] - summary_page.MARGIN - summary_page.COLUMN_LEFT
    height = summary_page.BOTTOM - 24 - summary_page.TOP - 34
    size, rows = summary_page.fitted(made, (room, height))
    assert summary_page._heights(rows, size) <= height
    return size, rows


def lines_shown(made: Draft) -> str:
    return " ".join(f"{row.sign} {row.left} {row.right}".strip() for row in shown(made)[1])


def cautions(made: Draft) -> list[str]:
    """Return what must be on the page however many findings there are."""
    said = [f"Study closed for analysis: {made.version.reason}"]
    for result in made.results:
        said += [
            wording.score_meaning(result),
            *result.statements,
            *wording.refusals(result.refused),
        ]
        said += [f"{len(result.refused)} image not analysed"] if result.refused else []
    return said


def test_however_many_findings_there_are_no_caution_and_no_refusal_is_left_out() -> None:
    said = lines_shown(MANY)
    assert "It is not a probability of cancer." in wording.score_meaning(MANY.results[0])
    for words_of_caution in cautions(MANY):
        assert words_of_caution in said
    assert "L MLO: magnification view" in said
    listed = {row.entry.place for row in shown(MANY)[1] if row.entry is not None}
    assert listed == set(range(len(listed)))
    assert "28 findings" in said
    assert f"... and {28 - len(listed)} more findings" in said
    assert "report" not in said


def test_the_findings_of_one_model_leave_room_for_the_cautions_of_another() -> None:
    other = replace(scored(draft(refuse=MAGNIFIED)), version=MANY.version)
    for made in (together(MANY, other), together(other, MANY)):
        said = lines_shown(made)
        for words_of_caution in cautions(made):
            assert words_of_caution in said
        assert "Exam AI score" in said
        assert " more findings" in said
        assert all(result.model.title in said for result in made.results)


def test_what_fits_no_page_is_said_to_be_missing() -> None:
    made = with_result(MANY, statements=tuple(f"Sentence {n}. " * 12 for n in range(40)))
    assert lines_shown(made).endswith("... and more that this page has no room for")


def test_the_views_of_a_lesion_are_named_briefly_where_room_is_short() -> None:
    made = detected(EXAM)
    r_cc = made.version.instances[0].sop_uid
    (entry, _) = marked_view.legend(made, r_cc)
    wide = canvas.width(entry.text, 20)
    assert entry.fitting(20, wide) == "mass, seen on CC and MLO"
    assert entry.fitting(20, wide - 1) == "mass, CC + MLO"
    assert "CC + MLO: 87 %, 91 %" in column(made, size=30, room=400)


def test_nothing_found_is_said_of_what_was_looked_for_only() -> None:
    nothing = column(with_result(detected(EXAM), findings=()))
    assert nothing[:2] == ["Nothing found", "4 images analysed"]
    for made in (scored(EXAM), graded(EXAM)):
        assert "nothing found" not in " ".join(column(made)).lower()


def test_the_scores_of_exam_breasts_and_images_are_on_the_summary() -> None:
    made = scored(EXAM)
    rows = list(summary_page._rows(made, 24, 2000))
    assert (rows[0].left, rows[0].right) == ("Exam AI score", "72 %")
    assert rows[0].scale > max(row.scale for row in rows[1:])
    assert column(made)[1:3] == ["R breast AI score 52 %", "L breast AI score 72 %"]
    uids = [i.sop_uid for i in made.version.instances]
    assert [summary_page._in_a_word(made, uid)[0] for uid in uids] == [
        "12 %",
        "32 %",
        "52 %",
        "72 %",
    ]


def test_where_one_model_found_nothing_the_score_of_another_stands_beside_that() -> None:
    made = together(detected(EXAM), scored(EXAM))
    in_words = [summary_page._in_a_word(made, i.sop_uid)[0] for i in made.version.instances]
    assert in_words == ["87 %", "56 %", "91 %", "score 72 %, no mark"]
    two = together(detected(EXAM), scored(EXAM), scored(EXAM))
    assert summary_page._in_a_word(two, made.version.instances[3].sop_uid)[0] == (
        "scores at right, no mark"
    )


def test_what_models_refuse_alike_is_said_once_and_else_whose_refusal_it_is() -> None:
    refusal = Refusal("", "R MLO", "image is damaged")
    found, scored_too = (with_result(m, refused=(refusal,)) for m in (detected(EXAM), scored(EXAM)))
    alike = column(together(found, scored_too))
    assert alike.count("1 image not analysed") == 1
    assert alike.count("R MLO: image is damaged") == 1
    apart = column(together(found, scored(EXAM)))
    assert "1 image not analysed by Mass Detector" in apart
    narrow = " ".join(column(together(found, scored(EXAM)), size=42, room=500))
    assert "1 image not analysed by Mass Detector" in narrow


@pytest.mark.parametrize("room", [500, 732])
@pytest.mark.parametrize(
    "made", [graded(EXAM), scored(EXAM), EXAM], ids=["graded", "scored", "area"]
)
def test_no_headline_is_cut_off(made: Draft, room: int) -> None:
    grade = Code("G", "99AINODE", "G: fatty-glandular")
    evaluations = [
        replace(e, grade=replace(e.grade, value=grade)) if e.grade is not None else e
        for e in made.results[0].evaluations
    ]
    for size in summary_page.SIZES:
        made = with_result(made, evaluations=tuple(evaluations))
        for row in summary_page._rows(made, size, room):
            large = round(size * row.scale)
            assert "..." not in row.left + row.right
            assert canvas.width(row.left, large) + canvas.width(row.right, large) <= room


def test_who_spoke_and_what_it_ran_on_is_in_the_footer() -> None:
    made = with_result(detected(EXAM), ran_on="CUDA")
    assert "on CUDA" in summary_page.summary_origin(made)[0]
    for text in (*summary_page.summary_origin(made), *marked_view.page_origin(made, made.results)):
        assert "Mass Detector 1.0.0" in text
    made = CASES["long names"]()
    longest = marked_view.page_origin(made, made.results)
    assert all(text.count("12.34.567") == 3 for text in longest)


def test_a_second_version_says_on_every_page_which_it_replaces() -> None:
    made = as_version_2(detected(EXAM))
    (*_, shortest) = marked_view.page_origin(made, made.results)
    assert shortest.endswith("Version 2, replaces that of 08:42")
    first, second = (capture.build(d) for d in (detected(EXAM), made))
    assert all(a.PixelData != b.PixelData for a, b in zip(first, second, strict=True))


def test_marks_are_in_the_small_pictures_too() -> None:
    with_marks, without = (
        summary_page.draw_summary(m).astype(int)
        for m in (detected(EXAM), with_result(detected(EXAM), findings=()))
    )
    grid = np.s_[summary_page.TOP + 100 : summary_page.BOTTOM, : summary_page.GRID_RIGHT]
    changed = (with_marks[grid] != without[grid]).any(axis=2)
    halves = np.split(changed[:, 64:1180], 2, axis=1)
    assert all(half[:480].any() for half in halves)
    assert halves[0][620:].any()
    assert not halves[1][620:].any()


def test_pictures_of_one_size_have_pages_of_one_size() -> None:
    pages = capture.build(detected(EXAM))[1:]
    assert len({(d.Rows, d.Columns) for d in pages}) == 1


def test_a_view_without_a_picture_is_on_the_summary_only() -> None:
    made = replace(EXAM, pictures={})
    assert len(capture.build(made)) == 1


def test_nothing_on_a_page_depends_on_who_the_patient_is() -> None:
    first = capture.build(draft())
    second = capture.build(
        with_bytes(draft(), PatientName=b"ANOTHER^NAME", PatientID=b"4711", StudyID=b"9")
    )
    assert [d.PixelData for d in first] == [d.PixelData for d in second]


def test_what_the_source_says_about_its_pixels_is_passed_on() -> None:
    made = with_bytes(
        draft([R_CC]),
        LossyImageCompression=b"01",
        LossyImageCompressionRatio=b"10",
        BurnedInAnnotation=b"YES",
    )
    for dataset in capture.build(made):
        written = reread(dataset)
        assert written.LossyImageCompression == "01"
        assert written.LossyImageCompressionRatio == 10
        assert written.BurnedInAnnotation == "YES"


def test_a_marked_view_says_what_it_shows() -> None:
    marked = reread(capture.build(draft([R_MLO]))[1])
    assert list(marked.PatientOrientation) == ["P", "FL"]
    view = marked.ViewCodeSequence[0]
    assert view.CodeValue == "399368009"
    assert "ViewModifierCodeSequence" not in view or view.ViewModifierCodeSequence
    assert marked.SourceImageSequence[0].ReferencedSOPInstanceUID


def test_of_a_repeated_view_the_larger_number_hangs() -> None:
    made = draft([R_CC, R_CC])
    first, second = made.results[0].findings
    larger = replace(second.measurements[0], value=first.measurements[0].value + 1)
    made = with_result(made, findings=(first, replace(second, measurements=(larger,))))
    cells = summary_page._cells(made)
    assert cells[0][1] == second.region.sop_uid


def with_unplaced(made: Draft, *views: View, is_standard: bool = True) -> Draft:
    """Return the draft with the images of these (refused) views said to show none."""
    instances = tuple(
        replace(i, view=None, is_standard=is_standard) if i.view in views else i
        for i in made.version.instances
    )
    return replace(made, version=replace(made.version, instances=instances))


def absent(made: Draft) -> dict[str, str]:
    return {label: words for label, sop_uid, words in summary_page._cells(made) if not sop_uid}


def test_a_view_that_did_not_come_is_said_not_to_have_been_received() -> None:
    assert absent(draft([R_CC, L_CC, R_MLO])) == {"L MLO": "not received"}


def test_an_object_refused_as_damaged_is_told_and_may_be_what_did_not_come() -> None:
    made = with_damaged(draft([R_CC, L_CC, R_MLO]))
    assert absent(made) == {"L MLO": "not received, or refused as damaged"}
    said = [row for row in summary_page._rows(made, 24, 2000) if "refused as damaged" in row.left]
    assert said[-1].left == "1 object refused as damaged"
    assert said[-1].colour == canvas.WARNING
    assert "3 objects refused as damaged" in column(with_damaged(EXAM, 3))
    assert "refused as damaged" not in " ".join(column(EXAM))


def test_a_received_image_that_contradicts_itself_is_not_said_to_be_missing() -> None:
    made = with_unplaced(draft(refuse={L_MLO: "view contradicts itself (CC or MLO)"}), L_MLO)
    words = "not identified: an image of unclear view, see right"
    assert absent(made) == {"L MLO": words}
    made = draft(refuse={L_MLO: "no view given", R_MLO: "no view given"})
    words = "not identified: 2 images of unclear view, see right"
    assert absent(with_unplaced(made, L_MLO, R_MLO)) == {"R MLO": words, "L MLO": words}


def test_an_image_that_stands_for_no_view_is_not_taken_for_the_missing_one() -> None:
    made = draft(refuse={L_MLO: "specimen image"})
    assert absent(with_unplaced(made, L_MLO, is_standard=False)) == {"L MLO": "not received"}


def test_what_one_model_analysed_is_not_said_to_be_refused_by_another() -> None:
    made = draft([R_CC, L_CC, R_MLO, L_MLO])
    first = made.results[0]
    sop_uid = first.analysed[-1]
    refusing = replace(
        first, analysed=first.analysed[:-1], refused=(Refusal(sop_uid, "L MLO", "implant"),)
    )
    pictures = {uid: p for uid, p in made.pictures.items() if uid != sop_uid}
    made = replace(made, results=(refusing, first), pictures=pictures)
    (words,) = [words for label, _, words in summary_page._cells(made) if label == "L MLO"]
    assert words == "analysed, but cannot be displayed"


@pytest.mark.parametrize(
    ("modality", "said", "written"),
    [
        ("MG", "", "BREAST"),
        ("MG", "AXILLA", "AXILLA"),
        ("MR", "", None),
        ("MR", "BREAST", "BREAST"),
    ],
)
def test_the_body_part_is_that_of_the_source(modality: str, said: str, written: str | None) -> None:
    def describe(dataset: Dataset) -> None:
        dataset.Modality, dataset.BodyPartExamined = modality, said

    for dataset in capture.build(draft([R_CC], change=describe)):
        assert dataset.get("BodyPartExamined") == written


def test_reasons_are_grouped_by_what_they_say() -> None:
    made = draft(refuse={R_CC: "implant", L_CC: "implant", R_MLO: "blurred."})
    assert wording.refusals(made.results[0].refused) == ["R CC, L CC: implant", "R MLO: blurred"]


@pytest.mark.parametrize("text", ["", "word", LONG, "x" * 300, "a " * 200 + "y" * 90])
@pytest.mark.parametrize("size", [24, 38])
def test_wrapped_lines_fit_and_lose_nothing(text: str, size: int) -> None:
    lines = canvas.wrap(text, size, 400)
    assert all(canvas.width(line, size) <= 400 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize("room", range(140, 400, 20))
def test_a_side_stays_with_its_projection(room: int) -> None:
    text = (
        "Views not analysed: R MLO, L MLO (2 images), (R CC), L XCCL: implant. R and L are sides."
    )
    lines = canvas.wrap(text, 24, room)
    for view in ("R MLO,", "L MLO", "(R CC),", "L XCCL:"):
        assert any(view in line for line in lines), (view, lines)
    assert " ".join(lines) == text


@pytest.mark.parametrize("room", range(120, 400, 20))
def test_a_percent_sign_stays_with_its_number(room: int) -> None:
    lines = canvas.wrap("One area was wrong by 8 %: two such (0.5 %) are 15 % apart.", 24, room)
    for number in ("8 %:", "(0.5 %)", "15 %"):
        assert any(number in line for line in lines), (number, lines)


def test_all_corners_of_a_box_are_closed() -> None:
    page = canvas.Canvas((60, 60))
    corners = [(10.0, 10.0), (50.0, 10.0), (50.0, 50.0), (10.0, 50.0), (10.0, 10.0)]
    page.line(corners, canvas.Stroke(canvas.INKS[0], 4, 1))
    drawn = page.pixels()[..., 2].astype(int)
    at = [drawn[y - 1 : y + 1, x - 1 : x + 1].min() for x in (10, 50) for y in (10, 50)]
    assert min(at) > 150, at


def test_a_shortened_line_fits() -> None:
    assert canvas.shorten("short", 30, 400) == "short"
    shortened = canvas.shorten(LONG, 30, 400)
    assert shortened.endswith("...")
    assert canvas.width(shortened, 30) <= 400
