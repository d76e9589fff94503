"""How a record of the log becomes lines: as text or JSON, under journald with its priority.

What reads the log line by line must not take a part of one record for another: a record is one
line, or each of its lines has the priority.
"""

from __future__ import annotations

import json
import logging
import os
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from node import __version__

LogForm = Literal["text", "json"]
FIELDS = ("study", "destination", "peer")
"""What a record may be about, by the names that JSON has for them: a Study Instance UID, and names
of peers. Never patient data."""

_TEXT = "%(levelname)-7s %(name)s: %(message)s%(subject)s"
_PRIORITIES = (
    (logging.CRITICAL, "<2>"),
    (logging.ERROR, "<3>"),
    (logging.WARNING, "<4>"),
    (logging.INFO, "<6>"),
)
"""From which level on a line begins with which of syslog's priorities (sd-daemon(3))."""
_DEBUG_PRIORITY = "<7>"


class LogLine(logging.Formatter):
    """Names the kind and place of an error; its words may quote what is in a data set.

    `is_verbose`: with tracebacks, hence with whatever errors quote. `is_for_journal`: each line
    begins with its priority, and text has no time of its own.
    """

    def __init__(
        self, form: LogForm = "text", *, is_verbose: bool = False, is_for_journal: bool = False
    ) -> None:
        super().__init__(_TEXT if is_for_journal else f"%(asctime)s {_TEXT}")
        self.form = form
        self._is_verbose = is_verbose
        self._is_for_journal = is_for_journal

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; verbose text may have several."""
        record = record if self._is_verbose else _in_one_line(record)
        text = self._as_json(record) if self.form == "json" else super().format(record)
        if not self._is_for_journal:
            return text
        priority = _priority(record.levelno)
        return "\n".join(f"{priority}{line}" for line in text.split("\n"))

    def _as_json(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": f"{message}{getattr(record, 'subject', '')}",
        }
        said |= {name: value for name in FIELDS if (value := getattr(record, name, ""))}
        return json.dumps(said | {"version": __version__})


def _in_one_line(record: logging.LogRecord) -> logging.LogRecord:
    message = " ".join(record.getMessage().splitlines())
    error = record.exc_info[1] if record.exc_info else None
    line = logging.makeLogRecord(record.__dict__)
    line.msg = message if error is None else f"{message} ({in_one_line(error)})"
    line.args, line.exc_info, line.exc_text, line.stack_info = (), None, None, None
    return line


def _priority(level: int) -> str:
    return next((text for least, text in _PRIORITIES if level >= least), _DEBUG_PRIORITY)


def in_one_line(error: BaseException) -> str:
    """Return what went wrong and where, without the words of the error: they may quote values."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}node{os.sep}" in frame.filename] or frames
    if not ours:
        return type(error).__name__
    where = ours[-1]
    return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"


def goes_to_journal(stream: TextIO) -> bool:
    """Say whether journald reads a stream: JOURNAL_STREAM names its file (systemd.exec(5))."""
    try:
        there = os.fstat(stream.fileno())
    except (OSError, ValueError):  # none of the system's, as in a test
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"
