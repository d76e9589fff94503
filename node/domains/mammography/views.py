"""The view a mammogram shows, or the reason why it has none.

Everything is read from the header alone. Attributes are read as the bytes they are, so that a wrong
character set, an odd VR or a value out of range elsewhere in the object cannot decide whether an
image is analysed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

from pydicom import Dataset

from node.dicom.snomed import snomed_codes
from node.dicom.untrusted import items, term, terms, text
from node.domains.contradictions import why_view_contradictory
from node.domains.mammography.sop_classes import INTENTS
from node.study import Laterality, View

# PS3.16 CID 4014, SCT and SRT codes, by the abbreviations of View Position (0018,5101).
_PROJECTIONS = {
    "CC": ("399162004", "R-10242"),
    "MLO": ("399368009", "R-10226"),
    "ML": ("399260004", "R-10224"),
    "LM": ("399352003", "R-10228"),
    "LMO": ("399099002", "R-10230"),
    "XCCL": ("399192008", "R-1024A"),
    "XCCM": ("399101009", "R-1024B"),
    "FB": ("399196006", "R-10244"),
    "SIO": ("399188001", "R-102D0"),
    "ISO": ("441555000", "R-40AAA"),
    "SPECIMEN": ("127457009", "G-8310"),
}


PROJECTION_OF_CODE = {code: name for name, codes in _PROJECTIONS.items() for code in codes}


_USUAL_PROJECTIONS: dict[tuple[Laterality, tuple[int, ...]], str] = {
    (Laterality.RIGHT, (0, 0, -1)): "CC",
    (Laterality.LEFT, (0, 0, -1)): "CC",
    (Laterality.RIGHT, (-1, 0, -1)): "MLO",
    (Laterality.LEFT, (1, 0, -1)): "MLO",
}
"""What is called so where nothing but the side and the direction one looks to is known: down, and
down and outwards. Such a film is assumed to be of a screening exam: an exaggerated CC looks down,
too. Of other directions several projections, or mirrored ones, are possible."""


DESCRIPTIONS = {"SeriesDescription": "Series Description", "ProtocolName": "Protocol Name"}


_DESCRIBED_VIEW = re.compile(
    r"((?P<before>R|L|RIGHT|LEFT)[ _-]?)?(?P<projection>CC|MLO)([ _-]?(?P<behind>R|L|RIGHT|LEFT))?"
)


_LATERALITIES = ("ImageLaterality", "Laterality")


_SIDES = {
    **{str(side): side for side in Laterality},
    **{side.name: side for side in Laterality},
}
"""As Image Laterality is to be written, and as some write it: "R" and "RIGHT"."""


_TERM = re.compile(r"[A-Z0-9_ ]{1,16}")
"""A Code String (PS3.5 6.2), which can be quoted: it names nobody."""


_SEEN_FROM_ABOVE = frozenset({"CC", "XCCL", "XCCM", "FB"})


_IN_THE_PLANE_OF_THE_MLO = frozenset({"MLO", "LMO"})


_SIDE_OF_REGION = {
    **dict.fromkeys(("73056007", "T-04020", "24028007", "G-A100"), Laterality.RIGHT),
    **dict.fromkeys(("80248007", "T-04030", "7771000", "G-A101"), Laterality.LEFT),
}
"""Right and left breast (PS3.16 CID 4013), and right and left as modifiers (CID 244)."""


_VIEWS_OF_OTHER_PARTS = frozenset({"AP", "PA", "LL", "RLD", "LLD", "RLO", "LLO"})
"""Defined terms of View Position (PS3.3 C.8.1.2) that no mammogram has."""


def why_no_view(header: Dataset) -> str:
    """Return why an object has no view, or "" if it has one."""
    view = view_or_reason(header)
    return "" if isinstance(view, View) else view


def contradicts_its_view(header: Dataset) -> bool:
    """Whether an object without a view says which it shows: nobody knows which it is."""
    is_said = sides_of(header) and (_named_projections(header) or described_projections(header)[0])
    is_both_sides = len(set(sides_of(header))) > 1
    return bool(
        why_view_contradictory(header) or ((is_said or is_both_sides) and why_no_view(header))
    )


def view_or_reason(header: Dataset) -> View | str:
    """Return the view an object shows, or why it shows none."""
    if term(header, "Modality") != "MG":
        return "not a mammogram"
    sides = sides_of(header)
    projections = _named_projections(header) or described_projections(header)[0]
    others = [term for term in positions_of(header) if term in _VIEWS_OF_OTHER_PARTS]
    stated = [*projections, *others] if projections else []
    amiss = _why_not_one(sides, stated) if sides else _why_no_side(header)
    if reason := why_view_contradictory(header) or amiss:
        return reason
    if not projections:
        return _why_no_projection(header)
    view = View(sides[0], projections[0])
    if not _can_be_oriented(view, terms(header, "PatientOrientation")):
        return f"{view} contradicts Patient Orientation"
    return view


def projection_alone(header: Dataset) -> str:
    """Return "CC of unknown side" of a mammogram of which only the projection is clear, else ""."""
    if text(header, "SOPClassUID") not in INTENTS:
        return ""  # what it is says more: a tomosynthesis image
    projections = set(_named_projections(header))
    is_side_clear = len(set(sides_of(header))) == 1
    if len(projections) != 1 or is_side_clear or why_view_contradictory(header):
        return ""
    return f"{projections.pop()} of unknown side"


def _why_not_one(sides: Sequence[Laterality], projections: Sequence[str]) -> str:
    if len(set(sides)) > 1:
        return "laterality contradicts itself"
    if len(set(projections)) > 1:
        return f"view contradicts itself ({' or '.join(dict.fromkeys(projections))})"
    return ""


def _why_no_side(header: Dataset) -> str:
    said = next(filter(None, (term(header, keyword) for keyword in _LATERALITIES)), "")
    if not said:
        return "no laterality given"
    return f"unknown laterality {said}" if _TERM.fullmatch(said) else "unknown laterality"


def sides_of(header: Dataset) -> list[Laterality]:
    """Return what the header says about the side, most trusted first."""
    of_image, of_series = (
        [_SIDES[value] for value in terms(header, keyword) if value in _SIDES]
        for keyword in _LATERALITIES
    )
    if of_image and Laterality.BOTH in of_series:
        of_series = []  # a series of both sides, and an image of one
    regions = items(header, "AnatomicRegionSequence")
    modifiers = (items(region, "AnatomicRegionModifierSequence") for region in regions)
    codes = snomed_codes([*regions, *chain.from_iterable(modifiers)])
    of_region = [_SIDE_OF_REGION[code] for code in codes if code in _SIDE_OF_REGION]
    return of_image + of_series + of_region


def _named_projections(header: Dataset) -> list[str]:
    """Return what the attributes that are there for it say about the projection."""
    return projections_of(header) or _projections_of_film(header, sides_of(header))


def described_projections(header: Dataset) -> tuple[list[str], str]:
    """Return a projection that nothing but a description names, and the name of that attribute.

    Only if the description says nothing else, and no other side than the header does; and not of
    a Secondary Capture, which may be anybody's drawing.
    """
    has_place = text(header, "SOPClassUID") in INTENTS
    is_empty = not _named_projections(header) and _why_no_projection(header) == "no view given"
    if not (has_place and is_empty):
        return [], ""
    sides = {str(side) for side in sides_of(header)}
    for keyword, name in DESCRIPTIONS.items():
        found = _DESCRIBED_VIEW.fullmatch(text(header, keyword).upper())
        if found is None:
            continue
        said = {side[0] for side in (found["before"], found["behind"]) if side}
        if len(sides) == 1 and said <= sides:
            return [found["projection"]], name
    return [], ""


def projections_of(header: Dataset) -> list[str]:
    """Return what the header says about the projection, most trusted first."""
    coded = [
        PROJECTION_OF_CODE[code]
        for code in snomed_codes(items(header, "ViewCodeSequence"))
        if code in PROJECTION_OF_CODE
    ]
    return coded + [position for position in positions_of(header) if position in _PROJECTIONS]


def positions_of(header: Dataset) -> list[str]:
    """Return the values of View Position (0018,5101), in capitals."""
    return list(terms(header, "ViewPosition"))


def _projections_of_film(header: Dataset, sides: Sequence[Laterality]) -> list[str]:
    """Return what Patient Orientation (0020,0020) says where an object has no other place for it.

    That is digitised film: a mammogram of another class than those that must have a view code.
    """
    if text(header, "SOPClassUID") in INTENTS or _why_no_projection(header) != "no view given":
        return []
    orientation = terms(header, "PatientOrientation")
    if len(orientation) == 1 and orientation[0] in _PROJECTIONS:
        return [orientation[0]]  # as CBIS-DDSM, and others after it, write it
    if len(orientation) != 2 or len(set(sides)) != 1:
        return []
    name = _USUAL_PROJECTIONS.get((sides[0], _direction_of_view(*orientation)))
    return [name] if name else []


def _direction_of_view(along_rows: str, down_columns: str) -> tuple[int, ...]:
    """Return where one looks to, of an image with this orientation: signs of right to left, ...

    The axes are those of the patient (PS3.3 C.7.6.2.1.1): to the left, to the back, to the head.
    """
    row, column = (
        [(letter in word) - (opposite in word) for letter, opposite in ("LR", "PA", "HF")]
        for word in (along_rows, down_columns)
    )
    cross = (row[n - 2] * column[n - 1] - row[n - 1] * column[n - 2] for n in range(3))
    return tuple((axis > 0) - (axis < 0) for axis in cross)


def _why_no_projection(header: Dataset) -> str:
    said = term(header, "ViewPosition")
    if _TERM.fullmatch(said):
        return f"unknown view {said}"
    return "unknown view" if said or items(header, "ViewCodeSequence") else "no view given"


def _can_be_oriented(view: View, orientation: Sequence[str]) -> bool:
    """Whether Patient Orientation (0020,0020) is possible for the view, however mirrored.

    Seen from above, one axis is anterior-posterior and the other left-right; in every other
    projection the other is head-foot. The plane of an MLO runs from above and lateral to
    below and medial, which tells the sides apart: down is FL on the right, FR on the left.
    """
    axes = [direction for direction in orientation if re.fullmatch(r"[APLRHF]{1,3}", direction)]
    if len(axes) != 2 or view.projection == "SPECIMEN":
        return True
    across = [axis for axis in axes if axis[0] not in "AP"]
    if len(across) != 1:
        return False
    if view.projection in _SEEN_FROM_ABOVE:
        return across[0][0] in "LR"
    return across[0][0] in "HF" and _is_on_its_side(view, across[0])


def _is_on_its_side(view: View, across: str) -> bool:
    if view.projection not in _IN_THE_PLANE_OF_THE_MLO or across[1:2] not in ("L", "R"):
        return True
    return (across[:2] in ("FL", "HR")) == (view.laterality == Laterality.RIGHT)
