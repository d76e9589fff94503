"""Checks of the other systems, by C-ECHO and negotiation: no object is sent to anybody."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID, ComprehensiveSRStorage, SecondaryCaptureImageStorage

from node.config import Config, Peer
from node.destinations import CONFIRMING, Address, accepted_kinds, echo
from node.doctor.verdict import Verdict, failed, ok, warning
from node.errors import DeliveryError

RESULTS = (ComprehensiveSRStorage, SecondaryCaptureImageStorage)
"""What the node sends."""
_ANSWER_WITHIN_S = 10


def check_peers(config: Config) -> Iterator[Verdict]:
    """Call each peer, and ask what it would take from us."""
    for peer in config.peers:
        yield from _check(peer, config.node.ae_title)


def _check(peer: Peer, our_ae: str) -> Iterator[Verdict]:
    what = f"peer {peer.name}"
    to = Address(peer.ae_title, peer.host, peer.port, min(peer.timeout_s, _ANSWER_WITHIN_S))
    try:
        echo(to, our_ae)
        if not peer.receives:
            yield ok(what, f"{to} answers C-ECHO; it only sends")
            return
        accepted = accepted_kinds(to, our_ae, [*RESULTS, *CONFIRMING.values()])
    except DeliveryError as error:
        yield _verdict_on_silence(peer, what, str(error), our_ae)
        return
    yield _verdict_on_results(what, to, accepted, our_ae)
    yield from _doubts_about_services(peer, what, accepted, our_ae)


def _verdict_on_silence(peer: Peer, what: str, words: str, our_ae: str) -> Verdict:
    if not peer.receives:
        remedy = "It only sends, and need not answer: many modalities do not. See that it can send."
        return warning(what, words, remedy)
    remedy = (
        f"See that it runs, and compare its AE title, address and port with {peer.ae_title}, "
        f"{peer.host} and {peer.port}. On it, enter {our_ae} with this machine's address as a "
        "system it knows; let firewalls pass it."
    )
    return failed(what, words, remedy)


def _verdict_on_results(what: str, to: Address, accepted: frozenset[str], our_ae: str) -> Verdict:
    refused = [UID(kind).name for kind in RESULTS if kind not in accepted]
    if refused:
        remedy = f"On it, allow {our_ae} to store these kinds of object, uncompressed."
        return failed(what, f"{to} takes no {', no '.join(refused)}", remedy)
    return ok(what, f"{to} answers C-ECHO, takes {' and '.join(UID(k).name for k in RESULTS)}")


def _doubts_about_services(
    peer: Peer, what: str, accepted: frozenset[str], our_ae: str
) -> Iterator[Verdict]:
    """Say which way results can be confirmed, and whether identities can be compared."""
    offered = [name for name, service in CONFIRMING.items() if service in accepted]
    by = next((way for way in peer.confirm if way in offered), None)
    names = {"commitment": "storage commitment", "find": "C-FIND"}
    if by is not None:
        yield ok(what, f"confirms results by {names[by]}")
    elif peer.confirm:
        words = "offers neither storage commitment nor C-FIND: results stay unconfirmed"
        yield warning(
            what,
            words,
            f"On it, allow {our_ae} one of the two; or set confirm = [] for this peer.",
        )
    if peer.compares_identity and "find" not in offered:
        words = "offers no C-FIND: whose study it is cannot be compared before results are sent"
        remedy = f"On it, allow {our_ae} C-FIND; or set compares_identity = false for this peer."
        yield warning(what, words, remedy)
