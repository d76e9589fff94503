"""What a person does next about a study that does not go on by itself: for commands and pages."""

from __future__ import annotations

from collections.abc import Mapping

from node.ledger import COMES_BACK, HeldBecause
from node.overview.standing import Standing, StudyOverview

_ENDS_HOLD: Mapping[HeldBecause | None, str] = {
    HeldBecause.IDENTITY: "correct it in the archive and send all its images again; "
    "that releases it",
    HeldBecause.DESTINATION: "if it is wrong there, correct it there, then "
    "`ai-node release {uid}`: it is asked again before anything is sent; if it is wrong here, "
    "send its corrected images, which releases it",
    HeldBecause.MISSING: f"{COMES_BACK}; `ai-node release {{uid}}` has it asked back anew",
}
"""What ends a hold other than a person's word."""


def next_step(study: StudyOverview) -> str:
    """Return what a person does next about a study, "" if it goes on by itself."""
    if study.state in (Standing.HELD, Standing.EXCLUDED, Standing.CANCELLED):
        by_hand = f"look at it; then `ai-node release {study.study_uid}` lets it go on"
        ends = _ENDS_HOLD.get(study.held_because, by_hand)
        if study.held_because == HeldBecause.MISSING and study.asked_back is not None:
            ends = f"nothing, if what is asked back comes; else {COMES_BACK}"
        return ends.replace("{uid}", study.study_uid)
    if study.state == Standing.UNDELIVERED:
        return "mend that; then `ai-node retry`"
    return ""


def is_for_a_person(study: StudyOverview) -> bool:
    """Return whether a person's word lets a study go on that does not by itself.

    None does where its objects disagree about the patient: it would make no guess of ours safe.
    """
    if study.state == Standing.HELD:
        return study.held_because != HeldBecause.IDENTITY
    return study.state in (Standing.EXCLUDED, Standing.OUT_OF_SCOPE, Standing.CANCELLED)
