"""Checks of the other systems, by C-ECHO and negotiation: no object is sent to anybody."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.uid import UID

from node.config import WHAT_COMMITS_MEANS, Config, Peer
from node.dimse import CONFIRMING, Address, accepted_kinds, echo
from node.dimse.addresses import place
from node.doctor.verdict import Verdict, failed, ok, warning
from node.errors import DeliveryError
from node.kinds import KINDS, SUBSTITUTES, with_substitutes

_ANSWER_WITHIN_S = 10


def check_peers(config: Config) -> Iterator[Verdict]:
    """Call each peer, and ask what it would take from us."""
    for peer in config.peers:
        yield from _check(peer, config.node.ae_title)


def _check(peer: Peer, our_ae: str) -> Iterator[Verdict]:
    what = f"peer {peer.name}"
    if peer.commits:
        yield ok(what, WHAT_COMMITS_MEANS)
    to = Address(peer.ae_title, peer.host, peer.port, min(peer.timeout_s, _ANSWER_WITHIN_S))
    try:
        echo(to, our_ae)
        if not peer.receives:
            yield ok(what, f"{to} answers C-ECHO; it only sends")
            return
        classes = [KINDS[kind].sop_class for kind in with_substitutes(peer.kinds)]
        accepted = accepted_kinds(to, our_ae, [*classes, *CONFIRMING.values()])
    except DeliveryError as error:
        yield _verdict_on_silence(peer, what, str(error), our_ae)
        return
    yield _verdict_on_results(peer, to, accepted, our_ae)
    yield from _doubts_about_services(peer, what, accepted, our_ae)


def _verdict_on_silence(peer: Peer, what: str, words: str, our_ae: str) -> Verdict:
    if not peer.receives and not peer.commits:
        remedy = "It only sends, and need not answer: many modalities do not. See that it can send."
        return warning(what, words, remedy)
    if not peer.receives:
        remedy = (
            "It asks by storage commitment what is kept (commits = true) and is told at "
            f"{place(peer.host, peer.port)}, unless it waits for that on its own association. "
            f"See that it listens there, knows {our_ae}, and that firewalls pass it."
        )
        return warning(what, words, remedy)
    remedy = (
        f"See that it runs, and compare its AE title, address and port with {peer.ae_title}, "
        f"{peer.host} and {peer.port}. On it, enter {our_ae} with this machine's address as a "
        "system it knows; let firewalls pass it."
    )
    return failed(what, words, remedy)


def _verdict_on_results(peer: Peer, to: Address, accepted: frozenset[str], our_ae: str) -> Verdict:
    """Say whether it takes what its preset sends, or what goes in place of that."""
    what = f"peer {peer.name}"
    taken = [kind for kind in peer.kinds if KINDS[kind].sop_class in accepted]
    refused = [kind for kind in peer.kinds if kind not in taken]
    instead = {kind: SUBSTITUTES[kind] for kind in refused if kind in SUBSTITUTES}
    missing = [kind for kind in refused if KINDS[instead.get(kind, kind)].sop_class not in accepted]
    if missing:
        remedy = f"On it, allow {our_ae} to store these kinds of object, uncompressed."
        return failed(what, f"{to} takes no {', no '.join(map(_name, missing))}", remedy)
    words = " and ".join(_name(instead.get(kind, kind)) for kind in peer.kinds)
    if instead:
        words += f" (no {', no '.join(map(_name, instead))})"
    return ok(what, f"{to} answers C-ECHO, takes {words}")


def _name(kind: str) -> str:
    return UID(KINDS[kind].sop_class).name


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
