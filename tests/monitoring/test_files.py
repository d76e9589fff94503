"""The alert rules and the dashboard name only what /metrics really tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import config
from node.alarm_rules import ALARM_RULES
from node.config import bundled_models_dir
from node.current import Current
from node.ledger import Ledger, Role
from node.manifest import load_model
from node.metrics import DeliveryOutcome, NotKept, NotLetIn
from node.monitoring.backend import Monitored, ThisProcess
from node.monitoring.collector import StateCollector
from node.overview.figures import LACKS_ACT_S, LACKS_LOOK_S, UNCONFIRMED_WAITS

FOLDER = Path(__file__).parents[2] / "config" / "monitoring"
RULES = (FOLDER / "prometheus-rules.yml").read_text("utf-8")
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))


def expressions() -> Iterator[str]:
    """Yield every PromQL expression of both."""
    yield from re.findall(r"^ +expr: (.+)$", RULES, re.MULTILINE)
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


@pytest.fixture
def exposed(ledger: Ledger) -> dict[str, frozenset[str]]:
    """The labels of each series that /metrics has, by its name."""
    peer = config.Peer(
        name="pacs", ae_title="PACS", host="192.0.2.1", port=104, sends=True, receives="default"
    )
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=Path("unused")), peers=(peer,)
    )
    process = ThisProcess(Role.ALL, lambda: True, lambda: True, dict)
    models = {"breast-area": load_model("breast-area", bundled_models_dir())}
    found: dict[str, frozenset[str]] = {}
    for metric in StateCollector(Monitored(Current(settings), ledger, process)).collect():
        labels = {label for sample in metric.samples for label in sample.labels}
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        for end in ends.get(metric.type, ("",)):
            found[f"{metric.name}{end}"] = frozenset(labels)
    assert models
    return found


def test_every_metric_that_is_asked_for_is_told(exposed: dict[str, frozenset[str]]) -> None:
    asked = {name for one in expressions() for name in re.findall(r"\bai_node_\w+", one)}
    assert len(asked) > 20
    assert asked <= exposed.keys()


def test_every_metric_of_ours_stands_on_the_dashboard(exposed: dict[str, frozenset[str]]) -> None:
    said = json.dumps(DASHBOARD)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed}
    unsaid = {name for name in families if name.startswith("ai_node_") and name not in said}
    # What parts and standings say already, in a number of its own for alerts.
    assert unsaid == {"ai_node_ready", "ai_node_nodes_ill"}


def test_every_word_that_is_compared_is_one_that_is_said() -> None:
    words: dict[str, set[str]] = {
        "outcome": set(DeliveryOutcome),
        "reason": {*NotLetIn, *NotKept},
        "part": {"database", "listener", "worker", "inference", "disk"},
        "job": {"ai-node"},
        "rule": {*ALARM_RULES, "delivery-.*"},
        "urgency": {"look", "act"},
        "instance": {"$instance"},
    }
    for expression in expressions():
        for label, compared in re.findall(r'(\w+)=~?"([^"]*)"', expression):
            assert set(compared.split("|")) <= words[label], expression


def test_alerts_and_status_agree_on_when_a_destination_is_late() -> None:
    metric = "ai_node_delivery_backlog_age_seconds > "
    by_severity = re.findall(metric + r"(\d+)\n.*\n +labels: \{severity: (\w+)\}", RULES)
    assert {severity: float(s) for s, severity in by_severity} == {
        "look": LACKS_LOOK_S,
        "act": LACKS_ACT_S,
    }
    (unconfirmed_s,) = re.findall(r"ai_node_delivery_unconfirmed_age_seconds > (\d+)", RULES)
    assert float(unconfirmed_s) == UNCONFIRMED_WAITS * config.Delivery().commitment_wait_s
    document = (FOLDER.parents[1] / "docs" / "operate.md").read_text("utf-8")
    for seconds in (LACKS_LOOK_S, LACKS_ACT_S):
        assert f"lacked results for {seconds / 60:.0f} minutes" in document


def test_every_alert_says_how_urgent_it_is_and_what_is_wrong() -> None:
    alerts = re.split(r"^ +- alert: ", RULES, flags=re.MULTILINE)[1:]
    assert len(alerts) > 10
    document = (FOLDER.parents[1] / "docs" / "operate.md").read_text("utf-8")
    for alert in alerts:
        name = alert.split()[0]
        assert re.search(r"severity: (act|look)\b", alert), name
        assert re.search(r'summary: ".{20,}"', alert), name
        assert f"`{name}`" in document, "what it asks for is said there"
