"""1 Receive: one object on its way from the network into a file.

The file is what pynetdicom would write: a preamble, what the sender says of the object, and the
data set as it comes, byte for byte (PS3.10 7.1). It is read by nobody until it is whole, and its
digest is made meanwhile, so that nobody need read it for that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from node.dimse.c_store import StoreRequest

_SHORT, _LONG = struct.Struct("<HH2sH"), struct.Struct("<HH2sHL")
_META_GROUP = 0x0002
_VERSION = _LONG.pack(_META_GROUP, 0x0001, b"OB", 0, 2) + b"\0\1"
_MOST_PARTS = 512
"""That are written at once; the system allows 1024 (IOV_MAX)."""


class Arriving:
    """An object while it comes. What cannot be written is passed over, and the reason kept."""

    __slots__ = ("_digest", "_file", "_unwritten", "context_id", "error", "has_begun", "path")

    def __init__(self, folder: Path, context_id: int, beginning: bytes) -> None:
        self.context_id = context_id
        self.path = folder / f"{uuid.uuid4().hex}.dcm"
        self.error: OSError | None = None
        self.has_begun = False
        """Whether a part of its data set has come."""
        self._digest = hashlib.sha256()
        self._unwritten = beginning
        self._file: int | None = None
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self.error = error

    @property
    def digest(self) -> str:
        """That of its data set, as `store.dataset_digest` makes it of the file."""
        return self._digest.hexdigest()

    def take(self, parts: Sequence[memoryview]) -> None:
        """Write parts of the data set, in their order."""
        self.has_begun = True
        if self._file is None:
            return
        try:
            _write(self._file, [memoryview(self._unwritten), *parts])
        except OSError as error:
            self.error = error
            self.discard()
            return
        self._unwritten = b""
        for part in parts:
            self._digest.update(part)

    def close(self) -> None:
        """Write no more; a file system may say only now that it could not."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            os.close(file)
        except OSError as error:
            self.error = error
            self.discard()

    def discard(self) -> None:
        """Remove what there is of it."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def _write(file: int, parts: Sequence[memoryview]) -> None:
    for begin in range(0, len(parts), _MOST_PARTS):
        left = list(parts[begin : begin + _MOST_PARTS])
        while left:
            written = os.writev(file, left)
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = left[0][written:]


def beginning_of_file(request: StoreRequest, transfer_syntax: str) -> bytes:
    """Return what comes before the data set in a file: preamble and file meta information."""
    meta = b"".join(
        (
            _VERSION,
            _element(0x0002, b"UI", request.sop_class),
            _element(0x0003, b"UI", request.sop_instance),
            _element(0x0010, b"UI", transfer_syntax.encode("ascii")),
            _element(0x0012, b"UI", PYNETDICOM_IMPLEMENTATION_UID.encode("ascii")),
            _element(0x0013, b"SH", PYNETDICOM_IMPLEMENTATION_VERSION.encode("ascii")),
        )
    )
    length = _element(0x0000, b"UL", struct.pack("<L", len(meta)))
    return bytes(128) + b"DICM" + length + meta


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr == b"SH" else b"\0"
    return _SHORT.pack(_META_GROUP, number, vr, len(value)) + value
