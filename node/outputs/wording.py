"""The sentences every object says in the same words, in plain ASCII.

Plain ASCII is part of every character set (0008,0005) a source may declare, so nothing the
node writes depends on it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from node import __version__
from node.outputs.draft import Draft, local_time
from node.result import Evaluation, Finding, Measurement, Refusal, Result

AI_GENERATED = "AI generated. Not verified by a physician."
RESEARCH_USE = "For research use only."
NOT_ANALYSED = "NOT ANALYSED"


def ascii_text(text: str) -> str:
    """Return the text in printable ASCII, on one line; what cannot be written becomes "?"."""
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split()))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in letters)


def number(measurement: Measurement) -> str:
    """Return the value with the decimals it is worth: what every object writes.

    A Decimal String (PS3.5 6.2) has room for 16 characters; decimals give way to it.
    """
    for decimals in range(measurement.decimals, -1, -1):
        text = f"{measurement.value:.{decimals}f}"
        if len(text) <= 16:
            return text
    return f"{measurement.value:.9e}"


def quantity(measurement: Measurement) -> str:
    """Return value and unit: "123.4 cm2"."""
    unit = "" if measurement.unit.value == "1" else measurement.unit.value
    return f"{number(measurement)} {unit}".rstrip()


def measured(subject: Finding | Evaluation) -> list[str]:
    """Return a line for each number: "R MLO outline, Area: 123.4 cm2"."""
    grade = subject.grade if isinstance(subject, Evaluation) else None
    graded = [] if grade is None else [f"{grade.concept.meaning}: {grade.value.meaning}"]
    numbers = [f"{m.concept.meaning}: {quantity(m)}" for m in subject.measurements]
    return [ascii_text(f"{subject.label}, {line}") for line in (*graded, *numbers)]


def in_brief(subject: Finding | Evaluation) -> list[str]:
    """Return what a line of a list says: "R MLO outline 123.4 cm2", or the grade alone."""
    if isinstance(subject, Evaluation) and subject.grade is not None:
        surest = max(subject.measurements, key=lambda m: m.value)
        said = f"{subject.grade.value.meaning} ({surest.concept.meaning} {quantity(surest)})"
        return [ascii_text(f"{subject.label} {said}")]
    return [ascii_text(f"{subject.label} {quantity(m)}") for m in subject.measurements]


def refusal(refused: Refusal) -> str:
    """Return what was not analysed and why: "R MLO: implant"."""
    return ascii_text(f"{refused.what}: {refused.reason}").rstrip(".")


def refusals(result: Result) -> list[str]:
    """Return what was not analysed and why, one line for each reason: "R CC, L CC: implant"."""
    by_reason: dict[str, list[str]] = {}
    for refused in result.refused:
        by_reason.setdefault(refused.reason, []).append(refused.what)
    lines = []
    for reason, whats in by_reason.items():
        counted = [
            what if (count := whats.count(what)) == 1 else f"{what} ({count} images)"
            for what in dict.fromkeys(whats)
        ]
        lines.append(ascii_text(f"{', '.join(counted)}: {reason}").rstrip("."))
    return lines


def model(result: Result) -> str:
    """Return which algorithm spoke, and which program ran it."""
    m = result.model
    return ascii_text(
        f"{m.title} {m.version} by {m.manufacturer}, weights {m.weights_sha256[:12]}, "
        f"node {__version__}" + (f" on {result.ran_on}" if result.ran_on else "")
    )


def moment(draft: Draft) -> str:
    """Return when the version was decided, in the study's zone: "2026-01-05 10:42 (UTC+01:00)"."""
    return f"{local_time(draft, draft.version.decided_at):%Y-%m-%d %H:%M (%Z)}"


def version(draft: Draft) -> str:
    """Return "Version 2, replaces that of 10:42", empty for the first."""
    if draft.version.replaces is None:
        return ""
    now = local_time(draft, draft.version.decided_at)
    before = local_time(draft, draft.version.replaces)
    when = f"{before:%H:%M}" if before.date() == now.date() else f"{before:%Y-%m-%d %H:%M}"
    return f"Version {draft.version.number}, replaces that of {when}"


def conclusion(result: Result) -> str:
    """Return what came out, in a few words."""
    if not result.analysed:
        return f"{NOT_ANALYSED}: {ascii_text(result.reason) or 'no reason was recorded'}"
    count = len(result.analysed)
    images = "1 image" if count == 1 else f"{count} images"
    if not result.findings and (result.looked_for or not result.evaluations):
        return f"Processed {images}, nothing found"
    if result.looked_for:
        marks = "1 finding" if len(result.findings) == 1 else f"{len(result.findings)} findings"
        return f"Processed {images}, {marks}"
    return f"Processed {images}"


def sentences(draft: Draft, result: Result) -> Iterator[str]:
    """Yield everything a reader must know besides the numbers, most important first."""
    yield f"{conclusion(result).rstrip('.')}."
    yield AI_GENERATED
    if result.model.is_research:
        yield RESEARCH_USE
    if version(draft):
        yield f"{version(draft)}."
    for statement in result.statements:
        yield ascii_text(statement)
    for refused in result.refused:
        yield f"Not analysed: {refusal(refused)}."
    yield f"Priority: {result.priority}."
    yield f"Study closed for analysis: {ascii_text(draft.version.reason)}."
    yield f"Algorithm: {model(result)}."
