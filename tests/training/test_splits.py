"""Who learns and who is measured: no woman is in two places, under whatever name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import silent
from numpy.typing import NDArray
from pydicom import dcmread

from node.errors import ConfigError
from node.evaluation.labels import LabelRow, LabelTable
from node.study import Laterality
from node.training.collections.table import labelled_images
from node.training.examples import Example, Examples, Tensors, read_examples
from node.training.recipe import Folds
from node.training.splits import (
    Half,
    divide,
    duplicates,
    fold_of,
    half_of,
    refuse_duplicates,
    require_apart,
)
from training.recipes import RECIPE
from training.tcia import Planted, write_collection

NAMES = st.text(min_size=1, max_size=8)
WOMEN = st.lists(NAMES, unique=True, min_size=1, max_size=40)
FOLDS = st.builds(Folds, count=st.integers(2, 8), salt=st.text(max_size=5))


def made(
    women: Sequence[str],
    labels: Sequence[float] = (),
    reductions: NDArray[np.float32] | None = None,
    digests: Sequence[str] = (),
) -> Examples:
    """Return examples, one for each name; their images are noise if nothing is said of them."""
    rows = [
        LabelRow(line, Path(f"{line}.png"), woman, "1") for line, woman in enumerate(women, start=2)
    ]
    images = tuple(
        Example(
            row=row,
            exam=i + 1,
            woman=woman,
            side=Laterality.LEFT,
            projection="CC",
            pixel_digest=digests[i] if digests else str(i),
            label=labels[i] if labels else float(i % 2),
        )
        for i, (row, woman) in enumerate(zip(rows, women, strict=True))
    )
    if reductions is None:
        random = np.random.default_rng(0)
        reductions = random.random((len(women), 32, 32)).astype(np.float32)
    table = LabelTable(Path("labels.csv"), (), tuple(rows), "labels.csv", ())
    tensors = Tensors(np.zeros((len(women), 1, 2, 2), np.uint8), range(len(women)))
    return Examples(table, images, tensors, reductions, ())


def all_halves(women: Sequence[str], folds: Folds) -> Examples:
    """Return examples of these women and of as many others as each half needs."""
    found = list(women)
    missing = {(fold, half) for fold in range(folds.count) for half in Half}
    missing -= {(fold_of(woman, folds), half_of(woman, folds)) for woman in women}
    number = 0
    while missing:
        name = f"another {number}"
        place = fold_of(name, folds), half_of(name, folds)
        if place in missing:
            missing.remove(place)
            found.append(name)
        number += 1
    twice = [woman for woman in found for _ in range(2)]
    return made(twice, [0.0, 1.0] * len(found))


@given(WOMEN, FOLDS)
@settings(max_examples=examples(150))
def test_a_woman_is_in_one_half_of_one_fold(women: list[str], folds: Folds) -> None:
    found = all_halves(women, folds)
    division = divide(found, folds)
    parts = {
        f"{fold} {half}": [found.images[i] for i in division.kept_back(fold, half)]
        for fold in range(folds.count)
        for half in Half
    }
    require_apart(parts)
    assert sum(map(len, parts.values())) == len(found.images)
    for fold in range(folds.count):
        learnt = {found.images[i].woman for i in division.others(fold)}
        measured = {found.images[i].woman for i in division.kept_back(fold)}
        assert not learnt & measured
        halves = [division.kept_back(fold, half) for half in Half]
        assert sorted(np.concatenate(halves)) == sorted(division.kept_back(fold))


@given(WOMEN, WOMEN, FOLDS)
@settings(max_examples=examples(150))
def test_folds_are_the_same_whoever_else_is_there(
    women: list[str], others: list[str], folds: Folds
) -> None:
    before = divide(all_halves(women, folds), folds)
    more = all_halves([*others, *(woman for woman in women if woman not in others)], folds)
    after = divide(more, folds)
    at = {example.woman: i for i, example in enumerate(more.images)}
    for i, woman in enumerate(woman for woman in women for _ in range(2)):
        assert before.folds[i] == after.folds[at[woman]]
        assert before.is_half_b[i] == after.is_half_b[at[woman]]


def test_folds_are_fixed() -> None:
    """Figures of a package depend on them: they are never to be others."""
    women = [f"P_{number:05d}" for number in range(1, 11)]
    assert [fold_of(woman, Folds()) for woman in women] == FIXED_FOLDS
    assert "".join(half_of(woman, Folds()) for woman in women) == FIXED_HALVES
    assert [fold_of(woman, Folds(salt="other")) for woman in women] != FIXED_FOLDS


FIXED_FOLDS = [1, 3, 2, 3, 0, 4, 3, 4, 3, 3]
FIXED_HALVES = "ABABABABBB"


def test_folds_and_halves_are_about_as_large() -> None:
    women = [str(number) for number in range(5000)]
    folds = np.bincount([fold_of(woman, Folds()) for woman in women])
    assert len(folds) == 5
    assert folds.min() > 900
    halves = [half_of(woman, Folds()) for woman in women if fold_of(woman, Folds()) == 0]
    assert 0.45 < halves.count(Half.B) / len(halves) < 0.55
    assert [half.other for half in Half] == [Half.B, Half.A]


def test_a_woman_in_two_parts_is_named() -> None:
    images = made(["A", "B", "A"]).images
    require_apart({"fold 1": images[:2], "none": ()})
    with pytest.raises(ConfigError, match="A is in learnt and measured: all images of a woman"):
        require_apart({"learnt": images[:2], "measured": images[2:]})


def test_a_half_with_nothing_to_measure_is_told() -> None:
    with pytest.raises(ConfigError) as raised:
        divide(made(["A", "B", "C"], [1.0, 1.0, 0.0]), Folds(count=2))
    text = str(raised.value)
    assert "expected positive and negative images, found" in text
    assert "give more women, or fewer folds: [folds] count" in text


# Duplicates


def test_the_same_pixels_under_two_names_are_told_with_both() -> None:
    found = made(["A", "B", "C", "C"], digests=["x", "y", "x", "x"])
    with pytest.raises(ConfigError) as raised:
        refuse_duplicates(found)
    first, second, remedy = str(raised.value).split("\n")
    assert first == "labels.csv:4: the same pixels as labels.csv:2, yet of C, not of A"
    assert second.startswith("labels.csv:5: the same pixels as labels.csv:2")
    assert "give both the same patient, or take one image out" in remedy


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0.3, 3),
    st.floats(-0.5, 0.5),
    st.integers(0, 1200),
)
@settings(max_examples=examples(100))
def test_an_image_that_is_nearly_another_is_found(
    seed: int, contrast: float, brightness: float, more: int
) -> None:
    random = np.random.default_rng(seed)
    images = random.random((2 + more, 32, 32)).astype(np.float32)
    images[-1] = contrast * images[0] + brightness + random.normal(0, 1e-3, (32, 32))
    names = [str(number) for number in range(len(images))]
    found = list(duplicates(made(names, reductions=images)))
    assert found == [(0, len(images) - 1, "as good as the same image")]


def test_images_that_differ_and_those_of_one_woman_are_no_duplicates() -> None:
    assert list(duplicates(made(["A", "B", "C"]))) == []
    even = np.ones((2, 32, 32), np.float32)
    assert list(duplicates(made(["A", "B"], reductions=even))) == [], "nothing is in them"
    noise = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    alike = np.repeat(noise, 2, axis=0)
    assert list(duplicates(made(["A", "A"], reductions=alike))) == []
    assert list(duplicates(made([], []))) == []


@pytest.mark.parametrize(
    ("duplicate", "how"),
    [("exact", "the same pixels"), ("jpeg", "as good as the same image")],
)
def test_a_film_under_another_womans_name_is_found(
    duplicate: str, how: str, tmp_path: Path
) -> None:
    planted = Planted(women=4, duplicate=duplicate)  # type: ignore[arg-type]
    films = write_collection(tmp_path / "tcia", planted)
    assert films[-1].woman == "P_00005"
    table = labelled_images(tmp_path / "tcia", None, "cbis-ddsm")
    found = read_examples(table, RECIPE, tmp_path / "work", silent)
    assert len(found.images) == len(films)
    with pytest.raises(ConfigError) as raised:
        divide(found, Folds(count=2))
    (line, _) = str(raised.value).split("\n")
    assert f": {how} as " in line
    assert line.endswith("yet of P_00005, not of P_00001")


@pytest.mark.slow
def test_no_two_of_many_generated_women_are_taken_for_one(tmp_path: Path) -> None:
    write_collection(tmp_path / "tcia", Planted(women=40))
    table = labelled_images(tmp_path / "tcia", None, "cbis-ddsm")
    found = read_examples(table, RECIPE, tmp_path / "work", silent)
    refuse_duplicates(found)


def test_an_image_file_saved_again_is_found(tmp_path: Path) -> None:
    """As a collection that was exported twice: a smaller JPEG of lower quality, turned over."""
    films = write_collection(tmp_path / "tcia", Planted(women=3))
    lines = ["path,patient,side,view,label"]
    for number, film in enumerate(films):
        grey = (dcmread(film.path).pixel_array >> 8).astype(np.uint8)
        PIL.Image.fromarray(grey).save(tmp_path / f"{number}.png")
        view = film.view
        lines.append(f"{number}.png,{film.woman},{view.laterality},{view.projection},0")
    again = PIL.Image.open(tmp_path / "0.png").resize((200, 260))
    again.save(tmp_path / "again.jpg", quality=60)
    lines.append("again.jpg,somebody else,L,CC,0")
    (tmp_path / "labels.csv").write_text("\n".join(lines), "utf-8")
    table = labelled_images(tmp_path, tmp_path / "labels.csv", None)
    found = read_examples(table, RECIPE, tmp_path / "work", silent)
    assert [(i, j) for i, j, _ in duplicates(found)] == [(0, len(films))]
