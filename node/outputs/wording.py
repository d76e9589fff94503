"""The sentences every object says in the same words, in plain ASCII.

Plain ASCII is part of every character set (0008,0005) a source may declare, so nothing the
node writes depends on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from node import __version__
from node.numbers_in_words import share_in_percent, threshold_in_percent
from node.result import (
    Evaluation,
    Finding,
    Interval,
    Measurement,
    ModelIdentity,
    OperatingPoint,
    Priority,
    Refusal,
    Result,
    Solid,
    Triage,
)
from node.study import PhaseRead, damaged_in_words
from node.triage import change_in_words, gives_level

if TYPE_CHECKING:  # lists have words from here, too, and need none of what reads objects
    from node.outputs.case import Draft

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


def solid_label(solid: Solid) -> str:
    """Return what a solid is called; of one that counts nowhere, that it is so."""
    is_said = not solid.is_left_out or "left out" in solid.label.lower()
    return ascii_text(solid.label if is_said else f"{solid.label} (left out)")


def measured_solid(solid: Solid) -> str:
    """Return what was measured: "L breast volume, Volume: 1.0 ml (washout 0.2, plateau 0.8 ml)".

    "" of what nothing was measured on.
    """
    if not solid.measurements:
        return ""
    first = solid.measurements[0]
    line = f"{solid_label(solid)}, {first.concept.meaning}: {quantity(first)}"
    details = of_solid(solid)
    return ascii_text(f"{line} ({details})" if details else line)


def of_solid(solid: Solid) -> str:
    """Return the numbers behind the first: "washout 0.2, plateau 0.5, persistent 0.3 ml".

    A unit that all share is said once, at the end.
    """
    numbers = solid.measurements[1:]
    names = [
        name or m.concept.meaning for m, name in zip_longest(numbers, solid.of_it) if m is not None
    ]
    is_shared = len({m.unit for m in numbers}) == 1 and numbers[0].unit.value != "1"
    written = written_number if is_shared else quantity
    said = ", ".join(f"{name} {written(m)}" for name, m in zip(names, numbers, strict=True))
    return ascii_text(f"{said} {numbers[0].unit.value}" if is_shared else said)


def phases_read(result: Result) -> list[str]:
    """Return which phases were read, when they are of, and what that rests on."""
    lines = []
    for phase in result.phases:
        name = phase.role if phase.role == phase.name else f"{phase.role} ({phase.name})"
        lines.append(ascii_text(f"Phase {name}: {phase.slices} slices, {_moment_of(phase)}."))
    return [*lines, *filter(None, [times_rest_on(result)])]


def times_rest_on(result: Result) -> str:
    """Return what the times of the phases rest on, "" if none is known."""
    rests = dict.fromkeys(filter(None, (phase.rests_on for phase in result.phases)))
    return ascii_text(f"Times rest on: {'; '.join(rests).rstrip('.')}.") if rests else ""


def _moment_of(phase: PhaseRead) -> str:
    if phase.middle_s is None:
        return "time not known"
    when = "before" if phase.middle_s < 0 else "after"
    return f"middle {abs(phase.middle_s):.0f} s {when} the injection"


def curves_told(result: Result) -> list[str]:
    """Return how the signal of each thing follows the contrast agent."""
    return [
        ascii_text(
            f"Enhancement of {curve.label}: "
            + ", ".join(f"{percent:.0f} % at {seconds:.0f} s" for seconds, percent in curve.points)
            + "."
        )
        for curve in result.curves
        if curve.points
    ]


def in_brief(subject: Finding | Evaluation) -> list[str]:
    """Return what a line of a list says: "R MLO outline 123.4 cm2", or the grade alone."""
    if isinstance(subject, Evaluation) and subject.grade is not None:
        surest = max(subject.measurements, key=lambda m: m.value)
        said = f"{subject.grade.value.meaning} ({surest.concept.meaning} {quantity(surest)})"
        return [ascii_text(f"{subject.label} {said}")]
    return [ascii_text(f"{subject.label} {quantity(m)}") for m in subject.measurements]


def outcome(result: Result) -> str:
    """Return what came of a model's work on a study, in a line of a list."""
    if not result.analysed:
        why_not = f"not analysed: {result.reason}"
        return "; ".join(filter(None, [level_in_brief(result), why_not]))
    total = len(result.analysed) + len(result.refused)
    of_all = f"{len(result.analysed)} of {total} images"
    words = [f"{_processed(result) if result.phases else of_all} analysed"]
    words = [*filter(None, [level_in_brief(result)]), *words]
    words += [found(result)] if result.looked_for else []
    words += volumes_in_brief(result)
    words += [line for evaluation in result.evaluations for line in in_brief(evaluation)]
    return "; ".join(words)


def volumes_in_brief(result: Result) -> list[str]:
    """Return how large each solid is that counts: "L breast enhancing volume 2.4 ml"."""
    counted = [solid for solid in result.solids if not solid.is_left_out]
    return [ascii_text(f"{s.label} {quantity(m)}") for s in counted for m in s.measurements[:1]]


def refused_for(reason: str, count: int) -> str:
    """Return for which reason how many images were not analysed: "2 images: implant"."""
    images = "1 image" if count == 1 else f"{count} images"
    return ascii_text(f"{images}: {reason}").rstrip(".")


def refusal(refused: Refusal) -> str:
    """Return what was not analysed and why: "R MLO: implant"."""
    return ascii_text(f"{refused.what}: {refused.reason}").rstrip(".")


def counted_refusals(refused: Sequence[Refusal]) -> str:
    """Return how many were not analysed: "2 images"; "Exam" where a whole exam is refused."""
    if {one.what for one in refused} == {"Exam"}:
        return "Exam"
    return "1 image" if len(refused) == 1 else f"{len(refused)} images"


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
    from node.outputs.case import local_time

    return f"{local_time(draft, draft.version.decided_at):%Y-%m-%d %H:%M (%Z)}"


def version(draft: Draft) -> str:
    """Return "Version 2, replaces that of 10:42", empty for the first."""
    from node.outputs.case import local_time

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
    images = _processed(result)
    if result.looked_for or not (result.findings or result.evaluations or result.solids):
        return f"Processed {images}, {found(result)}"
    return f"Processed {images}"


def _processed(result: Result) -> str:
    """Return what was processed: "4 images", "3 phases of 64 slices"."""
    count = len(result.analysed)
    if not result.phases:
        return "1 image" if count == 1 else f"{count} images"
    of_slices = " and ".join(dict.fromkeys(str(phase.slices) for phase in result.phases))
    count = len(result.phases)
    return f"{count} phase{'s' * (count > 1)} of {of_slices} slices"


def sentences(draft: Draft, result: Result) -> Iterator[str]:
    """Yield everything a reader must know besides the numbers, most important first."""
    yield f"{conclusion(result).rstrip('.')}."
    yield from triage_sentences(draft, result)
    yield AI_GENERATED
    if result.model.is_research:
        yield RESEARCH_USE
    if version(draft):
        yield f"{version(draft)}."
    for statement in result.statements:
        yield ascii_text(statement)
    if score_meaning(result):
        yield score_meaning(result)
    yield from phases_read(result)
    yield from curves_told(result)
    for refused in result.refused:
        yield f"Not analysed: {refusal(refused)}."
    if draft.version.damaged:
        yield f"Not analysed: {damaged(draft)}."
    yield f"Study closed for analysis: {ascii_text(draft.version.reason)}."
    yield f"Algorithm: {model(result)}."


MEANINGS = {
    Priority.URGENT: "It asks that the study is read sooner, and is no diagnosis.",
    Priority.SOON: "It asks that the study is read sooner, and is no diagnosis.",
    Priority.NOT_ASSESSED: "It stands before routine until a person has looked at it.",
    Priority.ROUTINE: "This does not exclude disease.",
}
"""What a triage level says, and what it does not."""


def kind_of_model(model: ModelIdentity) -> str:
    """Return what a model is that is none for patients: "research", "" of a product."""
    if model.is_demonstration:
        return "demonstration"
    return "research" if model.is_research else ""


def intended_use(model: ModelIdentity) -> list[str]:
    """Return what holds for whatever a model says, in the sentences of its objects."""
    words = [AI_GENERATED]
    words += [RESEARCH_USE] if model.is_research else []
    return [*words, *(["Demonstration model."] if model.is_demonstration else [])]


def standing_line(models: Collection[ModelIdentity]) -> str:
    """Return what holds for all that is shown of some models, in a line; which if not for all."""

    def of(kept: Sequence[ModelIdentity]) -> str:
        return ", ".join(ascii_text(title) for title in dict.fromkeys(one.title for one in kept))

    words = [AI_GENERATED]
    research = [one for one in models if one.is_research]
    if research:
        is_all = len(research) == len(models)
        words.append(RESEARCH_USE if is_all else f"For research use only: {of(research)}.")
    if demonstrations := [one for one in models if one.is_demonstration]:
        words.append(f"Demonstration: {of(demonstrations)}.")
    return " ".join(words)


BY_DEMONSTRATION = "(demonstration model)"
"""Stands behind the level in the words of such a model."""


def status_label(results: Iterable[Result]) -> str:
    """Return what stands in a frame on every page that shows such a model, "" of products."""
    models = [result.model for result in results]
    if any(model.is_demonstration for model in models):
        return "DEMONSTRATION"
    return "RESEARCH USE" if any(model.is_research for model in models) else ""


def level_name(result: Result) -> str:
    """Return the triage level, and by what it was given: "urgent (research model)"."""
    assert result.triage is not None
    kind = kind_of_model(result.model)
    return f"{result.triage.level}" + (f" ({kind} model)" if kind else "")


def level_in_brief(result: Result) -> str:
    """Return what a line of a list says of the level, "" of a model that does not triage."""
    if result.triage is None:
        return ""
    return f"AI triage level {level_name(result)}: {ascii_text(result.triage.why).rstrip('.')}"


def level_in_lists(draft: Draft, results: Sequence[Result]) -> str:
    """Return what a Series Description begins with behind "AI": "URGENT (research)".

    "" of a series that does not bear the words of the model that decided, and of routine: in a list
    that shows nothing else it would read as if nothing were there.
    """
    by = draft.decided_by
    if not draft.has_level_in_lists or by is None or by.triage is None:
        return ""
    if by.triage.level == Priority.ROUTINE or all(r.model != by.model for r in results):
        return ""
    kind = kind_of_model(by.model)
    return f"{by.triage.level}".upper() + (f" ({kind})" if kind else "")


def triage_sentences(draft: Draft, result: Result) -> Iterator[str]:
    """Yield which triage level a model gives, why, and what was measured at that threshold."""
    triage = result.triage
    if triage is not None:
        yield f"AI triage level: {level_name(result)}. {MEANINGS[triage.level]}"
        yield from why_level(triage)
        yield from filter(None, [at_point(triage), beside_study(draft, result)])
    if triage is not None or draft.level is None:
        yield from filter(None, [level_change(draft)])


def why_level(triage: Triage) -> list[str]:
    """Return the score that decided, as a rank too if that was measured, and why."""
    why = ascii_text(triage.why).rstrip(".")
    if triage.score is None:
        return [f"{why[:1].upper()}{why[1:]}."]
    about = f"{ascii_text(triage.about)} {quantity(triage.score)}".strip()
    lines = [f"{about}: {why}."]
    if triage.rank is not None:
        among = ascii_text(triage.among).rstrip(".") or "without the disease"
        lines.append(f"This score is higher than {triage.rank} of 100 {among}.")
    return lines


def at_point(triage: Triage) -> str:
    """Return what was measured at the operating point, "" if there is none."""
    point = triage.point
    if point is None:
        return ""
    found = _share(point.sensitivity, point.sensitivity_interval)
    spared = _share(point.specificity, point.specificity_interval)
    return (
        f"Operating point {ascii_text(point.name)} (at least {threshold(triage, point)}): "
        f"sensitivity {found} of {point.positives} with the disease, "
        f"specificity {spared} of {point.negatives} without; "
        f"measured on: {ascii_text(point.data).rstrip('.')}."
    )


def threshold(triage: Triage, point: OperatingPoint) -> str:
    """Return the threshold in the unit of the score."""
    is_percent = triage.score is not None and triage.score.unit.value == "%"
    return threshold_in_percent(point.threshold) if is_percent else f"{point.threshold:g}"


def _share(share: float, interval: Interval) -> str:
    found, low, high = map(share_in_percent, (share, *interval))
    return f"{found} (95 % interval {low} to {high})"


def beside_study(draft: Draft, result: Result) -> str:
    """Return how a model's level compares with the study's, "" if it is the study's."""
    if not gives_level(result, demonstration_may_rank=draft.demonstration_may_rank):
        return "It gives the study no level, for it is a demonstration model."
    by = draft.decided_by
    if by is None or by.triage is None or by.triage == result.triage:
        return ""
    if result.triage is not None and by.triage.level == result.triage.level:
        return ""
    return f"The level of the study is {level_name(by)}, by {ascii_text(by.model.title)}."


def level_change(draft: Draft) -> str:
    """Return what the level of the study was before, "" if it has always been the same."""
    words = change_in_words(draft.former_levels, draft.level)
    return f"AI triage level changed: {words}." if words else ""


def damaged(draft: Draft) -> str:
    """Return "1 object refused as damaged", "" if none was: of which view it was nobody knows."""
    return damaged_in_words(draft.version.damaged)


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
