"""Who may ask by storage commitment is told what is kept, however that comes to him."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import factories
import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import Desk, is_mammogram, run_at_once
from peers import (
    COMMITMENT,
    MODALITY_AE,
    NODE_AE,
    Console,
    association,
    modality,
    request_for,
    store,
)
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import StorageCommitmentPushModelInstance

from node import config
from node.current import Current
from node.dimse.commitment_request import NotTaken, OpenRequest
from node.dimse.status import (
    CLASS_INSTANCE_CONFLICT,
    INVALID_ARGUMENT_VALUE,
    NO_SUCH_ACTION,
    NO_SUCH_INSTANCE,
    NOT_AUTHORISED,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
)
from node.ledger import (
    Committing,
    Delivering,
    DeliveryState,
    Ledger,
    Nodes,
    Outcome,
    Receiving,
    now,
    schema,
)
from node.receive import committing
from node.receive.committing import Committer
from node.receive.listener import Listener
from node.receive.reception import Reception
from node.store import Store

TRANSACTION = "2.25.4711"


@dataclass(frozen=True)
class Post:
    """A node that receives and answers for what it has; its sweep is made by hand."""

    port: int
    desk: Desk
    committers: tuple[Committer, ...]
    asked: threading.Event

    def report(self) -> None:
        """Make the sweep, as if the time to it had passed."""
        self.make_due()
        self.committers[0].report()

    def make_due(self) -> None:
        self.desk.change(schema.commitment_request, next_at=0.0)

    def request(self) -> dict[str, object]:
        [row] = self.desk.rows(schema.commitment_request)
        return row

    def committed(self) -> set[str]:
        rows = self.desk.rows(schema.instance)
        return {str(row["sop_uid"]) for row in rows if row["committed_at"] is not None}


@pytest.fixture
def console() -> Iterator[Console]:
    opened = Console()
    yield opened
    opened.close()


@pytest.fixture
def exam(tmp_path: Path) -> list[Path]:
    return factories.saved_exam(tmp_path / "exam")


OpenPost = Callable[..., Post]


@pytest.fixture
def open_post(store: Store, ledger: Ledger, tmp_path: Path) -> Iterator[OpenPost]:
    closing: list[Callable[[], object]] = []

    def start(**changes: object) -> Post:
        set_up = config.Config(
            node=config.Node(ae_title=NODE_AE, state_dir=tmp_path, min_free_mb=0),
            listener=config.ListenerSettings(host="127.0.0.1", port=0),
            delivery=config.Delivery(retry_first_s=10),
            peers=(modality(**({"commits": True} | changes)),),
        )
        asked = threading.Event()
        committers = tuple(
            Committer(
                Current(set_up),
                Store(store.root, node_id),
                Committing(ledger),
                lambda: {store.node_id, "another"},
                asked.set,
            )
            for node_id in (store.node_id, "another")
        )
        Nodes(ledger).register_node(store.node_id)
        reception = Reception(Current(set_up), store, Receiving(ledger), is_mammogram)
        delivering = Delivering(ledger)
        listener = Listener(Current(set_up), store.incoming, delivering, reception, committers[0])
        listener.start()
        closing.extend((lambda: listener.stop(0), reception.close))
        return Post(listener.port, Desk(ledger, store), committers, asked)

    yield start
    for close in closing:
        close()


@pytest.fixture
def post(open_post: OpenPost, console: Console) -> Post:
    return open_post(port=console.port)


def objects_of(paths: Sequence[Path]) -> list[tuple[str, str]]:
    images = [dcmread(path, stop_before_pixels=True) for path in paths]
    return [(str(image.SOPClassUID), str(image.SOPInstanceUID)) for image in images]


@contextmanager
def open_for_commitment(
    post: Post, roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = ()
) -> Iterator[Association]:
    with association(post.port, [build_context(COMMITMENT)], roles=roles) as opened:
        yield opened


def ask_on(opened: Association, request: Dataset, action: int = 1) -> int:
    status, _ = opened.send_n_action(
        request, action, COMMITMENT, StorageCommitmentPushModelInstance
    )
    return int(status.Status)


def ask(post: Post, request: Dataset, action: int = 1) -> int:
    with open_for_commitment(post) as opened:
        return ask_on(opened, request, action)


def listed(report: Dataset) -> list[tuple[str, str]]:
    items = report.get("ReferencedSOPSequence") or ()
    return [(str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID)) for i in items]


def failed(report: Dataset) -> dict[str, int]:
    items = report.get("FailedSOPSequence") or ()
    return {str(i.ReferencedSOPInstanceUID): int(i.FailureReason) for i in items}


# Negotiation (PS3.7 D.3.3.4)

SCU = build_role(COMMITMENT, scu_role=True, scp_role=False)
SCP = build_role(COMMITMENT, scu_role=False, scp_role=True)
BOTH = build_role(COMMITMENT, scu_role=True, scp_role=True)


@pytest.mark.parametrize(
    ("commits", "roles", "accepted_as"),
    [
        (False, [], None),
        (False, [SCU], None),
        (False, [SCP], (False, True)),  # an archive that reports
        (False, [BOTH], (False, True)),
        (True, [], (True, False)),
        (True, [SCU], (True, False)),
        (True, [SCP], (False, True)),
        (True, [BOTH], (True, True)),
    ],
)
def test_who_may_not_ask_is_refused_in_negotiation_and_may_still_report(
    open_post: OpenPost,
    commits: bool,
    roles: list[SCP_SCU_RoleSelectionNegotiation],
    accepted_as: tuple[bool, bool] | None,
) -> None:
    post = open_post(commits=commits)
    with open_for_commitment(post, roles) as opened:
        accepted = [(bool(c.as_scu), bool(c.as_scp)) for c in opened.accepted_contexts]
        rejected = [context.result for context in opened.rejected_contexts]
    assert accepted == ([accepted_as] if accepted_as else [])
    assert rejected == ([] if accepted_as else [3])  # the abstract syntax is not supported


def test_who_reports_without_a_role_is_let_in_while_his_report_is_waited_for(
    open_post: OpenPost,
) -> None:
    post = open_post(commits=False, receives="default", name="pacs")
    with open_for_commitment(post) as opened:
        assert opened.accepted_contexts == []
    [job] = post.desk.analysed()
    shipment = post.desk.delivering.begin_dispatch(job, "node-1")
    outcomes = [Outcome(one.sop_uid, DeliveryState.SENT) for one in shipment.to_send]
    post.desk.delivering.record_sent(job, outcomes)
    post.desk.delivering.ask_commitment(job, "2.25.1")
    with open_for_commitment(post) as opened:
        assert len(opened.accepted_contexts) == 1
        assert ask_on(opened, request_for([("1.2", "1.3")])) == NOT_AUTHORISED
    assert post.desk.rows(schema.commitment_request) == []


# Asking and being told


def test_a_modality_is_told_that_its_exam_is_kept_and_the_objects_are_marked(
    post: Post, console: Console, exam: list[Path]
) -> None:
    assert store(post.port, exam) == [SUCCESS] * 4
    assert ask(post, request_for(objects_of(exam))) == SUCCESS
    assert post.asked.is_set()
    assert (console.reports, post.committed()) == ([], set())
    post.report()
    [report] = console.reports
    assert (report.TransactionUID, console.event_types) == (TRANSACTION, [1])
    assert console.callers == [NODE_AE]
    assert listed(report) == objects_of(exam)
    assert "FailedSOPSequence" not in report
    assert post.committed() == {sop_uid for _, sop_uid in objects_of(exam)}
    assert (post.request()["state"], post.request()["owner"]) == ("reported", None)
    [study] = {str(row["study_uid"]) for row in post.desk.rows(schema.instance)}
    words = "modality was told what is kept (storage commitment): 4 kept"
    assert post.desk.history(study)[-1] == words
    post.report()
    assert len(console.reports) == 1


def waiting_at(post: Post) -> tuple[Association, list[Dataset]]:
    """Open an association on which reports are waited for; return it, and what is heard there."""
    heard: list[Dataset] = []

    def hear(event: Event) -> tuple[int, None]:
        heard.append(event.event_information)
        return SUCCESS, None

    ae = AE(MODALITY_AE)
    ae.add_requested_context(COMMITMENT)
    opened = ae.associate(
        "127.0.0.1", post.port, ae_title=NODE_AE, evt_handlers=[(evt.EVT_N_EVENT_REPORT, hear)]
    )
    return opened, heard


def test_who_waits_on_the_association_of_his_request_is_told_there(
    open_post: OpenPost, exam: list[Path]
) -> None:
    post = open_post(port=1)  # where nobody hears reports
    store(post.port, exam)
    opened, heard = waiting_at(post)
    assert ask_on(opened, request_for(objects_of(exam))) == SUCCESS
    post.report()
    assert [listed(report) for report in heard] == [objects_of(exam)]
    assert post.request()["state"] == "reported"
    opened.release()
    assert opened.is_released


def test_one_who_waits_and_does_not_take_the_report_gets_it_at_his_port(
    post: Post, console: Console, exam: list[Path]
) -> None:
    store(post.port, exam)
    ae = AE(MODALITY_AE)
    ae.add_requested_context(COMMITMENT)
    refuse = (evt.EVT_N_EVENT_REPORT, lambda event: (PROCESSING_FAILURE, None))
    opened = ae.associate("127.0.0.1", post.port, ae_title=NODE_AE, evt_handlers=[refuse])
    assert ask_on(opened, request_for(objects_of(exam))) == SUCCESS
    post.report()
    assert len(console.reports) == 1
    opened.release()


def test_what_is_not_kept_as_asked_is_named_with_the_reason(
    post: Post, console: Console, exam: list[Path], tmp_path: Path
) -> None:
    exam += factories.saved_exam(tmp_path / "more", "more", [factories.R_CC, factories.L_CC])
    note = tmp_path / "note.dcm"
    withdrawn = dcmread(exam[0])
    factories.rejection_note([withdrawn]).save_as(note, enforce_file_format=True)
    contradicted = tmp_path / "contradicted.dcm"
    other = dcmread(exam[1])
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(contradicted)
    assert store(post.port, [*exam, note, contradicted]) == [SUCCESS] * 8
    rows = {str(row["sop_uid"]): row for row in post.desk.rows(schema.instance)}
    asked = objects_of(exam)
    post.desk.store.path(str(rows[asked[2][1]]["path"])).unlink()
    unknown = (asked[0][0], str(generate_uid(None)))
    of_other_class = ("1.2.840.10008.5.1.4.1.1.7", asked[3][1])
    request = request_for([*asked[:3], of_other_class, *asked[4:], unknown])
    assert ask(post, request) == SUCCESS
    post.report()
    [report] = console.reports
    assert console.event_types == [2]
    assert listed(report) == asked[4:]
    assert failed(report) == {
        asked[0][1]: PROCESSING_FAILURE,
        asked[1][1]: PROCESSING_FAILURE,
        asked[2][1]: NO_SUCH_INSTANCE,
        asked[3][1]: CLASS_INSTANCE_CONFLICT,
        unknown[1]: NO_SUCH_INSTANCE,
    }
    assert post.committed() == {sop_uid for _, sop_uid in asked[4:]}
    history = post.desk.history(str(withdrawn.StudyInstanceUID))[-1]
    assert history.endswith(
        "0 kept; 1 not: withdrawn by a rejection note; 1 not: came with different pixels, too; "
        "1 not: file is lost; 1 not: of another SOP class here"
    )


def test_what_was_removed_is_not_answered_for_and_nobody_looks_for_its_file(
    post: Post, console: Console, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    store(post.port, exam)
    asked = objects_of(exam)
    post.desk.change(schema.instance, removed_at=now())
    ask(post, request_for(asked))
    post.report()
    [report] = console.reports
    assert failed(report) == {sop_uid: NO_SUCH_INSTANCE for _, sop_uid in asked}
    study = str(dcmread(exam[0]).StudyInstanceUID)
    words = "0 kept; 4 not: removed, as nobody was owed it any more"
    assert post.desk.history(study)[-1].endswith(words)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_file_is_read_again_before_it_is_promised(
    post: Post, console: Console, exam: list[Path], tmp_path: Path
) -> None:
    exam += factories.saved_exam(tmp_path / "more", "more", [factories.R_CC])
    store(post.port, exam)
    asked = objects_of(exam)
    rows = {str(row["sop_uid"]): row for row in post.desk.rows(schema.instance)}
    empty, flipped, removed, of_other_syntax, _ = (
        post.desk.store.path(str(rows[sop_uid]["path"])) for _, sop_uid in asked
    )
    empty.write_bytes(b"")
    content = bytearray(flipped.read_bytes())
    content[-1] ^= 1
    flipped.write_bytes(content)
    removed.unlink()
    implicit, explicit = (f"1.2.840.10008.1.2{more}".encode() for more in (".1", ".2"))
    assert of_other_syntax.read_bytes().count(implicit) == 1
    of_other_syntax.write_bytes(of_other_syntax.read_bytes().replace(implicit, explicit))
    ask(post, request_for(asked))
    post.report()
    [report] = console.reports
    assert listed(report) == asked[4:]
    assert failed(report) == {
        asked[0][1]: PROCESSING_FAILURE,
        asked[1][1]: PROCESSING_FAILURE,
        asked[2][1]: NO_SUCH_INSTANCE,
        asked[3][1]: PROCESSING_FAILURE,
    }
    assert post.committed() == {asked[4][1]}
    study = str(dcmread(exam[0]).StudyInstanceUID)
    words = "0 kept; 3 not: file is not as it came; 1 not: file is lost"
    assert post.desk.history(study)[-1].endswith(words)


def test_what_takes_longer_to_read_than_a_turn_is_read_in_several(
    post: Post, console: Console, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store(post.port, exam)
    ask(post, request_for(objects_of(exam)))
    passing = count(0, committing._TURN_S * 0.4)  # as much at each look at the clock: one file
    monkeypatch.setattr(committing, "time", SimpleNamespace(monotonic=lambda: next(passing)))
    for turn in range(1, 4):
        post.report()
        assert (post.request()["state"], post.request()["attempt"]) == ("waiting", turn)
        assert post.request()["owner"] == post.desk.store.node_id
    post.report()
    assert listed(console.reports[0]) == objects_of(exam)
    assert post.request()["state"] == "reported"


def test_a_result_of_ours_is_not_answered_for_and_no_more_once_it_came_back(
    post: Post, console: Console
) -> None:
    request = request_for([("1.2.9", "1.2.3")])
    assert ask(post, request) == SUCCESS
    post.report()
    post.desk.receive("1.2.3", is_own=True, sop_class="1.2.9")
    assert ask(post, request) == SUCCESS
    post.report()
    reasons = [failed(report) for report in console.reports]
    assert reasons == [{"1.2.3": NO_SUCH_INSTANCE}, {"1.2.3": PROCESSING_FAILURE}]


def test_a_corrected_header_leaves_the_mark(post: Post, exam: list[Path], tmp_path: Path) -> None:
    store(post.port, exam[:1])
    ask(post, request_for(objects_of(exam[:1])))
    post.report()
    corrected = dcmread(exam[0])
    corrected.AccessionNumber = "CORRECTED"
    corrected.save_as(tmp_path / "corrected.dcm")
    assert store(post.port, [tmp_path / "corrected.dcm"]) == [SUCCESS]
    assert post.desk.rows(schema.former_instance)
    assert len(post.committed()) == 1


# The report comes, whatever happens


def test_a_peer_that_is_away_is_told_later_and_the_wait_grows(
    post: Post, console: Console, exam: list[Path]
) -> None:
    store(post.port, exam)
    ask(post, request_for(objects_of(exam)))
    console.answer = PROCESSING_FAILURE
    waits = []
    for attempt in (1, 2, 3):
        post.report()
        row = post.request()
        assert (row["state"], row["attempt"], row["owner"]) == ("waiting", attempt, None)
        assert "0x0110" in str(row["error"])
        with post.desk.ledger.reading() as db:
            next_at = schema.commitment_request.c.next_at
            waits.append(db.execute(sa.select(next_at - now())).scalar_one())
    assert 5 < waits[0] < waits[1] < waits[2]
    console.answer = SUCCESS
    post.report()
    assert post.request()["state"] == "reported"
    assert listed(console.reports[-1]) == objects_of(exam)


def test_a_peer_that_never_takes_it_is_given_up_and_may_ask_again(
    post: Post, console: Console, exam: list[Path]
) -> None:
    store(post.port, exam)
    ask(post, request_for(objects_of(exam)))
    console.answer = PROCESSING_FAILURE
    post.desk.change(schema.commitment_request, asked_at=0.0)
    post.report()
    assert post.request()["state"] == "given up"
    [study] = {str(row["study_uid"]) for row in post.desk.rows(schema.instance)}
    assert "modality did not take a storage commitment report" in post.desk.history(study)[-1]
    console.answer = SUCCESS
    assert ask(post, request_for(objects_of(exam))) == SUCCESS
    post.report()
    assert post.request()["state"] == "reported"


@pytest.mark.parametrize("is_gone", [False, True])
def test_who_may_not_be_told_any_more_is_not_told_what_he_asked_before(
    post: Post, console: Console, exam: list[Path], is_gone: bool
) -> None:
    store(post.port, exam)
    ask(post, request_for(objects_of(exam)))
    console.answer = PROCESSING_FAILURE
    post.report()
    assert len(console.reports) == 1
    console.answer = SUCCESS
    committer = post.committers[0]
    peers = () if is_gone else (modality(port=console.port, commits=False),)
    changed = committer.current.config.model_copy(update={"peers": peers})
    post.make_due()
    replace(committer, current=Current(changed)).report()
    assert len(console.reports) == 1
    assert post.request()["state"] == "given up"
    [study] = {str(row["study_uid"]) for row in post.desk.rows(schema.instance)}
    assert post.desk.history(study)[-1] == (
        "modality is not told what is kept, though it asked: storage commitment (commits) is off "
        "for it"
    )


def test_one_peer_that_is_away_is_called_once_in_a_sweep(
    open_post: OpenPost, exam: list[Path]
) -> None:
    post = open_post(port=1)
    store(post.port, exam)
    for number in range(3):
        ask(post, request_for(objects_of(exam), f"2.25.{number}"))
    post.report()
    attempts = sorted(int(str(r["attempt"])) for r in post.desk.rows(schema.commitment_request))
    assert attempts == [0, 0, 1]


def test_two_nodes_that_sweep_at_once_report_once(
    post: Post, console: Console, exam: list[Path]
) -> None:
    store(post.port, exam)
    for number in range(6):
        ask(post, request_for(objects_of(exam), f"2.25.{number}"))
    post.make_due()
    run_at_once(*(committer.report for committer in post.committers))
    post.report()
    assert sorted(str(r.TransactionUID) for r in console.reports) == [
        f"2.25.{number}" for number in range(6)
    ]


@pytest.mark.parametrize(("owner", "count"), [("another", 0), ("dead", 1)])
def test_what_a_node_was_doing_is_taken_over_once_it_is_dead(
    post: Post, console: Console, exam: list[Path], owner: str, count: int
) -> None:
    store(post.port, exam)
    ask(post, request_for(objects_of(exam)))
    post.desk.change(schema.commitment_request, owner=owner)
    post.report()
    assert len(console.reports) == count


def test_what_this_node_left_behind_by_a_defect_is_taken_up_again(
    post: Post, console: Console, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*args: object) -> None:
        raise KeyError("nobody thought of this")

    store(post.port, exam)
    ask(post, request_for(objects_of(exam)))
    with monkeypatch.context() as broken:
        broken.setattr("node.receive.committing.report_commitment", defect)
        with pytest.raises(KeyError):
            post.report()
    post.report()
    assert len(console.reports) == 1


# Requests


def test_the_same_request_again_is_one_request(
    post: Post, console: Console, exam: list[Path]
) -> None:
    store(post.port, exam)
    request = request_for(objects_of(exam))
    assert [ask(post, request), ask(post, request)] == [SUCCESS, SUCCESS]
    post.report()
    assert len(console.reports) == 1
    assert ask(post, request) == SUCCESS  # the report was lost on its way
    post.report()
    assert len(console.reports) == 2
    assert ask(post, request_for(objects_of(exam[:2]))) == INVALID_ARGUMENT_VALUE
    post.report()
    assert len(console.reports) == 2
    assert ask(post, request_for(reversed(objects_of(exam)))) == SUCCESS  # as a set of them
    post.report()
    assert len(console.reports) == 3


def test_a_request_that_is_refused_does_not_take_the_place_of_the_right_one(
    open_post: OpenPost, exam: list[Path]
) -> None:
    post = open_post(port=1)  # where nobody hears reports
    store(post.port, exam)
    opened, heard = waiting_at(post)
    assert ask_on(opened, request_for(objects_of(exam))) == SUCCESS
    assert ask(post, request_for(objects_of(exam[:2]))) == INVALID_ARGUMENT_VALUE
    post.report()
    assert [listed(report) for report in heard] == [objects_of(exam)]
    opened.release()


def test_a_request_for_too_much_or_for_nothing_is_refused(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.dimse.commitment_request.MOST_OBJECTS", 3)
    monkeypatch.setattr("node.dimse.commitment_request._MOST_BYTES", 1000)
    objects = [("1.2", f"1.3.{number}") for number in range(4)]
    assert ask(post, request_for([])) == INVALID_ARGUMENT_VALUE
    assert ask(post, request_for(objects[:1], "")) == INVALID_ARGUMENT_VALUE
    assert ask(post, request_for(objects[:1]), action=2) == NO_SUCH_ACTION
    assert ask(post, request_for(objects)) == RESOURCE_LIMITATION
    assert ask(post, request_for(objects[:1] * 30)) == RESOURCE_LIMITATION
    assert post.desk.rows(schema.commitment_request) == []
    assert ask(post, request_for(objects[:3])) == SUCCESS


def test_a_request_that_cannot_be_recorded_is_not_taken(
    post: Post, monkeypatch: pytest.MonkeyPatch, exam: list[Path]
) -> None:
    def away(*args: object) -> None:
        raise sa.exc.OperationalError("INSERT", None, OSError("the database is away"))

    monkeypatch.setattr(Committing, "ask", away)
    assert ask(post, request_for(objects_of(exam))) == PROCESSING_FAILURE


@settings(max_examples=examples(200))
@given(st.binary(max_size=80))
def test_whatever_comes_as_a_request_is_read_or_named(content: bytes) -> None:
    request = N_ACTION()
    request.RequestedSOPInstanceUID = StorageCommitmentPushModelInstance
    request.ActionTypeID = 1
    request.ActionInformation = BytesIO(content)
    context = build_context(COMMITMENT, ImplicitVRLittleEndian)
    context.context_id = 1
    came = SimpleNamespace(request=request, assoc=None, context=context.as_tuple)
    try:
        found = OpenRequest(came, lambda: False).read()  # type: ignore[arg-type]
    except NotTaken as error:
        assert error.status == INVALID_ARGUMENT_VALUE
    else:
        assert found.transaction_uid
        assert found.objects


def test_old_requests_are_forgotten_once_answered(post: Post, exam: list[Path]) -> None:
    store(post.port, exam)
    ask(post, request_for(objects_of(exam), "2.25.1"))
    post.report()
    committing = Committing(post.desk.ledger)
    committing.forget(3600)
    assert len(post.desk.rows(schema.commitment_request)) == 1
    post.desk.change(schema.commitment_request, ended_at=0.0)
    committing.forget(3600)
    assert post.desk.rows(schema.commitment_request) == []
