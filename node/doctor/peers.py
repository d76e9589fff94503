"""Checks of the other systems: by C-ECHO, negotiation, and a C-FIND for a study that nobody has.

No object is sent to anybody. Whether one would be stored is known only once one is sent; who does
not know us says so to the C-FIND at the latest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydicom.uid import UID, generate_uid

from node.config import WHAT_COMMITS_MEANS, Config, Peer
from node.dimse import (
    CONFIRMING,
    RETRIEVING,
    Address,
    ConnectionRefused,
    Rejected,
    TimedOut,
    accepted_kinds,
    echo,
    find_study,
)
from node.dimse.addresses import place
from node.dimse.request import NO_SUCH_CALLED_AE
from node.doctor.verdict import Verdict, failed, ok, warning
from node.errors import DeliveryError, Unsupported
from node.kinds import KINDS, SUBSTITUTES, with_substitutes

_ANSWER_WITHIN_S = 10
_FOUND_WITHIN_S = 30
"""A query may take a while where there are many studies."""


def check_peers(config: Config) -> Iterator[Verdict]:
    """Call each peer, and ask what it would take from us."""
    for peer in config.peers:
        yield from _check(peer, config)


def _check(peer: Peer, config: Config) -> Iterator[Verdict]:
    said = list(_check_results(peer, config))
    yield from said
    if peer.retrieve is not None and all(verdict.state != "failed" for verdict in said):
        yield _verdict_on_retrieval(peer, config)


def _verdict_on_retrieval(peer: Peer, config: Config) -> Verdict:
    """Say whether removed images can be asked back from it; nothing is asked for."""
    what, our_ae = f"peer {peer.name}", config.node.ae_title
    assert peer.retrieve is not None, "only then it is asked"
    service, name = RETRIEVING[peer.retrieve], f"C-{peer.retrieve.upper()}"
    to = Address(peer.ae_title, peer.host, peer.port, min(peer.timeout_s, _ANSWER_WITHIN_S))
    try:
        is_offered = service in accepted_kinds(to, our_ae, [service])
    except DeliveryError as error:
        remedy = f"Removed images are asked back from it: see why it does not take {our_ae}."
        return warning(what, f"{name}: {error}", remedy)
    if not is_offered:
        remedy = (
            f"On it, allow {our_ae} {name} in the Study Root model; or choose the other way, or "
            "leave retrieve out: then a study that needs removed images waits for a person."
        )
        return warning(what, f"{to} offers no {name}, by which images are asked back", remedy)
    words = f"offers {name}, by which removed images are asked back"
    if peer.retrieve == "move":
        words += f"; whether it knows {our_ae} as a destination, only a real request shows"
    return ok(what, words)


def _check_results(peer: Peer, config: Config) -> Iterator[Verdict]:
    what, our_ae = f"peer {peer.name}", config.node.ae_title
    entered = f"{our_ae} with this machine's address and port {config.listener.port}"
    if peer.commits:
        yield ok(what, WHAT_COMMITS_MEANS)
    to = Address(peer.ae_title, peer.host, peer.port, min(peer.timeout_s, _ANSWER_WITHIN_S))
    try:
        heard = _heard_of(to, our_ae)
        if not peer.receives:
            yield ok(what, f"{to} {heard}; it only sends")
            return
        classes = [KINDS[kind].sop_class for kind in with_substitutes(peer.kinds)]
        accepted = accepted_kinds(to, our_ae, [*classes, *CONFIRMING.values()])
    except DeliveryError as error:
        yield _verdict_on_silence(peer, error, our_ae, entered)
        return
    offered = [name for name, service in CONFIRMING.items() if service in accepted]
    try:
        _ask_for_a_study(peer, to, our_ae, offered)
    except Unsupported as error:
        offered.remove("find")
        remedy = f"On it, allow {our_ae} to query (C-FIND, Study Root)."
        yield warning(what, str(error), remedy)
    except DeliveryError as error:
        # To many it is here that it shows whom they know: they negotiate with everybody.
        yield _verdict_on_query(peer, error, our_ae, entered)
        return
    yield _verdict_on_results(peer, f"{to} {heard}", accepted, our_ae)
    yield from _doubts_about_services(peer, what, offered, our_ae)


def _heard_of(to: Address, our_ae: str) -> str:
    """Return how it answers a call; some offer no C-ECHO, and take objects all the same.

    Raises DeliveryError if it does not answer.
    """
    try:
        echo(to, our_ae)
    except Unsupported:
        return "takes associations, though none for C-ECHO"
    return "answers C-ECHO"


def _ask_for_a_study(peer: Peer, to: Address, our_ae: str, offered: Sequence[str]) -> None:
    """Ask by C-FIND for a study that does not exist, where the node would ask for a real one.

    Raises Unsupported if that is not offered to us after all, DeliveryError if no answer comes.
    """
    by = next((way for way in peer.confirm if way in offered), None)
    if "find" in offered and (peer.compares_identity or by == "find"):
        patient = replace(to, timeout_s=min(peer.timeout_s, _FOUND_WITHIN_S))
        find_study(str(generate_uid(prefix=None)), patient, our_ae)


def _verdict_on_query(peer: Peer, error: DeliveryError, our_ae: str, entered: str) -> Verdict:
    what = f"peer {peer.name}"
    if isinstance(error, TimedOut):
        without = "compares_identity = false" if peer.compares_identity else "confirm = []"
        remedy = (
            "The node asks so before it sends results, or whether they have arrived. See why no "
            f"answer comes; or set {without} for this peer, which does without."
        )
        return failed(what, str(error), remedy)
    remedy = (
        f"It negotiates, and does not do what it is asked: perhaps it does not know {our_ae}. On "
        f"it, enter {entered} as a system that may store and query."
    )
    return failed(what, f"{error} (negotiation went well)", remedy)


def _verdict_on_silence(peer: Peer, error: DeliveryError, our_ae: str, entered: str) -> Verdict:
    what, words = f"peer {peer.name}", str(error)
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
    return failed(what, words, _remedy_of_silence(peer, error, entered))


def _remedy_of_silence(peer: Peer, error: DeliveryError, entered: str) -> str:
    """Return what to do on which side, by how it did not answer."""
    enter = f"On it, enter {entered} as a system it knows"
    if isinstance(error, Rejected) and error.rejection == NO_SUCH_CALLED_AE:
        return f"Give peer {peer.name} the AE title that it has: ae_title is {peer.ae_title} here."
    if isinstance(error, Rejected):
        return f"{enter}, and may store and query; write the AE title exactly so."
    if isinstance(error, ConnectionRefused):
        return f"See that it runs, and that it listens on port {peer.port} of {peer.host}."
    if isinstance(error, TimedOut):
        return (
            f"See that {peer.host} is its address, that it is not stuck, and that every firewall "
            f"between lets this machine to port {peer.port} of it."
        )
    return (
        f"See that it runs, and compare its AE title, address and port with {peer.ae_title}, "
        f"{peer.host} and {peer.port}. {enter}; let firewalls pass it."
    )


def _verdict_on_results(peer: Peer, heard: str, accepted: frozenset[str], our_ae: str) -> Verdict:
    """Say whether it takes what its preset sends, or what goes in place of that."""
    what = f"peer {peer.name}"
    taken = [kind for kind in peer.kinds if KINDS[kind].sop_class in accepted]
    refused = [kind for kind in peer.kinds if kind not in taken]
    instead = {kind: SUBSTITUTES[kind] for kind in refused if kind in SUBSTITUTES}
    missing = [kind for kind in refused if KINDS[instead.get(kind, kind)].sop_class not in accepted]
    if missing:
        remedy = f"On it, allow {our_ae} to store these kinds of object, uncompressed."
        return failed(what, f"{heard}, takes no {', no '.join(map(_name, missing))}", remedy)
    words = " and ".join(_name(instead.get(kind, kind)) for kind in peer.kinds)
    if instead:
        words += f" (no {', no '.join(map(_name, instead))})"
    return ok(what, f"{heard}, takes {words}")


def _name(kind: str) -> str:
    return UID(KINDS[kind].sop_class).name


def _doubts_about_services(
    peer: Peer, what: str, offered: Sequence[str], our_ae: str
) -> Iterator[Verdict]:
    """Say which way results can be confirmed, and whether identities can be compared."""
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
