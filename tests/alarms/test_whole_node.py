"""A node whose PACS goes away and comes back: somebody is told, whatever restarts meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import factories
import pytest
from ledgers import Desk
from mailboxes import Mailbox, mail_server, words_in
from peers import Pacs, modality, refused_connections, store
from ports import free_port

from node import config
from node.alarms import examining, raising
from node.app import App
from node.ledger import Ledger, Nodes, Role, now, schema
from node.page_alone import PageAlone
from node.store import Store

SOON_S = 1.0


def wait_until(is_so: Callable[[], object], within_s: float = 120) -> None:
    give_up_at = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes are a second, for who tells of alarms."""
    monkeypatch.setattr(raising, "SETTLES_S", SOON_S)
    for process in ("node.app", "node.page_alone"):
        monkeypatch.setattr(f"{process}.EXAMINE_EVERY_S", SOON_S)
    monkeypatch.setattr(examining, "_MINUTE_S", 0.01)
    monkeypatch.setattr(examining, "ENDS_SOON_S", 0.1)


def mail_to(box: Mailbox) -> config.AlarmMail:
    return config.AlarmMail(
        to=("a@b.example",),
        sender="n@b.example",
        host="127.0.0.1",
        port=box.port,
        security="none",
    )


@pytest.mark.slow
@refused_connections
@pytest.mark.usefixtures("warm_inference", "small_exam", "impatient")
def test_a_pacs_that_is_away_is_told_once_and_once_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with mail_server() as box:
        settings = config.Config(
            node=config.Node(ae_title="AINODE", state_dir=tmp_path / "state", min_free_mb=0),
            listener=config.ListenerSettings(host="127.0.0.1", port=0),
            peers=(
                modality(results_to=["pacs"]),
                config.Peer(
                    name="pacs", ae_title="PACS", host="127.0.0.1", port=port, receives="default"
                ),
            ),
            models=(config.ChosenModel(name="breast-area", mode="deliver"),),
            completeness=config.Completeness(settle_s=0.5, quiet_s=2),
            delivery=config.Delivery(retry_first_s=0.5, retry_max_s=0.5),
            alarms=config.AlarmSettings(
                failing_minutes=0.01,
                off=("disk",),
                mail=mail_to(box),
            ),
        )
        node = App(settings)
        node.start()
        try:
            store(node.port, factories.saved_exam(tmp_path / "exam", "alarms"))
            wait_until(lambda: box.mails)
        finally:
            node.stop()
        node = App(settings)
        node.start()
        try:
            wait_until(lambda: node._alarms._examiner._all[2][1].found)
            assert len(box.mails) == 1
            pacs = Pacs(port=port)
            try:
                wait_until(lambda: len(box.mails) == 2)
            finally:
                pacs.close()
        finally:
            node.stop()
    begun, over = box.mails
    where = f"pacs (PACS at 127.0.0.1:{port})"
    assert begun["Subject"].startswith(f"AINODE: ACT: {where} lacks the results of 1 study: ")
    assert "`ai-node doctor` examines it" in words_in(begun)
    assert over["Subject"].startswith(f"AINODE: over: {where} lacks")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("is_store_away", [False, True])
def test_of_a_node_that_has_died_the_page_beside_it_tells(
    tmp_path: Path, *, is_store_away: bool
) -> None:
    """Also where the store's disk is not mounted, so that no node starts; nothing is put there."""
    state = tmp_path / "state"
    state.mkdir()
    with mail_server() as box:
        settings = config.Config(
            node=config.Node(ae_title="AINODE", state_dir=state, min_free_mb=0),
            web=config.WebSettings(port=0),
            alarms=config.AlarmSettings(off=("disk",), mail=mail_to(box)),
        )
        ledger = Ledger(settings.database_url)
        ledger.migrate()
        if is_store_away:
            settings.store_dir.mkdir()
            Desk(ledger, Store(settings.store_dir)).receive()  # its file is not there
        Nodes(ledger).register_node("dead", "ward-a:/srv/ai-node dead", Role.ALL)
        with ledger.writing() as db:
            db.execute(schema.node.update().values(beat_at=now() - 3600))
        ledger.close()
        page = PageAlone(settings)
        page.start()
        try:
            wait_until(lambda: len(box.mails) == 2)
        finally:
            page.stop()
    assert not is_store_away or [*settings.store_dir.iterdir()] == []
    died = "ward-a:/srv/ai-node ended without saying so"
    subjects = sorted(mail["Subject"] for mail in box.mails)
    assert subjects == [
        f"AINODE: ACT: listener: no node listens: {died}",
        f"AINODE: ACT: worker: no node works: {died}",
    ]
    assert "systemctl start ai-node" in words_in(box.mails[0])
