"""Which level a study has: what the models say that triage it, and what they said before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from node.result import ModelIdentity, Priority, Result, Triage

FOUND_BEFORE = "found by an earlier attempt, of which there is no report"


@dataclass(frozen=True, slots=True)
class FormerLevel:
    """The level that a version of a study had."""

    number: int
    """Of the version."""
    level: Priority


@dataclass(frozen=True, slots=True)
class FoundBefore:
    """The level that an attempt before found of the same images."""

    level: Priority
    model: str
    """Whose it is; "" of a release that did not write it down."""


def may_rank(model: ModelIdentity, *, demonstration_may_rank: bool) -> bool:
    """Whether a delivering model that triages may set the level of a study."""
    return not model.is_demonstration or demonstration_may_rank


def gives_level(result: Result, *, demonstration_may_rank: bool) -> bool:
    """Whether a delivered result may set the level of its study."""
    is_real = may_rank(result.model, demonstration_may_rank=demonstration_may_rank)
    return result.triage is not None and is_real


def deciding(results: Iterable[Result], *, demonstration_may_rank: bool = False) -> Result | None:
    """Return the delivered result with the highest level; None if no model gives one.

    Of several that are as high the first: in the order of the configuration.
    """
    found: Result | None = None
    for result in results:
        if not gives_level(result, demonstration_may_rank=demonstration_may_rank):
            continue
        if found is None or _level(result) > _level(found):
            found = result
    return found


def with_level_found_before(result: Result, found: Priority) -> Result:
    """Return a result with the higher level that an attempt before it found of the same images.

    That attempt's report could not be built. Its score is not known any more, so none is given.
    """
    if found not in (Priority.URGENT, Priority.SOON) or _level(result) >= found:
        return result
    assert result.triage is not None
    why = f"{FOUND_BEFORE}; now {result.triage.level}: {result.triage.why}"
    return replace(result, triage=Triage(level=found, why=why))


def _level(result: Result) -> Priority:
    assert result.triage is not None
    return result.triage.level


def changes(former: Sequence[FormerLevel], now: Priority | None) -> tuple[FormerLevel, ...]:
    """Return the levels before this one, each with the last version that had it.

    A level that was lowered once is told for as long as the study has versions.
    """
    found = [[*group][-1] for _, group in groupby(former, key=lambda one: one.level)]
    return tuple(found[:-1] if found and found[-1].level == now else found)


NO_MODEL = "no model gives one any more"


def change_in_words(
    former: Sequence[FormerLevel], now: Priority | None, why_none: str = NO_MODEL
) -> str:
    """Return "urgent in version 1, now routine"; "" if the level has always been the same."""
    before = ", ".join(f"{one.level} in version {one.number}" for one in changes(former, now))
    after = f"none: {why_none}" if now is None else str(now)
    return f"{before}, now {after}" if before else ""
