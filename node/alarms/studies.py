"""Rules about studies that do not go on: study-held, and not-analysed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from node.alarms.watched import Watched, first_few, is_newest, of_which
from node.ledger import GIVE_UP_AFTER, Mode, StudyState, Trouble, VersionState, now, schema
from node.numbers_in_words import counted_studies
from node.overview.figures import LATELY_S
from node.overview.health import Alarm
from node.result import Priority

_HELD_FOR_S = 300.0
"""What two objects disagree about is often corrected by the next."""
_GIVEN_UP_FOR_S = 86_400.0
"""That a study was given up is told for a day: its report says it, too."""


def studies_held(watched: Watched) -> Iterator[Trouble]:
    """Yield that studies are held, in one for all of them."""
    study, history = schema.study, schema.history
    held_at = sa.select(sa.func.max(history.c.at)).where(
        history.c.study_uid == study.c.study_uid, history.c.event.like("held: %")
    )
    since = sa.func.coalesce(held_at.scalar_subquery(), study.c.last_at)
    query = sa.select(
        study.c.study_uid, study.c.level, study.c.held_reason, since.label("since"), now()
    )
    with watched.ledger.reading() as db:
        rows = db.execute(query.where(study.c.held_reason.is_not(None))).all()
    found = sorted((row for row in rows if row[-1] - row.since > _HELD_FOR_S), key=_since)
    if not found:
        return
    urgent = [row for row in found if row.level == Priority.URGENT]
    uids = [row.study_uid for row in (*urgent, *reversed(found))]
    uids = list(dict.fromkeys(uids))  # urgent ones first, then the newest
    is_one = len(found) == 1
    which = f", {'which is' if is_one else f'{len(urgent)} of them'} urgent" if urgent else ""
    words = f"{counted_studies(len(found))} held{which}: "
    words += f"nothing of {'it' if is_one else 'them'} is analysed or sent"
    words += f": {found[0].held_reason}" if is_one else of_which(uids, len(uids))
    yield Trouble(
        "study-held",
        "",
        Alarm.ACT if urgent else Alarm.LOOK,
        words,
        f"{'have what is urgent read now, without the node; ' if urgent else ''}"
        "`ai-node studies --state held` says why of each; look at the study, then `ai-node "
        "release`, or send its corrected images",
        found[0].since,
        found[-1].since + _HELD_FOR_S,
        first_few(uids),
    )


def studies_not_analysed(watched: Watched) -> Iterator[Trouble]:
    """Yield that studies cannot be analysed, and that some were given up, each for all of them."""
    with watched.ledger.reading() as db:
        cancelled, crashed = _cancelled(db), _crashed(db, watched)
    if cancelled:
        yield _of_studies(
            cancelled,
            "cancelled",
            f"{counted_studies(len(cancelled))} cannot be analysed, so that there is no result: "
            f"{cancelled[0].error or 'no reason was recorded'}",
            "`ai-node studies --state cancelled` says why; mend that, then `ai-node release`",
        )
    if crashed:
        yield _of_studies(
            crashed,
            "given up",
            f"{counted_studies(len(crashed))} given up: the analysis ended unexpectedly "
            f"{GIVE_UP_AFTER} times, and its report says that it is not analysed",
            "have it read without a model; the log says what happened: journalctl -u ai-node",
        )


def _of_studies(rows: Sequence[sa.Row[Any]], subject: str, words: str, what_to_do: str) -> Trouble:
    uids = [row.study_uid for row in rows]
    return Trouble(
        "not-analysed",
        subject,
        Alarm.ACT,
        words + of_which(uids, len(uids)),
        what_to_do,
        rows[-1].since,
        rows[0].since,
        first_few(uids),
    )


def _cancelled(db: sa.Connection) -> list[sa.Row[Any]]:
    """Return the studies of a week that were to be analysed and cannot be, the newest first."""
    study, version = schema.study, schema.study_version
    # Not "is closed": SQLite would begin with all that are, by the index of that.
    is_closed = (study.c.state != StudyState.RECEIVING) & study.c.held_reason.is_(None)
    since = sa.func.coalesce(version.c.finished_at, version.c.closed_at)
    query = (
        sa.select(version.c.study_uid, version.c.error, since.label("since"))
        .select_from(version.join(study, is_newest() & is_closed & study.c.read_at.is_(None)))
        .where(version.c.state == VersionState.CANCELLED, since > now() - LATELY_S)
        .order_by(since.desc())
    )
    return list(db.execute(query))


def _crashed(db: sa.Connection, watched: Watched) -> list[sa.Row[Any]]:
    """Return the studies of a day that were given up, the newest first.

    Looked for among the analyses of that day in which nothing was analysed: an index has those.
    """
    study, version, analysis = schema.study, schema.study_version, schema.analysis
    is_its = (analysis.c.study_uid == version.c.study_uid) & (analysis.c.number == version.c.number)
    times = sa.or_(version.c.crashes >= GIVE_UP_AFTER, version.c.failures >= GIVE_UP_AFTER)
    found: dict[str, sa.Row[Any]] = {}
    for model in (one.name for one in watched.config.models if one.mode != "off"):
        for mode in Mode:
            query = (
                sa.select(version.c.study_uid, analysis.c.finished_at.label("since"))
                .select_from(
                    analysis.join(version, is_its).join(
                        study, is_newest() & study.c.read_at.is_(None)
                    )
                )
                .where(analysis.c.model == model, analysis.c.mode == mode)
                .where(analysis.c.finished_at > now() - _GIVEN_UP_FOR_S, analysis.c.analysed == 0)
                .where(times)
            )
            found |= {row.study_uid: row for row in db.execute(query)}
    return sorted(found.values(), key=_since, reverse=True)


def _since(row: sa.Row[Any]) -> float:
    return float(row.since)
