"""Where objects lie: temporary names, fsync, rename; damaged ones set aside with the reason.

Promise: a path that `keep` or `write` has returned holds all its bytes after a power cut.
Names are made of checked UIDs and digests only, never of anything else a sender chose.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from node.errors import Unreadable

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_META_GROUP_LENGTH_AT = 140
"""Preamble (128), "DICM" (4), then (0002,0000) UL: its value starts here (PS3.10 7.1)."""


def checked_uid(uid: str) -> str:
    """Return a UID that is safe as a file name, or raise Unreadable."""
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise Unreadable("an identifier in the object is not a valid DICOM UID")
    return uid


def dataset_digest(path: Path) -> str:
    """Return the SHA-256 of a Part 10 file's data set, the part that came over the network."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        head = file.read(_META_GROUP_LENGTH_AT + 4)
        if head[128:132] != b"DICM":
            raise Unreadable("the file has no DICOM preamble")
        file.seek(len(head) + int.from_bytes(head[_META_GROUP_LENGTH_AT:], "little"))
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Store:
    """The folder that holds every object, received and made."""

    root: Path
    node_id: str = "alone"
    """Several nodes may share the root; each writes what is not yet whole apart."""

    @property
    def incoming(self) -> Path:
        """Where this node writes an object while it arrives."""
        return self.root / "incoming" / self.node_id

    @property
    def rejected(self) -> Path:
        """Where objects are kept that could not be used, each with its reason beside it."""
        return self.root / "rejected"

    def prepare(self) -> None:
        """Create the folders that are not there."""
        for folder in (self.incoming, self.rejected, self.root / "received", self.root / "reports"):
            folder.mkdir(parents=True, exist_ok=True)

    def others(self) -> frozenset[str]:
        """Return the ids of other nodes that have, or had, something on its way into the store."""
        names = {folder.name for folder in self.incoming.parent.iterdir()}
        return frozenset(names - {self.node_id})

    def remove_leftovers(self, dead_nodes: Collection[str]) -> None:
        """Remove what dead nodes left half received."""
        # Never acknowledged: its sender still has it. A tree, because tempfile points there.
        for node_id in dead_nodes:
            shutil.rmtree(self.incoming.parent / node_id, ignore_errors=True)

    def path(self, relative: str) -> Path:
        """Return where a relative path of the ledger lies."""
        return self.root / relative

    def keep(self, temporary: Path, study_uid: str, sop_uid: str, digest: str) -> str:
        """Make a received file permanent and return its relative path.

        Each reception has a name of its own: what is not taken can go without looking who else
        has the same.
        """
        name = f"{checked_uid(sop_uid)}.{digest[:12]}.{uuid.uuid4().hex[:8]}.dcm"
        return self._settle(temporary, f"received/{checked_uid(study_uid)}/{name}")

    def restore(self, temporary: Path, relative: str) -> None:
        """Put a received file where its like was, which has been lost."""
        self._settle(temporary, relative)

    def write_report(self, content: bytes, study_uid: str, sop_uid: str) -> str:
        """Write a result object and return its relative path."""
        temporary = self.incoming / f"{uuid.uuid4()}.part"
        try:
            temporary.write_bytes(content)
            name = f"{checked_uid(sop_uid)}.dcm"
            return self._settle(temporary, f"reports/{checked_uid(study_uid)}/{name}")
        finally:
            temporary.unlink(missing_ok=True)  # there only if the disk is full

    def reject(self, temporary: Path, reason: str, name: str = "") -> Path:
        """Set an object aside with the reason in words; a name given twice keeps one copy."""
        name = name or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        target = self.rejected / f"{name}.dcm"
        (self.rejected / f"{name}.json").write_text(json.dumps({"reason": reason}), "utf-8")
        temporary.replace(target)
        return target

    def count_rejected(self) -> int:
        """Return how many objects have been set aside."""
        return sum(1 for _ in self.rejected.glob("*.dcm"))

    def free_bytes(self) -> int:
        """Return the free space on the store's file system."""
        return shutil.disk_usage(self.root).free

    def _settle(self, temporary: Path, relative: str) -> str:
        target = self.root / relative
        is_new_folder = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        _fsync(temporary)
        temporary.replace(target)
        _fsync(target.parent)
        if is_new_folder:
            _fsync(target.parent.parent)
        return relative


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
