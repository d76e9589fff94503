"""Where objects lie: temporary names, fsync, rename; what cannot be used apart, with the reason.

Promise: a path that `make_sure_of` was given, or `write_report` has returned, holds all its bytes
after a power cut.
Names are made of checked UIDs and digests only, never of anything else a sender chose.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from node.errors import Unreadable
from node.new_folders import NewFolders, fsync_path, remove_folder

# What reads objects is imported by who does: many a command only asks where they lie.

log = logging.getLogger(__name__)

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
BELONGS = "installation.json"
"""The file, in the store's own folder, that names the installation it belongs to."""
_FORMER = "rejected"
"""Where the former release put both what was unreadable and what contradicted."""
_UNREADABLE = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}\.(dcm|json)")
"""Names of what has no UID to be named by."""


def checked_uid(uid: str) -> str:
    """Return a UID that is safe as a file name, or raise Unreadable."""
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise Unreadable("an identifier in the object is not a valid DICOM UID")
    return uid


def dataset_digest(path: Path) -> str:
    """Return the SHA-256 of a Part 10 file's data set, the part that came over the network."""
    from node.dicom.part10 import data_set_begins_at

    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(data_set_begins_at(file))
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def recorded_digest(path: Path, *, is_received: bool) -> str:
    """Return of a file what its row records: of a result object it is that of all its bytes."""
    if is_received:
        return dataset_digest(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_as_it_came(path: Path, digest: str, transfer_syntax: str) -> bool:
    """Read a whole file again; return whether it has this data set, and says how it is to be read.

    Raises Unreadable if it is none any more, OSError if it cannot be read.
    """
    from node.dicom.part10 import open_part10
    from node.dicom.untrusted import failing_as, quietly, text

    with path.open("rb") as file, quietly(), failing_as("a file that cannot be read", OSError):
        if text(open_part10(file).meta, "TransferSyntaxUID") != transfer_syntax:
            return False
    return dataset_digest(path) == digest


@dataclass(frozen=True, slots=True)
class Aside:
    """What is written beside an object that is kept aside, for who asks whose it was; no patient.

    UIDs are "" where they cannot be read.
    """

    reason: str
    peer: str
    """The name of the peer that sent it."""
    is_acknowledged: bool
    """Whether the peer was told that it is kept; else it was refused."""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """How much room a file system has, as `df` says it. Bytes."""

    total: int
    used: int
    free: int
    """For us: a file system may keep some for root, so that all three do not add up."""

    @property
    def used_percent(self) -> float:
        """Of what we may use, how much is in use: the column Use% of `df`."""
        return 100 * self.used / max(self.used + self.free, 1)

    def free_at(self, percent: float) -> int:
        """Return how much is free when so much is in use."""
        return round((self.used + self.free) * (1 - percent / 100))


def room_in(folder: Path) -> Room:
    """Return how much room the file system of a folder has."""
    usage = shutil.disk_usage(folder)
    return Room(usage.total, usage.used, usage.free)


def lack_of_room(room: Room, least_free: int, refuse_from_percent: float | None) -> str:
    """Return why nothing more is to be taken, "" if something may."""
    if room.free < least_free:
        return f"{room.free >> 20} MB free, less than min_free_mb = {least_free >> 20}"
    if refuse_from_percent is not None and room.used_percent >= refuse_from_percent:
        used = f"{room.used_percent:.1f} % of the disk in use"
        return f"{used}, refuse_from_percent = {refuse_from_percent:g} reached"
    return ""


@dataclass(frozen=True, slots=True)
class Store:
    """The folder that holds every object, received and made."""

    root: Path
    node_id: str = "alone"
    """Several nodes may share the root; each writes what is not yet whole apart."""
    _new_folders: NewFolders = field(
        default_factory=NewFolders, init=False, repr=False, compare=False
    )

    @property
    def incoming(self) -> Path:
        """Where this node writes an object while it arrives."""
        return self.root / "incoming" / self.node_id

    @property
    def unreadable(self) -> Path:
        """Where damaged objects are kept, each with the reason beside it."""
        return self.root / "unreadable"

    @property
    def contradicting(self) -> Path:
        """Where objects are kept that have other pixels than one of the same UID that we have."""
        return self.root / "contradicting"

    @property
    def orphans(self) -> Path:
        """Where files lie that were found without a row; removed by a person, or by retention."""
        return self.root / "orphans"

    def prepare(self) -> None:
        """Create the folders that are not there, and let the names in them last.

        Of a study's folder only the process that made it knows that it may not, and it may have
        been killed before it made sure of it.
        """
        lasting = self.path("received"), self.path("reports")
        for folder in (*self._unusable, self.incoming, *lasting):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (*lasting, self.root):
            fsync_path(folder)

    def prepare_anew(self) -> None:
        """Do the same while we run: where a mount has gone, nothing is begun on the disk below."""
        if self.is_there():
            self.prepare()

    def sort_former(self) -> None:
        """Take over what a former release left; other nodes may do so at once, at their start.

        One of that release that wakes up later makes it anew, for the next start to look at.
        """
        former = self.root / _FORMER
        with contextlib.suppress(FileNotFoundError):  # it is not there, or not any more
            # The reason before the object it is about, which is never without it.
            for path in sorted(former.iterdir(), key=lambda path: path.suffix != ".json"):
                is_unreadable = _UNREADABLE.fullmatch(path.name)
                folder = self.unreadable if is_unreadable else self.contradicting
                with contextlib.suppress(FileNotFoundError):  # another node was faster
                    path.replace(folder / path.name)
        with contextlib.suppress(OSError):  # something has come meanwhile, or it has gone
            former.rmdir()

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

    def place(self, temporary: Path, study_uid: str, sop_uid: str, digest: str) -> str:
        """Give a received file, its bytes on disk, its name; return its relative path.

        It is permanent once `make_sure_of` has returned. Each reception has a name of its own: what
        is not taken can go without looking who else has the same.
        """
        name = f"{checked_uid(sop_uid)}.{digest[:12]}.{uuid.uuid4().hex[:8]}.dcm"
        return self._place(temporary, f"received/{checked_uid(study_uid)}/{name}")

    def make_sure_of(self, relatives: Sequence[str]) -> dict[str, OSError]:
        """Let no power cut take the names of files that are placed; return of which it may yet.

        It is their folder that is synced, once for all of them.
        """
        by_folder = defaultdict[Path, list[str]](list)
        for relative in relatives:
            by_folder[self.path(relative).parent].append(relative)
        failed: dict[str, OSError] = {}
        for folder, names in by_folder.items():
            try:
                self._make_sure_of(folder)
            except OSError as error:
                failed |= dict.fromkeys(names, error)
        return failed

    def restore(self, temporary: Path, relative: str) -> None:
        """Put a received file where its like was, which has been lost."""
        self._settle(temporary, relative)

    def write_report(self, content: bytes, study_uid: str, sop_uid: str) -> str:
        """Write a result object and return its relative path.

        A name of its own, too: an attempt that commits nothing takes away what it wrote, and
        nothing that another has written of the same object.
        """
        temporary = self._new_temporary()
        try:
            temporary.write_bytes(content)
            name = f"{checked_uid(sop_uid)}.{uuid.uuid4().hex[:8]}.dcm"
            return self._settle(temporary, f"reports/{checked_uid(study_uid)}/{name}")
        finally:
            temporary.unlink(missing_ok=True)  # there only if the disk is full

    def put_unreadable(self, temporary: Path, about: Aside) -> Path:
        """Put an object that may have no UID to be named by where damaged objects are kept."""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        return _put_aside(temporary, self.unreadable / f"{name}.dcm", about)

    def put_contradicting(self, path: Path, about: Aside, digest: str) -> Path:
        """Put an object with other pixels where such objects are kept; one copy if it repeats."""
        name = f"{checked_uid(about.sop_instance_uid)}.{digest[:12]}"
        return _put_aside(path, self.contradicting / f"{name}.dcm", about)

    def contradicted(self, sop_uids: Collection[str]) -> frozenset[str]:
        """Return of which of these something lies where contradicting objects are kept."""
        asked, found = frozenset(sop_uids), set()
        with contextlib.suppress(FileNotFoundError), os.scandir(self.contradicting) as entries:
            for entry in entries:
                sop_uid, _, _ = entry.name.removesuffix(".dcm").rpartition(".")
                if entry.name.endswith(".dcm") and sop_uid in asked:
                    found.add(sop_uid)
        return frozenset(found)

    def count_unusable(self) -> dict[Path, int]:
        """Return how many objects lie in each of the folders of what cannot be used."""
        return {folder: sum(1 for _ in folder.glob("*.dcm")) for folder in self._unusable}

    @property
    def _unusable(self) -> tuple[Path, Path]:
        return self.unreadable, self.contradicting

    def room(self) -> Room:
        """Return how much room the store's file system has."""
        return room_in(self.root)

    def free_bytes(self) -> int:
        """Return the free space on the store's file system."""
        return self.room().free

    def used_percent(self) -> float:
        """Return how much of the store's file system is in use, by whomever."""
        return self.room().used_percent

    def make_sure(self, relative: str) -> None:
        """Let no power cut take a file that a person has put there."""
        fsync_path(self.path(relative))
        fsync_path(self.path(relative).parent)

    def remove(self, relative: str) -> None:
        """Remove a file that has no row and gets none, if it is there."""
        path = self.path(relative)
        path.unlink(missing_ok=True)
        self._new_folders.remove(path.parent)

    def remove_for_good(self, relatives: Iterable[str]) -> list[str]:
        """Remove files, and the folders that are empty then, so that no power cut brings one back.

        Returns those that are not there any more: all but what could not be removed.
        """
        gone, folders = [], set[Path]()
        for relative in relatives:
            path = self.path(relative)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.error("%s cannot be removed: %s", relative, error.strerror)  # noqa: TRY400
                continue
            gone.append(relative)
            folders.add(path.parent)
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):  # another node was faster
                fsync_path(folder)
                if not any(folder.iterdir()):
                    remove_folder(folder)
                    fsync_path(folder.parent)
        return gone

    def is_linked(self, relative: str) -> bool:
        """Return whether a file has another name, as in a backup: to remove it frees nothing."""
        try:
            return self.path(relative).stat().st_nlink > 1
        except FileNotFoundError:
            return False

    def size_of(self, relative: str) -> int:
        """Return how many bytes a file has, 0 if it is not there."""
        try:
            return self.path(relative).stat().st_size
        except FileNotFoundError:
            return 0

    # What was put aside

    def aside(self, before_s: float) -> Iterator[str]:
        """Yield the relative paths of what was put aside before a time, by `now_s`.

        What is beside an object comes with it; alone only if there is no object.
        """
        for folder in (*self._unusable, self.orphans):
            for path in _files_below(folder):
                with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                    if path.suffix == ".json" and path.with_suffix(".dcm").exists():
                        continue
                    if path.stat().st_mtime < before_s:
                        yield str(path.relative_to(self.root))

    def study_of_aside(self, relative: str) -> str:
        """Return the study of an object that was put aside; "" if nothing says which."""
        path = self.path(relative)
        if path.is_relative_to(self.orphans):
            return path.parent.name
        try:
            told = json.loads(path.with_suffix(".json").read_bytes())
        except (OSError, ValueError):
            return ""
        return str(told.get("study_instance_uid", "")) if isinstance(told, dict) else ""

    def contradicts(self, relative: str) -> str:
        """Return the SOP Instance UID of what a file aside contradicts; "" if it does nothing."""
        path = self.path(relative)
        is_such = path.is_relative_to(self.contradicting)
        return path.stem.rpartition(".")[0] if is_such else ""

    def count_orphans(self) -> int:
        """Return how many files lie where those without a row do."""
        return sum(1 for _ in _files_below(self.orphans))

    def remove_aside(self, relative: str) -> None:
        """Remove what was put aside, the words beside it last."""
        path = self.path(relative)
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        if path.is_relative_to(self.orphans):
            remove_folder(path.parent)

    def is_there(self) -> bool:
        """Return whether what was kept can be looked for: a share that is away looks empty."""
        if (self.root / BELONGS).exists():
            return True
        try:  # no node of this release has started on it yet
            with os.scandir(self.root / "received") as entries:
                return any(True for _ in entries)
        except FileNotFoundError:
            return False

    def lacks(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Return which of these relative paths have no file, () if the store itself is away."""
        missing = tuple(path for path in paths if not self.path(path).exists())
        return missing if missing and self.is_there() else ()

    # What the inventory looks at

    def now_s(self) -> float:
        """Return the time by the file system's clock, which another machine's may be."""
        probe = self._new_temporary()
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def folders(self, tree: str) -> list[str]:
        """Return the relative paths of the studies' folders in a tree, such as "received"."""
        try:
            with os.scandir(self.root / tree) as entries:
                return [f"{tree}/{entry.name}" for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return []

    def files(self, folder: str, before_s: float) -> list[str]:
        """Return the relative paths of what was written before a time, by `now_s`."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.root / folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it has gone meanwhile
                    if entry.is_file() and entry.stat().st_mtime < before_s:
                        found.append(f"{folder}/{entry.name}")
        return found

    def orphan(self, relative: str) -> bool:
        """Move a file to the orphans, from now on; return whether it was there."""
        target = self.orphans / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path(relative).replace(target)
            os.utime(target)
        except FileNotFoundError:  # another node was faster
            return False
        return True

    def put_back(self, relative: str) -> bool:
        """Move a file back from the orphans; return whether it was there."""
        try:
            (self.orphans / relative).replace(self.path(relative))
        except FileNotFoundError:
            return False
        fsync_path(self.path(relative).parent)
        return True

    def _new_temporary(self) -> Path:
        """Return a name for what is not yet whole."""
        # Taken for dead while we were frozen, we may have lost our folder a moment ago. No more
        # than that: where a mount has gone, nothing must be begun anew on another disk.
        self.incoming.mkdir(exist_ok=True)
        return self.incoming / f"{uuid.uuid4()}.part"

    def _settle(self, temporary: Path, relative: str) -> str:
        """Give a file its name; if it cannot be made sure of, it is not there."""
        self._place(temporary, relative)
        target = self.root / relative
        try:
            self._make_sure_of(target.parent)
        except OSError:
            self.remove(relative)
            raise
        return relative

    def _place(self, temporary: Path, relative: str) -> str:
        """Give a file, its bytes on disk, its name."""
        target = self.root / relative
        if not target.parent.exists():
            self._new_folders.make(target.parent, parents=True)
        fsync_path(temporary)
        try:
            temporary.replace(target)
        except FileNotFoundError:  # its folder, found empty, was removed at this moment
            self._new_folders.make(target.parent)
            temporary.replace(target)
        return relative

    def _make_sure_of(self, folder: Path) -> None:
        """Let the names in a folder last, and its own if it is new."""
        fsync_path(folder)
        self._new_folders.make_sure_of(folder)


def _put_aside(path: Path, target: Path, about: Aside) -> Path:
    words = target.with_suffix(".json")
    told = asdict(about) | {"came_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    try:
        words.write_text(json.dumps(told, indent=1), "utf-8")
        fsync_path(path)  # some of these are answered with Success
        path.replace(target)
        fsync_path(target.parent)
    except OSError:
        if not target.exists():
            words.unlink(missing_ok=True)
        raise
    return target


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those in it, as they are read."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files_below(Path(entry.path))
            else:
                yield Path(entry.path)
