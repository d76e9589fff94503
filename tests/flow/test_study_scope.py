"""Studies that are judged as a whole: by which models, when complete, and how often."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import packages
import pytest
from costs import counted
from factories import L_CC, L_MLO, R_CC, R_MLO
from ledgers import NODE, SOMEBODY_ELSE, STUDY, Desk
from mr_desk import PHASES, PLAN, SHAPE, breast, knee, receive_mr
from mr_models import uptake_model
from sqlalchemy.exc import OperationalError

from node import config
from node.analysis.selection import select
from node.dicom.header import read_header
from node.domains.domain import Awaited
from node.flow.completeness import Settler, why_complete
from node.flow.study_scope import StudyScopes, awaited_by
from node.ledger import Arrival, HeldBecause, Mode, VersionState, schema
from node.manifest import Model
from node.result import Priority
from node.study import Shown
from node.trial.breast_mr.styles import SIEMENS, STYLES

SETTINGS = config.Completeness(settle_s=3, quiet_s=60, final_s=1800)
SLICES = SHAPE[0]
OF_KNEE = "no model reads MR of KNEE: Body Part Examined"


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return uptake_model(tmp_path / "models", expected_phases=PHASES)


@pytest.fixture
def settler(desk: Desk, model: Model) -> Settler:
    return Settler(desk.settling, desk.enqueue, SETTINGS, [(model, Mode.DELIVER)])


def told(desk: Desk, number: int = 1, study: str = STUDY) -> tuple[str, str, str | None]:
    version = desk.version(number, study=study)
    return version["state"], version["reason"], version["error"]


def looks(settler: Settler) -> int:
    """Return how many statements of a sweep ask for the details of objects."""
    with counted() as cost:
        settler.settle()
    return sum("instance.details" in statement for statement in cost.statements)


def arrival(*, quiet_s: float, **more: Any) -> Arrival:
    usual: dict[str, Any] = {"age_s": quiet_s, "open_associations": 0}
    return Arrival("1.2.3", "modality", (), 0, quiet_s, **(usual | more))


WHOLE = Awaited("phases", ("pre", "post 1"), in_words="pre + 1 of 1 post", comes_in_parts=True)
RELATIVE = replace(WHOLE, is_relative=True)
LACKING = Awaited("phases", ("pre",), ("post 1", "post 2"), "pre + 0 of 2 posts")
UNCOUNTED = Awaited("phases", in_words="pre + 4 posts", is_uncounted=True)


@pytest.mark.parametrize(
    ("some", "awaited", "reason"),
    [
        (arrival(quiet_s=0), WHOLE, "2/2 phases, association ended"),
        (arrival(quiet_s=2, open_associations=1), WHOLE, None),
        (arrival(quiet_s=2, came_with_one=False), WHOLE, None),
        (arrival(quiet_s=3, came_with_one=False), WHOLE, "2/2 phases, quiet 3 s"),
        (arrival(quiet_s=3, open_associations=1), WHOLE, "2/2 phases, quiet 3 s"),
        (arrival(quiet_s=600, open_associations=1), RELATIVE, None),
        (arrival(quiet_s=2), RELATIVE, None),
        (arrival(quiet_s=3), RELATIVE, "2/2 phases, quiet 3 s"),
        (
            arrival(quiet_s=4, age_s=1800, open_associations=1),
            RELATIVE,
            "final limit 1800 s, pre + 1 of 1 post",
        ),
        (arrival(quiet_s=59), LACKING, None),
        (arrival(quiet_s=60), LACKING, "quiet 60 s, pre + 0 of 2 posts"),
        (arrival(quiet_s=60, open_associations=1), LACKING, None),
        (arrival(quiet_s=59), UNCOUNTED, None),
        (arrival(quiet_s=60), UNCOUNTED, "quiet 60 s, pre + 4 posts"),
        (
            arrival(quiet_s=60, damaged=("it ends early",)),
            UNCOUNTED,
            "quiet 60 s, pre + 4 posts, one object refused as damaged (it ends early)",
        ),
        (
            arrival(quiet_s=4, age_s=1800, open_associations=1),
            LACKING,
            "final limit 1800 s, pre + 0 of 2 posts",
        ),
    ],
)
def test_the_reason_says_what_there_is_of_phases(
    some: Arrival, awaited: Awaited, reason: str | None
) -> None:
    assert why_complete(some, awaited, SETTINGS) == reason


def shown_of_mammograms(*views: Any) -> list[Shown]:
    sop_class = "1.2.840.10008.5.1.4.1.1.1.2"
    return [Shown("MG", sop_class, "BREAST", view) for view in views]


def shown_of_mr(desk: Desk) -> list[Shown]:
    return list(desk.settling.shown_in_detail(STUDY))


def test_what_models_of_two_domains_wait_for_is_said_of_both(desk: Desk, tmp_path: Path) -> None:
    manifests = [packages.package(tmp_path).manifest, uptake_model(tmp_path / "mr").manifest]
    receive_mr(desk, breast())
    mr, four = shown_of_mr(desk), shown_of_mammograms(R_CC, L_CC, R_MLO, L_MLO)
    both = awaited_by(manifests, [*four, *mr])
    assert why_complete(arrival(quiet_s=3), both, SETTINGS) == "8/8 views and phases, quiet 3 s"
    half = awaited_by(manifests, [*four[:3], *mr[: -2 * SLICES]])
    assert why_complete(arrival(quiet_s=59), half, SETTINGS) is None
    words = "quiet 60 s, L MLO missing, pre + 1 of 3 posts"
    assert why_complete(arrival(quiet_s=60), half, SETTINGS) == words


def test_phases_that_nobody_counts_are_waited_for_though_all_views_are_there(
    desk: Desk, tmp_path: Path
) -> None:
    manifests = [packages.package(tmp_path).manifest, uptake_model(tmp_path / "mr").manifest]
    receive_mr(desk, breast(replace(PLAN, style=SIEMENS)))
    four = shown_of_mammograms(R_CC, L_CC, R_MLO, L_MLO)
    both = awaited_by(manifests, [*four, *shown_of_mr(desk)])
    assert why_complete(arrival(quiet_s=59), both, SETTINGS) is None
    assert why_complete(arrival(quiet_s=60), both, SETTINGS) == "quiet 60 s, pre + 3 posts"


def test_a_breast_is_complete_a_moment_after_its_last_slice(desk: Desk, settler: Settler) -> None:
    receive_mr(desk, breast()[:-1])
    desk.let_pass(59)
    settler.settle()
    assert desk.jobs == []
    receive_mr(desk, breast()[-1:])
    settler.settle()
    assert desk.jobs == []
    desk.let_pass(3)
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, "4/4 phases, quiet 3 s", None)
    assert len(desk.jobs) == 1


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        (SLICES, "pre + 2 of 3 posts"),
        (2, "pre + 2 of 3 posts, post 3 (4 of 6 slices)"),
        (3 * SLICES, "no phases read: no dynamic series: only one phase (one T1-weighted series)"),
    ],
)
def test_phases_that_stay_away_are_waited_for_and_said(
    desk: Desk, settler: Settler, lacks: int, words: str
) -> None:
    receive_mr(desk, breast()[:-lacks])
    desk.let_pass(60)
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, f"quiet 60 s, {words}", None)


def test_half_of_each_phase_is_not_all_while_its_sender_is_still_at_it(
    desk: Desk, settler: Settler
) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("association", NODE, "modality")
    half = [one for number, one in enumerate(breast()) if number % SLICES < SLICES // 2]
    receive_mr(desk, half)
    desk.let_pass(30)
    settler.settle()
    assert desk.jobs == []
    receive_mr(desk, [one for one in breast() if one not in half])
    desk.let_pass(30)
    settler.settle()
    assert desk.jobs == []
    desk.receiving.close_association("association")
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, "4/4 phases, quiet 3 s", None)


def test_where_the_maker_states_how_many_slices_there_are_no_sender_is_waited_for(
    desk: Desk, settler: Settler
) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("association", NODE, "modality")
    receive_mr(desk, breast(replace(PLAN, style=STYLES["GE"])))
    desk.let_pass(3)
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, "4/4 phases, quiet 3 s", None)


def test_such_a_study_is_complete_when_its_only_association_has_ended(
    desk: Desk, settler: Settler
) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("association", NODE, "modality")
    receive_mr(desk, breast(replace(PLAN, style=STYLES["GE"])))
    settler.settle()
    assert desk.jobs == []
    desk.receiving.close_association("association")
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, "4/4 phases, association ended", None)


def test_where_another_brought_a_series_of_it_more_may_follow_and_a_quiet_moment_is_waited_for(
    desk: Desk, settler: Settler
) -> None:
    receive_mr(desk, breast(replace(PLAN, style=STYLES["GE"])))
    desk.receive(f"{STUDY}.8", modality="MR", view=None, association="of another series")
    settler.settle()
    assert desk.jobs == []
    desk.let_pass(3)
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, "4/4 phases, quiet 3 s", None)


def test_a_count_of_phases_that_fills_memories_is_not_waited_for(
    desk: Desk, tmp_path: Path
) -> None:
    settler = Settler(
        desk.settling, desk.enqueue, SETTINGS, [(uptake_model(tmp_path), Mode.DELIVER)]
    )
    stated = [copy.deepcopy(one) for one in breast()]
    for one in stated:
        one.NumberOfTemporalPositions = 2_147_483_647
    receive_mr(desk, stated)
    desk.let_pass(60)
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, "quiet 60 s, pre + 3 posts", None)


# Scope


def test_a_knee_is_out_of_scope_with_what_that_rests_on(desk: Desk, settler: Settler) -> None:
    receive_mr(desk, knee())
    desk.let_pass(60)
    settler.settle()
    assert told(desk) == (VersionState.OUT_OF_SCOPE, "quiet 60 s", OF_KNEE)
    assert desk.jobs == []


@pytest.mark.parametrize("known", [0, 1, 5])
def test_so_it_is_if_objects_came_when_details_were_not_kept(
    desk: Desk, settler: Settler, known: int
) -> None:
    receive_mr(desk, knee()[known:], keeps_details=False)
    receive_mr(desk, knee()[:known])
    desk.let_pass(60)
    settler.settle()
    assert told(desk) == (VersionState.OUT_OF_SCOPE, "quiet 60 s", OF_KNEE)


@pytest.mark.parametrize("body_part", ["CHEST", None])
def test_what_may_be_a_breast_is_analysed_if_objects_came_when_details_were_not_kept(
    desk: Desk, settler: Settler, body_part: str | None
) -> None:
    objects = breast(replace(PLAN, style=replace(PLAN.style, body_part=body_part)))
    receive_mr(desk, objects, keeps_details=False)
    desk.let_pass(60)
    settler.settle()
    words = "no phases read: objects came when what they say of them was not kept"
    assert told(desk) == (VersionState.QUEUED, f"quiet 60 s, {words}", None)


def test_its_analysis_reads_what_was_not_kept_in_the_files(
    desk: Desk, settler: Settler, model: Model
) -> None:
    desk.store.prepare()
    objects = breast(replace(PLAN, style=replace(PLAN.style, body_part="CHEST")))
    for one in objects:
        desk.keep(copy.deepcopy(one))
    desk.change(schema.instance, details=None)
    desk.let_pass(60)
    settler.settle()
    (job,) = desk.jobs
    instances = desk.begin(job).version.instances
    headers = {one.sop_uid: read_header(one.path) for one in instances}
    (unit,) = select(instances, headers, model).units
    assert [len(unit.volumes[name]) for name in ("pre", "post 1")] == [SLICES, SLICES]
    without_coil = copy.deepcopy(headers)
    for one in without_coil.values():
        for keyword in ("ReceiveCoilName", "ProtocolName", "SeriesDescription", "StudyDescription"):
            one.pop(keyword, None)
    (refused,) = select(instances, without_coil, model).refused
    assert refused.reason.startswith("MR of CHEST: Body Part Examined is CHEST, and neither coil")


def test_what_is_beside_a_knee_is_said_too(desk: Desk, settler: Settler) -> None:
    receive_mr(desk, knee())
    desk.receive(f"{STUDY}.8", modality="US", view=None)
    desk.let_pass(60)
    settler.settle()
    assert told(desk)[2] == "no model reads US, MR of KNEE: Body Part Examined"


def test_a_late_slice_of_a_knee_changes_nothing(desk: Desk, settler: Settler) -> None:
    receive_mr(desk, knee()[:-1])
    desk.let_pass(60)
    settler.settle()
    receive_mr(desk, knee()[-1:])
    desk.let_pass(60)
    settler.settle()
    assert told(desk, 2) == (VersionState.OUT_OF_SCOPE, "quiet 60 s", OF_KNEE)
    assert desk.jobs == []


def test_a_knee_of_which_a_slice_is_withdrawn_is_still_one(desk: Desk, settler: Settler) -> None:
    receive_mr(desk, knee())
    desk.withdraw(str(knee()[0].SOPInstanceUID))
    desk.let_pass(60)
    settler.settle()
    words = OF_KNEE.replace("MR", "KO, MR")
    assert told(desk) == (VersionState.OUT_OF_SCOPE, "quiet 60 s", words)


def test_a_knee_all_of_whose_slices_are_withdrawn_is_withdrawn(
    desk: Desk, settler: Settler
) -> None:
    receive_mr(desk, knee())
    desk.withdraw(*(str(one.SOPInstanceUID) for one in knee()))
    desk.let_pass(60)
    settler.settle()
    assert told(desk)[0] == VersionState.WITHDRAWN


def test_an_excluded_knee_needs_no_other_reason(desk: Desk, settler: Settler) -> None:
    receive_mr(desk, knee(), why_excluded="no Patient ID")
    desk.let_pass(60)
    settler.settle()
    assert told(desk) == (VersionState.OUT_OF_SCOPE, "quiet 60 s", OF_KNEE)


@pytest.mark.parametrize(
    ("body_part", "reason"),
    [
        ("CHEST", "4/4 phases, quiet 3 s"),
        (
            "KNEE",
            "quiet 60 s, no phases read: Body Part Examined says KNEE, "
            "and Receive Coil Name a breast coil",
        ),
    ],
)
def test_a_chest_in_a_breast_coil_is_analysed_and_a_contradiction_answered(
    desk: Desk, settler: Settler, body_part: str, reason: str
) -> None:
    receive_mr(desk, breast(replace(PLAN, style=replace(PLAN.style, body_part=body_part))))
    desk.let_pass(60)
    settler.settle()
    assert told(desk) == (VersionState.QUEUED, reason, None)


def test_a_held_knee_does_not_stand_before_routine_and_a_held_breast_does(
    desk: Desk, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.flow.completeness.ranks", lambda *_, **__: True)
    settler = Settler(desk.settling, desk.enqueue, SETTINGS, [(model, Mode.DELIVER)])
    of_knee = f"{STUDY}.9"
    receive_mr(desk, breast()[:SLICES])
    receive_mr(desk, knee(), study=of_knee)
    for study in (STUDY, of_knee):
        desk.receive(f"{study}.1", study=study, modality="OT", view=None, identity=SOMEBODY_ELSE)
    settler.see_to_held()
    assert desk.study()["level"] == Priority.NOT_ASSESSED
    assert desk.study(of_knee)["level"] is None


def fails(*_: object) -> None:
    raise ValueError("MEIER")


UNJUDGED = "it cannot be judged: ValueError, as the log says"


def test_a_study_that_cannot_be_judged_is_held_told_once_and_stops_no_other(
    desk: Desk,
    settler: Settler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = f"{STUDY}.9"
    receive_mr(desk, breast())
    desk.receive(f"{other}.1", study=other, modality="US", view=None)
    monkeypatch.setattr("node.domains.breast_mr.scope.read_phases", fails)
    desk.let_pass(30)
    settler.settle()
    assert desk.study()["held_reason"] is None, "what comes next may make it one that can"
    desk.let_pass(30)
    for _ in range(3):
        settler.settle()
    assert told(desk, study=other)[0] == VersionState.OUT_OF_SCOPE
    study = desk.study()
    assert (study["state"], study["held_because"], study["held_reason"]) == (
        "receiving",
        HeldBecause.UNKNOWN,
        UNJUDGED,
    )
    assert desk.history().count(f"held: {UNJUDGED}") == 1
    assert [one.getMessage() for one in caplog.records if one.exc_info] == [
        f"Study {STUDY} cannot be judged: a defect of this software"
    ]
    assert not any("MEIER" in one.getMessage() for one in caplog.records)
    monkeypatch.undo()
    desk.by_hand.release_study(STUDY)
    settler.settle()
    assert told(desk)[1] == "4/4 phases, quiet 3 s"


def test_a_study_that_is_held_for_it_stands_before_routine(
    desk: Desk, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.flow.completeness.ranks", lambda *_, **__: True)
    settler = Settler(desk.settling, desk.enqueue, SETTINGS, [(model, Mode.DELIVER)])
    receive_mr(desk, breast())
    monkeypatch.setattr("node.domains.breast_mr.scope.read_phases", fails)
    desk.let_pass(60)
    settler.settle()
    settler.see_to_held()
    assert desk.study()["level"] == Priority.NOT_ASSESSED


def test_a_study_to_which_something_came_meanwhile_is_not_held(desk: Desk) -> None:
    receive_mr(desk, breast())
    desk.let_pass(60)
    (before,) = desk.arrivals()
    desk.receive(f"{STUDY}.8", modality="US", view=None)
    assert not desk.settling.hold_unjudged(before, UNJUDGED)
    assert desk.study()["held_reason"] is None


def test_where_the_database_is_away_no_other_study_is_tried(
    desk: Desk, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        asked.append(1)
        raise OperationalError("SELECT", {}, Exception("away"))

    asked: list[int] = []
    for number in range(3):
        desk.receive(f"{STUDY}.{number}.1", study=f"{STUDY}.{number}")
    desk.let_pass(60)
    monkeypatch.setattr(StudyScopes, "of", away)
    with pytest.raises(OperationalError):
        settler.settle()
    assert len(asked) == 1


# What it costs


def test_what_objects_say_is_read_once_as_long_as_nothing_comes(
    desk: Desk, settler: Settler
) -> None:
    desk.nodes.register_node(NODE)
    desk.receiving.open_association("association", NODE, "modality")
    receive_mr(desk, breast()[:-2])
    assert looks(settler) == 0, "of what still comes, nothing is read"
    desk.let_pass(4)
    assert [looks(settler) for _ in range(3)] == [1, 0, 0]
    receive_mr(desk, breast()[-2:-1])
    assert looks(settler) == 0
    desk.let_pass(4)
    assert [looks(settler) for _ in range(3)] == [1, 0, 0]
    receive_mr(desk, breast()[-1:])
    desk.receiving.close_association("association")
    assert [looks(settler) for _ in range(2)] == [1, 0], "it may be whole, now that nobody sends"
    desk.let_pass(4)
    settler.settle()
    assert told(desk)[1] == "4/4 phases, quiet 3 s"
    assert settler._scopes._known == {}, "what is closed is kept in mind no longer"


def test_it_is_read_again_when_a_slice_is_withdrawn(desk: Desk, settler: Settler) -> None:
    receive_mr(desk, breast()[:-1])
    desk.let_pass(4)
    assert looks(settler) == 1
    last_at = desk.study()["last_at"]
    desk.withdraw(str(breast()[0].SOPInstanceUID))
    desk.change(schema.study, last_at=last_at)
    desk.let_pass(4)
    assert looks(settler) == 1
    desk.let_pass(60)
    settler.settle()
    assert "pre (5 of 6 slices) + 2 of 3 posts, post 3 (5 of 6 slices)" in told(desk)[1]


def test_of_a_held_study_too(desk: Desk, model: Model) -> None:
    scopes = StudyScopes(desk.settling, [model.manifest])
    receive_mr(desk, breast())
    desk.receive(f"{STUDY}.1", modality="OT", view=None, identity=SOMEBODY_ELSE)
    (held,) = desk.settling.held_below(Priority.NOT_ASSESSED)
    with counted() as cost:
        assert scopes.of(held) is scopes.of(held)
    assert len(cost.statements) == 1
    scopes.forget_all_but(())
    with counted() as cost:
        scopes.of(held)
    assert len(cost.statements) == 1


@pytest.mark.parametrize(
    "receive",
    [
        lambda desk: desk.receive(modality="CT", view=None),
        lambda desk: desk.receive(view="R CC"),
    ],
    ids=["of another modality", "a mammogram"],
)
def test_nothing_is_read_of_what_no_model_judges_by_it(
    desk: Desk, settler: Settler, receive: Callable[[Desk], object]
) -> None:
    receive(desk)
    desk.let_pass(4)
    assert looks(settler) == 0


def test_nothing_is_read_where_no_model_judges_by_it(desk: Desk, tmp_path: Path) -> None:
    mammograms = packages.package(tmp_path)
    settler = Settler(desk.settling, desk.enqueue, SETTINGS, [(mammograms, Mode.DELIVER)])
    receive_mr(desk, breast())
    desk.let_pass(60)
    assert looks(settler) == 0
    assert told(desk)[2] == "no model reads MR"
