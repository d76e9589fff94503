"""Headers that are damaged: read as far as they can be, or refused in words."""

from __future__ import annotations

import random
from io import BytesIO
from pathlib import Path

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_structure import behind, element
from pydicom import Dataset, dcmread, uid
from pydicom.dataset import FileMetaDataset

from node.dicom.header import read_header
from node.dicom.untrusted import failing_as, quietly
from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import read
from node.errors import Unreadable

from .studies import enhanced, image


def encoded(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    written = BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    return written.getvalue()


WHOLE = (
    encoded(enhanced(administered=("NO", "YES", "YES"))),
    encoded(image(ReceiveCoilName="BREAST", AcquisitionTime="101010", ContrastBolusAgent="A")),
)


def damaged(seed: int) -> Dataset | None:
    """Return a header with some bytes changed, None if it is no data set any more."""
    chance = random.Random(seed)
    changed = bytearray(chance.choice(WHOLE))
    for _ in range(chance.randint(1, 12)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    try:
        with quietly(), failing_as("no data set"):
            return dcmread(BytesIO(bytes(changed)), force=True)
    except Unreadable:
        return None


@given(seed=st.integers(0, 1_000_000))
@settings(max_examples=examples(300))
def test_whatever_the_bytes_are_a_header_is_read_or_refused_in_words(seed: int) -> None:
    header = damaged(seed)
    if header is None:
        return
    found = read(facts_of(header))
    assert bool(found.refusal) != bool(found.phases)


def test_a_functional_group_of_an_unknown_kind_says_nothing() -> None:
    raw = WHOLE[0].replace(b"\x18\x00\x14\x91SQ", b"\x18\x00\x14\x91SX", 1)
    assert raw != WHOLE[0]
    with quietly():
        facts = facts_of(dcmread(BytesIO(raw), force=True))
    assert {one.echo_ms for one in facts} == {None}


def test_an_object_that_says_two_things_of_one_is_not_read(tmp_path: Path) -> None:
    """Which of the two is right nobody knows: it may be the time by which a phase is told."""
    stack = [image(z=2.0 * n, copy=copy, TriggerTime=copy) for copy in (0, 90) for n in range(3)]
    headers = []
    for number, one in enumerate(stack):
        path = tmp_path / f"{number}.dcm"
        content = encoded(one)
        if number == 5:
            content = behind(content, 0x00181060, element(0x00181060, b"DS", b"180 "))
        path.write_bytes(content)
        headers.append(read_header(path))
    assert "Trigger Time" in read([fact for one in headers for fact in facts_of(one)]).refusal
