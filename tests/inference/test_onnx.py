import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from small_models import COPY, NOT_A_NUMBER, SIZE, declared, model, model_in_two_files

from node import config
from node.errors import ConfigError, ModelError
from node.inference import Inference
from node.inference.onnx import OnnxSession
from node.inference.session import Session, Tensor, only_input, warm_up
from node.manifest import Model

SHAPE = (1, 1, SIZE, SIZE)
INPUT = np.full(SHAPE, 0.25, np.float32)
DIFFERENCE = "mask = Sub(after, before)"
BOTH = f"float[1,1,{SIZE},{SIZE}] before, float[N,1,H,{SIZE}] after"


def test_a_network_answers_by_name(tmp_path: Path) -> None:
    session = OnnxSession(model(tmp_path), threads=1)
    assert session.inputs == {"image": SHAPE}
    warm_up(session)
    answers = session.run({only_input(session): INPUT})
    assert list(answers) == ["mask"]
    assert np.array_equal(answers["mask"], INPUT)


def with_roles(package: Model, *inputs: tuple[str, str], of: str = "exam") -> Model:
    """Say which images each input is for: ("tensor", "R CC, L CC: batch")."""
    path = package.folder / "manifest.toml"
    roles = [role for _, words in inputs for role in words.partition(":")[0].split(", ")]
    text = f'[unit]\nof = "{of}"\nroles = {json.dumps(roles)}\n\n'
    for tensor, words in inputs:
        named, _, join = words.partition(": ")
        text += f'[[inputs]]\ntensor = "{tensor}"\nroles = {json.dumps(named.split(", "))}\n'
        text += f'join = "{join}"\n' if join else ""
    head, _, _ = path.read_text("utf-8").partition("[output]\n")
    head = head.replace('["CC", "MLO"]', '["CC"]').replace(', "R MLO", "L MLO"', "")
    path.write_text(head.replace("[pixels]", text + "\n[pixels]") + SCORE, "utf-8")
    return Model(package.folder)


SCORE = """
[[outputs]]
kind = "score"
tensor = "mask"
label = "score"
score = { value = "S", scheme = "99TEST", meaning = "Score" }
"""
ELEMENT_2 = 'element = 2\ncombine = { breast = "none", exam = "none" }\n'
TO_SCORE = """
    spread = Sub(after, before)
    mean = ReduceMean<keepdims = 0>(spread)
    single = Constant<value_ints = [1, 1]>()
    mask = Reshape(mean, single)
"""


@pytest.fixture
def difference(tmp_path: Path) -> Session:
    """A network that takes one image from another."""
    package = model(tmp_path, TO_SCORE, inputs=BOTH, output="float[1,1] mask")
    return OnnxSession(with_roles(package, ("before", "R CC"), ("after", "L CC")), threads=1)


def test_a_network_of_two_inputs_gets_each_by_its_name(difference: Session) -> None:
    assert difference.inputs == {"before": SHAPE, "after": SHAPE}
    warm_up(difference)
    before, after = INPUT, np.random.default_rng(2).random(SHAPE, np.float32)
    expected = pytest.approx(float((after - before).mean()), abs=1e-6)
    for given in ({"before": before, "after": after}, {"after": after, "before": before}):
        assert difference.run(given)["mask"][0, 0] == expected
    assert difference.run({"before": after, "after": after})["mask"][0, 0] == 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"before": INPUT, "later": INPUT},
            "model small: has no input 'later'; it takes 'before' of 1 x 1 x 64 x 64 and 'after' of"
            " 1 x 1 x 64 x 64",
        ),
        ({"before": INPUT}, "model small: got no input 'after'; it takes 'before' of"),
        ({}, "model small: got no input 'before'; it takes"),
        (
            {"before": INPUT, "after": INPUT[0]},
            "model small: input 'after' has shape (1, 64, 64), expected (1, 1, 64, 64)",
        ),
        (
            {"before": INPUT.astype(np.float64), "after": INPUT},
            "model small: input 'before' is of float64, expected float32",
        ),
        (
            {"before": INPUT.tolist(), "after": INPUT},
            "model small: input 'before' is list, expected a tensor of float32",
        ),
    ],
)
def test_what_is_not_a_networks_inputs_is_refused_in_words(
    given: dict[str, Tensor], words: str, difference: Session
) -> None:
    with pytest.raises(ModelError, match=f"^{re.escape(words)}"):
        difference.run(given)


def test_a_package_whose_network_takes_several_images_does_not_start(tmp_path: Path) -> None:
    package = model(tmp_path, DIFFERENCE, inputs=BOTH)
    inference = Inference(config.InferenceSettings(processes=1), [package])
    words = (
        "model small has 2 inputs: 'before' of [1, 1, 64, 64] and 'after' of ['N', 1, 'H', 64]; "
        'say which image each is for: [unit] of = "exam" or "breast" with roles, and one [[inputs]]'
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}"):
        inference.start()


@pytest.mark.parametrize(
    ("body", "inputs", "words"),
    [
        (
            "mask = Transpose<perm = [0, 3, 1, 2]>(image)",
            f"float[1,{SIZE},{SIZE},1] image",
            "takes 'image' as tensor(float) [1, 64, 64, 1], its manifest says tensor(float) "
            "[1, 1, 64, 64]; export it with channels first (NCHW), or begin it with a Transpose",
        ),
        (
            "mask = Identity(image)",
            f"float[1,1,{SIZE},{SIZE}] image, float[1,1] age",
            "has 2 inputs: 'image' of [1, 1, 64, 64] and 'age' of [1, 1]; say which image each is "
            'for: [unit] of = "exam" or "breast" with roles, and one [[inputs]] with tensor and '
            "roles for each; what is no image (age, a mask) cannot be given: make it a constant",
        ),
        (
            "mask = Transpose<perm = [0, 3, 1, 2]>(image)",
            f"float[1,{SIZE},{SIZE},3] image",
            "takes 'image' as tensor(float) [1, 64, 64, 3], its manifest says tensor(float) "
            "[1, 1, 64, 64]; export it with channels first (NCHW), or begin it with a Transpose",
        ),
        (
            "mask = Cast<to = 1>(image)",
            f"float16[1,1,{SIZE},{SIZE}] image",
            "takes 'image' as tensor(float16) [1, 1, 64, 64], its manifest says tensor(float) "
            "[1, 1, 64, 64]; export it in float32 (model.float() before the export), or begin and",
        ),
        (
            "mask = Sub(image, other)",
            f"float[1,1,{SIZE},{SIZE}] image, float[1,1,1,1] other",
            "has 2 inputs: 'image' of [1, 1, 64, 64] and 'other' of [1, 1, 1, 1]; say which",
        ),
        (
            "mask = Cast<to = 1>(image)",
            f"uint8[1,1,{SIZE},{SIZE}] image",
            "takes 'image' as tensor(uint8) [1, 1, 64, 64], its manifest says tensor(float) [1, 1, "
            "64, 64]; begin the graph with a Cast: it gets float32, and [pixels] says of which",
        ),
        (
            "axis = Constant<value_ints = [2]>() mask = Squeeze(image, axis)",
            f"float[1,1,1,{SIZE},{SIZE}] image",
            "takes 'image' as tensor(float) [1, 1, 1, 64, 64], its manifest says tensor(float) [1, "
            "1, 64, 64]; five axes are a volume, or several images: of images give each as a role",
        ),
        (
            "axis = Constant<value_ints = [1]>() mask = ReduceMean(image, axis)",
            f"float[1,3,{SIZE},{SIZE}] image",
            "takes 'image' as tensor(float) [1, 3, 64, 64], its manifest says tensor(float) [1, 1, "
            "64, 64]; correct channels, which make 1 now",
        ),
    ],
)
def test_a_network_that_takes_something_else_than_such_images_is_refused_with_what_to_export(
    body: str, inputs: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"^model small {re.escape(words)}"):
        OnnxSession(model(tmp_path, body, inputs=inputs), threads=1)


def test_a_network_that_takes_images_of_any_size_gets_those_of_the_manifest(tmp_path: Path) -> None:
    package = model(tmp_path, COPY, inputs="float[N,C,H,W] image", output="float[N,C,H,W] mask")
    assert OnnxSession(package, threads=1).inputs == {"image": SHAPE}


def test_nan_is_a_model_error(tmp_path: Path) -> None:
    session = OnnxSession(model(tmp_path, NOT_A_NUMBER), threads=1)
    with pytest.raises(ModelError, match="NaN"):
        session.run({"image": INPUT})


def test_an_input_of_another_shape_is_a_model_error(tmp_path: Path) -> None:
    expected = r"input 'image' has shape \(1, 1, 63, 64\), expected \(1, 1, 64, 64\)"
    with pytest.raises(ModelError, match=expected):
        OnnxSession(model(tmp_path), threads=1).run({"image": INPUT[:, :, 1:]})


def test_an_answer_of_another_shape_than_expected_is_a_model_error(tmp_path: Path) -> None:
    body = """
        shape = Constant<value_ints = [1, 1, -1]>()
        mask = Reshape(image, shape)
    """
    with pytest.raises(ConfigError, match="output 'mask' is"):
        OnnxSession(model(tmp_path, body, output="float[1,1,N] mask"), threads=1)


def test_a_shape_that_only_shows_when_running_is_a_model_error(tmp_path: Path) -> None:
    body = """
        half = Constant<value_float = 0.5>()
        all_but_rows = Constant<value_ints = [0, 1, 3]>()
        brightest = ReduceMax<keepdims = 0>(image, all_but_rows)
        is_bright = Greater(brightest, half)
        mask = Compress<axis = 2>(image, is_bright)
    """
    session = OnnxSession(model(tmp_path, body, output="float[1,1,H,W] mask"), threads=1)
    with pytest.raises(ModelError, match="shape"):
        session.run({"image": INPUT})


def test_a_network_that_fails_while_running_is_a_model_error(tmp_path: Path) -> None:
    body = """
        half = Constant<value_float = 0.5>()
        is_bright = Greater(image, half)
        where = NonZero(is_bright)
        shape = Constant<value_ints = [1, 1, 64, 64]>()
        floats = Cast<to = 1>(where)
        mask = Reshape(floats, shape)
    """
    with pytest.raises(ModelError, match="model small failed"):
        OnnxSession(model(tmp_path, body), threads=1).run({"image": INPUT})


def test_weights_with_another_hash_are_refused(tmp_path: Path) -> None:
    package = model(tmp_path)
    package.weights_path.write_bytes(package.weights_path.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match="SHA-256"):
        OnnxSession(package, threads=1)


@pytest.mark.parametrize("is_inside", [True, False])
def test_a_network_with_weights_in_another_file_is_refused_wherever_it_is_opened(
    is_inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = model_in_two_files(tmp_path)
    monkeypatch.chdir(package.folder if is_inside else tmp_path)
    with pytest.raises(ConfigError, match=r"tensor 'weights' .* 'model\.onnx\.data'"):
        OnnxSession(package, threads=1)


def test_another_format_of_onnx_runtime_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path).weights_path
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    path.write_bytes((tmp_path / "model.ort").read_bytes())
    with pytest.raises(ConfigError, match="is in the format of ONNX Runtime itself"):
        OnnxSession(declared(path.parent), threads=1)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    package = model(tmp_path)
    package.weights_path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        OnnxSession(package, threads=1)


def test_a_network_that_takes_another_size_than_the_manifest_says_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"correct \[pixels\]"):
        OnnxSession(model(tmp_path, size=SIZE * 2), threads=1)


def test_a_network_without_the_declared_output_is_refused(tmp_path: Path) -> None:
    package = model(tmp_path, "other = Identity(image)", output=f"float[1,1,{SIZE},{SIZE}] other")
    with pytest.raises(ConfigError, match="no output 'mask', only 'other'"):
        OnnxSession(package, threads=1)


@pytest.mark.parametrize("newer", ["ir_version: 99", 'opset_import: ["": 99]'])
def test_a_network_that_is_newer_than_onnx_runtime_is_told_how_to_export_it(
    newer: str, tmp_path: Path
) -> None:
    package = model(tmp_path)
    versions = {"ir_version": "ir_version: 10", "opset_import": 'opset_import: ["": 21]'}
    versions[newer.partition(":")[0]] = newer
    image = f"float[1,1,{SIZE},{SIZE}]"
    network = onnx.parser.parse_model(
        f"<{', '.join(versions.values())}> small ({image} image) => ({image} mask) {{ {COPY} }}"
    )
    package.weights_path.write_bytes(network.SerializeToString())
    with pytest.raises(ConfigError, match=r"it is newer than ONNX Runtime .*: export it again"):
        OnnxSession(declared(package.folder), threads=1)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("float[1,2] mask", "expected tensor(float) [1, 1]; of several numbers say which: element"),
        ("float[1,1,1] mask", "expected tensor(float) [1, 1]"),
    ],
)
def test_a_score_among_several_numbers_is_asked_for(shape: str, words: str, tmp_path: Path) -> None:
    sizes = shape.partition("[")[2].partition("]")[0]
    count = int(np.prod([int(size) for size in sizes.split(",")]))
    body = (
        f"flat = Constant<value_floats = [{', '.join(['0.5'] * count)}]>()"
        f" shape = Constant<value_ints = [{sizes}]>() mask = Reshape(flat, shape)"
    )
    package = model(tmp_path, body, output=shape, described=SCORE.partition("[[outputs]]")[2])
    with pytest.raises(ConfigError, match=re.escape(words)):
        OnnxSession(package, threads=1)


def test_an_element_that_the_network_does_not_have_is_told(tmp_path: Path) -> None:
    body = "mask = Constant<value = float[1,2] {0.25, 0.5}>()"
    described = SCORE.partition("[[outputs]]")[2] + ELEMENT_2
    package = model(tmp_path, body, output="float[1,2] mask", described=described, several=True)
    with pytest.raises(ConfigError, match=r"has 2 elements, 0 to 1, and .* says element = 2"):
        OnnxSession(package, threads=1)
