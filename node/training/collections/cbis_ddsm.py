"""CBIS-DDSM (Lee et al. 2017) as The Cancer Imaging Archive delivers it.

Four CSV files describe the abnormalities; a film has a line for each. Every film is a patient of
its own there, "Mass-Training_P_00001_LEFT_CC", and so is each cut-out and mask, with a number
behind; the woman is the P_00001 of the CSV. The NBIA Data Retriever makes a folder for each of
these patients, and below it one for the study and one for the series, named by their descriptions
or by their UIDs; names of files have changed over the years.

    mass_case_description_train_set.csv
    CBIS-DDSM/Mass-Training_P_00001_LEFT_CC/
        07-20-2016-DDSM-NA-74994/1.000000-full mammogram images-24515/1-1.dcm
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.dicom.header import read_header
from node.dicom.untrusted import text
from node.errors import ConfigError, Unreadable
from node.evaluation.labels import LabelRow, LabelTable, csv_lines, refuse, require_columns
from node.study import Laterality
from node.toml_file import shown

_NAME = "cbis-ddsm"
DESCRIPTION_FILES = tuple(
    f"{kind}_case_description_{part}_set.csv"
    for kind in ("mass", "calc")
    for part in ("train", "test")
)
"""The CSV files, which may lie anywhere in the folder, as may the images."""
MALIGNANT = "MALIGNANT"
PATHOLOGIES = ("BENIGN_WITHOUT_CALLBACK", "BENIGN", MALIGNANT)
"""From the least to the worst."""
FULL = "full mammogram images"
"""Series Description of a film, and a part of its folder's name."""
_COLUMNS = (
    *("path", "patient", "label", "side", "view"),
    *("set", "abnormality", "density", "assessment", "subtlety", "pathology"),
)
_REQUIRED = (
    *("patient_id", "left_or_right_breast", "image_view", "pathology", "image_file_path"),
    *("abnormality_type", "breast_density", "assessment", "subtlety"),
)
"""Columns that are read; blanks and underscores are one, for the files differ in that."""
_SIDES = {"LEFT": Laterality.LEFT, "RIGHT": Laterality.RIGHT}
_FILM = re.compile(r"(Mass|Calc)-(Training|Test)_(P_\d+)_(LEFT|RIGHT)_(CC|MLO)")


@dataclass(frozen=True, slots=True)
class _Described:
    """A line of a CSV file: an abnormality on a film."""

    source: str
    film: str
    """Patient ID of the film: "Mass-Training_P_00001_LEFT_CC"."""
    said_path: str
    """Where the CSV says the film is: its patient, study, series, and file."""
    woman: str
    side: Laterality
    projection: str
    columns: Mapping[str, str]

    @property
    def breast(self) -> tuple[str, Laterality]:
        """Whose it is, and which."""
        return self.woman, self.side


@dataclass(frozen=True, slots=True)
class _Found:
    """What lies in the folder."""

    descriptions: tuple[Path, ...]
    films: Mapping[str, Path]
    """The folder of each film, by its name."""


def read_cbis_ddsm(folder: Path) -> LabelTable:
    """Return the films as a table: 1 is a film of a breast in which something is malignant.

    A breast has films in several of the files if both a mass and calcifications were described.
    """
    found = _found(folder)
    if not found.descriptions:
        raise ConfigError(
            f"{folder}: none of {', '.join(DESCRIPTION_FILES)} is there; download them beside the "
            "images, from the page of CBIS-DDSM in The Cancer Imaging Archive"
        )
    described, problems = list[_Described](), list[str]()
    for path in found.descriptions:
        lines, amiss = _described(path)
        described += lines
        problems += amiss
    refuse(problems)
    problems += _missing(described, found, folder)
    refuse(problems)
    of_films = defaultdict[str, list[_Described]](list)
    for one in described:
        of_films[one.film].append(one)
    affected = {one.breast for one in described if one.columns["pathology"] == MALIGNANT}
    rows = list[LabelRow]()
    for number, (name, lines) in enumerate(of_films.items(), start=1):
        try:
            path = _file(found.films[name], lines[0].said_path)
        except Unreadable as error:
            problems.append(f"{lines[0].source}: {error}")
        else:
            rows.append(_row(number, path, lines, is_affected=lines[0].breast in affected))
    refuse(problems)
    return LabelTable(folder, _COLUMNS, tuple(rows), _NAME, found.descriptions)


def _found(folder: Path) -> _Found:
    """Look for the CSV files and the folders of films, wherever they are."""
    descriptions, films = dict[str, Path](), dict[str, Path]()
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in DESCRIPTION_FILES:
            if name in files:
                descriptions.setdefault(name, Path(place) / name)
        for name in [name for name in folders if _FILM.fullmatch(name)]:
            films.setdefault(name, Path(place) / name)
            folders.remove(name)
    known = [descriptions[name] for name in DESCRIPTION_FILES if name in descriptions]
    return _Found(tuple(known), films)


def _described(path: Path) -> tuple[list[_Described], list[str]]:
    """Return the lines of a CSV file, and what is wrong with them."""
    lines = csv_lines(path)
    number, header = next(lines, (1, []))
    columns = ["_".join(name.lower().replace("_", " ").split()) for name in header]
    require_columns(path, number, columns, _REQUIRED)
    described, problems = list[_Described](), list[str]()
    for line, cells in lines:
        source = f"{path}:{line}"
        if len(cells) != len(columns):
            problems.append(f"{source}: expected {len(columns)} cells, found {len(cells)}")
            continue
        said = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        if amiss := list(_amiss(said)):
            problems += [f"{source}: {words}" for words in amiss]
            continue
        described.append(
            _Described(
                source=source,
                film=said["image_file_path"].partition("/")[0],
                said_path=said["image_file_path"],
                woman=said["patient_id"],
                side=_SIDES[said["left_or_right_breast"]],
                projection=said["image_view"],
                columns=said,
            )
        )
    if not described and not problems:
        problems.append(f"{path}: there is no row below the names of the columns")
    return described, problems


def _amiss(said: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with a line."""
    for column, known in (
        ("left_or_right_breast", tuple(_SIDES)),
        ("image_view", ("CC", "MLO")),
        ("pathology", PATHOLOGIES),
    ):
        if said[column] not in known:
            yield f"{column}: expected one of {', '.join(known)}, found {shown(said[column])}"
    film = said["image_file_path"].partition("/")[0]
    read = _FILM.fullmatch(film)
    if read is None:
        yield (
            "image_file_path: expected one that begins as Mass-Training_P_00001_LEFT_CC/, found "
            f"{shown(said['image_file_path'])}"
        )
        return
    for column, words in zip(
        ("patient_id", "left_or_right_breast", "image_view"), read.groups()[2:], strict=True
    ):
        if said[column] != words:
            yield f"{column}: the film is {film}, found {shown(said[column])}"


def _missing(described: Sequence[_Described], found: _Found, folder: Path) -> Iterator[str]:
    """Yield for each CSV file how many of its films are not there."""
    of_file = defaultdict[str, dict[str, str]](dict)
    for one in described:
        of_file[one.source.rpartition(":")[0]].setdefault(one.film, one.source)
    for path, films in of_file.items():
        missing = [name for name in films if name not in found.films]
        if missing:
            what = f"{len(missing)} of {len(films)} films are" if len(films) > 1 else "the film is"
            yield (
                f"{path}: {what} not below {folder}, the first {missing[0]} "
                f"({films[missing[0]].rpartition('/')[2]}); download them, or take their lines out "
                "of the CSV"
            )


def _file(folder: Path, said_path: str) -> Path:
    """Return the film in its folder, or raise Unreadable."""
    as_said = folder.parent / said_path
    if as_said.is_file():
        return as_said
    files = sorted(path for path in folder.rglob("*.dcm") if path.is_file())
    full = [path for path in files if any(FULL in part for part in path.parts)]
    if len(full or files) > 1:
        full = [path for path in full or files if _is_full(path)]
    candidates = full or files
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise Unreadable(f"there is no file .dcm below {folder}; download it again")
    raise Unreadable(
        f"{len(candidates)} files below {folder} may be the film; leave the one whose Series "
        f'Description is "{FULL}"'
    )


def _is_full(path: Path) -> bool:
    return text(read_header(path), "SeriesDescription").lower() == FULL


def _row(number: int, path: Path, lines: Sequence[_Described], *, is_affected: bool) -> LabelRow:
    first = lines[0]
    worst = max((one.columns["pathology"] for one in lines), key=PATHOLOGIES.index)
    label = str(int(is_affected))
    kinds = sorted({one.columns["abnormality_type"] for one in lines})
    said = (
        *(path.name, first.woman, label, str(first.side), first.projection),
        "test" if "-Test_" in first.film else "training",
        " and ".join(kinds),
        first.columns["breast_density"],
        max(one.columns["assessment"] for one in lines),
        min(one.columns["subtlety"] for one in lines),
        worst,
    )
    return LabelRow(
        line=number,
        path=path,
        patient=first.woman,
        label=label,
        side=first.side,
        projection=first.projection,
        exam=first.woman,  # each film is a DICOM study of its own
        columns=dict(zip(_COLUMNS, said, strict=True)),
        source=first.source,
    )
