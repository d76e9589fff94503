"""One object on its way into a file: the same bytes as pynetdicom would write, and their digest."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA

from node.dimse.c_store import StoreRequest
from node.receive.arriving import Arriving, beginning_of_file
from node.store import dataset_digest

from .by_hand import store_request

UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(
    lambda parts: ".".join(map(str, parts))
)
REQUEST = StoreRequest(1, b"1.2.840.10008.5.1.4.1.1.1.2", b"1.2.3")


def as_pynetdicom_writes_it(
    sop_class: str, sop_instance: str, syntax: str, parts: Sequence[bytes], folder: str
) -> bytes:
    context = SimpleNamespace(transfer_syntax=[UID(syntax)])
    message, before = DIMSEMessage(), tempfile.tempdir
    tempfile.tempdir = folder
    try:
        control = [3] + [0] * (len(parts) - 1) + [2]
        for one, content in zip(
            control, [store_request(sop_class, sop_instance), *parts], strict=True
        ):
            came = P_DATA()
            came.presentation_data_value_list = [[1, bytes([one]) + content]]  # type: ignore[list-item]
            message.decode_msg(came, SimpleNamespace(_accepted_cx={1: context}))  # type: ignore[arg-type]
    finally:
        tempfile.tempdir = before
    assert message._data_set_file is not None
    message._data_set_file.close()
    return Path(message._data_set_file.name).read_bytes()


@settings(max_examples=examples(100))
@given(
    sop_class=UIDS,
    sop_instance=UIDS,
    syntax=st.sampled_from([ExplicitVRLittleEndian, JPEG2000Lossless]),
    pieces=st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5), min_size=1),
)
def test_in_pieces_of_any_size_the_file_is_the_one_that_pynetdicom_writes(
    sop_class: str, sop_instance: str, syntax: UID, pieces: list[list[bytes]]
) -> None:
    request = StoreRequest(1, sop_class.encode(), sop_instance.encode())
    with tempfile.TemporaryDirectory() as folder:
        arriving = Arriving(Path(folder), 1, beginning_of_file(request, syntax))
        for parts in pieces:
            arriving.take([memoryview(one) for one in parts])
        arriving.close()
        assert arriving.error is None
        every = [one for parts in pieces for one in parts]
        written = as_pynetdicom_writes_it(sop_class, sop_instance, syntax, every, folder)
        assert arriving.path.read_bytes() == written
        assert arriving.digest == dataset_digest(arriving.path)


def test_a_data_set_that_begins_with_what_belongs_before_it_has_the_digest_of_all_of_it(
    tmp_path: Path,
) -> None:
    odd = struct.pack("<HH2sH", 2, 0x10, b"UI", 6) + b"1.2.3\0" + b"and the rest of it"
    arriving = Arriving(tmp_path, 1, beginning_of_file(REQUEST, ExplicitVRLittleEndian))
    arriving.take([memoryview(odd)])
    arriving.close()
    assert arriving.digest == hashlib.sha256(odd).hexdigest() == dataset_digest(arriving.path)


def test_more_pieces_than_the_system_writes_at_once_are_all_written(tmp_path: Path) -> None:
    parts = [bytes([number % 256]) * (number % 3) for number in range(5000)]
    arriving = Arriving(tmp_path, 1, b"beginning")
    arriving.take([memoryview(one) for one in parts])
    arriving.close()
    assert arriving.path.read_bytes() == b"beginning" + b"".join(parts)


def test_in_a_folder_that_is_not_there_it_is_passed_over_and_the_reason_kept(
    tmp_path: Path,
) -> None:
    arriving = Arriving(tmp_path / "gone", 1, b"")
    arriving.take([memoryview(b"data")])
    arriving.close()
    assert isinstance(arriving.error, FileNotFoundError)
    arriving.discard()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    arriving = Arriving(tmp_path, 1, b"")
    arriving.close()
    assert arriving.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("is_whole", [True, False])
def test_what_is_discarded_is_gone(tmp_path: Path, is_whole: bool) -> None:
    arriving = Arriving(tmp_path, 1, b"")
    arriving.take([memoryview(b"data")])
    if is_whole:
        arriving.close()
    arriving.discard()
    arriving.discard()
    assert list(tmp_path.iterdir()) == []
