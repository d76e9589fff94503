"""docs/install.md is followed to the letter, in a folder in place of "/", with a stock Orthanc.

What needs root or a running systemd is not run: its programs and options are looked at, and the
unit is installed and enabled in that folder and its command started.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import pytest
from ports import free_port

from .programs import LOOPBACK, Daemon, Orthanc, program, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "install.md").read_text("utf-8")
IMAGES, RESULTS = 4, 6
PLACE = re.compile(r"/(opt|etc|srv|usr/local|var/lib|root)/")
"""Where the document puts things."""
PEER = "pacs=PACS@192.0.2.10:104"
NOT_HERE = ("apt-get", "useradd", "userdel", "journalctl")
"""They change, or look at, the machine itself."""


def sections() -> dict[str, list[str]]:
    """Return the commands of each section of the document."""
    found = {}
    for section in DOCUMENT.split("\n## ")[1:]:
        boxes = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        found[section.partition("\n")[0]] = "".join(boxes).splitlines()
    return found


SECTIONS = sections()


class Machine:
    """A folder with what an administrator finds on a new machine, and a systemd that obeys."""

    def __init__(self, root: Path, orthanc: Orthanc, port: int) -> None:
        self.root = root
        self.service: Daemon | None = None
        self.orthanc = orthanc
        self._port = port
        for folder in ("opt", "etc/systemd/system", "usr/local/bin", "var/lib", "root"):
            (root / folder).mkdir(parents=True)
        # The node that is installed, not the one that is being developed.
        self._environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self._environment["PATH"] = f"{sys.base_prefix}/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def follow(self, section: str, lines: slice = slice(None)) -> str:
        """Do what a section says, or some lines of it; return what the last command printed."""
        printed = ""
        for line in SECTIONS[section][lines]:
            words = shlex.split(line)
            if words[0] == "sudo":
                words = words[3:] if words[1] == "-u" else words[1:]
            if words[0] == "systemctl":
                self._obey(words[1:])
            elif words[0] in NOT_HERE:
                self._look_at(words)
            else:
                printed = self._run(words)
        return printed

    def _run(self, words: list[str]) -> str:
        here = [self.here(word) for word in words if word not in ("-o", "-g", "ai-node")]
        if words[0] == "ai-node":
            here = [str(self.root / "usr/local/bin/ai-node"), *here]
        if "init" in words:
            pacs = f"pacs={self.orthanc.ae_title}@{LOOPBACK}:{self.orthanc.port}"
            here[here.index(PEER)] = pacs
            here += ["--port", str(self._port)]
        ran = subprocess.run(
            here,
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert ran.returncode == 0, f"{here}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
        return ran.stdout

    def here(self, word: str) -> str:
        """Return where a place of the document is."""
        return f"{self.root}{word}" if PLACE.match(f"{word}/") else word

    def _obey(self, words: list[str]) -> None:
        """Do what systemd would."""
        if words[0] in ("disable", "stop", "restart"):
            self.stop()
        if words[0] == "reload":
            self._reload()
        if words[0] in ("enable", "disable"):
            systemctl = [program("systemctl"), f"--root={self.root}", words[0], words[-1]]
            subprocess.run(systemctl, check=True, capture_output=True, timeout=60)
        if words[0] in ("start", "restart") or words[:2] == ["enable", "--now"]:
            unit = (self.root / "etc/systemd/system/ai-node.service").read_text("utf-8")
            for check in re.findall(r"^ExecStartPre=(.*)$", unit, re.MULTILINE):
                subprocess.run([self.here(word) for word in check.split()], check=True)
            [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
            self.service = Daemon(self.root, [self.here(word) for word in command.split()])
            self.service.start()
            ready = f"Listening on 0.0.0.0:{self._port}"
            self.service.wait_until(ready, lambda: ready in self.says())

    def _reload(self) -> None:
        assert self.service is not None
        unit = (self.root / "etc/systemd/system/ai-node.service").read_text("utf-8")
        for command in re.findall(r"^ExecReload=(.*)$", unit, re.MULTILINE):
            here = [self.here(word) for word in command.split()]
            words = [word.replace("$MAINPID", str(self.service.pid)) for word in here]
            subprocess.run(words, check=True, timeout=120)
        done = "The configuration on disk is "
        self.service.wait_until(done, lambda: done in self.says())

    def says(self) -> str:
        """Return the log."""
        assert self.service is not None
        return self.service.says()

    def stop(self) -> None:
        """Stop the service; it must end as it should."""
        service, self.service = self.service, None
        if service is not None:
            assert service.stop() == 0

    def _look_at(self, words: list[str]) -> None:
        """See that a program of Debian's has the options that the document gives it."""
        if words[0] not in ("useradd", "userdel"):
            return
        shown = subprocess.run(
            [program(words[0]), "--help"], capture_output=True, text=True, check=False, timeout=60
        ).stdout
        for option in (word for word in words if word.startswith("--")):
            assert option in shown


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    orthanc.start()
    made = Machine(tmp_path / "machine", orthanc, port)
    yield made
    made.stop()
    orthanc.stop()


def test_whoever_follows_the_document_has_results_and_can_remove_all_of_it(
    machine: Machine, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    started = time.monotonic()
    install(machine)
    study = machine.orthanc.upload(factories.saved_exam(tmp_path / "exam"))
    machine.orthanc.forward(study)
    wait_for("its results", lambda: len(machine.orthanc.instances(study)) == IMAGES + RESULTS)
    record_property("seconds from nothing to the first result", round(time.monotonic() - started))
    assert "6 of 6 objects stored" in machine.follow("6. The first result")

    machine.follow("Backup")
    backup = machine.root / "srv/backup/ai-node"
    [whole] = backup.glob("whole-*")
    assert (whole / "ledger.db").exists()
    assert (whole / "configuration/node.toml").exists()
    assert len([*(backup / "store").rglob("*.dcm")]) == IMAGES + RESULTS
    machine.follow("Upgrade")
    assert "1 study" in machine.follow("6. The first result", slice(1))

    machine.follow("Remove", slice(2))
    assert (machine.root / "var/lib/ai-node/ledger.db").exists()
    machine.follow("Remove", slice(2, None))
    left = {path for path in machine.root.rglob("*") if not path.is_dir()}
    assert {path.name for path in left if backup not in path.parents} == {"output.log"}


def test_whoever_has_no_network_carries_all_that_is_needed(tmp_path: Path) -> None:
    """Fetched with the network and found without it; whether it installs is tried above."""
    release = tmp_path / "release"
    # Not what runs and tests leave in the folder: it may hold this very test's own.
    ours = ["config", "models", "node", "requirements", "LICENSE", "README.md", "pyproject.toml"]
    release.mkdir()
    for name in ours:
        place = REPOSITORY / name
        (shutil.copytree if place.is_dir() else shutil.copy)(place, release / name)
    make, *rest = SECTIONS["Without a network"]
    assert make == "python3 -m venv fetch", "this test's own Python stands in for it"
    said = ""
    for line in rest:
        words = shlex.split(line.removeprefix("sudo "))
        assert words[0] in ("fetch/bin/pip", "/opt/ai-node/bin/pip")
        command = [sys.executable, "-m", "pip", *words[1:]]
        if words[1] == "install":
            assert "--no-index" in words
            command += ["--dry-run", "--ignore-installed"]
        ran = subprocess.run(
            command, cwd=release, capture_output=True, text=True, check=False, timeout=600
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
        said = ran.stdout
    assert "Would install dicom-ai-node-" in said


def install(machine: Machine) -> None:
    """Do what sections 1 to 5 say."""
    machine.follow("1. Install")
    told, table = machine.follow("2. Say who you are"), DOCUMENT.split("\n## ")[3]
    for words in ("AINODE", "For Presentation", "Comprehensive SR and Secondary Capture"):
        assert words in told
        assert words in table
    examined = machine.follow("4. Examine everything")
    assert "FAILED" not in examined
    assert "ORTHANC at 127.0.0.1" in examined
    assert machine.orthanc.ask("/instances") == []
    machine.follow("5. Start")
    wanted = machine.root / "etc/systemd/system/multi-user.target.wants"
    assert (wanted / "ai-node.service").is_symlink()
