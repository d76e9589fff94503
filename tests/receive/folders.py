"""A second way in: reception from a folder of Part 10 files, with statuses of its own."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from sqlalchemy.exc import OperationalError

from node.errors import NoRoom, Unreadable
from node.ledger import Recorded
from node.receive.reception import Came, Reception


class Status(StrEnum):
    """What is told of a file."""

    TAKEN = "taken"
    KNOWN = "known already"
    CORRECTED = "put in the place of another"
    CONTRADICTS = "contradicts another, and is kept beside it"
    UNREADABLE = "cannot be read"
    LATER = "could not be kept: try again"


_STATUS: Mapping[Recorded, Status] = {
    "new": Status.TAKEN,
    "same": Status.KNOWN,
    "unchanged": Status.KNOWN,
    "corrected": Status.CORRECTED,
    "contradicts": Status.CONTRADICTS,
}


def receive_folder(
    folder: Path, reception: Reception, incoming: Path, sender: str
) -> Iterator[tuple[Path, Status]]:
    """Bring every file of a folder, in the order of their names; the files stay where they are."""
    came = reception.begin(sender)
    try:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            copy = incoming / f"{uuid.uuid4()}.dcm"
            shutil.copyfile(path, copy)
            yield path, _kept(copy, reception, came)
    finally:
        reception.end(came)


def _kept(copy: Path, reception: Reception, came: Came) -> Status:
    try:
        return _STATUS[reception.keep(copy, came)]
    except Unreadable:
        return Status.UNREADABLE
    except (NoRoom, OSError, OperationalError):
        return Status.LATER
