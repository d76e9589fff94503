"""A segmentation says of every pixel what the outline says of its centre, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import highdicom as hd
import numpy as np
import pytest
from examples import examples
from factories import L_CC, R_CC, R_MLO, SMALL
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.uid import SegmentationStorage

from node.outputs import measurement_report, segmentation, segments, wording
from node.outputs.case import Draft
from node.outputs.guard import check
from node.outputs.report_set import to_bytes
from node.result import Code, Finding, Point, Region
from node.trial import phantom
from outputs.drafts import (
    as_version_2,
    detected,
    draft,
    items,
    reread,
    scored,
    segmented,
    with_bytes,
    with_result,
)

EXAM = segmented(draft())
ODD = phantom.Technique(rows=83, columns=61, spacing_mm=2.9)
"""Pixels of an image that do not fill whole bytes."""


def built(made: Draft) -> list[Dataset]:
    return [reread(dataset) for dataset in segmentation.build(made)]


def source_of(dataset: Dataset) -> str:
    (series,) = dataset.ReferencedSeriesSequence
    (instance,) = series.ReferencedInstanceSequence
    return str(instance.ReferencedSOPInstanceUID)


def masks_by_pydicom(dataset: Dataset) -> NDArray[np.bool_]:
    """Return frames, rows, columns; pydicom leaves out the dimension of a single frame."""
    pixels = np.asarray(dataset.pixel_array, dtype=bool)
    return pixels.reshape(-1, dataset.Rows, dataset.Columns)


def masks_by_highdicom(dataset: Dataset) -> NDArray[np.bool_]:
    read = hd.seg.Segmentation.from_dataset(dataset)
    (pixels,) = read.get_pixels_by_source_instance([source_of(dataset)])
    return np.asarray(np.moveaxis(pixels, -1, 0), dtype=bool)


def masks_bit_by_bit(dataset: Dataset) -> NDArray[np.bool_]:
    """Read the pixels as PS3.5 8.1.1 describes them: a bit each, from the lowest of each byte."""
    count = dataset.NumberOfFrames * dataset.Rows * dataset.Columns
    bits = [dataset.PixelData[n // 8] >> n % 8 & 1 for n in range(count)]
    return np.array(bits, dtype=bool).reshape(-1, dataset.Rows, dataset.Columns)


def with_outlines(made: Draft, *outlines: Sequence[Point]) -> Draft:
    """Return the draft with these outlines, all on its first image."""
    first = made.results[0].findings[0]
    findings = tuple(
        replace(
            first,
            label=f"mass {number}",
            region=Region(first.region.sop_uid, (*outline, outline[0])),
        )
        for number, outline in enumerate(outlines, start=1)
    )
    return with_result(made, findings=findings)


def is_inside(outline: Sequence[Point], x: Fraction, y: Fraction) -> bool:
    """Count the edges above the point, in exact arithmetic."""
    count = 0
    for (ax, ay), (bx, by) in edges(outline):
        if (ax <= x) != (bx <= x):
            count += ay + (x - ax) * (by - ay) / (bx - ax) < y
    return count % 2 == 1


def is_on(outline: Sequence[Point], x: Fraction, y: Fraction) -> bool:
    return any(
        (bx - ax) * (y - ay) == (by - ay) * (x - ax)
        and min(ax, bx) <= x <= max(ax, bx)
        and min(ay, by) <= y <= max(ay, by)
        for (ax, ay), (bx, by) in edges(outline)
    )


def edges(
    outline: Sequence[Point],
) -> Iterator[tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]]:
    exact = [(Fraction(x), Fraction(y)) for x, y in outline]
    yield from zip(exact, [*exact[1:], exact[0]], strict=True)


def test_the_pixels_are_those_of_the_outlined_breast() -> None:
    made = built(EXAM)
    assert len(made) == 4
    for dataset in made:
        view = EXAM.instance(source_of(dataset)).view
        assert view is not None
        truth = phantom.breast(view, SMALL)
        assert np.array_equal(masks_by_pydicom(dataset), truth[None])
        assert np.array_equal(masks_by_highdicom(dataset), truth[None])


def test_frames_that_end_within_a_byte_are_not_mixed_up() -> None:
    made = with_outlines(
        segmented(draft([R_CC], technique=ODD)),
        [(3.0, 4.0), (20.0, 4.0), (20.0, 9.0), (3.0, 9.0)],
        [(60.0, 82.0), (61.0, 82.0), (61.0, 83.0), (60.0, 83.0)],
        [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)],
        [(5.0, 6.0), (30.0, 40.0), (2.0, 70.0)],
    )
    (dataset,) = built(made)
    truth = np.zeros((3, 83, 61), dtype=bool)
    truth[0, 4:9, 3:20] = truth[1, 82, 60] = truth[2, 0, 0] = True
    read = masks_by_pydicom(dataset)
    assert np.array_equal(read[:3], truth)
    assert np.array_equal(read, masks_by_highdicom(dataset))
    assert np.array_equal(read, masks_bit_by_bit(dataset))
    assert len(dataset.PixelData) == 2 * -(-4 * 83 * 61 // 16)


EIGHTHS = st.integers(-16, 112).map(lambda n: n / 8)


@settings(max_examples=examples(80))
@given(st.lists(st.tuples(EIGHTHS, EIGHTHS), min_size=3, max_size=9))
def test_a_pixel_is_in_the_segment_if_its_centre_is_inside(outline: list[Point]) -> None:
    """A centre on the line itself may go either way."""
    mask = segmentation.rasterise((*outline, outline[0]), 11, 9)
    assert mask.shape == (11, 9)
    for row, column in np.ndindex(11, 9):
        x, y = column + Fraction(1, 2), row + Fraction(1, 2)
        if not is_on(outline, x, y):
            assert mask[row, column] == is_inside(outline, x, y)


@settings(max_examples=examples(50))
@given(st.integers(-3, 10), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_parts_that_share_an_edge_share_no_pixel(
    a: int, width: int, second: int, is_upright: bool
) -> None:
    """Also where the edge runs through the centres of pixels."""
    b = a + width
    c = b + second

    def strip(first: int, last: int) -> NDArray[np.bool_]:
        box = [(first + 0.5, -1.0), (last + 0.5, -1.0), (last + 0.5, 12.0), (first + 0.5, 12.0)]
        turned = [(x, y) if is_upright else (y, x) for x, y in box]
        return segmentation.rasterise((*turned, turned[0]), 9, 9)

    assert not (strip(a, b) & strip(b, c)).any()
    assert np.array_equal(strip(a, b) | strip(b, c), strip(a, c))


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(st.tuples(EIGHTHS, EIGHTHS), min_size=3, max_size=6), min_size=1, max_size=5)
)
def test_every_outline_is_read_back_as_it_was_rasterised(outlines: list[list[Point]]) -> None:
    masks = [segmentation.rasterise((*o, o[0]), 83, 61) for o in outlines]
    assume(any(mask.any() for mask in masks))
    made = with_outlines(SMALLEST, *outlines)
    (dataset,) = built(made)
    assert np.array_equal(masks_bit_by_bit(dataset), [mask for mask in masks if mask.any()])
    named = wording.numbered(made).results[0].findings
    expected = [finding.label for finding, mask in zip(named, masks, strict=True) if mask.any()]
    assert [s.SegmentLabel for s in dataset.SegmentSequence] == expected


SMALLEST = segmented(draft([R_CC], technique=ODD))


def test_it_is_a_binary_segmentation_of_its_own_series_named_by_the_view() -> None:
    made = built(EXAM)
    assert len({d.SeriesInstanceUID for d in made}) == len({d.SOPInstanceUID for d in made}) == 4
    for dataset in made:
        view = EXAM.instance(source_of(dataset)).view
        assert dataset.SOPClassUID == SegmentationStorage
        assert (dataset.Modality, dataset.SeriesNumber) == ("SEG", 9005)
        assert dataset.SegmentationType == "BINARY"
        named = f"AI Mass Segmenter {view} Segmentation - AI generated"
        assert dataset.SeriesDescription == named
        assert (dataset.Rows, dataset.Columns) == (SMALL.rows, SMALL.columns)
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (1, 1, 0)


def test_a_segment_says_what_it_is_and_who_drew_it() -> None:
    (segment,) = built(EXAM)[0].SegmentSequence
    assert segment.SegmentLabel.endswith(f": {EXAM.results[0].findings[0].label}")
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert segment.SegmentAlgorithmName == algorithm.AlgorithmName == "Mass Segmenter"
    assert algorithm.AlgorithmVersion == "1.0.0"
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "129793001"
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    (region,) = segment.AnatomicRegionSequence
    assert region.AnatomicRegionModifierSequence[0].CodeMeaning == "Right"


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        (Code("76752008", "SCT", "Breast"), "Anatomical Structure"),
        (Code("111099", "DCM", "Selected region"), "Spatial and Relational Concept"),
        (Code("129769006", "SCT", "Calcification Cluster"), "Morphologically Abnormal Structure"),
    ],
)
def test_what_is_no_abnormality_is_not_called_one(kind: Code, category: str) -> None:
    finding = replace(SMALLEST.results[0].findings[0], kind=kind)
    (dataset,) = built(with_result(SMALLEST, findings=(finding,)))
    (item,) = dataset.SegmentSequence[0].SegmentedPropertyCategoryCodeSequence
    assert item.CodeMeaning == category


def test_segments_bear_the_tracking_identifiers_of_the_report() -> None:
    findings = EXAM.results[0].findings
    made = with_result(EXAM, findings=(*findings[:2], replace(findings[2], lesion="R lesion 1")))
    (report,) = measurement_report.build(made)
    in_report = {
        items(group, "UIDREF", "112040")[0].UID: items(group, "TEXT", "112039")[0].TextValue
        for group in items(reread(report), "CONTAINER", "125007")
    }
    in_segments = {s.TrackingUID: s.TrackingID for d in built(made) for s in d.SegmentSequence}
    assert in_segments == in_report
    assert len(in_report) == 3


def test_segments_of_an_image_differ_in_colour() -> None:
    squares = [[(n, 0.0), (n + 2.0, 0.0), (n + 2.0, 2.0), (n, 2.0)] for n in map(float, range(6))]
    (dataset,) = built(with_outlines(SMALLEST, *squares))
    colours = {tuple(s.RecommendedDisplayCIELabValue) for s in dataset.SegmentSequence}
    assert len(colours) == 6
    first = dataset.SegmentSequence[0].RecommendedDisplayCIELabValue
    shown = hd.color.CIELabColor.from_dicom_value(tuple(first)).to_rgb()
    assert np.allclose(shown, segments.SEGMENT_COLOURS[0], atol=1)


def test_every_frame_names_its_segment_and_the_image_it_is_of() -> None:
    made = with_outlines(
        SMALLEST,
        [(1.0, 1.0), (9.0, 1.0), (9.0, 9.0)],
        [(20.0, 20.0), (40.0, 20.0), (40.0, 60.0)],
    )
    (dataset,) = built(made)
    (instance,) = made.version.instances
    assert dataset.NumberOfFrames == len(dataset.SegmentSequence) == 2
    (dimension,) = dataset.DimensionIndexSequence
    assert dimension.DimensionIndexPointer == 0x0062000B
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence, start=1):
        assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        assert frame.FrameContentSequence[0].DimensionIndexValues == number
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == instance.sop_uid
        assert source.ReferencedSOPClassUID == instance.sop_class
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == instance.series_uid


def test_a_mammogram_has_no_frame_of_reference_but_what_ohif_needs_to_show_it() -> None:
    dataset = built(EXAM)[0]
    assert "FrameOfReferenceUID" not in dataset
    (shared,) = dataset.SharedFunctionalGroupsSequence
    (measures,) = shared.PixelMeasuresSequence
    assert measures.PixelSpacing == [SMALL.spacing_mm, SMALL.spacing_mm]
    assert measures.SliceThickness == 1
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert "PlanePositionSequence" not in dataset.PerFrameFunctionalGroupsSequence[0]


def test_the_spacing_is_that_in_the_body() -> None:
    technique = replace(ODD, magnification=1.45)
    (dataset,) = built(segmented(draft([R_CC], technique=technique)))
    (shared,) = dataset.SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [2.0, 2.0]


def as_slice(dataset: Dataset) -> None:
    del dataset.ImagerPixelSpacing
    dataset.FrameOfReferenceUID = "2.25.77"
    dataset.PositionReferenceIndicator = "STERNAL NOTCH"
    dataset.PixelSpacing = [0.75, 0.7]
    dataset.SliceThickness = "1.5"
    dataset.SpacingBetweenSlices = "2"
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    dataset.ImagePositionPatient = ["-12.125", "3.0625", "40"]


def as_slice_of_a_gantry(dataset: Dataset) -> None:
    as_slice(dataset)
    dataset.DistanceSourceToDetector, dataset.DistanceSourceToPatient = "949.075", "541"


@pytest.mark.parametrize("change", [as_slice, as_slice_of_a_gantry])
def test_a_slice_keeps_its_frame_of_reference_and_its_place(
    change: Callable[[Dataset], None],
) -> None:
    (dataset,) = built(segmented(draft([R_CC], change=change)))
    assert dataset.FrameOfReferenceUID == "2.25.77"
    assert dataset.PositionReferenceIndicator == "STERNAL NOTCH"
    (shared,) = dataset.SharedFunctionalGroupsSequence
    (measures,) = shared.PixelMeasuresSequence
    assert measures.PixelSpacing == [0.75, 0.7]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (1.5, 2)
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [0, 1, 0, 0, 0, -1]
    (frame,) = dataset.PerFrameFunctionalGroupsSequence
    position = frame.PlanePositionSequence[0].ImagePositionPatient
    assert position == [-12.125, 3.0625, 40]


def test_a_frame_of_reference_without_a_place_is_none() -> None:
    def change(dataset: Dataset) -> None:
        as_slice(dataset)
        del dataset.ImagePositionPatient

    (dataset,) = built(segmented(draft([R_CC], change=change)))
    assert "FrameOfReferenceUID" not in dataset
    assert "PlanePositionSequence" not in dataset.PerFrameFunctionalGroupsSequence[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"ImagerPixelSpacing": b""},
        {"ImagerPixelSpacing": b"0\\0 "},
        {"ImagerPixelSpacing": b"inf\\1 "},
        {"ImagerPixelSpacing": b"small\\small"},
        {"NumberOfFrames": b"40"},
    ],
)
def test_an_image_that_a_segmentation_cannot_be_of_gets_none(changes: dict[str, bytes]) -> None:
    assert not segmentation.build(with_bytes(segmented(draft([R_CC])), **changes))


@pytest.mark.parametrize(
    "made",
    [
        detected(draft()),
        scored(draft()),
        with_result(EXAM, findings=()),
        segmented(draft([R_CC, L_CC], refuse={R_CC: "implant", L_CC: "implant"})),
    ],
    ids=["boxes", "scores", "nothing found", "not analysed"],
)
def test_what_has_no_outline_has_no_segmentation(made: Draft) -> None:
    assert segmentation.build(made) == []


def test_of_boxes_and_outlines_on_an_image_only_outlines_are_segments() -> None:
    first = SMALLEST.results[0].findings[0]
    box: Finding = replace(first, label="box", region=replace(first.region, is_box=True))
    (dataset,) = built(with_result(SMALLEST, findings=(box, first)))
    assert [s.SegmentLabel for s in dataset.SegmentSequence] == [f"2: {first.label}"]
    (report,) = measurement_report.build(with_result(SMALLEST, findings=(box, first)))
    second = items(reread(report), "UIDREF", "112040")[1].UID
    assert dataset.SegmentSequence[0].TrackingUID == second


def test_images_without_an_outline_are_not_looked_at_there_may_be_thousands() -> None:
    first = EXAM.results[0].findings[0]
    of_it = {first.region.sop_uid: EXAM.headers[first.region.sop_uid]}
    made = replace(with_result(EXAM, findings=(first,)), headers=of_it)
    assert [source_of(one) for one in segmentation.build(made)] == [first.region.sop_uid]


def test_a_refused_view_has_none_and_the_others_keep_theirs() -> None:
    made = built(segmented(draft(refuse={R_MLO: "the view is magnified"})))
    views = {str(EXAM.instance(source_of(dataset)).view) for dataset in made}
    assert views == {"R CC", "L CC", "L MLO"}


def test_a_second_version_stands_in_the_same_series_and_says_what_it_replaces() -> None:
    first, second = built(EXAM)[0], built(as_version_2(EXAM))[0]
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 1001)
    assert "Version 2, replaces that of 08:42." in second.ImageComments
    assert "Version" not in first.ImageComments


def test_it_says_that_it_is_ai_generated_unverified_and_for_research() -> None:
    dataset = built(EXAM)[0]
    said = "AI generated. Not verified by a physician."
    assert dataset.ContentDescription == said
    assert dataset.ImageComments.startswith(f"{said} For research use only. ")
    assert "Mass Segmenter 1.0.0" in dataset.ImageComments
    assert dataset.ContentQualification == "RESEARCH"
    product = replace(EXAM.results[0].model, is_research=False)
    released = built(with_result(EXAM, model=product))[0]
    assert "research" not in released.ImageComments
    assert released.ContentQualification == "PRODUCT"


def test_once_lossy_always_lossy() -> None:
    def change(dataset: Dataset) -> None:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = "12.5"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"

    (dataset,) = built(segmented(draft([R_CC], change=change)))
    assert dataset.LossyImageCompression == "01"
    assert dataset.LossyImageCompressionRatio == 12.5
    assert built(EXAM)[0].LossyImageCompression == "00"


def test_the_same_draft_gives_the_same_bytes_and_leaves_the_source_unread() -> None:
    made = segmented(draft())
    first, second = ([to_bytes(d) for d in segmentation.build(made)] for _ in range(2))
    assert first == second
    for header in made.headers.values():
        assert isinstance(header.get_item("PatientName"), RawDataElement)


def test_it_passes_the_last_look_and_has_the_equipment_it_must_have() -> None:
    for dataset in segmentation.build(EXAM):
        check(EXAM, dataset)
        for keyword in (
            "Manufacturer",
            "ManufacturerModelName",
            "DeviceSerialNumber",
            "SoftwareVersions",
        ):
            assert dataset[keyword].value
