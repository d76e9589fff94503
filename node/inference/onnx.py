"""ONNX Runtime, and nothing else of it anywhere in the node.

A network is checked against its manifest when it is opened, what goes in and what comes out each
time that it is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.config import Provider
from node.errors import ConfigError, ModelError
from node.inference.session import LooseShape, Shape, Signature, Tensor, fits
from node.manifest import Manifest, Model, ScoreOutput
from node.onnx_file import refuse_external_data, refuse_other_files

# The official builds tell Microsoft about the machine and the models, unless this stands before
# they are loaded (Privacy.md of ONNX Runtime). Nothing of a hospital is told to anybody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

ERRORS_ONLY = 3
FLOATS = "tensor(float)"
"""What ONNX Runtime calls float32."""
CHANNELS_LAST = "export it with channels first (NCHW), or begin it with a Transpose"
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
        self._signature = Signature(
            self._name,
            inputs=_taken(self._network, model.manifest),
            outputs=_given(self._network, model.manifest),
            may_be_nan=model.manifest.tensors_of_none,
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


def _taken(network: Any, manifest: Manifest) -> dict[str, Shape]:
    """Return the graph's inputs, each of the shape that the manifest says."""
    declared = {str(tensor.name): tensor for tensor in network.get_inputs()}
    of_image, batch = manifest.image_shape, manifest.image_batch
    if not manifest.inputs and len(declared) > 1:
        raise ConfigError(_without_roles(manifest, declared))
    shapes = {one.tensor: one.shape(of_image, batch) for one in manifest.inputs}
    shapes = shapes or dict.fromkeys(declared, (batch, *of_image))
    if shapes.keys() != declared.keys():
        raise ConfigError(
            f"model {manifest.name} takes {_quoted(declared)}, its manifest gives it "
            f"{_quoted(shapes)}; write one [[inputs]] for each, with the roles of its images"
        )
    for name, shape in shapes.items():
        if declared[name].type != FLOATS or not fits(declared[name].shape, shape):
            raise ConfigError(
                f"model {manifest.name} takes {name!r} as {declared[name].type} "
                f"{declared[name].shape}, its manifest says {FLOATS} {list(shape)}; "
                f"{_remedy(declared[name], shape)}"
            )
    return shapes


def _without_roles(manifest: Manifest, declared: Mapping[str, Any]) -> str:
    shapes = " and ".join(f"{name!r} of {one.shape}" for name, one in declared.items())
    return (
        f"model {manifest.name} has {len(declared)} inputs: {shapes}; say which image each is for: "
        '[unit] of = "exam" or "breast" with roles, and one [[inputs]] with tensor and roles for '
        "each; what is no image (age, a mask) cannot be given: make it a constant of the graph"
    )


def _given(network: Any, manifest: Manifest) -> Mapping[str, LooseShape]:
    """Return the manifest's outputs, all of which the graph has."""
    found = {output.name: output for output in network.get_outputs()}
    shapes = manifest.tensor_shapes
    for name, shape in shapes.items():
        if name not in found:
            raise ConfigError(
                f"model {manifest.name} has no output {name!r}, only {_quoted(sorted(found))}; "
                "correct the output's tensor in the manifest"
            )
        if found[name].type != FLOATS or not fits(found[name].shape, shape):
            raise ConfigError(
                f"model {manifest.name}: output {name!r} is {found[name].type} "
                f"{found[name].shape}, expected {FLOATS} {_shape_in_words(shape)}"
                f"{_remedy_of_output(found[name], shape)}"
            )
    for output in manifest.outputs:
        if isinstance(output, ScoreOutput) and output.element is not None:
            size = found[output.tensor].shape[-1]
            if isinstance(size, int) and output.element >= size:
                raise ConfigError(
                    f"model {manifest.name}: output {output.tensor!r} has {size} elements, 0 to "
                    f"{size - 1}, and the manifest says element = {output.element}"
                )
    return shapes


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _shape_in_words(shape: LooseShape) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


_OF_TYPES = {
    "tensor(float16)": (
        "export it in float32 (model.float() before the export), or begin and end the graph with a "
        "Cast: inputs and outputs are float32, what lies between may be of any type"
    ),
    "tensor(uint8)": (
        "begin the graph with a Cast: it gets float32, and [pixels] says of which range"
    ),
}


def _remedy(tensor: Any, shape: Shape) -> str:
    """Say what to do about an input that is not as the manifest says."""
    if tensor.type != FLOATS:
        return _OF_TYPES.get(tensor.type, "export it with inputs and outputs of float32")
    if len(tensor.shape) == 5:
        return _remedy_of_five_axes(shape)
    if len(tensor.shape) == len(shape) == 4:
        images, channels, height, width = shape
        if fits(tensor.shape, (images, height, width, None)) and tensor.shape[-1] in (1, 3):
            return CHANNELS_LAST
        if fits(tensor.shape, (images, None, height, width)):
            return f"correct channels, which make {channels} now"
    return "correct [pixels] in the manifest"


def _remedy_of_five_axes(shape: Shape) -> str:
    if len(shape) == 5:
        volumes, size = " x ".join(map(str, shape[:2])), " x ".join(map(str, shape[2:]))
        return (
            'correct the roles and join of [[inputs]], or "size" of [[pixels]], which make '
            f"{volumes} volumes of {size} now"
        )
    return (
        "five axes are a volume, or several images: of images give each as a role "
        '([unit] and [[inputs]], join = "batch" or "channels"), and end in a Reshape; volumes '
        'are those of breast MRI: domain = "breast_mr" (models/README.md, "Volumes")'
    )


def _remedy_of_output(tensor: Any, shape: LooseShape) -> str:
    """Say what to do about an output, as far as that can be seen."""
    if tensor.type != FLOATS:
        return "; " + _OF_TYPES.get(tensor.type, "end the graph with a Cast to float32")
    if shape == (1, 1) and len(tensor.shape) == 2:
        return "; of several numbers say which: element = 0, 1, ..."
    return ""


def _open(model: Model, threads: int, provider: Provider) -> Any:
    """Open the network from the very bytes that were verified."""
    if provider not in (known := available_providers()):
        raise ConfigError(
            f'[inference] provider = "{provider}" is not in the installed ONNX Runtime '
            f"{onnxruntime.__version__}, which has: {', '.join(known)}; install one that has it"
        )
    session = _loaded(model.read_weights(), model.weights_path, threads, provider)
    if PROVIDERS[provider] not in session.get_providers():
        raise ConfigError(
            f'[inference] provider = "{provider}" cannot be used on this machine: ONNX Runtime '
            "took the CPU instead; see that the device and its driver are there"
        )
    return session


def _loaded(content: bytes, path: Path, threads: int, provider: Provider) -> Any:
    """Return ONNX Runtime's session; `path` is for messages."""
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
        return onnxruntime.InferenceSession(content, sess_options=options, providers=names)
    except MemoryError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ConfigError(
            f"{path}: ONNX Runtime cannot load it: {_first_line(error)}{_remedy_of_age(str(error))}"
        ) from error


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """What a graph says of one of its inputs or outputs."""

    name: str
    type: str
    """As ONNX Runtime calls it: "tensor(float)"."""
    shape: tuple[int | None, ...]
    """None where any size will do, or the graph does not say."""


class Graph:
    """A network of which no manifest says anything yet."""

    def __init__(self, path: Path) -> None:
        try:
            self.content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        refuse_other_files(path, self.content)
        refuse_external_data(path, self.content)
        self._network = _loaded(self.content, path, 1, "cpu")
        self.inputs = tuple(map(_graph_tensor, self._network.get_inputs()))
        self.outputs = tuple(map(_graph_tensor, self._network.get_outputs()))

    def answers(self, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """Run it once; nothing is checked, and it says nothing if it fails."""
        names = [one.name for one in self.outputs]
        try:
            return dict(zip(names, self._network.run(names, dict(tensors)), strict=True))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            return {}


def _graph_tensor(found: Any) -> GraphTensor:
    sizes = (size if isinstance(size, int) and size > 0 else None for size in found.shape)
    return GraphTensor(str(found.name), str(found.type), tuple(sizes))


def remedy_of_input(tensor: GraphTensor) -> str:
    """Say what to do about an input that no manifest can describe, "" if one can."""
    if tensor.type != FLOATS:
        return _remedy(tensor, ())
    is_last = len(tensor.shape) == 4 and tensor.shape[-1] in (1, 3)
    if is_last and tensor.shape[1] not in (1, 3):
        return CHANNELS_LAST
    if len(tensor.shape) not in (2, 4, 5):
        return (
            "expected [images, channels, height, width], [1, n] of a vector, or of volumes "
            "[1, phases, slices, rows, columns]"
        )
    return ""


def _remedy_of_age(words: str) -> str:
    """Say what to do about a network that is newer than the ONNX Runtime that is installed."""
    if "IR version" not in words and "opset" not in words.lower():
        return ""
    return (
        f"; it is newer than ONNX Runtime {onnxruntime.__version__}: export it again with an older "
        "opset, as torch.onnx.export(..., opset_version=17) does, or by onnx.version_converter"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
