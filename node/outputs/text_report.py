"""A report in words, for a result without regions: "not analysed" and "nothing found".

Viewers that draw measurement reports open a black screen on one without a region, so this is a
Basic Diagnostic Imaging Report (TID 2000): its title makes them show the text. The numbers and
grades stand under Findings twice: in words for a reader, and behind them as NUM and CODE items
for a machine (TID 2002). The content items of what has no place serve the measurement report too.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import ContainerContentItem, ContentItem

from node.outputs import wording
from node.outputs.case import Draft
from node.outputs.solid_groups import described_solid
from node.outputs.sr_content import (
    CONCEPT_MOD,
    CONTAINS,
    ENGLISH,
    EQUIVALENT_MEANING,
    FINDING,
    INFERRED_FROM,
    LANGUAGE,
    MEASURED,
    algorithm,
    coded,
    container,
    image,
    num_item,
    observer,
    procedure,
    site,
    text_item,
    with_children,
)
from node.outputs.sr_triage import triage_items
from node.result import Code, Evaluation, ModelIdentity, Result

DIAGNOSTIC_IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic Imaging Report")
IMPRESSION = Code("121073", "DCM", "Impression")


def text_report(draft: Draft, result: Result) -> ContainerContentItem:
    """Return the content: the outcome, what to know about it, the numbers without a place."""
    sentences = [text_item(IMPRESSION, sentence) for sentence in wording.sentences(draft, result)]
    sections = [container(Code("121072", "DCM", "Impressions"), sentences)]
    lines = [line for e in result.evaluations for line in wording.measured(e)]
    lines += filter(None, map(wording.measured_solid, result.solids))
    lines = [*filter(None, [wording.level_in_brief(result)]), *lines]
    if lines:
        numbers = [item for e in result.evaluations for item in _evaluated(draft, result.model, e)]
        numbers += [
            num_item(measurement, described_solid(draft, result, solid))
            for solid in result.solids
            for measurement in solid.measurements
        ]
        words = [text_item(FINDING, line) for line in lines]
        items = [*words, *triage_items(draft, result), *numbers]
        sections.append(container(Code("121070", "DCM", "Findings"), items))
    return container(
        DIAGNOSTIC_IMAGING_REPORT,
        [
            procedure(draft),
            coded(LANGUAGE, ENGLISH, CONCEPT_MOD),
            *observer(result),
            *sections,
        ],
        template="2000",
        is_root=True,
    )


def _evaluated(draft: Draft, model: ModelIdentity, evaluation: Evaluation) -> list[ContentItem]:
    """Return the numbers (TID 2002 row 5), or the grade inferred from them (rows 1 and 2)."""
    is_graded = evaluation.grade is not None
    numbers = [
        num_item(
            measurement,
            described_evaluation(draft, model, evaluation, evaluation_label(evaluation)),
            INFERRED_FROM if is_graded else CONTAINS,
        )
        for measurement in evaluation.measurements
    ]
    return [graded(draft, model, evaluation, numbers)] if is_graded else numbers


def graded(
    draft: Draft,
    model: ModelIdentity,
    evaluation: Evaluation,
    inferred_from: Sequence[ContentItem] = (),
) -> ContentItem:
    """Return the grade of an evaluation as a CODE item: what was graded, and the grade."""
    assert evaluation.grade is not None
    return with_children(
        coded(evaluation.grade.concept, evaluation.grade.value),
        [
            *_site(draft, evaluation),
            evaluation_label(evaluation),
            *algorithm(model),
            *inferred_from,
        ],
    )


def described_evaluation(
    draft: Draft, model: ModelIdentity, evaluation: Evaluation, name: ContentItem
) -> list[ContentItem]:
    """Return where a number was measured, on which images, what of and by whom (TID 300)."""
    images = [image(draft, sop_uid, INFERRED_FROM, MEASURED) for sop_uid in evaluation.sop_uids]
    return [*_site(draft, evaluation), *images, name, *algorithm(model)]


def evaluation_label(evaluation: Evaluation) -> ContentItem:
    """Return what is evaluated, "R breast AI score": no code says it as exactly (TID 1210)."""
    return text_item(EQUIVALENT_MEANING, evaluation.label, CONCEPT_MOD)


def _site(draft: Draft, evaluation: Evaluation) -> list[ContentItem]:
    return site(draft, evaluation.sop_uids, evaluation.laterality)
