"""What nobody is owed any more goes: when its days are over, or when the disk fills.

Every node may do so at once. A sweep costs the same however much there is, is held, or was removed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from node.analysis.pipeline import models_named_in
from node.config import RetentionSettings
from node.dicom.header import read_header
from node.dicom.untrusted import text
from node.errors import Unreadable
from node.flow.unlinking import Unlinker
from node.imaging.digests import encoded_digest
from node.ledger import (
    BEGINNING,
    GoingFile,
    Portion,
    Removable,
    Removal,
    Retaining,
    StoredFile,
    StudyPlace,
)
from node.store import Store
from node.study import Shown

log = logging.getLogger(__name__)

RETENTION_EVERY_S = 60
_PORTION = 100
"""Studies that are looked at in one step of a walk, and files aside in one sweep."""
SWEEP_FOR_S = 10.0
"""What is left then is for the next sweep."""
ROUND_AFTER_S = 3600.0
"""A walk that has come to its end goes on with what comes after it, and so often it begins anew: a
study that was owed something may be so no more."""
CLEAN_ROUND_AFTER_S = 600.0
"""And while the disk is too full: what waited for a destination is delivered, and may go."""

_DAY_S = 86_400.0

_CLEANED = tuple(what for what in Removable if what != Removable.RESULTS)
"""What a full disk is cleaned of, in this order."""

_FREES_NOTHING = (
    "What could be removed, since %s, is passed over: its files have second names on this disk, as "
    "those of `ai-node backup` have, and would free nothing. Images will be refused once the disk "
    "is full: keep the backup on another disk, or take it away (docs/retention.md)"
)

HeaderDigest = Callable[[Path], str]
"""Digests all of a header that may matter to a result; raises Unreadable and OSError."""


@dataclass(slots=True)
class _Walk:
    """Where a walk over the studies is; begun anew by each process."""

    place: StudyPlace = BEGINNING
    began_at: float = field(default_factory=time.monotonic)

    def goes_on(self, portion: Portion, round_after_s: float) -> None:
        """Go on behind a portion; at the end begin anew if it has been long, or stay there."""
        self.place = portion.end
        if portion.is_last and time.monotonic() - self.began_at >= round_after_s:
            self.place, self.began_at = BEGINNING, time.monotonic()


class Retention:
    """One sweep after the other; where its walks are, only it knows."""

    def __init__(
        self,
        retaining: Retaining,
        unlinker: Unlinker,
        store: Store,
        settings: Callable[[], RetentionSettings],
        is_in_scope: Callable[[Shown], bool],
        header_digest: HeaderDigest,
    ) -> None:
        self._retaining = retaining
        self._unlinker = unlinker
        self._store = store
        self._settings = settings
        self._is_in_scope = is_in_scope
        """Of some model."""
        self._header_digest = header_digest
        self._by_days = {what: _Walk() for what in Removable}
        self._by_need = {what: _Walk() for what in Removable}
        self._aside: Iterator[str] = iter(())
        self._give_up_at = 0.0
        self._has_told_of_links = False
        """Since the disk was last less full."""

    def sweep(self) -> None:
        """Remove the next of what nobody is owed, if its days are over or the disk is full."""
        self._give_up_at = time.monotonic() + SWEEP_FOR_S
        try:
            self._store.now_s()  # or a disk that is away looks like files that are gone
            self._unlinker.unlink()
            for what in Removable:
                self._remove_old(what)
            if not self._unlinker.unlinking.is_paused():
                self._remove_aside()
                self._clean()
            self._unlinker.unlink()
        except OSError as error:  # no reason to end the process, as a sweep that fails is
            log.error("Nothing can be removed of the store: %s", error.strerror)  # noqa: TRY400

    # By days

    def _remove_old(self, what: Removable) -> None:
        days = self._days(what)
        if days is None:
            return
        walk = self._by_days[what]
        portion = self._retaining.portion(what, walk.place, days * _DAY_S, _PORTION)
        over = "1 day is over" if days == 1 else f"{days:g} days are over"
        for study in portion.studies:
            if self._is_late():
                return
            self._remove(study, what, over)
            walk.place = study
        walk.goes_on(portion, ROUND_AFTER_S)

    def _days(self, what: Removable) -> float | None:
        settings = self._settings()
        return {
            Removable.OUT_OF_SCOPE: settings.out_of_scope_days,
            Removable.EXCLUDED: settings.excluded_days,
            Removable.NEIGHBOURS: settings.neighbours_days,
            Removable.IMAGES: settings.images_days,
            Removable.RESULTS: settings.results_days,
        }[what]

    def _is_late(self) -> bool:
        return time.monotonic() >= self._give_up_at

    # By need

    def _clean(self) -> None:
        """Remove what is kept for its days only, until the disk is less full."""
        limit = self._settings().clean_from_percent
        if limit is None:
            return
        if self._store.used_percent() < limit:
            self._has_told_of_links = False
            return
        for what in _CLEANED:
            while self._store.used_percent() >= limit and not self._is_late():
                if self._clean_portion(what, limit):
                    break

    def _clean_portion(self, what: Removable, limit: float) -> bool:
        """Remove the next studies until the disk is less full; return whether there are no more."""
        walk = self._by_need[what]
        portion = self._retaining.portion(what, walk.place, 0, _PORTION)
        for study in portion.studies:
            used = self._store.used_percent()
            if used < limit or self._is_late():
                return False
            self._remove(study, what, f"the disk is {used:.0f} % full", only_if_it_frees=True)
            self._unlinker.unlink()
            walk.place = study
        walk.goes_on(portion, CLEAN_ROUND_AFTER_S)
        return portion.is_last

    # Both

    def _remove(
        self, study: StudyPlace, what: Removable, why: str, *, only_if_it_frees: bool = False
    ) -> None:
        files = self._retaining.files(study[1], what, self._is_in_scope)
        if only_if_it_frees and not files:
            return
        if only_if_it_frees and any(self._store.is_linked(file.path) for file in files):
            if not self._has_told_of_links:
                log.warning(_FREES_NOTHING, why)
                self._has_told_of_links = True
            return
        try:
            going = tuple(map(self._described, files))
        except OSError as error:
            words = "Nothing is removed of study %s: a file of it cannot be read (%s)"
            log.warning(words, study[1], error.strerror, extra={"study": study[1]})
            return
        self._retaining.remove(Removal(study, what, going, why))

    def _described(self, file: StoredFile) -> GoingFile:
        """Return a file with what stays of it; of results we know what they were, most often."""
        path = self._store.path(file.path)
        if file.of == "report":
            return GoingFile(file) if file.is_named else _named(file, path)
        return GoingFile(file, _digest(encoded_digest, path), _digest(self._header_digest, path))

    # What was put aside

    def _remove_aside(self) -> None:
        """Remove the next of what was put aside so long ago, but what somebody is to look at."""
        days = self._settings().unreadable_days
        if days is None:
            return
        some = list(islice(self._aside, _PORTION))
        if not some:
            self._aside = self._store.aside(self._store.now_s() - days * _DAY_S)
            some = list(islice(self._aside, _PORTION))
        for relative in some:
            if self._retaining.why_owed(self._store.study_of_aside(relative)) is None:
                self._store.remove_aside(relative)
                log.info("Removed %s, which was put aside more than %g days ago", relative, days)


def _named(file: StoredFile, path: Path) -> GoingFile:
    """Return a result object with what a later report names it by, as far as it can be read."""
    try:
        header = read_header(path)
    except (Unreadable, FileNotFoundError):
        return GoingFile(file)
    series_uid = text(header, "SeriesInstanceUID")
    return GoingFile(file, series_uid=series_uid, made_by=models_named_in(header))


def _digest(digest: Callable[[Path], str], path: Path) -> str | None:
    """Return a digest of a file, None if it is not there or cannot be understood."""
    try:
        return digest(path)
    except (Unreadable, FileNotFoundError):
        return None
