"""The table of the RSNA screening challenge of 2022 (Kaggle), with all or a part of its images.

`train.csv` has a line for each image: site, patient, image, laterality, view, age, cancer (of that
breast), biopsy, invasive, BIRADS, implant, density, machine, difficult_negative_case. Images lie
anywhere below the folder as `PATIENT/IMAGE.dcm`, as they are published, or as an export of them,
`PATIENT_IMAGE.png` or JPEG. Whoever made an export may have a table of its own beside it,
`labels.csv`, with the same columns in small letters and two more: `file`, and `inverted` where 0
is white.

A part of the images is usual, for the whole is some 300 GB: lines whose image is not there are left
out, and so are views that the node knows no code of (such as AT). How many is
logged. A table of which no image is there is an error.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigError
from node.evaluation.labels import LabelRow, LabelTable, csv_lines, refuse, require_columns
from node.study import Laterality
from node.toml_file import shown
from node.trial.phantom import PROJECTIONS

log = logging.getLogger(__name__)

_NAME = "rsna-screening"
RSNA_TABLES = ("train.csv", "labels.csv")
"""The first that is there."""
_REQUIRED = ("patient_id", "image_id", "laterality", "view", "cancer")
_TAKEN_AS = {
    "machine": "machine_id",
    "site": "site_id",
    "age": "age",
    "density": "density",
    "invasive": "invasive",
    "birads": "birads",
    "implant": "implant",
}
"""Columns here, and what they are in the table; all of them may be missing there."""
_COLUMNS = ("path", "patient", "label", "side", "view", *_TAKEN_AS)
_SUFFIXES = (".dcm", ".png", ".jpg", ".jpeg")
"""The first that is there; in small or capital letters."""
_SIDES = {"L": Laterality.LEFT, "R": Laterality.RIGHT}
_INVERTED = {"": False, "0": False, "1": True}


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    said: Mapping[str, str]

    @property
    def name(self) -> str:
        """What the image is called in an export."""
        return f"{self.said['patient_id']}_{self.said['image_id']}"


def read_rsna_screening(folder: Path) -> LabelTable:
    """Return the images that are there as a table: 1 is an image of a breast with cancer."""
    path = next((folder / name for name in RSNA_TABLES if (folder / name).is_file()), None)
    if path is None:
        raise ConfigError(
            f"{folder}: neither {' nor '.join(RSNA_TABLES)} is there; {RSNA_TABLES[0]} is on the "
            'page of the challenge, "RSNA Screening Mammography Breast Cancer Detection" at Kaggle'
        )
    lines, columns = _read_lines(path)
    images = _images_below(folder)
    found = [(line, _image_of(line, folder, images)) for line in lines]
    missing = [line for line, image in found if image is None]
    if len(missing) == len(found):
        raise ConfigError(
            f"{path}: none of its {len(found)} images is below {folder}: expected such as "
            f"{missing[0].name}.png or {missing[0].name.replace('_', '/')}.dcm"
        )
    there = [(line, image) for line, image in found if image is not None]
    known = [(line, image) for line, image in there if line.said["view"] in PROJECTIONS]
    if missing:
        log.warning("%s: %d of %d images are there", path, len(there), len(found))
    if len(known) < len(there):
        words = "%s: %d images are left out: the node knows no code of their view"
        log.warning(words, path, len(there) - len(known))
    refuse(list(_used_twice(path, known)))
    rows = tuple(_row(path, line, image) for line, image in known)
    is_said = {column: _TAKEN_AS.get(column, column) for column in _COLUMNS}
    kept = tuple(c for c in _COLUMNS if c not in _TAKEN_AS or is_said[c] in columns)
    return LabelTable(folder, kept, rows, _NAME, (path,))


def _read_lines(path: Path) -> tuple[list[_Line], tuple[str, ...]]:
    """Return the lines of the table and its columns, or raise ConfigError."""
    lines = csv_lines(path)
    number, header = next(lines, (1, []))
    columns = tuple(name.strip().lower() for name in header)
    require_columns(path, number, columns, _REQUIRED)
    read, problems = list[_Line](), list[str]()
    for number, cells in lines:
        source = f"{path}:{number}"
        if len(cells) != len(columns):
            problems.append(f"{source}: expected {len(columns)} cells, found {len(cells)}")
            continue
        said = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        problems += [f"{source}: {words}" for words in _amiss_with(said)]
        read.append(_Line(number, said))
    if not read and not problems:
        problems.append(f"{path}: there is no row below the names of the columns")
    refuse(problems)
    return read, columns


def _amiss_with(said: Mapping[str, str]) -> Iterator[str]:
    for column in ("patient_id", "image_id", "view"):
        if not said[column]:
            yield f"{column}: expected a value, found nothing"
    for column, known in (
        ("laterality", tuple(_SIDES)),
        ("cancer", ("0", "1")),
        ("inverted", tuple(_INVERTED)),
    ):
        if said.get(column, known[0]) not in known:
            expected = " or ".join(one for one in known if one)
            yield f"{column}: expected {expected}, found {shown(said[column])}"


def _images_below(folder: Path) -> dict[str, Path]:
    """Return the images by patient and image, "10006_462822612", however they are called."""
    found = dict[str, Path]()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(place) / file
            if path.suffix.lower() not in _SUFFIXES:
                continue
            name = path.stem if "_" in path.stem else f"{path.parent.name}_{path.stem}"
            before = found.get(name)
            if before is None or _preference(path) < _preference(before):
                found[name] = path
    return found


def _preference(path: Path) -> int:
    return _SUFFIXES.index(path.suffix.lower())


def _image_of(line: _Line, folder: Path, images: Mapping[str, Path]) -> Path | None:
    """Return the image of a line, where its own column says or where others are."""
    said = line.said.get("file", "")
    places = (folder / said, folder / "images" / said) if said else ()
    return next((path for path in places if path.is_file()), images.get(line.name))


def _used_twice(path: Path, found: Sequence[tuple[_Line, Path]]) -> Iterator[str]:
    first = dict[Path, int]()
    for line, image in found:
        before = first.setdefault(image, line.number)
        if before != line.number:
            yield f"{path}:{line.number}: the same image as in line {before}: {image}"


def _row(path: Path, line: _Line, image: Path) -> LabelRow:
    said, side = line.said, _SIDES[line.said["laterality"]]
    more = {
        column: _as_whole(said[source]) for column, source in _TAKEN_AS.items() if source in said
    }
    named = {
        "path": image.name,
        "patient": said["patient_id"],
        "label": said["cancer"],
        "side": str(side),
        "view": said["view"],
    }
    return LabelRow(
        line=line.number,
        path=image,
        patient=said["patient_id"],
        label=said["cancer"],
        side=side,
        projection=said["view"],
        exam=said["patient_id"],
        is_inverted=_INVERTED[said.get("inverted", "")],
        columns=named | more,
        source=f"{path}:{line.number}",
    )


def _as_whole(said: str) -> str:
    """Return whole numbers as such: the table has 68.0 for an age, and 0.0 for a BI-RADS."""
    whole = said.removesuffix(".0")
    return whole if whole.isdecimal() else said
