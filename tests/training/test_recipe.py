"""recipe.toml: what it says, what it leaves to us, and that the whole of it is written down."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from node.errors import ConfigError
from node.manifest.pixels import GreyValues, Rank, Resize
from node.training.examples import reading_manifest
from node.training.recipe import Recipe, default_recipe, read_recipe, recipe_text
from node.training.stages import frozen_stages

HEAD = 'name = "triage"\ntitle = "Triage"\n'


def read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, "utf-8")
    return read_recipe(path)


def problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    return str(raised.value).replace(f"{tmp_path}/", "")


def test_a_name_and_a_title_are_enough(tmp_path: Path) -> None:
    recipe = read(tmp_path, HEAD)
    assert recipe == default_recipe("triage")
    assert (recipe.about, recipe.network.trunk, recipe.folds.count) == (
        "breast",
        "efficientnet-lite0",
        5,
    )
    first, *_, resize, last = recipe.operations
    assert isinstance(first, GreyValues)
    assert isinstance(resize, Resize)
    assert (resize.height, resize.width, resize.fit) == (640, 384, "stretch")
    assert isinstance(last, Rank)


def test_the_recipe_that_was_used_is_written_whole(tmp_path: Path) -> None:
    text = recipe_text(default_recipe("triage"))
    assert read(tmp_path, text) == default_recipe("triage")
    assert recipe_text(read(tmp_path, text)) == text
    for table in (r"\[schedule\]", r"\[folds\]", r"\[augmentation\]", r"\[levels\]"):
        assert re.search(rf"^{table}$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("network", "frozen"),
    [
        ("", "block 4"),
        ('trunk = "efficientnet-lite0"', "block 4"),
        ('trunk = "inception-v3"', "mixed 7"),
        ('trunk = "inception-v3"\nfrozen = "mixed 9"', "mixed 9"),
        ('trunk = "inception-v3"\nfrozen = "all"', "all"),
    ],
)
def test_what_is_frozen_is_of_the_trunk_and_is_written(
    network: str, frozen: str, tmp_path: Path
) -> None:
    recipe = read(tmp_path, f"{HEAD}[network]\n{network}\n")
    assert recipe.network.frozen == frozen
    assert frozen_stages(recipe.network.trunk, frozen)
    assert f'frozen = "{frozen}"\n' in recipe_text(recipe)


WORDS = st.text("ABCxyz _-.\"'\\#[]=é\n", min_size=1, max_size=12)
NAMES = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    shares = st.floats(0, 1, allow_nan=False)
    auxiliary = [
        {"column": column, "weight": 0.1, "values": draw(st.dictionaries(WORDS, shares))}
        for column in draw(st.lists(NAMES, unique=True, max_size=2))
    ]
    matched = [
        {"column": column} | draw(st.sampled_from([{}, {"within": 5.0}]))
        for column in draw(st.lists(NAMES, unique=True, max_size=2))
    ]
    place = {"op": "place", "height": 640, "width": 400, "rows_of": {"CC": "centre"}}
    labels = {"positive": draw(st.lists(WORDS, max_size=2)), "auxiliary": auxiliary}
    words: dict[str, Any] = {
        "name": "triage",
        "title": "Triage",
        "labels": labels | {"matched": matched},
        "schedule": {"rate": draw(st.floats(1e-9, 0.5)), "seed": draw(st.integers(0, 2**32 - 1))},
        "folds": {"salt": draw(WORDS)},
        "pixels": [{"op": "grey", "values": "stored", "scale": "2^bits-1"}, place],
    }
    return Recipe.model_validate(words)


@given(recipes())
@settings(max_examples=examples(150))
def test_what_is_written_says_what_was_meant(recipe: Recipe) -> None:
    assert Recipe.model_validate(tomllib.loads(recipe_text(recipe))) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '[network]\ntrunk = "resnet"\n',
            'recipe.toml:4: network.trunk: expected "efficientnet-lite0" or "inception-v3", found '
            '"resnet"',
        ),
        ("[schedule]\nepoch = 3\n", 'schedule.epoch: unknown key, did you mean "epochs"?'),
        (
            '[[labels.auxiliary]]\ncolumn = "age"\n[[labels.auxiliary]]\ncolumn = "age"\n',
            'recipe.toml:6: labels.auxiliary.column: "age" is there twice',
        ),
        (
            '[[pixels]]\nop = "mirror"\nchest_wall = "left"\n',
            'expected op = "grey" first: what the numbers of the image are',
        ),
        (
            '[[pixels]]\nop = "grey"\nvalues = "stored"\nscale = "none"\n'
            '[[pixels]]\nop = "histogram"\nbins = 8\n',
            "pixels: expected operations that end in an image, not a vector",
        ),
        (
            '[input]\nmodality = "CT"\nbody_parts = ["BREAST"]\nsop_classes = ["1.2"]\n',
            'input.modality: expected "MG" or "MR": training is of mammograms and breast MRI, '
            'found "CT"',
        ),
        (
            '[network]\ntrunk = "inception-v3"\nfrozen = "mixed-7"\n',
            'recipe.toml:5: network.frozen: inception-v3 has no stage "mixed-7"; did you mean '
            '"mixed 7"?',
        ),
        (
            '[network]\nfrozen = "mixed 7"\n',
            'recipe.toml:4: network.frozen: efficientnet-lite0 has no stage "mixed 7"; known are: '
            "stem, block 0, ",
        ),
        (
            'about = "exam"\n[input]\nmodality = "MG"\nbody_parts = ["BREAST"]\n'
            'sop_classes = ["1.2"]\nprojections = ["CC", "MLO"]\n',
            'input.expected_views: about = "exam" reads both breasts in all projections at once: '
            'expected ["R CC", "L CC", "R MLO", "L MLO"], found []',
        ),
        (
            'about = "exam"\n[input]\nmodality = "MG"\nbody_parts = ["BREAST"]\n'
            'sop_classes = ["1.2"]\nprojections = ["CC", "MLO"]\n'
            'expected_views = ["R CC", "L CC"]\n',
            'found ["R CC", "L CC"]',
        ),
        (
            '[input]\nmodality = "MG"\nbody_parts = ["BREAST"]\nsop_classes = ["1.2"]\n'
            'projections = ["MLO"]\n',
            'about: expected "image": a breast has one projection here',
        ),
        (
            'data = """Of X.\n  ## Measured\n"""\n',
            'data: a line begins with "#", which the card takes for a heading; write it without, '
            'found "## Measured"',
        ),
        ('remarks = "# A"\n', 'recipe.toml:3: remarks: a line begins with "#"'),
        ('statement = "# A"\n', 'recipe.toml:3: statement: a line begins with "#"'),
        ("[folds]\ncount = 1\n", "folds.count: expected a number not below 2, found 1"),
        ("[schedule]\nrate = 3\n", "schedule.rate: expected a number below 1.0, found 3"),
    ],
)
def test_mistakes_are_told_with_their_lines(text: str, words: str, tmp_path: Path) -> None:
    assert words in problems(tmp_path, HEAD + text)


def of_pixels(*operations: dict[str, Any], size: int = 80, trunk: str = "inception-v3") -> Recipe:
    """Return a recipe of stored values and further operations."""
    resize = {"op": "resize", "fit": "stretch", "filter": "bilinear", "antialias": True}
    scale = "2^bits-1"
    if operations and operations[0]["op"] == "grey":
        scale, operations = operations[0]["scale"], operations[1:]
    words: dict[str, Any] = {
        "name": "triage",
        "title": "Triage",
        "network": {"trunk": trunk},
        "pixels": [
            {"op": "grey", "values": "stored", "scale": scale},
            {**resize, "height": size, "width": 80},
            *operations,
        ],
    }
    return Recipe.model_validate(words)


AS_STORED = {"op": "grey", "scale": "none"}
RANK = {"op": "rank", "within": "above threshold"}
PLACE = {"op": "place", "height": 80, "width": 80}


def quantise(bits: int) -> dict[str, Any]:
    return {"op": "quantise", "bits": bits, "of": 1, "rounding": "nearest"}


def normalise(subtract: float, divide: float) -> dict[str, Any]:
    return {"op": "normalise", "subtract": [subtract], "divide": [divide]}


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [{"op": "channels", "count": 3}],
        [AS_STORED, RANK],
        [AS_STORED, quantise(8)],
        [AS_STORED, quantise(8), {**PLACE, "fill": 255}, {"op": "channels", "count": 3}],
        [quantise(16), normalise(0, 65535)],
        [quantise(8), normalise(0, 255)],
        [{"op": "z-score"}, quantise(8)],
        [normalise(-1, 2)],
    ],
)
def test_images_that_a_trunk_can_take(operations: list[dict[str, Any]]) -> None:
    recipe = of_pixels(*operations, size=75)
    assert recipe.operations[0].op == "grey"


@pytest.mark.parametrize(
    ("operations", "found"),
    [
        ([AS_STORED], "0 or more"),
        ([{"op": "z-score"}], "any"),
        ([normalise(0.5, 0.5)], "-1 to 1"),
        ([normalise(0, 0.5)], "0 to 2"),
        ([quantise(4)], "0 to 15"),
        ([quantise(8), normalise(0, 1)], "0 to 255"),
        ([{**PLACE, "fill": -1}], "-1 to 1"),
        (
            [
                {"op": "channels", "count": 3},
                {"op": "normalise", "subtract": [0, 0.5, 0], "divide": [1, 1, 0.25]},
            ],
            "-0.5 to 4",
        ),
    ],
)
def test_numbers_that_no_trunk_can_take_are_told(
    operations: list[dict[str, Any]], found: str
) -> None:
    with pytest.raises(ValueError, match=f"expected numbers from 0 to 1, found {found}: training"):
        of_pixels(*operations)


def test_channels_and_sizes_that_no_trunk_can_take_are_told(tmp_path: Path) -> None:
    pixels = (
        '[[pixels]]\nop = "grey"\nvalues = "voi"\nscale = "range of voi"\n'
        '[[pixels]]\nop = "place"\nheight = 74\nwidth = 80\n'
        '[[pixels]]\nop = "channels"\ncount = 2\n'
    )
    found = problems(tmp_path, HEAD + pixels)
    assert found == ("recipe.toml:13: pixels.count: expected 1 or 3, which a trunk reads, found 2")
    found = problems(
        tmp_path, HEAD + pixels.replace("2\n", "3\n") + '[network]\ntrunk = "inception-v3"'
    )
    assert "pixels: expected 75 rows and columns or more for inception-v3, found 74 x 80" in found
    assert of_pixels(size=8, trunk="efficientnet-lite0").network.trunk == "efficientnet-lite0"


REGRESSION = """
about = "image"
[lesions]
epochs = 4
[regression]
alike = [[], [{ column = "machine" }, { column = "age", edges = [50, 60, 70] }]]
[[regression.features]]
after = "block 4"
[[regression.features]]
after = "top"
pool = "lesions"
c = 1e-3
"""


def test_a_regression_is_written_whole_and_without_what_says_nothing_beside_it(
    tmp_path: Path,
) -> None:
    recipe = read(tmp_path, HEAD + REGRESSION)
    text = recipe_text(recipe)

    assert recipe.regression is not None
    assert [len(by) for by in recipe.regression.alike] == [0, 2]
    assert list(recipe.regression.alike[1][1].edges) == [50, 60, 70]
    assert [one.c for one in recipe.regression.features] == [1e-2, 1e-3]
    assert recipe.lesions is not None
    assert (recipe.lesions.epochs, recipe.lesions.moving_average) == (4, 0.98)
    assert read(tmp_path, text) == recipe
    assert recipe_text(read(tmp_path, text)) == text
    for words in ("[schedule]", "[augmentation]", "image_weight", "balanced_within", "auxiliary"):
        assert words not in text
    assert 'pool = "log-sum-exp"' not in text
    assert "[lesions]" in text


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"image"', '"breast"', 'recipe.toml:4: about: expected "image": [regression] gives one'),
        ("", "[schedule]\nepochs = 2\n", "schedule: says nothing where [regression] learns"),
        ("", "[augmentation]\n", "augmentation: says nothing where [regression] learns"),
        ("", '[network]\npool = "mean"\n', "network.pool: says nothing where [regression]"),
        ("", "[network]\nimage_weight = 1\n", "network.image_weight: says nothing where"),
        (
            "",
            '[labels]\nbalanced_within = "machine"\n',
            "labels.balanced_within: says nothing where",
        ),
        (
            '"block 4"',
            '"block4"',
            'efficientnet-lite0 has no stage "block4"; did you mean "block 4"?',
        ),
        ('"top"', '"block 6"', 'pool: "lesions" needs [lesions], and after = "top"'),
        ("[lesions]\nepochs = 4\n", "", 'pool: "lesions" needs [lesions], and after = "top"'),
        (
            "",
            '[[regression.features]]\nafter = "block 4"\n',
            '"mean, highest, deviation" after block 4 is there twice',
        ),
        ("50, 60", "60, 50", "edges: expected numbers that rise, found [60.0, 50.0, 70.0]"),
        ("", '[network]\nfrozen = "all"\n', "[lesions] teaches those after it"),
        ("c = 1e-3", "c = 0", "c: expected a number above 0"),
    ],
)
def test_what_contradicts_a_regression_is_told(
    before: str, after: str, words: str, tmp_path: Path
) -> None:
    text = REGRESSION.replace(before, after) if before else REGRESSION + after
    assert words in problems(tmp_path, HEAD + text)


def test_a_heat_map_is_of_one_image_and_of_what_has_cells(tmp_path: Path) -> None:
    found = problems(tmp_path, HEAD + "heat_map = true\n")
    assert 'heat_map: expected about = "image"' in found
    plain = '[[regression.features]]\nafter = "block 4"\n'
    words = 'about = "image"\nheat_map = true\n'
    assert "heat_map: a regression has one with [lesions] alone" in problems(
        tmp_path, HEAD + words + plain
    )


def test_lesions_are_a_step_before_a_regression_of_images_in_the_form_of_films(
    tmp_path: Path,
) -> None:
    assert "lesions: is the first step of [regression]" in problems(tmp_path, HEAD + "[lesions]\n")
    pixels = (
        '[[pixels]]\nop = "grey"\nvalues = "voi"\nscale = "range of voi"\n'
        '[[pixels]]\nop = "resize"\nheight = 64\nwidth = 64\nfit = "pad"\n'
        'filter = "bilinear"\nantialias = true\n'
    )
    found = problems(tmp_path, HEAD + REGRESSION + pixels)
    assert 'pixels: expected operations that end in op = "resize" with fit = "stretch"' in found


def test_images_are_read_as_those_of_the_package_will_be() -> None:
    recipe = default_recipe("triage")
    manifest = reading_manifest(recipe)
    assert manifest.operations == recipe.operations
    assert manifest.input == recipe.input
    assert manifest.image_shape == (1, 640, 384)


# Breast MRI

OF_MR = HEAD + '[input]\nmodality = "MR"\n'


def test_of_breast_mr_the_modality_is_enough(tmp_path: Path) -> None:
    recipe = read(tmp_path, OF_MR)
    assert recipe.is_of_phases
    assert recipe.about == "exam"
    assert recipe.roles == ()
    assert recipe.channels == ("early",)
    assert recipe.augmentation.rotation_degrees == 0
    manifest = reading_manifest(recipe)
    assert (manifest.domain, manifest.image_batch) == ("breast_mr", 32)
    assert manifest.image_shape == (1, 128, 224)
    assert manifest.unit.roles == ("pre", "early")
    text = recipe_text(recipe)
    assert read(tmp_path, text) == recipe
    assert recipe_text(read(tmp_path, text)) == text


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('about = "breast"\n', 'about: expected "exam": a breast MRI shows both breasts'),
        ('channels = ["late"]\n', 'channels: "late" is none of the roles of [unit]'),
        ('channels = ["pre", "early"]\n', "expected 1 or 3 channels in all"),
        (
            '[unit]\nof = "exam"\nroles = ["pre", "each post"]\n',
            '"each post" gives many scores of a study',
        ),
        (
            'channels = ["post 1"]\n[unit]\nof = "exam"\nroles = ["pre", "post 1", "post 2"]\n',
            '"post 2" is read, and no channel',
        ),
        (
            '[[pixels]]\nop = "grey"\nvalues = "voi"\nscale = "range of voi"\n[[pixels]]\n'
            'op = "resize"\nheight = 96\nwidth = 96\nfit = "stretch"\nfilter = "bilinear"\n'
            "antialias = true\n",
            'expected op = "signal" first',
        ),
        ('[regression]\n[[regression.features]]\nafter = "top"\n', "is of mammograms"),
    ],
)
def test_what_cannot_be_learnt_of_breast_mr_is_told(tmp_path: Path, more: str, words: str) -> None:
    text = HEAD + more + OF_MR.removeprefix(HEAD)
    assert words in problems(tmp_path, text)


def test_words_of_phases_are_no_words_of_mammograms(tmp_path: Path) -> None:
    assert "channels: is of breast MRI" in problems(tmp_path, f'{HEAD}channels = ["early"]\n')


def test_enhancement_without_an_upper_end_is_no_image_for_a_trunk(tmp_path: Path) -> None:
    volumes = """
[[pixels]]
op = "signal"
[[pixels]]
op = "orient"
axes = "HPL"
[[pixels]]
op = "size"
slices = 24
rows = 80
columns = 112
[[pixels]]
op = "relative enhancement"
least = 0.1
"""
    mip = '[[pixels]]\nop = "mip"\nalong = "slices"\n'
    scaled = '[[pixels]]\nop = "percentiles"\nlow = 1\nhigh = 99\nof = "each"\n'
    assert "expected numbers from 0 to 1" in problems(tmp_path, OF_MR + volumes + mip)
    assert read(tmp_path, OF_MR + volumes + scaled + mip).operations
