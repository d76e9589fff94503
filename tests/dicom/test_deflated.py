"""A deflated object of a few kilobytes may inflate to gigabytes: neither memory nor time goes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import factories
import pytest
from factories import L_CC
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from node.dicom import deflated
from node.dicom.deflated import Inflated
from node.dicom.header import read_header
from node.errors import Unreadable
from node.imaging.digests import image_digest
from node.trial import phantom

MIB = 1 << 20
UNDEFINED = 0xFFFFFFFF


def zeros(mib: int) -> Iterator[bytes]:
    return (bytes(MIB) for _ in range(mib))


def element(tag: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length)


def long_value(mib: int) -> Iterator[bytes]:
    yield element(0x70011001, b"OB", mib * MIB)
    yield from zeros(mib)


def in_a_sequence(mib: int) -> Iterator[bytes]:
    yield element(0x70011002, b"SQ", UNDEFINED)
    yield struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
    yield from long_value(mib)
    yield struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)


def pixel_data(mib: int) -> Iterator[bytes]:
    yield element(0x7FE00010, b"OW", mib * MIB)
    yield from zeros(mib)


def mammogram(syntax: UID) -> Dataset:
    [dataset] = factories.exam(views=[L_CC])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PatientName = "Müller^Ada"
    return dataset


@pytest.fixture
def bomb(tmp_path: Path) -> Callable[[str, Iterator[bytes]], Path]:
    """Write a deflated mammogram that goes on with something else than its pixel data."""
    bare = mammogram(ExplicitVRLittleEndian)
    del bare.PixelData
    [plain] = phantom.save([bare], tmp_path / "plain")
    bare.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    [short] = phantom.save([bare], tmp_path / "short")

    def write(name: str, more: Iterator[bytes]) -> Path:
        compressor = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
        path = tmp_path / f"{name}.dcm"
        with path.open("wb") as file:
            file.write(short.read_bytes()[: data_set_at(short)])
            file.write(compressor.compress(plain.read_bytes()[data_set_at(plain) :]))
            for piece in more:
                file.write(compressor.compress(piece))
            file.write(compressor.flush())
        return path

    return write


def data_set_at(path: Path) -> int:
    return 144 + int.from_bytes(path.read_bytes()[140:144], "little")


READ = """
import json, resource, sys
from pathlib import Path
from node.errors import Unreadable
from node.imaging.digests import image_digest
from node.dicom.header import read_header

def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def words(read, path):
    try:
        read(path)
        return "read"
    except Unreadable as error:
        return str(error)

first, *paths = map(Path, sys.argv[1:])
read_header(first)
image_digest(first)
before = peak_mib()
found = {path.stem: [words(read, path) for read in (read_header, image_digest)] for path in paths}
print(json.dumps({"words": found, "grown_mib": peak_mib() - before}))
"""


@pytest.mark.slow
def test_whatever_an_object_inflates_to_it_is_read_or_refused_with_little_memory(
    bomb: Callable[[str, Iterator[bytes]], Path], tmp_path: Path
) -> None:
    [small] = phantom.save([mammogram(DeflatedExplicitVRLittleEndian)], tmp_path / "small")
    paths = [
        bomb("pixel data", pixel_data(160)),
        bomb("too much", pixel_data(520)),
        bomb("long value", long_value(160)),
        bomb("in a sequence", in_a_sequence(160)),
        bomb("zeros", zeros(160)),
    ]
    assert all(path.stat().st_size < 3 * MIB for path in paths)
    run = [sys.executable, "-c", READ, *map(str, [small, *paths])]
    answer = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    too_much = "the deflated object inflates to more than 512 MiB"
    long_header = "the header of the deflated object is larger than 64 MiB"
    endless = "the object has more than 65536 attributes"
    assert answer["words"] == {
        "pixel data": ["read", "read"],
        "too much": [too_much, too_much],
        "long value": [long_header, long_header],
        "in a sequence": [long_header, long_header],
        "zeros": [endless, endless],
    }
    assert answer["grown_mib"] < 120


def test_zeros_without_end_are_no_attributes_of_a_plain_object_either(tmp_path: Path) -> None:
    bare = mammogram(ExplicitVRLittleEndian)
    del bare.PixelData
    [path] = phantom.save([bare], tmp_path)
    path.write_bytes(path.read_bytes() + bytes(MIB))
    with pytest.raises(Unreadable, match="more than 65536 attributes"):
        read_header(path)


@pytest.mark.parametrize("undefined_length", [True, False])
def test_a_deflated_header_is_the_one_that_pydicom_reads(
    undefined_length: bool, tmp_path: Path
) -> None:
    dataset = mammogram(DeflatedExplicitVRLittleEndian)
    dataset["ViewCodeSequence"].is_undefined_length = undefined_length
    dataset.add_new(0x00091001, "OB", bytes(1 << 17))
    [path] = phantom.save([dataset], tmp_path)
    read, expected = read_header(path), dcmread(path, stop_before_pixels=True)
    assert read == expected
    assert read.file_meta == expected.file_meta
    assert read.original_encoding == expected.original_encoding
    assert read.original_character_set == expected.original_character_set
    assert read.PatientName == "Müller^Ada"


@pytest.mark.parametrize(
    ("limit", "told"), [("LARGEST", "inflates to more"), ("LARGEST_HEADER", "header")]
)
def test_the_limits_are_of_what_the_object_inflates_to(
    limit: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = mammogram(ExplicitVRLittleEndian)
    [plain] = phantom.save([dataset], tmp_path / "plain")
    content = plain.read_bytes()[data_set_at(plain) :]
    size = len(content)
    if limit == "LARGEST_HEADER":
        size = content.index(element(0x7FE00010, b"OW", 0)[:8]) + 12  # to tell what comes there
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    [path] = phantom.save([dataset], tmp_path / "deflated")
    monkeypatch.setattr(deflated, limit, size)
    read_header(path)
    image_digest(path)
    monkeypatch.setattr(deflated, limit, size - 1)
    for read in (read_header, image_digest):
        with pytest.raises(Unreadable, match=told):
            read(path)


def test_a_deflated_object_that_ends_early_is_unreadable(tmp_path: Path) -> None:
    [path] = phantom.save([mammogram(DeflatedExplicitVRLittleEndian)], tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Unreadable, match="ends early"):
        read_header(path)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 5000)),
        st.tuples(st.just("seek"), st.integers(0, 12000)),
        st.tuples(st.just("skip"), st.integers(0, 5000)),
    ),
    max_size=12,
)


@given(
    content=st.binary(max_size=2000), times=st.integers(0, 5), steps=STEPS, size=st.integers(1, 600)
)
def test_it_reads_as_the_inflated_bytes_do(
    content: bytes, times: int, steps: list[tuple[str, int]], size: int
) -> None:
    whole = content * times
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = compressor.compress(whole) + compressor.flush()
    expected = io.BytesIO(whole)
    found = io.BufferedReader(Inflated(io.BytesIO(b"before" + packed), len("before")), size)
    for what, number in steps:
        if what == "read":
            assert found.read(number) == expected.read(number)
            continue
        behind = expected.tell() + number if what == "skip" else number
        at = min(behind, len(whole))  # where it ends is known only there
        expected.seek(at)
        found.seek(number, io.SEEK_CUR if what == "skip" else io.SEEK_SET)
        assert found.read(1) == expected.read(1)


def test_one_header_does_not_wait_for_another(tmp_path: Path) -> None:
    [path] = factories.saved_exam(tmp_path, views=[L_CC])
    slow = tmp_path / "slow"
    os.mkfifo(slow)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(read_header, slow)
        with slow.open("wb"):  # opens once it is being read; nothing comes
            assert threads.submit(read_header, path).result(timeout=30).PatientID
            assert not waiting.done()
        while not waiting.done():  # it may be opened once more, by then with nobody behind it
            with contextlib.suppress(OSError):
                os.close(os.open(slow, os.O_WRONLY | os.O_NONBLOCK))
            time.sleep(0.01)
        with pytest.raises(Unreadable):
            waiting.result()
