"""Collections as they are published: what their tables become, and what is said if they differ."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from lesion_models import lesion_score
from typer.testing import CliRunner

from node.cli import app
from node.errors import ConfigError
from node.evaluation.labels import LabelTable, labelled_by
from node.training.collections.mini_mias import read_mias_films
from node.training.collections.table import COLLECTIONS, labelled_images
from training.tcia import Planted, PlantedFilm, write_collection

FEW = Planted(women=5)
MASS = "mass_case_description_train_set.csv"


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PlantedFilm]]:
    folder = tmp_path_factory.mktemp("tcia")
    return folder, write_collection(folder, FEW)


@pytest.fixture
def folder(planted: tuple[Path, list[PlantedFilm]], tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return shutil.copytree(planted[0], tmp_path / "tcia")


def read(folder: Path) -> LabelTable:
    return labelled_images(folder, None, "cbis-ddsm")


def problems(folder: Path, name: str = "cbis-ddsm") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        labelled_images(folder, None, name)
    return [line.replace(f"{folder}/", "") for line in str(raised.value).split("\n")]


def changed(path: Path, before: str, after: str, count: int = -1) -> None:
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after, count), "utf-8")


# CBIS-DDSM


def test_a_film_has_one_row_and_a_woman_one_name(
    planted: tuple[Path, list[PlantedFilm]],
) -> None:
    folder, films = planted
    table = read(folder)
    assert len(table.rows) == len(films) == 4 * FEW.women
    by_path = {row.path: row for row in table.rows}
    for film in films:
        row = by_path[film.path]
        assert (row.patient, row.exam) == (film.woman, film.woman)
        assert (row.side, row.projection) == (film.view.laterality, film.view.projection)
        assert row.label == str(int(film.is_malignant))
    assert {row.columns["abnormality"] for row in table.rows} == {"mass", "calcification"}
    assert {row.columns["set"] for row in table.rows} == {"training", "test"}
    assert {row.columns["density"] for row in table.rows} == {"1", "2", "3", "4"}
    assert [row.line for row in table.rows] == list(range(1, len(films) + 1))


def test_the_worst_of_a_films_abnormalities_is_its_pathology(folder: Path) -> None:
    # Woman 3 has two lines a film; the second is benign without callback.
    of_third = [row for row in read(folder).rows if row.patient == "P_00003"]
    assert {row.columns["pathology"] for row in of_third} <= {"BENIGN", "MALIGNANT"}


def test_a_breast_in_several_files_has_one_label(folder: Path) -> None:
    """A mass that is benign, and in another file a calcification that is not."""
    benign = next(row for row in read(folder).rows if row.label == "0")
    side = {"L": "LEFT", "R": "RIGHT"}[str(benign.side)]
    name = f"Calc-Test_{benign.patient}_{side}_{benign.projection}"
    shutil.copytree(benign.path.parents[2], folder / "CBIS-DDSM" / name)
    path = folder / "calc_case_description_test_set.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    more = {
        "patient_id": benign.patient,
        "left or right breast": side,
        "image view": benign.projection,
        "pathology": "MALIGNANT",
        "image file path": f"{name}/1/2/000000.dcm",
    }
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, list(rows[0])).writerow(rows[0] | more)
    of_breast = {
        row.columns["pathology"]: row.label
        for row in read(folder).rows
        if (row.patient, row.side) == (benign.patient, benign.side)
    }
    assert of_breast == {"BENIGN": "1", "MALIGNANT": "1"}


def by_uid(film: Path) -> None:
    """Lay a film's folders out as the CSV says, with UIDs for names."""
    said = re.search(rf"{film.name}/([\d.]+)/([\d.]+)/", CSV_TEXT[0])
    assert said is not None
    (file,) = film.rglob("*.dcm")
    target = film / said[1] / said[2] / "000000.dcm"
    target.parent.mkdir(parents=True)
    file.rename(target)
    shutil.rmtree(next(path for path in film.iterdir() if path.name.startswith("07-")))


def with_other_file_name(film: Path) -> None:
    (file,) = film.rglob("*.dcm")
    file.rename(file.with_name("000000.dcm"))


def among_others(film: Path) -> None:
    """Lay the mask beside the film, in folders that say nothing."""
    (file,) = film.rglob("*.dcm")
    (mask,) = film.with_name(f"{film.name}_1").rglob("*.dcm")
    for number, path in enumerate((file, mask)):
        target = film / "74994" / str(number) / "1-1.dcm"
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    shutil.rmtree(next(path for path in film.iterdir() if path.name.startswith("07-")))


CSV_TEXT = [""]


@pytest.mark.parametrize("laid_out", [by_uid, with_other_file_name, among_others])
def test_layouts_of_other_years_are_found(laid_out: Callable[[Path], None], folder: Path) -> None:
    before = {row.source: row.path.stat().st_size for row in read(folder).rows}
    CSV_TEXT[0] = (folder / MASS).read_text("utf-8")
    laid_out(folder / "CBIS-DDSM" / "Mass-Training_P_00001_LEFT_CC")
    assert {row.source: row.path.stat().st_size for row in read(folder).rows} == before


def test_the_files_may_lie_anywhere_and_a_part_of_them_will_do(folder: Path) -> None:
    (folder / "csv").mkdir()
    (folder / MASS).rename(folder / "csv" / MASS)
    for path in folder.glob("*.csv"):
        path.unlink()
    table = read(folder)
    assert table.sources == (folder / "csv" / MASS,)
    assert {row.patient for row in table.rows} == {"P_00001", "P_00005"}
    assert all(row.source.startswith(str(folder / "csv" / MASS)) for row in table.rows)


def test_columns_that_are_missing_are_told_with_the_nearest(folder: Path) -> None:
    changed(folder / MASS, "pathology", "patholgy")
    assert f'{MASS}:1: no column pathology; did you mean "patholgy"?' in problems(folder)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("LEFT,CC", "MIDDLE,CC", 'left_or_right_breast: expected one of LEFT, RIGHT, found "MID'),
        ("LEFT,CC", "LEFT,AP", 'image_view: expected one of CC, MLO, found "AP"'),
        ("LEFT,CC", "RIGHT,CC", "the film is Mass-Training_P_00001_LEFT_CC, found"),
        ("P_00001,", "P_00009,", 'patient_id: the film is Mass-Training_P_00001_LEFT_CC, found "P'),
        (",BENIGN", ",NICE", "pathology: expected one of BENIGN_WITHOUT_CALLBACK, BENIGN, MALIG"),
        (
            "Mass-Training_P_00001_LEFT_CC/",
            "somewhere/",
            "image_file_path: expected one that begins as Mass-Training_P_00001_LEFT_CC/, found",
        ),
        ("P_00001,", "P_00001,,", f"{MASS}:2: expected 14 cells, found 15"),
    ],
)
def test_cells_that_are_wrong_are_told_with_their_lines(
    before: str, after: str, words: str, folder: Path
) -> None:
    changed(folder / MASS, before, after, 1)
    (found, *_) = problems(folder)
    assert found.startswith(f"{MASS}:")
    assert words in found


def test_films_that_are_missing_are_counted(folder: Path) -> None:
    for name in ("Mass-Training_P_00005_LEFT_CC", "Mass-Training_P_00005_LEFT_MLO"):
        shutil.rmtree(folder / "CBIS-DDSM" / name)
    (found,) = problems(folder)
    assert found.startswith(f"{MASS}: 2 of 8 films are not below ")
    assert "the first Mass-Training_P_00005_LEFT_CC (mass_case_description_train_set" in found
    assert "download them, or take their lines out of the CSV" in found


def test_a_film_without_its_file_and_one_that_is_unclear_are_told(folder: Path) -> None:
    empty, unclear = (
        folder / "CBIS-DDSM" / f"Mass-Training_P_00001_{side}_CC" for side in ("LEFT", "RIGHT")
    )
    (file,) = empty.rglob("*.dcm")
    file.unlink()
    (file,) = unclear.rglob("*.dcm")
    shutil.copy(file, file.with_name("1-2.dcm"))
    first, second = problems(folder)
    assert "there is no file .dcm below" in first
    assert "2 files below" in second


def test_a_folder_without_descriptions_says_which_to_download(tmp_path: Path) -> None:
    (found,) = problems(tmp_path)
    assert MASS in found
    assert "download them beside the images" in found


# mini-MIAS


def mias(folder: Path, suffix: str = ".pgm", below: str = ".") -> Path:
    """Write four films as mini-MIAS has them, with made up pixels."""
    lines = [
        "1st column: MIAS database reference number.",
        "mdb001 G CIRC B 535 425 197",
        "mdb002 F NORM ",
        "mdb003 D CALC M 523 924 20",
        "mdb003 D CALC B 323 824 10",
        "mdb004 D CALC M *NOTE 3* ",
    ]
    folder.mkdir()
    (folder / "Info.txt").write_text("\r\n".join(lines), "latin-1")
    (folder / below).mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(1, 5):
        grey = random.integers(0, 255, (64, 64)).astype(np.uint8)
        PIL.Image.fromarray(grey).save(folder / below / f"mdb{number:03d}{suffix}")
    return folder


@pytest.mark.parametrize(("suffix", "below"), [(".pgm", "."), (".png", "images")])
def test_films_of_mini_mias_are_pairs_of_one_woman(suffix: str, below: str, tmp_path: Path) -> None:
    table = labelled_images(mias(tmp_path / "mias", suffix, below), None, "mini-mias")
    rows = table.rows
    assert [row.patient for row in rows] == ["woman 001"] * 2 + ["woman 002"] * 2
    assert [str(row.side) for row in rows] == ["R", "L", "R", "L"]
    assert [row.label for row in rows] == ["0", "0", "1", "1"]
    assert [row.columns["density"] for row in rows] == ["MIAS-G", "MIAS-F", "MIAS-D", "MIAS-D"]
    assert [row.columns["severity"] for row in rows] == ["B", "none", "M", "M"]
    assert [row.columns["abnormality"] for row in rows] == ["CIRC", "NORM", "CALC", "CALC"]
    assert {row.projection for row in rows} == {"MLO"}
    assert {row.spacing_mm for row in rows} == {0.2}


def test_circles_of_mini_mias_are_counted_from_the_top(tmp_path: Path) -> None:
    films = read_mias_films(mias(tmp_path / "mias"))
    first, second = films[2].abnormalities
    assert first.is_malignant
    assert first.circle is not None
    assert (first.circle.x, first.circle.y, first.circle.radius) == (523, 100, 20)
    assert not second.is_malignant
    assert films[3].abnormalities[0].circle is None


def test_what_is_wrong_with_mini_mias_is_told(tmp_path: Path) -> None:
    folder = mias(tmp_path / "mias")
    (folder / "mdb002.pgm").unlink()
    (folder / "mdb004.pgm").unlink()
    (found,) = problems(folder, "mini-mias")
    assert "mdb002 is missing, and 1 more: expected a file .png or .pgm for each film" in found
    changed(folder / "Info.txt", "mdb002 F NORM", "mdb002 X NORM")
    (found,) = problems(folder, "mini-mias")
    assert found.startswith("Info.txt:3: expected a line such as")
    (folder / "Info.txt").write_text("nothing")
    assert "lists no film" in problems(folder, "mini-mias")[0]
    (folder / "Info.txt").unlink()
    assert "it comes with mini-MIAS" in problems(folder, "mini-mias")[0]


# Whichever it is


def test_other_names_are_told_with_the_nearest(tmp_path: Path) -> None:
    assert problems(tmp_path, "cbis") == ['--collection cbis: did you mean "cbis-ddsm"?']
    assert "is no folder" in problems(tmp_path / "none")[0]
    for labels, collection in ((None, None), (tmp_path / "labels.csv", "cbis-ddsm")):
        with pytest.raises(ConfigError, match="either --labels with a table, or --collection"):
            labelled_images(tmp_path, labels, collection)


def test_another_column_may_be_the_label(planted: tuple[Path, list[PlantedFilm]]) -> None:
    table = read(planted[0])
    assert {row.label for row in labelled_by(table, "density").rows} == {"1", "2", "3", "4"}
    with pytest.raises(ConfigError, match='no such column, did you mean "density"'):
        labelled_by(table, "densty")


def test_a_collection_has_a_digest_of_all_its_files(folder: Path) -> None:
    before = read(folder).sha256
    assert read(folder).sha256 == before
    changed(folder / MASS, "MALIGNANT", "BENIGN", 1)
    assert read(folder).sha256 != before


@pytest.mark.usefixtures("warm_inference")
def test_a_model_is_measured_on_a_collection(folder: Path, tmp_path: Path) -> None:
    model = lesion_score(tmp_path / "models")
    changed(
        model.folder / "manifest.toml", ".4.1.1.1.2", ".4.1.1.7"
    )  # films are Secondary Captures
    arguments = ["evaluate", model.folder, folder, "--collection", "cbis-ddsm"]
    arguments += ["--out", tmp_path / "out", "--by", "abnormality"]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "20 images, 5 exams, 5 patients" in result.output
    assert " on cbis-ddsm" in (tmp_path / "out" / "evaluation.md").read_text("utf-8")
    assert CliRunner().invoke(app, list(map(str, arguments[:3]))).exit_code == 1


def test_every_collection_is_in_the_document() -> None:
    text = (Path(__file__).parents[2] / "docs" / "train.md").read_text("utf-8")
    for name in COLLECTIONS:
        assert f"`--collection {name}`" in text
