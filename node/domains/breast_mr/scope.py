"""Which MR studies are of the breast, and what of one must be there for it to be complete."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from pydicom import Dataset

from node.domains.breast_mr.arriving import awaited_phases, nothing_read
from node.domains.breast_mr.body_part import body_part_of, not_a_breast
from node.domains.breast_mr.facts import Facts, as_text, from_text
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import read as read_phases
from node.domains.breast_mr.telling import lines_told
from node.domains.domain import Awaited
from node.errors import StudyError
from node.imaging.planes import SLICED
from node.manifest import Input
from node.study import Shown

_MODALITY = "MR"


def read(header: Dataset, shown: Shown) -> Shown:
    """Return what an MR object shows, with its facts: only a study as a whole tells its phases."""
    if shown.modality != _MODALITY:
        return shown
    return replace(shown, details=as_text(facts_of(header)))


def is_in_scope(shown: Shown, wanted: Input) -> bool:
    """Whether it is an MR object: of which part its study is, all of them say together."""
    return shown.modality == wanted.modality


def why_not_in_scope(shown: Collection[Shown], _: Input) -> str:
    """Return of what else than the breast a study is; "" if it is, or if nobody can say that.

    What contradicts itself is answered, with the contradiction: it may be a breast. So may be what
    came when nobody kept what it says: the analysis reads the files.
    """
    part = body_part_of(tuple(facts_in(shown)))
    may_be = part.is_breast or part.contradiction or part.is_open
    return "" if may_be else not_a_breast(part)


def facts_in(shown: Collection[Shown]) -> Iterator[Facts]:
    """Yield what MR objects say; of one that came when that was not kept, its body part."""
    for one in shown:
        if one.modality == _MODALITY:
            is_readable = one.sop_class in SLICED
            unsaid = Facts("", "", body_part=one.body_part, is_readable=is_readable)
            yield from _kept_of(one) or (unsaid,)


def _kept_of(shown: Shown) -> tuple[Facts, ...]:
    """Return what was kept of what an object says; () if that was by another release, or none."""
    try:
        return from_text(shown.details) if shown.details else ()
    except StudyError:
        return ()


def awaited(shown: Collection[Shown], wanted: Sequence[Input]) -> Awaited:
    """Return which phases are there and which not: of as many as a model or the headers expect.

    Of the objects that one of the models reads. Where nobody knows how many phases there will be,
    all that is said is what there is.
    """
    expected = max((one.expected_phases or 0 for one in wanted), default=0)
    classes = {sop_class for one in wanted for sop_class in one.sop_classes}.intersection(SLICED)
    images = [one for one in shown if one.modality == _MODALITY and one.sop_class in SLICED]
    kept = [_kept_of(one) for one in images if one.sop_class in classes]
    if not kept:
        return nothing_read("none of its objects is of a class that is read", expected)
    if not all(kept):
        return nothing_read("objects came when what they say of them was not kept", expected)
    facts = [fact for of_object in kept for fact in of_object]
    others = facts_in([one for one in images if one.sop_class not in classes])
    return awaited_phases(read_phases(facts, others), facts, expected)


def told(shown: Collection[Shown]) -> tuple[str, ...]:
    """Return what a study is taken for, series by series and phase by phase."""
    return lines_told(facts_in(shown))
