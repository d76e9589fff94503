"""Drafts of report sets about phantom exams, made in memory."""

from __future__ import annotations

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

from node import phantom
from node.outputs import table, verbatim
from node.outputs.draft import Draft
from node.result import (
    Code,
    Evaluation,
    Finding,
    Grade,
    Measurement,
    ModelIdentity,
    Point,
    Refusal,
    Region,
    Result,
)
from node.study import Instance, Laterality, Picture, StudyVersion, View

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
    )


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
    return replace(draft, results=(replace(draft.results[0], **changes),))  # type: ignore[arg-type]


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
    return dcmread(BytesIO(table.to_bytes(dataset)))


def items(content: Dataset, value_type: str = "", code_value: str = "") -> list[Dataset]:
    """Return the content items anywhere below, of one value type and concept name."""
    found = []
    for item in content.get("ContentSequence", []):
        name = item.ConceptNameCodeSequence[0].CodeValue
        if value_type in ("", item.ValueType) and code_value in ("", name):
            found.append(item)
        found += items(item, value_type, code_value)
    return found
