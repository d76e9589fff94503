"""`ai-node alarm`, and what status and page say of what is raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import Desk
from mailboxes import mail_server
from ports import free_port
from typer.testing import CliRunner, Result
from webhooks import SECRET, listening

from node import cli
from node.config import AlarmMail, AlarmSettings, AlarmWebhook, Config
from node.config import Node as NodeSettings
from node.doctor.alarms import check_alarms
from node.ledger import Alarming, Ledger, Trouble, schema
from node.store import Store

from .rules import age

LATE = Trouble(
    "urgent-late", "pacs", 2, "pacs lacks 1 result", "see to it", 1000.0, study_uids=("1.2.3",)
)
HELD = Trouble("study-held", "", 1, "1 study held", "release it", 1000.0)


def settings(folder: Path, alarms: str = "") -> Path:
    path = folder / "node.toml"
    path.write_text(f'[node]\nae_title = "AINODE"\nstate_dir = "state"\n{alarms}', "utf-8")
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture
def desk_here(tmp_path: Path) -> Iterator[Desk]:
    """A ledger in the folder of the configuration."""
    (tmp_path / "state").mkdir()
    ledger = Ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.db'}")
    ledger.migrate()
    yield Desk(ledger, Store(tmp_path / "state" / "store", "alone"))
    ledger.close()


def raised(desk: Desk, *troubles: Trouble) -> Alarming:
    work = Alarming(desk.ledger)
    for trouble in troubles:
        work.raise_alarm(trouble, ["mail", "webhook"], reminder_s=1e6, news_s=1e6)
    return work


def test_the_list_says_what_is_raised_and_who_was_told(desk_here: Desk, tmp_path: Path) -> None:
    path = settings(tmp_path)
    assert call("alarm", "list", "-c", path).output == "No alarm, now or within a week.\n"
    work = raised(desk_here, HELD)
    assert call("alarm", "list", "-c", path).exit_code == 1
    raised(desk_here, LATE)
    notice = work.claim_notice("mail", 60)
    assert notice is not None
    work.record_told(notice)
    for channel in ("webhook", "mail"):
        other = work.claim_notice(channel, 60)
        assert other is not None
        work.put_off(other, 60, "no answer")
    result = call("alarm", "list", "-c", path)
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert lines[0] == "ACT   pacs lacks 1 result"
    assert lines[1].startswith("      urgent-late, alarm 2, since 1970-01-01 ")
    assert lines[2:4] == ["      study 1.2.3", "      next: see to it"]
    assert "LOOK  1 study held" in lines
    assert any(line.startswith("      mail, begun: told 20") for line in lines)
    assert "      mail, begun: not told yet (no answer)" in lines


def test_the_list_says_what_is_over_and_asks_for_nothing(desk_here: Desk, tmp_path: Path) -> None:
    work = raised(desk_here, LATE)
    age(desk_here, 400, schema.alarm, "seen_at")
    (alarm,) = work.open_alarms()[1]
    assert work.end_alarm(alarm, ["mail"], 300)
    result = call("alarm", "list", "-c", settings(tmp_path))
    assert result.exit_code == 0
    assert result.output.startswith("over  pacs lacks 1 result\n")
    assert "next" not in result.output
    (said,) = json.loads(call("alarm", "list", "--json", "-c", settings(tmp_path)).output)
    assert said["ended_at"] is not None
    assert {one["event"] for one in said["notices"]} == {"begun", "ended"}


def test_without_a_ledger_the_list_is_to_be_acted_on(tmp_path: Path) -> None:
    result = call("alarm", "list", "-c", settings(tmp_path))
    assert result.exit_code == 2


def test_a_test_without_a_channel_says_what_to_write(tmp_path: Path) -> None:
    result = call("alarm", "test", "-c", settings(tmp_path))
    assert result.exit_code == 1
    assert "[alarms.mail]" in result.stderr


def test_a_test_says_what_became_of_each_channel(tmp_path: Path) -> None:
    mail = (
        '[alarms.mail]\nto = ["a@b.example"]\nsender = "n@b.example"\nhost = "127.0.0.1"\n'
        'security = "none"\nport = '
    )
    with mail_server() as box:
        result = call("alarm", "test", "-c", settings(tmp_path, f"{mail}{box.port}\n"))
    assert (result.exit_code, len(box.mails)) == (0, 1)
    assert result.output == f"mail: told a@b.example by 127.0.0.1:{box.port}\n"
    port = free_port()
    result = call("alarm", "test", "-c", settings(tmp_path, f"{mail}{port}\n"))
    assert result.exit_code == 1
    assert result.stderr == (
        f"mail: not told: 127.0.0.1:{port} does not take mail (Connection refused)\n"
    )


def test_doctor_reaches_each_channel_and_tells_it_nothing(tmp_path: Path) -> None:
    def said(settings: AlarmSettings) -> list[tuple[str, str]]:
        node = NodeSettings(ae_title="AINODE", state_dir=tmp_path)
        found = check_alarms(Config(node=node, alarms=settings))
        return [(verdict.state, verdict.words) for verdict in found]

    assert said(AlarmSettings()) == [
        ("ok", "told to nobody: [alarms] names neither mail nor webhook")
    ]
    with mail_server() as box, listening() as program:
        settings = AlarmSettings(
            mail=AlarmMail(
                to=("a@b.example",),
                sender="n@b.example",
                host="127.0.0.1",
                port=box.port,
                security="none",
            ),
            webhook=AlarmWebhook(url=program.url, secret=SECRET),
        )
        test = "`ai-node alarm test` sends a test"
        assert said(settings) == [
            ("ok", f"mail to a@b.example by 127.0.0.1:{box.port}; {test}"),
            ("ok", f"webhook to localhost:{program.port}; {test}"),
        ]
        assert not box.mails
        assert not program.heard
    (mail, webhook) = said(settings)
    why = "cannot be reached: Connection refused"
    assert webhook == (
        "failed",
        f"cannot be told by webhook: localhost:{program.port} {why}",
    )
    assert mail[0] == "failed"


def test_status_says_what_is_raised_beside_its_remarks(desk_here: Desk, tmp_path: Path) -> None:
    raised(desk_here, HELD)
    path = settings(tmp_path)
    lines = call("status", "-c", path).output.splitlines()
    assert any(
        line.startswith("alarm        study-held, since 1970-01-01") and line.endswith("held")
        for line in lines
    )
    said = json.loads(call("status", "--json", "-c", path).output)
    (one,) = said["alarms"]
    assert (one["rule"], one["urgency"], one["words"]) == ("study-held", 1, "1 study held")
    assert "1 study held" not in json.dumps(said["remarks"])
