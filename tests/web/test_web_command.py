"""`ai-node web`, and what `check` and `run` say of the page."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from ports import free_port
from typer.testing import CliRunner, Result

from node import cli
from node.app import App
from node.config import load_config
from node.doctor.page import check_page
from node.ledger import Ledger, Nodes, People, Role
from node.page_alone import PageAlone

PASSWORD = "correct horse battery"
SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
min_free_mb = 0

[listener]
host = "127.0.0.1"
port = {listener}

[web]
port = {web}
"""


def call(*arguments: object, typed: str = "") -> Result:
    return CliRunner().invoke(cli.app, [str(one) for one in arguments], input=typed)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(SETTINGS.format(listener=free_port(), web=free_port()))
    return path


def ledger_of(settings: Path) -> Ledger:
    return Ledger(f"sqlite:///{settings.parent / 'state' / 'ledger.db'}")


def test_the_first_user_is_made_before_a_node_has_ever_run(settings: Path) -> None:
    listed = call("web", "users", "-c", settings)
    assert listed.exit_code == 1
    assert "no node has run with this configuration yet" in listed.output
    made = call(
        "web", "passwd", "Anna", "--role", "operator", "-c", settings, typed=f"{PASSWORD}\n"
    )
    assert made.exit_code == 0, made.output
    assert made.output == "anna may log in now, as operator.\n"
    call("web", "passwd", "otto", "-c", settings, typed=f"{PASSWORD}\r\n")
    assert call("web", "users", "-c", settings).output == "anna  operator\notto  reader\n"
    ledger = ledger_of(settings)
    assert People(ledger).log_in("otto", PASSWORD, 1) is not None
    ledger.close()
    removed = call("web", "remove", "anna", "-c", settings)
    assert removed.output == "anna is removed.\n"
    again = call("web", "remove", "anna", "-c", settings)
    assert again.exit_code == 1
    assert "no user is called 'anna'" in again.output


def test_a_short_password_makes_no_user(settings: Path) -> None:
    refused = call("web", "passwd", "anna", "-c", settings, typed="short\n")
    assert refused.exit_code == 1
    assert "at least 10 characters" in refused.output
    assert "short" not in refused.output.replace("shorter", "")
    assert "Nobody" in call("web", "users", "-c", settings).output


def test_a_user_without_a_page_is_told_what_is_missing(settings: Path) -> None:
    settings.write_text(settings.read_text().partition("[web]")[0])
    made = call("web", "passwd", "anna", "-c", settings, typed=f"{PASSWORD}\n")
    assert "add the table [web]" in made.output


def test_check_says_where_the_page_is_or_why_there_cannot_be_one(settings: Path) -> None:
    said = call("check", "-c", settings).output
    assert "Page: http://127.0.0.1:" in said
    assert "without a login, which only looks" in said
    call("web", "passwd", "anna", "-c", settings, typed=f"{PASSWORD}\n")
    assert "everybody logs in" in call("check", "-c", settings).output
    settings.write_text(settings.read_text() + 'host = "0.0.0.0"\n')
    refused = call("check", "-c", settings)
    assert refused.exit_code == 1
    assert "reached from other machines, which only TLS may be" in refused.output
    assert "say in names" in refused.output
    assert "Page:" not in refused.output


def test_a_page_alone_that_must_not_be_reached_as_it_is_set_is_not_started(settings: Path) -> None:
    settings.write_text(settings.read_text() + 'host = "0.0.0.0"\nproxies = ["192.0.2.80"]\n')
    refused = call("run", "--only", "web", "-c", settings)
    assert refused.exit_code == 1
    assert isinstance(refused.exception, SystemExit)
    assert refused.stderr.count("[web]") == 2, "two faults"
    assert "say in names what people call the page" in refused.stderr
    assert "`ai-node web passwd NAME --role operator` makes one" in refused.stderr


@pytest.mark.slow
def test_a_node_works_on_without_a_page_that_must_not_be_reached_as_it_is_set(
    settings: Path,
) -> None:
    settings.write_text(settings.read_text() + 'names = ["ai-node.example.org"]\n')
    node = App(load_config(settings))
    node.start()
    try:
        assert node.is_alive
        said = call("status", "-c", settings)
        assert said.exit_code == 1
        assert "page: [web] the page is for more than this machine" in said.output
        assert "ai-node web passwd NAME --role operator" in said.output
    finally:
        node.stop()


def test_who_removes_the_last_user_is_told_if_the_page_needs_one(settings: Path) -> None:
    for name in ("anna", "otto"):
        call("web", "passwd", name, "-c", settings, typed=f"{PASSWORD}\n")
    settings.write_text(settings.read_text() + 'names = ["ai-node.example.org"]\n')
    assert call("web", "remove", "otto", "-c", settings).output == "otto is removed.\n"
    said = call("web", "remove", "anna", "-c", settings)
    assert said.exit_code == 0
    assert "anna is removed.\nNobody may log in any more" in said.output
    assert "`ai-node web passwd NAME --role operator`" in said.output


def test_the_doctor_says_where_the_page_is_or_what_to_do(settings: Path) -> None:
    config = load_config(settings)
    (found,) = check_page(config)
    assert found.state == "ok"
    assert found.words.endswith("without a login, which only looks")
    assert config.web is not None
    everywhere = config.web.model_copy(update={"host": "::"})
    faults = list(check_page(config.model_copy(update={"web": everywhere})))
    assert [(fault.state, fault.remedy[:4]) for fault in faults] == [
        ("failed", "Give"),
        ("failed", "Say "),
        ("failed", "`ai-"),
    ]
    assert list(check_page(config.model_copy(update={"web": None}))) == []


def test_a_page_alone_needs_the_table(settings: Path) -> None:
    settings.write_text(settings.read_text().partition("[web]")[0])
    refused = call("run", "--only", "web", "-c", settings)
    assert refused.exit_code == 1
    assert "the configuration has no table [web]" in refused.output


@contextmanager
def running(settings: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command until it says where its page is; give that."""
    command = [sys.executable, "-m", "node", "run", "-c", str(settings), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "Page at " in line:
                break
        else:
            pytest.fail("".join(said))
        try:
            yield process, said[-1].strip().rpartition(" ")[2]
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest


@pytest.mark.slow
def test_a_page_alone_runs_beside_a_node_on_the_same_folder(settings: Path) -> None:
    alone = settings.with_name("alone.toml")
    alone.write_text(settings.read_text().partition("[web]")[0] + f"[web]\nport = {free_port()}\n")
    with running(settings) as (_, address), running(alone, "--only", "web") as (page, other):
        assert httpx.get(address).status_code == httpx.get(other).status_code == 200
        again = call("run", "--only", "web", "-c", alone)
        assert again.exit_code == 1
        assert "another ai-node is running" in again.output
        ledger = ledger_of(settings)
        roles = {presence.role: presence.state for presence in Nodes(ledger).presences()}
        assert roles == {Role.ALL: "alive", Role.WEB: "alive"}
        listed = call("nodes", "-c", settings).output
        assert "shows  alive" in listed
        made = call("web", "passwd", "anna", "-c", settings, typed=f"{PASSWORD}\n")
        assert made.exit_code == 0, made.output
        for one in (address, other):
            assert httpx.get(one).headers["location"] == "/login"
        maps = Path(f"/proc/{page.pid}/maps").read_text()
        assert "onnxruntime" not in maps, "no model is loaded"
    with ledger.reading() as db:
        stopped = db.execute(sa.text("SELECT count(*) FROM node WHERE stopped_at IS NOT NULL"))
        assert stopped.scalar() == 2
    ledger.close()


def test_a_page_alone_is_reloaded_and_goes_on_where_that_cannot_be(settings: Path) -> None:
    text, port = settings.read_text(), free_port()
    page = PageAlone(load_config(settings))
    page.start()
    try:
        for shows, is_taken in (('shows = "patient"', True), ('shows = "everything"', False)):
            settings.write_text(f"{text}{shows}\n")
            assert page.reload(settings) is is_taken
            assert page._current.config.web is not None
            assert page._current.config.web.shows == "patient"
        assert httpx.get(page.page.address).status_code == 200
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            settings.write_text(re.sub(r"(?m)(\[web\]\nport = )\d+", rf"\g<1>{port}", text))
            assert not page.reload(settings)
        assert httpx.get(page.page.address).status_code == 200, "where it was"
        assert page.reload(settings)
        assert page.page.address.endswith(f":{port}")
    finally:
        page.stop()


def test_a_page_whose_server_dies_ends_its_process(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = settings.read_text().replace("min_free_mb = 0", "min_free_mb = 0\ndead_after_s = 3")
    settings.write_text(text)
    page = PageAlone(load_config(settings))
    page.start()
    assert (page.is_alive, page.failed.is_set()) == (True, False)

    async def ends(self: uvicorn.Server, counter: int) -> bool:
        return True

    monkeypatch.setattr(uvicorn.Server, "on_tick", ends)
    assert page.failed.wait(30)
    assert (page.is_alive, page.failed.is_set()) == (False, True)
    page.stop()
