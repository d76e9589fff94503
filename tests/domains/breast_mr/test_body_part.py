"""Whether a study is of the breast, and what that rests on."""

from __future__ import annotations

from typing import Any

import pytest

from node.domains.breast_mr.body_part import body_part_of

from .studies import facts, image, one_each, reading

COIL: dict[str, Any] = {"ReceiveCoilName": "8HRBREAST"}
NAMELESS = "and neither coil, protocol nor description names the breast"

PARTS: list[tuple[dict[str, Any], str, str]] = [
    ({"BodyPartExamined": "BREAST"}, "BREAST", "Body Part Examined"),
    ({"BodyPartExamined": "KNEE"}, "KNEE", "Body Part Examined"),
    (
        {"BodyPartExamined": "CHEST", **COIL},
        "BREAST",
        "Receive Coil Name (a breast coil); Body Part Examined is CHEST",
    ),
    (
        {"BodyPartExamined": None, **COIL},
        "BREAST",
        "Receive Coil Name (a breast coil); Body Part Examined is missing",
    ),
    (
        {"BodyPartExamined": "CHEST", "ProtocolName": "Mamma dynamisch"},
        "BREAST",
        "Protocol Name; Body Part Examined is CHEST",
    ),
    (
        {"BodyPartExamined": None, "StudyDescription": "MR BREAST BILATERAL"},
        "BREAST",
        "Study Description; Body Part Examined is missing",
    ),
    ({"BodyPartExamined": "CHEST"}, "CHEST", f"Body Part Examined is CHEST, {NAMELESS}"),
    ({"BodyPartExamined": None}, "", f"Body Part Examined is missing, {NAMELESS}"),
    (
        {"BodyPartExamined": None, "StudyDescription": "MR SHOULDER LEFT"},
        "SHOULDER",
        "Study Description; Body Part Examined is missing",
    ),
]


@pytest.mark.parametrize(("changes", "part", "rests_on"), PARTS)
def test_the_body_part_rests_on_what_is_said(
    changes: dict[str, Any], part: str, rests_on: str
) -> None:
    found = body_part_of(facts([image(**changes)]))
    assert (found.term, found.rests_on) == (part, rests_on)
    assert found.is_breast == (part == "BREAST")


def test_a_knee_in_a_breast_coil_is_believed_by_nobody() -> None:
    found = reading(one_each(BodyPartExamined="KNEE", **COIL))
    assert found.refusal == "Body Part Examined says KNEE, and Receive Coil Name a breast coil"
    assert not found.part.is_breast


def test_a_study_of_two_parts_is_of_neither() -> None:
    found = body_part_of(facts([image(), image(2, BodyPartExamined="KNEE")]))
    assert found.contradiction == "Body Part Examined says KNEE, and BREAST"


def test_one_series_that_says_breast_speaks_for_those_that_say_chest() -> None:
    found = body_part_of(facts([image(BodyPartExamined="CHEST"), image(2)]))
    assert found.is_breast


@pytest.mark.parametrize(
    ("changes", "contradiction"),
    [
        ({"ReceiveCoilName": "8Ch Knee"}, "Receive Coil Name KNEE"),
        ({"StudyDescription": "MRI KNEE LEFT"}, "Study Description KNEE"),
        ({"StudyDescription": "MRI liver", "ProtocolName": "breast dyn"}, ""),
        ({"StudyDescription": "MRI liver", **COIL}, ""),
        ({"ReceiveCoilName": "Body_18\\Spine_32"}, ""),
    ],
)
def test_a_breast_where_none_can_be_is_believed_by_nobody(
    changes: dict[str, Any], contradiction: str
) -> None:
    found = body_part_of(facts([image(**changes)]))
    said = f"Body Part Examined says BREAST, and {contradiction}" if contradiction else ""
    assert found.contradiction == said
    assert found.is_breast == (not contradiction)


def test_the_coil_of_another_part_speaks_where_nothing_else_does_and_against_words() -> None:
    knee: dict[str, Any] = {"BodyPartExamined": None, "ReceiveCoilName": "8Ch Knee"}
    found = body_part_of(facts([image(**knee)]))
    assert (found.term, found.rests_on) == (
        "KNEE",
        "Receive Coil Name; Body Part Examined is missing",
    )
    found = body_part_of(facts([image(**knee, ProtocolName="breast dyn")]))
    assert found.contradiction == "Protocol Name says BREAST, and Receive Coil Name KNEE"
    assert not found.is_breast
