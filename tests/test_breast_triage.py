"""models/breast-triage: what is shipped and stated; the size of an image does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import PIL.Image
import pytest
from numpy.typing import NDArray

from node.config import bundled_models_dir
from node.evaluation.as_dicom import Picturing, as_dicom
from node.imaging.image import Image, open_image
from node.imaging.operations import prepare
from node.manifest import ScoreOutput, load_model
from node.study import Laterality, View
from node.training.packing import table_in
from node.training.recipe import read_recipe
from node.trial import phantom

FOLDER = bundled_models_dir() / "breast-triage"
MODEL = load_model("breast-triage", bundled_models_dir())
LARGE = phantom.Technique(rows=3328, columns=2560, spacing_mm=0.07)
MOST_OF_ALL_WEIGHTS = 25_000_000


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(FOLDER / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


def score(session: onnxruntime.InferenceSession, image: Image, view: View) -> float:
    """Return the score of an image as it is reported, 0..1."""
    tensor = prepare(image, MODEL.manifest.operations, view).tensor
    (found,) = session.run(["score"], {"image": tensor})
    assert found.shape == (1, 1)
    (output,) = MODEL.manifest.outputs
    assert isinstance(output, ScoreOutput)
    assert output.calibration is not None
    return output.calibration.calibrated(float(found[0, 0]))


def large_exams(folder: Path) -> Iterator[tuple[Path, View]]:
    for study in ("A", "B"):
        for view, made in zip(
            phantom.EXAM, phantom.exam(study, phantom.EXAM, technique=LARGE), strict=True
        ):
            path = folder / f"{study} {view}.dcm"
            made.save_as(path, enforce_file_format=True)
            yield path, view


def as_exported(image: Image, view: View, folder: Path) -> Image:
    """Return an image as public exports have it: 640 x 640, 8 bits, stretched."""
    grey: NDArray[np.uint8] = np.rint(image.grey("voi") * 255).astype(np.uint8)
    path = folder / "exported.png"
    PIL.Image.fromarray(grey).resize((640, 640), PIL.Image.Resampling.LANCZOS).save(path)
    made = as_dicom(path, Picturing("somebody", "1", view), MODEL.manifest.input)
    made.save_as(folder / "exported.dcm", enforce_file_format=True)
    return open_image(folder / "exported.dcm")


@pytest.mark.slow
def test_12_bits_of_3328_x_2560_and_8_bits_of_640_x_640_score_alike(
    session: onnxruntime.InferenceSession, tmp_path: Path
) -> None:
    differences, scores = [], []
    for path, view in large_exams(tmp_path):
        image = open_image(path)
        assert image.shape == (3328, 2560)
        small = as_exported(image, view, tmp_path)
        scores.append(score(session, image, view))
        differences.append(abs(scores[-1] - score(session, small, view)))
    assert np.mean(differences) < 0.02, differences
    assert np.ptp(scores) > 2 * np.mean(differences), scores


def test_an_image_that_is_stored_mirrored_scores_the_same(
    session: onnxruntime.InferenceSession, tmp_path: Path
) -> None:
    view = View(Laterality.LEFT, "MLO")
    (made,) = phantom.exam("A", [view])
    made.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    made.PixelData = made.pixel_array[:, ::-1].tobytes()
    made.PatientOrientation = ""
    made.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    one, other = (
        score(session, open_image(tmp_path / name), view) for name in ("one.dcm", "other.dcm")
    )
    assert one == pytest.approx(other, abs=1e-6)


def test_a_score_is_of_a_breast_by_the_mean_of_its_views_and_never_of_the_other_breast() -> None:
    manifest = MODEL.manifest
    (output,) = manifest.outputs
    assert isinstance(output, ScoreOutput)
    assert manifest.unit.of == "image"
    assert output.combine is not None
    assert (output.combine.breast, output.combine.exam) == ("mean of views", "highest")


def test_it_is_a_demonstration_for_research_alone() -> None:
    manifest = MODEL.manifest
    assert manifest.status == "demonstration"
    assert manifest.statement.startswith("Demonstration, not for clinical use")
    assert manifest.intended_use == "triage"
    assert manifest.licence.weights == "LicenseRef-breast-triage-research-only"
    assert (FOLDER / "LICENSE-weights.txt").exists()


def test_levels_are_told_with_counts_and_intervals() -> None:
    (output,) = MODEL.manifest.outputs
    assert isinstance(output, ScoreOutput)
    names = [point.name for point in output.operating_points]
    assert names == ["urgent", "specificity 80"]
    for point, wanted in zip(output.operating_points, (0.9, 0.8), strict=True):
        assert point.about == "exam"
        assert point.specificity >= wanted
        assert point.specificity_interval[0] < point.specificity
        assert point.negatives >= 20
        assert point.positives >= 20


def test_the_card_first_says_what_it_is_not() -> None:
    card = (FOLDER / "README.md").read_text("utf-8")
    assert card.index("## What it is not") < card.index("## What it is\n")
    assert "On real scanners nothing was measured" in card


def test_it_ships_as_the_issue_of_its_figures_wants() -> None:
    """The lower end of matched AUC lies above chance, the plain one above 0.62."""
    rows = table_in(FOLDER / "README.md", "Cross-validation")
    plain = rows["AUC within folds, averaged"][0]
    matched = rows["matched: pairs alike in machine and age"][0]
    assert 0.62 <= float(plain.split()[0]) < 0.80
    assert float(matched.split("(")[1].split()[0]) > 0.50
    assert {"age alone, without any image", "machine alone, without any image"} <= {*rows}


def test_recipe_and_manifest_prepare_an_image_alike() -> None:
    recipe = read_recipe(FOLDER / "recipe.toml")
    assert recipe.operations == MODEL.manifest.operations
    assert (recipe.folds.salt, recipe.folds.count) == ("breast-triage", 5)


def test_all_bundled_weights_are_below_25_mb() -> None:
    files = [path for path in bundled_models_dir().rglob("*") if path.suffix == ".onnx"]
    assert sum(path.stat().st_size for path in files) < MOST_OF_ALL_WEIGHTS
