"""Small Digital Mammography objects made in memory; nobody's data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from node.study import IMAGE, Instance, Laterality, Unit, View

PATIENT = "Doe^Jane"
Values = NDArray[Any]


def mammogram(values: Values, **changes: Any) -> Dataset:
    """Return an uncompressed R CC of 12 bits in 16 that shows these values."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = (
        uid.DigitalMammographyXRayImageStorageForPresentation
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3.4")
    dataset.SOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName = PATIENT
    dataset.Modality = "MG"
    dataset.ImageLaterality = "R"
    dataset.PatientOrientation = ["P", "L"]
    dataset.ImagerPixelSpacing = [0.1, 0.1]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    is_byte = values.dtype.itemsize == 1
    dataset.BitsAllocated = 8 if is_byte else 16
    dataset.BitsStored = 8 if is_byte else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OB" if is_byte else "OW", content + b"\0" * (len(content) % 2))
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def encoded(values: Values, syntax: uid.UID) -> bytes:
    """Return the values as one frame of a compressed transfer syntax."""
    encode: dict[str, Callable[[Values], bytes | bytearray]] = {
        uid.RLELossless: run_lengths,
        uid.JPEGLossless: lambda v: imagecodecs.jpeg8_encode(
            v, lossless=True, predictor=6, bitspersample=12
        ),
        uid.JPEGLosslessSV1: lambda v: imagecodecs.jpeg8_encode(
            v, lossless=True, predictor=1, bitspersample=12
        ),
        uid.JPEGLSLossless: imagecodecs.jpegls_encode,
        uid.JPEG2000Lossless: lambda v: imagecodecs.jpeg2k_encode(
            v, codecformat="j2k", reversible=True, bitspersample=12
        ),
        uid.HTJ2KLossless: lambda v: imagecodecs.htj2k_encode(v, reversible=True),
    }
    return bytes(encode[syntax](values))


def run_lengths(values: Values) -> bytes:
    """Return an RLE frame (PS3.5 Annex G) of literal runs only, high bytes first."""
    planes = [(values >> 8).astype(np.uint8).tobytes(), (values & 255).astype(np.uint8).tobytes()]
    segments = [
        b"".join(
            bytes([len(piece) - 1]) + piece
            for piece in (plane[k : k + 128] for k in range(0, len(plane), 128))
        )
        for plane in planes
    ]
    segments = [segment + b"\x80" * (len(segment) % 2) for segment in segments]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(segments[0])
    return header.tobytes() + b"".join(segments)


def colours(values: Values, **changes: Any) -> Dataset:
    """Return an uncompressed RGB Secondary Capture of 8 bits; frames may come first."""
    frames, rows, columns = values.shape[:3] if values.ndim == 4 else (1, *values.shape[:2])
    dataset = mammogram(np.zeros((rows, columns), np.uint8))
    dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
    dataset.Modality = "OT"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration, dataset.NumberOfFrames = 0, frames
    content = values.tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def compressed(values: Values, syntax: uid.UID, frame: bytes | None = None) -> Dataset:
    """Return the object with its pixel data in a compressed transfer syntax."""
    dataset = mammogram(values)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([encoded(values, syntax) if frame is None else frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def saved(dataset: Dataset, folder: Path, name: str = "image.dcm") -> Path:
    """Write the object as a Part 10 file."""
    path = folder / name
    dataset.save_as(path, enforce_file_format=True)
    return path


def instance(path: Path) -> Instance:
    """Return the file as the rest of the node knows it, an R CC."""
    return Instance(
        study_uid="1.2.3",
        series_uid="1.2.3.1",
        sop_uid="1.2.3.4",
        sop_class=uid.DigitalMammographyXRayImageStorageForPresentation,
        transfer_syntax=uid.ExplicitVRLittleEndian,
        modality="MG",
        path=path,
        digest="0" * 64,
        view=View(Laterality.RIGHT, "CC"),
    )


def unit(path: Path) -> Unit:
    """Return the file as a model reads it."""
    return Unit({IMAGE: instance(path)}, "R CC")
