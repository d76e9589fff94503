"""What a child says of solids is believed only if it can be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mr_solid_models import enhancing_model
from test_slices_through_the_pipeline import sliced

from node import score_json
from node.imaging.solid_bits import packed
from node.inference.messages import answered, score_in
from node.inference.solid_messages import remark_of
from node.manifest import Model, ScoreOutput
from node.result import (
    PERCENT,
    Code,
    DecidingSlice,
    Measurement,
    OutputScore,
    SolidSaid,
    UnitScore,
)
from node.study import Laterality

STACK = (6, 5, 7)
SLICES = {"pre": 6, "early": 6, "late": 6}
MASK = np.zeros(STACK, np.bool_)
MASK[2:4, 1:3, 1:5] = True
NOTHING = packed(np.zeros(STACK, np.bool_))
RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
UNIT = Code("1", "UCUM", "no units")
NUMBERS = [
    OutputScore((Measurement(Code("MOST", "99TEST", "Highest enhancement"), 1.5, UNIT, 2),)),
    OutputScore((Measurement(Code("RATIO", "99TEST", "Early to late ratio"), 1.1, UNIT, 1),)),
]
MARKED = SolidSaid(0, RIGHT, 1.5, packed(MASK), (2, 3), (("post 1", 80.0),))
SOLIDS = (
    MARKED,
    SolidSaid(0, LEFT, 0.0, NOTHING),
    SolidSaid(1, RIGHT, 0.0, NOTHING),
    SolidSaid(1, LEFT, 0.2, packed(MASK), (3,)),
)
SCORE = UnitScore(
    "unit",
    (OutputScore(solids=SOLIDS), *NUMBERS),
    displaced=(("early", 0.0), ("late", 0.0)),
    stack=STACK,
    remarks=("said",),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return enhancing_model(tmp_path_factory.mktemp("model"))


def heard(score: UnitScore, model: Model, slices: dict[str, int] | None = None) -> Any:
    of = SLICES if slices is None else slices
    seen = replace(score, displaced=tuple(one for one in score.displaced if one[0] in of))
    return score_in(answered(seen), "unit", model.manifest.outputs, of, ("post 1", "post 2"))


def with_solids(*solids: SolidSaid) -> UnitScore:
    return replace(SCORE, outputs=(OutputScore(solids=solids), *NUMBERS))


def other(**changes: Any) -> UnitScore:
    return with_solids(replace(MARKED, **changes), *SOLIDS[1:])


def test_what_can_be_is_believed_and_comes_back_as_it_was(model: Model) -> None:
    assert heard(SCORE, model) == SCORE
    one_breast = with_solids(SOLIDS[0], SOLIDS[2])
    assert heard(one_breast, model) == one_breast
    unread = replace(one_breast, unread=(LEFT,))
    assert heard(unread, model) == unread
    of_none = replace(with_solids(), unread=(RIGHT, LEFT))
    assert heard(of_none, model) == of_none
    without = replace(
        SCORE, outputs=(*SCORE.outputs[:2], OutputScore()), displaced=(("early", 0.0),)
    )
    assert heard(without, model, {"pre": 6, "early": 6}) == without


def test_there_is_no_number_where_the_manifest_lets_there_be_none(
    model: Model, tmp_path: Path
) -> None:
    none = replace(SCORE, outputs=(SCORE.outputs[0], OutputScore(), NUMBERS[1]))
    with pytest.raises(ValueError, match="other numbers than the manifest names"):
        heard(none, model)
    path = enhancing_model(tmp_path).folder / "manifest.toml"
    said = path.read_text("utf-8").replace(
        'label = "highest enhancement"', 'label = "highest enhancement"\nnone_if = "all is dark"'
    )
    path.write_text(said, "utf-8")
    lenient = Model(path.parent)
    assert heard(none, lenient) == none
    assert heard(SCORE, lenient) == SCORE


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_is_not_believed_as_one(value: float, model: Model) -> None:
    said = OutputScore((replace(NUMBERS[0].measurements[0], value=value),))
    with pytest.raises(ValueError):
        heard(replace(SCORE, outputs=(SCORE.outputs[0], said, NUMBERS[1])), model)


def test_a_score_that_was_kept_before_there_were_solids_is_read() -> None:
    kept = '{"unit": "1.2", "outputs": [{"measurements": [], "marks": []}], "mirrored": []}'
    assert score_json.loaded(kept) == UnitScore("1.2", (OutputScore(),))


def test_a_word_too_many_is_no_score() -> None:
    text = score_json.dumped(SCORE).decode().replace('"part":0', '"part":0,"more":1')
    with pytest.raises(ValueError, match="unexpected_keyword_argument"):
        score_json.loaded(text)


@pytest.mark.parametrize(
    "score",
    [
        other(ml=-0.1),
        other(ml=30_000.0),
        other(ml=0.0),
        other(bits=NOTHING, decisive=()),
        other(bits=packed(np.ones((6, 5, 8), np.bool_))),
        other(bits=packed(np.ones((1, 5, 7), np.bool_)), decisive=()),
        other(bits="no bits"),
        other(bits=packed(np.zeros((4096, 64, 64), np.bool_))),
        other(decisive=(6,)),
        other(decisive=(-1,)),
        other(decisive=(0,)),
        other(decisive=(2, 2)),
        other(part=2),
        other(part=1),
        other(side=None),
        other(ml=16.5),
        other(ml=1e-5),
        other(percents=(("post 1", 1e9),)),
        other(percents=(("post 1", 80.0), ("post 1", 80.0))),
        other(percents=(("post 9", 80.0),)),
        other(percents=(("", 80.0),)),
        replace(SCORE, unread=(RIGHT,)),
        replace(SCORE, unread=(LEFT, RIGHT)),
        replace(SCORE, unread=(Laterality.BOTH,)),
        with_solids(*SOLIDS, MARKED),
        with_solids(*SOLIDS[::-1]),
        with_solids(*SOLIDS[:2]),
        with_solids(*SOLIDS[:3], replace(SOLIDS[3], percents=(("post 1", 1.0),))),
        replace(SCORE, stack=None),
        replace(SCORE, stack=(5, 5, 7)),
        replace(SCORE, stack=(6, 7, 5), outputs=(OutputScore(), *NUMBERS)),
        replace(SCORE, remarks=("",)),
        replace(SCORE, remarks=("said\n",)),
        replace(SCORE, remarks=("x" * 400,)),
        replace(SCORE, remarks=("said",) * 40),
        replace(SCORE, outputs=(OutputScore(solids=SOLIDS), OutputScore(), NUMBERS[1])),
        replace(SCORE, outputs=(OutputScore(solids=SOLIDS), NUMBERS[0], NUMBERS[0])),
        replace(
            SCORE,
            outputs=(OutputScore(solids=SOLIDS), replace(NUMBERS[0], solids=SOLIDS), NUMBERS[1]),
        ),
        replace(
            SCORE,
            outputs=(
                OutputScore(solids=SOLIDS),
                replace(NUMBERS[0], deciding=DecidingSlice(0, None)),
                NUMBERS[1],
            ),
        ),
        replace(
            SCORE,
            outputs=(
                OutputScore(solids=SOLIDS),
                OutputScore((replace(NUMBERS[0].measurements[0], unit=Code("mm", "UCUM", "mm")),)),
                NUMBERS[1],
            ),
        ),
    ],
)
def test_what_cannot_be_is_not_believed(score: UnitScore, model: Model) -> None:
    with pytest.raises(ValueError):
        heard(score, model)


def test_a_part_of_phases_that_are_not_there_is_not_believed(model: Model) -> None:
    with pytest.raises(ValueError, match="a number of phases that are not there"):
        heard(SCORE, model, {"pre": 6, "early": 6})
    with pytest.raises(ValueError, match="solids on other slices"):
        heard(SCORE, model, {})


def test_only_a_slice_that_was_read_decides(tmp_path: Path) -> None:
    model = sliced(tmp_path, "slices")
    (output,) = model.manifest.outputs
    assert isinstance(output, ScoreOutput)
    numbers = tuple(Measurement(code.as_code(), 50.0, PERCENT) for code in output.codes)

    def of(number: int) -> UnitScore:
        said = OutputScore(numbers, deciding=DecidingSlice(number, 3))
        return UnitScore("unit", (said,), displaced=(("post 1", 0.0),))

    volumes, batch = {"pre": 24, "post 1": 24}, model.manifest.image_batch
    last = of(batch - 1)
    assert score_in(answered(last), "unit", (output,), volumes, batch=batch) == last
    with pytest.raises(ValueError, match="a slice that is none"):
        score_in(answered(of(batch)), "unit", (output,), volumes, batch=batch)


def test_what_a_child_has_to_say_can_be_printed(model: Model) -> None:
    words = "no right breast \u2013 " + "x" * 400
    with pytest.raises(ValueError, match="a remark that cannot be printed"):
        heard(replace(SCORE, remarks=(words,)), model)
    said = remark_of(words)
    assert said.startswith("no right breast ? xxx")
    assert heard(replace(SCORE, remarks=(said,)), model).remarks == (said,)
