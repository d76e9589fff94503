"""What an MRI was taken for, as the page of a study shows it: two tables, and remarks on all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.domains.breast_mr.telling import (
    ToldPhase,
    ToldRow,
    ToldSeries,
    ToldStudy,
    before_or_after,
    number_in_words,
    remarks_told,
    seconds_in_words,
    series_in_words,
    why_taken,
)


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """A series in the table."""

    number: str
    kind: str
    images: int
    why: str


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A phase in the table; "" is what is not known."""

    name: str
    series: str
    slices: int
    began: str
    from_injection: str
    middle: str
    lasted: str


@dataclass(frozen=True, slots=True)
class MriTables:
    """What an MRI was taken for, in words."""

    remarks: Sequence[ToldRow]
    series: Sequence[SeriesRow]
    phases: Sequence[PhaseRow]


def mri_in_words(told: ToldStudy | None) -> MriTables | None:
    """Return the tables of a study; None of one that is no MRI."""
    if told is None:
        return None
    numbers = {one.uid: number_in_words(one.number) for one in told.series}
    return MriTables(
        remarks_told(told),
        [_series(one) for one in told.series],
        [_phase(one, numbers) for one in told.phases],
    )


def _series(one: ToldSeries) -> SeriesRow:
    return SeriesRow(number_in_words(one.number), one.kind, one.images, why_taken(one))


def _phase(one: ToldPhase, numbers: Mapping[str, str]) -> PhaseRow:
    lasted = "" if one.lasts_s is None else f"{seconds_in_words(one.lasts_s)} ({one.lasts_by})"
    return PhaseRow(
        name=one.name,
        series=series_in_words(one, numbers),
        slices=one.slices,
        began=one.start or "",
        from_injection=_when(one.after_injection_s),
        middle=_when(one.middle_s),
        lasted=lasted,
    )


def _when(seconds: float | None) -> str:
    return "" if seconds is None else before_or_after(seconds)
