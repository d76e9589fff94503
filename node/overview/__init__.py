"""Where every study stands, and the node: what commands, pages and the demonstration show.

All of it is read from the ledger alone, so that any process that reaches it may ask.
"""

from __future__ import annotations

from node.overview.reading import each_study, study_overview, study_overviews
from node.overview.reading_list import AT_MOST_COUNTED, ListPage, Wanted, each_wanted, list_page
from node.overview.standing import (
    AskedBackOverview,
    DeliveryOverview,
    MessageOverview,
    ModelOverview,
    Standing,
    StudyOverview,
)

__all__ = [
    "AT_MOST_COUNTED",
    "AskedBackOverview",
    "DeliveryOverview",
    "ListPage",
    "MessageOverview",
    "ModelOverview",
    "Standing",
    "StudyOverview",
    "Wanted",
    "each_study",
    "each_wanted",
    "list_page",
    "study_overview",
    "study_overviews",
]
