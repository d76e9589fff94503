"""Load balancers and Prometheus hear how the node is, over HTTP, and nobody hears of patients."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import factories
import pytest
import sqlalchemy as sa
from factories import R_CC
from httpx import Client
from ledgers import HOUR_S, NODE, STUDY, Desk

from node import __version__, config, metrics
from node.config import bundled_models_dir
from node.current import Current
from node.http.server import HttpServer
from node.ledger import (
    Alarming,
    DeliveryEnd,
    DeliveryState,
    Ill,
    Ledger,
    OwnPart,
    Patience,
    Role,
    Trouble,
    schema,
)
from node.manifest import load_model
from node.metrics import DeliveryOutcome, NotKept, NotLetIn
from node.monitoring import backend
from node.monitoring.application import monitoring_application
from node.monitoring.backend import Monitored, ThisProcess
from node.result import Priority

CONFIG = config.Config(
    node=config.Node(ae_title="AINODE", state_dir=Path("state"), min_free_mb=0),
    peers=(
        config.Peer(
            name="modality",
            ae_title="MODALITY",
            host="192.0.2.1",
            port=104,
            sends=True,
            results_to=("pacs",),
        ),
        config.Peer(name="pacs", ae_title="PACS", host="192.0.2.2", port=104, receives="default"),
    ),
    models=(config.ChosenModel(name="breast-area", mode="shadow"),),
)
WELL = ThisProcess(role=Role.ALL, is_alive=lambda: True, is_listening=lambda: True, ill=dict)


@pytest.fixture
def settings(desk: Desk) -> config.Config:
    """The settings of a node on the desk's store."""
    node = CONFIG.node.model_copy(update={"store_dir": desk.store.root})
    return CONFIG.model_copy(update={"node": node})


@pytest.fixture
def asking(desk: Desk, settings: config.Config) -> Iterator[Callable[..., Client]]:
    """Yield who asks a process, well but for what is said."""
    models = {"breast-area": load_model("breast-area", bundled_models_dir())}
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")

    def of(**process: object) -> Client:
        itself = replace(WELL, **process)  # type: ignore[arg-type]  # as ThisProcess says
        application = monitoring_application(
            Monitored(Current(settings, models), desk.ledger, itself)
        )
        where = {"name": "monitoring", "host": "127.0.0.1", "port": 0, "threads": 4}
        server = HttpServer(application, **where)  # type: ignore[arg-type]
        server.start()
        ends.callback(server.stop)
        return ends.enter_context(Client(base_url=f"http://127.0.0.1:{server.port}"))

    with ExitStack() as ends:
        yield of


def value(client: Client, series: str) -> float | None:
    """Return the value of a series of the scrape, None if it is not there."""
    for line in client.get("/metrics").text.splitlines():
        name, _, number = line.rpartition(" ")
        if name == series:
            return float(number)
    return None


# Health


def test_a_process_that_turns_is_alive_and_one_that_does_not_is_not(
    asking: Callable[..., Client],
) -> None:
    answer = asking().get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"alive": True})
    answer = asking(is_alive=lambda: False).get("/health/live")
    assert (answer.status_code, answer.json()) == (503, {"alive": False})


def test_who_is_well_is_ready(asking: Callable[..., Client]) -> None:
    answer = asking().get("/health/ready")
    assert answer.status_code == 200
    said = answer.json()
    assert said["ready"] is True
    names = ["database", "listener", "worker", "inference", "disk", "node ward-a:/srv/ai-node"]
    assert [part["name"] for part in said["parts"]] == names
    assert {part["alarm"] for part in said["parts"]} == {0}


def test_a_part_that_is_ill_is_named_with_since_when_and_what_to_do(
    desk: Desk, asking: Callable[..., Client]
) -> None:
    client = asking()
    desk.nodes.record_ill(NODE, {OwnPart.DISK: Ill(1000.0, "5 MB free")})
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    ill = next(part for part in answer.json()["parts"] if part["name"] == "disk")
    assert ill == {
        "name": "disk",
        "alarm": 2,
        "is_ill": True,
        "since": 1000.0,
        "words": "ward-a:/srv/ai-node: 5 MB free",
        "what_to_do": "make room or use a larger disk; images are refused meanwhile",
    }
    assert client.get("/health/ready?part=disk").status_code == 503
    assert client.get("/health/ready?part=worker").status_code == 200
    assert client.get("/health").status_code == 503


def test_what_is_only_to_be_looked_at_keeps_nobody_from_being_ready(
    desk: Desk, asking: Callable[..., Client]
) -> None:
    client = asking()
    desk.nodes.register_node("other", "ward-b:/srv/ai-node 2-2")
    with desk.ledger.writing() as db:
        table = schema.node
        db.execute(
            table.update().where(table.c.id == "other").values(beat_at=table.c.beat_at - HOUR_S)
        )
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert [part["name"] for part in answer.json()["parts"] if part["is_ill"]] == [
        "node ward-b:/srv/ai-node"
    ]


def test_both_at_once_is_well_only_if_both_are(asking: Callable[..., Client]) -> None:
    answer = asking().get("/health")
    assert (answer.status_code, answer.json()["alive"], answer.json()["ready"]) == (200, True, True)
    assert asking(is_alive=lambda: False).get("/health").status_code == 503


def test_a_load_balancer_asks_one_process_whether_it_takes_images(
    asking: Callable[..., Client],
) -> None:
    ask = "/health/ready?part=listener"
    answer = asking().get(ask)
    assert answer.status_code == 200
    assert [part["name"] for part in answer.json()["parts"]] == ["listener", "disk", "database"]
    worker = asking(role=Role.WORKER).get(ask)
    assert worker.status_code == 503
    assert worker.json()["parts"][0]["words"] == "this node does not listen"
    assert asking(is_listening=lambda: False).get(ask).status_code == 503
    full = asking(ill=lambda: {OwnPart.DISK: Ill(5.0, "5 MB free")}).get(ask)
    assert full.status_code == 503
    assert full.json()["parts"][1]["since"] == 5.0


def test_a_process_says_that_it_lives_though_all_who_asked_for_more_still_wait(
    asking: Callable[..., Client],
) -> None:
    is_over, come = threading.Event(), threading.Semaphore(0)

    def hangs() -> dict[OwnPart, Ill]:
        come.release()
        is_over.wait(60)
        return {}

    client = asking(ill=hangs)
    with ThreadPoolExecutor(45) as others:
        for _ in range(45):
            others.submit(client.get, "/health/ready?part=listener", timeout=60)
        try:
            for _ in range(4):
                assert come.acquire(timeout=30)
            assert client.get("/health/live", timeout=30).status_code == 200
            assert not come.acquire(timeout=0), "no more than four views at a time"
        finally:
            is_over.set()


def test_the_ledger_is_not_asked_for_each_who_asks(
    desk: Desk, asking: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = asking()
    monkeypatch.setattr(backend, "_KEPT_S", 60)
    assert client.get("/health").status_code == 200
    desk.nodes.record_ill(NODE, {OwnPart.DISK: Ill(1000.0, "5 MB free")})
    assert client.get("/health").status_code == 200
    monkeypatch.setattr(backend, "_KEPT_S", 0)
    assert client.get("/health").status_code == 503


def test_an_unknown_part_is_told_with_those_there_are(asking: Callable[..., Client]) -> None:
    answer = asking().get("/health/ready?part=lisener")
    assert answer.status_code == 404
    assert "database, listener, worker" in answer.text


def test_nothing_else_is_answered(asking: Callable[..., Client]) -> None:
    client = asking()
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        assert client.head(path).status_code == 200
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert client.request(method, path).status_code == 405
    for path in ("/", "/health/", "/health/dead", "/docs", "/openapi.json", "/metrics/x"):
        assert client.get(path).status_code == 404


def test_whatever_name_it_is_called_by_it_answers(asking: Callable[..., Client]) -> None:
    answer = asking().get("/health/live", headers={"Host": "10.0.0.1:1"})
    assert answer.status_code == 200


def test_a_database_that_does_not_answer_is_the_part_that_is_ill(
    desk: Desk, asking: Callable[..., Client], tmp_path: Path
) -> None:
    client = asking()
    with desk.ledger.writing() as db:
        db.execute(sa.text("ALTER TABLE node RENAME TO away"))
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    (part,) = answer.json()["parts"]
    assert (part["name"], part["alarm"]) == ("database", 2)
    assert "does not answer" in part["words"]
    assert client.get("/health/ready").json()["parts"][0]["since"] == part["since"]
    assert client.get("/health/ready?part=worker").status_code == 503
    assert client.get("/health/live").status_code == 200
    assert value(client, 'ai_node_part_alarm{part="database"}') == 2
    assert value(client, "ai_node_ready") == 0
    assert value(client, "ai_node_studies_held") is None


# Metrics


def test_a_scrape_says_how_things_stand(desk: Desk, asking: Callable[..., Client]) -> None:
    client = asking()
    (job,) = desk.analysed(level=Priority.URGENT)
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    desk.receive("1.2.826.9.1", study="1.2.826.9")
    desk.close(study="1.2.826.9")
    desk.analysed("1.2.826.7", first_report=10)
    desk.receive_again("1.2.826.7.1", study="1.2.826.7", pixels="other")
    scrape = client.get("/metrics")
    assert scrape.headers["content-type"].startswith("text/plain")
    assert value(client, 'ai_node_studies{level="urgent",state="delivering"}') == 1
    assert value(client, 'ai_node_studies{level="none",state="queued"}') == 1
    assert value(client, "ai_node_studies_held") == 1
    assert value(client, "ai_node_queue_studies") == 1
    waits_s = value(client, "ai_node_queue_age_seconds")
    assert waits_s is not None and 0 <= waits_s < 60
    assert value(client, 'ai_node_delivery_backlog_studies{destination="pacs"}') == 1
    assert value(client, 'ai_node_deliveries_given_up{destination="pacs"}') == 0
    age_s = value(client, 'ai_node_last_image_age_seconds{peer="modality"}')
    assert age_s is not None and 0 <= age_s < 60
    assert value(client, f'ai_node_info{{version="{__version__}"}}') == 1
    version = load_model("breast-area", bundled_models_dir()).identity.version
    info = f'ai_node_model_info{{mode="shadow",model="breast-area",version="{version}"}}'
    assert value(client, info) == 1
    free = value(client, 'ai_node_disk_free_bytes{disk="store_dir"}')
    assert free is not None and free > 0
    assert value(client, "ai_node_ready") == 1
    assert value(client, 'ai_node_alarms_raised{rule="urgent-late",urgency="act"}') == 0


def test_a_scrape_says_how_full_the_disk_is_and_what_may_not_be_removed(
    desk: Desk, asking: Callable[..., Client]
) -> None:
    desk.receive()
    desk.receive_again(pixels="other")
    desk.change(schema.instance, size_bytes=1000)
    client = asking()
    used = value(client, 'ai_node_disk_used_ratio{disk="store_dir"}')
    assert used is not None and 0 < used < 1
    assert value(client, 'ai_node_blocked_studies{because="held"}') == 1
    assert value(client, 'ai_node_blocked_studies{because="kept"}') == 0
    assert value(client, 'ai_node_blocked_bytes{because="held"}') == 1000


def test_an_alarm_counts_while_what_it_tells_of_is_found(
    desk: Desk, asking: Callable[..., Client]
) -> None:
    trouble = Trouble("urgent-late", "pacs", 2, "words", "see to it", time.time())
    Alarming(desk.ledger).raise_alarm(trouble, [], reminder_s=86_400, news_s=900)
    series = 'ai_node_alarms_raised{rule="urgent-late",urgency="act"}'
    assert value(asking(), series) == 1
    desk.change(schema.alarm, seen_at=time.time() - 600)
    assert value(asking(), series) == 0


def test_openmetrics_is_spoken_to_who_asks_for_it(asking: Callable[..., Client]) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = asking().get("/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_what_has_not_happened_yet_is_a_zero(asking: Callable[..., Client]) -> None:
    metrics.prepare_metrics(["never-sends"], ["never-gets"], [("never-runs", "1.0.0")])
    client = asking()
    assert value(client, 'ai_node_objects_received_total{peer="never-sends"}') == 0
    refused = 'ai_node_objects_refused_total{peer="never-sends",reason="no room"}'
    assert value(client, refused) == 0
    given_up = 'ai_node_deliveries_total{destination="never-gets",outcome="given up"}'
    assert value(client, given_up) == 0
    took = 'ai_node_inference_seconds_count{model="never-runs",version="1.0.0"}'
    assert value(client, took) == 0


def test_what_is_counted_is_told(asking: Callable[..., Client]) -> None:
    metrics.count_received("counted", 1000)
    metrics.count_not_taken("counted", NotKept.DAMAGED)
    metrics.observe_inference("counted", "1.0.0", 1.5)
    metrics.count_attempt("counted", DeliveryOutcome.DELIVERED, 42.0)
    metrics.count_attempt("counted", DeliveryOutcome.FAILED, None)
    client = asking()
    before = value(client, f'ai_node_associations_rejected_total{{reason="{NotLetIn.TOO_MANY}"}}')
    metrics.count_not_let_in(NotLetIn.TOO_MANY)
    after = value(client, f'ai_node_associations_rejected_total{{reason="{NotLetIn.TOO_MANY}"}}')
    assert (after or 0) - (before or 0) == 1
    assert value(client, 'ai_node_objects_received_total{peer="counted"}') == 1
    assert value(client, 'ai_node_received_bytes_total{peer="counted"}') == 1000
    assert value(client, 'ai_node_inference_seconds_sum{model="counted",version="1.0.0"}') == 1.5
    assert value(client, 'ai_node_delivered_seconds_bucket{destination="counted",le="45.0"}') == 1
    assert value(client, 'ai_node_delivered_seconds_bucket{destination="counted",le="30.0"}') == 0
    failed = 'ai_node_deliveries_total{destination="counted",outcome="failed"}'
    assert value(client, failed) == 1


def test_a_delivery_is_counted_once_it_is_committed(ledger: Ledger, desk: Desk) -> None:
    ends: list[DeliveryEnd] = []

    def note(end: DeliveryEnd) -> None:
        ends.append(end)
        with ledger.reading() as db:  # as others see it
            seen.append(str(db.execute(sa.select(schema.dispatch.c.state)).scalar_one()))

    seen: list[str] = []
    desk.delivering = replace(desk.delivering, on_end=note)
    (job,) = desk.analysed()
    last_image_at = desk.version()["last_image_at"]
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.SENT)
    desk.deliver(desk.jobs[-1], DeliveryState.SENT, patience=Patience(60))
    assert [(end.destination, end.ended) for end in ends] == [
        ("pacs", "failed"),
        ("pacs", "delivered"),
    ]
    assert seen == ["queued", "finished"]
    stored_at = max(row["sent_at"] for row in desk.rows(schema.delivery))
    assert ends[-1].after_s == pytest.approx(stored_at - last_image_at)


def test_one_that_waits_for_an_answer_is_counted_when_that_comes(desk: Desk) -> None:
    ends: list[DeliveryEnd] = []
    desk.delivering = replace(desk.delivering, on_end=ends.append)
    (job,) = desk.analysed(reports=1)
    shipment = desk.delivering.begin_dispatch(job, NODE)
    desk.delivering.record_sent(job, [desk.outcome(shipment.to_send[0], DeliveryState.SENT)])
    desk.delivering.ask_commitment(job, "2.25.77")
    waits = Patience(60, 60, waits_for="its answer", has_asked=True)
    desk.delivering.finish_dispatch(job, (), waits, desk.enqueue)
    assert ends == []
    uid = shipment.to_send[0].sop_uid
    for _ in range(2):  # it is repeated
        desk.delivering.record_commitment("2.25.77", {uid}, {}, lambda attempt: 60.0)
    assert [end.ended for end in ends] == ["delivered"]


def test_one_that_is_given_up_or_held_is_counted_so(desk: Desk) -> None:
    ends: list[DeliveryEnd] = []
    desk.delivering = replace(desk.delivering, on_end=ends.append)
    (job,) = desk.analysed(reports=1)
    desk.deliver(job, DeliveryState.REFUSED)
    (other,) = desk.analysed("1.2.826.2", reports=1, first_report=10)
    desk.delivering.begin_dispatch(other, NODE)
    desk.delivering.hold_dispatch(other, "it is somebody else's")
    assert [(end.ended, end.after_s) for end in ends] == [("given up", None), ("held", None)]


PATIENT = ("Mustermann", "Erika", "PID-4711", "ACC-0815")


def test_nobody_hears_of_patients(desk: Desk, asking: Callable[..., Client]) -> None:
    client = asking()
    dataset = factories.exam("secret", [R_CC])[0]
    dataset.PatientName, dataset.PatientID = "Mustermann^Erika", "PID-4711"
    dataset.AccessionNumber = "ACC-0815"
    desk.keep(dataset)
    with desk.ledger.writing() as db:
        db.execute(schema.study.update().values(patient_name="Mustermann^Erika"))
    study_uid, sop_uid = str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)
    job = desk.close(study=study_uid)
    desk.begin(job)
    (sent,) = desk.finish(job)
    desk.deliver(sent, DeliveryState.REFUSED, DeliveryState.REFUSED)
    for path in ("/metrics", "/health", "/health/ready", "/health/ready?part=listener"):
        said = client.get(path).text
        for secret in (*PATIENT, study_uid, sop_uid, STUDY):
            assert secret not in said, path
        assert not re.search(r"\b[0-2](\.\d+){5,}", said), "no UID at all"
