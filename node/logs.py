"""What the log looks like, and what may not be in it: no patient data at INFO or above."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s%(subject)s"
_subject = ContextVar("_subject", default="")


def start_logging(*, is_verbose: bool = False) -> None:
    """Log to standard error, where systemd and containers collect it.

    Each process does so for itself: a child knows nothing of how its parent logs.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT) if is_verbose else _OneLine(_FORMAT))
    handler.addFilter(_name_the_subject)
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if is_verbose else logging.INFO)
    threading.excepthook = _say_that_a_thread_ended
    quieten_libraries()


def format_what_nobody_handles() -> None:
    """Let what is logged before logging is started, or without it, look the same."""
    assert logging.lastResort is not None
    logging.lastResort.setFormatter(_OneLine(_FORMAT))
    logging.lastResort.addFilter(_name_the_subject)


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Let each line that this thread logs meanwhile end with what it is about; no patient data."""
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


def _name_the_subject(record: logging.LogRecord) -> bool:
    subject = _subject.get()
    record.subject = f" ({subject})" if subject else ""
    return True


def _say_that_a_thread_ended(args: threading.ExceptHookArgs) -> None:
    """Say in a line what Python would print as a traceback, with the error's words."""
    if args.exc_value is not None:
        name = args.thread.name if args.thread is not None else "unknown"
        words = "The thread %s ended (%s)"
        logging.getLogger(__name__).warning(words, name, in_one_line(args.exc_value))


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


class OncePerMinute:
    """Lets what is said again and again be said once a minute, with how often it was not said."""

    _KEYS = 1000

    def __init__(self, every_s: float = 60) -> None:
        self._every_s = every_s
        self._said: dict[Hashable, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def again(self, key: Hashable) -> str | None:
        """Return what is to be added if this is said now, None if it is not to be said."""
        now = time.monotonic()
        with self._lock:
            said_at, unsaid = self._said.get(key, (now - self._every_s, 0))
            if now - said_at < self._every_s:
                self._said[key] = (said_at, unsaid + 1)
                return None
            self._said.pop(key, None)
            self._said[key] = (now, 0)
            if len(self._said) > self._KEYS:
                del self._said[next(iter(self._said))]  # the one that was said longest ago
        return f" (and {unsaid} times more since it was last said)" if unsaid else ""


def in_one_line(error: BaseException) -> str:
    """Return what went wrong and where, without the words of the error: they may quote values."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}node{os.sep}" in frame.filename] or frames
    if not ours:
        return type(error).__name__
    where = ours[-1]
    return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"


class _OneLine(logging.Formatter):
    """Names the kind and place of an error; its words may quote what is in a data set."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return super().format(record)
        line = logging.makeLogRecord(record.__dict__)
        line.msg, line.args = f"{record.getMessage()} ({in_one_line(error)})", ()
        line.exc_info = line.exc_text = None
        return super().format(line)


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Keep the log out of the table and in a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
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
