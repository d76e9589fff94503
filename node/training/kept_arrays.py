"""Arrays that grow in a folder, row by row, while images are looked at.

Beside them lies a file that says how many rows are there. It holds for all arrays of the folder:
where one is gone or was cut, none of them has any.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from node.errors import ConfigError

ROOM = 1 << 30
"""So many bytes are left free on the disk."""
DONE = "done"
"""In the folder: how many rows are there."""
_Shape = tuple[int, ...]
ArrayOnDisk = np.memmap[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class KeptArrays:
    """What is kept in a folder."""

    arrays: tuple[ArrayOnDisk, ...]
    """In the order that was asked for."""
    done: int
    """So many rows, from the first, are there."""


def open_arrays(
    folder: Path, shapes: Mapping[str, _Shape], dtype: DTypeLike, what: str, advice: str
) -> KeptArrays:
    """Open the arrays of a folder, by the names of their files, and make what is not there.

    A new array has its whole room on the disk: what is written into it later always fits. Raise
    ConfigError, which says what needs the room and gives some advice, if there is not enough.
    """
    done = folder / DONE
    sizes = {name: _bytes_of(shape, dtype) for name, shape in shapes.items()}
    missing = [name for name, size in sizes.items() if not _is_whole(folder / name, size)]
    if missing:
        # First, so that a stop after the next line leaves no row that was never written.
        done.unlink(missing_ok=True)
        _make(folder, {name: sizes[name] for name in missing}, what, advice)
    return KeptArrays(
        tuple(np.memmap(folder / name, dtype, "r+", shape=of) for name, of in shapes.items()),
        int(done.read_text("ascii")) if done.exists() else 0,
    )


def _bytes_of(shape: _Shape, dtype: DTypeLike) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _is_whole(path: Path, size: int) -> bool:
    return path.exists() and path.stat().st_size == size


def _make(folder: Path, sizes: Mapping[str, int], what: str, advice: str) -> None:
    """Make files of zeros that have their room, all or none."""
    for name in sizes:
        (folder / name).unlink(missing_ok=True)
    needed, free = sum(sizes.values()), shutil.disk_usage(folder).free
    words = f"{folder}: {what} {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"
    if free < needed + ROOM:
        raise ConfigError(f"{words}; {advice}")
    try:
        for name, size in sizes.items():
            with (folder / name).open("wb") as file:
                # A file with holes would end the program when the disk is full (SIGBUS).
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        for name in sizes:
            (folder / name).unlink(missing_ok=True)
        raise ConfigError(f"{words} ({error.strerror}); {advice}") from error
