"""What a network is to whoever runs it: named tensors in, named tensors out, all of them float32.

Where it runs is its tenant's affair: `onnx` runs it in this process. Whatever tenant it is checks
what goes in and what comes out against one `Signature`, so that whoever calls `run` may trust
names, shapes and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from node.errors import ModelError

Tensor = NDArray[np.float32]
Shape = tuple[int, ...]
LooseShape = tuple[int | None, ...]
"""None where any size will do."""


class Session(Protocol):
    """A network, ready to run."""

    @property
    def inputs(self) -> Mapping[str, Shape]:
        """The shape of each tensor that it takes, by name."""

    def run(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the network once on all of its inputs and return its declared outputs by name.

        Raises ModelError if these are not its inputs, or if it fails, or answers what it must not.
        """


@dataclass(frozen=True, slots=True)
class Signature:
    """What a network takes and gives, by name."""

    model_name: str
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, LooseShape]
    may_be_nan: frozenset[str] = frozenset()
    """Outputs where NaN says that there is no number."""

    def check_inputs(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise ModelError unless these are the network's inputs, each of its shape."""
        for name in tensors:
            if name not in self.inputs:
                raise self._error(f"has no input {name!r}; it takes {in_words(self.inputs)}")
        for name, shape in self.inputs.items():
            if name not in tensors:
                raise self._error(f"got no input {name!r}; it takes {in_words(self.inputs)}")
            self._check(f"input {name!r}", tensors[name], shape)

    def check_answers(self, answers: Mapping[str, Any]) -> None:
        """Raise ModelError unless these are the network's outputs, in numbers."""
        for name, shape in self.outputs.items():
            if name not in answers:
                raise self._error(f"gave no output {name!r}")
            self._check(f"output {name!r}", answers[name], shape)
            odd = np.isinf if name in self.may_be_nan else _is_no_number
            if odd(answers[name]).any():
                raise self._error(f"output {name!r} holds NaN or infinity")

    def _check(self, what: str, value: Any, shape: LooseShape) -> None:
        if not isinstance(value, np.ndarray):
            raise self._error(f"{what} is {type(value).__name__}, expected a tensor of float32")
        if value.dtype != np.float32:
            raise self._error(f"{what} is of {value.dtype}, expected float32")
        if not fits(value.shape, shape):
            raise self._error(f"{what} has shape {value.shape}, expected {shape}")

    def _error(self, words: str) -> ModelError:
        return ModelError(f"model {self.model_name}: {words}")


def _is_no_number(values: Tensor) -> NDArray[np.bool_]:
    return ~np.isfinite(values)


def fits(declared: Sequence[object], expected: LooseShape) -> bool:
    """Return whether a shape, where names and None are free, allows the expected one."""
    return len(declared) == len(expected) and all(
        wanted is None or not isinstance(size, int) or size == wanted
        for size, wanted in zip(declared, expected, strict=True)
    )


def in_words(tensors: Mapping[str, LooseShape]) -> str:
    """Name tensors with their shapes."""
    sizes = {
        name: " x ".join("any" if size is None else str(size) for size in shape)
        for name, shape in tensors.items()
    }
    return " and ".join(f"{name!r} of {shape}" for name, shape in sizes.items())


def only_input(session: Session) -> str:
    """Return the name of the input of a network that has one, as its opener has made sure."""
    (name,) = session.inputs
    return name


def warm_up(session: Session) -> None:
    """Run once on black images, so that the first patient does not wait for allocations."""
    session.run({name: np.zeros(shape, np.float32) for name, shape in session.inputs.items()})
