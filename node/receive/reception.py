"""1 Receive: what becomes of an object that came, whatever way it came.

Kept means: its bytes, exactly as sent, fsynced under their final name, and its row committed.
Each way in (the listener, others later) says when a sender begins and ends, calls `Reception.keep`
for each object, and translates the answer into a status of its own; only a kept object may be
acknowledged.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID
from sqlalchemy.exc import OperationalError

from node import metrics
from node.current import Current
from node.dicom.header import Uids, read_header, uids_of_damaged
from node.dicom.rejection_note import read_rejection_note
from node.dicom.study_labels import study_labels_of
from node.domains.description import describe
from node.errors import NoRoom, OfNoStudy, Unreadable
from node.identity import identity_of, is_own, names_of, stated_twice
from node.ledger import (
    Again,
    DamagedObject,
    InstanceState,
    Kept,
    Peers,
    Received,
    Receiving,
    Recorded,
    Withdrawal,
    unless_recorded,
)
from node.receive.duplicates import Comparison, compare_with_digests, is_one_of_gone
from node.receive.exclusions import why_excluded
from node.receive.peer_notes import PeerNotes
from node.receive.together import Together
from node.store import Aside, Store, dataset_digest, lack_of_room
from node.study import Instance, Shown

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Came:
    """How an object came."""

    sender: str
    """The name of the peer whose settings say where results of its study go."""
    association_id: str
    """The row of what brought it, over whatever it came: while that is open, more of the study may
    come."""


class Reception:
    """Keeps what comes in. Safe to use from many threads."""

    def __init__(
        self,
        current: Current,
        store: Store,
        receiving: Receiving,
        is_in_scope: Callable[[Shown], bool],
        on_kept: Callable[[str], None] = lambda study_uid: None,
        on_end: Callable[[Collection[str]], None] = lambda study_uids: None,
    ) -> None:
        """Make one; `on_kept` is told of which study an object was kept.

        And `on_end`, when no more comes with what brought objects, of which studies it did.
        """
        self._current = current
        self._store = store
        self._receiving = receiving
        self._together = Together(store, receiving)
        self._is_in_scope = is_in_scope
        """Of some model."""
        self._on_kept = on_kept
        self._on_end = on_end
        self._comparison = Comparison(lambda: current.config.inference)
        self.peers = PeerNotes(Peers(receiving.ledger))
        """What peers do, for whoever lets them in to add to."""
        self._open: dict[str, set[str]] = {}
        """The associations that have begun and not ended, with the studies that they brought."""

    def close(self) -> None:
        """End the process that compares, if there is one; a comparison under way fails."""
        self._comparison.close()

    def begin(self, sender: str) -> Came:
        """Record that a sender begins to bring objects: its studies are waited for until `end`."""
        came = Came(sender, str(uuid.uuid4()))
        self._open[came.association_id] = set()  # before the row, which a sweep would close
        try:
            self._receiving.open_association(came.association_id, self._store.node_id, sender)
        except BaseException:
            del self._open[came.association_id]
            raise
        return came

    def end(self, came: Came) -> None:
        """Record that no more comes with it; if that fails, a sweep does it."""
        brought = self._open.pop(came.association_id, set[str]())
        self._receiving.close_association(came.association_id)
        if brought:
            self._on_end(brought)

    def is_open(self, association_id: str) -> bool:
        """Return whether more may come with it, for the sweep over those that are not."""
        return association_id in self._open

    def keep(self, path: Path, came: Came, digest: str = "") -> Recorded:
        """Keep one object, a Part 10 file in `Store.incoming` that is moved from there.

        `digest`: that of its data set (`dataset_digest`), where it was made while it came.
        Whatever is raised, nothing is kept, the file is gone from where it was, and the object
        must not be acknowledged. Raises Unreadable if it is damaged (a copy lies aside, with the
        reason; of OfNoStudy that is all that is kept, and it may be acknowledged), NoRoom if the
        disk is nearly full (`min_free_mb`, or `refuse_from_percent` reached), and OSError or
        SQLAlchemy's OperationalError for a trouble of the machine's, after which it may be sent
        again.
        """
        try:
            self._see_that_there_is_room(came.sender)
            size = path.stat().st_size
            recorded, study_uid = self._keep(path, came, digest)
        except Unreadable as error:
            self._put_aside(path, came, error)
            raise
        finally:
            path.unlink(missing_ok=True)
        self.peers.kept(came.sender)
        metrics.count_received(came.sender, size)
        self._open.get(came.association_id, set()).add(study_uid)
        self._on_kept(study_uid)
        return recorded

    def _see_that_there_is_room(self, sender: str) -> None:
        config = self._current.config
        least_free, refuse_from = config.node.least_free, config.retention.refuse_from_percent
        if lack := lack_of_room(self._store.room(), least_free, refuse_from):
            words = f"{self._store.root}: {lack}"
            self.peers.rejected(sender, f"an object is not taken: {words}")
            raise NoRoom(words)

    def _put_aside(self, path: Path, came: Came, error: Unreadable) -> None:
        uids = uids_of_damaged(path)
        is_whole = isinstance(error, OfNoStudy)
        damaged = None if is_whole else _damaged(path, uids, came, str(error))
        about = Aside(str(error), came.sender, is_whole, uids.sop_class, uids.sop, uids.study)
        name = self._store.put_unreadable(path, about).name
        if is_whole:
            kind = UID(uids.sop_class).name
            log.info(
                "An object of %s is of no study (%s); kept aside as %s", came.sender, kind, name
            )
        else:
            words = "An object of %s is unreadable: %s; kept as %s"
            log.warning(words, came.sender, error, name, extra={"study": uids.study})
            self.peers.rejected(came.sender, f"an object is unreadable: {error}")
        self._remember(damaged)

    def _remember(self, damaged: DamagedObject | None) -> None:
        """Let the study of a damaged object know of it; the sender hears of it in any case."""
        if damaged is None:
            return
        try:
            self._receiving.record_damaged(damaged)
        except OperationalError as error:
            words = "The study of an unreadable object cannot be told of it: %s"
            log.warning(words, error.orig)

    def _keep(self, temporary: Path, came: Came, digest: str) -> tuple[Recorded, str]:
        """Keep an object; return what became of it, and of which study it is."""
        header = read_header(temporary)
        instance = describe(header, temporary, digest or dataset_digest(temporary))
        is_new = self._receiving.is_unheard_of(instance.study_uid, instance.sop_uid)
        kept = None if is_new else self._find_kept(instance)
        if kept is not None and kept.digest == instance.digest and not kept.is_awaited:
            if not kept.is_removed and not self._store.path(kept.path).exists():
                self._store.restore(temporary, kept.path)
            return "same", instance.study_uid
        if kept is not None and kept.state == InstanceState.OWN:
            return "same", instance.study_uid
        if twice := stated_twice(header):
            words = "%s states %s twice, with different values: its study is held"
            study = {"study": instance.study_uid}
            log.warning(words, instance.sop_uid, names_of(twice), extra=study)
        # All of it before the file moves: long values are read from where it lies.
        received = Received(
            relative_path="",
            sender=came.sender,
            association_id=came.association_id,
            identity=identity_of(header),
            is_own=is_own(header) or (not is_new and self._receiving.is_report(instance.sop_uid)),
            is_in_scope=self._is_in_scope(instance.shown),
            size_bytes=temporary.stat().st_size,
            why_excluded=why_excluded(
                header, datetime.now(UTC).date(), self._current.config.intake
            ),
            withdraws=self._withdrawal(header),
            labels=study_labels_of(header),
            again=self._compare(kept, instance, temporary),
        )
        relative_path = self._store.place(
            temporary, instance.study_uid, instance.sop_uid, instance.digest
        )
        with unless_recorded(lambda: self._store.remove(relative_path)):
            recorded = self._record(instance, replace(received, relative_path=relative_path))
        self._tidy(recorded, instance, self._store.path(relative_path), came.sender)
        return recorded, instance.study_uid

    def _find_kept(self, instance: Instance) -> Kept | None:
        self._receiving.recall(instance.study_uid)
        return self._receiving.find_kept(instance.sop_uid)

    def _record(self, instance: Instance, received: Received) -> Recorded:
        path = self._store.path(received.relative_path)
        recorded = self._together.record(instance, received)
        while recorded == "compare":  # another sender was faster
            known = self._receiving.find_kept(instance.sop_uid)
            again = self._compare(known, instance, path)
            recorded = self._receiving.record_instance(instance, replace(received, again=again))
        return recorded

    def _compare(self, kept: Kept | None, instance: Instance, path: Path) -> Again | None:
        """Compare an object with the one that is kept; None if that is not needed."""
        if kept is None or kept.digest == instance.digest:
            return None
        compare = self._comparison.compare
        has_no_file = kept.is_removed or bool(self._store.lacks([kept.path]))
        if has_no_file:
            pixels, changed = compare_with_digests(kept, instance.transfer_syntax, path)
        else:
            pixels, changed = compare(self._store.path(kept.path), path)
        known = self._receiving.find_former(instance.sop_uid) if changed else ()
        lost = set(self._store.lacks([one.path for one in known if not one.is_removed]))
        gone = [one for one in known if one.is_removed or one.path in lost]
        former = [compare(self._store.path(one.path), path) for one in known if one not in gone]
        is_former = ("same", ()) in former or is_one_of_gone(gone, path)
        if not is_former and any(one == "unknown" for one, _ in former):
            # A stale copy must not take the place of its correction.
            pixels, has_no_file = "unknown", False
        return Again(
            digest=kept.digest,
            pixels=pixels,
            changed=changed,
            is_former=is_former,
            was_in_scope=self._is_in_scope(kept.shown),
            path=kept.path,
            has_no_file=has_no_file,
            was_removed=kept.is_removed,
        )

    def _tidy(self, recorded: Recorded, instance: Instance, path: Path, peer: str) -> None:
        """See to the file of what came again and was not taken."""
        if recorded in ("same", "unchanged"):
            path.unlink(missing_ok=True)
        elif recorded == "contradicts":
            words = f"it contradicts {instance.sop_uid}, which is kept as it came before"
            said, study = "An object of %s is not taken: %s; its study is held", instance.study_uid
            log.warning(said, peer, words, extra={"study": study})
            self.peers.rejected(peer, f"an object is not taken: {words}")
            about = Aside(
                words, peer, True, instance.sop_class, instance.sop_uid, instance.study_uid
            )
            try:
                self._store.put_contradicting(path, about, instance.digest)
            except OSError:  # the sender repeats it, and it is put there then
                path.unlink(missing_ok=True)
                raise
        else:
            # We may have been frozen between file and row, so long that another node found a
            # file without a row; the sender must not hear Success, and what it repeats is put here.
            path.stat()

    def _withdrawal(self, header: Dataset) -> Withdrawal | None:
        note = read_rejection_note(header)
        if note is None:
            return None
        own_study = (one for one in note.references if one.study_uid == note.study_uid)
        uids = tuple(one.sop_uid for one in own_study)
        return Withdrawal(note.words, uids, self._is_in_scope)


def _damaged(path: Path, uids: Uids, came: Came, reason: str) -> DamagedObject | None:
    """Return what a study should know of an object that is refused, None if it is no DICOM."""
    try:
        key = uids.sop or dataset_digest(path)
    except Unreadable:
        return None
    return DamagedObject(key, uids.study or None, came.association_id, reason)
