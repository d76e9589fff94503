"""Pictures, drawn when their images were decoded to be scored, until they are asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from node.imaging.source import FileMark, mark_of
from node.study import Picture

MOST_BYTES = 1 << 27
"""Of all pictures: of 37 mammograms, the longest side of which is 2048 pixels."""


class Pictures:
    """Pictures by their files; the first to come is the first to go. Any thread may ask.

    What lies in a file's place by now has none.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._drawn: OrderedDict[Path, tuple[FileMark, Picture]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def has(self, path: Path) -> bool:
        """Whether there is one of a file."""
        with self._lock:
            return path in self._drawn

    def keep(self, path: Path, mark: FileMark, picture: Picture) -> None:
        """Keep a picture of a file that had this mark before it was drawn."""
        with self._lock:
            self._remove(path)
            self._drawn[path] = mark, picture
            self._bytes += picture.grey.nbytes
            while self._bytes > self._most_bytes:
                self._remove(next(iter(self._drawn)))

    def take(self, path: Path) -> Picture | None:
        """Return the picture of a file, which is kept no longer; None if there is none."""
        with self._lock:
            found = self._drawn.get(path)
            self._remove(path)
        if found is None:
            return None
        mark, picture = found
        try:
            return picture if mark_of(path) == mark else None
        except OSError:  # who reads the file says what is the matter
            return None

    def _remove(self, path: Path) -> None:
        found = self._drawn.pop(path, None)
        if found is not None:
            self._bytes -= found[1].grey.nbytes
