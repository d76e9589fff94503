"""Which instances a model may see, and for the others a reason a radiologist understands.

Everything is read from the header alone. Attributes are read as the bytes they are, so
that a wrong character set, an odd VR or a value out of range elsewhere in the object
cannot decide whether an image is analysed.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pydicom import Dataset, uid
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError

from node.dicom.deflated import read_until_pixels
from node.dicom.untrusted import failing_as, items, quietly, text, texts
from node.errors import Unreadable
from node.manifest import Input, Model
from node.result import Refusal
from node.study import Instance, Laterality, View

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MG_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
MG_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"

DEFER_BYTES = 1 << 16
"""Values longer than this stay on disk until somebody asks for them."""

_CLASS_WORDS = {
    MG_FOR_PRESENTATION: "For Presentation image",
    MG_FOR_PROCESSING: "For Processing image",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "tomosynthesis image",
    "1.2.840.10008.5.1.4.1.1.13.1.4": "tomosynthesis projection image",
    "1.2.840.10008.5.1.4.1.1.13.1.5": "tomosynthesis projection image",
    SECONDARY_CAPTURE: "Secondary Capture image",
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography image",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray image",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "For Processing image",
}

_INTENTS = {MG_FOR_PRESENTATION: "FOR PRESENTATION", MG_FOR_PROCESSING: "FOR PROCESSING"}

_SNOMED_SCHEMES = frozenset({"SCT", "SRT", "SNM3", "99SDM"}) | {
    "SNOMED-CT",  # not in the standard, met in practice
    "HTTP://SNOMED.INFO/SCT",
}

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
_PROJECTION_OF_CODE = {code: name for name, codes in _PROJECTIONS.items() for code in codes}
_USUAL_PROJECTIONS: dict[tuple[Laterality, tuple[int, ...]], str] = {
    (Laterality.RIGHT, (0, 0, -1)): "CC",
    (Laterality.LEFT, (0, 0, -1)): "CC",
    (Laterality.RIGHT, (-1, 0, -1)): "MLO",
    (Laterality.LEFT, (1, 0, -1)): "MLO",
}
"""What is called so where nothing but the side and the direction one looks to is known: down, and
down and outwards. Such a film is assumed to be of a screening exam: an exaggerated CC looks down,
too. Of other directions several projections, or mirrored ones, are possible."""
_DESCRIPTIONS = {"SeriesDescription": "Series Description", "ProtocolName": "Protocol Name"}
_DESCRIBED_VIEW = re.compile(
    r"((?P<before>R|L|RIGHT|LEFT)[ _-]?)?(?P<projection>CC|MLO)([ _-]?(?P<behind>R|L|RIGHT|LEFT))?"
)
_SEEN_FROM_ABOVE = frozenset({"CC", "XCCL", "XCCM", "FB"})
_IN_THE_PLANE_OF_THE_MLO = frozenset({"MLO", "LMO"})

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
_SIDE_OF_REGION = {
    **dict.fromkeys(("73056007", "T-04020", "24028007", "G-A100"), Laterality.RIGHT),
    **dict.fromkeys(("80248007", "T-04030", "7771000", "G-A101"), Laterality.LEFT),
}
"""Right and left breast (PS3.16 CID 4013), and right and left as modifiers (CID 244)."""
_VIEWS_OF_OTHER_PARTS = frozenset({"AP", "PA", "LL", "RLD", "LLD", "RLO", "LLO"})
"""Defined terms of View Position (PS3.3 C.8.1.2) that no mammogram has."""

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
_PRIVATE_TOMOSYNTHESIS = "tomosynthesis image in a private form"

_SMALLEST_FACTOR, _LARGEST_CONTACT_FACTOR = 0.8, 1.2
"""Of the Estimated Radiographic Magnification Factor: nothing is shown smaller than it is, but for
what is written carelessly; above the other one the breast was not on the detector."""
_SMALLEST_OF_STANDS, _LARGEST_OF_STANDS = 1.4, 3
_SIDE_IN_WORDS = re.compile(r"(?<![A-Z])(R|L)(?:IGHT|EFT|T)?[ _-]?(?:CC|MLO)?(?![A-Z])")

_FACTOR = "EstimatedRadiographicMagnificationFactor"

WITH_LOSS = "Compressed with loss"
_ALWAYS_LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_PERHAPS_LOSSY = (uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)

_HANGING_ORDER = ("R CC", "L CC", "R MLO", "L MLO")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a model is shown of a study, and what it is not shown, each in a fixed order."""

    selected: tuple[Instance, ...]
    refused: tuple[Refusal, ...]


def select(
    instances: Sequence[Instance], headers: Mapping[str, Dataset], model: Model
) -> Selection:
    """Divide the instances of the model's modality; headers are by SOP Instance UID.

    Repeats of a view are all selected; instances of another modality appear nowhere.
    """
    wanted = model.manifest.input
    considered = sorted(
        (i for i in instances if i.modality == wanted.modality and not is_passed_over(i, wanted)),
        key=_hanging_order,
    )
    reasons = {i.sop_uid: why_refused(i, headers[i.sop_uid], wanted) for i in considered}
    if wanted.implants == "refuse":
        for sop_uid in _in_front_of_implants(instances, headers):
            reasons[sop_uid] = reasons.get(sop_uid) or "breast implant"
    return Selection(
        selected=tuple(
            replace(i, doubts=tuple(_doubts(headers[i.sop_uid])))
            for i in considered
            if not reasons[i.sop_uid]
        ),
        refused=tuple(
            Refusal(sop_uid=i.sop_uid, what=_what(i), reason=reasons[i.sop_uid])
            for i in considered
            if reasons[i.sop_uid]
        ),
    )


def _doubts(header: Dataset) -> Iterator[str]:
    """Yield what does not keep an image from being analysed, and should be known."""
    if text(header, "Modality") == "MG" and (name := _described(header)[1]):
        yield f"View taken from {name}"
    for keyword, name in _DESCRIPTIONS.items():
        if _names_the_other_side(text(header, keyword).upper(), _sides(header)):
            yield f"{name} names the other side"
    if loss := compressed_with_loss(header):
        yield f"{loss} before it came"


def compressed_with_loss(header: Dataset) -> str:
    """Return in words that an image lost something to compression, or may have, or "".

    By Lossy Image Compression (0028,2110) and what belongs to it, and where these are silent or
    wrong by the transfer syntax, of which some allow both.
    """
    syntax = text(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
    is_said = text(header, "LossyImageCompression") == "01" or any(
        ratio > 1 for ratio in _numbers(header, "LossyImageCompressionRatio")
    )
    if is_said or syntax in _ALWAYS_LOSSY:
        return WITH_LOSS
    return "Perhaps compressed with loss" if syntax in _PERHAPS_LOSSY else ""


def _names_the_other_side(description: str, sides: Sequence[Laterality]) -> bool:
    """Whether a description names one side, and not that of the image."""
    named = set(_SIDE_IN_WORDS.findall(description))
    of_image = {str(side) for side in sides[:1]} - {str(Laterality.BOTH)}
    return len(named) == 1 and bool(of_image) and named != of_image


def _in_front_of_implants(
    instances: Iterable[Instance], headers: Mapping[str, Dataset]
) -> list[str]:
    """Return images that do not say whether there is an implant, of breasts that have one.

    Those are the breasts that were also imaged with the implant displaced.
    """
    in_views = [(i, i.view.laterality) for i in instances if i.view and i.modality == "MG"]
    displaced = {i.sop_uid for i, _ in in_views if _is_implant_displaced(headers[i.sop_uid])}
    sides = {side for i, side in in_views if i.sop_uid in displaced}
    return [
        i.sop_uid
        for i, side in in_views
        if side in sides
        and i.sop_uid not in displaced
        and not text(headers[i.sop_uid], "BreastImplantPresent")
    ]


def is_in_scope(modalities: Collection[str], model: Model) -> bool:
    """Whether a study with instances of these modalities gets an answer of the model."""
    return model.manifest.input.modality in modalities


def expected_views(models: Iterable[Model], modalities: Collection[str]) -> frozenset[View]:
    """Return the views that the models a study is in scope of wait for."""
    return frozenset(
        view
        for model in models
        if is_in_scope(modalities, model)
        for view in model.manifest.input.expected
    )


# Headers


def read_header(path: Path) -> Dataset:
    """Read a Part 10 file up to its pixel data; raise Unreadable if it is damaged.

    OSError passes through: it says nothing about the object.
    """
    header = _parse(path)
    if any(_is_cut_short(element) for element in header.values()):
        raise Unreadable("the object ends in the middle of an attribute")
    for keyword, name in (
        ("SOPClassUID", "SOP Class UID"),
        ("SOPInstanceUID", "SOP Instance UID"),
        ("StudyInstanceUID", "Study Instance UID"),
        ("SeriesInstanceUID", "Series Instance UID"),
    ):
        _require_uid(header, keyword, name)
    _require_uid(header.file_meta, "TransferSyntaxUID", "Transfer Syntax UID")
    for in_meta, in_data_set in (
        ("MediaStorageSOPInstanceUID", "SOPInstanceUID"),
        ("MediaStorageSOPClassUID", "SOPClassUID"),
    ):
        if texts(header.file_meta, in_meta) != texts(header, in_data_set):
            raise Unreadable("the file meta information names another object than the data set")
    return header


def describe(header: Dataset, path: Path, digest: str) -> Instance:
    """Return what `read_header` read as an Instance; path and digest are the caller's."""
    view = _view_or_reason(header)
    return Instance(
        study_uid=text(header, "StudyInstanceUID"),
        series_uid=text(header, "SeriesInstanceUID"),
        sop_uid=text(header, "SOPInstanceUID"),
        sop_class=text(header, "SOPClassUID"),
        transfer_syntax=text(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID"),
        modality=text(header, "Modality"),
        path=path,
        digest=digest,
        view=view if isinstance(view, View) else None,
        is_standard=not why_not_standard(header),
    )


def _parse(path: Path) -> Dataset:
    """Run pydicom's parser, which raises and warns about nearly anything, with quoted values."""
    with quietly(), failing_as("not a well-formed DICOM object", OSError):
        try:
            with path.open("rb") as file:
                return read_until_pixels(file, DEFER_BYTES)[0]
        except InvalidDicomError as error:
            raise Unreadable("not a DICOM Part 10 file") from error


def _is_cut_short(element: object) -> bool:
    return (
        isinstance(element, RawDataElement)
        and element.value is not None
        and element.length != 0xFFFFFFFF
        and len(element.value) < element.length
    )


def _require_uid(dataset: Dataset, keyword: str, name: str) -> None:
    value = text(dataset, keyword)
    if not value:
        raise Unreadable(f"no {name}")
    if len(value) > 64 or not re.fullmatch(r"[0-9]+(\.[0-9]+)*", value):
        raise Unreadable(f"invalid {name}")


def _codes(coded: Iterable[Dataset]) -> list[str]:
    """Return the SNOMED codes of code sequence items, of whichever age they are."""
    return [
        text(item, "CodeValue").upper()
        for item in coded
        if text(item, "CodingSchemeDesignator").upper() in _SNOMED_SCHEMES
    ]


# Views


def why_no_view(header: Dataset) -> str:
    """Return why an object has no view, or "" if it has one."""
    view = _view_or_reason(header)
    return "" if isinstance(view, View) else view


def _view_or_reason(header: Dataset) -> View | str:
    if text(header, "Modality") != "MG":
        return "not a mammogram"
    sides = _sides(header)
    projections = _named_projections(header) or _described(header)[0]
    others = [term for term in _positions(header) if term in _VIEWS_OF_OTHER_PARTS]
    if reason := _why_not_one(sides, [*projections, *others] if projections else []):
        return reason
    if not projections:
        return _why_no_projection(header)
    view = View(sides[0], projections[0])
    if not _can_be_oriented(view, texts(header, "PatientOrientation")):
        return f"{view} contradicts Patient Orientation"
    return view


def _why_not_one(sides: Sequence[Laterality], projections: Sequence[str]) -> str:
    if not sides:
        return "no laterality given"
    if len(set(sides)) > 1:
        return "laterality contradicts itself"
    if len(set(projections)) > 1:
        return f"view contradicts itself ({' or '.join(dict.fromkeys(projections))})"
    return ""


def _sides(header: Dataset) -> list[Laterality]:
    """Return what the header says about the side, most trusted first."""
    of_image, of_series = (
        [Laterality(t) for t in texts(header, keyword) if t in list(Laterality)]
        for keyword in ("ImageLaterality", "Laterality")
    )
    if of_image and Laterality.BOTH in of_series:
        of_series = []  # a series of both sides, and an image of one
    regions = items(header, "AnatomicRegionSequence")
    modifiers = (items(region, "AnatomicRegionModifierSequence") for region in regions)
    codes = _codes([*regions, *chain.from_iterable(modifiers)])
    of_region = [_SIDE_OF_REGION[code] for code in codes if code in _SIDE_OF_REGION]
    return of_image + of_series + of_region


def _named_projections(header: Dataset) -> list[str]:
    """Return what the attributes that are there for it say about the projection."""
    return _projections(header) or _projections_of_film(header, _sides(header))


def _described(header: Dataset) -> tuple[list[str], str]:
    """Return a projection that nothing but a description names, and the name of that attribute.

    Only if the description says nothing else, and no other side than the header does; and not of
    a Secondary Capture, which may be anybody's drawing.
    """
    has_place = text(header, "SOPClassUID") in _INTENTS
    is_empty = not _named_projections(header) and _why_no_projection(header) == "no view given"
    if not (has_place and is_empty):
        return [], ""
    sides = {str(side) for side in _sides(header)}
    for keyword, name in _DESCRIPTIONS.items():
        found = _DESCRIBED_VIEW.fullmatch(text(header, keyword).upper())
        if found is None:
            continue
        said = {side[0] for side in (found["before"], found["behind"]) if side}
        if len(sides) == 1 and said <= sides:
            return [found["projection"]], name
    return [], ""


def _projections(header: Dataset) -> list[str]:
    """Return what the header says about the projection, most trusted first."""
    coded = [
        _PROJECTION_OF_CODE[code]
        for code in _codes(items(header, "ViewCodeSequence"))
        if code in _PROJECTION_OF_CODE
    ]
    return coded + [position for position in _positions(header) if position in _PROJECTIONS]


def _positions(header: Dataset) -> list[str]:
    return [position.upper() for position in texts(header, "ViewPosition")]


def _projections_of_film(header: Dataset, sides: Sequence[Laterality]) -> list[str]:
    """Return what Patient Orientation (0020,0020) says where an object has no other place for it.

    That is digitised film: a mammogram of another class than those that must have a view code.
    """
    if text(header, "SOPClassUID") in _INTENTS or _why_no_projection(header) != "no view given":
        return []
    orientation = texts(header, "PatientOrientation")
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
    term = text(header, "ViewPosition")
    if re.fullmatch(r"[A-Z0-9_ ]{1,16}", term):
        return f"unknown view {term}"
    return "unknown view" if term or items(header, "ViewCodeSequence") else "no view given"


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


# Refusals


def is_passed_over(instance: Instance, wanted: Input) -> bool:
    """Whether a model leaves the instance to others, as one that reads MLO leaves CC."""
    view = instance.view
    return instance.is_standard and view is not None and view.projection in wanted.passed_over


def why_refused(instance: Instance, header: Dataset, wanted: Input) -> str:
    """Return why a model with this input must not see the instance, or "" if it may."""
    if instance.sop_class not in wanted.sop_classes:
        is_private = is_private_tomosynthesis(header)
        return _PRIVATE_TOMOSYNTHESIS if is_private else class_words(instance.sop_class)
    return (
        why_not_standard(header)
        or _refused_by_manifest(header, wanted)
        or _refused_view(instance, header, wanted)
    )


def why_not_standard(header: Dataset) -> str:
    """Return why a mammogram does not stand for its view in a screening exam, "" if it does."""
    reasons = (reason for applies, reason in _NOT_A_STANDARD_VIEW if applies(header))
    return next(reasons, "") or _refused_modifier(header)


def class_words(sop_class: str) -> str:
    """Return what an instance of a SOP class is called in a sentence."""
    known = uid.UID(sop_class)
    if sop_class in _CLASS_WORDS:
        return _CLASS_WORDS[sop_class]
    if known.name == sop_class:
        return "object of an unknown kind"
    return known.name.removesuffix(" Storage")


def is_of_other_intent(header: Dataset) -> bool:
    """Presentation Intent Type (0008,0068) denies what the SOP class says."""
    intent = text(header, "PresentationIntentType")
    claimed = _INTENTS.get(text(header, "SOPClassUID"))
    return bool(intent and claimed) and intent != claimed


def is_quality_control(header: Dataset) -> bool:
    """Quality Control Image (0028,0300): a phantom, or a phantom beside the breast."""
    return text(header, "QualityControlImage") in ("YES", "BOTH")


def is_biopsy(header: Dataset) -> bool:
    """Made for, or during, a biopsy."""
    return (
        any(term.startswith(_BIOPSY_TERMS) for term in _image_type(header))
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
    return [term.upper().replace(" ", "_") for term in texts(header, "ImageType")]


def is_screen_capture(header: Dataset) -> bool:
    """Somebody's drawing on a mammogram, perhaps another AI's; digitised film is a WSD, too."""
    return (
        text(header, "SOPClassUID") == SECONDARY_CAPTURE
        and text(header, "ConversionType") == "WSD"
        and text(header, "BurnedInAnnotation") == "YES"
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
    return "SPECIMEN" in _projections(header) or bool(_said(header, "SpecimenDescriptionSequence"))


def is_partial(header: Dataset) -> bool:
    """One tile of a breast that is larger than the detector (0028,1350)."""
    said = text(header, "PartialView")
    return said == "YES" or (said != "NO" and bool(_said(header, "PartialViewCodeSequence")))


def _said(header: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence that say something; anonymisers leave empty ones."""
    return [
        item
        for item in items(header, keyword)
        if any(item.get_item(tag).value for tag in item.keys())  # noqa: SIM118 - undecoded
    ]


def is_magnified(header: Dataset) -> bool:
    """Lifted off the detector, on a magnification stand.

    By Estimated Radiographic Magnification Factor (0018,1114), else by what it is defined as, the
    distance of the source to the detector (0018,1110) over that to the patient (0018,1111).
    """
    if re.search(r"(?<![A-Z])MAG", text(header, "PaddleDescription").upper()):
        return True
    if factors := _factors(header):
        return any(factor > _LARGEST_CONTACT_FACTOR for factor in factors)
    to_detector, to_patient = (
        _numbers(header, f"DistanceSourceTo{what}")[:1] for what in ("Detector", "Patient")
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
    return _numbers(header, _FACTOR)


def _numbers(header: Dataset, keyword: str) -> list[float]:
    """Return those values of an attribute that are numbers."""
    found = []
    for value in texts(header, keyword):
        with contextlib.suppress(ValueError):
            found.append(float(value))
    return [number for number in found if math.isfinite(number)]


def is_spot_compression(header: Dataset) -> bool:
    """Compressed with a small paddle (0018,11A4)."""
    return "SPOT" in text(header, "PaddleDescription").upper()


_NOT_A_STANDARD_VIEW: tuple[tuple[Callable[[Dataset], bool], str], ...] = (
    (is_of_other_intent, "Presentation Intent Type contradicts the SOP class"),
    (is_quality_control, "quality control image"),
    (is_specimen, "specimen image"),
    (is_biopsy, "biopsy image"),
    (is_contrast_enhanced, "contrast-enhanced image"),
    (is_tomosynthesis_projection, "tomosynthesis projection image"),
    (is_tomosynthesis, "tomosynthesis image"),
    (is_screen_capture, "screen capture with burned-in annotation"),
    (is_private_tomosynthesis, _PRIVATE_TOMOSYNTHESIS),
    (is_partial, "partial view"),
    (is_magnified, "magnification view"),
    (has_impossible_factor, "magnification factor that cannot be right"),
    (is_spot_compression, "spot compression view"),
)


def _modifiers(header: Dataset) -> list[str]:
    """Return the view modifiers: inside the view item, at top level (old objects), or as a view."""
    views = items(header, "ViewCodeSequence")
    return _codes(views) + [
        code
        for place in (*views, header)
        for code in _codes(items(place, "ViewModifierCodeSequence"))
    ]


def _refused_modifier(header: Dataset) -> str:
    said = [*_modifiers(header), *_positions(header)]
    reasons = (_REASON_OF_MODIFIER.get(term, "") for term in said)
    return next((reason for reason in reasons if reason), "") or _unknown_modifier(header)


def _unknown_modifier(header: Dataset) -> str:
    """Return that something modifies the view in a way nobody can tell here, "" if nothing does.

    A view code is only looked at where SNOMED's are: makers have codes of their own for the views,
    beside the View Position.
    """
    views = items(header, "ViewCodeSequence")
    known = _REASON_OF_MODIFIER.keys() | _ACCEPTED_MODIFIERS
    if not {*known, *_PROJECTION_OF_CODE}.issuperset(_codes(views)):
        return "unknown view code"
    coded = [m for place in (*views, header) for m in _said(place, "ViewModifierCodeSequence")]
    if len(_codes(coded)) < len(coded) or not {*known, *_codes(views)}.issuperset(_codes(coded)):
        return "unknown view modifier"
    return ""


def _refused_by_manifest(header: Dataset, wanted: Input) -> str:
    if wanted.synthetic_2d == "refuse" and is_synthetic(header):
        return "synthetic 2D image"
    has_implant = text(header, "BreastImplantPresent") == "YES"
    if wanted.implants == "refuse" and has_implant and not _is_implant_displaced(header):
        return "breast implant"
    return ""


def _is_implant_displaced(header: Dataset) -> bool:
    return not _IMPLANT_DISPLACED.isdisjoint(_modifiers(header))


def _refused_view(instance: Instance, header: Dataset, wanted: Input) -> str:
    view = instance.view
    if view is None:
        return why_no_view(header) or "no view given"
    if view.laterality == Laterality.BOTH:
        return "both breasts in one image"
    if view.projection not in wanted.projections:
        return f"{view.projection} is not a view this model reads"
    return ""


def _what(instance: Instance) -> str:
    return str(instance.view) if instance.view else class_words(instance.sop_class)


def _hanging_order(instance: Instance) -> tuple[int, str]:
    name = str(instance.view)
    place = _HANGING_ORDER.index(name) if name in _HANGING_ORDER else len(_HANGING_ORDER)
    return place, instance.sop_uid
