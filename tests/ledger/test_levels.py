"""The ledger keeps the triage level of a study and of its versions, and says when it changes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ledgers import MODEL, SOMEBODY, SOMEBODY_ELSE, STUDY, Desk

from node.ledger import Closing, Finished, Mode, PlannedAnalysis, StudyLevels, VersionState, schema
from node.result import Priority, Result, Triage
from node.triage import FormerLevel, FoundBefore

DEMONSTRATION = replace(MODEL, is_demonstration=True)
URGENT, SOON, ROUTINE = Priority.URGENT, Priority.SOON, Priority.ROUTINE
WORDS = {
    Priority.URGENT: "urgent",
    Priority.SOON: "soon",
    Priority.NOT_ASSESSED: "not assessed",
    Priority.ROUTINE: "routine",
}
"""As they lie in ledgers: another word would change what is known of every study."""


def levels(desk: Desk) -> list[str]:
    """Return what the history says of levels."""
    return [event for event in desk.history() if event.startswith("triage level")]


@pytest.mark.parametrize("level", list(Priority))
def test_a_level_is_kept_of_the_study_its_version_and_its_model(
    desk: Desk, level: Priority
) -> None:
    desk.analysed(level=level)
    assert desk.study()["level"] is level
    assert desk.version()["level"] is level
    result = json.loads(desk.row(schema.analysis, STUDY, 1, "breast-area")["result"])
    assert result["triage"]["level"] == WORDS[level]
    assert levels(desk) == [f"triage level of version 1: {level}: the score is {level}"]


def test_without_a_model_that_triages_there_is_no_level(desk: Desk) -> None:
    desk.analysed()
    assert (desk.study()["level"], desk.version()["level"], levels(desk)) == (None, None, [])


def test_a_late_image_that_lowers_a_level_says_what_it_was(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.analysed(image=2, level=ROUTINE)
    assert desk.study()["level"] is ROUTINE
    assert [desk.version(n)["level"] for n in (1, 2)] == [URGENT, ROUTINE]
    words = "triage level of version 2: urgent in version 1, now routine: the score is routine"
    assert levels(desk)[1:] == [words]


def test_until_the_new_version_is_finished_the_level_is_the_former_s(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.receive(f"{STUDY}.2")
    assert desk.study()["level"] is URGENT
    job = desk.close()
    assert desk.study()["level"] is URGENT
    work = desk.begin(job)
    assert work.former_levels == (FormerLevel(1, URGENT),)
    assert desk.study()["level"] is URGENT
    desk.finish(job, level=SOON)
    assert desk.study()["level"] is SOON


def test_each_attempt_knows_the_levels_before_and_not_its_own(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.analysed(image=2)
    desk.receive(f"{STUDY}.3")
    assert desk.begin(desk.close()).former_levels == (FormerLevel(1, URGENT),)


def test_a_level_that_no_model_gives_any_more_is_said_to_be_gone(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.analysed(image=2)
    assert desk.study()["level"] is None
    (words,) = levels(desk)[1:]
    assert words == (
        "triage level of version 2: urgent in version 1, now none: no model gives one any more"
    )


def test_a_study_of_which_nothing_is_left_to_analyse_keeps_no_level(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.withdraw(f"{STUDY}.1")
    desk.close(Closing("quiet 60 s", state=VersionState.WITHDRAWN, why_not="no image is left"))
    assert desk.study()["level"] is None
    (words,) = levels(desk)[1:]
    assert words == "triage level of version 2: urgent before, now none: nothing is analysed"


def found(level: Priority) -> Result:
    return Result(MODEL, (f"{STUDY}.1",), triage=Triage(level, "the score is high"))


def test_a_study_rises_before_its_report_is_built_and_falls_only_after(desk: Desk) -> None:
    desk.analysed(level=SOON)
    for image, level, while_building in ((2, URGENT, URGENT), (3, ROUTINE, URGENT)):
        desk.receive(f"{STUDY}.{image}")
        job = desk.close()
        desk.begin(job)
        desk.processing.record_decision(job, found(level))
        assert desk.study()["level"] is while_building
        desk.finish(job, level=level, first_report=10 * image)
        assert desk.study()["level"] is level


def test_what_an_attempt_found_urgent_stays_so_if_only_not_assessed_can_be_answered(
    desk: Desk,
) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.record_decision(job, found(URGENT))
    desk.finish(job, level=Priority.NOT_ASSESSED)
    assert (desk.study()["level"], desk.version()["level"]) == (URGENT, URGENT)
    (words,) = levels(desk)
    assert words.endswith("urgent: found by an earlier attempt, of which there is no report")


def test_an_attempt_that_finds_less_lowers_nothing_and_is_told_what_was_found(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    assert desk.begin(job).found_before is None
    desk.processing.record_decision(job, found(URGENT))
    desk.processing.fail_version(job, "no room", 0, desk.enqueue, is_its_fault=True)
    again = replace(job, attempt=2)
    assert desk.begin(again).found_before == FoundBefore(URGENT, "breast-area")
    desk.processing.record_decision(again, found(Priority.NOT_ASSESSED))
    assert (desk.study()["level"], desk.version()["level"]) == (URGENT, URGENT)


def test_an_attempt_that_is_overtaken_or_held_raises_nothing(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    desk.processing.record_decision(job, found(URGENT))
    desk.processing.record_decision(replace(job, attempt=2), found(URGENT))
    assert desk.study()["level"] is None


@pytest.mark.parametrize("level", [None, ROUTINE, SOON, URGENT])
def test_a_held_study_is_at_least_not_assessed_until_it_goes_on(
    desk: Desk, level: Priority | None
) -> None:
    if level is not None:
        desk.analysed(level=level)
    else:
        desk.receive()
        job = desk.close()
        desk.begin(job)
        desk.processing.hold_version(job, "the report would go into another file")
    if level is not None:
        desk.receive_again(pixels="other")
    higher = level if level in (SOON, URGENT) else Priority.NOT_ASSESSED
    for arrival in desk.settling.held_below(Priority.NOT_ASSESSED):
        desk.settling.leave_unassessed(arrival.study_uid)
    assert desk.study()["level"] is higher
    assert desk.settling.held_below(Priority.NOT_ASSESSED) == []
    desk.by_hand.release_study(STUDY)
    assert desk.study()["level"] is (level or higher)
    is_lowered = level is ROUTINE
    assert ("triage level: not assessed while held, now routine" in levels(desk)) == is_lowered


def test_a_study_that_was_held_has_no_level_left_if_no_model_gives_one(desk: Desk) -> None:
    desk.receive()
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    desk.settling.leave_unassessed(STUDY)
    assert desk.study()["level"] is Priority.NOT_ASSESSED
    desk.receive_again(f"{STUDY}.2", identity=SOMEBODY)
    job = desk.close()
    desk.begin(job)
    desk.finish(job)
    assert desk.study()["level"] is None
    assert levels(desk)[-1].endswith(
        "not assessed while held, now none: no model gives one any more"
    )


def test_a_version_that_is_cancelled_takes_no_level_away(desk: Desk) -> None:
    desk.analysed(level=URGENT)
    desk.receive(f"{STUDY}.2")
    job = desk.close()
    desk.begin(job)
    desk.processing.cancel_version(job, "model breast-area has been switched off")
    assert desk.study()["level"] is URGENT


# What somebody has marked as read

FOUND_LATER = "was found after somebody had marked the study as read, which it is no longer"


@pytest.mark.parametrize(
    ("level", "is_read"),
    [(URGENT, False), (SOON, False), (Priority.NOT_ASSESSED, False), (ROUTINE, True), (None, True)],
)
def test_a_level_that_comes_after_a_study_was_read_brings_it_back(
    desk: Desk, level: Priority | None, is_read: bool
) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.by_hand.mark_read(STUDY, "anna")
    desk.finish(job, level=level)
    assert (desk.study()["read_by"] == "anna") is is_read
    assert (f"triage level {level} {FOUND_LATER}" in desk.history()) is not is_read


def test_a_decision_brings_a_read_study_back_at_once_and_only_once(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.by_hand.mark_read(STUDY, "anna")
    desk.processing.record_decision(job, found(URGENT))
    assert desk.study()["read_at"] is None
    desk.by_hand.mark_read(STUDY, "anna")  # as urgent
    desk.finish(job, level=URGENT)
    assert desk.study()["read_by"] == "anna"


def test_a_read_study_that_is_held_before_a_model_has_judged_it_comes_back(desk: Desk) -> None:
    desk.receive()
    desk.by_hand.mark_read(STUDY, "anna")
    desk.receive(f"{STUDY}.note", identity=SOMEBODY_ELSE, modality="SR")
    assert desk.study()["read_by"] == "anna"
    desk.settling.leave_unassessed(STUDY)
    assert desk.study()["read_at"] is None
    assert desk.history()[-2:] == [
        f"triage level not assessed {FOUND_LATER}",
        "triage level: not assessed: the study is held",
    ]


# Levels of demonstrations


def whose(desk: Desk) -> tuple[Priority | None, bool]:
    """Return a study's level, and whether it is a demonstration's."""
    return desk.study()["level"], desk.study()["is_demonstration"]


def test_whose_level_it_is_stands_beside_it_for_as_long_as_it_does(desk: Desk) -> None:
    desk.analysed(level=URGENT, model=DEMONSTRATION)
    assert whose(desk) == (URGENT, True)
    desk.receive(f"{STUDY}.2")
    job = desk.close()
    desk.begin(job)
    assert whose(desk) == (URGENT, True)  # kept of the version before
    desk.processing.record_decision(job, found(SOON))
    assert whose(desk) == (URGENT, True)
    desk.finish(job, level=SOON, first_report=10)
    assert whose(desk) == (SOON, False)
    assert [desk.version(n)["is_demonstration"] for n in (1, 2)] == [True, False]
    desk.receive_again(pixels="other")
    desk.processing.record_decision(job, found(URGENT))
    desk.by_hand.release_study(STUDY)
    assert whose(desk) == (SOON, False)


def test_what_a_demonstration_decided_before_its_report_was_built_is_its_own(desk: Desk) -> None:
    desk.receive()
    job = desk.close()
    desk.begin(job)
    desk.processing.record_decision(job, replace(found(URGENT), model=DEMONSTRATION))
    assert whose(desk) == (URGENT, True)
    desk.finish(job, level=ROUTINE)
    assert whose(desk) == (URGENT, True)  # found by the earlier attempt


def test_a_held_study_that_only_demonstrations_were_to_judge_says_so(desk: Desk) -> None:
    desk.receive()
    desk.receive(f"{STUDY}.2", identity=SOMEBODY_ELSE)
    desk.settling.leave_unassessed(STUDY, is_demonstration=True)
    assert whose(desk) == (Priority.NOT_ASSESSED, True)


def test_no_level_of_a_demonstration_stands_where_none_may_rank(desk: Desk) -> None:
    desk.analysed(level=URGENT, model=DEMONSTRATION)
    desk.receive(f"{STUDY}.2")
    desk.close()
    assert StudyLevels(desk.ledger).drop_demonstrations() == 1
    assert whose(desk) == (None, False)
    words = "urgent before, by a demonstration model, which may not rank here; now none"
    assert desk.history()[-1] == f"triage level: {words}"
    assert StudyLevels(desk.ledger).drop_demonstrations() == 0
    assert desk.history().count(f"triage level: {words}") == 1


def test_a_level_of_another_model_stands_where_the_demonstration_s_is_dropped(desk: Desk) -> None:
    plan = tuple(
        PlannedAnalysis(name, MODEL.version, MODEL.weights_sha256, Mode.DELIVER)
        for name in (MODEL.name, "demonstration")
    )
    desk.receive()
    job = desk.close(Closing("4/4 views", plan))
    desk.begin(job)
    shown = replace(found(URGENT), model=replace(DEMONSTRATION, name="demonstration"))
    finished = Finished((found(SOON), shown), (), {}, 3600, decided_by=shown)
    desk.processing.finish_version(job, finished, desk.enqueue)
    assert whose(desk) == (URGENT, True)
    StudyLevels(desk.ledger).drop_demonstrations()
    assert whose(desk) == (SOON, False)
    assert desk.version()["level"] is SOON
