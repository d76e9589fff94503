"""A report in words, line by line."""

from __future__ import annotations

import pytest
from highdicom.sr import CodedConcept, NumContentItem
from pydicom import Dataset
from pydicom.sr.coding import Code

from node.trial.reports import content_lines

RATIO = CodedConcept("RATIO", "99TEST", "Ratio")


def report(value: float, unit: Code) -> Dataset:
    root = Dataset()
    root.ValueType = "CONTAINER"
    root.ContentSequence = [NumContentItem(RATIO, value, unit)]
    return root


@pytest.mark.parametrize(
    ("unit", "words"),
    [(Code("1", "UCUM", "no units"), "1.65"), (Code("ml", "UCUM", "ml"), "1.65 ml")],
)
def test_a_number_is_said_with_its_unit_if_it_has_one(unit: Code, words: str) -> None:
    lines = [str(line).strip() for line in content_lines(report(1.65, unit), {})]
    assert f"Ratio: {words}" in lines
