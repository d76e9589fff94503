"""A node that is killed while it raises or tells: nothing is lost, and what comes twice says so."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ledgers import Desk
from mailboxes import Mailbox, mail_server
from ports import free_port

from node.alarms.channels import alarm_channels
from node.config import load_config
from node.ledger import Ledger, NoticeState, now, schema
from node.store import Store

from .test_post import posting, raised, states, until

CHILD = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from node.alarms.channels import MailChannel, alarm_channels
from node.alarms.post import AlarmPost
from node.config import load_config
from node.ledger import Alarming, Ledger, Trouble
import node.ledger.alarms

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

config = load_config(Path(sys.argv[1]))
ledger = Ledger(config.database_url)
work = Alarming(ledger)
if sys.argv[2] == "raises":
    node.ledger.alarms._tell = die
    trouble = Trouble("urgent-late", "pacs", 2, "pacs lacks 1 result", "see to it", 1000.0)
    work.raise_alarm(trouble, ["mail"], reminder_s=1e6, news_s=1e6)
if sys.argv[2] == "is about to send":
    MailChannel.tell = die
if sys.argv[2] == "has sent":
    Alarming.record_told = die
AlarmPost(work, alarm_channels(config)).start()
signal.pause()
"""


def settings(folder: Path, port: int) -> Path:
    path = folder / "node.toml"
    path.write_text(
        f"""
[node]
ae_title = "AINODE"
state_dir = "state"
[alarms.mail]
to = ["a@b.example"]
sender = "n@b.example"
host = "127.0.0.1"
security = "none"
port = {port}
""",
        "utf-8",
    )
    return path


@pytest.mark.parametrize(
    ("moment", "mails"), [("raises", 1), ("is about to send", 1), ("has sent", 2)]
)
def test_whenever_a_node_is_killed_another_goes_on(moment: str, mails: int, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    box = Mailbox(free_port())
    path = settings(tmp_path, box.port)
    config = load_config(path)
    ledger = Ledger(config.database_url)
    ledger.migrate()
    desk = Desk(ledger, Store(tmp_path / "store", "alone"))
    with mail_server(box):
        if moment != "raises":
            raised(desk, "mail")
        killed = subprocess.run([sys.executable, "-c", CHILD, str(path), moment], timeout=120)
        assert killed.returncode == -signal.SIGKILL
        if moment == "raises":
            assert desk.rows(schema.alarm) == [], "an alarm and its notices are there, or neither"
            raised(desk, "mail")
        assert states(desk) == {NoticeState.QUEUED}
        desk.change(schema.alarm_notice, next_at=now() - 1)  # the claim of who was killed is over
        with posting(desk, alarm_channels(config)):
            assert until(lambda: states(desk) == {NoticeState.SENT})
    assert len(box.mails) == mails
    assert len({mail["Message-ID"] for mail in box.mails}) == 1
    ledger.close()
