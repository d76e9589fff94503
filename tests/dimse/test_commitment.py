"""An archive is asked to answer for objects, and whatever it reports, and when, is understood."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from peers import BREAK_OFF, SILENCE, Archive, refused_connections, report_of
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.association import Association

from node.dimse import CommitmentReport, Linger, read_commitment_report, request_commitment
from node.errors import DeliveryError, Unreadable, Unsupported

from .places import MARKED, NODE, REPORT, RESULTS, SUMMARY, UIDS, address, within

OpenArchive = Callable[..., Archive]

TRANSACTION = "1.2.7"
ALL_IS_WELL = CommitmentReport(TRANSACTION, UIDS, {})


class Desk:
    """Who asks: it keeps each report, and says so."""

    def __init__(self) -> None:
        self.reports: list[CommitmentReport] = []
        self.is_kept: Callable[[CommitmentReport], bool] = lambda report: True

    def take(self, report: CommitmentReport) -> bool:
        self.reports.append(report)
        return self.is_kept(report)

    def ask(self, archive: Archive, linger_s: float = 20, timeout_s: float = 20) -> None:
        """Ask for a commitment; must come back in any case."""
        to = address(archive, timeout_s)
        request_commitment(TRANSACTION, RESULTS, to, NODE, self.take, Linger(linger_s))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for an archive that waits for us."""
    monkeypatch.setattr("node.dimse.association._RELEASED_WITHIN_S", 0.1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def wait_until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


# The request


def test_the_request_names_the_transaction_and_every_object(archive: Archive, desk: Desk) -> None:
    desk.ask(archive)
    [request] = archive.requests
    assert request.TransactionUID == TRANSACTION
    assert [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
        for item in request.ReferencedSOPSequence
    ] == [(result.sop_class, result.sop_uid) for result in RESULTS]


def test_one_transfer_syntax_is_enough(open_archive: OpenArchive, desk: Desk) -> None:
    desk.ask(open_archive(service_syntaxes=[ImplicitVRLittleEndian]))
    assert [report.transaction_uid for report in desk.reports] == [TRANSACTION]


@pytest.mark.parametrize("status", [0x0112, 0x0117, 0x0118, 0x0122, 0x0123, 0x0124, 0x0211])
def test_an_archive_may_say_that_it_does_not_do_this(
    archive: Archive, desk: Desk, status: int
) -> None:
    archive.commit = lambda request, association: status
    with pytest.raises(Unsupported, match=rf"^ARCHIVE answered .* with 0x{status:04X} \("):
        desk.ask(archive)


@pytest.mark.parametrize(
    "status", [0x0110, 0x0114, 0x0115, 0x0119, 0x0131, 0x0210, 0x0212, 0x0213, 0xC001]
)
def test_another_refusal_is_worth_another_try(archive: Archive, desk: Desk, status: int) -> None:
    archive.commit = lambda request, association: status
    with pytest.raises(DeliveryError, match=f"^ARCHIVE answered .* with 0x{status:04X}$") as caught:
        desk.ask(archive)
    assert not isinstance(caught.value, Unsupported)


def test_an_archive_that_breaks_off_is_noticed_at_once(archive: Archive, desk: Desk) -> None:
    archive.commit = lambda request, association: BREAK_OFF
    with pytest.raises(DeliveryError, match=r"^ARCHIVE gave no answer to a storage commitment"):
        desk.ask(archive, timeout_s=60)


def test_silence_is_no_answer(archive: Archive, desk: Desk) -> None:
    archive.commit = lambda request, association: SILENCE
    with pytest.raises(DeliveryError, match=r"^ARCHIVE gave no answer to a storage commitment"):
        desk.ask(archive, timeout_s=3)


def test_an_archive_without_storage_commitment_is_understood(
    open_archive: OpenArchive, desk: Desk
) -> None:
    with pytest.raises(Unsupported, match="accepts none of the services"):
        desk.ask(open_archive(offers=[]))


def test_an_archive_that_rejects_us_does_not_offer_it(
    open_archive: OpenArchive, desk: Desk
) -> None:
    with pytest.raises(Unsupported, match="does not know AINODE"):
        desk.ask(open_archive(knows=["SOMEBODY"]))


@refused_connections
def test_an_archive_that_is_down_is_worth_another_try(archive: Archive, desk: Desk) -> None:
    archive.stop_accepting()
    with pytest.raises(DeliveryError, match="cannot be reached") as caught:
        desk.ask(archive)
    assert not isinstance(caught.value, Unsupported)


# When the report comes


def answer_after_the_report(archive: Archive) -> Callable[[Dataset, Association], int]:
    def commit(request: Dataset, association: Association) -> int:
        archive.report(report_of(TRANSACTION, UIDS), association)
        return 0x0000

    return commit


def answer_and_report(
    archive: Archive, *reports: Dataset, delay_s: float = 0
) -> Callable[[Dataset, Association], int]:
    def commit(request: Dataset, association: Association) -> int:
        archive.report_later(association, *reports, delay_s=delay_s)
        return 0x0000

    return commit


def test_a_report_on_the_same_association_ends_the_waiting(archive: Archive, desk: Desk) -> None:
    archive.commit = answer_and_report(archive, report_of(TRANSACTION, UIDS), delay_s=0.2)
    started_at = time.monotonic()
    desk.ask(archive)
    assert time.monotonic() - started_at < 10
    assert desk.reports == [ALL_IS_WELL]
    wait_until(lambda: archive.answers)
    assert archive.answers == [0x0000]


def test_a_report_may_come_before_the_answer_to_the_request(archive: Archive, desk: Desk) -> None:
    archive.commit = answer_after_the_report(archive)
    started_at = time.monotonic()
    desk.ask(archive)
    assert time.monotonic() - started_at < 10
    assert desk.reports == [ALL_IS_WELL]
    assert archive.answers == [0x0000]


def test_a_report_is_acceptance_enough(archive: Archive, desk: Desk) -> None:
    def commit(request: Dataset, association: Association) -> int:
        archive.report(report_of(TRANSACTION, UIDS), association)
        return BREAK_OFF

    archive.commit = commit
    desk.ask(archive)
    assert desk.reports == [ALL_IS_WELL]


def test_whoever_keeps_the_report_may_take_its_time(archive: Archive, desk: Desk) -> None:
    def keep(report: CommitmentReport) -> bool:
        time.sleep(1)
        return True

    desk.is_kept = keep
    archive.commit = answer_after_the_report(archive)
    desk.ask(archive, linger_s=0.1)
    assert archive.answers == [0x0000]
    archive.commit = answer_and_report(archive, report_of(TRANSACTION, UIDS))
    desk.ask(archive, linger_s=0.1)
    wait_until(lambda: len(archive.answers) == 2)
    assert desk.reports[0] == ALL_IS_WELL


def test_without_a_report_the_waiting_ends_in_time(archive: Archive, desk: Desk) -> None:
    archive.commit = lambda request, association: 0x0000
    started_at = time.monotonic()
    desk.ask(archive, linger_s=0.5)
    assert 0.5 < time.monotonic() - started_at < 10
    assert desk.reports == []


def test_an_archive_that_hangs_up_ends_the_waiting(archive: Archive, desk: Desk) -> None:
    def commit(request: Dataset, association: Association) -> int:
        archive.later(association.abort, 0.2)
        return 0x0000

    archive.commit = commit
    started_at = time.monotonic()
    desk.ask(archive)
    assert time.monotonic() - started_at < 10


def test_a_report_twice_is_told_twice_or_repeated_later(archive: Archive, desk: Desk) -> None:
    report = report_of(TRANSACTION, UIDS)
    archive.commit = answer_and_report(archive, report, report)
    desk.ask(archive)
    wait_until(lambda: len(archive.answers) == 2)
    assert desk.reports[0] == ALL_IS_WELL
    assert len(desk.reports) == archive.answers.count(0x0000)


def test_a_report_on_another_transaction_does_not_end_the_waiting(
    archive: Archive, desk: Desk
) -> None:
    other = report_of("1.2.8", ["1.2.8.1"])
    archive.commit = answer_and_report(archive, other, report_of(TRANSACTION, UIDS))
    desk.ask(archive)
    assert [report.transaction_uid for report in desk.reports] == ["1.2.8", TRANSACTION]


def test_a_report_on_another_transaction_is_no_acceptance(archive: Archive, desk: Desk) -> None:
    def commit(request: Dataset, association: Association) -> int:
        archive.report(report_of("1.2.8", UIDS), association)
        return BREAK_OFF

    archive.commit = commit
    with pytest.raises(DeliveryError, match="gave no answer"):
        desk.ask(archive)


def test_what_was_not_kept_may_be_reported_again(archive: Archive, desk: Desk) -> None:
    desk.is_kept = lambda report: False
    archive.commit = answer_after_the_report(archive)
    desk.ask(archive)
    assert archive.answers == [0x0110]


def test_an_error_while_keeping_a_report_is_told_the_archive(archive: Archive, desk: Desk) -> None:
    def fail(report: CommitmentReport) -> bool:
        raise OSError("the disk is full")

    desk.is_kept = fail
    archive.commit = answer_after_the_report(archive)
    desk.ask(archive)
    assert archive.answers == [0x0110]


def test_a_report_that_makes_no_sense_is_answered_so(archive: Archive, desk: Desk) -> None:
    nameless = report_of(TRANSACTION, [])
    archive.commit = answer_and_report(archive, nameless, report_of(TRANSACTION, UIDS))
    desk.ask(archive)
    wait_until(lambda: len(archive.answers) == 2)
    assert archive.answers == [0x0110, 0x0000]
    assert desk.reports == [ALL_IS_WELL]


@pytest.mark.interop  # takes long
@pytest.mark.parametrize("delay_s", [0.0, 0.001, 0.002, 0.005, 0.01])
def test_reports_at_the_moment_of_the_release_block_nobody(
    archive: Archive, desk: Desk, delay_s: float
) -> None:
    report = report_of("1.2.8", UIDS)  # does not end the waiting
    archive.commit = answer_and_report(archive, *[report] * 5, delay_s=delay_s)
    for _ in range(20):
        within(30, lambda: desk.ask(archive, linger_s=0.005))


def test_nobody_lingers_once_the_report_has_come_another_way(archive: Archive, desk: Desk) -> None:
    archive.commit = lambda request, association: 0x0000
    begun = time.monotonic()
    linger = Linger(60, is_over=lambda: True)
    request_commitment(TRANSACTION, RESULTS, address(archive), NODE, desk.take, linger)
    assert time.monotonic() - begun < 20


# pynetdicom leaves the sockets of associations that are aborted to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.interop  # takes long
def test_archives_that_hang_up_at_any_moment_block_nobody(archive: Archive, desk: Desk) -> None:
    def commit(request: Dataset, association: Association) -> int:
        archive.later(association.abort, next(delays))
        return 0x0000

    archive.commit = commit
    delays = iter([n / 4000 for n in range(40)])

    def ask() -> None:
        with contextlib.suppress(DeliveryError):  # it hung up before its answer was heard
            desk.ask(archive, linger_s=0.004)

    for _ in range(40):
        within(30, ask)


# What it says


def test_it_may_answer_for_some_and_not_for_others() -> None:
    information = report_of(
        TRANSACTION, [REPORT.sop_uid], {SUMMARY.sop_uid: 0x0112, MARKED.sop_uid: 0x0213}
    )
    assert read_commitment_report(2, information) == CommitmentReport(
        TRANSACTION,
        frozenset({REPORT.sop_uid}),
        {SUMMARY.sop_uid: "no such object", MARKED.sop_uid: "resource limitation"},
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x0110, "processing failure"),
        (0x0112, "no such object"),
        (0x0119, "class and instance do not match"),
        (0x0122, "SOP class not supported"),
        (0x0131, "duplicate transaction UID"),
        (0x0213, "resource limitation"),
        (0xC123, "reason 0xC123"),
        (None, "no reason given"),
    ],
)
def test_a_reason_is_told_in_words(code: int | None, words: str) -> None:
    information = report_of(TRANSACTION, [], {SUMMARY.sop_uid: code})
    assert read_commitment_report(2, information).failed == {SUMMARY.sop_uid: words}


def test_what_is_on_both_lists_has_failed_whatever_the_event_type() -> None:
    information = report_of(TRANSACTION, UIDS, {SUMMARY.sop_uid: 0x0110})
    for event_type in (1, 2):
        report = read_commitment_report(event_type, information)
        assert report.committed == UIDS - {SUMMARY.sop_uid}
        assert report.failed == {SUMMARY.sop_uid: "processing failure"}


def test_what_is_on_neither_list_is_not_answered_for() -> None:
    report = read_commitment_report(1, report_of(TRANSACTION, [REPORT.sop_uid]))
    assert report.committed == {REPORT.sop_uid}
    assert report.failed == {}


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_padding_is_no_part_of_a_uid() -> None:
    information = report_of(f"{TRANSACTION}\0", [f"{REPORT.sop_uid} "])
    report = read_commitment_report(1, information)
    assert report.transaction_uid == TRANSACTION
    assert report.committed == {REPORT.sop_uid}


def nonsense() -> dict[str, tuple[int | None, Dataset]]:
    complete = report_of(TRANSACTION, UIDS)
    no_transaction = report_of("", UIDS)
    nameless = report_of(TRANSACTION, UIDS)
    del nameless.ReferencedSOPSequence[1].ReferencedSOPInstanceUID
    broken = report_of(TRANSACTION, UIDS)
    tag = Tag("FailedSOPSequence")
    broken[tag] = RawDataElement(tag, "SQ", 6, b"broken", 0, False, True)
    return {
        "nothing": (1, Dataset()),
        "no transaction": (1, no_transaction),
        "event type 3": (3, complete),
        "no event type": (None, complete),
        "no object": (1, report_of(TRANSACTION, [])),
        "an object without UID": (1, nameless),
        "a broken list of failures": (2, broken),
    }


@pytest.mark.parametrize("what", nonsense())
def test_a_report_that_makes_no_sense_is_unreadable(what: str) -> None:
    event_type, information = nonsense()[what]
    with pytest.raises(Unreadable, match="a storage commitment report"):
        read_commitment_report(event_type, information)
