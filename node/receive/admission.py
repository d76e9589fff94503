"""1 Receive: who is let in: peers, by AE title and address, and nobody else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from node.config import Peer
from node.dimse import addresses
from node.dimse.request import (
    NO_SUCH_CALLED_AE,
    NO_SUCH_CALLING_AE,
    AssociationRequest,
    Rejection,
)
from node.logs import OncePerMinute

log = logging.getLogger(__name__)

_LOOKED_UP_AGAIN_AFTER_S = 5.0
_TRUSTED_FOR_S = 60.0


class KnownPeers:
    """The peers of the configuration, and the addresses their host names stand for."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = sorted(peers, key=lambda peer: not peer.sends)
        self._found: dict[str, tuple[float, frozenset[str]]] = {}
        """By host: when it was looked up, and what it stood for."""
        self._lock = threading.Lock()

    def find(self, calling_ae: str, address: str) -> Peer | None:
        """Return the peer with this AE title and address; one that sends, if there is a choice.

        A name is looked up only if it must be.
        """
        for peer in self._peers:
            if peer.ae_title == calling_ae and self._is_at(peer, address):
                return peer
        return None

    def of_title(self, calling_ae: str) -> Peer | None:
        """Return a peer that has this AE title, wherever it is."""
        return next((peer for peer in self._peers if peer.ae_title == calling_ae), None)

    def is_near(self, address: str) -> bool:
        """Whether it is some peer's address as far as is known; nothing is looked up."""
        return any(
            _is_given(peer, address) or address in self._found.get(peer.host, _NOTHING)[1]
            for peer in self._peers
        )

    def _is_at(self, peer: Peer, address: str) -> bool:
        if _is_given(peer, address):
            return True
        looked_up_at, known = self._found.get(peer.host, _NOTHING)
        age_s = time.monotonic() - looked_up_at
        if age_s < _LOOKED_UP_AGAIN_AFTER_S or (address in known and age_s < _TRUSTED_FOR_S):
            return address in known
        found = frozenset(map(addresses.plain_address, addresses.addresses_of(peer.host)))
        with self._lock:
            self._found[peer.host] = (time.monotonic(), found)
        return address in found


_NOTHING: tuple[float, frozenset[str]] = (-_TRUSTED_FOR_S, frozenset())


def _is_given(peer: Peer, address: str) -> bool:
    """Whether a peer may call from an address by what its table says."""
    if any(addresses.is_in(address, one) for one in peer.addresses):
        return True
    try:
        return addresses.plain_address(peer.host) == address
    except ValueError:  # a name
        return False


class Admission:
    """Who is let in; each rejection is a line in the log, which says what to do about it."""

    def __init__(
        self,
        own_ae: str,
        peers: Sequence[Peer],
        on_rejected: Callable[[str, str], None] = lambda name, why: None,
    ) -> None:
        self._own_ae = own_ae
        self._peers = KnownPeers(peers)
        self._on_rejected = on_rejected
        """Told which peer was not let in, and why."""
        self._said = OncePerMinute()

    def is_near(self, address: str) -> bool:
        """Whether it is some peer's address as far as is known; nothing is looked up."""
        return self._peers.is_near(address)

    def judge(self, request: AssociationRequest, address: str) -> Peer | Rejection:
        """Let known peers in, and nobody else, whatever goes wrong here."""
        try:
            return self._judge(request, address)
        except Exception:
            log.exception("Rejected an association: it could not be judged")
            return NO_SUCH_CALLING_AE

    def say(self, who: str, whence: str, why: str, level: int = logging.WARNING) -> None:
        """Log why somebody is rejected; who asks again and again is heard of once a minute."""
        more = self._said.again((who, whence, why))
        if more is not None:
            log.log(level, "Rejected %s from %s: %s%s", who, whence, why, more)

    def _judge(self, request: AssociationRequest, address: str) -> Peer | Rejection:
        calling_ae, called_ae = request.calling_ae, request.called_ae
        if called_ae != self._own_ae:
            why = f"it called {called_ae}, this is {self._own_ae}"
            self.say(calling_ae, address, why)
            if (peer := self._peers.find(calling_ae, address)) is not None:
                self._on_rejected(peer.name, f"not let in: {why}")
            return NO_SUCH_CALLED_AE
        peer = self._peers.find(calling_ae, address)
        if peer is not None:
            return peer
        if calling_ae == self._own_ae and self._peers.of_title(calling_ae) is None:
            why = "doctor or another node looked whether we are here"
            self.say(calling_ae, address, why, logging.INFO)
        else:
            self.say(calling_ae, address, self._remedy(calling_ae, address))
        return NO_SUCH_CALLING_AE

    def _remedy(self, calling_ae: str, address: str) -> str:
        """Return which line of the configuration would let somebody in."""
        if peer := self._peers.of_title(calling_ae):
            return (
                f'peer "{peer.name}" has this AE title, but this is not its address; to allow '
                f'it, add to that peer: addresses = ["{address}"]'
            )
        return (
            'no peer has this AE title; to allow it: [[peers]] name = "...", '
            f'ae_title = "{calling_ae}", host = "{address}", port = ..., sends = true'
        )
