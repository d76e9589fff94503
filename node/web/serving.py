"""The page as a part of a running node: looked at before it starts, served, ended."""

from __future__ import annotations

import contextlib
import ipaddress
import logging

from node.config import Config, WebSettings
from node.current import Current
from node.errors import ConfigError
from node.http.server import HttpServer, Tls
from node.ledger import Ledger, People
from node.site import existing_ledger
from node.store import Store
from node.web.application import web_application
from node.web.backend import Backend
from node.web.exposure import address_of_page, faults_of_page

log = logging.getLogger(__name__)

_THREADS = 8
"""So many connections of the database at most; docs/several-machines.md counts them."""


class Page:
    """The page of one process, which answers from its start on until it is stopped."""

    def __init__(self, current: Current, store: Store) -> None:
        """Make one that is reached as the table [web] says now."""
        assert current.config.web is not None, "who has no table [web] has no page"
        self._current, self._web, self._store = current, current.config.web, store
        self._running = contextlib.ExitStack()
        self._server: HttpServer | None = None

    @property
    def address(self) -> str:
        """Where it listens, once it has started, whatever people call it."""
        assert self._server is not None, "it has been started"
        itself = self._web.model_copy(update={"names": ()})
        return address_of_page(itself, self._server.port)

    def is_reached_by(self, web: WebSettings) -> bool:
        """Whether it can go on by other settings; with TLS never, whose files may have changed."""
        where = ("host", "port", "proxies", "session_hours", "tls_certificate", "tls_key")
        is_same = all(getattr(self._web, key) == getattr(web, key) for key in where)
        return is_same and web.tls_certificate is None

    @property
    def has_died(self) -> bool:
        """Whether it ended without being asked to."""
        return self._server is not None and self._server.has_died

    def start(self) -> None:
        """Serve the page; raise ConfigError if it must not be reached as the settings say.

        The ledger has its tables: who starts us has seen to that.
        """
        # Connections of its own, so that many readers take none from those who receive and work.
        config = self._current.config
        ledger = Ledger(config.database_url, dead_after_s=config.node.dead_after_s)
        self._running.callback(ledger.close)
        if faults := faults_of_page(self._web, has_users=People(ledger).has_users()):
            raise ConfigError("\n".join(faults))
        server = HttpServer(
            web_application(Backend(self._current, ledger, self._store)),
            name="web",
            host=self._web.host,
            port=self._web.port,
            tls=_tls(self._web),
            proxies=[str(ipaddress.ip_network(one, strict=False)) for one in self._web.proxies],
            threads=_THREADS,
        )
        self._running.callback(server.stop)
        server.start()
        self._server = server
        log.info("Page at %s", address_of_page(self._web, server.port))

    def stop(self) -> None:
        """Answer what was asked, and end."""
        self._running.close()
        self._server = None


def has_users_yet(config: Config) -> bool:
    """Whether anybody may log in; nobody may while no node has run and no user was made."""
    try:
        ledger = existing_ledger(config)
    except ConfigError:
        return False
    with contextlib.closing(ledger):
        return People(ledger).has_users()


def _tls(web: WebSettings) -> Tls | None:
    if web.tls_certificate is None or web.tls_key is None:
        return None
    return Tls(web.tls_certificate, web.tls_key)
