"""Files of a backup: linked or copied, whole or not at all; and trees of them, in order.

Promise: what `put_all` has put survives a power cut. A file that is there under its name is whole.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_PORTION = 512
_AT_ONCE = 4
"""Most of the time of a copy is spent waiting for the disk to have it."""
_SAME_TIME_S = 2.0
"""File systems of removable disks remember no less."""
_CANNOT_LINK = frozenset((errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS))


@dataclass(frozen=True, slots=True)
class Pair:
    """A file, and where its like is to be."""

    source: Path
    target: Path

    def sizes(self) -> tuple[int | None, int | None]:
        """Return how large both are; None: it is not there."""
        return _size(self.source), _size(self.target)

    def size(self) -> int:
        """Return how much there is to copy."""
        return _size(self.source) or 0

    def is_unchanged(self) -> bool:
        """Whether there is one of that size and time."""
        with contextlib.suppress(FileNotFoundError):
            there, here = self.target.stat(), self.source.stat()
            is_same_time = abs(there.st_mtime - here.st_mtime) < _SAME_TIME_S
            return there.st_size == here.st_size and is_same_time
        return False


def _size(path: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return None


_T = TypeVar("_T")


def portions(many: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield them, some hundreds at a time."""
    rest = iter(many)
    while portion := list(itertools.islice(rest, _PORTION)):
        yield portion


def may_link(source: Path, target: Path) -> bool:
    """Return whether a file below one folder may have a second name below the other."""
    probe = source / f"{uuid.uuid4()}.part"
    there = target / probe.name
    try:
        probe.touch()
        os.link(probe, there)
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise
    else:
        return True
    finally:
        probe.unlink(missing_ok=True)
        there.unlink(missing_ok=True)


def put_all(pairs: Sequence[Pair], *, links: bool) -> list[Pair]:
    """Put a portion where it is to be; return those whose source is not there, or cannot be read.

    One sector of a disk that has gone must not keep all else from being put.
    """
    touched: set[Path] = set()
    for folder in {pair.target.parent for pair in pairs}:
        make_folder(folder, touched)
        touched.add(folder)
    with contextlib.ExitStack() as ended:
        pool = ThreadPoolExecutor(_AT_ONCE)
        ended.callback(pool.shutdown, cancel_futures=True)
        is_put = list(pool.map(lambda pair: _put(pair, links=links), pairs))
    for folder in touched:
        fsync(folder)
    return [pair for pair, is_it in zip(pairs, is_put, strict=True) if not is_it]


def put(source: Path, target: Path) -> None:
    """Copy one file, as `put_all` does."""
    if put_all([Pair(source, target)], links=False):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))


def make_folder(folder: Path, touched: set[Path]) -> None:
    """Make a folder and those above it; add to `touched` what has to be fsynced for it to stay."""
    if not folder.is_dir():
        make_folder(folder.parent, touched)
        folder.mkdir(exist_ok=True)
        touched.add(folder.parent)


def fsync(path: Path) -> None:
    """Return once a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_readable(path: Path) -> bool:
    """Whether a file can be read to its end: else its disk is at fault."""
    try:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True


def files_below(root: Path, relative: str = "") -> Iterator[str]:
    """Yield the relative paths of all files, in the order of these paths; a folder at a time."""
    try:
        with os.scandir(root / relative) as entries:
            found = [(f"{one.name}/" if _is_folder(one) else one.name) for one in entries]
    except FileNotFoundError:  # it has gone meanwhile
        return
    for name in sorted(found, key=os.fsencode):
        if name.endswith("/"):
            yield from files_below(root, f"{relative}{name}")
        else:
            yield f"{relative}{name}"


def surplus(there: Iterable[str], named: Iterable[str]) -> Iterator[str]:
    """Yield what is there and not named; both come in order."""
    names = iter(named)
    name = next(names, None)
    for path in there:
        while name is not None and os.fsencode(name) < os.fsencode(path):
            name = next(names, None)
        if path != name:
            yield path


def remove_file(root: Path, relative: str) -> None:
    """Remove a file, and the folders below the root that are empty then."""
    path = root / relative
    path.unlink(missing_ok=True)
    for folder in path.relative_to(root).parents[:-1]:
        try:
            (root / folder).rmdir()
        except OSError:  # there is more in it
            return


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _put(pair: Pair, *, links: bool) -> bool:
    temporary = pair.target.with_name(f"{uuid.uuid4()}.part")
    try:
        if links:
            os.link(pair.source, temporary)
        else:
            shutil.copyfile(pair.source, temporary)
            came = pair.source.stat()
            os.utime(temporary, ns=(came.st_atime_ns, came.st_mtime_ns))
            fsync(temporary)
        temporary.replace(pair.target)
    except FileNotFoundError:
        if pair.source.exists():
            raise
        return False
    except OSError as error:
        if error.errno != errno.EIO or is_readable(pair.source):
            raise
        return False
    finally:
        temporary.unlink(missing_ok=True)  # also where both were the same file before
    return True
