"""What a cell of the table says, and who is alike: one meaning for all of training."""

from __future__ import annotations

from itertools import product

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from node.training.alike import are_alike, interval_of, number_in
from node.training.recipe import Alike, Matched


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("54", 54),
        ("054Y", 54),
        ("54 y", 54),
        (" 54 ", 54),
        ("56.5", 56.5),
        ("056.5Y", 56.5),
        ("-1", -1),
        ("0.25", 0.25),
        ("1234", 1234),
        ("", None),
        ("054M", None),
        ("50-60", None),
        ("Y", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_the_number_of_a_cell(said: str, number: float | None) -> None:
    assert number_in(said) == number


@pytest.mark.parametrize(
    ("said", "group"),
    [("49", 0), ("50", 1), ("054Y", 1), ("59.9", 1), ("60", 2), ("", ""), ("old", "old")],
)
def test_the_interval_of_a_cell(said: str, group: str | int) -> None:
    assert interval_of(said, Alike(column="age", edges=(50, 60))) == group
    assert interval_of(said, Alike(column="age")) == said


def test_who_says_nothing_is_like_nobody() -> None:
    by_word, by_number = (Matched(column="age"),), (Matched(column="age", within=5),)
    for nothing in ({}, {"age": ""}):
        assert not are_alike([nothing], [nothing], by_word).any()
        assert not are_alike([nothing], [nothing], by_number).any()
        assert are_alike([nothing], [nothing], ()).all()
    assert not are_alike([{"age": "old"}], [{"age": "old"}], by_number).any()
    assert are_alike([{"age": "old"}], [{"age": "old"}], by_word).all()
    assert are_alike([{"age": "054Y"}], [{"age": "49"}], by_number).all()
    assert not are_alike([{"age": "054Y"}], [{"age": "48.9"}], by_number).any()


SAID = st.lists(
    st.fixed_dictionaries(
        {"machine": st.sampled_from(["", "1", "2"])},
        optional={"age": st.sampled_from(["", "50", "053Y", "55", "56.5", "?"])},
    ),
    max_size=8,
)


@given(SAID, SAID)
@settings(max_examples=examples(100))
def test_pairs_are_alike_in_each_column(
    some: list[dict[str, str]], others: list[dict[str, str]]
) -> None:
    found = are_alike(some, others, (Matched(column="machine"), Matched(column="age", within=2.5)))

    assert found.shape == (len(some), len(others))
    for (i, one), (j, other) in product(enumerate(some), enumerate(others)):
        ages = number_in(one.get("age", "")), number_in(other.get("age", ""))
        is_near = None not in ages and abs((ages[0] or 0) - (ages[1] or 0)) <= 2.5
        assert found[i, j] == (one["machine"] == other["machine"] != "" and is_near)
