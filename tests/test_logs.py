"""The log is for people: one line for each thing that happens, in one form."""

from __future__ import annotations

import logging

import pytest

from node.logs import Seldom


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
