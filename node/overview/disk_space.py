"""How much room there is for what comes, and for how long, as this machine sees its folders."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from node.config import Config
from node.ledger import BackingUp, Ledger, now, schema
from node.store import Room, room_in

_DAY_S = 86_400.0
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
    """Until only that is free, if as much comes as in the last week; None if that says nothing, or
    if [retention] removes before."""
    used_percent: float = 0.0
    """As `df` says it."""
    clean_from: float | None = None
    """Of the store's: [retention] clean_from_percent and refuse_from_percent, as they are set."""
    refuse_from: float | None = None
    a_day: float = 0.0
    """Bytes that a day adds, by the studies of the last week; 0 where nothing came."""
    backup: str = ""
    """Where the last backup lies, if it is on this disk: then nothing frees room that it has."""

    @property
    def days_that_fit(self) -> float | None:
        """How many days of what comes fit on the whole disk; None if nothing came in a week.

        Until cleaning begins, else until nothing is taken any more.
        """
        room = self.total * (self.clean_from or 100) / 100
        return days_that_fit(min(room, self.total - self.least_free), self.a_day)


def days_that_fit(room: float, a_day: float) -> float | None:
    """Return how many days of what comes fit into some room, both in bytes; None if none comes."""
    return room / a_day if a_day else None


def disk_spaces(ledger: Ledger, config: Config) -> tuple[DiskSpace, ...]:
    """Return the disks of store and state; what is not there on this machine is left out."""
    store, state = config.store_dir, config.node.state_dir
    folders = {"store_dir": store, "state_dir": state}
    if store.exists() and state.exists() and store.stat().st_dev == state.stat().st_dev:
        folders = {"store_dir and state_dir": store}
    found = []
    for name, folder in folders.items():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            room = room_in(folder)
            if folder == store:
                found.append(_of_store(name, room, ledger, config))
            else:
                used = room.used_percent
                found.append(DiskSpace(name, folder, room.free, room.total, 0, used_percent=used))
    return tuple(found)


def _of_store(name: str, room: Room, ledger: Ledger, config: Config) -> DiskSpace:
    kept = config.retention
    refuse_from = kept.refuse_from_percent
    least_free = config.node.least_free
    if refuse_from is not None:
        least_free = max(least_free, room.free_at(refuse_from))
    a_day = _bytes_a_day(ledger, config.store_dir)
    days_left = days_that_fit(max(room.free - least_free, 0), a_day)
    if days_left is not None and _is_removed_before(ledger, config, days_left):
        days_left = None
    return DiskSpace(
        name,
        config.store_dir,
        room.free,
        room.total,
        least_free,
        days_left,
        room.used_percent,
        kept.clean_from_percent,
        refuse_from,
        a_day,
        _backup_beside(ledger, config.store_dir),
    )


def _backup_beside(ledger: Ledger, store: Path) -> str:
    """Return where the last backup lies if files of the store may have second names there."""
    last = BackingUp(ledger).last()
    machine, _, folder = last.to.partition(":") if last is not None else ("", "", "")
    if machine != socket.gethostname():
        return ""
    try:
        return folder if Path(folder).stat().st_dev == store.stat().st_dev else ""
    except OSError:  # it is away, or not for us to look at
        return ""


def _is_removed_before(ledger: Ledger, config: Config, days: float) -> bool:
    """Return whether images go before so many days are over, so that they do not fill the disk.

    With `clean_from_percent` they go for want of room. By their days they do if the oldest there
    are, but for what is held or kept, are old enough by then: from then on as much goes as comes.
    """
    if config.retention.clean_from_percent is not None:
        return True
    if config.retention.images_days is None:
        return False
    study = schema.study
    is_there = study.c.images_removed_at.is_(None)
    query = sa.select(now() - study.c.last_at).where(
        is_there, study.c.held_reason.is_(None), study.c.kept_at.is_(None)
    )
    with ledger.reading() as db:
        age_s = db.execute(query.order_by(study.c.last_at).limit(1)).scalar_one_or_none()
    return age_s is not None and age_s / _DAY_S + days > config.retention.images_days


def _bytes_a_day(ledger: Ledger, store: Path) -> float:
    """Estimate what a day adds, by the files of some of the last week's studies."""
    table = schema.study
    is_late = table.c.last_image_at > now() - _LATELY_DAYS * _DAY_S
    newest = sa.select(table.c.study_uid).where(is_late).order_by(table.c.last_image_at.desc())
    with ledger.reading() as db:
        count = db.execute(sa.select(sa.func.count()).where(is_late)).scalar_one()
        uids = db.execute(newest.limit(_SAMPLE)).scalars().all()
    if not uids:
        return 0.0
    folders = (store / tree / uid for uid in uids for tree in ("received", "reports"))
    return sum(map(size_of_folder, folders)) / len(uids) * count / _LATELY_DAYS


def size_of_folder(folder: Path) -> float:
    """Estimate how much lies in a folder: all if it is little, else by some of its files."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        entries = list(found)
        some = entries[:: -(-len(entries) // _FILES)] if entries else []
        if some:
            return sum(entry.stat().st_size for entry in some) * len(entries) / len(some)
    return 0.0
