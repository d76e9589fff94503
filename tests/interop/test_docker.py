"""docker/: what it describes runs; where there is a Docker daemon, as containers, too.

Without a daemon, the same files are used by the same programs installed here: PostgreSQL, Orthanc
and the node, with the names of machines replaced by loopback. The image itself is then not built.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import factories
import psycopg
import pytest
from ports import free_port
from postgres import PostgreSQL

from node import config

from .conftest import Started
from .programs import AI_NODE, LOOPBACK, Node, Orthanc, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
IMAGES, RESULTS = 4, 6


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    yaml: Any = importlib.import_module("yaml")
    parsed: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    services: dict[str, dict[str, Any]] = parsed["services"]
    return services


# What can be said without running anything


def test_every_image_is_pinned_to_a_release(services: dict[str, dict[str, Any]]) -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images += [service["image"] for service in services.values() if "image" in service]
    assert len(images) == 4
    for image in images:
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?[a-z-]*", image), image


def test_the_image_is_made_of_what_is_locked_and_runs_as_nobody_special() -> None:
    assert "--require-hashes -r requirements/run.txt" in DOCKERFILE
    assert "USER ai-node" in DOCKERFILE
    assert "HEALTHCHECK" in DOCKERFILE


def test_what_the_image_copies_is_there_and_let_through() -> None:
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    sources = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert sources == let_through
    assert all((REPOSITORY / source).exists() for source in sources)


def test_the_configuration_fits_the_services(services: dict[str, dict[str, Any]]) -> None:
    found = config.load_config(FOLDER / "node.toml")
    assert config.advice(found) == []
    orthanc = json.loads((FOLDER / "orthanc.json").read_text("utf-8"))
    [peer] = found.peers
    assert peer.host in services
    assert (peer.ae_title, peer.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    ours = [found.node.ae_title, services["ai-node"]["hostname"], found.listener.port]
    assert orthanc["DicomModalities"] == {"ainode": ours}
    assert f"{found.listener.port}:{found.listener.port}" in services["ai-node"]["ports"]
    volumes = [mounted.split(":") for mounted in services["ai-node"]["volumes"]]
    assert str(found.node.state_dir) in [volume[1] for volume in volumes]
    assert "@database/ainode" in found.database_url
    assert services["database"]["environment"]["POSTGRES_DB"] == "ainode"
    for service in services.values():
        for mounted in (one for one in service["volumes"] if one.startswith("./")):
            assert (FOLDER / mounted.split(":")[0]).is_file()


# With the programs that are installed here


@pytest.fixture
def database(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The database that compose.yaml describes; return "host:port"."""
    monkeypatch.setenv("PGPASSWORD", "choose-one")
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as db:
        db.execute("CREATE ROLE ainode LOGIN PASSWORD 'choose-one'")
        db.execute("CREATE DATABASE ainode OWNER ainode")
    yield f"{LOOPBACK}:{postgresql.port}"
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as db:
        db.execute("DROP DATABASE ainode WITH (FORCE)")
        db.execute("DROP ROLE ainode")


class ComposedOrthanc(Orthanc):
    """Orthanc with the settings of docker/, but for places and ports."""

    def __init__(self, folder: Path, node_port: int) -> None:
        super().__init__(folder, node_port)
        path = folder / "orthanc.json"
        settings = json.loads((FOLDER / "orthanc.json").read_text("utf-8"))
        places = {"StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db")}
        ports = {"DicomPort": self.port, "HttpPort": self.web_port, "RemoteAccessAllowed": False}
        known = {"ainode": [settings["DicomModalities"]["ainode"][0], LOOPBACK, node_port]}
        path.write_text(json.dumps({**settings, **places, **ports, "DicomModalities": known}))


def test_a_study_sent_from_orthanc_comes_back_with_results_and_the_node_is_healthy(
    tmp_path: Path, started: Started, database: str
) -> None:
    port = free_port()
    orthanc = ComposedOrthanc(tmp_path / "orthanc", port)
    text = (FOLDER / "node.toml").read_text("utf-8")
    for written, here in {
        "/var/lib/ai-node": str(tmp_path / "state"),
        "@database/": f"@{database}/",
        'host = "orthanc"\nport = 4242': f'host = "{LOOPBACK}"\nport = {orthanc.port}',
        "[[peers]]": f'[listener]\nhost = "{LOOPBACK}"\nport = {port}\n\n[[peers]]',
    }.items():
        assert written in text
        text = text.replace(written, here)
    node = Node(tmp_path / "node", port, text)
    started(orthanc)
    started(node)
    study = orthanc.upload(factories.saved_exam(tmp_path / "exam"))
    orthanc.forward(study)
    wait_for("its results", lambda: len(orthanc.instances(study)) == IMAGES + RESULTS)
    assert is_healthy(node)
    node.kill()
    assert not is_healthy(node, after_s=40)


def is_healthy(node: Node, after_s: float = 0) -> bool:
    """Do what the image's HEALTHCHECK does."""
    [command] = re.findall(r"HEALTHCHECK .*?CMD (.*?)$", DOCKERFILE, re.DOTALL | re.MULTILINE)
    command = command.replace("/etc/ai-node/node.toml", str(node.config))
    command = command.replace("$(hostname)", socket.gethostname())
    path = f"{Path(AI_NODE).parent}:{os.environ['PATH']}"

    def check() -> bool:
        ran = subprocess.run(
            ["/bin/sh", "-c", command], env={**os.environ, "PATH": path}, check=False, timeout=60
        )
        return ran.returncode == 0

    if after_s:
        wait_for("that it is noticed", lambda: not check(), after_s)
    return check()


# With a Docker daemon


def has_daemon() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    version = [docker, "compose", "version"]
    return all(
        subprocess.run(command, capture_output=True, check=False).returncode == 0
        for command in ([docker, "info"], version)
    )


@pytest.mark.skipif(not has_daemon(), reason="no Docker daemon here: the image is not built")
def test_the_containers_are_built_and_pass_the_examination(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compose(*arguments: str) -> str:
        command = ["docker", "compose", "--file", str(FOLDER / "compose.yaml"), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=800
        ).stdout

    monkeypatch.setenv("DATABASE_PASSWORD", "choose-one")
    monkeypatch.setenv("COMPOSE_PROJECT_NAME", "ai-node-test")
    try:
        compose("up", "--build", "--detach", "--wait")
        shown = compose(
            *("exec", "-T", "ai-node", "ai-node", "doctor", "--config", "/etc/ai-node/node.toml")
        )
        assert "FAILED" not in shown
    finally:
        compose("down", "--volumes")
