"""When peers came last, and what of theirs was not taken: remembered, and written now and then.

Written for each object, it would cost each object something; what is lost if the process dies is
a few seconds of what a page shows.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict

from node.ledger import PeerNote, Peers

TELL_OF_PEERS_EVERY_S = 5


class PeerNotes:
    """Safe to use from many threads."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lock = threading.Lock()
        self._times: defaultdict[str, dict[str, float]] = defaultdict(dict)
        """By peer, what it did and when, by the monotonic clock."""
        self._rejections: dict[str, str] = {}

    def saw(self, peer: str) -> None:
        """Note that it came with an association."""
        self._note(peer, "seen_s")

    def kept(self, peer: str) -> None:
        """Note that an object of it was kept."""
        self._note(peer, "object_s")

    def rejected(self, peer: str, why: str) -> None:
        """Note that something of it was not taken; in words without patient data."""
        with self._lock:
            self._rejections[peer] = why
        self._note(peer, "rejected_s")

    def _note(self, peer: str, what: str) -> None:
        with self._lock:
            self._times[peer][what] = time.monotonic()

    def write(self) -> None:
        """Write down what is not yet; what cannot be stays noted. Raises as the database does."""
        with self._lock:
            at = time.monotonic()
            times = {peer: dict(noted) for peer, noted in self._times.items()}
            notes = [
                PeerNote(
                    name=peer,
                    rejection=self._rejections.get(peer, ""),
                    **{what: at - then for what, then in noted.items()},
                )
                for peer, noted in times.items()
            ]
        if not notes:
            return
        self._peers.record_notes(notes)
        with self._lock:
            for peer, written in times.items():
                left = {w: t for w, t in self._times[peer].items() if t != written.get(w)}
                if left:
                    self._times[peer] = left
                else:
                    del self._times[peer]
