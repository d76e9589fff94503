"""mini-MIAS (Suckling et al. 1994) as it is published: Info.txt, and a file for each film.

322 films of 161 women, MLO alone, 1024 x 1024 pixels of 0.2 mm. Films lie beside Info.txt or in
`images/`, as mdb001.pgm or as PNG with the same values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigError
from node.evaluation.labels import LabelRow, LabelTable, refuse
from node.study import Laterality

_NAME = "mini-mias"
INFO = "Info.txt"
_HEIGHT_PX = 1024
_SPACING_MM = 0.2
_COLUMNS = ("path", "patient", "label", "side", "view", "density", "abnormality", "severity")
_FOLDERS = ("images", ".")
_SUFFIXES = (".png", ".pgm")
_LINE = re.compile(
    r"mdb(?P<number>\d{3})\s+(?P<density>[FGD])\s+(?P<abnormality>[A-Z]{4})"
    r"(\s+(?P<severity>[BM])(\s+(?P<x>\d+)\s+(?P<y>\d+)\s+(?P<radius>\d+)|\s+\*NOTE 3\*)?)?\s*"
)


@dataclass(frozen=True, slots=True)
class Circle:
    """Where an abnormality was marked, in pixels of the film as published."""

    x: float
    y: float
    """From the top; Info.txt counts from the bottom."""
    radius: float


@dataclass(frozen=True, slots=True)
class Abnormality:
    """What a line of Info.txt says of a film that is not normal."""

    kind: str
    """CALC, CIRC, SPIC, MISC, ARCH or ASYM."""
    is_malignant: bool
    circle: Circle | None
    """None where it is spread over the film."""


@dataclass(frozen=True, slots=True)
class MiasFilm:
    """A film, and what the collection says of it."""

    number: int
    line: int
    """The first of Info.txt that is about it."""
    density: str
    """F, G or D."""
    abnormalities: tuple[Abnormality, ...]

    @property
    def woman(self) -> int:
        """Two films are of one woman, whose number this is."""
        return (self.number + 1) // 2

    @property
    def side(self) -> Laterality:
        """Even numbers are left breasts, odd ones right (Info.txt, note 1)."""
        return Laterality.LEFT if self.number % 2 == 0 else Laterality.RIGHT

    @property
    def is_malignant(self) -> bool:
        """Whether one of its abnormalities is."""
        return any(one.is_malignant for one in self.abnormalities)


def read_mias_films(folder: Path) -> list[MiasFilm]:
    """Return the films that Info.txt lists, each once, or raise ConfigError."""
    path = folder / INFO
    try:
        text = path.read_text("latin-1")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); it comes with mini-MIAS, and says what "
            "each film shows"
        ) from error
    found, problems = dict[int, MiasFilm](), list[str]()
    for line, words in enumerate(text.splitlines(), start=1):
        if not words.startswith("mdb"):
            continue
        read = _LINE.fullmatch(words)
        if read is None:
            problems.append(
                f'{path}:{line}: expected a line such as "mdb028 F CIRC M 338 314 56", found '
                f'"{words[:60].strip()}"'
            )
            continue
        number = int(read["number"])
        before = found.get(number) or MiasFilm(number, line, read["density"], ())
        more = tuple(_abnormality(read))
        found[number] = MiasFilm(
            number, before.line, before.density, (*before.abnormalities, *more)
        )
    if not found and not problems:
        problems.append(f'{path}: lists no film; its lines begin as "mdb001 G CIRC B 535 425 197"')
    refuse(problems)
    return list(found.values())


def _abnormality(read: re.Match[str]) -> Iterator[Abnormality]:
    if read["severity"] is None:
        return
    circle = None
    if read["x"] is not None:
        circle = Circle(float(read["x"]), _HEIGHT_PX - float(read["y"]), float(read["radius"]))
    yield Abnormality(read["abnormality"], read["severity"] == "M", circle)


def read_mini_mias(folder: Path) -> LabelTable:
    """Return the films as a table: 1 is a film with something malignant."""
    films = read_mias_films(folder)
    paths = {film.number: _path(folder, film.number) for film in films}
    missing = [number for number, path in paths.items() if path is None]
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(
            f"{folder}: mdb{missing[0]:03d} is missing{more}: expected a file .png or .pgm for "
            f"each film of {INFO}, beside it or in images/"
        )
    rows = tuple(
        _row(film, path, folder / INFO)
        for film in films
        if (path := paths[film.number]) is not None
    )
    return LabelTable(folder, _COLUMNS, rows, _NAME, (folder / INFO,))


def _path(folder: Path, number: int) -> Path | None:
    names = (folder / f / f"mdb{number:03d}{suffix}" for f in _FOLDERS for suffix in _SUFFIXES)
    return next((path for path in names if path.is_file()), None)


def _row(film: MiasFilm, path: Path, info: Path) -> LabelRow:
    label = str(int(film.is_malignant))
    woman = f"woman {film.woman:03d}"
    severity = "M" if film.is_malignant else "B" if film.abnormalities else "none"
    kinds = dict.fromkeys(one.kind for one in film.abnormalities)
    said = (path.name, woman, label, str(film.side), "MLO")
    return LabelRow(
        line=film.number,
        path=path,
        patient=woman,
        label=label,
        side=film.side,
        projection="MLO",
        spacing_mm=_SPACING_MM,
        columns=dict(
            zip(
                _COLUMNS,
                (*said, f"MIAS-{film.density}", " ".join(kinds) or "NORM", severity),
                strict=True,
            )
        ),
        source=f"{info}:{film.line}",
    )
