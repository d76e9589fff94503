"""The monitoring as a part of a running node: served, ended, served again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from node.config import Config, MonitoringSettings
from node.http.server import HttpServer
from node.ledger import Ledger
from node.manifest import Model
from node.metrics import prepare_metrics
from node.monitoring.application import monitoring_application
from node.monitoring.backend import Monitored, ThisProcess

_THREADS = 4
"""So many connections of the database at most; docs/several-machines.md counts them."""


class Monitoring:
    """What answers on [monitoring], from its start on until it is stopped."""

    def __init__(
        self,
        config: Config,
        settings: MonitoringSettings,
        models: Mapping[str, Model],
        process: ThisProcess,
    ) -> None:
        self._config, self._settings = config, settings
        self._models, self._process = models, process
        self._running = contextlib.ExitStack()
        self._server: HttpServer | None = None
        prepare_metrics(
            (peer.name for peer in config.peers if peer.sends),
            config.receivers,
            ((name, model.identity.version) for name, model in models.items()),
        )

    @property
    def has_died(self) -> bool:
        """Whether it ended without being asked to."""
        return self._server is not None and self._server.has_died

    def start(self) -> None:
        """Answer; raise ConfigError if the address cannot be listened on."""
        # Connections of its own, so that many probes take none from those who receive and work.
        ledger = Ledger(self._config.database_url, dead_after_s=self._config.node.dead_after_s)
        self._running.callback(ledger.close)
        monitored = Monitored(self._config, ledger, self._models, self._process)
        server = HttpServer(
            monitoring_application(monitored),
            name="monitoring",
            host=self._settings.host,
            port=self._settings.port,
            threads=_THREADS,
        )
        self._running.callback(server.stop)
        server.start()
        self._server = server

    def stop(self) -> None:
        """Answer what was asked, and end."""
        self._running.close()
        self._server = None
