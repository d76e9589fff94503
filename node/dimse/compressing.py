"""Captures that are compressed while those before them are on their way."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from node.config import CompressedBy
from node.dimse.lossless import write_compressed
from node.errors import Unreadable

log = logging.getLogger(__name__)

_AT_A_TIME = 2
"""So many are compressed, or are and wait, while another is sent."""


class ToCompress(NamedTuple):
    """A capture that goes compressed."""

    path: Path
    sop_uid: str
    way: CompressedBy


class CompressedAhead:
    """Captures in the order in which they will be asked for; only the next few are worked on."""

    def __init__(self, captures: Iterable[ToCompress]) -> None:
        self._all = {capture.path: capture for capture in captures}
        self._waiting = iter(self._all.values())
        self._is_refused = False
        self._begun: dict[Path, Future[BinaryIO | None]] = {}
        self._threads = ThreadPoolExecutor(_AT_A_TIME, "compressing")
        for _ in range(_AT_A_TIME):
            self._begin_next()

    def has(self, path: Path) -> bool:
        """Whether it goes compressed."""
        return path in self._all

    def compressed(self, path: Path, stack: contextlib.ExitStack) -> Path | None:
        """Return it as a file that is gone with the stack; None if it is to be sent as it is."""
        if path not in self._all or self._is_refused:
            return None
        while path not in self._begun and self._begin_next():
            pass  # those before it were not asked for
        begun = self._begun.pop(path, None)
        if begun is None:  # it was asked for before
            return None
        file = begun.result()
        self._begin_next()
        return None if file is None else Path(f"/dev/fd/{stack.enter_context(file).fileno()}")

    def stop(self) -> None:
        """Compress no more: who has agreed to take them so does not."""
        self._is_refused = True

    def close(self) -> None:
        """Let go of what nobody has asked for."""
        self._threads.shutdown(cancel_futures=True)
        for one in self._begun.values():
            file = None if one.cancelled() or one.exception() else one.result()
            if file is not None:
                file.close()

    def _begin_next(self) -> bool:
        """Begin with the next one; return whether there was one."""
        capture = next(self._waiting, None)
        if capture is None:
            return False
        self._begun[capture.path] = self._threads.submit(_compressed, capture)
        return True


def _compressed(capture: ToCompress) -> BinaryIO | None:
    """Return a capture as a file that has no name; None if it cannot be compressed.

    As it is it needs neither room nor memory, so that a want of these stops no delivery.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = cast("BinaryIO", stack.enter_context(tempfile.TemporaryFile()))
            write_compressed(capture.path, capture.way, file)
            file.flush()
            stack.pop_all()  # it stays open, for who sends it
            return file
    except (Unreadable, OSError, MemoryError) as error:
        why = str(error) if isinstance(error, Unreadable) else type(error).__name__
        log.warning("%s is sent as it is, not compressed: %s", capture.sop_uid, why)
        return None
