"""What foreign bytes make a reader raise: blamed on the bytes, and never quoted."""

from __future__ import annotations

import errno
import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError

import pytest

from node.dicom.untrusted import failing_as, quietly
from node.errors import Unreadable

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


def warn_elsewhere() -> None:
    warnings.warn(QUOTED, UserWarning, stacklevel=1)


def test_a_quiet_thread_is_not_warned_of_anything() -> None:
    with quietly():
        warn_elsewhere()
        with quietly():
            warn_elsewhere()
        warn_elsewhere()
    with pytest.raises(UserWarning):
        warn_elsewhere()


def test_it_is_quiet_again_after_others_have_changed_the_filters() -> None:
    with warnings.catch_warnings():
        with quietly():
            warn_elsewhere()
        warnings.simplefilter("error")
        with quietly():
            warn_elsewhere()
    with quietly():
        warn_elsewhere()


def test_several_threads_are_quiet_at_once_and_others_are_warned() -> None:
    together = Barrier(3, timeout=30)

    def quiet() -> None:
        with quietly():
            together.wait()
            warn_elsewhere()
            together.wait()

    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(quiet) for _ in range(2)]
        try:
            together.wait()
            with pytest.raises(UserWarning):
                warn_elsewhere()
            together.wait()
        except BrokenBarrierError:
            together.abort()
            raise
        for one in waiting:
            one.result()


def test_however_often_it_is_quiet_the_filters_do_not_grow() -> None:
    with warnings.catch_warnings():
        with quietly():
            many = len(warnings.filters)
        for _ in range(3):
            warnings.simplefilter("error")
            with quietly():
                pass
        assert len(warnings.filters) <= many + 1
