"""How the node does: its parts, peers, models, disks, and the nodes beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from node.config import Config
from node.ledger import Ledger, Mode, Nodes, Presence, schema
from node.overview.disk_space import DiskSpace, disk_spaces
from node.overview.figures import FORGOTTEN_S, Backlog, Figures, figures
from node.overview.health import NodePart, node_parts
from node.overview.reading import DAY_S
from node.overview.reading_list import midnight
from node.overview.space_taken import Blocked, space_blocked
from node.overview.status import senders_of
from node.result import Priority

HISTOGRAM_BINS = 20
"""Of scores, 0..1: the first from 0 to 0.05."""
LATELY_BEFORE_DAYS = 30
_MOST_REFUSING = 2000
"""Of so many analyses, the newest, the refusals are counted: they stand beside long results."""


@dataclass(frozen=True, slots=True)
class PeerOverview:
    """What a peer, or another destination, did last.

    Times are epoch seconds, UTC; None if it never did since 0013.
    """

    name: str
    is_configured: bool
    """Else results may wait for it, or it was seen within a month, under a name that is gone."""
    kind: str = ""
    """Of a destination that is no peer, and never comes to us: folder, hl7, webhook."""
    sends: bool = False
    receives: bool = False
    seen_at: float | None = None
    """It came with an association."""
    object_at: float | None = None
    """An object that it sent was kept."""
    rejected_at: float | None = None
    """Something that it sent was not taken, or it was not let in."""
    rejection: str = ""
    """Why."""
    sent_at: float | None = None
    """It took an object of ours."""
    failed_at: float | None = None
    """It refused one, or could not be reached."""
    failure: str = ""
    backlog: Backlog | None = None
    """None if nothing waits for it, and nothing was given up."""


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """What a model did in some time."""

    analyses: int = 0
    """One for each version of a study that it read."""
    images: int = 0
    """That it analysed."""
    triaged: int = 0
    """Analyses to which it gave a level, whoever may rank."""
    urgent: int = 0
    refusals: Mapping[str, int] = field(default_factory=dict)
    """Images by the reason, the most frequent first; of the newest 2000 analyses."""
    scores: tuple[int, ...] = (0,) * HISTOGRAM_BINS
    """Analyses by their score."""

    @property
    def urgent_share(self) -> float | None:
        """Of the analyses that it gave a level to; None if there is none."""
        return self.urgent / self.triaged if self.triaged else None


@dataclass(frozen=True, slots=True)
class ModelDoings:
    """What a model did today, beside the days before, in one mode: it may have run in both."""

    name: str
    counted_in: Mode
    """Of these analyses it is counted, and of no other: what was said in shadow stays so."""
    mode: str
    """As configured: "off", "shadow", "deliver"; "" if the configuration does not name it."""
    version: str
    """Of its newest result in that mode, "" if there is none."""
    today: ModelCounts
    before: ModelCounts
    """In the `LATELY_BEFORE_DAYS` before today."""


@dataclass(frozen=True, slots=True)
class SystemCounts:
    """What takes long to count, so that those who ask often share it (`SharedCount`)."""

    figures: Figures
    peers: tuple[PeerOverview, ...]
    models: tuple[ModelDoings, ...]
    disks: tuple[DiskSpace, ...]
    blocked: tuple[Blocked, ...]
    """What takes space in the store and may not be removed."""


@dataclass(frozen=True, slots=True)
class SystemOverview:
    """How the node does."""

    counts: SystemCounts
    parts: tuple[NodePart, ...]
    """These and the nodes are as they are now."""
    nodes: tuple[Presence, ...]


def system_overview(ledger: Ledger, config: Config, counts: SystemCounts) -> SystemOverview:
    """Return all of it; whoever asks catches SQLAlchemyError, as of `node_parts`."""
    return SystemOverview(counts, node_parts(ledger, config), tuple(Nodes(ledger).presences()))


def system_counts(ledger: Ledger, config: Config) -> SystemCounts:
    """Count all over the ledger, and measure the disks."""
    counted = figures(ledger, senders_of(config), open_days=config.open_days)
    with ledger.reading() as db:
        peers = _peers(db, config, counted)
        models = _models(db, config, counted.at)
    disks, blocked = disk_spaces(ledger, config), space_blocked(ledger, config)
    return SystemCounts(counted, peers, models, disks, blocked)


def _peers(db: sa.Connection, config: Config, counted: Figures) -> tuple[PeerOverview, ...]:
    rows = {row.name: row for row in db.execute(sa.select(schema.peer))}
    backlogs = {one.destination: one for one in counted.backlogs}
    configured = {peer.name: peer for peer in config.peers}
    receivers = config.receivers
    kinds = {one.name: one.kind for one in config.destinations}
    found = []
    lately = {name for name, row in rows.items() if counted.at - _last_seen(row) < FORGOTTEN_S}
    for name in dict.fromkeys((*configured, *receivers, *sorted({*lately, *backlogs}))):
        peer, row = configured.get(name), rows.get(name)
        said: dict[str, Any] = {} if row is None else dict(row._mapping)
        said |= {key: said.get(key) or "" for key in ("rejection", "failure")}
        found.append(
            PeerOverview(
                **said | {"name": name},
                is_configured=peer is not None or name in receivers,
                kind=kinds.get(name, ""),
                sends=peer is not None and peer.sends,
                receives=name in receivers,
                backlog=backlogs.get(name),
            )
        )
    return tuple(found)


def _last_seen(row: sa.Row[Any]) -> float:
    """Return when anything last went well with a peer."""
    return max(row.seen_at or 0.0, row.object_at or 0.0, row.sent_at or 0.0)


def _models(db: sa.Connection, config: Config, at: float) -> tuple[ModelDoings, ...]:
    today = midnight(at)
    before = today - LATELY_BEFORE_DAYS * DAY_S
    modes = {model.name: model.mode for model in config.models}
    table = schema.analysis
    names = sa.select(table.c.model).where(table.c.finished_at >= before).distinct()
    names = names.where(table.c.model.not_in(modes))
    found = []
    for name in (*modes, *sorted(db.execute(names).scalars())):
        configured = modes.get(name, "")
        for mode in (Mode.DELIVER, Mode.SHADOW):
            is_its = [table.c.model == name, table.c.mode == mode]
            doings = ModelDoings(
                name=name,
                counted_in=mode,
                mode=configured,
                version=_newest_version(db, is_its),
                today=_counts(db, is_its, today, None),
                before=_counts(db, is_its, before, today),
            )
            is_now = name in modes and (mode == Mode.SHADOW) == (configured == "shadow")
            if is_now or doings.today.analyses or doings.before.analyses:
                found.append(doings)
    return tuple(found)


def _newest_version(db: sa.Connection, is_its: Sequence[sa.ColumnElement[bool]]) -> str:
    table = schema.analysis
    query = sa.select(table.c.model_version).where(*is_its)
    newest = query.where(table.c.finished_at.is_not(None)).order_by(table.c.finished_at.desc())
    return db.execute(newest.limit(1)).scalar_one_or_none() or ""


def _counts(
    db: sa.Connection,
    is_its: Sequence[sa.ColumnElement[bool]],
    since: float,
    until: float | None,
) -> ModelCounts:
    table = schema.analysis
    where = [*is_its, table.c.finished_at >= since]
    if until is not None:
        where.append(table.c.finished_at < until)
    # All of it stands in the index `ix_analysis_figures`: no row is read, behind a long result.
    images = sa.func.coalesce(sa.func.sum(table.c.analysed), 0)
    urgent = sa.func.count(sa.case((table.c.level == Priority.URGENT, 1)))
    counts = (sa.func.count(), images, sa.func.count(table.c.level), urgent)
    analyses, analysed, triaged, are_urgent = db.execute(sa.select(*counts).where(*where)).one()
    return ModelCounts(
        analyses, analysed, triaged, are_urgent, _refusals(db, where), _scores(db, where)
    )


def _scores(db: sa.Connection, where: Sequence[sa.ColumnElement[bool]]) -> tuple[int, ...]:
    table = schema.analysis
    query = sa.select(table.c.score).where(*where, table.c.score.is_not(None))
    bins = [0] * HISTOGRAM_BINS
    for score in db.execute(query).scalars():
        bins[min(max(int(score * HISTOGRAM_BINS), 0), HISTOGRAM_BINS - 1)] += 1
    return tuple(bins)


def _refusals(db: sa.Connection, where: Sequence[sa.ColumnElement[bool]]) -> dict[str, int]:
    table = schema.analysis
    query = sa.select(table.c.refusals).where(*where).order_by(table.c.finished_at.desc())
    found: Counter[str] = Counter()
    for said in db.execute(query.limit(_MOST_REFUSING)).scalars():
        if said and said != "{}":
            found.update(json.loads(said))
    return dict(found.most_common())
