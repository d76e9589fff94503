"""A structured report as text: its content tree, line by line, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydicom import Dataset


@dataclass(frozen=True, slots=True)
class ContentLine:
    """One content item."""

    depth: int
    kind: str
    """Value Type (0040,A040): CONTAINER, TEXT, CODE, NUM, IMAGE, ..."""
    concept: str
    value: str

    def __str__(self) -> str:
        text = f"{self.concept}: {self.value}" if self.concept and self.value else ""
        return "  " * self.depth + (text or self.concept or self.value)


def content_lines(report: Dataset, names: Mapping[str, str]) -> list[ContentLine]:
    """Return the content items in order; `names` says what referenced images show, by UID."""
    return list(_lines(report, names, 0))


def report_text(report: Dataset, names: Mapping[str, str]) -> str:
    """Return a report as text: who, what, by whom, how trustworthy, and the content."""
    head = [
        f"Patient         {report.PatientName}   {report.PatientID}",
        f"Study           {report.StudyDate} {report.StudyTime}",
        f"Document        {report.get('SeriesDescription', '')}",
        f"Written         {report.ContentDate} {report.ContentTime}",
        f"By              {_device(report)}",
        f"Status          {report.CompletionFlag}, {report.VerificationFlag}"
        + _optional(report, "PreliminaryFlag")
        + _optional(report, "ContentQualification"),
    ]
    # UIDs are for machines, and the listing of the images only repeats what is known.
    body = [str(line) for line in content_lines(report, names) if line.kind != "UIDREF"]
    return "\n".join([*head, "", *body]) + "\n"


def _device(report: Dataset) -> str:
    versions = report.get("SoftwareVersions") or ""
    words = (
        str(report.get("Manufacturer") or ""),
        str(report.get("ManufacturerModelName") or ""),
        versions if isinstance(versions, str) else ", ".join(versions),
    )
    return ", ".join(filter(None, words))


def _optional(report: Dataset, keyword: str) -> str:
    value = report.get(keyword)
    return f", {value}" if value else ""


def _lines(item: Dataset, names: Mapping[str, str], depth: int) -> Iterator[ContentLine]:
    concept = _meaning(item, "ConceptNameCodeSequence")
    kind = str(item.get("ValueType", ""))
    yield ContentLine(depth, kind, concept, _value(item, kind, names))
    for child in item.get("ContentSequence") or ():
        yield from _lines(child, names, depth + 1)


def _value(item: Dataset, kind: str, names: Mapping[str, str]) -> str:
    if kind == "CODE":
        return _meaning(item, "ConceptCodeSequence")
    if kind == "NUM":
        return _number(item)
    if kind in ("IMAGE", "COMPOSITE"):
        uid = str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        return f"image {names[uid]}" if uid in names else f"image {uid}"
    if kind == "SCOORD":
        return f"{item.GraphicType} of {len(item.GraphicData) // 2} points"
    keyword = {"TEXT": "TextValue", "PNAME": "PersonName", "UIDREF": "UID"}.get(kind)
    return str(item.get(keyword or kind.title().replace("Datetime", "DateTime"), ""))


def _number(item: Dataset) -> str:
    measured = item.get("MeasuredValueSequence")
    if not measured:
        return "no value"
    unit = str(measured[0].MeasurementUnitsCodeSequence[0].CodeValue)
    value = str(measured[0].NumericValue)
    return value if unit == "1" else f"{value} {unit}"  # UCUM's 1: a number without unit


def _meaning(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword)
    return str(codes[0].CodeMeaning) if codes else ""
