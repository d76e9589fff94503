"""Messages by MLLP over TLS, to python-hl7's server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from reading_lists import ReadingList, reading_list

from node.deliver.messages.receiver import receiver_of
from node.errors import Unreached, Unsent

from .tls import make_certificate

pytestmark = pytest.mark.interop

MESSAGE = b"MSH|^~\\&|AI-NODE||||20261129||ORU^R01^ORU_R01|X1|P|2.5.1\r"


def tell(it: ReadingList, **how: Any) -> None:
    receiver_of(it.settings(tls=True, **how)).bring(MESSAGE, "X1")


def test_who_shows_the_named_certificate_is_told(tmp_path: Path) -> None:
    ours = make_certificate(tmp_path)
    with reading_list(tls=ours) as ris:
        tell(ris, tls_ca=ours[0])
    assert ris.control_ids() == ["X1"]


def test_who_shows_another_is_not(tmp_path: Path) -> None:
    ours, other = make_certificate(tmp_path), make_certificate(tmp_path, "other.example")
    with reading_list(tls=ours) as ris:
        for trusted in (None, other[0]):
            with pytest.raises(Unsent, match="no trusted TLS connection"):
                tell(ris, tls_ca=trusted)
    assert not ris.heard


def test_who_asks_for_our_certificate_gets_it(tmp_path: Path) -> None:
    theirs, ours = make_certificate(tmp_path), make_certificate(tmp_path, "node.example")
    with reading_list(tls=theirs, clients=ours[0]) as ris:
        tell(ris, tls_ca=theirs[0], tls_certificate=ours[0], tls_key=ours[1])
        with pytest.raises(Unreached):
            tell(ris, tls_ca=theirs[0])
    assert ris.control_ids() == ["X1"]


def test_a_list_that_speaks_no_tls_is_told_nothing(tmp_path: Path) -> None:
    with reading_list() as ris, pytest.raises(Unsent, match="no trusted TLS connection"):
        tell(ris, timeout_s=2)
    assert not ris.heard


def test_certificates_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    with reading_list() as ris, pytest.raises(Unsent, match=r"none\.pem: cannot be used for TLS"):
        tell(ris, tls_ca=tmp_path / "none.pem")
