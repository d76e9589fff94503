"""sender-silent and shifted as alarms; what they find, and when, is tested in tests/overview."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import MODEL, Desk
from overview.test_shift import analysed, inverted, usual
from overview.test_silence import listening, sent
from peers import modality
from typer.testing import CliRunner

from node import cli
from node.alarms.habits import models_shifted, senders_silent
from node.alarms.watched import Watched
from node.config import ChosenModel, Config
from node.config import Node as NodeSettings
from node.ledger import Ledger
from node.overview.health import Alarm
from node.overview.likeness import FIRST
from node.store import Store

from .rules import PLACE


def of_a_modality(ledger: Ledger) -> Watched:
    node = NodeSettings(ae_title="AINODE", state_dir=Path("unused"), timezone="UTC")
    models = (ChosenModel(name=MODEL.name, mode="deliver"),)
    return Watched(ledger, Config(node=node, peers=(modality(),), models=models), {}, PLACE)


def test_a_sender_that_is_silent_is_told(desk: Desk) -> None:
    listening(desk, since_hours=1000)
    last = sent(desk, "modality", hours_ago=6)
    (found,) = senders_silent(of_a_modality(desk.ledger))
    assert (found.rule, found.subject, found.urgency) == ("sender-silent", "modality", Alarm.LOOK)
    assert found.since == pytest.approx(last, abs=1)
    assert found.words.startswith("modality has sent nothing since ")


def test_a_model_that_has_shifted_is_told_until_the_first_exams_are_counted_anew(
    tmp_path: Path,
) -> None:
    (tmp_path / "state").mkdir()
    ledger = Ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.db'}")
    ledger.migrate()
    desk = Desk(ledger, Store(tmp_path / "state" / "store", "alone"))
    node = of_a_modality(ledger)
    analysed(desk, usual(FIRST + 150))
    assert list(models_shifted(node)) == []
    analysed(desk, inverted(60), begin=FIRST + 150)
    (found,) = models_shifted(node)
    assert (found.rule, found.urgency) == ("shifted", Alarm.LOOK)
    assert found.subject == f"{MODEL.name} 1.0.0, modality"
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "AINODE"\nstate_dir = "state"\n', "utf-8")

    def anew(*names: str) -> int:
        command = ["alarm", "count-anew", *names, "-c", str(path)]
        return CliRunner().invoke(cli.app, command).exit_code

    assert anew(MODEL.name, "nobody") == 1
    assert anew(MODEL.name, "modality") == 0
    assert list(models_shifted(node)) == []
    ledger.close()
