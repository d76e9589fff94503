"""What is read back from the objects of a set is what the results say, in every kind of object.

The reading is done here, from the encoded objects and by the standard alone: no code of
node.outputs but the builders takes part in it.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from examples import examples
from factories import R_MLO
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from node.outputs.case import Draft
from node.outputs.report_set import to_bytes
from node.result import Code, Evaluation, Finding, Grade, Measurement, Point, Region, Result
from node.trial import phantom
from outputs import drafts
from outputs.drafts import (
    AI_SCORE,
    AREA,
    CM2,
    COMPOSITION,
    MASS,
    MODEL,
    PERCENT,
    PROBABILITY_OF_CANCER,
    as_version_2,
    detected,
    draft,
    graded,
    report_set,
    scored,
    segmented,
    with_result,
)

Term = tuple[str, str]
"""A code's value and scheme: what tells codes apart."""
Number = tuple[Term, str, Term]
"""A concept, the number as written, its unit."""
Outline = tuple[tuple[float, float], ...]
"""(column, row), as floats of 32 bits keep them."""
Mark = tuple[Term, str, str, Outline, tuple[Number, ...]]
"""A kind, a side, the image it is on, where, and its numbers."""

RIGHT_OR_LEFT = {"24028007": "R", "7771000": "L", "51440002": "B"}  # CID 244
BREASTS = {"73056007": "R", "80248007": "L", "63762007": "B"}  # CID 6022
CALCIFICATIONS = Code("129769006", "SCT", "Calcification Cluster")

EXAM = draft()
SEVERAL = replace(
    EXAM,
    results=(
        EXAM.results[0],
        detected(EXAM).results[0],
        segmented(EXAM).results[0],
        scored(EXAM).results[0],
        replace(graded(EXAM).results[0], model=replace(MODEL, name="density", title="Density")),
    ),
)
PARTLY = detected(draft(refuse={R_MLO: "the view is magnified"}))
CASES: Mapping[str, Draft] = {
    "areas": EXAM,
    "boxes": detected(EXAM),
    "outlines": segmented(EXAM),
    "scores": scored(EXAM),
    "grades": graded(EXAM),
    "nothing found": with_result(detected(EXAM), findings=()),
    "partly": PARTLY,
    "one failed": with_result(
        PARTLY, refused=tuple(replace(r, is_failure=True) for r in PARTLY.results[0].refused)
    ),
    "not analysed": detected(draft(refuse=dict.fromkeys(phantom.EXAM, "For Processing"))),
    "version 2": as_version_2(detected(EXAM)),
    "several models": SEVERAL,
}


# What the results say


def term(said: Code) -> Term:
    return said.value, said.scheme


def number(said: Measurement) -> Number:
    return term(said.concept), f"{said.value:.{said.decimals}f}", term(said.unit)


def kept(points: Iterable[Point]) -> Outline:
    return tuple((float(np.float32(x)), float(np.float32(y))) for x, y in points)


def mark(finding: Finding, numbers: Iterable[Number]) -> Mark:
    where = finding.region
    assert finding.laterality is not None
    side = finding.laterality.value
    numbers = tuple(sorted(numbers))
    return term(finding.kind), side, where.sop_uid, kept(where.outline), numbers


def marks_said(result: Result) -> list[Mark]:
    return [mark(finding, map(number, finding.measurements)) for finding in result.findings]


def marks_said_to_a_workstation(result: Result) -> list[Mark]:
    """Each score is a Certainty of Finding; a Probability of cancer only if it is called one."""
    return [mark(finding, certainties(finding)) for finding in result.findings]


def certainties(finding: Finding) -> Iterator[Number]:
    for said in finding.measurements:
        concept, value, unit = number(said)
        if said.is_score:
            yield ("111012", "DCM"), value, unit
        if not said.is_score or said.concept == PROBABILITY_OF_CANCER:
            yield concept, value, unit


def numbers_said(result: Result) -> list[tuple[object, ...]]:
    return [
        (e.label, e.laterality.value if e.laterality else "", frozenset(e.sop_uids), number(m))
        for e in result.evaluations
        for m in e.measurements
    ]


def grades_said(result: Result) -> list[tuple[object, ...]]:
    return [
        (e.label, term(e.grade.concept), term(e.grade.value))
        for e in result.evaluations
        if e.grade is not None
    ]


# Content trees


def children(item: Dataset, name: str = "", value_type: str = "") -> list[Dataset]:
    return [
        child
        for child in item.get("ContentSequence", [])
        if name in ("", name_of(child)) and value_type in ("", child.get("ValueType"))
    ]


def below(item: Dataset, name: str = "", value_type: str = "") -> Iterator[Dataset]:
    """Yield the content items anywhere below, in the order of the tree."""
    for child in children(item):
        if name in ("", name_of(child)) and value_type in ("", child.get("ValueType")):
            yield child
        yield from below(child, name, value_type)


def name_of(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence") or [Dataset()]
    return str(names[0].get("CodeValue", ""))


def only(found: Iterable[Dataset]) -> Dataset:
    (item,) = found
    return item


def coded(sequence: Sequence[Dataset]) -> Term:
    (code,) = sequence
    return code.CodeValue, code.CodingSchemeDesignator


def read_number(item: Dataset) -> Number:
    measured = only(item.MeasuredValueSequence)
    unit = coded(measured.MeasurementUnitsCodeSequence)
    return coded(item.ConceptNameCodeSequence), str(measured.NumericValue), unit


def read_points(graphic: Dataset) -> Outline:
    values = [float(value) for value in graphic.GraphicData]
    assert values[:2] == values[-2:], "closed"
    return tuple(zip(values[::2], values[1::2], strict=True))


def read_image(item: Dataset) -> str:
    return str(only(item.ReferencedSOPSequence).ReferencedSOPInstanceUID)


def read_side(item: Dataset) -> str:
    """Read the laterality of a finding site (TID 1410, 1501), "" if there is none."""
    for site in children(item, "363698007"):
        for modifier in children(site, "272741003"):
            return RIGHT_OR_LEFT[coded(modifier.ConceptCodeSequence)[0]]
    return ""


def marks_in_report(root: Dataset) -> list[Mark]:
    """Read every group with a region (TID 1410)."""
    marks = []
    for group in below(root, "125007"):
        region = only(children(group, "111030", "SCOORD"))
        assert region.GraphicType == "POLYLINE"
        source = only(children(region, value_type="IMAGE"))
        assert source.RelationshipType == "SELECTED FROM"
        kind = coded(only(children(group, "121071", "CODE")).ConceptCodeSequence)
        numbers = tuple(sorted(map(read_number, children(group, value_type="NUM"))))
        marks.append((kind, read_side(group), read_image(source), read_points(region), numbers))
    return marks


def numbers_in_report(root: Dataset) -> list[tuple[object, ...]]:
    """Read every number that has no place: what it is called, which side, which images."""
    placed = [id(item) for group in below(root, "125007") for item in below(group)]
    found: list[tuple[object, ...]] = []
    for item in below(root, value_type="NUM"):
        if id(item) not in placed:
            called = only(children(item, "112039") + children(item, "121050"))
            images = frozenset(read_image(image) for image in children(item, value_type="IMAGE"))
            found.append((called.TextValue, read_side(item), images, read_number(item)))
    return found


def grades_in_report(root: Dataset) -> list[tuple[object, ...]]:
    """Read every code that a model gave, which it does under a name (121050)."""
    return [
        (
            only(children(item, "121050")).TextValue,
            coded(item.ConceptNameCodeSequence),
            coded(item.ConceptCodeSequence),
        )
        for item in below(root, value_type="CODE")
        if children(item, "121050")
    ]


def marks_in_cad(root: Dataset) -> list[Mark]:
    """Read every Single Image Finding (TID 4006), its image by reference from the library."""
    marks = []
    for finding in below(root, "111059"):
        outline, centre = (only(children(finding, name, "SCOORD")) for name in ("111041", "111010"))
        image, again = referred_to(root, outline), referred_to(root, centre)
        assert image is again
        side = BREASTS[coded(only(children(image, "111027")).ConceptCodeSequence)[0]]
        numbers = tuple(sorted(map(read_number, children(finding, value_type="NUM"))))
        kind = coded(finding.ConceptCodeSequence)
        marks.append((kind, side, read_image(image), read_points(outline), numbers))
    return marks


def referred_to(root: Dataset, item: Dataset) -> Dataset:
    """Return the item that the one child of this one refers to (PS3.3 C.17.3.2.5)."""
    reference = only(item.ContentSequence)
    assert reference.RelationshipType == "SELECTED FROM"
    start, *path = reference.ReferencedContentItemIdentifier
    assert start == 1
    target = root
    for position in path:
        target = target.ContentSequence[position - 1]
    assert target.ValueType == "IMAGE"
    return target


# Other objects


def marks_in_state(state: Dataset) -> list[tuple[str, Outline]]:
    """Read what a presentation state draws on its one image."""
    series = only(state.ReferencedSeriesSequence)
    image = str(only(series.ReferencedImageSequence).ReferencedSOPInstanceUID)
    return [
        (image, read_points(graphic))
        for layer in state.GraphicAnnotationSequence
        for graphic in layer.get("GraphicObjectSequence", [])
        if (graphic.GraphicType, graphic.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
    ]


def segments(segmentation: Dataset) -> Iterator[tuple[Term, str, NDArray[np.bool_]]]:
    """Read kind, image and pixels of each segment: a bit each, from the lowest of each byte."""
    rows, columns = segmentation.Rows, segmentation.Columns
    bits = np.unpackbits(np.frombuffer(segmentation.PixelData, np.uint8), bitorder="little")
    described = {int(s.SegmentNumber): s for s in segmentation.SegmentSequence}
    frames = segmentation.PerFrameFunctionalGroupsSequence
    for number, frame in enumerate(frames):
        identified = only(frame.SegmentIdentificationSequence).ReferencedSegmentNumber
        source = only(only(frame.DerivationImageSequence).SourceImageSequence)
        pixels = bits[number * rows * columns :][: rows * columns].reshape(rows, columns)
        kind = coded(described[identified].SegmentedPropertyTypeCodeSequence)
        yield kind, str(source.ReferencedSOPInstanceUID), pixels.astype(bool)


def is_inside(
    outline: Sequence[Point], shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return of which pixels the centre is inside, by the even-odd rule, and which lie clear.

    Clear of every edge: whether a centre that an edge runs through is inside, is a matter of
    convention.
    """
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside, clear = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    for (ax, ay), (bx, by) in pairwise(outline):
        rows = slice(max(int(min(ay, by)) - 1, 0), int(max(ay, by)) + 2)
        box = rows, slice(max(int(min(ax, bx)) - 1, 0), int(max(ax, bx)) + 2)
        if ay != by:
            column = ax + (y[rows] - ay) * (bx - ax) / (by - ay)
            inside[rows] ^= ((ay <= y[rows]) != (by <= y[rows])) & (x[rows] < column)
        length = float(np.hypot(bx - ax, by - ay)) or 1.0
        along = ((x[box] - ax) * (bx - ax) + (y[box] - ay) * (by - ay)) / length**2
        nearest = np.clip(along, 0, 1)
        away = x[box] - ax - nearest * (bx - ax), y[box] - ay - nearest * (by - ay)
        clear[box] &= np.hypot(*away) > 1e-6
    return inside, clear


def words_of(document: Dataset) -> str:
    """Read the text of a PDF's pages."""
    content = bytes(document.EncapsulatedDocument)
    text = []
    for packed in re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL):
        unpacked = zlib.decompress(packed)
        if b" Tj" in unpacked:
            text += re.findall(rb"^\((.*)\) Tj", unpacked, re.MULTILINE)
    return b" ".join(re.sub(rb"\\(.)", rb"\1", line) for line in text).decode("ascii")


def models_of(dataset: Dataset) -> set[str]:
    """Read whose words an object carries (IHE AIR 6.5.3.1)."""
    return {
        equipment.ManufacturerModelName
        for equipment in dataset.ContributingEquipmentSequence
        if coded(equipment.PurposeOfReferenceCodeSequence) == ("109102", "DCM")
    }


# The comparison


def by_model(made: Draft, kind: str) -> list[tuple[Result, list[Dataset]]]:
    """Build, encode and read the objects of a kind; return each result with its own."""
    read = [dcmread(BytesIO(to_bytes(dataset))) for dataset in report_set(made, [kind])]
    by_title = {result.model.title: result for result in made.results}
    assert all(models_of(dataset) <= by_title.keys() for dataset in read)
    return [
        (result, [dataset for dataset in read if models_of(dataset) == {title}])
        for title, result in by_title.items()
    ]


def same(read: Iterable[object], said: Iterable[object]) -> bool:
    return Counter(read) == Counter(said)


def compare_reports(made: Draft) -> None:
    kinds: tuple[str, ...] = ("measurement-report", "measurement-report-3d")
    for kind in kinds:
        for result, documents in by_model(made, kind):
            root = only(documents)
            assert same(marks_in_report(root), marks_said(result))
            assert same(numbers_in_report(root), numbers_said(result))
            assert same(grades_in_report(root), grades_said(result))


def compare_cad(made: Draft) -> None:
    for result, documents in by_model(made, "mammography-cad"):
        assert len(documents) == bool(result.looked_for)
        for root in documents:
            assert same(marks_in_cad(root), marks_said_to_a_workstation(result))
            named = {read_image(image) for image in below(root, value_type="IMAGE")}
            # All refused here are the only image of a view of the exam.
            missed = {refusal.sop_uid for refusal in result.refused}
            assert named == ({*result.analysed, *missed} if result.analysed else set(made.headers))


def compare_states(made: Draft) -> None:
    for result, states in by_model(made, "presentation-state"):
        drawn = [graphic for state in states for graphic in marks_in_state(state)]
        regions = [finding.region for finding in result.findings]
        assert same(drawn, [(region.sop_uid, kept(region.outline)) for region in regions])
        assert len(states) == len({region.sop_uid for region in regions})


def compare_segmentations(made: Draft) -> None:
    for result, segmentations in by_model(made, "segmentation"):
        read = sorted(
            (segment for dataset in segmentations for segment in segments(dataset)),
            key=lambda segment: segment[1],  # stable: the order of the findings of an image stays
        )
        outlined = sorted(
            (finding for finding in result.findings if not finding.region.is_box),
            key=lambda finding: finding.region.sop_uid,
        )
        assert len(read) == len(outlined)
        for (kind, sop_uid, pixels), finding in zip(read, outlined, strict=True):
            assert (kind, sop_uid) == (term(finding.kind), finding.region.sop_uid)
            assert pixels.shape == made.pictures[sop_uid].grey.shape[:2]
            inside, clear = is_inside(finding.region.outline, pixels.shape)
            assert np.array_equal(pixels[clear], inside[clear])


def compare_key_images(made: Draft) -> None:
    for result, notes in by_model(made, "key-images"):
        marked = {f.region.sop_uid for f in result.findings} if result.looked_for else set()
        assert len(notes) == bool(marked)
        for note in notes:
            assert same((read_image(i) for i in below(note, value_type="IMAGE")), marked)


def compare_document(made: Draft) -> None:
    (document,) = report_set(made, ["encapsulated-pdf"])
    text = words_of(document)
    for result in made.results:
        assert result.model.title in text
        for refusal in result.refused:
            assert refusal.reason in text
        assert all(is_told(finding, text) for finding in result.findings)
        assert all(is_told(evaluation, text) for evaluation in result.evaluations)


def is_told(said: Finding | Evaluation, text: str) -> bool:
    """Return whether the page has the number; of a grade, the grade and its surest number."""
    told = said.measurements
    if isinstance(said, Evaluation) and said.grade is not None:
        told = (max(told, key=lambda m: m.value),)
    return all(f"{m.value:.{m.decimals}f} {m.unit.value}" in text for m in told)


def compare_captures(made: Draft) -> None:
    captures = report_set(made, ["capture"])
    sources = [
        {str(source.ReferencedSOPInstanceUID) for source in capture.get("SourceImageSequence", [])}
        for capture in captures
    ]
    assert set().union(*sources) == {uid for result in made.results for uid in result.analysed}
    alone = {uid for source in sources if len(source) == 1 for uid in source}
    assert alone >= {finding.region.sop_uid for r in made.results for finding in r.findings}


COMPARISONS: Mapping[str, Callable[[Draft], None]] = {
    "reports": compare_reports,
    "CAD": compare_cad,
    "presentation states": compare_states,
    "segmentations": compare_segmentations,
    "key images": compare_key_images,
    "document": compare_document,
    "captures": compare_captures,
}


@pytest.mark.parametrize("what", COMPARISONS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_read_back_is_what_the_results_say(case: str, what: str) -> None:
    COMPARISONS[what](CASES[case])


@pytest.mark.parametrize("what", COMPARISONS)
def test_objects_of_another_result_are_told_apart(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = segmented(EXAM)
    *analysed, _ = meant.results[0].analysed
    moved = [
        replace(
            finding,
            region=replace(
                finding.region, outline=tuple((x, y + 1) for x, y in finding.region.outline)
            ),
            measurements=tuple(replace(m, value=m.value + 1) for m in finding.measurements),
        )
        for finding in meant.results[0].findings
        if finding.region.sop_uid in analysed
    ]
    built = with_result(meant, findings=tuple(moved), analysed=tuple(analysed))
    monkeypatch.setattr(
        sys.modules[__name__],
        "report_set",
        lambda _, kinds: drafts.report_set(built, kinds),
    )
    with pytest.raises(AssertionError):
        COMPARISONS[what](meant)


@pytest.mark.parametrize("kind", ["measurement-report", "mammography-cad", "encapsulated-pdf"])
def test_a_reason_and_a_version_are_said_in_words(kind: str) -> None:
    made = as_version_2(PARTLY)
    (dataset,) = report_set(made, [kind])
    text = (
        words_of(dataset)
        if kind == "encapsulated-pdf"
        else " ".join(str(item.TextValue) for item in below(dataset, value_type="TEXT"))
    )
    assert "R MLO: the view is magnified" in text
    assert "Version 2" in text
    assert "Not verified by a physician" in text


# Any result


PERCENTAGES = st.floats(0, 100)
LABELS = st.text("abc RL19", min_size=1, max_size=30).map(lambda t: " ".join(t.split()) or "x")
SCORES = st.builds(
    Measurement,
    concept=st.sampled_from([PROBABILITY_OF_CANCER, AI_SCORE]),
    value=PERCENTAGES,
    unit=st.just(PERCENT),
    decimals=st.integers(0, 3),
    is_score=st.just(True),
)
AREAS = st.builds(Measurement, st.just(AREA), st.floats(0, 1e6), st.just(CM2), st.integers(0, 3))


@st.composite
def outlines(draw: st.DrawFn) -> tuple[tuple[Point, ...], bool]:
    """Draw a box or a star of three to twelve corners within the smallest image."""
    column = st.integers(1, 254)
    row = st.integers(1, 330)
    if draw(st.booleans()):
        (left, right), (top, bottom) = (
            sorted(draw(st.lists(values, min_size=2, max_size=2, unique=True)))
            for values in (column, row)
        )
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        return tuple((float(x), float(y)) for x, y in (*corners, corners[0])), True
    x, y = draw(st.integers(40, 200)) + 0.5, draw(st.integers(40, 290)) + 0.5
    radii = draw(st.lists(st.integers(8, 320), min_size=3, max_size=12))
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    points = [
        (round(8 * x + r * np.cos(a)) / 8, round(8 * y + r * np.sin(a)) / 8)
        for r, a in zip(radii, angles, strict=True)
    ]
    return (*points, points[0]), False


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    image = draw(st.sampled_from(EXAM.version.instances))
    assert image.view is not None
    outline, is_box = draw(outlines())
    return Finding(
        label=draw(LABELS),
        kind=draw(st.sampled_from([MASS, CALCIFICATIONS])),
        laterality=image.view.laterality,
        region=Region(image.sop_uid, outline, is_box),
        measurements=(draw(SCORES), *draw(st.lists(AREAS, max_size=1))),
        lesion=draw(st.sampled_from(["", "lesion 1", "lesion 2"])),
    )


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    images = draw(st.lists(st.sampled_from(EXAM.version.instances), min_size=1, unique=True))
    sides = {image.view.laterality for image in images if image.view is not None}
    side = st.none() | st.sampled_from(sorted(sides)) if len(sides) == 1 else st.none()
    grades = st.sampled_from("ABCD").map(
        lambda letter: Grade(COMPOSITION, Code(letter, "99AINODE", f"Grade {letter}"))
    )
    return Evaluation(
        label=draw(LABELS),
        sop_uids=tuple(image.sop_uid for image in images),
        measurements=tuple(draw(st.lists(SCORES, min_size=1, max_size=3))),
        laterality=draw(side),
        grade=draw(st.none() | grades),
    )


@settings(
    max_examples=examples(20),
    phases=set(Phase) - {Phase.shrink},  # a smaller example of what fails would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(findings(), max_size=5), st.lists(evaluations(), max_size=3))
def test_any_result_is_read_back(found: list[Finding], said: list[Evaluation]) -> None:
    made = with_result(
        detected(EXAM), findings=tuple(found), evaluations=tuple(said), looked_for=(MASS,)
    )
    for what in ("reports", "CAD", "presentation states", "segmentations", "key images"):
        COMPARISONS[what](made)
