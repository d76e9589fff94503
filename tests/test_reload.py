"""A node is told to read its configuration anew while images come, wait and are analysed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import factories
import httpx
import pytest
import small_models
import sqlalchemy as sa
from factories import R_CC
from peers import Pacs, association, contexts_of, refused_connections, store
from ports import free_port
from pydicom import Dataset
from typer.testing import CliRunner

from node.app import App
from node.cli import app as command_line
from node.config import load_config
from node.ledger import Names, schema
from node.overview import StudyOverview, study_overviews

SUCCESS = 0x0000
SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
models_dir = "models"
min_free_mb = 0

[listener]
host = "127.0.0.1"
port = 0

[[peers]]
name = "modality"
ae_title = "MODALITY"
host = "127.0.0.1"
port = 104
sends = true
results_to = ["NAME"]

[[peers]]
name = "NAME"
ae_title = "PACS"
host = "127.0.0.1"
port = PORT
receives = "default"
outputs = ["measurement-report-3d"]
confirm = []
compares_identity = false

[[models]]
name = "small"
mode = "deliver"

[completeness]
settle_s = 0.1
quiet_s = 0.3

[delivery]
retry_first_s = 0.2
retry_max_s = 0.2

[inference]
threads = 1
"""
OTHER_ROOM = """
[[peers]]
name = "room-2"
ae_title = "ROOM2"
host = "127.0.0.1"
port = 104
sends = true
results_to = ["NAME"]
"""


def wait_until(is_so: Callable[[], object], within_s: float = 90) -> None:
    give_up_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.1)


class Site:
    """A configuration with a small model, and the node that works by it."""

    def __init__(self, folder: Path, pacs: Pacs) -> None:
        self.folder, self.pacs = folder, pacs
        self.path = folder / "node.toml"
        (folder / "models").mkdir()
        small_models.model(folder / "models")
        self.name = "pacs"
        self.write()
        self.node = self._started()

    def _started(self) -> App:
        node = App(load_config(self.path))
        node.start()
        return node

    def write(self, more: str = "", **changes: str) -> None:
        text = SETTINGS.replace("PORT", str(self.pacs.port)) + more
        for former, new in changes.items():
            text = text.replace(former, new)
        self.path.write_text(text.replace("NAME", self.name), "utf-8")

    def reload(self, more: str = "", **changes: str) -> bool:
        self.write(more, **changes)
        return self.node.reload(self.path)

    def restart(self) -> None:
        self.node.stop()
        self.node = self._started()

    def package(self, version: str, body: str = small_models.BRIGHT) -> None:
        """Put another package in the place of the one there is."""
        models = self.folder / "models"
        shutil.rmtree(models / "small")
        manifest = small_models.model(models, body).folder / "manifest.toml"
        text = re.sub(
            r'(?m)^version = ".*"$', f'version = "{version}"', manifest.read_text("utf-8")
        )
        manifest.write_text(text, "utf-8")

    def send(self, name: str) -> str:
        """Send an exam of one image; return its Study Instance UID."""
        paths = factories.saved_exam(self.folder / name, name, [R_CC])
        assert store(self.node.port, paths) == [SUCCESS]
        return str(factories.exam(name, [R_CC])[0].StudyInstanceUID)

    def command(self, *arguments: str) -> str:
        result = CliRunner().invoke(command_line, [*arguments, "-c", str(self.path)])
        return " ".join(result.output.split())

    def seen(self, study: str) -> StudyOverview:
        return next(one for one in study_overviews(self.node.ledger) if one.study_uid == study)

    def reaches(self, study: str, state: str) -> StudyOverview:
        wait_until(lambda: self.seen(study).state == state)
        return self.seen(study)

    def read_by(self, study: str) -> str:
        """Return which version of the model was to read a study."""
        with self.node.ledger.reading() as db:
            table = schema.analysis
            query = table.select().where(table.c.study_uid == study)
            return str(db.execute(query).one().model_version)


@pytest.fixture
def site(tmp_path: Path, pacs: Pacs) -> Iterator[Site]:
    opened = Site(tmp_path, pacs)
    yield opened
    opened.node.stop()


def reports(pacs: Pacs) -> list[Dataset]:
    return [received.read() for received in pacs.received]


@refused_connections
def test_who_is_new_is_let_in_and_whoever_is_sending_goes_on(site: Site, tmp_path: Path) -> None:
    paths = factories.saved_exam(tmp_path / "exam", "goes on", [R_CC])
    with association(site.node.port, contexts_of(paths), "ROOM2") as early:
        assert not early.is_established
    with association(site.node.port, contexts_of(paths)) as opened:
        assert site.reload(OTHER_ROOM)
        assert opened.send_c_store(paths[0]).Status == SUCCESS
    assert store(site.node.port, paths, "ROOM2") == [SUCCESS]
    study = str(factories.exam("goes on", [R_CC])[0].StudyInstanceUID)
    site.reaches(study, "done")


def test_what_is_wrong_is_refused_with_its_line_and_status_says_so_until_it_is_right(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    assert not site.reload(settle_s="settel_s")
    assert "node.toml:35: completeness.settel_s: unknown key, did you mean" in caplog.text
    assert "the configuration on disk was refused at 20" in site.node._reloading.refused
    site.path.write_text(SETTINGS.replace("NAME", "pacs").replace("PORT", "104"), "utf-8")
    said = site.command("status")
    assert "the configuration on disk was refused at" in said
    assert "settel_s" in said
    assert "it works on by the former one: correct it (`ai-node check`), then reload it" in said
    site.reaches(site.send("after a refusal"), "done")
    assert site.reload()
    assert "refused at" not in site.command("status")


def test_a_database_that_is_away_for_a_moment_leaves_all_of_the_former_configuration(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> object:
        raise sa.exc.OperationalError("SELECT", {}, Exception("database is locked"))

    with monkeypatch.context() as broken:
        broken.setattr(Names, "waiting", away)
        assert not site.reload(OTHER_ROOM)
    assert "the database does not answer: " in site.node._reloading.refused
    assert "room-2" not in {peer.name for peer in site.node.config.peers}
    assert site.reload(OTHER_ROOM)
    assert not site.node._reloading.refused


def test_what_cannot_follow_a_change_at_once_makes_it_no_refusal(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(site.node._alarms, "watch", broken)
    assert site.reload(OTHER_ROOM)
    assert "room-2" in {peer.name for peer in site.node.config.peers}
    assert "Not everything works by the new configuration yet" in caplog.text
    assert not site.node._reloading.refused


LIST = """
[[destinations]]
kind = "hl7"
name = "ris"
host = "127.0.0.1"
port = 2575
models = ["small"]
tls = true
tls_ca = "nothing-there.pem"
"""


def test_what_would_make_a_reading_list_ill_is_refused_as_the_check_says_it(site: Site) -> None:
    assert not site.reload(LIST)
    words = "nothing-there.pem: cannot be used for TLS"
    assert words in site.node._reloading.refused
    assert words in site.command("check")
    assert not site.node.config.lists


@pytest.mark.slow
def test_what_only_a_restart_can_change_is_refused_by_its_key(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    assert not site.reload(**{'"AINODE"': '"OTHER"', 'state_dir = "state"': 'state_dir = "new"'})
    assert "[node] ae_title, [node] state_dir: cannot be changed while the node runs" in caplog.text
    assert site.node.config.node.ae_title == "AINODE"
    assert not (site.folder / "new").exists()


def test_what_was_complete_before_is_read_by_its_package_and_goes_to_whom_it_was_for(
    site: Site, tmp_path: Path, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "node")
    other = Pacs("OTHER")
    try:
        _stand_still(site)
        first, second = site.send("first"), site.send("second")
        site.reaches(first, "running")
        site.reaches(second, "queued")
        site.package("2.0.0")
        moved = f"""
[[peers]]
name = "other"
ae_title = "OTHER"
host = "127.0.0.1"
port = {other.port}
receives = "default"
confirm = []
compares_identity = false
"""
        assert site.reload(moved, **{'results_to = ["NAME"]': 'results_to = ["other"]'})
        assert "Changed: the package of model small: version 2.0.0 (before: 1.0.0)" in caplog.text
        assert "Changed: peer other is new" in caplog.text
        _go_on(site)
        third = site.send("third")
        for study in (first, second, third):
            site.reaches(study, "done")
        assert [site.read_by(one) for one in (first, second, third)] == ["1.0.0", "1.0.0", "2.0.0"]
        assert {one.StudyInstanceUID for one in reports(pacs)} == {first, second}
        assert {one.StudyInstanceUID for one in reports(other)} == {third}
        assert all("1.0.0" in str(one) for one in reports(pacs))
        assert any("2.0.0" in str(one) for one in reports(other))
    finally:
        other.close()


_stopped: list[int] = []


def _stand_still(site: Site) -> None:
    """Let the process that runs networks do nothing, so that what comes waits."""
    (child,) = site.node._rooms.networks._main._children
    _stopped.append(child._process.pid)
    os.kill(child._process.pid, signal.SIGSTOP)


def _go_on(site: Site) -> None:
    os.kill(_stopped.pop(), signal.SIGCONT)


@pytest.mark.slow
def test_after_a_restart_too_it_is_read_by_the_package_it_was_to_be_read_by(site: Site) -> None:
    _stand_still(site)
    site.send("stands")
    waits = site.send("waits")
    site.reaches(waits, "queued")
    site.package("2.0.0")
    _go_on(site)
    site.restart()
    site.reaches(waits, "done")
    assert site.read_by(waits) == "1.0.0"


@pytest.mark.slow
def test_a_package_that_has_changed_without_a_new_version_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.package("1.0.0")
    assert not site.reload()
    words = "manifest.toml:3: version: 1.0.0 of small has run here as another package"
    assert words in caplog.text
    assert words in site.command("check")
    site.reaches(site.send("by the former package"), "done")
    site.package("1.0.1")
    assert site.reload()


@pytest.mark.slow
def test_results_for_a_peer_that_was_renamed_are_noticed_and_go_to_its_new_name(
    site: Site, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    pacs.answer = lambda received: 0xA700
    study = site.send("renamed")
    wait_until(lambda: pacs.received)
    site.name = "archive"
    assert site.reload()
    words = (
        "1 delivery waits for pacs, which no peer or destination is called any more: if it is now "
        "another name, `ai-node rename-peer pacs NEW`"
    )
    assert words in caplog.text
    assert "1 delivery waits for pacs" in site.command("status")
    pacs.answer = lambda received: SUCCESS
    wait_until(
        lambda: (
            "1 row" in (said := site.command("rename-peer", "pacs", "archive"))
            or "rows name archive now" in said
        )
    )
    site.reaches(study, "done")
    assert any("pacs is called archive now" in line for line in _history(site, study))
    assert "Nothing names pacs" in site.command("rename-peer", "pacs", "archive")


def _history(site: Site, study: str) -> list[str]:
    with site.node.ledger.reading() as db:
        table = schema.history
        rows = db.execute(table.select().where(table.c.study_uid == study)).all()
    return [str(row.event) for row in rows]


@pytest.mark.slow
def test_page_and_monitoring_come_go_and_show_what_is_true_now(site: Site) -> None:
    port, another = free_port(), free_port()
    page = f"[web]\nport = {port}\n"
    assert site.reload(f"{page}[monitoring]\nport = {another}\n")
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
    assert "small" in httpx.get(f"http://127.0.0.1:{another}/metrics").text
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as reader:
        assert "room-2" not in reader.get("/").text
        assert site.reload(OTHER_ROOM + page)
        assert "room-2" in reader.get("/").text, "on the connection that was open"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{another}/metrics")
