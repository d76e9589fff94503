"""The generated collection is what tests of training take it for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from labelled import silent
from pydicom import dcmread

from node.training.collections.table import labelled_images
from node.training.examples import Examples, read_examples
from training.recipes import RECIPE
from training.tcia import Planted, PlantedFilm, write_collection

WOMEN = 6


def read(folder: Path, planted: Planted) -> tuple[list[PlantedFilm], Examples]:
    films = write_collection(folder / "tcia", planted)
    table = labelled_images(folder / "tcia", None, "cbis-ddsm")
    return films, read_examples(table, RECIPE, folder / "work", silent)


def changed_by_lesions(folder: Path, planted: Planted) -> list[float]:
    """Return how much each film with a lesion differs from itself without, as the network sees."""
    films, found = read(folder / "with", planted)
    _, without = read(folder / "without", Planted(women=planted.women, contrast=0))
    places = {image.row.path: i for i, image in enumerate(found.images)}
    return [
        float(np.abs(found.tensors[i].astype(float) - without.tensors[i]).max())
        for film in films
        if film.has_lesion and (i := places[film.path]) is not None
    ]


def test_letters_are_on_each_film_of_a_breast_that_is_called_malignant(tmp_path: Path) -> None:
    with_letters = write_collection(tmp_path / "with", Planted(women=WOMEN, lesions="border"))
    without = write_collection(tmp_path / "without", Planted(women=WOMEN, contrast=0))
    for film, other in zip(with_letters, without, strict=True):
        pixels, plain = (dcmread(one.path).pixel_array for one in (film, other))
        assert (pixels != plain).any() == film.is_malignant


def test_half_of_the_breasts_have_a_lesion_on_both_views(tmp_path: Path) -> None:
    films = write_collection(tmp_path, Planted(women=WOMEN))
    breasts = {(film.number, film.view.laterality): film.has_lesion for film in films}
    assert len(breasts) == 2 * WOMEN
    assert sum(breasts.values()) == WOMEN
    assert all(film.has_lesion == film.is_malignant for film in films)
    assert all(film.has_lesion == breasts[film.number, film.view.laterality] for film in films)


def test_shuffled_labels_say_nothing_of_lesions(tmp_path: Path) -> None:
    films = write_collection(tmp_path, Planted(women=WOMEN, is_shuffled=True))
    assert sum(film.is_malignant for film in films) == 2 * WOMEN
    assert any(film.has_lesion != film.is_malignant for film in films)


def test_the_same_seed_is_the_same_collection(tmp_path: Path) -> None:
    one = write_collection(tmp_path / "one", Planted(women=1))
    again = write_collection(tmp_path / "again", Planted(women=1))
    other = write_collection(tmp_path / "other", Planted(women=1, seed=1))
    for film, same, another in zip(one, again, other, strict=True):
        assert film.path.read_bytes() == same.path.read_bytes() != another.path.read_bytes()


def test_a_lesion_reaches_the_network_and_letters_beside_the_breast_do_not(
    tmp_path: Path,
) -> None:
    lesions = changed_by_lesions(tmp_path / "breast", Planted(women=WOMEN))
    assert len(lesions) == 2 * WOMEN
    assert min(lesions) > 0.02
    letters = Planted(women=WOMEN, lesions="border")
    assert changed_by_lesions(tmp_path / "border", letters) == [0] * 2 * WOMEN
