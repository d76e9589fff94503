"""docs/models.md is followed to the letter, to a package that runs in a node and delivers."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from models_document import NAME, SCORE, answered, blocks, commands, network
from ports import free_port
from pydicom import dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage

from .programs import AI_NODE, Daemon, answers, program, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

RUN = "6. Run it, first in shadow"


class Reader:
    """Who follows the document: a folder, two terminals that are left running, and one more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.node: Daemon | None = None
        self.archive: Daemon | None = None
        self._ports = {"11112": str(free_port()), "11113": str(free_port())}

    def here(self, text: str) -> str:
        """Return it with ports that are free here."""
        return re.sub("11112|11113", lambda found: self._ports[found[0]], text)

    def follow(self, command: str) -> str:
        """Do one line; return what it printed."""
        words = shlex.split(self.here(command))
        if words[0] == "storescp":
            self.archive = self._left_running([program("storescp"), *words[1:]], words[-1])
        elif words[:2] == ["ai-node", "run"]:
            self.node = self._left_running([AI_NODE, "run"], self._ports["11112"])
        else:
            words[0] = AI_NODE if words[0] == "ai-node" else words[0]
            done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            return done.stdout
        return ""

    def _left_running(self, command: list[str], port: str) -> Daemon:
        running = Daemon(self.folder, command)
        running.start()
        running.wait_until("it listens", lambda: answers(int(port)))
        return running

    def wait(self, words: str) -> str:
        """Ask for the studies until they hold these words; return what was printed."""
        said = ""

        def is_said() -> bool:
            nonlocal said
            said = self.follow("ai-node studies")
            return words in said

        wait_for(f"the studies to say {words!r}", is_said, 120)
        return said

    def edit(self, file: str, change: Callable[[str], str]) -> None:
        """Change a file, as with an editor."""
        path = self.folder / file
        path.write_text(change(path.read_text("utf-8")), "utf-8")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    onnx.save(network(SCORE), tmp_path / f"{NAME}.onnx")
    made = Reader(tmp_path)
    yield made
    for program_left in (made.node, made.archive):
        if program_left is not None:
            program_left.stop()


def test_a_reader_brings_a_network_into_a_node_that_delivers(reader: Reader) -> None:
    path, demo = commands("Before")
    assert path.startswith("export PATH=")
    reader.follow(demo)
    [begin] = commands("1. Begin")
    reader.follow(begin)
    [manifest], [card] = (
        blocks("2. Answer the questions", "toml"),
        blocks("3. Write the card", "markdown"),
    )
    reader.edit(f"my-models/{NAME}/manifest.toml", lambda was: answered(was, manifest))
    reader.edit(f"my-models/{NAME}/README.md", lambda _: card)
    for command in (*commands("4. Check"), *commands("5. Look at what the network gets")):
        reader.follow(command)
    [toml] = blocks(RUN, "toml")
    (reader.folder / "node.toml").write_text(reader.here(toml), "utf-8")
    archive = reader.folder / "archive"
    listed, checked, made, stored, ran, sent, _, *delivering = commands(RUN)
    for command in (listed, checked, made, stored, ran, sent):
        reader.follow(command)
    assert f"{NAME} " in reader.wait("4 of 4 images analysed; Exam suspicion")
    assert list(archive.iterdir()) == [], "in shadow"

    reader.edit("node.toml", lambda was: was.replace('mode = "shadow"', 'mode = "deliver"'))
    assert reader.node is not None
    reader.node.stop()
    for command in delivering[:-1]:
        reader.follow(command)
    reader.wait("2 of 2 objects stored, accepted")
    received = [dcmread(path) for path in archive.iterdir()]
    assert {one.SOPClassUID for one in received} == {
        ComprehensiveSRStorage,
        SecondaryCaptureImageStorage,
    }
    assert all(NAME in str(one.SeriesDescription).lower().replace(" ", "-") for one in received)
