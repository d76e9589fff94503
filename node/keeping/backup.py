"""`ai-node backup`: the ledger, every file that it speaks of, and the settings, while a node runs.

The order makes it consistent: from the first step on no file of the store goes; then all rows as
they are at one instant; then the files that these rows speak of, which are there since before. What
comes later is in the next backup. Incremental: a file that is there is not copied again.

Killed at any step it leaves the last whole backup as it was, and the next call goes on: what has
been copied stays.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node import __version__
from node.belonging import fault_of_emptiness, owner_of
from node.config import Config
from node.errors import NodeError, Unreadable
from node.keeping.backup_folder import BackupFolder
from node.keeping.backup_settings import put_settings
from node.keeping.files import (
    Pair,
    files_below,
    fsync,
    may_link,
    portions,
    put,
    put_all,
    remove_file,
    surplus,
)
from node.ledger import LEASE_S, BackingUp, Filing, Ledger, NamedFile, Snapshot, utc
from node.numbers_in_words import counted
from node.store import BELONGS, Store, recorded_digest

log = logging.getLogger(__name__)

LEDGER = "ledger.db"
ABOUT = "backup.json"
_RENEW_AFTER_S = LEASE_S / 10
_NAMED = 10
"""Of what is wrong so many are named."""
_RESERVE = 64 << 20
_BY_ROWS = ("received", "reports")
_PUT_ASIDE = ("contradicting/", BELONGS, "orphans/", "packages/", "unreadable/")
"""What of a store is kept though no row speaks of it, in order. What is on its way into it was
acknowledged to nobody; anything else is not ours, such as lost+found."""

ShowsSteps = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows how far long work is: of what, and of how many steps."""


@dataclass(slots=True)
class Amiss:
    """Files with which something is wrong: how many, and the first of them."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        """Note one more."""
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(path)


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that is whole, as far as the store has what the ledger speaks of."""

    folder: Path
    began_at: float
    """Epoch seconds, by the database: what came later is not in it."""
    files: int
    fresh: int
    """So many of the files were not there from a former backup."""
    are_linked: bool
    """The files have second names on the disk of the store, and no second copy."""
    missing: Amiss
    """Files that rows speak of and that neither the store's disk gives nor a former backup."""
    only_here: Amiss
    """Files that a former backup has put here, and that the store lacks or has damaged."""
    damaged: Amiss
    """Files that are not as they came, in the store either: seen by their size, and by their bytes
    if that was asked."""
    mended: Amiss
    """Files that had been damaged in the backup, and were copied again."""
    unread: tuple[str, ...]
    """Files that the configuration names and that are not there."""
    not_removed: str = ""
    """Why some of what only former backups spoke of is still there."""


def back_up(
    ledger: Ledger,
    config: Config,
    config_path: Path,
    to: Path,
    *,
    progress: ShowsSteps,
    verifies: bool = False,
) -> Backup:
    """Make a backup in a folder, and replace the former one there once it is whole.

    Raises NodeError if it cannot be made; the former one is as it was then.
    """
    root = to.resolve()
    _require_apart(root, config)
    folder, backing_up = BackupFolder(root), BackingUp(ledger)
    where = f"{socket.gethostname()}:{root}"
    try:
        with folder.held(ledger.installation), _files_stay(backing_up, where) as lease:
            making = _Making(folder, config.store_dir, backing_up, where, lease, progress)
            return making.make(config, config_path, verifies=verifies)
    except OSError as error:
        at = f"{error.filename}: " if error.filename else ""
        raise _not_made(root, f"{at}{error.strerror}") from error
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise _not_made(root, f"the database: {' '.join(str(reason).split())}") from error


def _not_made(root: Path, reason: str) -> NodeError:
    return NodeError(
        f"no backup was made in {root} ({reason}); a former one there is as it was. Mend that and "
        "call it again: what has been copied is not copied again"
    )


@dataclass(slots=True)
class _Lease:
    """That no file of the store goes."""

    began_at: float
    renewed_at: float
    """By this machine's clock that only goes forward: before it was asked for."""
    lost: threading.Event = field(default_factory=threading.Event)

    def renew(self, backing_up: BackingUp, where: str) -> None:
        asked_at = time.monotonic()
        if backing_up.renew(where):
            self.renewed_at = asked_at
        else:
            self.lost.set()

    def require(self) -> None:
        """Raise NodeError if files may have gone."""
        if self.lost.is_set() or time.monotonic() - self.renewed_at >= LEASE_S:
            raise NodeError(
                "the database could not be told in time that the backup goes on, so files may have "
                "been removed meanwhile; call it again: what has been copied is not copied again"
            )

    def require_to_the_end(self, backing_up: BackingUp, where: str) -> None:
        """Raise NodeError if files may have gone until now, by the database's word."""
        self.renew(backing_up, where)
        self.require()


@contextlib.contextmanager
def _files_stay(backing_up: BackingUp, where: str) -> Iterator[_Lease]:
    """Let no file of the store go."""
    asked_at = time.monotonic()
    lease, ended = _Lease(backing_up.begin(where), asked_at), threading.Event()

    def renew() -> None:
        while not ended.wait(_RENEW_AFTER_S):
            try:
                lease.renew(backing_up, where)
            except sa.exc.SQLAlchemyError as error:
                log.warning("The database does not answer: %s", type(error).__name__)

    renewing = threading.Thread(target=renew, name="backup", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        ended.set()
        renewing.join()
        with contextlib.suppress(sa.exc.SQLAlchemyError):  # then it is known after LEASE_S
            backing_up.end(where)


@dataclass(slots=True)
class _Seen:
    """What is amiss, as `Backup` says it."""

    missing: Amiss = field(default_factory=Amiss)
    only_here: Amiss = field(default_factory=Amiss)
    damaged: Amiss = field(default_factory=Amiss)
    mended: Amiss = field(default_factory=Amiss)


@dataclass(frozen=True, slots=True)
class _Making:
    """One backup, in its steps."""

    folder: BackupFolder
    store: Path
    backing_up: BackingUp
    where: str
    lease: _Lease
    progress: ShowsSteps

    def make(self, config: Config, config_path: Path, *, verifies: bool) -> Backup:
        _require_store(self.store, self.backing_up.ledger)
        new = self.folder.begin()
        former = next(iter(self.folder.whole()), None)
        self._require_room(self.backing_up.size_bytes(), "the ledger")
        self.backing_up.snapshot(new / LEDGER, self.where, self.lease.began_at)
        fsync(new / LEDGER)
        unread = put_settings(config, config_path, new, former)
        links = may_link(self.store, self.folder.store)
        named = Snapshot(new / LEDGER)
        files, fresh, seen = self._put_files(named, links=links)
        if verifies:
            self._verify(named, files, seen)
        self.lease.require_to_the_end(self.backing_up, self.where)
        at = self.lease.began_at
        amiss = (seen.missing, seen.only_here, seen.damaged, seen.mended)
        made = Backup(new, at, files, fresh, links, *amiss, tuple(unread))
        _write_about(new / ABOUT, made, config_path)
        fsync(new)
        whole = self.folder.publish(f"{utc(at):%Y%m%dT%H%M%S}.{int(at % 1 * 1000):03}Z")
        return replace(made, folder=whole, not_removed=self._tidy_up(whole))

    def _tidy_up(self, whole: Path) -> str:
        """Record that a backup is whole, and remove what only former ones spoke of.

        Return why that was not to be done, "" if it was: the backup is whole all the same, and the
        next one does what is left.
        """
        try:
            self.backing_up.end(self.where, self.lease.began_at)
            self.folder.remove_former(whole)
            self._remove_surplus(Snapshot(whole / LEDGER))
        except OSError as error:
            at = f"{error.filename}: " if error.filename else ""
            return f"{at}{error.strerror}"
        except (sa.exc.DBAPIError, sqlite3.Error) as error:
            reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            return f"the database: {' '.join(str(reason).split())}"
        except NodeError as error:  # of a store that does not say whose it is
            return str(error)
        return ""

    def _put_files(self, named: Snapshot, *, links: bool) -> tuple[int, int, _Seen]:
        """Put every file there; return how many there are, how many are new, what is amiss."""
        files = size = 0
        to_put, seen = 0, _Seen()
        for pair, is_there in self._pairs(named, seen):
            files += 1
            if not is_there:
                to_put += 1
                size += 0 if links and _is_linked(pair) else pair.size()
        self._require_room(size, counted(to_put, "file"))
        fresh = to_put
        with self.progress("Linking files" if links else "Copying files", to_put) as advance:
            new = (pair for pair, is_there in self._pairs(named, _Seen()) if not is_there)
            for portion in portions(new):
                self.lease.require()
                linked = [pair for pair in portion if links and _is_linked(pair)]
                copied = [pair for pair in portion if not (links and _is_linked(pair))]
                for pair in (*put_all(linked, links=True), *put_all(copied, links=False)):
                    fresh -= 1
                    # Of what is only put aside, a file may go at any time.
                    if _is_by_row(pair, self.store):
                        relative = str(pair.source.relative_to(self.store))
                        (seen.only_here if pair.target.exists() else seen.missing).add(relative)
                for _ in portion:
                    advance()
        return files, fresh, seen

    def _pairs(self, named: Snapshot, seen: _Seen) -> Iterator[tuple[Pair, bool]]:
        """Yield every file, and whether it need not be put; note what is amiss."""
        for file in named.files():
            pair = Pair(self.store / file.path, self.folder.store / file.path)
            yield pair, self._is_there(pair, file, seen)
        for relative in _put_aside(self.store):
            pair = Pair(self.store / relative, self.folder.store / relative)
            yield pair, pair.is_unchanged()

    def _is_there(self, pair: Pair, file: NamedFile, seen: _Seen) -> bool:
        """Whether a file need not be put.

        Its name is used for one content only: of two sizes one is wrong, and the row says which. A
        good one never gives way to one that is not.
        """
        match pair.sizes():
            case (_, None):
                return False
            case (None, _):
                seen.only_here.add(file.path)
                return True
            case (here, there) if here == there:
                return True
        if is_as_named(pair.source, file):
            seen.mended.add(file.path)
            return False
        is_good_here = is_as_named(pair.target, file)
        (seen.only_here if is_good_here else seen.damaged).add(file.path)
        return True

    def _verify(self, named: Snapshot, files: int, seen: _Seen) -> None:
        """Read every file that a row speaks of; note which are damaged, and which were mended."""
        seen.damaged = Amiss()  # what was seen by its size is among them
        with self.progress("Reading files", files) as advance, ThreadPoolExecutor(4) as pool:
            for portion in portions(named.files()):
                for file, state in zip(portion, pool.map(self._state, portion), strict=True):
                    if state is not None:
                        (seen.mended if state else seen.damaged).add(file.path)
                    advance()

    def _state(self, file: NamedFile) -> bool | None:
        """Return None if a file is as it should be, else whether it could be mended."""
        there, source = self.folder.store / file.path, self.store / file.path
        if not there.exists() or is_as_named(there, file):
            return None  # what is missing has been said
        if not source.exists() or source.samefile(there) or not is_as_named(source, file):
            return False
        put(source, there)
        return is_as_named(there, file)

    def _remove_surplus(self, named: Snapshot) -> None:
        """Remove the files that only former backups spoke of."""
        store = self.folder.store
        there = (path for tree in _BY_ROWS for path in files_below(store, f"{tree}/"))
        for path in surplus(there, (file.path for file in named.files())):
            remove_file(store, path)
        if owner_of(Store(self.store)) == self.backing_up.ledger.installation:  # or it is away
            for path in surplus(_put_aside(store), _put_aside(self.store)):
                remove_file(store, path)

    def _require_room(self, size: int, what: str) -> None:
        free = shutil.disk_usage(self.folder.root).free
        if size + _RESERVE > free:
            raise NodeError(
                f"{self.folder.root} has {free / 1e9:.1f} GB free, and {what} that are to be "
                f"copied take {size / 1e9:.1f} GB; make room there, or use a larger disk. A former "
                "backup there is as it was"
            )


def is_as_named(path: Path, file: NamedFile) -> bool:
    """Read a file; return whether it holds what its row says."""
    try:
        return recorded_digest(path, is_received=file.is_received) == file.digest
    except (Unreadable, EOFError):
        return False
    except OSError as error:
        if error.errno != errno.EIO:  # its disk is at fault, and nothing else
            raise
        return False


def _require_store(store: Path, ledger: Ledger) -> None:
    """Raise NodeError where the store is not there: a mount has gone, and nothing is missing."""
    if fault := fault_of_emptiness(Store(store), Filing(ledger).names_files):
        raise NodeError(f"[node] {fault}. No backup was made, and a former one is as it was")


def _require_apart(root: Path, config: Config) -> None:
    for folder in (config.store_dir, config.node.state_dir):
        inner, outer = sorted((root, folder.resolve()), key=lambda one: -len(one.parts))
        if inner.is_relative_to(outer):
            raise NodeError(
                f"{root} is no place for a backup: it and {folder}, which is to be backed up, lie "
                "one in the other; name another folder, best on another machine's disk"
            )


def _put_aside(store: Path) -> Iterator[str]:
    """Yield the files of a store of which no row speaks, and that are kept all the same."""
    for name in _PUT_ASIDE:
        if name.endswith("/"):
            paths = files_below(store, name)
            yield from (path for path in paths if not path.endswith(".part"))
        elif (store / name).exists():
            yield name


def _is_linked(pair: Pair) -> bool:
    """Whether a file may have a second name: what is written once, and never in place."""
    return pair.source.suffix == ".dcm"


def _is_by_row(pair: Pair, store: Path) -> bool:
    return pair.source.relative_to(store).parts[0] in _BY_ROWS


def _write_about(path: Path, made: Backup, config_path: Path) -> None:
    about: dict[str, Any] = {
        "format": 1,
        "release": __version__,
        "began_at": f"{utc(made.began_at):%Y-%m-%dT%H:%M:%SZ}",
        "files": made.files,
        "missing": made.missing.count,
        "only_here": made.only_here.count,
        "damaged": made.damaged.count,
        "configuration": str(config_path.resolve()),
    }
    path.write_text(json.dumps(about, indent=1), "utf-8")
    fsync(path)
