"""Voxels of a solid come back as they went, slice by slice; what is no such thing is refused."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from node.imaging.solid_bits import Voxels, packed, voxels_of
from node.result import Code, SliceStack, Solid

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))


def stack_of_size(size: tuple[int, int, int]) -> SliceStack:
    slices, rows, columns = size
    return SliceStack(tuple((f"2.25.{n}", None) for n in range(slices)), rows, columns)


def read(bits: str, size: tuple[int, int, int]) -> Voxels:
    solid = Solid("thing", Code("1", "99TEST", "thing"), None, (), bits)
    return voxels_of(solid, stack_of_size(size))


@settings(max_examples=examples(150))
@given(size=SIZES, seed=st.integers(0, 999), share=st.floats(0, 1))
def test_each_slice_comes_back(size: tuple[int, int, int], seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random(size) < share
    mask[np.random.default_rng(seed).random(size[0]) < 0.4] = False
    found = read(packed(mask), size)
    assert all(np.array_equal(found.on(place), mask[place]) for place in range(size[0]))
    assert list(found.places()) == np.flatnonzero(mask.any(axis=(1, 2))).tolist()


BOMB = base64.b64encode(zlib.compress(bytes(10_000_000))).decode()


@pytest.mark.parametrize(
    "bits",
    [
        packed(np.ones((2, 3, 4), np.bool_)),
        packed(np.ones((3, 3, 4), np.bool_)),
        BOMB,
        "no base64",
        base64.b64encode(b"no zlib").decode(),
        base64.b64encode(zlib.compress(b"\xff\xff\xff")[:-1]).decode(),
        "",
    ],
)
def test_what_is_not_of_the_stack_is_refused(bits: str) -> None:
    with pytest.raises(ValueError, match="voxels"):
        read(bits, (3, 3, 2))
