"""What foreign bytes make a reader raise: blamed on the bytes, and never quoted."""

from __future__ import annotations

import errno
import logging

import pytest

from node.errors import Unreadable
from node.foreign import failing_as

QUOTED = "SECRET^PATIENT"


@pytest.mark.parametrize("raised", [ValueError, KeyError, RecursionError, MemoryError, OSError])
def test_whatever_is_raised_is_blamed_on_the_bytes(raised: type[Exception]) -> None:
    with pytest.raises(Unreadable, match="cannot be read"), failing_as("it cannot be read"):
        raise raised(QUOTED)


def test_a_reason_that_is_known_stays() -> None:
    with pytest.raises(Unreadable, match="as known"), failing_as("it cannot be read"):
        raise Unreadable("as known")


@pytest.mark.parametrize("raised", [MemoryError(), OSError(errno.EIO, "input/output error")])
def test_what_is_no_fault_of_the_bytes_passes_where_it_can_be_tried_again(
    raised: Exception,
) -> None:
    with pytest.raises(type(raised)), failing_as("cannot be read", MemoryError, OSError):
        raise raised


def test_what_pydicom_raises_as_an_error_of_the_system_is_about_the_bytes() -> None:
    with pytest.raises(Unreadable), failing_as("it cannot be read", OSError):
        raise OSError(QUOTED)


def test_the_log_has_the_kind_and_no_patient(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(Unreadable) as caught,
        failing_as("it cannot be read", level=logging.WARNING),
    ):
        raise ValueError(QUOTED)
    assert caplog.messages == ["it cannot be read: ValueError"]
    assert QUOTED not in str(caught.value)
    assert caught.value.__suppress_context__
