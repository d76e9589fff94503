"""When certificates end: read out of what openssl made."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.alarms.certificates import end_of, ends_in_file

from .pem import ENDS, OF_A_LATER_ONE, OF_THIS_CENTURY

DER = ssl.PEM_cert_to_DER_cert(OF_THIS_CENTURY)


@pytest.mark.parametrize("pem", ENDS)
def test_a_certificate_says_when_it_ends(pem: str) -> None:
    assert end_of(ssl.PEM_cert_to_DER_cert(pem)) == ENDS[pem]


def test_of_a_file_with_its_chain_the_first_that_ends_counts(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_text(f"Bag Attributes\n{OF_A_LATER_ONE}\n{OF_THIS_CENTURY}", "ascii")
    found = ends_in_file(path)
    assert found is not None
    assert found.ends_at == ENDS[OF_THIS_CENTURY]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", OF_THIS_CENTURY[:200].encode()])
def test_a_file_without_a_certificate_ends_at_no_time(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.pem"
    path.write_bytes(content)
    assert ends_in_file(path) is None
    assert ends_in_file(tmp_path / "none.pem") is None


@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.integers(0, len(DER)))
def test_what_is_no_certificate_is_refused_and_nothing_else_happens(
    place: int, byte: int, length: int
) -> None:
    broken = DER[:place] + bytes([byte]) + DER[place + 1 :]
    for data in (broken, DER[:length]):
        try:
            end_of(data)
        except ValueError:
            continue


def test_what_is_cut_off_is_refused() -> None:
    for length in range(100):
        with pytest.raises(ValueError):
            end_of(DER[:length])
