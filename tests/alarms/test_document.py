"""docs/alarms.md says which rules there are, from when on they tell, and what a webhook gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from webhooks import SECRET

from node.alarm_rules import ALARM_RULES
from node.alarms.examining import ENDS_AFTER_S, rule_examinations
from node.alarms.raising import AWAY_S, SETTLES_S
from node.alarms.telling import AlarmEvent, json_of
from node.config import AlarmSettings, Node, load_config

from .test_telling import config, told

DOCUMENT = (Path(__file__).parents[2] / "docs" / "alarms.md").read_text("utf-8")


def test_the_table_has_every_rule_and_no_other_in_their_order() -> None:
    section = DOCUMENT.partition("## The rules")[2].partition("## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == list(ALARM_RULES)


def test_the_table_says_the_defaults_of_every_setting() -> None:
    said = dict(re.findall(r"`([a-z_]+) = (\d+)`", DOCUMENT))
    assert float(said.pop("min_free_mb")) == Node.model_fields["min_free_mb"].default
    numbers = {
        name: field.default
        for name, field in AlarmSettings.model_fields.items()
        if isinstance(field.default, int | float)
    }
    assert {name: float(value) for name, value in said.items()} == numbers


def test_how_often_somebody_is_told_is_as_it_says() -> None:
    ends = {one.rule: one.ends_after_s for one in rule_examinations()}
    assert {ends.pop(rule) for rule in ("urgent-late", "delivery-failing")} == {90}
    assert set(ends.values()) == {ENDS_AFTER_S} == {300}
    assert "An alarm is over when nobody has found it for five minutes" in DOCUMENT
    assert SETTLES_S == AWAY_S == 120
    assert "nothing is raised for two minutes" in DOCUMENT
    assert "After two minutes each node tells that by itself" in DOCUMENT
    news = {one.rule: one.news_s for one in rule_examinations()}
    assert (news.pop("urgent-late"), set(news.values())) == (900, {3600})
    said = " ".join(DOCUMENT.split())
    assert "at most once an hour (`urgent-late`: every 15 minutes)" in said


def test_its_configuration_can_be_read(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    block = block.replace("whsec_...", SECRET)  # nobody is to take one that everybody knows
    path = tmp_path / "node.toml"
    path.write_text(f'[node]\nae_title = "AINODE"\nstate_dir = "state"\n{block}', "utf-8")
    alarms = load_config(path).alarms
    assert alarms.mail is not None
    assert alarms.webhook is not None


def test_its_example_of_a_webhook_has_the_fields_that_are_sent() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)
    said, sent = json.loads(block), json.loads(json_of(told(), config()))
    assert _keys(said) == _keys(sent)
    for event in get_args(AlarmEvent):
        assert f"`alarm.{event}`" in DOCUMENT
    for key in (*(sent.keys() - {"data"}), *sent["data"]):
        assert f"`{key}`" in DOCUMENT or f"`data.{key}`" in DOCUMENT, key


def _keys(value: object) -> object:
    if isinstance(value, dict):
        return {key: _keys(one) for key, one in value.items()}
    return None
