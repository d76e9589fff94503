"""Grayscale Softcopy Presentation States: outlines over the original image, to switch on and off.

One for each image a model found something on, so that each can be applied alone. A presentation
state replaces what the image says about its own display (PS3.4 N.2): what a display needs is
repeated here as it stands in the image's header.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import cycle
from math import isfinite

import numpy as np
from highdicom.color import CIELabColor
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, GrayscaleSoftcopyPresentationStateStorage

from node.imaging.source import as_number
from node.outputs import header, verbatim, wording
from node.outputs.canvas import Colour
from node.outputs.case import Draft
from node.outputs.header import Series
from node.outputs.provenance import image_reference
from node.outputs.wording import ascii_text
from node.result import Finding, Result

SERIES_NUMBER = 9004
LAYER = "AI_RESULT"
NOT_VERIFIED = "AI generated, not verified"
PRESENTATION_LUT_SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
"""What makes the image look as it does without a presentation state (PS3.3 C.11.6)."""
SHUTTER = (
    "ShutterShape",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
    "ShutterPresentationValue",
)
GRAPHIC_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (204, 121, 167),
    (0, 158, 115),
)
"""One for each model, as in the captures (Okabe and Ito's, which stay apart for every eye)."""
TEXT_HEIGHT = 0.025
"""Height of a line of text, in image heights."""
LETTER_WIDTH = 0.6
"""Width of a letter, in heights of a line."""


def build(draft: Draft) -> list[Dataset]:
    """Return one presentation state for each result and each grey image with findings in it."""
    return [
        _state(draft, result, colour, (sop_uid, index))
        for result, colour in zip(draft.results, cycle(GRAPHIC_COLOURS), strict=False)
        for index, sop_uid in enumerate(_marked(draft, result), start=1)
    ]


def _marked(draft: Draft, result: Result) -> list[str]:
    """Return the images with findings that this kind can be applied to: it takes no colours."""
    return [
        sop_uid
        for sop_uid in dict.fromkeys(finding.region.sop_uid for finding in result.findings)
        if _photometric(draft, sop_uid) in PRESENTATION_LUT_SHAPES
    ]


def _photometric(draft: Draft, sop_uid: str) -> str:
    return verbatim.plain(draft.headers[sop_uid], "PhotometricInterpretation")


def _state(draft: Draft, result: Result, colour: Colour, image: tuple[str, int]) -> Dataset:
    sop_uid, index = image
    view = draft.instance(sop_uid).view
    # Of what has no side, the body part tells that it is no paired one (PS3.3 C.7.3.1).
    body_part = "" if view else header.body_part_examined(draft.headers[sop_uid])
    key = ("presentation-state", result.model.name, *filter(None, [body_part]))
    series = Series(key, "PR", SERIES_NUMBER, "Marks", (result,))
    dataset = header.begin(draft, series, GrayscaleSoftcopyPresentationStateStorage, sop_uid, index)
    verbatim.copy(draft.source, dataset, ("RequestAttributesSequence",))
    if body_part:
        dataset.BodyPartExamined = body_part
    if view is not None:
        dataset.ImageLaterality = str(view.laterality)
    _identify(dataset, draft, result)
    dataset.ReferencedSeriesSequence = [_series_reference(draft, sop_uid)]
    source = draft.headers[sop_uid]
    area = _displayed_area(source)
    dataset.DisplayedAreaSelectionSequence = [area]
    _copy_shutter(source, dataset)
    _copy_modality_lut(source, dataset)
    voi = _first_voi(source)
    if voi is not None:
        dataset.SoftcopyVOILUTSequence = [voi]
    dataset.PresentationLUTShape = PRESENTATION_LUT_SHAPES[_photometric(draft, sop_uid)]
    dataset.GraphicLayerSequence = [_layer(result, colour)]
    dataset.GraphicAnnotationSequence = [_annotation(draft, result, sop_uid, area)]
    return dataset


def _identify(dataset: Dataset, draft: Draft, result: Result) -> None:
    """Say in a list of presentation states what this one is (PS3.3 C.11.10)."""
    dataset.ContentLabel = LAYER
    dataset.ContentDescription = _description(draft, result)
    name = " ".join(re.sub(r"[\\^=]", " ", ascii_text(result.model.title)).split())
    dataset.ContentCreatorName = f"{name[: header.LO_LENGTH - 3].strip()}^AI"
    dataset.PresentationCreationDate = dataset.ContentDate
    dataset.PresentationCreationTime = dataset.ContentTime
    del dataset.ContentDate, dataset.ContentTime  # of documents and images


def _description(draft: Draft, result: Result) -> str:
    replaced = wording.version(draft)
    if replaced:
        return f"AI, not verified. {replaced}"[: header.LO_LENGTH]
    return _with_model(result, NOT_VERIFIED)


def _with_model(result: Result, words: str) -> str:
    """Return words behind the model's title and version; the title gives way to them."""
    # A backslash would divide the value.
    title, version = (
        ascii_text(name.replace("\\", "/")) for name in (result.model.title, result.model.version)
    )
    version = version[:16]
    room = header.LO_LENGTH - len(f" {version}, {words}")
    return f"{title[:room].strip()} {version}, {words}"


def _series_reference(draft: Draft, sop_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence = [image_reference(draft, sop_uid)]
    item.SeriesInstanceUID = draft.instance(sop_uid).series_uid
    return item


def _displayed_area(source: Dataset) -> Dataset:
    """Return the whole image: column and row, the first pixel being 1, 1 (PS3.3 C.10.4)."""
    size = Dataset()
    verbatim.copy(source, size, ("Rows", "Columns"))
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [size.Columns, size.Rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    item.PresentationPixelAspectRatio = _aspect_ratio(source)
    return item


def _aspect_ratio(source: Dataset) -> list[int]:
    """Return the height and width of a pixel as two whole numbers."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        numbers = [_number(part) for part in verbatim.plain(source, keyword).split("\\")]
        if len(numbers) == 2 and all(numbers):
            height, width = (abs(number or 1.0) for number in numbers)
            ratio = Fraction(height / width).limit_denominator(1000)
            return [max(1, ratio.numerator), ratio.denominator]
    return [1, 1]


def _copy_shutter(source: Dataset, dataset: Dataset) -> None:
    """Keep covered what the image covers (PS3.3 C.7.6.11, C.11.12)."""
    shapes = verbatim.plain(source, "ShutterShape").split("\\")
    if {"RECTANGULAR", "CIRCULAR", "POLYGONAL"}.issuperset(shapes):
        dataset.ShutterPresentationValue = 0
        verbatim.copy(source, dataset, SHUTTER)


def _copy_modality_lut(source: Dataset, dataset: Dataset) -> None:
    """Repeat how stored values become those the window is about (PS3.3 C.11.1)."""
    table = _first_table(source, "ModalityLUTSequence")
    if table is not None:
        dataset.ModalityLUTSequence = [table]
        return
    intercept, slope = (_first(source, f"Rescale{what}") for what in ("Intercept", "Slope"))
    if intercept and slope:
        dataset.RescaleIntercept, dataset.RescaleSlope = intercept, slope
        dataset.RescaleType = "HU" if verbatim.plain(source, "Modality") == "CT" else "US"
        said = ("RescaleType",) if verbatim.plain(source, "RescaleType") else ()
        verbatim.copy(source, dataset, said)


def _first_voi(source: Dataset) -> Dataset | None:
    """Return the image's VOI LUT, else its first window; there may be one only (PS3.3 C.11.8)."""
    item = Dataset()
    table = _first_table(source, "VOILUTSequence")
    if table is not None:
        item.VOILUTSequence = [table]
        return item
    centre, width = (_first(source, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    function = "_".join(verbatim.plain(source, "VOILUTFunction").upper().split()) or "LINEAR"
    if not (centre and width) or float(width) <= 0 or (function == "LINEAR" and float(width) < 1):
        return None
    item.WindowCenter, item.WindowWidth = centre, width
    if function in ("LINEAR_EXACT", "SIGMOID"):
        item.VOILUTFunction = function
    return item


def _first(source: Dataset, keyword: str) -> str:
    """Return the first of several numbers as a Decimal String (PS3.5 6.2), "" if it is none."""
    text = verbatim.plain(source, keyword).split("\\")[0].strip(" \0")
    number = as_number(text)
    if number is None:
        return ""
    return text if len(text) <= 16 and "," not in text else f"{number:.9g}"


def _number(text: str) -> float | None:
    """Return what a Decimal String (PS3.5 6.2) says, None if it is none."""
    if not re.fullmatch(r"[ ]*[+-]?(\d+\.?\d*|\.\d+)([Ee][+-]?\d+)?[ ]*", text):
        return None
    number = float(text)
    return number if isfinite(number) else None


def _first_table(source: Dataset, keyword: str) -> Dataset | None:
    """Copy the first lookup table of a sequence: the same numbers, whatever their byte order."""
    items = source.get(keyword)
    if not items:
        return None
    table = Dataset()
    verbatim.copy(items[0], table, ("LUTExplanation", "ModalityLUTType"))
    descriptor = items[0]["LUTDescriptor"]
    table.add_new("LUTDescriptor", descriptor.VR, list(descriptor.value))
    content = items[0].LUTData
    if isinstance(content, bytes):
        is_big_endian = source.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
        words = np.frombuffer(content, ">u2" if is_big_endian else "<u2")
    else:
        words = np.atleast_1d(np.asarray(content, dtype=np.int64))
    # As OW: a table of 65536 words is longer than a value of US can be.
    table.add_new("LUTData", "OW", words.astype("<u2").tobytes())
    verbatim.keep(table)
    return table


def _layer(result: Result, colour: Colour) -> Dataset:
    item = Dataset()
    item.GraphicLayer = LAYER
    item.GraphicLayerOrder = 1
    item.GraphicLayerRecommendedDisplayCIELabValue = list(CIELabColor.from_rgb(*colour).value)
    item.GraphicLayerDescription = _with_model(result, NOT_VERIFIED)
    return item


def _annotation(draft: Draft, result: Result, sop_uid: str, area: Dataset) -> Dataset:
    signs = wording.signs(draft)[draft.results.index(result)]
    marks = [
        (finding, sign)
        for finding, sign in zip(result.findings, signs, strict=True)
        if finding.region.sop_uid == sop_uid
    ]
    item = Dataset()
    item.ReferencedImageSequence = [image_reference(draft, sop_uid)]
    item.GraphicLayer = LAYER
    item.TextObjectSequence = [
        _text(finding, _words(draft, finding, sign), area.DisplayedAreaBottomRightHandCorner)
        for finding, sign in marks
    ]
    item.GraphicObjectSequence = [_outline(finding) for finding, _ in marks]
    return item


def _outline(finding: Finding) -> Dataset:
    """Return the outline: column, row from the top left corner of the image (PS3.3 C.10.5)."""
    item = Dataset()
    item.GraphicAnnotationUnits = "PIXEL"
    item.GraphicDimensions = 2
    item.NumberOfGraphicPoints = len(finding.region.outline)
    item.GraphicData = [float(number) for point in finding.region.outline for number in point]
    item.GraphicType = "POLYLINE"
    item.GraphicFilled = "N"
    return item


def _words(draft: Draft, finding: Finding, sign: str) -> str:
    """Return what stands beside an outline, "AI 6: mass, AI score 87 %"; its image is in sight."""
    name = draft.name_of(finding.region.sop_uid)
    what = wording.finding_label(finding, sign).replace(f"{name} ", "", 1)
    numbers = [f"{m.concept.meaning} {wording.quantity(m)}" for m in finding.measurements]
    return ascii_text(f"{'AI' if sign else 'AI:'} {', '.join([what, *numbers])}")


def _text(finding: Finding, words: str, size: tuple[int, int]) -> Dataset:
    """Return the words above the outline, or where there is room, in pixels as the outline is."""
    columns, rows = (float(number) for number in size)
    x, y = zip(*finding.region.outline, strict=True)
    height = TEXT_HEIGHT * rows
    width = min(columns, LETTER_WIDTH * height * len(words))
    left = min(max(min(x), 0.0), columns - width)
    top = min(y) - 1.3 * height
    if top < 0:
        top = min(max(y) + 0.3 * height, rows - height)
    item = Dataset()
    item.BoundingBoxAnnotationUnits = "PIXEL"
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.UnformattedTextValue = words
    item.BoundingBoxTopLeftHandCorner = [left, top]
    item.BoundingBoxBottomRightHandCorner = [left + width, top + height]
    item.BoundingBoxTextHorizontalJustification = "LEFT"
    item.AnchorPoint = [min(x), min(y)]
    item.AnchorPointVisibility = "N"
    return item
