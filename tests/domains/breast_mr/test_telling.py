"""What a study was taken for is told with what it rests on, and never names anybody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.scope import facts_in, why_not_in_scope
from node.domains.breast_mr.series import SeriesKind
from node.domains.breast_mr.telling import (
    ToldStudy,
    in_short,
    lines_told,
    rows_told,
    seconds_in_words,
    told_of_facts,
)
from node.domains.table import shown_by, told_of
from node.study import Shown
from node.trial.breast_mr.faults import Fault
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.styles import STYLES

from . import studies
from .generated import SLICES, made, planned, received
from .test_scope import wants

COLUMN = 13


def lines_of(objects: Sequence[Dataset]) -> tuple[str, ...]:
    return told_of([shown_by(one) for one in objects])


def told(objects: Sequence[Dataset]) -> ToldStudy:
    found = told_of_facts(received(objects))
    assert found is not None
    return found


def words_of(lines: Sequence[str], name: str) -> str:
    (words,) = [line[COLUMN:] for line in lines if line[:COLUMN].strip() == name]
    return words


def test_a_study_of_one_series_for_each_phase_is_told_series_by_series_and_phase_by_phase() -> None:
    lines = lines_of(made(planned("standard", schedule=PhaseTimes(posts=2), beside=True)))
    assert list(lines) == [
        "body part    BREAST (Body Part Examined)",
        "series 1     localiser     9 images  Series Description says LOCALIZER",
        "series 2     T2            6 images  T2-weighted: spin echo, TR 4500 ms, TE 84 ms, "
        "flip angle 150 degrees, 2D; fat suppressed (Scan Options)",
        "series 3     diffusion    12 images  Diffusion b-value of 800 s/mm2; "
        "fat suppressed (Scan Options)",
        "series 4     dynamic T1   12 images  pre; T1-weighted: gradient echo, TR 4.52 ms, "
        "TE 2.38 ms, flip angle 10 degrees, 3D; fat suppressed (Scan Options)",
        "series 5     dynamic T1   12 images  post 1; T1-weighted: gradient echo, TR 4.52 ms, "
        "TE 2.38 ms, flip angle 10 degrees, 3D; fat suppressed (Scan Options)",
        "series 6     dynamic T1   12 images  post 2; T1-weighted: gradient echo, TR 4.52 ms, "
        "TE 2.38 ms, flip angle 10 degrees, 3D; fat suppressed (Scan Options)",
        "series 19    ADC           6 images  Image Type says DIFFUSION MAP; "
        "fat suppressed (Scan Options)",
        "series 20    subtraction  12 images  Image Type says MODULUS SUBTRACT; "
        "fat suppressed (Scan Options)",
        "series 21    projection    2 images  Image Type says PROJECTION IMAGE; "
        "fat suppressed (Scan Options)",
        "phases       3: pre to post 2, in the order of Acquisition Time, "
        "of which their times are; 3 stated",
        "injection    10:26:55 (Contrast/Bolus Start Time)",
        "pre          series 4, 12 slices, began 10:25:00, 115 s before the injection "
        "(middle 70 s before), lasted 90 s (the time between phases)",
        "post 1       series 5, 12 slices, began 10:27:15, 20 s after the injection "
        "(middle 65 s after), lasted 90 s (the time between phases)",
        "post 2       series 6, 12 slices, began 10:28:45, 110 s after the injection "
        "(middle 155 s after), lasted 90 s (the time between phases)",
    ]


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_told_with_its_phases_and_their_times(style: str) -> None:
    found = told(made(planned(style)))
    assert [one.name for one in found.phases] == ["pre", "post 1", "post 2", "post 3"]
    assert {one.slices for one in found.phases} == {SLICES}
    assert [one.start for one in found.phases] == ["10:25:00", "10:27:15", "10:28:45", "10:30:15"]
    assert {one.kind for one in found.series} == {SeriesKind.DYNAMIC}
    known = {one.uid for one in found.series}
    assert all(set(one.series) <= known for one in found.phases)
    assert found.injection is not None
    numbers = [str(one.number) for one in found.series]
    lines = lines_told(received(made(planned(style))))
    assert [line for line in lines if "series ?" in line] == []
    for name in [f"series {number}" for number in numbers] + ["injection", "post 3"]:
        assert words_of(lines, name), name


def test_what_tells_phases_of_one_series_apart_is_said_and_the_phases_in_short() -> None:
    lines = lines_of(made(planned("Philips, pre and posts")))
    assert words_of(lines, "series 501").startswith(
        "dynamic T1  36 images  post 1 to post 3, told apart by Temporal Position; T1-weighted"
    )
    assert words_of(lines, "post 2").startswith("series 501, 12 slices, began 10:28:45")
    assert words_of(lines, "injection") == (
        "10:27:15 (the start of post 1, as no Contrast/Bolus Start Time is given)"
    )


def test_an_enhanced_object_is_told_frame_by_frame() -> None:
    lines = lines_told(studies.facts([studies.enhanced()]))
    assert words_of(lines, "series 9").startswith(
        "dynamic T1  12 images  pre to post 2, told apart "
    )
    assert words_of(lines, "post 2").endswith("lasted 80 s (Frame Acquisition Duration)")


def test_what_is_doubtful_comes_last() -> None:
    plan = planned(fault=Fault.MISSING_PHASE, schedule=PhaseTimes(posts=5))
    *_, last, doubt = lines_of(made(plan))
    assert doubt == "doubt        6 phases stated, 5 found: Temporal Position 3 missing"
    assert last.startswith("post 5")


def test_why_a_study_is_not_read_stands_before_its_series() -> None:
    same = studies.stack(1, "a") + studies.stack(1, "b")
    first, second, *rest = lines_told(studies.facts(same))
    assert first == "body part    BREAST (Body Part Examined)"
    assert second.startswith(
        "not read     as breast MRI: series 1: 2 images of each slice, and nothing says which"
    )
    assert [line[:COLUMN].strip() for line in rest] == ["series 1"]


def test_a_knee_is_first_said_to_be_none_and_its_series_are_told_all_the_same() -> None:
    first, *rest = lines_of(knee_mr("knee"))
    assert first == "not read     as breast MRI: MR of KNEE: Body Part Examined"
    assert [line[:COLUMN].strip() for line in rest] == ["series 1", "series 2"]


def test_a_contradiction_about_the_body_part_comes_first() -> None:
    objects = studies.one_each(BodyPartExamined="KNEE", ReceiveCoilName="BREAST 8")
    first, *rest = lines_told(studies.facts(objects))
    assert first == (
        "not read     as breast MRI: Body Part Examined says KNEE, and Receive Coil Name a breast "
        "coil"
    )
    assert len(rest) == 3
    part = told(objects).body_part
    assert (part.term, part.is_breast) == ("", False)
    assert part.rests_on in first


def test_what_a_chest_in_a_breast_coil_rests_on_is_said() -> None:
    objects = studies.one_each(BodyPartExamined="CHEST", ReceiveCoilName="BREAST 8")
    assert lines_told(studies.facts(objects))[0] == (
        "body part    BREAST (Receive Coil Name (a breast coil); Body Part Examined is CHEST)"
    )


def test_nothing_is_told_of_a_study_that_is_no_mri() -> None:
    assert told_of([Shown("MG", "1.2.840.10008.5.1.4.1.1.1.2", "BREAST")]) == ()
    assert told_of([]) == ()


def test_of_what_came_before_facts_were_kept_that_is_said_in_one_line() -> None:
    shown = [shown_by(one) for one in studies.one_each()]
    before = [replace(one, details="") for one in shown]
    assert told_of(before) == (
        "body part    BREAST (Body Part Examined)",
        "not told     this study came before what its images say was kept with them",
    )
    some = told_of([*before[:4], *shown[4:]])
    assert words_of(some, "not told") == (
        "4 objects came before what they say was kept: what they show is not known"
    )
    assert next(line for line in some if line.startswith("series")).startswith("series 6")


def test_of_what_is_not_kept_nothing_is_made_up() -> None:
    objects = studies.one_each(BodyPartExamined="CHEST", ReceiveCoilName="BREAST 8")
    shown = [replace(shown_by(one), details="") for one in objects]
    found = told_of_facts(facts_in(shown))
    assert found is not None
    assert (found.body_part.is_breast, found.refusal) == (False, "")
    assert found.body_part.rests_on == (
        "Body Part Examined is CHEST, and what coil, protocol and description of some objects say "
        "was not kept"
    )
    raw = Shown("MR", "1.2.840.10008.5.1.4.1.1.66", "CHEST")
    other = studies.one_each(BodyPartExamined="CHEST")
    lines = told_of([*map(shown_by, other[1:]), replace(shown_by(other[0]), details=""), raw])
    assert words_of(lines, "not read").startswith(
        "as breast MRI: MR, and of which body part is not known: Body Part Examined is CHEST, and "
    )


def test_two_parts_of_what_was_not_kept_are_both_heard() -> None:
    shown = [replace(shown_by(one), details="") for one in studies.one_each()]
    shown[1] = replace(shown[1], body_part="KNEE")
    found = told_of_facts(facts_in(shown))
    assert found is not None
    assert found.body_part.rests_on == "Body Part Examined says KNEE, and BREAST"


def test_raw_data_of_another_part_is_listed_and_costs_its_neighbours_nothing() -> None:
    raw = studies.image(99, SOPClassUID="1.2.840.10008.5.1.4.1.1.66", BodyPartExamined="HEAD")
    lines = lines_of([*studies.one_each(), raw])
    assert words_of(lines, "series 99").startswith("other")
    assert words_of(lines, "phases").startswith("3: pre to post 2")
    assert not any(line.startswith("not read") for line in lines)


def test_a_series_without_a_number_has_a_question_mark() -> None:
    lines = lines_told(studies.facts(studies.one_each(SeriesNumber=None)))
    assert sum(line.startswith("series ? ") for line in lines) == 3
    assert words_of(lines, "pre").startswith("series ?, 4 slices")


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        (["pre"], "pre"),
        (["pre", "post 1"], "pre, post 1"),
        (["pre", "post 1", "post 2"], "pre to post 2"),
        (["pre", "post 2", "post 3", "post 4"], "pre, post 2 to post 4"),
        (["post 1", "post 3", "post 10", "post 11"], "post 1, post 3, post 10, post 11"),
    ],
)
def test_phases_that_follow_one_another_are_a_range(phases: Sequence[str], words: str) -> None:
    assert in_short(phases) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (4.64, "4.6 s"), (5.0, "5 s"), (9.99, "10 s"), (61.4, "61 s")],
)
def test_short_times_have_tenths(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


SECRET = "Zwyxvu"
FREE_TEXT = {
    "ProtocolName": "{} breast fs pre",
    "SeriesDescription": "ax t1 fs dyn {}",
    "StudyDescription": "mamma {}",
    "ReceiveCoilName": "{} breast 8",
    "SequenceName": "{}",
    "ContrastBolusAgent": "{} 7 ml",
    "BodyPartExamined": "{}",
}
CODES = ("BodyPartExamined",)
"""Which are written in capitals."""


@pytest.mark.parametrize("keyword", FREE_TEXT)
@pytest.mark.parametrize("part", ["BREAST", "CHEST", None])
def test_no_free_text_of_a_header_is_told(keyword: str, part: str | None) -> None:
    said: dict[str, Any] = {
        "BodyPartExamined": part,
        keyword: FREE_TEXT[keyword].format(SECRET.upper() if keyword in CODES else SECRET),
    }
    for objects in (
        studies.one_each(**said),
        studies.one_each(ScanningSequence=None, **said),
        [studies.enhanced(**said)],
    ):
        lines = (
            *lines_told(studies.facts(objects)),
            why_not_in_scope([shown_by(one) for one in objects], wants()),
        )
        assert lines[:-1]
        assert SECRET.lower() not in "\n".join(lines).lower()


WORDS = (
    "BREAST",
    "KNEE",
    "PRE",
    "POST",
    "SUB",
    "MIP",
    "LOCALIZER",
    "1st pass",
    "fs",
    "DWI",
    "HEAD",
)
SAID_FREELY = ("coil", "protocol", "series_description", "study_description", "sequence_name")
FREE = st.lists(st.sampled_from([*WORDS, SECRET]), max_size=4).map(" ".join)
NUMBERS = st.none() | st.floats(-1e12, 1e12)
FEW = st.none() | st.integers(-1, 3)
TERMS = st.lists(
    st.sampled_from(
        [
            "ORIGINAL",
            "DERIVED",
            "PRIMARY",
            "M",
            "ADC",
            "LOCALIZER",
            "PRE_CONTRAST",
            "FS",
            "GR",
            "SE",
        ]
    ),
    max_size=4,
).map(tuple)
PLACES = st.sampled_from([(), (0.0, 0.0, 0.0), (0.0, 0.0, 2.0), (0.0, 5.0, 0.0)])
FACTS = st.builds(
    Facts,
    sop_uid=st.sampled_from(["", *map(str, range(20))]),
    series_uid=st.sampled_from(["1.1", "1.2", "1.3"]),
    frame=FEW,
    series_number=FEW,
    is_readable=st.booleans(),
    image_type=TERMS,
    contrast=st.sampled_from(["", "T1", "T2", "DIFFUSION"]),
    sequence=TERMS,
    repetition_ms=NUMBERS,
    echo_ms=NUMBERS | st.just(2.0),
    inversion_ms=NUMBERS,
    flip_degrees=NUMBERS,
    b_value=NUMBERS,
    fat=st.sampled_from(["", "suppressed", "kept"]),
    fat_by=st.just("Scan Options"),
    agent=st.sampled_from(["", "given", "none"]),
    bolus_s=NUMBERS | st.just(130.0),
    temporal_position=FEW,
    temporal_positions=FEW,
    temporal_resolution_s=NUMBERS,
    acquisition_number=FEW,
    trigger_s=NUMBERS,
    acquired_s=NUMBERS | st.sampled_from([100.0, 200.0, 300.0, 400.0]),
    content_s=NUMBERS,
    series_s=NUMBERS,
    duration_s=NUMBERS,
    position=PLACES,
    orientation=st.sampled_from([(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)]),
    locations=FEW,
    body_part=st.sampled_from(["", "BREAST", "CHEST", "KNEE", SECRET.upper(), f"{SECRET} BREAST"]),
    coil=FREE,
    coil_by=st.just("Receive Coil Name"),
    protocol=FREE,
    series_description=FREE,
    study_description=FREE,
)


@settings(deadline=None, max_examples=150)
@given(st.lists(FACTS, max_size=12))
def test_whatever_headers_say_it_is_told_and_nothing_that_somebody_wrote_freely(
    facts: list[Facts],
) -> None:
    assert set(SAID_FREELY) <= {field.name for field in fields(Facts)}
    lines = lines_told(facts)
    assert bool(lines) == bool(facts)
    assert SECRET.lower() not in "\n".join(lines).lower()
    assert all(re.fullmatch(r"[\x20-\x7e]+", line) for line in lines)
    if (found := told_of_facts(facts)) is not None:
        assert len(rows_told(found)) == len(lines)
        assert not (found.phases and found.refusal)
