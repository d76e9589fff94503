"""A small generated collection, laid out as The Cancer Imaging Archive delivers CBIS-DDSM.

Four CSV files, and DICOM objects as its films are: Secondary Captures of Modality MG with the view
in Patient Orientation, each under a patient and a study of its own. Half of the breasts have a
faint lesion, at one depth from the chest wall on CC and MLO; they are called malignant.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
from factories import SMALL
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from node.identity import stable_uid
from node.study import Laterality, View
from node.trial import phantom
from node.trial.phantom import Technique

Grey = NDArray[np.uint16]
"""Shape (rows, columns), all 16 bits used."""
_ALIKE = (
    *("left or right breast", "image view", "abnormality id", "abnormality type"),
    *("assessment", "pathology", "subtlety"),
    *("image file path", "cropped image file path", "ROI mask file path"),
)
COLUMNS = {
    "mass": ("patient_id", "breast_density", *_ALIKE, "mass shape", "mass margins"),
    "calc": ("patient_id", "breast density", *_ALIKE, "calc type", "calc distribution"),
}
"""Of the CSV files, which differ; their order is another there, and says nothing."""
KINDS = (("mass", "Training"), ("calc", "Training"), ("mass", "Test"), ("calc", "Test"))
"""Which file and which folders a woman's films are in, one woman after the other."""
_SIDES = {Laterality.LEFT: "LEFT", Laterality.RIGHT: "RIGHT"}


@dataclass(frozen=True, slots=True)
class Planted:
    """What the collection is of."""

    women: int = 40
    technique: Technique = SMALL
    lesions: Literal["breast", "border"] = "breast"
    """border: bright letters outside of the breast instead, as a machine writes them."""
    contrast: float = 0.16
    """By how much the middle of a lesion is brighter, of white."""
    radius_mm: float = 6.0
    is_shuffled: bool = False
    """Whether pathology is dealt out anew, so that there is nothing to learn."""
    duplicate: Literal["", "exact", "jpeg"] = ""
    """A film of the first woman is there again, under the name of another one."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PlantedFilm:
    """A film of the collection."""

    number: int
    """Of the woman, from 1."""
    view: View
    has_lesion: bool
    is_malignant: bool
    """As the CSV says."""
    path: Path

    @property
    def woman(self) -> str:
        """What the CSV calls her."""
        return f"P_{self.number:05d}"


@dataclass(frozen=True, slots=True)
class _Breast:
    number: int
    side: Laterality
    has_lesion: bool
    is_malignant: bool
    depth: float
    """Of the lesion from the chest wall, of the columns."""
    below: float
    """Of the lesion from the upper edge, of the rows."""


def write_collection(folder: Path, planted: Planted = Planted()) -> list[PlantedFilm]:
    """Write the collection, and return its films."""
    random = np.random.default_rng(planted.seed)
    breasts = list(_breasts(planted, random))
    lines = {(kind, part): list[dict[str, str]]() for kind, part in KINDS}
    films = list[PlantedFilm]()
    for one in breasts:
        kind, part = KINDS[(one.number - 1) % len(KINDS)]
        for projection in ("CC", "MLO"):
            view = View(one.side, projection)
            grey = film_of(one, view, planted)
            film, of_film = _written(folder, grey, one, view, (kind, part))
            films.append(film)
            lines[kind, part] += of_film
    if planted.duplicate:
        film, of_film = _duplicate(folder, films[0], breasts[0], planted)
        films.append(film)
        lines[KINDS[0]] += of_film
    for (kind, part), rows in lines.items():
        _write_csv(folder, kind, part, rows)
    return films


def _breasts(planted: Planted, random: np.random.Generator) -> Iterator[_Breast]:
    """Yield the breasts: half of them, drawn at random, with a lesion."""
    count = 2 * planted.women
    has_lesion = random.permutation(count) < count // 2
    is_malignant = random.permutation(has_lesion) if planted.is_shuffled else has_lesion
    for i in range(count):
        yield _Breast(
            number=i // 2 + 1,
            side=(Laterality.LEFT, Laterality.RIGHT)[i % 2],
            has_lesion=bool(has_lesion[i]),
            is_malignant=bool(is_malignant[i]),
            depth=float(random.uniform(0.2, 0.4)),
            below=float(random.uniform(0.5, 0.68)),
        )


def film_of(one: _Breast, view: View, planted: Planted) -> Grey:
    """Return the film of a breast in a projection."""
    technique = planted.technique
    study = f"planted {planted.seed} {one.number}"
    (made,) = phantom.exam(study, [view], technique=technique)
    values = made.pixel_array * _unevenness(one, view, planted)
    if one.has_lesion and planted.lesions == "breast":
        values += _lesion(one, planted) * phantom.breast(view, technique)
    if one.has_lesion and planted.lesions == "border":
        _write_letters(values, one.side)
    return (np.clip(values, 0, 4095) * 16).astype(np.uint16)


def _unevenness(one: _Breast, view: View, planted: Planted) -> NDArray[np.float64]:
    """Return by what to multiply: what is dense in one woman is not in another."""
    words = f"{planted.seed} {one.number} {view}"
    seed = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
    knots = np.random.default_rng(seed).uniform(0.75, 1.25, (6, 5)).astype(np.float32)
    size = (planted.technique.columns, planted.technique.rows)
    smooth = PIL.Image.fromarray(knots).resize(size, PIL.Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float64)


def _lesion(one: _Breast, planted: Planted) -> NDArray[np.float64]:
    """Return what a lesion adds: a hill without an edge, so that no filter finds it by that."""
    technique = planted.technique
    y, x = np.ogrid[0 : technique.rows, 0 : technique.columns]
    column = one.depth * technique.columns
    if one.side is Laterality.RIGHT:
        column = technique.columns - column
    squared = (x - column) ** 2 + (y - one.below * technique.rows) ** 2
    width = planted.radius_mm / technique.spacing_mm / 1.5
    return np.asarray(planted.contrast * 4095 * np.exp(-squared / (2 * width**2)))


_LETTERS = ("1010", "1110", "1010", "1010")


def _write_letters(values: NDArray[np.float64], side: Laterality) -> None:
    """Write bright letters into the upper corner away from the chest wall."""
    columns = values.shape[1]
    dot = max(2, columns // 64)
    letters = np.array([[int(dot) for dot in line] for line in _LETTERS])
    drawn = np.kron(letters, np.ones((dot, dot))) * 4095
    left = columns - drawn.shape[1] - dot if side is Laterality.LEFT else dot
    values[dot : dot + drawn.shape[0], left : left + drawn.shape[1]] = drawn


def _duplicate(
    folder: Path, film: PlantedFilm, one: _Breast, planted: Planted
) -> tuple[PlantedFilm, list[dict[str, str]]]:
    grey = film_of(one, film.view, planted)
    if planted.duplicate == "jpeg":
        buffer = io.BytesIO()
        PIL.Image.fromarray((grey >> 8).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        grey = np.asarray(PIL.Image.open(buffer)).astype(np.uint16) * 257
    again = _Breast(
        planted.women + 1, one.side, one.has_lesion, one.is_malignant, one.depth, one.below
    )
    return _written(folder, grey, again, film.view, KINDS[0])


# --- as the archive delivers it ---------------------------------------------------------------


def _written(
    folder: Path, grey: Grey, one: _Breast, view: View, kind: tuple[str, str]
) -> tuple[PlantedFilm, list[dict[str, str]]]:
    """Write a film and the mask of its abnormality, and return it with its lines."""
    woman = f"P_{one.number:05d}"
    name = f"{kind[0].capitalize()}-{kind[1]}_{woman}_{_SIDES[one.side]}_{view.projection}"
    film = _object(name, view, "full mammogram images", grey)
    path = _saved(folder, name, film, "1-1.dcm")
    mask = _object(f"{name}_1", view, "ROI mask images", np.zeros((8, 8), np.uint16))
    mask_path = _saved(folder, f"{name}_1", mask, "1-2.dcm")
    line = {
        "patient_id": woman,
        "left or right breast": _SIDES[one.side],
        "image view": view.projection,
        "abnormality id": "1",
        "abnormality type": "mass" if kind[0] == "mass" else "calcification",
        "assessment": "5" if one.is_malignant else "3",
        "pathology": "MALIGNANT" if one.is_malignant else "BENIGN",
        "subtlety": "2",
        "image file path": _said_path(film),
        "cropped image file path": f"{_said_path(mask)}\n",  # as some lines there end
        "ROI mask file path": _said_path(mask),
    }
    line["breast_density" if kind[0] == "mass" else "breast density"] = str(1 + one.number % 4)
    lines = [line]
    if one.number % 3 == 0:  # a film may have several
        second = {"abnormality id": "2", "pathology": "BENIGN_WITHOUT_CALLBACK"}
        lines.append(line | second | {"assessment": "2"})
    assert mask_path != path
    return PlantedFilm(one.number, view, one.has_lesion, one.is_malignant, path), lines


def _said_path(dataset: Dataset) -> str:
    """Return where the CSV says an object is, which was so once."""
    uids = f"{dataset.StudyInstanceUID}/{dataset.SeriesInstanceUID}"
    return f"{dataset.PatientID}/{uids}/000000.dcm"


def _saved(folder: Path, name: str, dataset: Dataset, file: str) -> Path:
    number = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16)
    series = f"1.000000-{dataset.SeriesDescription}-{number}"
    path = folder / "CBIS-DDSM" / name / f"07-20-2016-DDSM-NA-{number}" / series / file
    path.parent.mkdir(parents=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _object(name: str, view: View, series: str, grey: Grey) -> Dataset:
    """Return an object as the archive's are."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = stable_uid(name, series, "instance")
    dataset.StudyDate, dataset.StudyTime = "20160720", "120000"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.Modality, dataset.ConversionType = "MG", "WSD"
    dataset.SeriesDescription = series
    dataset.PatientName, dataset.PatientID = name, name
    dataset.PatientBirthDate, dataset.PatientSex = "", ""
    dataset.BodyPartExamined = "BREAST"
    dataset.StudyInstanceUID = stable_uid(name, "study")
    dataset.SeriesInstanceUID = stable_uid(name, series, "series")
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "DDSM", 1, 1
    dataset.PatientOrientation = view.projection
    dataset.Laterality = view.laterality.value
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = grey.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelData = grey.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _write_csv(folder: Path, kind: str, part: str, rows: Sequence[dict[str, str]]) -> None:
    """Write a file of descriptions, if any woman is in it."""
    name = f"{kind}_case_description_{'train' if part == 'Training' else 'test'}_set.csv"
    if not rows:
        return
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS[kind], restval="")
        writer.writeheader()
        writer.writerows(rows)
