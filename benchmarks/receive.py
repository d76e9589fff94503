"""How fast are objects kept? The node beside DCMTK's storescp and Orthanc, in one run.

    .venv/bin/python benchmarks/receive.py [--objects 40] [--associations 1 4]

Each receiver gets the same generated mammograms from DCMTK's storescu, on loopback and on the
same disk. The node answers Success after fsync and commit; storescp does not fsync, Orthanc is
as it comes. Machines differ, so read the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.uid import generate_uid
from rich.console import Console
from rich.table import Table

from node import phantom

LOOPBACK = "127.0.0.1"
NODE = """
[node]
ae_title = "RECEIVER"
state_dir = "state"
min_free_mb = 0
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


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_objects(Path(folder) / "objects", options.objects)
        megabytes = sum(path.stat().st_size for path in files) / 1e6
        table = Table("receiver", "associations", "MB/s", "objects/s", "of storescp's rate")
        for associations in options.associations:
            seconds = {name: measure(name, Path(folder), files, associations) for name in RECEIVERS}
            for name, taken_s in seconds.items():
                table.add_row(
                    name,
                    str(associations),
                    f"{megabytes / taken_s:.0f}",
                    f"{len(files) / taken_s:.1f}",
                    f"{seconds['storescp'] / taken_s:.2f}",
                )
        Console().print(f"{len(files)} objects, {megabytes:.0f} MB in all", table)


def write_objects(folder: Path, count: int) -> list[Path]:
    """Write generated mammograms, each with an identity of its own."""
    folder.mkdir()
    (template,) = phantom.exam("benchmark", phantom.EXAM[:1])
    paths = []
    for number in range(count):
        uid = generate_uid(prefix=None)
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
        paths.append(folder / f"{number}.dcm")
        template.save_as(paths[-1], enforce_file_format=True)
    return paths


def measure(name: str, folder: Path, files: Sequence[Path], associations: int) -> float:
    """Return how many seconds a receiver needs for all files."""
    place = folder / f"{name}-{associations}"
    place.mkdir()
    with running(RECEIVERS[name], place) as port:
        started = time.perf_counter()
        senders = [
            subprocess.Popen(
                ["storescu", "-aet", "SENDER", "-aec", "RECEIVER", LOOPBACK, str(port)]
                + [str(path) for path in files[part::associations]]
            )
            for part in range(associations)
        ]
        failed = [sender.wait() for sender in senders if sender.wait()]
        taken_s = time.perf_counter() - started
    if failed:
        raise SystemExit(f"{name}: storescu failed")
    shutil.rmtree(place)
    return taken_s


@contextlib.contextmanager
def running(command: Sequence[str], place: Path) -> Iterator[int]:
    """Run a receiver on a free port until the block ends."""
    port, web_port = free_port(), free_port()
    (place / "node.toml").write_text(NODE.format(port=port))
    (place / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": "storage",
                "IndexDirectory": "storage",
                "DicomAet": "RECEIVER",
                "DicomPort": port,
                "HttpPort": web_port,
                "DicomModalities": {"sender": ["SENDER", LOOPBACK, 104]},
                "DicomAlwaysAllowStore": False,
            }
        )
    )
    with (place / "log").open("w") as log:
        arguments = [str(part).format(port=port) for part in command]
        process = subprocess.Popen(arguments, cwd=place, stdout=log, stderr=log)
    try:
        wait_until_it_listens(port)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def wait_until_it_listens(port: int) -> None:
    """Return as soon as a port is open."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on {port} after a minute")


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


RECEIVERS: dict[str, list[str]] = {
    "storescp": ["storescp", "-aet", "RECEIVER", "+xa", "-od", ".", "{port}"],
    "Orthanc": ["Orthanc", "orthanc.json"],
    "ai-node": [sys.executable, "-m", "node", "run", "--config", "node.toml"],
}
"""Receivers by name; DCMTK's is the measure."""

if __name__ == "__main__":
    main()
