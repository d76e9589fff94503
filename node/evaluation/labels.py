"""A table of labelled images (CSV) -> rows, or a ConfigError with one line per problem.

Of breast MRI a row is of a study, and its path the folder of that.

A line reads `labels.csv:12: side: expected R or L, found "X"`. Columns that mean nothing here are
there to break the figures down by.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from node.errors import ConfigError
from node.study import Laterality
from node.toml_file import did_you_mean, shown
from node.trial.phantom import PROJECTIONS

REQUIRED = ("path", "patient", "label")
KNOWN_COLUMNS = (
    *REQUIRED,
    *("side", "view", "exam", "bits", "spacing_mm", "chest_wall", "inverted"),
)
"""Columns that mean something here; every other one is there to break down by."""
MOST_PROBLEMS = 20
"""So many are told at once."""

_SIDES = {
    "R": Laterality.RIGHT,
    "RIGHT": Laterality.RIGHT,
    "L": Laterality.LEFT,
    "LEFT": Laterality.LEFT,
}


@dataclass(frozen=True, slots=True)
class LabelRow:
    """What the table says of one image, or of a study in a folder."""

    line: int
    path: Path
    patient: str
    label: str
    side: Laterality | None = None
    """Of an image file it must be given, a DICOM object says it itself; as all that follows."""
    projection: str = ""
    exam: str = ""
    bits: int | None = None
    """How many of the 16 bits of an image file are used."""
    spacing_mm: float | None = None
    """At the detector."""
    chest_wall: str = ""
    """The side of the picture it is on, "left" or "right"; "": where it is of a modality."""
    is_inverted: bool = False
    """Of an image file: whether 0 is white (MONOCHROME1)."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """All that stands in the row, by column."""
    source: str = ""
    """Where it stands, if that is not this line of the table: "mass.csv:12"."""


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A whole file, or what the files of a collection say together."""

    path: Path
    """The file, or the folder of a collection."""
    columns: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    name: str
    """What reports call it."""
    sources: tuple[Path, ...]
    """The files that it was read from."""

    @property
    def sha256(self) -> str:
        """Of all that its files hold, one behind the other."""
        digest = hashlib.sha256()
        for path in self.sources:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def place(self, row: LabelRow) -> str:
        """Return where a row stands."""
        return row.source or f"{self.path}:{row.line}"

    def problem(self, row: LabelRow, words: str) -> str:
        """Return a line about a row."""
        return f"{self.place(row)}: {words}"


def read_labels(path: Path, folder: Path) -> LabelTable:
    """Read a table whose paths are relative to a folder."""
    lines = csv_lines(path)
    number, header = next(lines, (1, []))
    if not header:
        raise ConfigError(
            f"{path}: is empty; begin with a line such as {','.join(KNOWN_COLUMNS[:5])}"
        )
    columns = tuple(name.strip().lower() for name in header)
    require_columns(path, number, columns, REQUIRED)
    rows, problems = list[LabelRow](), list[str]()
    for line, cells in lines:
        if len(cells) != len(columns):
            problems.append(f"{path}:{line}: expected {len(columns)} cells, found {len(cells)}")
            continue
        values = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        row, found = _row(line, values, folder)
        rows += [row] if row else []
        problems += [f"{path}:{line}: {words}" for words in found]
    problems += [f"{path}:{line}: {words}" for line, words in _named_twice(rows)]
    if not rows and not problems:
        problems.append(f"{path}: there is no row below the names of the columns")
    refuse(problems)
    return LabelTable(path, columns, tuple(rows), path.name, (path,))


def labelled_by(table: LabelTable, column: str) -> LabelTable:
    """Return a table whose labels are what another of its columns says."""
    if column not in table.columns:
        known = did_you_mean(column, table.columns)
        raise ConfigError(f"--label {column}: {table.name} has no such column, {known}")
    refuse(
        [
            table.problem(row, f"{column}: expected a label, found nothing")
            for row in table.rows
            if not row.columns.get(column)
        ]
    )
    rows = tuple(replace(row, label=row.columns[column]) for row in table.rows)
    return replace(table, rows=rows)


def refuse(problems: Sequence[str]) -> None:
    """Raise ConfigError if there are problems, and tell the first of them."""
    if problems:
        left = len(problems) - MOST_PROBLEMS
        more = [f"and {left} more"] if left > 0 else []
        raise ConfigError("\n".join([*problems[:MOST_PROBLEMS], *more]))


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a CSV file that say something, with their numbers."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text, save it as CSV in UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)  # spreadsheets of many countries write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield before + 1, cells
            before = reader.line_num
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def require_columns(path: Path, line: int, columns: Sequence[str], required: Sequence[str]) -> None:
    """Raise ConfigError unless all that are required are there, and each is there once."""
    problems = []
    for name in required:
        if name not in columns:
            near = did_you_mean(name, columns)
            problems.append(f"{path}:{line}: no column {name}; {near}")
    problems += [
        f"{path}:{line}: two columns are called {name}"
        for name in dict.fromkeys(columns)
        if columns.count(name) > 1
    ]
    refuse(problems)


def _row(line: int, values: Mapping[str, str], folder: Path) -> tuple[LabelRow | None, list[str]]:
    """Return a row, or what is wrong with it."""
    problems = [
        f"{name}: expected {what}, found nothing"
        for name, what in (
            ("path", f"an image below {folder}"),
            ("patient", "whose image it is, the same word for all of one patient"),
            ("label", "0 or 1, or a name"),
        )
        if not values[name]
    ]
    path = folder / values["path"]
    if values["path"] and not (path.is_file() or path.is_dir()):
        problems.append(f"path: there is no file {path}")
    read = dict[str, Any]()
    for column, (name, how, expected) in _READERS.items():
        if said := values.get(column, ""):
            try:
                read[name] = how(said)
            except (KeyError, ValueError):
                problems.append(f"{column}: expected {expected}, found {shown(said)}")
    if problems:
        return None, problems
    patient, label, exam = values["patient"], values["label"], values.get("exam", "")
    return LabelRow(line, path, patient, label, exam=exam, columns=dict(values), **read), []


_YES_OR_NO = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _known_projection(said: str) -> str:
    projection = said.upper()
    if projection not in PROJECTIONS:
        raise ValueError
    return projection


def _bits(said: str) -> int:
    if not (said.isdecimal() and 9 <= int(said) <= 16):
        raise ValueError
    return int(said)


def _spacing(said: str) -> float:
    if not (re.fullmatch(r"\d*\.?\d+", said) and 0.001 <= float(said) <= 10):
        raise ValueError
    return float(said)


_READERS: Mapping[str, tuple[str, Callable[[str], object], str]] = {
    "side": ("side", lambda said: _SIDES[said.upper()], "R or L"),
    "view": ("projection", _known_projection, f"one of {', '.join(PROJECTIONS)}"),
    "bits": ("bits", _bits, "how many bits of 16 are used, 9 to 16"),
    "spacing_mm": ("spacing_mm", _spacing, "the size of a pixel in mm, such as 0.07"),
    "chest_wall": (
        "chest_wall",
        lambda said: {"left": "left", "right": "right"}[said.lower()],
        "left or right",
    ),
    "inverted": ("is_inverted", lambda said: _YES_OR_NO[said.lower()], "1 if 0 is white, else 0"),
}
"""Columns that may be left out: the field of LabelRow, how they are read, and what is expected."""


def _named_twice(rows: Sequence[LabelRow]) -> Iterator[tuple[int, str]]:
    first = dict[Path, LabelRow]()
    for row in rows:
        known = first.setdefault(row.path.resolve(), row)
        if known is not row:
            yield row.line, f"path: the same file as in line {known.line}"
