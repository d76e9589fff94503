"""What durability costs by itself: a plain loop that makes the node's own syncs, and nothing else.

Of each object the node syncs the file, then the folder with its name, then what SQLite has written
ahead (by fdatasync, as SQLite does). With one sync it is the file alone, as in Orthanc, which does
not sync its index.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LOG_OF_OBJECT = 13 * 4120
"""Bytes that SQLite writes ahead for a plain object: so many pages, as strace shows."""
_LOG_WRAPS_AT = 1000 * 4120
"""SQLite begins again at the front of its log after so many pages; it does not grow then."""


def take(folder: Path, contents: Sequence[bytes], threads: int, *, only_file: bool) -> float:
    """Write each into a file of its own, with its syncs; return how many seconds that took."""
    received = folder / "received"
    received.mkdir(parents=True)
    loop = _Loop(folder, received, only_file=only_file)
    os.sync()
    began_at = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(loop.keep, range(len(contents)), contents))
    return time.perf_counter() - began_at


class _Loop:
    def __init__(self, folder: Path, received: Path, *, only_file: bool) -> None:
        self._folder = folder
        self._received = received
        self._only_file = only_file
        self._log = (folder / "log").open("wb", buffering=0)
        self._has_one_writer = threading.Lock()

    def keep(self, number: int, content: bytes) -> None:
        temporary = self._folder / f"{number}.part"
        with temporary.open("wb", buffering=0) as file:
            file.write(content)
            os.fsync(file.fileno())
        temporary.rename(self._received / f"{number}.dcm")
        if self._only_file:
            return
        with self._has_one_writer:
            self._sync_folder()
            if self._log.tell() > _LOG_WRAPS_AT:
                self._log.seek(0)
            self._log.write(bytes(_LOG_OF_OBJECT))
            os.fdatasync(self._log.fileno())

    def _sync_folder(self) -> None:
        descriptor = os.open(self._received, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
