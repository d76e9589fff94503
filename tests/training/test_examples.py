"""What there is to learn from: what the ward would see, read once, with what the table says."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import L_CC, R_CC, SMALL
from labelled import Labelled, silent
from pydicom import dcmread
from pydicom.uid import UID

from node.errors import ConfigError
from node.evaluation.labels import LabelTable, read_labels
from node.imaging.digests import pixel_digest
from node.inference.inputs import prepared_image
from node.study import View
from node.training import examples as reading
from node.training.examples import (
    KEPT_IMAGES,
    Examples,
    kept_dtype,
    read_examples,
    reading_manifest,
)
from node.training.kept import KeptImage, KeptImages
from node.training.recipe import Recipe
from node.trial import phantom
from node.trial.phantom import Patient
from training.recipes import RECIPE, SIZE, recipe_of


@pytest.fixture
def images(tmp_path: Path) -> Labelled:
    """Three women, one of them with image files."""
    labelled = Labelled(tmp_path / "images")
    for name, has_lesion in (("A", True), ("B", False), ("C", False)):
        labelled.add(name, has_lesion=has_lesion, as_png=name == "C", age="5", bits="12")
    return labelled


def table_of(images: Labelled, **changes: str) -> LabelTable:
    rows = [row | changes for row in images.rows]
    return read_labels(images.write(rows=rows), images.folder)


@pytest.fixture
def read_images(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which images were decoded; the others came from the work folder."""
    read = list[Path]()

    def counting(path: Path, *rest: Any) -> Any:
        read.append(path)
        return prepared_image(path, *rest)

    monkeypatch.setattr(reading, "prepared_image", counting)
    return read


def examples_of(images: Labelled, work: Path, recipe: Recipe = RECIPE, **changes: str) -> Examples:
    return read_examples(table_of(images, **changes), recipe, work, silent, processes=2)


def test_tensors_are_what_the_ward_sees(images: Labelled, tmp_path: Path) -> None:
    found = examples_of(images, tmp_path / "work")
    assert len(found.images) == len(found.tensors) == 12
    assert found.tensors.shape == (12, 1, *SIZE)
    assert found.tensors.dtype == np.float16
    manifest = reading_manifest(RECIPE)
    for i, example in enumerate(found.images[:8]):
        assert example.side is not None
        view = View(example.side, example.projection)
        _, prepared = prepared_image(example.row.path, view, manifest)
        np.testing.assert_allclose(found.tensors[i], prepared.tensor[0], atol=2**-11)
        assert example.pixel_digest == pixel_digest(example.row.path)


def test_several_tensors_are_read_at_once(images: Labelled, tmp_path: Path) -> None:
    tensors = examples_of(images, tmp_path / "work").tensors
    assert tensors[[3, 1]].shape == (2, 1, *SIZE)
    np.testing.assert_array_equal(tensors[[3, 1]][0], tensors[3])
    np.testing.assert_array_equal(tensors[1:3], tensors[np.array([1, 2])])
    np.testing.assert_array_equal(tensors[np.arange(12) == 5][0], tensors[5])


def test_an_example_says_what_the_table_says(images: Labelled, tmp_path: Path) -> None:
    found = examples_of(images, tmp_path / "work").images
    first = found[0]
    assert (first.woman, str(first.side), first.projection, first.label) == ("A", "R", "CC", 1.0)
    assert first.row.columns["age"] == "5"
    assert [one.woman for one in found] == ["A"] * 4 + ["B"] * 4 + ["C"] * 4
    assert sum(one.label for one in found) == 2
    assert found[0].breast == found[2].breast
    assert found[0].breast != found[1].breast


def test_bytes_are_kept_as_bytes(images: Labelled, tmp_path: Path) -> None:
    quantised: dict[str, Any] = {"op": "quantise", "bits": 8, "of": 1.0, "rounding": "nearest"}
    recipe = recipe_of(quantised, {"op": "channels", "count": 3})
    found = examples_of(images, tmp_path / "work", recipe)
    assert found.tensors.dtype == np.uint8
    assert found.tensors.shape == (12, 3, *SIZE)
    manifest = reading_manifest(recipe)
    side = found.images[0].side
    assert side is not None
    _, prepared = prepared_image(found.images[0].row.path, View(side, "CC"), manifest)
    np.testing.assert_array_equal(found.tensors[0], prepared.tensor[0])
    normalise: dict[str, Any] = {"op": "normalise", "subtract": [0], "divide": [255]}
    assert kept_dtype(recipe_of(quantised, normalise).operations) == np.float16


# What is kept


def test_a_second_call_reads_no_image(
    images: Labelled, tmp_path: Path, read_images: list[Path]
) -> None:
    first = examples_of(images, tmp_path / "work")
    assert len(read_images) == 12
    second = examples_of(images, tmp_path / "work")
    assert len(read_images) == 12
    np.testing.assert_array_equal(second.tensors[:], first.tensors[:])
    np.testing.assert_array_equal(second.reductions, first.reductions)
    assert second.images == first.images
    examples_of(images, tmp_path / "work", age="6", label="0")
    assert len(read_images) == 12, "what it is labelled changes no pixel"


def _touched(images: Labelled) -> None:
    path = images.folder / images.rows[0]["path"]
    os.utime(path, ns=(1, 1))


def _said_otherwise(images: Labelled) -> None:
    images.rows[8]["chest_wall"] = "right"


@pytest.mark.parametrize("change", [_touched, _said_otherwise])
def test_the_exam_of_an_image_that_changed_is_read_again(
    change: Callable[[Labelled], None], images: Labelled, tmp_path: Path, read_images: list[Path]
) -> None:
    for row in images.rows:
        row["chest_wall"] = ""
    examples_of(images, tmp_path / "work")
    change(images)
    examples_of(images, tmp_path / "work")
    assert len(read_images) == 12 + 4


def test_other_operations_read_every_image_again_and_leave_the_former(
    images: Labelled, tmp_path: Path, read_images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples_of(images, tmp_path / "work")
    normalise: dict[str, Any] = {"op": "normalise", "subtract": [0], "divide": [2]}
    examples_of(images, tmp_path / "work", recipe_of(normalise))
    assert len(read_images) == 24
    examples_of(images, tmp_path / "work")
    assert len(read_images) == 24
    assert len(list((tmp_path / "work" / KEPT_IMAGES).iterdir())) == 2
    monkeypatch.setattr(reading, "__version__", "99")
    examples_of(images, tmp_path / "work")
    assert len(read_images) == 36, "another release may read otherwise"


def test_a_run_that_was_stopped_goes_on(
    images: Labelled, tmp_path: Path, read_images: list[Path]
) -> None:
    @contextmanager
    def stopping(what: str, _: int) -> Iterator[Callable[[], None]]:
        done = []

        def advance() -> None:
            done.append(1)
            if what == "Preparing" and len(done) == 2:
                raise KeyboardInterrupt

        yield advance

    table, work = table_of(images), tmp_path / "work"
    with pytest.raises(KeyboardInterrupt):
        read_examples(table, RECIPE, work, stopping, processes=1)
    before = len(read_images)
    assert 8 <= before <= 12
    found = read_examples(table, RECIPE, work, silent)
    assert len(read_images) == 12
    whole = read_examples(table, RECIPE, tmp_path / "other", silent)
    np.testing.assert_array_equal(found.tensors[:], whole.tensors[:])


def _cut(path: Path, by: int) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - by)


def _without_end_of_line(folder: Path) -> None:
    _cut(folder / "images.jsonl", 1)


def _in_a_line(folder: Path) -> None:
    _cut(folder / "images.jsonl", 100)


def _in_a_tensor(folder: Path) -> None:
    _cut(folder / "tensors.bin", 7)


def _with_a_tensor_too_many(folder: Path) -> None:
    with (folder / "tensors.bin").open("ab") as file:
        file.write(b"x" * 5000)


@pytest.mark.parametrize(
    ("spoil", "again"),
    [
        (_without_end_of_line, 4),
        (_in_a_line, 4),
        (_in_a_tensor, 4),
        (_with_a_tensor_too_many, 0),
    ],
)
def test_what_was_cut_short_is_read_again(
    spoil: Callable[[Path], None],
    again: int,
    images: Labelled,
    tmp_path: Path,
    read_images: list[Path],
) -> None:
    first = examples_of(images, tmp_path / "work")
    (folder,) = (tmp_path / "work" / KEPT_IMAGES).iterdir()
    tensors = first.tensors[:]
    spoil(folder)
    second = examples_of(images, tmp_path / "work")
    assert len(read_images) == 12 + again
    np.testing.assert_array_equal(second.tensors[:], tensors)


def test_a_table_with_more_rows_reads_only_these(
    images: Labelled, tmp_path: Path, read_images: list[Path]
) -> None:
    first = examples_of(images, tmp_path / "work")
    images.add("D", has_lesion=True, bits="")
    images.rows.insert(0, images.rows.pop())  # in another order, too
    images.rows[0]["age"] = images.rows[-1]["age"] = "5"
    second = examples_of(images, tmp_path / "work", age="5")
    assert len(read_images) == 16
    assert [one.woman for one in second.images[:2]] == ["D", "A"]
    np.testing.assert_array_equal(second.tensors[1], first.tensors[0])


def test_a_work_folder_that_cannot_be_one_is_told(images: Labelled, tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(ConfigError, match=r"work/images/.* cannot be used"):
        examples_of(images, tmp_path / "work")


def test_what_is_written_behind_a_failure_is_not_taken_for_another_image(tmp_path: Path) -> None:
    tensor = np.ones((1, 64, 64), np.float16)
    with KeptImages(tmp_path, tensor.shape, tensor.dtype) as kept:
        kept.record("a", KeptImage("a"), tensor)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (tensor.nbytes + 3000, before[1]))
        try:
            with pytest.raises(ConfigError, match="File too large"):
                kept.record("b", KeptImage("b"), 2 * tensor)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        with pytest.raises(ConfigError, match="train again"):  # another thread, with room again
            kept.record("c", KeptImage("c"), 3 * tensor)
    with KeptImages(tmp_path, tensor.shape, tensor.dtype) as kept:
        assert kept.find("b") is None
        kept.record("c", KeptImage("c"), 3 * tensor)
        np.testing.assert_array_equal(kept.tensors(), [tensor, 3 * tensor])


# What is refused


def test_what_the_node_refuses_is_no_example(images: Labelled, tmp_path: Path) -> None:
    magnified = phantom.Technique(SMALL.rows, SMALL.columns, SMALL.spacing_mm, magnification=1.8)
    made = phantom.exam("D", [R_CC], patient=Patient("D"), technique=magnified)
    (path,) = phantom.save(made, images.folder / "D")
    row = {"path": str(path.relative_to(images.folder)), "patient": "D", "label": "0"}
    images.rows.append(dict.fromkeys(images.rows[0], "") | row)
    dark = dcmread(images.folder / images.rows[0]["path"])
    dark.PixelData = bytes(len(dark.PixelData))
    dark.save_as(images.folder / images.rows[0]["path"])
    found = examples_of(images, tmp_path / "work", age="5")
    assert len(found.images) == 11
    reasons = {one.row.line: one.reason for one in found.refused}
    assert reasons[14] == "magnification view"
    assert "nothing in this image is brighter than its background" in reasons[2]
    assert examples_of(images, tmp_path / "work", age="5").refused == found.refused


def test_views_of_other_kinds_are_refused(images: Labelled, tmp_path: Path) -> None:
    words = RECIPE.input.model_dump() | {"projections": ["CC"], "expected_views": ["R CC"]}
    found = examples_of(images, tmp_path / "work", recipe_of(input=words, about="image"))
    assert {one.projection for one in found.images} == {"CC"}
    assert {one.reason for one in found.refused} == {"MLO is not a view this model reads"}


def test_where_no_image_is_given_to_the_network_the_reasons_are_told(
    images: Labelled, tmp_path: Path
) -> None:
    words = RECIPE.input.model_dump() | {"projections": ["XCCL"], "expected_views": []}
    with pytest.raises(ConfigError) as told:
        examples_of(images, tmp_path / "work", recipe_of(input=words, about="image"))
    first, *reasons = str(told.value).splitlines()
    assert "none of its 12 images is given to the network" in first
    assert sorted(reasons) == [
        "6 images: CC is not a view this model reads",
        "6 images: MLO is not a view this model reads",
    ]


def test_the_same_pixels_twice_of_one_woman_are_learnt_from_once(
    images: Labelled, tmp_path: Path
) -> None:
    again = dcmread(images.folder / images.rows[0]["path"])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    again.save_as(images.folder / "again.dcm")
    images.rows.append(images.rows[0] | {"path": "again.dcm"})
    found = examples_of(images, tmp_path / "work")
    assert len(found.images) == 12
    (refused,) = found.refused
    assert refused.row.line == 14
    assert "the same pixels as" in refused.reason
    assert "labels.csv:2, of the same woman" in refused.reason


def test_an_image_that_is_stored_inverted_is_turned_over(tmp_path: Path) -> None:
    labelled = Labelled(tmp_path / "images")
    inverse = phantom.Technique(SMALL.rows, SMALL.columns, SMALL.spacing_mm, monochrome1=True)
    for name, technique in (("A", SMALL), ("B", inverse)):
        (made,) = phantom.exam("same", [L_CC], technique=technique)
        path = labelled._png(made, name)
        row = {"path": str(path.relative_to(labelled.folder)), "patient": name, "label": "0"}
        row |= {"side": "L", "view": "CC", "bits": "12", "inverted": str(int(name == "B"))}
        labelled.rows.append(row)
    found = examples_of(labelled, tmp_path / "work")
    np.testing.assert_array_equal(found.tensors[0], found.tensors[1])
    np.testing.assert_array_equal(found.reductions[0], found.reductions[1])


# What is learnt


def test_columns_are_learnt_beside_the_label(images: Labelled, tmp_path: Path) -> None:
    auxiliary = [
        {"column": "density", "values": {"A": 0.0, "D": 1.0}},
        {"column": "share"},
    ]
    for row, density, share in zip(images.rows, "ADX A" + " " * 7, ["0.5", ""] * 6, strict=True):
        row |= {"density": density.strip(), "share": share}
    found = examples_of(images, tmp_path / "work", recipe_of(labels={"auxiliary": auxiliary}))
    assert [dict(one.auxiliary) for one in found.images[:5]] == [
        {"density": 0.0, "share": 0.5},
        {"density": 1.0},
        {"share": 0.5},
        {},
        {"density": 0.0, "share": 0.5},
    ]


def test_words_may_be_labels(images: Labelled, tmp_path: Path) -> None:
    for row in images.rows:
        row["label"] = "cancer" if row["label"] == "1" else "none"
    found = examples_of(images, tmp_path / "work", recipe_of(labels={"positive": ["cancer"]}))
    assert sum(one.label for one in found.images) == 2


def test_columns_that_a_regression_weighs_by_must_be_there(
    images: Labelled, tmp_path: Path
) -> None:
    by = [[{"column": "machin"}, {"column": "age", "edges": [50]}], [{"column": "machin"}]]
    regression = {"features": [{"after": "top"}], "alike": by}
    for row in images.rows:
        row |= {"machine": "X", "age": "50"}
    with pytest.raises(ConfigError) as raised:
        examples_of(images, tmp_path / "w", recipe_of(about="image", regression=regression))
    (line,) = str(raised.value).split("\n")
    assert line.endswith(
        'no column machin, which the recipe names under [regression]; did you mean "machine"?'
    )


@pytest.mark.parametrize(
    ("labels", "changes", "words"),
    [
        ({}, {"label": "yes"}, "labels.csv:2: label: expected 0 or 1, or name what counts as 1"),
        (
            {"positive": ["cancr"]},
            {"label": "cancer"},
            'no row has the label "cancr", which the recipe names under [labels] positive; did you',
        ),
        (
            {"matched": [{"column": "machin"}]},
            {"machine": "X"},
            'no column machin, which the recipe names under [labels]; did you mean "machine"?',
        ),
        ({"balanced_within": "machine"}, {}, "no column machine, which the recipe names"),
        (
            {"auxiliary": [{"column": "age"}]},
            {},
            "labels.csv:2: age: expected a number from 0 to 1, or say in the recipe what its words",
        ),
    ],
)
def test_what_cannot_be_learnt_is_told_before_anything_is_read(
    labels: dict[str, Any],
    changes: dict[str, str],
    words: str,
    images: Labelled,
    tmp_path: Path,
    read_images: list[Path],
) -> None:
    with pytest.raises(ConfigError) as raised:
        examples_of(images, tmp_path / "work", recipe_of(labels=labels), **changes)
    assert words in str(raised.value)
    assert read_images == []
