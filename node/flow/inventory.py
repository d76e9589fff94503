"""Files without rows and rows without files: store and ledger compared, a portion at a time.

Every node may do so at once. What is found costs the same however much is received.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from node.errors import Unreadable
from node.ledger import CheckedFile, Checking, Filed, Filing, Unlinking, missing_words
from node.store import Store, recorded_digest

log = logging.getLogger(__name__)

INVENTORY_EVERY_S = 60
PORTION = 100
"""Folders, and studies, that are looked at each time."""
OLD_AFTER_S = 3600.0
"""Between a file and its row lie seconds; what is younger is left alone."""
GIVEN_BACK = 20
"""Of lost files that are there again so many are read each time: `check --deep` reads all."""
NAMED = 10
"""Of the missing files of a study, so many are named in the log."""

_TREES = ("received", "reports")

_ORPHANS_FOUND = (
    "%d files in the store have no row in the ledger; they lie in %s now, until a person removes "
    "them, or [retention] unreadable_days are over. If the ledger was restored from a backup or "
    "lost, their senders may have been told that they are kept: let the PACS send them again, or "
    "use `ai-node send %s --to AET@HOST:PORT`, the address of this node (docs/reliability.md). If "
    "not, no sender was told so: nothing is lost."
)


class Inventory:
    """One round after the other over all folders and all studies; where it is, only it knows."""

    def __init__(self, filing: Filing, store: Store) -> None:
        self._filing = filing
        self._unlinking = Unlinking(filing.ledger)
        self._checking = Checking(filing.ledger)
        self._store = store
        self._folders: Iterator[str] = iter(())
        self._suspects: tuple[str, ...] = ()
        self._looked_at = ""

    def look(self) -> None:
        """Look at the next portion of both.

        A file is an orphan only if it is found without a row twice, one run after the other: by
        the clock alone a machine that slept would be hours between a file and its row.
        """
        try:
            self._put_away(self._without_rows(self._suspects))
            self._suspects = tuple(self._without_rows(self._next_files()))
            self._look_for_missing()
        except OSError as error:  # no reason to end the process, as a sweep that fails is
            log.error("The store cannot be compared with the ledger: %s", error.strerror)  # noqa: TRY400

    def _next_files(self) -> list[str]:
        """Return the files of the next folders that are old enough to have a row."""
        folders = list(itertools.islice(self._folders, PORTION))
        if not folders:
            self._folders = iter(self._all_folders())
            folders = list(itertools.islice(self._folders, PORTION))
        now_s = self._store.now_s()
        found: list[str] = []
        for folder in folders:
            try:
                found += self._store.files(folder, now_s - OLD_AFTER_S)
            except OSError as error:
                log.warning("%s in the store cannot be looked at: %s", folder, error.strerror)
        return found

    def _all_folders(self) -> list[str]:
        return [folder for tree in _TREES for folder in self._store.folders(tree)]

    def _without_rows(self, paths: Iterable[str]) -> list[str]:
        """Return those of the files that no row speaks of."""
        looked_for = list(paths)
        if not looked_for:
            return []
        studies = {path.split("/")[-2] for path in looked_for}
        filed = {filed.path: filed for filed in self._filing.filed(studies)}
        going = self._filing.unlinking(looked_for)
        self._let_go({path: one for path, one in filed.items() if path in set(looked_for) - going})
        return [path for path in looked_for if path not in filed and path not in going]

    def _let_go(self, found: Mapping[str, Filed]) -> None:
        """Let those be removed whose rows say that they are: one was put there at that moment.

        Not what was lost, and nobody removed: then somebody has put it back.
        """
        removed = {path: one.study_uid for path, one in found.items() if one.is_removed}
        if not removed:
            return
        lost = [one for one in self._checking.lost({*removed.values()}) if one.path in removed]
        for file in lost[:GIVEN_BACK]:
            self._give_back(file)
        for file in lost:
            del removed[file.path]
        for path in self._unlinking.ask_again(removed) if removed else ():
            log.warning("%s was removed, and lies there again: it is unlinked once more", path)

    def _give_back(self, file: CheckedFile) -> None:
        """Let a row have its lost file again that is there as it was; put another one away."""
        try:
            is_received = file.of != "result object"
            is_it = recorded_digest(self._store.path(file.path), is_received=is_received)
            if is_it == file.digest:
                self._store.make_sure(file.path)
                self._checking.give_back(file.study_uid, [file])
                return
        except (FileNotFoundError, NotADirectoryError):
            return
        except (Unreadable, EOFError):
            pass
        except OSError as error:
            log.warning("%s in the store cannot be read: %s", file.path, error.strerror)
            return
        if self._store.orphan(file.path):
            words = "%s is not what was there before it was lost; it lies in %s now"
            log.warning(words, file.path, self._store.orphans)

    def _put_away(self, orphans: Iterable[str]) -> None:
        """Move them apart; nothing is deleted that may have been acknowledged."""
        if count := sum(map(self._store.orphan, orphans)):
            folder = self._store.orphans
            log.warning(_ORPHANS_FOUND, count, folder, folder / "received")

    def _look_for_missing(self) -> None:
        studies = self._filing.studies_after(self._looked_at, PORTION)
        self._looked_at = studies[-1] if studies else ""
        missing: dict[str, list[Filed]] = defaultdict(list)
        for filed in self._filing.filed(studies):
            is_expected = filed.age_s >= OLD_AFTER_S and not filed.is_removed
            if not is_expected or self._store.path(filed.path).exists():
                continue
            if self._store.put_back(filed.path):
                log.warning("Put %s back, which has a row after all", filed.path)
            else:
                missing[filed.study_uid].append(filed)
        if not missing:
            return
        # Looked up once more: what was removed, or replaced, while its file was looked for.
        again = {filed.path for filed in self._filing.filed(missing) if not filed.is_removed}
        for study_uid, files in missing.items():
            if still := [filed for filed in files if filed.path in again]:
                self._report(study_uid, still)

    def _report(self, study_uid: str, files: list[Filed]) -> None:
        """Say once, whichever node finds it, what of a study is missing."""
        if not self._filing.note_once(study_uid, missing_words([filed.path for filed in files])):
            return
        for filed in files[:NAMED]:
            words = "%s, the file of %s, is missing in the store; put it back from a backup%s"
            hint = "" if filed.path.startswith("reports/") else ", or send the object again"
            log.error(words, filed.path, filed.sop_uid, hint, extra={"study": study_uid})
        if len(files) > NAMED:
            log.error("and %d more files of study %s", len(files) - NAMED, study_uid)
