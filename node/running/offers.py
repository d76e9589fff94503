"""What answers by HTTP beside the work, page and monitoring, as far as it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from node.config import Config
from node.current import Current
from node.http.side_servers import SideServer
from node.ledger import OwnPart
from node.monitoring.backend import ThisProcess
from node.monitoring.serving import Monitoring
from node.store import Store
from node.web.serving import Page


class Offers:
    """Page and monitoring of a process; a reload lets each be reached as is said now."""

    def __init__(self, current: Current, store: Store, process: ThisProcess) -> None:
        self._current = current
        self._store = store
        self._process = process
        self._page, self._monitoring = self._new_page(), self._new_monitoring()
        self.servers = {
            OwnPart.PAGE: SideServer(self._page),
            OwnPart.MONITORING: SideServer(self._monitoring),
        }

    @property
    def troubles(self) -> Mapping[OwnPart, Callable[[], str]]:
        """What says why each does not answer now, "" if it does."""
        return {part: partial(_trouble_of, server) for part, server in self.servers.items()}

    def offer_again(self, former: Config) -> None:
        """Let them be reached as is said now; they ask for the rest at each use."""
        web, monitoring = self._current.config.web, self._current.config.monitoring
        if self._page is None or web is None or not self._page.is_reached_by(web):
            self._page = self._new_page()
            self.servers[OwnPart.PAGE].offer(self._page)
        if monitoring != former.monitoring:
            self._monitoring = self._new_monitoring()
            self.servers[OwnPart.MONITORING].offer(self._monitoring)
        elif self._monitoring is not None:
            self._monitoring.prepare()

    def _new_page(self) -> Page | None:
        return None if self._current.config.web is None else Page(self._current, self._store)

    def _new_monitoring(self) -> Monitoring | None:
        settings = self._current.config.monitoring
        return None if settings is None else Monitoring(self._current, settings, self._process)


def _trouble_of(server: SideServer) -> str:
    return server.trouble
