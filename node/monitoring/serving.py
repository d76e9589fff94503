"""The monitoring as a part of a running node: served, ended, served again."""

from __future__ import annotations

import contextlib

from node.config import MonitoringSettings
from node.current import Current
from node.http.server import HttpServer
from node.ledger import Ledger
from node.metrics import prepare_metrics
from node.monitoring.application import monitoring_application
from node.monitoring.backend import Monitored, ThisProcess

_THREADS = 4
"""So many connections of the database at most; docs/several-machines.md counts them."""


class Monitoring:
    """What answers on [monitoring], from its start on until it is stopped."""

    def __init__(
        self,
        current: Current,
        settings: MonitoringSettings,
        process: ThisProcess,
    ) -> None:
        self._current, self._settings, self._process = current, settings, process
        self._running = contextlib.ExitStack()
        self._server: HttpServer | None = None
        self.prepare()

    def prepare(self) -> None:
        """Let what is counted begin at 0 for each peer and model of the configuration of now."""
        config, models = self._current.config, self._current.models
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
        config = self._current.config
        ledger = Ledger(config.database_url, dead_after_s=config.node.dead_after_s)
        self._running.callback(ledger.close)
        monitored = Monitored(self._current, ledger, self._process)
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
