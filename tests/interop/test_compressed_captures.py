"""Captures that were compressed on their way: other programs see the same pixels, and no fault."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from outputs.drafts import draft
from PIL import Image
from pydicom import dcmread

from node.config import CompressedBy
from node.dimse import Address, send_each
from node.dimse.lossless import syntax_of, write_compressed
from node.outputs import capture
from node.outputs.report_set import to_bytes

from .conftest import Started
from .programs import LOOPBACK, Orthanc, StoreScp, dcmtk
from .validators import dciodvfy, dicom_validator

pytestmark = pytest.mark.interop

WAYS: tuple[CompressedBy, ...] = ("jpeg-ls", "jpeg-2000", "rle")


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("captures")
    paths = []
    for number, one in enumerate(capture.build(draft())):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(to_bytes(one))
    return paths


def _compressed(path: Path, way: CompressedBy, folder: Path) -> Path:
    written = folder / f"{way} {path.name}"
    with written.open("wb") as file:
        write_compressed(path, way, file)
    return written


@pytest.mark.parametrize("way", WAYS)
def test_validators_find_nothing_in_them_that_they_did_not_find_before(
    way: CompressedBy, captures: list[Path], tmp_path: Path
) -> None:
    for path in captures:
        written = _compressed(path, way, tmp_path)
        for validator in (dciodvfy, dicom_validator):
            assert validator(written) == validator(path)


@pytest.mark.parametrize(("way", "decoder"), [("jpeg-ls", "dcmdjpls"), ("rle", "dcmdrle")])
def test_dcmtk_decodes_the_same_pixels(
    way: CompressedBy, decoder: str, captures: list[Path], tmp_path: Path
) -> None:
    for path in captures:
        decoded = tmp_path / path.name
        dcmtk(decoder, _compressed(path, way, tmp_path), decoded)
        assert np.array_equal(dcmread(decoded).pixel_array, dcmread(path).pixel_array)


@pytest.mark.parametrize("way", ["jpeg-ls", "rle"])  # as installed it knows no JPEG 2000
def test_orthanc_draws_them_as_they_were_built(
    way: CompressedBy, captures: list[Path], tmp_path: Path, started: Started
) -> None:
    orthanc = Orthanc(tmp_path / "orthanc", 1)
    started(orthanc)
    to = Address("ORTHANC", LOOPBACK, orthanc.port)
    outcomes = list(send_each(captures, to, "AINODE", lambda: None, [way]))
    assert [one.state for one in outcomes] == ["sent"] * len(captures)
    built = {dcmread(path).SOPInstanceUID: dcmread(path).pixel_array for path in captures}
    for identifier in orthanc.ask("/instances"):
        arrived = dcmread(BytesIO(orthanc.call(f"/instances/{identifier}/file")))
        assert arrived.file_meta.TransferSyntaxUID == syntax_of(way)
        with Image.open(BytesIO(orthanc.call(f"/instances/{identifier}/preview"))) as preview:
            drawn = np.asarray(preview.convert("RGB"))
        assert np.array_equal(drawn, built.pop(arrived.SOPInstanceUID))
    assert not built


@pytest.mark.parametrize(
    ("takes", "syntax"),
    [
        ("+xi", "1.2.840.10008.1.2"),
        ("+x=", "1.2.840.10008.1.2.1"),
        ("+xt", syntax_of("jpeg-ls")),
        ("+xd", syntax_of("deflate")),
    ],
)
def test_an_archive_gets_what_it_takes(
    takes: str, syntax: str, captures: list[Path], tmp_path: Path, started: Started
) -> None:
    archive = StoreScp(tmp_path / "archive", "ARCHIVE", takes=takes)
    started(archive)
    to = Address("ARCHIVE", LOOPBACK, archive.port)
    outcomes = list(send_each(captures, to, "AINODE", lambda: None, (*WAYS, "deflate")))
    assert [one.state for one in outcomes] == ["sent"] * len(captures)
    built = {dcmread(path).SOPInstanceUID: dcmread(path).pixel_array for path in captures}
    for arrived in archive.objects():
        assert arrived.file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(arrived.pixel_array, built.pop(arrived.SOPInstanceUID))
    assert not built
