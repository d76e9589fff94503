"""Real programs on loopback: the node, Orthanc and dcmtk, each in a folder of its own.

A program that is not installed fails the test and names its Debian package; nothing is skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import pytest
from ports import free_port
from pydicom import Dataset, dcmread

from node import config

T = TypeVar("T")

PACKAGES = {
    "Orthanc": "orthanc",
    "dcmcjpeg": "dcmtk",
    "dcmcjpls": "dcmtk",
    "dcmconv": "dcmtk",
    "dcmcrle": "dcmtk",
    "dcmdjpeg": "dcmtk",
    "dcmdjpls": "dcmtk",
    "dcmdrle": "dcmtk",
    "dcmdump": "dcmtk",
    "dcml2pnm": "dcmtk",
    "dcmodify": "dcmtk",
    "dcmqrscp": "dcmtk",
    "dsr2html": "dcmtk",
    "dsrdump": "dcmtk",
    "echoscu": "dcmtk",
    "ffmpeg": "ffmpeg",
    "journalctl": "systemd",
    "promtool": "prometheus",
    "storescp": "dcmtk",
    "storescu": "dcmtk",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "systemd-journald": "systemd",
    "useradd": "passwd",
    "userdel": "passwd",
}
"""Which Debian package brings a program."""

AI_NODE = str(Path(sys.executable).parent / "ai-node")
NODE_AE = "AINODE"
MODALITY_AE = "MODALITY"
LOOPBACK = "127.0.0.1"


_PATH = "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin:/usr/lib/systemd:/lib/systemd"


def program(name: str) -> str:
    """Return the full path of a program, or fail and say how to get it."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        pytest.fail(f"{name} is not installed: apt-get install {PACKAGES[name]}", pytrace=False)
    return path


def wait_for(what: str, look: Callable[[], T | None], within_s: float = 600) -> T:
    """Look again and again until there is something, and return it."""
    end = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > end:
            pytest.fail(f"waited {within_s:.0f} s in vain for {what}")
        time.sleep(0.05)
    return found


def answers(port: int) -> bool:
    """Say whether somebody listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def dcmtk(tool: str, *arguments: str | Path, ok: bool = True) -> str:
    """Run one of dcmtk's tools and return what it printed; `ok`: whether it must succeed."""
    ran = subprocess.run(
        [program(tool), *map(str, arguments)], capture_output=True, check=False, timeout=120
    )
    text = (ran.stdout + ran.stderr).decode("utf-8", "replace")
    assert (ran.returncode == 0) == ok, f"{tool} exited {ran.returncode}:\n{text}"
    return text


def data_set(path: Path) -> bytes:
    """Return what a Part 10 file holds after its file meta information (PS3.10 7.1)."""
    content = path.read_bytes()
    assert content[128:132] == b"DICM", f"{path} is not a Part 10 file"
    return content[144 + int.from_bytes(content[140:144], "little") :]


def objects_in(folder: Path) -> dict[str, Path]:
    """Return every DICOM object at or below a folder, by SOP Instance UID."""
    found = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # it is moved or removed meanwhile
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                found[str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)] = path
    return found


class Process(Protocol):
    """What a daemon needs of a subprocess.Popen."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


class Daemon:
    """A program that runs beside the test, its output in a file."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log = folder / "output.log"
        self._command = command
        self._process: Process | None = None
        self._log_from = 0

    @property
    def pid(self) -> int:
        """The process id while it runs."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start it; does not wait."""
        with self.log.open("ab") as log:
            self._log_from = log.tell()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def says(self) -> str:
        """Return what it printed since it was last started."""
        return self.log.read_bytes()[self._log_from :].decode("utf-8", "replace")

    def wait_until(self, what: str, is_so: Callable[[], bool], within_s: float = 600) -> None:
        """Wait until something is so, or fail at once if the program ends before."""

        def look() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                pytest.fail(f"{self._command[0]} ended before {what}:\n{self.says()[-4000:]}")
            return is_so()

        wait_for(what, look, within_s)

    def stop(self, within_s: float = 120) -> int:
        """End it with SIGTERM and return its exit status; 0 if it was not running."""
        return self._end(signal.SIGTERM, within_s)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL, 30)

    def freeze(self) -> None:
        """Let it stand still, as a virtual machine that is moved does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def has_ended(self) -> bool:
        """Say whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def _end(self, how: signal.Signals, within_s: float) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(
                f"{self._command[0]} did not end in {within_s:.0f} s:\n{self.says()[-4000:]}"
            )


class StoreScp(Daemon):
    """dcmtk's storescp as an archive; an object shows in `received` once it is whole.

    `takes`: its option that says in which transfer syntaxes; "+xa" in all.
    """

    def __init__(
        self, folder: Path, ae_title: str, *options: str, port: int = 0, takes: str = "+xa"
    ) -> None:
        self.port = port or free_port()
        self.ae_title = ae_title
        self.received = folder / "received"
        incoming = folder / "incoming"
        for place in (self.received, incoming):
            place.mkdir(parents=True, exist_ok=True)
        keep = f"mv #p/#f {self.received}/#f"
        command = [program("storescp"), "-v", "--fork", "-aet", ae_title, "+B", takes, "-dhl"]
        command += ["-od", str(incoming), "-xcr", keep, *options, str(self.port)]
        super().__init__(folder, command)

    def start(self) -> None:
        """Start it and wait until it listens."""
        # What a predecessor has forked to serve an association may hold the port a moment longer.
        wait_for("its port to be free", lambda: not answers(self.port))
        super().start()
        self.wait_until("it listens", lambda: answers(self.port))

    def objects(self) -> list[Dataset]:
        """Return what it was sent."""
        return [dcmread(path) for path in sorted(self.received.iterdir())]

    def wait_for(self, count: int, within_s: float = 600) -> list[Dataset]:
        """Wait until it holds so many objects and return them."""
        self.wait_until(
            f"{self.ae_title} holds {count} objects (it has {len(list(self.received.iterdir()))})",
            lambda: len(list(self.received.iterdir())) >= count,
            within_s,
        )
        return self.objects()


class DcmQrScp(Daemon):
    """dcmtk's dcmqrscp: an archive that answers queries and has no storage commitment."""

    ae_title = "QRSCP"

    def __init__(self, folder: Path, node_port: int = 104) -> None:
        self.port = free_port()
        storage = folder / "storage"
        storage.mkdir(parents=True, exist_ok=True)
        settings = [
            "MaxPDUSize = 16384",
            "MaxAssociations = 16",
            "HostTable BEGIN",
            f"ainode = ({NODE_AE}, {LOOPBACK}, {node_port})",
            "HostTable END",
            "VendorTable BEGIN",
            "VendorTable END",
            "AETable BEGIN",
            f"{self.ae_title} {storage} RW (100, 1024mb) ainode",
            "AETable END",
            "",
        ]
        (folder / "dcmqrscp.cfg").write_text("\n".join(settings), "utf-8")
        command = [program("dcmqrscp"), "-v", "-dhl", "--fork", "-c", str(folder / "dcmqrscp.cfg")]
        super().__init__(folder, [*command, str(self.port)])

    def start(self) -> None:
        """Start it and wait until it listens."""
        super().start()
        self.wait_until("it listens", lambda: answers(self.port))


class Orthanc(Daemon):
    """A stock Orthanc: its defaults, but for the ports, its folder and who may call.

    It can only listen on every interface; the list of callers and their addresses, all on
    loopback, is what keeps everybody else out. `more`: further settings.
    """

    ae_title = "ORTHANC"

    def __init__(self, folder: Path, node_port: int, **more: object) -> None:
        self.port, self.web_port = free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": self.web_port,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {"ainode": [NODE_AE, LOOPBACK, node_port]},
            **more,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings, indent=2), "utf-8")
        super().__init__(folder, [program("Orthanc"), str(folder / "orthanc.json")])

    def start(self) -> None:
        """Start it and wait until both its doors are open."""
        super().start()
        self.wait_until("it listens", lambda: answers(self.port) and answers(self.web_port))

    def call(self, path: str, body: bytes | None = None) -> bytes:
        """Ask its REST interface: GET, or POST where there is a body."""
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.web_port}{path}", body)
        with urllib.request.urlopen(request, timeout=120) as answer:
            content: bytes = answer.read()
        return content

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """Ask its REST interface for JSON."""
        return json.loads(self.call(path, body))

    def upload(self, paths: Sequence[Path]) -> str:
        """Put files into it and return its own identifier of their study."""
        studies = {self.ask("/instances", path.read_bytes())["ParentStudy"] for path in paths}
        assert len(studies) == 1
        return str(studies.pop())

    def forward(self, study: str) -> None:
        """Send a whole study to the node, as a person does from its page."""
        answer = self.ask("/modalities/ainode/store", study.encode())
        assert answer["FailedInstancesCount"] == 0

    def instances(self, study: str) -> dict[str, Dataset]:
        """Return every object of a study, by Orthanc's own identifier."""
        ids = [instance["ID"] for instance in self.ask(f"/studies/{study}/instances")]
        found: dict[str, Dataset] = {}
        for identifier in ids:
            path = self.folder / f"{identifier}.dcm"
            path.write_bytes(self.call(f"/instances/{identifier}/file"))
            found[identifier] = dcmread(path)
        return found


_JOURNALS = Path("/var/log/journal")


class Journal(Daemon):
    """A journald of the test's own, in a namespace (systemd-journald.service(8)); needs root."""

    def __init__(self, folder: Path) -> None:
        self.namespace = f"ai-node-test-{os.getpid()}"
        self._had_logs = _JOURNALS.exists()
        super().__init__(folder, [program("systemd-journald"), self.namespace])

    @property
    def _sockets(self) -> Path:
        return Path(f"/run/systemd/journal.{self.namespace}")

    def start(self) -> None:
        """Start it and wait until it can be written to."""
        super().start()
        self.wait_until("it listens", (self._sockets / "stdout").exists)

    def open_stream(self) -> socket.socket:
        """Return what systemd gives a service for its standard error (journald-stream.c)."""
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(str(self._sockets / "stdout"))
        # Identifier, unit, priority, whether "<3>" counts, and three places it could go to.
        stream.sendall(b"ai-node\n\n6\n1\n0\n0\n0\n")
        return stream

    def records(self) -> list[tuple[int, str]]:
        """Return priority and message of what the node has written, in order."""
        command = [program("journalctl"), f"--namespace={self.namespace}", "--output=json"]
        shown = subprocess.run(
            [*command, "--identifier=ai-node", "--no-pager"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found = [json.loads(line) for line in shown.stdout.splitlines()]
        return [(int(one["PRIORITY"]), str(one["MESSAGE"])) for one in found]

    def remove(self) -> None:
        """End it, and leave nothing of it on the machine."""
        self.stop()
        shutil.rmtree(self._sockets, ignore_errors=True)
        for logs in (_JOURNALS, Path("/run/log/journal")):
            for folder in logs.glob(f"*.{self.namespace}"):
                shutil.rmtree(folder)
        if not self._had_logs:  # while it is there, the machine's own journald keeps its logs
            with contextlib.suppress(OSError):
                _JOURNALS.rmdir()


_SAY_HOW_IT_IS = ("studies", "status", "nodes")
"""Commands whose exit code says whether somebody should look, or act."""


class Node(Daemon):
    """`ai-node run` on a configuration of its own, and the commands that look at it.

    `under`: a command that runs it.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        settings: str,
        only: Literal["listener", "worker"] | None = None,
        under: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port
        self.config = folder / "node.toml"
        self.config.write_text(settings, "utf-8")
        self.ready = f"Listening on {LOOPBACK}:{port}" if only != "worker" else "Working on"
        role = ["--only", only] if only else []
        super().__init__(folder, [*under, AI_NODE, "run", "--config", str(self.config), *role])

    @property
    def store(self) -> Path:
        """Where it keeps objects."""
        return config.load_config(self.config).store_dir

    @property
    def kept(self) -> dict[str, Path]:
        """Every object it was sent and has accepted, by SOP Instance UID."""
        return objects_in(self.store / "received")

    def start(self) -> None:
        """Start it and wait until it says that it listens, or works."""
        super().start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until it says that it listens, or works."""
        self.wait_until(f'it says "{self.ready}"', lambda: self.ready in self.says())

    def command(self, *arguments: str, ok: bool = True) -> str:
        """Run another `ai-node` command on the same configuration; return its standard output."""
        ran = subprocess.run(
            [AI_NODE, *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        fine = {0, 1, 2} if arguments[0] in _SAY_HOW_IT_IS else {0}
        assert (ran.returncode in fine) == ok, f"{arguments} exited {ran.returncode}:\n{ran.stderr}"
        return ran.stdout

    def studies(self) -> dict[str, dict[str, Any]]:
        """Return what the node says of every study, by its UID; not when it was asked."""
        studies = json.loads(self.command("studies", "--json"))
        for study in studies:
            del study["asked_at"]
        return {study["study_uid"]: study for study in studies}

    def send(self, *arguments: str | Path, calling: str = MODALITY_AE, ok: bool = True) -> str:
        """Send files to it with storescu, as the modality."""
        address = ("-aet", calling, "-aec", NODE_AE, LOOPBACK, str(self.port))
        options = [one for one in arguments if isinstance(one, str)]
        files = [one for one in arguments if isinstance(one, Path)]
        return dcmtk("storescu", "-v", *options, *address, *files, ok=ok)

    def send_in_background(self, *files: Path) -> subprocess.Popen[bytes]:
        """Start a storescu and do not wait for it; it proposes the SOP classes of the files."""
        command = [program("storescu"), "-R", "-aet", MODALITY_AE, "-aec", NODE_AE, LOOPBACK]
        command += [str(self.port), *map(str, files)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def peer(
    name: str, ae_title: str, port: int, *, sends: bool = False, results_to: Sequence[str] = ()
) -> str:
    """Return a [[peers]] table: one that sends, or one that takes results, or both."""
    lines = ["[[peers]]", f'name = "{name}"', f'ae_title = "{ae_title}"']
    lines += [f'host = "{LOOPBACK}"', f"port = {port}", f"sends = {str(sends).lower()}"]
    lines += [
        f"results_to = {json.dumps(list(results_to))}" if results_to else 'receives = "default"'
    ]
    return "\n".join(lines)


def settings(port: int, *peers: str, node: Sequence[str] = ()) -> str:
    """Return a configuration that waits less than the default one; `node`: more lines of [node]."""
    own = ["[node]", f'ae_title = "{NODE_AE}"', 'state_dir = "state"', "min_free_mb = 64"]
    head = "\n".join([*own, *node])
    listener = f'[listener]\nhost = "{LOOPBACK}"\nport = {port}'
    model = '[[models]]\nname = "breast-area"\nmode = "deliver"'
    waits = "[completeness]\nsettle_s = 0.5\n[delivery]\nretry_first_s = 1\nretry_max_s = 2"
    return "\n".join([head, listener, *peers, model, waits, ""])
