"""Folders that are made while others already write into them, and whose names are to last.

What another process made, and was killed before it made sure of, `Store.prepare` makes sure of.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


class NewFolders:
    """The folders of this process whose own names a power cut may take yet.

    Else who comes second into one would promise what only the first one makes sure of.
    """

    def __init__(self) -> None:
        self._made: dict[Path, object] = {}
        self._lock = threading.Lock()

    def make(self, folder: Path, *, parents: bool = False) -> None:
        """Make a folder, if it is not there."""
        self._note(folder)  # before another can find it
        folder.mkdir(parents=parents, exist_ok=True)
        self._note(folder)  # for one who made sure of it in between, when it was not there

    def make_sure_of(self, folder: Path) -> None:
        """Let its name last, if it may not."""
        made = self._made.get(folder)
        if made is None:
            return
        fsync_path(folder.parent)
        with self._lock:
            if self._made.get(folder) is made:
                del self._made[folder]

    def remove(self, folder: Path) -> None:
        """Remove an empty one that may not last: who makes it again makes sure of it."""
        if folder in self._made:
            remove_folder(folder)

    def _note(self, folder: Path) -> None:
        with self._lock:
            self._made[folder] = object()


def remove_folder(folder: Path) -> None:
    """Remove a folder, unless something is in it, as what has just come."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def fsync_path(path: Path) -> None:
    """Let no power cut take the bytes of a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
