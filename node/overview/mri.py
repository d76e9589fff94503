"""What an MRI study was taken for, told from what its objects said when they came."""

from __future__ import annotations

import sqlalchemy as sa

from node.domains.breast_mr.scope import facts_in
from node.domains.breast_mr.telling import ToldStudy, told_of_facts
from node.ledger import InstanceState, Ledger, schema
from node.overview.standing import StudyOverview
from node.study import Shown

_MODALITY = "MR"


def told_of_study(ledger: Ledger, study: StudyOverview) -> ToldStudy | None:
    """Return what a study was taken for; None if it is no MRI, of which nothing is asked."""
    if _MODALITY not in study.modalities:
        return None
    table = schema.instance
    query = sa.select(table.c.sop_class, table.c.body_part, table.c.details).where(
        table.c.study_uid == study.study_uid,
        table.c.state == InstanceState.CURRENT,
        table.c.modality == _MODALITY,
    )
    with ledger.reading() as db:
        rows = db.execute(query).all()
    shown = (
        Shown(_MODALITY, row.sop_class, row.body_part or "", details=row.details or "")
        for row in rows
    )
    return told_of_facts(facts_in(tuple(shown)))
