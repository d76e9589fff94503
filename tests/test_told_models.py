"""A node says of which of the models that it names a reading list will never hear."""

from __future__ import annotations

from pathlib import Path

from node import config
from node.ledger import Role
from node.manifest import load_model
from node.site import lists_told_nothing
from node.start_words import start_words

NAMES = ("breast-area", "planted-disc")


def settings(*, may_rank: bool = False) -> config.Config:
    ris = config.HL7Settings(kind="hl7", name="ris", host="ris.example", port=2575, models=NAMES)
    hook = config.WebhookSettings(
        kind="webhook",
        name="hook",
        url="https://hook.example/secret",
        secret="whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        models=NAMES[1:],
        senders=("modality",),
    )
    return config.Config(
        node=config.Node(ae_title="AINODE", state_dir=Path("unused")),
        peers=(config.Peer(name="modality", ae_title="M", host="127.0.0.1", port=104, sends=True),),
        models=tuple(config.ChosenModel(name=name, mode="deliver") for name in NAMES),
        destinations=(ris, hook),
        triage=config.TriageSettings(demonstration_may_rank=may_rank),
    )


MODELS = {name: load_model(name, config.bundled_models_dir()) for name in NAMES}


def test_models_whose_levels_do_not_count_are_named() -> None:
    no_level = (
        'Destination "ris" is told of breast-area, which gives no triage level: '
        "it is told nothing of it."
    )
    first, *others = lists_told_nothing(settings(), MODELS)
    assert first == no_level
    assert len(others) == 2
    assert all("demonstration_may_rank = false" in one for one in others)
    assert lists_told_nothing(settings(may_rank=True), MODELS) == [no_level]


def test_a_node_says_at_its_start_whom_it_tells() -> None:
    said = list(start_words(settings(), Role.ALL, MODELS))
    assert (
        "Destination ris, HL7 at ris.example:2575: is told of the levels of breast-area, "
        "planted-disc" in said
    )
    assert (
        "Destination hook, webhook at hook.example:443: is told of the levels of planted-disc "
        "of modality" in said
    )
