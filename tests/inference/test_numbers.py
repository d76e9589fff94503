"""A number that a network measures, or of which it says that there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from node.errors import ModelError
from node.inference.number import read_number
from node.inference.session import Signature
from node.manifest import NumberOutput
from node.result import OutputScore

WORDS = {
    "kind": "number",
    "tensor": "ratios",
    "element": 1,
    "label": "ratio",
    "quantity": {"value": "RATIO", "scheme": "99TEST", "meaning": "Ratio"},
    "unit": {"value": "1", "scheme": "UCUM", "meaning": "no units"},
}
PLAIN = NumberOutput.model_validate(WORDS)
MAY_BE_NONE = NumberOutput.model_validate({**WORDS, "none_if": "nothing there enhances"})


def test_nan_is_no_number_where_the_manifest_says_so() -> None:
    assert read_number(np.array([1.0, math.nan], np.float32), MAY_BE_NONE) == OutputScore()
    (number,) = read_number(np.array([math.nan, 1.5], np.float32), MAY_BE_NONE).measurements
    assert number.value == 1.5


def test_nan_is_an_error_where_the_manifest_does_not_say_what_it_means() -> None:
    with pytest.raises(ModelError, match="'ratios' holds NaN"):
        read_number(np.array([1.0, math.nan], np.float32), PLAIN)


def test_nan_passes_only_where_there_may_be_no_number() -> None:
    signature = Signature("m", {}, {"ratios": (1, 2), "masks": (1, 2)}, frozenset({"ratios"}))
    none = np.array([[math.nan, 1.0]], np.float32)
    some = np.array([[0.0, 1.0]], np.float32)
    signature.check_answers({"ratios": none, "masks": some})
    for wrong in ({"ratios": some, "masks": none}, {"ratios": none * np.inf, "masks": some}):
        with pytest.raises(ModelError, match="holds NaN or infinity"):
            signature.check_answers(wrong)


def test_words_of_what_nan_means_change_no_key_of_a_manifest_without_them() -> None:
    assert "none_if" not in PLAIN.model_dump()
    assert MAY_BE_NONE.model_dump()["none_if"] == "nothing there enhances"
