"""The beginning of a manifest, as it is written: lines, and questions that stand before guesses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from node.inference.onnx import Graph
from node.manifest import OPEN_QUESTION

_ASKED = f"# {OPEN_QUESTION}:"


@dataclass(slots=True)
class ManifestDraft:
    """What is known of the network, and the lines of the manifest so far."""

    name: str
    graph: Graph
    lines: list[str] = field(default_factory=list)
    questions: int = 0

    def ask(self, question: str) -> None:
        """Write a question; its guess comes next."""
        self.lines.append(f"{_ASKED} {question}")
        self.questions += 1

    def ask_codes(self, what: str) -> None:
        """Ask for coded concepts; guesses come next."""
        self.ask(f"{what}: DCM or SCT if there are such codes, else your own with a scheme 99...")

    def write(self, *lines: str) -> None:
        """Write lines of the manifest."""
        self.lines += lines


@dataclass(frozen=True, slots=True)
class Reads:
    """What the network reads at once."""

    unit: str
    roles: tuple[str, ...]
    inputs: tuple[tuple[str, tuple[str, ...], str], ...]
    """Tensor, roles, join."""
    of_image: tuple[int | None, ...]
    """What it gets of one image: (channels, height, width) or (n,); of a phase (1, slices, rows,
    columns)."""
    is_sure: bool = True

    @property
    def is_of_volumes(self) -> bool:
        """Whether it reads phases."""
        return len(self.of_image) == 4


def as_list(words: Sequence[str]) -> str:
    """Return words as a list of the manifest."""
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def output_called(tensor: str) -> str:
    """Return a name for the output of a tensor."""
    return re.sub(r"[^a-z0-9 _-]", "-", tensor.lower()).lstrip(" _-")[:48] or "output"


def guessed_label(tensor: str) -> str:
    """Return what a tensor's output may be called in reports, in ASCII."""
    return re.sub("[^ -~]", "-", tensor)[:64]


def guessed_code(tensor: str, end: str, meaning: str) -> str:
    """Return a code of one's own as the manifest has it, its value made of the tensor's name."""
    value = re.sub(r"[^A-Z0-9]", "", tensor.upper())[: 16 - len(end)] + end
    return f'{{ value = "{value}", scheme = "99LOCAL", meaning = "{meaning}" }}'
