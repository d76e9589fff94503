"""A table of boxes around lesions (CSV) -> films and their boxes; a film -> what a network gets.

`path` (or `file`), `patient` (or `case`), `side`, `view`, `left`, `top`, `right`, `bottom`: edges
are fractions of the image, from its left and its top. A film with several lesions has a line for
each. Needs no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from node.errors import ConfigError
from node.evaluation.labels import csv_lines, refuse, require_columns
from node.imaging.components import eroded, largest_component
from node.imaging.grey import Float32
from node.imaging.resampling import resized
from node.manifest.pixels import Rank, Resize
from node.study import Laterality
from node.toml_file import shown

_OTHER_NAMES = {"file": "path", "case": "patient"}
_EDGES = ("left", "top", "right", "bottom")
_REQUIRED_OF_BOXES = ("path", "patient", "side", "view", *_EDGES)
_SIDES = {
    "R": Laterality.RIGHT,
    "RIGHT": Laterality.RIGHT,
    "L": Laterality.LEFT,
    "LEFT": Laterality.LEFT,
}

MARGIN_OF_FILM = 0.03
"""Of a film, at each edge: labels, tape, and the frame of the scanner."""
SHARE_OF_OTSU = 0.8
"""The breast of a film is what is brighter than this share of Otsu's threshold: skin is dark."""
EROSION_OF_FILM = 3 / 640
"""As a share of a film's longer side: what is thinner than twice that is no breast."""
EDGE_OF_FILM = 20 / 384
"""The chest wall is where more breast lies in this share of the columns."""


@dataclass(frozen=True, slots=True)
class LesionBox:
    """Fractions of an image, or of the breast that was cut out of it; from left and top."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class BoxedFilm:
    """A film with lesions."""

    path: Path
    patient: str
    side: Laterality
    projection: str
    boxes: tuple[LesionBox, ...]
    source: str
    """Where its first box stands: "boxes.csv:12"."""


@dataclass(frozen=True, slots=True)
class BoxedFilms:
    """A whole table."""

    path: Path
    films: tuple[BoxedFilm, ...]

    @property
    def sha256(self) -> str:
        """Of the table as it is."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class SeenFilm:
    """A film as a network gets it, its chest wall on the left."""

    ranks: Float32
    """(rows, columns): of grey values within the breast, above 0, to 1; 0 around it."""
    boxes: tuple[LesionBox, ...]
    """In fractions of it."""


def read_lesion_boxes(path: Path, folder: Path) -> BoxedFilms:
    """Read a table whose paths are relative to a folder, or to `images/` in it.

    Raise ConfigError with one line per problem.
    """
    lines = csv_lines(path)
    number, header = next(lines, (1, []))
    names = [name.strip().lower() for name in header]
    columns = tuple(
        name if _OTHER_NAMES.get(name, name) in names else _OTHER_NAMES.get(name, name)
        for name in names
    )
    require_columns(path, number, columns, _REQUIRED_OF_BOXES)
    films, problems = dict[Path, BoxedFilm](), list[str]()
    for line, cells in lines:
        source = f"{path}:{line}"
        if len(cells) != len(columns):
            problems.append(f"{source}: expected {len(columns)} cells, found {len(cells)}")
            continue
        said = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        image = _found(said["path"], folder)
        amiss = list(_amiss_in(said, image, folder))
        if amiss or image is None:
            problems += [f"{source}: {words}" for words in amiss]
            continue
        film = _film(said, image, source)
        before = films.setdefault(image, film)
        if before is not film:
            problems += [f"{source}: {words}" for words in _contradictions(before, film)]
            films[image] = _with_boxes(before, film.boxes)
    if not films and not problems:
        problems.append(f"{path}: there is no row below the names of the columns")
    refuse(problems)
    return BoxedFilms(path, tuple(films.values()))


def _found(said: str, folder: Path) -> Path | None:
    places = (folder / said, folder / "images" / said)
    return next((path for path in places if said and path.is_file()), None)


def _amiss_in(said: Mapping[str, str], image: Path | None, folder: Path) -> Iterator[str]:
    """Yield what is wrong with a line."""
    if image is None:
        yield f"path: expected an image below {folder} or its images/, found {shown(said['path'])}"
    if not said["patient"]:
        yield "patient: expected the same word for all films of a woman, found nothing"
    if said["side"].upper() not in _SIDES:
        yield f"side: expected R or L, found {shown(said['side'])}"
    if not said["view"]:
        yield "view: expected a projection such as CC, found nothing"
    yield from _amiss_with_edges(said)


def _amiss_with_edges(said: Mapping[str, str]) -> Iterator[str]:
    edges = dict[str, float]()
    for name in _EDGES:
        try:
            edges[name] = float(said[name])
        except ValueError:
            edges[name] = np.nan
        if not 0 <= edges[name] <= 1:
            yield f"{name}: expected a fraction of the image, 0 to 1, found {shown(said[name])}"
    for low, high in (("left", "right"), ("top", "bottom")):
        if edges[low] >= edges[high]:
            yield f"{high}: expected more than {low} ({said[low]}), found {said[high]}"


def _film(said: Mapping[str, str], image: Path, source: str) -> BoxedFilm:
    box = LesionBox(*(float(said[name]) for name in _EDGES))
    side = _SIDES[said["side"].upper()]
    return BoxedFilm(image, said["patient"], side, said["view"].upper(), (box,), source)


def _contradictions(one: BoxedFilm, other: BoxedFilm) -> Iterator[str]:
    for column, before, now in (
        ("patient", one.patient, other.patient),
        ("side", one.side, other.side),
        ("view", one.projection, other.projection),
    ):
        if before != now:
            yield f'{column}: the same file has "{before}" in {one.source}, found "{now}"'


def _with_boxes(film: BoxedFilm, more: tuple[LesionBox, ...]) -> BoxedFilm:
    return BoxedFilm(
        film.path, film.patient, film.side, film.projection, (*film.boxes, *more), film.source
    )


# --- pixels -----------------------------------------------------------------------------------


def seen_film(film: BoxedFilm, size: Resize, rank: Rank) -> SeenFilm:
    """Return a film cut to its breast, in the form that a recipe brings images to.

    A film has no black background, as an image of a detector has: the breast is the largest
    region of what is bright, without a margin. Raise ConfigError if there is none.
    """
    grey, (left, top, right, bottom) = _breast_of(film)
    cut = grey[top:bottom, left:right]
    cut = resized(cut, size.height, size.width, size.filter, size.antialias)
    ranks = _ranks(np.asarray(cut, np.float32), rank)
    height, width = grey.shape
    boxes = [
        LesionBox(
            *np.clip(
                [
                    (box.left * width - left) / (right - left),
                    (box.top * height - top) / (bottom - top),
                    (box.right * width - left) / (right - left),
                    (box.bottom * height - top) / (bottom - top),
                ],
                0,
                1,
            ).tolist()
        )
        for box in film.boxes
    ]
    if _is_chest_wall_on_the_right(ranks):
        ranks = np.ascontiguousarray(ranks[:, ::-1])
        boxes = [LesionBox(1 - one.right, one.top, 1 - one.left, one.bottom) for one in boxes]
    return SeenFilm(ranks, tuple(boxes))


def _breast_of(film: BoxedFilm) -> tuple[Float32, tuple[int, int, int, int]]:
    """Return a film of 0..1, black around the breast, and the box that the breast is in."""
    pixels = _pixels(film)
    height, width = pixels.shape
    rows, columns = round(MARGIN_OF_FILM * height), round(MARGIN_OF_FILM * width)
    within = pixels[rows : height - rows, columns : width - columns]
    bright = within > SHARE_OF_OTSU * otsu_threshold(within)
    found = largest_component(
        eroded(bright, max(1, round(EROSION_OF_FILM * max(height, width)))), 4
    )
    if found is None:
        raise ConfigError(
            f"{film.source}: no breast stands out from the background of {film.path}; take its "
            "lines out of the table"
        )
    mask = np.zeros(pixels.shape, bool)
    mask[rows : height - rows, columns : width - columns] = found.mask(within.shape)
    left, top, right, bottom = found.box
    box = left + columns, top + rows, right + columns, bottom + rows
    return np.asarray(np.where(mask, pixels, 0), np.float32) / np.float32(255), box


def _pixels(film: BoxedFilm) -> NDArray[np.uint8]:
    """Return a film in 256 steps."""
    try:
        with PIL.Image.open(film.path) as image:
            if image.mode.startswith("I;16"):
                return np.asarray(np.asarray(image) >> 8, np.uint8)
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ConfigError(f"{film.source}: {film.path} cannot be read: {error}") from error


def otsu_threshold(pixels: NDArray[np.uint8]) -> int:
    """Return the step that divides pixels best in two (Otsu 1979); it belongs to the darker."""
    counts = np.bincount(pixels.ravel(), minlength=256).astype(np.float64)
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    both = np.where(below * above > 0, below * above, np.inf)
    between = (sums[-1] * below / below[-1] - sums) ** 2 / both
    return int(np.argmax(between))


def _ranks(grey: Float32, rank: Rank) -> Float32:
    """Return ranks as op = "rank" of a manifest gives them; a cut film is one component."""
    inside = grey > rank.threshold
    ranks = np.zeros(grey.shape, np.float32)
    if not inside.any():
        return ranks
    _, which, counts = np.unique(grey[inside], return_inverse=True, return_counts=True)
    highest = np.cumsum(counts)
    lowest = highest - counts + 1
    of = {"highest": highest, "lowest": lowest, "average": (highest + lowest) / 2}[rank.ties]
    ranks[inside] = (of / len(which))[which]
    return ranks


def _is_chest_wall_on_the_right(ranks: Float32) -> bool:
    edge = max(1, round(EDGE_OF_FILM * ranks.shape[1]))
    return bool((ranks[:, -edge:] > 0).sum() > (ranks[:, :edge] > 0).sum())
