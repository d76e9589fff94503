"""A report set goes out as recorded or not at all, and failures are told to the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import factories
import pytest
from peers import Pacs, refused_connections

from node import config, delivery
from node.files import Store
from node.ledger import BuiltReport, Outcome
from node.outputs.table import to_bytes

SETTINGS = config.Delivery(retry_first_s=30, retry_max_s=3600)


@pytest.fixture
def reports(store: Store) -> list[BuiltReport]:
    """Three objects in the store, as a report set is recorded."""
    made = []
    for dataset in factories.exam()[:3]:
        content = to_bytes(dataset)
        path = store.write_report(content, dataset.StudyInstanceUID, dataset.SOPInstanceUID)
        digest = hashlib.sha256(content).hexdigest()
        made.append(BuiltReport(dataset.SOPInstanceUID, dataset.SOPClassUID, path, digest))
    return made


def test_a_report_set_goes_out_in_order_over_one_association(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    outcomes = delivery.send_reports(reports, pacs.peer("pacs"), store, "AINODE")
    assert outcomes == [Outcome(report.sop_uid, "sent") for report in reports]
    assert [received.sop_uid for received in pacs.received] == [r.sop_uid for r in reports]
    assert pacs.associations == 1


def test_a_report_that_is_not_as_recorded_is_not_sent_and_the_others_are(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    damaged, missing, intact = reports
    store.path(damaged.path).write_bytes(store.path(damaged.path).read_bytes()[:-2])
    store.path(missing.path).unlink()
    outcomes = delivery.send_reports(reports, pacs.peer("pacs"), store, "AINODE")
    words = "its file is missing or damaged in the store"
    assert set(outcomes) == {
        Outcome(damaged.sop_uid, "queued", words),
        Outcome(missing.sop_uid, "queued", words),
        Outcome(intact.sop_uid, "sent"),
    }
    assert [received.sop_uid for received in pacs.received] == [intact.sop_uid]


def test_what_the_destination_says_is_kept_with_each_object(
    pacs: Pacs, store: Store, reports: list[BuiltReport]
) -> None:
    statuses = iter([0x0000, 0xB000, 0xA700])
    pacs.answer = lambda received: next(statuses)
    outcomes = delivery.send_reports(reports, pacs.peer("pacs"), store, "AINODE")
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
    outcomes = delivery.send_reports(reports, pacs.peer("pacs"), store, "AINODE")
    words = f"PACS at 127.0.0.1:{pacs.port} cannot be reached"
    assert outcomes == [Outcome(report.sop_uid, "queued", words) for report in reports]


def test_the_wait_doubles_from_the_first_to_the_longest() -> None:
    for attempt, expected in [(1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (1000, 3600)]:
        for _ in range(20):
            assert delivery.delay_s(attempt, SETTINGS) == pytest.approx(expected, rel=0.101)


def test_no_two_nodes_wait_equally_long() -> None:
    assert len({delivery.delay_s(1, SETTINGS) for _ in range(20)}) > 1
