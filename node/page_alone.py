"""`ai-node run --only web`: a process that shows what other processes do."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from pathlib import Path

import sqlalchemy as sa

from node.alarms.raising import EXAMINE_EVERY_S, AlarmWatch
from node.alarms.watched import Watched
from node.config import Config
from node.current import Current, Loaded
from node.errors import ConfigError, Superseded
from node.flow.timers import BEATS, Pulse, Timers
from node.ledger import Ill, Nodes, OwnPart, Role
from node.running.changes import changes_in_words
from node.running.loading import load_page_alone
from node.running.reloading import Reloading
from node.site import ledger_to_show
from node.state_dir import lock_state_dir, place_of
from node.store import Store
from node.web.serving import Page

log = logging.getLogger(__name__)


class PageAlone:
    """A process that only shows the page: it receives nothing, does no work, loads no model.

    It may run on the state folder of a node that does the work, beside it, and tells of alarms as
    that does: above all when nobody works any more.
    """

    def __init__(self, config: Config) -> None:
        if config.web is None:
            raise ConfigError(
                "--only web: the configuration has no table [web], which says where the page is; "
                "add it, an empty one is enough"
            )
        self._current = Current(config)
        self.node_id = str(uuid.uuid4())
        self.failed = threading.Event()
        """Set when a part has died: the process should stop and be started afresh."""
        self._lock = lock_state_dir(config.node.state_dir, "lock.web")
        self._store = Store(config.store_dir, self.node_id)
        try:
            self._ledger = ledger_to_show(config)
        except BaseException:
            self._lock.close()
            raise
        self._nodes = Nodes(self._ledger)
        self._pulse = Pulse(self._nodes, self.node_id, self._ledger.dead_after_s)
        self._timers = Timers(self.failed.set)
        self.page = Page(self._current, self._store)
        self._where = place_of(config.node.state_dir).rpartition(" ")[0]
        self._alarms = AlarmWatch(Watched(self._ledger, config, {}, self._where))
        self._reloading = Reloading()
        self._told = ""

    @property
    def is_alive(self) -> bool:
        """Whether our heart still beats and the page is served."""
        return self._timers.are_turning() and not self.page.has_died

    def start(self) -> None:
        """Begin to show."""
        try:
            place = place_of(self._current.config.node.state_dir, "place.web")
            self._nodes.register_node(self.node_id, place, Role.WEB)
            self.page.start()
            self._alarms.post.start()
            self._timers.every(self._current.config.node.dead_after_s / BEATS, self._beat, "beat")
            self._timers.every(EXAMINE_EVERY_S, self._alarms.look, "alarms")
            self._timers.start()
        except BaseException:
            self.stop()
            raise
        log.info("Only showing; other nodes receive the studies and work on them")

    def reload(self, path: Path) -> bool:
        """Show by what a configuration file says now, if it is right; else as before."""
        is_taken = self._reloading.reload(path, lambda: self._take_over(path))
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # the next heartbeat says it, then
            self._say_if_refused()
        return is_taken

    def _take_over(self, path: Path) -> list[str]:
        former = self._current.loaded
        config = load_page_alone(path, former.config)
        assert config.web is not None, "it was looked at"
        page = self.page
        self._current.become(Loaded(config))
        if not page.is_reached_by(config.web):
            page.stop()
            self._show_anew(former)
        self._alarms.watch(Watched(self._ledger, config, {}, self._where))
        return changes_in_words(former, self._current.loaded)

    def _show_anew(self, former: Loaded) -> None:
        """Show at another address, or if that cannot be, at the former one."""
        self.page = Page(self._current, self._store)
        try:
            self.page.start()
        except ConfigError:
            self.page.stop()
            self._current.become(former)
            self.page = Page(self._current, self._store)
            self.page.start()
            raise

    def _say_if_refused(self) -> None:
        refused = self._reloading.refused
        if refused != self._told:
            ill = {OwnPart.CONFIGURATION: Ill(time.time(), refused)} if refused else {}
            self._nodes.record_ill(self.node_id, ill)
            self._told = refused

    def stop(self) -> None:
        """End."""
        log.info("Stopping")
        self._reloading.stop()
        self._timers.stop()
        self._alarms.post.stop()
        self.page.stop()
        try:
            self._nodes.retire_node(self.node_id)
        except sa.exc.DBAPIError:
            log.warning("The database does not answer; others will take us for dead")
        self._ledger.close()
        self._lock.close()
        log.info("Stopped")

    def _beat(self) -> None:
        try:
            self._pulse.beat()
        except Superseded as reason:
            log.critical("Stopping: %s", reason)
            self.failed.set()
        self._say_if_refused()
        if self.page.has_died:
            log.critical("The page has died")
            self.failed.set()
