"""`ai-node init`: a configuration that explains itself, and what the PACS has to know."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from node import cli, config
from node.initial_config import Choices, Given, choose, config_text
from node.retention_words import advice_on_retention

PACS = "pacs=PACS@192.0.2.10:104"
ROOM = "room-1=MG1@192.0.2.21:105"
EXAMPLE = config.example_path().read_text("utf-8")


def init(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["init", "-c", str(folder / "node.toml"), *arguments])


def test_the_name_of_the_pacs_is_enough(tmp_path: Path) -> None:
    result = init(tmp_path, "--peer", PACS)
    assert result.exit_code == 0, result.output
    found = config.load_config(tmp_path / "node.toml")
    assert (found.node.ae_title, found.listener.port) == ("AINODE", 11112)
    assert found.node.state_dir == tmp_path / "state"
    assert [(model.name, model.mode) for model in found.models] == [("breast-area", "deliver")]
    assert tuple(found.directions("pacs")) == ("pacs",)
    assert config.advice(found) == []
    assert [path.name for path in tmp_path.iterdir()] == ["node.toml"]


def test_what_is_said_by_options_is_in_the_file(tmp_path: Path) -> None:
    says = ["--ae-title", "RADIO AI", "--port", "104", "--state-dir", "/srv/ai", "--yes"]
    both = ["--peer", PACS, "--sender", ROOM, "--model", "breast-area=shadow"]
    assert init(tmp_path, *says, *both).exit_code == 0
    found = config.load_config(tmp_path / "node.toml")
    assert (found.node.ae_title, found.listener.port) == ("RADIO AI", 104)
    assert found.node.state_dir == Path("/srv/ai")
    assert found.models[0].mode == "shadow"
    room = found.peer("room-1")
    assert (room.ae_title, room.host, room.port) == ("MG1", "192.0.2.21", 105)
    assert tuple(found.directions("room-1")) == ("pacs",)


def test_a_new_site_removes_what_nobody_is_owed_and_says_so(tmp_path: Path) -> None:
    result = init(tmp_path, "--peer", PACS)
    found = config.load_config(tmp_path / "node.toml")
    kept = found.retention
    assert (kept.images_days, kept.results_days, kept.records_days) == (30, 90, 365)
    assert (kept.clean_from_percent, kept.refuse_from_percent) == (80, 95)
    assert None not in kept.model_dump().values()
    words = "  Received images of studies that are done go after 30 days\n"
    assert "\nWhat is removed when:\n" in result.output
    assert words in result.output
    assert not any("never removed" in line for line in advice_on_retention(found))


def test_every_setting_is_explained_and_only_what_was_chosen_is_set(tmp_path: Path) -> None:
    init(tmp_path, "--peer", PACS, "--sender", ROOM)
    written = (tmp_path / "node.toml").read_text("utf-8")
    for key in re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE, re.MULTILINE):
        assert re.search(rf"^(# )?{key} = ", written, re.MULTILINE), key
    chosen = tomllib.loads(written)
    assert chosen["node"].keys() == {"ae_title", "state_dir"}
    assert chosen["listener"].keys() == {"port"}
    assert not any(chosen[name] for name in ("completeness", "intake", "inference", "delivery"))
    assert "addresses" not in chosen["peers"][0]


def test_an_ipv6_address_is_written_without_the_brackets_of_urls(tmp_path: Path) -> None:
    assert init(tmp_path, "--peer", "pacs=PACS@[::1]:104").exit_code == 0
    (written,) = tmp_path.glob("*.toml")
    assert 'host = "::1"' in written.read_text()


def test_it_prints_what_to_enter_on_the_other_systems(tmp_path: Path) -> None:
    shown = init(tmp_path, "--peer", "pacs=PACS@127.0.0.1:104", "--sender", ROOM).output
    assert "AE title AINODE, address 127.0.0.1, port 11112" in shown
    assert "MG: Digital Mammography X-Ray Image Storage - For Presentation" in shown
    assert "PACS must take C-STORE from AINODE, address 127.0.0.1" in shown
    assert "storage commitment and C-FIND" in shown
    assert "results           go to pacs, not here" in shown
    for verb in ("doctor", "run"):
        assert f"ai-node {verb} --config {tmp_path / 'node.toml'}" in shown


def test_a_file_that_is_there_stays_unless_one_insists(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("mine")
    refused = init(tmp_path, "--peer", PACS)
    assert refused.exit_code == 1
    assert "node.toml is there already; --force replaces it" in refused.stderr
    assert path.read_text() == "mine"
    assert init(tmp_path, "--peer", PACS, "--force").exit_code == 0
    assert config.load_config(path).peers


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no PACS is named: give --peer NAME=AET@HOST:PORT"),
        (["--sender", ROOM], "no PACS is named"),
        (["--peer", "PACS@192.0.2.10:104"], "expected NAME=AET@HOST:PORT"),
        (["--peer", "pacs=PACS@192.0.2.10:99999"], "expected a port from 1 to 65535"),
        (["--peer", "pacs=PACS@192.0.2.10:0"], "expected a port from 1 to 65535"),
        (["--peer", PACS, "--sender", PACS], '"pacs" is there twice'),
        (["--peer", PACS, "--ae-title", "A\\B"], "--ae-title: expected an AE"),
        (["--peer", PACS, "--model", "breast-aera"], 'did you mean "breast-area"?'),
        (["--peer", PACS, "--model", "breast-area=on"], "--model: mode: expected"),
        (["--peer", PACS, "--port", "0x68"], "--port"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    result = init(tmp_path, *arguments)
    assert result.exit_code > 0
    assert words in result.stderr
    assert ".part" not in result.stderr and "node.toml" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    result = init(tmp_path / "nowhere", "--peer", PACS)
    assert result.exit_code == 1
    assert "node.toml: cannot be written (No such file or directory)" in result.stderr


def test_a_person_is_asked_for_what_was_not_said_and_again_if_the_answer_does_not_fit() -> None:
    questions: list[str] = []
    ours = ["A-TITLE-THAT-IS-FAR-TOO-LONG", "RADIO", "104", ""]
    pacs, room = ["pacs", "PACS", "192.0.2.10", "4242"], ["pacs", "room", "MG1", "192.0.2.21", ""]
    answers = iter([*ours, *pacs, "y", *room, "n", "breast-aera", "", "on", "shadow"])

    def ask(question: str, default: str) -> str:
        questions.append(question)
        return next(answers) or default

    choices = choose(Given(), ask)
    assert (choices.ae_title, choices.port, choices.state_dir) == ("RADIO", 104, "state")
    assert [(peer.name, peer.port) for peer in choices.peers] == [("pacs", 4242), ("room", 104)]
    assert choices.peers[1].results_to == ("pacs",)
    assert choices.models == (("breast-area", "shadow"),)
    again = [question for question in questions if ".\n" in question]
    assert [question.partition(".\n")[0] for question in again] == [
        again[0].partition(".\n")[0],
        '"pacs" is there already, give each its own name',
        'there is no "breast-aera", did you mean "breast-area"?',
        'there is no "on", known are: deliver, shadow, off',
    ]
    assert questions[1].startswith("expected an AE title: 1 to 16")
    assert list(answers) == []


def test_at_a_terminal_it_asks(tmp_path: Path) -> None:
    terminal, its_end = pty.openpty()
    os.write(terminal, b"RADIO\n\n\n\nPACS\n192.0.2.10\n\n\n\n\n")
    result = subprocess.run(
        [sys.executable, "-m", "node", "init"],
        stdin=its_end,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    os.close(terminal)
    os.close(its_end)
    assert result.returncode == 0, result.stderr
    assert "AE title of this node [AINODE]" in result.stderr
    assert config.load_config(tmp_path / "node.toml").node.ae_title == "RADIO"


@pytest.mark.parametrize("title", ["AI NODE", 'A"B', "{A}", "#1", "A='B'", "100:%s"])
def test_names_are_written_as_they_are(title: str, tmp_path: Path) -> None:
    peer = config.Peer(name="pacs", ae_title=title, host="h", port=1, receives="default")
    choices = Choices(title, 1, "a folder/with '\"#=", (peer,), (("breast-area", "deliver"),))
    path = tmp_path / "node.toml"
    path.write_text(config_text(choices, path.name), "utf-8")
    found = config.load_config(path)
    assert found.node.ae_title == found.peers[0].ae_title == title
    assert found.node.state_dir == tmp_path / choices.state_dir
