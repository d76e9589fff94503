"""A triage level as JSON. docs/told-json.md is its schema; a test compares the two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from node.deliver.messages.level_message import LevelMessage
from node.ledger import MessageKind
from node.outputs import wording

TYPES: Mapping[MessageKind, str] = {
    MessageKind.LEVEL: "triage.level",
    MessageKind.WITHDRAWN: "triage.withdrawn",
    MessageKind.WRONG: "triage.wrong",
}


def build_json(message: LevelMessage, *, shows: str) -> bytes:
    """Return the body; the message's ID is in a header. Times are ISO 8601, UTC."""
    data: dict[str, Any] = {
        "study_uid": message.study_uid,
        "version": message.version,
        "thread": message.thread,
        "level": str(message.level),
        "level_before": None if message.before is None else str(message.before),
        "why": message.why,
        "about": message.about,
        "score": _score(message),
        "operating_point": _point(message),
        "model": {
            "name": message.model.name,
            "title": message.model.title,
            "version": message.model.version,
            "manufacturer": message.model.manufacturer,
            "is_research": message.model.is_research,
            "is_demonstration": message.model.is_demonstration,
        },
        "is_verified": False,
        "statement": message.statement,
        "last_image_at": _iso(message.last_image_at),
    }
    whose = message.whose
    if shows != "nothing":
        data["accession_number"] = whose.accession_number
    if shows == "patient":
        data["patient"] = {
            "id": whose.patient_id,
            "issuer": whose.issuer,
            "name": whose.patient_name,
            "birth_date": whose.birth_date,
        }
    whole = {"type": TYPES[message.kind], "timestamp": _iso(message.made_at), "data": data}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _score(message: LevelMessage) -> dict[str, Any] | None:
    if message.score is None:
        return None
    return {
        "value": float(wording.written_number(message.score)),
        "unit": message.score.unit.value,
    }


def _point(message: LevelMessage) -> dict[str, Any] | None:
    point = message.point
    if point is None:
        return None
    return {"name": point.name, "threshold": point.threshold, "measured": point.measured}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
