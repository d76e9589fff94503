"""Captures travel compressed to who takes them so, with the same pixels and all else the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from outputs.drafts import draft
from peers import Pacs, Received
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.config import CompressedBy
from node.dimse import send_each
from node.dimse.lossless import write_compressed
from node.errors import Unreadable
from node.outputs import capture
from node.outputs.report_set import to_bytes

from .places import address

ALL: tuple[CompressedBy, ...] = ("jpeg-ls", "jpeg-2000", "rle", "deflate")
PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
OpenPacs = Callable[..., Pacs]


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("captures")
    paths = []
    for number, one in enumerate(capture.build(draft())):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(to_bytes(one))
    return paths


def sent(paths: Sequence[Path], pacs: Pacs, lossless: tuple[CompressedBy, ...]) -> list[Dataset]:
    outcomes = list(send_each(paths, address(pacs), "AINODE", lambda: None, lossless))
    assert [one.state for one in outcomes] == ["sent"] * len(paths)
    return [dcmread(BytesIO(one.content)) for one in pacs.received]


@pytest.mark.parametrize(
    ("accepted", "lossless", "expected"),
    [
        ([JPEGLSLossless, JPEG2000Lossless, RLELossless], ALL, JPEGLSLossless),
        ([JPEG2000Lossless, RLELossless], ALL, JPEG2000Lossless),
        ([RLELossless, DeflatedExplicitVRLittleEndian], ALL, RLELossless),
        ([DeflatedExplicitVRLittleEndian], ALL, DeflatedExplicitVRLittleEndian),
        ([JPEGLSLossless, RLELossless], ("rle", "jpeg-ls"), RLELossless),
        ([], ALL, ExplicitVRLittleEndian),
        ([JPEGLSLossless], (), ExplicitVRLittleEndian),
    ],
)
def test_captures_go_in_the_first_way_that_is_accepted(
    accepted: list[UID],
    lossless: tuple[CompressedBy, ...],
    expected: UID,
    open_pacs: OpenPacs,
    captures: list[Path],
) -> None:
    pacs = open_pacs(syntaxes=[*accepted, *PLAIN])
    for path, arrived in zip(captures, sent(captures, pacs, lossless), strict=True):
        stored = dcmread(path)
        assert arrived.file_meta.TransferSyntaxUID == expected
        assert np.array_equal(arrived.pixel_array, stored.pixel_array)
        for one in (stored, arrived):
            del one.PixelData, one.PhotometricInterpretation
        assert arrived == stored


def test_who_takes_the_default_transfer_syntax_alone_gets_captures(
    open_pacs: OpenPacs, captures: list[Path]
) -> None:
    pacs = open_pacs(syntaxes=[ImplicitVRLittleEndian])
    for path, arrived in zip(captures, sent(captures, pacs, ALL), strict=True):
        assert arrived.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert np.array_equal(arrived.pixel_array, dcmread(path).pixel_array)


def test_who_takes_captures_compressed_alone_gets_them(
    open_pacs: OpenPacs, captures: list[Path]
) -> None:
    pacs = open_pacs(syntaxes=[JPEGLSLossless])
    assert len(sent(captures, pacs, ALL)) == len(captures)


@pytest.mark.parametrize("way", ALL)
def test_a_capture_is_a_fraction_of_itself_and_the_same_bytes_each_time(
    way: CompressedBy, captures: list[Path]
) -> None:
    sizes = []
    for path in captures:
        written, again = BytesIO(), BytesIO()
        write_compressed(path, way, written)
        write_compressed(path, way, again)
        assert written.getvalue() == again.getvalue()
        sizes.append(len(written.getvalue()))
    assert sum(sizes) < sum(path.stat().st_size for path in captures) / 4


def test_who_refuses_what_it_has_accepted_gets_captures_as_they_are(
    open_pacs: OpenPacs, captures: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    pacs = open_pacs("REFUSES", syntaxes=[JPEGLSLossless, *PLAIN])
    syntaxes: list[str] = []

    def answer(received: Received) -> int:
        syntaxes.append(dcmread(BytesIO(received.content)).file_meta.TransferSyntaxUID)
        return 0xC000 if syntaxes[-1] == JPEGLSLossless else 0

    pacs.answer = answer
    for _ in range(2):
        outcomes = list(send_each(captures, address(pacs), "AINODE", lambda: None, ALL))
        assert [one.state for one in outcomes] == ["sent"] * len(captures)
    once = [JPEGLSLossless, *[ExplicitVRLittleEndian] * len(captures)]
    assert syntaxes == once * 2, "of each association the first is tried"
    (said,) = (one.getMessage() for one in caplog.records if "then refuses" in one.getMessage())
    assert "REFUSES answered 0xC000" in said


def test_who_refuses_captures_in_every_form_is_not_said_to_refuse_a_way_to_compress(
    open_pacs: OpenPacs, captures: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    pacs = open_pacs("REFUSESALL", syntaxes=[JPEGLSLossless, *PLAIN])
    pacs.answer = lambda received: 0xC000
    outcomes = list(send_each(captures, address(pacs), "AINODE", lambda: None, ALL))
    assert {one.words for one in outcomes} == {"REFUSESALL answered 0xC000"}
    assert len(pacs.received) == 2 * len(captures), "each is tried as it is, too"
    assert not [one for one in caplog.records if "then refuses" in one.getMessage()]


def test_who_has_no_room_is_not_sent_the_same_again_in_more_bytes(
    open_pacs: OpenPacs, captures: list[Path]
) -> None:
    pacs = open_pacs(syntaxes=[JPEGLSLossless, *PLAIN])
    pacs.answer = lambda received: 0xA700
    outcomes = list(send_each(captures, address(pacs), "AINODE", lambda: None, ALL))
    assert {one.words for one in outcomes} == {"PACS answered 0xA700"}
    assert len(pacs.received) == len(captures)


def test_one_that_must_go_compressed_and_cannot_be_says_so(
    open_pacs: OpenPacs, captures: list[Path], tmp_path: Path
) -> None:
    pacs = open_pacs(syntaxes=[JPEGLSLossless])
    path = incompressible(captures[0], tmp_path)
    (outcome,) = send_each([path], address(pacs), "AINODE", lambda: None, ALL)
    assert outcome.state == "queued"
    assert outcome.words == "PACS accepts captures compressed alone, and this one cannot be"


def incompressible(capture: Path, folder: Path) -> Path:
    odd = dcmread(capture)
    odd.PhotometricInterpretation = "YBR_FULL"
    path = folder / "odd.dcm"
    odd.save_as(path)
    return path


def test_what_cannot_be_compressed_is_sent_as_it_is(
    open_pacs: OpenPacs, captures: list[Path], tmp_path: Path
) -> None:
    odd = dcmread(captures[0])
    rows, columns = odd.Rows, odd.Columns
    odd.PixelData = np.random.default_rng(1).bytes(3 * rows * columns)  # larger in any code
    path = tmp_path / "odd.dcm"
    odd.save_as(path)
    with pytest.raises(Unreadable):
        write_compressed(path, "jpeg-ls", BytesIO())
    (arrived,) = sent([path], open_pacs(syntaxes=[JPEGLSLossless, *PLAIN]), ALL)
    assert arrived.PixelData == odd.PixelData
