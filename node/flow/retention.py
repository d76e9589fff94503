"""What nobody is owed any more goes: when its days are over, or when the disk fills.

Every node may do so at once. A sweep costs the same however much there is, is held, or was removed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from node.analysis.pipeline import models_named_in
from node.config import RetentionSettings
from node.dicom.header import read_header
from node.dicom.untrusted import failing_as, text
from node.errors import Unreadable
from node.flow.unlinking import Unlinker
from node.imaging.digests import encoded_digest
from node.ledger import (
    BEGINNING,
    GoingFile,
    Readers,
    Removable,
    Removal,
    Retaining,
    StoredFile,
    StudyPlace,
)

log = logging.getLogger(__name__)

RETENTION_EVERY_S = 60
_PORTION = 100
"""Studies that a walk looks at at once, and files aside that a sweep does."""
SWEEP_FOR_S = 10.0
"""What is left then is for the next sweep."""
ROUND_AFTER_S = 3600.0
"""A walk goes on behind what it has passed, and so often it begins anew, wherever it is: a study
that was owed something may be so no more."""
CLEAN_ROUND_AFTER_S = 600.0
"""And those that make room: they come to their end never, if the disk is full for long."""
DAYS_FOR_S = SWEEP_FOR_S / 2
"""Of a sweep on a disk that is too full: what goes by its days takes no more of its time."""
REFUSING_AGAIN_S = 60.0
"""Where images are refused, so soon it is tried again whether room can be made: what came
meanwhile may have filled it as fast, and now nothing comes."""

_UNSEEN = 10
"""So many studies go at most to make room that are not seen to have made any: a snapshot of the
file system may hold them. Then one goes each `ROUND_AFTER_S`, to see whether it does by now; where
images are refused each `REFUSING_AGAIN_S`."""
_SEEN = 0.1
"""Of their bytes so much must be free; a file system may have compressed them."""

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
    began_at: float | None = None

    def go_on(self, at: float, round_after_s: float) -> None:
        """Begin anew if it has been so long, else go on where it is."""
        if self.began_at is None or at - self.began_at >= round_after_s:
            self.place, self.began_at = BEGINNING, at


@dataclass(slots=True)
class _Effect:
    """Whether what goes to make room makes any; where it does not, more must not go for it."""

    used: int | None = None
    """Bytes in use before the first of what is not seen to have freed anything; None: all is."""
    studies: int = 0
    size: int = 0
    """How many that are, of how many bytes."""
    last_at: float = 0.0

    def look(self, used: int) -> None:
        """See how much is in use by now."""
        if self.used is not None and used <= self.used - _SEEN * self.size:
            self.used, self.studies, self.size = None, 0, 0

    def allows_more(self, at: float, *, refuses: bool) -> bool:
        """Return whether another study may go: one in a while if so many have freed nothing."""
        if self.studies < _UNSEEN:
            return True
        if at - self.last_at < (REFUSING_AGAIN_S if refuses else ROUND_AFTER_S):
            return False
        self.used, self.studies, self.size = None, _UNSEEN - 1, 0  # by this one alone
        return True

    def note(self, used: int, size: int, at: float, *, is_gone: bool) -> bool:
        """Note that a study goes; return whether no more may go now, for it is the last of many.

        `used` was in use before; one of which the files could not be removed ends it, too.
        """
        if self.used is None:
            self.used = used
        self.size += size
        self.studies = self.studies + 1 if is_gone else _UNSEEN
        self.last_at = at
        return self.studies == _UNSEEN


_MAKES_NO_ROOM = (
    "The disk of the store is too full, but %.1f MB of images that were removed for that have not "
    "made room: their files cannot be removed, a snapshot of the file system holds them, or "
    "something else fills it. To make room, only one study an hour is removed until they have, or "
    "one a minute while images are refused"
)


class Retention:
    """One sweep after the other; where its walks are, only it knows."""

    def __init__(
        self,
        retaining: Retaining,
        unlinker: Unlinker,
        settings: Callable[[], RetentionSettings],
        readers: Callable[[], Readers],
        header_digest: HeaderDigest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retaining = retaining
        self._unlinker = unlinker
        self._store = unlinker.store
        self._settings = settings
        self._readers = readers
        self._header_digest = header_digest
        self._clock = clock
        self._by_days = {what: _Walk() for what in Removable}
        self._by_need = {what: _Walk() for what in _CLEANED}
        self._cleaning_since: float | None = None
        self._has_cleaned_all = False
        """Each kind had its turn since then."""
        self._effect = _Effect()
        self._aside: Iterator[str] = iter(())
        self._give_up_at = 0.0
        self._has_told_of_links = False
        """Since the disk was last less full."""

    def sweep(self) -> None:
        """Remove the next of what nobody is owed, if its days are over or the disk is full."""
        began_at = self._clock()
        try:
            self._store.now_s()  # or a disk that is away looks like files that are gone
            self._unlinker.unlink()
            self._give_up_at = began_at + (DAYS_FOR_S if self._is_too_full() else SWEEP_FOR_S)
            for what in Removable:
                self._remove_old(what)
            self._give_up_at = began_at + SWEEP_FOR_S
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
        walk.go_on(self._clock(), ROUND_AFTER_S)
        over = "1 day is over" if days == 1 else f"{days:g} days are over"
        while not self._is_late():
            portion = self._retaining.portion(what, walk.place, days * _DAY_S, _PORTION)
            for study in portion.studies:
                if self._is_late():
                    return
                walk.place = study  # before it goes: a study that cannot must not keep the others
                self._remove(study, what, over)
            walk.place = portion.end
            if portion.is_last:
                return

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
        return self._clock() >= self._give_up_at

    # By need

    def _clean(self) -> None:
        """Remove what is kept for its days only, until the disk is less full."""
        limit = self._settings().clean_from_percent
        if limit is None:
            return
        room = self._store.room()
        self._effect.look(room.used)
        if room.used_percent < limit:
            self._has_told_of_links = False
            return
        self._begin_anew()
        for what in _CLEANED:
            walk = self._by_need[what]
            while self._must_clean(limit):
                self._has_cleaned_all = self._has_cleaned_all or what == _CLEANED[-1]
                portion = self._retaining.portion(what, walk.place, 0, _PORTION)
                for study in portion.studies:
                    if not self._must_clean(limit):
                        return
                    walk.place = study
                    self._make_room(study, what)
                walk.place = portion.end
                if portion.is_last:
                    break

    def _begin_anew(self) -> None:
        """Let the walks that make room begin anew after a while, once each had its turn."""
        at, since = self._clock(), self._cleaning_since
        if since is None or (self._has_cleaned_all and at - since >= CLEAN_ROUND_AFTER_S):
            self._cleaning_since, self._has_cleaned_all = at, False
            self._by_need = {what: _Walk() for what in _CLEANED}

    def _is_too_full(self) -> bool:
        limit = self._settings().clean_from_percent
        return limit is not None and self._store.room().used_percent >= limit

    def _must_clean(self, limit: float) -> bool:
        room = self._store.room()
        self._effect.look(room.used)
        refuse_from = self._settings().refuse_from_percent
        refuses = refuse_from is not None and room.used_percent >= refuse_from
        must = room.used_percent >= limit and not self._is_late()
        return must and self._effect.allows_more(self._clock(), refuses=refuses)

    def _make_room(self, study: StudyPlace, what: Removable) -> None:
        room = self._store.room()
        why = f"the disk is {room.used_percent:.0f} % full"
        gone = self._remove(study, what, why, only_if_it_frees=True)
        if not gone:
            return
        sizes = [self._store.size_of(file.path) for file in gone]
        self._unlinker.unlink()
        is_gone = not any(self._store.path(file.path).exists() for file in gone)
        is_enough = self._effect.note(room.used, sum(sizes), self._clock(), is_gone=is_gone)
        self._effect.look(self._store.room().used)
        if is_enough and self._effect.used is not None:
            log.warning(_MAKES_NO_ROOM, self._effect.size / 1e6)

    # Both

    def _remove(
        self, study: StudyPlace, what: Removable, why: str, *, only_if_it_frees: bool = False
    ) -> tuple[StoredFile, ...]:
        """Let files of a study go; return which."""
        files = self._retaining.files(study[1], what, self._readers())
        if only_if_it_frees and not files:
            return ()
        if only_if_it_frees and any(self._store.is_linked(file.path) for file in files):
            if not self._has_told_of_links:
                log.warning(_FREES_NOTHING, why)
                self._has_told_of_links = True
            return ()
        try:
            going = tuple(map(self._described, files))
        except OSError as error:
            words = "Nothing is removed of study %s: a file of it cannot be read (%s)"
            log.warning(words, study[1], error.strerror, extra={"study": study[1]})
            return ()
        return files if self._retaining.remove(Removal(study, what, going, why)) else ()

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
            if self._retaining.why_owed(self._store.study_of_aside(relative)) is not None:
                continue
            if self._retaining.is_here(self._store.contradicts(relative)):
                continue  # no peer may be told that we keep an object of which we have two
            self._store.remove_aside(relative)
            # What no row speaks of may be what a lost ledger spoke of.
            level = logging.WARNING if relative.startswith("orphans/") else logging.INFO
            log.log(level, "Removed %s, which was put aside more than %g days ago", relative, days)


def _named(file: StoredFile, path: Path) -> GoingFile:
    """Return a result object with what a later report names it by, as far as it can be read."""
    try:
        header = read_header(path)
        with failing_as("the file is damaged", MemoryError, OSError):
            series_uid, made_by = text(header, "SeriesInstanceUID"), models_named_in(header)
    except (Unreadable, FileNotFoundError):
        return GoingFile(file)
    return GoingFile(file, series_uid=series_uid, made_by=made_by)


def _digest(digest: Callable[[Path], str], path: Path) -> str | None:
    """Return a digest of a file, None if it is not there or cannot be understood."""
    try:
        return digest(path)
    except (Unreadable, FileNotFoundError):
        return None
