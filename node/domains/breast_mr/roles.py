"""Which phase takes which role of a manifest: by its name, or by when it was acquired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node.domains.breast_mr.phases import PRE, MrPhase, Reading
from node.errors import StudyError
from node.manifest import EACH_POST, ManifestUnit, PhaseMoment

Cast = Mapping[str, MrPhase]
"""The phase in each role."""


@dataclass(frozen=True, slots=True)
class ChosenPhases:
    """The phases that a network reads at once."""

    name: str
    """Of the phase that takes the role "each post"; "" if there is no such role."""
    cast: Cast
    lacking: tuple[str, ...] = ()
    """In words, why roles that may be left out have no phase."""


def chosen_phases(reading: Reading, wanted: ManifestUnit) -> tuple[ChosenPhases, ...]:
    """Return what is read at once, one after the other; raise StudyError for a role without phase.

    In the order of the roles; where every phase after contrast takes a role in turn, in theirs.
    """
    if reading.uncertain and wanted.missing == "refuse":
        raise StudyError(f"it is not known which phase is missing: {reading.uncertain}")
    cast = dict[str, MrPhase]()
    lacking = list[str]()
    for role in wanted.roles:
        if role == EACH_POST:
            continue
        try:
            cast[role] = _in_role(role, reading.phases, wanted)
        except StudyError as error:
            if role not in wanted.optional and wanted.missing != "blank":
                raise
            lacking.append(str(error))
    if not cast and EACH_POST not in wanted.roles:
        raise StudyError("; ".join(lacking))
    if EACH_POST not in wanted.roles:
        return (ChosenPhases("", cast, tuple(lacking)),)
    posts = [phase for phase in reading.phases if phase.name != PRE]
    return tuple(
        ChosenPhases(phase.name, _in_order({**cast, EACH_POST: phase}, wanted), tuple(lacking))
        for phase in posts
    )


def _in_order(cast: Cast, wanted: ManifestUnit) -> Cast:
    return {role: cast[role] for role in wanted.roles if role in cast}


def _in_role(role: str, phases: Sequence[MrPhase], wanted: ManifestUnit) -> MrPhase:
    moment = wanted.moments.get(role)
    if moment is not None:
        return _nearest(role, phases, moment)
    for phase in phases:
        if phase.name == role:
            return phase
    there = ", ".join(phase.name for phase in phases)
    raise StudyError(f"this model does not read it without {role}; there: {there}")


def _nearest(role: str, phases: Sequence[MrPhase], moment: PhaseMoment) -> MrPhase:
    """Return the phase after contrast whose middle lies nearest to a moment, if near enough."""
    timed = dict(_middles(phases))
    if not timed:
        raise StudyError(f"no {role} phase: the times of the phases are not known")
    best = min(timed.values(), key=lambda phase: (_off(phase, moment), phase.name))
    if _off(best, moment) > moment.within_s:
        middles = ", ".join(f"{name} {phase.middle_s:.0f} s" for name, phase in timed.items())
        raise StudyError(
            f"no {role} phase: none has its middle within {moment.within_s:g} s of "
            f"{moment.middle_s:g} s after the injection ({middles})"
        )
    return best


def _middles(phases: Sequence[MrPhase]) -> Iterator[tuple[str, MrPhase]]:
    for phase in phases:
        if phase.name != PRE and phase.middle_s is not None:
            yield phase.name, phase


def _off(phase: MrPhase, moment: PhaseMoment) -> float:
    assert phase.middle_s is not None, "_middles yields no other"
    return abs(phase.middle_s - moment.middle_s)
