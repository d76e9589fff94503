"""The demonstration of triage: what its recipe builds, what it finds, what it leaves alone."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import factories
import pytest
from onnx import load_model as load_network
from pydicom import Dataset

from node.config import bundled_models_dir
from node.errors import ConfigError
from node.imaging.image import open_image
from node.imaging.operations import prepare
from node.inference.onnx import OnnxSession
from node.inference.session import Session, only_input
from node.manifest import Model, ScoreOutput, load_model
from node.offline import analyse_folder
from node.result import Priority
from node.study import Laterality, View
from node.training import planted_disc
from node.training.planted_disc import URGENT, build_matched_filter, of_exams, write_generated
from node.trial import phantom
from node.trial.disc import DRAWN, Disc, draw_disc
from node.trial.exams import DISC, find_films
from node.trial.phantom import Technique

PLAIN = Technique(rows=664, columns=512, spacing_mm=0.36)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(planted_disc.DISC_PACKAGE, bundled_models_dir())


@pytest.fixture(scope="module")
def session(model: Model) -> Session:
    return OnnxSession(model, threads=2)


def score(path: Path, view: View, model: Model, session: Session) -> float:
    prepared = prepare(open_image(path), model.manifest.operations, view)
    return float(session.run({only_input(session): prepared.tensor})["score"][0, 0])


def drawn(name: str, view: View, disc: Disc | None, technique: Technique = PLAIN) -> Dataset:
    (made,) = phantom.exam(name, [view], technique=technique)
    if disc is not None:
        draw_disc(made, view, disc)
    return made


def test_the_network_of_the_package_is_what_the_recipe_builds(model: Model) -> None:
    assert load_network(str(model.weights_path)) == build_matched_filter()
    assert len(model.read_weights()) < 100_000


def test_it_is_a_demonstration_that_names_what_was_measured(model: Model) -> None:
    assert model.identity.is_demonstration
    output = model.manifest.outputs[0]
    assert isinstance(output, ScoreOutput)
    (point,) = output.operating_points
    card = (model.folder / "README.md").read_text("utf-8")
    low, high = point.sensitivity_interval
    assert f"| sensitivity at 50 % | {point.sensitivity:.3f} ({low:.3f} to {high:.3f}) |" in card
    assert f"| urgent without a disc | 0 of {point.negatives} |" in card
    rows = re.findall(r"^\| radius \d mm, contrast \d+ % \| (\d+) \| (\d+) \|", card, re.MULTILINE)
    of_generated = [(int(exams), int(urgent)) for exams, urgent in rows[:9]]
    assert sum(exams for exams, _ in of_generated) == point.positives
    found = sum(urgent for _, urgent in of_generated)
    assert round(found / point.positives, 3) == point.sensitivity


def test_the_rank_is_said_to_be_among_generated_exams(model: Model) -> None:
    output = model.manifest.outputs[0]
    assert isinstance(output, ScoreOutput) and output.negatives is not None
    assert output.negatives.among == planted_disc.WHO
    head = planted_disc.percentiles(output.negatives.percentiles).split("count")[0]
    assert head in (model.folder / "manifest.toml").read_text("utf-8")


@pytest.mark.slow
def test_the_recipe_measures_what_the_card_says_of_a_part_of_its_exams(
    model: Model, tmp_path: Path
) -> None:
    document = planted_disc.evaluate_package(model, write_generated(tmp_path, exams=9))
    (at,) = of_exams(document).thresholds
    assert (at.false_positives, at.true_negatives) == (0, 9)
    assert at.true_positives + at.false_negatives == 9
    said = {
        case.columns["disc"]: case.said["disc"][0] / 100 >= URGENT
        for case in document.cases
        if case.about == "exam" and "1" in case.labels
    }
    assert all(said[f"radius {mm} mm, contrast 20 %"] for mm in (4, 6, 9)), said
    assert not said["radius 4 mm, contrast 5 %"], said
    with (tmp_path / "labels.csv").open(encoding="utf-8") as file:
        assert sum(row["label"] == "1" for row in csv.DictReader(file)) == 9 * 2


@pytest.mark.parametrize("is_inverse", [False, True], ids=["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("side", list(Laterality)[:2], ids=str)
@pytest.mark.parametrize("radius_mm", [4.5, 7, 10])
def test_a_disc_is_found_where_it_was_drawn(
    radius_mm: float,
    side: Laterality,
    is_inverse: bool,
    model: Model,
    session: Session,
    tmp_path: Path,
) -> None:
    view = View(side, "CC")
    technique = replace(PLAIN, monochrome1=is_inverse)
    disc = Disc(side, 45, {"CC": -12}, radius_mm, contrast=0.2)
    (path,) = phantom.save([drawn("found", view, disc, technique)], tmp_path)
    prepared = prepare(open_image(path), model.manifest.operations, view)
    said = session.run({only_input(session): prepared.tensor})
    left, top, right, bottom, box_score = said["box"][0, 0]
    assert said["score"][0, 0] == box_score > URGENT
    mm = PLAIN.rows * PLAIN.spacing_mm / planted_disc.INPUT_ROWS
    assert (left + right) / 2 * mm == pytest.approx(45, abs=2)
    assert ((top + bottom) / 2 - planted_disc.INPUT_ROWS / 2) * mm == pytest.approx(-12, abs=2)
    assert (right - left) / 2 * mm == pytest.approx(radius_mm, abs=1.5)


def test_a_drawn_disc_is_all_that_changes_and_the_image_says_so() -> None:
    view = View(Laterality.LEFT, "CC")
    plain, with_disc = drawn("same", view, None), drawn("same", view, DISC)
    changed = plain.pixel_array != with_disc.pixel_array
    radius_px = DISC.radius_mm / PLAIN.spacing_mm
    assert changed.sum() == pytest.approx(3.1416 * radius_px**2, rel=0.05)
    inside = with_disc.pixel_array[changed]
    assert inside.max() - plain.pixel_array[changed].mean() == pytest.approx(0.25 * 4095, abs=30)
    assert (with_disc.DerivationDescription, with_disc.ImageType[0]) == (DRAWN, "DERIVED")
    assert DRAWN in with_disc.ImageComments
    other = View(Laterality.RIGHT, "CC")
    assert drawn("same", other, DISC) == drawn("same", other, None)


def test_the_films_of_the_demonstration_are_not_urgent(model: Model, session: Session) -> None:
    women = find_films()
    if women is None:
        pytest.skip("the films are not installed")
    scores = [score(path, view, model, session) for woman in women for view, path in woman.items()]
    assert len(scores) == 8
    assert max(scores) < 0.25


def test_an_exam_with_a_disc_is_urgent_and_one_without_a_view_is_not_assessed(
    model: Model, tmp_path: Path
) -> None:
    """As `ai-node analyse` has it, through the whole pipeline."""
    exam = factories.exam("offline")
    disc = replace(DISC, contrast=0.3)
    for dataset, view in zip(exam, phantom.EXAM, strict=True):
        draw_disc(dataset, view, disc)
    levels = {}
    for name, made in (("whole", exam), ("without R CC", exam[1:]), ("without L", exam[::2])):
        paths = phantom.save(made, tmp_path / name)
        outcome = analyse_folder(paths, tmp_path / "out" / name, model, lambda: None)
        levels[name] = outcome.studies[0].words
    assert str(Priority.URGENT) in levels["whole"]
    assert "urgent" in levels["without R CC"]
    assert "not assessed" in levels["without L"]


def test_a_package_lies_in_a_folder_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["planted_disc", "--out", str(tmp_path / "other")])
    with pytest.raises(SystemExit):
        planted_disc.main()
    assert "a folder of its name, planted-disc" in capsys.readouterr().err
    folder = tmp_path / "planted-disc"
    monkeypatch.setattr("sys.argv", ["planted_disc", "--out", str(folder), "--network-only"])
    planted_disc.main()
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    with pytest.raises(ConfigError):
        Model(folder)
