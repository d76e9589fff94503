"""Whether a study is of the breast: by Body Part Examined, else by coil, protocol and description.

What is scanned in a breast coil is a breast, whatever an examination was called; a region that
leaves room for it (the chest, or none) is decided by coil and words, and a region that leaves none
is believed, unless the coil says otherwise: then nobody is believed. Nor is a breast in the coil of
a knee, or in a study that is called otherwise, and nothing else says that it is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from node.dicom.body_part import KNOWN, body_part_in_words
from node.domains.breast_mr.facts import Facts

_BREAST = "BREAST"
_BREASTS = re.compile(
    r"(?<![A-Z])(BREASTS?|BRST|MAMMA\w*|MAMMO\w*|MAMA|BRUST|SENO|SEINS?|BORST)(?![A-Z])",
    re.IGNORECASE,
)
"""The breast in English, Latin, Spanish, German, Italian, French and Dutch."""
_COIL = re.compile(r"BREAST|MAMMA|BRUST", re.IGNORECASE)
"""Within a name: coils are called "8HRBREAST" and "Breast_18"."""
_LEAVES_ROOM = frozenset({"", "CHEST", "THORAX", "AXILLA", "WHOLEBODY", "BODY", "TRUNK"})
_OTHER = {
    "CAROTID": "NECK",
    "CAROTIDS": "NECK",
    "BRAIN": "BRAIN",
    "PROSTATE": "PROSTATE",
    "LIVER": "LIVER",
    "SPINE": "SPINE",
    **{name: name for name in KNOWN - {_BREAST, "AXILLA", "CHEST", "ARM", "LEG"}},
}
_OTHER_WORDS = re.compile(
    rf"(?<![A-Z])({'|'.join(sorted(_OTHER))})(?![A-Z])",
    re.IGNORECASE,
)
_COIL_ELSEWHERE = re.compile(
    r"(?<![A-Z])(ANKLE|ELBOW|FOOT|HAND|HEAD|KNEE|SHOULDER|WRIST)(?![A-Z])", re.IGNORECASE
)
"""Coils in which no breast can be; those of body and spine may be about or under one."""
_WORDS: tuple[tuple[str, Callable[[Facts], str]], ...] = (
    ("Protocol Name", lambda one: one.protocol),
    ("Series Description", lambda one: one.series_description),
    ("Study Description", lambda one: one.study_description),
)


_NOT_KEPT = "what coil, protocol and description of some objects say was not kept"


@dataclass(frozen=True, slots=True)
class ExaminedPart:
    """Of what a study is."""

    term: str
    """BREAST, another body part, or "" where nothing says it."""
    rests_on: str
    """In words that may leave the node."""
    contradiction: str = ""
    """Why nobody can say it, in words."""
    is_open: bool = False
    """Whether something may say otherwise that was not kept: only the files tell."""

    @property
    def is_breast(self) -> bool:
        """Whether it is known to be one."""
        return self.term == _BREAST and not self.contradiction


def body_part_of(everything: Collection[Facts]) -> ExaminedPart:
    """Return of what the images of a study are, whatever their order.

    Objects that are no images of slices say nothing of them, unless there is nothing else.
    """
    facts = tuple(one for one in everything if one.is_readable) or tuple(everything)
    said = sorted({one.body_part for one in facts})
    coils = sorted({one.coil_by for one in facts if _COIL.search(one.coil)})
    breasts = [part for part in said if _BREASTS.search(part)]
    others = [part for part in said if part not in _LEAVES_ROOM and part not in breasts]
    if not breasts and not others:
        return _unnamed(facts, said, coils)
    if not others:
        other = "" if coils else _elsewhere(facts)
        if other:
            return ExaminedPart("", "", f"Body Part Examined says BREAST, and {other}")
        return ExaminedPart(_BREAST, "Body Part Examined")
    part = body_part_in_words(others[0])
    if breasts or coils:
        other = "BREAST" if breasts else f"{coils[0]} a breast coil"
        return ExaminedPart("", "", f"Body Part Examined says {part}, and {other}")
    return ExaminedPart(others[0], "Body Part Examined")


def not_a_breast(part: ExaminedPart) -> str:
    """Return of what a study is that is of no breast, and what that rests on."""
    if part.is_open:
        return f"MR, and of which body part is not known: {part.rests_on}"
    said = f"of {body_part_in_words(part.term)}" if part.term else "that does not say its body part"
    return f"MR {said}: {part.rests_on}"


def _elsewhere(facts: Collection[Facts]) -> str:
    """Return what says that another part was examined than the breast, in words; "" if nothing."""
    if coil := _coil_elsewhere(facts):
        return " ".join(coil)
    if any(_BREASTS.search(words(one)) for _, words in _WORDS for one in facts):
        return ""
    found = sorted(
        {m[1].upper() for one in facts for m in _OTHER_WORDS.finditer(one.study_description)}
    )
    return f"Study Description {_OTHER[found[0]]}" if found else ""


def _coil_elsewhere(facts: Collection[Facts]) -> tuple[str, str] | None:
    """Return which attribute names a coil in which no breast can be, and that of which part."""
    found = {
        (one.coil_by, m[1].upper()) for one in facts for m in _COIL_ELSEWHERE.finditer(one.coil)
    }
    return min(found, default=None)


def _unnamed(facts: Collection[Facts], said: list[str], coils: list[str]) -> ExaminedPart:
    """Decide where no Body Part Examined does: "", CHEST and their like."""
    region = next((part for part in said if part), "")
    as_said = f"Body Part Examined is {region}" if region else "Body Part Examined is missing"
    if coils:
        return ExaminedPart(_BREAST, f"{coils[0]} (a breast coil); {as_said}")
    found = _by_words(facts, as_said)
    if not (found and (found.is_breast or found.contradiction)) and not all(
        one.is_kept for one in facts
    ):
        return ExaminedPart(region, f"{as_said}, and {_NOT_KEPT}", is_open=True)
    return found or ExaminedPart(
        region, f"{as_said}, and neither coil, protocol nor description names the breast"
    )


def _by_words(facts: Collection[Facts], as_said: str) -> ExaminedPart | None:
    """Decide by words, which the coil of another part may contradict, else by that."""
    coil = _coil_elsewhere(facts)
    for name, words in _WORDS:
        if any(_BREASTS.search(words(one)) for one in facts):
            if coil:
                return ExaminedPart("", "", f"{name} says BREAST, and {' '.join(coil)}")
            return ExaminedPart(_BREAST, f"{name}; {as_said}")
    for name, words in _WORDS:
        found = sorted({m[1].upper() for one in facts for m in _OTHER_WORDS.finditer(words(one))})
        if found:
            return ExaminedPart(_OTHER[found[0]], f"{name}; {as_said}")
    return ExaminedPart(coil[1], f"{coil[0]}; {as_said}") if coil else None
