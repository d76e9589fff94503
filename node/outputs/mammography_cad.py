"""Mammography CAD SR (TID 4000), one for each result of a model that looks for lesions.

Mammography workstations draw it as CAD marks on their own hanging. The template is not extensible:
what it has no row for, as a number about a breast or the exam, is left to the other objects.

highdicom knows neither this SOP class nor references to other content items, by which every mark
names its image, so the tree is built of plain data sets. Coordinates are (column, row) in the
stored pixel matrix, (0.0, 0.0) being the top left corner of the top left pixel (PS3.3 C.18.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as StandardCode
from pydicom.uid import UID, MammographyCADSRStorage

from node.dicom import untrusted
from node.domains.mammography.sop_classes import MG_FOR_PRESENTATION, MG_FOR_PROCESSING
from node.outputs import header, wording
from node.outputs.case import Draft
from node.outputs.measurement_report import VIEWS
from node.outputs.sr_content import (
    ACQ_CONTEXT,
    CONCEPT_MOD,
    CONTAINS,
    ENGLISH,
    INFERRED_FROM,
    LANGUAGE,
    OBS_CONTEXT,
    SELECTED_FROM,
)
from node.outputs.sr_document import DocumentKind, build_document
from node.result import Code, Finding, Measurement, Point, Refusal, Region, Result
from node.study import Instance, Laterality, View

MAMMOGRAPHY_CAD = DocumentKind("mammography-cad", MammographyCADSRStorage, 9001, "CAD")

HAS_PROPERTIES = "HAS PROPERTIES"

LIBRARY = (1, 2)
"""Where the Image Library stands: the second item below the root (0040,DB73)."""
CAD_SIDES = {
    Laterality.RIGHT: Code("73056007", "SCT", "Right breast"),
    Laterality.LEFT: Code("80248007", "SCT", "Left breast"),
    Laterality.BOTH: Code("63762007", "SCT", "Both breasts"),
}
"""CID 6022."""
PRESENTED = Code("111150", "DCM", "Presentation Required: Rendering device is expected to present")
SUCCEEDED = Code("111222", "DCM", "Succeeded")
PARTLY = Code("111223", "DCM", "Partially Succeeded")
FAILED = Code("111224", "DCM", "Failed")
NOT_ATTEMPTED = Code("111225", "DCM", "Not Attempted")
SUMMARIES = {
    (SUCCEEDED, False): Code("111241", "DCM", "All algorithms succeeded; without findings"),
    (SUCCEEDED, True): Code("111242", "DCM", "All algorithms succeeded; with findings"),
    (PARTLY, False): Code("111243", "DCM", "Not all algorithms succeeded; without findings"),
    (PARTLY, True): Code("111244", "DCM", "Not all algorithms succeeded; with findings"),
    (FAILED, False): Code("111245", "DCM", "No algorithms succeeded; without findings"),
}
"""CID 6047, by the outcome of the detection and whether there are findings."""
SELECTED_REGION = Code("111099", "DCM", "Selected region")
PROBABILITY_OF_CANCER = Code("111047", "DCM", "Probability of cancer")
SEVERAL_IMAGES = Code("111158", "DCM", "Feature detected on multiple images")
ONE_IMAGE = Code("111157", "DCM", "Feature detected on only one of the images")
CAD_PERCENT = Code("%", "UCUM", "Percent")
MICROMETER = Code("um", "UCUM", "micrometer")
RENDERING_INTENT = Code("111056", "DCM", "Rendering Intent")
COMPOSITE = Code("111015", "DCM", "Composite Feature")
SINGLE = Code("111059", "DCM", "Single Image Finding")
ANALYSIS = Code("111234", "DCM", "Overall Impression / Recommendation Analysis")
NOT_A_MARK = {
    ("129715009", "SCT"),  # Breast composition
    ("111100", "DCM"),  # Breast geometry
    ("111101", "DCM"),  # Image Quality
    ("111102", "DCM"),  # Non-lesion
}
"""Of CID 6014: they have other rows than those of a mark."""
WITHOUT_PROBABILITY = {("111099", "DCM"), ("24142002", "SCT")}
"""Selected region and nipple: the template forbids their Probability of cancer."""
WITH_AREA = {("129769006", "SCT"), ("129793001", "SCT"), ("111099", "DCM")}
"""Calcification cluster, density and selected region: what has a row for an area."""
AREA_UNITS = {("cm2", "UCUM"), ("mm2", "UCUM"), ("um2", "UCUM")}
"""CID 7461."""


def _context_group(number: int) -> tuple[StandardCode, ...]:
    group = getattr(codes, f"cid{number}")
    return tuple(getattr(group, name) for name in group.dir())


def _keys(number: int) -> set[tuple[str, str]]:
    return {(code.value, code.scheme_designator) for code in _context_group(number)}


def _key(code: Code) -> tuple[str, str]:
    """Return what tells codes apart; the meaning does not."""
    return code.value, code.scheme


VALID = {
    "DATE": re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"),
    "TIME": re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?"),
}
"""PS3.5 6.2, DA and TM."""
AREAS = _keys(7471)
SINGLE_IMAGE_FINDINGS = _keys(6014) - NOT_A_MARK
COMPOSITE_FEATURES = _keys(6016) - NOT_A_MARK
VIEW_MODIFIERS = _context_group(4015)


@dataclass(frozen=True, slots=True)
class Summary:
    """The concept names of a Summary of Detections (TID 4015) or of Analyses (TID 4016)."""

    name: Code
    succeeded: Code
    failed: Code
    performed: Code


DETECTIONS = Summary(
    name=Code("111064", "DCM", "Summary of Detections"),
    succeeded=Code("111063", "DCM", "Successful Detections"),
    failed=Code("111025", "DCM", "Failed Detections"),
    performed=Code("111022", "DCM", "Detection Performed"),
)
ANALYSES = Summary(
    name=Code("111065", "DCM", "Summary of Analyses"),
    succeeded=Code("111062", "DCM", "Successful Analyses"),
    failed=Code("111024", "DCM", "Failed Analyses"),
    performed=Code("111004", "DCM", "Analysis Performed"),
)


@dataclass(frozen=True, slots=True)
class Tracking:
    """What a mark is called (TID 4108)."""

    identifier: str
    uid: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What one document is about."""

    draft: Draft
    result: Result
    images: tuple[Instance, ...]
    """The Image Library, in its order; never empty."""

    def reference(self, relationship: str, sop_uid: str) -> Dataset:
        """Return a by-reference relationship to an image of the library (PS3.3 C.17.3.2.5)."""
        place = [image.sop_uid for image in self.images].index(sop_uid) + 1
        item = Dataset()
        item.RelationshipType = relationship
        item.ReferencedContentItemIdentifier = [*LIBRARY, place]
        return item

    def tracking(self, key: str, identifier: str) -> Tracking:
        """Return the name of a mark; one that stands alone is called so in every document."""
        uid = self.draft.uid("tracking", self.result.model.name, key)
        return Tracking(identifier, uid)

    @property
    def failed(self) -> list[str]:
        """The images of the library that were not analysed."""
        return [i.sop_uid for i in self.images if i.sop_uid not in self.result.analysed]

    @property
    def outcome(self) -> Code:
        """How the detection went (CID 6042)."""
        if not self.failed:
            return SUCCEEDED
        return PARTLY if self.result.analysed else FAILED


def build(draft: Draft) -> list[Dataset]:
    """Return one CAD report per result that looked for something in mammograms."""
    draft = wording.numbered(draft)
    return [
        _document(Subject(draft, result, tuple(images)))
        for result in draft.results
        if result.looked_for and (images := _images(draft, result))
    ]


def _images(draft: Draft, result: Result) -> list[Instance]:
    """Return the mammograms of the study that were analysed, or are missed, once each.

    Where nothing was analysed, every mammogram is named: of a study that was given up as a
    whole, no refusal names them.
    """
    analysed = [draft.instance(sop_uid) for sop_uid in result.analysed]
    if not all(instance.modality == "MG" for instance in analysed):
        return []
    others = [draft.instance(refused.sop_uid) for refused in _missed(draft, result)]
    others += [] if analysed else draft.version.instances
    images = {i.sop_uid: i for i in (*analysed, *(o for o in others if _is_mammogram(o)))}
    return list(images.values())


def _missed(draft: Draft, result: Result) -> list[Refusal]:
    """Return the refusals that leave a gap: who sees the codes alone must not think all was read.

    That is what failed, and a mammogram that a rule left out, unless its view was analysed in
    another image or is none of the four of a screening exam: algorithms not attempted on those
    are mentioned in words only.
    """
    read = {draft.instance(sop_uid).view for sop_uid in result.analysed}

    def is_gap(instance: Instance) -> bool:
        if instance.view is None:
            is_plain = instance.sop_class in (MG_FOR_PRESENTATION, MG_FOR_PROCESSING)
            return is_plain and instance.is_standard
        return instance.view not in read and instance.view.projection in ("CC", "MLO")

    return [
        refused
        for refused in result.refused
        if refused.is_failure
        or (_is_mammogram(instance := draft.instance(refused.sop_uid)) and is_gap(instance))
    ]


def _is_mammogram(instance: Instance) -> bool:
    """Whether an IMAGE content item may refer to it: raw data of a modality is none."""
    return instance.modality == "MG" and "Image" in UID(instance.sop_class).name


def _document(subject: Subject) -> Dataset:
    """Return the document; its evidence is all it refers to."""
    result = subject.result
    failed = _missed(subject.draft, result)
    named = {*result.analysed, *(refused.sop_uid for refused in failed)}
    others = [Refusal(i.sop_uid, "", "") for i in subject.images if i.sop_uid not in named]
    considered = replace(result, refused=(*failed, *others))
    return build_document(subject.draft, considered, MAMMOGRAPHY_CAD, _report(subject))


def _report(subject: Subject) -> Dataset:
    """Return the root and all below (TID 4000); LIBRARY depends on the order."""
    root = _container(
        None,
        Code("111036", "DCM", "Mammography CAD Report"),
        [
            _code(CONCEPT_MOD.value, LANGUAGE, ENGLISH),
            _container(
                CONTAINS.value,
                Code("111028", "DCM", "Image Library"),
                [_library_entry(subject.draft, image) for image in subject.images],
            ),
            _overall(subject),
            _detections(subject),
            _analyses(subject),
        ],
    )
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "4000"
    root.ContentTemplateSequence = [template]
    return root


# The library


def _library_entry(draft: Draft, instance: Instance) -> Dataset:
    """Return an image and how it was acquired (TID 4020)."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = instance.sop_class
    reference.ReferencedSOPInstanceUID = instance.sop_uid
    acquired = draft.headers.get(instance.sop_uid, Dataset())  # none of a damaged object
    item = _item(
        CONTAINS.value,
        "IMAGE",
        None,
        [
            *_view(instance.view, acquired),
            *_orientation(acquired),
            *_dates(acquired),
            *_spacing(acquired),
        ],
    )
    item.ReferencedSOPSequence = [reference]
    return item


def _view(view: View | None, acquired: Dataset) -> Iterator[Dataset]:
    """Yield side and view as the node understood them, and what modifies the view."""
    if view is None:
        return
    yield _code(
        ACQ_CONTEXT.value, Code("111027", "DCM", "Image Laterality"), CAD_SIDES[view.laterality]
    )
    if view.projection in VIEWS:
        yield _code(
            ACQ_CONTEXT.value,
            Code("111031", "DCM", "Image View"),
            VIEWS[view.projection],
            [
                _code(CONCEPT_MOD.value, Code("111032", "DCM", "Image View Modifier"), modifier)
                for modifier in _view_modifiers(acquired)
            ],
        )


def _view_modifiers(acquired: Dataset) -> list[Code]:
    """Return the modifiers of CID 4015, in SCT; inside the view, or beside it in old objects."""
    found = []
    for place in (*untrusted.items(acquired, "ViewCodeSequence"), acquired):
        for item in untrusted.items(place, "ViewModifierCodeSequence"):
            said = StandardCode(
                untrusted.text(item, "CodeValue"),
                untrusted.text(item, "CodingSchemeDesignator"),
                "",
            )
            # Codes are equal to their SRT forerunners; they have other hashes.
            found += [Code(m.value, "SCT", m.meaning) for m in VIEW_MODIFIERS if m == said]
    return list(dict.fromkeys(found))


def _orientation(acquired: Dataset) -> list[Dataset]:
    """Return Patient Orientation (0020,0020): where the rows and the columns point to."""
    values = untrusted.texts(acquired, "PatientOrientation")
    if len(values) != 2 or not all(re.fullmatch("[APLRHF]{1,3}", value) for value in values):
        return []
    return [
        _text(ACQ_CONTEXT.value, Code("111044", "DCM", "Patient Orientation Row"), values[0]),
        _text(ACQ_CONTEXT.value, Code("111043", "DCM", "Patient Orientation Column"), values[1]),
    ]


def _dates(acquired: Dataset) -> Iterator[Dataset]:
    """Yield when it was acquired; what is no valid date or time is left out."""
    for keyword, value_type, name in (
        ("StudyDate", "DATE", Code("111060", "DCM", "Study Date")),
        ("StudyTime", "TIME", Code("111061", "DCM", "Study Time")),
        ("ContentDate", "DATE", Code("111018", "DCM", "Content Date")),
        ("ContentTime", "TIME", Code("111019", "DCM", "Content Time")),
    ):
        value = untrusted.text(acquired, keyword)
        if VALID[value_type].fullmatch(value):
            item = _item(ACQ_CONTEXT.value, value_type, name)
            setattr(item, value_type.title(), value)
            yield item


def _spacing(acquired: Dataset) -> list[Dataset]:
    """Return Imager Pixel Spacing (0018,1164), in um at the detector; it is rows first, in mm."""
    try:
        vertical, horizontal = map(float, untrusted.texts(acquired, "ImagerPixelSpacing"))
    except ValueError:
        return []
    if not (0 < horizontal < 10 and 0 < vertical < 10):
        return []
    return [
        _number(ACQ_CONTEXT.value, name, f"{1000 * spacing:.6g}", MICROMETER)
        for name, spacing in (
            (Code("111026", "DCM", "Horizontal Pixel Spacing"), horizontal),
            (Code("111066", "DCM", "Vertical Pixel Spacing"), vertical),
        )
    ]


# What came out


def _overall(subject: Subject) -> Dataset:
    """Return the outcome, in a code and in words, and what was found (TID 4001, TID 4002)."""
    result = subject.result
    return _code(
        CONTAINS.value,
        Code("111017", "DCM", "CAD Processing and Findings Summary"),
        SUMMARIES[subject.outcome, bool(result.findings)],
        [
            _text(
                HAS_PROPERTIES,
                Code("111033", "DCM", "Impression Description"),
                " ".join(wording.sentences(subject.draft, result)),
            ),
            *_algorithm(result),
            *_impressions(subject),
        ],
    )


def _impressions(subject: Subject) -> Iterator[Dataset]:
    """Yield one Individual Impression for each breast with findings (TID 4003)."""
    for side in CAD_SIDES:
        found = [(n, f) for n, f in enumerate(subject.result.findings) if f.laterality == side]
        lesions = _on_several_images([finding for _, finding in found])
        marks = [
            *(
                _composite(
                    subject,
                    CONTAINS.value,
                    subject.tracking(f"lesion {side} {name}", wording.of_lesion(subject.draft, of)),
                    of,
                )
                for name, of in lesions.items()
            ),
            *(
                _single(
                    subject, CONTAINS.value, subject.tracking(f"region {n}", finding.label), finding
                )
                for n, finding in found
                if finding.lesion not in lesions
            ),
        ]
        if marks:
            yield _container(
                INFERRED_FROM.value,
                Code("111034", "DCM", "Individual Impression/Recommendation"),
                [_code(CONCEPT_MOD.value, RENDERING_INTENT, PRESENTED), *marks],
            )


def _on_several_images(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Return the findings of each lesion that is marked on more than one image."""
    lesions: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.lesion:
            lesions.setdefault(finding.lesion, []).append(finding)
    return {name: of for name, of in lesions.items() if len({f.region.sop_uid for f in of}) > 1}


def _composite(
    subject: Subject, relationship: str, tracking: Tracking, findings: Sequence[Finding]
) -> Dataset:
    """Return one lesion on several images (TID 4004, TID 4005), as sure as its surest finding.

    It joins exactly two items; of three findings, the first two are one item.
    """
    *others, last = findings
    if len(others) > 1:
        first = _composite(subject, INFERRED_FROM.value, tracking, others)
    else:
        first = _single(subject, INFERRED_FROM.value, tracking, others[0])
    images = {finding.region.sop_uid for finding in findings}
    surest = max(findings, key=lambda f: float("-inf") if f.score is None else f.score.value)
    kind = surest.kind if _key(surest.kind) in COMPOSITE_FEATURES else SELECTED_REGION
    return _code(
        relationship,
        COMPOSITE,
        kind,
        [
            _code(CONCEPT_MOD.value, RENDERING_INTENT, PRESENTED),
            *_tracking(tracking),
            _code(
                HAS_PROPERTIES,
                Code("111016", "DCM", "Composite Type"),
                Code("111154", "DCM", "Target content items are related spatially"),
            ),
            _code(
                HAS_PROPERTIES,
                Code("111057", "DCM", "Scope of Feature"),
                SEVERAL_IMAGES if len(images) > 1 else ONE_IMAGE,
            ),
            *_algorithm(subject.result),
            *_certainty(Code("111011", "DCM", "Certainty of Feature"), surest.score),
            *_probability(surest.score),
            first,
            _single(subject, INFERRED_FROM.value, tracking, last),
        ],
    )


def _single(subject: Subject, relationship: str, tracking: Tracking, finding: Finding) -> Dataset:
    """Return a finding on one image (TID 4006); of a kind the template has not, a region."""
    kind = _kind(finding.kind)
    return _code(
        relationship,
        SINGLE,
        kind,
        [
            _code(CONCEPT_MOD.value, RENDERING_INTENT, PRESENTED),
            *_tracking(tracking),
            *_algorithm(subject.result),
            *_certainty(Code("111012", "DCM", "Certainty of Finding"), finding.score),
            *(_probability(finding.score) if _key(kind) not in WITHOUT_PROBABILITY else []),
            *_geometry(subject, finding.region),
            *([_description(finding)] if _key(kind) == _key(SELECTED_REGION) else []),
            *(_areas(finding) if _key(kind) in WITH_AREA else []),
        ],
    )


def _kind(kind: Code) -> Code:
    return kind if _key(kind) in SINGLE_IMAGE_FINDINGS else SELECTED_REGION


def _description(finding: Finding) -> Dataset:
    """Say what the code of a selected region does not (TID 4013)."""
    said = [finding.kind.meaning, *wording.measured(finding)]
    name = Code("111058", "DCM", "Selected Region Description")
    return _text(HAS_PROPERTIES, name, f"{'. '.join(said)}.")


def _tracking(tracking: Tracking) -> list[Dataset]:
    unique = _item(OBS_CONTEXT.value, "UIDREF", Code("112040", "DCM", "Tracking Unique Identifier"))
    unique.UID = tracking.uid
    name = Code("112039", "DCM", "Tracking Identifier")
    return [_text(OBS_CONTEXT.value, name, tracking.identifier), unique]


def _algorithm(result: Result) -> list[Dataset]:
    """Return which algorithm spoke (TID 4019)."""
    model = result.model
    return [
        _text(HAS_PROPERTIES, Code("111001", "DCM", "Algorithm Name"), model.title),
        _text(HAS_PROPERTIES, Code("111003", "DCM", "Algorithm Version"), model.version),
    ]


def _certainty(name: Code, score: Measurement | None) -> list[Dataset]:
    """Return how sure the model is, which only a score in percent can say."""
    if score is None or _key(score.unit) != _key(CAD_PERCENT):
        return []
    return [_number(HAS_PROPERTIES, name, wording.written_number(score), CAD_PERCENT)]


def _probability(score: Measurement | None) -> list[Dataset]:
    """Return the score once more if it is calibrated: a manifest says so by its concept."""
    is_probability = score is not None and _key(score.concept) == _key(PROBABILITY_OF_CANCER)
    return _certainty(PROBABILITY_OF_CANCER, score) if is_probability else []


def _areas(finding: Finding) -> list[Dataset]:
    """Return the areas that were measured (TID 1401)."""
    return [
        _number(HAS_PROPERTIES, m.concept, wording.written_number(m), m.unit)
        for m in finding.measurements
        if _key(m.concept) in AREAS and _key(m.unit) in AREA_UNITS
    ]


# Places


def _geometry(subject: Subject, region: Region) -> list[Dataset]:
    """Return where it is, in the stored matrix of its image (TID 4021)."""
    return [
        _coordinates(subject, region, Code("111010", "DCM", "Center"), [centre(region)]),
        _coordinates(subject, region, Code("111041", "DCM", "Outline"), region.outline),
    ]


def _coordinates(subject: Subject, region: Region, name: Code, points: Sequence[Point]) -> Dataset:
    image = subject.reference(SELECTED_FROM.value, region.sop_uid)
    item = _item(HAS_PROPERTIES, "SCOORD", name, [image])
    item.GraphicType = "POINT" if len(points) == 1 else "POLYLINE"
    item.GraphicData = [float(coordinate) for point in points for coordinate in point]
    return item


def centre(region: Region) -> Point:
    """Return the middle of a box, or an outline's centroid; a point inside, if that is not."""
    columns, rows = zip(*region.outline, strict=True)
    middle = (min(columns) + max(columns)) / 2, (min(rows) + max(rows)) / 2
    if region.is_box or (centroid := _centroid(region.outline)) is None:
        return middle
    spans = _spans(region.outline, centroid[1])
    if not spans or any(left <= centroid[0] <= right for left, right in spans):
        return centroid if spans else middle
    left, right = max(spans, key=lambda span: span[1] - span[0])
    return (left + right) / 2, centroid[1]


def _centroid(outline: Sequence[Point]) -> Point | None:
    """Return the centroid of the area inside; None if there is no area."""
    x0, y0 = outline[0]
    from_first = [(x - x0, y - y0) for x, y in outline]  # near the origin nothing cancels out
    double_area = sum_x = sum_y = 0.0
    for (ax, ay), (bx, by) in pairwise(from_first):
        cross = ax * by - bx * ay
        double_area += cross
        sum_x += (ax + bx) * cross
        sum_y += (ay + by) * cross
    if not double_area:
        return None
    return x0 + sum_x / (3 * double_area), y0 + sum_y / (3 * double_area)


def _spans(outline: Sequence[Point], row: float) -> list[tuple[float, float]]:
    """Return from where to where a row of the image is inside, left to right."""
    crossed = sorted(
        ax + (row - ay) / (by - ay) * (bx - ax)
        for (ax, ay), (bx, by) in pairwise(outline)
        if (ay > row) != (by > row)
    )
    return list(zip(crossed[::2], crossed[1::2], strict=True))


# How it went


def _detections(subject: Subject) -> Dataset:
    """Return what was looked for, on which images, and on which in vain (TID 4015, TID 4017)."""
    kinds = dict.fromkeys(_kind(kind) for kind in subject.result.looked_for)
    return _summary(subject, DETECTIONS, subject.outcome, list(kinds))


def _analyses(subject: Subject) -> Dataset:
    """Return what was concluded from the detections (TID 4016, TID 4018): nothing from none."""
    outcome = subject.outcome if subject.result.analysed else NOT_ATTEMPTED
    return _summary(subject, ANALYSES, outcome, [ANALYSIS])


def _summary(
    subject: Subject, summary: Summary, outcome: Code, performed: Sequence[Code]
) -> Dataset:
    attempted = [
        (summary.succeeded, subject.result.analysed),
        (summary.failed, subject.failed),
    ]
    return _code(
        CONTAINS.value,
        summary.name,
        outcome,
        [
            _container(
                INFERRED_FROM.value,
                name,
                [
                    _code(
                        CONTAINS.value,
                        summary.performed,
                        what,
                        [
                            *_algorithm(subject.result),
                            *(subject.reference(HAS_PROPERTIES, uid) for uid in sop_uids),
                        ],
                    )
                    for what in performed
                ],
            )
            for name, sop_uids in attempted
            if sop_uids and outcome != NOT_ATTEMPTED
        ],
    )


# Content items (PS3.3 C.17.3)


def _item(
    relationship: str | None,
    value_type: str,
    name: Code | None,
    children: Sequence[Dataset] = (),
) -> Dataset:
    item = Dataset()
    if relationship is not None:
        item.RelationshipType = relationship
    item.ValueType = value_type
    if name is not None:
        item.ConceptNameCodeSequence = [header.code_item(name)]
    if children:
        item.ContentSequence = list(children)
    return item


def _container(relationship: str | None, name: Code, children: Sequence[Dataset]) -> Dataset:
    """Return a CONTAINER; SEPARATE, for viewers print no names of items that are CONTINUOUS."""
    item = _item(relationship, "CONTAINER", name, children)
    item.ContinuityOfContent = "SEPARATE"
    return item


def _code(relationship: str, name: Code, value: Code, children: Sequence[Dataset] = ()) -> Dataset:
    item = _item(relationship, "CODE", name, children)
    item.ConceptCodeSequence = [header.code_item(value)]
    return item


def _text(relationship: str, name: Code, value: str) -> Dataset:
    item = _item(relationship, "TEXT", name)
    item.TextValue = wording.ascii_text(value)
    return item


def _number(relationship: str, name: Code, value: str, unit: Code) -> Dataset:
    measured = Dataset()
    measured.NumericValue = value
    measured.MeasurementUnitsCodeSequence = [header.code_item(unit)]
    item = _item(relationship, "NUM", name)
    item.MeasuredValueSequence = [measured]
    return item
