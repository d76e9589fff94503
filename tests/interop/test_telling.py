"""A whole node and a reading list: whenever it is killed, what is acknowledged is not lost."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from factories import L_MLO, R_CC, SMALL
from ports import free_port
from pydicom import Dataset
from reading_lists import ReadingList, acknowledging, reading_list
from webhooks import SECRET, Program, listening

from node.trial import phantom
from node.trial.disc import draw_disc
from node.trial.exams import DISC
from node.trial.phantom import Patient

from .conftest import Started
from .killing import Fate, MortalNode, Point, killed_words
from .programs import LOOPBACK, NODE_AE, Node, StoreScp, peer, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

_MESSAGES = "node.ledger:Messages."
POINTS = (
    Point("tell", "the messages are recorded", "inside", "node.ledger:Telling.record"),
    Point("tell", "the messages are recorded", "after", "node.ledger:Telling.record"),
    Point("tell", "a message is taken", "inside", f"{_MESSAGES}begin_message"),
    Point("tell", "a message is taken", "after", f"{_MESSAGES}begin_message"),
    Point("tell", "it is sent", "before", "node.deliver.messages.receiver:exchange"),
    Point("tell", "it is sent", "after", "node.deliver.messages.receiver:exchange"),
    Point("tell", "it is acknowledged", "inside", f"{_MESSAGES}finish_message"),
    Point("tell", "it is acknowledged", "after", f"{_MESSAGES}finish_message"),
)
HEARD_BEFORE_IT_DIED = {"after it is sent", "inside it is acknowledged", "after it is acknowledged"}


def settings(port: int, *destinations: str, sends_to: str = "") -> str:
    return "\n".join(
        [
            f'[node]\nae_title = "{NODE_AE}"\nstate_dir = "state"\nmin_free_mb = 64',
            f'[listener]\nhost = "{LOOPBACK}"\nport = {port}',
            '[[peers]]\nname = "modality"\nae_title = "MODALITY"',
            f'host = "{LOOPBACK}"\nport = 104\nsends = true\n{sends_to}',
            *destinations,
            '[[models]]\nname = "planted-disc"\nmode = "deliver"',
            "[triage]\ndemonstration_may_rank = true",
            "[completeness]\nsettle_s = 0.5\nquiet_s = 1",
            "[delivery]\nretry_first_s = 1\nretry_max_s = 2\n",
        ]
    )


def list_table(ris: ReadingList) -> str:
    return (
        f'[[destinations]]\nkind = "hl7"\nname = "ris"\nhost = "localhost"\nport = {ris.port}\n'
        'models = ["planted-disc"]\nassigning_authority = "SITE"\ntimeout_s = 5'
    )


def exam(study: str, patient: Patient, *, has_disc: bool = False) -> list[Dataset]:
    """Return two small mammograms, with a disc on one of them if so."""
    made = phantom.exam(study, (R_CC, L_MLO), patient=patient, technique=SMALL)
    if has_disc:
        draw_disc(made[1], L_MLO, DISC)
    return made


def sent(node: Node, images: Sequence[Dataset], folder: Path) -> str:
    node.send(*phantom.save(images, folder))
    return str(images[0].StudyInstanceUID)


def about(ris: ReadingList, study: str) -> list[tuple[str, str, str, str]]:
    """Return of each message about a study: control ID, patient, level and status."""
    found = []
    for message in ris.heard:
        values = {str(one(3)[0][0]): one for one in message.segments("OBX")}
        if str(values["113014"](5)) == study:
            level = values["AI-LEVEL"]
            control_id = str(message.segment("MSH")(10))
            patient = str(message.segment("PID")(3))
            found.append((control_id, patient, str(level(5)).partition("^")[0], str(level(11))))
    return found


def test_whenever_a_node_is_killed_a_list_hears_each_message_under_one_control_id(
    tmp_path: Path,
) -> None:
    with reading_list() as ris:
        port = free_port()
        node = MortalNode(tmp_path / "node", port, settings(port, list_table(ris)))
        try:
            for number, point in enumerate(POINTS):
                images = exam(f"killed {number}", Patient(f"P-{number}", f"Doe^{number}"))
                study = str(images[0].StudyInstanceUID)
                node.launch(Fate(point, (study,)))
                wait_for("it to listen", lambda: node.listens)
                assert sent(node, images, tmp_path / f"exam {number}") == study
                wait_for(f"it to die {point.words}", node.has_ended)
                said = node.says()
                assert node.bury() == -signal.SIGKILL, said[-3000:]
                assert killed_words(point) in said
                heard_before = len(about(ris, study))
                assert bool(heard_before) == (point.words in HEARD_BEFORE_IT_DIED), point.words
                node.launch()
                wait_for("its message to be acknowledged", partial(_is_told, node, study))
                node.kill()
                heard = about(ris, study)
                assert len({one[0] for one in heard}) == 1, (point.words, heard)
                assert len({str(m) for m in ris.heard if study in str(m)}) == 1, point.words
                is_repeated = point.words in HEARD_BEFORE_IT_DIED - {"after it is acknowledged"}
                assert len(heard) == 1 + is_repeated, (point.words, heard)
        finally:
            node.kill()


def _is_told(node: Node, study: str) -> bool:
    if not node.log.exists() or "Listening on" not in node.says():
        return False
    messages = node.studies()[study]["messages"]
    return [one["state"] for one in messages] == ["finished"]


def test_an_urgent_exam_and_its_correction_while_the_list_was_away(
    tmp_path: Path, started: Started, pacs: StoreScp
) -> None:
    ris, hook = ReadingList(port=free_port()), Program(port=free_port())
    port = free_port()
    program = (
        f'[[destinations]]\nkind = "webhook"\nname = "hook"\nurl = "{hook.url}"\n'
        f'secret = "{SECRET}"\nmodels = ["planted-disc"]'
    )
    archive = peer("pacs", pacs.ae_title, pacs.port)
    tables = (archive, list_table(ris), program)
    node = Node(tmp_path / "node", port, settings(port, *tables, sends_to='results_to = ["pacs"]'))
    started(node)
    first, second = Patient("P-1", "Doe^Jane"), Patient("P-2", "Roe^Mary")
    with reading_list(ris), listening(hook):
        study = sent(node, exam("urgent", first, has_disc=True), tmp_path / "first")
        wait_for("the list to be told", lambda: about(ris, study))
        wait_for("the program to be told", lambda: hook.heard)
        wait_for("both to have acknowledged", lambda: _all_finished(node, study, 2))
    assert [one[1:] for one in about(ris, study)] == [("P-1^^^SITE", "URGENT", "R")]
    sent(node, exam("urgent", second, has_disc=True), tmp_path / "second")
    wait_for("it to wait", lambda: "queued" in _states(node, study))
    with reading_list(ris), listening(hook):
        wait_for("the list to be told of both", lambda: len(about(ris, study)) == 3)
        wait_for("all to be acknowledged", lambda: _all_finished(node, study, 4))
    assert sorted(one[1:] for one in about(ris, study)[1:]) == [
        ("P-1^^^SITE", "URGENT", "W"),
        ("P-2^^^SITE", "URGENT", "R"),
    ]
    history = [event for _, event in node.studies()[study]["history"]]
    assert "ris is to be told: triage level urgent" in history
    wrong = "triage level urgent was told under a wrong patient or accession number"
    assert f"ris is to be told: {wrong}" in history


def test_one_study_that_is_refused_stops_no_other(tmp_path: Path) -> None:
    ris = ReadingList(acknowledging("AE"))
    with reading_list(ris):
        port = free_port()
        node = Node(tmp_path / "node", port, settings(port, list_table(ris)))
        node.start()
        try:
            refused = sent(node, exam("refused", Patient("P-1", "Doe^Jane")), tmp_path / "refused")
            wait_for("it to be refused", lambda: _states(node, refused) == ["dead"])
            ris.answer = acknowledging()
            other = sent(node, exam("other", Patient("P-2", "Roe^Mary")), tmp_path / "other")
            wait_for("the other to be told", lambda: _all_finished(node, other, 1))
            assert _states(node, refused) == ["dead"]
            assert "1 delivery given up before" in node.command("retry")
            wait_for("it to be told again", lambda: _all_finished(node, refused, 1))
        finally:
            node.stop()
    ids = [one[0] for one in about(ris, refused)]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def _states(node: Node, study: str) -> list[str]:
    found = node.studies().get(study)
    return [] if found is None else [one["state"] for one in found["messages"]]


def _all_finished(node: Node, study: str, count: int) -> bool:
    return _states(node, study) == ["finished"] * count
