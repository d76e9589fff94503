"""What an instance means for its study: new, again, corrected, contradicting, withdrawn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import (
    EXCLUDED,
    HOUR_S,
    NODE,
    OUT_OF_SCOPE,
    SOMEBODY,
    SOMEBODY_ELSE,
    STUDY,
    Desk,
    apart,
    modalities,
    run_at_once,
    views,
)
from postgres import NewDatabase

from node.errors import NodeError, Superseded
from node.identity import disagreement, merge
from node.ledger import (
    Again,
    Closing,
    DeliveryState,
    DispatchState,
    HeldBecause,
    InstanceState,
    Ledger,
    VersionState,
    schema,
)
from node.store import Store

OTHER_STUDY = "1.2.999"
DISAGREE = "the objects of the study disagree about Patient ID"
FOUR = tuple(f"{STUDY}.{n}" for n in range(4))
NOT_READ: dict[str, Any] = {"modality": "PR", "view": None, "is_in_scope": False}
"""An object that no model reads."""


def digest_of(desk: Desk, sop_uid: str = f"{STUDY}.1") -> str | None:
    kept = desk.receiving.find_kept(sop_uid)
    return kept.digest if kept else None


def receive_four(desk: Desk) -> None:
    for sop_uid in FOUR:
        desk.receive(sop_uid)


# New


def test_an_image_opens_its_study(desk: Desk) -> None:
    assert desk.receive() == "new"
    (arrival,) = desk.arrivals()
    assert arrival.study_uid == STUDY
    assert arrival.sender == "modality"
    assert modalities(arrival) == {"MG"}
    assert views(arrival) == ["R MLO"]
    assert 0 <= arrival.quiet_s < 5
    assert digest_of(desk) == "digest"


def test_an_object_no_model_reads_reopens_no_study(desk: Desk) -> None:
    desk.receive()
    desk.close()
    desk.receive("2.25.77", **NOT_READ)
    assert desk.arrivals() == []
    desk.receive("2.25.78")
    assert len(desk.arrivals()) == 1


def test_the_sender_of_a_study_is_who_sent_the_first_object_that_is_not_ours(desk: Desk) -> None:
    desk.receive("2.25.1", is_own=True, modality="SR", view=None, sender="archive")
    desk.receive(sender="modality")
    assert desk.study()["sender"] == "modality"
    desk.receive("2.25.2", sender="archive")
    assert desk.study()["sender"] == "modality"


# Ours


def test_our_own_objects_never_reopen_a_study_nor_reset_a_timer(desk: Desk) -> None:
    desk.receive()
    desk.let_pass(30)
    before = desk.study()
    assert desk.receive("2.25.1", is_own=True, modality="SR", view=None) == "new"
    assert desk.study() == before
    desk.close()
    assert desk.receive("2.25.2", is_own=True, modality="SR", view=None) == "new"
    assert desk.arrivals() == []


def test_our_own_objects_are_no_part_of_what_is_analysed(desk: Desk) -> None:
    desk.receive("2.25.1", is_own=True, modality="SR", view=None)
    desk.receive()
    assert modalities(desk.arrivals()[0]) == {"MG"}
    assert [i.sop_uid for i in desk.begin(desk.close()).version.instances] == [f"{STUDY}.1"]


def test_our_own_objects_say_nothing_about_whose_study_it_is(desk: Desk) -> None:
    desk.receive("2.25.1", is_own=True, identity="rewritten by archive")
    desk.receive(identity=SOMEBODY)
    assert desk.study()["held_reason"] is None
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    assert desk.study()["held_reason"]


def test_our_own_objects_that_come_back_changed_change_nothing(desk: Desk) -> None:
    desk.receive()
    desk.receive("2.25.1", is_own=True, modality="SR", view=None)
    before = desk.everything()
    assert desk.receive("2.25.1", is_own=True, digest="rewritten by archive") == "same"
    assert desk.receive("2.25.1", is_own=False, digest="stripped by archive") == "same"
    assert desk.everything() == before


def test_what_we_made_is_known_by_its_uid(desk: Desk) -> None:
    desk.analysed()
    assert desk.receiving.is_report("2.25.10")
    assert not desk.receiving.is_report(f"{STUDY}.1")


# Whose study it is


def test_another_patient_in_the_study_holds_it(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", identity=SOMEBODY)
    assert desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE) == "new"
    study = desk.study()
    assert (study["held_because"], study["held_reason"]) == (HeldBecause.IDENTITY, DISAGREE)
    assert desk.arrivals() == []
    assert desk.history() == [f"held: {DISAGREE}"]


def test_what_a_held_study_says_follows_what_its_objects_disagree_about(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", identity="patient-1 - accession-1 - -")
    desk.receive(f"{STUDY}.2", identity="patient-1 - accession-2 - -")
    assert desk.study()["held_reason"] == "the objects of the study disagree about Accession Number"
    desk.receive(f"{STUDY}.3", identity="patient-2 - accession-1 - -")
    both = "the objects of the study disagree about Patient ID and Accession Number"
    assert desk.study()["held_reason"] == both
    assert desk.history()[-1] == f"held: {both}"


@pytest.mark.parametrize(
    "identity", ["patient-1 - accession-1 - -", "patient-1 - - - -", "- - -", "patient-1 issuer -"]
)
def test_what_an_image_does_not_say_contradicts_nothing(desk: Desk, identity: str) -> None:
    desk.receive(f"{STUDY}.1", identity="patient-1 - accession-1 - -")
    desk.receive(f"{STUDY}.2", identity=identity)
    assert desk.study()["held_reason"] is None


def test_what_any_image_said_holds_for_all_that_follow(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", identity="- - accession-1 - -")
    desk.receive(f"{STUDY}.2", identity="patient-1 - - - -")
    assert desk.study()["held_reason"] is None
    assert desk.study()["identity"] == "patient-1 - accession-1 - -"
    desk.receive(f"{STUDY}.3", identity="patient-2 - - - -")
    assert desk.study()["held_reason"] == DISAGREE


def test_a_held_study_stays_held_whatever_comes(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", identity=SOMEBODY)
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    desk.receive(f"{STUDY}.3", identity=SOMEBODY)
    assert desk.study()["held_reason"]
    assert len(desk.rows(schema.instance)) == 3
    assert len(desk.history()) == 1


def test_a_study_held_after_it_was_closed_is_not_analysed(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded, match="disagree"):
        desk.begin(job)
    assert desk.version()["state"] == VersionState.CANCELLED


def test_results_of_a_study_held_while_it_was_analysed_are_not_recorded(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    assert desk.finish(job) == []
    assert desk.rows(schema.report) == []


def test_results_of_a_study_held_meanwhile_are_not_sent(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded, match="disagree"):
        desk.delivering.begin_dispatch(job, NODE)
    assert desk.dispatch()["state"] == DispatchState.CANCELLED


# The same instance again


def test_the_same_bytes_again_do_nothing_and_reset_no_timer(desk: Desk) -> None:
    desk.receive()
    desk.let_pass(30)
    before = desk.everything()
    assert desk.receive() == "same"
    assert desk.everything() == before


def test_the_same_bytes_again_do_not_reopen_a_closed_study(desk: Desk) -> None:
    desk.receive()
    desk.close()
    assert desk.receive() == "same"
    assert desk.arrivals() == []


def test_other_bytes_of_an_instance_are_compared_before_anything_is_decided(desk: Desk) -> None:
    desk.receive()
    before = desk.everything()
    assert desk.receive(digest="other") == "compare"
    assert desk.everything() == before


def test_a_comparison_with_what_has_been_replaced_meanwhile_is_made_again(desk: Desk) -> None:
    desk.receive(digest="first")
    desk.receive_again(digest="second")
    before = desk.everything()
    stale = Again("first", "same", ("Patient ID",))
    assert desk.receive(digest="third", again=stale) == "compare"
    assert desk.everything() == before


def test_another_encoding_of_the_same_image_changes_nothing(desk: Desk) -> None:
    (job,) = desk.analysed()
    before = desk.study()
    assert desk.receive_again(digest="compressed", changed=()) == "unchanged"
    assert digest_of(desk) == "digest"
    assert desk.study() == before
    assert desk.history()[-1] == (
        "R MLO came again, the same but for how it is encoded; nothing follows"
    )
    desk.deliver(job)
    assert desk.dispatch()["state"] == DispatchState.FINISHED


def test_a_corrected_header_takes_the_place_of_the_former_which_is_remembered(desk: Desk) -> None:
    desk.receive(digest="former", relative_path="received/former.dcm")
    changed = ("Patient ID", "Patient's Name")
    recorded = desk.receive_again(
        digest="corrected",
        changed=changed,
        identity=SOMEBODY_ELSE,
        view="L CC",
        relative_path="received/corrected.dcm",
    )
    assert recorded == "corrected"
    (instance,) = desk.rows(schema.instance)
    assert (instance["digest"], instance["path"]) == ("corrected", "received/corrected.dcm")
    assert (instance["identity"], instance["view"]) == (SOMEBODY_ELSE, "L CC")
    former = desk.row(schema.former_instance, f"{STUDY}.1", "former")
    assert former["path"] == "received/former.dcm"
    assert desk.history() == [
        "L CC came with a corrected header: Patient ID, Patient's Name",
    ]
    assert desk.study()["identity"] == SOMEBODY_ELSE


def test_a_corrected_header_makes_a_new_version(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job)
    desk.receive_again()
    (arrival,) = desk.arrivals()
    assert arrival.revision_reason == "corrected headers"
    assert desk.begin(desk.close()).version.number == 2


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_patient_corrected_image_by_image_is_held_until_the_last_has_come(
    desk: Desk, is_closed: bool
) -> None:
    receive_four(desk)
    if is_closed:
        desk.begin(desk.close())
        desk.finish(desk.jobs[-1])
    for sop_uid in FOUR[:-1]:
        assert desk.receive_again(sop_uid, identity=SOMEBODY_ELSE) == "corrected"
        assert desk.study()["held_because"] == HeldBecause.IDENTITY
        assert desk.arrivals() == []
    desk.receive_again(FOUR[-1], identity=SOMEBODY_ELSE)
    study = desk.study()
    assert (study["held_because"], study["held_reason"]) == (None, None)
    assert study["identity"] == SOMEBODY_ELSE
    assert desk.history()[-1] == "released: its objects agree again"
    job = desk.close()
    assert job.number == (2 if is_closed else 1)
    assert {i.digest for i in desk.begin(job).version.instances} == {"corrected"}


def test_nothing_made_under_the_former_patient_goes_out_once_its_correction_has_begun(
    desk: Desk,
) -> None:
    receive_four(desk)
    desk.begin(desk.close())
    queued, running, sending = desk.finish(desk.jobs[-1], destinations=("a", "b", "c"))
    desk.delivering.begin_dispatch(running, NODE)
    desk.delivering.begin_dispatch(sending, NODE)
    desk.receive_again(FOUR[0], identity=SOMEBODY_ELSE)
    for sop_uid in (*FOUR[1:], None):
        with pytest.raises(Superseded):
            desk.delivering.require_current(running)
        if sop_uid:
            desk.receive_again(sop_uid, identity=SOMEBODY_ELSE)
    assert desk.study()["held_reason"] is None
    made_before = "made before its images changed: corrected headers"
    with pytest.raises(Superseded, match=made_before):
        desk.delivering.begin_dispatch(queued, NODE)
    with pytest.raises(Superseded, match=made_before):
        desk.delivering.require_current(running)
    with pytest.raises(Superseded, match=made_before):
        desk.delivering.record_sent(sending, [])
    for destination in ("a", "c"):
        assert desk.dispatch(1, destination)["state"] == DispatchState.CANCELLED


def test_what_a_correction_stopped_stays_stopped_when_its_study_is_released(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.receive(f"{STUDY}.2")
    desk.receive_again(f"{STUDY}.1", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded):
        desk.delivering.begin_dispatch(job, NODE)
    desk.receive_again(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    assert desk.study()["held_reason"] is None
    assert desk.dispatch()["state"] == DispatchState.CANCELLED
    assert desk.sweeping.unfinished() == []


def test_an_image_as_it_was_before_its_correction_changes_nothing(desk: Desk) -> None:
    desk.receive(digest="former")
    desk.receive_again(digest="corrected", identity=SOMEBODY_ELSE)
    desk.close()
    before = desk.study(), desk.rows(schema.instance)
    assert desk.receive_again(digest="former", identity=SOMEBODY) == "unchanged"
    assert (desk.study(), desk.rows(schema.instance)) == before
    assert desk.history()[-1] == "R MLO came as it was before its correction, which stands"


def test_a_correction_that_led_to_a_contradiction_can_be_taken_back(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", digest="former")
    desk.receive(f"{STUDY}.2")
    desk.receive_again(f"{STUDY}.1", digest="mistaken", identity=SOMEBODY_ELSE)
    assert desk.study()["held_because"] == HeldBecause.IDENTITY
    assert desk.receive_again(f"{STUDY}.1", digest="former", identity=SOMEBODY) == "corrected"
    assert desk.study()["held_reason"] is None
    assert (
        desk.receive_again(f"{STUDY}.1", digest="mistaken", identity=SOMEBODY_ELSE) == "unchanged"
    )


def test_who_sent_a_correction_may_take_it_back(desk: Desk) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("from the archive", NODE, "archive")
    desk.receive(digest="former")
    desk.receive_again(digest="mistaken", association="from the archive", sender="archive")
    assert desk.receive_again(digest="former", sender="modality") == "unchanged"
    assert desk.receive_again(digest="former", sender="archive") == "corrected"
    assert digest_of(desk) == "former"


def test_a_note_that_bears_the_wrong_patient_frees_the_study_it_cleans(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    assert desk.study()["held_because"] == HeldBecause.IDENTITY
    desk.withdraw(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    assert desk.study()["held_reason"] is None


def test_a_late_image_with_a_former_header_comes_before_the_corrected_ones(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", digest="former")
    desk.receive_again(f"{STUDY}.1", digest="corrected")
    desk.receive(f"{STUDY}.2", digest="late")
    instances = desk.begin(desk.close()).version.instances
    assert [one.digest for one in instances] == ["late", "corrected"]


def test_an_image_that_turns_into_what_no_model_reads_is_a_revision(desk: Desk) -> None:
    for n in (1, 2):
        desk.receive(f"{STUDY}.{n}")
    job = desk.close()
    assert desk.receive_again(f"{STUDY}.1", modality="OT", is_in_scope=False) == "corrected"
    with pytest.raises(Superseded, match="made before its images changed"):
        desk.begin(job)
    assert [arrival.study_uid for arrival in desk.arrivals()] == [STUDY]


def test_an_image_can_be_corrected_more_than_once(desk: Desk) -> None:
    desk.receive(digest="first")
    for digest in ("second", "third"):
        assert desk.receive_again(digest=digest) == "corrected"
    for former in ("first", "second"):
        assert desk.receive_again(digest=former) == "unchanged"
    assert digest_of(desk) == "third"
    assert desk.study()["revision"] == 2


def test_a_correction_of_what_no_model_reads_changes_no_result(desk: Desk) -> None:
    desk.receive()
    desk.receive("2.25.77", **NOT_READ)
    job = desk.close()
    assert desk.receive_again("2.25.77", **NOT_READ) == "corrected"
    assert desk.arrivals() == []
    desk.begin(job)
    assert len(desk.finish(job)) == 1


def test_two_who_bring_the_same_correction_at_once_correct_it_once(desk: Desk) -> None:
    desk.receive()
    run_at_once(*[desk.receive_again] * 3)
    assert desk.study()["revision"] == 1
    assert len(desk.rows(schema.former_instance)) == 1


# Contradictions


@pytest.mark.parametrize(
    ("pixels", "words"), [("other", "with different pixels"), ("unknown", "and cannot be compared")]
)
def test_other_pixels_hold_the_study_until_a_person_has_looked(
    desk: Desk, pixels: Literal["other", "unknown"], words: str
) -> None:
    (job,) = desk.analysed()
    assert desk.receive_again(pixels=pixels) == "contradicts"
    assert digest_of(desk) == "digest"
    study = desk.study()
    assert study["held_because"] == HeldBecause.PIXELS
    assert study["held_reason"] == f"image {STUDY}.1 came twice {words}"
    with pytest.raises(Superseded, match="came twice"):
        desk.delivering.begin_dispatch(job, NODE)
    desk.receive(f"{STUDY}.2")
    desk.receive_again(f"{STUDY}.2")  # nothing that comes ends it
    assert desk.study()["held_because"] == HeldBecause.PIXELS
    desk.by_hand.release_study(STUDY)
    assert desk.begin(desk.close()).version.number == 2


def test_other_pixels_hold_a_study_that_is_already_held_for_what_ends_by_itself(
    desk: Desk,
) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    desk.receive_again(f"{STUDY}.1", pixels="other")
    desk.receive_again(f"{STUDY}.2", identity=SOMEBODY)
    assert desk.study()["held_because"] == HeldBecause.PIXELS
    assert desk.arrivals() == []


def test_other_pixels_while_the_identities_disagree_are_released_only_after_both(
    desk: Desk,
) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive_again(f"{STUDY}.1", pixels="other")
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(NodeError, match="disagree"):
        desk.by_hand.release_study(STUDY)
    desk.receive_again(f"{STUDY}.2", identity=SOMEBODY)
    assert desk.study()["held_because"] == HeldBecause.PIXELS
    desk.by_hand.release_study(STUDY)
    assert desk.study()["held_reason"] is None


def test_an_instance_that_comes_in_two_studies_holds_both(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.receive(f"{OTHER_STUDY}.1", study=OTHER_STUDY)
    assert desk.receive(study=OTHER_STUDY, digest="other") == "contradicts"
    assert desk.row(schema.instance, f"{STUDY}.1")["study_uid"] == STUDY
    for study, other in ((STUDY, OTHER_STUDY), (OTHER_STUDY, STUDY)):
        assert desk.study(study)["held_because"] == HeldBecause.PIXELS
        reason = f"image {STUDY}.1 came in this study and in {other}"
        assert desk.study(study)["held_reason"] == reason
        assert desk.history(study)[-1] == f"held: {reason}"
    with pytest.raises(Superseded, match="came in this study"):
        desk.delivering.begin_dispatch(job, NODE)
    assert desk.arrivals() == []


def test_an_instance_known_from_another_study_holds_the_one_nobody_knew(desk: Desk) -> None:
    desk.receive()
    assert desk.receive(study=OTHER_STUDY, digest="other") == "contradicts"
    assert desk.study(OTHER_STUDY)["held_reason"]
    desk.receive(f"{OTHER_STUDY}.1", study=OTHER_STUDY)
    assert [arrival.study_uid for arrival in desk.arrivals()] == []
    desk.by_hand.release_study(OTHER_STUDY)
    assert [arrival.study_uid for arrival in desk.arrivals()] == [OTHER_STUDY]


# Rejection notes


def test_what_a_rejection_note_names_is_used_no_more(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R CC")
    desk.receive(f"{STUDY}.2", view="L CC")
    desk.begin(desk.close())
    (job,) = desk.finish(desk.jobs[-1])
    assert desk.withdraw(f"{STUDY}.2") == "new"
    assert desk.row(schema.instance, f"{STUDY}.2")["state"] == InstanceState.WITHDRAWN
    (arrival,) = desk.arrivals()
    assert views(arrival) == ["R CC"]
    assert arrival.revision_reason == "1 object withdrawn: Rejected for Quality Reasons"
    assert desk.history()[-1] == (
        "a rejection note withdrew 1 object: Rejected for Quality Reasons"
    )
    with pytest.raises(Superseded, match="withdrawn"):
        desk.delivering.begin_dispatch(job, NODE)


def test_what_a_rejection_note_names_and_comes_later_is_kept_and_not_used(desk: Desk) -> None:
    desk.withdraw(f"{STUDY}.2")
    desk.receive(f"{STUDY}.1", view="R CC")
    assert desk.receive(f"{STUDY}.2", view="L CC") == "new"
    assert views(desk.arrivals()[0]) == ["R CC"]
    assert desk.history() == [
        "a rejection note names 1 object, none of which is in use: Rejected for Quality Reasons",
        "L CC came, which is withdrawn: Rejected for Quality Reasons",
    ]


def test_a_withdrawn_image_that_comes_late_does_not_reopen_its_study(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.withdraw(f"{STUDY}.2")
    desk.close()
    desk.receive(f"{STUDY}.2")
    assert desk.arrivals() == []


@pytest.mark.parametrize("note_is_first", [False, True])
def test_a_study_all_of_whose_images_are_withdrawn_is_settled_as_such(
    desk: Desk, note_is_first: bool
) -> None:
    if note_is_first:
        desk.withdraw(*FOUR)
        receive_four(desk)
    else:
        receive_four(desk)
        desk.withdraw(*FOUR)
    (arrival,) = desk.arrivals()
    assert views(arrival) == []
    assert "MG" not in modalities(arrival)
    assert arrival.why_withdrawn == "Rejected for Quality Reasons"


def test_a_rejection_note_that_comes_again_does_nothing(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.withdraw(f"{STUDY}.1")
    desk.close(OUT_OF_SCOPE)
    before = desk.everything()
    assert desk.withdraw(f"{STUDY}.1") == "same"
    assert desk.everything() == before


def test_a_second_note_about_the_same_image_changes_nothing_more(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2")
    desk.withdraw(f"{STUDY}.1")
    desk.close()
    desk.withdraw(f"{STUDY}.1", note=f"{STUDY}.901", reason="Rejected for Patient Safety Reasons")
    assert desk.arrivals() == []
    assert desk.row(schema.rejection, f"{STUDY}.1", STUDY)["reason"] == (
        "Rejected for Quality Reasons"
    )


def test_a_corrected_rejection_note_takes_more_out_of_use(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2")
    desk.withdraw(f"{STUDY}.1")
    kept = desk.receiving.find_kept(f"{STUDY}.900")
    assert kept is not None
    again = Again(kept.digest, "same", ("Current Requested Procedure Evidence Sequence",))
    recorded = desk.withdraw(f"{STUDY}.1", f"{STUDY}.2", digest="corrected note", again=again)
    assert recorded == "corrected"
    assert desk.row(schema.instance, f"{STUDY}.2")["state"] == InstanceState.WITHDRAWN


def test_a_rejection_note_has_no_effect_on_another_study(desk: Desk) -> None:
    (job,) = desk.analysed()
    before = desk.study(), desk.row(schema.instance, f"{STUDY}.1"), desk.history()
    desk.withdraw(f"{STUDY}.1", study=OTHER_STUDY)
    after = desk.study(), desk.row(schema.instance, f"{STUDY}.1"), desk.history()
    assert after == before
    desk.deliver(job)
    assert desk.dispatch()["state"] == DispatchState.FINISHED


def test_a_rejection_note_of_another_study_does_not_stand_in_the_way_of_the_right_one(
    desk: Desk,
) -> None:
    desk.withdraw(f"{STUDY}.1", study=OTHER_STUDY, note=f"{OTHER_STUDY}.900")
    desk.withdraw(f"{STUDY}.1")
    desk.receive(f"{STUDY}.1")
    assert desk.row(schema.instance, f"{STUDY}.1")["state"] == InstanceState.WITHDRAWN


def test_a_rejection_of_what_no_model_reads_changes_no_result(desk: Desk) -> None:
    desk.receive()
    desk.receive("2.25.77", **NOT_READ)
    job = desk.close()
    desk.withdraw("2.25.77")
    assert desk.row(schema.instance, "2.25.77")["state"] == InstanceState.WITHDRAWN
    assert desk.arrivals() == []
    desk.begin(job)
    assert len(desk.finish(job)) == 1


def test_rejecting_the_image_of_another_patient_releases_the_study(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    job = desk.close()
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    with pytest.raises(Superseded):
        desk.begin(job)
    desk.withdraw(f"{STUDY}.2")
    assert desk.study()["held_reason"] is None
    work = desk.begin(desk.close())
    assert [i.sop_uid for i in work.version.instances if i.modality == "MG"] == [f"{STUDY}.1"]


def test_a_withdrawn_image_stays_withdrawn_when_its_header_is_corrected(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2")
    desk.withdraw(f"{STUDY}.2")
    desk.close()
    assert desk.receive_again(f"{STUDY}.2", identity=SOMEBODY_ELSE) == "corrected"
    assert desk.row(schema.instance, f"{STUDY}.2")["state"] == InstanceState.WITHDRAWN
    assert desk.study()["held_reason"] is None
    assert desk.arrivals() == []


# Letting a study go on


def test_what_is_not_held_cannot_be_released(desk: Desk) -> None:
    desk.receive()
    with pytest.raises(NodeError, match="neither held nor excluded"):
        desk.by_hand.release_study(STUDY)
    with pytest.raises(NodeError, match="not known here"):
        desk.by_hand.release_study(OTHER_STUDY)


def test_a_study_whose_objects_disagree_is_not_released_on_a_persons_word(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    before = desk.everything()
    with pytest.raises(NodeError, match="send all its images again"):
        desk.by_hand.release_study(STUDY)
    assert desk.everything() == before


def test_a_study_that_is_excluded_is_analysed_on_a_persons_word(desk: Desk) -> None:
    desk.receive(why_excluded="no Patient ID")
    desk.close(EXCLUDED)
    assert desk.by_hand.release_study(STUDY) == "it is analysed once it is complete"
    job = desk.close()
    assert job.number == 2
    desk.begin(job)
    assert desk.history()[-2:] == ["released: by hand", "version 2 closed: 4/4 views"]
    with pytest.raises(NodeError, match="neither held nor excluded"):
        desk.by_hand.release_study(STUDY)


@pytest.mark.parametrize("why", ["no model reads MG", "model breast-area has been switched off"])
def test_a_study_for_which_no_model_was_there_is_settled_anew_on_a_persons_word(
    desk: Desk, why: str
) -> None:
    desk.receive()
    if why.startswith("no"):
        desk.close(Closing("quiet 60 s", state=VersionState.OUT_OF_SCOPE, why_not=why))
    else:
        job = desk.close()
        desk.begin(job)
        desk.processing.cancel_version(job, why)
    follows = "it is analysed once it is complete, if a model reads it now"
    assert desk.by_hand.release_study(STUDY) == follows
    desk.begin(desk.close())
    assert len(desk.finish(desk.jobs[-1])) == 1


def test_after_a_long_hold_there_is_as_much_time_to_deliver_as_at_first(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=HOUR_S)
    desk.receive_again(pixels="other")
    with pytest.raises(Superseded):
        desk.delivering.begin_dispatch(job, NODE)
    desk.let_pass(100 * HOUR_S)
    desk.by_hand.release_study(STUDY)
    desk.deliver(desk.revived(), DeliveryState.QUEUED, DeliveryState.QUEUED)
    assert desk.dispatch()["state"] == DispatchState.QUEUED


def test_a_study_both_held_and_excluded_is_released_from_both_at_once(desk: Desk) -> None:
    desk.receive(why_excluded="no Patient ID")
    desk.close(EXCLUDED)
    desk.receive_again(pixels="other")
    desk.by_hand.release_study(STUDY)
    assert apart(desk.arrivals()[0]) is None


def test_a_released_study_that_was_finished_is_delivered_where_it_was_stopped(desk: Desk) -> None:
    stopped, untouched = desk.analysed(destinations=("pacs", "workstation"))
    desk.receive_again(pixels="other")
    with pytest.raises(Superseded):
        desk.delivering.begin_dispatch(stopped, NODE)
    assert desk.by_hand.release_study(STUDY) == "what is left of it goes on"
    assert desk.arrivals() == []
    left = {job.destination: job for job in desk.sweeping.unfinished()}
    assert set(left) == {"pacs", "workstation"}
    desk.sweeping.revive(left["pacs"], desk.enqueue)
    desk.deliver(desk.jobs[-1])
    assert not [line for line in desk.history() if "could not say how it ended" in line]
    desk.deliver(untouched)
    assert {row["state"] for row in desk.rows(schema.dispatch)} == {DispatchState.FINISHED}


def test_a_released_study_sends_nothing_twice(desk: Desk) -> None:
    (job,) = desk.analysed()
    shipment = desk.delivering.begin_dispatch(job, NODE)
    desk.receive_again(pixels="other")
    with pytest.raises(Superseded):
        desk.delivering.record_sent(job, [desk.outcome(shipment.to_send[0], DeliveryState.SENT)])
    desk.by_hand.release_study(STUDY)
    left = desk.delivering.begin_dispatch(desk.revived(), NODE)
    assert left.to_send == shipment.to_send[1:]
    assert left.to_confirm == shipment.to_send[:1]


def test_a_released_study_whose_analysis_was_cancelled_is_settled_anew(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.receive_again(pixels="other")
    with pytest.raises(Superseded):
        desk.begin(job)
    assert desk.by_hand.release_study(STUDY) == "it is analysed once it is complete"
    (arrival,) = desk.arrivals()
    assert arrival.revision_reason is None
    desk.begin(desk.close())
    assert len(desk.finish(desk.jobs[-1])) == 1


def test_a_study_released_before_its_analysis_began_loses_nothing(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.receive_again(pixels="other")
    assert desk.by_hand.release_study(STUDY) == "what is left of it goes on"
    desk.begin(job)
    assert len(desk.finish(job)) == 1


def stop_at(desk: Desk, stage: str) -> None:
    """Let a study be held by an object that no model reads, and its work find out."""
    desk.receive()
    job = desk.close()
    if stage != "queued":
        desk.begin(job)
    if stage == "finished":
        desk.finish(job)
    desk.receive("2.25.77", identity=SOMEBODY_ELSE, **NOT_READ)
    assert desk.study()["held_because"] == HeldBecause.IDENTITY
    if stage == "running":
        assert desk.finish(job) == []
        return
    with pytest.raises(Superseded):
        if stage == "queued":
            desk.begin(job)
        else:
            desk.delivering.begin_dispatch(desk.jobs[-1], NODE)


@pytest.mark.parametrize("way", ["corrected", "withdrawn"])
@pytest.mark.parametrize("stage", ["queued", "running", "finished"])
def test_a_hold_for_what_no_model_reads_loses_nothing_once_it_is_lifted(
    desk: Desk, stage: str, way: str
) -> None:
    stop_at(desk, stage)
    if way == "corrected":
        desk.receive_again("2.25.77", identity=SOMEBODY, **NOT_READ)
    else:
        desk.withdraw("2.25.77")
    assert desk.study()["held_reason"] is None
    if stage != "finished":
        desk.begin(desk.close())
        desk.finish(desk.jobs[-1])
    desk.deliver(desk.revived())
    assert desk.sweeping.unfinished() == []
    assert desk.dispatch(desk.study()["version"])["state"] == DispatchState.FINISHED


def test_a_destination_that_knows_a_study_as_somebody_elses_holds_it(desk: Desk) -> None:
    job, other = desk.analysed(destinations=("pacs", "workstation"))
    desk.delivering.begin_dispatch(job, NODE)
    reason = "pacs has it under another patient ID"
    desk.delivering.hold_dispatch(job, reason)
    study = desk.study()
    assert (study["held_because"], study["held_reason"]) == (HeldBecause.DESTINATION, reason)
    with pytest.raises(Superseded, match="another patient ID"):
        desk.delivering.begin_dispatch(other, NODE)


def test_a_correction_ends_what_a_destination_held_a_study_for(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.delivering.begin_dispatch(job, NODE)
    desk.delivering.hold_dispatch(job, "pacs has it under another patient ID")
    desk.receive_again(identity=SOMEBODY_ELSE)
    assert desk.study()["held_reason"] is None
    assert desk.dispatch()["state"] == DispatchState.CANCELLED  # it carries the former patient
    assert desk.begin(desk.close()).version.number == 2


def test_what_a_destination_held_a_study_for_goes_on_by_hand(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.delivering.begin_dispatch(job, NODE)
    desk.delivering.hold_dispatch(job, "pacs has it under another patient ID")
    desk.by_hand.release_study(STUDY)
    desk.deliver(desk.revived())
    assert desk.dispatch()["state"] == DispatchState.FINISHED


# Whose the objects are, kept as they come and go


@pytest.fixture(scope="module")
def long_lived(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """A ledger that many studies go through."""
    folder = tmp_path_factory.mktemp("long-lived")
    ledger = Ledger(new_database(folder))
    yield Desk(ledger, Store(folder / "store"))
    ledger.close()


_PARTS = st.sampled_from(("-", "-", "a", "b", "?"))
_IDENTITIES = st.one_of(
    st.tuples(*[_PARTS] * 5).map(" ".join),
    st.tuples(*[_PARTS] * 3).map(" ".join),  # as an earlier release wrote them
)
_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("comes", "comes", "comes", "is withdrawn")), st.integers(0, 4), _IDENTITIES
    ),
    max_size=8,
)
_FRESH = itertools.count()


@given(_EVENTS)
def test_the_verdict_about_a_study_is_that_about_all_of_its_objects_at_once(
    long_lived: Desk, events: list[tuple[str, int, str]]
) -> None:
    """In whatever order they come, are corrected, and are withdrawn, before they come or after."""
    desk, study = long_lived, f"1.2.{next(_FRESH)}"
    there: dict[str, str] = {}
    digests: dict[str, str] = {}
    withdrawn: set[str] = set()
    for number, (event, which, identity) in enumerate(events):
        sop_uid = f"{study}.{which}"
        if event == "is withdrawn":
            desk.withdraw(sop_uid, study=study, note=f"{study}.9{number}", identity=identity)
            withdrawn.add(sop_uid)
        else:
            known = digests.get(sop_uid)
            again = None if known is None else Again(known, "same", ("Patient ID",))
            digests[sop_uid] = digest = f"edition {number}"
            desk.receive(sop_uid, study=study, identity=identity, digest=digest, again=again)
            there[sop_uid] = identity
        said = sorted(there[sop_uid] for sop_uid in there.keys() - withdrawn)
        row = desk.study(study)
        assert row["held_reason"] == (disagreement(said) or None)
        assert row["held_because"] == ("identity" if disagreement(said) else None)
        assert row["identity"] == merge(said)


# What is shown


def test_the_body_part_is_kept_and_told(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", body_part="BREAST")
    desk.receive(f"{STUDY}.2", body_part="HAND", view=None)
    (arrival,) = desk.arrivals()
    assert [shown.body_part for shown in arrival.shown] == ["BREAST", "HAND"]
    kept = desk.receiving.find_kept(f"{STUDY}.2")
    assert kept is not None
    assert kept.shown.body_part == "HAND"
    instances = desk.begin(desk.close()).version.instances
    assert [instance.body_part for instance in instances] == ["BREAST", "HAND"]


def test_to_reject_what_is_of_no_model_s_body_part_changes_no_result(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", body_part="BREAST")
    desk.receive(f"{STUDY}.2", body_part="HAND")
    job = desk.close()
    desk.begin(job)
    desk.finish(job)
    desk.withdraw(f"{STUDY}.2", note=f"{STUDY}.900")
    assert desk.arrivals() == []
    desk.withdraw(f"{STUDY}.1", note=f"{STUDY}.901", digest="another note")
    (arrival,) = desk.arrivals()
    assert arrival.revision_reason == "1 object withdrawn: Rejected for Quality Reasons"


@pytest.mark.parametrize(("before", "after"), [("HAND", "BREAST"), ("BREAST", "HAND")])
def test_a_corrected_body_part_opens_the_study_if_either_is_in_scope(
    before: str, after: str, desk: Desk
) -> None:
    desk.receive(body_part=before)
    desk.close()
    changed = ("Body Part Examined",)
    is_in_scope = after == "BREAST"
    desk.receive_again(body_part=after, changed=changed, is_in_scope=is_in_scope)
    assert desk.arrivals()[0].revision_reason == "corrected headers"


def test_a_correction_between_body_parts_that_no_model_wants_opens_nothing(desk: Desk) -> None:
    desk.receive(body_part="HAND")
    desk.close(OUT_OF_SCOPE)
    changed = ("Body Part Examined",)
    desk.receive_again(body_part="FOOT", changed=changed, is_in_scope=False)
    assert desk.arrivals() == []
