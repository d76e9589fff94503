"""Whether an image lost something to compression before it came."""

from __future__ import annotations

from pydicom import Dataset, uid

from node.dicom.untrusted import numbers, text

WITH_LOSS = "Compressed with loss"


_ALWAYS_LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)


_PERHAPS_LOSSY = (uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def compressed_with_loss(header: Dataset) -> str:
    """Return in words that an image lost something to compression, or may have, or "".

    By Lossy Image Compression (0028,2110) and what belongs to it, and where these are silent or
    wrong by the transfer syntax, of which some allow both.
    """
    syntax = text(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
    is_said = text(header, "LossyImageCompression") == "01" or any(
        ratio > 1 for ratio in numbers(header, "LossyImageCompressionRatio")
    )
    if is_said or syntax in _ALWAYS_LOSSY:
        return WITH_LOSS
    return "Perhaps compressed with loss" if syntax in _PERHAPS_LOSSY else ""
