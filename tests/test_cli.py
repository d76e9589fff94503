"""The command teaches its use, says in one message what is wrong, and exits accordingly."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import factories
import pytest
import small_models
import sqlalchemy as sa
from factories import L_CC, R_CC
from forgotten import forget
from ledgers import EXCLUDED, HOUR_S, MODEL, NODE, SOMEBODY_ELSE, STUDY, Desk, fill
from peers import Pacs, refused_connections
from ports import free_port
from pydicom import dcmread
from typer.main import get_command
from typer.testing import CliRunner, Result

from node import cli
from node.app import App
from node.config import bundled_models_dir, load_config
from node.ledger import (
    Asking,
    Closing,
    DamagedObject,
    DeliveryState,
    Finished,
    HeldBecause,
    Ill,
    Ledger,
    Outcome,
    OwnPart,
    Patience,
    Role,
    VersionState,
    now,
    schema,
)
from node.ledger.rows import hold
from node.manifest import load_model
from node.overview import each_study
from node.result import Priority, Refusal
from node.store import Aside, Store
from node.study import StudyLabels

pytestmark = pytest.mark.usefixtures("warm_inference")

COMMANDS = [
    "run",
    "init",
    "check",
    "doctor",
    "demo",
    "send",
    "analyse",
    "evaluate",
    "train",
    "status",
    "studies",
    "nodes",
    "alarm",
    "models",
    "retry",
    "release",
    "rename-peer",
    "hold",
    "unhold",
    "backup",
    "move",
    "web",
]

SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
min_free_mb = 0

[listener]
host = "127.0.0.1"
port = {port}

[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
sends = true
receives = "default"

[[models]]
name = "breast-area"
mode = "deliver"
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(SETTINGS.format(port=free_port()))
    return path


@pytest.fixture
def desk_of_node(tmp_path: Path) -> Desk:
    """The ledger of the node that the settings describe."""
    (tmp_path / "state").mkdir()
    ledger = Ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.db'}")
    ledger.migrate()
    return Desk(ledger, Store(tmp_path / "state" / "store"))


# Help


def test_these_are_the_commands() -> None:
    command = get_command(cli.app)
    assert sorted(command.commands) == sorted(COMMANDS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_teaches(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0
    command = get_command(cli.app).commands[name]  # type: ignore[attr-defined]
    assert command.help.count(".") >= 2, "a sentence on what it does, and one on how"
    for parameter in command.params:
        assert parameter.name == "help" or parameter.help, parameter.name


def test_without_arguments_it_says_where_to_begin() -> None:
    result = call()
    assert "ai-node demo" in result.output
    for name in COMMANDS:
        assert name in result.output


def test_it_tells_its_version() -> None:
    assert call("--version").output.startswith("ai-node ")


# Errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "-c", "nowhere.toml"], "nowhere.toml"),
        (["run", "-c", "nowhere.toml"], "nowhere.toml"),
        (["retry", "-c", "nowhere.toml"], "nowhere.toml"),
        (["send", "nowhere", "--to", "PACS@127.0.0.1:104"], "does not exist"),
        (["send", "exam", "--to", "127.0.0.1:104"], "expected AET@HOST:PORT"),
        (["send", "exam", "--to", "PACS@127.0.0.1"], "expected AET@HOST:PORT"),
        (["analyse", "nowhere", "--out", "results"], "does not exist"),
        (["analyse", "exam", "--out", "results", "--model", "breast-aera"], "breast-aera"),
        (["analyse", "damaged", "--out", "results"], "odd.dcm"),
    ],
)
def test_what_is_wrong_is_one_message(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    factories.saved_exam(tmp_path / "exam", views=[R_CC])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "odd.dcm").write_bytes(bytes(128) + b"DICM" + b"and nothing else")
    result = call(*arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_a_message_is_one_line_however_long_it_is(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("longer" * 20)
    assert f"{folder} does not exist" in call("analyse", folder, "--out", tmp_path).stderr


def test_a_line_number_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("\n" * 99 + "[nod]\n")
    assert "node.toml:100: nod: unknown key" in call("check", "-c", path).stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert call("send").exit_code == 2
    assert call("sned").exit_code == 2


# Commands


def test_check_passes_the_smallest_configuration_and_changes_nothing(
    settings: Path, tmp_path: Path
) -> None:
    result = call("check", "-c", settings)
    assert result.exit_code == 0, result.output
    assert "is right: AINODE will listen on 127.0.0.1:" in " ".join(result.output.split())
    assert "Model breast-area 1.0.0: weights verified, runs." in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == [settings]


def test_what_a_start_needs_is_checked_before_it_and_no_more(settings: Path) -> None:
    """As of a machine that only receives: its networks run elsewhere, on a GPU."""
    settings.write_text(f'{settings.read_text()}\n[inference]\nprovider = "cuda"\n')
    assert call("check", "-c", settings).exit_code == 1
    result = call("check", "--for-start", "-c", settings)
    assert result.exit_code == 0, result.output
    assert "Model breast-area 1.0.0: weights verified." in " ".join(result.output.split())
    node = App(load_config(settings), Role.LISTENER)
    node.start()
    node.stop()
    settings.write_text(settings.read_text().replace("breast-area", "elsewhere"))
    assert call("check", "--for-start", "-c", settings).exit_code == 1


def test_check_names_who_else_is_told_and_what_tls_lacks(settings: Path, tmp_path: Path) -> None:
    assert "Alarms are told to nobody" in call("check", "-c", settings).output
    more = """
[[destinations]]
kind = "hl7"
name = "ris"
host = "ris.example"
port = 2575
models = ["breast-area"]
tls = true
tls_ca = "ca.pem"

[[destinations]]
kind = "folder"
name = "research"
path = "results"

[alarms.mail]
to = ["admin@hospital.example"]
sender = "ai@hospital.example"
host = "mail.hospital.example"
"""
    settings.write_text(settings.read_text() + more)
    result = call("check", "-c", settings)
    words = " ".join(result.output.split())
    assert "Destination ris, HL7 at ris.example:2575 with TLS: is told of the levels of" in words
    assert "Folder research, " in words
    assert "Alarms are told by mail to admin@hospital.example." in words
    assert f'Destination "ris": {tmp_path / "ca.pem"}: cannot be used for TLS (No such file' in (
        " ".join(result.stderr.split())
    )
    assert result.exit_code == 1
    settings.write_text(settings.read_text().replace('tls_ca = "ca.pem"', ""))
    assert call("check", "-c", settings).exit_code == 0


def test_check_says_what_is_removed_when_and_that_nothing_is(settings: Path) -> None:
    nothing = " ".join(call("check", "-c", settings).output.split())
    assert re.search(
        r"Note: \[retention\] removes nothing, so nothing in .+ is ever removed: its disk is \d+ %",
        nothing,
    )
    days = "images_days = 30\nout_of_scope_days = 1\nclean_from_percent = 80"
    settings.write_text(f"{settings.read_text()}\n[retention]\n{days}\n")
    words = " ".join(call("check", "-c", settings).output.split())
    assert "Studies that no model reads go after 1 day." in words
    assert "Received images of studies that are done go after 30 days." in words
    assert "Results that are where they belong go at no time." in words
    assert "From 80 % of the disk in use on images go before their days are over" in words
    assert "Never removed is what is owed" in words
    assert "[retention] removes nothing" not in words


def test_check_asks_about_weights_under_a_licence_of_their_own(
    settings: Path, tmp_path: Path
) -> None:
    assert "Note: Model" not in call("check", "-c", settings).output
    manifest = small_models.model(tmp_path).folder / "manifest.toml"
    said, own = 'weights = "Apache-2.0"', 'weights = "LicenseRef-for-research-only"'
    assert said in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(said, own))
    (manifest.parent / "README.md").write_text("## Measured\n\nn = 8\n")
    given = settings.read_text().replace("breast-area", "small")
    settings.write_text(given.replace("[listener]", f'models_dir = "{tmp_path}"\n[listener]'))
    result = call("check", "-c", settings)
    assert result.exit_code == 0, result.output
    assert "LicenseRef-for-research-only" in "".join(result.output.split())


@pytest.mark.parametrize("mode", ["deliver", "shadow"])
def test_check_fails_if_a_model_without_a_card_is_to_deliver(
    mode: str, settings: Path, tmp_path: Path
) -> None:
    small_models.model(tmp_path)
    given = settings.read_text().replace("breast-area", "small").replace('"deliver"', f'"{mode}"')
    settings.write_text(given.replace("[listener]", f'models_dir = "{tmp_path}"\n[listener]'))
    result = call("check", "-c", settings)
    assert result.exit_code == (1 if mode == "deliver" else 0), result.output
    assert ("delivers and has no model card" in result.output) == (mode == "deliver")


def test_check_fails_if_a_model_has_the_device_uid_of_another(
    settings: Path, tmp_path: Path
) -> None:
    manifest = small_models.model(tmp_path).folder / "manifest.toml"
    of_area = load_model("breast-area", bundled_models_dir()).manifest.device_uid
    manifest.write_text(manifest.read_text().replace('"2.25.2"', f'"{of_area}"'))
    (manifest.parent / "README.md").write_text("## Measured\n\nn = 8\n")
    given = settings.read_text().replace("breast-area", "small")
    settings.write_text(given.replace("[listener]", f'models_dir = "{tmp_path}"\n[listener]'))
    result = call("check", "-c", settings)
    assert result.exit_code == 1
    assert "Model small has the device_uid of breast-area in" in result.output


def test_of_two_models_of_one_name_that_of_the_site_is_used_and_a_difference_is_told(
    settings: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(bundled_models_dir() / "breast-area", tmp_path / "breast-area")
    given = settings.read_text()
    settings.write_text(given.replace("[listener]", f'models_dir = "{tmp_path}"\n[listener]'))
    result = call("check", "-c", settings)
    assert result.exit_code == 0
    assert "Note: Model" not in result.output, "it is a copy"
    manifest = copy / "manifest.toml"
    changed = manifest.read_text().replace("threshold = 0.5", "threshold = 0.4")
    manifest.write_text(re.sub("device_uid = .*", 'device_uid = "2.25.3"', changed))
    result = call("check", "-c", settings)
    assert result.exit_code == 0
    assert f"Model breast-area is the one in {copy}" in "".join(result.output.split("\n"))


def test_check_says_which_kinds_of_object_no_model_makes(settings: Path) -> None:
    preset = 'receives = "mammography-workstation"'
    settings.write_text(settings.read_text().replace('receives = "default"', preset))
    result = call("check", "-c", settings)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "no model that delivers makes mammography-cad; it gets pictures alone." in said


def test_check_says_who_may_delete_images_on_the_word_of_the_node(settings: Path) -> None:
    said = "sends = true\n"
    assert said in settings.read_text()
    settings.write_text(settings.read_text().replace(said, f"{said}commits = true\n"))
    result = call("check", "-c", settings)
    assert result.exit_code == 0, result.output
    assert "may delete its images once this node says that it keeps them" in (
        " ".join(result.output.split())
    )


def test_send_sends_a_folder(pacs: Pacs, tmp_path: Path) -> None:
    factories.saved_exam(tmp_path / "exam")
    (tmp_path / "exam" / "notes.txt").write_text("no DICOM")
    result = call("send", tmp_path / "exam", "--to", f"PACS@127.0.0.1:{pacs.port}", "--aet", "ME")
    assert result.exit_code == 0
    assert "4 of 4 objects stored" in result.output
    assert {received.calling_ae for received in pacs.received} == {"ME"}
    assert len(pacs.received) == 4


def test_send_names_what_was_not_stored(pacs: Pacs, tmp_path: Path) -> None:
    (first, _) = factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    statuses = iter([0xA700, 0x0000])
    pacs.answer = lambda received: next(statuses)
    result = call("send", tmp_path / "exam", "--to", f"PACS@127.0.0.1:{pacs.port}")
    assert result.exit_code == 1
    assert f"{first}: PACS answered 0xA700" in result.stderr
    assert "1 of 2 objects stored" in result.output


@refused_connections
def test_send_says_that_nobody_is_there(tmp_path: Path) -> None:
    factories.saved_exam(tmp_path / "exam", views=[R_CC])
    port = free_port()
    result = call("send", tmp_path / "exam", "--to", f"PACS@127.0.0.1:{port}")
    assert result.exit_code == 1
    assert f"PACS at 127.0.0.1:{port} cannot be reached" in result.stderr


def test_analyse_writes_the_objects_a_pacs_would_get(tmp_path: Path) -> None:
    exam = factories.exam(views=[R_CC, L_CC])
    factories.saved_exam(tmp_path / "exam", views=[R_CC, L_CC])
    result = call("analyse", tmp_path / "exam", "--out", tmp_path / "results")
    assert result.exit_code == 0, result.output
    written = sorted((tmp_path / "results" / exam[0].StudyInstanceUID).iterdir())
    objects = [dcmread(path) for path in written]
    assert sorted(d.Modality for d in objects) == ["OT", "OT", "OT", "SR"]
    assert {d.StudyInstanceUID for d in objects} == {exam[0].StudyInstanceUID}
    assert "cm2" in result.output
    assert "replaced" not in result.output
    again = call("analyse", tmp_path / "exam", "--out", tmp_path / "results")
    assert "replaced 4 former results" in again.output
    of_results = call("analyse", tmp_path / "results", "--out", tmp_path / "more")
    assert of_results.exit_code == 1
    assert "no study to analyse: 4 files are results already" in of_results.output


def test_analyse_names_a_file_that_only_is_called_dicom(tmp_path: Path) -> None:
    factories.saved_exam(tmp_path / "exam", views=[R_CC])
    (tmp_path / "exam" / "cut.dcm").write_bytes(b"")
    (tmp_path / "exam" / "notes.txt").write_text("no DICOM")
    result = call("analyse", tmp_path / "exam", "--out", tmp_path / "results")
    assert result.exit_code == 1
    assert "cut.dcm: not a DICOM Part 10 file" in result.stderr
    assert "notes.txt" not in result.stderr
    assert "R CC" in result.output


def test_analyse_says_which_kinds_the_model_does_not_make(tmp_path: Path) -> None:
    factories.saved_exam(tmp_path / "exam", views=[R_CC])
    preset = ("--preset", "mammography-workstation")
    result = call("analyse", tmp_path / "exam", "--out", tmp_path / "results", *preset)
    assert result.exit_code == 0, result.output
    assert "Not written: mammography-cad, which no result of breast-area can become" in (
        result.output
    )


def test_studies_gives_everything_as_json(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.analysed()
    result = call("studies", "-c", settings, "--json")
    assert result.exit_code == 0, result.output
    (study,) = json.loads(result.output)
    assert (study["study_uid"], study["state"]) == (STUDY, "delivering")
    assert study["reason"] == "4/4 views"
    assert [delivery["state"] for delivery in study["deliveries"]] == ["queued", "queued"]
    assert study["history"]


def test_studies_of_one_study_lists_that(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.analysed()
    desk_of_node.analysed(study="1.2.9", first_report=5)
    result = call("studies", "1.2.9", "-c", settings)
    assert result.exit_code == 0, result.output
    assert "1.2.9" in result.output
    assert STUDY not in result.output


def test_studies_says_of_a_forgotten_study_since_when_and_what_was_sent(
    settings: Path, desk_of_node: Desk
) -> None:
    (job,) = desk_of_node.analysed()
    desk_of_node.deliver(job)
    forget(desk_of_node)
    result = call("studies", STUDY, "-c", settings)
    assert result.exit_code == 0, result.output
    assert re.search(r"forgotten on 20[\d-]{8}; 2 reports were sent to pacs", result.stderr)
    as_json = call("studies", STUDY, "-c", settings, "--json")
    assert json.loads(as_json.stdout) == []
    retry = call("retry", STUDY, "-c", settings)
    assert retry.exit_code == 1
    assert "2 reports were sent to pacs" in retry.stderr


def test_studies_says_of_a_study_that_never_came_that_it_is_not_known(
    settings: Path, desk_of_node: Desk
) -> None:
    result = call("studies", "1.2.3", "-c", settings)
    assert result.exit_code == 2
    assert "study 1.2.3 is not known here: it never came" in result.stderr


def test_studies_gives_levels_as_json_in_words(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.analysed(level=Priority.NOT_ASSESSED)
    (study,) = json.loads(call("studies", "-c", settings, "--json").output)
    (model,) = study["models"]
    levels = (study["level"], model["level"], model["result"]["triage"]["level"])
    assert levels == ("not assessed",) * 3


def test_studies_counts_what_cannot_be_used_and_says_where_it_lies(
    settings: Path, desk_of_node: Desk
) -> None:
    store = desk_of_node.store
    store.prepare()
    assert "the reason" not in call("studies", "-c", settings).output
    for name in ("a", "b"):
        (store.incoming / name).write_bytes(b"damaged")
        store.put_unreadable(store.incoming / name, Aside("no SOP Class UID", "modality", False))
    (store.incoming / "c").write_bytes(b"other")
    about = Aside("other pixels", "modality", True, sop_instance_uid=f"{STUDY}.1")
    store.put_contradicting(store.incoming / "c", about, "1" * 64)
    lines = call("studies", "-c", settings).output.splitlines()
    assert f"2 objects in {store.unreadable}, each with the reason" in lines
    assert f"1 object in {store.contradicting}, each with the reason" in lines


def test_studies_writes_its_json_study_by_study_in_the_form_of_one_list(
    settings: Path, desk_of_node: Desk
) -> None:
    assert call("studies", "-c", settings, "--json").output == "[]\n"
    fill(desk_of_node.ledger, 3)
    for arguments, with_outlines in (([], False), (["--outlines"], True)):
        overviews = each_study(desk_of_node.ledger, with_outlines=with_outlines)
        expected = [json.loads(json.dumps(asdict(overview))) for overview in overviews]
        shown = call("studies", "-c", settings, "--json", *arguments)
        found = json.loads(shown.output)
        assert shown.output == f"{json.dumps(found, indent=1)}\n"
        for study, study_expected in zip(found, expected, strict=True):
            for name in ("asked_at", "received_s", "waited_s", "analysed_s", "delivered_s"):
                study_expected[name] = study[name]
        assert found == expected
        assert ("1234.5678" in shown.output) is with_outlines


def listed(settings: Path, *arguments: object) -> list[str]:
    """Return the studies that a list with these options has."""
    result = call("studies", "-c", settings, "--json", *arguments)
    return [study["study_uid"] for study in json.loads(result.output)]


def test_studies_lists_what_is_asked_for(settings: Path, desk_of_node: Desk) -> None:
    labels = StudyLabels(accession_number="A1", patient_id="P1")
    desk_of_node.receive("1.1.1", study="1.1", labels=labels)
    desk_of_node.let_pass(3 * HOUR_S)
    desk_of_node.receive("1.2.1", study="1.2", sender="ct")
    desk_of_node.let_pass(1)  # SQLite's clock counts milliseconds, and two may come in one
    desk_of_node.receive("1.3.1", study="1.3", why_excluded="no Patient ID")
    desk_of_node.close(EXCLUDED, study="1.3")
    assert listed(settings) == ["1.3", "1.2", "1.1"]
    assert listed(settings, "--limit", 2) == ["1.3", "1.2"]
    assert listed(settings, "--since", "2h") == ["1.3", "1.2"]
    assert listed(settings, "--since", "1d", "--sender", "ct") == ["1.2"]
    assert listed(settings, "--since", "2126-01-01") == []
    assert listed(settings, "--state", "receiving") == ["1.2", "1.1"]
    assert listed(settings, "--state", "excluded") == ["1.3"]
    assert listed(settings, "--accession", "A1") == ["1.1"]
    assert listed(settings, "--patient-id", "P1") == ["1.1"]
    assert listed(settings, "--patient-id", "P2") == []


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--since", "yesterday", "expected such as 90min, 2h, 3d, 2026-11-28"),
        ("--state", "lost", "expected one of receiving, queued, running"),
    ],
)
def test_studies_says_what_it_does_not_understand(
    settings: Path, option: str, value: str, words: str
) -> None:
    result = call("studies", "-c", settings, option, value)
    assert result.exit_code == 2
    assert words in " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


def test_studies_ends_as_what_it_lists_is(settings: Path, desk_of_node: Desk) -> None:
    """As `ai-node status` does: 2 asks for somebody now, 1 for a look."""
    desk_of_node.receive("1.1.1", study="1.1")
    assert call("studies", "-c", settings).exit_code == 0
    desk_of_node.receive("1.1.2", study="1.1", identity=SOMEBODY_ELSE)
    assert call("studies", "-c", settings).exit_code == 1
    (job,) = desk_of_node.analysed("1.2", deliver_within_s=0)
    desk_of_node.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    for arguments in ([], ["--json"]):
        assert call("studies", "-c", settings, *arguments).exit_code == 2
    assert call("studies", "-c", settings, "--state", "held").exit_code == 1
    assert call("studies", "-c", "nowhere.toml").exit_code == 2


def test_studies_says_when_each_came_and_how_long_each_step_took(
    settings: Path, desk_of_node: Desk
) -> None:
    (job,) = desk_of_node.analysed()
    desk_of_node.deliver(job)
    came = datetime.fromtimestamp(desk_of_node.study()["last_image_at"]).astimezone()
    (line,) = (
        line.strip()
        for line in call("studies", "-c", settings).output.splitlines()
        if line.startswith("  came")
    )
    assert re.fullmatch(
        rf"came +{came:%Y-%m-%d %H:%M}, waited \d+ s, analysed in \d+ s, delivered in \d+ s", line
    )


def test_studies_lists_where_each_stands(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.receive()
    result = call("studies", "-c", settings)
    assert result.exit_code == 0, result.output
    assert "receiving" in result.output


def test_studies_lists_the_urgent_one_first_and_says_what_it_was(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.analysed("1.1", level=Priority.ROUTINE)
    desk_of_node.analysed("1.1", image=2, level=Priority.URGENT, first_report=10)
    desk_of_node.receive("1.2.1", study="1.2")
    lines = call("studies", "-c", settings).output.splitlines()
    assert lines[0].split() == ["1.1", "delivering", "URGENT"]
    assert lines[1].split(maxsplit=1) == [
        "level",
        "routine in version 1, now urgent, last image 0 min ago",
    ]
    assert "AI triage level urgent (research model): the score is urgent" in "".join(lines)
    assert "level" not in "".join(lines[lines.index(next(x for x in lines if "1.2 " in x)) :])


@pytest.mark.parametrize(("open_days", "is_first"), [(None, True), (2, False)])
def test_studies_puts_first_what_the_page_s_list_holds(
    settings: Path, desk_of_node: Desk, open_days: float | None, is_first: bool
) -> None:
    desk_of_node.analysed("1.1", level=Priority.URGENT)
    desk_of_node.let_pass(3 * 86_400)
    desk_of_node.receive("1.2.1", study="1.2")
    if open_days is not None:
        words = f"{settings.read_text('utf-8')}\n[web]\nopen_days = {open_days}\n"
        settings.write_text(words, "utf-8")
    first = call("studies", "-c", settings).output.split()[0]
    assert (first == "1.1") is is_first


def test_studies_says_of_a_level_that_it_is_a_demonstration_s(
    settings: Path, desk_of_node: Desk
) -> None:
    model = replace(MODEL, is_demonstration=True)
    desk_of_node.analysed("1.1", level=Priority.URGENT, model=model)
    lines = call("studies", "-c", settings).output.splitlines()
    assert lines[0].split(maxsplit=2) == ["1.1", "delivering", "URGENT (demonstration model)"]
    (study,) = json.loads(call("studies", "-c", settings, "--json").output)
    assert study["is_demonstration"] is True


@pytest.mark.parametrize(
    ("age_s", "words"),
    [(59, "0 min"), (185, "3 min"), (3660, "1 h 1 min"), (7200, "2 h 0 min"), (266400, "3 d 2 h")],
)
def test_studies_says_how_long_a_study_has_waited(
    settings: Path, desk_of_node: Desk, age_s: float, words: str
) -> None:
    desk_of_node.receive()
    desk_of_node.let_pass(age_s)
    job = desk_of_node.close()
    desk_of_node.begin(job)
    desk_of_node.finish(job, level=Priority.SOON)
    desk_of_node.receive(f"{STUDY}.note", modality="SR", is_in_scope=False)
    assert f"soon, last image {words} ago" in call("studies", "-c", settings).output


def test_studies_says_that_a_level_is_that_of_the_version_before(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.analysed(level=Priority.URGENT)
    desk_of_node.receive(f"{STUDY}.2")
    desk_of_node.begin(desk_of_node.close())
    assert "urgent, of the version before, last image" in call("studies", "-c", settings).output


def test_studies_names_each_view_once_however_many_images_show_it(
    settings: Path, desk_of_node: Desk
) -> None:
    for n in range(40):
        desk_of_node.receive(f"{STUDY}.many.{n}", view="R CC")
    desk_of_node.receive(f"{STUDY}.one", view="L CC")
    shown = call("studies", "-c", settings).output
    assert "41 of modality: L CC, R CC (40)\n" in shown
    desk_of_node.receive(f"{STUDY}.unclear", view=None)
    shown = call("studies", "-c", settings).output
    assert "42 of modality: L CC, R CC (40), 1 without a view\n" in shown


def test_studies_says_which_objects_were_refused_as_damaged(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.receive()
    assert "damaged" not in call("studies", "-c", settings).output
    damaged = DamagedObject(f"{STUDY}.2", STUDY, "association", "it ends early")
    desk_of_node.receiving.record_damaged(damaged)
    shown = call("studies", "-c", settings).output
    assert "  damaged      one object refused as damaged (it ends early)" in shown.splitlines()
    (study,) = json.loads(call("studies", "-c", settings, "--json").output)
    assert study["damaged"] == ["it ends early"]


def test_studies_says_which_images_were_not_analysed_and_why_in_the_words_of_analyse(
    settings: Path, desk_of_node: Desk
) -> None:
    reasons = ("Rescale Slope cannot be understood", *(f"reason {n}" for n in range(6)))
    refused = tuple(Refusal(f"{STUDY}.{n}", "L CC", why) for n, why in enumerate(reasons))
    desk_of_node.analysed(refused=refused)
    lines = call("studies", "-c", settings).output.splitlines()
    said = [line for line in lines if line.startswith("  not analysed ")]
    assert said[0] == "  not analysed L CC: Rescale Slope cannot be understood"
    assert said[5:] == ["  not analysed L CC: reason 4", "  not analysed and 1 more"]


@pytest.mark.parametrize(("wait_s", "words"), [(90, "90 s"), (1800, "30 min")])
def test_studies_says_when_a_destination_is_tried_again(
    settings: Path, desk_of_node: Desk, wait_s: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = desk_of_node.analysed()
    desk_of_node.deliver(job, DeliveryState.SENT, DeliveryState.QUEUED, patience=Patience(wait_s))
    put_off_at = desk_of_node.dispatch()["next_at"] - wait_s
    monkeypatch.setattr(time, "time", lambda: put_off_at)
    shown = call("studies", "-c", settings).output
    assert f"1 of 2 objects stored, accepted, unconfirmed; next attempt in {words}" in shown


def test_retry_sends_again_what_was_given_up(settings: Path, desk_of_node: Desk) -> None:
    (job,) = desk_of_node.analysed(deliver_within_s=0)
    shipment = desk_of_node.delivering.begin_dispatch(job, NODE)
    refused = [
        Outcome(report.sop_uid, DeliveryState.REFUSED, "not accepted")
        for report in shipment.to_send
    ]
    desk_of_node.delivering.finish_dispatch(job, refused, Patience(1), desk_of_node.enqueue)
    shown = call("studies", "-c", settings).output
    assert "undelivered" in shown
    assert "mend that; then `ai-node retry`" in shown
    assert "\n1 study\n" in shown
    result = call("retry", "-c", settings)
    assert result.exit_code == 0, result.output
    assert "1 delivery given up before will be tried again." in result.output
    assert len(desk_of_node.sweeping.unfinished()) == 1
    assert "No delivery was given up" in call("retry", "-c", settings).output


def put_off(desk: Desk) -> None:
    """Have a study wait for another attempt at sending it to `pacs`."""
    (job,) = desk.analysed()
    states = (DeliveryState.QUEUED, DeliveryState.QUEUED)
    desk.deliver(job, *states, patience=Patience(600))


def test_retry_tries_now_what_waits_and_says_what_it_found(
    settings: Path, desk_of_node: Desk
) -> None:
    put_off(desk_of_node)
    said = call("retry", "--destination", "pacs", "-c", settings).output
    assert "1 delivery that waited will be tried now: 1 to pacs." in said
    assert desk_of_node.dispatch()["next_at"] is None
    assert "by hand by" in desk_of_node.history()[-1]
    said = call("retry", "--destination", "pacs", "-c", settings).output
    assert "No delivery to pacs was given up, and none waits for another attempt." in said


def test_retry_of_one_study_tries_that(settings: Path, desk_of_node: Desk) -> None:
    put_off(desk_of_node)
    said = call("retry", STUDY, "-c", settings).output
    assert f"Study {STUDY}: tried now: pacs." in said
    again = call("retry", STUDY, "-c", settings)
    assert again.exit_code == 1
    assert "none waits for another attempt" in again.stderr
    unknown = call("retry", "1.2.3", "-c", settings)
    assert (unknown.exit_code, "is not known here" in unknown.stderr) == (1, True)


def test_retry_of_a_study_that_is_held_says_so(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.receive()
    with desk_of_node.ledger.writing() as db:
        hold(db, STUDY, HeldBecause.PIXELS, "an object came again with other pixels")
    said = call("retry", STUDY, "-c", settings)
    assert said.exit_code == 1
    words = " ".join(said.stderr.split())
    assert f"study {STUDY} is held (an object came again with other pixels)" in words
    assert "`ai-node release`" in words


def test_retry_for_a_name_that_nobody_has_says_which_is_meant(
    settings: Path, desk_of_node: Desk
) -> None:
    put_off(desk_of_node)
    result = call("retry", "--destination", "pasc", "-c", settings)
    assert result.exit_code == 1
    words = '--destination: no destination is called "pasc", did you mean "pacs"?'
    assert words in result.stderr
    assert desk_of_node.dispatch()["next_at"] is not None


def test_whoever_may_not_see_the_ledger_is_told_to_be_the_nodes_user(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, who runs these tests on many machines, may see everything: the error is Python's."""
    stat = Path.stat

    def refuse(path: Path, **how: bool) -> os.stat_result:
        if path.name == "ledger.db":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", refuse)
    result = call("studies", "-c", settings)
    assert result.exit_code == 2
    assert "(Permission denied); run this as the user the node runs as" in result.stderr


@pytest.mark.parametrize("store_dir", ["afile", "afile/inside"])
def test_run_says_in_a_sentence_that_there_can_be_no_store(
    settings: Path, tmp_path: Path, store_dir: str
) -> None:
    (tmp_path / "afile").write_text("")
    given = settings.read_text().replace("[listener]", f'store_dir = "{store_dir}"\n[listener]')
    settings.write_text(given)
    result = call("run", "-c", settings)
    assert result.exit_code == 1
    assert "store_dir" in result.stderr and "cannot be written" in result.stderr


def test_retry_says_whose_results_have_nowhere_to_go(settings: Path, desk_of_node: Desk) -> None:
    """The desk's studies come from a peer that this configuration does not have."""
    desk_of_node.receive()
    job = desk_of_node.close()
    desk_of_node.begin(job)
    nowhere = Finished((), (), {}, 0, problem="no destination: no peer is called modality any more")
    desk_of_node.processing.finish_version(job, nowhere, desk_of_node.enqueue)
    said = call("retry", "-c", settings).output
    assert "The results of 1 study still go nowhere: nobody gets them" in said


@pytest.mark.parametrize(("command", "code"), [("studies", 2), ("nodes", 2), ("retry", 1)])
def test_a_ledger_of_an_earlier_release_is_said_to_be_one(
    settings: Path, desk_of_node: Desk, command: str, code: int
) -> None:
    with desk_of_node.ledger.writing() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    result = call(command, "-c", settings)
    assert result.exit_code == code
    assert "is as an earlier release left it; start this one with `ai-node run`" in result.stderr


# Status


def test_status_is_an_exit_code_with_the_reason_and_what_to_do(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    well = call("status", "-c", settings)
    assert (well.exit_code, well.output.splitlines()[0]) == (0, "OK    nothing has to be done")
    desk_of_node.analysed()
    desk_of_node.receive_again(pixels="other")
    held = call("status", "-c", settings)
    assert held.exit_code == 1
    assert held.output.startswith("LOOK  1 study held: nothing of it is analysed or sent\n")
    assert "      next: `ai-node studies" in held.output
    desk_of_node.nodes.retire_node(NODE)
    stopped = call("status", "-c", settings)
    assert stopped.exit_code == 2
    assert stopped.output.startswith("ACT   listener: no node listens: ward-a:/srv/ai-node was")
    said = json.loads(call("status", "--json", "-c", settings).output)
    assert [remark["alarm"] for remark in said["remarks"]] == [2, 2, 1]
    assert said["alarm"] == 2


def test_status_before_any_node_has_run_says_so(settings: Path) -> None:
    result = call("status", "-c", settings)
    assert result.exit_code == 2
    assert "no node has run with this configuration yet" in result.output
    said = json.loads(call("status", "--json", "-c", settings).output)
    assert (said["alarm"], said["word"], said["parts"]) == (2, "act", [])


def test_status_of_a_configuration_that_is_wrong_says_so(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[node]\n")
    result = call("status", "-c", path)
    assert result.exit_code == 2
    assert "ae_title" in result.output


@pytest.mark.parametrize(
    "wrong", ['[[peers]]\nname = "ct2"\nport = "x"\n', "[[peers]\n"], ids=["key", "TOML"]
)
def test_status_says_how_a_node_is_that_works_on_while_its_file_is_wrong(
    wrong: str, settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    settings.write_text(f"{settings.read_text('utf-8')}\n{wrong}", "utf-8")
    result = call("status", "-c", settings)
    assert result.exit_code == 2
    assert f"ACT   {settings}:" in result.output
    assert "LOOK  what runs works on by the configuration it had\n" in result.output
    assert re.search("^well +database, listener, worker, ", result.output, re.MULTILINE)
    refused = "the configuration on disk was refused at 2026-03-01 09:30:00: node.toml:18: ..."
    ill = {OwnPart.CONFIGURATION: Ill(time.time(), refused)}
    desk_of_node.nodes.record_ill(NODE, ill)
    said = call("status", "-c", settings).output
    assert f"LOOK  node ward-a:/srv/ai-node: {refused}, since " in said
    assert "      next: it works on by the former one: correct it" in said
    desk_of_node.nodes.retire_node(NODE)
    said = call("status", "-c", settings).output
    assert "ACT   listener: no node listens: ward-a:/srv/ai-node was stopped" in said
    assert "works on" not in said


def test_nodes_has_the_exit_codes_of_status(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    assert call("nodes", "-c", settings).exit_code == 0
    desk_of_node.nodes.register_node("other", "ward-b:/srv/ai-node 2-2")
    beat_at, is_other = schema.node.c.beat_at, schema.node.c.id == "other"
    with desk_of_node.ledger.writing() as db:
        db.execute(schema.node.update().where(is_other).values(beat_at=beat_at - 3600))
    silent = call("nodes", "-c", settings)
    assert silent.exit_code == 1
    assert "ward-b:/srv/ai-node  listens and works  silent" in silent.stdout
    assert "has said nothing for 60 min" in silent.stderr
    desk_of_node.nodes.retire_node(NODE)
    assert call("nodes", "-c", settings).exit_code == 2


def test_status_is_cheap_enough_for_a_probe(settings: Path, desk_of_node: Desk) -> None:
    """CPU seconds of the process, which others on the machine do not change by much."""
    fill(desk_of_node.ledger, 300)
    desk_of_node.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    command = [sys.executable, "-m", "node", "status", "-c", str(settings)]

    def took_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(took_s() for _ in range(3)) < 2.0  # 1.0 on a machine that does nothing else


def test_release_lets_a_study_go_on_that_was_excluded(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.receive(why_excluded="study is 412 days old (max_study_age_days = 90)")
    (arrival,) = desk_of_node.arrivals()
    closing = Closing(
        "quiet 60 s", state=VersionState.EXCLUDED, why_not=arrival.parts[0].why_excluded
    )
    desk_of_node.settling.close_version(arrival, closing, desk_of_node.enqueue)
    shown = call("studies", "-c", settings).output
    assert "412 days old" in shown
    assert f"`ai-node release {STUDY}`" in shown
    result = call("release", STUDY, "-c", settings)
    assert result.exit_code == 0, result.output
    assert "it is analysed once it is complete" in result.output
    again = call("release", STUDY, "-c", settings)
    assert again.exit_code == 1
    assert "neither held nor excluded" in again.output


def test_release_says_that_a_study_is_not_known(settings: Path, desk_of_node: Desk) -> None:
    result = call("release", "1.2.3", "-c", settings)
    assert result.exit_code == 1
    assert "study 1.2.3 is not known here; `ai-node studies` lists all" in result.output


def test_hold_keeps_a_study_until_unhold_and_studies_shows_who_does(
    settings: Path, desk_of_node: Desk
) -> None:
    desk_of_node.analysed()
    held = call("hold", STUDY, "--why", "court case 4711", "-c", settings)
    assert held.exit_code == 0, held.output
    assert held.output == (
        f"Study {STUDY} is kept: nothing of it is removed until `ai-node unhold`.\n"
    )
    shown = call("studies", "-c", settings).output
    assert re.search(r"kept +by \S+ \(command\) since 2\S+ \S+: court case 4711; nothing", shown)
    (said,) = json.loads(call("studies", "-c", settings, "--json").output)
    assert (said["kept_why"], said["kept_by"][-10:]) == ("court case 4711", " (command)")
    let_go = call("unhold", STUDY, "-c", settings)
    assert let_go.exit_code == 0
    assert "had kept it: court case 4711." in let_go.output
    assert "court case" not in call("studies", "-c", settings).output
    for command in (("hold", "1.2.3", "--why", "x"), ("unhold", "1.2.3"), ("unhold", STUDY)):
        refused = call(*command, "-c", settings)
        assert refused.exit_code == 1
        assert "is not known here" in refused.output or "is not kept" in refused.output


def test_studies_says_of_one_study_why_nothing_of_it_is_removed(
    settings: Path, desk_of_node: Desk
) -> None:
    (job,) = desk_of_node.analysed()
    assert "not removed" not in call("studies", STUDY, "-c", settings).output  # nothing ever is
    text = settings.read_text("utf-8")
    settings.write_text(f"{text}\n[retention]\nimages_days = 30\n", "utf-8")
    shown = call("studies", STUDY, "-c", settings).output
    words = "not removed  as long as results of it are still to be delivered or confirmed"
    assert words in shown
    desk_of_node.deliver(job)
    desk_of_node.delete(schema.study_to_tell)
    assert "not removed" not in call("studies", STUDY, "-c", settings).output


def test_studies_says_that_files_lie_there_of_which_no_row_speaks(
    settings: Path, desk_of_node: Desk
) -> None:
    """They may have been acknowledged, and go after unreadable_days."""
    orphan = desk_of_node.store.orphans / "received" / "1.9.3" / "x.dcm"
    orphan.parent.mkdir(parents=True)
    orphan.touch()
    said = call("studies", "-c", settings).output
    assert f"1 file in {desk_of_node.store.orphans}, of which no row speaks" in said


def test_studies_says_when_something_of_one_was_removed(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.analysed()
    desk_of_node.change(schema.study, images_removed_at=now(), results_removed_at=now())
    shown = call("studies", "-c", settings).output
    assert re.search(r"removed +images, 2\S+ \S+, as \[retention\] says", shown)
    assert re.search(r"removed +results, 2\S+ \S+, as \[retention\] says", shown)


def test_studies_says_of_whom_images_are_asked_back(settings: Path, desk_of_node: Desk) -> None:
    desk_of_node.receive()
    desk_of_node.settling.ask_back(STUDY, 1)
    Asking(desk_of_node.ledger).put_off(STUDY, 60, "pacs", "it does not answer")
    assert (
        "  asked back   images asked back from pacs, 1 attempt: it does not answer\n"
        in call("studies", "-c", settings).output
    )


def test_studies_says_of_a_recalled_one_that_it_had_been_forgotten(
    settings: Path, desk_of_node: Desk
) -> None:
    (job,) = desk_of_node.analysed()
    desk_of_node.deliver(job)
    forget(desk_of_node)
    desk_of_node.receiving.recall(STUDY)
    shown = call("studies", "-c", settings).output
    assert re.search(r"recalled +2\S+ \S+, for something of it came; it had been forgotten", shown)
    assert "what it said is forgotten" in shown
    assert "pending" not in shown


# The process


def run(settings: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "node", "run", "-c", str(settings)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "300"},
    )


def test_run_listens_and_ends_cleanly_when_it_is_told_to(settings: Path) -> None:
    with run(settings) as process:
        assert process.stderr is not None
        assert reads(process.stderr.readline, "Listening on 127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert "Stopped" in rest


def test_run_on_a_port_that_is_taken_ends_with_one_message(settings: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings.write_text(SETTINGS.format(port=port))
        result = call("run", "-c", settings)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "Traceback" not in result.output


def reads(readline: Callable[[], str], words: str, within_s: float = 60) -> bool:
    give_up_at = time.monotonic() + within_s
    while time.monotonic() < give_up_at:
        line = readline()
        if words in line:
            return True
        if not line:
            return False
    return False
