"""The captures: what they show, where words stand, and that nothing is covered or cut off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node import phantom
from node.outputs import canvas, capture, marked_view, summary_page, wording
from node.outputs.draft import Draft
from node.result import Refusal
from node.study import Picture, View
from outputs.drafts import as_version_2, draft, graded, reread, with_bytes, with_result

EXAM = draft()
LONG = "A sentence that goes on and on and says what the numbers are and what they are not. " * 4
LARGE = phantom.Technique(rows=2656, columns=2048, spacing_mm=0.09)


def many_refused(count: int) -> tuple[Refusal, ...]:
    return tuple(Refusal("", "R MLO spot", f"image {n} is damaged") for n in range(count))


CASES = {
    "four views": EXAM,
    "three views": as_version_2(draft([R_CC, L_CC, R_MLO])),
    "one view": draft([L_MLO]),
    "one refused": draft(refuse={R_MLO: LONG}),
    "none": draft(refuse=dict.fromkeys(phantom.EXAM, LONG)),
    "nothing found": with_result(EXAM, findings=(), evaluations=()),
    "graded": graded(EXAM),
    "much to say": with_result(EXAM, statements=(LONG, LONG), refused=many_refused(50)),
    "unbroken": with_result(EXAM, statements=("x" * 400,), refused=many_refused(2)),
    "large": draft([R_CC], technique=LARGE),
}


@pytest.fixture(scope="module", params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> list[Dataset]:
    return capture.build(request.param)


def pixels(dataset: Dataset) -> NDArray[np.uint8]:
    return np.asarray(reread(dataset).pixel_array)


def test_every_page_is_an_rgb_secondary_capture_of_sensible_size(case: list[Dataset]) -> None:
    for dataset in case:
        assert dataset.SOPClassUID == SecondaryCaptureImageStorage
        assert dataset.PhotometricInterpretation == "RGB"
        assert 600 <= max(dataset.Rows, dataset.Columns) <= 2048
        assert pixels(dataset).shape == (dataset.Rows, dataset.Columns, 3)


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


def test_not_analysed_is_a_page_too() -> None:
    (page,) = capture.build(CASES["none"])
    assert "SourceImageSequence" not in page
    assert pixels(page).any()


def test_the_picture_is_covered_by_nothing_but_the_outline() -> None:
    rows, columns = 1328, 1024
    made = draft([R_MLO], technique=phantom.Technique())
    sop_uid = made.version.instances[0].sop_uid
    page = marked_view.draw(made, sop_uid).astype(int)
    layout = marked_view._layout(made.pictures[sop_uid])
    top = layout.header + marked_view.PADDING
    shown = page[top : top + rows, layout.left : layout.left + columns]
    grey = made.pictures[sop_uid].grey.astype(int)
    changed = (shown != grey[..., None]).any(axis=2)
    assert 0 < changed.mean() < 0.02


def test_the_outline_is_where_the_result_says() -> None:
    made = draft([L_CC])
    sop_uid = made.version.instances[0].sop_uid
    picture = made.pictures[sop_uid]
    half = Picture(picture.grey[::2, ::2].copy(), 0.5)
    made = replace(made, pictures={sop_uid: half})
    page = marked_view.draw(made, sop_uid).astype(int)
    layout = marked_view._layout(half)
    (_, finding) = marked_view.findings_on(made, sop_uid)[0]
    for x, y in finding.region.outline[:: len(finding.region.outline) // 40]:
        column = round(x * 0.5 * layout.scale) + layout.left
        row = round(y * 0.5 * layout.scale) + layout.header + marked_view.PADDING
        around = page[row - 2 : row + 3, column - 2 : column + 3]
        assert (around[..., 2] - around[..., 0]).max() > 60, (x, y)


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
    assert wording.refusals(made.results[0]) == ["R CC, L CC: implant", "R MLO: blurred"]


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


def test_a_shortened_line_fits() -> None:
    assert canvas.shorten("short", 30, 400) == "short"
    shortened = canvas.shorten(LONG, 30, 400)
    assert shortened.endswith("...")
    assert canvas.width(shortened, 30) <= 400
