"""`ai-node doctor`: what would not work is found before it is needed, each with its remedy."""

from __future__ import annotations

import errno
import json
import re
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import small_models
from giving import GivingArchive
from ledgers import EXCLUDED, STUDY, Desk
from mr_models import uptake_model
from packages import CLASSES, OUTPUT, package, write_package
from peers import (
    BREAK_OFF,
    COMMITMENT,
    FIND,
    SILENCE,
    Answers,
    Archive,
    Pacs,
    refused_connections,
)
from ports import free_port, needs_ipv6
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from typer.testing import CliRunner, Result

from node import cli, doctor
from node.config import (
    ChosenModel,
    Config,
    FolderSettings,
    ListenerSettings,
    Node,
    Peer,
    Provider,
    bundled_models_dir,
    presets,
)
from node.doctor import Verdict, exam, machine
from node.doctor.destinations import check_destinations
from node.doctor.exam import check_exam
from node.doctor.machine import check_clock, check_disk, check_folders, check_port, mount_of
from node.doctor.parts import check_database, check_models
from node.doctor.peers import check_peers
from node.doctor.work import check_work
from node.domains.mammography.sop_classes import MG_FOR_PRESENTATION, MG_FOR_PROCESSING
from node.kinds import sop_classes
from node.ledger import DeliveryState, HeldBecause, schema
from node.overview.figures import FORGOTTEN_S
from node.site import kinds_nobody_makes, open_ledger
from node.state_dir import lock_state_dir
from node.store import Store
from node.trial import phantom
from node.trial.checks import ExamOutcome, read_back

PACS_OF_SITE = {
    "name": "pacs",
    "ae_title": "PACS",
    "host": "127.0.0.1",
    "port": 104,
    "sends": True,
    "receives": "default",
}
BREAST_AREA = ChosenModel(name="breast-area", mode="deliver")


def site(folder: Path, *peers: Peer, models: Iterable[ChosenModel] = (), **node: object) -> Config:
    own = {"ae_title": "AINODE", "state_dir": folder / "state", "min_free_mb": 0, **node}
    return Config(
        node=Node.model_validate(own),
        listener=ListenerSettings(host="127.0.0.1", port=free_port()),
        peers=peers,
        models=tuple(models),
    )


def one(verdicts: Iterable[Verdict]) -> Verdict:
    [verdict] = verdicts
    assert (verdict.state == "ok") == (verdict.remedy == "")
    return verdict


def states(verdicts: Iterable[Verdict]) -> list[str]:
    return [verdict.state for verdict in verdicts]


# The whole


def call(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(cli.app, ["doctor", "-c", str(folder / "node.toml"), *options])


def write_settings(folder: Path, pacs: Pacs, more: str = "") -> None:
    (folder / "node.toml").write_text(f"""
[node]
ae_title = "AINODE"
state_dir = "state"
min_free_mb = 0
timezone = "Europe/Berlin"
[listener]
host = "127.0.0.1"
port = {free_port()}
[[peers]]
name = "pacs"
ae_title = "{pacs.ae_title}"
host = "127.0.0.1"
port = {pacs.port}
sends = true
receives = "default"
[[models]]
name = "breast-area"
mode = "shadow"
{more}
""")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_where_all_is_well_every_line_is_green_and_nothing_has_changed(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: set[str] = set()

    def look(*arguments: object) -> ExamOutcome:
        outcome = read_back(*arguments)  # type: ignore[arg-type]
        kinds.update(str(dataset.SOPClassUID) for dataset in outcome.datasets)
        return outcome

    monkeypatch.setattr(exam, "read_back", look)
    write_settings(tmp_path, archive, "[retention]\nimages_days = 30\nresults_days = 90")
    result = call(tmp_path)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    # The mode is shadow, on purpose: that is worth a word.
    [warned] = [line for line in lines if line.startswith("warning")]
    assert "No model has the mode deliver" in warned
    assert [line for line in lines if line.startswith("FAILED")] == []
    [last] = [line for line in lines if " exam " in line]
    assert "4 generated images in; back and read: 1 report, 5 images" in last
    assert "breast-area: 4 of 4 images analysed" in last
    assert kinds == sop_classes(presets()["default"]), (
        "what the node sends, and others are asked to"
    )
    assert lines[-1].startswith("0 failed, 1 to look at, ")
    assert [path.name for path in tmp_path.iterdir()] == ["node.toml"]
    assert archive.received == archive.requests == []


def test_a_mistake_in_the_configuration_is_all_it_says(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("[node]\nae_titel = 'X'\n")
    result = call(tmp_path)
    assert result.exit_code == 1
    assert 'node.toml:2: node.ae_titel: unknown key, did you mean "ae_title"?' in result.output
    assert "what to do:" in result.output


@refused_connections
def test_what_fails_is_there_for_programs_too_and_no_password_with_it(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [check for check in doctor.CHECKS if check[0] in ("database", "peers")]
    monkeypatch.setattr(doctor, "CHECKS", tuple(checks))
    write_settings(tmp_path, archive)
    path = tmp_path / "node.toml"
    url = f"postgresql://ainode:SECRET@127.0.0.1:{free_port()}/ainode"
    path.write_text(path.read_text().replace("[listener]", f'database = "{url}"\n[listener]'))
    result = call(tmp_path, "--json")
    assert result.exit_code == 1
    found = {line["what"]: line["state"] for line in json.loads(result.output)}
    assert found == {"configuration": "ok", "database": "failed", "peer pacs": "ok"}
    assert "SECRET" not in result.output


def test_a_check_that_breaks_off_does_not_take_the_others_with_it(
    pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(config: Config) -> Iterable[Verdict]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "CHECKS", (("disk", breaks), ("clock", check_clock)))
    write_settings(tmp_path, pacs)
    found = list(doctor.diagnose(tmp_path / "node.toml"))
    assert states(found) == ["ok", "failed", "ok"]
    assert "Permission denied" in found[1].words


# Folders and disk


def test_folders_are_written_to_and_left_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state, store = check_folders(site(tmp_path, store_dir=tmp_path / "away" / "store"))
    assert state.state == store.state == "ok"
    assert " ms" in state.words
    assert "made at the first start" not in state.words
    assert "made at the first start" in store.words
    assert [path.name for path in tmp_path.rglob("*")] == ["state"]


def test_a_file_is_no_folder_and_nothing_can_be_in_it(tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("")
    inside = tmp_path / "afile" / "store"
    for verdict in check_folders(site(tmp_path, state_dir=tmp_path / "afile", store_dir=inside)):
        assert (verdict.state, verdict.words) == ("failed", f"{tmp_path / 'afile'} is a file")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """Who runs this, for all that the checks know."""
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    return "nobody"


def test_a_folder_that_cannot_be_written_to_is_named_with_a_command_that_helps(
    nobody: str,
) -> None:
    for verdict in check_folders(site(Path("/proc"))):
        assert verdict.state == "failed"
        assert "/proc/state" in verdict.words
        assert f"sudo install -d -o {nobody} /proc/state" in verdict.remedy
        assert "sudo -u root" not in verdict.remedy
    for verdict in check_folders(site(Path("/"), state_dir=Path("/proc"))):
        folder = "/proc" if verdict.what == "state_dir" else "/proc/store"
        assert f" {folder} cannot" in f" {verdict.words}"
    state, _ = check_folders(site(Path("/"), state_dir=Path("/proc")))
    assert f"sudo chown -R {nobody} /proc." in state.remedy


def test_of_a_folder_that_cannot_be_written_to_the_database_says_no_more(
    nobody: str,
) -> None:
    assert list(check_database(site(Path("/proc")))) == []
    elsewhere = one(check_database(site(Path("/proc"), database="sqlite:////proc/db/ledger.db")))
    assert elsewhere.state == "failed"
    assert f"/proc/db cannot be written to by {nobody} (" in elsewhere.words


def test_root_is_not_told_to_give_a_folder_to_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    state, _ = check_folders(site(Path("/proc")))
    assert "a disk that can be written to" in state.remedy


def test_a_folder_of_another_user_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state" / "store").mkdir(parents=True)
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    found = list(check_folders(site(tmp_path)))
    doubts = [verdict for verdict in found if verdict.state == "warning"]
    assert [verdict.what for verdict in doubts] == ["state_dir", "store_dir"]
    assert "run by nobody" in doubts[0].words
    assert "sudo -u " in doubts[0].remedy


@pytest.mark.parametrize(
    ("line", "states_found", "words"),
    [
        ("ext4 /dev/sda1 rw", ["ok", "ok"], "(ext4)"),
        ("tmpfs tmpfs rw", ["warning", "warning"], "which is memory"),
        ("nfs4 server:/x rw,hard", ["failed", "ok"], "over the network"),
        ("nfs4 server:/x rw,soft", ["failed", "failed"], "(nfs4)"),
    ],
)
def test_where_a_folder_lies_matters(
    line: str,
    states_found: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/root rw\n2 1 8:2 / {tmp_path} rw - {line}\n")
    monkeypatch.setattr(machine, "mount_of", lambda folder: mount_of(folder, table))
    found = list(check_folders(site(tmp_path)))
    assert states(found) == states_found
    assert words in found[0].words


def test_the_mount_of_a_folder_is_the_innermost(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw shared:1 - ext4 /dev/root rw\n"
        "2 1 0:9 / /srv rw - nfs4 host:/x rw,soft\n"
        "3 2 0:9 / /srv/my\\040images rw - xfs /dev/sdb rw\n"
    )
    assert mount_of(Path("/var/lib"), table).kind == "ext4"
    assert mount_of(Path("/srvr"), table).kind == "ext4"
    assert mount_of(Path("/srv/ai"), table).kind == "nfs4"
    assert mount_of(Path("/srv/ai"), table).options == ("rw", "soft")
    assert mount_of(Path("/srv/my images/store"), table).kind == "xfs"
    assert mount_of(Path("/"), tmp_path / "nowhere").kind == "unknown"


def test_a_slow_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SLOW_MS", 0)
    assert states(check_folders(site(tmp_path))) == ["warning", "warning"]


# Destinations that are folders


def with_folder(tmp_path: Path, path: Path) -> Config:
    folder = FolderSettings(kind="folder", name="research", path=path)
    return site(tmp_path).model_copy(update={"destinations": (folder,)})


def test_a_folder_for_results_is_written_to_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.mkdir(mode=0o750)
    found = one(check_destinations(with_folder(tmp_path, path)))
    assert (found.what, found.state) == ("folder research", "ok")
    assert f"{path} (" in found.words
    assert "takes capture" in found.words or "and capture" in found.words
    assert list(path.iterdir()) == []


def test_a_folder_for_results_is_not_made(tmp_path: Path) -> None:
    found = one(check_destinations(with_folder(tmp_path, tmp_path / "away")))
    assert (found.state, "is not there" in found.words) == ("failed", True)
    assert "mount it" in found.remedy
    (tmp_path / "away").write_text("")
    assert "is a file" in one(check_destinations(with_folder(tmp_path, tmp_path / "away"))).words


def test_a_folder_for_results_that_nobody_may_write_to_says_who_may(tmp_path: Path) -> None:
    found = one(check_destinations(with_folder(tmp_path, Path("/proc"))))
    assert (found.what, found.state) == ("folder research", "failed")
    assert "cannot be written to" in found.words


def test_a_folder_for_results_that_every_user_may_read_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.doctor.destinations.may_be_read_by_all", lambda folder: True)
    found = list(check_destinations(with_folder(tmp_path, tmp_path)))
    assert states(found) == ["ok", "warning"]
    assert "can be read by every user" in found[1].words


@pytest.mark.parametrize(("share", "state"), [(0.1, "ok"), (0.5, "warning"), (2, "failed")])
def test_free_space_is_compared_with_what_the_node_insists_on(
    share: float, state: str, tmp_path: Path
) -> None:
    free_mb = shutil.disk_usage(tmp_path).free >> 20
    found = list(check_disk(site(tmp_path, min_free_mb=int(free_mb * share))))
    assert states(found) == [state, state]


def test_the_time_is_shown_and_a_machine_on_utc_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = one(check_clock(site(tmp_path, timezone="Asia/Tokyo")))
    assert named.state == "ok"
    assert "Asia/Tokyo ([node] timezone)" in named.words
    monkeypatch.setenv("TZ", "UTC")
    asked = one(check_clock(site(tmp_path)))
    assert asked.state == "warning"
    assert '"Europe/Berlin"' in asked.remedy


# Port


def test_a_free_port_is_free(tmp_path: Path) -> None:
    assert one(check_port(site(tmp_path))).state == "ok"


def test_a_port_that_another_program_has_is_not(tmp_path: Path) -> None:
    config = site(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", config.listener.port))
        taken.listen()
        verdict = one(check_port(config))
    assert verdict.state == "failed"
    assert "taken by another program" in verdict.words
    assert f"sport = :{config.listener.port}" in verdict.remedy


@needs_ipv6
def test_on_every_address_of_both_families_a_port_is_free_or_taken_by_either(
    tmp_path: Path,
) -> None:
    everywhere = ListenerSettings(host="::", port=site(tmp_path).listener.port)
    config = site(tmp_path).model_copy(update={"listener": everywhere})
    free = one(check_port(config))
    assert (free.state, free.words) == ("ok", f"[::]:{everywhere.port} is free")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", everywhere.port))
        taken.listen()
        assert "taken by another program" in one(check_port(config)).words


@needs_ipv6
def test_a_node_that_runs_on_every_address_of_both_families_is_called(
    open_pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    pacs = open_pacs(host="::")
    everywhere = ListenerSettings(host="::", port=pacs.port)
    config = site(tmp_path, ae_title=pacs.ae_title).model_copy(update={"listener": everywhere})
    with lock_state_dir(config.node.state_dir):
        verdict = one(check_port(config))
    assert verdict.state == "ok"
    assert "the node is running and answers" in verdict.words


def test_a_node_that_runs_and_does_not_answer_is_noticed(tmp_path: Path) -> None:
    config = site(tmp_path)
    with (
        lock_state_dir(config.node.state_dir),
        socket.create_server(("127.0.0.1", config.listener.port)) as hung,
    ):
        hung.close()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", config.listener.port))  # and does not listen
            verdict = one(check_port(config))
    assert verdict.state == "failed"
    assert "the node is running, but AINODE at 127.0.0.1" in verdict.words
    assert "systemctl restart" in verdict.remedy


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who may listen on a port below 1024: then EACCES hides whether it is taken."""

    def refuse(host: str, port: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(machine, "_listen", refuse)


@pytest.mark.usefixtures("ordinary_user")
def test_on_a_port_that_we_may_not_try_a_node_that_runs_is_called(
    pacs: Pacs, tmp_path: Path
) -> None:
    here = ListenerSettings(host="0.0.0.0", port=pacs.port)
    config = site(tmp_path, ae_title=pacs.ae_title).model_copy(update={"listener": here})
    with lock_state_dir(config.node.state_dir):
        verdict = one(check_port(config))
    assert verdict.state == "ok"
    assert "the node is running and answers" in verdict.words


@pytest.mark.usefixtures("ordinary_user")
def test_on_a_port_that_we_may_not_try_nothing_is_called_wrong_unless_another_answers(
    tmp_path: Path,
) -> None:
    config = site(tmp_path)
    open_question = one(check_port(config))
    assert open_question.state == "warning"
    assert "systemd/ai-node.service" in open_question.remedy
    with socket.create_server(("127.0.0.1", config.listener.port)):
        taken = one(check_port(config))
    assert taken.state == "failed"
    assert "taken by another program" in taken.words


def test_who_may_not_see_the_lock_is_told_to_ask_as_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    config = site(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)
    with socket.create_server(("127.0.0.1", config.listener.port)):
        verdict = one(check_port(config))
    assert verdict.state == "warning"
    assert "sudo -u ai-node ai-node doctor" in verdict.remedy


def test_an_address_of_another_machine_is_none_to_listen_on(tmp_path: Path) -> None:
    config = site(tmp_path).model_copy(update={"listener": ListenerSettings(host="192.0.2.7")})
    verdict = one(check_port(config))
    assert verdict.state == "failed"
    assert "0.0.0.0" in verdict.remedy


# Database and models


def test_a_database_that_is_not_there_yet_is_tried_and_not_made(tmp_path: Path) -> None:
    verdict = one(check_database(site(tmp_path)))
    assert verdict.state == "ok"
    assert "SQLite 3" in verdict.words and "made at the first start" in verdict.words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("revision", "state", "words"),
    [
        ("", "ok", "of this release"),
        ("0001", "ok", "the next start extends them"),
        ("9999", "failed", "of a newer release"),
    ],
)
def test_it_is_said_of_which_release_a_database_is_and_it_stays_so(
    revision: str, state: str, words: str, tmp_path: Path, sqlite_template: Path
) -> None:
    config = site(tmp_path)
    config.node.state_dir.mkdir()
    path = shutil.copy(sqlite_template, config.node.state_dir / "ledger.db")
    if revision:
        with sqlite3.connect(path) as db:
            db.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        db.close()
    before = Path(path).read_bytes()
    verdict = one(check_database(config))
    assert verdict.state == state
    assert words in verdict.words
    assert Path(path).read_bytes() == before


@pytest.mark.usefixtures("warm_inference")
def test_each_model_is_verified_and_run_and_a_broken_one_hides_no_other(tmp_path: Path) -> None:
    broken = write_package(tmp_path / "models")
    broken.rename(tmp_path / "models" / "broken")
    manifest = tmp_path / "models" / "broken" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace('name = "breast-area"', 'name = "broken"'))
    (tmp_path / "models" / "breast-area").symlink_to(bundled_models_dir() / "breast-area")
    models = [
        ChosenModel(name="broken", mode="deliver"),
        ChosenModel(name="broken-too", mode="off"),
    ]
    found = list(
        check_models(site(tmp_path, models=[*models, BREAST_AREA], models_dir=tmp_path / "models"))
    )
    assert states(found) == ["failed", "ok", "ok"]
    assert "ONNX Runtime cannot load it" in found[0].words
    assert "weights verified, runs on the CPU" in found[2].words
    (tmp_path / "models" / "broken" / "model.onnx").write_bytes(b"other")
    damaged = one(check_models(site(tmp_path, models=models[:1], models_dir=tmp_path / "models")))
    assert "SHA-256" in damaged.words


@pytest.mark.parametrize(
    ("present", "replacement", "provider", "remedy"),
    [
        ("", "", "directml", 'set it to "cpu"'),
        ("height = 64", "height = 32", "cpu", "Correct the manifest: it does not describe"),
        ('kind = "mask"', 'kind = "masc"', "cpu", "Correct the manifest there"),
        ('sha256 = "', 'sha256 = "0', "cpu", "Correct the manifest there"),
        ('file = "model.onnx"', 'file = "gone.onnx"', "cpu", "Restore the model's folder"),
    ],
)
def test_the_remedy_for_a_model_is_one_for_what_is_wrong_with_it(
    present: str, replacement: str, provider: Provider, remedy: str, tmp_path: Path
) -> None:
    manifest = small_models.model(tmp_path).folder / "manifest.toml"
    text = manifest.read_text()
    assert present in text
    manifest.write_text(text.replace(present, replacement, 1))
    models = [ChosenModel(name="small", mode="deliver")]
    config = site(tmp_path, models=models, models_dir=tmp_path)
    inference = config.inference.model_copy(update={"provider": provider})
    red = one(check_models(config.model_copy(update={"inference": inference})))
    assert red.state == "failed"
    assert remedy in red.remedy, red.words


@pytest.mark.parametrize(("mode", "expected"), [("deliver", ["ok", "warning"]), ("shadow", ["ok"])])
def test_a_model_that_delivers_under_a_licence_of_its_own_is_asked_about(
    mode: Literal["deliver", "shadow"], expected: list[str], tmp_path: Path
) -> None:
    manifest = small_models.model(tmp_path).folder / "manifest.toml"
    text = re.sub(r"(?m)^weights = .*$", 'weights = "LicenseRef-research"', manifest.read_text())
    manifest.write_text(text)
    (manifest.parent / "README.md").write_text("## Measured\n\nn = 8\n")
    models = [ChosenModel(name="small", mode=mode)]
    found = list(check_models(site(tmp_path, models=models, models_dir=tmp_path)))
    assert states(found) == expected
    assert mode == "shadow" or "LicenseRef-research" in found[1].words


def test_a_model_without_a_card_must_not_deliver(tmp_path: Path) -> None:
    small_models.model(tmp_path)
    models = [ChosenModel(name="small", mode="deliver")]
    found = list(check_models(site(tmp_path, models=models, models_dir=tmp_path)))
    assert states(found) == ["ok", "failed"]
    assert "has no model card: write" in found[1].words


CAD = {"outputs": ("mammography-cad", "capture")}
IN_OHIF = {"receives": "ohif"}
ALL_REGIONS = ('kind = "mask"\n', 'kind = "mask"\nregions = "all"\n')
NO_DIFFERENCE = (OUTPUT.splitlines()[-1], "")


@pytest.mark.parametrize(
    ("wanted", "changes", "said"),
    [
        (CAD, (), "makes mammography-cad; it gets pictures alone."),
        (CAD, (ALL_REGIONS, NO_DIFFERENCE), ""),
        ({"outputs": ("key-images", "capture")}, (), "makes key-images; it gets pictures alone."),
        (IN_OHIF, (), ""),
        (
            IN_OHIF,
            ((OUTPUT, CLASSES),),
            "makes segmentation; it gets measurement-report and capture.",
        ),
        ({"outputs": ("presentation-state", "capture")}, (), ""),
        (
            {"outputs": ("presentation-state", "segmentation", "encapsulated-pdf")},
            ((OUTPUT, CLASSES),),
            "makes presentation-state or segmentation; it gets encapsulated-pdf.",
        ),
    ],
)
def test_a_kind_of_object_that_no_model_makes_is_named(
    wanted: dict[str, Any], changes: tuple[tuple[str, str], ...], said: str, tmp_path: Path
) -> None:
    peer = Peer.model_validate({**PACS_OF_SITE, **wanted})
    models = {"breast-area": package(tmp_path, *changes)}
    found = kinds_nobody_makes(site(tmp_path, peer, models=[BREAST_AREA]), models)
    assert found == ([f'Peer "pacs": no model that delivers {said}'] if said else [])
    shadow = ChosenModel(name="breast-area", mode="shadow")
    assert kinds_nobody_makes(site(tmp_path, peer, models=[shadow]), models) == []


@pytest.mark.usefixtures("warm_inference")
def test_the_kinds_that_no_model_makes_are_to_look_at(tmp_path: Path) -> None:
    peer = Peer.model_validate({**PACS_OF_SITE, **CAD})
    _, about = check_models(site(tmp_path, peer, models=[BREAST_AREA]))
    assert (about.state, about.what) == ("warning", "models")
    assert "no model that delivers makes mammography-cad" in about.words
    broken = ChosenModel(name="nobody", mode="deliver")  # it might have made them
    found = list(check_models(site(tmp_path, peer, models=[BREAST_AREA, broken])))
    assert states(found) == ["ok", "failed"]


# Peers


def test_an_archive_that_does_all_we_ask_for_is_green(archive: Archive, tmp_path: Path) -> None:
    found = list(check_peers(site(tmp_path, archive.peer("archive"))))
    assert states(found) == ["ok", "ok"]
    assert "Comprehensive SR Storage and Secondary Capture" in found[0].words
    assert "storage commitment" in found[1].words
    assert archive.received == archive.requests == []
    [query] = archive.queries
    assert query.QueryRetrieveLevel == "STUDY"
    assert str(query.StudyInstanceUID).startswith("2.25."), "of no study there is"


def breaks_off(query: Dataset) -> Answers:
    return [(BREAK_OFF, None)]


def test_an_archive_that_negotiates_with_everybody_and_answers_only_whom_it_knows_is_red(
    archive: Archive, tmp_path: Path
) -> None:
    archive.find = breaks_off
    verdict = one(check_peers(site(tmp_path, archive.peer("archive"))))
    assert verdict.state == "failed"
    assert "broke off instead of answering C-FIND (negotiation went well)" in (verdict.words)
    assert "perhaps it does not know AINODE. On it, enter AINODE" in verdict.remedy


def test_an_archive_that_never_answers_a_query_is_red_and_has_timed_out(
    archive: Archive, tmp_path: Path
) -> None:
    archive.find = lambda query: [(SILENCE, None)]
    patient = archive.peer("archive").model_copy(update={"timeout_s": 1})
    verdict = one(check_peers(site(tmp_path, patient)))
    assert verdict.state == "failed"
    assert "has not answered C-FIND in 1 s (timed out)" in verdict.words
    assert "compares_identity = false" in verdict.remedy


def test_an_archive_that_does_not_allow_us_to_query_is_to_look_at(
    archive: Archive, tmp_path: Path
) -> None:
    archive.find = lambda query: [(0x0124, None)]
    found = list(check_peers(site(tmp_path, archive.peer("archive"))))
    assert states(found) == ["warning", "ok", "ok", "warning"]
    assert "0x0124 (not authorised)" in found[0].words


def test_who_is_not_to_be_queried_is_not(archive: Archive, tmp_path: Path) -> None:
    archive.find = breaks_off
    peer = archive.peer("archive").model_copy(update={"compares_identity": False})
    assert states(check_peers(site(tmp_path, peer))) == ["ok", "ok"]
    assert archive.queries == []


def test_an_archive_of_another_name_is_red_and_ours_is_the_mistake(
    tmp_path: Path, pacs: Pacs
) -> None:
    misnamed = pacs.peer("pacs").model_copy(update={"ae_title": "PASC"})
    pacs._ae.require_called_aet = True
    try:
        verdict = one(check_peers(site(tmp_path, misnamed)))
    finally:
        pacs._ae.require_called_aet = False
    assert "it is not called PASC (called AE title not recognized)" in verdict.words
    assert verdict.remedy == "Give peer pacs the AE title that it has: ae_title is PASC here."


@refused_connections
def test_where_nobody_listens_and_where_nobody_answers_are_told_apart(tmp_path: Path) -> None:
    values = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "receives": "default"}
    nobody = Peer.model_validate({**values, "port": free_port()})
    refused = one(check_peers(site(tmp_path, nobody)))
    assert "nothing listens there (connection refused)" in refused.words
    assert f"it listens on port {nobody.port} of 127.0.0.1" in refused.remedy
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        port = silent.getsockname()[1]
        stuck = Peer.model_validate({**values, "port": port, "timeout_s": 0.5})
        timed_out = one(check_peers(site(tmp_path, stuck)))
    assert "has not answered the association request in 0.5 s (timed out)" in timed_out.words
    assert "firewall" in timed_out.remedy
    assert refused.state == timed_out.state == "failed"


@pytest.mark.parametrize(
    ("offers", "expected", "words"),
    [
        ([FIND], ["ok", "ok"], "by C-FIND"),
        ([COMMITMENT], ["ok", "ok", "warning"], "offers no C-FIND: whose study"),
        ([], ["ok", "warning", "warning"], "offers neither"),
    ],
)
def test_what_an_archive_does_not_offer_is_said_with_what_follows(
    offers: list[str],
    expected: list[str],
    words: str,
    open_archive: Callable[..., Archive],
    tmp_path: Path,
) -> None:
    found = list(check_peers(site(tmp_path, open_archive(offers=offers).peer("archive"))))
    assert states(found) == expected
    assert any(words in verdict.words for verdict in found)


def test_who_wants_no_confirmation_and_no_comparison_is_not_asked_for_it(
    pacs: Pacs, tmp_path: Path
) -> None:
    modest = pacs.peer("pacs").model_copy(update={"confirm": (), "compares_identity": False})
    assert states(check_peers(site(tmp_path, modest))) == ["ok"]


@pytest.mark.parametrize(("way", "offered"), [("get", "C-GET"), ("move", "C-MOVE")])
def test_whether_images_can_be_asked_back_is_said(way: str, offered: str, tmp_path: Path) -> None:
    with closing(GivingArchive()) as giving:
        peer = giving.peer(way, receives=None)
        *_, verdict = check_peers(site(tmp_path, peer))
    assert (verdict.state, f"offers {offered}" in verdict.words) == ("ok", True)
    with closing(GivingArchive(offers=[])) as keeping:
        *_, verdict = check_peers(site(tmp_path, keeping.peer(way, receives=None)))
    assert (verdict.state, f"offers no {offered}" in verdict.words) == ("warning", True)
    assert f"allow AINODE {offered}" in verdict.remedy


def test_an_archive_that_takes_no_reports_is_red(
    open_pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    images_only = open_pacs(sop_classes=[SecondaryCaptureImageStorage])
    found = list(check_peers(site(tmp_path, images_only.peer("pacs"))))
    assert found[0].state == "failed"
    assert "takes no Comprehensive SR Storage" in found[0].words
    assert "allow AINODE to store" in found[0].remedy


def test_an_archive_without_c_echo_is_asked_all_else(
    open_pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    modest = open_pacs(verifies=False).peer("pacs")
    modest = modest.model_copy(update={"confirm": (), "compares_identity": False})
    verdict = one(check_peers(site(tmp_path, modest)))
    assert verdict.state == "ok"
    assert "takes associations, though none for C-ECHO, takes Comprehensive SR" in verdict.words


def test_an_archive_that_does_not_know_us_is_red(
    open_pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    verdict = one(check_peers(site(tmp_path, open_pacs(knows=["SOMEBODY"]).peer("pacs"))))
    assert verdict.state == "failed"
    assert "does not know AINODE" in verdict.words
    assert "enter AINODE" in verdict.remedy


@refused_connections
def test_a_modality_need_not_answer_but_an_archive_must(tmp_path: Path) -> None:
    def silent(name: str, **role: object) -> Peer:
        values = {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": free_port()}
        return Peer.model_validate({**values, **role})

    room, pacs = silent("room", sends=True, results_to=["pacs"]), silent("pacs", receives="default")
    found = list(check_peers(site(tmp_path, room, pacs)))
    assert states(found) == ["warning", "failed"]


@refused_connections
def test_a_modality_that_is_told_what_is_kept_must_be_reached_and_may_delete(
    tmp_path: Path, pacs: Pacs
) -> None:
    values = {"name": "room", "ae_title": "ROOM", "host": "127.0.0.1", "port": free_port()}
    room = Peer.model_validate({**values, "sends": True, "commits": True, "results_to": ["pacs"]})
    meaning, silence = list(check_peers(site(tmp_path, room, pacs.peer("pacs"))))[:2]
    assert (meaning.state, silence.state) == ("ok", "warning")
    assert "may delete its images" in meaning.words
    assert "need not answer" not in silence.remedy
    assert f"is told at 127.0.0.1:{room.port}" in silence.remedy


# Work


@pytest.fixture
def worked(tmp_path: Path) -> Iterator[tuple[Config, Desk]]:
    """A site with a PACS and a room, and the ledger of its node."""
    room = {"name": "modality", "ae_title": "MG1", "host": "127.0.0.1", "port": 104}
    config = site(
        tmp_path,
        Peer.model_validate(PACS_OF_SITE),
        Peer.model_validate({**room, "sends": True, "results_to": ["pacs"]}),
    )
    with closing(open_ledger(config)) as ledger:
        yield config, Desk(ledger, Store(tmp_path / "store"))


def test_before_a_node_has_run_there_is_no_work_to_look_at(tmp_path: Path) -> None:
    assert list(check_work(site(tmp_path))) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_on_its_way_is_green(worked: tuple[Config, Desk]) -> None:
    config, desk = worked
    assert "on their way: the results of 0 studies" in one(check_work(config)).words
    desk.analysed()
    assert "on their way: the results of 1 study" in one(check_work(config)).words


@pytest.mark.parametrize(
    ("because", "remedy"),
    [
        (HeldBecause.IDENTITY, "send all its images again; that releases it"),
        (HeldBecause.DESTINATION, "Correct it there or here"),
        (HeldBecause.PIXELS, f"ai-node release {STUDY}"),
        (HeldBecause.REPORT, f"ai-node release {STUDY}"),
    ],
)
def test_a_held_study_is_red_with_the_next_command(
    worked: tuple[Config, Desk], because: HeldBecause, remedy: str
) -> None:
    config, desk = worked
    desk.analysed()
    desk.change(schema.study, held_because=because, held_reason="somebody must look")
    red = one(check_work(config))
    assert red.state == "failed"
    assert red.words == f"1 study held, nothing is sent of: {STUDY} (somebody must look)"
    assert remedy in red.remedy


def test_of_many_held_studies_a_few_are_named(worked: tuple[Config, Desk]) -> None:
    config, desk = worked
    for n in range(5):
        desk.receive(f"1.9.{n}.1", study=f"1.9.{n}")
    desk.change(schema.study, held_because=HeldBecause.REPORT, held_reason="no report")
    words = one(check_work(config)).words
    assert words.startswith("5 studies held")
    assert words.count("(no report)") == 3
    assert words.endswith("and 2 more (ai-node studies)")


def test_results_that_were_given_up_are_red_and_retry_sends_them(
    worked: tuple[Config, Desk],
) -> None:
    config, desk = worked
    for job in desk.analysed():
        desk.deliver(job, DeliveryState.REFUSED, DeliveryState.REFUSED)
    red = one(check_work(config))
    assert red.state == "failed"
    assert red.words == "sending the results of 1 study to pacs is given up: refused by PACS"
    assert red.remedy == "Mend that; then: ai-node retry"


def test_what_nobody_has_mended_for_a_month_is_red_no_more(worked: tuple[Config, Desk]) -> None:
    config, desk = worked
    for job in desk.analysed():
        desk.deliver(job, DeliveryState.REFUSED, DeliveryState.REFUSED)
    desk.analysed("1.9.1", destinations=(), first_report=10)
    with desk.ledger.writing() as db:
        is_second = schema.study_version.c.study_uid == "1.9.1"
        db.execute(schema.study_version.update().where(is_second).values(error="no destination"))
    assert [verdict.state for verdict in check_work(config)] == ["failed", "failed"]
    table = schema.study_version
    desk.change(table, finished_at=table.c.finished_at - FORGOTTEN_S)
    assert one(check_work(config)).state == "ok"


@pytest.mark.parametrize(
    ("state", "remedy"),
    [("queued", "they are sent then"), ("dead", "then: ai-node retry")],
)
def test_a_peer_that_was_renamed_while_results_wait_for_it_is_red(
    worked: tuple[Config, Desk], state: str, remedy: str
) -> None:
    config, desk = worked
    desk.analysed(destinations=("old-name",))
    desk.analysed("1.9.1", destinations=("old-name",), first_report=10)
    desk.change(schema.dispatch, state=state)
    red = one(check_work(config))
    assert red.state == "failed"
    assert red.words.startswith('the results of 2 studies are for "old-name", and no peer')
    assert 'call it "old-name" again' in red.remedy
    assert remedy in red.remedy


def test_what_waits_for_a_folder_is_for_nobody_who_is_gone(worked: tuple[Config, Desk]) -> None:
    config, desk = worked
    folder = FolderSettings(kind="folder", name="research", path=Path("/research"))
    desk.analysed(destinations=("research",))
    found = one(check_work(config.model_copy(update={"destinations": (folder,)})))
    assert found.state == "ok"


def test_what_an_older_version_could_not_deliver_is_of_no_interest_any_more(
    worked: tuple[Config, Desk],
) -> None:
    config, desk = worked
    desk.analysed(destinations=("old-name",))
    desk.analysed(image=2)
    assert one(check_work(config)).state == "ok"


def test_results_that_nobody_gets_are_red(worked: tuple[Config, Desk]) -> None:
    config, desk = worked
    desk.analysed(destinations=())
    reason = "no destination: no peer is called modality any more"
    desk.change(schema.study_version, error=reason)
    red = one(check_work(config))
    assert red.state == "failed"
    assert red.words == f"nobody gets the results of 1 study: {reason}: {STUDY}"
    assert "then: ai-node retry" in red.remedy


def test_where_no_result_could_be_written_there_is_nothing_to_send(
    worked: tuple[Config, Desk],
) -> None:
    config, desk = worked
    desk.analysed(destinations=(), reports=0)
    desk.change(schema.study_version, error="no result can be written")
    assert one(check_work(config)).state == "ok"


def test_a_newcomer_whose_first_studies_are_excluded_hears_why_nothing_comes_back(
    worked: tuple[Config, Desk],
) -> None:
    config, desk = worked
    desk.receive()
    desk.close(EXCLUDED)
    told, green = check_work(config)
    assert (told.state, green.state) == ("warning", "ok")
    assert "every study of modality so far (1) is excluded" in told.words
    assert told.words.endswith(f"nothing comes back; {STUDY}: no Patient ID")
    assert f"ai-node release {STUDY}" in told.remedy
    desk.analysed("1.9.1")
    excluded, green = check_work(config)
    assert (excluded.state, green.state) == ("ok", "ok")
    assert "1 study of modality excluded" in excluded.words


# The exam


def test_without_a_model_there_is_no_exam(tmp_path: Path) -> None:
    assert one(check_exam(site(tmp_path))).state == "warning"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_model_that_is_on_and_analyses_nothing_is_red_and_one_of_other_images_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exam comes back and is read, but only to say that nothing was analysed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    magnified = phantom.Technique(rows=332, columns=256, spacing_mm=0.72, magnification=1.8)
    monkeypatch.setattr(phantom, "exam", partial(phantom.exam, technique=magnified))
    packages = tmp_path / "models"
    packages.mkdir()
    (packages / "breast-area").symlink_to(bundled_models_dir() / "breast-area")
    raw = small_models.model(packages).folder / "manifest.toml"
    raw.write_text(raw.read_text().replace(MG_FOR_PRESENTATION, MG_FOR_PROCESSING))
    models = [ChosenModel(name=name, mode="shadow") for name in ("breast-area", "small")]
    came, red, told = check_exam(site(tmp_path, models=models, models_dir=packages))
    assert states([came, red, told]) == ["ok", "failed", "warning"]
    assert "breast-area analysed none of 4 generated images: magnification view" in red.words
    assert "`ai-node models check breast-area`" in red.remedy
    assert "small was not tried" in told.words


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_how_a_model_of_breast_mri_is_tried_is_told_as_it_gets_no_mammogram(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uptake_model(tmp_path / "models")
    models = [ChosenModel(name="uptake", mode="shadow")]
    *_, told = check_exam(site(tmp_path, models=models, models_dir=tmp_path / "models"))
    assert (told.state, "uptake was not tried" in told.words) == ("warning", True)
    assert "`ai-node models check uptake` tries it on generated breast MRI" in told.remedy


def test_a_trial_that_does_not_start_is_red_and_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    write_package(tmp_path / "models")
    config = site(tmp_path, models=[BREAST_AREA], models_dir=tmp_path / "models")
    red = one(check_exam(config))
    assert red.state == "failed"
    assert "the trial broke off" in red.words and "cannot load it" in red.words
    [log] = tmp_path.rglob("node.log")
    assert str(log) in red.remedy


@pytest.mark.interop
@pytest.mark.timeout(300)
def test_an_exam_that_does_not_come_back_is_red_and_leaves_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(exam, "_WITHIN_S", 0)
    found = list(check_exam(site(tmp_path, models=[BREAST_AREA])))
    assert set(states(found)) == {"failed"}
    [log] = tmp_path.rglob("node.log")
    assert str(log) in found[0].remedy
    assert list(log.parent.iterdir()) == [log]
