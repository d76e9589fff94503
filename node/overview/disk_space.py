"""How much room there is for what comes, and for how long, as this machine sees its folders."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from node.config import Config
from node.ledger import Ledger, now, schema

_LATELY_DAYS = 7.0
_SAMPLE = 20
"""Studies whose files are measured; of more, as many as that share."""
_FILES = 5
"""Of each of their folders, spread over it; so 200 at most, however many images a study has."""


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """A disk that the node writes to."""

    name: str
    """Which setting says so: "store_dir", or "store_dir and state_dir"."""
    folder: Path
    free: int
    """Bytes."""
    total: int
    least_free: int
    """Bytes below which nothing is taken any more; 0 where that does not matter."""
    days_left: float | None = None
    """Until only that is free, if as much comes as in the last week; None if that says nothing."""


def disk_spaces(ledger: Ledger, config: Config) -> tuple[DiskSpace, ...]:
    """Return the disks of store and state; what is not there on this machine is left out."""
    store, state = config.store_dir, config.node.state_dir
    folders = {"store_dir": store, "state_dir": state}
    if store.exists() and state.exists() and store.stat().st_dev == state.stat().st_dev:
        folders = {"store_dir and state_dir": store}
    found = []
    for name, folder in folders.items():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            usage = shutil.disk_usage(folder)
            is_store = folder == store
            least = config.node.min_free_mb << 20 if is_store else 0
            grows = _bytes_a_day(ledger, store) if is_store else 0.0
            left = max(usage.free - least, 0) / grows if grows else None
            found.append(DiskSpace(name, folder, usage.free, usage.total, least, left))
    return tuple(found)


def _bytes_a_day(ledger: Ledger, store: Path) -> float:
    """Estimate what a day adds, by the files of some of the last week's studies."""
    table = schema.study
    is_late = table.c.last_image_at > now() - _LATELY_DAYS * 86_400
    newest = sa.select(table.c.study_uid).where(is_late).order_by(table.c.last_image_at.desc())
    with ledger.reading() as db:
        count = db.execute(sa.select(sa.func.count()).where(is_late)).scalar_one()
        uids = db.execute(newest.limit(_SAMPLE)).scalars().all()
    if not uids:
        return 0.0
    folders = (store / tree / uid for uid in uids for tree in ("received", "reports"))
    return sum(map(_size, folders)) / len(uids) * count / _LATELY_DAYS


def _size(folder: Path) -> float:
    """Estimate how much lies in a folder: all if it is little, else by some of its files."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        entries = list(found)
        some = entries[:: -(-len(entries) // _FILES)] if entries else []
        if some:
            return sum(entry.stat().st_size for entry in some) * len(entries) / len(some)
    return 0.0
