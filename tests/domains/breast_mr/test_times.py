"""Times of headers as numbers."""

from __future__ import annotations

import pytest

from node.domains.breast_mr.times import clock_words, moment_from, moment_of


@pytest.mark.parametrize(
    ("date", "time", "clock"),
    [
        ("20260310", "101530", "10:15:30"),
        ("20260310", "101530.500", "10:15:30"),
        ("20260310", "1015", "10:15:00"),
        ("2026.03.10", "10:15:30", "10:15:30"),
        ("", "101530", "10:15:30"),
    ],
)
def test_a_time_is_read_as_the_standard_and_its_elders_write_it(
    date: str, time: str, clock: str
) -> None:
    found = moment_from(date, time)
    assert found is not None
    assert clock_words(found) == clock


def test_the_last_second_of_the_calendar_is_a_time_like_others() -> None:
    found = moment_from("99991231", "235960")
    assert found is not None
    assert clock_words(found) == "00:00:00"


@pytest.mark.parametrize("time", ["", "later", "256000", "10:1", "10155", "-10000"])
def test_what_is_no_time_is_none(time: str) -> None:
    assert moment_from("20260310", time) is None


def test_a_phase_after_midnight_is_later() -> None:
    before, after = moment_from("20260310", "235930"), moment_of("20260311000030.000000+0100")
    assert before is not None
    assert after is not None
    assert after - before == 60
