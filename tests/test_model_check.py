"""A model package is tried before a hospital does."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime
import pytest
from packages import CLASSES, write_package
from radiographs import chest_model
from small_models import SHARE_OF_WHITE, model, model_in_two_files
from typer.testing import CliRunner

from node.cli import app
from node.config import Provider, bundled_models_dir
from node.domains.mammography.sop_classes import (
    MG_FOR_PRESENTATION,
    MG_FOR_PROCESSING,
    SECONDARY_CAPTURE,
)
from node.errors import ConfigError
from node.inference import onnx as runtime
from node.inference.onnx import OnnxSession
from node.inference.session import Session, Shape, Tensor
from node.manifest import Model
from node.onnx_file import refuse_external_data
from node.packages import checking
from node.packages.checking import check_package
from node.trial import phantom

pytestmark = pytest.mark.usefixtures("warm_inference")

SCORE = """\
kind = "score"
tensor = "score"
label = "AI score"
score = { value = "S1", scheme = "99TEST", meaning = "Score" }
[output.heat_map]
tensor = "map"
height = 8
width = 8
concept = { value = "W1", scheme = "99TEST", meaning = "Warmth" }
"""


def call(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["models", *map(str, arguments)])
    return result.exit_code, result.output


def copied(folder: Path) -> Path:
    return shutil.copytree(bundled_models_dir() / "breast-area", folder / "breast-area")


def failures(package: Path) -> dict[str, str]:
    return {found.what: found.words for found in check_package(Model(package)) if not found.is_ok}


@pytest.mark.usefixtures("small_exam")
@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("breast-area", "takes 'image' of 1 x 1 x 640 x 512"),
        pytest.param(
            "breast-density", "takes 'image' of 1 x 1 x 384 x 384", marks=pytest.mark.slow
        ),
        pytest.param("breast-triage", "takes 'image' of 1 x 1 x 640 x 384", marks=pytest.mark.slow),
        pytest.param("planted-disc", "takes 'image' of 1 x 1 x 240 x 192", marks=pytest.mark.slow),
    ],
)
def test_the_bundled_models_pass_every_check(
    name: str, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    code, said = call("check", name)
    assert code == 0, said
    assert network in said
    assert "a generated exam of four views: " in said
    assert "only the CPU is there: nothing to compare" in said
    assert "of 1 in reference/reference.toml 1 compared, and the same" in said


def test_the_models_are_listed_with_what_they_are() -> None:
    code, said = call("list")
    assert code == 0
    assert "breast-area 1.0.0, research" in said
    assert "breast-density 1.0.0, research" in said


@pytest.mark.usefixtures("small_exam")
def test_a_package_of_ones_own_is_checked_by_its_folder(tmp_path: Path) -> None:
    package = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES).folder
    (package / "README.md").write_text("# Small\n\n## Measured\n\nAUC 0.91 (0.87 to 0.94)\n")
    code, said = call("check", package)
    assert code == 0, said


def test_other_weights_than_declared_are_told(tmp_path: Path) -> None:
    package = copied(tmp_path)
    (package / "model.onnx").write_bytes(b"other")
    found = failures(package)
    assert found.keys() == {"weights", "network"}
    assert "restore the file or correct the manifest" in found["weights"]


def test_weights_in_another_file_are_told_even_from_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = model_in_two_files(tmp_path).folder
    monkeypatch.chdir(package)
    assert failures(package)["weights"].endswith(
        "export the model as one file, with torch.onnx.export(..., external_data=False) or "
        'onnx.save(onnx.load("model.onnx"), "model.onnx"), and put the SHA-256 of that into the '
        "manifest"
    )
    for arguments in (["check", "."], ["check", package]):
        code, said = call(*arguments)
        assert code == 1
        assert "the tensor 'weights' has its values in another file" in " ".join(said.split())


def test_what_the_remedy_says_makes_one_file_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model_in_two_files(tmp_path).weights_path
    monkeypatch.chdir(path.parent)
    onnx.save(onnx.load("model.onnx"), "model.onnx")
    refuse_external_data(path, path.read_bytes())


def test_a_figure_with_its_interval_is_read_as_papers_write_it(tmp_path: Path) -> None:
    package = write_package(tmp_path)
    for figure in (
        "AUC 0.91 (95% CI 0.87-0.94)",
        "AUC 0.91 (95 % CI: 0.87\N{EN DASH}0.94)",
        "AUC 0.91 [0.87, 0.94]",
        "sensitivity 91 % (87 % to 94 %)",
        "n = 322",
    ):
        (package / "README.md").write_text(f"## Measured\n\n{figure}\n", "utf-8")
        assert "card" not in failures(package), figure
    for figure in ("AUC 0.91 (2024-05-01)", "AUC 0.91", "see [the paper]"):
        (package / "README.md").write_text(f"## Measured\n\n{figure}\n", "utf-8")
        assert "states no figure with its interval" in failures(package)["card"], figure


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "there is no model card"),
        ("# A model\n\nIt is good.\n", 'no section "Measured"'),
        ("## Measured\n\nAUC 0.99.\n", "states no figure with its interval"),
        ("## Measured\n\nVery well.\n\n## Limits\n\nn = 8\n", "states no figure"),
    ],
)
def test_a_card_that_states_nothing_measured_is_told(
    text: str | None, told: str, tmp_path: Path
) -> None:
    package = write_package(tmp_path)  # whose weights are no network: nothing more is tried
    if text is not None:
        (package / "README.md").write_text(text)
    assert told in failures(package)["card"]


@pytest.mark.usefixtures("small_exam")
@pytest.mark.parametrize("sop_class", [MG_FOR_PROCESSING, SECONDARY_CAPTURE])
def test_a_model_of_other_objects_is_tried_on_those(sop_class: str, tmp_path: Path) -> None:
    package = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES).folder
    manifest = package / "manifest.toml"
    manifest.write_text(manifest.read_text().replace(MG_FOR_PRESENTATION, sop_class))
    (package / "README.md").write_text("## Measured\n\nn = 322\n")
    assert failures(package) == {}


@pytest.mark.usefixtures("small_exam")
def test_a_model_that_analyses_none_of_the_exam_fails_and_is_told_to_give_other_images(
    tmp_path: Path,
) -> None:
    found = failures(model(tmp_path, "mask = Sub(image, image)").folder)
    assert "not analysed: no breast outline found" in found["exam"]
    assert found["exam"].endswith(
        "if it is right about these, give images that the model was made for: --files FOLDER, of "
        "DICOM objects"
    )


@pytest.mark.usefixtures("small_exam")
def test_a_model_of_views_that_nobody_can_generate_is_tried_on_given_files(tmp_path: Path) -> None:
    package = model(tmp_path, SHARE_OF_WHITE, output="float[1,2] density", described=CLASSES).folder
    manifest = package / "manifest.toml"
    text = manifest.read_text().replace('projections = ["CC", "MLO"]', 'projections = ["FB"]')
    text = re.sub(r"expected_views = .*", "", text)
    manifest.write_text(text)
    assert failures(package)["exam"].startswith("no view of FB can be generated; give images")
    images = phantom.exam("given", phantom.EXAM[:2])
    for image in images:
        image.ViewPosition = "FB"
        del image.ViewCodeSequence
    phantom.save(images, tmp_path / "given")
    found = {one.what: one for one in check_package(Model(package), tmp_path / "given")}
    assert found["exam"].is_ok, found["exam"].words
    assert found["exam"].words.startswith("2 given images: ")
    assert found["answers"].words.endswith("for 2 different inputs")


@pytest.mark.usefixtures("small_exam")
def test_a_model_of_other_images_is_tried_on_one_that_says_it_is_what_it_wants(
    tmp_path: Path,
) -> None:
    found = {one.what: one for one in check_package(chest_model(tmp_path))}
    assert [what for what, one in found.items() if not one.is_ok] == ["card"]
    assert found["exam"].words.startswith("a generated exam of one image: Series 1 image 1 opacity")


def test_an_unknown_model_is_named() -> None:
    code, said = call("check", "breast-aera")
    assert code == 1
    assert 'did you mean "breast-area"?' in said


@pytest.fixture
def two_outputs(tmp_path: Path) -> Model:
    """A model of one score and a heat map."""
    body = """
        axes = Constant<value_ints = [2, 3]>()
        white = ReduceMean<keepdims = 0>(image, axes)
        score = Identity(white)
        map = AveragePool<kernel_shape = [8, 8], strides = [8, 8]>(image)
    """
    return model(tmp_path, body, output="float[1,1] score, float[1,1,8,8] map", described=SCORE)


@pytest.fixture
def second_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is there under a second name."""
    names = {"cpu": "CPUExecutionProvider", "openvino": "CPUExecutionProvider"}
    monkeypatch.setattr(runtime, "PROVIDERS", names)


@pytest.mark.usefixtures("second_provider", "small_exam")
def test_every_output_is_compared_on_every_provider(two_outputs: Model) -> None:
    found = {one.what: one for one in check_package(two_outputs)}["providers"]
    assert found.is_ok
    assert found.words == (
        "openvino differs from the CPU by at most 0 in 'score'; "
        "openvino differs from the CPU by at most 0 in 'map'"
    )


@pytest.mark.usefixtures("second_provider", "small_exam")
@pytest.mark.parametrize(("difference", "is_ok"), [(0.009, True), (0.011, False)])
def test_a_provider_that_differs_too_far_from_the_cpu_fails(
    difference: float, is_ok: bool, two_outputs: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        """A session that asks another, and says something else in one place of the heat map."""

        def __init__(self, asked: Session) -> None:
            self._asked = asked

        @property
        def inputs(self) -> Mapping[str, Shape]:
            return self._asked.inputs

        def run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            answers = self._asked.run(tensors)
            answers["map"][0, 0, 3, 5] += difference
            return answers

    def opened(model: Model, threads: int, provider: Provider = "cpu") -> Session:
        here = OnnxSession(model, threads, provider)
        return here if provider == "cpu" else Elsewhere(here)

    monkeypatch.setattr(checking, "OnnxSession", opened)
    found = {one.what: one for one in check_package(two_outputs)}["providers"]
    assert found.is_ok == is_ok
    assert f"by at most {difference:.2g} in 'map'" in found.words
    assert is_ok or "allowed are 0.01" in found.words


@pytest.mark.usefixtures("small_exam")
def test_a_provider_without_its_device_is_no_fault_of_the_model(
    two_outputs: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def available() -> list[Provider]:
        return ["cpu", "cuda"]

    monkeypatch.setattr(checking, "available_providers", available)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    found = {one.what: one for one in check_package(two_outputs)}["providers"]
    assert found.is_ok
    assert found.words == "cuda is installed, and cannot be used on this machine"


def test_a_provider_that_is_not_installed_refuses_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        ConfigError, match=r'provider = "cuda" is not in the installed ONNX Runtime'
    ):
        OnnxSession(model(tmp_path), 1, "cuda")


def test_a_network_that_takes_several_images_fails_and_is_told_by_their_names(
    tmp_path: Path,
) -> None:
    image = "float[1,1,64,64]"
    inputs = f"{image} before, {image} after"
    package = model(tmp_path, "mask = Sub(after, before)", inputs=inputs).folder
    assert "has 2 inputs: 'before' of [1, 1, 64, 64] and" in failures(package)["network"]
