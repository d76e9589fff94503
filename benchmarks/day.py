"""A day in five minutes: thirty exams, a PACS that goes away, an urgent case, a merged patient.

    .venv/bin/python benchmarks/day.py [--keep FOLDER]

A real node in a process of its own, with a PACS (C-STORE), a reading list (HL7 over MLLP, read by
another's library) and somebody who is told of alarms (a signed webhook, checked by another's
library), all on loopback. The story is printed as it happens, then what it came to, and what was
expected of it: the exit code is 0 only if all of that is so. The images are generated and the
triage model is the demonstration's, which finds a bright disc and nothing else. Times are short,
so that a day takes minutes: an urgent result is late after 20 s, a destination fails after 15 s.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hl7
import hl7.mllp
from pydicom import dcmread
from rich.console import Console
from rich.table import Table
from standardwebhooks.webhooks import Webhook

from node.dimse import Address, send
from node.trial import phantom
from node.trial.disc import draw_disc
from node.trial.exams import DISC
from node.trial.pacs import AE_TITLE, Pacs
from node.trial.phantom import Patient, Technique

NODE_AE = "DAY_NODE"
SENDERS = ("mammography-1", "mammography-2", "unit-on-wheels")
MORNING, OUTAGE, BURST = 8, 6, 16
"""Exams of each part of the day; the urgent one is in the middle of the burst."""
URGENT = MORNING + OUTAGE + BURST // 2
MERGED = 2
"""Whose patient is found to be another's, once all is quiet."""
SMALL = Technique(rows=664, columns=512, spacing_mm=0.36)
"""Quickly made: what is shown is when things happen."""
TO_BURST_AT_ONCE = 4
"""Associations."""
PATIENCE_S = 150.0
"""For anything that has to happen."""
URGENT_WITHIN_S = 20.0
"""After which an urgent result is late here."""
FAILING_S = 15.0

NODE = """
[node]
ae_title = "{node_ae}"
state_dir = "state"
min_free_mb = 128
[listener]
host = "127.0.0.1"
port = {port}
{peers}
[[peers]]
name = "pacs"
ae_title = "{pacs_ae}"
host = "127.0.0.1"
port = {pacs_port}
receives = "default"
confirm = []
timeout_s = 10
[[destinations]]
kind = "hl7"
name = "ris"
host = "127.0.0.1"
port = {ris_port}
models = ["planted-disc"]
assigning_authority = "HOSPITAL"
[[models]]
name = "planted-disc"
mode = "deliver"
[[models]]
name = "breast-area"
mode = "deliver"
[triage]
demonstration_may_rank = true
[completeness]
settle_s = 1
quiet_s = 20
[delivery]
retry_first_s = 600
[alarms]
urgent_within_s = {urgent_within_s}
failing_minutes = {failing_minutes}
[alarms.webhook]
url = "http://127.0.0.1:{alarm_port}/"
secret = "{secret}"
"""
SENDER = """
[[peers]]
name = "{name}"
ae_title = "{ae}"
host = "127.0.0.1"
port = 104
sends = true
results_to = ["pacs"]
"""


@dataclass(frozen=True, slots=True)
class Exam:
    """One of the day's."""

    number: int
    sender: str
    study_uid: str
    folder: Path
    is_urgent: bool = False

    @property
    def name(self) -> str:
        """What the story calls it."""
        return f"exam {self.number + 1}"


@dataclass(slots=True)
class Told:
    """What a receiver was told, with when."""

    at: float
    what: Any


@dataclass
class Receiver:
    """What came, to be looked at from any thread."""

    came: list[Told] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def keep(self, what: Any) -> None:
        """Keep what came, and wake who waits for it."""
        with self.news:
            self.came.append(Told(time.time(), what))
            self.news.notify_all()

    def wait_for(self, is_it: Callable[[Any], bool], what: str) -> Told:
        """Return the first that is it; end the day if it does not come."""
        deadline = time.monotonic() + PATIENCE_S
        with self.news:
            while True:
                for told in self.came:
                    if is_it(told.what):
                        return told
                if not self.news.wait(max(0.0, deadline - time.monotonic())):
                    raise SystemExit(f"waited {PATIENCE_S:.0f} s for {what}")


class Story:
    """Prints what happens, by the clock."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.began_at = time.time()
        self._lock = threading.Lock()

    def tell(self, words: str, at: float | None = None) -> None:
        """Print a line."""
        passed_s = (time.time() if at is None else at) - self.began_at
        with self._lock:
            clock = f"{int(passed_s // 60)}:{passed_s % 60:04.1f}"
            self.console.print(f"{clock:>7}  {words}", soft_wrap=True, markup=False)


# The receivers


@contextlib.contextmanager
def reading_list(port: int, story: Story) -> Iterator[Receiver]:
    """Receive HL7 messages as a RIS would, by another's library, and acknowledge each."""
    receiver = Receiver()
    loop = asyncio.new_event_loop()
    is_open = threading.Event()

    async def talk(reader: hl7.mllp.HL7StreamReader, writer: hl7.mllp.HL7StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                message = await reader.readmessage()
                receiver.keep(message)
                story.tell(f"RIS    was told: {in_words(message)}")
                writer.writemessage(message.create_ack())
                await writer.drain()

    async def serve() -> None:
        server = await hl7.mllp.start_hl7_server(talk, "127.0.0.1", port, encoding="utf-8")
        async with server:
            is_open.set()
            await server.serve_forever()

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError, RuntimeError):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    is_open.wait()
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def in_words(message: hl7.Message) -> str:
    """Return what a message says, in a line."""
    observations = {str(obx[3]).split("^")[0]: str(obx[5]) for obx in message.segments("OBX")}
    level = next(iter(observations.values()), "")
    status = message.segment("OBX")[11]
    patient = str(message.segment("PID")[3]).split("^")[0]
    number = str(message.segment("OBR")[2]) or str(message.segment("OBR")[3])
    return f"{level} ({status}) of patient {patient}, order {number}, MSH-10 {message['MSH.F10']}"


@contextlib.contextmanager
def somebody(port: int, secret: str, story: Story) -> Iterator[Receiver]:
    """Be told of alarms, by a webhook whose signature another's library checks."""
    receiver, reader = Receiver(), Webhook(secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told = reader.verify(body, {key.lower(): value for key, value in self.headers.items()})
            said = told["data"] | {"event": told["type"].removeprefix("alarm.")}
            receiver.keep(said)
            story.tell(f"ALARM  {said['event']}: {said['rule']}: {said['words']}")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


# The day


def main() -> None:
    """Play the day; exit 0 if everything was as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="leave configuration, log and objects there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        faults = play(folder, Story())
    raise SystemExit("\n".join(faults) or 0)


def play(folder: Path, story: Story) -> list[str]:
    """Play the day in a folder; return what was not as expected."""
    ports = free_ports(4)
    port, pacs_port, ris_port, alarm_port = ports
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    write_configuration(folder, ports, secret)
    story.tell(f"thirty exams are taken at {', '.join(SENDERS)}")
    exams = take_exams(folder / "exams")
    story.began_at = time.time()
    with (
        reading_list(ris_port, story) as ris,
        somebody(alarm_port, secret, story) as told,
        node(folder, port, story),
    ):
        day = Day(folder, Address(NODE_AE, "127.0.0.1", port), exams, story, ris, told)
        with Pacs(folder / "pacs-morning", pacs_port) as pacs:
            morning(day, pacs)
        outage(day)
        with Pacs(folder / "pacs", pacs_port) as pacs:
            back_again(day, pacs)
            burst(day, pacs)
            merged(day)
        return conclude(day, pacs)


@dataclass(frozen=True, slots=True)
class Day:
    """What every part of the day needs."""

    folder: Path
    address: Address
    exams: Sequence[Exam]
    story: Story
    ris: Receiver
    told: Receiver
    sent_at: dict[int, float] = field(default_factory=dict)
    """When the last image of each exam had been sent."""
    kept_at: dict[int, float] = field(default_factory=dict)
    """When the PACS had its first result of each."""

    def send(self, exam: Exam) -> None:
        """Send an exam as its sender would."""
        paths = sorted(exam.folder.glob("*.dcm"))
        send(paths, self.address, ae_of(exam.sender), lambda outcome: None)
        self.sent_at[exam.number] = time.time()

    def wait_for_results(self, pacs: Pacs, exams: Sequence[Exam], what: str) -> None:
        """Wait until the PACS has a report of each."""
        deadline = time.monotonic() + PATIENCE_S
        wanted = {exam.study_uid: exam for exam in exams}
        while wanted:
            for one in sorted(pacs.kept.values(), key=lambda one: one.stored_at):
                if (exam := wanted.pop(one.study_uid, None)) is not None:
                    self.kept_at.setdefault(exam.number, one.stored_at)
            if time.monotonic() > deadline:
                names = ", ".join(exam.name for exam in wanted.values())
                raise SystemExit(f"waited {PATIENCE_S:.0f} s for {what}: {names}")
            time.sleep(0.1)

    def wait_until_done(self, exams: Sequence[Exam]) -> None:
        """Wait until every result of these has been taken."""
        deadline = time.monotonic() + PATIENCE_S
        wanted = {exam.study_uid for exam in exams}
        while time.monotonic() < deadline:
            listed = command(self.folder, "studies", "--json")
            if wanted <= {one["study_uid"] for one in listed if one["state"] == "done"}:
                return
        raise SystemExit(f"waited {PATIENCE_S:.0f} s until all results were taken")


def morning(day: Day, pacs: Pacs) -> None:
    """Begin the day: one exam after the other."""
    exams = day.exams[:MORNING]
    for exam in exams:
        day.send(exam)
    day.wait_for_results(pacs, exams, "the morning's results")
    day.wait_until_done(exams)
    day.story.tell(f"PACS   has the results of the {len(exams)} exams of the morning")
    day.story.tell("PACS   goes away")


def outage(day: Day) -> None:
    """Go on while the PACS is away, until somebody is told."""
    for exam in day.exams[MORNING : MORNING + OUTAGE]:
        day.send(exam)
    day.told.wait_for(
        lambda said: said["rule"] == "delivery-failing" and said["event"] == "begun",
        "the alarm of a PACS that is away",
    )


def back_again(day: Day, pacs: Pacs) -> None:
    """See that what waited goes out by itself, and that this is told, too."""
    day.story.tell("PACS   is back")
    back_at = time.time()
    day.wait_for_results(pacs, day.exams[MORNING : MORNING + OUTAGE], "what waited for the PACS")
    day.story.tell(f"PACS   has all {OUTAGE} that waited, {time.time() - back_at:.0f} s later")
    day.told.wait_for(
        lambda said: said["rule"] == "delivery-failing" and said["event"] == "ended",
        "the end of that alarm",
    )


def burst(day: Day, pacs: Pacs) -> None:
    """Send many at once, the urgent one in the middle."""
    exams = day.exams[MORNING + OUTAGE :]
    day.story.tell(f"{len(exams)} exams come at once; {day.exams[URGENT].name} shows a disc")
    with ThreadPoolExecutor(TO_BURST_AT_ONCE) as modalities:
        list(modalities.map(day.send, exams))
    day.wait_for_results(pacs, [day.exams[URGENT]], "the urgent result")
    listed = command(day.folder, "studies", "--json")
    place = [one["study_uid"] for one in listed].index(day.exams[URGENT].study_uid) + 1
    day.story.tell(f"{day.exams[URGENT].name} stands at place {place} of the reading list")
    if place != 1:
        raise SystemExit("the urgent exam should be the first")
    day.wait_for_results(pacs, exams, "the results of the burst")


def merged(day: Day) -> None:
    """Send an exam again as another patient's, as an archive does after a merge."""
    exam = day.exams[MERGED]
    day.story.tell(f"{exam.name} is found to be another patient's, and comes again corrected")
    for path in sorted(exam.folder.glob("*.dcm")):
        corrected = dcmread(path)
        corrected.PatientID = "MERGED-1"
        corrected.PatientName = "MERGED^PATIENT"
        corrected.save_as(path)
    day.send(exam)
    day.ris.wait_for(
        lambda message: str(message.segment("OBX")[11]) == "W", "what was told of the wrong patient"
    )
    day.ris.wait_for(
        lambda message: str(message.segment("PID")[3]).startswith("MERGED-1"),
        "what is told of the right one",
    )


def conclude(day: Day, pacs: Pacs) -> list[str]:
    """Print what the day came to; return what was not as expected."""
    levels = [told for told in day.ris.came if status_of(told.what) != "W"]
    told_at = {study_of(told.what): told.at for told in reversed(levels)}  # the first of each
    to_pacs = {n: at - day.sent_at[n] for n, at in day.kept_at.items() if n != MERGED}
    to_ris = {
        exam.number: told_at[exam.study_uid] - day.sent_at[exam.number]
        for exam in day.exams
        if exam.study_uid in told_at and exam.number != MERGED
    }
    in_burst = [exam.number for exam in day.exams[MORNING + OUTAGE :] if not exam.is_urgent]
    table = Table("seconds after the last image", "urgent", "routine of the burst, median", "last")
    for name, taken in (("at the reading list (HL7)", to_ris), ("at the PACS", to_pacs)):
        routine = [taken[number] for number in in_burst if number in taken]
        figures = (taken[URGENT], statistics.median(routine), max(routine))
        table.add_row(name, *(f"{seconds:.1f}" for seconds in figures))
    day.story.console.print(table)
    begun = [told.what["rule"] for told in day.told.came if told.what["event"] == "begun"]
    of_merged = [
        told.what for told in day.ris.came if study_of(told.what) == day.exams[MERGED].study_uid
    ]
    said = [(status_of(one), patient_of(one)) for one in of_merged]
    former = f"DAY-{MERGED + 1:04}"
    ids = [str(told.what["MSH.F10"]) for told in day.ris.came]
    expected: Mapping[str, bool] = {
        "all thirty have a report at the PACS": len(day.kept_at) == len(day.exams),
        "the reading list was told of all thirty": len(told_at) == len(day.exams),
        "of the burst the urgent one was at the PACS first": all(
            day.kept_at[URGENT] < day.kept_at[number] for number in in_burst
        ),
        "the reading list knew of it before that": told_at[day.exams[URGENT].study_uid]
        < day.kept_at[URGENT],
        "one alarm was raised, that the PACS was away": begun == ["delivery-failing"],
        "the merged patient's level was taken back, then told anew": said
        == [("R", former), ("W", former), ("R", "MERGED-1")],
        "no control ID stands for two messages": len(set(ids)) == len(ids),
    }
    for words, is_so in expected.items():
        day.story.console.print(f"{'yes' if is_so else 'NO':<4} {words}")
    return [f"not as expected: {words}" for words, is_so in expected.items() if not is_so]


def status_of(message: hl7.Message) -> str:
    """Return OBX-11."""
    return str(message.segment("OBX")[11])


def patient_of(message: hl7.Message) -> str:
    """Return the ID in PID-3."""
    return str(message.segment("PID")[3]).split("^")[0]


def study_of(message: hl7.Message) -> str:
    """Return the Study Instance UID among the observations."""
    found = [str(obx[5]) for obx in message.segments("OBX") if str(obx[3]).startswith("113014")]
    return found[0] if found else ""


# The node and its surroundings


def ae_of(sender: str) -> str:
    """Return a sender's AE title."""
    return sender.upper().replace("-", "_")[:16]


def write_configuration(folder: Path, ports: Sequence[int], secret: str) -> None:
    """Write node.toml."""
    port, pacs_port, ris_port, alarm_port = ports
    text = NODE.format(
        node_ae=NODE_AE,
        port=port,
        peers="".join(SENDER.format(name=name, ae=ae_of(name)) for name in SENDERS),
        pacs_ae=AE_TITLE,
        pacs_port=pacs_port,
        ris_port=ris_port,
        alarm_port=alarm_port,
        secret=secret,
        urgent_within_s=URGENT_WITHIN_S,
        failing_minutes=FAILING_S / 60,
    )
    (folder / "node.toml").write_text(text, "utf-8")


def take_exams(folder: Path) -> list[Exam]:
    """Generate the day's exams, one of them with a disc."""
    run = secrets.token_hex(4)
    total = MORNING + OUTAGE + BURST
    exams = []
    for number in range(total):
        patient = Patient(f"DAY-{number + 1:04}", f"DAY^EXAM {number + 1}", "19600101")
        images = phantom.exam(f"{run} {number}", patient=patient, technique=SMALL)
        if number == URGENT:
            for image, view in zip(images, phantom.EXAM, strict=True):
                draw_disc(image, view, DISC)
        place = folder / f"{number + 1:02}"
        phantom.save(images, place)
        uid = str(images[0].StudyInstanceUID)
        exams.append(Exam(number, SENDERS[number % 3], uid, place, number == URGENT))
    return exams


@contextlib.contextmanager
def node(folder: Path, port: int, story: Story) -> Iterator[None]:
    """Run a node until the end of the day."""
    words = [sys.executable, "-m", "node", "run", "--config", "node.toml"]
    with (folder / "node.log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, env=os.environ)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the node does not run: {folder / 'node.log'} says why")
                time.sleep(0.05)
            story.tell("the node listens")
            yield
        finally:
            process.terminate()
            process.wait(60)


def answers(port: int) -> bool:
    """Return whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def command(folder: Path, *words: str) -> Any:
    """Return what a command prints as JSON."""
    ran = subprocess.run(
        [sys.executable, "-m", "node", *words, "--config", "node.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(ran.stdout)


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on."""
    with contextlib.ExitStack() as open_ones:
        probes = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


if __name__ == "__main__":
    main()
