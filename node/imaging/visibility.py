"""What a window, a VOI LUT or padding hides of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NEARLY_BLACK, _NEARLY_WHITE = 0.02, 0.98


_NEARLY_BRIGHTEST = 0.05
"""Of the range that stands out; so near to the brightest value white hides nothing."""


_EVERY = 4
"""Each so manieth row and column is looked at: an image has millions of pixels."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Of what stands out from the background, the shares that a display does not show."""

    black: float = 0.0
    """Shown as if it were background."""
    white: float = 0.0
    """Shown all alike, though it differs."""


NOTHING_HIDDEN = Hidden()


def hidden_by(
    shown: NDArray[np.floating[Any]],
    brightness: NDArray[np.floating[Any]],
    values: NDArray[np.uint16],
    padding: slice | None,
) -> Hidden:
    """Return what a display hides: its grey 0..1 of each value, and how bright that is as stored.

    What stands out is what Otsu's method divides from the rest. The value that fills up is not
    looked at; others that Pixel Padding Range Limit covers are, for it may cover too much.
    """
    counts = np.bincount(values[::_EVERY, ::_EVERY].ravel(), minlength=len(shown)).astype(float)
    if padding is not None:
        counts[padding.start + counts[padding].argmax()] = 0
    order = np.argsort(brightness, kind="stable")
    order = order[counts[order] > 0]
    front = order[_first_of_front(counts[order], brightness[order]) :]
    total = counts[front].sum()
    if not total:
        return NOTHING_HIDDEN
    darkest, brightest = brightness[front[0]], brightness[front[-1]]
    is_below = brightness[front] < brightest - _NEARLY_BRIGHTEST * (brightest - darkest)
    is_black = shown[front] <= _NEARLY_BLACK
    is_white = (shown[front] >= _NEARLY_WHITE) & is_below
    black, white = (float(counts[front][which].sum() / total) for which in (is_black, is_white))
    return Hidden(black, white)


def _first_of_front(counts: NDArray[np.float64], brightness: NDArray[np.floating[Any]]) -> int:
    """Return where the brighter of two groups begins (Otsu); behind the end if all are alike."""
    if len(counts) < 2:
        return len(counts)
    behind, total = counts.cumsum()[:-1], counts.sum()
    sums = (counts * brightness).cumsum()
    apart = (sums[:-1] * total - sums[-1] * behind) ** 2 / (behind * (total - behind))
    return int(apart.argmax()) + 1
