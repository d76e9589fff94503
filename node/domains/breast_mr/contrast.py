"""Which phases were acquired before the contrast agent was given, and when that was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from node.domains.breast_mr import habits
from node.domains.breast_mr.splitting import Images
from node.domains.breast_mr.times import clock_words
from node.domains.breast_mr.timing import Timed
from node.errors import StudyError

_LONGEST_WAIT_S = 3600.0
"""Between the injection and a phase: a Contrast/Bolus Start Time farther away is of another."""

_SAME_S = 2.0
"""Start times of a bolus that differ by less are the same, rounded otherwise."""


@dataclass(frozen=True, slots=True)
class Injection:
    """When the agent was given."""

    before: int
    """How many phases were acquired before."""
    at_s: float | None
    """None if no time is known."""
    rests_on: str
    """What `at_s` rests on."""
    doubts: tuple[str, ...] = ()
    is_guess: bool = False
    """Whether nothing says which phases are before."""


@dataclass(frozen=True, slots=True)
class _Says:
    """What one kind of statement makes of the phases."""

    name: str
    before: int


def injection(phases: Sequence[Timed]) -> Injection:
    """Return when the agent was given, among phases in order; raise StudyError in words."""
    bolus_s, doubts = _bolus(phases)
    agents = [_agent(phase.images) for phase in phases]
    if set(agents) == {"none"}:
        raise StudyError("every series says that no contrast agent was given")
    said = [
        says
        for says in (_by_bolus(phases, bolus_s), _by_agent(agents), _by_words(phases))
        if says is not None
    ]
    for one, other in pairwise(said):
        if one.before != other.before:
            raise StudyError(
                f"{one.name} says {one.before} of {len(phases)} phases before the contrast "
                f"agent, {other.name} {other.before}"
            )
    if said:
        before = said[0].before
    else:
        before = 1
        doubts = (
            *doubts,
            "nothing says which phases are before the contrast agent; the first is taken for pre",
        )
    if before == 0:
        raise StudyError(f"no phase before the contrast agent: so {said[0].name}")
    if before == len(phases):
        raise StudyError(f"no phase after the contrast agent: so {said[0].name}")
    if bolus_s is not None:
        return Injection(before, bolus_s, "Contrast/Bolus Start Time", doubts, not said)
    start_s = phases[before].start_s
    rests_on = "the start of post 1, as no Contrast/Bolus Start Time is given"
    return Injection(before, start_s, rests_on if start_s is not None else "", doubts, not said)


def _bolus(phases: Sequence[Timed]) -> tuple[float | None, tuple[str, ...]]:
    """Return Contrast/Bolus Start Time if it can be used, else why not."""
    said = sorted({one.bolus_s for phase in phases for one in phase.images if one.bolus_s})
    starts = [phase.start_s for phase in phases if phase.start_s is not None]
    if not said or not starts:
        return None, ()
    near = [
        time for time in said if starts[0] - _LONGEST_WAIT_S <= time <= starts[-1] + _LONGEST_WAIT_S
    ]
    far = ("Contrast/Bolus Start Time is not near the phases and was not used",)
    if not near:
        return None, far
    if near[-1] - near[0] >= _SAME_S:
        times = f"{clock_words(near[0])} and {clock_words(near[-1])}"
        raise StudyError(f"Contrast/Bolus Start Time is {times}")
    return near[0], far if len(near) < len(said) else ()


def _by_bolus(phases: Sequence[Timed], bolus_s: float | None) -> _Says | None:
    if bolus_s is None:
        return None
    before = sum(phase.start_s is not None and phase.start_s < bolus_s for phase in phases)
    return _Says("Contrast/Bolus Start Time", before)


def _agent(images: Images) -> str:
    said = {one.agent for one in images}
    if {"given", "none"} <= said:
        raise StudyError("one phase says both that a contrast agent was given and that none was")
    return "given" if "given" in said else "none" if said == {"none"} else ""


def _by_agent(agents: list[str]) -> _Says | None:
    """Return how many phases name no agent before the first that does, if any does not."""
    if "given" not in agents or agents[0] == "given":
        if "none" in agents and agents[0] == "given":
            raise StudyError("a phase says that no contrast agent was given, after one that does")
        return None
    before = agents.index("given")
    if "none" in agents[before:]:
        raise StudyError("a phase says that no contrast agent was given, after one that does")
    return _Says("Contrast/Bolus Agent", before)


_FLAVOURS = {"PRE_CONTRAST": "pre", "POST_CONTRAST": "post"}
"""Of Image Type, value 3 (PS3.3 C.8.16.1.3)."""


def _by_words(phases: Sequence[Timed]) -> _Says | None:
    said = [_words(phase) for phase in phases]
    if "pre" not in said:
        return None
    before = len(said) - said[::-1].index("pre")
    if "post" in said[:before]:
        raise StudyError("a phase is called pre, and was acquired after one that is called post")
    if before < len(said) and said[before] != "post" and "post" in said:
        return _Says("Series Description", said.index("post"))
    return _Says("Series Description", before)


def _words(phase: Timed) -> str:
    flavours = {_FLAVOURS[v] for one in phase.images for v in one.image_type if v in _FLAVOURS}
    if len(flavours) == 1:
        return flavours.pop()
    if len(phase.split.phases) > 1:
        return ""
    meant = habits.meanings(habits.PHASE_WORDS, phase.images[0].series_description)
    return next(iter(meant)) if len(meant) == 1 else ""
