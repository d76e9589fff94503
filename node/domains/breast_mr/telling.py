"""What an MRI study was taken for and why: for people line by line, for programs in parts.

Whoever looks after the archive, and whoever took the images, sees what was told from them and what
that rests on. Nothing of a header that is free text stands here: it may name a patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from node.dicom.body_part import body_part_in_words
from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.phases import MrPhase, MrSeries, Reading, read
from node.domains.breast_mr.times import clock_words
from node.numbers_in_words import counted


@dataclass(frozen=True, slots=True)
class ToldPart:
    """Which part of the body a study is of."""

    term: str
    """BREAST, another body part; "" if nothing says it, or that contradicts itself."""
    rests_on: str
    is_breast: bool


@dataclass(frozen=True, slots=True)
class ToldSeries:
    """What a series, or the images of one kind in it, was taken for."""

    uid: str
    number: int | None
    kind: str
    """One of `series.SeriesKind`."""
    reason: str
    images: int
    fat_suppressed: bool | None
    fat_by: str
    phases: tuple[str, ...]
    """Those it has images of, in order."""
    divided_by: str
    """What tells its phases apart, where it has several."""


@dataclass(frozen=True, slots=True)
class ToldPhase:
    """All images that were acquired at once."""

    name: str
    series: tuple[str, ...]
    """Series Instance UIDs."""
    slices: int
    start: str | None
    """When its acquisition began by the clock of the scanner: "10:15:03"."""
    lasts_s: float | None
    lasts_by: str
    after_injection_s: float | None
    """Its start; negative before the injection."""
    middle_s: float | None
    """The middle of its acquisition, after the injection."""


@dataclass(frozen=True, slots=True)
class ToldInjection:
    """When the contrast agent was given."""

    time: str
    """By the clock of the scanner."""
    rests_on: str


@dataclass(frozen=True, slots=True)
class ToldStudy:
    """What an MRI study was taken for."""

    body_part: ToldPart
    series: tuple[ToldSeries, ...]
    """By Series Number."""
    phases: tuple[ToldPhase, ...]
    """In order; none if `refusal` says why."""
    ordered_by: str
    """What orders the phases, and what their times are of."""
    injection: ToldInjection | None
    stated: int | None
    """How many phases the headers say there are, None if they do not."""
    doubts: tuple[str, ...]
    refusal: str
    """Why no phases are read, "" if they are."""
    not_kept: int
    """How many objects came before what they say was kept with them: nothing is told of those."""


def told_of_facts(facts: Iterable[Facts]) -> ToldStudy | None:
    """Return what a study was taken for; None if nothing of it is MR.

    What came before facts were kept has none but its body part, and no UID.
    """
    everything = tuple(facts)
    if not everything:
        return None
    not_kept = sum(not one.sop_uid for one in everything)
    reading = read(everything)
    if not_kept == len(everything):
        return _of_nothing_kept(reading, not_kept)
    return ToldStudy(
        body_part=_part(reading),
        series=tuple(_series(one) for one in reading.series if one.uid),
        phases=tuple(map(_phase, reading.phases)),
        ordered_by=reading.ordered_by,
        injection=_injection(reading),
        stated=reading.stated,
        doubts=reading.doubts,
        refusal=reading.refusal,
        not_kept=not_kept,
    )


def _of_nothing_kept(reading: Reading, count: int) -> ToldStudy:
    """Say the body part alone: of a study so old neither series nor coils are known."""
    return ToldStudy(_part(reading), (), (), "", None, None, (), "", count)


def _part(reading: Reading) -> ToldPart:
    part = reading.part
    term = body_part_in_words(part.term) if part.term else ""
    return ToldPart(term, part.rests_on or part.contradiction, part.is_breast)


def _series(one: MrSeries) -> ToldSeries:
    return ToldSeries(
        uid=one.uid,
        number=one.number,
        kind=str(one.kind),
        reason=one.reason,
        images=one.images,
        fat_suppressed=one.fat_suppressed,
        fat_by=one.fat_by,
        phases=one.phases,
        divided_by=one.divided_by,
    )


def _phase(one: MrPhase) -> ToldPhase:
    return ToldPhase(
        name=one.name,
        series=one.series_uids,
        slices=len(one.images),
        start=None if one.start_s is None else clock_words(one.start_s),
        lasts_s=_to_milliseconds(one.lasts_s),
        lasts_by=one.lasts_by,
        after_injection_s=_to_milliseconds(one.after_s),
        middle_s=_to_milliseconds(one.middle_s),
    )


def _injection(reading: Reading) -> ToldInjection | None:
    if reading.injected_s is None:
        return None
    return ToldInjection(clock_words(reading.injected_s), reading.injected_by)


def _to_milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


ToldRow = tuple[str, str]
"""What a line is about, in at most twelve characters or a few more, and the words."""


def rows_told(told: ToldStudy) -> tuple[ToldRow, ...]:
    """Return what a study was taken for, line by line: first that it is not read, and why."""
    numbers = {one.uid: number_in_words(one.number) for one in told.series}
    phases = [(one.name, _phase_in_words(one, numbers)) for one in told.phases]
    series = _rows_of_series(told.series)
    return (*_of_study(told), *series, *_of_phases(told), *phases, *_doubts(told))


def remarks_told(told: ToldStudy) -> tuple[ToldRow, ...]:
    """Return those lines that are of no one series and of no one phase."""
    return (*_of_study(told), *_of_phases(told), *_doubts(told))


def _of_study(told: ToldStudy) -> list[ToldRow]:
    rows = []
    if told.body_part.is_breast:
        rows.append(("body part", f"{told.body_part.term} ({told.body_part.rests_on})"))
    if told.refusal:
        rows.append(("not read", f"as breast MRI: {told.refusal}"))
    if told.not_kept:
        rows.append(("not told", _not_kept_in_words(told)))
    return rows


def _of_phases(told: ToldStudy) -> list[ToldRow]:
    rows = []
    if told.phases:
        rows.append(("phases", _phases_in_words(told)))
    if told.injection:
        rows.append(("injection", f"{told.injection.time} ({told.injection.rests_on})"))
    return rows


def _doubts(told: ToldStudy) -> list[ToldRow]:
    return [("doubt", doubt) for doubt in told.doubts]


def lines_told(facts: Iterable[Facts]) -> tuple[str, ...]:
    """Return the same as lines, what each is about in a column of its own."""
    told = told_of_facts(facts)
    return () if told is None else tuple(f"{name:<12} {words}" for name, words in rows_told(told))


def _not_kept_in_words(told: ToldStudy) -> str:
    if not told.series:
        return "this study came before what its images say was kept with them"
    came = f"{counted(told.not_kept, 'object')} came"
    return f"{came} before what they say was kept: what they show is not known"


def _rows_of_series(series: Sequence[ToldSeries]) -> list[ToldRow]:
    """Return a row for each, their kinds and numbers of images below one another."""
    kind = max((len(one.kind) for one in series), default=0)
    images = [counted(one.images, "image") for one in series]
    width = max(map(len, images), default=0)
    return [
        (
            f"series {number_in_words(one.number)}",
            f"{one.kind:<{kind}}  {count:>{width}}  {why_taken(one)}",
        )
        for one, count in zip(series, images, strict=True)
    ]


def number_in_words(number: int | None) -> str:
    """Return a Series Number, "?" where there is none."""
    return "?" if number is None else str(number)


def why_taken(one: ToldSeries) -> str:
    """Return which phases a series has, and what it is taken for them by."""
    words = []
    if one.phases:
        by = f", told apart by {one.divided_by}" if one.divided_by else ""
        words.append(f"{in_short(one.phases)}{by}")
    words.append(one.reason)
    if one.fat_suppressed is not None:
        suppressed = "fat suppressed" if one.fat_suppressed else "fat not suppressed"
        words.append(f"{suppressed} ({one.fat_by})")
    return "; ".join(words)


_FEWEST_OF_A_RANGE = 3


def in_short(phases: Sequence[str]) -> str:
    """Return names of phases, those that follow one another as a range: "pre, post 2 to post 5"."""
    places = [int(name.rpartition(" ")[2]) if " " in name else 0 for name in phases]
    said = []
    for _, run in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        names = [phases[at] for at, _ in run]
        is_range = len(names) >= _FEWEST_OF_A_RANGE
        said += [f"{names[0]} to {names[-1]}"] if is_range else names
    return ", ".join(said)


def phases_in_brief(told: ToldStudy) -> str:
    """Return how many phases a study has, for a line about all its images: "6 phases"."""
    return counted(len(told.phases), "phase") if told.phases else "no phases read"


def _phases_in_words(told: ToldStudy) -> str:
    """Return how many phases there are, and what orders them."""
    names = [one.name for one in told.phases]
    words = f"{len(names)}: {in_short(names)}, in the order of {told.ordered_by}"
    if any(one.start for one in told.phases):
        words += ", of which their times are"
    return words if told.stated is None else f"{words}; {told.stated} stated"


def _phase_in_words(one: ToldPhase, numbers: Mapping[str, str]) -> str:
    words = [f"series {series_in_words(one, numbers)}", counted(one.slices, "slice")]
    if one.start is not None:
        words.append(f"began {one.start}")
    if one.after_injection_s is not None:
        middle = "" if one.middle_s is None else f" (middle {before_or_after(one.middle_s)})"
        words.append(f"{before_or_after(one.after_injection_s)} the injection{middle}")
    if one.lasts_s is not None:
        words.append(f"lasted {seconds_in_words(one.lasts_s)} ({one.lasts_by})")
    return ", ".join(words)


def series_in_words(one: ToldPhase, numbers: Mapping[str, str]) -> str:
    """Return the numbers of the series that a phase is in; they are given by UID."""
    return " and ".join(numbers.get(uid, "?") for uid in one.series)


def before_or_after(seconds: float) -> str:
    """Return how long before or after the injection something was."""
    return f"{seconds_in_words(abs(seconds))} {'before' if seconds < 0 else 'after'}"


_SHORT_S = 10
"""Below it, tenths matter: phases of a fast dynamic series last a few seconds."""


def seconds_in_words(seconds: float) -> str:
    """Return whole seconds, of few of them tenths."""
    return f"{seconds:.1f} s".replace(".0 ", " ") if seconds < _SHORT_S else f"{seconds:.0f} s"
