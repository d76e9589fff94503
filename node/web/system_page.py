"""How the node is: its parts, peers, models, disks, and the nodes beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from node.ledger import Alarming, Mode, NoticeState, Presence, RaisedAlarm, Role, WebRole
from node.numbers_in_words import counted, counted_studies, share_in_percent
from node.overview.disk_space import DiskSpace
from node.overview.shared_count import SharedCount
from node.overview.space_taken import blocked_in_words
from node.overview.system import (
    LATELY_BEFORE_DAYS,
    ModelCounts,
    ModelDoings,
    PeerOverview,
    SystemCounts,
    system_overview,
)
from node.web.backend import backend_of, person_of
from node.web.charts import Chart, score_chart
from node.web.showing import render

_DOES = {
    Role.ALL: "receives, works, shows",
    Role.LISTENER: "receives",
    Role.WORKER: "works",
    Role.WEB: "shows",
}
_KINDS = {
    "folder": "folder, gets results",
    "hl7": "HL7, is told of levels",
    "webhook": "webhook, is told of levels",
}
_MOST_REFUSALS = 8
"""Reasons that are told of a model, the most frequent first."""


@dataclass(frozen=True, slots=True)
class _PeerLine:
    peer: PeerOverview
    roles: str
    backlog: Sequence[str]
    troubles: Sequence[tuple[float, str]]
    """What last went wrong, the newest first."""


@dataclass(frozen=True, slots=True)
class _ModelLine:
    name: str
    version: str
    mode: str
    is_shadow: bool
    counts: Sequence[tuple[str, str, str]]
    """What, today, the days before."""
    chart: Chart | None


@dataclass(frozen=True, slots=True)
class _DiskLine:
    name: str
    folder: str
    free: int
    total: int
    full_in: str
    used: str
    """How much is in use, and what begins from when on."""


@dataclass(frozen=True, slots=True)
class _NodeLine:
    place: str
    does: str
    state: str
    is_bad: bool
    last_at: float


@dataclass(frozen=True, slots=True)
class _AlarmLine:
    alarm: RaisedAlarm
    told: str
    """Whom, and whom not."""
    quiet_since: float | None
    """It is not found any more since then, and will be over if that stays so."""


def system_view(request: Request) -> Response:
    """Show how the node is."""
    backend = backend_of(request)
    counts: SharedCount[SystemCounts] = request.app.state.system_counts
    system = system_overview(backend.ledger, backend.config, counts.newest())
    is_operator = person_of(request).role == WebRole.OPERATOR
    alarming = Alarming(backend.ledger)
    at, _ = alarming.open_alarms()
    shown = [one for one in system.counts.models if is_operator or one.counted_in == Mode.DELIVER]
    return render(
        request,
        "system.html",
        is_renewed=True,
        parts=system.parts,
        own_parts=[part for part in system.parts if not part.name.startswith("node ")],
        peers=[_peer(one) for one in system.counts.peers],
        models=[_model(one) for one in shown],
        days=LATELY_BEFORE_DAYS,
        are_shadows_hidden=len(shown) < len(system.counts.models),
        disks=[_disk(one) for one in system.counts.disks],
        blocked=[(blocked_in_words(one), one.oldest) for one in system.counts.blocked],
        nodes=[_node(one) for one in system.nodes],
        alarms=[_alarm_line(one, at) for one in alarming.raised()],
    )


def _peer(one: PeerOverview) -> _PeerLine:
    does = [word for word, is_so in (("sends", one.sends), ("receives", one.receives)) if is_so]
    roles = _KINDS.get(one.kind) or ", ".join(does)
    roles = roles if one.is_configured else "not in the configuration any more"
    troubles = [(one.failed_at, one.failure), (one.rejected_at, one.rejection)]
    happened = [(at, words) for at, words in troubles if at is not None]
    return _PeerLine(one, roles, list(_backlog(one)), sorted(happened, reverse=True))


def _backlog(one: PeerOverview) -> Iterator[str]:
    if one.backlog is None:
        return
    if one.backlog.objects:
        objects = counted(one.backlog.objects, "object")
        yield f"{objects} of {counted_studies(one.backlog.studies)}"
    if one.backlog.messages:
        messages = counted(one.backlog.messages, "message")
        yield f"{messages} about {counted_studies(one.backlog.studies)}"
    if one.backlog.given_up:
        yield f"given up: {counted_studies(one.backlog.given_up)}"


def _model(one: ModelDoings) -> _ModelLine:
    return _ModelLine(
        name=one.name,
        version=one.version or "has read nothing yet",
        mode=one.mode or "none: it is not in the configuration any more",
        is_shadow=one.counted_in == Mode.SHADOW,
        counts=list(_counts(one.today, one.before)),
        chart=score_chart(one.today.scores, one.before.scores),
    )


def _counts(today: ModelCounts, before: ModelCounts) -> Iterator[tuple[str, str, str]]:
    yield "analyses", str(today.analyses), str(before.analyses)
    yield "images analysed", str(today.images), str(before.images)
    if today.triaged or before.triaged:
        yield "urgent, of those with a level", _share(today), _share(before)
    reasons = [*dict.fromkeys((*today.refusals, *before.refusals))]
    for reason in reasons[:_MOST_REFUSALS]:
        counts = [str(found.refusals.get(reason, 0)) for found in (today, before)]
        yield f"not analysed: {reason}", counts[0], counts[1]
    if len(reasons) > _MOST_REFUSALS:
        yield f"and {len(reasons) - _MOST_REFUSALS} other reasons", "", ""


def _share(counts: ModelCounts) -> str:
    share = counts.urgent_share
    return "-" if share is None else f"{share_in_percent(share)} ({counts.urgent})"


def _disk(one: DiskSpace) -> _DiskLine:
    days, kept = one.days_left, one.clean_from
    full_in = "not known: nothing has come in the last week"
    if days is not None:
        full_in = f"{days:.0f} days" if days < 3650 else "more than ten years"
    elif one.a_day:
        full_in = "not by what comes: images are removed before"
    used = f"{one.used_percent:.0f} % in use"
    used += f", cleaned from {kept:g} % on" if kept is not None else ""
    used += f", refused from {one.refuse_from:g} % on" if one.refuse_from is not None else ""
    return _DiskLine(one.name, str(one.folder), one.free, one.total, full_in, used)


def _node(one: Presence) -> _NodeLine:
    return _NodeLine(one.place, _DOES[one.role], one.state, one.state == "silent", one.last_at)


def _alarm_line(one: RaisedAlarm, at: float) -> _AlarmLine:
    words = {}
    for notice in one.notices:  # the newest of each channel counts
        words[notice.channel] = {
            NoticeState.SENT: "told by",
            NoticeState.QUEUED: "being told by",
            NoticeState.GIVEN_UP: "could not be told by",
        }[notice.state]
    said = ", ".join(f"{verb} {channel}" for channel, verb in words.items())
    said = said or "nobody is told: [alarms] names neither mail nor webhook"
    return _AlarmLine(one, said, None if one.is_found(at) else one.seen_at)
