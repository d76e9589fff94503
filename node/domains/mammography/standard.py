"""What does not stand for its view in a screening exam: magnified, spot, specimen, biopsy, ..."""

from __future__ import annotations

import re
from collections.abc import Callable

from pydicom import Dataset

from node.dicom.snomed import snomed_codes
from node.dicom.untrusted import items, numbers, saying_items, term, terms, text, texts
from node.domains.mammography.sop_classes import INTENTS, SECONDARY_CAPTURE
from node.domains.mammography.views import (
    PROJECTION_OF_CODE,
    positions_of,
    projections_of,
)

# PS3.16 CID 4015: the modifiers that make a view another one, by their abbreviations, which some
# write as the View Position.
_REFUSED_MODIFIERS = {
    "M": ("399163009", "R-102D6", "magnification view"),
    "S": ("399055006", "R-102D7", "spot compression view"),
    "TAN": ("399110001", "R-102C2", "tangential view"),
    "CV": ("399161006", "R-102D2", "cleavage view"),
    "RL": ("399197002", "R-102D3", "rolled view"),
    "RM": ("399226006", "R-102D4", "rolled view"),
    "RS": ("415670009", "R-102C9", "rolled view"),
    "RI": ("414493004", "R-102CA", "rolled view"),
    "AT": ("399011000", "R-102D1", "axillary tail view"),
    "AXT": ("442580003", "R-40AB2", "axillary tissue view"),
    "SPECIMEN": ("127457009", "G-8310", "specimen image"),
}


_REASON_OF_MODIFIER = {
    term: reason
    for name, (sct, srt, reason) in _REFUSED_MODIFIERS.items()
    for term in (name, sct, srt)
}


_IMPLANT_DISPLACED = frozenset({"399209000", "R-102D5"})


_ACCEPTED_MODIFIERS = _IMPLANT_DISPLACED | {
    *("442581004", "R-40AB3"),  # nipple in profile
    *("441752004", "P2-00161"),  # anterior compression
    *("442593008", "R-40ABE"),  # infra-mammary fold
}


_NO_AGENT = frozenset({"NONE", "NO", "N", "N/A", "NA"})
"""What is written as Contrast/Bolus Agent (0018,0010) where there was none."""


# PS3.3 C.8.11.7.1.4, Image Type (0008,0008) values 3 to 5.
_BIOPSY_TERMS = ("STEREO_", "PREFIRE", "POSTFIRE", "POSTBIOPSY", "POSTMARKER", "TOMO_SCOUT")


_CONTRAST_TERMS = frozenset(
    {"PRE_CONTRAST", "POST_CONTRAST", "ADDITION", "SUBTRACTION", "LOW_ENERGY", "HIGH_ENERGY"}
    | {"RECOMBINED"}  # not in the standard, met in practice
)


_TOMOSYNTHESIS_TERMS = frozenset({"TOMO", "TOMOSYNTHESIS"})


_HOLOGIC_GROUP = 0x7E01


PRIVATE_TOMOSYNTHESIS = "tomosynthesis image in a private form"


_SMALLEST_FACTOR, _LARGEST_CONTACT_FACTOR = 0.8, 1.2
"""Of the Estimated Radiographic Magnification Factor: nothing is shown smaller than it is, but for
what is written carelessly; above the other one the breast was not on the detector."""


_SMALLEST_OF_STANDS, _LARGEST_OF_STANDS = 1.4, 3


_FACTOR = "EstimatedRadiographicMagnificationFactor"


def why_not_standard(header: Dataset) -> str:
    """Return why a mammogram does not stand for its view in a screening exam, "" if it does."""
    reasons = (reason for applies, reason in _NOT_A_STANDARD_VIEW if applies(header))
    return next(reasons, "") or _refused_modifier(header)


def is_of_other_intent(header: Dataset) -> bool:
    """Presentation Intent Type (0008,0068) denies what the SOP class says."""
    intent = term(header, "PresentationIntentType")
    claimed = INTENTS.get(text(header, "SOPClassUID"))
    return bool(intent and claimed) and intent != claimed


def is_quality_control(header: Dataset) -> bool:
    """Quality Control Image (0028,0300): a phantom, or a phantom beside the breast."""
    return term(header, "QualityControlImage") in ("YES", "BOTH")


def is_biopsy(header: Dataset) -> bool:
    """Made for, or during, a biopsy."""
    return (
        any(value.startswith(_BIOPSY_TERMS) for value in _image_type(header))
        or "BiopsyTargetSequence" in header
        or "STEREO" in text(header, "ProtocolName").upper()  # GE
        or "BIOPSY" in text(header, "PaddleDescription").upper()
    )


def is_contrast_enhanced(header: Dataset) -> bool:
    """Contrast mammography: low and high energy images, and what is computed of them."""
    return (
        not _CONTRAST_TERMS.isdisjoint(_image_type(header))
        or text(header, "ContrastBolusAgent").upper() not in {"", *_NO_AGENT}
        or bool(items(header, "ContrastBolusAgentSequence"))
    )


def is_tomosynthesis_projection(header: Dataset) -> bool:
    """One of the low dose exposures a tomosynthesis is reconstructed from."""
    return "TOMO_PROJ" in _image_type(header)


def is_tomosynthesis(header: Dataset) -> bool:
    """One slice or slab in the form of a mammogram; not a synthetic mammogram."""
    return not _TOMOSYNTHESIS_TERMS.isdisjoint(_image_type(header)) and not is_synthetic(header)


def _image_type(header: Dataset) -> list[str]:
    """Return the values of Image Type as the standard would spell them."""
    return [value.replace(" ", "_") for value in terms(header, "ImageType")]


def is_screen_capture(header: Dataset) -> bool:
    """Somebody's drawing on a mammogram, perhaps another AI's; digitised film is a WSD, too."""
    return (
        text(header, "SOPClassUID") == SECONDARY_CAPTURE
        and term(header, "ConversionType") == "WSD"
        and term(header, "BurnedInAnnotation") == "YES"
    )


def is_private_tomosynthesis(header: Dataset) -> bool:
    """Slices that Hologic's older devices hide in private attributes of a Secondary Capture."""
    return text(header, "SOPClassUID") == SECONDARY_CAPTURE and any(
        tag.group == _HOLOGIC_GROUP
        for tag in header.keys()  # noqa: SIM118 - a data set iterates over its elements
    )


def is_synthetic(header: Dataset) -> bool:
    """Mathematically generated from a tomosynthesis, not exposed."""
    return "GENERATED_2D" in _image_type(header)


def is_specimen(header: Dataset) -> bool:
    """Tissue outside the body."""
    is_described = bool(saying_items(header, "SpecimenDescriptionSequence"))
    return "SPECIMEN" in projections_of(header) or is_described


def is_partial(header: Dataset) -> bool:
    """One tile of a breast that is larger than the detector (0028,1350)."""
    said = term(header, "PartialView")
    is_coded = bool(saying_items(header, "PartialViewCodeSequence"))
    return said == "YES" or (said != "NO" and is_coded)


def is_magnified(header: Dataset) -> bool:
    """Lifted off the detector, on a magnification stand.

    By Estimated Radiographic Magnification Factor (0018,1114), else by what it is defined as, the
    distance of the source to the detector (0018,1110) over that to the patient (0018,1111).
    """
    if re.search(r"(?<![A-Z])MAG", text(header, "PaddleDescription").upper()):
        return True
    if factors := _factors(header):
        return any(factor > _LARGEST_CONTACT_FACTOR for factor in factors)
    return _is_on_a_stand(header)


def has_contradicting_factor(header: Dataset) -> bool:
    """Whether the factor says that the breast was on the detector, and the distances a stand."""
    factors = [factor for factor in _factors(header) if factor]
    return bool(factors) and not is_magnified(header) and _is_on_a_stand(header)


def _is_on_a_stand(header: Dataset) -> bool:
    to_detector, to_patient = (
        numbers(header, f"DistanceSourceTo{what}")[:1] for what in ("Detector", "Patient")
    )
    if not (to_detector and to_patient) or to_patient[0] <= 0:
        return False
    # To the patient may be to where the beam enters, of a thick breast: stands begin further up.
    return _SMALLEST_OF_STANDS < to_detector[0] / to_patient[0] < _LARGEST_OF_STANDS


def has_impossible_factor(header: Dataset) -> bool:
    """Whether the magnification factor is given and cannot be one: areas depend on it."""
    factors = _factors(header)
    is_number = len(factors) == len(texts(header, _FACTOR))
    return not is_number or any(not factor > _SMALLEST_FACTOR for factor in factors if factor)


def _factors(header: Dataset) -> list[float]:
    return numbers(header, _FACTOR)


def is_spot_compression(header: Dataset) -> bool:
    """Compressed with a small paddle (0018,11A4)."""
    return "SPOT" in text(header, "PaddleDescription").upper()


_OTHER_INTENT = "Presentation Intent Type contradicts the SOP class"
_OTHER_FACTOR = "magnification factor and distances of the source contradict each other"
CONTRADICTIONS = frozenset({_OTHER_INTENT, _OTHER_FACTOR})
"""Reasons that leave open what an image is."""
_NOT_A_STANDARD_VIEW: tuple[tuple[Callable[[Dataset], bool], str], ...] = (
    (is_of_other_intent, _OTHER_INTENT),
    (is_quality_control, "quality control image"),
    (is_specimen, "specimen image"),
    (is_biopsy, "biopsy image"),
    (is_contrast_enhanced, "contrast-enhanced image"),
    (is_tomosynthesis_projection, "tomosynthesis projection image"),
    (is_tomosynthesis, "tomosynthesis image"),
    (is_screen_capture, "screen capture with burned-in annotation"),
    (is_private_tomosynthesis, PRIVATE_TOMOSYNTHESIS),
    (is_partial, "partial view"),
    (is_magnified, "magnification view"),
    (has_impossible_factor, "magnification factor that cannot be right"),
    (has_contradicting_factor, _OTHER_FACTOR),
    (is_spot_compression, "spot compression view"),
)


def _modifiers(header: Dataset) -> list[str]:
    """Return the view modifiers: inside the view item, at top level (old objects), or as a view."""
    views = items(header, "ViewCodeSequence")
    return snomed_codes(views) + [
        code
        for place in (*views, header)
        for code in snomed_codes(items(place, "ViewModifierCodeSequence"))
    ]


def _refused_modifier(header: Dataset) -> str:
    said = [*_modifiers(header), *positions_of(header)]
    reasons = (_REASON_OF_MODIFIER.get(term, "") for term in said)
    return next((reason for reason in reasons if reason), "") or _unknown_modifier(header)


def _unknown_modifier(header: Dataset) -> str:
    """Return that something modifies the view in a way nobody can tell here, "" if nothing does.

    A view code is only looked at where SNOMED's are: makers have codes of their own for the views,
    beside the View Position.
    """
    views = items(header, "ViewCodeSequence")
    known = {*_REASON_OF_MODIFIER, *_ACCEPTED_MODIFIERS}
    if not {*known, *PROJECTION_OF_CODE}.issuperset(snomed_codes(views)):
        return "unknown view code"
    places = (*views, header)
    coded = [m for place in places for m in saying_items(place, "ViewModifierCodeSequence")]
    known = {*known, *snomed_codes(views)}
    if len(snomed_codes(coded)) < len(coded) or not known.issuperset(snomed_codes(coded)):
        return "unknown view modifier"
    return ""


def is_implant_displaced(header: Dataset) -> bool:
    """Taken with the implant pushed out of the way (Eklund)."""
    return not _IMPLANT_DISPLACED.isdisjoint(_modifiers(header))
