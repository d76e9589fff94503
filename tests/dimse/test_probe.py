"""What another system would take is found out by asking, and nothing is sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest
from peers import COMMITMENT, FIND, Archive, Pacs, refused_connections
from ports import free_port
from pydicom.uid import ComprehensiveSRStorage, JPEG2000Lossless, SecondaryCaptureImageStorage

from node.dimse import (
    CONFIRMING,
    Address,
    ConnectionRefused,
    Rejected,
    TimedOut,
    accepted_kinds,
    echo,
)
from node.dimse.refusal import rejected, unreachable
from node.dimse.request import NO_SUCH_CALLING_AE, Rejection
from node.errors import DeliveryError

from .places import NODE, address

KINDS = [ComprehensiveSRStorage, SecondaryCaptureImageStorage, *CONFIRMING.values()]


def test_an_archive_that_does_everything_accepts_everything(archive: Archive) -> None:
    assert CONFIRMING == {"commitment": COMMITMENT, "find": FIND}
    assert accepted_kinds(address(archive), NODE, KINDS) == set(KINDS)
    assert archive.received == archive.queries == archive.requests == []


def test_what_is_not_accepted_is_left_out(open_pacs: Callable[..., Pacs]) -> None:
    pacs = open_pacs(sop_classes=[SecondaryCaptureImageStorage])
    assert accepted_kinds(address(pacs), NODE, KINDS) == {SecondaryCaptureImageStorage}


def test_who_takes_a_kind_only_compressed_does_not_take_ours(
    open_pacs: Callable[..., Pacs],
) -> None:
    pacs = open_pacs(syntaxes=[JPEG2000Lossless])
    assert accepted_kinds(address(pacs), NODE, KINDS) == frozenset()


def test_who_does_not_know_us_rejects_us(open_pacs: Callable[..., Pacs]) -> None:
    pacs = open_pacs(knows=["SOMEBODY"])
    words = r"it does not know AINODE \(calling AE title not recognized\)"
    with pytest.raises(Rejected, match=words) as caught:
        echo(address(pacs), NODE)
    assert caught.value.rejection == NO_SUCH_CALLING_AE
    with pytest.raises(Rejected):
        accepted_kinds(address(pacs), NODE, KINDS)


@pytest.mark.parametrize(
    ("rejection", "said"),
    [
        ((1, 1, 3), "rejected the association: it does not know AINODE (calling AE title not"),
        ((1, 1, 7), "rejected the association: it is not called PACS (called AE title not"),
        ((1, 1, 1), "perhaps it does not know AINODE (no reason given)"),
        ((1, 1, 2), "rejected the association: application context name not supported"),
        ((1, 2, 2), "rejected the association: protocol version not supported"),
        ((2, 3, 1), "rejected the association for now: temporary congestion"),
        ((2, 3, 2), "rejected the association for now: local limit exceeded"),
        ((1, 3, 9), "rejected the association: an unknown reason"),
    ],
)
def test_each_reason_of_a_rejection_is_said_in_the_words_of_the_standard(
    rejection: tuple[int, int, int], said: str
) -> None:
    """PS3.8, table 9-21."""
    error = rejected(Rejection(*rejection), Address("PACS", "192.0.2.1", 104), NODE)
    assert said in str(error)
    assert isinstance(error, Rejected) == (rejection[0] == 1)


@refused_connections
def test_where_nobody_listens_the_connection_is_refused() -> None:
    words = r"cannot be reached: nothing listens there \(connection refused\)"
    with pytest.raises(ConnectionRefused, match=words):
        accepted_kinds(Address("PACS", "127.0.0.1", free_port()), NODE, KINDS)


def test_a_connection_that_nobody_answers_has_timed_out() -> None:
    error = unreachable(Address("PACS", "192.0.2.1", 104), after_s=30.1, timeout_s=30)
    assert isinstance(error, TimedOut)
    assert "a firewall is between, or nobody has that address" in str(error)


def test_who_takes_a_connection_and_says_nothing_has_timed_out() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        to = Address("PACS", "127.0.0.1", silent.getsockname()[1], timeout_s=0.5)
        with pytest.raises(TimedOut, match=r"has not answered the association request in 0\.5 s"):
            echo(to, NODE)


def test_who_hangs_up_at_once_has_not_timed_out() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as rude:
        hangs_up = threading.Thread(target=lambda: rude.accept()[0].close())
        hangs_up.start()
        to = Address("PACS", "127.0.0.1", rude.getsockname()[1], timeout_s=20)
        with pytest.raises(DeliveryError, match="broke off instead of answering") as caught:
            echo(to, NODE)
        hangs_up.join()
    assert not isinstance(caught.value, TimedOut)
