"""The log is for people: one line for each thing that happens, in one form."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from node.logs import OncePerMinute, Seldom, log_to


def test_a_library_that_repeats_itself_is_heard_once_in_a_while_and_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    library = logging.getLogger("library")
    seldom = Seldom(every_s=60)
    library.addFilter(seldom)
    for n in range(5):
        library.warning(f"The database is away {n}\n\tIs it running?")
    library.warning("Polling failed: Traceback (most recent call last):\n  File\nOSError: x")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        library.exception("A job failed:")
    library.removeFilter(seldom)
    assert [record.getMessage() for record in caplog.records] == [
        "The database is away 0",
        "Polling failed: ...",
        "A job failed: ZeroDivisionError",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_a_job_that_was_given_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    class DBOSAwaitedWorkflowCancelledError(Exception):
        """As the queue's library calls it."""

    library, seldom = logging.getLogger("library"), Seldom()
    library.addFilter(seldom)
    try:
        raise DBOSAwaitedWorkflowCancelledError
    except DBOSAwaitedWorkflowCancelledError:
        library.exception("Exception encountered in background workflow:")
    library.removeFilter(seldom)
    assert not caplog.records


QUOTING = """
import logging, threading, warnings
from node.logs import start_logging
start_logging()

def quote():
    raise ValueError("DOE^JANE")

thread = threading.Thread(target=quote, name="dul")
thread.start()
thread.join()
try:
    quote()
except ValueError:
    logging.getLogger("node.receive").exception("Could not keep an object")
    logging.getLogger("pynetdicom.dul").exception("Unable to decode DOE^JANE")
logging.getLogger("pydicom").warning("DOE^JANE")
warnings.warn("Invalid value for VR DA: 'DOE^JANE'")
"""


def test_an_error_is_one_line_on_the_terminal_and_quotes_nothing() -> None:
    """In a process of its own: what is not caught is printed by Python itself."""
    said = subprocess.run(
        [sys.executable, "-c", QUOTING], capture_output=True, text=True, check=True
    )
    assert said.stdout == ""
    thread, error = said.stderr.splitlines()
    assert thread.endswith("node.logs: The thread dul ended (ValueError at <string>:7)")
    assert error.endswith("node.receive: Could not keep an object (ValueError at <string>:7)")


NOT_STARTED = """
import logging
from node import cli
from node.logs import about

@cli.app.command()
def warn():
    with about("1.2.3"):
        logging.getLogger("node.dimse").warning("it cannot be sent")

cli.app(["warn"])
"""


def test_a_command_that_starts_no_log_warns_in_the_same_form() -> None:
    command = [sys.executable, "-c", NOT_STARTED]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stderr.endswith(" WARNING node.dimse: it cannot be sent (1.2.3)\n")


def test_an_error_is_one_line_in_a_file_and_quotes_nothing(tmp_path: Path) -> None:
    with log_to(tmp_path / "log"):
        try:
            raise ValueError("DOE^JANE")
        except ValueError:
            logging.getLogger("node.receive").exception("Could not keep %s", "an object")
    [line] = (tmp_path / "log").read_text().splitlines()
    assert "Could not keep an object (ValueError at test_logs.py:" in line


def test_what_is_said_again_is_counted_until_it_is_said_again() -> None:
    said = OncePerMinute(every_s=0)
    assert said.again("a") == said.again("a") == ""
    said = OncePerMinute(every_s=3600)
    assert said.again("a") == ""
    assert said.again("a") is None
    assert said.again("b") == ""
    said._every_s = 0
    assert said.again("a") == " (and 1 times more since it was last said)"


def test_what_was_said_to_thousands_is_forgotten() -> None:
    said = OncePerMinute(every_s=3600)
    for key in range(5000):
        assert said.again(key) == ""
    assert len(said._said) <= 1000
    assert said.again(4999) is None
