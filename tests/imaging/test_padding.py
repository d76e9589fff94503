"""What lies behind the last pixel (PS3.5 8.1.1): zeros are no pixels, anything else is in doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from small_images import mammogram, saved

from node.errors import Unreadable
from node.imaging.digests import pixel_digest
from node.imaging.image import open_image

VALUES = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 4096
SYNTAXES = (
    *(uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian),
    *(uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian),
)


def padded(path: Path, syntax: uid.UID, padding: bytes) -> Path:
    dataset = mammogram(VALUES)
    dataset.file_meta.TransferSyntaxUID = syntax
    content = VALUES if syntax.is_little_endian else VALUES.byteswap()
    dataset.PixelData = content.tobytes() + padding
    return saved(dataset, path.parent, path.name)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("size", [2, 128, 3_000_000])
def test_zeros_behind_the_last_pixel_are_padding(
    size: int, syntax: uid.UID, tmp_path: Path
) -> None:
    bare = padded(tmp_path / "bare.dcm", syntax, b"")
    longer = padded(tmp_path / "longer.dcm", syntax, bytes(size))
    assert np.array_equal(open_image(longer).values, VALUES)
    assert pixel_digest(longer) == pixel_digest(bare)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_what_else_lies_behind_the_last_pixel_puts_the_image_in_doubt(
    syntax: uid.UID, tmp_path: Path
) -> None:
    for padding in (b"\x01\x02", bytes(2_000_000) + b"\x01\x00"):
        path = padded(tmp_path / "more.dcm", syntax, padding)
        words = f"pixel data is {8192 + len(padding)} bytes long, expected 8192"
        with pytest.raises(Unreadable, match=words):
            open_image(path)


def test_too_few_pixels_are_not_made_up(tmp_path: Path) -> None:
    dataset = mammogram(VALUES)
    dataset.PixelData = VALUES.tobytes()[:-2]
    with pytest.raises(Unreadable, match="pixel data is 8190 bytes long, expected 8192"):
        open_image(saved(dataset, tmp_path))
