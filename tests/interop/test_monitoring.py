"""Prometheus' own tool reads the alert rules and what a node tells; a database that is stopped."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port
from postgres import PostgreSQL

from .programs import AI_NODE, LOOPBACK, Node, peer, program, settings, wait_for

pytestmark = pytest.mark.interop

RULES = Path(__file__).parents[2] / "config" / "monitoring" / "prometheus-rules.yml"

CASES = """
rule_files: ["{rules}"]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'ai_node_part_alarm{{instance="a", part="inference"}}'
        values: "0x9 2x20"
      - series: 'ai_node_ready{{instance="a"}}'
        values: "1x9 0x20"
      - series: 'ai_node_deliveries_total{{instance="a", destination="pacs", outcome="failed"}}'
        values: "0x9 1+1x20"
      - series: 'ai_node_deliveries_total{{instance="a", destination="pacs", outcome="delivered"}}'
        values: "5x30"
      - series: 'ai_node_deliveries_total{{instance="a", destination="other", outcome="failed"}}'
        values: "0+1x30"
      - series: 'ai_node_deliveries_total{{instance="a", destination="other", outcome="delivered"}}'
        values: "0+1x30"
      - series: 'ai_node_delivery_backlog_age_seconds{{instance="a", destination="pacs"}}'
        values: "0+60x90"
    alert_rule_test:
      - eval_time: 29m
        alertname: AiNodeDeliveryLate
        exp_alerts: []
      - eval_time: 33m
        alertname: AiNodeDeliveryBacklog
        exp_alerts: []
      - eval_time: 33m
        alertname: AiNodeDeliveryLate
        exp_alerts:
          - exp_labels: {{severity: look, instance: a, destination: pacs}}
            exp_annotations:
              summary: "pacs has lacked results for 33m 0s: `ai-node status` says why"
      - eval_time: 63m
        alertname: AiNodeDeliveryBacklog
        exp_alerts:
          - exp_labels: {{severity: act, instance: a, destination: pacs}}
            exp_annotations:
              summary: "pacs has lacked results for 1h 3m 0s: `ai-node doctor` examines it"
      - eval_time: 8m
        alertname: AiNodeTriageNotRunning
        exp_alerts: []
      - eval_time: 15m
        alertname: AiNodeTriageNotRunning
        exp_alerts:
          - exp_labels: {{severity: act, instance: a, part: inference}}
            exp_annotations:
              summary: "Nothing is analysed, so that no study is triaged: inference is ill"
      - eval_time: 15m
        alertname: AiNodeNotReady
        exp_alerts:
          - exp_labels: {{severity: act, instance: a}}
            exp_annotations:
              summary: "a is not ready: `ai-node status` says which part is ill"
      - eval_time: 25m
        alertname: AiNodeDeliveryFailing
        exp_alerts:
          - exp_labels: {{severity: act, instance: a, destination: pacs}}
            exp_annotations:
              summary: "Nothing reaches pacs: `ai-node doctor` examines it"
"""


def promtool(*arguments: str, given: str = "") -> str:
    """Run promtool, which must be content; return what it says."""
    ran = subprocess.run(
        [program("promtool"), *arguments], input=given, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_prometheus_takes_the_alert_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", str(RULES))


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.format(rules=RULES))
    assert "SUCCESS" in promtool("test", "rules", str(cases))


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    """A server of this test's own: it is stopped."""
    started = PostgreSQL()
    yield started
    started.close()


@pytest.fixture
def monitored(tmp_path: Path, server: PostgreSQL) -> Iterator[tuple[Node, str]]:
    """A node on PostgreSQL, and where it is asked how it is."""
    port, monitoring = free_port(), free_port()
    text = settings(
        port,
        peer("modality", "MODALITY", 104, sends=True, results_to=["pacs"]),
        peer("pacs", "PACS", free_port()),
        node=[f'database = "{server.new_database(is_empty=True)}"', "dead_after_s = 3"],
    )
    node = Node(tmp_path / "node", port, f"{text}\n[monitoring]\nport = {monitoring}\n")
    node.start()
    yield node, f"http://{LOOPBACK}:{monitoring}"
    node.kill()


def ask(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def status(node: Node) -> tuple[int, str]:
    ran = subprocess.run(
        [AI_NODE, "status", "--config", str(node.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return ran.returncode, ran.stdout


def test_what_a_node_tells_prometheus_can_read(monitored: tuple[Node, str]) -> None:
    _, address = monitored
    code, scrape = ask(f"{address}/metrics")
    assert code == 200
    promtool("check", "metrics", given=scrape)


def test_a_database_that_is_stopped_is_told_until_it_is_back(
    monitored: tuple[Node, str], server: PostgreSQL
) -> None:
    node, address = monitored
    wait_for("it to be ready", lambda: ask(f"{address}/health/ready")[0] == 200)
    wait_for("nothing to be done", lambda: status(node)[0] == 0)
    server.stop("immediate")

    def told() -> str:
        code, said = ask(f"{address}/health/ready")
        return said if code == 503 else ""  # what was found is kept for 1.5 s

    said = wait_for("it to be told", told)
    (part,) = json.loads(said)["parts"]
    assert (part["name"], part["alarm"]) == ("database", 2)
    assert "does not answer" in part["words"]
    assert server.password not in said
    assert ask(f"{address}/health/ready?part=listener")[0] == 503, "images are refused"
    assert ask(f"{address}/health/live")[0] == 200
    code, scrape = ask(f"{address}/metrics")
    assert code == 200
    assert 'ai_node_part_alarm{part="database"} 2.0' in scrape
    code, words = status(node)
    assert code == 2
    assert "cannot be used" in words
    assert "next: " in words
    assert server.password not in words
    server.start()
    wait_for("it to be ready again", lambda: ask(f"{address}/health/ready")[0] == 200)
    wait_for("nothing to be done again", lambda: status(node)[0] == 0)
