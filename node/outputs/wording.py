"""The sentences every object says in the same words, in plain ASCII.

Plain ASCII is part of every character set (0008,0005) a source may declare, so nothing the
node writes depends on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from node import __version__
from node.outputs.case import Draft, local_time
from node.result import Evaluation, Finding, Measurement, Refusal, Result

AI_GENERATED = "AI generated. Not verified by a physician."
RESEARCH_USE = "For research use only."
NOT_ANALYSED = "NOT ANALYSED"


def ascii_text(text: str) -> str:
    """Return the text in printable ASCII, on one line; what cannot be written becomes "?"."""
    decomposed = unicodedata.normalize("NFKD", " ".join(text.split()))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" else "?" for c in letters)


def written_number(measurement: Measurement) -> str:
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
    return f"{written_number(measurement)} {unit}".rstrip()


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


def refusals(refused: Iterable[Refusal]) -> list[str]:
    """Return what was not analysed and why, one line for each reason: "R CC, L CC: implant"."""
    by_reason: dict[str, list[str]] = {}
    for one in refused:
        by_reason.setdefault(one.reason, []).append(one.what)
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
    if result.looked_for or not (result.findings or result.evaluations):
        return f"Processed {images}, {found(result)}"
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
    if score_meaning(result):
        yield score_meaning(result)
    for refused in result.refused:
        yield f"Not analysed: {refusal(refused)}."
    if draft.version.damaged:
        yield f"Not analysed: {damaged(draft)}."
    yield f"Priority: {result.priority}."
    yield f"Study closed for analysis: {ascii_text(draft.version.reason)}."
    yield f"Algorithm: {model(result)}."


def damaged(draft: Draft) -> str:
    """Return "1 object refused as damaged", "" if none was: of which view it was nobody knows."""
    count = draft.version.damaged
    return f"{count} object{'s' * (count > 1)} refused as damaged" if count else ""


_MOST_REASONS = 3


def refused_as_damaged(reasons: Sequence[str]) -> str:
    """Return that objects were refused as damaged, and why; "" if none was."""
    if not reasons:
        return ""
    count = "one object" if len(reasons) == 1 else f"{len(reasons)} objects"
    several = list(dict.fromkeys(reasons))
    more = ["..."] if len(several) > _MOST_REASONS else []
    return f"{count} refused as damaged ({'; '.join(several[:_MOST_REASONS] + more)})"


CODE_OF_PROBABILITY_OF_CANCER = ("111047", "DCM")
NOT_A_PLACE = "A heat map shows where the network looked, not where a lesion is."


def lesions(result: Result) -> list[tuple[Finding, ...]]:
    """Return the findings, those that are one lesion on several images together."""
    return [tuple(result.findings[place] for place in places) for places in _lesions(result)]


def found(result: Result) -> str:
    """Return how many lesions were found: "2 findings"; one on two images counts once."""
    count = len(_lesions(result))
    return ("nothing found", "1 finding")[count] if count < 2 else f"{count} findings"


def thing(finding: Finding) -> str:
    """Return what was found, without its view and its number: "mass" of "R CC mass 2"."""
    named = re.sub(r"^[RLB] [A-Z]+ | \d+$", "", ascii_text(finding.label))
    return named or ascii_text(finding.kind.meaning)


def seen_on(draft: Draft, lesion: Sequence[Finding]) -> str:
    """Return "seen on CC and MLO" of a lesion that is marked on several images, else ""."""
    names = _projections(draft, lesion)
    return f"seen on {' and '.join(names)}" if len(names) > 1 else ""


def briefly_seen_on(draft: Draft, lesion: Sequence[Finding]) -> str:
    """Return the same where there is little room: "CC + MLO"."""
    names = _projections(draft, lesion)
    return " + ".join(names) if len(names) > 1 else ""


def _projections(draft: Draft, lesion: Sequence[Finding]) -> list[str]:
    views = [draft.instance(finding.region.sop_uid).view for finding in lesion]
    return sorted({view.projection for view in views if view is not None})


def signs(draft: Draft) -> list[list[str]]:
    """Return the sign of every finding, result by result: "1", "2", ..., the surest first.

    A lesion bears the same on all its images, and no two lesions of a report set share one. It
    is "" where none is needed: a single mark, or what every image shows, such as the breast.
    """
    given: list[list[str]] = []
    count = 0
    for result in draft.results:
        given.append([""] * len(result.findings))
        on_images = [finding.region.sop_uid for finding in result.findings]
        if not result.looked_for and len(set(on_images)) == len(on_images):
            continue
        for places in sorted(_lesions(result), key=lambda ps: -max(map(_rank(result), ps))):
            count += 1
            for place in places:
                given[-1][place] = str(count)
    is_single = sum(bool(sign) for row in given for sign in row) == 1
    return [[""] * len(row) for row in given] if is_single else given


def numbered(draft: Draft) -> Draft:
    """Return the draft with findings called by the signs that the captures show.

    "6: R MLO mass" instead of "R MLO mass 2", which counts on its own image; a finding without
    a sign keeps its name. Every object that names findings is built of this.
    """
    results = tuple(
        replace(
            result,
            findings=tuple(
                replace(finding, label=finding_label(finding, sign))
                for finding, sign in zip(result.findings, given, strict=True)
            ),
        )
        for result, given in zip(draft.results, signs(draft), strict=True)
    )
    return replace(draft, results=results)


def finding_label(finding: Finding, sign: str) -> str:
    """Return what a finding is called, in plain ASCII: "6: R MLO mass"."""
    name = ascii_text(finding.label)
    return f"{sign}: {re.sub(r' [0-9]+$', '', name)}" if sign else name


def of_lesion(draft: Draft, lesion: Sequence[Finding]) -> str:
    """Return what a lesion on several images is called: "6: R mass, seen on CC and MLO"."""
    name, seen = lesion[0].label, seen_on(draft, lesion)
    view = draft.instance(lesion[0].region.sop_uid).view
    if view is not None:
        name = name.replace(f"{view} ", f"{view.laterality} ", 1)
    return ascii_text(", ".join(part for part in (name, seen) if part))


def score_meaning(result: Result) -> str:
    """Return what the percents are, and that they are no probability of cancer if they are none."""
    subjects: list[Finding | Evaluation] = [*result.findings, *result.evaluations]
    concepts = {m.concept: m.unit for s in subjects for m in s.measurements if m.is_score}
    lines = []
    for concept, unit in concepts.items():
        units = "" if unit.value == "1" else f", in {unit.meaning}"
        line = f"Score: {concept.meaning}{units}."
        if (concept.value, concept.scheme) != CODE_OF_PROBABILITY_OF_CANCER:
            line += " It is not a probability of cancer."
        lines.append(ascii_text(line))
    return " ".join(lines)


def _lesions(result: Result) -> list[list[int]]:
    """Return the places in `findings` of each lesion."""
    places: dict[object, list[int]] = {}
    for place, finding in enumerate(result.findings):
        places.setdefault(finding.lesion or place, []).append(place)
    return list(places.values())


def _rank(result: Result) -> Callable[[int], float]:
    """Return how sure, else how large, a finding is, by its place."""

    def rank(place: int) -> float:
        finding = result.findings[place]
        first = finding.score or next(iter(finding.measurements), None)
        return first.value if first is not None else 0.0

    return rank
