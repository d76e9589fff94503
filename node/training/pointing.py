"""Whether a package's heat map points at lesions: malignant films of mini-MIAS, and their circles.

    python -m node.training.pointing PACKAGE MINI_MIAS_FOLDER

On each film with a circle around something malignant, the middle of the warmest cell lies in a
circle, or it does not. Beside it how much of the breast the circles cover: so often a random point
would. A heat map ships only if the lower end of the interval of the difference is above 0.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node.errors import ConfigError, NodeError, StudyError
from node.evaluation.collection import LabelledExam, collect, given
from node.evaluation.measures import (
    Array,
    DrawWeights,
    Flags,
    Measured,
    WeightedMeasure,
    with_intervals,
)
from node.evaluation.report import in_percent
from node.imaging.operations import Prepared
from node.inference.inputs import prepared_image
from node.inference.onnx import Graph
from node.manifest import Model, ScoreOutput
from node.training.collections.mini_mias import Circle, read_mias_films, read_mini_mias


@dataclass(frozen=True, slots=True)
class PointedFilm:
    """A film with something malignant, and where the heat map is the warmest."""

    woman: int
    is_hit: bool
    share: float
    """Of the breast, as the network sees it, that lies in a circle: 0..1."""


@dataclass(frozen=True, slots=True)
class PointingFigures:
    """How often the heat map points at lesions."""

    films: int
    women: int
    left_out: int
    """Films with a circle that the node gives to no network."""
    hits: Measured
    by_chance: Measured
    difference: Measured

    @property
    def is_better_than_chance(self) -> bool:
        """Whether the lower end of the difference is above 0."""
        return self.difference.interval is not None and self.difference.interval[0] > 0


def pointing_figures(model: Model, folder: Path) -> PointingFigures:
    """Measure a package's heat map, or raise ConfigError if it has none."""
    films = list(_pointed(model, folder))
    there = [film for film in films if film is not None]
    women = np.array([film.woman for film in there], np.int64)
    hits = np.array([film.is_hit for film in there], np.float64)
    shares = np.array([film.share for film in there], np.float64)

    found = with_intervals(
        {
            "hits": _mean_of(hits),
            "chance": _mean_of(shares),
            "difference": _mean_of(hits - shares),
        },
        women,
    )
    return PointingFigures(
        films=len(there),
        women=len({*women.tolist()}),
        left_out=len(films) - len(there),
        hits=found["hits"],
        by_chance=found["chance"],
        difference=found["difference"],
    )


def _mean_of(values: Array) -> WeightedMeasure:
    def measure(weights: DrawWeights) -> Array:
        return np.asarray((weights @ values) / weights.sum(axis=1))

    return measure


def _pointed(model: Model, folder: Path) -> Iterator[PointedFilm | None]:
    """Yield each film with a malignant circle; None if the node gives it to no network."""
    tensor = _heat_map_of(model)
    graph = Graph(model.weights_path)
    circles = {
        film.number: circles
        for film in read_mias_films(folder)
        if (circles := [a.circle for a in film.abnormalities if a.is_malignant and a.circle])
    }
    table = read_mini_mias(folder)
    for exam in collect(table, model.manifest, lambda: None):
        for image in exam.images:
            if image.row.line not in circles:
                continue
            found = _prepared(exam, image.row.line, model)
            if found is None:
                yield None
                continue
            cells = graph.answers({graph.inputs[0].name: found.tensor})[tensor][0, 0]
            yield _film(image.row.line, cells, found, circles[image.row.line])


def _heat_map_of(model: Model) -> str:
    for output in model.manifest.outputs:
        if isinstance(output, ScoreOutput) and output.heat_map is not None:
            return output.heat_map.tensor
    raise ConfigError(f"{model.folder}: gives no heat map: [output.heat_map] is not there")


def _prepared(exam: LabelledExam, line: int, model: Model) -> Prepared | None:
    """Return what the node would give a network of a film."""
    with tempfile.TemporaryDirectory(prefix="ai-node-pointing-") as folder:
        taken = given(exam, model.manifest.input, Path(folder))
        instances = taken.version.instances if taken.version is not None else ()
        for one in instances:
            if one.sop_uid == taken.sop_uids.get(line):
                try:
                    return prepared_image(one.path, one.view, model.manifest)[1]
                except StudyError:
                    return None
    return None


def _film(number: int, cells: Array, found: Prepared, circles: Sequence[Circle]) -> PointedFilm:
    assert found.grid is not None
    height, width = found.tensor.shape[2:]
    row, column = np.unravel_index(int(np.argmax(cells)), cells.shape)
    warmest = np.array(
        [[(column + 0.5) * width / cells.shape[1], (row + 0.5) * height / cells.shape[0]]]
    )
    rows, columns = np.nonzero(found.tensor[0, 0] > 0)
    breast = found.grid.places(np.column_stack((columns + 0.5, rows + 0.5)))
    is_inside = _is_in(breast, circles)
    return PointedFilm(
        woman=(number + 1) // 2,
        is_hit=bool(_is_in(found.grid.places(warmest), circles)[0]),
        share=float(is_inside.mean()) if len(is_inside) else 0.0,
    )


def _is_in(points: Array, circles: Sequence[Circle]) -> Flags:
    inside = np.zeros(len(points), np.bool_)
    for circle in circles:
        inside |= np.hypot(points[:, 0] - circle.x, points[:, 1] - circle.y) <= circle.radius
    return inside


def pointing_words(found: PointingFigures) -> Iterator[str]:
    """Yield it in sentences."""
    yield (
        f"{found.films} films of {found.women} women with a circle around something malignant; "
        f"{found.left_out} more are given to no network."
    )
    yield f"The warmest cell lies in a circle: {in_percent(found.hits)} of films."
    yield f"A random point of the breast would: {in_percent(found.by_chance)}."
    yield f"Difference: {in_percent(found.difference)}."
    verdict = "more often than" if found.is_better_than_chance else "not shown to be better than"
    yield f"It is {verdict} chance."


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m node.training.pointing", description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("mini_mias", type=Path, help="the folder with Info.txt")
    asked = parser.parse_args()
    try:
        for line in pointing_words(pointing_figures(Model(asked.package), asked.mini_mias)):
            print(line)  # noqa: T201 - it is a command
    except NodeError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
