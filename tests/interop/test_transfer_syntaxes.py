"""Images in every transfer syntax, written by others and read by others too.

The table in docs/transfer-syntaxes.md is what these tests find: with
TRANSFER_SYNTAXES=docs/transfer-syntaxes.md in the environment (and in one process) they write it.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset, dcmread, uid
from pydicom._uid_dict import UID_dictionary
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID
from small_images import mammogram, saved

from node.errors import Unreadable
from node.imaging.decoding import END_OF_IMAGE
from node.imaging.image import open_image

from .programs import dcmtk, program
from .tables import DocumentTable

pytestmark = pytest.mark.interop

DOCUMENT = Path(__file__).parents[2] / "docs" / "transfer-syntaxes.md"
DOCUMENT_TO_WRITE = os.environ.get("TRANSFER_SYNTAXES")
HEAD = (
    *("transfer syntax", "bits", "written by", "read by", "pixels", "two frames"),
    *("cut off", "begins wrong", "wrong within: noticed"),
)

Steps = NDArray[np.int64]
"""Values as steps above the lowest that can be stored."""
Written = tuple[str, Callable[["Sample", Path, int], Path]]
"""Who encodes a sample so many times over as the frames of one object, and how."""
Read = tuple[str, Callable[[Path, "Sample"], Steps | None]]
"""Who decodes, and how; None for what they do not decode rightly."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An image of some depth, from its lowest value to its highest."""

    bits: int
    is_signed: bool = False
    photometric: str = "MONOCHROME2"

    def __str__(self) -> str:
        words = [str(self.bits)]
        words += ["signed"] * self.is_signed
        words += [self.photometric] * (self.photometric != "MONOCHROME2")
        return " ".join(words)

    @property
    def lowest(self) -> int:
        return -(1 << self.bits - 1) if self.is_signed else 0

    @property
    def highest_step(self) -> int:
        return (1 << self.bits) - 1

    @property
    def steps(self) -> Steps:
        """Soft tissue with noise, the extremes in it, an odd number of pixels."""
        rows, columns = np.mgrid[:61, :47]
        soft = (np.sin(columns / 9) + np.cos(rows / 7) + 2) / 4
        noise = np.random.default_rng(self.bits).normal(0, 0.004, soft.shape)
        highest = self.highest_step
        steps: Steps = np.clip((soft + noise) * highest, 0, highest).astype(np.int64)
        steps[1, 1], steps[-1, -1] = 0, highest
        return steps

    @property
    def values(self) -> NDArray[Any]:
        width = "1" if self.bits <= 8 else "2"
        kind = "i" if self.is_signed else "u"
        return np.asarray(self.steps + self.lowest, dtype=kind + width)

    def from_container(self, container: NDArray[Any]) -> Steps:
        """Turn what is stored, whatever is in the bits above Bits Stored, into steps."""
        steps = container.astype(np.int64) & self.highest_step
        return steps ^ (1 << self.bits - 1) if self.is_signed else steps

    def dataset(self, frames: int) -> Dataset:
        """Return an uncompressed mammogram that shows the image in each of its frames."""
        values = self.values
        dataset = mammogram(values, BitsStored=self.bits, HighBit=self.bits - 1)
        dataset.PhotometricInterpretation = self.photometric
        dataset.NumberOfFrames = frames
        content = values.tobytes() * frames
        dataset.PixelData = content + b"\0" * (len(content) % 2)
        return dataset


# Those who write


def by_dcmtk(tool: str, *options: str) -> Written:
    def write(sample: Sample, folder: Path, frames: int) -> Path:
        saved(sample.dataset(frames), folder, "plain.dcm")
        dcmtk(tool, *options, folder / "plain.dcm", folder / "written.dcm")
        return folder / "written.dcm"

    return "dcmtk", write


def by_library(
    name: str, syntax: UID, encode: Callable[[NDArray[Any], int], bytes | bytearray]
) -> Written:
    def write(sample: Sample, folder: Path, frames: int) -> Path:
        dataset = sample.dataset(frames)
        code = bytes(encode(sample.values, sample.bits))
        return saved(encapsulated(dataset, syntax, [code] * frames), folder, "written.dcm")

    return name, write


def encapsulated(dataset: Dataset, syntax: UID, frames: list[bytes]) -> Dataset:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def jpeg_lossless(syntax: UID, predictor: int) -> Written:
    def encode(values: NDArray[Any], bits: int) -> bytes | bytearray:
        if values.dtype.kind == "i":
            values, bits = values.view(f"u{values.itemsize}"), values.itemsize * 8
        return imagecodecs.jpeg8_encode(
            values, lossless=True, predictor=predictor, bitspersample=bits
        )

    return by_library("libjpeg-turbo", syntax, encode)


def jpeg_2000(syntax: UID, **options: Any) -> Written:
    return by_library(
        "OpenJPEG",
        syntax,
        lambda values, bits: imagecodecs.jpeg2k_encode(
            values, codecformat="j2k", bitspersample=bits, **options
        ),
    )


def ht_jpeg_2000(syntax: UID, **options: Any) -> Written:
    return by_library(
        "OpenJPH", syntax, lambda values, _: imagecodecs.htj2k_encode(values, **options)
    )


# Those who read


def with_dcmtk(tool: str) -> Read:
    """Let dcmtk decode, and write the samples into a file of their own."""

    def read(path: Path, sample: Sample) -> Steps:
        folder = path.parent / "raw"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        dcmtk(tool, *(["+te"] if tool == "dcmconv" else []), path, path.with_suffix(".decoded"))
        dcmtk("dcmdump", "-q", "+W", folder, path.with_suffix(".decoded"))
        (raw,) = folder.iterdir()
        return sample.from_container(samples_of(raw.read_bytes(), path, sample))

    return "dcmtk", read


def with_ffmpeg(codec: str, *, is_unsigned: bool = False) -> Read:
    """Let FFmpeg decode, which moves samples up to the highest of 16 bits.

    Its lossless JPEG is not made for samples whose differences wrap around, as signed ones do.
    """

    def read(path: Path, sample: Sample) -> Steps | None:
        if is_unsigned and sample.is_signed:
            return None
        code = path.with_suffix(".code")
        code.write_bytes(frame_of(dcmread(path)))
        options = f"-v error -f image2 -c:v {codec} -i {code} -f rawvideo -".split()
        raw = subprocess.run([program("ffmpeg"), *options], capture_output=True, check=True)
        precision, is_signed = precision_of(code.read_bytes())
        samples = samples_of(raw.stdout, path, sample)
        if samples.itemsize == 2:
            samples = samples >> (16 - precision)
        if is_signed:  # it has lifted them all above 0
            return samples.astype(np.int64) - (1 << precision - 1) - sample.lowest
        return sample.from_container(samples)

    return "FFmpeg (unsigned)" if is_unsigned else "FFmpeg", read


def precision_of(code: bytes) -> tuple[int, bool]:
    """Return the bits of a sample of a code, and whether the code itself says they are signed."""
    if code.startswith(b"\xff\x4f\xff\x51"):
        return (code[42] & 0x7F) + 1, bool(code[42] & 0x80)
    frame = re.search(rb"\xff[\xc0\xc3\xf7]\x00", code)
    assert frame is not None
    return code[frame.start() + 4], False


def with_openjph(path: Path, sample: Sample) -> Steps:
    """Let OpenJPH decode; what a lossy code overshoots is the highest value, or the lowest."""
    values = imagecodecs.htj2k_decode(frame_of(dcmread(path))).astype(np.int64)
    return np.clip(values - sample.lowest, 0, sample.highest_step)


def with_pydicom(path: Path, sample: Sample) -> Steps:
    return sample.from_container(dcmread(path).pixel_array)


def samples_of(raw: bytes, path: Path, sample: Sample) -> NDArray[Any]:
    header = dcmread(path, stop_before_pixels=True)
    width = "u1" if sample.bits <= 8 else "<u2"
    count = header.Rows * header.Columns
    return np.frombuffer(raw, width, count=count).reshape(header.Rows, header.Columns)


def frame_of(dataset: FileDataset) -> bytes:
    count = int(dataset.get("NumberOfFrames") or 1)
    return next(generate_frames(dataset.PixelData, number_of_frames=count))


# What is tried


DEEP = tuple(Sample(bits) for bits in (8, 10, 12, 14, 16))
INVERTED = Sample(12, photometric="MONOCHROME1")
ALL = (*DEEP, Sample(12, is_signed=True), Sample(16, is_signed=True), INVERTED)


@dataclass(frozen=True, slots=True)
class Syntax:
    """A transfer syntax, who writes it and who reads it besides the node."""

    uid: UID
    writers: tuple[Written, ...]
    readers: tuple[Read, ...]
    samples: tuple[Sample, ...] = ALL
    within: int | None = None
    """By how much two decoders of a lossy code may differ; None if it is lossless."""
    loss: float = 0.0
    """By which share of the range an image may differ from what was encoded."""
    foreign: dict[str, str] = field(default_factory=dict)
    """Files of pydicom's that others made, each with one of the same pixels, or "" for none."""


NATIVE = with_dcmtk("dcmconv")
JPEG = with_dcmtk("dcmdjpeg")
LOSSLESS_JPEG = (JPEG, with_ffmpeg("mjpeg", is_unsigned=True))
JPEG_LS = (with_dcmtk("dcmdjpls"), with_ffmpeg("jpegls"))
JPEG_2000 = (with_ffmpeg("jpeg2000"),)
HT = (("OpenJPH", with_openjph),)
MR = "MR_small.dcm"

SYNTAXES = (
    Syntax(
        uid.ImplicitVRLittleEndian,
        (by_dcmtk("dcmconv", "+ti"),),
        (NATIVE,),
        foreign={"MR_small_implicit.dcm": MR},
    ),
    Syntax(uid.ExplicitVRLittleEndian, (by_dcmtk("dcmconv", "+te"),), (NATIVE,)),
    Syntax(
        uid.DeflatedExplicitVRLittleEndian,
        (by_dcmtk("dcmconv", "+td"),),
        (NATIVE,),
        foreign={"image_dfl.dcm": ""},
    ),
    Syntax(
        uid.ExplicitVRBigEndian,
        (by_dcmtk("dcmconv", "+tb"),),
        (NATIVE,),
        foreign={"MR_small_bigendian.dcm": MR},
    ),
    Syntax(
        uid.RLELossless,
        (by_dcmtk("dcmcrle"),),
        (with_dcmtk("dcmdrle"), ("pydicom", with_pydicom)),
        foreign={"MR_small_RLE.dcm": MR},
    ),
    Syntax(
        uid.JPEGBaseline8Bit,
        (by_dcmtk("dcmcjpeg", "+eb", "+un"),),
        (JPEG, with_ffmpeg("mjpeg")),
        (Sample(8), Sample(8, photometric="MONOCHROME1")),
        within=1,
        loss=0.05,
    ),
    Syntax(
        uid.JPEGExtended12Bit,
        (by_dcmtk("dcmcjpeg", "+ee", "+un"),),
        (JPEG,),
        (Sample(8), Sample(12), INVERTED),
        within=1,
        loss=0.05,
        foreign={"JPGExtended.dcm": "", "JPEG-lossy.dcm": ""},
    ),
    Syntax(
        uid.JPEGLossless,
        (
            *(by_dcmtk("dcmcjpeg", "+el", "+sv", str(value)) for value in range(1, 8)),
            jpeg_lossless(uid.JPEGLossless, predictor=7),
        ),
        LOSSLESS_JPEG,
    ),
    Syntax(
        uid.JPEGLosslessSV1,
        (by_dcmtk("dcmcjpeg", "+e1"), jpeg_lossless(uid.JPEGLosslessSV1, predictor=1)),
        LOSSLESS_JPEG,
    ),
    Syntax(
        uid.JPEGLSLossless,
        (by_dcmtk("dcmcjpls", "+el"),),
        JPEG_LS,
        foreign={"MR_small_jpeg_ls_lossless.dcm": MR},
    ),
    Syntax(
        uid.JPEGLSNearLossless,
        (by_dcmtk("dcmcjpls", "+en", "+md", "2", "+un"),),
        JPEG_LS,
        DEEP,
        within=0,
        loss=2 / 255,
        foreign={"JPEGLSNearLossless_08.dcm": "", "JPEGLSNearLossless_16.dcm": ""},
    ),
    Syntax(
        uid.JPEG2000Lossless,
        (jpeg_2000(uid.JPEG2000Lossless, reversible=True),),
        JPEG_2000,
        foreign={"MR_small_jp2klossless.dcm": MR},
    ),
    Syntax(
        uid.JPEG2000,
        (jpeg_2000(uid.JPEG2000, level=60),),
        JPEG_2000,
        within=2,
        loss=0.02,
        foreign={"693_J2KI.dcm": "", "JPEG2000.dcm": ""},
    ),
    Syntax(uid.HTJ2KLossless, (ht_jpeg_2000(uid.HTJ2KLossless, reversible=True),), HT),
    Syntax(
        uid.HTJ2KLosslessRPCL,
        (ht_jpeg_2000(uid.HTJ2KLosslessRPCL, reversible=True, tlm=True),),
        HT,
    ),
    Syntax(uid.HTJ2K, (ht_jpeg_2000(uid.HTJ2K, level=0.0001),), HT, DEEP[:4], within=1, loss=0.02),
)


def title(syntax: UID) -> str:
    """Return how the document calls a transfer syntax."""
    words = ("High-Throughput ", "HT-"), (" Image Compression", ""), (", Non-Hierarchical", "")
    name = syntax.name
    for long, short in (*words, (", First-Order Prediction", "")):
        name = name.replace(long, short)
    return f"{name}<br>{syntax}"


ROWS = [title(syntax.uid) for syntax in SYNTAXES]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.uid.keyword)
def test_pixels_are_those_that_others_read_and_what_is_broken_is_refused(
    syntax: Syntax, tmp_path: Path
) -> None:
    for sample in syntax.samples:
        for _, write in syntax.writers:
            read_like_others(syntax, sample, write(sample, tmp_path, 1))
    for name, same in syntax.foreign.items():
        read_like_others_made(syntax, name, same, tmp_path)
    row = (
        title(syntax.uid),
        ", ".join(map(str, syntax.samples)),
        ", ".join(dict.fromkeys(name for name, _ in syntax.writers))
        + (", unknown programs" if syntax.foreign else ""),
        ", ".join(name for name, _ in syntax.readers),
        pixels_words(syntax),
        two_frames(syntax, tmp_path),
        "<br>".join(dict.fromkeys(cut_off(syntax, tmp_path))),
        *damaged(syntax, tmp_path),
    )
    if DOCUMENT_TO_WRITE:
        DocumentTable(Path(DOCUMENT_TO_WRITE), HEAD).write(row, ROWS)
    assert DocumentTable(DOCUMENT, HEAD).rows()[row[0]] == row


def test_the_document_has_a_row_for_every_transfer_syntax_and_no_other() -> None:
    assert list(DocumentTable(DOCUMENT, HEAD).rows()) == ROWS


OTHERS = sorted(
    other
    for other, (_, kind, *_) in UID_dictionary.items()
    if kind == "Transfer Syntax"
    and UID(other).is_encapsulated
    and other not in {syntax.uid for syntax in SYNTAXES}
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: UID(other).keyword or other)
def test_every_other_encapsulated_syntax_is_refused_by_name(other: str, tmp_path: Path) -> None:
    code = imagecodecs.jpegls_encode(Sample(12).values)
    path = saved(encapsulated(Sample(12).dataset(1), UID(other), [bytes(code)]), tmp_path)
    with pytest.raises(Unreadable, match="which this node does not decode"):
        open_image(path)


# What is found


def read_like_others(syntax: Syntax, sample: Sample, path: Path) -> None:
    assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax.uid
    ours = open_image(path).values.astype(np.int64)
    if syntax.within is None:
        assert np.array_equal(ours, sample.steps), sample
    allowed = syntax.loss * sample.highest_step
    assert np.abs(ours - sample.steps).max() <= allowed, sample
    compare(syntax, sample, path, ours)


def compare(syntax: Syntax, sample: Sample, path: Path, ours: Steps) -> None:
    """Compare what the node reads with what each of the others reads."""
    for name, read in syntax.readers:
        theirs = read(path, sample)
        if theirs is not None:
            assert np.abs(ours - theirs).max() <= (syntax.within or 0), (path.name, name)


def read_like_others_made(syntax: Syntax, name: str, same: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(file_of_pydicom(name).read_bytes())
    header = dcmread(path, stop_before_pixels=True)
    sample = Sample(header.BitsStored, is_signed=header.PixelRepresentation == 1)
    ours = open_image(path).values.astype(np.int64)
    assert np.ptp(ours) > 0
    compare(syntax, sample, path, ours)
    if same:
        assert np.array_equal(ours, open_image(file_of_pydicom(same)).values)


def file_of_pydicom(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), name
    return Path(path)


def pixels_words(syntax: Syntax) -> str:
    if syntax.within is None:
        return "all as written"
    return f"within {syntax.within} of theirs" if syntax.within else "all as theirs"


def two_frames(syntax: Syntax, folder: Path) -> str:
    _, write = syntax.writers[0]
    return outcome(write(syntax.samples[0], folder, 2))


def outcome(path: Path) -> str:
    try:
        open_image(path)
    except Unreadable as error:
        return str(error)
    return "read"


def cut_off(syntax: Syntax, folder: Path) -> Iterator[str]:
    """Cut the file in its pixel data; and the code, or the values, in a file that is whole."""
    _, write = syntax.writers[0]
    path = write(deep(syntax), folder, 1)
    start, end = code_in(path)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: start + int((end - start) * share)])
        yield refused(path)
    path.write_bytes(whole)
    for share in (0.5, 0.9, 0.99):
        dataset = dcmread(path)
        if syntax.uid.is_encapsulated:
            frame = frame_of(dataset)
            short = frame[: int(len(frame) * share)]
            ending = b"" if syntax.uid == uid.RLELossless else END_OF_IMAGE
            encapsulated(dataset, syntax.uid, [short + ending])
        else:
            dataset.PixelData = dataset.PixelData[: int(len(dataset.PixelData) * share) // 2 * 2]
        yield refused(saved(dataset, folder, "cut.dcm"))


def refused(path: Path) -> str:
    words = outcome(path)
    assert words != "read", path
    return " ".join("N" if word.isdigit() else word for word in words.split())


def deep(syntax: Syntax) -> Sample:
    """Return the sample that leaves no unused bits, which could show a damage."""
    return max(syntax.samples, key=lambda sample: sample.bits)


def damaged(syntax: Syntax, folder: Path) -> tuple[str, str]:
    """Overwrite the first bytes of the code; and eight bytes in it, at many places."""
    _, write = syntax.writers[0]
    path = write(deep(syntax), folder, 1)
    start, end = code_in(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:start] + bytes(16) + whole[start + 16 :])
    if not (syntax.uid.is_encapsulated or syntax.uid.is_deflated):
        assert outcome(path) == "read"
        return "other values", "never"
    begins_wrong = refused(path)
    random = np.random.default_rng(5)
    noticed = 0
    for at in random.integers(start + (end - start) // 4, end - 20, 40):
        path.write_bytes(whole[:at] + random.bytes(8) + whole[at + 8 :])
        noticed += outcome(path) != "read"
    return begins_wrong, "mostly" if noticed > 30 else "at times" if noticed > 15 else "seldom"


def code_in(path: Path) -> tuple[int, int]:
    """Return where in a file the encoded pixels begin and end."""
    content = path.read_bytes()
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_deflated:
        return 144 + int.from_bytes(content[140:144], "little"), len(content)
    is_encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    code = frame_of(dataset) if is_encapsulated else dataset.PixelData
    start = content.index(code)
    return start, start + len(code)
