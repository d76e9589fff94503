"""ONNX Runtime, and nothing else of it anywhere in the node.

A network is checked against its manifest when it is opened, what goes in and what comes out each
time that it is run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from node.config import Provider
from node.errors import ConfigError, ModelError
from node.inference.session import LooseShape, Shape, Signature, Tensor, fits
from node.manifest import Model

# The official builds tell Microsoft about the machine and the models, unless this stands before
# they are loaded (Privacy.md of ONNX Runtime). Nothing of a hospital is told to anybody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

ERRORS_ONLY = 3
FLOATS = "tensor(float)"
"""What ONNX Runtime calls float32."""
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


class OnnxSession:
    """A network in memory, run by ONNX Runtime: a tenant of `Session`."""

    def __init__(self, model: Model, threads: int, provider: Provider = "cpu") -> None:
        self._name = model.manifest.name
        self._network = _open(model, threads, provider)
        of_image = model.manifest.image_shape
        self._signature = Signature(
            self._name,
            inputs=self._taken((1, *of_image)),
            outputs=self._given(model.manifest.outputs[0].tensor_shapes(of_image)),
        )

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """The shape of each tensor that it takes, by the name that the graph gives it."""
        return self._signature.inputs

    def run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the network once on all of its inputs and return its declared outputs by name."""
        self._signature.check_inputs(tensors)
        names = list(self._signature.outputs)
        try:
            values = self._network.run(names, dict(tensors))
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(f"model {self._name} failed: {_first_line(error)}") from error
        answers = dict(zip(names, values, strict=True))
        self._signature.check_answers(answers)
        return answers

    def _taken(self, shape: Shape) -> dict[str, Shape]:
        """Return the graph's inputs; each is an image as [pixels] says, whatever its role."""
        declared = self._network.get_inputs()
        for tensor in declared:
            if tensor.type != FLOATS or not fits(tensor.shape, shape):
                raise ConfigError(
                    f"model {self._name} takes {tensor.name!r} as {tensor.type} {tensor.shape}, "
                    f"its manifest says {FLOATS} {list(shape)}; "
                    f"{_remedy(tensor, shape, len(declared))}"
                )
        return {str(tensor.name): shape for tensor in declared}

    def _given(self, shapes: Mapping[str, LooseShape]) -> Mapping[str, LooseShape]:
        """Return the manifest's outputs, all of which the graph has."""
        found = {output.name: output for output in self._network.get_outputs()}
        for name, shape in shapes.items():
            if name not in found:
                raise ConfigError(
                    f"model {self._name} has no output {name!r}, only "
                    f"{', '.join(sorted(found))}; correct [output] tensor in the manifest"
                )
            if found[name].type != FLOATS or not fits(found[name].shape, shape):
                raise ConfigError(
                    f"model {self._name}: output {name!r} is {found[name].type} "
                    f"{found[name].shape}, expected {FLOATS} {list(shape)}"
                )
        return shapes


def _remedy(tensor: Any, shape: Shape, inputs: int) -> str:
    """Say what to do about an input that is not as the manifest says."""
    if inputs > 1:
        return (
            f"it has {inputs} inputs, and a manifest cannot say yet what each is for: export a "
            "network of one input, the image"
        )
    if tensor.type != FLOATS:
        return "export it with inputs and outputs of float32; what lies between may be of any type"
    images, _, height, width = shape
    if len(tensor.shape) == len(shape) and fits(tensor.shape[:-1], (images, height, width)):
        return "export it with channels first (NCHW), or begin it with a Transpose"
    return "correct [pixels] in the manifest"


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
