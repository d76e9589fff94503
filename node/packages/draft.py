"""The beginning of a manifest, as it is written: lines, and questions that stand before guesses."""

from __future__ import annotations

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
