"""Studies as retention leaves them, long after their last object."""

from __future__ import annotations

from ledgers import STUDY, Desk

from node.ledger import Forgetting, schema

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S


def let_files_go(desk: Desk, *, age_s: float = 2 * YEAR_S) -> None:
    """Let every study be as retention leaves it, so long after its last object."""
    gone = {"removed_at": 1000.0}
    desk.change(schema.instance, **gone, pixels_digest="pixels", header_digest="header")
    desk.change(schema.former_instance, **gone, header_digest="former header")
    desk.change(schema.report, **gone)
    desk.change(schema.study, images_removed_at=1000.0, results_removed_at=1001.0)
    desk.delete(schema.study_to_tell)  # a node tells, or finds that nobody is to be told
    desk.let_pass(age_s)


def forget(desk: Desk, study: str = STUDY) -> None:
    """Let a study be done, removed and forgotten."""
    let_files_go(desk)
    assert Forgetting(desk.ledger).forget_study(study, YEAR_S)
