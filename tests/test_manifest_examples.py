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
from node.imaging.motion import CAUTION_MM, caution_of
from node.manifest import (
    BoxesOutput,
    ClassesOutput,
    Combination,
    Manifest,
    MaskOutput,
    ScoreOutput,
)
from node.manifest.voxels import MOST_VOXELS

PAGE = (bundled_models_dir() / "README.md").read_text("utf-8")
HEAD = (bundled_models_dir() / "breast-area" / "manifest.toml").read_text("utf-8")
EXAMPLES = [block for block in re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE) if "[output]" in block]


BLOCKS = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE)
(SOLIDS,) = [block for block in BLOCKS if 'kind = "solids"' in block]
(NUMBER,) = [block for block in BLOCKS if 'kind = "number"' in block]
(SEVERAL_OUTPUTS,) = [b for b in BLOCKS if "[[outputs]]" in b and b not in (SOLIDS, NUMBER)]
(VOLUMES,) = [block for block in BLOCKS if 'domain = "breast_mr"' in block]
(SEVERAL_IMAGES,) = [block for block in BLOCKS if "[[inputs]]" in block and block != VOLUMES]
TRIAGE = """
[triage]
output = "malignancy"
urgent = "high"
"""
(LEVELS,) = [block for block in BLOCKS if "[triage]" in block]


def loaded(example: str, intended_use: str = "detection") -> Manifest:
    """Return the manifest that the example and the head of breast-area make up."""
    text = HEAD.partition("[output]\n")[0] + example
    text = text.replace('intended_use = "measurement"', f'intended_use = "{intended_use}"')
    return Manifest.model_validate(tomllib.loads(text))


def test_every_example_loads_and_there_is_one_of_each_kind() -> None:
    outputs = [loaded(example).outputs[0] for example in EXAMPLES]
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
    assert [code.value for code in lesions.outputs[0].looks_for] == ["129793001"]
    assert [code.value for code in boxes.outputs[0].looks_for] == ["129793001"]
    for other in (breast, score, classes):
        assert other.outputs[0].looks_for == ()
    assert boxes.outputs[0].tensor_shapes(boxes.image_shape) == {"boxes": (1, 100, 5)}
    shapes = score.outputs[0].tensor_shapes(score.image_shape)
    assert shapes == {"score": (1, 1), "heat": (1, 1, 40, 32)}
    assert isinstance(boxes.outputs[0], BoxesOutput)
    assert boxes.outputs[0].same_lesion_within_mm == 10
    assert manifest.chest_wall(boxes.operations) == "left", "without it nothing is matched"


@pytest.mark.parametrize(
    "use", get_args(manifest.Manifest.model_fields["intended_use"].annotation), ids=str
)
def test_every_intended_use_loads_and_is_named(use: str) -> None:
    example = SEVERAL_OUTPUTS + TRIAGE if use == "triage" else EXAMPLES[0]
    assert loaded(example, use).intended_use == use
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `intended_use`")]
    assert f"`{use}`" in row


def test_the_example_of_several_outputs_says_what_the_page_says_of_it() -> None:
    malignancy, places = loaded(SEVERAL_OUTPUTS + TRIAGE, "triage").outputs
    assert (malignancy.name, malignancy.about, malignancy.combines) == (
        "malignancy",
        "image",
        Combination(breast="highest", exam="highest"),
    )
    assert malignancy.tensor_shapes((1, 64, 48)) == {"probabilities": (1, None)}
    assert places.tensor_shapes((1, 64, 48)) == {"saliency": (1, 1, 46, 30)}


def test_the_example_of_several_images_gives_each_tensor_its_images() -> None:
    score = SEVERAL_OUTPUTS.partition('[[outputs]]\nname = "places"')[0]
    score = score.replace('combine = { breast = "highest", exam = "highest" }\n', "")
    read = loaded(SEVERAL_IMAGES + score)
    assert read.unit.of == "exam"
    assert [one.shape((3, 64, 48)) for one in read.inputs] == [(2, 3, 64, 48)] * 2


def of_volumes(example: str = VOLUMES, outputs: str = "") -> Manifest:
    """Return the manifest that the example of volumes and the head of breast-area make up."""
    domain, _, tables = example.partition("[input]\n")
    score = SEVERAL_OUTPUTS.partition('[[outputs]]\nname = "places"')[0]
    score = score.replace('combine = { breast = "highest", exam = "highest" }\n', "")
    head = HEAD.partition("[input]\n")[0].replace('"measurement"', '"detection"')
    return Manifest.model_validate(
        tomllib.loads(f"{domain}{head}[input]\n{tables}{outputs or score}")
    )


def test_the_example_of_volumes_says_what_the_page_says_of_it() -> None:
    read = of_volumes()
    assert read.unit.is_of_volumes
    assert read.input.expected_phases == 4
    assert read.input.body_parts == ("BREAST",)
    assert [one.op for one in read.operations] == [
        *("signal", "orient", "spacing", "percentiles", "size"),
    ]
    (phases,) = read.inputs
    assert phases.shape(read.image_shape) == (1, 3, 96, 256, 384)
    batch = of_volumes(VOLUMES.replace('join = "channels"', 'join = "batch"'))
    assert batch.inputs[0].shape(batch.image_shape) == (3, 1, 96, 256, 384)
    one = VOLUMES.replace('["pre", "post 1", "post 2"]', '["post 1"]').replace("join", "# join")
    alone = of_volumes(one.replace('of = "pre"', 'of = "each"'))
    assert alone.inputs[0].shape(alone.image_shape) == (1, 1, 96, 256, 384)


def test_the_example_of_solids_says_what_the_page_says_of_it() -> None:
    late = VOLUMES.replace(
        '"post 2"]\nmissing', '"late"]\nlate = { middle_s = 450, within_s = 60 }\nmissing'
    )
    late = late.replace('"post 2"', '"late"').replace("refuse", "blank")
    left = NUMBER.replace("element = 0", "element = 1").replace('"R breast"', '"L breast"')
    read = of_volumes(late, SOLIDS + NUMBER + left)
    solids, right, _ = read.outputs
    assert isinstance(solids, manifest.SolidsOutput) and isinstance(right, manifest.NumberOutput)
    assert read.tensor_shapes == {"masks": (1, 3, 96, 256, 384), "ratios": (1, None)}
    assert read.tensors_of_none == {"ratios"} and right.about == "R breast"
    assert [part.left_out for part in solids.parts] == [False, False, True]
    assert [part.of for part in solids.parts] == [None, solids.parts[0].label, None]
    assert [code.value for code in read.looks_for] == ["ENHANCING"]
    assert (read.is_followed, solids.followed) == (True, 0)


def test_the_page_says_how_many_voxels_there_may_be_and_when_a_caution_is_printed() -> None:
    assert f"{MOST_VOXELS:,} at most ({4 * MOST_VOXELS >> 20} MiB)" in PAGE
    assert f"Above {CAUTION_MM:g} mm the report says so" in PAGE
    assert caution_of(3.1, "pre", "post 1") in " ".join(PAGE.split())


def test_the_example_of_levels_needs_the_operating_points_that_it_names() -> None:
    words = tomllib.loads(LEVELS)["triage"]
    with pytest.raises(ValueError, match=r'expected an operating point .* found "low"'):
        loaded(SEVERAL_OUTPUTS + "[triage]" + LEVELS.partition("[triage]")[2], "triage")
    low = SEVERAL_OUTPUTS.replace(
        '[[outputs]]\nname = "places"',
        re.sub('"high"', '"low"', POINT).replace("0.7\n", "0.3\n") + '[[outputs]]\nname = "places"',
    )
    read = loaded(low + "[triage]" + LEVELS.partition("[triage]")[2], "triage").triage
    assert read is not None and read.model_dump() == words


POINT = (
    "[[outputs.operating_points]]"
    + re.split(r"\[\[outputs", SEVERAL_OUTPUTS.partition("[[outputs.operating_points]]")[2])[0]
)


def words(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from words(kind)


SECTIONS = (
    *(Manifest, MaskOutput, ClassesOutput, manifest.Class, BoxesOutput, ScoreOutput),
    *(manifest.MapOutput, manifest.ManifestUnit, manifest.InputTensor, manifest.Combination),
    *(manifest.Temperature, manifest.Platt, manifest.ManifestPoint, manifest.ManifestNegatives),
    *(manifest.ManifestTriage, manifest.BoxClass),
    *(manifest.NumberOutput, manifest.SolidsOutput, manifest.SolidPart, manifest.PhaseMoment),
    *get_args(manifest.Operation),
)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_word_of_a_manifest_is_on_the_page(section: type[BaseModel]) -> None:
    table = " ".join(line for line in PAGE.splitlines() if line.startswith("|"))
    of_code = {"value", "scheme", "meaning"}  # shown once, below the table
    known = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`([^`]*)`", table))))
    assert set(words(section)) - of_code - known == set()
    assert all(f"{word} = " in PAGE for word in of_code)
