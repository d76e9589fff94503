"""Which phases of a breast MRI have come, and how much of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.phases import PRE, Reading
from node.domains.domain import Awaited
from node.numbers_in_words import counted

_WHAT = "phases"
_MOST_NAMED = 3
"""Of phases of which slices are missing: shuffled objects leave all of them so."""
_Place = tuple[tuple[float, ...], tuple[float, ...]]


def awaited_phases(reading: Reading, facts: Sequence[Facts], expected: int) -> Awaited:
    """Return which phases are whole, and which have not come, or not as a whole.

    `expected` is how many a model waits for, 0 if none says it; if the headers count more, as many
    are waited for, and if more come, those must be whole, too.
    """
    if reading.refusal:
        return nothing_read(reading.refusal, expected)
    known = {(one.sop_uid, one.frame): one for one in facts}
    phases = {one.name: [known[image] for image in one.images] for one in reading.phases}
    partial = _partial(phases)
    counts = max(expected, (reading.stated or 0) - reading.earlier)
    total = max(counts, len(phases)) if counts else 0
    return Awaited(
        _WHAT,
        there=tuple(name for name in phases if name not in partial) if counts else (),
        missing=(*partial.values(), *_not_there(phases, total)),
        in_words=_in_words([name for name in phases if name not in partial], partial, total),
        is_uncounted=not counts,
        is_relative=not all(map(_states_slices, phases.values())),
        comes_in_parts=True,
    )


def _not_there(phases: Collection[str], total: int) -> tuple[str, ...]:
    """Return the phases that have not come; those of which the headers give no number are last."""
    count = max(total - len(phases), 0)
    names = (name for name in phase_names(total + len(phases)) if name not in phases)
    return tuple(islice(names, count))


def nothing_read(why: str, expected: int) -> Awaited:
    """Return what is waited for where nobody can say which phases there are."""
    return Awaited(
        _WHAT,
        missing=phase_names(expected),
        in_words=f"no phases read: {why}",
        is_uncounted=not expected,
        comes_in_parts=True,
    )


def phase_names(count: int) -> tuple[str, ...]:
    """Return what the first so many phases are called."""
    return (PRE, *(f"post {number}" for number in range(1, count)))[:count]


def _partial(phases: Mapping[str, Sequence[Facts]]) -> dict[str, str]:
    """Return the phases of which slices are missing, with how many there are.

    A phase has a slice wherever another has one, if they share any: those on another grid are
    counted, no more. A maker may state how many there are.
    """
    places = {name: {_place(one) for one in images} for name, images in phases.items()}
    stated = max(map(_states_slices, phases.values()), default=0)
    most = max(map(len, places.values()), default=0)
    found = {}
    for name, own in places.items():
        together = set[_Place]().union(*(of for of in places.values() if of & own))
        wanted = max(len(together), most, stated)
        if len(own) < wanted:
            found[name] = f"{name} ({len(own)} of {wanted} slices)"
    return found


def _states_slices(images: Sequence[Facts]) -> int:
    """Return how many slices a maker says that a phase has, 0 if none does."""
    return max((one.locations or 0 for one in images), default=0)


def _place(one: Facts) -> _Place:
    """Return where a slice lies, but for how it is written."""
    return tuple(round(x, 3) for x in one.orientation), tuple(round(x, 2) for x in one.position)


def _in_words(whole: Sequence[str], partial: Mapping[str, str], total: int) -> str:
    """Return "pre + 4 of 5 posts, post 5 (30 of 60 slices)"; `total` is 0 if not known."""
    count = sum(name != PRE for name in whole)
    posts = f"{count} of {counted(total - 1, 'post')}" if total else counted(count, "post")
    of_posts = [words for name, words in partial.items() if name != PRE]
    more = len(of_posts) - _MOST_NAMED
    named = ", ".join([f"{partial.get(PRE, PRE)} + {posts}", *of_posts[:_MOST_NAMED]])
    return f"{named} and {more} more that are not whole" if more > 0 else named
