"""What the log looks like, and what may not be in it: no patient data at INFO or above."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def start_logging(*, is_verbose: bool = False) -> None:
    """Log to standard error, where systemd and containers collect it."""
    logging.basicConfig(
        stream=sys.stderr, format=_FORMAT, level=logging.DEBUG if is_verbose else logging.INFO
    )
    quieten_libraries()


def quieten_libraries() -> None:
    """Let no library quote patient data, nor repeat at length what the node says itself."""
    # Warnings of pydicom quote what is in the data set.
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    # These quote data set values, or repeat at length what we log ourselves.
    for name in ("pydicom", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in ("apscheduler", "dbos", "highdicom", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    queue = logging.getLogger("dbos")
    queue.addHandler(logging.NullHandler())  # or it would bring one of its own, with its own format
    queue.addFilter(Seldom())


_GIVEN_AWAY = "DBOSAwaitedWorkflowCancelledError"


class Seldom(logging.Filter):
    """Lets each place in a library speak in one line, and once a minute.

    Without its database the queue would say so many times a second. A job that was given away
    while its process was frozen is no error: the job itself has said so.
    """

    def __init__(self, every_s: float = 60) -> None:
        super().__init__()
        self._every_s = every_s
        self._said_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record pass, or not."""
        if record.exc_info and record.exc_info[0] is not None:
            if record.exc_info[0].__name__ == _GIVEN_AWAY:
                return False
            record.msg, record.args = f"{record.getMessage()} {record.exc_info[0].__name__}", ()
            record.exc_info = None
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._said_at.get(place, -self._every_s) < self._every_s:
            return False
        self._said_at[place] = now
        lines = record.getMessage().strip().splitlines() or [""]
        is_traceback = lines[0].endswith("Traceback (most recent call last):")
        record.msg = f"{lines[0].partition('Traceback')[0]}..." if is_traceback else lines[0]
        record.args = ()
        return True


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Keep the log out of the table and in a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    quieten_libraries()
    root, ours = logging.getLogger(), logging.getLogger("node")
    level = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(level)
        root.removeHandler(handler)
        logging.captureWarnings(capture=False)
        handler.close()
