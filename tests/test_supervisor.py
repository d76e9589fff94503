"""systemd hears when the node is ready, that it lives, and that it stops; nobody else does."""

from __future__ import annotations

import os
import signal
import socket
import socketserver
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbos._dbos import _get_dbos_instance
from ports import free_port

from node import supervisor
from node.app import App
from node.config import load_config
from node.supervisor import Watchdog, tell, tell_reloading

SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"

[listener]
host = "127.0.0.1"
port = {port}
"""


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind("notify")
        opened.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        yield opened


def wait_until(is_so: Callable[[], bool], within_s: float = 30) -> None:
    give_up_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def is_silent(systemd: socket.socket) -> bool:
    systemd.setblocking(False)
    try:
        systemd.recv(100)
    except BlockingIOError:
        return True
    return False


def test_a_word_reaches_systemd(systemd: socket.socket) -> None:
    tell("READY=1")
    assert systemd.recv(100) == b"READY=1"


def test_systemd_hears_from_when_on_the_configuration_is_read_anew(systemd: socket.socket) -> None:
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    tell_reloading()
    first, second = systemd.recv(100).decode("ascii").split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) >= before_us


def test_a_socket_without_a_file_is_reached_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"ai-node-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        tell("READY=1")
        assert opened.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["nowhere", "/" + "x" * 200, "@ai-node-nobody"])
def test_a_socket_that_leads_nowhere_is_said_once_and_harms_nobody(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    supervisor._complain.cache_clear()
    watchdog = Watchdog()
    for _ in range(3):
        assert not tell("READY=1")
        watchdog.feed()
    assert len(caplog.records) == 1
    assert "systemd does not hear us" in caplog.text


def test_a_supervisor_that_does_not_listen_is_not_waited_for(systemd: socket.socket) -> None:
    said = [tell("READY=1") for _ in range(2000)]
    assert said[0] and not said[-1]


def test_without_systemd_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    tell("READY=1")
    Watchdog().feed()


def test_the_watchdog_is_fed_twice_in_its_time_and_not_more(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    watchdog = Watchdog()
    for _ in range(2):
        watchdog.feed()
    assert systemd.recv(100) == b"WATCHDOG=1"
    assert is_silent(systemd)
    time.sleep(2.1)
    watchdog.feed()
    assert systemd.recv(100) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    "environment", [{}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}], ids=["none", "of another"]
)
def test_a_watchdog_that_is_not_ours_is_not_fed(
    environment: dict[str, str], systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Watchdog().feed()
    assert is_silent(systemd)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[App]:
    (tmp_path / "node.toml").write_text(SETTINGS.format(port=free_port()))
    started = App(load_config(tmp_path / "node.toml"))
    started.start()
    yield started
    started.stop()


@pytest.mark.slow
def test_the_watchdog_is_not_fed_for_a_node_whose_listener_has_died(
    node: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert node.is_alive
    server = node._listener._server
    assert server is not None
    socketserver.BaseServer.shutdown(server)  # its loop ends, and nobody has asked for it
    wait_until(lambda: not node.is_alive)
    node._beat()
    assert node.failed.is_set()
    assert "The listener has died" in caplog.text


@pytest.mark.slow
def test_the_watchdog_is_not_fed_for_a_node_whose_queue_has_died(node: App) -> None:
    assert node.is_alive
    for stop in _get_dbos_instance().background_thread_stop_events:
        stop.set()
    wait_until(lambda: not node.is_alive)


@pytest.mark.slow
def test_a_node_works_on_with_a_supervisor_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(SETTINGS.format(port=free_port()))
    with subprocess.Popen(
        [sys.executable, "-m", "node", "run"],
        cwd=tmp_path,
        env=os.environ | {"NOTIFY_SOCKET": "nowhere", "WATCHDOG_USEC": "500000"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "systemd does not hear us" in line:
                break
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
    assert process.returncode == 0, said
    assert "Stopped" in said


@pytest.mark.slow
def test_a_node_says_that_it_is_ready_that_it_lives_and_that_it_stops(
    systemd: socket.socket, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "node.toml").write_text(SETTINGS.format(port=port))
    with subprocess.Popen(
        [sys.executable, "-m", "node", "run"],
        env=os.environ | {"WATCHDOG_USEC": "500000"},
        stderr=subprocess.DEVNULL,
    ) as process:
        assert systemd.recv(100) == b"READY=1"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        for _ in range(2):
            assert systemd.recv(100) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        said = b"WATCHDOG=1"
        while said == b"WATCHDOG=1":
            said = systemd.recv(100)
        assert said == b"STOPPING=1"
    assert process.returncode == 0
