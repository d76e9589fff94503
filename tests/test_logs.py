"""The log is for people: one line for each thing that happens, in one form."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from small_images import compressed, saved

from node import __version__
from node.logs import OncePerMinute, Seldom, log_to


def test_a_library_that_repeats_itself_is_heard_once_in_a_while_and_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    library = logging.getLogger("library")
    seldom = Seldom(every_s=60)
    library.addFilter(seldom)
    for n in range(5):
        library.warning(f"The database is away {n}\n\tIs it running?")
    library.warning("Polling failed: Traceback (most recent call last):\n  File\nOSError: x")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        library.exception("A job failed:")
    library.removeFilter(seldom)
    assert [record.getMessage() for record in caplog.records] == [
        "The database is away 0",
        "Polling failed: ...",
        "A job failed: ZeroDivisionError",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_a_job_that_was_given_away_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    class DBOSAwaitedWorkflowCancelledError(Exception):
        """As the queue's library calls it."""

    library, seldom = logging.getLogger("library"), Seldom()
    library.addFilter(seldom)
    try:
        raise DBOSAwaitedWorkflowCancelledError
    except DBOSAwaitedWorkflowCancelledError:
        library.exception("Exception encountered in background workflow:")
    library.removeFilter(seldom)
    assert not caplog.records


QUOTING = """
import logging, sys, threading, warnings
from node.logs import start_logging
start_logging(form=sys.argv[1])

def quote():
    raise ValueError("DOE^JANE")

thread = threading.Thread(target=quote, name="dul")
thread.start()
thread.join()
try:
    quote()
except ValueError:
    logging.getLogger("node.receive").exception("Could not keep an object")
    logging.getLogger("pynetdicom.dul").exception("Unable to decode DOE^JANE")
logging.getLogger("pydicom").warning("DOE^JANE")
warnings.warn("Invalid value for VR DA: 'DOE^JANE'")
logging.getLogger("node.receive").warning("a message of\\nseveral\\r\\nlines")
quote()
"""

PROGRAM = """
import os, sys
there = os.fstat(2)
if sys.argv[2] == "journal":
    os.environ["JOURNAL_STREAM"] = f"{there.st_dev}:{there.st_ino}"
"""
"""What systemd does for a service whose standard error journald reads (systemd.exec(5))."""


def said_by(
    code: str, form: str, reader: str = "person", *arguments: str, status: int = 0
) -> list[str]:
    """Run a program whose standard error a person or journald reads; return its lines."""
    command = [sys.executable, "-c", PROGRAM + code, form, reader, *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (status, ""), said.stderr
    return said.stderr.splitlines()


def words_of(line: str, form: str) -> str:
    return str(json.loads(line)["message"]) if form == "json" else line


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("reader", ["person", "journal"])
def test_an_error_is_one_line_and_quotes_nothing_whoever_reads_it(form: str, reader: str) -> None:
    """In a process of its own: what is not caught is printed by Python itself."""
    lines = said_by(QUOTING, form, reader, status=1)
    if reader == "journal":
        assert [line[:3] for line in lines] == ["<4>", "<3>", "<4>", "<2>"]
        lines = [line[3:] for line in lines]
    thread, error, several, end = (words_of(line, form) for line in lines)
    assert thread.endswith("The thread dul ended (ValueError at <string>:12)")
    assert error.endswith("Could not keep an object (ValueError at <string>:12)")
    assert several.endswith("a message of several lines")
    assert end.endswith("The process ends (ValueError at <string>:12)")
    assert "JANE" not in "".join(lines)


LEVELS = """
import logging
from node.logs import start_logging
start_logging(form=sys.argv[1], is_verbose=True)
log = logging.getLogger("node")
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(log, level)("said")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_under_journald_each_level_has_its_priority_of_syslog(form: str) -> None:
    """sd-daemon(3)."""
    lines = said_by(LEVELS, form, "journal")
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<2>"]


def test_under_journald_text_has_no_time_of_its_own_and_elsewhere_it_has() -> None:
    assert said_by(LEVELS, "text", "journal")[1] == "<6>INFO    node: said"
    form = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8},[0-9]{3} INFO    node: said"
    assert re.fullmatch(form, said_by(LEVELS, "text")[1])


def test_a_stream_that_journald_does_not_read_has_no_priorities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """JOURNAL_STREAM is inherited by whoever has their standard error elsewhere."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    assert not said_by(LEVELS, "text")[0].startswith("<")


VERBOSE = """
import logging
from node.logs import start_logging
start_logging(form=sys.argv[1], is_verbose=True)
try:
    raise ValueError("of\\nthe file")
except ValueError:
    logging.getLogger("node").exception("It failed")
"""


def test_each_line_of_a_traceback_has_the_priority() -> None:
    lines = said_by(VERBOSE, "text", "journal")
    assert len(lines) > 3
    assert {line[:3] for line in lines} == {"<3>"}
    assert lines[-2:] == ["<3>ValueError: of", "<3>the file"]


def test_a_traceback_in_json_is_a_line_all_the_same() -> None:
    [line] = said_by(VERBOSE, "json")
    assert json.loads(line)["message"].startswith("It failed\nTraceback (most recent call last):\n")


ABOUT = """
import logging
from node.logs import about, naming, start_logging
start_logging(form=sys.argv[1])
log = logging.getLogger("node.flow")
with naming(study="1.2.3", peer="room"), about("1.2.3.4"):
    log.warning("It is put off", extra={"destination": "pacs", "peer": "archive"})
log.info("Done")
"""


def test_what_a_record_is_about_is_in_json_for_programs() -> None:
    about, done = (json.loads(line) for line in said_by(ABOUT, "json"))
    assert re.fullmatch(r"20[0-9-]{8}T[0-9:]{8}\.[0-9]{3}Z", about.pop("time"))
    assert about == {
        "level": "warning",
        "logger": "node.flow",
        "message": "It is put off (1.2.3.4)",
        "study": "1.2.3",
        "destination": "pacs",
        "peer": "archive",
        "version": __version__,
    }
    assert list(done) == ["time", "level", "logger", "message", "version"]
    text, _ = said_by(ABOUT, "text")
    assert text.endswith("WARNING node.flow: It is put off (1.2.3.4)")


WITH_A_CHILD = """
import logging
from node.config import InferenceSettings
from node.errors import Unreadable
from node.inference import Inference
from node.logs import start_logging
from pathlib import Path
start_logging(form=sys.argv[1])
with Inference(InferenceSettings(), ()) as inference:
    try:
        inference.pixel_digest(Path(sys.argv[3]), "1.2.3")
    except Unreadable:
        pass
"""


@pytest.mark.parametrize("reader", ["person", "journal"])
def test_a_process_that_runs_networks_logs_in_the_form_of_the_node(
    reader: str, tmp_path: Path
) -> None:
    code = b"\xff\xd8\xff\xd9"  # ends at once
    image = saved(compressed(np.zeros((8, 8), np.uint16), uid.JPEGLosslessSV1, code), tmp_path)
    lines = said_by(WITH_A_CHILD, "json", reader, str(image))
    assert lines
    for line in lines:
        assert line.startswith("<4>{" if reader == "journal" else "{")
        assert json.loads(line.removeprefix("<4>"))["message"].endswith("(1.2.3)")


@pytest.mark.parametrize("reader", ["person", "journal"])
def test_a_configuration_that_is_wrong_is_critical_where_programs_read_it(
    reader: str, tmp_path: Path
) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[node]\nae_titel = 'X'\n")
    run = f"from node import cli\nsys.argv = ['ai-node', 'run', '-c', {str(path)!r}]\ncli.main()"
    lines = said_by(run, "text", reader, status=1)
    assert len(lines) == 3
    begins = f"<2>CRITICAL node.cli.service: {path}:" if reader == "journal" else f"{path}:"
    assert [line for line in lines if not line.startswith(begins)] == []


NOT_STARTED = """
import logging
from node import cli
from node.logs import about

@cli.app.command()
def warn():
    with about("1.2.3"):
        logging.getLogger("node.dimse").warning("it cannot be sent")

cli.app(["warn"])
"""


def test_a_command_that_starts_no_log_warns_in_the_same_form() -> None:
    command = [sys.executable, "-c", NOT_STARTED]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stderr.endswith(" WARNING node.dimse: it cannot be sent (1.2.3)\n")


def test_an_error_is_one_line_in_a_file_and_quotes_nothing(tmp_path: Path) -> None:
    with log_to(tmp_path / "log"):
        try:
            raise ValueError("DOE^JANE")
        except ValueError:
            logging.getLogger("node.receive").exception("Could not keep %s", "an object")
    [line] = (tmp_path / "log").read_text().splitlines()
    assert "Could not keep an object (ValueError at test_logs.py:" in line


def test_what_is_said_again_is_counted_until_it_is_said_again() -> None:
    said = OncePerMinute(every_s=0)
    assert said.again("a") == said.again("a") == ""
    said = OncePerMinute(every_s=3600)
    assert said.again("a") == ""
    assert said.again("a") is None
    assert said.again("b") == ""
    said._every_s = 0
    assert said.again("a") == " (and 1 times more since it was last said)"


def test_what_was_said_to_thousands_is_forgotten() -> None:
    said = OncePerMinute(every_s=3600)
    for key in range(5000):
        assert said.again(key) == ""
    assert len(said._said) <= 1000
    assert said.again(4999) is None
