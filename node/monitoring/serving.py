"""Starts what answers, if the configuration wants it."""

from __future__ import annotations

from collections.abc import Mapping

from node.config import Config
from node.http_server import HttpServer
from node.ledger import Ledger
from node.manifest import Model
from node.metrics import prepare_metrics
from node.monitoring.application import monitoring_application
from node.monitoring.backend import Monitored, ThisProcess


def monitoring_server(
    config: Config, ledger: Ledger, models: Mapping[str, Model], process: ThisProcess
) -> HttpServer | None:
    """Return the server of [monitoring], not yet started; None if there is no such table."""
    settings = config.monitoring
    if settings is None:
        return None
    prepare_metrics(
        (peer.name for peer in config.peers if peer.sends),
        (peer.name for peer in config.peers if peer.receives),
        ((name, model.identity.version) for name, model in models.items()),
    )
    monitored = Monitored(config, ledger, models, process)
    application = monitoring_application(monitored)
    return HttpServer(application, name="monitoring", host=settings.host, port=settings.port)
