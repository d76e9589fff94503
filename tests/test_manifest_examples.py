"""The examples of models/README.md load, and its table names every word of a manifest."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

from node import manifest
from node.config import bundled_models_dir
from node.manifest import BoxesOutput, ClassesOutput, Manifest, MaskOutput, ScoreOutput

PAGE = (bundled_models_dir() / "README.md").read_text("utf-8")
HEAD = (bundled_models_dir() / "breast-area" / "manifest.toml").read_text("utf-8")
EXAMPLES = [block for block in re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE) if "[output]" in block]


def loaded(example: str, intended_use: str = "detection") -> Manifest:
    """Return the manifest that the example and the head of breast-area make up."""
    text = HEAD.partition("[output]\n")[0] + example
    text = text.replace('intended_use = "measurement"', f'intended_use = "{intended_use}"')
    return Manifest.model_validate(tomllib.loads(text))


def test_every_example_loads_and_there_is_one_of_each_kind() -> None:
    outputs = [loaded(example).output for example in EXAMPLES]
    kinds = [(type(o), getattr(o, "regions", "")) for o in outputs]
    assert kinds == [
        (MaskOutput, "all"),
        (MaskOutput, "largest"),
        (BoxesOutput, ""),
        (ScoreOutput, ""),
        (ClassesOutput, ""),
    ]


def test_the_examples_say_what_the_page_says_of_them() -> None:
    lesions, breast, boxes, score, classes = [loaded(example) for example in EXAMPLES]
    assert [code.value for code in lesions.output.looks_for] == ["129793001"]
    assert [code.value for code in boxes.output.looks_for] == ["129793001"]
    for other in (breast, score, classes):
        assert other.output.looks_for == ()
    assert boxes.output.tensor_shapes(boxes.pixels) == {"boxes": (1, 100, 5)}
    shapes = score.output.tensor_shapes(score.pixels)
    assert shapes == {"score": (1, 1), "heat": (1, 1, 40, 32)}
    assert isinstance(boxes.output, BoxesOutput)
    assert boxes.output.same_lesion_within_mm == 10
    assert boxes.pixels.orientation == "chest wall left", "without it nothing is matched"


@pytest.mark.parametrize(
    "use", get_args(manifest.Manifest.model_fields["intended_use"].annotation), ids=str
)
def test_every_intended_use_loads_and_is_named(use: str) -> None:
    assert loaded(EXAMPLES[0], use).intended_use == use
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `intended_use`")]
    assert f"`{use}`" in row


def words(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from words(kind)


SECTIONS = (Manifest, MaskOutput, ClassesOutput, manifest.Class, BoxesOutput, ScoreOutput)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_word_of_a_manifest_is_on_the_page(section: type[BaseModel]) -> None:
    table = " ".join(line for line in PAGE.splitlines() if line.startswith("|"))
    of_code = {"value", "scheme", "meaning"}  # shown once, below the table
    known = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`([^`]*)`", table))))
    assert set(words(section)) - of_code - known == set()
    assert all(f"{word} = " in PAGE for word in of_code)
