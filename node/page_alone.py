"""`ai-node run --only web`: a process that shows what other processes do."""

from __future__ import annotations

import logging
import threading
import uuid

import sqlalchemy as sa

from node.alarms.raising import EXAMINE_EVERY_S, AlarmWatch
from node.alarms.watched import Watched
from node.config import Config
from node.errors import ConfigError, Superseded
from node.flow.timers import BEATS, Pulse, Timers
from node.ledger import Nodes, Role
from node.site import open_own_ledger
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
        self._config = config
        self.node_id = str(uuid.uuid4())
        self.failed = threading.Event()
        """Set when a part has died: the process should stop and be started afresh."""
        self._lock = lock_state_dir(config.node.state_dir, "lock.web")
        store = Store(config.store_dir, self.node_id)
        try:
            self._ledger = open_own_ledger(config, store)
        except BaseException:
            self._lock.close()
            raise
        self._nodes = Nodes(self._ledger)
        self._pulse = Pulse(self._nodes, self.node_id, self._ledger.dead_after_s)
        self._timers = Timers(self.failed.set)
        self.page = Page(config, config.web, store)
        where = place_of(config.node.state_dir).rpartition(" ")[0]
        self._alarms = AlarmWatch(Watched(self._ledger, config, {}, where))

    @property
    def is_alive(self) -> bool:
        """Whether our heart still beats and the page is served."""
        return self._timers.are_turning() and not self.page.has_died

    def start(self) -> None:
        """Begin to show."""
        try:
            place = place_of(self._config.node.state_dir, "place.web")
            self._nodes.register_node(self.node_id, place, Role.WEB)
            self.page.start()
            self._alarms.post.start()
            self._timers.every(self._config.node.dead_after_s / BEATS, self._beat, "beat")
            self._timers.every(EXAMINE_EVERY_S, self._alarms.look, "alarms")
            self._timers.start()
        except BaseException:
            self.stop()
            raise
        log.info("Only showing; other nodes receive the studies and work on them")

    def stop(self) -> None:
        """End."""
        log.info("Stopping")
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
        if self.page.has_died:
            log.critical("The page has died")
            self.failed.set()
