"""When a study is complete, and in which words the reason is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import packages
import pytest
import radiographs
from factories import L_CC, L_MLO, R_CC, R_MLO
from hypothesis import given
from hypothesis import strategies as st
from ledgers import NODE, SOMEBODY_ELSE, STUDY, Desk

from node import config
from node.domains.mammography.scope import awaited
from node.domains.mammography.sop_classes import MG_FOR_PRESENTATION
from node.flow import completeness
from node.flow.completeness import Settler
from node.ledger import Arrival, ArrivalPart, Asking, Job, Mode, Stage, VersionState, schema
from node.ledger.order import SenderPriority, wait_s
from node.manifest import Input
from node.result import Priority
from node.study import Shown, View

FOUR = frozenset({R_CC, L_CC, R_MLO, L_MLO})
ALL = (R_CC, L_CC, R_MLO, L_MLO)
SETTINGS = config.Completeness(settle_s=3, quiet_s=60, final_s=1800)


def why_complete(
    arrival: Arrival, expected: frozenset[View], settings: config.Completeness
) -> str | None:
    """Return why a study of mammograms is complete, where a model expects these views."""
    wanted = Input(
        modality="MG",
        body_parts=("BREAST",),
        sop_classes=(MG_FOR_PRESENTATION,),
        projections=("CC", "MLO"),
        expected_views=tuple(sorted(map(str, expected))),
    )
    return completeness.why_complete(arrival, awaited(arrival.shown, [wanted]), settings)


def arrival(
    views: tuple[View, ...] = (),
    *,
    quiet_s: float = 0,
    age_s: float = 0,
    open_associations: int = 0,
) -> Arrival:
    return Arrival(
        study_uid="1.2.3",
        sender="modality",
        parts=tuple(ArrivalPart(Shown("MG", MG_FOR_PRESENTATION, view=view)) for view in views),
        last_at=0,
        quiet_s=quiet_s,
        age_s=age_s,
        open_associations=open_associations,
    )


@pytest.mark.parametrize(
    ("given_arrival", "expected", "reason"),
    [
        (arrival(ALL), FOUR, "4/4 views, association ended"),
        (arrival(ALL, quiet_s=3), FOUR, "4/4 views, association ended"),
        (arrival(ALL, quiet_s=2.9, open_associations=1), FOUR, None),
        (arrival(ALL, quiet_s=3, open_associations=1), FOUR, "4/4 views, quiet 3 s"),
        (arrival((*ALL, R_CC)), FOUR, "4/4 views, association ended"),
        (arrival((*ALL, View(R_CC.laterality, "ML"))), FOUR, "4/4 views, association ended"),
        (arrival(ALL[:3], quiet_s=59), FOUR, None),
        (arrival(ALL[:3], quiet_s=60), FOUR, "quiet 60 s, L MLO missing"),
        (arrival((L_MLO,), quiet_s=60), FOUR, "quiet 60 s, R CC, L CC, R MLO missing"),
        (arrival((), quiet_s=60), FOUR, "quiet 60 s, none of R CC, L CC, R MLO, L MLO"),
        (arrival(ALL[:3], quiet_s=600, open_associations=1), FOUR, None),
        (
            arrival(ALL[:3], quiet_s=600, age_s=1800, open_associations=1),
            FOUR,
            "final limit 1800 s, L MLO missing",
        ),
        (arrival(ALL[:3], quiet_s=0, age_s=1799), FOUR, None),
        (arrival(ALL, quiet_s=0, age_s=1800, open_associations=1), FOUR, "final limit 1800 s"),
        (arrival((), quiet_s=59), frozenset(), None),
        (arrival((), quiet_s=60), frozenset(), "quiet 60 s"),
        (arrival((), quiet_s=60, open_associations=1), frozenset(), None),
        (arrival((), age_s=1800, open_associations=2), frozenset(), "final limit 1800 s"),
    ],
)
def test_the_reason_is_said_in_words(
    given_arrival: Arrival, expected: frozenset[View], reason: str | None
) -> None:
    assert why_complete(given_arrival, expected, SETTINGS) == reason


@pytest.mark.parametrize(
    ("views", "reason"),
    [(ALL, "4/4 views, association ended"), (ALL[:3], "quiet 60 s, L MLO missing"), ((), "quiet")],
)
def test_the_reason_says_which_objects_were_refused_as_damaged(
    views: tuple[View, ...], reason: str
) -> None:
    settled = replace(arrival(views, quiet_s=60), damaged=("it ends early",))
    said = why_complete(settled, FOUR, SETTINGS)
    assert said is not None
    assert said.startswith(reason)
    assert said.endswith(", one object refused as damaged (it ends early)")


ARRIVALS = st.builds(
    arrival,
    st.lists(st.sampled_from(ALL), max_size=6).map(tuple),
    quiet_s=st.floats(0, 4000),
    age_s=st.floats(0, 4000),
    open_associations=st.integers(0, 3),
)
EXPECTED = st.frozensets(st.sampled_from(ALL))


@given(ARRIVALS, EXPECTED)
def test_nothing_waits_past_the_final_limit(some: Arrival, expected: frozenset[View]) -> None:
    if some.age_s >= SETTINGS.final_s:
        assert why_complete(some, expected, SETTINGS)


@given(ARRIVALS, EXPECTED)
def test_a_study_with_all_views_says_so_and_nothing_is_missing(
    some: Arrival, expected: frozenset[View]
) -> None:
    reason = why_complete(some, expected, SETTINGS)
    if expected and expected <= {shown.view for shown in some.shown}:
        all_there = f"{len(expected)}/{len(expected)} views"
        if not some.open_associations:
            assert reason == f"{all_there}, association ended"
        elif some.quiet_s >= SETTINGS.settle_s:
            assert reason == f"{all_there}, quiet 3 s"
    if reason:
        missing = expected - {shown.view for shown in some.shown}
        assert all(str(view) in reason for view in missing)
        assert ("missing" in reason or "none of" in reason) == bool(missing)


@given(ARRIVALS, EXPECTED)
def test_nothing_is_complete_while_images_come(some: Arrival, expected: frozenset[View]) -> None:
    is_still_coming = some.open_associations and some.quiet_s < SETTINGS.settle_s
    if is_still_coming and some.age_s < SETTINGS.final_s:
        assert why_complete(some, expected, SETTINGS) is None


@pytest.fixture
def settler(desk: Desk, tmp_path: Path) -> Settler:
    model = packages.package(tmp_path / "models")
    return Settler(desk.settling, desk.enqueue, SETTINGS, [(model, Mode.SHADOW)])


def receive(desk: Desk, views: tuple[View, ...], study: str = STUDY) -> None:
    for number, view in enumerate(views):
        desk.receive(f"{study}.{number}", study=study, view=str(view))


def open_association(desk: Desk) -> None:
    """Open the association that `desk.receive` has all come with."""
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("association", NODE, "modality")


def test_four_views_and_the_end_of_their_association_start_the_analysis_at_once(
    desk: Desk, settler: Settler
) -> None:
    open_association(desk)
    receive(desk, ALL)
    settler.settle()
    assert desk.jobs == []
    desk.receiving.close_association("association")
    settler.settle()
    assert desk.jobs == [Job("process", STUDY, 1, 1)]
    assert state_and_words(desk)[1] == "4/4 views, association ended"
    assert desk.row(schema.analysis, STUDY, 1, "breast-area")["mode"] == "shadow"


def test_while_it_is_open_they_start_it_after_a_quiet_moment(desk: Desk, settler: Settler) -> None:
    open_association(desk)
    receive(desk, ALL)
    desk.let_pass(2)
    settler.settle()
    assert desk.jobs == []
    desk.let_pass(1)
    settler.settle()
    assert desk.jobs == [Job("process", STUDY, 1, 1)]
    assert state_and_words(desk)[1] == "4/4 views, quiet 3 s"


def test_an_association_that_has_brought_nothing_of_a_study_does_not_hold_it_up(
    desk: Desk, settler: Settler
) -> None:
    open_association(desk)
    for n, view in enumerate(ALL):
        desk.receive(f"{STUDY}.{n}", view=str(view), association="another")
    desk.receive("1.9.1", study="1.9", view="R CC")
    settler.settle()
    assert desk.jobs == [Job("process", STUDY, 1, 1)]


def test_nor_does_one_over_which_our_own_results_came_back(desk: Desk, settler: Settler) -> None:
    open_association(desk)
    for n, view in enumerate(ALL):
        desk.receive(f"{STUDY}.{n}", view=str(view), association="another")
    desk.receive(f"{STUDY}.9", view=None, modality="SR", is_own=True)
    settler.settle()
    assert desk.jobs == [Job("process", STUDY, 1, 1)]


def test_all_associations_that_brought_images_of_a_study_must_have_ended(
    desk: Desk, settler: Settler
) -> None:
    open_association(desk)
    desk.receiving.open_association("another", NODE, "modality")
    for n, view in enumerate(ALL):
        desk.receive(f"{STUDY}.{n}", view=str(view), association=("association", "another")[n % 2])
    desk.receiving.close_association("association")
    settler.settle()
    assert desk.jobs == []
    desk.receiving.close_association("another")
    settler.settle()
    assert desk.jobs == [Job("process", STUDY, 1, 1)]


def test_a_site_may_have_a_quiet_time_waited_for_after_the_end_too(
    desk: Desk, tmp_path: Path
) -> None:
    settings = config.Completeness(ended_s=2)
    model = packages.package(tmp_path / "models")
    settler = Settler(desk.settling, desk.enqueue, settings, [(model, Mode.SHADOW)])
    receive(desk, ALL)
    settler.settle()
    assert desk.jobs == []
    desk.let_pass(2)
    settler.settle()
    assert state_and_words(desk)[1] == "4/4 views, association ended"


def test_what_lacks_a_view_is_not_started_by_the_end_of_its_association(
    desk: Desk, settler: Settler
) -> None:
    receive(desk, ALL[:3])
    for _ in range(3):
        settler.settle()
    assert desk.jobs == []
    assert len(desk.arrivals()) == 1


def test_a_look_may_be_at_some_studies_alone(desk: Desk, settler: Settler) -> None:
    receive(desk, ALL, "1.2.1")
    receive(desk, ALL, "1.2.2")
    settler.settle(["1.2.2", "1.2.3"])
    assert [job.study_uid for job in desk.jobs] == ["1.2.2"]


def test_a_study_that_was_looked_at_in_vain_is_left_alone_for_a_while_and_it_is_said_how_long(
    desk: Desk, settler: Settler
) -> None:
    """Some come over an association for each of thousands of objects."""
    receive(desk, ALL[:3])
    assert settler.settle([STUDY]) == {}
    desk.receive(f"{STUDY}.3", view=str(ALL[3]))
    again = settler.settle([STUDY])
    assert desk.jobs == []
    assert 0 < again[STUDY] < 30
    desk.let_pass(3)
    settler.settle()
    assert len(desk.jobs) == 1, "once it is quiet it is looked at as any other"


def test_settling_again_starts_nothing_again(desk: Desk, settler: Settler) -> None:
    receive(desk, ALL)
    desk.let_pass(3)
    settler.settle()
    settler.settle()
    assert len(desk.jobs) == 1


def test_a_view_that_stays_away_is_waited_for_and_named(desk: Desk, settler: Settler) -> None:
    receive(desk, ALL[:3])
    desk.let_pass(59)
    settler.settle()
    assert desk.jobs == []
    desk.let_pass(1)
    settler.settle()
    assert desk.row(schema.study_version, STUDY, 1)["reason"] == "quiet 60 s, L MLO missing"


def test_an_open_association_is_waited_for(desk: Desk, settler: Settler) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("association", NODE, "modality")
    receive(desk, ALL[:3])
    desk.let_pass(600)
    settler.settle()
    assert desk.jobs == []
    desk.receiving.close_association("association")
    settler.settle()
    assert len(desk.jobs) == 1


def test_a_study_of_another_modality_is_kept_without_work(desk: Desk, settler: Settler) -> None:
    desk.receive(modality="CT", view=None)
    desk.let_pass(60)
    settler.settle()
    assert desk.jobs == []
    assert desk.row(schema.study_version, STUDY, 1)["state"] == VersionState.OUT_OF_SCOPE


def state_and_words(desk: Desk, number: int = 1) -> tuple[str, str, str | None]:
    """Return what became of a version, why it was complete, and why it is not analysed."""
    version = desk.version(number)
    return version["state"], version["reason"], version["error"]


def test_a_study_that_no_model_reads_says_what_it_is_of(desk: Desk, settler: Settler) -> None:
    desk.receive(f"{STUDY}.1", modality="US", view=None)
    desk.receive(f"{STUDY}.2", modality="CT", view=None)
    desk.receive(f"{STUDY}.3", modality="CT", view=None)
    desk.let_pass(60)
    settler.settle()
    assert state_and_words(desk) == (
        VersionState.OUT_OF_SCOPE,
        "quiet 60 s",
        "no model reads CT, US",
    )
    assert desk.history() == ["version 1 closed: quiet 60 s; no model reads CT, US"]


def test_a_study_that_is_not_to_be_analysed_by_itself_waits_for_a_person(
    desk: Desk, settler: Settler
) -> None:
    for n, view in enumerate(ALL):
        desk.receive(f"{STUDY}.{n}", view=str(view), why_excluded="no Patient ID")
    desk.receive(f"{STUDY}.9", modality="SR", view=None, sop_class="1.2.3", is_in_scope=False)
    desk.let_pass(3)
    settler.settle()
    assert desk.jobs == []
    assert state_and_words(desk) == (
        VersionState.EXCLUDED,
        "4/4 views, association ended",
        "no Patient ID",
    )
    desk.by_hand.release_study(STUDY)
    desk.let_pass(3)
    settler.settle()
    assert desk.jobs == [Job("process", STUDY, 2, 1)]
    assert state_and_words(desk, 2) == (VersionState.QUEUED, "4/4 views, association ended", None)


def test_a_study_whose_removed_images_are_needed_again_waits_until_they_are_here(
    desk: Desk, settler: Settler
) -> None:
    receive(desk, ALL)
    desk.let_pass(3)
    settler.settle()
    desk.change(schema.study_version, state=VersionState.FINISHED)
    desk.change(schema.instance, removed_at=1.0)
    desk.receive(f"{STUDY}.9", view="R CC")
    for _ in range(2):
        desk.let_pass(60)
        settler.settle()
    assert [job.number for job in desk.jobs] == [1]
    assert len(desk.rows(schema.asked_back)) == 1
    words = "4 images of it removed, needed for a new report: asked back"
    assert desk.history().count(words) == 1
    desk.change(schema.instance, removed_at=None)
    settler.settle()
    assert len(desk.jobs) == 1, "others may still be on their way"
    Asking(desk.ledger).end(STUDY, "all its images are here again")
    settler.settle()
    assert [job.number for job in desk.jobs] == [1, 2]


def test_removed_images_that_no_model_reads_are_waited_for_by_nobody(
    desk: Desk, settler: Settler
) -> None:
    desk.receive(f"{STUDY}.8", modality="US", view=None, is_in_scope=False)
    desk.change(schema.instance, removed_at=1.0)
    receive(desk, ALL)
    desk.let_pass(60)
    settler.settle()
    assert len(desk.jobs) == 1


def test_a_study_that_no_model_reads_needs_no_other_reason(desk: Desk, settler: Settler) -> None:
    desk.receive(modality="CT", view=None, why_excluded="no Patient ID")
    desk.let_pass(60)
    settler.settle()
    assert state_and_words(desk) == (VersionState.OUT_OF_SCOPE, "quiet 60 s", "no model reads CT")


def test_a_study_all_of_whose_images_are_withdrawn_is_closed_as_such(
    desk: Desk, settler: Settler
) -> None:
    receive(desk, ALL)
    desk.let_pass(3)
    settler.settle()
    desk.withdraw(*(f"{STUDY}.{number}" for number in range(4)))
    desk.let_pass(60)
    settler.settle()
    reason = "4 objects withdrawn: Rejected for Quality Reasons; quiet 60 s"
    why_not = "no image is left: Rejected for Quality Reasons"
    assert state_and_words(desk, 2) == (VersionState.WITHDRAWN, reason, why_not)
    assert state_and_words(desk, 1) == (
        VersionState.CANCELLED,
        "4/4 views, association ended",
        "a newer version exists",
    )


def test_a_study_whose_images_were_withdrawn_before_they_came_is_closed_as_such(
    desk: Desk, settler: Settler
) -> None:
    desk.withdraw(f"{STUDY}.0", f"{STUDY}.1")
    receive(desk, ALL[:2])
    desk.let_pass(60)
    settler.settle()
    why_not = "no image is left: Rejected for Quality Reasons"
    assert state_and_words(desk) == (VersionState.WITHDRAWN, "quiet 60 s", why_not)
    assert desk.jobs == []


def test_a_withdrawn_view_is_missing_and_the_version_says_why_it_was_made(
    desk: Desk, settler: Settler
) -> None:
    receive(desk, ALL)
    desk.let_pass(3)
    settler.settle()
    desk.withdraw(f"{STUDY}.3")
    desk.let_pass(60)
    settler.settle()
    reason = "1 object withdrawn: Rejected for Quality Reasons; quiet 60 s, L MLO missing"
    assert state_and_words(desk, 2) == (VersionState.QUEUED, reason, None)


def test_a_version_made_of_corrected_images_says_so_first(desk: Desk, settler: Settler) -> None:
    receive(desk, ALL)
    desk.let_pass(3)
    settler.settle()
    desk.receive_again(f"{STUDY}.0", view=str(R_CC))
    desk.let_pass(3)
    settler.settle()
    words = "corrected headers; 4/4 views, quiet 3 s"
    assert state_and_words(desk, 2) == (VersionState.QUEUED, words, None)


def test_images_corrected_before_the_study_was_complete_are_no_news(
    desk: Desk, settler: Settler
) -> None:
    receive(desk, ALL)
    desk.receive_again(f"{STUDY}.0", view=str(R_CC))
    desk.let_pass(3)
    settler.settle()
    assert state_and_words(desk) == (VersionState.QUEUED, "4/4 views, association ended", None)


def test_a_held_study_is_not_closed_however_long_it_waits(desk: Desk, settler: Settler) -> None:
    receive(desk, ALL)
    desk.receive(f"{STUDY}.9", identity=SOMEBODY_ELSE)
    desk.let_pass(7200)
    settler.settle()
    assert desk.rows(schema.study_version) == []


def test_studies_settle_each_in_its_own_time(desk: Desk, settler: Settler) -> None:
    open_association(desk)
    receive(desk, ALL, "1.2.1")
    desk.let_pass(3)
    receive(desk, ALL, "1.2.2")
    settler.settle()
    assert [job.study_uid for job in desk.jobs] == ["1.2.1"]


def test_a_late_image_starts_a_second_version(desk: Desk, settler: Settler) -> None:
    receive(desk, ALL)
    desk.let_pass(3)
    settler.settle()
    desk.receive(f"{STUDY}.9", view="R MLO")
    desk.let_pass(3)
    settler.settle()
    assert desk.jobs[-1] == Job("process", STUDY, 2, 1)
    assert desk.row(schema.study_version, STUDY, 1)["state"] == VersionState.CANCELLED


def test_images_that_are_being_corrected_are_waited_for() -> None:
    all_there = arrival(ALL, quiet_s=4, open_associations=1)
    assert why_complete(all_there, FOUR, SETTINGS) == "4/4 views, quiet 3 s"
    in_correction = replace(all_there, revision_reason="corrected headers")
    assert why_complete(in_correction, FOUR, SETTINGS) is None
    ended = replace(in_correction, open_associations=0)
    assert why_complete(ended, FOUR, SETTINGS) == "4/4 views, quiet 3 s"
    just_ended = replace(ended, quiet_s=2)
    assert why_complete(just_ended, FOUR, SETTINGS) is None, "others may follow, each by itself"


# Scope


def test_a_mammogram_of_another_body_part_is_out_of_scope(desk: Desk, settler: Settler) -> None:
    desk.receive(view="R CC", body_part="HAND")
    desk.let_pass(60)
    settler.settle()
    assert desk.jobs == []
    assert state_and_words(desk) == (
        VersionState.OUT_OF_SCOPE,
        "quiet 60 s",
        "no model reads MG of HAND",
    )


@pytest.mark.parametrize("body_part", ["MEIER ANNA", "39607008", "KNIE LINKS"])
def test_what_is_no_term_of_a_body_part_is_not_repeated(
    desk: Desk, settler: Settler, body_part: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    desk.receive(view="R CC", body_part=body_part)
    desk.let_pass(60)
    settler.settle()
    assert state_and_words(desk)[2] == "no model reads MG of another body part"
    assert body_part not in "".join(one.getMessage() for one in caplog.records)


def test_only_images_in_scope_complete_a_study_or_set_it_apart(
    desk: Desk, settler: Settler
) -> None:
    for number, view in enumerate(ALL):
        body_part = "HAND" if view == L_MLO else "BREAST"
        desk.receive(f"{STUDY}.{number}", view=str(view), body_part=body_part, why_excluded="old")
    desk.receive(f"{STUDY}.8", view=None, body_part="HAND")
    desk.let_pass(3)
    settler.settle()
    assert desk.row(schema.study, STUDY)["version"] == 0, "a hand is no L MLO"
    desk.let_pass(60)
    settler.settle()
    assert state_and_words(desk) == (VersionState.EXCLUDED, "quiet 60 s, L MLO missing", "old")


def test_instances_of_the_former_release_that_say_no_body_part_are_in_scope(
    desk: Desk, settler: Settler
) -> None:
    receive(desk, ALL)
    with desk.ledger.writing() as db:
        db.execute(schema.instance.update().values(body_part=None))
    desk.let_pass(3)
    settler.settle()
    assert len(desk.jobs) == 1


@pytest.mark.parametrize(
    ("mode", "status", "may_rank", "is_seen_to"),
    [
        (Mode.DELIVER, "research", False, True),
        (Mode.SHADOW, "research", False, False),
        (Mode.DELIVER, "demonstration", False, False),
        (Mode.DELIVER, "demonstration", True, True),
    ],
)
def test_a_held_study_stands_before_routine_if_a_model_is_to_triage_it(
    desk: Desk, tmp_path: Path, mode: Mode, status: str, may_rank: bool, is_seen_to: bool
) -> None:
    models = [(packages.triaging_package(tmp_path, status=status), mode)]
    settler = Settler(
        desk.settling, desk.enqueue, SETTINGS, models, demonstration_may_rank=may_rank
    )
    chest, apart = f"{STUDY}.8", f"{STUDY}.9"
    desk.receive(f"{chest}.0", study=chest, view=None, modality="DX", body_part="CHEST")
    desk.receive(f"{apart}.0", study=apart, why_excluded="no Patient ID")
    desk.receive(f"{STUDY}.0")
    for study in (STUDY, chest, apart):
        desk.receive(
            f"{study}.1",
            study=study,
            identity=SOMEBODY_ELSE,
            view=None,
            modality="OT",
            why_excluded="no Patient ID" if study == apart else None,
        )
    settler.see_to_held()
    assert desk.row(schema.study, chest)["level"] is None
    assert desk.row(schema.study, apart)["level"] is None
    level = desk.row(schema.study, STUDY)["level"]
    assert level is (Priority.NOT_ASSESSED if is_seen_to else None)
    history = desk.history()
    settler.see_to_held()
    assert desk.history() == history


@pytest.mark.parametrize(
    ("mode", "status", "may_rank", "stage"),
    [
        (Mode.DELIVER, "research", False, "triage"),
        (Mode.SHADOW, "research", False, "report"),
        (Mode.DELIVER, "demonstration", False, "report"),
        (Mode.DELIVER, "demonstration", True, "triage"),
    ],
)
def test_triage_is_first_if_a_model_may_rank_the_study(
    desk: Desk, tmp_path: Path, mode: Mode, status: str, may_rank: bool, stage: str
) -> None:
    models = [(packages.triaging_package(tmp_path, status=status), mode)]
    priorities: dict[str, SenderPriority] = {"modality": "high"}
    settler = Settler(
        desk.settling,
        desk.enqueue,
        SETTINGS,
        models,
        demonstration_may_rank=may_rank,
        priority_of=lambda sender: priorities[sender],
    )
    receive(desk, ALL)
    desk.let_pass(3)
    settler.settle()
    version = desk.version()
    assert (version["state"], version["stage"]) == ("queued", stage)
    wait = version["due_at"] - version["closed_at"]
    assert wait == pytest.approx(wait_s(Stage(stage), None, "high"), abs=1)
    assert settler.ranking == ({"breast-area"} if stage == "triage" else set())


def test_a_study_waits_for_what_a_model_of_one_domain_wants_and_names_it(
    desk: Desk, tmp_path: Path
) -> None:
    models = [packages.package(tmp_path / "models"), radiographs.chest_model(tmp_path / "chest")]
    both = Settler(
        desk.settling, desk.enqueue, SETTINGS, [(model, Mode.DELIVER) for model in models]
    )
    receive(desk, ALL)
    desk.receive(f"{STUDY}.9", view=None, modality="DX", body_part="CHEST")
    desk.let_pass(3)
    both.settle()
    assert state_and_words(desk) == (VersionState.QUEUED, "4/4 views, association ended", None)
    planned = {row["model"] for row in desk.rows(schema.analysis)}
    assert planned == {"breast-area", "chest"}


def test_a_study_of_a_domain_that_waits_for_nothing_is_complete_when_it_is_quiet(
    desk: Desk, tmp_path: Path
) -> None:
    models = [(radiographs.chest_model(tmp_path), Mode.DELIVER)]
    chest = Settler(desk.settling, desk.enqueue, SETTINGS, models)
    desk.receive(view=None, modality="DX", body_part="CHEST")
    desk.let_pass(59)
    chest.settle()
    assert desk.jobs == []
    desk.let_pass(1)
    chest.settle()
    assert state_and_words(desk) == (VersionState.QUEUED, "quiet 60 s", None)
