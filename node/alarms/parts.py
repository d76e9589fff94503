"""Rules about the node itself: part-ill."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from node.alarms.channels import alarm_channels
from node.alarms.watched import Watched
from node.ledger import Alarming, Trouble, now, schema
from node.numbers_in_words import counted
from node.overview.health import Alarm, NodePart, node_parts

CHANNEL = "alarms by "
"""What the subject of a channel that takes nothing begins with."""
_CHANNEL_LATE_S = 900.0
_STARTS = 5
_STARTS_WITHIN_S = 3600.0


def parts_ill(watched: Watched) -> Iterator[Trouble]:
    """Yield each part that is ill.

    Of the disk another rule tells. A node of which the parts tell is not told of once more.
    """
    found = [part for part in node_parts(watched.ledger, watched.config) if part.is_ill]
    shared = [part for part in found if not part.name.startswith("node ")]
    with watched.ledger.reading() as db:
        at = float(db.execute(sa.select(now())).scalar_one())
    for part in found:
        place = part.name.removeprefix("node ")
        is_told = part not in shared and any(place in one.words for one in shared)
        if part.name != "disk" and not is_told:
            yield trouble_of_part(part, at)


def trouble_of_part(part: NodePart, at: float) -> Trouble:
    """Return a part that is ill as what somebody is told of."""
    since = at if part.since is None else part.since
    words = f"{part.name}: {part.words}"
    return Trouble("part-ill", part.name, part.alarm, words, part.what_to_do, since)


def starts_again(watched: Watched) -> Iterator[Trouble]:
    """Yield each node that keeps starting: what is ill with it ends it before it can be told."""
    table = schema.node
    query = (
        sa.select(table.c.place, sa.func.count(), sa.func.min(table.c.started_at))
        .where(table.c.started_at > now() - _STARTS_WITHIN_S, table.c.place.is_not(None))
        .group_by(table.c.place)
        .having(sa.func.count() >= _STARTS)
    )
    with watched.ledger.reading() as db:
        rows = db.execute(query).all()
    for place, count, first in rows:
        where = place.rpartition(" ")[0]
        yield Trouble(
            "part-ill",
            f"starts of {where}",
            Alarm.ACT,
            f"{where} has started {counted(count, 'time')} within an hour",
            "journalctl -u ai-node says what ends it",
            first,
        )


def channels_late(watched: Watched) -> Iterator[Trouble]:
    """Yield each channel that has not taken what it is to tell; told by the others."""
    channels = alarm_channels(watched.config)  # for one that is removed nobody can do anything
    for late in Alarming(watched.ledger).late_channels(_CHANNEL_LATE_S):
        if late.channel not in channels:
            continue
        yield Trouble(
            "part-ill",
            f"{CHANNEL}{late.channel}",
            Alarm.LOOK,
            f"{counted(late.notices, 'notice')} of alarms cannot be told by {late.channel}: "
            f"{late.error}",
            "mend it, or [alarms] in node.toml; `ai-node alarm test` tries it",
            late.since,
        )
