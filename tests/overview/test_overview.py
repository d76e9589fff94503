"""What people are told of a study is where it really stands."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa
from costs import counted
from forgotten import forget
from ledgers import (
    EXCLUDED,
    NODE,
    OUT_OF_SCOPE,
    POINTS_OF_AN_OUTLINE,
    SOMEBODY_ELSE,
    STUDY,
    Desk,
    fill,
)

from node.config import OPEN_DAYS
from node.errors import Superseded
from node.ledger import (
    Asking,
    Closing,
    DeliveryState,
    Ledger,
    Patience,
    Remembering,
    VersionState,
    schema,
)
from node.overview import Standing, StudyOverview, each_study, study_overviews
from node.overview.next_step import next_step
from node.result import Priority, Refusal


def overview(desk: Desk) -> StudyOverview:
    (only,) = study_overviews(desk.ledger)
    return only


def test_a_study_is_followed_from_its_first_image_to_its_last_result(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R MLO")
    desk.receive(f"{STUDY}.2", view="L CC")
    seen = overview(desk)
    assert (seen.state, seen.version, seen.images) == ("receiving", 0, 2)
    assert seen.views == ("L CC", "R MLO")
    assert (seen.reason, seen.closed_at, seen.done_at, seen.error) == ("", None, None, None)
    last_at = seen.last_at

    job = desk.close()
    seen = overview(desk)
    assert (seen.state, seen.reason) == ("queued", "4/4 views")
    assert seen.closed_at
    assert seen.models[0].outcome == "pending"

    desk.begin(job)
    assert overview(desk).state == "running"

    (delivery,) = desk.finish(job)
    seen = overview(desk)
    assert seen.state == "delivering"
    assert seen.models[0].outcome == "1 of 1 images analysed"
    assert (seen.models[0].level, seen.level, seen.waiting_s) == ("", "", None)
    assert [d.state for d in seen.deliveries] == [DeliveryState.QUEUED, DeliveryState.QUEUED]

    desk.deliver(delivery)
    seen = overview(desk)
    assert seen.state == "done"
    assert {(d.state, d.confirmed_by) for d in seen.deliveries} == {("sent", None)}
    assert seen.done_at == max(d.sent_at for d in seen.deliveries if d.sent_at)
    assert seen.last_at == last_at
    assert [event for _, event in seen.history] == [
        "version 1 closed: 4/4 views",
        "version 1 finished",
        "accepted by pacs, unconfirmed",
    ]


def test_what_is_sent_is_delivering_until_it_is_confirmed(desk: Desk) -> None:
    (job,) = desk.analysed()
    waits_for = "waits for the storage commitment report of pacs"
    shipment = desk.delivering.begin_dispatch(job, NODE)
    desk.delivering.record_sent(
        job, [desk.outcome(one, DeliveryState.SENT) for one in shipment.to_send]
    )
    desk.delivering.ask_commitment(job, "2.25.500")
    desk.delivering.finish_dispatch(job, (), Patience(60, 600, waits_for), desk.enqueue)
    seen = overview(desk)
    assert (seen.state, seen.error, seen.done_at) == ("delivering", f"pacs: {waits_for}", None)
    assert {d.state for d in seen.deliveries} == {DeliveryState.SENT}

    uids = {report.sop_uid for report in shipment.to_send}
    desk.delivering.record_commitment("2.25.500", uids, {}, float)
    seen = overview(desk)
    assert (seen.state, seen.error) == ("done", None)
    assert seen.done_at is not None
    assert {(d.state, d.confirmed_by) for d in seen.deliveries} == {("confirmed", "commitment")}


def test_what_was_never_confirmed_is_undelivered_and_says_so(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, patience=Patience(60, gives_up="pacs accepted it, but never confirmed it"))
    seen = overview(desk)
    assert (seen.state, seen.done_at) == ("undelivered", None)
    assert seen.error == "pacs: pacs accepted it, but never confirmed it"


def test_a_destination_that_takes_nothing_is_named_with_its_words(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    seen = overview(desk)
    assert (seen.state, seen.error) == ("delivering", "pacs: queued by PACS")
    assert seen.done_at is None
    (next_at,) = {d.next_at for d in seen.deliveries}
    assert next_at == desk.dispatch()["next_at"]
    desk.deliver(desk.jobs[-1])
    assert {d.next_at for d in overview(desk).deliveries} == {None}


def test_what_several_models_refuse_alike_is_said_once(desk: Desk) -> None:
    refused = Refusal(f"{STUDY}.2", "L CC", "implant")
    desk.analysed(refused=(refused,))
    seen = overview(desk)
    first = seen.models[0]
    assert first.result is not None
    other = Refusal(f"{STUDY}.3", "R CC", "implant")
    second = replace(first, result=replace(first.result, refused=(refused, other)))
    assert seen.refusals == ["L CC: implant"]
    assert replace(seen, models=(first, second)).refusals == ["L CC, R CC: implant"]


def test_a_magnified_view_is_not_listed_as_the_view_it_does_not_stand_for(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R CC")
    desk.receive(f"{STUDY}.2", view="R CC", is_standard=False)
    assert overview(desk).views == ("R CC", "R CC (not a standard view)")


def test_what_was_given_up_is_undelivered(desk: Desk) -> None:
    (job,) = desk.analysed(deliver_within_s=0)
    desk.deliver(job, DeliveryState.QUEUED, DeliveryState.QUEUED)
    seen = overview(desk)
    assert (seen.state, seen.error) == ("undelivered", "pacs: queued by PACS")


def test_a_held_study_says_why(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1")
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    seen = overview(desk)
    assert seen.state == "held"
    assert seen.error
    assert "Patient ID" in seen.error
    assert seen.views == ("R MLO", "R MLO")


def test_a_study_held_after_its_results_were_made_is_held_before_all_else(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.receive_again(pixels="other")
    with pytest.raises(Superseded):
        desk.delivering.begin_dispatch(job, NODE)
    seen = overview(desk)
    assert (seen.state, seen.error) == ("held", f"image {STUDY}.1 came twice with different pixels")
    desk.by_hand.release_study(STUDY)
    seen = overview(desk)
    assert (seen.state, seen.error) == ("delivering", None)


def test_a_corrected_study_is_received_again_and_shown_as_it_is_now(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job)
    desk.receive_again(view="L CC")
    seen = overview(desk)
    assert (seen.state, seen.images, seen.views) == ("receiving", 1, ("L CC",))
    assert seen.history[-1][1] == "L CC came with a corrected header: Patient ID"


def test_a_failure_is_shown_until_it_is_overcome(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.fail_version(job, "out of memory", 5, desk.enqueue, is_its_fault=True)
    assert overview(desk).error == "out of memory"
    again = desk.jobs[-1]
    desk.begin(again)
    desk.finish(again)
    assert overview(desk).error is None


def test_a_late_image_shows_the_study_as_being_received_again(desk: Desk) -> None:
    (job,) = desk.analysed()
    desk.deliver(job)
    desk.receive(f"{STUDY}.2")
    seen = overview(desk)
    assert (seen.state, seen.version, seen.images) == ("receiving", 1, 2)


@pytest.mark.parametrize("modality", ["CT", "US"])
def test_a_study_that_concerns_no_model_is_listed(desk: Desk, modality: str) -> None:
    desk.receive(modality=modality, view=None)
    desk.close(OUT_OF_SCOPE)
    seen = overview(desk)
    assert (seen.state, seen.images, seen.models) == ("out of scope", 1, ())
    assert seen.error == "no model reads CT"


def test_a_study_that_is_excluded_says_why_until_a_person_lets_it_go_on(desk: Desk) -> None:
    desk.receive(why_excluded="no Patient ID")
    desk.close(EXCLUDED)
    seen = overview(desk)
    assert (seen.state, seen.reason, seen.error) == (
        Standing.EXCLUDED,
        "4/4 views",
        "no Patient ID",
    )
    desk.by_hand.release_study(STUDY)
    assert overview(desk).state == "receiving"
    desk.begin(desk.close())
    seen = overview(desk)
    assert (seen.state, seen.error) == ("running", None)


def test_a_study_without_an_image_that_may_be_used_says_so(desk: Desk) -> None:
    desk.receive()
    desk.withdraw(f"{STUDY}.1")
    why_not = "no image is left: Rejected for Quality Reasons"
    desk.close(Closing("quiet 60 s", state=VersionState.WITHDRAWN, why_not=why_not))
    seen = overview(desk)
    assert (seen.state, seen.error, seen.views) == (Standing.WITHDRAWN, why_not, ())


def test_a_withdrawn_image_is_no_image_of_the_study(desk: Desk) -> None:
    desk.receive(f"{STUDY}.1", view="R CC")
    desk.receive(f"{STUDY}.2", view="L CC")
    desk.withdraw(f"{STUDY}.2")
    assert overview(desk).views == ("R CC",)


def test_a_study_of_nothing_but_our_own_objects_is_kept(desk: Desk) -> None:
    desk.receive("2.25.1", is_own=True, modality="SR", view=None)
    seen = overview(desk)
    assert (seen.state, seen.images, seen.version) == ("kept", 0, 0)


def test_our_own_objects_are_no_images_of_the_study(desk: Desk) -> None:
    desk.receive()
    desk.receive("2.25.1", is_own=True, modality="SR", view=None)
    assert overview(desk).images == 1


def test_the_newest_study_comes_first(desk: Desk) -> None:
    desk.receive("1.1.1", study="1.1")
    desk.let_pass(60)
    desk.receive("1.2.1", study="1.2")
    assert [seen.study_uid for seen in study_overviews(desk.ledger)] == ["1.2", "1.1"]


# Thousands of studies


@pytest.mark.parametrize("studies", [2, 100])
def test_a_batch_of_studies_is_read_by_as_many_queries_as_one(ledger: Ledger, studies: int) -> None:
    fill(ledger, 1)
    with counted() as of_one:
        assert len(list(each_study(ledger))) == 1
    fill(ledger, studies - 1, first=1)
    with counted() as of_many:
        assert len(list(each_study(ledger))) == studies
    assert len(of_many.statements) == len(of_one.statements)


def test_of_thousands_of_studies_no_more_than_a_batch_is_read_ahead(ledger: Ledger) -> None:
    fill(ledger, 2000)
    studies = each_study(ledger)
    with counted() as of_first:
        assert next(studies).study_uid == "1.9.1999"
    with counted() as of_others:
        rest = [study.study_uid for study in studies]
    assert rest == [f"1.9.{number}" for number in reversed(range(1999))]
    assert len(of_others.statements) == 19 * (len(of_first.statements) - 1)


def test_a_study_of_a_batch_is_told_as_it_would_be_alone(desk: Desk) -> None:
    """What one study has must not be taken for another's."""
    for number in (1, 2, 3):
        study = f"1.2.{number}"
        for image in range(number):
            desk.receive(f"{study}.{image}", study=study, is_standard=image != 1)
        if number > 1:
            desk.begin(desk.close(study=study))
    desk.receive("1.2.3.9", study="1.2.3")
    desk.close(study="1.2.3")
    seen = {study.study_uid: study for study in study_overviews(desk.ledger)}
    assert [(s.version, s.images, s.state) for _, s in sorted(seen.items())] == [
        (0, 1, "receiving"),
        (1, 2, "running"),
        (2, 4, "queued"),
    ]
    assert seen["1.2.2"].views == ("R MLO", "R MLO (not a standard view)")
    assert [event for _, event in seen["1.2.3"].history][-1] == "version 2 closed: 4/4 views"
    assert {len(study.models) for study in seen.values()} == {0, 1}


def test_outlines_and_heat_maps_are_left_out_unless_asked_for(ledger: Ledger) -> None:
    fill(ledger, 1)
    (brief,), (whole,) = each_study(ledger), each_study(ledger, with_outlines=True)
    short, long = brief.models[0].result, whole.models[0].result
    assert short is not None
    assert long is not None
    assert {len(finding.region.outline) for finding in long.findings} == {POINTS_OF_AN_OUTLINE}
    assert {finding.region.outline for finding in short.findings} == {()}
    assert (long.heat_maps[0].values != "", short.heat_maps[0].values) == (True, "")
    assert [f.measurements for f in short.findings] == [f.measurements for f in long.findings]
    assert brief.models[0].outcome == whole.models[0].outcome


URGENT, SOON, ROUTINE = Priority.URGENT, Priority.SOON, Priority.ROUTINE


def age(desk: Desk, study: str, age_s: float) -> None:
    """Let the last image of a study have come so long ago."""
    for table, column in (
        *(("study", "last_at"), ("study", "last_image_at")),
        ("study_version", "last_image_at"),
    ):
        with desk.ledger.writing() as db:
            change = f"UPDATE {table} SET {column} = {column} - {age_s} WHERE study_uid = '{study}'"
            db.execute(sa.text(change))


def order(desk: Desk, open_days: float = OPEN_DAYS) -> list[str]:
    return [study.study_uid for study in each_study(desk.ledger, open_days=open_days)]


def test_urgent_comes_first_and_what_nobody_has_judged_before_routine(desk: Desk) -> None:
    """Within a level who has waited longest; then all others, the newest first."""
    said = {
        "1.1": (URGENT, 100.0),
        "1.2": (URGENT, 900.0),
        "1.3": (SOON, 5000.0),
        "1.4": (Priority.NOT_ASSESSED, 50.0),
        "1.5": (Priority.NOT_ASSESSED, 60.0),
        "1.6": (ROUTINE, 10.0),
        "1.7": (None, 5.0),
        "1.8": (ROUTINE, 1.0),
    }
    for number, (study, (level, age_s)) in enumerate(said.items()):
        desk.receive(f"{study}.1", study=study)
        job = desk.close(study=study)
        desk.begin(job)
        desk.finish(job, level=level, first_report=10 * number)
        age(desk, study, age_s)
    assert order(desk) == ["1.2", "1.1", "1.3", "1.5", "1.4", "1.8", "1.7", "1.6"]
    seen = {study.study_uid: study for study in each_study(desk.ledger)}
    assert [seen[uid].level for uid in order(desk)] == [
        *("urgent", "urgent", "soon", "not assessed", "not assessed"),
        *("routine", "", "routine"),
    ]
    assert seen["1.2"].waiting_s == pytest.approx(900, abs=300)
    assert seen["1.7"].waiting_s is None


def test_what_has_waited_for_a_week_no_longer_stands_before_what_is_new(desk: Desk) -> None:
    desk.analysed("1.1", level=URGENT)
    desk.receive("1.2.1", study="1.2")
    age(desk, "1.1", OPEN_DAYS * 86_400 - 3600)
    assert order(desk) == ["1.1", "1.2"]
    assert order(desk, open_days=6) == ["1.2", "1.1"]  # where a site says so
    age(desk, "1.1", 7200)
    assert order(desk) == ["1.2", "1.1"]
    assert overview_of(desk, "1.1").level == "urgent"


def test_a_release_begins_no_new_waiting(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.hold_version(job, "the report would go into another file")
    desk.settling.leave_unassessed(STUDY)
    age(desk, STUDY, 900)
    desk.by_hand.release_study(STUDY)
    assert desk.study()["last_at"] > desk.study()["last_image_at"] + 600
    assert overview_of(desk, STUDY).waiting_s == pytest.approx(900, abs=300)


def overview_of(desk: Desk, study: str) -> StudyOverview:
    return next(one for one in each_study(desk.ledger) if one.study_uid == study)


def test_a_lowered_level_stays_visible(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.analysed(image=2, level=ROUTINE)
    seen = overview(desk)
    assert (seen.level, seen.level_words) == ("routine", "urgent in version 1, now routine")
    assert seen.levels == ((1, "urgent"), (2, "routine"))


@pytest.mark.parametrize("state", [VersionState.WITHDRAWN, VersionState.EXCLUDED])
def test_a_study_that_is_not_analysed_any_more_says_that_its_level_went_with_that(
    desk: Desk, state: VersionState
) -> None:
    desk.analysed(level=URGENT)
    desk.withdraw(f"{STUDY}.1")
    desk.close(Closing("quiet 60 s", state=state, why_not="no image is left"))
    seen = overview(desk)
    assert (seen.level, seen.level_words) == (
        "",
        "urgent in version 1, now none: nothing is analysed",
    )


def test_a_study_whose_late_image_is_being_analysed_keeps_its_place(desk: Desk) -> None:
    desk.analysed("1.1", level=URGENT)
    desk.receive("1.2.1", study="1.2")
    desk.receive("1.1.2", study="1.1")
    assert order(desk)[0] == "1.1"
    desk.begin(desk.close(study="1.1"))
    assert order(desk)[0] == "1.1"
    seen = overview_of(desk, "1.1")
    assert (seen.state, seen.level, seen.version) == ("running", "urgent", 2)


def test_a_result_of_a_release_that_knew_no_levels_is_still_read(desk: Desk) -> None:
    desk.analysed()
    (row,) = desk.rows(schema.analysis)
    older = json.loads(row["result"]) | {"priority": 1}
    del older["triage"], older["heat_maps"]
    with desk.ledger.writing() as db:
        db.execute(schema.analysis.update().values(result=json.dumps(older), priority="routine"))
    (model,) = overview(desk).models
    assert (model.level, model.outcome) == ("", "1 of 1 images analysed")


def test_levels_cost_no_query_of_each_study(ledger: Ledger) -> None:
    fill(ledger, 90)
    with counted() as of_many:
        assert len(list(each_study(ledger))) == 90
    assert len(of_many.statements) < 15


def test_a_study_that_is_asked_back_says_of_whom_how_often_and_what_was_answered(
    desk: Desk,
) -> None:
    desk.receive()
    assert overview(desk).asked_back is None
    desk.settling.ask_back(STUDY, 2)
    back = overview(desk).asked_back
    assert back is not None
    assert back.words == "images are asked back, no attempt has ended"
    for _ in range(2):
        Asking(desk.ledger).put_off(STUDY, 60, "pacs", "PACS answered C-GET with 0xC000")
    back = overview(desk).asked_back
    assert back is not None
    assert back.words == (
        "images asked back from pacs, 2 attempts: PACS answered C-GET with 0xC000"
    )
    assert (back.peer, back.attempts) == ("pacs", 2)
    Asking(desk.ledger).end(STUDY, "all its images are here again")
    assert overview(desk).asked_back is None


def test_a_study_that_waits_for_files_is_told_to_be_sent_again_only_if_they_do_not_come(
    desk: Desk,
) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.hold_missing(job, "1 file of it is missing")
    assert next_step(overview(desk)).startswith("nothing, if what is asked back comes; else send")
    Asking(desk.ledger).give_up(STUDY, "pacs was asked for 24 h (in vain)")
    assert next_step(overview(desk)).startswith("send the whole study again, or put the files back")


def test_a_recalled_study_says_what_there_was_and_that_the_rest_is_forgotten(desk: Desk) -> None:
    (job,) = desk.analysed(level=Priority.URGENT)
    desk.deliver(job)
    forget(desk)
    assert Remembering(desk.ledger).recall(STUDY)
    seen = overview(desk)
    assert (seen.state, seen.level) == ("done", "urgent")
    assert seen.recalled_at is not None
    (model,) = seen.models
    assert model.outcome == "1 image analysed, triage level urgent; what it said is forgotten"
