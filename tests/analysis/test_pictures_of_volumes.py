"""From a result about a volume to its captures: what they show is drawn by the child."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

import pytest
from mr_models import uptake_model
from outputs.mr_drafts import mr_draft, small_plan
from pydicom import Dataset

from node import config
from node.analysis.pipeline import Pipeline, Ranked, ScoresInMemory, Task, analyse
from node.errors import ModelError
from node.inference import Inference
from node.manifest import Model
from node.result import Pictured, Result
from node.study import Instance
from node.trial.breast_mr.styles import STYLES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return uptake_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def inference(model: Model) -> Iterator[Inference]:
    with Inference(config.InferenceSettings(), [model]) as running:
        yield running


@dataclass(frozen=True)
class Told:
    """What a model is made to say of a study, before it is built."""

    pipeline: Pipeline
    task: Task
    ranked: Ranked

    def captures(self) -> list[Dataset]:
        _, built = analyse(self.pipeline, self.task, ranked=self.ranked)
        return [one.dataset for one in built]


def told(inference: Inference, model: Model, style: str, **changes: object) -> Told:
    draft = mr_draft(small_plan(style=STYLES[style]))
    result: Result = replace(draft.results[0], model=model.identity, **changes)  # type: ignore[arg-type]
    pipeline = Pipeline(inference, ScoresInMemory(), UTC, ("capture",))
    task = Task(draft.version, (model,), frozenset({model.manifest.name}))
    return Told(pipeline, task, Ranked((result,), None, draft.headers, {}))


@pytest.mark.parametrize("style", ["standard", "enhanced"])
def test_the_captures_of_a_volume_are_drawn(style: str, inference: Inference, model: Model) -> None:
    whats = [one.DerivationDescription for one in told(inference, model, style).captures()]
    for what in ("summary page", "projection with marks", "decisive slices", "enhancement over"):
        assert sum(what in one for one in whats) == 1
    alone = told(inference, model, style, contrasted=None).captures()
    assert not any("projection" in one.DerivationDescription for one in alone)
    assert any("decisive slices" in one.DerivationDescription for one in alone)


def without_file(version_of: Told) -> Told:
    """Return the same where the first slice's file is gone."""
    version = version_of.task.version
    first, *rest = version.instances
    gone: Instance = replace(first, path=Path("/nowhere/gone.dcm"))
    task = replace(version_of.task, version=replace(version, instances=(gone, *rest)))
    return replace(version_of, task=task)


def test_what_cannot_be_drawn_is_tried_again_and_left_out_at_last(
    inference: Inference, model: Model
) -> None:
    damaged = without_file(told(inference, model, "standard"))
    again = replace(damaged, task=replace(damaged.task, is_last_try=False))
    with pytest.raises(ModelError):
        again.captures()
    whats = [one.DerivationDescription for one in damaged.captures()]
    assert any("summary page" in one for one in whats), "the numbers are said"
    assert not any("projection" in one for one in whats)


def test_a_frame_that_stands_for_a_volume_is_shown(inference: Inference, model: Model) -> None:
    draft = mr_draft(small_plan(style=STYLES["enhanced"]))
    stack = draft.results[0].stack
    assert stack is not None
    uid, frame = stack.slices[8]
    shown = told(
        inference,
        model,
        "enhanced",
        stack=None,
        contrasted=None,
        solids=(),
        curves=(),
        pictured=(Pictured("pre, slice 9 of 24", uid, frame),),
    )
    (summary,) = shown.captures()
    left = summary.pixel_array[300:760, 80:1100]
    assert left.std() > 15, "a picture, no empty frame"
