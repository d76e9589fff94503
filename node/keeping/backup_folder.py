"""The folder of backups: what lies where in it, and that it is one node's, one backup at a time.

    owner.json              whose backups these are
    store/                  the files that the backups below name
    whole-.../             one that is whole: ledger.db, configuration/, models/, backup.json
    next/                   one that is not, yet
    old-.../                one that is being removed

A folder that is called whole is whole: it gets that name when all it needs is on disk, and files
that only a former one needs go after that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.errors import NodeError
from node.keeping.files import fsync

_OWNER = "owner.json"
_LOCK = "lock"
_OF_NOBODY = frozenset((_LOCK, f"{_OWNER}.part", "lost+found"))


@dataclass(frozen=True, slots=True)
class BackupFolder:
    """Where the backups of one node lie."""

    root: Path

    @property
    def store(self) -> Path:
        """The files of the backups."""
        return self.root / "store"

    @property
    def next(self) -> Path:
        """The backup that is being made."""
        return self.root / "next"

    def whole(self) -> list[Path]:
        """Return the backups that are whole, the newest first: one, but for a killed process."""
        return sorted(self.root.glob("whole-*"), reverse=True)

    @contextlib.contextmanager
    def held(self, installation: str) -> Iterator[None]:
        """Have it alone. Raises NodeError if it is somebody else's, or in use."""
        self._require(installation)
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NodeError(
                    f"another backup to {self.root} is being made; wait until it has ended"
                ) from None
            self._claim(installation)
            self._sweep()
            yield

    def begin(self) -> Path:
        """Make the folder of a new backup."""
        self.next.mkdir()
        self.store.mkdir(exist_ok=True)
        return self.next

    def publish(self, stamp: str) -> Path:
        """Call the new one whole, in one step. All that it needs is on disk."""
        for folder in (self.store, self.next, self.root):
            fsync(folder)
        whole = self.root / f"whole-{stamp}"
        self.next.rename(whole)
        fsync(self.root)
        return whole

    def remove_former(self, newest: Path) -> None:
        """Remove the backups that a newer one has replaced."""
        for former in self.whole():
            if former != newest:
                former.rename(self.root / former.name.replace("whole-", "old-", 1))
        fsync(self.root)
        self._sweep()

    def _require(self, installation: str) -> None:
        """Raise NodeError if it is not ours, nor empty or not there."""
        owner = self.root / _OWNER
        if owner.exists():
            if json.loads(owner.read_text("utf-8"))["installation"] != installation:
                raise NodeError(
                    f"{self.root} holds backups of another installation of the node; name another "
                    "folder"
                )
        elif self.root.exists() and {one.name for one in self.root.iterdir()} - _OF_NOBODY:
            raise NodeError(
                f"{self.root} is no folder of backups and holds other files; name one that is "
                "empty, or not there"
            )

    def _claim(self, installation: str) -> None:
        self._require(installation)
        if not (self.root / _OWNER).exists():
            temporary = self.root / f"{_OWNER}.part"
            temporary.write_text(json.dumps({"installation": installation}), "utf-8")
            fsync(temporary)
            temporary.replace(self.root / _OWNER)
            fsync(self.root)

    def _sweep(self) -> None:
        """Remove what a killed process left half made, or half removed."""
        for left in (self.next, *self.root.glob("old-*")):
            if left.exists():
                shutil.rmtree(left)
