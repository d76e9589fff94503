"""What another system would take is found out by asking, and nothing is sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from peers import COMMITMENT, FIND, Archive, Pacs, refused_connections
from pydicom.uid import ComprehensiveSRStorage, JPEG2000Lossless, SecondaryCaptureImageStorage

from node.dimse import CONFIRMING, Address, Rejected, accepted_kinds, echo
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
    with pytest.raises(Rejected, match="does it know the calling AE title AINODE"):
        echo(address(pacs), NODE)
    with pytest.raises(Rejected):
        accepted_kinds(address(pacs), NODE, KINDS)


@refused_connections
def test_who_is_not_there_cannot_be_asked() -> None:
    with pytest.raises(DeliveryError, match="cannot be reached"):
        accepted_kinds(Address("PACS", "127.0.0.1", 1), NODE, KINDS)
