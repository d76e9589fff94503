"""A report in words, for a result without regions: "not analysed" and "nothing found".

Viewers that draw measurement reports open a black screen on one without a region, so this is a
Basic Diagnostic Imaging Report (TID 2000): its title makes them show the text.
"""

from __future__ import annotations

from highdicom.sr import ContainerContentItem

from node.outputs import wording
from node.outputs.document import (
    CONCEPT_MOD,
    ENGLISH,
    LANGUAGE,
    coded,
    container,
    observer,
    procedure,
    text,
)
from node.outputs.draft import Draft
from node.result import Code, Result

TITLE = Code("18748-4", "LN", "Diagnostic Imaging Report")

IMPRESSION = Code("121073", "DCM", "Impression")


def report(draft: Draft, result: Result) -> ContainerContentItem:
    """Return the content: the outcome, what to know about it, the numbers without a place."""
    lines = [line for e in result.evaluations for line in wording.measured(e)]
    sections = [
        container(
            Code("121072", "DCM", "Impressions"),
            [
                text(Code("121073", "DCM", "Impression"), s)
                for s in wording.sentences(draft, result)
            ],
        )
    ]
    if lines:
        sections.append(
            container(
                Code("121070", "DCM", "Findings"),
                [text(Code("121071", "DCM", "Finding"), line) for line in lines],
            )
        )
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
