"""Many exams wait for two models, the urgent one came last, and its result leaves first.

    .venv/bin/python benchmarks/urgent_last.py [--exams 40] [--processes 1]

A node receives generated exams of four views while nothing is analysed, as while its inference is
away; then it begins. One model triages (planted-disc, which may rank here), the other does not. The
program says what was done before the urgent exam's result left, beside the routine ones, and ends
with an error unless that was: the triage of each exam once, its own report, and no other's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import sqlalchemy as sa
from pydicom import Dataset
from rich.console import Console
from rich.table import Table

from node.app import App
from node.config import Config
from node.dimse import Address, send
from node.inference import Inference
from node.ledger import Ledger, Role, schema
from node.manifest import Model
from node.overview import StudyOverview, study_overviews
from node.result import UnitScore
from node.study import Instance, Picture, Unit
from node.trial import phantom
from node.trial.disc import draw_disc
from node.trial.exams import DISC
from node.trial.pacs import AE_TITLE, Pacs
from node.trial.phantom import Technique

SMALL = Technique(rows=332, columns=256, spacing_mm=0.72)
LOOPBACK, NODE, MODALITY = "127.0.0.1", "AINODE", "MODALITY"
TRIAGES, OTHER = "planted-disc", "breast-area"
GIVE_UP_AFTER_S = 1800


@dataclass(frozen=True, slots=True)
class Step:
    """Something that inference was asked for: by a model, or a picture for a report."""

    at: float
    what: str
    study_uid: str


@dataclass(slots=True)
class Watch:
    """What inference was asked for, in order."""

    steps: list[Step] = field(default_factory=list)

    def note(self, what: str, study_uid: str) -> None:
        """Remember one thing that it is asked for now."""
        self.steps.append(Step(time.time(), what, study_uid))

    def studies(self, what: str, until: float = float("inf")) -> list[str]:
        """Return for which studies it was asked for something by then, each once."""
        of_it = [one.study_uid for one in self.steps if one.what == what and one.at < until]
        return list(dict.fromkeys(of_it))


@dataclass(frozen=True, slots=True)
class Seen:
    """When what happened to a study: epoch seconds."""

    study_uid: str
    came_at: float
    level: str
    built_at: float
    left_at: float
    """When its last result was stored at the PACS."""


def main() -> None:
    """Let the exams come, let the node work, print what happened and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exams", type=int, default=40)
    parser.add_argument("--processes", type=int, default=1, help="for inference")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Pacs(Path(name) / "pacs") as pacs:
        folder = Path(name)
        settings = config(folder, pacs.port, options.processes)
        urgent = receive(settings, folder, options.exams)
        watch, seen, begun_at = work(settings, options.exams)
        console = Console(width=100)
        tell(console, watch, seen, urgent, begun_at)
        judge(watch, seen, urgent, options.processes)
        console.print("So it must be: each exam was triaged, and then the urgent one came first.")


def receive(settings: Config, folder: Path, count: int) -> str:
    """Let exams come to a node that only receives, an urgent one last; return its study."""
    node = App(settings, Role.LISTENER)
    node.start()
    try:
        for number in range(count):
            made = exam(number, is_urgent=number == count - 1)
            paths = phantom.save(made, folder / "exams" / str(number))
            outcomes = send(paths, Address(NODE, LOOPBACK, node.port), MODALITY)
            assert all(one.state == "sent" for one in outcomes)
        wait_until_all_are(node.ledger, count, "queued")
    finally:
        node.stop()
    return str(exam(count - 1, is_urgent=True)[0].StudyInstanceUID)


def exam(number: int, *, is_urgent: bool) -> list[Dataset]:
    """Return an exam of four views, with a disc in two of them if it is to be urgent."""
    made = phantom.exam(f"urgent last {number}", technique=SMALL)
    for dataset, view in zip(made, phantom.EXAM, strict=True):
        if is_urgent:
            draw_disc(dataset, view, replace(DISC, radius_mm=8, contrast=0.3))
    return made


def work(settings: Config, count: int) -> tuple[Watch, list[Seen], float]:
    """Let a node do what waits; return what it did, in the order of the results, and since when."""
    watch = Watch()

    class Watched(Inference):
        def score(self, unit: Unit, model: Model) -> UnitScore:
            watch.note(model.manifest.name, unit.instance.study_uid)
            return super().score(unit, model)

        def picture(self, instance: Instance) -> Picture:
            watch.note("picture", instance.study_uid)
            return super().picture(instance)

    with mock.patch("node.running.networks.Inference", Watched):
        node = App(settings)
        begun_at = time.time()
        node.start()
        try:
            done = wait_until_all_are(node.ledger, count, "done")
            return watch, seen_of(node.ledger, done), begun_at
        finally:
            node.stop()


def wait_until_all_are(ledger: Ledger, count: int, state: str) -> list[StudyOverview]:
    """Return all studies, once each is in a state."""
    give_up_at = time.monotonic() + GIVE_UP_AFTER_S
    while time.monotonic() < give_up_at:
        found = study_overviews(ledger)
        if len(found) == count and all(one.state == state for one in found):
            return found
        time.sleep(0.5)
    raise SystemExit(f"after {GIVE_UP_AFTER_S} s not all {count} studies were {state}")


def seen_of(ledger: Ledger, studies: Sequence[StudyOverview]) -> list[Seen]:
    """Return when what happened, the first result first."""
    version = schema.study_version
    with ledger.reading() as db:
        query = sa.select(version.c.study_uid, version.c.finished_at)
        built_at = {row.study_uid: row.finished_at for row in db.execute(query)}
    seen = [
        Seen(one.study_uid, one.last_image_at, one.level, built_at[one.study_uid], one.done_at or 0)
        for one in studies
    ]
    return sorted(seen, key=lambda one: one.left_at)


def tell(
    console: Console, watch: Watch, seen: Sequence[Seen], urgent: str, begun_at: float
) -> None:
    """Print what happened."""
    (its,) = (one for one in seen if one.study_uid == urgent)
    others = [one for one in seen if one.study_uid != urgent]
    before = {
        f"triaged by {TRIAGES}": watch.studies(TRIAGES, its.left_at),
        f"looked at by {OTHER}": watch.studies(OTHER, its.left_at),
        "drawn for a report": watch.studies("picture", its.left_at),
        "reported": [one.study_uid for one in seen if one.built_at <= its.built_at],
        "sent": [one.study_uid for one in seen if one.left_at <= its.left_at],
    }
    console.print(
        f"{len(seen)} exams of four views, two models; all waited when the work began, and the "
        f"urgent one ({its.level}) had come last."
    )
    table = Table("until the urgent one's result had left", "exams", "the urgent one, too")
    for words, studies in before.items():
        table.add_row(words, str(len(studies)), "yes" if urgent in studies else "no")
    console.print(table)
    routine = [one.left_at - begun_at for one in others]
    table = Table("result at the PACS, seconds after the work began", "")
    table.add_row("the urgent one, the last to come", f"{its.left_at - begun_at:.1f}")
    for words, value in (
        ("the first of the others", min(routine)),
        ("the median of the others", statistics.median(routine)),
        ("the last of the others", max(routine)),
    ):
        table.add_row(words, f"{value:.1f}")
    console.print(table)


def judge(watch: Watch, seen: Sequence[Seen], urgent: str, processes: int) -> None:
    """Raise AssertionError unless the urgent result left before any other report was built.

    With several processes what the others had begun by then is not interrupted.
    """
    its = seen[0]
    assert (its.study_uid, its.level) == (urgent, "urgent"), "its result is the first to leave"
    assert len(watch.studies(TRIAGES, its.built_at)) <= len(seen), "each was triaged at most once"
    images = [one for one in watch.steps if one.what == TRIAGES and one.at < its.built_at]
    assert len(images) <= 4 * len(seen), "of each image one inference"
    under_way = processes - 1
    for what in (OTHER, "picture"):
        before = [one for one in watch.studies(what, its.built_at) if one != urgent]
        assert len(before) <= under_way, f"{what}: {len(before)} others before it"
    assert sum(one.built_at < its.built_at for one in seen) <= under_way
    assert all(one.left_at >= its.left_at for one in seen)


def config(folder: Path, pacs_port: int, processes: int) -> Config:
    """Return a configuration with two models, of which one may rank."""
    modality = {"name": "modality", "ae_title": MODALITY, "sends": True, "results_to": ["pacs"]}
    pacs = {"name": "pacs", "ae_title": AE_TITLE, "receives": "default"}
    return Config.model_validate(
        {
            "node": {"ae_title": NODE, "state_dir": folder / "state", "min_free_mb": 0},
            "listener": {"host": LOOPBACK, "port": 0},
            "peers": [
                modality | {"host": LOOPBACK, "port": 104},
                pacs | {"host": LOOPBACK, "port": pacs_port},
            ],
            "models": [{"name": name, "mode": "deliver"} for name in (OTHER, TRIAGES)],
            "triage": {"demonstration_may_rank": True},
            "completeness": {"settle_s": 0.2},
            "inference": {"processes": processes},
        }
    )


if __name__ == "__main__":
    main()
