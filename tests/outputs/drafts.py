"""Drafts of report sets about phantom exams, made in memory."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path

import factories
import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement

from node.domains.mammography.hanging import hanging
from node.outputs import verbatim
from node.outputs.case import Draft
from node.outputs.report_set import build_report_set, to_bytes
from node.result import (
    Code,
    Evaluation,
    Finding,
    Grade,
    HeatMap,
    Measurement,
    ModelIdentity,
    OperatingPoint,
    Point,
    Priority,
    Refusal,
    Region,
    Result,
    Triage,
)
from node.study import Instance, Laterality, Picture, StudyVersion, View
from node.triage import FormerLevel, deciding
from node.trial import phantom

MODEL = ModelIdentity(
    name="breast-area",
    title="Breast Area",
    version="1.0.0",
    manufacturer="DICOM AI Node Project",
    device_uid="2.25.328570164919053721",
    weights_sha256="1a2b3c4d5e6f" + "0" * 52,
)
AREA = Code("42798000", "SCT", "Area")
CM2 = Code("cm2", "UCUM", "square centimeter")
PERCENT = Code("%", "UCUM", "percent")
DIFFERENCE = Code("LRDIFF", "99AINODE", "Left-right difference")
COMPOSITION = Code("129715009", "SCT", "Breast composition")
BREAST = Code("76752008", "SCT", "Breast")
MASS = Code("129793001", "SCT", "Mammography breast density")
"""What mammography workstations draw as a soft tissue mark (CID 6014)."""
PROBABILITY_OF_CANCER = Code("111047", "DCM", "Probability of cancer")
AI_SCORE = Code("AISCORE", "99AINODE", "AI score")
ATTENTION = Code("AIHEAT", "99AINODE", "Where the network looked")
DETECTOR = replace(
    MODEL, name="mass-detector", title="Mass Detector", device_uid="2.25.328570164919053722"
)
SEGMENTER = replace(
    MODEL, name="mass-segmenter", title="Mass Segmenter", device_uid="2.25.328570164919053723"
)
CLASSIFIER = replace(
    MODEL, name="exam-score", title="Exam Score", device_uid="2.25.328570164919053724"
)
TRIAGE = replace(
    MODEL, name="breast-triage", title="Breast Triage", device_uid="2.25.328570164919053725"
)
DEMONSTRATION = replace(TRIAGE, is_demonstration=True)
PRODUCT = replace(TRIAGE, is_research=False)
HIGH = OperatingPoint(
    name="high",
    threshold=0.71,
    sensitivity=0.62,
    sensitivity_interval=(0.55, 0.69),
    specificity=0.9,
    specificity_interval=(0.882, 0.918),
    positives=210,
    negatives=1180,
    data="women of a screening set that the weights never saw",
)
LOW = replace(
    HIGH,
    name="low",
    threshold=0.2,
    sensitivity=0.94,
    sensitivity_interval=(0.9, 0.97),
    specificity=0.55,
    specificity_interval=(0.52, 0.58),
)
STATEMENT = "The area of the breast as projected on the detector. It says nothing about disease."

Change = Callable[[Dataset], object]


def draft(
    views: Iterable[View] = phantom.EXAM,
    *,
    change: Change | None = None,
    refuse: Mapping[View, str] | None = None,
    technique: phantom.Technique = factories.SMALL,
) -> Draft:
    """Return a draft about a phantom exam; `change` edits every object before it is read."""
    views = tuple(views)
    exam = [copy.deepcopy(dataset) for dataset, _ in images(views, technique)]
    greys = [grey for _, grey in images(views, technique)]
    headers, instances, pictures = {}, [], {}
    for dataset, grey in zip(exam, greys, strict=True):
        if change is not None:
            change(dataset)
        view = View(Laterality(dataset.ImageLaterality), dataset.ViewPosition)
        instance = _instance(dataset, view)
        instances.append(instance)
        headers[instance.sop_uid] = as_read(dataset)
        pictures[instance.sop_uid] = Picture(grey, 1.0)
    return Draft(
        version=StudyVersion(
            study_uid=str(exam[0].StudyInstanceUID) if exam else "2.25.5",
            number=1,
            reason=f"{len(instances)}/4 views",
            instances=tuple(instances),
            decided_at=datetime(2026, 3, 10, 9, 42, 7, tzinfo=UTC),
            installation="test-installation",
        ),
        results=(result_about(instances, refuse or {}, technique),),
        headers=headers,
        pictures=pictures,
        local_zone=UTC,
        configuration_digest="0",
        hanging=hanging(),
    )


def with_damaged(made: Draft, count: int = 1) -> Draft:
    """Return the draft of a study so many objects of which were refused as damaged."""
    reason = f"quiet 60 s, {count} objects refused as damaged (it ends early)"
    return replace(made, version=replace(made.version, damaged=count, reason=reason))


@cache
def images(
    views: tuple[View, ...], technique: phantom.Technique
) -> list[tuple[Dataset, NDArray[np.uint8]]]:
    """Return the objects of a phantom exam, without pixels, and their pictures; not to be changed.

    Generating pixels takes longer than building a report of them.
    """
    made = []
    for dataset in phantom.exam("test", views, technique=technique):
        grey = (dataset.pixel_array >> 4).astype(np.uint8)
        del dataset.PixelData
        made.append((dataset, grey))
    return made


def as_read(dataset: Dataset) -> Dataset:
    """Return the header as it comes off the disk: nothing decoded yet."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return dcmread(stream, stop_before_pixels=True)


def result_about(
    instances: Sequence[Instance], refuse: Mapping[View, str], technique: phantom.Technique
) -> Result:
    """Return what a model that measures areas would say."""
    refused = tuple(
        Refusal(i.sop_uid, str(i.view), refuse[i.view])
        for i in instances
        if i.view is not None and i.view in refuse
    )
    analysed = [i for i in instances if i.view is not None and i.view not in refuse]
    if not analysed:
        reason = "; ".join(dict.fromkeys(r.reason for r in refused)) or "no image to read"
        return Result(MODEL, (), refused, reason=reason)
    return Result(
        model=MODEL,
        analysed=tuple(i.sop_uid for i in analysed),
        refused=refused,
        findings=tuple(_finding(i, technique) for i in analysed),
        evaluations=_differences(analysed, technique),
        statements=(STATEMENT,),
    )


def with_result(draft: Draft, **changes: object) -> Draft:
    """Return the draft with other values in its one result."""
    result = replace(draft.results[0], **changes)  # type: ignore[arg-type]
    return decided(replace(draft, results=(result,)))


def decided(draft: Draft) -> Draft:
    """Return the draft with the result that decides, as an analysis finds it."""
    may_rank = draft.demonstration_may_rank
    return replace(draft, decided_by=deciding(draft.results, demonstration_may_rank=may_rank))


def ranking(draft: Draft) -> Draft:
    """Return the draft where a demonstration gives a level."""
    return decided(replace(draft, demonstration_may_rank=True))


def graded(draft: Draft) -> Draft:
    """Return the draft as a model would have it that grades the exam and marks nothing."""
    result = draft.results[0]
    percent = (72.0, 21.0, 7.0)
    evaluations = tuple(
        Evaluation(
            label=f"{who} breast density",
            sop_uids=result.analysed,
            measurements=tuple(
                Measurement(Code(f"P{grade}", "99AINODE", f"Probability of {grade}"), p, PERCENT, 0)
                for grade, p in zip("FGD", percent, strict=True)
            ),
            laterality=side,
            grade=Grade(COMPOSITION, Code("F", "99AINODE", "F: fatty")),
        )
        for who, side in (("Exam", None), ("R", Laterality.RIGHT), ("L", Laterality.LEFT))
    )
    return with_result(draft, findings=(), evaluations=evaluations)


def detected(draft: Draft) -> Draft:
    """Return the draft as a detector would have it: one mass on both right views, one on L CC.

    A mass on the L MLO is not found. Boxes, with a probability of cancer each.
    """
    result = draft.results[0]
    wanted = {"R CC": 87.0, "R MLO": 91.0, "L CC": 55.5}
    findings = []
    for instance in draft.version.instances:
        view = str(instance.view)
        if instance.sop_uid in result.analysed and view in wanted and instance.view is not None:
            score = Measurement(PROBABILITY_OF_CANCER, wanted[view], PERCENT, 0, is_score=True)
            findings.append(
                Finding(
                    label=f"{view} mass",
                    kind=MASS,
                    laterality=instance.view.laterality,
                    region=Region(instance.sop_uid, _box(draft, instance), is_box=True),
                    measurements=(score,),
                    lesion="R lesion 1" if view.startswith("R") else "",
                )
            )
    return with_result(
        draft, model=DETECTOR, findings=tuple(findings), evaluations=(), looked_for=(MASS,)
    )


def segmented(draft: Draft) -> Draft:
    """Return the draft as a segmenter would have it: the breasts stand for lesions."""
    findings = [replace(f, kind=MASS) for f in draft.results[0].findings]
    return with_result(
        draft, model=SEGMENTER, findings=tuple(findings), evaluations=(), looked_for=(MASS,)
    )


def scored(draft: Draft) -> Draft:
    """Return the draft as a classifier would have it: scores of images, breasts and the exam."""
    result = draft.results[0]
    instances = [i for i in draft.version.instances if i.sop_uid in result.analysed]
    percent = {i.sop_uid: 12.0 + 20 * number for number, i in enumerate(instances)}
    about: list[tuple[str, tuple[str, ...], Laterality | None]] = [
        ("Exam", tuple(percent), None),
        *(
            (f"{side} breast", tuple(i.sop_uid for i in instances if _side(i) == side), side)
            for side in dict.fromkeys(_side(i) for i in instances)
        ),
        *((str(i.view), (i.sop_uid,), _side(i)) for i in instances),
    ]
    return with_result(
        draft,
        model=CLASSIFIER,
        findings=(),
        evaluations=tuple(
            Evaluation(
                label=f"{who} AI score",
                sop_uids=uids,
                measurements=(
                    Measurement(
                        AI_SCORE, max(percent[uid] for uid in uids), PERCENT, 0, is_score=True
                    ),
                ),
                laterality=side,
            )
            for who, uids, side in about
        ),
        heat_maps=tuple(_heat_map(draft, i) for i in instances),
    )


REACHED = {
    Priority.URGENT: (HIGH, 72.0, 97),
    Priority.SOON: (LOW, 43.0, 81),
    Priority.ROUTINE: (LOW, 12.0, 40),
}
"""For each level the operating point, the score, and than how many of 100 it is higher."""
MISSING = "L MLO is missing"


def triage_at(level: Priority) -> Triage:
    """Return what a model says that gives a level."""
    if level not in REACHED:
        return Triage(level, MISSING)
    point, percent, rank = REACHED[level]
    reached = "below" if level == Priority.ROUTINE else "at or above"
    return Triage(
        level,
        f"{reached} the operating point {point.name} ({100 * point.threshold:.0f} %)",
        about="L breast AI score",
        score=Measurement(AI_SCORE, percent, PERCENT, 0, is_score=True),
        point=point,
        rank=rank,
    )


def triaged(draft: Draft, level: Priority, model: ModelIdentity = TRIAGE) -> Draft:
    """Return the draft as a model would have it that triages, and scores as `scored` does."""
    return with_result(
        scored(draft),
        model=model,
        triage=triage_at(level),
        heat_maps=(),
        statements=("The score says how far an exam looks like those with cancer.",),
    )


def after(draft: Draft, *levels: Priority) -> Draft:
    """Return the draft as one of a version before which there were versions of these levels."""
    former = tuple(FormerLevel(number, level) for number, level in enumerate(levels, start=1))
    version = as_version_2(draft).version
    version = replace(version, number=len(levels) + 1)
    return replace(draft, version=version, former_levels=former)


def _side(instance: Instance) -> Laterality:
    assert instance.view is not None
    return instance.view.laterality


def _size(draft: Draft, instance: Instance) -> tuple[int, int]:
    """Return rows and columns of the stored matrix."""
    picture = draft.pictures[instance.sop_uid]
    return picture.grey.shape[0], picture.grey.shape[1]


def _box(draft: Draft, instance: Instance) -> tuple[Point, ...]:
    """Return a box in the middle of the breast."""
    rows, columns = _size(draft, instance)
    is_left = _side(instance) == Laterality.LEFT
    x0, x1 = (0.15, 0.3) if is_left else (0.7, 0.85)
    left, right = float(round(columns * x0)), float(round(columns * x1))
    top, bottom = float(round(rows * 0.45)), float(round(rows * 0.58))
    return ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))


def _heat_map(draft: Draft, instance: Instance) -> HeatMap:
    """Return a map of 16 x 12 cells, warm where `_box` is."""
    rows, columns = _size(draft, instance)
    (left, top), _, (right, bottom), *_ = _box(draft, instance)
    y = (np.arange(16)[:, None] + 0.5) / 16 * rows - (top + bottom) / 2
    x = (np.arange(12)[None] + 0.5) / 12 * columns - (left + right) / 2
    warmth = np.exp(-(x**2 + y**2) / (0.15 * rows) ** 2)
    values = np.round(255 * warmth).astype(np.uint8)
    return HeatMap(
        sop_uid=instance.sop_uid,
        concept=ATTENTION,
        rows=16,
        columns=12,
        values=base64.b64encode(values.tobytes()).decode(),
        box=(0.0, 0.0, float(columns), float(rows)),
    )


def report_set(draft: Draft, kinds: Iterable[str] | None = None) -> list[Dataset]:
    """Build the objects of these kinds, those of the default preset if none are named."""
    return [built.dataset for built in build_report_set(draft, kinds)]


def as_version_2(draft: Draft) -> Draft:
    """Return the draft as it would be after a late image."""
    before = draft.version.decided_at.replace(hour=8)
    return replace(draft, version=replace(draft.version, number=2, replaces=before))


def _instance(dataset: Dataset, view: View) -> Instance:
    return Instance(
        study_uid=str(dataset.StudyInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        sop_uid=str(dataset.SOPInstanceUID),
        sop_class=str(dataset.SOPClassUID),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        modality="MG",
        path=Path("never-read.dcm"),
        digest="0",
        view=view,
    )


def _finding(instance: Instance, technique: phantom.Technique) -> Finding:
    assert instance.view is not None
    return Finding(
        label=f"{instance.view} outline",
        kind=BREAST,
        laterality=instance.view.laterality,
        region=Region(instance.sop_uid, _outline(instance.view, technique)),
        measurements=(Measurement(AREA, phantom.area_cm2(instance.view, technique), CM2),),
    )


@cache
def _outline(view: View, technique: phantom.Technique) -> tuple[Point, ...]:
    mask = np.pad(phantom.breast(view, technique).astype(float), 1)
    lines = contour_generator(z=mask).lines(0.5)
    longest = max((np.asarray(line, dtype=float) for line in lines), key=len)
    # One pixel of padding less, and the centre of the first pixel is at (0.5, 0.5).
    return tuple((float(x), float(y)) for x, y in longest - 0.5)


def _differences(
    analysed: Sequence[Instance], technique: phantom.Technique
) -> tuple[Evaluation, ...]:
    by_view = {i.view: i for i in analysed}
    evaluations = []
    for projection in ("CC", "MLO"):
        pair = [by_view.get(View(side, projection)) for side in ("R", "L")]  # type: ignore[arg-type]
        if None not in pair:
            evaluations.append(
                Evaluation(
                    f"{projection} left-right difference",
                    tuple(i.sop_uid for i in pair if i is not None),
                    (Measurement(DIFFERENCE, 4.26, PERCENT),),
                )
            )
    return tuple(evaluations)


def with_bytes(draft: Draft, **values: bytes) -> Draft:
    """Return the draft with these values, by keyword, as encoded, in every header."""
    for header in draft.headers.values():
        for keyword, value in values.items():
            tag = verbatim.tag_of(keyword)
            header[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
    return draft


def reread(dataset: Dataset) -> Dataset:
    """Return what a reader of the encoded object gets."""
    return dcmread(BytesIO(to_bytes(dataset)))


def items(content: Dataset, value_type: str = "", code_value: str = "") -> list[Dataset]:
    """Return the content items anywhere below, of one value type and concept name."""
    found = []
    for item in content.get("ContentSequence", []):
        name = item.ConceptNameCodeSequence[0].CodeValue
        if value_type in ("", item.ValueType) and code_value in ("", name):
            found.append(item)
        found += items(item, value_type, code_value)
    return found
