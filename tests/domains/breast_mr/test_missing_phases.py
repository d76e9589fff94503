"""Phases that did not come are said, where headers count them or the times leave room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydicom import Dataset

from node.domains.breast_mr.arriving import awaited_phases
from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.phases import read
from node.domains.breast_mr.splitting import MOST_PHASES

from .studies import SLICES, clock, facts, image, names, reading, stack


def counted(series: int, positions: Sequence[int], count: int | None, begin: int) -> list[Dataset]:
    """Return a series of phases that state their positions and how many there are."""
    return [
        image(
            series,
            2.0 * z,
            position,
            TemporalPositionIdentifier=position,
            NumberOfTemporalPositions=count,
            AcquisitionTime=clock(90 * (begin + number)),
        )
        for number, position in enumerate(positions)
        for z in range(SLICES)
    ]


@pytest.mark.parametrize(
    ("series", "stated", "missing"),
    [
        ([((n,), 6) for n in range(1, 7)], 6, ""),
        (
            [((n,), 6) for n in (1, 2, 4, 5, 6)],
            6,
            "6 phases stated, 5 found: Temporal Position 3 missing",
        ),
        ([((1,), 6), ((2, 3, 4, 5, 6), 6)], 6, ""),
        ([((1,), 1), ((1, 2, 3, 4, 5), 5)], 6, ""),
        ([((1,), None), ((1, 2, 3, 4, 5), 5)], 6, ""),
        ([((1,), 1), ((1, 2, 3, 5), 5)], 6, "6 phases stated, 5 found"),
        ([((1, 2, 3), 3), ((1, 2, 3), 3)], 6, ""),
        ([((1,), 1), ((1,), 1)], None, ""),
    ],
)
def test_stated_positions_are_of_the_whole_scan_or_of_each_series_that_counts_anew(
    series: list[tuple[tuple[int, ...], int | None]], stated: int | None, missing: str
) -> None:
    images: list[Dataset] = []
    begin = 0
    for number, (positions, count) in enumerate(series):
        images += counted(5 + number, positions, count, begin)
        begin += len(positions)
    found = reading(images)
    assert found.refusal == ""
    assert found.stated == stated
    assert [doubt for doubt in found.doubts if "stated" in doubt] == ([missing] if missing else [])


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        ((0, 100, 190, 280, 370, 460), ""),
        ((0, 100, 190, 370, 460), "180 s from post 2 to post 3 and 90 s between the others: a"),
        ((0, 100, 370, 460, 550), "270 s from post 1 to post 2 and 90 s between the others: 2"),
        ((0, 100, 190, 310, 400), ""),
        ((0, 100, 190, 370), ""),
        ((0, 100, 190, 370, 550), ""),
    ],
)
def test_times_that_leave_room_for_a_phase_are_said(starts: Sequence[int], said: str) -> None:
    images = [
        one
        for number, start in enumerate(starts)
        for one in stack(5 + number, AcquisitionTime=clock(start))
    ]
    doubts = [doubt for doubt in reading(images).doubts if "missing" in doubt]
    assert len(doubts) == bool(said)
    assert "".join(doubts).startswith(said)


LARGEST = 2_147_483_647
"""What Number of Temporal Positions may say (PS3.5 6.2)."""


@pytest.mark.parametrize("stated", [MOST_PHASES + 1, 1_000_000, LARGEST])
def test_a_count_that_no_breast_has_is_not_believed_and_nothing_is_waited_for_by_it(
    stated: int,
) -> None:
    images = counted(4, (1, 2, 3), stated, 0)
    found = reading(images)
    assert found.stated is None
    assert names(found) == ["pre", "post 1", "post 2"]
    assert f"{stated} phases stated: not believed" in found.doubts
    one = awaited_phases(found, facts(images), 3)
    assert (one.there, one.missing) == (("pre", "post 1", "post 2"), ())
    assert awaited_phases(found, facts(images), 0).is_uncounted


def test_the_most_that_is_believed_is_waited_for() -> None:
    found = reading(counted(4, (1, 2, 3), MOST_PHASES, 0))
    assert found.stated == MOST_PHASES
    several = [one for n in range(5, 9) for one in counted(n, (1, 2), MOST_PHASES, 2 * n)]
    assert reading(several).stated is None
    assert f"{4 * MOST_PHASES} phases stated: not believed" in reading(several).doubts


@pytest.mark.parametrize("stated", [10**300, -(10**300)])
def test_a_number_that_no_header_can_have_is_said_in_short(stated: int) -> None:
    some = [replace(one, temporal_positions=stated) for one in facts(counted(4, (1, 2), 2, 0))]
    found = read(some)
    assert found.stated is None
    assert [doubt for doubt in found.doubts if "stated" in doubt] == (
        ["1e+300 phases stated: not believed"] if stated > 0 else []
    )


def many(phases: int, series: int = 1) -> list[Facts]:
    """Return so many phases of one slice, divided among so many series."""
    return [
        replace(
            facts([image()])[0],
            sop_uid=f"1.{number}",
            series_uid=f"2.{number % series}",
            temporal_position=number,
            acquired_s=10.0 * number,
        )
        for number in range(phases)
    ]


@pytest.mark.parametrize("series", [1, 2, MOST_PHASES])
def test_as_many_phases_as_are_believed_are_read_and_more_are_refused(series: int) -> None:
    found = read(many(MOST_PHASES, series))
    assert (len(found.phases), found.refusal) == (MOST_PHASES, "")
    refused = read(many(MOST_PHASES + series, series))
    assert refused.phases == ()
    assert refused.refusal.endswith(f"no breast has more than {MOST_PHASES} phases")


@pytest.mark.parametrize("series", [1, 4000])
def test_thousands_of_phases_are_refused_before_each_is_compared_with_every_other(
    series: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = many(4000, series)
    monkeypatch.setattr("node.domains.breast_mr.phases.timed", lambda _: 1 / 0)
    monkeypatch.setattr("node.domains.breast_mr.choosing._alike", lambda *_: 1 / 0)
    if series > 1:
        assert "4000 T1-weighted series" in read(some).refusal
    else:
        assert "series 1: 4000 images of each slice" in read(some).refusal
