"""What /metrics says of the state of things: asked of the ledger and the disk at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from node import __version__
from node.alarm_rules import ALARM_RULES
from node.ledger import Alarming, RaisedAlarm
from node.metrics import REGISTRY
from node.monitoring.backend import Monitored
from node.overview.disk_space import DiskSpace, disk_spaces
from node.overview.figures import Figures, figures
from node.overview.health import Alarm, NodePart, worst_alarm
from node.overview.shared_count import SharedCount
from node.overview.space_taken import Blocked, BlockedBecause, space_blocked
from node.overview.standing import Standing
from node.overview.status import senders_of


class _Counted(NamedTuple):
    """What takes long to count."""

    figures: Figures
    disks: tuple[DiskSpace, ...]
    blocked: tuple[Blocked, ...]
    raised: tuple[RaisedAlarm, ...]


class StateCollector(CollectorRegistry):
    """Everything that is exposed: what was counted as it happened, and how things are now."""

    def __init__(self, monitored: Monitored) -> None:
        super().__init__()
        self._monitored = monitored
        self._counted = SharedCount(self._count)

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its values."""
        yield from REGISTRY.collect()
        yield from self._of_configuration()
        parts = self._monitored.parts()
        yield from _of_parts(parts)
        if parts[0].is_ill:  # the database: of what it knows nothing is said, rather than zeros
            return
        try:
            counted, disks, blocked, raised = self._counted.newest()
        except sa.exc.SQLAlchemyError:  # it has gone just now, and the next scrape says so
            return
        yield from _of_figures(counted, self._destinations())
        yield from _of_disks(disks)
        yield from _of_blocked(blocked)
        yield from _of_alarms(raised, counted.at)

    def _count(self) -> _Counted:
        config, ledger = self._monitored.config, self._monitored.ledger
        return _Counted(
            figures(ledger, senders_of(config), open_days=config.open_days),
            disk_spaces(ledger, config),
            space_blocked(ledger, config),
            tuple(Alarming(ledger).raised()),
        )

    def _destinations(self) -> tuple[str, ...]:
        return self._monitored.config.receivers

    def _of_configuration(self) -> Iterator[Metric]:
        yield _gauge(
            "ai_node_info", "The release that runs.", ("version",), [((__version__,), 1.0)]
        )
        loaded = self._monitored.current.loaded
        modes = {one.name: one.mode for one in loaded.config.models}
        yield _gauge(
            "ai_node_model_info",
            "The models that run.",
            ("model", "version", "mode"),
            [
                ((name, model.identity.version, modes[name]), 1.0)
                for name, model in loaded.models.items()
            ],
        )


def _gauge(
    name: str,
    words: str,
    labels: Sequence[str],
    values: Iterable[tuple[Sequence[str], float]],
) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


_PARTS = ("database", "listener", "worker", "inference", "disk")


def _of_parts(parts: Sequence[NodePart]) -> Iterator[Metric]:
    words = "Of each part: 0 well, 1 to be looked at, 2 to be acted on."
    known = {part.name: float(part.alarm) for part in parts if part.name in _PARTS}
    yield _gauge(
        "ai_node_part_alarm", words, ("part",), [((name,), value) for name, value in known.items()]
    )
    nodes = [part for part in parts if part.name not in _PARTS]
    words = "Nodes on the ledger that are ill, or silent and not known to have stopped."
    if not parts[0].is_ill:
        ill = float(sum(part.is_ill for part in nodes))
        yield _gauge("ai_node_nodes_ill", words, (), [((), ill)])
    is_ready = float(worst_alarm(parts) < Alarm.ACT)
    yield _gauge("ai_node_ready", "1 if /health/ready says so.", (), [((), is_ready)])


def _of_figures(counted: Figures, destinations: Sequence[str]) -> Iterator[Metric]:
    yield _gauge(
        "ai_node_studies",
        "Studies by where they stand, and their triage level (none: no model gives one).",
        ("state", "level"),
        [((str(state), level or "none"), n) for (state, level), n in counted.studies.items()],
    )
    held = float(counted.standing(Standing.HELD))
    yield _gauge("ai_node_studies_held", "Studies that a person must look at.", (), [((), held)])
    queued = float(counted.standing(Standing.QUEUED))
    yield _gauge("ai_node_queue_studies", "Studies that wait for analysis.", (), [((), queued)])
    waits_s = 0.0 if counted.waiting_since is None else counted.at - counted.waiting_since
    words = "How long the study has waited that waits for analysis for longest; 0 if none does."
    yield _gauge("ai_node_queue_age_seconds", words, (), [((), waits_s)])
    words = "How long the study has waited that nobody has marked as read, by level."
    unread = [((level,), counted.at - since) for level, (_, since) in counted.unread.items()]
    yield _gauge("ai_node_unread_age_seconds", words, ("level",), unread)
    yield from _of_backlogs(counted, destinations)
    words = "Since the last image of each sender."
    ages = [((sender,), counted.at - at) for sender, at in counted.last_images.items()]
    yield _gauge("ai_node_last_image_age_seconds", words, ("peer",), ages)


def _of_backlogs(counted: Figures, destinations: Sequence[str]) -> Iterator[Metric]:
    """Yield a value for each destination there is; of one that was removed, under its name."""
    backlogs = {backlog.destination: backlog for backlog in counted.backlogs}
    names = dict.fromkeys((*destinations, *backlogs))
    found: dict[str, list[tuple[Sequence[str], float]]] = {
        "ai_node_delivery_backlog_studies": [],
        "ai_node_delivery_backlog_age_seconds": [],
        "ai_node_delivery_unconfirmed_age_seconds": [],
        "ai_node_deliveries_given_up": [],
    }
    for name in names:
        one = backlogs.get(name)
        values: tuple[float, ...] = (0, 0, 0, 0)
        if one is not None:
            ages_s = [
                0.0 if since is None else counted.at - since
                for since in (one.since, one.unconfirmed_since)
            ]
            values = (one.studies, *ages_s, one.given_up)
        for values_of, value in zip(found.values(), values, strict=True):
            values_of.append(((name,), float(value)))
    words = (
        "Studies whose results are not all at a destination yet.",
        "How long the results have been ready that it has not taken for longest; 0 if none wait.",
        "How long ago it took the results that are unconfirmed for longest; 0 if none are.",
        "Studies of the last month whose results are not tried again by themselves.",
    )
    for (name, values_of), about in zip(found.items(), words, strict=True):
        yield _gauge(name, about, ("destination",), values_of)
    stranded = float(counted.stranded)
    about = "Studies of the last month whose results had no destination."
    yield _gauge("ai_node_studies_without_destination", about, (), [((), stranded)])


def _of_disks(disks: Sequence[DiskSpace]) -> Iterator[Metric]:
    free = [((disk.name,), float(disk.free)) for disk in disks]
    yield _gauge("ai_node_disk_free_bytes", "On the disk of each folder.", ("disk",), free)
    total = [((disk.name,), float(disk.total)) for disk in disks]
    yield _gauge("ai_node_disk_size_bytes", "Of the disk of each folder.", ("disk",), total)
    left = [((d.name,), d.days_left * 86_400) for d in disks if d.days_left is not None]
    words = "Until no image is taken any more, if as much comes as in the last week."
    yield _gauge("ai_node_disk_full_in_seconds", words, ("disk",), left)

    used = [((disk.name,), disk.used_percent / 100) for disk in disks]
    words = "Of what may be used of the disk of each folder, how much is in use, 0 to 1."
    yield _gauge("ai_node_disk_used_ratio", words, ("disk",), used)
    marks = [
        ((disk.name, what), percent / 100)
        for disk in disks
        for what, percent in (("clean", disk.clean_from), ("refuse", disk.refuse_from))
        if percent is not None
    ]
    words = "From which share in use on [retention] cleans, and images are refused; as configured."
    yield _gauge("ai_node_disk_watermark_ratio", words, ("disk", "begins"), marks)


def _of_blocked(blocked: Sequence[Blocked]) -> Iterator[Metric]:
    found = {one.because: one for one in blocked}
    studies, sizes = [], []
    for because in BlockedBecause:
        one = found.get(because)
        studies.append(((str(because),), float(one.studies if one else 0)))
        sizes.append(((str(because),), float(one.size if one else 0)))
    words = "Studies that [retention] may not remove, by why; one may be so for several reasons."
    yield _gauge("ai_node_blocked_studies", words, ("because",), studies)
    words = "What they take in the store; of very many, of the oldest."
    yield _gauge("ai_node_blocked_bytes", words, ("because",), sizes)


def _of_alarms(raised: Sequence[RaisedAlarm], at: float) -> Iterator[Metric]:
    found = [(one.rule, Alarm(one.urgency).name.lower()) for one in raised if one.is_found(at)]
    kinds = [(rule, word) for rule in ALARM_RULES for word in ("look", "act")]
    counts = [(kind, float(found.count(kind))) for kind in kinds]
    words = "Alarms that last, by their rule and what they ask for."
    yield _gauge("ai_node_alarms_raised", words, ("rule", "urgency"), counts)
