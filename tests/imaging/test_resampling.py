"""Filters, against the weights that their descriptions give, summed up one by one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from node.imaging.resampling import Filter, looked_up, resized, resized_lookup

Matrix = NDArray[np.float64]


def cubic(a: float) -> Callable[[float], float]:
    """Keys 1981, with his parameter."""

    def at(x: float) -> float:
        x = abs(x)
        if x < 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    return at


def lanczos(x: float) -> float:
    return float(np.sinc(x) * np.sinc(x / 3)) if -3 <= x < 3 else 0.0


KERNELS: dict[str, tuple[Callable[[float], float], float]] = {
    "box": (lambda x: 1.0 if -0.5 < x <= 0.5 else 0.0, 0.5),
    "bilinear": (lambda x: max(0.0, 1 - abs(x)), 1),
    "bicubic": (cubic(-0.5), 2),
    "lanczos": (lanczos, 3),
}


def antialiased(before: int, after: int, name: str) -> Matrix:
    """Weights of Pillow's documentation: a kernel stretched by the reduction, and normed."""
    kernel, reach = KERNELS[name]
    scale = before / after
    stretched = max(scale, 1.0)
    weights = np.zeros((after, before))
    for i in range(after):
        middle = (i + 0.5) * scale
        first = max(0, int(middle - reach * stretched + 0.5))
        last = min(before, int(middle + reach * stretched + 0.5))
        for j in range(first, last):
            weights[i, j] = kernel((j - middle + 0.5) / stretched)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def interpolated(before: int, after: int, name: str) -> Matrix:
    """Weights at the middles of pixels; beyond the edge lies the edge's pixel, again and again."""
    weights = np.zeros((after, before))
    for i in range(after):
        at = (i + 0.5) * before / after - 0.5
        if name == "nearest":
            weights[i, min(before - 1, (2 * i + 1) * before // (2 * after))] = 1
            continue
        if name == "bilinear":
            at = min(max(at, 0.0), before - 1)
        kernel = KERNELS["bilinear"][0] if name == "bilinear" else cubic(-0.75)
        for j in range(math.floor(at) - 1, math.floor(at) + 3):
            weights[i, min(max(j, 0), before - 1)] += kernel(at - j)
    return weights


FILTERS: list[tuple[Filter, bool]] = [
    *(("box", True), ("bilinear", True), ("bicubic", True), ("lanczos", True)),
    *(("nearest", False), ("bilinear", False), ("bicubic", False)),
]
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))


@pytest.mark.parametrize(("name", "antialias"), FILTERS)
@settings(max_examples=examples(100))
@given(before=sizes, after=sizes, seed=st.integers(0, 99))
def test_each_filter_has_the_weights_of_its_description(
    name: Filter, antialias: bool, before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    grey = np.random.default_rng(seed).random(before).astype(np.float32) * 4095
    weights = antialiased if antialias else interpolated
    down, across = (weights(*pair, name) for pair in zip(before, after, strict=True))
    found = resized(grey, *after, name, antialias)
    assert found.dtype == np.float32
    assert found.shape == after
    expected = grey if before == after else down @ grey.astype(np.float64) @ across.T
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("name", ["box", "bilinear", "bicubic", "lanczos"])
@settings(max_examples=examples(60))
@given(before=sizes, after=sizes, seed=st.integers(0, 99))
def test_eight_bits_are_rounded_after_either_direction_as_pillow_does(
    name: Filter, before: tuple[int, int], after: tuple[int, int], seed: int
) -> None:
    grey = np.random.default_rng(seed).integers(0, 256, before).astype(np.uint8)
    down, across = (antialiased(*pair, name) for pair in zip(before, after, strict=True))
    found = resized(grey, *after, name, antialias=True)
    assert found.dtype == np.uint8
    once = grey.astype(np.float64)
    for weights, length, is_across in ((across, 1, True), (down, 0, False)):
        if before[length] != after[length]:
            fixed = np.trunc(weights * 2**22 + np.where(weights < 0, -0.5, 0.5))
            summed = once @ fixed.T if is_across else fixed @ once
            once = np.clip((summed + 2**21) // 2**22, 0, 255)
    assert np.array_equal(found, once)


def test_eight_bits_without_antialias_are_rounded_once() -> None:
    grey = np.array([[0, 255], [255, 0]], np.uint8)
    found = resized(grey, 4, 4, "bilinear", antialias=False)
    weights = interpolated(2, 4, "bilinear")
    expected = np.rint(weights @ grey.astype(np.float64) @ weights.T)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("filter_name", ["box", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"),
    [(300, 200, 130, 90), (300, 200, 300, 90), (300, 200, 130, 200), (129, 7, 200, 31)],
)
def test_what_is_looked_up_row_by_row_is_resized_to_the_same_bit_as_the_whole_image(
    kind: type[np.generic], filter_name: Filter, rows: int, columns: int, height: int, width: int
) -> None:
    random = np.random.default_rng(7)
    table = (random.random(4096) * 255).astype(kind)
    values = random.integers(0, 4096, (rows, columns)).astype(np.uint16)
    for seen in (values, values[:, ::-1]):
        whole = np.ascontiguousarray(table[seen])
        assert np.array_equal(looked_up(table, seen), whole)
        expected = resized(whole, height, width, filter_name, antialias=True)
        found = resized_lookup(table, seen, height, width, filter_name)
        assert found.dtype == kind
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("value", [4, -1])
def test_a_value_beyond_its_table_is_never_another_grey(value: int) -> None:
    table, values = np.arange(4, dtype=np.uint8), np.full((3, 3), value, np.int16)
    with pytest.raises(IndexError, match="a table of 4 has nothing for"):
        looked_up(table, values)
    with pytest.raises(IndexError, match="a table of 4 has nothing for"):
        resized_lookup(table, values, 2, 2, "bilinear")
