"""What reports and captures say of volumes: the numbers, the side, the slices, the times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from node.kinds import KINDS
from node.manifest import SolidsOutput
from node.manifest.package import load_model
from node.outputs import summary_page, volume_legend, volume_panels, wording
from node.outputs.canvas import Canvas, Ink, width
from node.outputs.case import Draft
from node.outputs.marked_view import LEVEL_COLOURS
from node.outputs.marking import Marked, Pen, Placed, overlap, sign_boxes
from node.outputs.report_set import to_bytes
from node.outputs.solid_segmentation import lain_of
from node.outputs.volume_legend import ink_of_solid, sign_of_curve, volume_said
from node.outputs.volume_pages import CURVE_INKS, volume_pages
from node.outputs.volume_panels import decisive_places, panelled, slice_name
from node.result import (
    Code,
    Finding,
    Measurement,
    Priority,
    Region,
    Result,
    Triage,
    UptakeCurve,
)
from node.study import Laterality, PhaseRead
from node.trial.breast_mr.body import BODIES, THREE_LESIONS, WITHOUT_LESION
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import STYLES
from outputs.drafts import report_set, with_result
from outputs.mr_drafts import mr_draft, small_plan, with_volumes

THREE = small_plan(body=THREE_LESIONS)
ENHANCED = small_plan(body=THREE_LESIONS, style=STYLES["enhanced"])
NONE = small_plan(body=WITHOUT_LESION)
BOTH = ["segmentation", "measurement-report"]


def report(draft: Draft, kinds: list[str]) -> Dataset:
    (made,) = [one for one in report_set(draft, kinds) if one.Modality == "SR"]
    return made


def items(tree: Dataset) -> Iterator[Dataset]:
    for item in tree.get("ContentSequence", []):
        yield item
        yield from items(item)


def named(tree: Dataset, meaning: str) -> list[Dataset]:
    return [i for i in items(tree) if i.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def value(item: Dataset) -> tuple[str, str]:
    [measured] = item.MeasuredValueSequence
    return str(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue


def template(group: Dataset) -> str:
    return str(group.ContentTemplateSequence[0].TemplateIdentifier)


# Reports


@pytest.mark.parametrize("plan", [THREE, ENHANCED], ids=["classic", "enhanced"])
def test_each_solid_has_an_outline_and_a_volume_under_one_identifier(plan: StudyPlan) -> None:
    draft = mr_draft(plan)
    made = report(draft, BOTH)
    groups = named(made, "Measurement Group")
    result = draft.results[0]
    assert [template(group) for group in groups] == ["1410", "1411"] * len(result.solids)
    for number, solid in enumerate(result.solids):
        outlined, measured = groups[2 * number : 2 * number + 2]
        uids = {named(group, "Tracking Unique Identifier")[0].UID for group in (outlined, measured)}
        assert len(uids) == 1
        [volume] = named(measured, "Volume")
        assert value(volume) == (wording.written_number(solid.measurements[0]), "ml")
        sides = [item.ConceptCodeSequence[0].CodeMeaning for item in named(measured, "Laterality")]
        expected = {Laterality.RIGHT: ["Right"], Laterality.LEFT: ["Left"], None: []}
        assert sides == expected[solid.laterality]


@pytest.mark.parametrize("plan", [THREE, ENHANCED], ids=["classic", "enhanced"])
def test_the_volume_refers_to_its_segment_and_to_the_decisive_slices(plan: StudyPlan) -> None:
    draft = mr_draft(plan)
    segmentation, made = report_set(draft, BOTH)
    result = draft.results[0]
    assert result.stack is not None
    segments = {item.TrackingUID: item for item in segmentation.SegmentSequence}
    volumes = [g for g in named(made, "Measurement Group") if template(g) == "1411"]
    for solid, group in zip(result.solids, volumes, strict=True):
        [segment] = named(group, "Referenced Segment")
        [reference] = segment.ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        [uid] = named(group, "Tracking Unique Identifier")
        assert segments[uid.UID].SegmentNumber == reference.ReferencedSegmentNumber
        assert segments[uid.UID].TrackingID == named(group, "Tracking Identifier")[0].TextValue
        slices = [
            (ref.ReferencedSOPInstanceUID, ref.get("ReferencedFrameNumber"))
            for item in named(group, "Source image for segmentation")
            for ref in item.ReferencedSOPSequence
        ]
        assert not solid.is_left_out or len(slices) == 1
        if solid.decisive:
            assert slices == [result.stack.slices[place] for place in solid.decisive]
        assert slices
    [study] = made.CurrentRequestedProcedureEvidenceSequence
    evidence = {
        reference.ReferencedSOPInstanceUID: series.SeriesInstanceUID
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert evidence[segmentation.SOPInstanceUID] == segmentation.SeriesInstanceUID
    assert set(result.analysed) <= set(evidence)


def test_the_outline_is_on_the_phase_that_shows_it_and_encloses_its_voxels() -> None:
    draft = mr_draft(ENHANCED)
    result, made = draft.results[0], report(draft, BOTH)
    lain = lain_of(draft, result)
    assert lain is not None and result.contrasted is not None
    outlines = [g for g in named(made, "Measurement Group") if template(g) == "1410"]
    for place, group in enumerate(outlines):
        [region] = named(group, "Image Region")
        [source] = region.ContentSequence[0].ReferencedSOPSequence
        at = result.contrasted.slices.index(
            (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber)
        )
        points = np.array(region.GraphicData).reshape(-1, 2)
        assert (points[0] == points[-1]).all()
        rows, columns = np.nonzero(lain.voxels[place].on(at))
        assert points.min(axis=0)[0] >= columns.min() and points.max(axis=0)[1] <= rows.max() + 1
        [area] = named(group, "Area")
        spacing = lain.planes[at].spacing
        assert 0 < float(value(area)[0]) <= len(rows) * spacing[0] * spacing[1] + 1


def test_without_a_segmentation_the_report_is_whole() -> None:
    draft = mr_draft(THREE)
    made = report(draft, ["measurement-report"])
    assert not named(made, "Referenced Segment")
    groups = named(made, "Measurement Group")
    assert [template(group) for group in groups] == ["1410"] * 3
    [derived] = named(made, "Derived Imaging Measurements")
    volumes = named(derived, "Volume")
    said = [wording.written_number(s.measurements[0]) for s in draft.results[0].solids]
    assert [value(volume)[0] for volume in volumes] == said
    for volume in volumes:
        assert named(volume, "Source of Measurement"), "the decisive slices"
    sides = [
        item.ConceptCodeSequence[0].CodeMeaning
        for volume in volumes
        for item in named(volume, "Laterality")
    ]
    assert sides == ["Right", "Left"]


def code_of(item: Dataset) -> tuple[str, str]:
    [code] = item.ConceptCodeSequence
    return code.CodeValue, code.CodingSchemeDesignator


@pytest.mark.parametrize("kinds", [BOTH, ["measurement-report"]], ids=["with SEG", "alone"])
def test_what_is_not_in_the_breast_is_found_where_its_model_says(kinds: list[str]) -> None:
    draft = mr_draft(THREE)
    *counted, wall = draft.results[0].solids
    solids = (*counted, replace(wall, laterality=Laterality.LEFT))
    made = report(with_result(draft, solids=solids), kinds)
    breast, chest_wall = ("76752008", "SCT"), ("78904004", "SCT")
    found = {
        (code_of(place), side.ConceptCodeSequence[0].CodeMeaning)
        for place in named(made, "Finding Site")
        for side in named(place, "Laterality")
    }
    assert found == {(breast, "Right"), (breast, "Left"), (chest_wall, "Left")}


@pytest.mark.parametrize("body", [THREE, NONE], ids=["among the derived", "in a text report"])
def test_a_volume_that_does_not_count_is_told_from_one_that_does_by_its_finding(
    body: StudyPlan,
) -> None:
    """Where no segment is referred to, both are a volume of the same breast."""
    draft = mr_draft(body)
    result = draft.results[0]
    if body is NONE:
        empty = [replace(one, bits=result.solids[0].bits, decisive=()) for one in result.solids]
        draft = with_result(draft, solids=tuple(empty))
    made = report(draft, ["measurement-report"])
    assert bool(named(made, "Measurement Group")) is (body is THREE)
    volumes = [item for item in named(made, "Volume") if item.ValueType == "NUM"]
    findings = [[code_of(one) for one in named(volume, "Finding")] for volume in volumes]
    assert findings == [[(one.kind.value, one.kind.scheme)] for one in result.solids]
    assert findings[0] != findings[-1]


@pytest.mark.parametrize("plan", [THREE, ENHANCED], ids=["classic", "enhanced"])
@pytest.mark.parametrize("kinds", [BOTH, ["measurement-report"]], ids=["with SEG", "alone"])
def test_the_library_lists_the_images_that_are_referred_to_and_no_others(
    plan: StudyPlan, kinds: list[str]
) -> None:
    draft = mr_draft(plan)
    made = report(draft, kinds)
    (library,) = named(made, "Image Library")

    def images(tree: Dataset) -> set[str]:
        found = (i for i in items(tree) if i.ValueType == "IMAGE")
        uids = {r.ReferencedSOPInstanceUID for i in found for r in i.ReferencedSOPSequence}
        return uids & draft.headers.keys()

    elsewhere = set().union(*(images(part) for part in made.ContentSequence if part is not library))
    assert images(library) == elsewhere
    slices = [slice_ for slice_ in items(library) if slice_.ValueType == "IMAGE"]
    assert len(slices) == len(elsewhere), "each once"
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    evidence = {
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }
    assert elsewhere | set(draft.results[0].analysed) <= evidence


def test_nothing_that_enhances_is_said_in_words_with_the_numbers() -> None:
    draft = mr_draft(NONE, has_left_out=False)
    made = report(draft, BOTH)
    assert made.ConceptNameCodeSequence[0].CodeMeaning == "Diagnostic Imaging Report"
    assert [value(volume) for volume in named(made, "Volume")] == [("0.00", "ml")] * 2
    lines = [item.TextValue for item in named(made, "Finding") if item.ValueType == "TEXT"]
    assert "R breast enhancing volume, Volume: 0.00 ml" in lines


def said(draft: Draft) -> str:
    [impression] = named(report(draft, BOTH), "Impression")
    return str(impression.TextValue)


def test_the_times_of_the_phases_are_said_with_what_they_rest_on() -> None:
    draft = mr_draft(THREE)
    words = said(draft)
    assert "Processed 2 phases of 24 slices." in words
    assert "Phase pre: 24 slices, middle 70 s before the injection." in words
    assert "Phase early (post 1): 24 slices, middle 65 s after the injection." in words
    assert "Times rest on: Contrast Start Time." in words
    assert "Enhancement of L breast enhancing volume: " in words
    assert "% at 65 s" in words
    phases = (PhaseRead("pre", "pre", 24, None, ""),)
    unknown = said(with_result(draft, phases=phases, curves=()))
    assert "Phase pre: 24 slices, time not known." in unknown
    assert "rest on" not in unknown and "Enhancement of" not in unknown


def test_every_kind_is_built_of_every_body_or_is_none() -> None:
    for body in BODIES.values():
        draft = mr_draft(small_plan(body=body))
        made = report_set(draft, KINDS)
        assert {one.Modality for one in made} >= {"SR", "OT", "DOC", "SEG"}


# Captures


def captures(draft: Draft) -> list[Dataset]:
    return report_set(draft, ["capture"])


@pytest.mark.parametrize("plan", [THREE, ENHANCED], ids=["classic", "enhanced"])
def test_a_volume_has_a_summary_a_projection_its_slices_and_curves(plan: StudyPlan) -> None:
    draft = with_volumes(mr_draft(plan), plan)
    made = captures(draft)
    whats = [one.DerivationDescription for one in made]
    assert whats == [
        f"Breast MR Enhancement 1.0.0: {what}. Not for measurement."
        for what in (
            "summary page",
            "projection with marks",
            "decisive slices with outlines",
            "enhancement over time",
        )
    ]
    assert [one.InstanceNumber for one in made] == [1, 2, 3, 4]
    assert len({one.SeriesInstanceUID for one in made}) == 1
    slices = made[2]
    named_images = {item.ReferencedSOPInstanceUID for item in slices.SourceImageSequence}
    result = draft.results[0]
    assert result.contrasted is not None
    shown = {result.contrasted.slices[place][0] for place in decisive_places(result)}
    assert named_images == shown
    again = captures(with_volumes(mr_draft(plan), plan))
    assert [to_bytes(one) for one in made] == [to_bytes(one) for one in again]


def test_where_nothing_counts_there_are_no_slices_and_no_curves() -> None:
    draft = with_volumes(mr_draft(NONE, has_left_out=False), NONE)
    made = captures(draft)
    assert [one.InstanceNumber for one in made] == [1, 2], "summary and projection"


def test_a_volume_that_could_not_be_drawn_leaves_its_numbers() -> None:
    draft = mr_draft(THREE)
    assert panelled(draft, draft.results[0]) is None
    pages = [page.what for page in volume_pages(draft, draft.results[0])]
    assert pages == ["enhancement over time"]
    words = column(draft)
    assert any("L breast enhancing volume" in word for word in words)


def column(draft: Draft) -> list[str]:
    _, rows = summary_page.fitted(draft, (732, 1140))
    return [text for row in rows for text in (row.left, row.right) if text]


def test_the_summary_names_volumes_sides_and_times() -> None:
    words = column(with_volumes(mr_draft(THREE), THREE))
    together = " ".join(words)
    for solid in mr_draft(THREE).results[0].solids:
        assert wording.quantity(solid.measurements[0]) in together
        assert solid.label in together
    assert "not counted" in together
    assert "Phase early (post 1)" in together and "after the injection" in together


PACKAGE = Path(__file__).parents[2] / "models"


def as_of_package(draft: Draft, *, copies: int = 1) -> Draft:
    """Return the draft with a solid of each side for all parts of the package, left out first."""
    output, *_ = load_model("breast-mr-enhancement", PACKAGE).manifest.outputs
    assert isinstance(output, SolidsOutput)
    parts = [one for one in output.parts if one.of is None] * copies
    of_it = [one for one in output.parts if one.of is not None]
    right, left, wall = draft.results[0].solids
    solids = []
    for part in sorted(parts, key=lambda one: not one.left_out):
        for side, like in ((Laterality.RIGHT, right), (Laterality.LEFT, left)):
            of = [] if part.left_out else of_it
            numbers = [(part, 1234.5), *((one, 411.5) for one in of)]
            made = replace(
                like,
                label=f"{side} breast {part.label}",
                laterality=side,
                measurements=tuple(
                    Measurement(one.volume.as_code(), ml, like.measurements[0].unit, 1)
                    for one, ml in numbers
                ),
                of_it=tuple(one.label for one in of),
                is_left_out=part.left_out,
                bits=wall.bits if part.left_out else like.bits,
            )
            solids.append(made)
    return with_result(draft, solids=tuple(solids))


def test_the_legend_says_volumes_alone_and_what_counts_first() -> None:
    result = as_of_package(mr_draft(THREE)).results[0]
    made, more = volume_legend.entries(result, 14)
    assert more == 0 and len(made) == 8
    assert [(one.sign, one.label, one.said) for one in made[:2]] == [
        ("7", "R breast enhancing volume above threshold", "1234.5 ml"),
        ("8", "L breast enhancing volume above threshold", "1234.5 ml"),
    ]
    assert {one.said for one in made[2:]} == {"1234.5 ml, not counted"}


def test_a_legend_without_room_says_how_many_are_not_in_it() -> None:
    result = as_of_package(mr_draft(THREE), copies=2).results[0]
    made, more = volume_legend.entries(result, 14)
    assert (len(made), more) == (13, 3)


@pytest.mark.parametrize("copies", [1, 2])
def test_the_legend_stays_within_its_place_and_no_name_meets_a_number(copies: int) -> None:
    result = as_of_package(mr_draft(THREE), copies=copies).results[0]
    canvas = Canvas(summary_page.PAGE)
    box = (64, 900, 1984, 900 + volume_legend.legend_height(result))
    volume_legend.draw_legend(canvas, result, box)
    lit = np.asarray(canvas.pixels().max(axis=2) > 0)
    outside = lit.copy()
    outside[box[1] - 4 : box[3] + 4, box[0] - 4 : box[2] + 4] = False
    assert lit.any() and not outside.any()
    middle = (box[0] + box[2]) // 2
    assert not lit[:, middle - 20 : middle + 20].any(), "columns do not meet"
    longest = max(volume_legend.entries(result, 14)[0], key=lambda one: len(one.label))
    room = (1920 - 48) // 2 - round(2.7 * 28) - 60
    # A long name is written smaller, down to 20; what is longer still is cut.
    assert width(longest.label, 20) + 28 + width(longest.said, 28) <= room, "nothing is cut"


def test_what_a_volume_is_made_of_stands_on_the_summary_and_in_the_text() -> None:
    draft = as_of_package(mr_draft(THREE))
    words = column(draft)
    of_it = "washout 411.5, plateau 411.5, persistent 411.5 ml"
    assert words.count(of_it) == 2
    solid = draft.results[0].solids[-1]
    assert wording.measured_solid(solid) == (
        f"L breast enhancing volume above threshold, Volume: 1234.5 ml ({of_it})"
    )
    assert wording.of_solid(replace(solid, of_it=())).startswith(
        "Of it washout (BI-RADS delayed phase) 411"
    )


def test_no_sign_lies_on_a_letter_or_on_the_scale_bar() -> None:
    """A sign beside a mark at the lower edge goes where nothing else is written."""
    letter = (480, 940, 530, 1000)
    mark = Marked(
        Finding("x", Code("x", "99T", "x"), None, Region("", ((47, 94), (48, 94), (48, 95)))),
        "8",
        0,
    )
    beside = Placed((0, 0, 1000, 1000), (10, 10))
    (before,) = sign_boxes(Canvas((1000, 1000)), [mark], beside, (Pen(2.4, 1, 30), 0))
    kept_free = replace(beside, kept_free=(letter, before or letter))
    (after,) = sign_boxes(Canvas((1000, 1000)), [mark], kept_free, (Pen(2.4, 1, 30), 0))
    assert before is not None and after is not None
    assert not overlap(after, letter) and not overlap(after, before)


def test_solids_in_turn_are_shown_those_first_that_say_most() -> None:
    result = mr_draft(THREE).results[0]
    right, left, wall = result.solids
    turned = replace(
        result,
        solids=(replace(right, decisive=(9, 1)), replace(left, decisive=(4, 9, 3)), wall),
    )
    assert decisive_places(turned, 2) == (4, 9)
    assert decisive_places(turned, 3) == (1, 4, 9)
    assert decisive_places(turned) == (1, 3, 4, 9)
    only_left_out = replace(result, solids=(replace(wall, decisive=(7, 2)),))
    assert decisive_places(only_left_out) == (7,)


def test_a_slice_is_called_as_a_reader_finds_it() -> None:
    wanted = {
        "axial, series 5, image": small_plan(),
        "sagittal, L breast, series 5, image": small_plan(orientation=Orientation.SAGITTAL),
        "oblique axial, series 5, image": small_plan(orientation=Orientation.OBLIQUE),
        "coronal, series 5, image": small_plan(orientation=Orientation.CORONAL),
        "axial, series 4, frame": small_plan(style=STYLES["enhanced"]),
    }
    for name, plan in wanted.items():
        draft = with_volumes(mr_draft(plan), plan)
        shown = panelled(draft, draft.results[0])
        assert shown is not None
        place, *_ = decisive_places(shown.result)
        assert slice_name(shown, place).startswith(f"{name} ")


def test_slices_stand_so_that_they_are_largest() -> None:
    across = {}
    for name, orientation in (("axial", Orientation.AXIAL), ("sagittal", Orientation.SAGITTAL)):
        plan = small_plan(orientation=orientation)
        draft = with_volumes(mr_draft(plan), plan)
        shown = panelled(draft, draft.results[0])
        assert shown is not None
        across[name] = [volume_panels.tiles(shown, n, (1920, 1000), 24) for n in (1, 2, 3, 4, 6)]
    assert across["axial"] == [1, 1, 2, 2, 3]
    assert across["sagittal"][2] == 3, "two breasts need not be seen beside each other"


def test_what_was_left_out_differs_in_colour_and_rhythm_and_is_said_not_to_count() -> None:
    result: Result = mr_draft(THREE).results[0]
    *counted, wall = result.solids
    inks = {volume_legend.ink_of_solid(solid) for solid in counted}
    assert len(inks) == 1
    ink = volume_legend.ink_of_solid(wall)
    assert ink.colour != next(iter(inks)).colour and ink.dashes
    assert volume_said(wall).endswith("ml, not counted")


def test_the_lesion_of_a_side_is_drawn_on_that_side_of_the_picture() -> None:
    """Whichever way the stack lies, the left breast is on the right of the page."""
    for changes in (
        {},
        {"orientation": Orientation.SAGITTAL},
        {"backwards": True, "turned": True},
        {"style": STYLES["enhanced"], "orientation": Orientation.CORONAL},
    ):
        plan = small_plan(**changes)
        draft = with_volumes(mr_draft(plan, has_left_out=False), plan)
        shown = panelled(draft, draft.results[0])
        assert shown is not None and shown.projection is not None
        (page,) = [p for p in volume_pages(draft, shown.result) if "projection" in p.what]
        pixels = page.draw()[summary_page.TOP : -300].astype(int)
        blue = (pixels[..., 2] - pixels[..., 0]) > 90
        assert blue.any()
        columns = np.nonzero(blue.any(axis=0))[0]
        assert columns.min() > pixels.shape[1] // 2


def page_of_curves(draft: Draft) -> NDArray[np.int_]:
    (page,) = [p for p in volume_pages(draft, draft.results[0]) if "over time" in p.what]
    return page.draw().astype(int)


def inked(pixels: NDArray[np.int_], ink: Ink) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = (np.abs(pixels - np.array(ink.colour)) < 12).all(axis=2)
    return near


def test_a_curve_begins_at_nothing_in_the_middle_of_the_phase_before_contrast() -> None:
    """Else nobody sees how steeply it rises."""
    draft = mr_draft(THREE)
    result = draft.results[0]
    ink = CURVE_INKS[0]
    with_pre = page_of_curves(with_result(draft, curves=result.curves[:1]))
    pre = next(one for one in result.phases if one.role == "pre")
    unknown = replace(pre, middle_s=None)
    phases = tuple(unknown if one is pre else one for one in result.phases)
    without = page_of_curves(with_result(draft, curves=result.curves[:1], phases=phases))
    assert pre.middle_s is not None and pre.middle_s < 0
    chart = slice(summary_page.TOP + 90, -400), slice(summary_page.MARGIN + 150, None)
    first, second = (
        np.nonzero(inked(one[chart], ink).any(axis=0))[0] for one in (with_pre, without)
    )
    assert np.ptp(first) > np.ptp(second) + 100, "the way up is drawn, if it is known when it began"


def test_a_curve_bears_the_sign_and_the_colour_of_its_solid() -> None:
    draft = mr_draft(THREE)
    result = draft.results[0]
    first, second, _ = result.solids
    signs = [(first.label, "1"), (second.label, "2")]
    assert [(one.label, sign_of_curve(result, one)) for one in result.curves] == signs
    assert CURVE_INKS[0].colour == ink_of_solid(first).colour
    other = replace(result.curves[0], label="Exam something else")
    assert sign_of_curve(result, other) == "", "a curve of no solid"
    alone = replace(result, solids=(first,))
    assert sign_of_curve(alone, result.curves[0]) == "", "what is alone has no sign anywhere"
    line = round(28 * 1.45)
    legend = page_of_curves(draft)[summary_page.BOTTOM - 16 - 2 * line : summary_page.BOTTOM]
    signs_at = legend[:, summary_page.MARGIN + 78 : summary_page.MARGIN + 100]
    for number in (0, 1):
        row = signs_at[number * line : (number + 1) * line]
        assert inked(row, ink_of_solid(first)).any(), "in the colour of the slices"


def test_curves_of_any_times_and_heights_are_drawn() -> None:
    draft = mr_draft(THREE)
    for points in (
        ((65.0, 120.0),),
        ((10.0, -20.0), (5000.0, 900.0)),
        ((65.0, 0.0), (65.5, 0.0)),
        ((0.0, 33.0), (30.0, 2000.0)),
    ):
        curve = UptakeCurve("L breast", Laterality.LEFT, points)
        told = with_result(draft, curves=(curve, curve, curve, curve, curve))
        (page,) = volume_pages(told, told.results[0])
        assert page.draw().std() > 5


def test_every_page_of_a_volume_shows_the_level_and_nothing_in_its_head_overlaps() -> None:
    result = mr_draft(THREE).results[0]
    triage = Triage(Priority.URGENT, "at or above the operating point high")
    levelled = with_volumes(mr_draft(THREE), THREE)
    levelled = replace(levelled, results=(replace(result, triage=triage),))
    levelled = replace(levelled, decided_by=levelled.results[0])
    orange = np.array(LEVEL_COLOURS[Priority.URGENT])

    def has_level(page: NDArray[np.uint8]) -> bool:
        return bool((page[: summary_page.TOP] == orange).all(axis=2).any())

    pages = list(volume_pages(levelled, levelled.results[0]))
    assert len(pages) == 3 and all(has_level(page.draw()) for page in pages)
    plain = with_volumes(mr_draft(THREE), THREE)
    assert not any(has_level(page.draw()) for page in volume_pages(plain, plain.results[0]))


def test_what_a_page_shows_leaves_room_for_the_version_that_it_replaces() -> None:
    draft = mr_draft(THREE)
    version = replace(draft.version, number=12, replaces=datetime(2026, 1, 9, 8, 30, tzinfo=UTC))
    later = replace(draft, version=version)
    said = wording.version(later)
    when = f"AI analysis of {wording.moment(later)}"
    end = summary_page.MARGIN + width(when, 34) + 48 + width(said, 34)
    band = summary_page.framed(later, summary_page.PROJECTED).pixels()[150:200]
    assert not band[:, end + 8 : end + 40].any(), "a gap between the two"
    assert band[:, end + 40 :].any()
