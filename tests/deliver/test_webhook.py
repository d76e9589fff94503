"""Triage levels as signed JSON, and docs/told-json.md, which says what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

import pytest
from levels_told import LEVEL
from standardwebhooks import Webhook
from webhooks import SECRET, Program, listening

from node.config import WebhookSettings
from node.deliver.messages.level_message import LevelMessage, taken_back
from node.deliver.messages.receiver import MessageRefused, receiver_of
from node.deliver.messages.webhook import TYPES
from node.errors import DeliveryError
from node.ledger import MessageKind
from node.result import Priority
from node.study import Whose

PAGE = (Path(__file__).parents[2] / "docs" / "told-json.md").read_text("utf-8")
Shows = Literal["nothing", "accession", "patient"]


def receiver(url: str = "https://x.example", shows: Shows = "accession") -> WebhookSettings:
    settings = {"kind": "webhook", "name": "hook", "url": url, "secret": SECRET}
    return WebhookSettings.model_validate(settings | {"models": ("m",), "shows": shows})


def built(message: LevelMessage = LEVEL, shows: Shows = "accession") -> Mapping[str, Any]:
    it = receiver_of(receiver(shows=shows))
    told = replace(message, whose=it.told_of(message.whose))
    content = it.build(told, (), control_id="X1", zone=UTC)
    return json.loads(content)  # type: ignore[no-any-return]


def keys(heading: str) -> list[str]:
    """Return the keys of the table below a heading of the page."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE)


def test_the_page_names_the_keys_that_are_sent() -> None:
    said = built(shows="patient")
    assert keys("The message") == list(said)
    assert keys("`data`") == list(said["data"])
    for name in ("score", "operating_point", "model", "patient"):
        assert keys(f"`{name}`") == list(said["data"][name]), name


def test_the_page_names_the_types_and_the_levels() -> None:
    assert f"| what is said: {', '.join(TYPES.values())} |" in PAGE
    levels = ", ".join(str(level) for level in sorted(Priority, reverse=True))
    assert f"| `level` | {levels} |" in PAGE


def test_a_level_is_told_as_it_is() -> None:
    said = built()
    assert said["type"] == "triage.level"
    assert said["timestamp"] == "2026-11-29T12:00:10Z"
    data = said["data"]
    assert (data["level"], data["level_before"], data["is_verified"]) == (
        "urgent",
        "routine",
        False,
    )
    assert data["score"] == {"value": 87.3, "unit": "%"}
    assert data["statement"].startswith("AI generated. Not verified by a physician.")
    assert data["accession_number"] == "A-1"
    assert "patient" not in data
    unscored = built(replace(LEVEL, score=None, point=None, before=None))["data"]
    assert unscored["score"] is unscored["operating_point"] is unscored["level_before"] is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [(MessageKind.WITHDRAWN, "triage.withdrawn"), (MessageKind.WRONG, "triage.wrong")],
)
def test_what_is_taken_back_names_what_was_told(kind: MessageKind, name: str) -> None:
    said = built(taken_back(LEVEL, kind, LEVEL.made_at + 60))
    assert said["type"] == name
    assert said["data"] == built()["data"]


@pytest.mark.parametrize("shows", ["nothing", "accession", "patient"])
def test_it_is_told_no_more_of_whose_it_is_than_is_allowed(shows: Shows) -> None:
    said = json.dumps(built(shows=shows))
    assert ("P-1" in said) == ("Doe" in said) == ("1950" in said) == (shows == "patient")
    assert ("A-1" in said) == (shows != "nothing")
    assert receiver_of(receiver()).why_unsayable(Whose()) == ""


def test_another_library_finds_the_signature_right() -> None:
    with listening() as program:
        it = receiver_of(receiver(program.url))
        content = it.build(LEVEL, (), control_id="X1", zone=UTC)
        it.bring(content, "X1")
    (heard,) = program.heard
    assert heard.headers["webhook-id"] == "X1"
    assert Webhook(SECRET).verify(heard.body, dict(heard.headers))["type"] == "triage.level"


@pytest.mark.parametrize("status", [400, 410, 500])
def test_what_it_does_not_take_is_tried_again(status: int) -> None:
    with listening(Program(status=status)) as program, pytest.raises(DeliveryError) as raised:
        receiver_of(receiver(program.url)).bring(b"{}", "X1")
    assert not isinstance(raised.value, MessageRefused)
