"""How the node is: which of its parts are ill, since when, and what to do about it.

Read from the ledger alone, in which each node writes at its heartbeat what it lacks: whoever asks,
a command, the page or the monitoring of any machine, hears the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import sqlalchemy as sa

from node.config import Config
from node.ledger import Ledger, Nodes, OwnPart, Presence, Role, VersionState, now, schema
from node.toml_file import shown

LATE_S = 600.0
"""A study that has waited so long for its analysis to begin waits too long."""
LONG_S = 3600.0
"""A study that is still being analysed so long after it was complete may never end."""

_LOOK = "journalctl -u ai-node says why"


class Alarm(IntEnum):
    """Whether somebody should do something: the exit code of `status`, `nodes` and `studies`."""

    NONE = 0
    LOOK = 1
    """When there is time: nothing stands still."""
    ACT = 2
    """Now: something does not come in, is not analysed, or does not reach who should have it."""


@dataclass(frozen=True, slots=True)
class NodePart:
    """A part of the node, or a node of several, and how it is."""

    name: str
    """database, listener, worker, inference, disk, or "node HOST:FOLDER"."""
    alarm: Alarm
    words: str
    since: float | None = None
    """When it fell ill, epoch seconds, UTC; None if it is well, or that is not known."""
    what_to_do: str = ""

    @property
    def is_ill(self) -> bool:
        """Whether anything is wrong with it."""
        return self.alarm > Alarm.NONE


def node_parts(ledger: Ledger, config: Config) -> tuple[NodePart, ...]:
    """Return every part; whoever asks catches SQLAlchemyError (`database_away`)."""
    presences = Nodes(ledger).presences()
    live = [one for one in presences if one.state == "alive"]
    listening = [one for one in live if one.role in (Role.ALL, Role.LISTENER)]
    working = [one for one in live if one.role in (Role.ALL, Role.WORKER)]
    return (
        NodePart("database", Alarm.NONE, f"{shown(config.database_url)} answers"),
        _listener(presences, listening),
        _worker(ledger, presences, working),
        _inference(working),
        _disk(live),
        *map(_node, presences),
    )


def worst_alarm(found: Sequence[NodePart]) -> Alarm:
    """Return how urgent the most urgent of some parts is."""
    return max((part.alarm for part in found), default=Alarm.NONE)


def database_away(
    error: sa.exc.SQLAlchemyError, config: Config, since: float | None = None
) -> NodePart:
    """Return the part that a database is which does not answer; its password is not said."""
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    return NodePart(
        "database",
        Alarm.ACT,
        f"{shown(config.database_url)} does not answer: {reason}",
        since,
        "see that it runs and that this machine reaches it; meanwhile images are refused, and "
        "their senders send them again",
    )


def _listener(presences: Sequence[Presence], listening: Sequence[Presence]) -> NodePart:
    if not listening:
        return _nobody("listener", "listens", presences, (Role.ALL, Role.LISTENER))
    lacking = _lacking(listening, OwnPart.LISTENER)
    if len(lacking) < len(listening):
        return NodePart(
            "listener", Alarm.NONE, f"{_places(listening)} {_verb(listening, 'listen')}"
        )
    return _ill("listener", lacking, f"look into its log and start it again: {_LOOK}")


def _worker(ledger: Ledger, presences: Sequence[Presence], working: Sequence[Presence]) -> NodePart:
    if not working:
        return _nobody("worker", "works", presences, (Role.ALL, Role.WORKER))
    lacking = _lacking(working, OwnPart.QUEUE, OwnPart.SWEEPS)
    if len(lacking) == len(working):
        return _ill("worker", lacking, f"look into its log and start it again: {_LOOK}")
    words = f"{_places(working)} {_verb(working, 'work')}"
    return _late(ledger) or _long(ledger) or NodePart("worker", Alarm.NONE, words)


def _late(ledger: Ledger) -> NodePart | None:
    """Return that studies wait for too long though somebody works, None if they do not."""
    table = schema.study_version
    is_waiting = table.c.state == VersionState.QUEUED
    waiting = sa.select(sa.func.count(), sa.func.min(table.c.closed_at), now()).where(is_waiting)
    with ledger.reading() as db:
        count, oldest, at = db.execute(waiting).one()
        if not count or at - oldest < LATE_S:
            return None
        last = db.execute(sa.select(sa.func.max(table.c.finished_at))).scalar_one()
    studies = "1 study waits" if count == 1 else f"{count} studies wait"
    if last is not None and at - last < LATE_S:
        words = (
            f"{studies} for analysis, one since {in_round_units(at - oldest)}; others are finished"
        )
        more = "[inference] processes, or another machine, if this is so day after day"
        return NodePart("worker", Alarm.LOOK, words, oldest, f"they are worked off; {more}")
    words = f"{studies} for analysis, one since {in_round_units(at - oldest)}, and none is finished"
    remedy = f"`ai-node studies` says what failed, or {_LOOK}; then start the node again"
    return NodePart("worker", Alarm.ACT, words, oldest, remedy)


def _long(ledger: Ledger) -> NodePart | None:
    """Return that studies are analysed for too long, None if they are not."""
    table = schema.study_version
    is_long = (table.c.state == VersionState.RUNNING) & (table.c.closed_at < now() - LONG_S)
    query = sa.select(sa.func.count(), sa.func.min(table.c.closed_at), now()).where(is_long)
    with ledger.reading() as db:
        count, oldest, at = db.execute(query).one()
    if not count:
        return None
    studies = "1 study is" if count == 1 else f"{count} studies are"
    words = f"{studies} still being analysed, one complete since {in_round_units(at - oldest)}"
    remedy = f"`ai-node studies --state running` says which; {_LOOK}; if it hangs, start it again"
    return NodePart("worker", Alarm.LOOK, words, oldest, remedy)


def _inference(working: Sequence[Presence]) -> NodePart:
    lacking = _lacking(working, OwnPart.INFERENCE)
    slowed = _lacking(working, OwnPart.SOME_INFERENCE)
    if slowed and not lacking:
        remedy = f"the others do its work, more slowly: memory, and [inference] memory_mb; {_LOOK}"
        return _ill("inference", slowed, remedy, Alarm.LOOK)
    if not lacking:
        words = "its processes start" if working else "nobody works"
        return NodePart("inference", Alarm.NONE, words)
    remedy = f"studies wait until it is mended: memory, and [inference] memory_mb; {_LOOK}"
    is_all = len(lacking) == len(working)
    return _ill("inference", lacking, remedy, Alarm.ACT if is_all else Alarm.LOOK)


def _disk(live: Sequence[Presence]) -> NodePart:
    lacking = _lacking(live, OwnPart.DISK)
    if not lacking:
        words = "there is room, and it can be written to" if live else "no node says how it is"
        return NodePart("disk", Alarm.NONE, words)
    return _ill("disk", lacking, "make room or use a larger disk; images are refused meanwhile")


def _node(one: Presence) -> NodePart:
    name = f"node {one.place}"
    said = {"all": "listens and works", "listener": "listens", "worker": "works", "web": "shows"}
    if one.state == "stopped":
        return NodePart(name, Alarm.NONE, f"was stopped {in_round_units(one.heard_of_s)} ago")
    if one.state == "silent":
        return NodePart(
            name,
            Alarm.LOOK,
            f"has said nothing for {in_round_units(one.heard_of_s)}, and did not say that it stops",
            one.last_at,
            f"start it again (systemctl start ai-node); {_LOOK}. One that is gone for good is "
            "forgotten after a week",
        )
    if one.ill:
        words = "; ".join(f"{part}: {ill.words}" for part, ill in one.ill.items())
        if set(one.ill) == {OwnPart.CONFIGURATION}:
            ill = one.ill[OwnPart.CONFIGURATION]
            remedy = "it works on by the former one: correct it (`ai-node check`), then reload it"
            return NodePart(name, Alarm.LOOK, ill.words, ill.since, f"{remedy} (docs/operate.md)")
        only_shows = {OwnPart.PAGE, OwnPart.ALARMS, OwnPart.MONITORING}.issuperset(one.ill)
        remedy = "the node works on without it" if only_shows else "what the other lines say"
        since = min(ill.since for ill in one.ill.values())
        return NodePart(name, Alarm.LOOK, words, since, f"{remedy}; {_LOOK}")
    return NodePart(
        name, Alarm.NONE, f"{said[one.role]}, heard of {in_round_units(one.heard_of_s)} ago"
    )


def _nobody(name: str, verb: str, presences: Sequence[Presence], roles: Sequence[Role]) -> NodePart:
    """Return that nobody does what one of these roles does, since the last who did ended."""
    former = [one for one in presences if one.role in roles]
    last = max(former, key=lambda one: one.last_at, default=None)
    remedy = "start it: systemctl start ai-node, or `ai-node run`"
    if last is None:
        return NodePart(name, Alarm.ACT, f"no node {verb}", None, remedy)
    how = "was stopped" if last.state == "stopped" else "ended without saying so"
    why = "".join(f" ({part}: {ill.words})" for part, ill in last.ill.items())
    words = f"no node {verb}: {last.place} {how}{why}"
    return NodePart(name, Alarm.ACT, words, last.last_at, f"{remedy}; {_LOOK}")


def _lacking(nodes: Sequence[Presence], *own_parts: OwnPart) -> list[tuple[Presence, OwnPart]]:
    """Return which nodes lack one of these of their own parts, and the first that each lacks."""
    found = []
    for node in nodes:
        ill = sorted((node.ill[part].since, part) for part in own_parts if part in node.ill)
        found += [(node, ill[0][1])] if ill else []
    return found


def _ill(
    name: str,
    lacking: Sequence[tuple[Presence, OwnPart]],
    remedy: str,
    alarm: Alarm = Alarm.ACT,
) -> NodePart:
    said = [f"{node.place}: {node.ill[part].words}" for node, part in lacking]
    since = min(node.ill[part].since for node, part in lacking)
    return NodePart(name, alarm, "; ".join(said), since, remedy)


def _places(nodes: Sequence[Presence]) -> str:
    return nodes[0].place if len(nodes) == 1 else f"{len(nodes)} nodes"


def _verb(nodes: Sequence[Presence], verb: str) -> str:
    return f"{verb}s" if len(nodes) == 1 else verb


def in_round_units(seconds: float) -> str:
    """Return a time in the unit that people would say it in."""
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{int(seconds // unit_s)} {unit}"
    return f"{max(seconds, 0):.0f} s"
