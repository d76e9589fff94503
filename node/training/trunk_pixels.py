"""Which images a trunk can take: one or three channels, from 0 to white, and not too small.

What a trunk learnt from photographs is brought about by training itself (`as_colours`), and
changes of grey begin and end at 0 and white: numbers of another range would be cut off there.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from node.manifest.pixels import (
    Channels,
    Crop,
    GreyValues,
    Mirror,
    Normalise,
    Operation,
    Operations,
    Placing,
    Quantise,
    Rank,
    Resize,
    ZScore,
    shape_after,
)
from node.manifest.voxels import (
    Percentiles,
    RelativeEnhancement,
    Signal,
    Subtract,
    VolumeSize,
)
from node.toml_file import Place

WHITE_OF_BYTES = 255.0
LEAST_SIDES = {"efficientnet-lite0": 1, "inception-v3": 75}
"""Rows and columns of which something is left after the last stage."""
_SLACK = 1e-6
"""By so much the division of whole numbers may miss 1."""

_Range = tuple[float, float]


def makes_bytes(of: Operations) -> bool:
    """Tell whether operations make bytes, 0 to 255; else they make numbers, of which 1 is white."""
    places = [i for i, one in enumerate(of) if isinstance(one, Quantise) and one.bits == 8]
    return bool(places) and all(
        isinstance(one, Crop | Mirror | Placing | Channels) for one in of[places[-1] + 1 :]
    )


def amiss_for_trunk(of: Operations, trunk: str) -> Iterator[tuple[Place, str]]:
    """Yield what a trunk cannot take of operations that make an image, each with its place."""
    channels, *sides = shape_after(of)
    if channels not in (1, 3):
        (place,) = (i for i, one in enumerate(of) if isinstance(one, Channels))
        words = f"expected 1 or 3, which a trunk reads, found {channels}"
        yield (place, "channels", "count"), words
    least = LEAST_SIDES[trunk]
    if min(sides) < least:
        rows, columns = sides
        words = f"expected {least} rows and columns or more for {trunk}, found {rows} x {columns}"
        yield (), words
    low, high = _range_after(of)
    white = WHITE_OF_BYTES if makes_bytes(of) else 1.0
    if low < -_SLACK or high > white + _SLACK:
        yield (
            (),
            f"expected numbers from 0 to 1, found {_in_words(low, high)}: training itself brings "
            'them to what a trunk knows. Take op = "normalise" or "z-score" out; bring stored '
            'values there by scale = "2^bits-1" or op = "rank"; or end with op = "quantise", '
            "bits = 8, which makes bytes",
        )


def _in_words(low: float, high: float) -> str:
    if low == -inf:
        return "any"
    return f"{low:g} or more" if high == inf else f"{low:g} to {high:g}"


def _range_after(of: Operations) -> _Range:
    """Return the lowest and highest number that may come out; no filter is taken to overshoot."""
    found: _Range = (0, 1)
    for one in of:
        found = _range_of(one, found)
    return found


def _range_of(one: Operation, before: _Range) -> _Range:
    """Return what becomes of a range."""
    low, high = before
    match one:
        case GreyValues():
            low, high = 0, inf if one.scale == "none" else 1
        case Rank():
            low, high = 0, 1
        case Quantise():
            low, high = 0, 2**one.bits - 1
        case ZScore():
            low, high = -inf, inf
        case Normalise():
            low, high = _normalised(one, before)
        case Placing() | Resize(fit="pad"):
            low, high = min(low, one.fill), max(high, one.fill)
        case _:
            low, high = _range_of_volume(one, before)
    return low, high


def _range_of_volume(one: Operation, before: _Range) -> _Range:
    """Return what becomes of a range by an operation of volumes; of any other it stays."""
    low, high = before
    match one:
        case Signal() | RelativeEnhancement():
            low, high = -inf, inf
        case Percentiles():
            low, high = 0, 1
        case Subtract():
            low, high = min(low, low - high), max(high, high - low)
        case VolumeSize():
            low, high = min(low, one.fill), max(high, one.fill)
        case _:
            pass
    return low, high


def _normalised(one: Normalise, before: _Range) -> _Range:
    count = max(len(one.subtract), len(one.divide))
    subtract, divide = (
        numbers * count if len(numbers) == 1 else numbers for numbers in (one.subtract, one.divide)
    )
    ends = [
        (before[0] - less, before[1] - less, by) for less, by in zip(subtract, divide, strict=True)
    ]
    return (min(low / by for low, _, by in ends), max(high / by for _, high, by in ends))
