"""Which phase takes which role: by name, by its time, or each in turn."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from node.domains.breast_mr.headers import facts_of
from node.domains.breast_mr.phases import Reading, read
from node.domains.breast_mr.roles import chosen_phases
from node.errors import StudyError
from node.manifest import ManifestUnit, PhaseMoment
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr

MIDDLES_S = {"post 1": 65, "post 2": 155, "post 3": 245, "post 4": 335, "post 5": 425}
"""Of the generated phases, in seconds after the injection."""


@cache
def reading(posts: int = 5) -> Reading:
    plan = StudyPlan(shape=(4, 8, 8), schedule=PhaseTimes(posts=posts), beside=False)
    return read(fact for one in breast_mr("roles", plan) for fact in facts_of(one))


def unit(*roles: str, **more: object) -> ManifestUnit:
    return ManifestUnit.model_validate({"of": "exam", "roles": roles, **more})


def names(found: Reading, wanted: ManifestUnit) -> list[dict[str, str]]:
    """Return the phase in each role, of all that is read at once."""
    chosen = chosen_phases(found, wanted)
    return [{role: phase.name for role, phase in one.cast.items()} for one in chosen]


EARLY = {"early": {"middle_s": 150, "within_s": 60}}
LATE = {"late": {"middle_s": 450, "within_s": 90}}


def test_the_generated_phases_have_the_middles_that_these_tests_speak_of() -> None:
    found = {phase.name: phase.middle_s for phase in reading().phases[1:]}
    assert found == pytest.approx(MIDDLES_S)


def test_early_and_late_are_the_phases_whose_middles_lie_nearest() -> None:
    wanted = unit("pre", "early", "late", **EARLY, **LATE)
    assert names(reading(), wanted) == [{"pre": "pre", "early": "post 2", "late": "post 5"}]


def test_a_phase_too_far_from_its_moment_is_not_taken_and_the_times_are_told() -> None:
    wanted = unit("pre", "early", "late", **EARLY, **LATE)
    with pytest.raises(StudyError) as refused:
        chosen_phases(reading(3), wanted)
    assert str(refused.value) == (
        "no late phase: none has its middle within 90 s of 450 s after the injection "
        "(post 1 65 s, post 2 155 s, post 3 245 s)"
    )


def test_a_role_that_may_be_left_out_is_and_why_is_told() -> None:
    wanted = unit("pre", "early", "late", **EARLY, **LATE, optional=["late"])
    (chosen,) = chosen_phases(reading(3), wanted)
    assert list(chosen.cast) == ["pre", "early"]
    assert len(chosen.lacking) == 1
    assert chosen.lacking[0].startswith("no late phase: none has its middle within 90 s")


def test_without_times_no_phase_is_early() -> None:
    found = reading()
    phases = tuple(replace(phase, middle_s=None) for phase in found.phases)
    with pytest.raises(StudyError, match="no early phase: the times of the phases are not known"):
        chosen_phases(replace(found, phases=phases), unit("pre", "early", **EARLY))


def test_each_phase_after_contrast_is_read_in_turn_beside_pre() -> None:
    wanted = unit("pre", "each post")
    assert names(reading(3), wanted) == [
        {"pre": "pre", "each post": f"post {number}"} for number in (1, 2, 3)
    ]
    assert [one.name for one in chosen_phases(reading(3), wanted)] == ["post 1", "post 2", "post 3"]


@given(middle_s=st.floats(1, 1000), within_s=st.floats(1, 600), posts=st.integers(1, 5))
def test_no_phase_lies_nearer_than_the_one_that_is_taken(
    middle_s: float, within_s: float, posts: int
) -> None:
    moment = {"early": {"middle_s": middle_s, "within_s": within_s}}
    middles = dict(list(MIDDLES_S.items())[:posts])
    nearest = min(abs(at - middle_s) for at in middles.values())
    try:
        ((cast),) = names(reading(posts), unit("pre", "early", **moment))
    except StudyError:
        assert nearest > within_s - 1e-6
    else:
        off = abs(middles[cast["early"]] - middle_s)
        assert off == pytest.approx(nearest)
        assert off <= within_s + 1e-6


@pytest.mark.parametrize(
    ("roles", "more", "words"),
    [
        (("pre", "early"), {}, "missing: when"),
        (("pre", "post 1"), EARLY, "has no effect"),
        (("pre", "early"), {**EARLY, "optional": ["late"]}, "is none of the roles"),
        (("pre", "early"), {**EARLY, "optional": ["pre"]}, "nothing is compared without"),
        (("pre", "early"), {**EARLY, "optional": ["early"]}, "one must be needed"),
        (("pre", "early", "early"), EARLY, "is there twice"),
    ],
)
def test_what_cannot_be_is_told_of_a_manifest(
    roles: tuple[str, ...], more: dict[str, object], words: str
) -> None:
    amiss = unit(*roles, **more).amiss_in_phases()
    assert words in "; ".join(said for _, said in amiss)


def test_a_moment_lies_after_the_injection() -> None:
    with pytest.raises(ValidationError):
        PhaseMoment(middle_s=0, within_s=60)
