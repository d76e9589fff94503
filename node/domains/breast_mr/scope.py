"""Which MR studies are of the breast, and what of one must be there for it to be complete."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.domains.breast_mr.body_part import body_part_of, not_a_breast
from node.domains.breast_mr.facts import Facts, as_text, from_text
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.telling import lines_told
from node.domains.domain import Awaited
from node.errors import StudyError
from node.manifest import Input
from node.study import Shown

MODALITY = "MR"


def read(header: Dataset, shown: Shown) -> Shown:
    """Return what an MR object shows, with its facts: only a study as a whole tells its phases."""
    if shown.modality != MODALITY:
        return shown
    return replace(shown, details=as_text(facts_of(header)))


def is_in_scope(shown: Shown, wanted: Input) -> bool:
    """Whether it is an MR object: of which part its study is, all of them say together."""
    return shown.modality == wanted.modality


def why_not_in_scope(shown: Collection[Shown], _: Input) -> str:
    """Return of what else than the breast a study is; "" if it is, or if that is contradictory.

    What contradicts itself is answered, with the contradiction: it may be a breast.
    """
    part = body_part_of(tuple(facts_in(shown)))
    return "" if part.is_breast or part.contradiction else not_a_breast(part)


def facts_in(shown: Collection[Shown]) -> Iterator[Facts]:
    """Yield what MR objects say; of one that came when that was not kept, its body part."""
    for one in shown:
        if one.modality != MODALITY:
            continue
        try:
            kept = from_text(one.details) if one.details else ()
        except StudyError:  # of another release
            kept = ()
        yield from kept or (Facts("", "", body_part=one.body_part, is_readable=False),)


def awaited(shown: Collection[Shown], wanted: Sequence[Input]) -> Awaited:
    """Return which phases are there and which not."""
    return Awaited()


def told(shown: Collection[Shown]) -> tuple[str, ...]:
    """Return what a study is taken for, series by series and phase by phase."""
    return lines_told(facts_in(shown))
