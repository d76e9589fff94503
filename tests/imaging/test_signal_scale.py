"""Stored values become signal on one stated scale, or it is said that they cannot be compared."""

from __future__ import annotations

import pytest
from mr_stacks import Stacked, enhanced, header
from pydicom import Dataset

from node.errors import StudyError
from node.imaging.signal_scale import ScaleSource, SignalScale, one_scale, scales_of

STACKED = Stacked()


def rescaled(slope: float | None, intercept: float | None, one: Dataset | None = None) -> Dataset:
    one = header(STACKED, 0) if one is None else one
    if slope is not None:
        one.RescaleSlope = slope
    if intercept is not None:
        one.RescaleIntercept = intercept
    return one


def of_philips(
    scale_slope: float, slope: float | None = None, intercept: float | None = None, block: int = 5
) -> Dataset:
    one = rescaled(slope, intercept)
    for _ in range(block - 1):  # of others, so that ours is not the first
        one.private_block(0x2005, f"Other {_}", create=True)
    private = one.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    private.add_new(0x0D, "FL", 0.0)
    private.add_new(0x0E, "FL", scale_slope)
    return one


def offset_by_philips(scale_intercept: float) -> Dataset:
    one = of_philips(0.5)
    block = one.private_block(0x2005, "Philips MR Imaging DD 001")
    block.add_new(0x0D, "FL", scale_intercept)
    return one


def scale_of(one: Dataset) -> SignalScale:
    (scale,) = scales_of(one)
    return scale


def test_without_a_rescale_stored_values_are_the_signal() -> None:
    assert scale_of(header(STACKED, 0)) == SignalScale(1, 0, ScaleSource.STORED)


def test_a_rescale_is_taken_as_it_stands() -> None:
    assert scale_of(rescaled(2, -10)) == SignalScale(2, -10, ScaleSource.RESCALE)


def test_equal_rescales_compare_and_others_are_refused_with_their_numbers() -> None:
    same = [scale_of(rescaled(1.5, 0)), scale_of(rescaled(1.5000001, 0))]
    assert one_scale(same) is ScaleSource.RESCALE
    with pytest.raises(StudyError, match=r"different scales .* x 1\.5 \+0; .* x 1\.7 \+0"):
        one_scale([*same, scale_of(rescaled(1.7, 0))])


def test_a_rescale_that_changes_nothing_compares_with_none() -> None:
    assert one_scale([SignalScale(), scale_of(rescaled(1, 0))]) is ScaleSource.RESCALE


def test_the_same_signal_of_philips_compares_whatever_the_display_is_scaled_by() -> None:
    measured = 250.0
    for slope, intercept, scale_slope in ((1.6, 0.0, 0.02), (3.1, -40.0, 0.007)):
        stored = (measured * slope * scale_slope - intercept) / slope
        scale = scale_of(of_philips(scale_slope, slope, intercept))
        assert stored * scale.slope + scale.intercept == pytest.approx(measured, rel=1e-5)
        assert scale.source is ScaleSource.PHILIPS
    scales = [scale_of(of_philips(0.02, 1.6, 0)), scale_of(of_philips(0.007, 3.1, -40))]
    assert one_scale(scales) is ScaleSource.PHILIPS


def test_a_scale_of_philips_needs_no_rescale_beside_it() -> None:
    assert scale_of(offset_by_philips(100.0)) == SignalScale(2, -200, ScaleSource.PHILIPS)


def test_the_same_element_of_another_creator_is_not_of_philips() -> None:
    one = rescaled(1.6, 0)
    one.private_block(0x2005, "Somebody", create=True).add_new(0x0E, "FL", 0.02)
    assert scale_of(one).source is ScaleSource.RESCALE


def test_philips_with_and_without_its_scale_do_not_compare() -> None:
    with pytest.raises(StudyError, match="Scale Slope of Philips"):
        one_scale([scale_of(of_philips(0.02, 1.6, 0)), scale_of(rescaled(1.6, 0))])


def test_of_an_enhanced_object_each_frame_has_its_scale() -> None:
    one = enhanced(STACKED)
    shared = one.SharedFunctionalGroupsSequence[0]
    shared.PixelValueTransformationSequence = [rescaled(1, 0, Dataset())]
    assert set(scales_of(one)) == {SignalScale(1, 0, ScaleSource.RESCALE)}
    assert len(scales_of(one)) == STACKED.count

    del shared.PixelValueTransformationSequence
    for number, own in enumerate(one.PerFrameFunctionalGroupsSequence, 1):
        own.PixelValueTransformationSequence = [rescaled(number, 0, Dataset())]
    assert [scale.slope for scale in scales_of(one)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(StudyError, match="different scales"):
        one_scale(scales_of(one))


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (rescaled(0, 0), "Rescale Slope of 0"),
        (rescaled(-1, 0), "Rescale Slope of -1"),
        (rescaled(2, None), "Rescale Slope without Rescale Intercept"),
        (rescaled(None, 5), "Rescale Intercept without Rescale Slope"),
        (of_philips(0, 1, 0), "Scale Slope of Philips of 0"),
        (rescaled(1, 1e300), "Rescale Intercept of 1e\\+300, beside any signal"),
        (rescaled(1, 1e8), "Rescale Intercept of 1e\\+08, beside any signal"),
        (rescaled(0.001, -1e4), "Rescale Intercept of -10000, beside any signal"),
        (of_philips(1, 1, 1e7), "Rescale Intercept of 1e\\+07, beside any signal"),
        (offset_by_philips(1e7), "Scale Intercept of Philips of 1e\\+07, beside any signal"),
    ],
)
def test_a_scale_that_makes_no_signal_is_refused(one: Dataset, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        scales_of(one)


def test_a_lookup_table_is_no_scale() -> None:
    one = header(STACKED, 0)
    one.ModalityLUTSequence = [Dataset()]
    with pytest.raises(StudyError, match="lookup table"):
        scales_of(one)
