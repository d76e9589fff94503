"""Images that are needed again and are not in the store: asked back from a peer, else waited for.

They were removed, and a late image or a correction makes a new report necessary; or their files
are missing. A peer that has `retrieve` is asked by C-GET or C-MOVE, again and again for as long as
`[retention] ask_back_within_s`; what comes is kept as whatever else comes. Then the study is held,
with what a person can do; once all is here, by whichever way, it goes on by itself.

What is asked is a row, too: each node may take one, and another node goes on with it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from node.config import Peer
from node.current import Current
from node.dimse import (
    Address,
    Bounds,
    Keep,
    Retrieval,
    WantedObject,
    get_objects,
    move_objects,
)
from node.dimse.status import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS
from node.errors import DeliveryError, NoRoom, OfNoStudy, Unreadable, Unsupported
from node.ledger import COMES_BACK, AskedBack, Asking, FileOfImage, missing_words
from node.logs import naming
from node.numbers_in_words import counted
from node.receive.reception import Came, Reception
from node.store import Store, is_as_it_came, lack_of_room
from node.study import Shown

log = logging.getLogger(__name__)

ASK_BACK_EVERY_S = 10
_WHOLE_S = 900.0
"""No association of a retrieval takes longer; most have one."""
_LEASE_S = 60.0
"""After which another node may ask, if the one that did has died; it is renewed at each sweep."""
_FIRST_S, _MOST_S = 15.0, 3600.0
"""How long to wait before a peer is asked again: twice as long each time, up to an hour."""
_PORTION = 20
"""Studies whose files are looked for each time, and studies seen to."""
_MOVED_WITHIN_S = 5.0
"""By C-MOVE what came last may still be on its way into the ledger."""


@dataclass(slots=True)
class AskingBack:
    """The sweep that asks, and the thread in which a peer answers: a study at a time."""

    current: Current
    store: Store
    asking: Asking
    reception: Reception
    is_in_scope: Callable[[Shown], bool]
    """Of some model."""
    on_here: Callable[[str], None] = lambda study_uid: None
    """Told that a study goes on."""
    _thread: threading.Thread | None = None
    _end: Callable[[], None] = lambda: None
    _is_stopped: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _looked_at: str = ""
    _is_other: dict[str, int] = field(default_factory=dict)
    """When files were written that lie where removed ones were, and are others."""
    _lacks: dict[str, str] = field(default_factory=dict)
    """Of studies that wait, the UID of an image that they lacked when they were looked at."""
    _asked: str = ""
    """Of the study that a peer is being asked for."""

    def look(self) -> None:
        """See to what is due: what is here again goes on, for the rest somebody is asked."""
        if not self._turn.acquire(blocking=False):
            return  # the sweep that has begun, or the next, sees to it
        try:
            self._look_for_files()
            if self._is_asking():
                self.asking.renew(self._asked, _LEASE_S)
            for _ in range(_PORTION):
                if self._is_stopped.is_set() or self._is_asking():
                    return
                asked = self.asking.take(_LEASE_S)
                if asked is None:
                    return
                with naming(study=asked.study_uid):
                    self._see_to(asked)
        finally:
            self._turn.release()

    def stop(self) -> None:
        """Ask nobody any more; what is under way is broken off."""
        self._is_stopped.set()
        self._end()
        if self._thread is not None:
            self._thread.join()

    def wait(self) -> None:
        """Wait until nobody is being asked."""
        if self._thread is not None:
            self._thread.join()

    def _is_asking(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _look_for_files(self) -> None:
        """Let go on what a person has sent again, or put back, whenever a peer is asked next."""
        studies = self.asking.waiting_after(self._looked_at, _PORTION)
        self._looked_at = studies[-1] if len(studies) == _PORTION else ""
        for study_uid in studies if self.store.is_there() else ():
            if not self._is_any_lacking(study_uid):
                self._go_on(study_uid)

    def _is_any_lacking(self, study_uid: str) -> bool:
        """Return whether a study lacks anything; while it is the same, nothing else is read."""
        before = self._lacks.pop(study_uid, None)
        looked_at = self.asking.filed(study_uid, before) if before is not None else ()
        if not any(self._lacks_file(one) and not self._is_back(one) for one in looked_at):
            self._take_back(study_uid)
            found = filter(self._lacks_file, self.asking.filed(study_uid))
            before = next((one.sop_uid for one in found), None)
        if before is not None:
            self._lacks[study_uid] = before
        return before is not None

    def _take_back(self, study_uid: str) -> None:
        """Use removed files again that a person has put back, each as it came."""
        found = [
            one
            for one in self.asking.filed(study_uid)
            if one.removed_at is not None and self.is_in_scope(one.shown) and self._is_back(one)
        ]
        if found and (count := self.asking.take_back(study_uid, found)):
            words = counted(count, "removed image is", "removed images are")
            log.info("Study %s: %s here again", study_uid, words)

    def _is_back(self, one: FileOfImage) -> bool:
        """Return whether the file of a removed image is there again; of another is told once."""
        path, why = self.store.path(one.path), "it is not what was removed"
        try:
            written_at = path.stat().st_mtime_ns
        except OSError:
            return False
        if self._is_other.get(one.path) == written_at:
            return False
        try:
            if is_as_it_came(path, one.digest, one.transfer_syntax):
                self.store.make_sure(one.path)
                return True
        except (Unreadable, OSError) as error:
            why = str(error)
        log.warning("%s was put back, but is not used: %s", one.path, why)
        self._is_other[one.path] = written_at
        return False

    def _lacking(self, study_uid: str) -> list[FileOfImage]:
        """Return which images that are needed have no file; others are missed by nobody."""
        return list(filter(self._lacks_file, self.asking.filed(study_uid)))

    def _lacks_file(self, one: FileOfImage) -> bool:
        if one.removed_at is not None:
            return self.is_in_scope(one.shown)
        return not self.store.path(one.path).exists()

    def _go_on(self, study_uid: str) -> None:
        words = "all its images are here again"
        self.asking.end(study_uid, words)
        log.info("Study %s: %s", study_uid, words, extra={"study": study_uid})
        self.on_here(study_uid)

    def _see_to(self, asked: AskedBack) -> None:
        if not self.store.is_there():
            words = "not yet, the store of this machine is away"
            whom = asked.peer or asked.sender
            self.asking.put_off(asked.study_uid, _FIRST_S, whom, words, was_asked=False)
            return
        lacking = self._lacking(asked.study_uid)
        peer = self._whom(asked.sender)
        within_s = self.current.config.retention.ask_back_within_s
        if not lacking:
            self._go_on(asked.study_uid)
        elif peer is None:
            words = f"nobody can be asked for them: {asked.sender} has no `retrieve`"
            self._give_up(asked, lacking, words)
        elif asked.attempts and asked.waited_s >= within_s:
            long = f"{within_s / 3600:g} h" if within_s >= 3600 else f"{within_s:g} s"
            words = f"{peer.name} was asked for {long} ({asked.error or 'in vain'})"
            self._give_up(asked, lacking, words)
        else:
            self._asked = asked.study_uid
            self._thread = threading.Thread(
                target=self._ask, args=(asked, peer, lacking), name="ask back", daemon=True
            )
            self._thread.start()

    def _give_up(self, asked: AskedBack, lacking: Sequence[FileOfImage], why: str) -> None:
        """Hold a study: only a person can say where its images are."""
        missing = [one.path for one in lacking if one.removed_at is None]
        since = min((one.removed_at for one in lacking if one.removed_at is not None), default=None)
        words = []
        if since is not None:
            count = counted(len(lacking) - len(missing), "image")
            removed = f"{datetime.fromtimestamp(since).astimezone():%Y-%m-%d}"
            words.append(f"{count} needed for a new report, removed since {removed}")
        if missing:
            words.append(missing_words(missing))
        self.asking.give_up(asked.study_uid, f"{'; '.join(words)}; {why}; {COMES_BACK}")

    def _whom(self, sender: str) -> Peer | None:
        """Return whom a study is asked of: its sender, else who gets its results."""
        peers = {peer.name: peer for peer in self.current.config.peers}
        names = [sender, *(peers[sender].results_to if sender in peers else ())]
        return next((peers[n] for n in names if n in peers and peers[n].retrieve), None)

    def _ask(self, asked: AskedBack, peer: Peer, lacking: Sequence[FileOfImage]) -> None:
        """Ask a peer for a study, and say when it is asked for again; never raises."""
        wait_s = min(_FIRST_S * 2.0 ** min(asked.attempts, 30), _MOST_S)
        with naming(study=asked.study_uid, peer=peer.name):
            try:
                words = self._retrieve(_wanted(asked, lacking), peer)
            except Unsupported as error:
                words, wait_s = str(error), _MOST_S
            except (DeliveryError, NoRoom) as error:
                words = str(error)
            except (OSError, DBAPIError) as error:
                words = f"{type(error).__name__} of this machine"
                log.error("Images cannot be asked back: %s", words)  # noqa: TRY400 - the machine's
            except Exception as error:  # a defect of ours: visible, and tried again
                words = type(error).__name__
                log.exception("Images cannot be asked back")
            with contextlib.suppress(DBAPIError):  # or its lease is over before it is due again
                self._end_turn(asked, peer, wait_s, words, len(lacking))

    def _end_turn(
        self, asked: AskedBack, peer: Peer, wait_s: float, words: str, wanted: int
    ) -> None:
        lacking = self._lacking_soon(asked.study_uid, peer)
        if not lacking:
            self._go_on(asked.study_uid)
            return
        why = words or f"{len(lacking)} of {counted(wanted, 'image')} asked for did not come"
        log.warning("Study %s is asked back from %s: %s", asked.study_uid, peer.name, why)
        self.asking.put_off(asked.study_uid, wait_s, peer.name, why)

    def _lacking_soon(self, study_uid: str, peer: Peer) -> list[FileOfImage]:
        give_up_at = time.monotonic() + (_MOVED_WITHIN_S if peer.retrieve == "move" else 0)
        while (lacking := self._lacking(study_uid)) and time.monotonic() < give_up_at:
            if self._is_stopped.wait(0.2):
                break
        return lacking

    def _retrieve(self, wanted: Retrieval, peer: Peer) -> str:
        config = self.current.config
        least_free, refuse_from = config.node.least_free, config.retention.refuse_from_percent
        if lack := lack_of_room(self.store.room(), least_free, refuse_from):
            raise NoRoom(f"{self.store.root}: {lack}")
        our_ae = config.node.ae_title
        to = Address(peer.ae_title, peer.host, peer.port, peer.timeout_s)
        bounds = Bounds(_WHOLE_S, self._may_be_ended)
        words = "Study %s: %d images are asked back from %s"
        log.info(words, wanted.study_uid, len(wanted.objects), peer.name)
        if peer.retrieve == "move":
            return move_objects(wanted, to, our_ae, our_ae, bounds).words
        came = self.reception.begin(peer.name)
        try:
            keep = Keep(self.store.incoming, lambda path: self._status(path, came))
            return get_objects(wanted, to, our_ae, keep, bounds).words
        finally:
            self.reception.end(came)

    def _may_be_ended(self, end: Callable[[], None]) -> None:
        self._end = end
        if self._is_stopped.is_set():
            end()

    def _status(self, path: Path, came: Came) -> int:
        """Keep an object as the listener does, and return what is answered."""
        try:
            self.reception.keep(path, came)
        except OfNoStudy:
            return SUCCESS
        except Unreadable:
            return CANNOT_UNDERSTAND
        except (NoRoom, OSError, DBAPIError) as error:
            log.error("An object that was asked back is not kept: %s", type(error).__name__)  # noqa: TRY400
            return OUT_OF_RESOURCES
        return SUCCESS


def _wanted(asked: AskedBack, lacking: Sequence[FileOfImage]) -> Retrieval:
    """Return what to ask for: what is lacking, and at each second attempt the whole study."""
    objects = [
        WantedObject(one.series_uid, one.sop_uid, one.sop_class, one.transfer_syntax)
        for one in lacking
    ]
    return Retrieval(asked.study_uid, objects, is_whole=asked.attempts % 2 == 1)
