"""Phases that share one series: which image is of which.

A series in which several images lie at one place has phases, stored slice by slice or phase by
phase. An attribute divides it if its values are as many as the images at a place, and no place has
two images of one value. Attributes that divide a series differently are not chosen between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.domains.breast_mr.facts import Facts
from node.errors import StudyError

Images = tuple[Facts, ...]

MOST_PHASES = 200
"""Of a study. A breast has some five to ten, of the fastest sequences some dozens; Number of
Temporal Positions may be any number of ten digits, and each phase that is waited for, or compared
with every other, costs memory and time on each machine of a site, and after each restart again."""


TOO_MANY = f"no breast has more than {MOST_PHASES} phases"


@dataclass(frozen=True, slots=True)
class Split:
    """The phases of a series, in their order."""

    phases: tuple[Images, ...]
    rests_on: str = ""
    """The attribute that divides it, "" if it has one phase."""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    of: Callable[[Facts], float | None]
    is_time: bool = False
    is_binding: bool = True
    """Whether its order must be that of the others: contents are made when a computer has time."""


_KEYS = (
    _Key("Temporal Position", lambda one: one.temporal_position),
    _Key("Acquisition Number", lambda one: one.acquisition_number),
    _Key("Trigger Time", lambda one: one.trigger_s, is_time=True),
    _Key("Acquisition Time", lambda one: one.acquired_s, is_time=True),
    _Key("Content Time", lambda one: one.content_s, is_time=True, is_binding=False),
)


def split(facts: Sequence[Facts]) -> Split:
    """Return the phases of images of one series; raise StudyError in words if nobody can tell."""
    images = sorted(facts, key=order_in_space)
    if reason := next((one.no_plane or "no position" for one in images if not one.position), ""):
        raise StudyError(reason)
    places = _places(images)
    count = max(map(len, places))
    if count == 1:
        return Split((tuple(images),))
    if count > MOST_PHASES:
        raise StudyError(f"{count} images of each slice: {TOO_MANY}")
    found = [(key, phases) for key in _KEYS if (phases := _divided(images, places, key, count))]
    if not found:
        found = [(key, phases) for key in _KEYS if (phases := _ranked(places, key))][:1]
    if not found:
        raise StudyError(_why_not(places, count))
    key, phases = found[0]
    return Split(phases, key.name, _doubts(found))


def _doubts(found: Sequence[tuple[_Key, tuple[Images, ...]]]) -> tuple[str, ...]:
    """Return which keys divide a series otherwise than the first; StudyError if that binds."""
    (key, phases), *others = found
    doubts = []
    for other, differently in others:
        if phases == differently:
            continue
        same = "in another order" if set(phases) == set(differently) else "differently"
        if other.is_binding:
            raise StudyError(f"{key.name} and {other.name} divide the series {same}")
        doubts.append(f"{other.name} divides the series {same} than {key.name}")
    return tuple(doubts)


def order_in_space(one: Facts) -> tuple[object, ...]:
    """Return what images are sorted by, however they came: where they lie, then their names."""
    return (one.orientation, one.position, one.sop_uid, one.frame or 0)


def _places(images: Sequence[Facts]) -> list[list[Facts]]:
    places: dict[tuple[object, ...], list[Facts]] = defaultdict(list)
    for one in images:
        position = tuple(round(x, 2) for x in one.position)
        places[tuple(round(x, 3) for x in one.orientation), position].append(one)
    return list(places.values())


def _divided(
    images: Sequence[Facts], places: list[list[Facts]], key: _Key, count: int
) -> tuple[Images, ...]:
    """Return the images by the values of a key, () if it does not divide them."""
    phases: dict[float, list[Facts]] = defaultdict(list)
    for one in images:
        value = key.of(one)
        if value is None:
            return ()
        phases[value].append(one)
    if len(phases) != count:
        return ()
    if any(len({key.of(one) for one in place}) != len(place) for place in places):
        return ()
    return tuple(tuple(phases[value]) for value in sorted(phases))


def _ranked(places: list[list[Facts]], key: _Key) -> tuple[Images, ...]:
    """Return the images by which came first at each place, by times that differ between slices.

    Only if there are as many at each place: else nobody knows which phase lacks one.
    """
    if not key.is_time or len({len(place) for place in places}) != 1:
        return ()
    ranked = []
    for place in places:
        values = [key.of(one) for one in place]
        times = [value for value in values if value is not None]
        if len(set(times)) != len(place):
            return ()
        ranked.append([one for _, one in sorted(zip(times, place, strict=True), key=_first)])
    return tuple(tuple(sorted(phase, key=order_in_space)) for phase in zip(*ranked, strict=True))


def _first(pair: tuple[float, Facts]) -> float:
    return pair[0]


def _why_not(places: list[list[Facts]], count: int) -> str:
    fewest = min(map(len, places))
    if fewest == count:
        return f"{count} images of each slice, and nothing says which is of which phase"
    few, many = ([place for place in places if len(place) == n] for n in (fewest, count))
    if len(few) == 1 and len(many) == len(places) - 1:
        of = f"{_images(fewest)} of the slice at {_along_mm(few[0][0]):.1f} mm and {count} of each"
        return f"{of} other, and nothing says which phase lacks one"
    if len(many) == 1 and len(few) == len(places) - 1:
        of = f"{_images(count)} of the slice at {_along_mm(many[0][0]):.1f} mm and {fewest} of each"
        return f"{of} other, and nothing says which is one too many"
    return (
        f"{_images(fewest)} of one slice and {count} of another, and nothing says which phase "
        "lacks one"
    )


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _along_mm(one: Facts) -> float:
    """Return where a slice lies along its normal, as `imaging.stack` says it: z of axial ones."""
    a, b, c, d, e, f = one.orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    nearest = max(normal, key=abs)
    along = sum(x * y for x, y in zip(normal, one.position, strict=True))
    return along if nearest > 0 else -along
