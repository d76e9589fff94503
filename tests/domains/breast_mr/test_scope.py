"""When a breast MRI is complete, phase by phase, and which MR studies are of the breast at all."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, uid

from node.domains.breast_mr.arriving import phase_names
from node.domains.breast_mr.phases import read
from node.domains.breast_mr.scope import awaited, is_in_scope, why_not_in_scope
from node.domains.domain import Awaited
from node.domains.table import shown_by
from node.imaging.planes import SLICED
from node.manifest import Input
from node.study import Shown
from node.trial.breast_mr.faults import Fault
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.styles import STYLES, Arrangement

from .generated import SHAPE, SLICES, made, planned, received
from .studies import clock, stack

FIVE = PhaseTimes(posts=5)
FOUR = PhaseTimes(posts=4)
QUICK = settings(max_examples=examples(40))


def wants(expected_phases: int | None = None, sop_classes: Sequence[str] = SLICED) -> Input:
    return Input(
        modality="MR",
        body_parts=("BREAST",),
        sop_classes=tuple(sop_classes),
        expected_phases=expected_phases,
    )


def shown(objects: Sequence[Dataset], seed: int = 18) -> list[Shown]:
    """Return what objects show that came in no order."""
    found = [shown_by(one) for one in objects]
    random.Random(seed).shuffle(found)
    return found


def found(objects: Sequence[Dataset], *expected: int | None) -> Awaited:
    return awaited(shown(objects), [wants(one) for one in expected or (None,)])


def is_whole(one: Awaited) -> bool:
    return bool(one.there) and not one.missing and not one.is_uncounted


@pytest.mark.parametrize("style", STYLES)
def test_a_study_with_all_phases_that_a_model_expects_is_whole_of_whatever_maker(
    style: str,
) -> None:
    objects = made(planned(style, schedule=FIVE, beside=style in ("standard", "GE")))
    assert found(objects, 6) == Awaited(
        "phases",
        phase_names(6),
        in_words="pre + 5 of 5 posts",
        is_relative="GE" not in style,
        comes_in_parts=True,
    )


@pytest.mark.parametrize("style", ["Siemens", "Siemens, one series", "GE", "enhanced"])
def test_a_phase_that_a_model_expects_and_that_is_not_there_is_missing(style: str) -> None:
    one = found(made(planned(style, schedule=FOUR)), 6)
    assert one.there == phase_names(5)
    assert one.missing == ("post 5",)
    assert one.in_words == "pre + 4 of 5 posts"


def test_of_several_models_the_one_that_expects_most_is_waited_for() -> None:
    objects = made(planned("Siemens", schedule=FOUR))
    assert found(objects, 3, None, 7).missing == ("post 5", "post 6")
    assert is_whole(found(objects, 3, 5))


def test_phases_that_the_headers_count_are_waited_for_though_no_model_expects_them() -> None:
    objects = made(planned(schedule=FIVE, fault=Fault.MISSING_PHASE))
    one = found(objects)
    assert (one.in_words, one.missing) == ("pre + 4 of 5 posts", ("post 2",))
    assert found(objects, 3) == one, "the headers count more than the model"
    assert found(objects, 8).in_words == "pre + 4 of 7 posts"


def test_more_phases_than_expected_must_be_whole_too() -> None:
    objects = made(planned("Siemens", schedule=FIVE))
    assert found(objects, 2).there == phase_names(6)
    last = found(objects[:-2], 2)
    assert last.missing == (f"post 5 ({SLICES - 2} of {SLICES} slices)",)


def test_where_nobody_counts_phases_only_what_there_is_is_said() -> None:
    one = found(made(planned("Siemens", schedule=FOUR)))
    assert one == Awaited(
        "phases", in_words="pre + 4 posts", is_uncounted=True, is_relative=True, comes_in_parts=True
    )
    shorter = found(made(planned("Siemens", schedule=FOUR))[:-3])
    assert shorter.there == ()
    assert shorter.in_words == f"pre + 3 posts, post 4 ({SLICES - 3} of {SLICES} slices)"


@pytest.mark.parametrize("style", ["standard", "Siemens", "Siemens, one series", "GE", "Philips"])
def test_a_phase_that_lacks_slices_is_still_arriving(style: str) -> None:
    objects = made(planned(style, schedule=FIVE))
    one = found(objects[:-5], 6)
    half = f"post 5 ({SLICES - 5} of {SLICES} slices)"
    assert one.there == phase_names(5)
    assert one.missing == (half,)
    assert one.in_words == f"pre + 4 of 5 posts, {half}"


def test_a_phase_before_the_injection_that_lacks_slices_is_said_in_its_place() -> None:
    one = found(made(planned(schedule=FIVE))[1:], 6)
    assert one.in_words == f"pre ({SLICES - 1} of {SLICES} slices) + 5 of 5 posts"


def test_slices_that_each_phase_lacks_are_missed_where_others_have_them() -> None:
    objects = made(planned("Siemens", schedule=FIVE))
    lacking = [one for n, one in enumerate(objects) if n % SLICES != n // SLICES]
    one = found(lacking, 6)
    assert one.there == ()
    assert one.in_words == (
        "pre (11 of 12 slices) + 0 of 5 posts, post 1 (11 of 12 slices), "
        "post 2 (11 of 12 slices), post 3 (11 of 12 slices) and 2 more that are not whole"
    )


def test_slices_of_which_the_maker_states_the_number_are_waited_for_in_each_phase() -> None:
    objects = made(planned("GE", schedule=PhaseTimes(posts=1)))
    first = [one for one in objects if (int(one.InstanceNumber) - 1) % SLICES < 7]
    one = found(first, 2)
    assert one.in_words == "pre (7 of 12 slices) + 0 of 1 post, post 1 (7 of 12 slices)"
    unstated = made(planned("Siemens", schedule=PhaseTimes(posts=1)))
    half = [one for n, one in enumerate(unstated) if n % SLICES < 7]
    assert is_whole(found(half, 2)), "nobody can know; the moment of quiet is there for this"


def test_phases_on_another_grid_have_as_many_slices_and_are_whole() -> None:
    assert is_whole(found(made(planned(schedule=FIVE, fault=Fault.OTHER_GRID)), 6))


def test_of_several_phases_before_the_agent_those_that_are_not_read_are_not_waited_for() -> None:
    objects = [
        one
        for number in range(4)
        for one in stack(
            5 + number,
            AcquisitionTime=clock(90 * number),
            TemporalPositionIdentifier=number + 1,
            NumberOfTemporalPositions=4,
            ContrastBolusAgent="GADOBUTROL" if number > 1 else None,
        )
    ]
    assert found(objects).there == ("pre", "post 1", "post 2")
    assert is_whole(found(objects))


def test_why_no_phase_can_be_read_is_said_and_then_nothing_is_whole() -> None:
    objects = made(planned("Siemens"))[:SLICES]
    words = "no phases read: no dynamic series: only one phase (one T1-weighted series)"
    assert found(objects) == Awaited(
        "phases", in_words=words, is_uncounted=True, comes_in_parts=True
    )
    assert found(objects, 2) == Awaited(
        "phases", missing=("pre", "post 1"), in_words=words, comes_in_parts=True
    )


def test_what_came_when_nobody_kept_what_it_says_is_not_counted() -> None:
    objects = shown(made(planned(schedule=FIVE)))
    objects[7] = replace(objects[7], details="")
    words = "no phases read: objects came when what they say of them was not kept"
    one = awaited(objects, [wants(6)])
    assert (one.there, one.in_words) == ((), words)
    objects[7] = replace(objects[7], details='{"of another release": 1}')
    assert awaited(objects, [wants(6)]) == one


def test_objects_that_no_model_reads_are_no_phases() -> None:
    classic = made(planned(schedule=FIVE))
    enhanced = [wants(6, [uid.EnhancedMRImageStorage])]
    one = awaited(shown(classic), enhanced)
    assert one.in_words == "no phases read: none of its objects is of a class that is read"
    assert one.missing == phase_names(6)


PLANNED = planned(shape=(5, *SHAPE[1:]), schedule=PhaseTimes(posts=2))
"""Headers that count phases."""


@QUICK
@given(
    lacks=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=8),
    seed=st.integers(0, 1000),
)
def test_no_study_is_whole_that_lacks_a_slice_which_another_phase_has(
    lacks: set[tuple[int, int]], seed: int
) -> None:
    objects = [
        one for number, one in enumerate(made(PLANNED)) if (number // 5, number % 5) not in lacks
    ]
    one = awaited(shown(objects, seed), [wants()])
    everywhere = {index for _, index in lacks if {(phase, index) for phase in range(3)} <= lacks}
    assert is_whole(one) == all(index in everywhere for _, index in lacks)
    assert one == awaited(shown(objects, seed + 1), [wants()]), "the order changes nothing"


@pytest.mark.parametrize("style", STYLES)
def test_no_study_is_whole_of_whatever_maker_while_a_slice_that_others_have_is_to_come(
    style: str,
) -> None:
    plan = planned(style, shape=(4, 8, 8), schedule=PhaseTimes(posts=3), beside=True)
    objects = made(plan)
    facts = received(objects)
    dynamic = {sop for one in read(facts).phases for sop, _ in one.images}
    draw = random.Random(18)
    for count in (1, 1, 1, 2, 2, 3, len(dynamic) // 2, len(dynamic) - 1):
        lacks = set(draw.sample(sorted(dynamic), min(max(count, 1), len(dynamic))))
        left = [one for one in objects if str(one.SOPInstanceUID) not in lacks]
        there = {
            (one.position, one.orientation) for one in received(left) if one.sop_uid in dynamic
        }
        everywhere = {
            (one.position, one.orientation) for one in facts if one.sop_uid in lacks
        } - there
        assert not is_whole(found(left, 4)) or everywhere, lacks


# Of which part


@pytest.mark.parametrize("arrangement", Arrangement)
def test_a_knee_is_not_of_the_breast(arrangement: Arrangement) -> None:
    objects = shown(knee_mr("knee", replace(STYLES["standard"], arrangement=arrangement)))
    assert all(is_in_scope(one, wants()) for one in objects)
    assert why_not_in_scope(objects, wants()) == "MR of KNEE: Body Part Examined"


def test_a_knee_stays_one_where_some_objects_came_when_nobody_kept_what_they_say() -> None:
    objects = [replace(one, details="") for one in shown(knee_mr("knee"))[:20]]
    assert why_not_in_scope(objects, wants()) == "MR of KNEE: Body Part Examined"
    both = [*objects, *shown(knee_mr("knee"))]
    assert why_not_in_scope(both, wants()) == "MR of KNEE: Body Part Examined"


def test_a_knee_that_does_not_say_so_is_told_by_its_coil() -> None:
    style = replace(STYLES["GE"], agent="")
    why = why_not_in_scope(shown(knee_mr("knee", style, body_part=None)), wants())
    assert why.startswith("MR of KNEE: ")
    assert why.endswith("Body Part Examined is missing")


@pytest.mark.parametrize("body_part", ["CHEST", None, "BREAST"])
def test_what_is_in_a_breast_coil_is_of_the_breast(body_part: str | None) -> None:
    objects = made(planned(schedule=FIVE, body_part=body_part))
    assert why_not_in_scope(shown(objects), wants()) == ""
    assert is_whole(found(objects, 6))


def test_what_contradicts_itself_about_it_is_answered_and_waits_for_quiet() -> None:
    objects = made(planned(schedule=FIVE, body_part="KNEE"))
    assert why_not_in_scope(shown(objects), wants()) == ""
    one = found(objects, 6)
    assert not is_whole(one)
    assert one.in_words == (
        "no phases read: Body Part Examined says KNEE, and Receive Coil Name a breast coil"
    )


@pytest.mark.parametrize("details", ["", '{"of another release": 1}'])
@pytest.mark.parametrize("body_part", ["CHEST", None])
def test_what_came_when_nobody_kept_what_it_says_may_be_a_breast(
    body_part: str | None, details: str
) -> None:
    objects = shown(made(planned(schedule=FIVE, body_part=body_part)))
    assert why_not_in_scope([replace(one, details=details) for one in objects], wants()) == ""
    some = [replace(one, details=details) if n % 2 else one for n, one in enumerate(objects)]
    assert why_not_in_scope(some, wants()) == ""


def test_raw_data_beside_a_breast_puts_it_out_of_no_scope_and_alone_says_what_it_is_of() -> None:
    raw = Shown("MR", "1.2.840.10008.5.1.4.1.1.66", "KNEE")
    whole = shown(made(planned(schedule=FIVE)))
    assert why_not_in_scope([*whole, raw], wants()) == ""
    assert is_whole(awaited([*whole, raw], [wants(6)]))
    assert why_not_in_scope([raw], wants()) == "MR of KNEE: Body Part Examined"


def test_images_of_a_class_that_no_model_reads_say_of_what_the_study_is() -> None:
    whole = shown(made(planned(schedule=FIVE)))
    knee = Shown("MR", uid.EnhancedMRImageStorage, "KNEE")
    one = awaited([*whole, knee], [wants(6, [uid.MRImageStorage])])
    assert one.in_words == "no phases read: Body Part Examined says KNEE, and BREAST"
