"""What comes again of a study whose images were removed, and how it is asked back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledgers import CLOSING, SOMEBODY_ELSE, STUDY, Desk, is_mammogram

from node.ledger import Again, Asking, DispatchState, HeldBecause, Job, StudyState, now, schema

REASON = "2 images needed for a new report, removed since 2026-01-01"


def done(desk: Desk, images: int = 2) -> None:
    """Have a study whose results are delivered and whose images are removed."""
    for number in range(images):
        desk.receive(f"{STUDY}.{number}", digest=f"digest {number}", view="R MLO")
    desk.begin(desk.close())
    for job in desk.finish(Job("process", STUDY, 1, 1)):
        desk.deliver(job)
    remove(desk)


def remove(desk: Desk) -> None:
    digests = {"pixels_digest": "pixels", "header_digest": "header"}
    desk.change(schema.instance, removed_at=now(), **digests)
    desk.change(schema.study, images_removed_at=now())


def is_removed(desk: Desk, sop_uid: str) -> bool:
    return desk.row(schema.instance, sop_uid)["removed_at"] is not None


@pytest.fixture
def asking(desk: Desk) -> Asking:
    return Asking(desk.ledger)


def test_the_same_object_again_is_not_kept_while_nobody_needs_it(desk: Desk) -> None:
    done(desk)
    assert desk.receive(f"{STUDY}.0", digest="digest 0", relative_path="new") == "same"
    assert is_removed(desk, f"{STUDY}.0")
    assert desk.study()["state"] == StudyState.CLOSED


def test_it_is_kept_anew_while_its_study_is_asked_back_or_held_for_want_of_files(
    desk: Desk, asking: Asking
) -> None:
    done(desk)
    desk.settling.ask_back(STUDY, 2)
    assert desk.receive(f"{STUDY}.0", digest="digest 0", relative_path="new 0") == "restored"
    asking.give_up(STUDY, REASON)
    assert desk.receive(f"{STUDY}.1", digest="digest 1", relative_path="new 1") == "restored"
    rows = {row["sop_uid"]: row for row in desk.rows(schema.instance)}
    assert [rows[f"{STUDY}.{n}"]["path"] for n in range(2)] == ["new 0", "new 1"]
    assert {row["removed_at"] for row in rows.values()} == {None}
    assert {row["version"] for row in rows.values()} == {1}, "it has been reported"
    assert desk.study()["images_removed_at"] is None


def test_what_no_model_reads_is_not_kept_anew(desk: Desk) -> None:
    done(desk)
    desk.settling.ask_back(STUDY, 2)
    recorded = desk.receive(f"{STUDY}.0", digest="digest 0", is_in_scope=False)
    assert recorded == "same"
    assert is_removed(desk, f"{STUDY}.0")


def test_other_pixels_than_the_removed_ones_hold_the_study(desk: Desk) -> None:
    done(desk)
    assert desk.receive_again(f"{STUDY}.0", pixels="other", changed=()) == "contradicts"
    assert desk.study()["held_because"] == HeldBecause.PIXELS


def test_another_header_than_the_removed_one_is_a_correction_and_both_are_remembered(
    desk: Desk,
) -> None:
    done(desk)
    assert desk.receive_again(f"{STUDY}.0", relative_path="corrected.dcm") == "corrected"
    (former,) = desk.rows(schema.former_instance)
    assert (former["header_digest"], former["removed_at"] is None) == ("header", False)
    row = desk.row(schema.instance, f"{STUDY}.0")
    assert (row["path"], row["removed_at"], row["header_digest"]) == ("corrected.dcm", None, None)
    assert desk.study()["state"] == StudyState.RECEIVING
    assert is_removed(desk, f"{STUDY}.1")


def again(desk: Desk, pixels: str, *, has_no_file: bool, changed: tuple[str, ...] = ()) -> str:
    kept = desk.receiving.find_kept(f"{STUDY}.0")
    assert kept is not None
    compared = Again(
        kept.digest,
        pixels,  # type: ignore[arg-type]
        changed,
        was_in_scope=is_mammogram(kept.shown),
        path=kept.path,
        has_no_file=has_no_file,
        was_removed=kept.is_removed,
    )
    return desk.receive(f"{STUDY}.0", digest="encoded otherwise", again=compared)


def test_pixels_that_cannot_be_compared_for_want_of_the_file_are_taken_and_it_is_said(
    desk: Desk,
) -> None:
    done(desk)
    desk.settling.ask_back(STUDY, 2)
    assert again(desk, "unknown", has_no_file=True) == "restored"
    assert desk.row(schema.instance, f"{STUDY}.0")["digest"] == "encoded otherwise"
    words = "its pixels cannot be compared, the former file is not there any more"
    assert [event for event in desk.history() if words in event]


def test_pixels_that_cannot_be_compared_though_the_file_is_there_hold_the_study(
    desk: Desk,
) -> None:
    desk.receive(f"{STUDY}.0")
    assert again(desk, "unknown", has_no_file=False) == "contradicts"
    assert desk.study()["held_because"] == HeldBecause.PIXELS


def test_what_was_compared_before_another_file_took_its_place_is_compared_again(
    desk: Desk,
) -> None:
    done(desk)
    kept = desk.receiving.find_kept(f"{STUDY}.0")
    assert kept is not None
    compared = Again(kept.digest, "unknown", (), path=kept.path, has_no_file=True, was_removed=True)
    for stale in (replace(compared, path="another"), replace(compared, was_removed=False)):
        assert desk.receive(f"{STUDY}.0", digest="other", again=stale) == "compare"


def test_who_asks_is_one_at_a_time_and_the_next_once_that_one_has_died(
    desk: Desk, asking: Asking
) -> None:
    done(desk)
    assert asking.take(60) is None
    desk.settling.ask_back(STUDY, 2)
    taken = asking.take(60)
    assert taken is not None
    assert (taken.sender, taken.attempts, taken.is_held) == ("modality", 0, False)
    assert asking.take(60) is None
    asking.renew(STUDY, 60)
    assert asking.take(60) is None
    desk.change(schema.asked_back, next_at=now() - 1)  # as after the lease
    assert asking.take(60) is not None
    asking.put_off(STUDY, 0, "pacs", "no answer")
    taken = asking.take(60)
    assert taken is not None
    assert (taken.attempts, taken.error, taken.peer) == (1, "no answer", "pacs")


def test_the_same_reason_not_to_come_is_said_once(desk: Desk, asking: Asking) -> None:
    done(desk)
    desk.settling.ask_back(STUDY, 2)
    for _ in range(3):
        asking.put_off(STUDY, 0, "pacs", "it is away")
    assert desk.history().count("its images are asked back from pacs: it is away") == 1
    desk.settling.ask_back(STUDY, 2)
    assert sum("asked back" in event for event in desk.history()) == 2


def test_what_is_given_up_is_held_and_goes_on_once_all_is_here(desk: Desk, asking: Asking) -> None:
    done(desk)
    desk.receive(f"{STUDY}.9", view="L MLO")
    desk.settling.ask_back(STUDY, 2)
    asking.give_up(STUDY, REASON)
    study = desk.study()
    assert (study["held_because"], study["held_reason"]) == (HeldBecause.MISSING, REASON)
    assert desk.rows(schema.asked_back) == []
    assert asking.waiting_after("", 10) == [STUDY]
    assert asking.waiting_after(STUDY, 10) == []
    assert desk.arrivals() == []
    asking.end(STUDY, "all its images are here again")
    assert desk.study()["held_reason"] is None
    assert [one.study_uid for one in desk.arrivals()] == [STUDY]


def test_a_study_held_for_something_else_stays_so(desk: Desk, asking: Asking) -> None:
    done(desk)
    desk.settling.ask_back(STUDY, 2)
    desk.receive_again(f"{STUDY}.0", pixels="other")
    asking.give_up(STUDY, REASON)
    asking.end(STUDY, "all is here")
    assert desk.study()["held_because"] == HeldBecause.PIXELS


def test_whose_the_study_is_is_looked_at_when_all_is_here(desk: Desk, asking: Asking) -> None:
    done(desk)
    desk.settling.ask_back(STUDY, 2)
    asking.give_up(STUDY, REASON)
    desk.receive(f"{STUDY}.9", identity=SOMEBODY_ELSE)
    assert desk.study()["held_because"] == HeldBecause.MISSING
    asking.end(STUDY, "all is here")
    assert desk.study()["held_because"] == HeldBecause.IDENTITY


def test_a_version_whose_files_are_missing_is_held_asked_back_and_closed_anew(
    desk: Desk, asking: Asking
) -> None:
    desk.receive(f"{STUDY}.0")
    job = desk.close()
    desk.begin(job)
    desk.processing.hold_missing(job, "1 file of it is missing")
    assert desk.study()["held_because"] == HeldBecause.MISSING
    assert asking.take(60) is not None
    asking.end(STUDY, "all is here")
    assert desk.close(CLOSING).number == 2


def test_removed_images_are_none_of_a_version_but_it_is_known_what_they_show(desk: Desk) -> None:
    done(desk)
    desk.receive(f"{STUDY}.9", view="L MLO")
    work = desk.begin(desk.close())
    assert [one.sop_uid for one in work.version.instances] == [f"{STUDY}.9"]
    assert [str(shown.view) for shown in work.removed] == ["R MLO"]
    assert desk.dispatch()["state"] == DispatchState.FINISHED


def test_the_release_of_a_study_without_its_files_has_it_asked_back_anew(
    desk: Desk, asking: Asking
) -> None:
    done(desk)
    desk.receive(f"{STUDY}.9", view="L MLO")
    desk.settling.ask_back(STUDY, 2)
    asking.give_up(STUDY, REASON)
    desk.by_hand.release_study(STUDY, by="anna")
    (arrival,) = desk.arrivals()
    assert sum(part.removed for part in arrival.parts) == 2
