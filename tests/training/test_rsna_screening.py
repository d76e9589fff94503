"""The table of the RSNA screening challenge, with all or a part of its images."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from node.errors import ConfigError
from node.evaluation.labels import LabelTable
from node.study import Laterality
from node.training.collections.table import labelled_images

PUBLISHED = (
    "site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,"
    "density,machine_id,difficult_negative_case"
)
LINES = (
    "2,10006,462822612,L,CC,61.0,0,0,0,,0,,29,False",
    "2,10006,1459541791,L,MLO,61.0,0,0,0,,0,,29,False",
    "1,10011,220375232,R,CC,,1,1,1,0.0,0,B,49,False",
    "1,10011,270344397,R,AT,55.0,1,1,1,0.0,0,B,49,False",
)


def write(
    folder: Path, *images: str, lines: tuple[str, ...] = LINES, header: str = PUBLISHED
) -> Path:
    (folder / "train.csv").write_text("\n".join([header, *lines]) + "\n", "utf-8")
    for name in images:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def read(folder: Path) -> LabelTable:
    return labelled_images(folder, None, "rsna-screening")


def problems(folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(folder)
    return [line.replace(f"{folder}/", "") for line in str(raised.value).split("\n")]


ALL = (
    "train_images/10006/462822612.dcm",
    "train_images/10006/1459541791.dcm",
    "train_images/10011/220375232.dcm",
    "train_images/10011/270344397.dcm",
)


def test_a_line_of_the_published_table_is_a_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = read(write(tmp_path, *ALL))

    first, _, third = table.rows
    assert first.path == tmp_path / "train_images/10006/462822612.dcm"
    assert (first.patient, first.exam, first.label) == ("10006", "10006", "0")
    assert (first.side, first.projection) == (Laterality.LEFT, "CC")
    assert table.place(first) == f"{tmp_path}/train.csv:2"
    assert not first.is_inverted
    assert third.columns == {
        "path": "220375232.dcm",
        "patient": "10011",
        "label": "1",
        "side": "R",
        "view": "CC",
        "machine": "49",
        "site": "1",
        "age": "",
        "density": "B",
        "invasive": "1",
        "birads": "0",
        "implant": "0",
    }
    assert set(table.columns) == set(third.columns)
    assert first.columns["age"] == "61"
    assert table.name == "rsna-screening"
    # AT is no view that the node knows the code of.
    assert "1 images are left out: the node knows no code of their view" in caplog.text


def test_a_part_of_the_images_is_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = write(tmp_path, "export/10006_1459541791.PNG", "10011_220375232.jpeg", "notes.txt")

    assert [row.path.name for row in read(folder).rows] == [
        "10006_1459541791.PNG",
        "10011_220375232.jpeg",
    ]
    assert "2 of 4 images are there" in caplog.text


def test_a_table_none_of_whose_images_is_there_is_refused(tmp_path: Path) -> None:
    (found,) = problems(write(tmp_path, "1_1.png"))

    assert found == (
        f"train.csv: none of its 4 images is below {tmp_path}: expected such as "
        "10006_462822612.png or 10006/462822612.dcm"
    )


def test_of_two_forms_of_an_image_the_object_is_taken(tmp_path: Path) -> None:
    folder = write(tmp_path, *ALL, "png/10006_462822612.png")

    assert read(folder).rows[0].path.suffix == ".dcm"


def test_a_table_of_an_export_says_its_files_and_what_is_inverted(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        "images/one.jpg",
        "images/10006_2.jpg",
        header="file,patient_id,image_id,laterality,view,cancer,machine_id,inverted",
        lines=("one.jpg,10006,1,L,CC,0,49,1", ",10006,2,L,MLO,0,49,0"),
    )
    (folder / "train.csv").rename(folder / "labels.csv")

    table = read(folder)

    assert [(row.path.name, row.is_inverted) for row in table.rows] == [
        ("one.jpg", True),
        ("10006_2.jpg", False),
    ]
    assert table.columns == ("path", "patient", "label", "side", "view", "machine")


def test_what_is_wrong_with_the_table_is_told_with_its_line(tmp_path: Path) -> None:
    lines = (
        "2,,462822612,X,CC,61.0,yes,0,0,,0,,29,False",
        "2,10006,1459541791,L,MLO,61.0",
    )
    assert problems(write(tmp_path, lines=lines)) == [
        "train.csv:2: patient_id: expected a value, found nothing",
        'train.csv:2: laterality: expected L or R, found "X"',
        'train.csv:2: cancer: expected 0 or 1, found "yes"',
        "train.csv:3: expected 14 cells, found 6",
    ]
    assert problems(write(tmp_path, *ALL, lines=(LINES[0], LINES[0]))) == [
        "train.csv:3: the same image as in line 2: train_images/10006/462822612.dcm"
    ]
    assert problems(write(tmp_path, lines=())) == [
        "train.csv: there is no row below the names of the columns"
    ]
    (tmp_path / "train.csv").unlink()
    assert "neither train.csv nor labels.csv is there" in problems(tmp_path)[0]
