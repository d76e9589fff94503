"""What benchmarks/receive.py says of what it has measured."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.receive_section import (
    ASSOCIATIONS,
    FLOOR,
    MAMMOGRAMS,
    ONE_SYNC,
    SMALL,
    Amounts,
    Measured,
    Taken,
    of,
)
from benchmarks.receivers import ON_SQLITE, ORTHANC, STORESCP

SECONDS = {ORTHANC: 4.0, STORESCP: 1.0, ON_SQLITE: 3.0, FLOOR: 3.0, ONE_SYNC: 1.0}


def measured(node_s: float = 3.0, node_cpu_ms: float = 1.5, last_cpu_ms: float = 1.5) -> Measured:
    """As of two objects of each kind, and studies of one and of ten."""
    seconds = SECONDS | {ON_SQLITE: node_s}
    rates = {
        (load, several, name): Taken(wall_s, 0.002 * node_cpu_ms)
        for load in (MAMMOGRAMS, SMALL)
        for several in ASSOCIATIONS
        for name, wall_s in seconds.items()
    }
    by_size = {(ON_SQLITE, 1): Taken(1, 0.0015), (ON_SQLITE, 10): Taken(1, 0.01 * last_cpu_ms)}
    one = {name: Taken(seconds[name], 0.01, 50) for name in (ORTHANC, ON_SQLITE)}
    amounts = Amounts(mammograms=2, small=2, sizes=(1, 10), single=1, slices=30)
    return Measured(amounts, rates, by_size, one, one)


def missed(found: Measured) -> list[str]:
    return [target.words for target in of(found).targets if not target.is_met]


def test_a_node_that_is_as_fast_as_it_should_be_misses_nothing() -> None:
    assert missed(measured()) == []


def test_small_objects_may_take_what_the_other_syncs_take_beyond_orthancs_time() -> None:
    beyond = "Small objects over one association"
    assert not [words for words in missed(measured(5.9)) if words.startswith(beyond)]
    assert [words for words in missed(measured(6.1)) if words.startswith(beyond)]


def test_mammograms_are_held_against_orthanc_and_the_floor() -> None:
    assert len([words for words in missed(measured(3.5)) if words.startswith("Mammograms")]) == 2
    assert len([words for words in missed(measured(4.0)) if words.startswith("Mammograms")]) == 4


def test_cpu_that_grows_with_the_study_is_missed() -> None:
    (words,) = missed(measured(last_cpu_ms=2.0))
    assert "a study of 10" in words


def test_cpu_of_a_small_object_is_held_against_what_must_be_and_what_is_aimed_at() -> None:
    assert len(missed(measured(node_cpu_ms=2.5))) == 1
    assert len(missed(measured(node_cpu_ms=3.5))) == 2


def test_the_rate_is_beside_the_time_as_a_share_of_orthancs() -> None:
    table = of(measured()).figures[0]
    row = next(row for row in table.rows if row[0] == ON_SQLITE)
    assert row[1] == "3.00 s (1.33)"


def test_without_postgresql_there_is_no_row_of_it() -> None:
    found = measured()
    assert not [row for table in of(found).figures for row in table.rows if "PostgreSQL" in row[0]]
    both = replace(found, slices={**found.slices, "ai-node, PostgreSQL": Taken(2)})
    assert [row for table in of(both).figures for row in table.rows if "PostgreSQL" in row[0]]
