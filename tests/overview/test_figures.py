"""The database counts as one reads study by study; and what status says, and how urgent it is."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import EXCLUDED, HOUR_S, NODE, OUT_OF_SCOPE, Desk
from peers import modality

from node import config
from node.errors import ConfigError
from node.ledger import (
    Alarming,
    BackingUp,
    Closing,
    DeliveryState,
    Ill,
    OwnPart,
    Patience,
    Trouble,
    VersionState,
    schema,
)
from node.overview import Standing, each_study
from node.overview.disk_space import disk_spaces
from node.overview.figures import Figures, backlogs, figures
from node.overview.health import Alarm
from node.overview.status import (
    Status,
    node_status,
    status_as_json,
    status_in_lines,
    status_without_ledger,
    study_alarm,
)
from node.result import Priority

DAY_S = 24 * HOUR_S


def counted(desk: Desk) -> Figures:
    return figures(desk.ledger, ("modality",), open_days=7)


def by_reading(desk: Desk) -> Counter[tuple[Standing, str]]:
    return Counter((study.state, study.level) for study in each_study(desk.ledger))


def of_every_kind(desk: Desk) -> None:
    """Put in a study of each standing that there is, and another version of one."""
    number = iter(range(1, 100))

    def study() -> str:
        return f"1.2.826.{next(number)}"

    def analysed(**how: object) -> str:
        uid = study()
        desk.analysed(uid, first_report=int(uid.rpartition(".")[2]) * 10, **how)  # type: ignore[arg-type]
        return uid

    def closed(closing: Closing) -> str:
        uid = study()
        desk.receive(f"{uid}.1", study=uid)
        desk.close(closing, study=uid)
        return uid

    uid = study()
    desk.receive(f"{uid}.1", study=uid)  # is received
    for closing in (EXCLUDED, OUT_OF_SCOPE):
        closed(closing)
    closed(Closing("quiet 60 s", state=VersionState.WITHDRAWN, why_not="none left"))
    closed(Closing("4/4 views"))  # has no model, but is queued
    analysed(level=Priority.URGENT)  # is delivered
    analysed(destinations=())
    for state in (DeliveryState.SENT, DeliveryState.REFUSED):
        uid = analysed(level=Priority.ROUTINE, reports=1)
        desk.deliver(desk.jobs[-1], state)
    uid = analysed()
    desk.receive_again(f"{uid}.1", study=uid, pixels="other")  # is held
    uid = analysed()
    desk.receive(f"{uid}.2", study=uid)  # is received again
    uid = study()
    desk.receive(f"{uid}.1", study=uid)
    desk.begin(desk.close(study=uid))  # runs
    desk.receive("2.25.9", study="1.2.3", is_own=True, modality="SR", view=None)  # is kept


def test_what_the_database_counts_is_what_one_reads(desk: Desk) -> None:
    of_every_kind(desk)
    found = by_reading(desk)
    assert len({state for state, _ in found}) >= 10, "most there are"
    assert dict(counted(desk).studies) == dict(found)


def test_an_empty_ledger_counts_nothing(desk: Desk) -> None:
    found = counted(desk)
    assert (found.studies, found.backlogs, found.waiting_since) == ({}, (), None)
    assert (found.unread, found.last_images, found.stranded) == ({}, {}, 0)


def test_a_backlog_says_how_much_since_when_until_when_and_why(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.SENT, DeliveryState.QUEUED)
    (backlog,) = counted(desk).backlogs
    assert (backlog.destination, backlog.studies, backlog.objects) == ("pacs", 1, 2)
    assert backlog.since == desk.version()["finished_at"]
    assert backlog.next_at == desk.dispatch()["next_at"]
    assert (backlog.error, backlog.given_up) == ("queued by PACS", 0)


def test_each_destination_is_told_with_what_waits_and_what_was_given_up(desk: Desk) -> None:
    for number in range(3):
        study, first = f"1.9.{number}", 10 * number
        jobs = desk.analysed(study, destinations=("pacs", "second"), first_report=first)
        if number == 0:
            desk.deliver(jobs[0], DeliveryState.REFUSED, DeliveryState.SENT)
            desk.deliver(jobs[1])
        if number == 1:
            desk.deliver(jobs[1], DeliveryState.QUEUED, DeliveryState.QUEUED)
    found = backlogs(desk.ledger)
    assert [(one.destination, one.studies, one.given_up) for one in found] == [
        ("pacs", 2, 1),
        ("second", 2, 0),
    ]
    assert [(one.error, one.why_given_up) for one in found] == [
        ("", "refused by PACS"),
        ("queued by PACS", ""),
    ]


def test_of_a_former_version_or_a_held_study_nothing_is_awaited(desk: Desk) -> None:
    desk.analysed()
    desk.receive_again(pixels="other")
    desk.analysed("1.2.826.2", first_report=10)
    desk.receive("1.2.826.2.2", study="1.2.826.2")
    desk.begin(desk.close(study="1.2.826.2"))
    assert counted(desk).backlogs == ()


def test_what_was_given_up_counts_for_a_month_and_is_new_for_a_week(desk: Desk) -> None:
    (job,) = desk.analysed(reports=1)
    desk.deliver(job, DeliveryState.REFUSED)
    (backlog,) = counted(desk).backlogs
    assert (backlog.given_up, backlog.given_up_lately) == (1, 1)
    assert (backlog.studies, backlog.why_given_up) == (0, "refused by PACS")
    table = schema.study_version
    desk.change(table, finished_at=table.c.finished_at - 8 * DAY_S)
    (backlog,) = counted(desk).backlogs
    assert (backlog.given_up, backlog.given_up_lately) == (1, 0)
    desk.change(table, finished_at=table.c.finished_at - 30 * DAY_S)
    assert counted(desk).backlogs == ()


def test_what_nobody_has_marked_as_read_is_counted_by_its_level(desk: Desk) -> None:
    desk.analysed(level=Priority.URGENT)
    desk.analysed("1.2.826.2", level=Priority.URGENT, first_report=10)
    desk.analysed("1.2.826.3", level=Priority.ROUTINE, first_report=20)
    since = desk.study()["last_image_at"]
    assert counted(desk).unread == {"urgent": (2, since)}
    with desk.ledger.writing() as db:
        of_first = schema.study.update().where(schema.study.c.study_uid == "1.2.826.1")
        db.execute(of_first.values(read_at=since))
    assert counted(desk).unread["urgent"][0] == 1


# Status


@pytest.fixture
def settings(desk: Desk) -> config.Config:
    node = config.Node(
        ae_title="AINODE",
        state_dir=desk.store.root.parent,
        store_dir=desk.store.root,
        min_free_mb=0,
    )
    pacs = config.Peer(
        name="pacs", ae_title="PACS", host="192.0.2.2", port=104, sends=True, receives="default"
    )
    others = [
        modality(name=name, ae_title=name.upper(), results_to=["pacs"])
        for name in ("modality", "other")
    ]
    return config.Config(node=node, peers=(pacs, *others))


@pytest.fixture
def status(desk: Desk, settings: config.Config) -> Callable[[], Status]:
    """The status of a node that runs."""
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    return lambda: node_status(desk.ledger, settings)


def remarks(status: Status) -> list[tuple[Alarm, str]]:
    return [(remark.alarm, remark.words) for remark in status.remarks]


def raised(desk: Desk, rule: str, urgency: int) -> None:
    trouble = Trouble(rule, "pacs", urgency, f"{rule} of pacs", "see to it", time.time() - 600)
    Alarming(desk.ledger).raise_alarm(trouble, (), reminder_s=DAY_S, news_s=HOUR_S)


def test_what_is_raised_and_still_found_is_to_be_done(
    desk: Desk, status: Callable[[], Status]
) -> None:
    raised(desk, "urgent-late", 2)
    found = status()
    (remark,) = found.remarks
    assert (found.alarm, remark.alarm, remark.next) == (Alarm.ACT, Alarm.ACT, "see to it")
    assert remark.words.startswith("urgent-late of pacs, since ")
    desk.change(schema.alarm, seen_at=time.time() - 200)
    over_soon = status()
    assert (over_soon.alarm, over_soon.remarks) == (Alarm.NONE, ())
    (line,) = [line for line in status_in_lines(over_soon) if line.startswith("alarm")]
    assert "(not found any more since " in line


def test_what_a_remark_tells_of_is_not_told_twice_unless_it_is_more_urgent(
    desk: Desk, status: Callable[[], Status]
) -> None:
    desk.receive()
    desk.change(schema.study, held_because="pixels", held_reason="came twice")
    raised(desk, "study-held", 1)
    assert [remark.alarm for remark in status().remarks] == [Alarm.LOOK]
    desk.change(schema.alarm, urgency=2)
    assert [remark.alarm for remark in status().remarks] == [Alarm.ACT, Alarm.LOOK]


def test_where_nothing_is_to_be_done_it_says_so(desk: Desk, status: Callable[[], Status]) -> None:
    desk.receive(sender="pacs")
    found = status()
    assert (found.alarm, found.remarks) == (Alarm.NONE, ())
    lines = list(status_in_lines(found))
    assert lines[0] == "OK    nothing has to be done"
    assert "studies      1: 1 receiving" in lines
    assert any(re.fullmatch(r"from pacs    last image \d+ s ago", line) for line in lines)
    assert any(line.startswith("disk ") and "free for store_dir" in line for line in lines)


def test_a_part_that_is_ill_is_told_with_what_to_do(
    desk: Desk, status: Callable[[], Status]
) -> None:
    desk.nodes.record_ill(NODE, {OwnPart.DISK: Ill(1000.0, "5 MB free")})
    found = status()
    assert found.alarm == Alarm.ACT
    assert found.remarks[0].words.startswith("disk: ward-a:/srv/ai-node: 5 MB free, since 19")
    assert found.remarks[0].next.startswith("make room")
    assert [remark.alarm for remark in found.remarks] == [Alarm.ACT, Alarm.LOOK]


def test_results_that_were_given_up_are_to_be_acted_on(
    desk: Desk, status: Callable[[], Status]
) -> None:
    (job,) = desk.analysed(reports=1)
    desk.deliver(job, DeliveryState.REFUSED)
    words = "pacs: the results of 1 study were given up: refused by PACS"
    assert remarks(status()) == [(Alarm.ACT, words)]
    (study,) = each_study(desk.ledger)
    assert study_alarm(study) == Alarm.ACT
    table = schema.study_version
    desk.change(table, finished_at=table.c.finished_at - 8 * DAY_S)
    assert remarks(status()) == [(Alarm.LOOK, words)]
    (study,) = each_study(desk.ledger)
    assert study_alarm(study) == Alarm.LOOK


@pytest.mark.parametrize(("late_s", "alarm"), [(1700, None), (1900, Alarm.LOOK), (3700, Alarm.ACT)])
def test_a_destination_that_fails_is_told_of_after_a_while(
    desk: Desk, status: Callable[[], Status], late_s: float, alarm: Alarm | None
) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    table = schema.study_version
    desk.change(table, finished_at=table.c.finished_at - late_s)
    found = status()
    assert [remark.alarm for remark in found.remarks] == ([] if alarm is None else [alarm])
    if alarm is not None:
        assert found.remarks[0].words.startswith("pacs lacks the results of 1 study, since ")
        assert found.remarks[0].words.endswith(": queued by PACS")


@pytest.mark.parametrize("hangs", [False, True])
@pytest.mark.parametrize(("late_s", "alarm"), [(1700, None), (1900, Alarm.LOOK), (3700, Alarm.ACT)])
def test_a_destination_that_is_never_tried_or_hangs_is_told_of_without_an_error(
    desk: Desk, status: Callable[[], Status], late_s: float, alarm: Alarm | None, *, hangs: bool
) -> None:
    (job,) = desk.analysed()
    if hangs:
        desk.delivering.begin_dispatch(job, NODE)
    table = schema.study_version
    desk.change(table, finished_at=table.c.finished_at - late_s)
    found = status()
    assert [remark.alarm for remark in found.remarks] == ([] if alarm is None else [alarm])
    if alarm is not None:
        assert found.remarks[0].words.startswith("pacs lacks the results of 1 study, since ")
        assert found.remarks[0].words.endswith(": no attempt has ended")


def test_what_was_taken_and_waits_for_its_confirmation_alone_is_looked_at_after_two_waits(
    desk: Desk, status: Callable[[], Status]
) -> None:
    (job,) = desk.analysed(reports=1)
    shipment = desk.delivering.begin_dispatch(job, NODE)
    sent = [desk.outcome(report, DeliveryState.SENT) for report in shipment.to_send]
    desk.delivering.record_sent(job, sent)
    desk.change(schema.dispatch, deadline_at=schema.dispatch.c.deadline_at + DAY_S)
    patience = Patience(60, 3600, waits_for="pacs has not confirmed it yet")
    desk.delivering.finish_dispatch(job, (), patience, desk.enqueue)
    version, delivery = schema.study_version, schema.delivery
    desk.change(version, finished_at=version.c.finished_at - 5 * HOUR_S)
    assert remarks(status()) == [], "it was taken just now, however late"
    desk.change(delivery, sent_at=delivery.c.sent_at - 1.9 * HOUR_S)
    assert remarks(status()) == []
    desk.change(delivery, sent_at=delivery.c.sent_at - 0.2 * HOUR_S)
    ((alarm, words),) = remarks(status())
    assert alarm == Alarm.LOOK
    assert words.startswith("pacs took results and has not confirmed them, since ")
    assert any("taken and not confirmed since" in line for line in status_in_lines(status()))
    (backlog,) = counted(desk).backlogs
    assert (backlog.since, backlog.studies, backlog.objects) == (None, 1, 1)


def test_results_for_nobody_are_to_be_acted_on(desk: Desk, status: Callable[[], Status]) -> None:
    desk.analysed(destinations=())
    desk.change(schema.study_version, error="no destination: nobody")
    words = "the results of 1 study have no destination"
    assert remarks(status()) == [(Alarm.ACT, words)]


def test_a_held_study_is_to_be_looked_at(desk: Desk, status: Callable[[], Status]) -> None:
    desk.analysed()
    desk.receive_again(pixels="other")
    words = "1 study held: nothing of it is analysed or sent"
    assert remarks(status()) == [(Alarm.LOOK, words)]
    (study,) = each_study(desk.ledger)
    assert study_alarm(study) == Alarm.LOOK


def cancelled(desk: Desk, uid: str, number: int = 1) -> None:
    desk.receive(f"{uid}.{number}", study=uid)
    job = desk.close(study=uid)
    desk.begin(job)
    desk.processing.cancel_version(job, "model has been switched off")


def test_a_study_that_could_not_be_analysed_is_to_be_acted_on(
    desk: Desk, status: Callable[[], Status]
) -> None:
    cancelled(desk, "1.2.826.1")
    words = "1 study cannot be analysed, so that there is no result"
    table = schema.study_version
    for days, alarm in ((0, Alarm.ACT), (8, Alarm.LOOK), (31, None)):
        at = schema.study.c.last_at - days * DAY_S
        at_of_study = sa.select(at).where(schema.study.c.study_uid == table.c.study_uid)
        changed = at_of_study.scalar_subquery()
        desk.change(table, closed_at=changed, finished_at=changed)
        assert remarks(status()) == ([] if alarm is None else [(alarm, words)])
        (study,) = each_study(desk.ledger)
        assert study_alarm(study) == (alarm or Alarm.NONE)
    assert status_as_json(status())["cancelled"] == 0


def test_a_study_that_could_not_be_analysed_again_is_to_be_looked_at(
    desk: Desk, status: Callable[[], Status]
) -> None:
    (job,) = desk.analysed(reports=1)
    desk.deliver(job, DeliveryState.CONFIRMED)
    cancelled(desk, "1.2.826.1", 2)
    assert [remark.alarm for remark in status().remarks] == [Alarm.LOOK]
    (study,) = each_study(desk.ledger)
    assert study_alarm(study) == Alarm.LOOK
    desk.receive("1.2.826.1.3")
    assert remarks(status()) == [], "it is received anew"


def test_a_study_that_is_analysed_for_an_hour_is_to_be_looked_at(
    desk: Desk, status: Callable[[], Status]
) -> None:
    desk.receive()
    desk.begin(desk.close())
    assert remarks(status()) == []
    table = schema.study_version
    desk.change(table, closed_at=table.c.closed_at - 1.1 * HOUR_S)
    ((alarm, words),) = remarks(status())
    assert alarm == Alarm.LOOK
    assert words.startswith("worker: 1 study is still being analysed, one complete since 66 min")


def test_that_everything_of_a_sender_so_far_is_excluded_is_to_be_looked_at(
    desk: Desk, status: Callable[[], Status]
) -> None:
    desk.receive()
    desk.close(EXCLUDED)
    words = "everything that modality has sent so far is excluded from analysis: 1 study, "
    assert remarks(status()) == [(Alarm.LOOK, f"{words}no Patient ID")]
    desk.receive("1.2.826.2.1", study="1.2.826.2", sender="other")
    assert remarks(status()) == [(Alarm.LOOK, f"{words}no Patient ID")], "of another sender"
    desk.receive("1.2.826.3.1", study="1.2.826.3")
    assert remarks(status()) == []


def test_a_disk_that_will_be_full_in_a_week_is_to_be_looked_at(
    desk: Desk, settings: config.Config
) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    desk.receive()
    folder = desk.store.root / "received" / "1.2.826.1"
    folder.mkdir()
    (free,) = {disk.free for disk in disk_spaces(desk.ledger, settings)}
    with (folder / "large.dcm").open("wb") as file:
        file.truncate(free * 2)  # as if twice of what is free now had come in a week
    (disk,) = disk_spaces(desk.ledger, settings)
    assert disk.days_left == pytest.approx(3.5, rel=0.1)
    (remark,) = node_status(desk.ledger, settings).remarks
    assert remark.alarm == Alarm.LOOK
    assert "free, full in " in remark.words


def test_of_many_studies_with_many_files_two_hundred_are_measured_at_most(
    desk: Desk, settings: config.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        uid = f"1.2.826.{number}"
        desk.receive(f"{uid}.1", study=uid)
        for tree in ("received", "reports"):
            folder = desk.store.root / tree / uid
            folder.mkdir(parents=True)
            for file in range(12):
                (folder / f"{file}.dcm").write_bytes(b"a" * 7000)
    measured = []

    class Noting(os.PathLike[str]):  # what is listed, noting what is asked of each file
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.entry = entry

        def __fspath__(self) -> str:
            return self.entry.path

        def stat(self) -> os.stat_result:
            measured.append(self.entry.path)
            return self.entry.stat()

    scan = os.scandir

    @contextmanager
    def noting(folder: Path) -> Iterator[Iterator[Noting]]:
        with scan(folder) as entries:
            yield map(Noting, entries)

    monkeypatch.setattr("node.overview.disk_space.os.scandir", noting)
    (disk,) = disk_spaces(desk.ledger, settings)
    assert 0 < len(measured) <= 200
    a_day = 30 * 2 * 12 * 7000 / 7
    assert disk.days_left == pytest.approx(disk.free / a_day, rel=0.01)


def test_a_disk_with_little_more_than_it_must_have_is_to_be_looked_at(
    desk: Desk, settings: config.Config
) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    free_mb = desk.store.free_bytes() >> 20
    node = settings.node.model_copy(update={"min_free_mb": free_mb // 2})
    (remark,) = node_status(desk.ledger, settings.model_copy(update={"node": node})).remarks
    assert remark.alarm == Alarm.LOOK
    assert remark.words.endswith(" GB free; images are refused once it is full")


def test_a_disk_that_is_not_on_this_machine_is_left_out(desk: Desk) -> None:
    elsewhere = config.Node(ae_title="AINODE", state_dir=Path("/nowhere/ai-node"))
    assert disk_spaces(desk.ledger, config.Config(node=elsewhere)) == ()


def test_a_database_that_goes_away_meanwhile_is_the_answer(
    desk: Desk, status: Callable[[], Status]
) -> None:
    with desk.ledger.writing() as db:
        db.execute(sa.text("ALTER TABLE study RENAME TO away"))
    found = status()
    assert (found.alarm, found.figures) == (Alarm.ACT, None)
    (remark,) = found.remarks
    assert remark.words.startswith("database: ")
    assert "does not answer" in remark.words


def test_without_a_ledger_only_that_can_be_said() -> None:
    found = status_without_ledger(ConfigError("there is no ledger at /srv"))
    assert found.alarm == Alarm.ACT
    lines = list(status_in_lines(found))
    assert lines[0] == "ACT   there is no ledger at /srv"
    assert lines[1].startswith("      next: ")
    assert status_as_json(found)["word"] == "act"


def test_json_says_the_same(desk: Desk, status: Callable[[], Status]) -> None:
    (job,) = desk.analysed(reports=1, level=Priority.URGENT)
    desk.deliver(job, DeliveryState.REFUSED)
    said = status_as_json(status())
    assert (said["alarm"], said["word"]) == (2, "act")
    assert said["studies"]["undelivered"] == 1
    assert said["backlogs"][0]["given_up"] == 1
    assert said["unread"]["urgent"]["studies"] == 1
    assert said["parts"][0]["name"] == "database"
    assert set(said["remarks"][0]) == {"alarm", "words", "next"}


def test_the_last_whole_backup_is_there_if_there_ever_was_one(
    desk: Desk, status: Callable[[], Status]
) -> None:
    found = status()
    assert status_as_json(found)["backup"] is None
    assert not [line for line in status_in_lines(found) if line.startswith("backup")]
    backing_up = BackingUp(desk.ledger)
    began_at = backing_up.begin("ward-a:/backup")
    assert status().backup is None  # it may never be whole
    backing_up.end("ward-a:/backup", began_at - 3 * HOUR_S)
    found = status()
    assert status_as_json(found)["backup"]["began_at"] == began_at - 3 * HOUR_S
    (line,) = [line for line in status_in_lines(found) if line.startswith("backup")]
    assert line.endswith("(3 h ago), in ward-a:/backup")


def test_what_waits_for_a_name_that_nobody_has_any_more_is_to_be_acted_on(
    desk: Desk, settings: config.Config
) -> None:
    desk.analysed()
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    renamed = [
        peer.model_copy(update={"name": "archive", "results_to": ()}) for peer in settings.peers[:1]
    ]
    config_of_now = settings.model_copy(update={"peers": tuple(renamed)})
    assert not node_status(desk.ledger, settings).remarks
    [remark] = node_status(desk.ledger, config_of_now).remarks
    assert remark.alarm == Alarm.ACT
    assert (
        remark.words == "1 delivery waits for pacs, which no peer or destination is called any more"
    )
    assert "`ai-node rename-peer pacs NEW`" in remark.next


def test_a_configuration_that_was_refused_is_to_be_looked_at(
    desk: Desk, settings: config.Config
) -> None:
    desk.nodes.register_node(NODE, "ward-a:/srv/ai-node 1-1")
    words = "the configuration on disk was refused at 2026-03-01 09:30:00: node.toml:3: ..."
    desk.nodes.record_ill(NODE, {OwnPart.CONFIGURATION: Ill(time.time(), words)})
    [remark] = node_status(desk.ledger, settings).remarks
    assert remark.alarm == Alarm.LOOK
    assert remark.words.startswith(f"node ward-a:/srv/ai-node: {words}, since ")
    assert "correct it (`ai-node check`), then reload it" in remark.next
