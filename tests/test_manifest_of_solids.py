"""A manifest of a model that marks solids and measures numbers: how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from mr_models import PIXELS, uptake_model
from mr_solid_models import enhancing_model
from packages import write_package

from node.errors import ConfigError
from node.kinds import KINDS
from node.manifest import Model, NumberOutput, SolidsOutput, load_model
from node.manifest.output_words import OutputWords
from node.result import Code

SKIN = 'label = "enhancing skin"'
CHEST_WALL = 'site = { value = "78904004", scheme = "SCT", meaning = "Chest wall" }'
LATE = "late = { middle_s = 450, within_s = 50 }\n"
RATIO_UNIT = 'unit = { value = "1", scheme = "UCUM", meaning = "no units" }\nneeds'
SCORE = 'tensor = "score"\nactivation = "sigmoid"'
SLICES = '[[pixels]]\nop = "slices"\nalong = "slices"\ncount = 8\n'
PERCENTILES = PIXELS[PIXELS.index('[[pixels]]\nop = "percentiles"') :].strip()


def problems(model: Model, *changes: tuple[str, str]) -> list[str]:
    """Return what is told of a package whose manifest was changed, without file and line."""
    path = model.folder / "manifest.toml"
    text = path.read_text("utf-8")
    for present, other in changes:
        assert present in text, present
        text = text.replace(present, other)
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_model(model.manifest.name, model.folder.parent)
    return [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]


def output(model: Model, kind: type[OutputWords]) -> OutputWords:
    return next(one for one in model.manifest.outputs if isinstance(one, kind))


def test_a_model_of_solids_says_what_it_marks_and_what_can_be_made_of_that(tmp_path: Path) -> None:
    model = enhancing_model(tmp_path)
    solids = output(model, SolidsOutput)
    assert isinstance(solids, SolidsOutput)
    assert (solids.split, solids.smallest_ml, solids.followed) == ("breasts", 0, 0)
    number = output(model, NumberOutput)
    assert isinstance(number, NumberOutput) and number.unit.value == "1"
    assert model.manifest.makes("segmentation")
    assert model.manifest.makes("measurement-report")
    assert not uptake_model(tmp_path).manifest.makes("segmentation")
    assert "segmentation" in KINDS


def test_what_is_of_another_part_is_no_finding_by_itself(tmp_path: Path) -> None:
    model = enhancing_model(tmp_path)
    path = model.folder / "manifest.toml"
    text = path.read_text("utf-8").replace(SKIN, f'{SKIN}\nof = "enhancing volume"')
    path.write_text(text.replace("left_out = true\n", ""), "utf-8")
    solids = output(load_model("enhancing", tmp_path), SolidsOutput)
    assert [code.value for code in solids.looks_for] == ["ENHANCING"]


def test_a_part_says_where_it_is_and_is_in_the_breast_if_it_does_not(tmp_path: Path) -> None:
    path = enhancing_model(tmp_path).folder / "manifest.toml"
    path.write_text(path.read_text("utf-8").replace(SKIN, f"{SKIN}\n{CHEST_WALL}"), "utf-8")
    solids = output(load_model("enhancing", tmp_path), SolidsOutput)
    assert isinstance(solids, SolidsOutput)
    volume, skin = solids.parts
    assert volume.site is None
    assert skin.site is not None
    assert skin.site.as_code() == Code("78904004", "SCT", "Chest wall")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([('split = "breasts"\n', "")], "outputs.split: missing"),
        ([('"breasts"\ncurve', '"sides"\ncurve')], 'expected "breasts" or "none", found "sides"'),
        ([(SKIN, 'label = "enhancing volume"')], '"enhancing volume" is there twice'),
        (
            [(SKIN, f'{SKIN}\nof = "nothing"')],
            '"nothing" is no part before it that stands for itse',
        ),
        ([(SKIN, f'{SKIN}\nof = "enhancing skin"')], '"enhancing skin" is no part before it'),
        ([(SKIN, f'{SKIN}\nof = "enhancing volume"')], "is of parts that stand for themselves"),
        (
            [
                (SKIN, f'{SKIN}\nof = "enhancing volume"\n{CHEST_WALL}'),
                ("left_out = true\n", ""),
            ],
            'parts.site: has no effect: it lies where "enhancing volume" does',
        ),
        ([("optional =", "most_displaced_mm = 0\noptional =")], "expected a number above 0"),
        (
            [(LATE, "late = { middle_s = 450, within_s = 250 }\n")],
            "expected all of it after 200 s, when early ends, else one phase may be both; begins "
            "at 200 s",
        ),
        (
            [(LATE, "late = { middle_s = 60, within_s = 10 }\n")],
            "expected all of it after 200 s",
        ),
        (
            [
                ('"pre", "early", "late"', '"early", "late"'),
                ("optional =", "most_displaced_mm = 2\noptional ="),
                ('["region"]', '["early"]'),
                ('about = "breasts"\n', ""),
                ('op = "relative enhancement"\nleast = 0.4', 'op = "z-score"'),
            ],
            'is measured against "pre", which is none of the roles',
        ),
        ([("threshold = 0.5\nsplit", "threshold = 1.5\nsplit")], "expected a number below 1"),
        ([(SKIN, f'{SKIN}\nneeds = ["post 7"]')], '"post 7" is none of the roles of [unit]'),
        ([(SKIN, f'{SKIN}\nneeds = ["early"]')], 'has no effect: nothing is read without "early"'),
        ([('needs = ["late"]', 'needs = ["post 9"]')], '"post 9" is none of the roles of [unit]'),
        ([('"1", scheme = "UCUM"', '"1", scheme = "DCM"')], 'expected a unit of "UCUM"'),
        ([("curve = true", "curve = true\nsmallest_ml = -1")], "expected a number not below 0"),
        ([("curve = true", 'curve = true\nabout = "R breast"')], 'split = "breasts"'),
        (
            [('label = "enhancing volume"', 'label = "enhancing volume"\nleft_out = true')],
            "has no effect: all parts are left out",
        ),
        (
            [
                ('"pre", "early", "late"', '"early", "late"'),
                ('["region"]', '["early"]'),
                ('about = "breasts"\n', ""),
                ('op = "relative enhancement"\nleast = 0.4', 'op = "z-score"'),
            ],
            'solids lie on the slices of "pre", which is no role of [unit]',
        ),
        (
            [
                ('"pre", "early", "late"', '"pre", "early", "late", "each post"'),
                ('["region"]', '["each post"]'),
            ],
            'of several answers, one of "each post", there are no solids',
        ),
        (
            [
                ('["region"]', '["pre"]'),
                (
                    '[[outputs]]\nname = "enh',
                    '[[pixels]]\nop = "mip"\nalong = "rows"\n\n[[outputs]]\nname = "enh',
                ),
            ],
            "there are solids in volumes alone",
        ),
    ],
)
def test_what_is_amiss_is_told(
    changes: list[tuple[str, str]], expected: str, tmp_path: Path
) -> None:
    found = problems(enhancing_model(tmp_path), *changes)
    assert any(expected in line for line in found), found


def test_what_is_said_over_slices_needs_slices(tmp_path: Path) -> None:
    found = problems(uptake_model(tmp_path), (SCORE, f'{SCORE}\nover_slices = "highest"'))
    assert any('has no effect: it is of several slices, op = "slices"' in one for one in found)
    model = uptake_model(tmp_path, name="sliced")
    path = model.folder / "manifest.toml"
    text = path.read_text("utf-8").replace(PERCENTILES, SLICES)
    path.write_text(text.replace(SCORE, f'{SCORE}\nover_slices = "mean"'), "utf-8")
    assert load_model("sliced", tmp_path).manifest.tensor_shapes == {"score": (8, 1)}


def test_solids_and_numbers_are_no_words_of_mammograms(tmp_path: Path) -> None:
    number = (
        '[[outputs]]\nkind = "number"\ntensor = "n"\nlabel = "n"\n'
        'quantity = { value = "N", scheme = "99TEST", meaning = "N" }\n'
        'unit = { value = "1", scheme = "UCUM", meaning = "no units" }\n'
    )
    package = write_package(tmp_path)
    path = package / "manifest.toml"
    head = path.read_text("utf-8").partition("[output]")[0]
    path.write_text(head + number, "utf-8")
    with pytest.raises(ConfigError, match='is of breast MRI: domain = "breast_mr"'):
        Model(package)
