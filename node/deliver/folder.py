"""A destination that is a folder: each result object is a file of it, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.deliver.confirmation import Confirmation, Transaction
from node.deliver.destination import Parcel
from node.dicom.header import read_header
from node.errors import DeliveryError
from node.ledger import DeliveryState, Outcome
from node.store import checked_uid

_FOR_OTHERS_FOLDER = 0o2775
_FOR_OTHERS_FILE = 0o664
"""Of the rights that the root gives its owner, its group and all others, these are passed on."""


@dataclass(frozen=True, slots=True)
class FolderDestination:
    """A folder with one of each study in it: STUDY_UID/SOP_INSTANCE_UID.dcm.

    The folder itself is never made: where a network share is not mounted, nothing must be written
    to the disk below. Who may read it may read what is put into it.
    """

    name: str
    root: Path

    def conflict(self, parcels: Sequence[Parcel]) -> str | None:
        """Return None: nobody else has the study there, and what a file says of it stays true."""
        return None

    def send(self, parcels: Sequence[Parcel], before_each: Callable[[], None]) -> Iterator[Outcome]:
        """Put each object into its study's folder; yield that it is there.

        Raises DeliveryError if the folder is not there, or cannot be written to.
        """
        study_uid = _study_uid(parcels)
        with self._errors_in_words():
            folder = _made(self.root, study_uid)
        for parcel in parcels:
            content = parcel.path.read_bytes()
            before_each()
            with self._errors_in_words():
                _put(content, folder, parcel.sop_uid, self.root.stat().st_mode)
            yield Outcome(parcel.sop_uid, DeliveryState.SENT)

    def confirm(self, parcels: Sequence[Parcel], transaction: Transaction | None) -> Confirmation:
        """Read back what was put there; what is not there any more stays accepted.

        It was whole and on disk: somebody has taken it. What is other than it was is put anew.
        """
        folder = self.root / _study_uid(parcels)
        outcomes = []
        with self._errors_in_words():
            self.root.stat()
            for parcel in parcels:
                digest = _digest(folder / _name(parcel.sop_uid))
                if digest == parcel.report.digest:
                    outcome = Outcome(
                        parcel.sop_uid, DeliveryState.CONFIRMED, confirmed_by="folder"
                    )
                    outcomes.append(outcome)
                elif digest is not None:
                    words = f"its file in {self.root} is not as it was written"
                    outcomes.append(Outcome(parcel.sop_uid, DeliveryState.QUEUED, words))
        return Confirmation(tuple(outcomes))

    @contextlib.contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self.root.is_dir():
                raise DeliveryError(
                    f"the folder {self.root} is not there: see that it is mounted, or make it"
                ) from error
            reason = error.strerror or type(error).__name__
            raise DeliveryError(f"the folder {self.root} cannot be used: {reason}") from error


def _study_uid(parcels: Sequence[Parcel]) -> str:
    return checked_uid(str(read_header(parcels[0].path).StudyInstanceUID))


def _name(sop_uid: str) -> str:
    return f"{checked_uid(sop_uid)}.dcm"


def _made(root: Path, study_uid: str) -> Path:
    """Return the folder of a study, and make it if it is not there."""
    folder = root / study_uid
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    # Also of one that is there: who made it may have been killed before this.
    _give_rights(folder, root.stat().st_mode & _FOR_OTHERS_FOLDER)
    _fsync(root)
    return folder


def _put(content: bytes, folder: Path, sop_uid: str, root_mode: int) -> None:
    """Have a file hold all of this after a power cut; until then nothing has its name."""
    target = folder / _name(sop_uid)
    if (former := _digest(target)) and former == hashlib.sha256(content).hexdigest():
        _fsync(target)  # we may have died right after it got its name
        _fsync(folder)
        return
    # A name that nobody else has: another node, which takes this one for dead, may put the same.
    part = folder / f".{sop_uid}.{uuid.uuid4().hex}.part"
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _give_rights(part, root_mode & _FOR_OTHERS_FILE)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    for left in folder.glob(f".{sop_uid}.*.part"):  # who was killed left it
        left.unlink(missing_ok=True)
    _fsync(folder)


def _give_rights(path: Path, mode: int) -> None:
    own = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR
    with contextlib.suppress(PermissionError):  # a share may have its own
        path.chmod(mode | own)


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, None if it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network shares cannot do that to a folder
            raise
    finally:
        os.close(descriptor)
