"""In which order phases were acquired, and when: by the first clock that tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.habits import phase_number
from node.domains.breast_mr.splitting import Images, Split
from node.errors import StudyError


@dataclass(frozen=True, slots=True)
class Timed:
    """A phase with its times, seconds as in `times`."""

    images: Images
    split: Split
    """Of its series."""
    start_s: float | None = None
    lasts_s: float | None = None
    lasts_by: str = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """The phases in order."""

    phases: tuple[Timed, ...]
    rests_on: str
    """What orders them."""
    doubts: tuple[str, ...] = ()
    is_in_turn: bool = False
    """Whether images of a phase were acquired when the next one of its series had begun."""


def timed(splits: Sequence[Split]) -> Timing:
    """Return the phases of all series in order; raise StudyError in words if nobody can tell."""
    phases = [Timed(images, one) for one in splits for images in one.phases]
    for name, clock in _CLOCKS:
        starts = [_start(phase, clock) for phase in phases]
        known = [start for start in starts if start is not None]
        if len(known) < len(phases) or len(set(known)) < len(phases):
            continue
        if disagreeing := _disagreeing(splits, clock):
            if name in _MADE_LATER:
                continue
            raise StudyError(f"{disagreeing} and {name} order the phases differently")
        ordered = sorted(zip(known, phases, strict=True), key=lambda pair: pair[0])
        _require_near(ordered[-1][0] - ordered[0][0], name)
        doubts = [f"times are of {name}, not of the acquisition"] if name in _MADE_LATER else []
        is_in_turn = name not in _MADE_LATER and any(
            _are_in_turn(one, before, clock)
            for one in splits
            for before in range(len(one.phases) - 1)
        )
        lasting = _lasting([(phase, start) for start, phase in ordered])
        return Timing(lasting, name, tuple(doubts), is_in_turn)
    return _without_clock(splits, phases)


FARTHEST_APART_S = 6 * 3600.0
"""From the first phase to the last: nobody lies in a magnet for so long. Times over midnight that
have no date, or that of the study, lie nearly a day apart, and would be in the wrong order."""


def _require_near(apart_s: float, clock: str) -> None:
    if apart_s > FARTHEST_APART_S:
        raise StudyError(
            f"phases lie {apart_s / 3600:.0f} hours apart by {clock}: over midnight without dates, "
            "or not of one examination"
        )


def _without_clock(splits: Sequence[Split], phases: list[Timed]) -> Timing:
    unknown = "no times tell when the phases were acquired"
    if len(splits) == 1:
        return Timing(tuple(phases), splits[0].rests_on, (unknown,))
    numbers = [phase_number(phase.images[0].series_description) for phase in phases]
    known = [number for number in numbers if number is not None]
    if len(set(known)) == len(phases):
        ordered = sorted(zip(known, phases, strict=True), key=lambda pair: pair[0])
        order = tuple(phase for _, phase in ordered)
        return Timing(order, "Series Description", (unknown,))
    raise StudyError("times of the phases are missing or the same, and nothing else orders them")


Clock = Callable[[Facts, int], float | None]
"""When an image was acquired, or what stands for that, of the phase of so many in its series."""


def _acquired(one: Facts, _: int) -> float | None:
    return one.acquired_s


def _triggered(one: Facts, _: int) -> float | None:
    """Return the start of the series, and what Trigger Time counts from there.

    See `habits.TRIGGER_TIME_OF_PHASES`.
    """
    return None if one.acquired_s is None else one.acquired_s + (one.trigger_s or 0)


def _by_resolution(one: Facts, before: int) -> float | None:
    """Return the start of the series, and Temporal Resolution as often as phases went before."""
    if one.acquired_s is None or (before and one.temporal_resolution_s is None):
        return None
    return one.acquired_s + before * (one.temporal_resolution_s or 0)


def _made(one: Facts, _: int) -> float | None:
    return one.content_s


def _made_and_triggered(one: Facts, _: int) -> float | None:
    return None if one.content_s is None else one.content_s + (one.trigger_s or 0)


def _series(one: Facts, _: int) -> float | None:
    return one.series_s


_CLOCKS: tuple[tuple[str, Clock], ...] = (
    ("Acquisition Time", _acquired),
    ("Acquisition Time and Trigger Time", _triggered),
    ("Acquisition Time and Temporal Resolution", _by_resolution),
    ("Content Time", _made),
    ("Content Time and Trigger Time", _made_and_triggered),
    ("Series Time", _series),
)
_MADE_LATER = ("Content Time", "Content Time and Trigger Time", "Series Time")


def _start(phase: Timed, clock: Clock) -> float | None:
    """Return the earliest of its images."""
    return min(_times(phase.images, phase.split.phases.index(phase.images), clock), default=None)


def _times(images: Images, before: int, clock: Clock) -> list[float]:
    return [time for one in images if (time := clock(one, before)) is not None]


def _are_in_turn(split: Split, before: int, clock: Clock) -> bool:
    """Whether an image of a phase was acquired when the next one of the series had begun."""
    phase, following = split.phases[before : before + 2]
    times, later = _times(phase, before, clock), _times(following, before + 1, clock)
    return bool(times and later) and max(times) >= min(later)


def _disagreeing(splits: Sequence[Split], clock: Clock) -> str:
    """Return what orders the phases of a series otherwise than a clock does, "" if nothing."""
    for one in splits:
        starts = [_start(Timed(images, one), clock) or 0 for images in one.phases]
        if any(earlier >= later for earlier, later in pairwise(starts)):
            return one.rests_on
    return ""


def _lasting(ordered: Sequence[tuple[Timed, float]]) -> tuple[Timed, ...]:
    """Return phases with how long each lasted: as said, unless the next had begun by then."""
    starts = [start for _, start in ordered]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    usual = min(gaps[1:] or gaps, default=None)
    found = []
    for number, (phase, start) in enumerate(ordered):
        until_next = gaps[number] if number < len(gaps) else None
        lasts_s, lasts_by = _said_to_last(phase)
        if lasts_s is None or (until_next is not None and lasts_s > until_next + _SLACK_S):
            lasts_s = min(filter(None, (usual, until_next)), default=None)
            lasts_by = "the time between phases" if lasts_s is not None else ""
        found.append(Timed(phase.images, phase.split, start, lasts_s, lasts_by))
    return tuple(found)


_SLACK_S = 1.0
"""Times of headers are whole seconds."""


def _said_to_last(phase: Timed) -> tuple[float | None, str]:
    one = max(phase.images, key=lambda image: image.duration_s or 0)
    if one.duration_s is not None:
        among = 1 if one.is_duration_of_frame else len(phase.split.phases)
        return one.duration_s / among, one.duration_by
    if one.temporal_resolution_s is not None:
        return one.temporal_resolution_s, "Temporal Resolution"
    return None, ""
