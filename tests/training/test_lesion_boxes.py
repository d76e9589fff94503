"""Tables of boxes around lesions, and what becomes of a film. No torch is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from node.errors import ConfigError
from node.manifest.pixels import Rank, Resize
from node.study import Laterality
from node.training.lesion_boxes import (
    BoxedFilm,
    LesionBox,
    otsu_threshold,
    read_lesion_boxes,
    seen_film,
)
from node.training.recipe import default_recipe
from training.boxes import HEADER, HEIGHT, SPOT, WIDTH, write_films
from training.recipes import RECIPE, SIZE

FORM = RECIPE.form_of_films
LINE = "0.png,case 0,L,CC,0.1,0.2,0.3,0.4"


def problems(folder: Path, *lines: str, header: str = ",".join(HEADER)) -> list[str]:
    path = folder / "boxes.csv"
    path.write_text("\n".join([header, *lines]) + "\n", "utf-8")
    with pytest.raises(ConfigError) as raised:
        read_lesion_boxes(path, folder)
    return [line.replace(f"{folder}/", "") for line in str(raised.value).split("\n")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_films(tmp_path, 2)
    return tmp_path


def test_a_line_is_a_film_and_a_box(folder: Path) -> None:
    left, right = read_lesion_boxes(folder / "boxes.csv", folder).films

    assert left.path == folder / "images" / "0.png"
    assert (left.patient, left.side, left.projection) == ("case 0", Laterality.LEFT, "CC")
    assert left.source == f"{folder}/boxes.csv:2"
    (box,) = left.boxes
    assert box.right - box.left == pytest.approx(SPOT / WIDTH, abs=1e-3)
    assert box.bottom - box.top == pytest.approx(SPOT / HEIGHT, abs=1e-3)
    assert right.side is Laterality.RIGHT


def test_columns_may_be_called_as_in_tables_of_labels(folder: Path) -> None:
    text = (folder / "boxes.csv").read_text("utf-8").replace("file,case", "Path,Patient")
    (folder / "boxes.csv").write_text(text.replace("0.png", "images/0.png"), "utf-8")

    assert len(read_lesion_boxes(folder / "boxes.csv", folder).films) == 2


def test_two_lines_of_a_film_are_two_boxes_of_it(folder: Path) -> None:
    path = folder / "boxes.csv"
    path.write_text("\n".join([",".join(HEADER), LINE, LINE.replace("0.1,0.2", "0.2,0.3")]))

    (film,) = read_lesion_boxes(path, folder).films

    assert film.boxes == (LesionBox(0.1, 0.2, 0.3, 0.4), LesionBox(0.2, 0.3, 0.3, 0.4))


def test_all_that_is_wrong_with_boxes_is_told_with_its_line(folder: Path) -> None:
    found = problems(
        folder,
        LINE,
        LINE.replace("case 0", "case 1"),
        "x.png,,X,,0.5,0.2,0.3,1.4",
        "0.png,case 0,L,CC,0.1,0.2",
    )

    assert found == [
        'boxes.csv:3: patient: the same file has "case 0" in boxes.csv:2, found "case 1"',
        f'boxes.csv:4: path: expected an image below {folder} or its images/, found "x.png"',
        "boxes.csv:4: patient: expected the same word for all films of a woman, found nothing",
        'boxes.csv:4: side: expected R or L, found "X"',
        "boxes.csv:4: view: expected a projection such as CC, found nothing",
        'boxes.csv:4: bottom: expected a fraction of the image, 0 to 1, found "1.4"',
        "boxes.csv:4: right: expected more than left (0.5), found 0.3",
        "boxes.csv:5: expected 8 cells, found 6",
    ]
    assert problems(folder) == ["boxes.csv: there is no row below the names of the columns"]
    assert problems(folder, LINE, header="file,case,side,view,left,top,right,bottm") == [
        'boxes.csv:1: no column bottom; did you mean "bottm"?'
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_a_film_is_cut_to_its_breast_with_its_chest_wall_on_the_left(
    number: int, folder: Path
) -> None:
    film = read_lesion_boxes(folder / "boxes.csv", folder).films[number]
    assert FORM is not None

    seen = seen_film(film, *FORM)

    assert seen.ranks.shape == SIZE
    assert seen.ranks.dtype == np.float32
    assert (seen.ranks[:, :8] > 0).mean() > 0.7
    assert (seen.ranks[:, -8:] > 0).mean() < 0.6
    assert 0.99 < seen.ranks.max() <= 1
    inside = seen.ranks[seen.ranks > 0]
    assert inside.mean() == pytest.approx(0.5, abs=0.01), "ranks are even"
    (box,) = seen.boxes
    rows, columns = np.array([box.top, box.bottom]), np.array([box.left, box.right])
    top, bottom = (rows * SIZE[0]).astype(int)
    left, right = (columns * SIZE[1]).astype(int)
    assert seen.ranks[top + 1 : bottom, left + 1 : right].mean() > 0.9, "the spot is in the box"


def test_a_film_without_a_breast_is_refused(folder: Path) -> None:
    film = read_lesion_boxes(folder / "boxes.csv", folder).films[0]
    PIL.Image.fromarray(np.zeros((100, 80), np.uint8)).save(film.path)
    assert FORM is not None

    with pytest.raises(ConfigError, match=r"boxes.csv:2: no breast stands out .*0.png"):
        seen_film(film, *FORM)
    film.path.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"boxes.csv:2: .*0.png cannot be read"):
        seen_film(film, *FORM)


def test_16_bits_are_seen_as_8(folder: Path) -> None:
    film = read_lesion_boxes(folder / "boxes.csv", folder).films[0]
    assert FORM is not None
    before = seen_film(film, *FORM)
    pixels = np.asarray(PIL.Image.open(film.path), np.uint16)
    path = folder / "deep.png"
    PIL.Image.fromarray(pixels * 256 + 3).save(path)
    deep = BoxedFilm(path, film.patient, film.side, film.projection, film.boxes, "here")

    assert np.array_equal(seen_film(deep, *FORM).ranks, before.ranks)


def test_otsu_divides_two_heaps_between_them() -> None:
    random = np.random.default_rng(1)
    heaps = [random.normal(40, 5, 3000), random.normal(160, 10, 1000)]
    pixels = np.concatenate(heaps).astype(np.uint8)

    assert 55 <= otsu_threshold(pixels) <= 130
    assert otsu_threshold(np.full(10, 7, np.uint8)) == 0


def test_the_default_operations_give_the_form_of_films() -> None:
    form = default_recipe("x").form_of_films

    assert form is not None
    size, rank = form
    assert isinstance(size, Resize)
    assert isinstance(rank, Rank)
    assert (size.height, size.width, rank.threshold) == (640, 384, 0.05)
