"""Each style writes what its sources write, and nothing that would make it easier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pydicom import Dataset

from node.trial.breast_mr.styles import (
    ENHANCED_STYLE,
    GE,
    GE_BY_TRIGGER_TIME,
    PHILIPS,
    PHILIPS_ENHANCED,
    PHILIPS_PRE_AND_POSTS,
    SIEMENS,
    STANDARD,
    STYLES,
    Arrangement,
    Style,
)

from .studies import SHAPE, SHORT, frames, small

SLICES, PHASES = SHAPE[0], SHORT.phases


def values(made: list[Dataset], keyword: str) -> list[object]:
    """Return what the images say of something, each once, in order."""
    said = [str(one[keyword].value) if keyword in one else None for one in made]
    return list(dict.fromkeys(said))


def test_the_standard_style_states_positions_times_and_the_injection() -> None:
    made = small(style=STANDARD)
    assert values(made, "TemporalPositionIdentifier") == ["1", "2", "3", "4"]
    assert values(made, "NumberOfTemporalPositions") == ["4"]
    assert values(made, "AcquisitionTime") == [
        "102500.000000",
        "102715.000000",
        "102845.000000",
        "103015.000000",
    ]
    assert values(made, "ContrastBolusStartTime") == [None, "102655.000000"]
    assert values(made, "ContrastBolusAgent") == [None, "GADOBUTROL"]


def test_siemens_has_a_series_per_phase_and_only_times_tell_them_apart() -> None:
    made = small(style=SIEMENS)
    assert len(values(made, "SeriesInstanceUID")) == PHASES
    assert len(values(made, "ContentTime")) == PHASES
    assert values(made, "SeriesDescription") == ["t1_fl3d_tra"]
    assert values(made, "TemporalPositionIdentifier") == [None]
    assert values(made, "AcquisitionNumber") == ["1"]
    assert values(made, "ContrastBolusStartTime") == [None]
    assert values(made, "RescaleSlope") == [None]


def test_siemens_counts_the_phases_of_one_series_in_the_acquisition_number() -> None:
    made = small(style=STYLES["Siemens, one series"])
    assert len(values(made, "SeriesInstanceUID")) == 1
    assert values(made, "AcquisitionNumber") == ["1", "2", "3", "4"]
    assert values(made, "ContrastBolusAgent") == [""]


def test_the_subtraction_of_siemens_calls_itself_original() -> None:
    made = small(style=SIEMENS, beside=True)
    (sub,) = {tuple(one.ImageType) for one in made if one.SeriesDescription.endswith("_SUB")}
    assert sub[:2] == ("ORIGINAL", "PRIMARY")


def test_ge_has_one_series_with_private_words_and_times_by_phase() -> None:
    made = small(style=GE)
    assert len(values(made, "SeriesInstanceUID")) == 1
    assert len(values(made, "ContentTime")) == PHASES
    assert values(made, "AcquisitionTime") == [None]
    assert values(made, "ContrastBolusAgent") == ["NONE", "GADOBUTROL"]
    assert made[0].private_block(0x0019, "GEMS_ACQU_01")[0x9C].value == "efgre3d"
    assert made[0].private_block(0x0021, "GEMS_RELA_01")[0x4F].value == SLICES
    assert made[0].PixelRepresentation == 1


def test_a_ge_of_one_content_time_has_trigger_times() -> None:
    made = small(style=GE_BY_TRIGGER_TIME)
    assert len(values(made, "ContentTime")) == 1
    assert values(made, "TriggerTime") == ["0", "135000", "225000", "315000"]


def test_series_of_ge_name_the_phase() -> None:
    made = small(style=STYLES["GE, a series per phase"])
    assert values(made, "SeriesDescription") == [
        "T1 multiPhase",
        "Ph1/T1 multiPhase",
        "Ph2/T1 multiPhase",
        "Ph3/T1 multiPhase",
    ]


def test_original_series_of_philips_end_in_01_and_are_dynamic_by_name() -> None:
    made = small(style=PHILIPS, beside=True)
    dynamic = [one for one in made if one.SeriesDescription == "T1 FFE dyn"]
    assert len(dynamic) == PHASES * SLICES
    derived = {one.SeriesNumber for one in made if one.ImageType[0] == "DERIVED"}
    assert {one.SeriesNumber % 100 for one in dynamic} == {1}
    assert {number % 100 for number in derived} == {2}


def test_slice_by_slice_the_phases_of_a_place_follow_one_another() -> None:
    made = small(style=replace(PHILIPS, arrangement=Arrangement.BY_SLICE))
    assert [one.InstanceNumber for one in made] == list(range(1, PHASES * SLICES + 1))
    assert [one.TemporalPositionIdentifier for one in made[:PHASES]] == [1, 2, 3, 4]
    assert len({tuple(one.ImagePositionPatient) for one in made[:PHASES]}) == 1


def precise(values: np.ndarray, header: Dataset) -> np.ndarray:
    """Return Philips' precise values: (SV * RS + RI) / (RS * SS)."""
    slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
    scale = header.private_block(0x2005, "Philips MR Imaging DD 001")[0x0E].value
    return np.asarray((values * slope + intercept) / (slope * scale))


def test_precise_values_of_philips_are_on_one_scale_where_stored_values_are_not() -> None:
    made = small(style=PHILIPS_PRE_AND_POSTS)
    pre, post = made[:SLICES], made[SLICES : 2 * SLICES]

    # Muscle hardly enhances: what it is before and after must agree.
    def muscle(images: list[Dataset], value: Callable[[Dataset], np.ndarray]) -> float:
        stack = np.stack([value(one) for one in images])
        return float(np.median(stack[:, 18:22, 24][stack[:, 18:22, 24] > 0]))

    stored = [muscle(images, lambda one: one.pixel_array) for images in (pre, post)]
    true = [muscle(images, lambda one: precise(one.pixel_array, one)) for images in (pre, post)]
    assert true[1] / true[0] == pytest.approx(1, abs=0.12)
    assert abs(stored[1] / stored[0] - 1) > 0.2


def test_philips_enhanced_has_the_scale_of_each_frame_in_private_elements() -> None:
    (one,) = small(style=PHILIPS_ENHANCED)
    for _, frame in frames([one]):
        item = frame.private_block(0x2005, "Philips MR Imaging DD 005")[0x0F].value[0]
        assert item.private_block(0x2005, "Philips MR Imaging DD 001")[0x0E].value > 0
        assert frame.PixelValueTransformationSequence[0].RescaleSlope != 1
    assert one.NumberOfFrames == PHASES * SLICES


def test_frames_say_when_they_were_acquired_and_whether_the_agent_was_there() -> None:
    (one,) = small(style=ENHANCED_STYLE)
    said = [
        (
            frame.FrameContentSequence[0].TemporalPositionIndex,
            frame.FrameContentSequence[0].FrameAcquisitionDateTime[8:14],
            frame.ContrastBolusUsageSequence[0].ContrastBolusAgentAdministered,
        )
        for _, frame in frames([one])
    ]
    assert list(dict.fromkeys(said)) == [
        (1, "102500", "NO"),
        (2, "102715", "YES"),
        (3, "102845", "YES"),
        (4, "103015", "YES"),
    ]
    profile = one.ContrastBolusAgentSequence[0].ContrastAdministrationProfileSequence[0]
    assert profile.ContrastBolusStartTime == "102655.000000"


@pytest.mark.parametrize("style", [STANDARD, ENHANCED_STYLE, STYLES["legacy converted"]])
def test_frames_and_classic_images_have_the_same_pixels(style: Style) -> None:
    classic = np.stack([one.pixel_array for one in small(style=STANDARD)])
    other = small(style=style)
    pixels = [one.pixel_array.reshape(-1, *SHAPE[1:]) for one in other]
    assert np.array_equal(np.sort(np.concatenate(pixels).ravel()), np.sort(classic.ravel()))


@pytest.mark.parametrize("body_part", ["CHEST", None])
def test_body_part_is_what_a_site_writes(body_part: str | None) -> None:
    made = small(style=replace(GE, body_part=body_part))
    assert values(made, "BodyPartExamined") == [body_part]
    assert values(made, "ReceiveCoilName") == ["8Ch Breast"]
