"""Generated MR studies as a ledger has them: what their headers say, and no pixels."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from ledgers import STUDY, Desk
from pydicom import Dataset

from node.domains.table import shown_by
from node.study import Shown
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr

SHAPE = (6, 16, 16)
PHASES = 4
PLAN = StudyPlan(shape=SHAPE, schedule=PhaseTimes(posts=PHASES - 1), beside=False)


@cache
def breast(plan: StudyPlan = PLAN) -> tuple[Dataset, ...]:
    """Return the objects of a breast, phase by phase."""
    return tuple(breast_mr("mr studies", plan))


@cache
def knee() -> tuple[Dataset, ...]:
    """Return the objects of a knee."""
    return tuple(knee_mr("mr studies of a knee", shape=(4, 16, 16)))


def receive_mr(
    desk: Desk,
    objects: Iterable[Dataset],
    *,
    study: str = STUDY,
    keeps_details: bool = True,
    **how: Any,
) -> None:
    """Let a ledger have what such objects say, as reception would; without their files."""
    for one in objects:
        shown: Shown = shown_by(one)
        desk.receive(
            str(one.SOPInstanceUID),
            study=study,
            modality=shown.modality,
            view=None,
            sop_class=shown.sop_class,
            body_part=shown.body_part,
            details=shown.details if keeps_details else "",
            **how,
        )
