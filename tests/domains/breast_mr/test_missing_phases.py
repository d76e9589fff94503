"""Phases that did not come are said, where headers count them or the times leave room."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from pydicom import Dataset

from .studies import SLICES, clock, image, reading, stack


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
        ([((n,), 6) for n in (1, 2, 4, 5, 6)], 6, "6 phases stated, 5 found"),
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
