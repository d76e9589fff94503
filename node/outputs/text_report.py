"""A report in words, for a result without regions: "not analysed" and "nothing found".

Viewers that draw measurement reports open a black screen on one without a region, so this is a
Basic Diagnostic Imaging Report (TID 2000): its title makes them show the text. The numbers and
grades stand under Findings twice: in words for a reader, and behind them as NUM and CODE items
for a machine (TID 2002). The content items of what has no place serve the measurement report too.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
)

from node.outputs import wording
from node.outputs.document import (
    CONCEPT_MOD,
    CONTAINS,
    ENGLISH,
    LANGUAGE,
    coded,
    concept,
    container,
    observer,
    procedure,
    text,
    with_children,
)
from node.outputs.draft import Draft
from node.result import Code, Evaluation, Measurement, ModelIdentity, Result
from node.study import Laterality

TITLE = Code("18748-4", "LN", "Diagnostic Imaging Report")
FINDING = Code("121071", "DCM", "Finding")
IMPRESSION = Code("121073", "DCM", "Impression")
EQUIVALENT_MEANING = Code("121050", "DCM", "Equivalent Meaning of Concept Name")
MEASURED = Code("121112", "DCM", "Source of Measurement")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
FINDING_SITE = Code("363698007", "SCT", "Finding Site")
BREAST = Code("76752008", "SCT", "Breast")
LATERALITY = Code("272741003", "SCT", "Laterality")
SIDES = {
    Laterality.RIGHT: Code("24028007", "SCT", "Right"),
    Laterality.LEFT: Code("7771000", "SCT", "Left"),
    Laterality.BOTH: Code("51440002", "SCT", "Bilateral"),
}
"""CID 244."""
INFERRED_FROM = RelationshipTypeValues.INFERRED_FROM


def report(draft: Draft, result: Result) -> ContainerContentItem:
    """Return the content: the outcome, what to know about it, the numbers without a place."""
    sentences = [text(IMPRESSION, sentence) for sentence in wording.sentences(draft, result)]
    sections = [container(Code("121072", "DCM", "Impressions"), sentences)]
    if result.evaluations:
        words = [text(FINDING, line) for e in result.evaluations for line in wording.measured(e)]
        items = [item for e in result.evaluations for item in _evaluated(draft, result.model, e)]
        sections.append(container(Code("121070", "DCM", "Findings"), [*words, *items]))
    return container(
        TITLE,
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
        number(
            measurement,
            described(draft, model, evaluation, label(evaluation)),
            INFERRED_FROM if is_graded else CONTAINS,
        )
        for measurement in evaluation.measurements
    ]
    return [graded(model, evaluation, numbers)] if is_graded else numbers


def graded(
    model: ModelIdentity, evaluation: Evaluation, inferred_from: Sequence[ContentItem] = ()
) -> ContentItem:
    """Return the grade of an evaluation as a CODE item: what was graded, and the grade."""
    assert evaluation.grade is not None
    return with_children(
        coded(evaluation.grade.concept, evaluation.grade.value),
        [
            *_side(evaluation),
            label(evaluation),
            *algorithm(model),
            *inferred_from,
        ],
    )


def described(
    draft: Draft, model: ModelIdentity, evaluation: Evaluation, name: ContentItem
) -> list[ContentItem]:
    """Return where a number was measured, on which images, what of and by whom (TID 300)."""
    images = [image(draft, sop_uid, INFERRED_FROM, MEASURED) for sop_uid in evaluation.sop_uids]
    return [*_side(evaluation), *images, name, *algorithm(model)]


def label(evaluation: Evaluation) -> ContentItem:
    """Return what is evaluated, "R breast AI score": no code says it as exactly (TID 1210)."""
    return text(EQUIVALENT_MEANING, evaluation.label, CONCEPT_MOD)


def number(
    measurement: Measurement,
    children: Sequence[ContentItem],
    relationship: RelationshipTypeValues = CONTAINS,
) -> ContentItem:
    """Return a NUM item with the digits that the number is worth."""
    item = NumContentItem(
        concept(measurement.concept),
        float(measurement.value),
        concept(measurement.unit),
        relationship_type=relationship,
    )
    value = item.MeasuredValueSequence[0]
    value.NumericValue = wording.number(measurement)
    del value.FloatingPointValue  # more digits than the number is worth
    return with_children(item, children)


def algorithm(model: ModelIdentity) -> list[ContentItem]:
    """Return which algorithm measured (TID 4019)."""
    return [
        text(Code("111001", "DCM", "Algorithm Name"), model.title, CONCEPT_MOD),
        text(Code("111003", "DCM", "Algorithm Version"), model.version, CONCEPT_MOD),
        coded(Code("111000", "DCM", "Algorithm Family"), ARTIFICIAL_INTELLIGENCE, CONCEPT_MOD),
    ]


def image(
    draft: Draft, sop_uid: str, relationship: RelationshipTypeValues, name: Code
) -> ContentItem:
    """Return a reference to an image; with a name, for OHIF goes down on one without."""
    instance = draft.instance(sop_uid)
    return ImageContentItem(
        concept(name), instance.sop_class, instance.sop_uid, relationship_type=relationship
    )


def site(laterality: Laterality) -> ContentItem:
    """Return which breast."""
    return with_children(
        coded(FINDING_SITE, BREAST, CONCEPT_MOD),
        [coded(LATERALITY, SIDES[laterality], CONCEPT_MOD)],
    )


def _side(evaluation: Evaluation) -> list[ContentItem]:
    return [] if evaluation.laterality is None else [site(evaluation.laterality)]
