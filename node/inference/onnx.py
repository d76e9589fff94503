"""ONNX Runtime, and nothing else of it anywhere in the node.

A session is checked against its manifest when it is opened and its answers are checked when
they come, so that whoever calls `run` may trust names, shapes and numbers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.config import Provider
from node.errors import ConfigError, ModelError
from node.manifest import Model

# The official builds tell Microsoft about the machine and the models, unless this stands before
# they are loaded (Privacy.md of ONNX Runtime). Nothing of a hospital is told to anybody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

Tensor = NDArray[np.float32]
ERRORS_ONLY = 3
PROVIDERS: Mapping[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
}


def available_providers() -> list[Provider]:
    """Return what networks can run on with the ONNX Runtime that is installed."""
    found = onnxruntime.get_available_providers()
    return [provider for provider, name in PROVIDERS.items() if name in found]


class Session:
    """A network in memory, ready to run."""

    def __init__(self, model: Model, threads: int, provider: Provider = "cpu") -> None:
        self._name = model.manifest.name
        self._session = _open(model, threads, provider)
        self._input_shape = _input_shape(model)
        self._output_shapes = _output_shapes(model)
        self._check_signature()

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run the network once and return its declared outputs by name."""
        if tensor.shape != self._input_shape:
            raise ModelError(
                f"model {self._name} expects an input of shape {self._input_shape}, "
                f"got {tensor.shape}"
            )
        names = list(self._output_shapes)
        try:
            values = self._session.run(names, {self._input_name: tensor})
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(f"model {self._name} failed: {_first_line(error)}") from error
        answers = dict(zip(names, values, strict=True))
        for name, value in answers.items():
            self._check_answer(name, value)
        return answers

    def warm_up(self) -> None:
        """Run once on a black image, so that the first patient does not wait for allocations."""
        self.run(np.zeros(self._input_shape, np.float32))

    @property
    def _input_name(self) -> str:
        return str(self._session.get_inputs()[0].name)

    def _check_signature(self) -> None:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ConfigError(f"model {self._name} has {len(inputs)} inputs, expected one")
        if inputs[0].type != "tensor(float)" or not _fits(inputs[0].shape, self._input_shape):
            raise ConfigError(
                f"model {self._name} takes {inputs[0].type} {inputs[0].shape}, its manifest says "
                f"tensor(float) {list(self._input_shape)}; correct [pixels] in the manifest"
            )
        found = {output.name: output for output in self._session.get_outputs()}
        for name, shape in self._output_shapes.items():
            if name not in found:
                raise ConfigError(
                    f"model {self._name} has no output {name!r}, only "
                    f"{', '.join(sorted(found))}; correct [output] tensor in the manifest"
                )
            if found[name].type != "tensor(float)" or not _fits(found[name].shape, shape):
                raise ConfigError(
                    f"model {self._name}: output {name!r} is {found[name].type} "
                    f"{found[name].shape}, expected tensor(float) {list(shape)}"
                )

    def _check_answer(self, name: str, value: Any) -> None:
        expected = self._output_shapes[name]
        if not isinstance(value, np.ndarray) or value.dtype != np.float32:
            raise ModelError(f"model {self._name}: output {name!r} is not a tensor of floats")
        if value.shape != expected:
            raise ModelError(
                f"model {self._name}: output {name!r} has shape {value.shape}, expected {expected}"
            )
        if not np.isfinite(value).all():
            raise ModelError(f"model {self._name}: output {name!r} holds NaN or infinity")


def _input_shape(model: Model) -> tuple[int, ...]:
    pixels = model.manifest.pixels
    return (1, pixels.channels, pixels.height, pixels.width)


def _output_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return model.manifest.output.tensor_shapes(model.manifest.pixels)


def _fits(declared: list[Any], expected: tuple[int, ...]) -> bool:
    """Return whether a declared shape, where names and None are free, allows the expected one."""
    return len(declared) == len(expected) and all(
        not isinstance(size, int) or size == wanted
        for size, wanted in zip(declared, expected, strict=True)
    )


def _open(model: Model, threads: int, provider: Provider) -> Any:
    """Open the network from the very bytes that were verified."""
    if provider not in (known := available_providers()):
        raise ConfigError(
            f'[inference] provider = "{provider}" is not in the installed ONNX Runtime '
            f"{onnxruntime.__version__}, which has: {', '.join(known)}; install one that has it"
        )
    content = model.read_weights()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = ERRORS_ONLY
    # Of other formats nobody has seen whether all of the network is in the file.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle means idle
    # What a provider cannot run runs on the CPU; in the same place, if it cannot run at all.
    names = list(dict.fromkeys([PROVIDERS[provider], PROVIDERS["cpu"]]))
    try:
        session = onnxruntime.InferenceSession(content, sess_options=options, providers=names)
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ConfigError(
            f"{model.weights_path}: ONNX Runtime cannot load it: {_first_line(error)}"
        ) from error
    if PROVIDERS[provider] not in session.get_providers():
        raise ConfigError(
            f'[inference] provider = "{provider}" cannot be used on this machine: ONNX Runtime '
            "took the CPU instead; see that the device and its driver are there"
        )
    return session


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
