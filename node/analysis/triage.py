"""What is said of a study -> the level it gets, and why (models/README.md, Triage)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from node.domains.domain import Combined
from node.manifest import ManifestPoint, ManifestTriage, Model, ScoreOutput
from node.numbers_in_words import threshold_in_percent
from node.result import Evaluation, Priority, Refusal, Triage
from node.study import damaged_in_words

_BELOW = {"exam": ("exam", "breast", "image"), "breast": ("breast", "image"), "image": ("image",)}
"""What stands for something of which nothing was said: the part with the highest score. That may be
more than that of the whole, where views are averaged: then a study is read sooner, never later."""


def triage_of(
    model: Model, combined: Combined, refused: Sequence[Refusal], damaged: int
) -> Triage | None:
    """Return the level of a study of which something was analysed, None if the model gives none.

    Where something is missing, what is there may make the study urgent, but never routine.
    """
    wanted = model.manifest.triage
    if wanted is None:
        return None
    output = _deciding(model, wanted)
    urgent, *others = _points(output, wanted)
    score = _highest(combined.evaluations, wanted.output, urgent.about)
    if score is None:
        return unassessed(f"no score of the {urgent.about}")
    value = score.measurements[0].value / 100
    reached = next((point for point in (urgent, *others) if value >= point.threshold), None)
    unread = _unread(combined, refused, damaged)
    if not unread and score.about != urgent.about:
        unread = f"no score of the {urgent.about}"
    lowest = (urgent, *others)[-1]
    if reached is None and unread:
        return unassessed(f"{unread}; what was analysed is below {_named(lowest)}")
    level = Priority.ROUTINE
    if reached is not None:
        level = Priority.URGENT if reached is urgent else Priority.SOON
    point = reached or lowest
    why = f"at or above {_named(point)}" if reached else f"below {_named(point)}"
    return Triage(
        level=level,
        why=f"{why}; {unread}" if unread else why,
        about=score.label,
        score=score.measurements[0],
        point=point.as_point(),
        rank=_rank(output, value),
        among=output.negatives.among if output.negatives else "",
    )


def unassessed(why: str) -> Triage:
    """Return that a study could not be judged."""
    return Triage(Priority.NOT_ASSESSED, why)


def _deciding(model: Model, wanted: ManifestTriage) -> ScoreOutput:
    output = {one.name: one for one in reversed(model.manifest.outputs)}[wanted.output]
    assert isinstance(output, ScoreOutput), "a manifest names a score"
    return output


def _points(output: ScoreOutput, wanted: ManifestTriage) -> list[ManifestPoint]:
    """Return the operating points from which on a study is urgent, and soon if there is that."""
    points = {point.name: point for point in output.operating_points}
    return [points[name] for name in (wanted.urgent, wanted.soon) if name]


def _highest(evaluations: Sequence[Evaluation], output: str, about: str) -> Evaluation | None:
    for part in _BELOW[about]:
        said = [e for e in evaluations if (e.output, e.about) == (output, part)]
        if said:
            return max(said, key=lambda e: e.measurements[0].value)
    return None


def _unread(combined: Combined, refused: Sequence[Refusal], damaged: int) -> str:
    """Say what should have been analysed and was not, "" if nothing."""
    failed = [refusal.what for refusal in refused if refusal.is_failure]
    missing = list(dict.fromkeys([*combined.missing, *failed]))
    unread = f"not analysed or not received: {', '.join(missing)}" if missing else ""
    return "; ".join(filter(None, [unread, damaged_in_words(damaged)]))


def _named(point: ManifestPoint) -> str:
    return f"the operating point {point.name} ({threshold_in_percent(point.threshold)})"


def _rank(output: ScoreOutput, value: float) -> int | None:
    """Return than how many of 100 without the disease the score is higher."""
    if output.negatives is None:
        return None
    return max(0, bisect_left(output.negatives.percentiles, value) - 1)
