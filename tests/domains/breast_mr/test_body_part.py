"""Whether a study is of the breast, and what that rests on."""

from __future__ import annotations

from typing import Any

import pytest

from node.domains.breast_mr.body_part import body_part_of
from node.domains.breast_mr.facts import Facts

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


def not_kept(body_part: str) -> Facts:
    return Facts("", "", body_part=body_part)


@pytest.mark.parametrize("body_part", ["", "CHEST", "THORAX"])
def test_what_was_not_kept_may_say_that_it_is_a_breast(body_part: str) -> None:
    found = body_part_of([not_kept(body_part)])
    assert (found.is_open, found.is_breast) == (True, False)
    said = f"is {body_part}" if body_part else "is missing"
    assert found.rests_on == (
        f"Body Part Examined {said}, and what coil, protocol and description of some objects say "
        "was not kept"
    )
    shoulder = facts([image(BodyPartExamined=None, StudyDescription="MR SHOULDER LEFT")])
    assert body_part_of([*shoulder, not_kept(body_part)]).is_open


def test_what_body_part_examined_or_what_was_kept_decides_is_not_open() -> None:
    for some, part in (
        ([not_kept("KNEE")], "KNEE"),
        ([not_kept("KNEE"), not_kept("")], "KNEE"),
        ([not_kept("BREAST"), not_kept("CHEST")], "BREAST"),
        ([not_kept("CHEST"), *facts([image(BodyPartExamined="CHEST", **COIL)])], "BREAST"),
    ):
        found = body_part_of(some)
        assert (found.term, found.is_open) == (part, False)


RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"


def test_what_is_no_image_of_slices_says_nothing_beside_images() -> None:
    raw = facts([image(9, SOPClassUID=RAW_DATA, BodyPartExamined="HEAD")])
    assert body_part_of([*facts([image()]), *raw]).is_breast
    assert body_part_of(raw).term == "HEAD"
    found = reading([*one_each(), image(9, SOPClassUID=RAW_DATA, BodyPartExamined="HEAD")])
    assert (len(found.phases), found.refusal) == (3, "")
    assert found.series[-1].kind == "other"
