"""How many exams an hour? A node with a full queue beside a bare loop that does the work alone.

    .venv/bin/python -m benchmarks.throughput [--exams 100] [--exams-alone 30] [--processes 1 2]

Exams of four generated mammograms of full size (4096 x 3328) are received and settled by a node
that only listens; then the same files are worked on in turns, from that very state: by a bare loop
(benchmarks/bare.py: it decodes, prepares, runs, draws, encodes and writes the same pages, with no
DICOM object, no database and nothing synced), and by a node, from the first exam that it begins to
the last object that DCMTK's storescp has. As many processes run networks in both, with one thread
of ONNX Runtime each; the node has its own beside them. Images are not scored as they come. Machines
differ, and so do moments: read the ratios. That of CPU time says the same on a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import copy
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import UID

from benchmarks import section, throughput_section
from benchmarks.bare import FULL_SIZE, PACKAGE, Bare
from benchmarks.throughput_section import BARE, NODE
from node.app import App
from node.config import Config, load_config
from node.dimse import Address, send
from node.identity import stable_uid
from node.ledger import Role
from node.manifest import load_model
from node.trial import phantom

LOOPBACK = "127.0.0.1"
AE_TITLE, MODALITY, PACS = "AINODE", "MODALITY", "PACS"
AT_ONCE = os.environ | {"TCP_NODELAY": "1"}
"""Keeps DCMTK from waiting 40 ms for more to send."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
GIVE_UP_AFTER_S = 3600
POLL_S = 0.05
CONFIG = """
[node]
ae_title = "AINODE"
state_dir = "{folder}/state"
min_free_mb = 0
[listener]
host = "127.0.0.1"
port = {port}
[[peers]]
name = "modality"
ae_title = "MODALITY"
host = "127.0.0.1"
port = 104
sends = true
results_to = ["pacs"]
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
receives = "default"
confirm = []                       # storescp answers to C-STORE alone
compares_identity = false
[[models]]
name = "breast-area"
mode = "deliver"
[completeness]
settle_s = 0.2
[inference]
processes = {processes}
threads = 1
scores_early = false
"""


@dataclass(frozen=True, slots=True)
class Work:
    """What it took to work off a queue."""

    exams: int
    wall_s: float
    cpu_s: float
    parent_mb: float
    """The most memory that the process had that hands out the work."""
    children_mb: float
    """Of the processes that run networks, the most that one had."""

    @property
    def per_minute(self) -> float:
        """Exams."""
        return 60 * self.exams / self.wall_s

    @property
    def cpu_per_exam(self) -> float:
        """Seconds."""
        return self.cpu_s / self.exams


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exams", type=int, default=100, help="in the queue")
    parser.add_argument("--exams-alone", type=int, default=30, help="where one process runs them")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is shown")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    section.add_option(parser)
    options = parser.parse_args()
    several = sorted(set(options.processes))
    worked: dict[tuple[int, str], list[Work]] = {}
    with tempfile.TemporaryDirectory() as name:
        templates = phantom.exam("throughput", technique=FULL_SIZE)
        for processes in several:
            exams = options.exams_alone if processes == 1 else options.exams
            folder = Path(name) / str(processes)
            worked |= compare(folder, templates, exams, processes, options.rounds)
    found = throughput_section.of(worked, options.rounds)
    return section.finish(found, options)


def compare(
    folder: Path, templates: Sequence[Dataset], count: int, processes: int, rounds: int
) -> dict[tuple[int, str], list[Work]]:
    """Return what the same exams took in a bare loop and in a node, in each round."""
    found = defaultdict[tuple[int, str], list[Work]](list)
    with storescp(folder / "pacs") as pacs_port:
        port = free_port()
        text = CONFIG.format(folder=folder, port=port, pacs_port=pacs_port, processes=processes)
        (folder / "node.toml").write_text(text)
        exams = receive(folder, templates, count)
        (folder / "state").rename(folder / "received")
        runs = {
            NODE: lambda: by_node(folder, count, port),
            BARE: lambda: by_bare(folder / "pages", exams, processes),
        }
        for number in range(rounds):
            as_received(folder)
            for who in sorted(runs, reverse=bool(number % 2)):
                found[processes, who].append(runs[who]())
    shutil.rmtree(folder)
    return found


def as_received(folder: Path) -> None:
    """Bring a node's state back to where all exams were received, and none was begun."""
    for name in ("state", "pages"):
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(folder / "received", folder / "state", copy_function=_linked)


def _linked(source: str, target: str) -> None:
    """Link an image, which nobody changes; copy what a node writes into, such as its ledger."""
    if source.endswith(".dcm"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


@contextlib.contextmanager
def storescp(folder: Path) -> Iterator[int]:
    """Run DCMTK's receiver, which takes every transfer syntax; yield its port."""
    folder.mkdir(parents=True)
    port = free_port()
    command = ["storescp", "-aet", PACS, "+xa", "-od", str(folder), str(port)]
    with (folder.parent / "storescp.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=AT_ONCE)
    try:
        wait_until_it_listens(port)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def receive(folder: Path, templates: Sequence[Dataset], count: int) -> list[list[Path]]:
    """Let exams come to a node that only receives; return the files of each once all are queued."""
    settings = config_of(folder)
    node = App(settings, Role.LISTENER)
    node.start()
    try:
        for number in range(count):
            paths = phantom.save(exam_like(templates, number), folder / "sent")
            outcomes = send(paths, Address(AE_TITLE, LOOPBACK, node.port), MODALITY)
            assert all(one.state == "sent" for one in outcomes), [one.words for one in outcomes]
        wait_for(settings, "SELECT count(*) FROM study_version WHERE state = 'queued'", count)
    finally:
        node.stop()
    shutil.rmtree(folder / "sent")
    files: dict[str, list[Path]] = {}
    with reading(settings) as db:
        for study_uid, path in db.execute("SELECT study_uid, path FROM instance ORDER BY path"):
            files.setdefault(study_uid, []).append(settings.store_dir / path)
    return list(files.values())


def exam_like(templates: Sequence[Dataset], number: int) -> list[Dataset]:
    """Return an exam of its own: other UIDs, and in each image another pixel of the background."""
    made = []
    for view, template in enumerate(templates):
        dataset = Dataset({element.tag: copy(element) for element in template})
        dataset.file_meta = type(template.file_meta)(template.file_meta)
        uid = stable_uid("throughput", str(number), str(view))
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        dataset.StudyInstanceUID = stable_uid("throughput", str(number))
        dataset.SeriesInstanceUID = stable_uid("throughput", str(number), "series", str(view))
        dataset.AccessionNumber = f"T{number}"
        pixels = bytearray(template.PixelData)
        # The last row is background; no two images are alike, so no score is known before.
        pixels[-2 * (number + 1)] = 1
        dataset.PixelData = bytes(pixels)
        made.append(dataset)
    return made


def by_bare(folder: Path, exams: Sequence[Sequence[Path]], processes: int) -> Work:
    """Work the exams off by plain loops, one in each process."""
    folder.mkdir()
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=begin_bare) as pool:
        list(pool.map(warm, range(processes), [processes] * processes))
        workers = list(pool._processes or ())  # their CPU time and memory are asked for
        cpu_before, begun = sum(map(cpu_s, workers)), time.perf_counter()
        places = [folder / str(number) for number in range(len(exams))]
        list(pool.map(work_bare, exams, places))
        wall_s = time.perf_counter() - begun
        used_s = sum(map(cpu_s, workers)) - cpu_before
        return Work(len(exams), wall_s, used_s, 0, max(map(peak_mb, workers)))


_bare: list[Bare] = []


def begin_bare() -> None:
    """Load the network, once in each process, and run it once as the node does."""
    _bare.append(Bare(load_model(PACKAGE.name, PACKAGE.parent)))


def warm(number: int, of: int) -> None:
    """Keep a process busy for a moment, so that the pool starts all of them."""
    time.sleep(0.2 * (of > 1) + 0.0 * number)


def work_bare(exam: Sequence[Path], place: Path) -> None:
    """Do the work of one exam."""
    place.mkdir()
    _bare[0].whole(exam, place)


def by_node(folder: Path, count: int, port: int) -> Work:
    """Work the exams off by a node in a process of its own."""
    settings = config_of(folder)
    command = [sys.executable, "-m", "node", "run", "--config", "node.toml"]
    with (folder / "node.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until_it_listens(port)
        wait_for(settings, "SELECT count(*) FROM study_version WHERE state != 'queued'", 1)
        begun, family = time.time(), family_of(process.pid)
        cpu_before = sum(map(cpu_s, family))
        wait_for(settings, "SELECT count(*) FROM dispatch WHERE state = 'finished'", count)
        used_s = sum(map(cpu_s, family)) - cpu_before
        with reading(settings) as db:
            ((ended,),) = db.execute("SELECT max(sent_at) FROM delivery")
            states = list(db.execute("SELECT state, count(*) FROM delivery GROUP BY state"))
        assert [state for state, _ in states] == ["sent"], f"all is delivered: {states}"
        parent, *children = map(peak_mb, family)
        return Work(count, ended - begun, used_s, parent, max(children))
    finally:
        process.terminate()
        process.wait(120)


def family_of(process_id: int) -> list[int]:
    """Return a process and its children."""
    tasks = Path(f"/proc/{process_id}/task").glob("*/children")
    return [process_id, *(int(child) for task in tasks for child in task.read_text().split())]


def peak_mb(process_id: int) -> float:
    """Return the most memory that a process has had."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def cpu_s(process_id: int) -> float:
    """Return the CPU time of a process so far, of its user's and of the system's."""
    fields = Path(f"/proc/{process_id}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until_it_listens(port: int) -> None:
    """Return as soon as a port is open."""
    for _ in range(1200):
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(POLL_S)
    raise SystemExit(f"nothing listens on {port} after a minute")


def config_of(folder: Path) -> Config:
    """Return the configuration of the node in a folder."""
    return load_config(folder / "node.toml")


@contextlib.contextmanager
def reading(settings: Config) -> Iterator[sqlite3.Connection]:
    """Look into the ledger without a node."""
    path = settings.database_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        yield db


def wait_for(settings: Config, query: str, least: int) -> None:
    """Return as soon as there are so many."""
    give_up_at = time.monotonic() + GIVE_UP_AFTER_S
    with reading(settings) as db:
        while time.monotonic() < give_up_at:
            if db.execute(query).fetchone()[0] >= least:
                return
            time.sleep(POLL_S)
    raise SystemExit(f"after {GIVE_UP_AFTER_S} s not {least}: {query}")


if __name__ == "__main__":
    sys.exit(main())
