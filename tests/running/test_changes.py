"""What differs between two configurations is said in words, and nothing of what is a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_models
from peers import modality

from node import config
from node.current import Loaded
from node.running.changes import changes_in_words, needs_restart

BEFORE = config.Config(
    node=config.Node(ae_title="AINODE", state_dir=Path("state")),
    peers=(modality(), modality(name="ct", ae_title="CT")),
    models=(config.ChosenModel(name="one", mode="shadow"),),
)


def changed(**tables: object) -> config.Config:
    return BEFORE.model_copy(update=tables)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({}, []),
        ({"peers": BEFORE.peers[:1]}, ["peer ct is gone"]),
        ({"peers": BEFORE.peers[::-1]}, ["the order of [[peers]]"]),
        (
            {"peers": (*BEFORE.peers, modality(name="mr", ae_title="MR"))},
            ["peer mr is new"],
        ),
        (
            {"peers": (modality(port=105, results_to=["ct"]), BEFORE.peers[1])},
            ["peer modality: port 105 (before: 104), results_to"],
        ),
        (
            {"models": (config.ChosenModel(name="one", mode="deliver"),)},
            ['model one: mode "deliver" (before: "shadow")'],
        ),
        ({"web": config.WebSettings()}, ["[web] is new"]),
        (
            {"completeness": config.Completeness(settle_s=5)},
            ["[completeness] settle_s 5.0 (before: 3)"],
        ),
    ],
)
def test_each_thing_that_differs_is_a_line(tables: dict[str, object], words: list[str]) -> None:
    assert changes_in_words(Loaded(BEFORE), Loaded(changed(**tables))) == words


def test_what_may_be_a_secret_is_named_and_not_shown() -> None:
    def hook(path: str, key: str) -> config.WebhookSettings:
        return config.WebhookSettings(
            kind="webhook",
            name="ris",
            url=f"https://ris.example/{path}",
            secret=f"whsec_{key * 32}",
            models=("one",),
        )

    before, now = (
        Loaded(changed(destinations=(hook(*one),))) for one in (("first", "A"), ("second", "B"))
    )
    assert changes_in_words(before, now) == ["destination ris: url, secret"]


def test_another_package_of_a_model_is_named_by_its_versions(tmp_path: Path) -> None:
    models = []
    for name, body in (("before", small_models.COPY), ("now", small_models.BRIGHT)):
        (tmp_path / name).mkdir()
        models.append(small_models.model(tmp_path / name, body))
    before, now = (Loaded(BEFORE, {"small": model}) for model in models)
    words = "the package of model small: version 1.0.0 (before: 1.0.0)"
    assert changes_in_words(before, now) == [words]
    assert changes_in_words(now, now) == []


def test_what_a_process_has_from_its_start_on_needs_another_start() -> None:
    node = BEFORE.node.model_copy(update={"database": "sqlite:////other", "min_free_mb": 1})
    inference = config.InferenceSettings(processes=2, threads=1)
    other = changed(node=node, listener=config.ListenerSettings(port=104), inference=inference)
    assert needs_restart(BEFORE, other) == [
        "[node] database",
        "[listener] port",
        "[inference] processes",
    ]
    assert needs_restart(BEFORE, changed(peers=())) == []
