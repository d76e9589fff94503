"""A node that is really broken says so: to load balancers, to Prometheus, and by exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import factories
import httpx
import pytest
import small_models
import sqlalchemy as sa
import uvicorn
from factories import R_CC
from ports import free_port
from typer.testing import CliRunner

from node import app as assembly
from node.app import App
from node.cli import app as command_line
from node.config import load_config
from node.ledger import schema

pytestmark = pytest.mark.slow

SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
models_dir = "."
min_free_mb = {min_free_mb}
dead_after_s = 3

[listener]
host = "127.0.0.1"
port = {port}

[[peers]]
name = "modality"
ae_title = "MODALITY"
host = "127.0.0.1"
port = 104
sends = true

[[models]]
name = "small"
mode = "shadow"

[inference]
threads = 1

[monitoring]
port = {monitoring}
"""


def wait_until(is_so: Callable[[], object], within_s: float = 90) -> None:
    give_up_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.1)


class Site:
    """A configuration, and those who look at its node."""

    def __init__(self, folder: Path, *, min_free_mb: int = 0) -> None:
        self.model = small_models.model(folder)
        self.path = folder / "node.toml"
        self.port, monitoring = free_port(), free_port()
        self.address = f"http://127.0.0.1:{monitoring}"
        self.page_port = 0
        self.path.write_text(
            SETTINGS.format(min_free_mb=min_free_mb, port=self.port, monitoring=monitoring)
        )

    def ready(self, query: str = "") -> tuple[int, dict[str, dict[str, Any]]]:
        answer = httpx.get(f"{self.address}/health/ready{query}", timeout=30)
        return answer.status_code, {part["name"]: part for part in answer.json()["parts"]}

    def value(self, series: str) -> float | None:
        for line in httpx.get(f"{self.address}/metrics", timeout=30).text.splitlines():
            name, _, number = line.rpartition(" ")
            if name == series:
                return float(number)
        return None

    def status(self) -> tuple[int, str]:
        result = CliRunner().invoke(command_line, ["status", "-c", str(self.path)])
        return result.exit_code, result.output

    def states(self) -> list[str]:
        said = CliRunner().invoke(command_line, ["studies", "--json", "-c", str(self.path)])
        return sorted(study["state"] for study in json.loads(said.stdout))

    def send(self, folder: Path) -> int:
        address = f"AINODE@127.0.0.1:{self.port}"
        arguments = ["send", str(folder), "--to", address, "--aet", "MODALITY"]
        return CliRunner().invoke(command_line, arguments).exit_code


@pytest.fixture
def running() -> Iterator[Callable[[Site], App]]:
    """Start nodes that end with the test."""
    with ExitStack() as ends:

        def start(site: Site) -> App:
            node = App(load_config(site.path))
            node.start()
            ends.callback(node.stop)
            return node

        yield start


def test_a_node_that_is_well_says_so(tmp_path: Path, running: Callable[[Site], App]) -> None:
    site = Site(tmp_path)
    running(site)
    wait_until(lambda: site.ready()[0] == 200)
    code, parts = site.ready()
    assert (code, [name for name, part in parts.items() if part["is_ill"]]) == (200, [])
    assert site.ready("?part=listener")[0] == 200
    assert httpx.get(f"{site.address}/health/live").status_code == 200
    exam = tmp_path / "exam"
    exam.mkdir()
    dataset = factories.exam("well", [R_CC])[0]
    dataset.PatientName = "Mustermann^Erika"
    dataset.save_as(exam / "1.dcm", enforce_file_format=True)
    of_this_process = (  # which may have run other nodes before
        'ai_node_objects_received_total{peer="modality"}',
        'ai_node_associations_accepted_total{peer="modality"}',
    )
    before = [site.value(series) or 0 for series in of_this_process]
    assert site.send(exam) == 0
    assert [site.value(series) for series in of_this_process] == [n + 1 for n in before]
    scored = f'ai_node_inference_seconds_count{{model="small",version="{version(site)}"}}'
    wait_until(lambda: site.value(scored))
    wait_until(lambda: site.value("ai_node_associations_open") == 0)
    said = httpx.get(f"{site.address}/metrics").text
    for secret in ("Mustermann", str(dataset.PatientID), str(dataset.StudyInstanceUID)):
        assert secret not in said
    assert site.status()[0] == 0


def version(site: Site) -> str:
    return site.model.identity.version


def test_a_node_that_cannot_start_inference_says_so_until_it_can(
    tmp_path: Path, running: Callable[[Site], App]
) -> None:
    site = Site(tmp_path)
    node = running(site)
    [kept] = (model.weights_path for model in node._rooms.networks.models)
    weights = kept.read_bytes()
    kept.write_bytes(b"not ONNX")
    (child,) = node._rooms.networks._main._children
    child._process.kill()
    wait_until(lambda: site.ready()[0] == 503)
    parts = site.ready()[1]
    assert parts["inference"]["alarm"] == 2
    assert "no inference process can be started: " in parts["inference"]["words"]
    assert time.time() - 120 < parts["inference"]["since"] <= time.time()
    assert site.ready("?part=listener")[0] == 200, "images are taken all the same"
    code, words = site.status()
    assert code == 2
    assert "ACT   inference: " in words
    kept.write_bytes(weights)
    wait_until(lambda: site.ready()[0] == 200)
    assert site.status()[0] == 0


def test_a_worker_that_stands_still_is_told_of_though_its_queue_lives(
    tmp_path: Path, running: Callable[[Site], App]
) -> None:
    site = Site(tmp_path)
    with site.path.open("a") as file:
        file.write("\n[completeness]\nsettle_s = 0.1\nquiet_s = 0.2\n")
    node = running(site)
    wait_until(lambda: site.ready()[0] == 200)
    (child,) = node._rooms.networks._main._children
    os.kill(child._process.pid, signal.SIGSTOP)
    try:
        for name in ("first", "second"):
            factories.saved_exam(tmp_path / name, name, [R_CC])
            assert site.send(tmp_path / name) == 0
        wait_until(lambda: site.states() == ["queued", "running"])
        assert site.status()[0] == 0, "they have not waited for long"
        table = schema.study_version
        with node.ledger.writing() as db:  # as if that had been twenty minutes ago
            db.execute(table.update().values(closed_at=table.c.closed_at - 1200))
        code, parts = site.ready()
        assert (code, parts["worker"]["alarm"]) == (503, 2)
        assert (
            "1 study waits for analysis, one since 20 min, and none is"
            in (parts["worker"]["words"])
        )
        assert httpx.get(f"{site.address}/health/live").status_code == 200, "its queue lives"
        assert site.ready("?part=listener")[0] == 200, "images are taken all the same"
        assert (site.value("ai_node_queue_age_seconds") or 0) > 900, "of AiNodeQueueOld"
        code, words = site.status()
        assert code == 2
        assert "ACT   worker: 1 study waits for analysis" in words
    finally:
        os.kill(child._process.pid, signal.SIGCONT)
    wait_until(lambda: site.ready()[0] == 200)
    assert site.status()[0] == 0


def test_a_node_whose_disk_is_full_says_so_and_counts_what_it_refuses(
    tmp_path: Path, running: Callable[[Site], App]
) -> None:
    site = Site(tmp_path, min_free_mb=1 << 40)
    running(site)
    wait_until(lambda: site.ready()[0] == 503)
    part = site.ready()[1]["disk"]
    assert part["alarm"] == 2
    assert f"less than min_free_mb = {1 << 40}" in part["words"]
    code, parts = site.ready("?part=listener")
    assert (code, parts["disk"]["is_ill"], parts["listener"]["is_ill"]) == (503, True, False)
    code, words = site.status()
    assert code == 2
    assert "ACT   disk: " in words
    exam = tmp_path / "exam"
    exam.mkdir()
    factories.exam("full", [R_CC])[0].save_as(exam / "1.dcm", enforce_file_format=True)
    refused = 'ai_node_objects_refused_total{peer="modality",reason="no room"}'
    before = site.value(refused)
    assert site.send(exam) == 1
    assert (site.value(refused) or 0) - (before or 0) == 1
    assert site.value('ai_node_part_alarm{part="disk"}') == 2


def test_a_node_whose_listener_has_died_tells_why_before_it_ends(
    tmp_path: Path, running: Callable[[Site], App]
) -> None:
    site = Site(tmp_path)
    node = running(site)
    server = node._listener._server
    assert server is not None
    socketserver.BaseServer.shutdown(server)  # its loop ends, and nobody has asked for it
    wait_until(lambda: site.ready("?part=listener")[0] == 503)
    wait_until(node.failed.is_set)  # then whoever runs it stops it, and starts it again
    assert httpx.get(f"{site.address}/health/live").status_code == 503
    code, words = site.status()
    assert code == 2
    assert "listener: " in words
    assert "it has died" in words
    node.stop()
    code, words = site.status()
    assert code == 2
    assert "was stopped (listener: it has died)" in words


@pytest.fixture
def with_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A node with a page, too, that looks often whether it is served."""
    monkeypatch.setattr(assembly, "TRY_AGAIN_EVERY_S", 1)
    site = Site(tmp_path)
    site.page_port = free_port()
    site.path.write_text(site.path.read_text() + f"\n[web]\nport = {site.page_port}\n")
    return site


def takes_images(site: Site, folder: Path) -> bool:
    exam = folder / "exam"
    exam.mkdir()
    factories.exam("beside", [R_CC])[0].save_as(exam / "1.dcm", enforce_file_format=True)
    return site.send(exam) == 0


def test_a_node_whose_page_and_monitoring_cannot_be_served_takes_images_all_the_same(
    tmp_path: Path, with_page: Site, running: Callable[[Site], App]
) -> None:
    ports = with_page.page_port, int(with_page.address.rpartition(":")[2])
    taken = [socket.create_server(("127.0.0.1", port)) for port in ports]
    with taken[0], taken[1]:
        node = running(with_page)
        assert takes_images(with_page, tmp_path)
        code, words = with_page.status()
    assert code == 1
    for table, port in zip(("web", "monitoring"), ports, strict=True):
        assert f"[{table}] 127.0.0.1:{port} cannot be listened on" in words
    assert "stop what uses it, or choose another host or port" in words
    wait_until(lambda: with_page.status()[0] == 0)
    assert httpx.get(f"http://127.0.0.1:{ports[0]}/").status_code == 200
    assert with_page.ready()[0] == 200
    assert not node.failed.is_set()


def test_a_page_and_a_monitoring_that_die_are_served_again(
    tmp_path: Path, with_page: Site, running: Callable[[Site], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = running(with_page)
    wait_until(lambda: with_page.ready()[0] == 200)

    async def ends(self: uvicorn.Server, counter: int) -> bool:
        return True

    with monkeypatch.context() as change:
        change.setattr(uvicorn.Server, "on_tick", ends)
        wait_until(lambda: with_page.status()[0] == 1)
        assert "it has died" in with_page.status()[1]
        assert takes_images(with_page, tmp_path)
    # One that was started again while they still died may have been noted as well: what counts is
    # that both answer.
    page = f"http://127.0.0.1:{with_page.page_port}/"
    wait_until(lambda: answers(page) and answers(f"{with_page.address}/health/ready"))
    wait_until(lambda: with_page.status()[0] == 0)
    assert not node.failed.is_set()


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def test_a_node_whose_last_notes_cannot_be_written_says_all_the_same_that_it_ends(
    tmp_path: Path, running: Callable[[Site], App]
) -> None:
    site = Site(tmp_path)
    node = running(site)
    wait_until(lambda: site.ready()[0] == 200)
    with node.ledger.writing() as db:
        db.execute(sa.text("ALTER TABLE peer RENAME TO gone"))
    node.reception.peers.saw("modality")
    node.stop()
    nodes = CliRunner().invoke(command_line, ["nodes", "-c", str(site.path)])
    assert "stopped" in nodes.output


def test_a_node_that_was_killed_is_missed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "node", "run", "-c", str(site.path)]
    with log.open("w") as file, subprocess.Popen(command, stderr=file) as process:
        try:
            wait_until(lambda: "Listening on" in log.read_text())
            wait_until(lambda: site.ready()[0] == 200)
            assert site.status()[0] == 0
        finally:
            os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: site.status()[0] == 2)
    words = site.status()[1]
    assert "ACT   listener: no node listens: " in words
    assert "ended without saying so" in words
    assert "next: start it: systemctl start ai-node" in words
    nodes = CliRunner().invoke(command_line, ["nodes", "-c", str(site.path)])
    assert nodes.exit_code == 2
    assert "silent" in nodes.output
