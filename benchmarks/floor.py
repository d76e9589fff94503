"""What durability costs by itself: a plain loop that makes the node's own syncs, and nothing else.

Of each object the node syncs the file, then the folder with its name, then what SQLite has written
ahead (by fdatasync, as SQLite does). Objects that wait at the same moment share the last two, as in
the node. With one sync it is the file alone, as in Orthanc, which does
not sync its index.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

_LOG_OF_OBJECT = 13 * 4120
"""Bytes that SQLite writes ahead for a plain object: so many pages, as strace shows."""
_LOG_WRAPS_AT = 1000 * 4120
"""SQLite begins again at the front of its log after so many pages; it does not grow then."""


def take(folder: Path, contents: Sequence[bytes], threads: int, *, only_file: bool) -> float:
    """Write each into a file of its own, with its syncs; return how many seconds that took."""
    received = folder / "received"
    received.mkdir(parents=True)
    with closing(Loop(folder, received, only_file=only_file)) as loop:
        os.sync()
        began_at = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(loop.keep, range(len(contents)), contents))
        return time.perf_counter() - began_at


class Loop:
    """Keeps one object after the other. Safe to use from many threads."""

    def __init__(self, folder: Path, received: Path, *, only_file: bool) -> None:
        self._folder = folder
        self._received = received
        self._only_file = only_file
        self._log = (folder / "log").open("wb", buffering=0)
        self.has_one_writer = threading.Lock()
        self._lock = threading.Lock()
        self.shared_syncs = 0
        self.waiting: list[threading.Event] = []

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def keep(self, number: int, content: bytes) -> None:
        """Keep one, and return when it would last."""
        temporary = self._folder / f"{number}.part"
        with temporary.open("wb", buffering=0) as file:
            file.write(content)
            os.fsync(file.fileno())
        temporary.rename(self._received / f"{number}.dcm")
        if not self._only_file:
            self._share()

    def _share(self) -> None:
        """Have the folder and the log synced, by whoever comes first for all that wait by then."""
        mine = threading.Event()
        with self._lock:
            self.waiting.append(mine)
        with self.has_one_writer:
            if mine.is_set():
                return
            with self._lock:
                together, self.waiting = self.waiting, []
            self._sync_folder()
            if self._log.tell() > _LOG_WRAPS_AT:
                self._log.seek(0)
            self._log.write(bytes(len(together) * _LOG_OF_OBJECT))
            os.fdatasync(self._log.fileno())
            self.shared_syncs += 1
            for one in together:
                one.set()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._received, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
