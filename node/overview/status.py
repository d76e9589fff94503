"""What `ai-node status` says: what somebody should look at and why, and the figures behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from node.config import Config
from node.errors import NodeError
from node.ledger import Alarming, BackingUp, LastBackup, Ledger, Nodes, Outstanding, RaisedAlarm
from node.numbers_in_words import counted as counted_things
from node.numbers_in_words import counted_studies
from node.overview.disk_space import DiskSpace, disk_spaces
from node.overview.figures import (
    FORGOTTEN_S,
    LACKS_ACT_S,
    LACKS_LOOK_S,
    LATELY_S,
    UNCONFIRMED_WAITS,
    Backlog,
    Figures,
    figures,
)
from node.overview.health import Alarm, NodePart, database_away, in_round_units, node_parts
from node.overview.space_taken import (
    Blocked,
    blocked_in_words,
    filling,
    gigabytes,
    space_blocked,
)
from node.overview.standing import Standing, StudyOverview
from node.overview.unnamed import waits_for_nobody

_REMARKED = frozenset(
    {"delivery-failing", "delivery-given-up", "study-held", "not-analysed", "disk", "part-ill"}
)
"""Rules of which remarks of their own tell, too."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to be looked at or done."""

    alarm: Alarm
    words: str
    next: str
    """What to do about it: a command, or what to mend."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a node is, on one screen. Times are epoch seconds, UTC."""

    alarm: Alarm
    """The most urgent of all remarks."""
    remarks: tuple[Remark, ...] = ()
    parts: tuple[NodePart, ...] = ()
    figures: Figures | None = None
    """None if the ledger cannot be read, or is not there."""
    disks: tuple[DiskSpace, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    """What takes space in the store and may not be removed."""
    raised: tuple[RaisedAlarm, ...] = ()
    """What somebody was told of, and is not over. What is still found is among the remarks."""
    backup: LastBackup | None = None
    """The last whole one by `ai-node backup`; None if there never was one."""


def node_status(ledger: Ledger, config: Config) -> Status:
    """Return how the node is, also if its database has just ceased to answer."""
    try:
        parts = node_parts(ledger, config)
        counted = figures(ledger, senders_of(config), open_days=config.open_days)
        disks = disk_spaces(ledger, config)
        blocked = space_blocked(ledger, config)
        raised = tuple(Alarming(ledger).raised())
        backup = BackingUp(ledger).last()
        waiting = list(waits_for_nobody(ledger, config))
    except sa.exc.SQLAlchemyError as error:
        away = database_away(error, config)
        return Status(away.alarm, (_of_part(away, None),), (away,))
    found = [
        *(_of_part(part, counted.at) for part in parts if part.is_ill),
        *_of_deliveries(counted, config.delivery.commitment_wait_s),
        *_of_studies(counted),
        *_of_newcomers(ledger, counted),
        *_of_unnamed(waiting),
        *_of_disks(disks, config, blocked),
    ]
    found += _of_alarms(raised, counted.at, max((one.alarm for one in found), default=Alarm.NONE))
    remarks = tuple(sorted(found, key=lambda remark: -remark.alarm))
    alarm = max((remark.alarm for remark in remarks), default=Alarm.NONE)
    return Status(alarm, remarks, parts, counted, disks, blocked, raised, backup)


def status_without_ledger(error: NodeError) -> Status:
    """Return that nothing can be said, and why: no node has run, or the database is away."""
    return Status(Alarm.ACT, (_unsaid(error),))


def status_by_former(error: NodeError, ledger: Ledger, config: Config) -> Status:
    """Return how the nodes are that a wrong configuration file does not reach.

    Whatever is read from the rest of a configuration is not said: it is not known what they go by.
    """
    try:
        parts = node_parts(ledger, config)
        live = any(one.state == "alive" for one in Nodes(ledger).presences())
    except sa.exc.SQLAlchemyError as away:
        part = database_away(away, config)
        return Status(Alarm.ACT, (_unsaid(error), _of_part(part, None)), (part,))
    ill = (_of_part(one, time.time()) for one in parts if one.is_ill)
    found = [_unsaid(error), *sorted(ill, key=lambda remark: -remark.alarm)]
    if live:
        words = "what runs works on by the configuration it had"
        then = "correct the file before it is reloaded or started again; then this says all"
        found.append(Remark(Alarm.LOOK, words, then))
    return Status(Alarm.ACT, tuple(found), parts)


def _unsaid(error: NodeError) -> Remark:
    return Remark(Alarm.ACT, str(error), "mend that; `ai-node doctor` examines everything")


def study_alarm(study: StudyOverview) -> Alarm:
    """Return whether somebody should do something about one study.

    What nobody has done for a week is not urgent, and after a month not asked for any more.
    """
    ready_at = study.analysed_at or study.closed_at or study.last_at
    age_s = study.asked_at - ready_at
    if study.state == Standing.UNDELIVERED and age_s < FORGOTTEN_S:
        return Alarm.ACT if age_s < LATELY_S else Alarm.LOOK
    if study.state == Standing.CANCELLED and age_s < FORGOTTEN_S:
        return Alarm.ACT if age_s < LATELY_S and study.version == 1 else Alarm.LOOK
    return Alarm.LOOK if study.state == Standing.HELD else Alarm.NONE


def senders_of(config: Config) -> tuple[str, ...]:
    """Return the names of the peers that may send."""
    return tuple(peer.name for peer in config.peers if peer.sends)


def _of_part(part: NodePart, at: float | None) -> Remark:
    since = "" if part.since is None or at is None else f", since {_moment(part.since, at)}"
    return Remark(part.alarm, f"{part.name}: {part.words}{since}", part.what_to_do)


def _of_unnamed(waiting: Sequence[str]) -> Iterator[Remark]:
    for words in waiting:
        said, _, remedy = words.partition(": ")
        yield Remark(Alarm.ACT, said, remedy)


def _of_deliveries(counted: Figures, commitment_wait_s: float) -> Iterator[Remark]:
    for backlog in counted.backlogs:
        yield from _of_backlog(backlog, counted.at, commitment_wait_s)
    if counted.stranded:
        lately = counted.stranded_lately
        words = f"the results of {counted_studies(counted.stranded)} have no destination"
        then = "see `results_to` and `receives` of their sender; then `ai-node retry`"
        yield Remark(Alarm.ACT if lately else Alarm.LOOK, words, then)


def _of_backlog(backlog: Backlog, at: float, commitment_wait_s: float) -> Iterator[Remark]:
    name = backlog.destination
    if backlog.given_up:
        what = "the triage levels" if backlog.is_list else "the results"
        words = f"{name}: {what} of {counted_studies(backlog.given_up)} were given up"
        words += f": {backlog.why_given_up}" if backlog.why_given_up else ""
        alarm = Alarm.ACT if backlog.given_up_lately else Alarm.LOOK
        then = (
            "`ai-node alarm list` names studies of which that is so; `ai-node doctor` examines it; "
        )
        yield Remark(alarm, words, f"{then}mend that, then `ai-node retry`")
    if backlog.since is not None and at - backlog.since > LACKS_LOOK_S:
        lacks = "has not acknowledged the triage levels" if backlog.is_list else "lacks the results"
        words = f"{name} {lacks} of {counted_studies(backlog.studies)}, since "
        words += f"{_moment(backlog.since, at)}: {backlog.error or 'no attempt has ended'}"
        alarm = Alarm.ACT if at - backlog.since > LACKS_ACT_S else Alarm.LOOK
        yield Remark(
            alarm, words, "`ai-node doctor` examines it; what waits goes by itself once it is back"
        )
    taken_at = backlog.unconfirmed_since
    if taken_at is not None and at - taken_at > UNCONFIRMED_WAITS * commitment_wait_s:
        words = f"{name} took results and has not confirmed them, since {_moment(taken_at, at)}"
        words += f": {backlog.error}" if backlog.error else ""
        then = "see in it that they are there; if they are not, they are sent again by themselves"
        yield Remark(Alarm.LOOK, words, then)


def _of_studies(counted: Figures) -> Iterator[Remark]:
    held = counted.standing(Standing.HELD)
    if held:
        words = f"{counted_studies(held)} held: nothing of it is analysed or sent"
        yield Remark(Alarm.LOOK, words, "`ai-node studies --state held` says why of each")
    if counted.cancelled:
        words = (
            f"{counted_studies(counted.cancelled)} cannot be analysed, so that there is no result"
        )
        then = "`ai-node studies --state cancelled` says why; mend that, then `ai-node release`"
        yield Remark(Alarm.ACT if counted.cancelled_lately else Alarm.LOOK, words, then)


def _of_newcomers(ledger: Ledger, counted: Figures) -> Iterator[Remark]:
    if not counted.standing(Standing.EXCLUDED):
        return
    for one in Outstanding(ledger).excluded():
        if one.is_newcomer:
            words = f"everything that {one.sender} has sent so far is excluded from analysis"
            words += f": {counted_studies(one.excluded)}, {'; '.join(one.reasons)}"
            then = "`ai-node release` with a UID has one analysed, "
            yield Remark(Alarm.LOOK, words, f"{then}[intake] says which are not by themselves")


def _of_disks(
    disks: Sequence[DiskSpace], config: Config, blocked: Sequence[Blocked]
) -> Iterator[Remark]:
    for disk in disks:
        is_full = disk.free <= disk.least_free  # which the part says
        if disk.folder != config.store_dir or is_full:
            continue
        found = filling(disk, config.node.least_free, blocked)
        if found is not None:
            yield Remark(Alarm.LOOK, found.words, found.what_to_do)


def _of_alarms(raised: Sequence[RaisedAlarm], at: float, worst: Alarm) -> Iterator[Remark]:
    """Yield what is still found, unless a remark that is as urgent tells of it already."""
    for one in raised:
        if one.is_found(at) and (one.rule not in _REMARKED or one.urgency > worst):
            words = f"{one.words}, since {_moment(one.since, at)}"
            yield Remark(Alarm(one.urgency), words, one.what_to_do)


def status_as_json(status: Status) -> dict[str, Any]:
    """Return what `--json` prints."""
    counted = status.figures
    found: dict[str, Any] = {
        "alarm": int(status.alarm),
        "word": _WORDS[status.alarm],
        "remarks": [asdict(remark) for remark in status.remarks],
        "parts": [asdict(part) | {"is_ill": part.is_ill} for part in status.parts],
        "disks": [asdict(disk) | {"folder": str(disk.folder)} for disk in status.disks],
        "blocked": [asdict(one) for one in status.blocked],
        "alarms": [asdict(one) for one in status.raised],
        "backup": status.backup and asdict(status.backup),
    }
    if counted is None:
        return found
    return found | {
        "at": counted.at,
        "studies": {str(state): counted.standing(state) for state in Standing},
        "waiting_since": counted.waiting_since,
        "unread": {
            level: {"studies": count, "since": since}
            for level, (count, since) in counted.unread.items()
        },
        "backlogs": [asdict(backlog) for backlog in counted.backlogs],
        "stranded": counted.stranded,
        "cancelled": counted.cancelled,
        "last_images": dict(counted.last_images),
    }


_WORDS = {Alarm.NONE: "ok", Alarm.LOOK: "look", Alarm.ACT: "act"}


def status_in_lines(status: Status) -> Iterator[str]:
    """Yield one screen, the most urgent first."""
    for remark in status.remarks:
        yield f"{_WORDS[remark.alarm].upper():<5} {remark.words}"
        yield f"      next: {remark.next}"
    if not status.remarks:
        yield "OK    nothing has to be done"
    counted = status.figures
    if counted is None and not status.parts:
        return
    yield ""
    for name, words in (
        *(() if counted is None else _rows_of_ledger(status, counted)),
        *_row_of_parts(status),
    ):
        yield f"{name:<12} {words}"


def _rows_of_ledger(status: Status, counted: Figures) -> Iterator[tuple[str, str]]:
    yield from _rows(counted)
    yield from rows_of_disks(status.disks)
    yield from rows_of_blocked(status.blocked, counted.at)
    yield from _row_of_backup(status, counted.at)
    yield from _rows_of_alarms(status, counted.at)


def _rows(counted: Figures) -> Iterator[tuple[str, str]]:
    counts = {state: counted.standing(state) for state in Standing}
    listed = [f"{count} {state}" for state, count in counts.items() if count]
    yield "studies", f"{sum(counts.values())}{': ' if listed else ''}{', '.join(listed)}"
    queued = counts[Standing.QUEUED]
    if counted.waiting_since is not None and queued:
        since = _moment(counted.waiting_since, counted.at)
        yield "waiting", f"{counted_studies(queued)} for analysis, the oldest since {since}"
    for level, (count, since_s) in counted.unread.items():
        waited = in_round_units(counted.at - since_s)
        yield level, f"{counted_studies(count)} not marked as read, the oldest waits {waited}"
    for backlog in counted.backlogs:
        yield f"to {backlog.destination}", _backlog_in_words(backlog, counted.at)
    for sender, at in counted.last_images.items():
        yield f"from {sender}", f"last image {in_round_units(counted.at - at)} ago"


def _backlog_in_words(backlog: Backlog, at: float) -> str:
    words = []
    if backlog.studies:
        objects = counted_things(backlog.objects, "object")
        if backlog.is_list:
            objects = counted_things(backlog.messages, "message")
        taken_at = backlog.unconfirmed_since
        since = (
            "" if taken_at is None else f", taken and not confirmed since {_moment(taken_at, at)}"
        )
        since = since if backlog.since is None else f", since {_moment(backlog.since, at)}"
        words.append(f"{counted_studies(backlog.studies)} ({objects}) on the way{since}")
    if backlog.next_at is not None:
        due_s = backlog.next_at - at
        words.append(f"next attempt {f'in {in_round_units(due_s)}' if due_s > 0 else 'due'}")
    if backlog.given_up:
        words.append(f"{counted_studies(backlog.given_up)} given up")
    error = backlog.error or backlog.why_given_up
    return f"{', '.join(words)}{f': {error}' if error else ''}"


def rows_of_disks(disks: Sequence[DiskSpace]) -> Iterator[tuple[str, str]]:
    """Yield what is said of each disk: how full it is, and how many days of what comes fit."""
    for disk in disks:
        room = f"{gigabytes(disk.free)} of {gigabytes(disk.total)} free"
        yield "disk", f"{room} for {disk.name}{_full_in(disk)}{_watermarks(disk)}"
        if disk.days_that_fit is not None:
            days = f"{disk.days_that_fit:.0f}" if disk.days_that_fit < 3650 else "over 3650"
            words = f"{disk.a_day / 1e9:.2f} GB came a day in the last week"
            yield "a day", f"{words}: {days} days of that fit on the disk"


def _watermarks(disk: DiskSpace) -> str:
    """Say how much is in use, if something begins at a share of the disk."""
    begins = [
        f"{what} from {percent:g} % on"
        for what, percent in (("cleaned", disk.clean_from), ("refused", disk.refuse_from))
        if percent is not None
    ]
    return f"; {disk.used_percent:.0f} % in use, {', '.join(begins)}" if begins else ""


def rows_of_blocked(blocked: Sequence[Blocked], at: float) -> Iterator[tuple[str, str]]:
    """Yield what takes space and may not be removed, with the oldest of it."""
    for one in blocked:
        words = blocked_in_words(one)
        if one.oldest:
            first = one.oldest[0]
            words += f", the oldest {first.study_uid}, {in_round_units(at - first.last_at)} old"
        yield "blocked", words


def _row_of_backup(status: Status, at: float) -> Iterator[tuple[str, str]]:
    if status.backup is not None:
        words = f"as of {_moment(status.backup.began_at, at)}, in {status.backup.to}"
        if any(disk.backup for disk in status.disks):
            words += ", on the disk of store_dir: what it has frees no room before the next one"
        yield "backup", words


def _rows_of_alarms(status: Status, at: float) -> Iterator[tuple[str, str]]:
    for one in status.raised:
        words = f"{one.rule}, since {_moment(one.since, at)}: {one.words}"
        if not one.is_found(at):
            words += f" (not found any more since {_moment(one.seen_at, at)}; soon over)"
        yield "alarm", words


def _row_of_parts(status: Status) -> Iterator[tuple[str, str]]:
    well = [part.name for part in status.parts if not part.is_ill]
    if well:
        yield "well", ", ".join(well)


def _full_in(disk: DiskSpace) -> str:
    if disk.days_left is None:
        return ""
    days = disk.days_left
    return f", full in {days:.0f} days" if days < 3650 else ", enough for ten years"


def _moment(since: float, at: float) -> str:
    """Return a time of this machine's clock on the wall, and how long ago that is."""
    form = "%H:%M" if at - since < 43_200 else "%Y-%m-%d %H:%M"
    wall = datetime.fromtimestamp(since).astimezone().strftime(form)
    return f"{wall} ({in_round_units(at - since)} ago)"
