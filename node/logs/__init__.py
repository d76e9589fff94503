"""What the log looks like, and what may not be in it: no patient data at INFO or above.

Levels: what a person must act on is an error, or critical where the node ends; what is worth a look
is a warning; all else that happens is info. docs/reliability.md has a table of them.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType

from node.logs.lines import FIELDS, LogForm, LogLine, goes_to_journal, in_one_line

_subject = ContextVar("_subject", default="")
_fields: ContextVar[Mapping[str, str]] = ContextVar("_fields", default={})  # noqa: B039 - read only


def start_logging(*, form: LogForm = "text", is_verbose: bool = False) -> None:
    """Log to standard error, where systemd and containers collect it.

    Each process does so for itself: a child is told in which form its parent logs.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        LogLine(form, is_verbose=is_verbose, is_for_journal=goes_to_journal(sys.stderr))
    )
    handler.addFilter(_name_what_it_is_about)
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if is_verbose else logging.INFO)
    threading.excepthook = _say_that_a_thread_ended
    if not is_verbose:
        sys.excepthook = _say_that_the_process_ends
    quieten_libraries()


def form_in_use() -> LogForm:
    """Return the form in which this process logs, for those it starts."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    return next((one.form for one in formatters if isinstance(one, LogLine)), "text")


def format_what_nobody_handles() -> None:
    """Let what is logged before logging is started, or without it, look the same."""
    assert logging.lastResort is not None
    logging.lastResort.setFormatter(LogLine(is_for_journal=goes_to_journal(sys.stderr)))
    logging.lastResort.addFilter(_name_what_it_is_about)


def is_for_machines() -> bool:
    """Say whether programs read what this process says on standard error, and not people."""
    return goes_to_journal(sys.stderr) or form_in_use() == "json"


@contextmanager
def about(subject: str) -> Iterator[None]:
    """Let each line that this thread logs meanwhile end with what it is about; no patient data."""
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


@contextmanager
def naming(**fields: str) -> Iterator[None]:
    """Let each record of this thread have these `FIELDS` meanwhile; `extra` has them for one.

    Programs read them; the words of a record must say them to people.
    """
    assert set(fields) <= set(FIELDS), fields
    token = _fields.set({**_fields.get(), **fields})
    try:
        yield
    finally:
        _fields.reset(token)


def _name_what_it_is_about(record: logging.LogRecord) -> bool:
    subject = _subject.get()
    record.subject = f" ({subject})" if subject else ""
    for name, value in _fields.get().items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


def _say_that_the_process_ends(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say in a line what Python would print as a traceback, with the error's words."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger(__name__).critical("The process ends (%s)", in_one_line(error))


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
    for name in ("apscheduler", "dbos", "highdicom", "alembic", "urllib3"):
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
        self._once = OncePerMinute(every_s)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record pass, or not."""
        if record.exc_info and record.exc_info[0] is not None:
            if record.exc_info[0].__name__ == _GIVEN_AWAY:
                return False
            record.msg, record.args = f"{record.getMessage()} {record.exc_info[0].__name__}", ()
            record.exc_info = None
        more = self._once.again((record.pathname, record.lineno))
        if more is None:
            return False
        lines = record.getMessage().strip().splitlines() or [""]
        is_traceback = lines[0].endswith("Traceback (most recent call last):")
        line = f"{lines[0].partition('Traceback')[0]}..." if is_traceback else lines[0]
        record.msg, record.args = f"{line}{more}", ()
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


@contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Keep the log out of the table and in a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(LogLine())
    handler.addFilter(_name_what_it_is_about)
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
