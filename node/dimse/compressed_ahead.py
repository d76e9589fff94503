"""Compresses captures on their way out, each while those before it are being sent."""

from __future__ import annotations

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from node.dimse.lossless import LosslessName, write_compressed

_AHEAD = 2
"""More at once would lie about for longer, and take processors from what is analysed."""


class CompressedAhead:
    """The compressed captures of one association, taken in the order in which they are sent."""

    def __init__(self, captures: Iterable[tuple[Path, LosslessName]]) -> None:
        self._to_begin = deque(captures)
        self._paths = frozenset(path for path, _ in self._to_begin)
        self._begun: dict[Path, Future[BinaryIO]] = {}
        self._pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix="compressing")

    def __enter__(self) -> Self:
        self._begin(_AHEAD)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        for future in self._begun.values():
            if not future.cancelled() and future.exception() is None:
                future.result().close()

    def __contains__(self, path: Path) -> bool:
        return path in self._paths

    def take(self, path: Path) -> BinaryIO:
        """Return a capture compressed, as a file without a name that the caller closes.

        Raises Unreadable if it cannot be compressed. Those before it are not taken any more.
        """
        while path not in self._begun:
            self._begin(1)
        future = self._begun.pop(path)
        self._begin(1)
        return future.result()

    def _begin(self, count: int) -> None:
        with contextlib.suppress(IndexError):  # all have begun
            for _ in range(count):
                path, way = self._to_begin.popleft()
                self._begun[path] = self._pool.submit(_compressed, path, way)


def _compressed(path: Path, way: LosslessName) -> BinaryIO:
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - whoever takes it closes it
    try:
        write_compressed(path, way, file)
        file.flush()
    except BaseException:
        file.close()
        raise
    return file
