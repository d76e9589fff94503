"""Rules about what is urgent: urgent-late, and no-triage."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from node.alarms.late import Lack, Late
from node.alarms.late_messages import unacknowledged, untold
from node.alarms.late_results import REPORT, unbuilt, undelivered
from node.alarms.watched import Watched, first_few
from node.ledger import Mode, Trouble, VersionState, now, schema
from node.numbers_in_words import counted, counted_studies
from node.overview.health import Alarm
from node.result import Priority
from node.triage import may_rank

_AT_LEAST = 3
"""Studies that a model should have judged and has not, before it is said that it judges none: of
one, it may have had good reason."""
_JUDGED = (Priority.ROUTINE, Priority.SOON, Priority.URGENT)
_READ_FIRST = "have the studies read now: the page and `ai-node studies` name them"


_WHAT = {
    Lack.RESULTS: "lacks the results of {}",
    Lack.CONFIRMATION: "took the results of {} and has not confirmed them",
    Lack.LEVEL: "has not acknowledged the triage level of {}",
    Lack.MESSAGE: "was not told the triage level of {}",
    Lack.TAKE_BACK: "has not acknowledged that the triage level of {} is taken back",
}
_REMEDY = {
    Lack.RESULTS: "`ai-node doctor` examines it; what waits is sent by itself",
    Lack.CONFIRMATION: "see in it that they are there",
    Lack.LEVEL: "`ai-node doctor` examines it; what waits is sent by itself",
    Lack.MESSAGE: "mend why that cannot be told: the study's history on the page says it",
    Lack.TAKE_BACK: "tell who reads that list that the level does not hold; then "
    "`ai-node doctor` examines it; what waits is sent by itself",
}
_NOT_TOLD = ": not told"
"""Ends the subject of what hinders a list that may be well: so that it hides no outage of it."""
_GIVEN_UP = "`ai-node doctor` examines it; mend that, then `ai-node retry`"


def urgent_late(watched: Watched) -> Iterator[Trouble]:
    """Yield each destination that urgent results, or levels, have not reached in time.

    And "report" for those that are not even built; by itself, what a list cannot be told. What
    somebody has marked as read is late for nobody.
    """
    late: dict[str, list[Late]] = {}
    with watched.ledger.reading() as db:
        for rule in (undelivered, unbuilt, unacknowledged, untold):
            for subject, found in rule(db, watched):
                key = f"{subject}{_NOT_TOLD}" if found.lack == Lack.MESSAGE else subject
                late.setdefault(key, []).append(found)
    for subject, found_late in late.items():
        yield _of_subject(watched, subject, sorted(found_late, key=lambda one: one.since))


def _of_subject(watched: Watched, subject: str, found: list[Late]) -> Trouble:
    uids = list(dict.fromkeys(one.study_uid for one in found))
    if subject == REPORT:
        urgency = Alarm.ACT
        words = f"the results of {_urgent(len(uids))} are not built, and so sent to nobody"
        what_to_do = f"{_READ_FIRST}; `ai-node status` says what the node does instead"
    else:
        lacks = [lack for lack in _WHAT if any(one.lack == lack for one in found)]
        if Lack.RESULTS in lacks:  # what is only not confirmed is one of those then
            lacks = [lack for lack in lacks if lack != Lack.CONFIRMATION]
        urgency = Alarm.LOOK if lacks == [Lack.CONFIRMATION] else Alarm.ACT
        whom = watched.destination(subject.removesuffix(_NOT_TOLD))
        words = f"{whom} {'; '.join(_says(one, found) for one in lacks)}"
        what_to_do = _remedies(lacks, found)
    within_s = watched.config.alarms.urgent_within_s
    return Trouble(
        "urgent-late",
        subject,
        urgency,
        words,
        what_to_do,
        found[0].since,
        found[-1].since + within_s,
        first_few(uids),
    )


def _says(lack: Lack, found: list[Late]) -> str:
    """Return what is lacking, and of how many studies."""
    of_it = [one for one in found if one.lack == lack]
    if lack == Lack.RESULTS:
        of_it += [one for one in found if one.lack == Lack.CONFIRMATION]
    words = _WHAT[lack].format(_urgent(len(of_it)))
    if any(one.is_given_up for one in of_it):
        words += ", of which some were given up"
    error = next((one.error for one in of_it if one.error), "")
    return f"{words}: {error}" if error else words


def _remedies(lacks: list[Lack], found: list[Late]) -> str:
    to_do = [_REMEDY[lack] for lack in lacks]
    if any(one.is_given_up for one in found):
        ends = _REMEDY[Lack.RESULTS]
        to_do = [one.replace(ends, _GIVEN_UP) for one in to_do]
    first = [] if lacks == [Lack.TAKE_BACK] else [_READ_FIRST]
    return "; then ".join(dict.fromkeys([*first, *to_do]))


def _urgent(count: int) -> str:
    return counted(count, "urgent study", "urgent studies")


def no_triage(watched: Watched) -> Iterator[Trouble]:
    """Yield each model that should judge studies, which come, and has judged none for long."""
    hours = watched.config.alarms.no_triage_hours
    modes = {model.name: model.mode for model in watched.config.models}
    for name, model in watched.models.items():
        ranks = may_rank(
            model.identity, demonstration_may_rank=watched.config.triage.demonstration_may_rank
        )
        if model.manifest.triage is None or modes[name] != "deliver" or not ranks:
            continue
        with watched.ledger.reading() as db:
            count, since, at, last = _unjudged(db, name)
        if count < _AT_LEAST or since is None or at - since < hours * 3600:
            continue
        before = "since the last that it judged" if last is not None else "and none before"
        yield Trouble(
            "no-triage",
            name,
            Alarm.ACT,
            f"{name} has judged none of the {counted_studies(count)} that came, {before}",
            "read in the order of arrival until it is mended; `ai-node studies` says what became "
            "of each, `ai-node status` how the node is",
            since,
        )


def _unjudged(db: sa.Connection, model: str) -> tuple[int, float | None, float, float | None]:
    """Return how many studies came since the last that a model judged, since when, and now."""
    version, analysis = schema.study_version, schema.analysis
    its = analysis.c.model == model, analysis.c.mode == Mode.DELIVER
    newest = analysis.c.finished_at.desc()
    judged = sa.select(analysis.c.finished_at).where(*its, analysis.c.finished_at.is_not(None))
    judged = judged.where(analysis.c.level.in_(_JUDGED)).order_by(newest).limit(1)
    last = db.execute(judged).scalar_one_or_none()
    # In vain: it could not, or the study was given up.
    vain = sa.select(sa.func.count(), sa.func.min(analysis.c.finished_at), now())
    vain_count, vain_since, at = db.execute(
        vain.where(*its, analysis.c.finished_at > (last or 0.0))
    ).one()
    is_its = (analysis.c.study_uid == version.c.study_uid) & (analysis.c.number == version.c.number)
    waiting = sa.select(sa.func.count(), sa.func.min(version.c.closed_at))
    waiting = waiting.select_from(version.join(analysis, is_its)).where(
        version.c.state.in_((VersionState.QUEUED, VersionState.RUNNING)),
        analysis.c.finished_at.is_(None),
        *its,
    )
    count, since = db.execute(waiting).one()
    times = [one for one in (vain_since, since) if one is not None]
    return vain_count + count, min(times, default=None), at, last
