"""What columns of the table say, and who is alike in them: as numbers or as words.

One meaning for what is learnt from, what is weighed and what is measured. Needs no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from node.training.recipe import Alike, Matched

SaidInColumns = Mapping[str, str]
"""What the table says, by column; "" and no word at all are one."""
_AGE_STRING = re.compile(r"\s*(\d+(?:\.\d+)?)\s*Y\s*", re.IGNORECASE | re.ASCII)


def number_in(said: str) -> float | None:
    """Return the number that a cell holds, years as DICOM writes them too; None: it holds none."""
    found = _AGE_STRING.fullmatch(said)
    try:
        number = float(found[1] if found else said)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def interval_of(said: str, by: Alike) -> str | int:
    """Return the group of a cell: a word, or the number of its interval."""
    number = number_in(said) if by.edges else None
    return said if number is None else int(np.searchsorted(by.edges, number, side="right"))


def are_alike(
    some: Sequence[SaidInColumns], others: Sequence[SaidInColumns], matched: Sequence[Matched]
) -> NDArray[np.bool_]:
    """Tell which are alike in all of these columns, (some, others).

    Who says nothing in one of them, or no number where numbers are compared, is like nobody.
    """
    found = np.ones((len(some), len(others)), np.bool_)
    for by in matched:
        one, other = ([said.get(by.column, "") for said in side] for side in (some, others))
        if by.within is None:
            found &= _same_words(one, other)
        else:
            found &= _near_numbers(one, other, by.within)
    return found


def _same_words(some: Sequence[str], others: Sequence[str]) -> NDArray[np.bool_]:
    codes = {word: code for code, word in enumerate({*some, *others} - {""}, start=1)}
    one, other = (np.array([codes.get(w, 0) for w in s], np.int64) for s in (some, others))
    return np.asarray((one[:, None] == other[None]) & (one[:, None] > 0))


def _near_numbers(some: Sequence[str], others: Sequence[str], within: float) -> NDArray[np.bool_]:
    numbers = {word: number_in(word) for word in {*some, *others}}
    one, other = (
        np.array([np.nan if (n := numbers[w]) is None else n for w in side], np.float64)
        for side in (some, others)
    )
    return np.asarray(np.abs(one[:, None] - other[None]) <= within)
