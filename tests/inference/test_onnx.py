from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from small_models import NOT_A_NUMBER, SIZE, declared, model, model_in_two_files

from node.errors import ConfigError, ModelError
from node.inference.onnx import Session

INPUT = np.full((1, 1, SIZE, SIZE), 0.25, np.float32)


def test_a_network_answers_by_name(tmp_path: Path) -> None:
    session = Session(model(tmp_path), threads=1)
    session.warm_up()
    answers = session.run(INPUT)
    assert list(answers) == ["mask"]
    assert np.array_equal(answers["mask"], INPUT)


def test_nan_is_a_model_error(tmp_path: Path) -> None:
    session = Session(model(tmp_path, NOT_A_NUMBER), threads=1)
    with pytest.raises(ModelError, match="NaN"):
        session.run(INPUT)


def test_an_input_of_another_shape_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expects an input of shape"):
        Session(model(tmp_path), threads=1).run(INPUT[:, :, 1:])


def test_an_answer_of_another_shape_than_expected_is_a_model_error(tmp_path: Path) -> None:
    body = """
        shape = Constant<value_ints = [1, 1, -1]>()
        mask = Reshape(image, shape)
    """
    with pytest.raises(ConfigError, match="output 'mask' is"):
        Session(model(tmp_path, body, output="float[1,1,N] mask"), threads=1)


def test_a_shape_that_only_shows_when_running_is_a_model_error(tmp_path: Path) -> None:
    body = """
        half = Constant<value_float = 0.5>()
        all_but_rows = Constant<value_ints = [0, 1, 3]>()
        brightest = ReduceMax<keepdims = 0>(image, all_but_rows)
        is_bright = Greater(brightest, half)
        mask = Compress<axis = 2>(image, is_bright)
    """
    session = Session(model(tmp_path, body, output="float[1,1,H,W] mask"), threads=1)
    with pytest.raises(ModelError, match="shape"):
        session.run(INPUT)


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
        Session(model(tmp_path, body), threads=1).run(INPUT)


def test_weights_with_another_hash_are_refused(tmp_path: Path) -> None:
    package = model(tmp_path)
    package.weights_path.write_bytes(package.weights_path.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match="SHA-256"):
        Session(package, threads=1)


@pytest.mark.parametrize("is_inside", [True, False])
def test_a_network_with_weights_in_another_file_is_refused_wherever_it_is_opened(
    is_inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = model_in_two_files(tmp_path)
    monkeypatch.chdir(package.folder if is_inside else tmp_path)
    with pytest.raises(ConfigError, match=r"tensor 'weights' .* 'model\.onnx\.data'"):
        Session(package, threads=1)


def test_another_format_of_onnx_runtime_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path).weights_path
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    path.write_bytes((tmp_path / "model.ort").read_bytes())
    with pytest.raises(ConfigError, match="is no ONNX file"):
        Session(declared(path.parent), threads=1)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    package = model(tmp_path)
    package.weights_path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        Session(package, threads=1)


def test_a_network_that_takes_another_size_than_the_manifest_says_is_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"correct \[pixels\]"):
        Session(model(tmp_path, size=SIZE * 2), threads=1)


def test_a_network_without_the_declared_output_is_refused(tmp_path: Path) -> None:
    package = model(tmp_path, "other = Identity(image)", output=f"float[1,1,{SIZE},{SIZE}] other")
    with pytest.raises(ConfigError, match="no output 'mask', only other"):
        Session(package, threads=1)
