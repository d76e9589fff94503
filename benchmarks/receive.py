"""How fast are objects kept? The node beside DCMTK's storescp and Orthanc, in one run.

    .venv/bin/python benchmarks/receive.py [--objects 40] [--associations 1 4]
    .venv/bin/python benchmarks/receive.py --one-study 300 4800

Each receiver gets the same generated mammograms from DCMTK's storescu, on loopback and on the
same disk. The node answers Success after fsync and commit; storescp does not fsync, Orthanc is
as it comes. Machines differ, so read the ratio, not the seconds.

With `--one-study`, studies of that many small MR images come instead, each over one association,
and the table shows what one object costs: that must not grow with its study. The node has a model
then, which reads none of them, so that all it does beside receiving is done, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from rich.console import Console
from rich.table import Table

from node.trial import phantom

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
MODEL = """
[[models]]
name = "breast-area"
mode = "shadow"
"""
AT_ONCE = os.environ | {"TCP_NODELAY": "1"}
"""Keeps DCMTK, in sender and receivers, from waiting 40 ms for more to send, twice an object."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a receiver needed for all files."""

    wall_s: float
    cpu_s: float
    """Of its own process, without those it started."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--one-study", type=int, nargs="+", help="sizes of studies, in objects")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.one_study:
            compare_sizes(folder, options.one_study)
        else:
            compare_rates(folder, options.objects, options.associations)


def compare_rates(folder: Path, objects: int, several: Sequence[int]) -> None:
    """Measure and print how fast mammograms are kept."""
    files = write_objects(folder / "objects", objects)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    table = Table("receiver", "associations", "MB/s", "objects/s", "of storescp's rate")
    for associations in several:
        taken = {
            name: measure(name, folder / f"{name}-{associations}", files, associations)
            for name in RECEIVERS
        }
        for name, of_it in taken.items():
            table.add_row(
                name,
                str(associations),
                f"{megabytes / of_it.wall_s:.0f}",
                f"{len(files) / of_it.wall_s:.1f}",
                f"{taken['storescp'].wall_s / of_it.wall_s:.2f}",
            )
    Console().print(f"{len(files)} objects, {megabytes:.0f} MB in all", table)


def compare_sizes(folder: Path, sizes: Sequence[int]) -> None:
    """Measure and print what one object of a small and of a large study costs."""
    table = Table("receiver", "objects of the study", "CPU ms per object", "wall ms per object")
    for size in sizes:
        files = write_series(folder / f"objects-{size}", size)
        for name in RECEIVERS:
            taken = measure(name, folder / f"{name}-{size}", files, 1, MODEL)
            per_object = (1000 * seconds / size for seconds in (taken.cpu_s, taken.wall_s))
            table.add_row(name, str(size), *(f"{ms:.1f}" for ms in per_object))
    Console().print(table)


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


def write_series(folder: Path, count: int) -> list[Path]:
    """Write a study of small MR images."""
    folder.mkdir()
    template = Dataset()
    template.file_meta = FileMetaDataset()
    template.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    template.file_meta.MediaStorageSOPClassUID = template.SOPClassUID = MRImageStorage
    template.StudyInstanceUID = generate_uid(prefix=None)
    template.SeriesInstanceUID = generate_uid(prefix=None)
    template.PatientID, template.PatientName, template.AccessionNumber = "B1", "Benchmark", "A1"
    template.StudyDate, template.Modality = f"{datetime.now(UTC):%Y%m%d}", "MR"
    template.SamplesPerPixel, template.PhotometricInterpretation = 1, "MONOCHROME2"
    template.Rows = template.Columns = 64
    template.BitsAllocated, template.BitsStored, template.HighBit = 16, 12, 11
    template.PixelRepresentation, template.PixelData = 0, bytes(2 * 64 * 64)
    paths = []
    for number in range(count):
        uid = generate_uid(prefix=None)
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
        template.InstanceNumber = number + 1
        paths.append(folder / f"{number}.dcm")
        template.save_as(paths[-1], enforce_file_format=True)
    return paths


def measure(
    name: str, place: Path, files: Sequence[Path], associations: int, settings: str = ""
) -> Taken:
    """Return what a receiver needs for all files; settings are the node's, beside the usual."""
    place.mkdir()
    with running(RECEIVERS[name], place, settings) as (port, process_id):
        before_s, started = cpu_s(process_id), time.perf_counter()
        senders = [
            subprocess.Popen(
                ["storescu", "-aet", "SENDER", "-aec", "RECEIVER", LOOPBACK, str(port)]
                + [str(path) for path in files[part::associations]],
                env=AT_ONCE,
            )
            for part in range(associations)
        ]
        failed = [sender.wait() for sender in senders if sender.wait()]
        taken = Taken(time.perf_counter() - started, cpu_s(process_id) - before_s)
    if failed:
        raise SystemExit(f"{name}: storescu failed")
    shutil.rmtree(place)
    return taken


def cpu_s(process_id: int) -> float:
    """Return the CPU time of a process so far, of its user's and of the system's."""
    fields = Path(f"/proc/{process_id}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


@contextlib.contextmanager
def running(command: Sequence[str], place: Path, settings: str) -> Iterator[tuple[int, int]]:
    """Run a receiver on a free port until the block ends; yield the port and the process."""
    port, web_port = free_port(), free_port()
    (place / "node.toml").write_text(NODE.format(port=port) + settings)
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
        process = subprocess.Popen(arguments, cwd=place, stdout=log, stderr=log, env=AT_ONCE)
    try:
        wait_until_it_listens(port)
        yield port, process.pid
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
