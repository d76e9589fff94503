"""A destination that nothing is spoken with: results become files of a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.deliver.confirmation import Confirmation, Transaction
from node.deliver.destination import Parcel
from node.dicom.header import read_header
from node.errors import DeliveryError
from node.identity import disagreement, identity_of
from node.ledger import DeliveryState, Outcome


@dataclass
class FolderDestination:
    """A folder, with one of each study in it."""

    root: Path
    refuses: set[str] = field(default_factory=set)
    """Kinds that it does not take."""
    loses: set[str] = field(default_factory=set)
    """Kinds that it takes and, the first time, does not keep."""

    def conflict(self, parcels: Sequence[Parcel]) -> str | None:
        there = sorted(self.folder_of(parcels[0]).glob("*.dcm"))
        paths = [*there, *(parcel.path for parcel in parcels)]
        why = disagreement({identity_of(read_header(path)) for path in paths})
        return f"in {self.root.name} {why}" if why else None

    def send(self, parcels: Sequence[Parcel], before_each: Callable[[], None]) -> Iterator[Outcome]:
        if not self.root.is_dir():
            raise DeliveryError(f"the folder {self.root.name} is not there")
        for parcel in parcels:
            before_each()
            yield self._put(parcel)

    def confirm(self, parcels: Sequence[Parcel], transaction: Transaction | None) -> Confirmation:
        return Confirmation(tuple(map(self._read_back, parcels)))

    def folder_of(self, parcel: Parcel) -> Path:
        return self.root / str(read_header(parcel.path).StudyInstanceUID)

    def path_of(self, parcel: Parcel) -> Path:
        return self.folder_of(parcel) / f"{parcel.sop_uid}.dcm"

    def _put(self, parcel: Parcel) -> Outcome:
        kind, path = parcel.report.kind, self.path_of(parcel)
        if kind in self.refuses:
            return Outcome(
                parcel.sop_uid, DeliveryState.REFUSED, f"{self.root.name} takes no {kind}"
            )
        try:
            path.parent.mkdir(exist_ok=True)
            if kind in self.loses:
                self.loses.remove(kind)
            else:
                write(path, parcel.path.read_bytes())
        except OSError as error:
            return Outcome(parcel.sop_uid, DeliveryState.QUEUED, error.strerror)
        return Outcome(parcel.sop_uid, DeliveryState.SENT)

    def _read_back(self, parcel: Parcel) -> Outcome:
        path = self.path_of(parcel)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
        if digest != parcel.report.digest:
            return Outcome(parcel.sop_uid, DeliveryState.QUEUED, f"{self.root.name} has lost it")
        return Outcome(parcel.sop_uid, DeliveryState.CONFIRMED, confirmed_by="reading")


def write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
