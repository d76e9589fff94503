"""A report set goes out as recorded or not at all, to the right patient, and is confirmed."""

from __future__ import annotations

import hashlib
import io
import socket
from collections.abc import Callable, Iterator

import factories
import pytest
from odd_conversion import patient_id_in_latin_1_under_utf_8
from outputs.drafts import draft
from peers import BREAK_OFF, FIND, Archive, Pacs, refused_connections, report_of
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from node import config
from node.deliver.choice import destination_of
from node.deliver.confirmation import Transaction, delay_s
from node.deliver.courier import ASKS, Courier
from node.dimse import CommitmentReport
from node.errors import DeliveryError, Superseded
from node.ledger import BuiltReport, DeliveryState, Outcome, Shipment
from node.outputs import capture
from node.outputs.report_set import to_bytes
from node.store import Store

SETTINGS = config.Delivery(retry_first_s=30, retry_max_s=3600, commitment_wait_s=900)


def courier_to(to: Pacs, store: Store, **changes: object) -> Courier:
    """Return what brings report sets to a peer of a configuration."""
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=store.root),
        peers=(to.peer("pacs").model_copy(update=changes),),
        delivery=SETTINGS,
    )
    return Courier("pacs", destination_of(settings, "pacs"), store, SETTINGS)


def nothing() -> None:
    """Whoever sends is still the one."""


def sent(to: Pacs, store: Store, reports: list[BuiltReport]) -> Shipment:
    """Send the reports; return what is left to do."""
    outcomes = courier_to(to, store).send(reports, nothing).outcomes
    assert {outcome.state for outcome in outcomes} == {DeliveryState.SENT}
    return Shipment((), tuple(reports), 0)


@pytest.mark.parametrize(
    ("captures", "expected"),
    [
        ({}, JPEGLSLossless),
        ({"captures": ("rle", "jpeg-ls")}, RLELossless),
        ({"captures": ("deflate",)}, DeflatedExplicitVRLittleEndian),
        ({"captures": ()}, ExplicitVRLittleEndian),
    ],
)
def test_captures_go_as_the_configuration_says_of_the_peer(
    captures: dict[str, object], expected: str, open_pacs: Callable[..., Pacs], store: Store
) -> None:
    made = capture.build(draft())[0]
    content = to_bytes(made)
    path = store.write_report(content, made.StudyInstanceUID, made.SOPInstanceUID)
    digest = hashlib.sha256(content).hexdigest()
    uid, sop_class = str(made.SOPInstanceUID), str(made.SOPClassUID)
    ways = [JPEGLSLossless, RLELossless, DeflatedExplicitVRLittleEndian]
    pacs = open_pacs(syntaxes=[*ways, ExplicitVRLittleEndian, ImplicitVRLittleEndian])
    courier = courier_to(pacs, store, **captures)
    courier.send([BuiltReport(uid, "capture", sop_class, path, digest)], nothing)
    (received,) = pacs.received
    assert dcmread(io.BytesIO(received.content)).file_meta.TransferSyntaxUID == expected


class Book:
    """What the ledger would be told of storage commitment."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.withdrawn: list[str] = []
        self.reports: list[CommitmentReport] = []
        self.transaction = Transaction(
            self.asked.append, self.withdrawn.append, self._record, lambda uid: False
        )

    def _record(self, report: CommitmentReport) -> bool:
        self.reports.append(report)
        return True


# Sending


def test_a_report_set_goes_out_in_order_over_one_association(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    outcomes = courier_to(pacs, store).send(reports, nothing).outcomes
    assert outcomes == [Outcome(report.sop_uid, DeliveryState.SENT) for report in reports]
    assert [received.sop_uid for received in pacs.received] == [r.sop_uid for r in reports]
    assert pacs.associations == 1


def test_an_archive_of_implicit_vr_has_the_patient_id_that_was_sent_to_it(
    open_archive: Callable[..., Archive], store: Store
) -> None:
    """It tells the bytes it was sent; what is compared with them is what is sent again."""
    archive = open_archive(
        syntaxes=[ImplicitVRLittleEndian], service_syntaxes=[ImplicitVRLittleEndian]
    )

    def tell(query: Dataset) -> Iterator[tuple[int, Dataset]]:
        held = archive.received[0].read()
        match = Dataset()
        for tag in (0x00080005, *query.keys()):
            if tag in held:
                match[tag] = held.get_item(tag)
        match.set_original_encoding(True, True, match._character_set)
        yield 0xFF00, match

    archive.find = tell
    image = factories.exam()[0]
    content = patient_id_in_latin_1_under_utf_8(to_bytes(image))
    path = store.write_report(content, image.StudyInstanceUID, image.SOPInstanceUID)
    digest = hashlib.sha256(content).hexdigest()
    report = BuiltReport(image.SOPInstanceUID, "capture", image.SOPClassUID, path, digest)
    sent(archive, store, [report])
    assert courier_to(archive, store).find_conflict([report]) is None


def test_a_report_that_is_not_as_recorded_is_not_sent_and_the_others_are(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    damaged, missing, intact = reports
    store.path(damaged.path).write_bytes(store.path(damaged.path).read_bytes()[:-2])
    store.path(missing.path).unlink()
    outcomes = courier_to(pacs, store).send(reports, nothing).outcomes
    words = "its file is missing or damaged in the store"
    assert set(outcomes) == {
        Outcome(damaged.sop_uid, DeliveryState.QUEUED, words),
        Outcome(missing.sop_uid, DeliveryState.QUEUED, words),
        Outcome(intact.sop_uid, DeliveryState.SENT),
    }
    assert [received.sop_uid for received in pacs.received] == [intact.sop_uid]


def test_what_is_lost_is_named_unless_the_store_itself_is_away(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    damaged, missing, _ = reports
    store.path(damaged.path).write_bytes(b"other")
    store.path(missing.path).unlink()
    courier = courier_to(pacs, store)
    assert courier.lost(reports) == (), "nothing is in the store: it may be away"
    (store.root / "received" / "a study").mkdir()
    assert courier.lost(reports) == (damaged, missing)


def test_an_object_that_was_accepted_and_is_lost_since_is_given_up_by_name(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    sent(archive, store, reports)
    store.path(reports[0].path).unlink()
    (store.root / "received" / "a study").mkdir()
    shipment = Shipment((), tuple(reports), asks=0)
    ending = courier_to(archive, store).confirm(
        shipment, Book().transaction, 1, has_just_sent=False
    )
    words = f"pacs accepted it, unconfirmed: the file {reports[0].path} is missing in the store"
    assert ending.patience.gives_up == words


def test_what_the_destination_says_is_kept_with_each_object(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    statuses = iter([0x0000, 0xB000, 0xA700])
    pacs.answer = lambda received: next(statuses)
    outcomes = courier_to(pacs, store).send(reports, nothing).outcomes
    assert [(o.state, o.error) for o in outcomes] == [
        ("sent", None),
        ("sent", "stored with warning 0xB000"),
        ("queued", "PACS answered 0xA700"),
    ]


@refused_connections
def test_a_destination_that_is_down_is_named(
    open_pacs: Callable[..., Pacs], store: Store, reports: list[BuiltReport]
) -> None:
    pacs = open_pacs()
    pacs.close()
    sending = courier_to(pacs, store).send(reports, nothing)
    reason = "nothing listens there (connection refused)"
    words = f"PACS at 127.0.0.1:{pacs.port} cannot be reached: {reason}"
    queued = [Outcome(report.sop_uid, DeliveryState.QUEUED, words) for report in reports]
    assert (sending.outcomes, sending.is_unreached) == (queued, True)


def test_a_destination_that_lets_nobody_in_is_away(
    open_pacs: Callable[..., Pacs], store: Store, reports: list[BuiltReport]
) -> None:
    pacs = open_pacs(knows=["SOMEBODY"])
    assert courier_to(pacs, store).send(reports, nothing).is_unreached


def test_a_destination_that_was_given_an_object_is_there_whatever_became_of_it(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    """It may be the object: what falls silent over one would do so each time it is hurried."""

    pacs.answer = lambda received: 0xA700
    assert not courier_to(pacs, store).send(reports, nothing).is_unreached
    pacs.answer = lambda received: BREAK_OFF
    sending = courier_to(pacs, store).send(reports, nothing)
    assert {one.state for one in sending.outcomes} == {DeliveryState.QUEUED}
    assert not sending.is_unreached


def test_what_nobody_may_send_any_more_says_nothing_of_the_destination(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    def be_overtaken() -> None:
        raise Superseded("a newer version exists")

    assert not courier_to(pacs, store).send(reports, be_overtaken).is_unreached


@refused_connections
def test_a_destination_that_cannot_even_be_asked_what_it_keeps_is_away(
    open_pacs: Callable[..., Pacs], store: Store, reports: list[BuiltReport]
) -> None:
    pacs = open_pacs()
    pacs.close()
    shipment = Shipment((), tuple(reports), 0)
    for has_just_sent in (False, True):
        ending = courier_to(pacs, store, confirm=("find",)).confirm(
            shipment, Book().transaction, 1, has_just_sent=has_just_sent
        )
        assert ending.patience.is_unreached == (not has_just_sent)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_nothing_more_is_sent_once_somebody_else_has_the_work(
    pacs: Pacs, store: Store, reports: list[BuiltReport], count: int
) -> None:
    def be_overtaken() -> None:
        if len(pacs.received) == count:
            raise Superseded("a newer version exists")

    outcomes = courier_to(pacs, store).send(reports, be_overtaken).outcomes
    assert [received.sop_uid for received in pacs.received] == [r.sop_uid for r in reports[:count]]
    words = "a newer version exists"
    assert outcomes == [
        *(Outcome(report.sop_uid, DeliveryState.SENT) for report in reports[:count]),
        *(Outcome(report.sop_uid, DeliveryState.QUEUED, words) for report in reports[count:]),
    ]


def test_the_wait_doubles_from_the_first_to_the_longest() -> None:
    for attempt, expected in [(1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (1000, 3600)]:
        for _ in range(20):
            assert delay_s(attempt, SETTINGS) == pytest.approx(expected, rel=0.101)


def test_no_two_nodes_wait_equally_long() -> None:
    assert len({delay_s(1, SETTINGS) for _ in range(20)}) > 1


# Whose study it is there


def listing(**said: str) -> Callable[[Dataset], list[tuple[int, Dataset | None]]]:
    """Return what an archive answers that has the study under this identity."""

    def find(query: Dataset) -> list[tuple[int, Dataset | None]]:
        match = Dataset()
        match.QueryRetrieveLevel = "STUDY"
        match.StudyInstanceUID = query.StudyInstanceUID
        for keyword, value in said.items():
            setattr(match, keyword, value)
        return [(0xFF00, match)]

    return find


@pytest.mark.parametrize(
    ("said", "conflict"),
    [
        ({"PatientID": "{own}"}, None),
        ({"PatientID": ""}, None),
        ({}, None),
        ({"PatientID": "SOMEBODY ELSE"}, "pacs has it under another patient ID"),
        (
            {"PatientID": "{own}", "AccessionNumber": "OTHER"},
            "pacs has it under another accession number",
        ),
        (
            {"PatientID": "X", "AccessionNumber": "Y"},
            "pacs has it under another patient ID, accession number",
        ),
    ],
)
def test_a_destination_that_knows_another_patient_is_told_nothing(
    archive: Archive,
    store: Store,
    reports: list[BuiltReport],
    said: dict[str, str],
    conflict: str | None,
) -> None:
    own = factories.exam()[0]
    assert own.PatientID
    assert own.AccessionNumber
    archive.find = listing(**{k: v.replace("{own}", own.PatientID) for k, v in said.items()})
    assert courier_to(archive, store).find_conflict(reports) == conflict


def test_a_study_that_the_destination_does_not_have_yet_may_be_sent(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    assert courier_to(archive, store).find_conflict(reports) is None


def test_one_other_patient_among_several_matches_is_enough(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    same = listing(PatientID=factories.exam()[0].PatientID)
    other = listing(PatientID="SOMEBODY ELSE")
    archive.find = lambda query: [*same(query), *other(query)]
    assert courier_to(archive, store).find_conflict(reports) is not None


def test_a_destination_without_c_find_is_not_asked(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    assert courier_to(pacs, store).find_conflict(reports) is None


def test_a_report_that_is_missing_does_not_keep_the_others_from_being_compared(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    archive.find = listing(PatientID="SOMEBODY ELSE")
    store.path(reports[0].path).unlink()
    words = "pacs has it under another patient ID"
    assert courier_to(archive, store).find_conflict(reports) == words
    for report in reports[1:]:
        store.path(report.path).unlink()
    assert courier_to(archive, store).find_conflict(reports) is None


def test_a_peer_that_is_not_to_be_asked_is_not(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    archive.find = listing(PatientID="SOMEBODY ELSE")
    assert courier_to(archive, store, compares_identity=False).find_conflict(reports) is None
    assert not archive.queries


def test_a_destination_that_fails_to_say_is_sent_nothing(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    archive.find = lambda query: [(0xC001, None)]
    with pytest.raises(DeliveryError, match="nothing is sent before it says whose") as told:
        courier_to(archive, store).find_conflict(reports)
    assert "(compares_identity = false does without)" in str(told.value)


@refused_connections
def test_a_destination_that_is_away_is_no_reason_to_do_without_its_answer(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    with socket.socket() as reserved:  # bound, and nobody listens
        reserved.bind(("127.0.0.1", 0))
        away = courier_to(archive, store, port=reserved.getsockname()[1])
        with pytest.raises(DeliveryError, match="nothing is sent before it says whose") as told:
            away.find_conflict(reports)
    assert "cannot be reached" in str(told.value)
    assert "compares_identity" not in str(told.value)


# Confirmation


def test_storage_commitment_is_asked_first_and_recorded_before(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    shipment, book = sent(archive, store, reports), Book()
    found = courier_to(archive, store).confirm(shipment, book.transaction, 1, has_just_sent=True)
    [request] = archive.requests
    assert book.asked == [request.TransactionUID]
    assert {i.ReferencedSOPInstanceUID for i in request.ReferencedSOPSequence} == {
        report.sop_uid for report in reports
    }
    assert book.reports[0].committed == {report.sop_uid for report in reports}
    assert found.patience.waits_for == "waiting for the storage commitment report of pacs"
    assert found.patience.wait_s == 900


def test_who_offers_no_storage_commitment_is_asked_what_it_lists(
    open_archive: Callable[..., Archive], store: Store, reports: list[BuiltReport]
) -> None:
    archive, book = open_archive(offers=[FIND]), Book()
    shipment = sent(archive, store, reports)
    found = courier_to(archive, store).confirm(shipment, book.transaction, 1, has_just_sent=True)
    assert found.outcomes == tuple(
        Outcome(report.sop_uid, DeliveryState.CONFIRMED, confirmed_by="find") for report in reports
    )
    assert found.patience.waits_for is None
    assert book.withdrawn == book.asked != []


def test_what_is_not_listed_yet_is_waited_for(
    open_archive: Callable[..., Archive], store: Store, reports: list[BuiltReport]
) -> None:
    archive = open_archive(offers=[FIND])
    shipment = sent(archive, store, reports)
    del archive.received[1]
    found = courier_to(archive, store).confirm(shipment, Book().transaction, 1, has_just_sent=True)
    assert [outcome.sop_uid for outcome in found.outcomes] == [
        reports[0].sop_uid,
        reports[2].sop_uid,
    ]
    assert found.patience.waits_for == "waiting for pacs to list all of them (C-FIND)"
    assert found.patience.has_asked


def test_who_offers_neither_is_believed_and_that_is_visible(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    shipment, book = sent(pacs, store, reports), Book()
    found = courier_to(pacs, store).confirm(shipment, book.transaction, 1, has_just_sent=True)
    assert not found.outcomes
    assert found.patience.waits_for is None
    assert found.patience.gives_up is None


def test_a_peer_that_need_not_confirm_is_not_asked(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    shipment, book = sent(archive, store, reports), Book()
    one = courier_to(archive, store, confirm=())
    found = one.confirm(shipment, book.transaction, 1, has_just_sent=True)
    assert found.patience.waits_for is None
    assert not archive.requests
    assert not archive.queries


def test_before_it_is_asked_for_the_last_time_everything_is_sent_again(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    book = Book()
    silent = Shipment((), tuple(reports), asks=ASKS - 1)
    found = courier_to(archive, store).confirm(silent, book.transaction, 5, has_just_sent=False)
    assert found.trouble is not None and "sent again" in found.trouble
    assert [outcome.state for outcome in found.outcomes] == [DeliveryState.QUEUED] * 3
    assert not book.asked
    found = courier_to(archive, store).confirm(silent, book.transaction, 6, has_just_sent=True)
    assert len(book.asked) == 1


def test_who_never_answers_is_looked_up_and_given_up_with_words(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    book = Book()
    silent = Shipment((), tuple(reports), asks=ASKS)
    found = courier_to(archive, store).confirm(silent, book.transaction, 7, has_just_sent=False)
    assert not found.outcomes
    words = "pacs accepted it, but was asked 3 times and never confirmed it"
    assert found.patience.gives_up == words
    sent(archive, store, reports)
    found = courier_to(archive, store).confirm(silent, book.transaction, 7, has_just_sent=False)
    assert [outcome.state for outcome in found.outcomes] == [DeliveryState.CONFIRMED] * 3


def test_a_destination_that_takes_no_request_now_is_asked_later(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    shipment, book = sent(archive, store, reports), Book()
    archive.commit = lambda request, association: 0x0213  # resource limitation
    found = courier_to(archive, store).confirm(shipment, book.transaction, 1, has_just_sent=True)
    assert found.patience.waits_for is not None
    assert found.patience.wait_s == pytest.approx(30, rel=0.11)
    assert not book.withdrawn


def test_a_report_with_failures_is_handed_over_with_their_reasons(
    archive: Archive, store: Store, reports: list[BuiltReport]
) -> None:
    shipment, book = sent(archive, store, reports), Book()
    first, *others = [report.sop_uid for report in reports]

    def commit(request: Dataset, association: object) -> int:
        report = report_of(request.TransactionUID, others, {first: 0x0213})
        archive.report_later(association, report)  # type: ignore[arg-type]
        return 0x0000

    archive.commit = commit
    courier_to(archive, store).confirm(shipment, book.transaction, 1, has_just_sent=True)
    assert book.reports[0].committed == set(others)
    assert dict(book.reports[0].failed) == {first: "resource limitation"}
