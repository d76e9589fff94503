"""`ai-node check --deep`: every file of the store read again, and compared with the ledger.

Unlike the inventory, which a node makes a portion a minute, it reads what is in the files, and by
choice puts right what can be. It may run beside nodes, and as often as one likes: what has been put
right is not found again. What it remembers does not grow with the store.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from node.belonging import adopt, fault_of_emptiness, owner_of
from node.errors import NodeError, Unreadable
from node.flow.inventory import OLD_AFTER_S, PORTION
from node.ledger import CheckedFile, Checking, Filing, Ledger, Nodes
from node.store import Aside, Store, recorded_digest

_TREES = ("received", "reports")
_READERS = 4
_OF_CHECK = "deep-check"
"""What the store calls us while we ask it for the time."""

Say = Callable[[str], None]
"""Says one line of what was found, and of what was done about it."""
Steps = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows how far long work is: of what, and of how many steps."""
_State = Literal["well", "missing", "damaged", "cannot be read"]


@dataclass(slots=True)
class Found:
    """How many of each were found; what was put right is among them."""

    files: int = 0
    """That rows speak of."""
    orphans: int = 0
    missing: int = 0
    damaged: int = 0
    unread: int = 0
    """Of which nobody can say how they are: the disk or a right is at fault."""
    back: int = 0
    """That were lost and lie there again, as they were."""
    put_right: int = 0

    @property
    def is_well(self) -> bool:
        """Whether nothing is amiss, or not any more."""
        return (
            self.orphans + self.missing + self.damaged + self.unread + self.back == self.put_right
        )


@dataclass(frozen=True, slots=True)
class DeepCheck:
    """One look at all of it."""

    ledger: Ledger
    store: Store
    say: Say
    steps: Steps
    repairs: bool = False
    """Put right what can be."""
    is_store_lost: bool = False
    """A person has said that the store is a new one: what is nobody's any more is not missing."""
    is_ledger_new: bool = False
    """A person has said that the ledger of the store is lost, and that this is a new one."""

    def run(self) -> Found:
        """Look at everything. Raises NodeError if the store is not there, or not the ledger's."""
        checking, found = Checking(self.ledger), Found()
        self._require_store()
        self._require_new_ledger(checking)
        self._look_for_orphans(checking, found)
        self._read_all(checking, found)
        if self.is_store_lost or self.is_ledger_new:
            adopt(self.store, self.ledger.installation)  # the last step: until then no node starts
            self.say(f"store {self.store.root}: belongs to this ledger now")
        return found

    def _require_store(self) -> None:
        """Raise NodeError where there is nothing at all of what there should be."""
        if self.is_store_lost:
            self.store.prepare()
            return
        if fault := fault_of_emptiness(self.store, Filing(self.ledger).names_files):
            raise NodeError(fault)

    def _require_still_there(self) -> None:
        """Raise NodeError where the mount has gone meanwhile: of nothing is it known to be missing.

        A new store that is to take the place of a lost one does not say yet whose it is.
        """
        if not (self.store.is_there() or (self.is_store_lost and self.store.incoming.is_dir())):
            raise NodeError(
                f"store {self.store.root} went away while it was read: mount it again, and call "
                "this again; nothing was changed since"
            )

    def _require_new_ledger(self, checking: Checking) -> None:
        """Raise NodeError if a ledger that knows studies is to take over another's store."""
        if not self.is_ledger_new or owner_of(self.store) == self.ledger.installation:
            return
        if Filing(self.ledger).studies_after("", 1):
            raise NodeError(
                "--new-ledger is for a ledger that knows of nothing yet, and this one has studies; "
                f"name the one that belongs to {self.store.root} in [node] database"
            )

    # Files without rows ---------------------------------------------------------------------------

    def _look_for_orphans(self, checking: Checking, found: Found) -> None:
        """Put away what no row speaks of; only if that is so twice, one look after the other."""
        before_s = self._before_s()
        folders = [folder for tree in _TREES for folder in self._looked_into(tree, found)]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as suspects:
            with self.steps("Comparing folders", len(folders)) as advance:
                for folder in folders:
                    there = self._looked_into(folder, found, before_s)
                    for path in self._without_row(checking, there):
                        suspects.write(f"{json.dumps(path)}\n")
                    advance()
            suspects.seek(0)
            paths = (json.loads(line) for line in suspects)
            for portion in _portions(paths, PORTION):
                before_s = self._before_s()  # a node may have been started: its rows are to come
                old = [path for path in portion if self._is_older(path, before_s)]
                for path in self._without_row(checking, old):
                    self._tell_of_orphan(path, found)

    def _before_s(self) -> float:
        """Return from when a file must be that has a row if it ever gets one."""
        if Nodes(self.ledger).live_nodes():
            return self._now_s() - OLD_AFTER_S
        return math.inf

    def _is_older(self, path: str, before_s: float) -> bool:
        if before_s == math.inf:
            return True
        try:
            return self.store.path(path).stat().st_mtime < before_s
        except FileNotFoundError:
            return False

    def _looked_into(self, folder: str, found: Found, before_s: float | None = None) -> list[str]:
        """Return the folders in a folder, or the files in it that are so old; say if it cannot."""
        try:
            if before_s is None:
                return self.store.folders(folder)
            return self.store.files(folder, before_s)
        except OSError as error:
            found.unread += 1
            self.say(f"{folder}: cannot be read ({error.strerror}); see to the disk and to rights")
            return []

    def _tell_of_orphan(self, path: str, found: Found) -> None:
        found.orphans += 1
        if not self.repairs:
            self.say(f"{path}: no row speaks of it")
        elif self.store.orphan(path):
            found.put_right += 1
            self.say(f"{path}: no row speaks of it; put away in {self.store.orphans}")
        else:
            found.put_right += 1  # a node was faster

    def _without_row(self, checking: Checking, paths: Iterable[str]) -> list[str]:
        looked_for = list(paths)
        if not looked_for:
            return []
        known = checking.spoken_of({path.split("/")[-2] for path in looked_for})
        return [path for path in looked_for if path not in known]

    def _now_s(self) -> float:
        """Return the time by the file system's clock, and leave nothing there."""
        asked = Store(self.store.root, _OF_CHECK)
        try:
            return asked.now_s()
        finally:
            asked.incoming.rmdir()

    # Rows without files, and files that are not as they came --------------------------------------

    def _read_all(self, checking: Checking, found: Found) -> None:
        last = ""
        with (
            self.steps("Reading files", checking.count()) as advance,
            ThreadPoolExecutor(_READERS) as pool,
        ):
            while studies := Filing(self.ledger).studies_after(last, PORTION):
                last = studies[-1]
                files = checking.files(studies)
                states = pool.map(self._state_of, files)
                amiss: dict[_State, list[CheckedFile]] = {}
                for file, state in zip(files, states, strict=True):
                    found.files += 1
                    amiss.setdefault(state, []).append(file)
                    advance()
                self._tell(checking, amiss, found)
                self._look_for_lost(checking, studies, found)

    def _state_of(self, file: CheckedFile) -> _State:
        path = self.store.path(file.path)
        try:
            digest = recorded_digest(path, is_received=file.of != "result object")
            return "well" if digest == file.digest else "damaged"
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        except OSError:
            return "cannot be read"
        except (Unreadable, EOFError):
            return "damaged"

    def _tell(
        self, checking: Checking, amiss: dict[_State, list[CheckedFile]], found: Found
    ) -> None:
        """Say what is amiss with some studies, as far as rows still say so, and put it right."""
        for file in checking.are_named(amiss.get("cannot be read", [])):
            found.unread += 1
            self.say(f"{file.path}, {_what(file)}: cannot be read; see to the disk and to rights")
        damaged = [
            file
            for file in checking.are_named(amiss.get("damaged", []))
            if self._is_damaged(file, found)
        ]
        missing = [
            file
            for file in checking.are_named(amiss.get("missing", []))
            if self._is_missing(file, found)
        ]
        if self.repairs:
            gone = sorted((*damaged, *missing), key=_study_of)
            for study_uid, files in itertools.groupby(gone, key=_study_of):
                self._see_to(checking, study_uid, list(files), found)

    def _is_damaged(self, file: CheckedFile, found: Found) -> bool:
        """Look once more; say that it is so, and put the file away."""
        if self._state_of(file) != "damaged":
            return False
        found.damaged += 1
        words = f"{file.path}, {_what(file)}: not as it was"
        if self.repairs:
            words += f"; put away as {self._set_aside(file)}, and from now on missing"
        self.say(words)
        return True

    def _is_missing(self, file: CheckedFile, found: Found) -> bool:
        """Look once more; say that it is so, unless the file is found again."""
        if self.store.path(file.path).exists():
            return False
        self._require_still_there()
        found.missing += 1
        words = f"{file.path}, {_what(file)}: missing"
        if self.repairs and self.store.put_back(file.path):
            found.put_right += 1
            self.say(f"{words}; put back from the orphans")
            return False
        self.say(words)
        return True

    def _see_to(
        self, checking: Checking, study_uid: str, files: list[CheckedFile], found: Found
    ) -> None:
        self._require_still_there()
        if not self.is_store_lost:  # it may be on its way back: a mount, a restore
            self.say(f"study {study_uid}: {checking.hold_missing(study_uid, files)}")
            return
        follows = checking.let_go(study_uid, files)
        found.put_right += len(files) - len(checking.are_named(files))
        self.say(f"study {study_uid}: {follows}")

    def _look_for_lost(self, checking: Checking, study_uids: Sequence[str], found: Found) -> None:
        """Say which files are here again that were lost, and give them back to their rows."""
        there = [one for one in checking.lost(study_uids) if self.store.path(one.path).exists()]
        if not there:
            return
        before_s = self._before_s()  # of a younger one a node may just be making a row
        for study_uid, files in itertools.groupby(sorted(there, key=_study_of), key=_study_of):
            old = [file for file in files if self._is_older(file.path, before_s)]
            back = [file for file in old if self._state_of(file) == "well"]
            found.back += len(back)
            for file in back:
                self.say(f"{file.path}, {_what(file)}: was lost, and is here again as it was")
            if self.repairs and back:
                for file in back:
                    self.store.make_sure(file.path)
                checking.give_back(study_uid, back)
                found.put_right += len(back)
                self.say(f"study {study_uid}: its rows have them again")

    def _set_aside(self, file: CheckedFile) -> Path:
        about = Aside(
            reason="its bytes in the store are not those that came any more",
            peer=file.sender,
            is_acknowledged=True,
            sop_class_uid=file.sop_class,
            sop_instance_uid=file.sop_uid,
            study_instance_uid=file.study_uid,
        )
        return self.store.put_unreadable(self.store.path(file.path), about)


def _study_of(file: CheckedFile) -> str:
    return file.study_uid


def _what(file: CheckedFile) -> str:
    return f"{file.of} {file.sop_uid}"


def _portions(many: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(many)
    while portion := list(itertools.islice(rest, size)):
        yield portion
