"""One reload at a time: taken over, or refused and said so until the next one that is good."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from node.errors import ConfigError, NodeError
from node.running.networks import Networks

log = logging.getLogger(__name__)


class Reloading:
    """Whether what is on disk was refused, and the end of a reload when the process stops."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._is_over = False
        self._starting: Networks | None = None
        self._refused = ""

    @property
    def refused(self) -> str:
        """When and why the configuration on disk was refused; "" if it was not, last time."""
        return self._refused

    def reload(self, path: Path, take_over: Callable[[], list[str]]) -> bool:
        """Have a configuration taken over; return whether it was. Of several, one after the other.

        `take_over` returns what differs, and changes nothing if it raises.
        """
        with self._turn:
            if self._is_over:
                return False
            log.info("Reading the configuration anew: %s", path)
            try:
                changes = take_over()
            except (NodeError, OSError, sa.exc.SQLAlchemyError) as error:
                self._refuse(path, _in_words(error))
                return False
            except Exception as defect:  # of ours: it works on as before, which is the promise
                log.exception("The configuration cannot be taken over")
                self._refuse(path, [f"{type(defect).__name__}, as the log says"])
                return False
            self._refused = ""
            for line in changes:
                log.info("Changed: %s", line)
            done = "taken over" if changes else "as it was before"
            log.info("The configuration on disk is %s", done)
            return True

    def start(self, networks: Networks) -> None:
        """Start the networks of a configuration that is to be taken over, or raise ConfigError."""
        self._starting = networks
        try:
            if self._is_over:
                raise ConfigError("the node stops")
            networks.start()
        finally:
            self._starting = None

    def stop(self) -> None:
        """Let a reload under way come to nothing, and none begin."""
        self._is_over = True
        if (starting := self._starting) is not None:
            starting.close()
        with self._turn:
            pass

    def _refuse(self, path: Path, faults: list[str]) -> None:
        for line in faults:
            log.error("%s", line)
        more = f" (and {len(faults) - 1} more, in its log)" if len(faults) > 1 else ""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime())
        self._refused = f"the configuration on disk was refused at {at}: {faults[0]}{more}"
        log.error("%s is refused; the node works on by the configuration it had", path)


def _in_words(error: Exception) -> list[str]:
    if isinstance(error, sa.exc.SQLAlchemyError):
        reason = getattr(error, "orig", None) or error
        return [f"the database does not answer: {' '.join(str(reason).split())}"]
    return str(error).splitlines() or [type(error).__name__]
