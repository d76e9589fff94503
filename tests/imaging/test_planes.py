"""Each frame of an MR image lies where its object says, or it is said why that is not known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from mr_stacks import SAGITTAL, Stacked, enhanced, header
from pydicom import Dataset, uid
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from node.errors import StudyError
from node.imaging.planes import planes_of

STACKED = Stacked()


def test_a_single_slice_lies_where_it_says() -> None:
    one = header(STACKED.of(orientation=SAGITTAL), 2)

    (plane,) = planes_of(one)

    assert plane.sop_uid == one.SOPInstanceUID
    assert plane.frame is None
    assert plane.position == (-54.0, -40.0, -30.0)  # towards the right, which is -x
    assert plane.orientation == SAGITTAL
    assert plane.normal == (-1.0, 0.0, 0.0)
    assert (plane.spacing, plane.rows, plane.columns) == ((0.8, 0.7), 8, 10)
    assert plane.thickness == 2.0
    assert plane.frame_of_reference == one.FrameOfReferenceUID


@pytest.mark.parametrize(
    "sop_class", [uid.EnhancedMRImageStorage, uid.LegacyConvertedEnhancedMRImageStorage]
)
def test_each_frame_of_an_enhanced_object_lies_where_it_says(sop_class: uid.UID) -> None:
    planes = planes_of(enhanced(STACKED, [3, 0, 5], sop_class))

    assert [plane.frame for plane in planes] == [1, 2, 3]
    assert [plane.position[2] for plane in planes] == [-24.0, -30.0, -20.0]
    assert {plane.spacing for plane in planes} == {(0.8, 0.7)}


def test_a_group_of_one_frame_may_be_said_of_all_again_if_it_is_the_same() -> None:
    one = enhanced(STACKED)
    shared = one.SharedFunctionalGroupsSequence[0]
    own = one.PerFrameFunctionalGroupsSequence[2]
    own.PlaneOrientationSequence = shared.PlaneOrientationSequence

    assert len(planes_of(one)) == STACKED.count

    differing = Dataset()
    differing.ImageOrientationPatient = list(SAGITTAL)
    own.PlaneOrientationSequence = [differing]
    with pytest.raises(StudyError, match=r"frame 3: Image Orientation .* said twice, and differ"):
        planes_of(one)


def test_cosines_that_were_rounded_are_made_whole() -> None:
    one = header(STACKED, 0)
    one.ImageOrientationPatient = ["0.707", "0.707", "0", "0", "0", "-1"]

    (plane,) = planes_of(one)

    cosines = np.array(plane.orientation).reshape(2, 3)
    np.testing.assert_allclose(cosines @ cosines.T, np.eye(2), atol=1e-12)


def _without(keyword: str) -> Callable[[Dataset], None]:
    def change(one: Dataset) -> None:
        delattr(one, keyword)

    return change


def _with(keyword: str, value: object) -> Callable[[Dataset], None]:
    def change(one: Dataset) -> None:
        setattr(one, keyword, value)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("SOPInstanceUID"), "SOP Instance UID missing"),
        (_with("SOPClassUID", uid.SecondaryCaptureImageStorage), "no MR image"),
        (_without("ImagePositionPatient"), r"Image Position \(Patient\) missing"),
        (_without("ImageOrientationPatient"), r"Image Orientation \(Patient\) missing"),
        (_without("PixelSpacing"), "Pixel Spacing missing"),
        (_without("Rows"), "Rows missing"),
        (_with("Columns", 0), "Columns of 0"),
        (_with("ImagePositionPatient", [1, 2]), "cannot be understood"),
        (_with("ImagePositionPatient", [1, 2, 1e30]), "cannot be right"),
        (_with("PixelSpacing", [0, 1]), "Pixel Spacing that cannot be right"),
        (_with("ImageOrientationPatient", [1, 0, 0, 0, 0.5, 0]), "not of unit vectors"),
        (_with("ImageOrientationPatient", [1, 0, 0, 0.6, 0.8, 0]), "not at right angles"),
        (_with("ImageOrientationPatient", [0] * 6), "not of unit vectors"),
        (_with("NumberOfFrames", 4), "4 frames in an MR Image"),
    ],
)
def test_what_is_missing_or_cannot_be_is_said(
    change: Callable[[Dataset], None], words: str
) -> None:
    one = header(STACKED, 0)
    change(one)
    with pytest.raises(StudyError, match=words):
        planes_of(one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with("NumberOfFrames", 7), "functional groups of 6 frames, but 7 frames"),
        (_without("NumberOfFrames"), "Number of Frames missing"),
        (_without("PerFrameFunctionalGroupsSequence"), "of 0 frames, but 6"),
        (_without("SharedFunctionalGroupsSequence"), "frame 1: Plane Orientation Sequence missing"),
        (_with("SharedFunctionalGroupsSequence", [Dataset(), Dataset()]), "more than one item"),
    ],
)
def test_what_is_missing_of_an_enhanced_object_is_said(
    change: Callable[[Dataset], None], words: str
) -> None:
    one = enhanced(STACKED)
    change(one)
    with pytest.raises(StudyError, match=words):
        planes_of(one)


def test_a_thickness_that_is_missing_is_not_made_up() -> None:
    one = header(STACKED, 0)
    del one.SliceThickness
    assert planes_of(one)[0].thickness is None


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "PixelSpacing", "Rows"])
def test_bytes_of_no_number_are_no_position(keyword: str) -> None:
    one = header(STACKED, 0)
    tag = Tag(tag_for_keyword(keyword) or 0)
    value = b"\xff\xfe?\\x"
    one._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    with pytest.raises(StudyError):
        planes_of(one)
