"""The whole node and a breast MRI that comes shuffled, beside a knee: what is closed, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mr_models import uptake_model
from peers import Pacs, modality, store

from node import config
from node.app import App
from node.overview import StudyOverview, study_overviews
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr

pytestmark = pytest.mark.slow

DONE_WITHIN_S = 60
QUIET_S = 15
ASSOCIATIONS = 4
PLAN = StudyPlan(shape=(8, 32, 32), schedule=PhaseTimes(posts=4))
"""With localiser, T2, diffusion, subtraction and projections."""


@pytest.fixture
def node(tmp_path: Path, _standing_pacs: Pacs) -> Iterator[App]:
    models_dir = tmp_path / "models"
    uptake_model(models_dir, expected_phases=PLAN.schedule.phases)
    app = App(
        config.Config(
            node=config.Node(
                ae_title="AINODE",
                state_dir=tmp_path / "state",
                models_dir=models_dir,
                min_free_mb=0,
            ),
            listener=config.ListenerSettings(host="127.0.0.1", port=0),
            peers=(modality(results_to=["pacs"]), _standing_pacs.peer("pacs")),
            models=(config.ChosenModel(name="uptake", mode="deliver"),),
            completeness=config.Completeness(settle_s=1, quiet_s=QUIET_S),
        )
    )
    app.start()
    yield app
    app.stop()


def reaches(node: App, study: str, is_so: Callable[[StudyOverview], bool]) -> StudyOverview:
    give_up_at = time.monotonic() + DONE_WITHIN_S
    while time.monotonic() < give_up_at:
        for seen in study_overviews(node.ledger):
            if seen.study_uid == study and is_so(seen):
                return seen
        time.sleep(0.1)
    pytest.fail(f"{[s for s in study_overviews(node.ledger) if s.study_uid == study]}")


def test_a_shuffled_breast_is_complete_with_its_last_slice_and_a_knee_is_out_of_scope(
    node: App, pacs: Pacs, tmp_path: Path
) -> None:
    breast, knee = breast_mr("completes", PLAN), knee_mr("a knee", shape=(6, 32, 32))
    objects = [*breast, *knee]
    random.Random(18).shuffle(objects)
    paths = []
    for number, one in enumerate(objects):
        paths.append(tmp_path / f"{number:04}.dcm")
        one.save_as(paths[-1], enforce_file_format=True)
    for first in range(ASSOCIATIONS):
        assert set(store(node.port, paths[first::ASSOCIATIONS])) == {0x0000}
    of_breast, of_knee = str(breast[0].StudyInstanceUID), str(knee[0].StudyInstanceUID)
    seen = reaches(node, of_breast, lambda one: one.version == 1)
    assert seen.reason == "5/5 phases, quiet 1 s"
    assert seen.closed_at is not None
    assert seen.last_image_at is not None
    assert seen.closed_at - seen.last_image_at < QUIET_S - 1
    assert [model.model for model in seen.models] == ["uptake"]
    seen = reaches(node, of_knee, lambda one: one.state == "out of scope")
    assert (seen.reason, seen.models) == (f"quiet {QUIET_S} s", ())
    assert seen.error == "no model reads MR of KNEE: Body Part Examined"
    assert all(one.read().StudyInstanceUID != of_knee for one in pacs.received)
