"""Programs that receive objects, each started in a folder of its own; and what they take.

Orthanc is as its package installs it, with a peer that may send. DCMTK's storescp neither syncs nor
keeps an index. The plain receiver (plain_receiver.py) syncs each file and keeps no index.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"
SENDER, RECEIVER = "SENDER", "RECEIVER"
PDU = 131_072
PATIENCE_S = 300
"""For what starts or answers on a machine that is busy."""
AT_ONCE = os.environ | {"TCP_NODELAY": "1"}
"""Keeps DCMTK, in sender and receivers, from waiting 40 ms for more to send, twice an object."""

NODE = """
[node]
ae_title = "RECEIVER"
state_dir = "state"
min_free_mb = 0
{database}
[listener]
host = "127.0.0.1"
port = {port}
[[peers]]
name = "sender"
ae_title = "SENDER"
host = "127.0.0.1"
port = 104
sends = true
"""
MODEL = """
[[models]]
name = "breast-area"
mode = "shadow"
"""
"""It reads none of the slices, so that all a node does beside receiving is done."""

ORTHANC, STORESCP, PLAIN = "Orthanc", "DCMTK storescp", "pynetdicom, one fsync"
ON_SQLITE, ON_POSTGRESQL = "ai-node", "ai-node, PostgreSQL"
_COMMANDS = {
    ORTHANC: ("Orthanc", "orthanc.json"),
    STORESCP: ("storescp", "--fork", "-aet", RECEIVER, "-pdu", str(PDU), "+xa", "{port}"),
    PLAIN: (sys.executable, str(Path(__file__).with_name("plain_receiver.py")), "{port}"),
    ON_SQLITE: (sys.executable, "-m", "node", "run", "--config", "node.toml"),
    ON_POSTGRESQL: (sys.executable, "-m", "node", "run", "--config", "node.toml"),
}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_OWN, _WITH_ENDED = slice(11, 13), slice(11, 15)
"""Columns of /proc/PID/stat, after the name."""
_REST_S = 0.3
_LOOKS_EACH_S = 0.02


@dataclass(frozen=True, slots=True)
class Running:
    """A receiver that listens."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """Return the CPU time so far, user's and system's, with children that receive.

        A node's do not: they are for what comes after.
        """
        if self.name != STORESCP:
            return _cpu_s(self.process.pid, _OWN)
        each = (_cpu_s(one, _OWN) for one in _children(self.process.pid))
        return _cpu_s(self.process.pid, _WITH_ENDED) + sum(each)

    def wait_until_it_rests(self) -> None:
        """Wait until it does next to nothing, or for 15 s: some listen before all has started."""
        rests = 0
        for _ in range(round(15 / _REST_S)):
            before_s = self.cpu_s()
            time.sleep(_REST_S)
            rests = rests + 1 if self.cpu_s() - before_s < _REST_S / 10 else 0
            if rests == 2:
                return


@contextlib.contextmanager
def running(name: str, place: Path, settings: str = "", database: str = "") -> Iterator[Running]:
    """Run a receiver in a new folder until the block ends; settings and database are a node's."""
    place.mkdir()
    port = free_port()
    database = f'database = "{database}"' if database else ""
    (place / "node.toml").write_text(NODE.format(port=port, database=database) + settings)
    (place / "orthanc.json").write_text(json.dumps(_orthanc(port)))
    with (place / "log").open("w") as log:
        command = [part.format(port=port) for part in _COMMANDS[name]]
        process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, env=AT_ONCE)
    try:
        if not _listens(port, process):
            said = (place / "log").read_text("utf-8", "replace")[-1000:]
            raise SystemExit(f"{name} does not listen on port {port}; it says:\n{said}")
        yield Running(name, port, process)
    finally:
        process.terminate()
        process.wait(60)


def _orthanc(port: int) -> dict[str, object]:
    """Return what must be said; all else is as Orthanc has it."""
    return {
        "StorageDirectory": "storage",
        "IndexDirectory": "storage",
        "DicomAet": RECEIVER,
        "DicomPort": port,
        "HttpPort": free_port(),
        "DicomModalities": {"sender": [SENDER, LOOPBACK, 104]},
        "DicomAlwaysAllowStore": False,
    }


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until it does; return False if it has ended, or has not begun within minutes."""
    give_up_at = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < give_up_at:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return True
        time.sleep(0.1)
    return False


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Peak:
    """The most memory that any process of a receiver has had."""

    mb: float = 0


@contextlib.contextmanager
def peak_of(receiver: Running) -> Iterator[Peak]:
    """Look at it until the block ends, and at its children: some are gone then."""
    peak, is_over = Peak(), threading.Event()
    looking = threading.Thread(target=_look, args=(receiver.process.pid, peak, is_over))
    looking.start()
    try:
        yield peak
    finally:
        is_over.set()
        looking.join()


def _look(process_id: int, peak: Peak, is_over: threading.Event) -> None:
    while not is_over.wait(_LOOKS_EACH_S):
        for one in (process_id, *_children(process_id)):
            with contextlib.suppress(OSError):  # it has ended
                peak.mb = max(peak.mb, _peak_mb(one))


def _children(process_id: int) -> list[int]:
    """Return the children of a process, those it has not yet missed among them."""
    told = Path(f"/proc/{process_id}/task/{process_id}/children").read_text("ascii")
    return [int(one) for one in told.split()]


def _cpu_s(process_id: int, columns: slice) -> float:
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text("ascii").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return 0  # a child that its parent has missed meanwhile
    return sum(int(ticks) for ticks in stat.split()[columns]) / _TICKS_PER_S


def _peak_mb(process_id: int) -> float:
    for line in Path(f"/proc/{process_id}/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0
