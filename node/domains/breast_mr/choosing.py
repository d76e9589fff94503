"""Which series are the dynamic one: several acquired alike, or one with several phases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from node.domains.breast_mr.facts import Facts
from node.domains.breast_mr.series import SeriesKind, Taken, directions, fat_suppression, taken
from node.domains.breast_mr.splitting import MOST_PHASES, TOO_MANY, Split, split
from node.errors import StudyError


@dataclass(frozen=True, slots=True)
class Piece:
    """The images of one kind in a series."""

    uid: str
    number: int | None
    taken: Taken
    images: tuple[Facts, ...]


def pieces_of(everything: Sequence[Facts]) -> list[Piece]:
    """Return the images by series and kind, in the order of Series Number.

    Echoes of one series lie where phases would, and are none: each is a piece of its own.
    """
    by_series: dict[str, list[Facts]] = defaultdict(list)
    for one in everything:
        by_series[one.series_uid].append(one)
    pieces = []
    for uid, images in by_series.items():
        numbers = sorted({one.series_number for one in images if one.series_number is not None})
        by_kind: dict[tuple[object, ...], list[tuple[Facts, Taken]]] = defaultdict(list)
        for one in images:
            is_taken = taken(one)
            echo_ms = one.echo_ms if is_taken.may_be_phase else None
            by_kind[is_taken.kind, is_taken.may_be_phase, echo_ms].append((one, is_taken))
        for group in by_kind.values():
            of_kind = tuple(one for one, _ in group)
            reasons = sorted(group, key=lambda pair: pair[1].reason)
            is_taken = _as_series(reasons[0][1], of_kind)
            pieces.append(Piece(uid, numbers[0] if numbers else None, is_taken, of_kind))
    return sorted(
        pieces,
        key=lambda one: (
            one.number is None,
            one.number or 0,
            one.uid,
            one.taken.kind,
            one.images[0].echo_ms or 0,
        ),
    )


def _as_series(is_taken: Taken, images: Sequence[Facts]) -> Taken:
    """See a localiser, which only its slices together show."""
    if (
        is_taken.kind in (SeriesKind.T1, SeriesKind.T2, SeriesKind.OTHER)
        and (count := directions(images)) > 1
    ):
        return Taken(SeriesKind.LOCALISER, f"slices in {count} directions; {is_taken.reason}")
    return is_taken


def dynamic(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Split], tuple[str, ...]]:
    """Choose the series that have phases, with those; raise StudyError in words if none do."""
    candidates = [
        piece for piece in pieces if piece.taken.may_be_phase and piece.taken.kind is SeriesKind.T1
    ]
    if len(candidates) > MOST_PHASES:
        raise StudyError(f"{len(candidates)} T1-weighted series: {TOO_MANY}")
    groups: list[list[Piece]] = []
    for piece in candidates:
        home = next((group for group in groups if _alike(group[0], piece)), None)
        if home is None:
            groups.append([piece])
        else:
            home.append(piece)
    chosen, doubts = _largest(groups)
    splits = [_split(piece) for piece in chosen]
    found = sum(len(one.phases) for one in splits)
    if found > MOST_PHASES:
        raise StudyError(f"{found} phases in {len(chosen)} series: {TOO_MANY}")
    return chosen, splits, (*doubts, *(doubt for one in splits for doubt in one.doubts))


def _largest(groups: list[list[Piece]]) -> tuple[list[Piece], tuple[str, ...]]:
    """Return the series of the group with most images, if only one has so many.

    See `habits.LARGEST_IS_DYNAMIC`: a quick series beside it has fewer slices.
    """
    if not groups:
        raise StudyError("no dynamic series: no T1-weighted series of a gradient echo")
    several = [group for group in groups if len(group) > 1 or _has_phases(group[0])]
    if not several:
        what = "one T1-weighted series" if len(groups) == 1 else "no two of them acquired alike"
        raise StudyError(f"no dynamic series: only one phase ({what})")
    sizes = [sum(len(piece.images) for piece in group) for group in several]
    if sizes.count(max(sizes)) > 1:
        raise StudyError(f"{sizes.count(max(sizes))} dynamic series, alike in size")
    chosen = several[sizes.index(max(sizes))]
    doubt = f"{len(several)} dynamic series; that with most images is read"
    return chosen, (doubt,) if len(several) > 1 else ()


def _split(piece: Piece) -> Split:
    try:
        return split(piece.images)
    except StudyError as error:
        raise StudyError(f"series {_name(piece)}: {error}") from None


def _name(piece: Piece) -> str:
    return str(piece.number) if piece.number is not None else "without number"


def _has_phases(piece: Piece) -> bool:
    try:
        return len(split(piece.images).phases) > 1
    except StudyError:
        return len({one.position for one in piece.images}) < len(piece.images)


_SAME_SHARE = 0.15
_SAME_FLIP_DEGREES = 2.0


def _alike(one: Piece, other: Piece) -> bool:
    """Whether two series were acquired with one sequence, in one direction."""
    a, b = one.images[0], other.images[0]
    fats = {fat_suppression(a)[0], fat_suppression(b)[0]} - {None}
    flips = abs((a.flip_degrees or 0) - (b.flip_degrees or 0))
    return (
        a.sequence == b.sequence
        and a.dimensions == b.dimensions
        and _near(a.echo_ms, b.echo_ms)
        and _near(a.repetition_ms, b.repetition_ms)
        and flips <= _SAME_FLIP_DEGREES
        and len(fats) < 2
        and directions((a, b)) == 1
    )


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _SAME_SHARE * max(one, other)


def earlier_unlike(pieces: Sequence[Piece], chosen: Sequence[Piece], first_s: float) -> list[str]:
    """Return the names of T1-weighted series before the dynamic one that are not alike."""
    return [
        _name(piece)
        for piece in pieces
        if piece.taken.may_be_phase
        and piece not in chosen
        and any(one.acquired_s is not None and one.acquired_s < first_s for one in piece.images)
    ]
