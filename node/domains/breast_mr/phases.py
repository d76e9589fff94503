"""A study read: what each series shows, and the phases of the dynamic one, with their times.

The order in which objects came changes nothing. What is doubtful is said; what contradicts itself
is refused: then there are no phases, and `Reading.refusal` has the words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from node.domains.breast_mr.body_part import ExaminedPart, body_part_of, not_a_breast
from node.domains.breast_mr.choosing import Piece, dynamic, earlier_unlike, pieces_of
from node.domains.breast_mr.contrast import Injection, injection
from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.series import SeriesKind, fat_suppression
from node.domains.breast_mr.splitting import MOST_PHASES, Split, order_in_space
from node.domains.breast_mr.timing import Timed, Timing, timed
from node.errors import StudyError

PRE = "pre"


@dataclass(frozen=True, slots=True)
class MrSeries:
    """What a series shows, or the images of one kind in it."""

    uid: str
    number: int | None
    kind: SeriesKind
    reason: str
    images: int
    fat_suppressed: bool | None
    """None if nothing says it."""
    fat_by: str
    """Which attribute says that."""
    phases: tuple[str, ...] = ()
    """Those it has images of, in order."""
    divided_by: str = ""
    """What tells its phases apart, where it has several."""


@dataclass(frozen=True, slots=True)
class MrPhase:
    """All images that were acquired at once."""

    name: str
    """"pre", "post 1", "post 2", ..."""
    images: tuple[tuple[str, int | None], ...]
    """SOP Instance UID, and the frame from 1 of an enhanced object; in the order of space."""
    series_uids: tuple[str, ...]
    start_s: float | None
    """When its acquisition began, in seconds as `times` has them; None if not known."""
    lasts_s: float | None
    lasts_by: str
    """What that rests on."""
    after_s: float | None
    """Its start, in seconds after the injection; negative before it."""
    middle_s: float | None
    """The middle of its acquisition, in seconds after the injection."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a study."""

    part: ExaminedPart
    series: tuple[MrSeries, ...]
    """By Series Number, then UID."""
    phases: tuple[MrPhase, ...] = ()
    """In order; none if `refusal` says why."""
    ordered_by: str = ""
    """What orders the phases."""
    injected_s: float | None = None
    injected_by: str = ""
    """What the time of the injection rests on."""
    stated: int | None = None
    """How many phases the headers of the dynamic series say there are, None if they do not."""
    uncertain: str = ""
    """Why it is not known which phases are missing, in words; "" if all are there, or numbered."""
    earlier: int = 0
    """How many of those found lie before the one that is taken for pre, and have no name."""
    doubts: tuple[str, ...] = ()
    refusal: str = ""


def read(facts: Iterable[Facts], others: Iterable[Facts] = ()) -> Reading:
    """Return what a study is, of the facts of all its objects, in any order.

    `others` are of images that are not to be read: they say of what the study is, and no more.
    """
    facts = tuple(facts)
    part = body_part_of((*facts, *others))
    known: dict[tuple[str, int | None], Facts] = {}
    for one in facts:
        same = known.setdefault((one.sop_uid, one.frame), one)
        if same != one:
            known[one.sop_uid, one.frame] = min(same, one, key=repr)
    everything = sorted(known.values(), key=lambda one: (one.series_uid, *order_in_space(one)))
    pieces = pieces_of(everything)
    reading = Reading(part, tuple(_series(piece) for piece in pieces))
    try:
        if part.contradiction:
            raise StudyError(part.contradiction)
        if not part.is_breast:
            raise StudyError(not_a_breast(part))
        _require_asked(pieces)
        return _with_phases(reading, pieces)
    except StudyError as error:
        return replace(reading, refusal=str(error))


def _require_asked(pieces: Sequence[Piece]) -> None:
    """Raise StudyError if frames of an object were not asked: they may be the dynamic series."""
    for piece in pieces:
        for why in filter(None, (one.why_not_asked for one in piece.images)):
            number = "without number" if piece.number is None else piece.number
            raise StudyError(f"series {number}: {why}")


def series_of(facts: Iterable[Facts]) -> tuple[MrSeries, ...]:
    """Return what each series shows, phases not asked."""
    everything = sorted(facts, key=lambda one: (one.series_uid, *order_in_space(one)))
    return tuple(_series(piece) for piece in pieces_of(everything))


def _series(piece: Piece) -> MrSeries:
    said = {fat_suppression(one) for one in piece.images}
    fat, fat_by = said.pop() if len(said) == 1 else (None, "")
    return MrSeries(
        piece.uid,
        piece.number,
        piece.taken.kind,
        piece.taken.reason,
        len(piece.images),
        fat,
        fat_by,
    )


def _with_phases(reading: Reading, pieces: list[Piece]) -> Reading:
    chosen, splits, doubts = dynamic(pieces)
    divided = {pieces.index(p): one.rests_on for p, one in zip(chosen, splits, strict=True)}
    timing = timed(splits)
    given = injection(timing.phases)
    stated, not_believed = _stated(chosen, splits)
    numbers = _numbers(timing, stated)
    if given.is_guess and numbers and numbers[0] > 1:
        raise StudyError(
            f"the first phase is Temporal Position {numbers[0]} of {stated}, and nothing says that "
            "it is before the contrast agent: that phase may be missing"
        )
    phases = _named(timing, given, numbers)
    doubts = (
        *doubts,
        *not_believed,
        *timing.doubts,
        *given.doubts,
        *_doubts(timing, given, phases),
    )
    gaps = [] if numbers else _gaps(phases)
    doubts = (*doubts, *gaps)
    if stated is not None and stated != len(timing.phases):
        words = f"{stated} phases stated, {len(timing.phases)} found"
        lacking = [number for number in range(1, stated + 1) if number not in numbers]
        named = ", ".join(map(str, lacking[:_MOST_NAMED]))
        more = f": Temporal Position {named} missing" if numbers else ""
        doubts = (*doubts, f"{words}{more}")
    is_short = stated is not None and stated > len(timing.phases) and not numbers
    if given.is_guess and (first_s := phases[0].start_s) is not None:
        unlike = earlier_unlike(pieces, chosen, first_s)
        doubts = (*doubts, *(f"series {name}, {_UNLIKE}" for name in unlike))
    return replace(
        reading,
        series=_with_names(reading.series, divided, phases),
        phases=phases,
        ordered_by=timing.rests_on,
        injected_s=given.at_s,
        injected_by=given.rests_on,
        stated=stated,
        uncertain=f"{stated} phases stated, {len(timing.phases)} found; {gaps[0]}"
        if is_short and gaps
        else "",
        earlier=len(timing.phases) - len(phases),
        doubts=tuple(dict.fromkeys(doubts)),
    )


_UNLIKE = "T1-weighted and acquired before, is not read: it is not alike"


_MOST_NAMED = 5
"""Of phases that are missing."""


def _numbers(timing: Timing, stated: int | None) -> tuple[int, ...]:
    """Return the Temporal Position of each phase, where some of those stated are not there.

    () if they do not number the phases of the whole scan.
    """
    if stated is None or stated <= len(timing.phases):
        return ()
    said = [{one.temporal_position for one in phase.images} for phase in timing.phases]
    numbers = tuple(one for each in said if len(each) == 1 for one in each if one is not None)
    is_rising = all(a < b for a, b in pairwise(numbers))
    fits = len(numbers) == len(said) and is_rising and numbers[0] >= 1 and numbers[-1] <= stated
    return numbers if fits else ()


def _named(timing: Timing, given: Injection, numbers: Sequence[int]) -> tuple[MrPhase, ...]:
    """Name the phases, from the last one before the agent on; by their numbers if some lack."""
    used = timing.phases[given.before - 1 :]
    numbers = numbers[given.before - 1 :] or range(len(used))
    names = [PRE, *(f"post {number - numbers[0]}" for number in numbers[1:])]
    return tuple(_phase(name, one, given) for name, one in zip(names, used, strict=True))


def _phase(name: str, one: Timed, given: Injection) -> MrPhase:
    after_s = middle_s = None
    if one.start_s is not None and given.at_s is not None:
        after_s = one.start_s - given.at_s
        middle_s = after_s + one.lasts_s / 2 if one.lasts_s is not None else None
    return MrPhase(
        name=name,
        images=tuple((image.sop_uid, image.frame) for image in one.images),
        series_uids=tuple(sorted({image.series_uid for image in one.images})),
        start_s=one.start_s,
        lasts_s=one.lasts_s,
        lasts_by=one.lasts_by,
        after_s=after_s,
        middle_s=middle_s,
    )


def _with_names(
    series: tuple[MrSeries, ...], divided: Mapping[int, str], phases: Sequence[MrPhase]
) -> tuple[MrSeries, ...]:
    """Say of the dynamic series, which are given by place, which phases are in it."""
    named = []
    for number, one in enumerate(series):
        if number in divided:
            of_it = tuple(phase.name for phase in phases if one.uid in phase.series_uids)
            kind = SeriesKind.DYNAMIC if of_it else one.kind
            one = replace(one, kind=kind, phases=of_it, divided_by=divided[number])
        named.append(one)
    return tuple(named)


def _stated(chosen: list[Piece], splits: list[Split]) -> tuple[int | None, tuple[str, ...]]:
    """Return how many phases the headers state, None if they do not; and what is not believed.

    Number of Temporal Positions (0020,0105) is of the whole scan where each series says the same
    and has positions of its own. Where series count from 1 again, each speaks for itself, and one
    that does not say it has what came of it.
    """
    said = [{one.temporal_positions or 0 for one in piece.images} for piece in chosen]
    counts = [max((one for one in each if one <= MOST_PHASES), default=0) for each in said]
    beyond = sorted({one for each in said for one in each if one > MOST_PHASES})
    doubts = tuple(_not_believed(one) for one in beyond[:1])
    if max(counts, default=0) < 2:
        return None, doubts
    found = [len(one.phases) for one in splits]
    positions = [
        {one.temporal_position for one in piece.images if one.temporal_position is not None}
        for piece in chosen
    ]
    are_their_own = len(set().union(*positions)) == sum(map(len, positions))
    if len(set(counts)) == 1 and are_their_own and sum(found) <= counts[0]:
        return counts[0], doubts
    total = sum(map(max, counts, found))
    return (total, doubts) if total <= MOST_PHASES else (None, (*doubts, _not_believed(total)))


def _not_believed(stated: int) -> str:
    """Return it as stated; what is longer than an Integer String may be, in short."""
    words = str(stated) if stated < 10**12 else f"{stated:.3g}"
    return f"{words} phases stated: not believed"


_LONGEST_S = 1800.0
"""From the first phase to the last of one injection."""


def _doubts(timing: Timing, given: Injection, phases: Sequence[MrPhase]) -> list[str]:
    doubts = []
    if given.before > 1:
        doubts.append(f"{given.before} phases before the contrast agent; the last is taken for pre")
    counts = {len(phase.images) for phase in phases}
    if len(counts) > 1:
        words = ", ".join(f"{phase.name} {len(phase.images)}" for phase in phases)
        doubts.append(f"not as many slices in each phase: {words}")
    stated = {one.locations for phase in timing.phases for one in phase.images if one.locations}
    if stated and stated.isdisjoint(counts):
        found = f"{min(counts)} found" if len(counts) == 1 else "others found"
        doubts.append(f"{min(stated)} slices of each phase stated, {found}")
    starts = [phase.start_s for phase in phases if phase.start_s is not None]
    if starts and starts[-1] - starts[0] > _LONGEST_S:
        doubts.append(f"{(starts[-1] - starts[0]) / 60:.0f} minutes between first and last phase")
    if timing.is_in_turn:
        doubts.append("phases overlap in time: slices were acquired in turn")
    return doubts


_FEWEST_GAPS = 3
_SAME_GAP = 0.1
"""As far as the times from phase to phase may differ and are the same."""


def _gaps(phases: Sequence[MrPhase]) -> list[str]:
    """Say where twice as long, or more often, went by as between all other phases after it."""
    posts = phases[1:]
    pairs = [
        (earlier.name, later.name, later.start_s - earlier.start_s)
        for earlier, later in pairwise(posts)
        if earlier.start_s is not None and later.start_s is not None
    ]
    if len(pairs) < _FEWEST_GAPS:
        return []
    usual = min(gap for _, _, gap in pairs)
    longer = [one for one in pairs if one[2] > (1 + _SAME_GAP) * usual]
    if len(longer) != 1:
        return []
    earlier, later, gap = longer[0]
    times = round(gap / usual)
    if times < 2 or abs(gap / usual - times) > _SAME_GAP:
        return []
    return [
        f"{gap:.0f} s from {earlier} to {later} and {usual:.0f} s between the others: "
        f"{'a phase' if times == 2 else f'{times - 1} phases'} may be missing"
    ]
