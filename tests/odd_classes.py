"""Objects of SOP classes that are no images for any model: each function changes one object."""

from __future__ import annotations

from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import UID

STANDALONE_OVERLAY = UID("1.2.840.10008.5.1.4.1.1.8")
HANGING_PROTOCOL = UID("1.2.840.10008.5.1.4.38.1")
PRIVATE_CLASS = UID("1.2.826.0.1.3680043.8.498.4711.1")


def private_class(content: bytes) -> bytes:
    """SOP Class UID of a private class."""
    return _of_class(content, PRIVATE_CLASS)


def retired_class(content: bytes) -> bytes:
    """SOP Class UID of a retired class (Standalone Overlay Storage)."""
    return _of_class(content, STANDALONE_OVERLAY)


def hanging_protocol(content: bytes) -> bytes:
    """A Hanging Protocol, which is of no study."""
    dataset = dcmread(BytesIO(_of_class(content, HANGING_PROTOCOL)))
    del dataset.StudyInstanceUID
    del dataset.SeriesInstanceUID
    return _written(dataset)


def _of_class(content: bytes, sop_class: UID) -> bytes:
    dataset = dcmread(BytesIO(content))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    return _written(dataset)


def _written(dataset: Dataset) -> bytes:
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()
