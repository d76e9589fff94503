"""Which algorithms speak in the rows of a list, which have no results."""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.ledger import Ledger, schema
from node.overview.standing import StudyOverview
from node.result import ModelIdentity


def models_shown(ledger: Ledger, studies: Iterable[StudyOverview]) -> list[ModelIdentity]:
    """Return each algorithm once, by name, that has said something of one of these studies.

    Of each one result is read, which may be long.
    """
    table = schema.analysis
    examples = {
        (model.model, model.version): sa.and_(
            table.c.study_uid == study.study_uid,
            table.c.number == study.version,
            table.c.model == model.model,
        )
        for study in studies
        for model in study.models
        if model.analysed is not None
    }
    if not examples:
        return []
    query = sa.select(table.c.result).where(sa.or_(*examples.values()), table.c.result.is_not(None))
    with ledger.reading() as db:
        results = db.execute(query).scalars().all()
    found = [_IDENTITY.validate_python(json.loads(result)["model"]) for result in results]
    return sorted(set(found), key=lambda model: model.name)


_IDENTITY = TypeAdapter(ModelIdentity)
