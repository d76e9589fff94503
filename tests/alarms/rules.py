"""What the tests of rules share: a node, and a ledger in which time has passed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ledgers import STUDY, Desk

from node.alarms.watched import Watched
from node.config import (
    AlarmSettings,
    ChosenModel,
    Config,
    HL7Settings,
    Peer,
    TriageSettings,
)
from node.config import Node as NodeSettings
from node.ledger import DispatchState, Role, now, schema
from node.ledger.states import MessageKind
from node.manifest import Model
from node.result import Priority

PLACE = "ward-a:/srv/ai-node"


def watched(
    desk: Desk, folder: Path = Path("unused"), models: Mapping[str, Model] | None = None, **how: Any
) -> Watched:
    """Return a node with a PACS and a reading list."""
    alarms = AlarmSettings.model_validate(how.pop("alarms", {}))
    pacs = Peer(
        name="pacs", ae_title="PACS", host="192.0.2.10", port=104, sends=True, receives="default"
    )
    list_models = how.pop("list_models", ("breast-triage",))
    ris = HL7Settings(
        kind="hl7",
        name="ris",
        host="192.0.2.20",
        port=2575,
        models=list_models,
        senders=how.pop("list_senders", ()),
    )
    models = models or {}
    config = Config(
        node=NodeSettings(ae_title="AINODE", state_dir=folder, min_free_mb=0),
        peers=(pacs,),
        models=tuple(
            ChosenModel(name=name, mode="deliver")
            for name in dict.fromkeys(("breast-triage", *list_models, *models))
        ),
        destinations=(ris,),
        triage=TriageSettings(demonstration_may_rank=True),
        alarms=alarms,
        **how,
    )
    return Watched(desk.ledger, config, models, PLACE)


def clock(desk: Desk) -> float:
    with desk.ledger.reading() as db:
        return float(db.execute(sa.select(now())).scalar_one())


def is_well(desk: Desk) -> None:
    """Let a node be alive that does everything."""
    desk.nodes.register_node("a", f"{PLACE} a", Role.ALL)


def age(desk: Desk, seconds: float, table: sa.Table, *columns: str) -> None:
    """Make times of all rows of a table earlier."""
    desk.change(table, **{name: table.c[name] - seconds for name in columns})


def message(desk: Desk, **values: Any) -> None:
    told = {
        "control_id": "1",
        "destination": "ris",
        "study_uid": STUDY,
        "sequence": 1,
        "number": 1,
        "kind": MessageKind.LEVEL,
        "level": Priority.URGENT,
        "told": "{}",
        "content": b"",
        "state": DispatchState.QUEUED,
        "deadline_at": now() + 1000,
        "made_at": now() - 400,
    }
    with desk.ledger.writing() as db:
        db.execute(schema.message.insert().values(told | values))
