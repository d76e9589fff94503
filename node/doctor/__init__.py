"""Examines everything a configuration names, before it is needed: `ai-node doctor`.

It changes nothing: other systems are asked by C-ECHO, by negotiation and by C-FIND for a study
that does not exist, or are only connected to. They are sent no object and no message, the ledger is
only looked at, and the exam that goes through the whole node does so in a folder of its own, on
loopback. A node on the same configuration may be running meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from node.config import Config, advice, load_config
from node.doctor.alarms import check_alarms
from node.doctor.destinations import check_destinations
from node.doctor.exam import check_exam
from node.doctor.lists import check_lists
from node.doctor.machine import check_clock, check_disk, check_folders, check_port
from node.doctor.page import check_page
from node.doctor.parts import check_database, check_models
from node.doctor.peers import check_peers
from node.doctor.verdict import Verdict, counted_things, failed, ok, warning
from node.doctor.work import check_work
from node.errors import NodeError
from node.retention_words import advice_on_retention

__all__ = ["CHECKS", "Verdict", "diagnose"]


def check_advice(config: Config) -> Iterator[Verdict]:
    """Name what is allowed, but hardly meant."""
    for sentence in [*advice(config), *advice_on_retention(config)]:
        yield warning("configuration", sentence, "If that is not meant, change the configuration.")


Check = Callable[[Config], Iterator[Verdict]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("configuration", check_advice),
    ("folders", check_folders),
    ("disk", check_disk),
    ("clock", check_clock),
    ("database", check_database),
    ("models", check_models),
    ("port", check_port),
    ("page", check_page),
    ("peers", check_peers),
    ("lists", check_lists),
    ("destinations", check_destinations),
    ("alarms", check_alarms),
    ("work", check_work),
    ("exam", check_exam),
)
"""All of them, in order, each with its name for when it cannot be finished."""


def diagnose(path: Path) -> Iterator[Verdict]:
    """Make every check of a configuration, and say what each found as soon as it is known."""
    try:
        config = load_config(path)
    except NodeError as error:
        yield failed(
            "configuration",
            str(error),
            "Correct what is named; `ai-node init` writes a new file that explains every setting.",
        )
        return
    counts = f"{counted_things(config.peers, 'peer')}, {counted_things(config.models, 'model')}"
    yield ok("configuration", f"{path}: {config.node.ae_title}, {counts}")
    for name, check in CHECKS:
        try:
            yield from check(config)
        except (NodeError, OSError) as error:
            remedy = "Correct what is named. The checks after this one are made all the same."
            yield failed(name, str(error), remedy)
