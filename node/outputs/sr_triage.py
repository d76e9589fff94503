"""The triage level as coded content items, for the reports whose templates have room for one.

No public code says what these levels do: the actionable findings of ACR (CID 7035) grade what a
radiologist has found, and none of them is "not assessed". So the codes are ours, and mean what
docs/triage.md says. Why a study has its level, and what was measured at the threshold, is said in
words: neither template (TID 1500, TID 2000) has a row for it.
"""

from __future__ import annotations

from highdicom.sr import ContentItem

from node.outputs import wording
from node.outputs.case import Draft
from node.outputs.sr_content import (
    CONCEPT_MOD,
    EQUIVALENT_MEANING,
    coded,
    text_item,
    with_children,
)
from node.outputs.sr_document import PRIVATE_SCHEME
from node.result import Code, Priority, Result
from node.triage import changes

TRIAGE_LEVEL = Code("AILEVEL", PRIVATE_SCHEME, "AI triage level")
"""Of the study, and nothing else: who routes by it must find one."""
LEVEL_OF_MODEL = Code("AIMODELLEVEL", PRIVATE_SCHEME, "AI triage level of the model")
LEVEL_BEFORE = Code("AILEVELBEFORE", PRIVATE_SCHEME, "AI triage level of the study before")
LEVEL_CODES = {
    Priority.URGENT: Code("AIURGENT", PRIVATE_SCHEME, "urgent"),
    Priority.SOON: Code("AISOON", PRIVATE_SCHEME, "soon"),
    Priority.NOT_ASSESSED: Code("AINOTASSESSED", PRIVATE_SCHEME, "not assessed"),
    Priority.ROUTINE: Code("AIROUTINE", PRIVATE_SCHEME, "routine"),
}


def triage_items(draft: Draft, result: Result) -> list[ContentItem]:
    """Return the study's level, what the model says, and what the study had; if it triages."""
    if result.triage is None:
        return []
    said = [(LEVEL_OF_MODEL, result)]
    if draft.decided_by is not None:
        said.insert(0, (TRIAGE_LEVEL, draft.decided_by))
    return [
        *(
            _named(
                coded(concept, LEVEL_CODES[by.triage.level]),
                f"{concept.meaning}: {wording.level_name(by)}",
            )
            for concept, by in said
            if by.triage is not None
        ),
        *(
            _named(coded(LEVEL_BEFORE, LEVEL_CODES[one.level]), f"Level of version {one.number}")
            for one in changes(draft.former_levels, draft.level)
        ),
    ]


def _named(item: ContentItem, name: str) -> ContentItem:
    return with_children(item, [text_item(EQUIVALENT_MEANING, name, CONCEPT_MOD)])
