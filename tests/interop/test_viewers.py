"""What a radiologist sees: every kind of result in OHIF, read from a real Orthanc.

docs/viewers.md says the same in words. Screenshots go to ci-results/viewers where CI is set. With
VIEWERS=all in the environment every series is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import BinaryIO, Protocol, cast

import factories
import numpy as np
import pytest
from outputs import drafts, mr_drafts
from outputs.drafts import report_set
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from viewers import ohif
from viewers.archive import WebArchive
from viewers.origin import origin
from viewers.reader import Reader, Shown, chromium, reader

from node.config import CompressedBy
from node.dimse.lossless import write_compressed
from node.kinds import KINDS
from node.outputs import wording
from node.outputs.case import Draft
from node.outputs.report_set import to_bytes
from node.outputs.solid_groups import most_telling, outline_on
from node.outputs.solid_segmentation import lain_of
from node.result import Priority, Result
from node.trial import phantom
from node.trial.breast_mr.body import Body, Lesion, Uptake
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan
from node.trial.breast_mr.styles import STYLES

from .breast_mr_results import ENHANCING, segments, voxels_filled
from .conftest import Started

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

TECHNIQUE = phantom.Technique()
"""Images of an ordinary size: the pictures are looked at."""
REPORTS = frozenset({ComprehensiveSRStorage, Comprehensive3DSRStorage})
SHOWN = REPORTS | {SecondaryCaptureImageStorage, SegmentationStorage, EncapsulatedPDFStorage}
"""What OHIF opens; it lists the others with a warning."""
IN_WORDS = "Diagnostic Imaging Report"
"""The title of a report that has no region."""
BOTH_SIDES = Body(
    lesions=(
        Lesion((72.0, -42.0, 8.0), (10.0, 9.0, 9.0), lobes=0.08),
        Lesion((-72.0, -40.0, -10.0), (7.0, 6.5, 6.5), Uptake.PLATEAU),
    )
)
MR_PLANS = {
    "classic": mr_drafts.small_plan(shape=(24, 96, 128), body=BOTH_SIDES),
    "enhanced": mr_drafts.small_plan(
        shape=(24, 96, 128), body=BOTH_SIDES, style=STYLES["enhanced"]
    ),
    "sagittal, one series of all phases": mr_drafts.small_plan(
        shape=(32, 96, 96),
        body=BOTH_SIDES,
        style=STYLES["Siemens, one series"],
        orientation=Orientation.SAGITTAL,
    ),
}
GRADER = replace(drafts.MODEL, name="grader", title="Density Grader", device_uid="2.25.81")
FINDER = replace(drafts.MODEL, name="finder", title="Mass Finder", device_uid="2.25.82")
REFUSER = replace(drafts.MODEL, name="refuser", title="Lesion Finder", device_uid="2.25.83")
REASON = "the images are For Processing"


class Opened(Protocol):
    """Stores results beside the images of an exam, and opens the study."""

    def __call__(self, results: Sequence[Dataset], images: Sequence[Dataset] = ()) -> Reader: ...


def about(first: Draft, *others: Draft) -> Draft:
    """Return a draft with the result of each of these drafts about one exam."""
    return replace(first, results=tuple(one.results[0] for one in (first, *others)))


def everything(draft: Draft) -> list[Dataset]:
    """Build every kind of object there is, whatever a preset asks for.

    What OHIF refuses comes first: what follows shows that it broke nothing.
    """
    return report_set(draft, sorted(KINDS, key=lambda kind: KINDS[kind].sop_class in SHOWN))


@pytest.fixture
def opened(tmp_path: Path, started: Started, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Store objects beside the images of the exam, and open the study."""
    archive = WebArchive(tmp_path / "archive")
    started(archive)
    kept = Path("ci-results/viewers") if os.environ.get("CI") else tmp_path / "screenshots"
    screenshots = kept / request.node.name
    screenshots.mkdir(parents=True, exist_ok=True)
    with (
        origin(ohif.files(), archive.web_port) as address,
        chromium() as browser,
        reader(browser, screenshots) as at_screen,
    ):

        def open_study(results: Sequence[Dataset], images: Sequence[Dataset] = ()) -> Reader:
            objects = [*(images or phantom.exam("test", technique=TECHNIQUE)), *results]
            archive.store(map(to_bytes, objects))
            series = {one.SeriesInstanceUID for one in objects}
            at_screen.open_study(address, objects[0].StudyInstanceUID, len(series))
            at_screen.screenshot("study")
            return at_screen

        yield open_study
        assert not at_screen.errors


def test_ohif_shows_every_kind_of_result_of_an_exam_with_findings(
    opened: Opened, subtests: pytest.Subtests
) -> None:
    exam = drafts.draft(technique=TECHNIQUE)
    draft = about(
        drafts.with_result(drafts.detected(exam), triage=drafts.triage_at(Priority.URGENT)),
        drafts.triaged(exam, Priority.ROUTINE),
        drafts.with_result(exam, findings=exam.results[0].findings[::3]),  # R CC and L MLO
        drafts.scored(exam),
        drafts.with_result(drafts.graded(exam), model=GRADER),
        drafts.with_result(exam, model=FINDER, findings=(), evaluations=()),
    )
    objects = everything(draft)
    screen = opened(objects)
    for one in looked_at(objects):
        name = f"{one.SeriesNumber} {one.SeriesDescription}"
        with subtests.test(name):
            if one.SOPClassUID not in SHOWN:
                assert_refused(screen, one, name)
            elif one.SOPClassUID in REPORTS:
                assert_report_shows(screen, one, result_of(one, draft), name)
            elif one.SOPClassUID == SegmentationStorage:
                assert_segments_show(screen, one, draft, name)
            elif one.SOPClassUID == EncapsulatedPDFStorage:
                screen.open_series(one.SeriesInstanceUID, name)
                assert screen.document().std() > 20, "it is not blank"
    with subtests.test("the captures"):
        assert_captures_show(screen, objects)


@pytest.mark.parametrize("way", ["jpeg-ls", "rle"])
def test_ohif_shows_captures_that_came_compressed(way: CompressedBy, opened: Opened) -> None:
    captures = report_set(drafts.draft(technique=TECHNIQUE), ["capture"])
    screen = opened([_compressed(one, way) for one in captures])
    assert_captures_show(screen, captures)


def _compressed(capture: Dataset, way: CompressedBy) -> Dataset:
    with NamedTemporaryFile() as plain, TemporaryFile() as file:
        plain.write(to_bytes(capture))
        plain.flush()
        write_compressed(Path(plain.name), way, cast("BinaryIO", file))
        file.seek(0)
        return dcmread(BytesIO(file.read()))


def test_ohif_shows_what_was_not_analysed_and_the_newer_version(
    opened: Opened, subtests: pytest.Subtests
) -> None:
    partly = drafts.draft(refuse={factories.R_MLO: REASON}, technique=TECHNIQUE)
    not_at_all = drafts.draft(refuse=dict.fromkeys(phantom.EXAM, REASON), technique=TECHNIQUE)
    first = about(partly, drafts.with_result(not_at_all, model=REFUSER))
    second = drafts.as_version_2(first)
    newer = report_set(second)
    screen = opened([*report_set(first), *newer])
    for report in newer:
        if report.SOPClassUID in REPORTS:
            name = f"{report.SeriesNumber} {report.SeriesDescription}"
            with subtests.test(name):
                assert screen.instance(report.SeriesInstanceUID) == report.SOPInstanceUID
                assert_report_shows(screen, report, result_of(report, second), name)
    with subtests.test("the captures"):
        assert_captures_show(screen, newer)


@pytest.mark.parametrize("name", MR_PLANS)
def test_ohif_shows_what_the_package_of_breast_mri_says_in_its_place(
    name: str, opened: Opened, subtests: pytest.Subtests
) -> None:
    plan = MR_PLANS[name]
    draft, objects = mr_drafts.answered(plan, ["capture", "measurement-report", "segmentation"])
    screen = opened(objects, mr_drafts.exam(plan).objects)
    kinds = {one.SOPClassUID: one for one in objects}
    with subtests.test("the lesions"):
        assert_lesions_segmented(kinds[SegmentationStorage], plan)
    with subtests.test("the report"):
        assert_solids_marked(screen, kinds[ComprehensiveSRStorage], draft)
    with subtests.test("the segmentation"):
        assert_solids_segmented(screen, kinds[SegmentationStorage], draft)
    with subtests.test("the captures"):
        assert_captures_show(screen, objects)


def assert_lesions_segmented(one: Dataset, plan: StudyPlan) -> None:
    """What enhances in a lesion that was generated is in the segment of its side."""
    raster = plan.raster()
    for lesion in plan.truth(2, 0.7).lesions:
        [segment] = [
            segment
            for segment in segments(one)
            if (segment.kind, segment.side) == (ENHANCING, lesion.side)
        ]
        filled = voxels_filled(lesion.points_mm, raster)
        assert len(filled & voxels_filled(segment.points, raster, least=1)) > 0.7 * len(filled)


def assert_solids_marked(screen: Reader, report: Dataset, draft: Draft) -> None:
    """An outline for each solid, on the slice that says most, with its volume beside it."""
    screen.open_series(report.SeriesInstanceUID, "report")
    marks = screen.marks(report.SeriesInstanceUID)
    screen.screenshot("report with marks")
    result = draft.results[0]
    lain = lain_of(draft, result)
    assert lain is not None and result.stack is not None
    assert len(marks) == len(lain.solids)
    for mark, (place, solid) in zip(marks, lain.solids.items(), strict=True):
        at = most_telling(solid, lain.voxels[place])
        assert result.contrasted is not None
        sop_uid, frame = result.contrasted.slices[at]
        assert (mark.sop_uid, mark.frame) == (sop_uid, frame or 1)
        expected = np.asarray(outline_on(lain.voxels[place].on(at)))
        assert np.abs(np.asarray(mark.points) - expected).max() < 1, "in pixels of the image"
    first = next(iter(lain.solids.values()))
    volume = first.measurements[0]
    written = round(volume.value, volume.decimals)
    assert f"{written:.2f} ml" in screen.text("Volume"), "OHIF writes two decimals of any number"
    screen.next_region()
    screen.screenshot("report, next region")
    assert screen.image().sop_uid == marks[1].sop_uid, "slices of one series are all reached"


def assert_solids_segmented(screen: Reader, one: Dataset, draft: Draft) -> None:
    """Each segment covers the voxels of its solid, on the slices of the phase before contrast."""
    screen.open_series(one.SeriesInstanceUID, "segmentation", answer="Yes")
    labels, found = screen.segmented()
    screen.screenshot("segmentation loaded")
    result = draft.results[0]
    lain = lain_of(draft, result)
    assert lain is not None and result.stack is not None
    assert labels == [wording.solid_label(solid) for solid in lain.solids.values()]
    expected = {}
    for number, voxels in enumerate(lain.voxels.values(), start=1):
        for at in voxels.places():
            sop_uid, frame = result.stack.slices[at]
            pixels = {(int(x), int(y)) for y, x in np.argwhere(voxels.on(at))}
            expected[sop_uid, frame or 1, number] = pixels
    assert found == expected


def result_of(report: Dataset, draft: Draft) -> Result:
    """Return the result that a report is about: the model is in its series description."""
    [result] = [r for r in draft.results if r.model.title in report.SeriesDescription]
    return result


def assert_report_shows(screen: Reader, report: Dataset, result: Result, name: str) -> None:
    """Regions on the right images, within a pixel; or the words."""
    screen.open_series(report.SeriesInstanceUID, name)
    assert screen.is_open(report.SeriesInstanceUID)
    if not result.findings:
        assert_reads(screen.text(result.model.title), result)
        return
    # The first of them is in the viewport, with its first number beside it.
    first = result.findings[0]
    marks = screen.marks(report.SeriesInstanceUID)
    assert screen.image().sop_uid == first.region.sop_uid
    screen.screenshot(name)
    meaning = first.measurements[0].concept.meaning
    assert meaning in screen.text(meaning)
    assert len(marks) == len(result.findings)
    for mark, finding in zip(marks, result.findings, strict=True):
        assert mark.sop_uid == finding.region.sop_uid
        expected = np.asarray(finding.region.outline)
        assert np.asarray(mark.points).shape == expected.shape
        assert np.abs(np.asarray(mark.points) - expected).max() < 1, "in pixels of the image"
    if len(marks) > 1:  # and the others cannot be reached: the captures are there for that
        screen.next_region()
        assert screen.image().sop_uid == first.region.sop_uid, "docs/viewers.md is out of date"


def assert_reads(text: str, result: Result) -> None:
    """The words that a reader must not miss."""
    wanted = [IN_WORDS, "AI generated. Not verified by a physician.", result.model.title]
    if not result.analysed:
        wanted += ["NOT ANALYSED", REASON]
    elif not result.evaluations:
        wanted += ["Processed 4 images, nothing found"]
    if result.triage:
        wanted += [f"AI triage level: {result.triage.level} (research model)."]
    for evaluation in result.evaluations:
        wanted += [evaluation.label, *(f"{m.value:.0f} %" for m in evaluation.measurements)]
        wanted += [evaluation.grade.value.meaning] if evaluation.grade else []
    assert [words for words in wanted if words not in text] == []


def assert_segments_show(screen: Reader, one: Dataset, draft: Draft, name: str) -> None:
    """The pixels that it changes are those within the outline."""
    [series] = one.ReferencedSeriesSequence
    [uid] = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    screen.open_series(series.SeriesInstanceUID, f"{name}, before")
    before = screen.image()
    screen.open_series(one.SeriesInstanceUID, name, answer="Yes")
    after = screen.changed(before)
    assert before.sop_uid == after.sop_uid == uid
    changed = np.abs(after.pixels.astype(int) - before.pixels).max(axis=2) > 20
    rows, columns = changed.shape
    pixel = np.asarray([TECHNIQUE.columns / columns, TECHNIQUE.rows / rows])
    """Of the screen, in pixels of the image."""
    places = np.argwhere(changed)[:, ::-1]
    [outline] = [
        np.asarray(f.region.outline)
        for r in draft.results
        for f in r.findings
        if f.region.sop_uid == uid and r.model.title in one.SeriesDescription
    ]
    assert np.abs(places.min(axis=0) * pixel - outline.min(axis=0)).max() < 3 * pixel.max()
    assert np.abs((places.max(axis=0) + 1) * pixel - outline.max(axis=0)).max() < 3 * pixel.max()


def assert_captures_show(screen: Reader, objects: Sequence[Dataset]) -> None:
    """Each capture fills the viewport, and is drawn as it was built."""
    captures = {
        str(one.SOPInstanceUID): one
        for one in objects
        if one.SOPClassUID == SecondaryCaptureImageStorage
    }
    [series] = {str(one.SeriesInstanceUID) for one in captures.values()}
    screen.open_series(series, "captures")
    seen = []
    for number in range(1, screen.images() + 1):
        if number > 1:
            screen.next_image()
        screen.screenshot(f"capture {number}")
        shown = screen.image()
        if shown.sop_uid in captures:  # and not of a former version
            seen.append(shown.sop_uid)
            assert_alike(shown, captures[shown.sop_uid])
    assert sorted(seen) == sorted(captures)


def assert_alike(shown: Shown, capture: Dataset) -> None:
    rows, columns = shown.pixels.shape[:2]
    assert min(rows, columns) > 400, "it fills the viewport"
    built = Image.fromarray(capture.pixel_array).resize((columns, rows), Image.Resampling.BILINEAR)
    expected = np.asarray(built, dtype=float)
    assert expected.std() > 10, "it is not blank"
    assert np.corrcoef(expected.ravel(), shown.pixels.ravel())[0, 1] > 0.95
    assert np.abs(expected - shown.pixels).mean() < 8, "of 255 grey levels"


def assert_refused(screen: Reader, refused: Dataset, name: str) -> None:
    screen.open_series(refused.SeriesInstanceUID, name)
    [listed] = [one for one in screen.listed() if one["series"] == refused.SeriesInstanceUID]
    assert listed["is_refused"], "OHIF has learnt to show it: docs/viewers.md is out of date"
    assert not screen.is_open(refused.SeriesInstanceUID)


def looked_at(objects: Sequence[Dataset]) -> list[Dataset]:
    """Return one object of each series that is opened: with VIEWERS=all in the environment of all.

    Else of all reports of one kind, and of one of each other kind of object.
    """
    series = list({one.SeriesInstanceUID: one for one in objects}.values())
    if os.environ.get("VIEWERS") == "all":
        return series
    first = {one.SOPClassUID: one.SeriesInstanceUID for one in reversed(series)}
    return [
        one
        for one in series
        if one.SOPClassUID == ComprehensiveSRStorage
        or one.SeriesInstanceUID == first[one.SOPClassUID]
    ]
