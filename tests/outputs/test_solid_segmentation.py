"""A segmentation of a volume: each solid where it is in the patient, on the slices it is on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import highdicom as hd
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO

from node.errors import Held
from node.imaging.planes import planes_of
from node.imaging.solid_bits import packed
from node.outputs.case import Draft
from node.outputs.report_set import to_bytes
from node.outputs.solid_segmentation import COUNTED, LEFT_OUT
from node.study import Laterality
from node.trial.breast_mr.body import ONE_BREAST, THREE_LESIONS, WITHOUT_LESION
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.styles import STYLES
from outputs.drafts import report_set, with_result
from outputs.mr_drafts import exam, lesions_of, mr_draft, small_plan

PLANS = {
    "classic": small_plan(),
    "three lesions": small_plan(body=THREE_LESIONS),
    "sagittal": small_plan(orientation=Orientation.SAGITTAL),
    "coronal": small_plan(orientation=Orientation.CORONAL),
    "oblique": small_plan(orientation=Orientation.OBLIQUE),
    "reversed": small_plan(backwards=True, turned=True),
    "enhanced": small_plan(style=STYLES["enhanced"]),
    "enhanced of Philips, sagittal": small_plan(
        style=STYLES["Philips enhanced"], orientation=Orientation.SAGITTAL
    ),
    "legacy converted": small_plan(style=STYLES["legacy converted"], backwards=True),
    "one series, slice by slice": small_plan(style=STYLES["Philips, slice by slice"]),
}


def segmentation_of(draft: Draft) -> hd.seg.Segmentation:
    (made,) = report_set(draft, ["segmentation"])
    stream = DicomBytesIO(to_bytes(made))
    return hd.seg.Segmentation.from_dataset(dcmread(stream), copy=False)


def places_mm(name: str, draft: Draft, side: Laterality) -> NDArray[np.float64]:
    """Return where the voxels of a side's lesions lie, from the headers of the slices alone."""
    stack = draft.results[0].stack
    assert stack is not None
    points = []
    for (uid, frame), voxels in zip(stack.slices, lesions_of(exam(PLANS[name]), side), strict=True):
        plane = planes_of(draft.headers[uid])[(frame or 1) - 1]
        for row, column in np.argwhere(voxels):
            across = np.array(plane.right) * column * plane.spacing[1]
            down = np.array(plane.down) * row * plane.spacing[0]
            points.append(plane.position + across + down)
    return in_order(np.array(points))


def in_order(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array(sorted(map(tuple, np.round(points, 1))))


def drafted(name: str) -> Draft:
    return mr_draft(PLANS[name])


@pytest.mark.parametrize("name", PLANS)
def test_each_solid_lies_where_it_is_in_the_patient(name: str) -> None:
    draft = drafted(name)
    made = segmentation_of(draft)
    solids = [n for n, one in enumerate(draft.results[0].solids) if one.measurements[0].value > 0]
    assert len(solids) == made.number_of_segments
    for number, solid in enumerate(solids, start=1):
        side = draft.results[0].solids[solid].laterality
        if side is None:
            continue
        volume = made.get_volume(segment_numbers=[number], combine_segments=True)
        found = volume.map_indices_to_reference(np.argwhere(volume.array > 0))
        there = in_order(found)
        assert np.allclose(there, places_mm(name, draft, side), atol=0.11)
        ml = len(there) * np.prod(volume.spacing) / 1000
        assert ml == pytest.approx(draft.results[0].solids[solid].measurements[0].value, rel=1e-3)


@pytest.mark.parametrize("name", PLANS)
def test_each_frame_has_voxels_and_names_the_slice_it_was_made_from(name: str) -> None:
    draft = drafted(name)
    made, stack = segmentation_of(draft), draft.results[0].stack
    assert stack is not None
    assert made.pixel_array.reshape(made.NumberOfFrames, -1).any(axis=1).all()
    headers = draft.headers
    for groups in made.PerFrameFunctionalGroupsSequence:
        [derivation] = groups.DerivationImageSequence
        [source] = derivation.SourceImageSequence
        uid, frame = source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")
        assert (uid, frame) in stack.slices
        assert source.ReferencedSOPClassUID == headers[uid].SOPClassUID
        plane = planes_of(headers[uid])[(frame or 1) - 1]
        assert groups.PlanePositionSequence[0].ImagePositionPatient == pytest.approx(plane.position)
        assert made.FrameOfReferenceUID == plane.frame_of_reference
    [series] = made.ReferencedSeriesSequence
    named = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert named <= {uid for uid, _ in stack.slices}
    assert {headers[uid].SeriesInstanceUID for uid in named} == {series.SeriesInstanceUID}


def test_the_same_study_gives_the_same_bytes() -> None:
    for name in ("classic", "enhanced"):
        first, second = (report_set(mr_draft(PLANS[name]), ["segmentation"]) for _ in range(2))
        assert [to_bytes(one) for one in first] == [to_bytes(one) for one in second]


def test_a_segment_says_what_it_is_of_which_side_and_by_which_model() -> None:
    draft = drafted("three lesions")
    made = segmentation_of(draft)
    right, left, wall = made.SegmentSequence
    assert [s.SegmentLabel for s in (right, left)] == [
        "R breast enhancing volume",
        "L breast enhancing volume",
    ]
    for segment, side in ((right, "Right"), (left, "Left")):
        [region] = segment.AnatomicRegionSequence
        assert region.CodeMeaning == "Breast"
        assert region.AnatomicRegionModifierSequence[0].CodeMeaning == side
    for segment in (right, left, wall):
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert segment.SegmentAlgorithmName == "Breast MR Enhancement"
        [category] = segment.SegmentedPropertyCategoryCodeSequence
        assert category.CodeMeaning == "Spatial and Relational Concept", "a rule calls none ill"
    assert "AI generated. Not verified by a physician." in made.ImageComments
    assert len({s.TrackingUID for s in made.SegmentSequence}) == 3


def colours(segments: Sequence[Dataset]) -> list[tuple[int, ...]]:
    return [tuple(segment.RecommendedDisplayCIELabValue) for segment in segments]


def test_what_a_rule_left_out_is_named_so_and_has_another_colour() -> None:
    *counted, wall = segmentation_of(drafted("three lesions")).SegmentSequence
    assert wall.SegmentLabel == "Chest wall (left out)"
    [region] = wall.AnatomicRegionSequence
    assert region.CodeMeaning == "Chest wall"
    shown = colours([*counted, wall])
    assert len(set(shown)) == 3
    lab = [tuple(hd.color.CIELabColor.from_rgb(*one).value) for one in (*COUNTED, *LEFT_OUT)]
    assert [lab.index(one) for one in shown] == [0, 1, len(COUNTED)]


def test_a_segment_lies_in_the_part_of_the_body_that_its_model_names() -> None:
    draft = drafted("three lesions")
    *counted, wall = draft.results[0].solids
    sided = replace(wall, laterality=Laterality.LEFT)
    for one, sides in ((sided, ["Left"]), (wall, [])):
        made = segmentation_of(with_result(draft, solids=(*counted, one)))
        [region] = made.SegmentSequence[-1].AnatomicRegionSequence
        assert (region.CodeValue, region.CodingSchemeDesignator) == ("78904004", "SCT")
        modifiers = region.get("AnatomicRegionModifierSequence", [])
        assert [modifier.CodeMeaning for modifier in modifiers] == sides
    nowhere = replace(wall, site=None)
    made = segmentation_of(with_result(draft, solids=(*counted, nowhere)))
    assert "AnatomicRegionSequence" not in made.SegmentSequence[-1], "it is not known"


def test_solids_that_overlap_keep_all_their_voxels() -> None:
    draft = drafted("classic")
    result = draft.results[0]
    both = [replace(result.solids[1], label=label) for label in ("one", "other")]
    made = segmentation_of(with_result(draft, solids=tuple(both)))
    counts = [made.get_volume(segment_numbers=[n], combine_segments=True).array > 0 for n in (1, 2)]
    assert counts[0].sum() == counts[1].sum() > 0
    assert made.SegmentsOverlap == "YES"


@pytest.mark.parametrize("body", [WITHOUT_LESION, ONE_BREAST])
def test_there_are_as_many_segments_as_solids_with_voxels(body: object) -> None:
    draft = mr_draft(small_plan(body=body), has_left_out=False)
    made = report_set(draft, ["segmentation"])
    assert [len(one.SegmentSequence) for one in made] == ([] if body is WITHOUT_LESION else [1])


def test_slices_that_are_amiss_get_no_segmentation() -> None:
    draft = drafted("classic")
    stack = draft.results[0].stack
    assert stack is not None
    doubled = replace(stack, slices=(stack.slices[1], *stack.slices[1:]))
    assert report_set(with_result(draft, stack=doubled), ["segmentation"]) == []


def test_voxels_of_another_stack_or_slices_of_another_study_hold_everything_back() -> None:
    draft = drafted("classic")
    result = draft.results[0]
    assert result.stack is not None
    solid = replace(result.solids[1], bits=packed(np.ones((1, 2, 3), np.bool_)))
    elsewhere = replace(result.stack, slices=(("2.25.9", None), *result.stack.slices[1:]))
    for changes in (
        {"solids": (solid,)},
        {"stack": None},
        {"stack": elsewhere},
        {"solids": (replace(result.solids[1], decisive=(99,)),)},
    ):
        with pytest.raises(Held):
            report_set(with_result(draft, **changes), ["capture"])


def test_frames_are_in_the_order_of_segments_and_of_space() -> None:
    made = segmentation_of(drafted("three lesions"))
    index = [
        tuple(groups.FrameContentSequence[0].DimensionIndexValues)
        for groups in made.PerFrameFunctionalGroupsSequence
    ]
    assert all(one < other for one, other in pairwise(index))
