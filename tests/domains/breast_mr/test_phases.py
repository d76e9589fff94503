"""Which images of a breast MRI are of which phase, and when each was acquired."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from node.domains.breast_mr.phases import Reading
from node.domains.breast_mr.series import SeriesKind
from node.domains.breast_mr.timing import FARTHEST_APART_S

from .studies import (
    SLICES,
    clock,
    enhanced,
    facts,
    image,
    names,
    one_each,
    reading,
    sop_uids,
    stack,
    uids_of,
)

AGENT = "10 ml of something"


def shared_series(by: Callable[[int, int], dict[str, Any]], phases: int = 3) -> list[Dataset]:
    """Return one series of all phases; `by` says what a slice of a phase has."""
    return [
        image(7, 2.0 * z, phase, **by(phase, z)) for phase in range(phases) for z in range(SLICES)
    ]


def since_pre(found: Reading) -> list[float]:
    starts = [phase.start_s for phase in found.phases if phase.start_s is not None]
    return [start - starts[0] for start in starts]


WAYS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "Temporal Position": lambda phase, _: {"TemporalPositionIdentifier": phase + 1},
    "Acquisition Number": lambda phase, _: {"AcquisitionNumber": phase + 1},
    "Trigger Time": lambda phase, _: {"TriggerTime": 90_000 * phase, "AcquisitionTime": clock(0)},
    "Acquisition Time": lambda phase, _: {"AcquisitionTime": clock(90 * phase)},
    "Content Time": lambda phase, _: {"ContentTime": clock(90 * phase)},
    "Acquisition Time, slice by slice": lambda phase, z: {
        "AcquisitionTime": clock(90 * phase + 20 * z)
    },
    "Acquisition Time, each slice in turn": lambda phase, z: {
        "AcquisitionTime": clock(3 * phase + 20 * z),
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_phases_that_share_a_series_are_told_apart(way: str) -> None:
    images = shared_series(WAYS[way])
    found = reading(images)
    assert not found.refusal
    assert names(found) == ["pre", "post 1", "post 2"]
    for number, phase in enumerate(found.phases):
        of_phase = images[number * SLICES : (number + 1) * SLICES]
        assert [uid for uid, _ in phase.images] == [str(one.SOPInstanceUID) for one in of_phase]
    (series,) = found.series
    assert series.kind is SeriesKind.DYNAMIC
    assert series.divided_by == way.partition(",")[0]
    assert series.phases == ("pre", "post 1", "post 2")


STUDIES: dict[str, Callable[[], list[Dataset]]] = {
    **{way: partial(shared_series, by) for way, by in WAYS.items()},
    "one series each": one_each,
    "enhanced": lambda: [enhanced()],
    "pre apart": lambda: [
        *stack(5, AcquisitionTime=clock(0)),
        *shared_series(lambda p, _: {"AcquisitionTime": clock(120 + 90 * p)}),
    ],
}


@given(name=st.sampled_from(sorted(STUDIES)), seed=st.integers(0, 10_000))
@settings(max_examples=examples(60))
def test_the_order_in_which_objects_come_changes_nothing(name: str, seed: int) -> None:
    images = [*STUDIES[name](), *stack(2, EchoTime=100, ScanningSequence="SE", RepetitionTime=4000)]
    expected = reading(images)
    random.Random(seed).shuffle(images)
    assert reading(images) == expected


def test_phases_of_one_series_each_are_ordered_by_time_and_not_by_number() -> None:
    images = one_each(4)
    for one in images:
        one.SeriesNumber = 20 - int(one.SeriesNumber)
    found = reading(images)
    assert names(found) == ["pre", "post 1", "post 2", "post 3"]
    assert sop_uids(found)["pre"] == uids_of(images[:SLICES])
    assert [phase.after_s for phase in found.phases] == [-90, 0, 90, 180]
    assert found.ordered_by == "Acquisition Time"


def test_pre_in_its_own_series_and_posts_together_in_another() -> None:
    found = reading(STUDIES["pre apart"]())
    assert names(found) == ["pre", "post 1", "post 2", "post 3"]
    assert [one.phases for one in found.series] == [("pre",), ("post 1", "post 2", "post 3")]
    assert since_pre(found) == [0, 120, 210, 300]


def test_trigger_time_counts_from_the_acquisition_time_of_the_series() -> None:
    posts = shared_series(lambda p, _: {"TriggerTime": 90_000 * p, "AcquisitionTime": clock(120)})
    found = reading([*stack(5, AcquisitionTime=clock(0)), *posts])
    assert since_pre(found) == [0, 120, 210, 300]
    assert found.ordered_by == "Acquisition Time and Trigger Time"


def test_temporal_resolution_stands_in_for_times_that_are_one() -> None:
    images = shared_series(
        lambda p, _: {
            "TemporalPositionIdentifier": p + 1,
            "TemporalResolution": 60_000,
            "AcquisitionTime": clock(0),
        }
    )
    found = reading(images)
    assert since_pre(found) == [0, 60, 120]
    assert [phase.lasts_s for phase in found.phases] == [60, 60, 60]
    assert found.phases[0].lasts_by == "Temporal Resolution"


def test_without_any_time_the_order_is_known_and_no_seconds_are_said() -> None:
    found = reading(shared_series(WAYS["Temporal Position"]))
    assert names(found) == ["pre", "post 1", "post 2"]
    assert [phase.after_s for phase in found.phases] == [None, None, None]
    assert "no times tell when the phases were acquired" in found.doubts


def test_series_whose_times_are_gone_are_ordered_by_what_they_are_called() -> None:
    called = ("ax dyn 1st pass", "ax dyn pre", "ax dyn 2nd pass")
    images = [
        one
        for number, description in enumerate(called)
        for one in stack(5 + number, SeriesDescription=description, AcquisitionTime="000000")
    ]
    found = reading(images)
    assert found.ordered_by == "Series Description"
    assert sop_uids(found)["pre"] == uids_of(images[SLICES : 2 * SLICES])


def test_series_whose_times_are_gone_and_that_are_called_nothing_are_refused() -> None:
    images = [*stack(5, AcquisitionTime="000000"), *stack(6, AcquisitionTime="000000")]
    found = reading(images)
    assert found.refusal == (
        "times of the phases are missing or the same, and nothing else orders them"
    )
    assert not found.phases


@pytest.mark.parametrize("is_by_slice", [False, True])
def test_an_enhanced_object_of_all_phases_is_read_frame_by_frame(is_by_slice: bool) -> None:
    found = reading([enhanced(is_by_slice=is_by_slice, administered=("NO", "YES", "YES"))])
    assert not found.refusal
    first = [1 + 3 * z if is_by_slice else 1 + z for z in range(SLICES)]
    assert [frame for _, frame in found.phases[0].images] == first
    assert [phase.after_s for phase in found.phases] == [-90, 0, 90]
    assert [phase.middle_s for phase in found.phases] == [-50, 40, 130]
    assert found.phases[1].lasts_by == "Frame Acquisition Duration"
    assert "nothing says which" not in " ".join(found.doubts)


def test_the_middle_is_half_of_the_acquisition_after_its_start() -> None:
    found = reading(one_each(AcquisitionDuration=70.0, ContrastBolusStartTime=clock(60)))
    assert found.injected_by == "Contrast/Bolus Start Time"
    assert [(phase.after_s, phase.middle_s) for phase in found.phases] == [
        (-60, -25),
        (30, 65),
        (120, 155),
    ]


def test_a_duration_of_the_whole_series_is_divided_among_its_phases() -> None:
    images = shared_series(
        lambda p, _: {"AcquisitionTime": clock(90 * p), "AcquisitionDuration": 270.0}
    )
    assert [phase.lasts_s for phase in reading(images).phases] == [90, 90, 90]


def test_without_a_duration_the_time_between_phases_stands_in_and_is_called_so() -> None:
    found = reading(one_each())
    assert {(phase.lasts_s, phase.lasts_by) for phase in found.phases} == {
        (90, "the time between phases")
    }


# Before and after the agent


def test_phases_that_name_no_agent_are_before_it() -> None:
    images = one_each(3)
    for one in images[SLICES:]:
        one.ContrastBolusAgent = AGENT
    found = reading(images)
    assert names(found) == ["pre", "post 1", "post 2"]
    assert not [doubt for doubt in found.doubts if "before the contrast agent" in doubt]
    assert found.injected_by == "the start of post 1, as no Contrast/Bolus Start Time is given"


def test_an_agent_called_none_is_none() -> None:
    found = reading(one_each(3, ContrastBolusAgent="NONE"))
    assert found.refusal == "every series says that no contrast agent was given"


@pytest.mark.parametrize("agent", [None, AGENT])
def test_where_nothing_tells_pre_from_post_the_first_is_taken_and_that_is_said(
    agent: str | None,
) -> None:
    found = reading(one_each(3, ContrastBolusAgent=agent))
    assert names(found) == ["pre", "post 1", "post 2"]
    assert any("the first is taken for pre" in doubt for doubt in found.doubts)


def test_of_two_phases_before_the_agent_the_last_is_pre() -> None:
    images = one_each(4)
    for one in images:
        one.ContrastBolusStartTime = clock(150)
    found = reading(images)
    assert names(found) == ["pre", "post 1", "post 2"]
    assert sop_uids(found)["pre"] == uids_of(images[SLICES : 2 * SLICES])
    assert "2 phases before the contrast agent; the last is taken for pre" in found.doubts
    assert found.series[0].kind is SeriesKind.T1


def test_a_start_time_of_another_injection_is_not_used() -> None:
    found = reading(one_each(3, ContrastBolusStartTime="000000"))
    assert "Contrast/Bolus Start Time is not near the phases and was not used" in found.doubts
    assert not found.refusal


# Contradictions


def contradicting(*changes: dict[str, Any]) -> str:
    images = one_each(len(changes))
    for number, change in enumerate(changes):
        for one in images[number * SLICES : (number + 1) * SLICES]:
            for keyword, value in change.items():
                setattr(one, keyword, value)
    found = reading(images)
    assert not found.phases
    return found.refusal


def test_an_agent_that_was_given_cannot_be_none_later() -> None:
    refusal = contradicting({}, {"ContrastBolusAgent": AGENT}, {"ContrastBolusAgent": "NONE"})
    assert refusal == "a phase says that no contrast agent was given, after one that does"


def test_what_the_start_time_and_the_agent_say_must_be_one() -> None:
    late = {"ContrastBolusStartTime": clock(100)}
    refusal = contradicting(late, late | {"ContrastBolusAgent": AGENT}, late)
    assert refusal == (
        "Contrast/Bolus Start Time says 2 of 3 phases before the contrast agent, "
        "Contrast/Bolus Agent 1"
    )


def test_two_start_times_of_the_agent_are_refused() -> None:
    refusal = contradicting(
        {"ContrastBolusStartTime": clock(30)}, {"ContrastBolusStartTime": clock(60)}, {}
    )
    assert refusal == "Contrast/Bolus Start Time is 10:00:30 and 10:01:00"


def test_a_post_is_not_before_a_pre() -> None:
    refusal = contradicting(
        {"SeriesDescription": "Ph1/ax dyn"}, {"SeriesDescription": "ax dyn pre"}, {}
    )
    assert refusal == "a phase is called pre, and was acquired after one that is called post"


def test_without_a_phase_before_the_agent_there_is_nothing_to_compare_with() -> None:
    refusal = contradicting(*[{"ContrastBolusStartTime": "095900"}] * 3)
    assert refusal == "no phase before the contrast agent: so Contrast/Bolus Start Time"


def test_attributes_that_order_phases_differently_are_refused() -> None:
    images = shared_series(
        lambda p, _: {"TemporalPositionIdentifier": 3 - p, "AcquisitionTime": clock(90 * p)}
    )
    assert reading(images).refusal == (
        "series 7: Temporal Position and Acquisition Time divide the series in another order"
    )


def test_attributes_that_divide_a_series_differently_are_refused() -> None:
    images = shared_series(
        lambda p, z: {
            "TemporalPositionIdentifier": p + 1,
            "AcquisitionNumber": 1 + (p + z) % 3,
        }
    )
    assert reading(images).refusal == (
        "series 7: Temporal Position and Acquisition Number divide the series differently"
    )


def test_images_of_one_place_that_nothing_tells_apart_are_refused() -> None:
    assert reading(shared_series(lambda _, __: {})).refusal == (
        "series 7: 3 images of each slice, and nothing says which is of which phase"
    )


def test_a_missing_slice_is_never_filled_from_the_next_phase() -> None:
    images = shared_series(WAYS["Acquisition Time, slice by slice"])
    del images[SLICES]
    assert reading(images).refusal == (
        "series 7: 2 images of the slice at 0.0 mm and 3 of each other, and nothing says which "
        "phase lacks one"
    )
    images = shared_series(WAYS["Temporal Position"])
    del images[SLICES]
    found = reading(images)
    assert [len(phase.images) for phase in found.phases] == [4, 3, 4]
    assert "not as many slices in each phase: pre 4, post 1 3, post 2 4" in found.doubts


# Which series


def test_what_is_not_the_dynamic_series_stays_out_of_its_phases() -> None:
    others = [
        *stack(1, ImageOrientationPatient=None, ImagePositionPatient=None, EchoTime=100),
        *stack(2, ScanningSequence="SE", RepetitionTime=4000, EchoTime=100),
        *stack(3, SeriesDescription="dyn SUB 1", AcquisitionTime=clock(400)),
        *stack(4, RepetitionTime=8.0, AcquisitionTime=clock(500)),
        *stack(30, ImageType=["DERIVED", "SECONDARY"], AcquisitionTime=clock(600)),
    ]
    found = reading([*one_each(), *others])
    assert names(found) == ["pre", "post 1", "post 2"]
    assert {uid for uids in sop_uids(found).values() for uid in uids} == uids_of(one_each())


def test_one_phase_is_no_dynamic_series() -> None:
    assert reading(stack(AcquisitionTime=clock(0))).refusal == (
        "no dynamic series: only one phase (one T1-weighted series)"
    )


def test_of_two_dynamic_series_the_larger_is_read_and_that_is_said() -> None:
    quick = [
        image(40, 2.0 * z, p, RepetitionTime=2.5, AcquisitionTime=clock(200 + 5 * p))
        for p in range(2)
        for z in range(SLICES)
    ]
    found = reading([*one_each(), *quick])
    assert names(found) == ["pre", "post 1", "post 2"]
    assert "2 dynamic series; that with most images is read" in found.doubts
    alike = [*one_each(2), *quick]
    assert reading(alike).refusal == "2 dynamic series, alike in size"


def test_echoes_of_one_series_are_no_phases() -> None:
    echoes = [
        one for te in (1.2, 2.4) for one in stack(60, te, EchoTime=te, AcquisitionTime=clock(0))
    ]
    found = reading([*one_each(), *echoes])
    assert names(found) == ["pre", "post 1", "post 2"]
    assert [one.images for one in found.series if one.number == 60] == [4, 4]


def test_an_earlier_series_that_was_acquired_otherwise_is_named_where_pre_is_a_guess() -> None:
    other = stack(4, RepetitionTime=8.0, AcquisitionTime="095500")
    found = reading([*other, *one_each(ContrastBolusAgent=AGENT)])
    assert "series 4, T1-weighted and acquired before, is not read: it is not alike" in found.doubts


def test_phases_that_are_stated_and_did_not_come_are_known_to_be_missing() -> None:
    images = shared_series(
        lambda p, _: {"TemporalPositionIdentifier": p + 1, "NumberOfTemporalPositions": 6}
    )
    assert reading(images).stated == 6
    assert reading(one_each()).stated is None


def test_a_knee_has_no_phases_and_is_listed_with_what_it_is() -> None:
    found = reading(one_each(BodyPartExamined="KNEE"))
    assert found.refusal == "MR of KNEE: Body Part Examined"
    assert [one.kind for one in found.series] == [SeriesKind.T1] * 3
    assert not found.phases


def test_an_object_that_came_twice_counts_once() -> None:
    images = one_each()
    assert reading([*images, *images]) == reading(images)
    assert len(facts(images)) == 3 * SLICES


def test_one_time_of_all_phases_does_not_say_that_they_overlap() -> None:
    of_series = shared_series(
        lambda phase, _: {"AcquisitionTime": clock(0), "TriggerTime": 90_000.0 * phase}
    )
    assert not [doubt for doubt in reading(of_series).doubts if "overlap" in doubt]
    in_turn = shared_series(WAYS["Acquisition Time, each slice in turn"])
    assert "phases overlap in time: slices were acquired in turn" in reading(in_turn).doubts


def test_a_place_with_one_image_too_many_is_named() -> None:
    images = shared_series(lambda phase, _: {"TemporalPositionIdentifier": phase + 1})
    twice = image(7, 4.0, "twice", TemporalPositionIdentifier=2)
    assert reading([*images, twice]).refusal == (
        "series 7: 4 images of the slice at 4.0 mm and 3 of each other, and nothing says which is "
        "one too many"
    )


def test_the_injection_of_an_enhanced_object_is_in_the_profile_of_its_agent() -> None:
    one = enhanced()
    profile, agent = Dataset(), Dataset()
    profile.ContrastBolusStartTime = clock(85)
    agent.ContrastAdministrationProfileSequence = [profile]
    one.ContrastBolusAgentSequence = [agent]
    found = reading([one])
    assert found.injected_by == "Contrast/Bolus Start Time"
    assert [phase.after_s for phase in found.phases] == [-85.0, 5.0, 95.0]


BEFORE_MIDNIGHT = ("235830", "000015", "000145", "000315")


def over_midnight(**changes: Any) -> list[Dataset]:
    return [
        one
        for number, time in enumerate(BEFORE_MIDNIGHT)
        for one in stack(
            5 + number,
            AcquisitionTime=time,
            **{name: dates[number > 0] for name, dates in changes.items()},
        )
    ]


def test_a_date_tells_that_a_phase_after_midnight_is_later() -> None:
    found = reading(over_midnight(AcquisitionDate=("20260310", "20260311")))
    assert found.refusal == ""
    assert found.phases[0].series_uids == (over_midnight()[0].SeriesInstanceUID,)
    assert [
        one.start_s - (found.phases[0].start_s or 0) for one in found.phases if one.start_s
    ] == [
        0,
        105,
        195,
        285,
    ]


def test_times_over_midnight_without_dates_are_refused_and_not_put_into_a_wrong_order() -> None:
    for missing in (None, "20260310"):
        found = reading(over_midnight(AcquisitionDate=(missing, missing)))
        assert found.phases == ()
        assert found.refusal == (
            "phases lie 24 hours apart by Acquisition Time: over midnight without dates, "
            "or not of one examination"
        )


@pytest.mark.parametrize("apart_s", [FARTHEST_APART_S, FARTHEST_APART_S + 1])
def test_phases_lie_no_more_than_hours_apart(apart_s: float) -> None:
    images = [
        one
        for number, start in enumerate((0, 90, apart_s))
        for one in stack(5 + number, AcquisitionTime=clock(start))
    ]
    assert bool(reading(images).refusal) == (apart_s > FARTHEST_APART_S)
