"""Rules about who lacks results: delivery-failing, and delivery-given-up."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from node.alarms.watched import Watched, first_few, is_newest
from node.ledger import DispatchState, Trouble, now, schema
from node.numbers_in_words import counted_studies
from node.overview.figures import FORGOTTEN_S, LATELY_S, UNCONFIRMED_WAITS, backlogs
from node.overview.health import Alarm

_AGAIN = "what waits is sent by itself once it can be"


def delivery_failing(watched: Watched) -> Iterator[Trouble]:
    """Yield each destination that has lacked results for long, or does not confirm them."""
    config = watched.config
    with watched.ledger.reading() as db:
        at = float(db.execute(sa.select(now())).scalar_one())
    for backlog in backlogs(watched.ledger):
        name = watched.destination(backlog.destination)
        lacks = "has not acknowledged the triage levels" if backlog.is_list else "lacks the results"
        if backlog.since is not None and at - backlog.since > config.alarms.failing_minutes * 60:
            yield Trouble(
                "delivery-failing",
                backlog.destination,
                Alarm.ACT,
                f"{name} {lacks} of {counted_studies(backlog.studies)}: "
                f"{backlog.error or 'no attempt has ended'}",
                f"see that it runs and can be reached; `ai-node doctor` examines it; {_AGAIN}",
                backlog.since,
            )
        taken_at = backlog.unconfirmed_since
        waits_s = UNCONFIRMED_WAITS * config.delivery.commitment_wait_s
        if taken_at is not None and at - taken_at > waits_s:
            yield Trouble(
                "delivery-failing",
                f"{backlog.destination}: confirmation",
                Alarm.LOOK,
                f"{name} took results and has not confirmed them"
                + (f": {backlog.error}" if backlog.error else ""),
                "see in it that they are there; if they are not, they are sent again by themselves",
                taken_at,
            )


def delivery_given_up(watched: Watched) -> Iterator[Trouble]:
    """Yield each destination of which results are not sent any more, and "" if they have none."""
    with watched.ledger.reading() as db:
        dispatches = _dead(db, schema.dispatch)
        messages = _dead(db, schema.message)
        stranded = _stranded_studies(db)
    for what, found in (("results", dispatches), ("triage levels", messages)):
        for destination, rows in found.items():
            yield _given_up(watched, destination, what, rows)
    if stranded:
        uids = [row.study_uid for row in stranded]
        yield Trouble(
            "delivery-given-up",
            "",
            Alarm.ACT,
            f"the results of {counted_studies(len(uids))} have no destination",
            "see `results_to` and `receives` of their sender; then `ai-node retry`",
            stranded[-1].since,
            stranded[0].since,
            first_few(uids),
        )


def _given_up(
    watched: Watched, destination: str, what: str, rows: list[sa.Row[tuple[str, str, float, str]]]
) -> Trouble:
    uids = list(dict.fromkeys(row.study_uid for row in rows))
    name, error = watched.destination(destination), next((r.error for r in rows if r.error), "")
    words = f"{name}: the {what} of {counted_studies(len(uids))} were given up"
    is_late = rows[0].at - rows[0].since < LATELY_S
    return Trouble(
        "delivery-given-up",
        destination,
        Alarm.ACT if is_late else Alarm.LOOK,
        f"{words}: {error}" if error else words,
        "`ai-node doctor` examines it; mend that, then `ai-node retry`",
        rows[-1].since,
        rows[0].since,
        first_few(uids),
    )


def _dead(
    db: sa.Connection, table: sa.Table
) -> dict[str, list[sa.Row[tuple[str, str, float, str]]]]:
    """Return what is given up, by destination, the newest first."""
    study = schema.study
    is_its = study.c.study_uid == table.c.study_uid
    if table is schema.dispatch:
        version = schema.study_version
        is_version = (version.c.study_uid == table.c.study_uid) & (
            version.c.number == table.c.number
        )
        joined = table.join(study, is_newest(table)).join(version, is_version)
        ready_at: sa.ColumnElement[float] = sa.func.coalesce(
            version.c.finished_at, version.c.closed_at
        )
        said = sa.literal("given up sending to ") + table.c.destination + ": %"
    else:
        joined, ready_at = table.join(study, is_its), table.c.made_at
        said = table.c.destination + " did not take what it was told %"
    # When it was given up last, as the study's history says; of a release that did not say it so,
    # when its time was over, or it was ready.
    history = schema.history
    given_up = sa.select(sa.func.max(history.c.at)).where(
        history.c.study_uid == table.c.study_uid, history.c.event.like(said)
    )
    since = sa.func.coalesce(
        given_up.scalar_subquery(),
        sa.case((table.c.deadline_at <= now(), table.c.deadline_at), else_=ready_at),
    )
    query = (
        sa.select(
            table.c.destination,
            table.c.study_uid,
            since.label("since"),
            table.c.error,
            now().label("at"),
        )
        .select_from(joined)
        .where(table.c.state == DispatchState.DEAD, study.c.held_reason.is_(None))
        .where(ready_at > now() - FORGOTTEN_S)
        .order_by(since.desc())
    )
    found: dict[str, list[sa.Row[tuple[str, str, float, str]]]] = {}
    for row in db.execute(query):
        found.setdefault(row.destination, []).append(row)
    return found


def _stranded_studies(db: sa.Connection) -> list[sa.Row[tuple[str, float]]]:
    study, version = schema.study, schema.study_version
    query = (
        sa.select(version.c.study_uid, version.c.finished_at.label("since"))
        .select_from(version.join(study, is_newest() & study.c.held_reason.is_(None)))
        .where(sa.literal_column("study_version.state = 'finished'"))  # in its index's words
        .where(version.c.error.is_not(None), version.c.finished_at > now() - LATELY_S)
        .order_by(version.c.finished_at.desc())
    )
    return list(db.execute(query))
