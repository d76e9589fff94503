"""Where the time goes between the last image stored and the last result stored.

    .venv/bin/python benchmarks/arrival.py [--pause 3] [--exams 3]

A four-view exam of generated mammograms of full size comes view by view, with a pause after
each, to a node in this process: once with images scored as they come, once without. Machines
differ, so read the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from node.app import App
from node.config import Config
from node.dimse import Address, send
from node.inference import Inference
from node.ledger import Ledger, schema
from node.manifest import Model
from node.overview import StudyOverview, study_overviews
from node.result import UnitScore
from node.study import Unit
from node.trial import phantom
from node.trial.pacs import AE_TITLE, Pacs
from node.trial.phantom import Technique

FULL_SIZE = Technique(rows=4096, columns=3328, spacing_mm=0.06)
LOOPBACK, NODE, MODALITY = "127.0.0.1", "AINODE", "MODALITY"
GIVE_UP_AFTER_S = 300


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one exam, in seconds."""

    settling: float
    """From the last image until the study counts as complete."""
    analysing: float
    """What was not scored before, and building the result objects."""
    delivering: float
    inferences: int
    """How many were running or begun after the last image had come."""
    inference_s: float

    @property
    def in_all(self) -> float:
        """From the last image until the last result is stored."""
        return self.settling + self.analysing + self.delivering


@dataclass(slots=True)
class Watch:
    """When inferences took place."""

    spans: list[tuple[float, float]] = field(default_factory=list)

    def since(self, moment: float) -> tuple[int, float]:
        """Return how many inferences ended after a moment, and how many seconds of them."""
        late = [(max(begun, moment), ended) for begun, ended in self.spans if ended > moment]
        return len(late), sum(ended - begun for begun, ended in late)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pause", type=float, default=3, help="seconds between two views")
    parser.add_argument("--exams", type=int, default=3, help="of which the median is shown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exams = [
            phantom.save(
                phantom.exam(f"arrival {n}", technique=FULL_SIZE), Path(folder) / f"exam-{n}"
            )
            for n in range(options.exams)
        ]
        early, late = (
            measure(Path(folder) / f"early-{scores_early}", exams, options.pause, scores_early)
            for scores_early in (True, False)
        )
    table = Table("after the last image", "scored as they come", "scored at the end", "ratio")
    for name, attribute in ROWS.items():
        with_it, without = (
            statistics.median(getattr(one, attribute) for one in timings)
            for timings in (early, late)
        )
        ratio = f"{without / with_it:.2f}" if with_it else ""
        table.add_row(name, f"{with_it:.2f}", f"{without:.2f}", ratio)
    Console().print(f"Median of {options.exams} exams, {options.pause:g} s between views", table)


def measure(
    folder: Path, exams: Sequence[Sequence[Path]], pause_s: float, scores_early: bool
) -> list[Timing]:
    """Return the timing of each exam, one after the other, at a node of its own."""
    watch = Watch()

    class Timed(Inference):
        def score(self, unit: Unit, model: Model) -> UnitScore:
            begun = time.time()
            try:
                return super().score(unit, model)
            finally:
                watch.spans.append((begun, time.time()))

    with Pacs(folder / "pacs") as pacs, mock.patch("node.running.networks.Inference", Timed):
        node = App(config(folder / "state", pacs.port, scores_early))
        node.start()
        try:
            return [timing(node, watch, exam, pause_s) for exam in exams]
        finally:
            node.stop()


def timing(node: App, watch: Watch, exam: Sequence[Path], pause_s: float) -> Timing:
    """Send an exam view by view, wait for its results, and return how long each step took."""
    to = Address(NODE, LOOPBACK, node.port)
    for number, path in enumerate(exam):
        if number:
            time.sleep(pause_s)
        (outcome,) = send([path], to, MODALITY)
        if outcome.state != "sent":
            raise SystemExit(f"the node did not take an image: {outcome.words}")
    seen = wait_for_the_newest(node.ledger)
    assert seen.closed_at is not None and seen.done_at is not None, "done"
    count, inference_s = watch.since(seen.last_at)
    built_at = finished_at(node.ledger, seen.study_uid)
    return Timing(
        settling=seen.closed_at - seen.last_at,
        analysing=built_at - seen.closed_at,
        delivering=seen.done_at - built_at,
        inferences=count,
        inference_s=inference_s,
    )


def wait_for_the_newest(ledger: Ledger) -> StudyOverview:
    """Return the study that came last, once its results are delivered."""
    give_up_at = time.monotonic() + GIVE_UP_AFTER_S
    while time.monotonic() < give_up_at:
        seen = study_overviews(ledger)[0]
        if seen.state == "done":
            return seen
        time.sleep(0.2)
    raise SystemExit("the results did not come")


def finished_at(ledger: Ledger, study_uid: str) -> float:
    """Return when the result objects were built and recorded."""
    table = schema.study_version
    query = sa.select(table.c.finished_at).where(table.c.study_uid == study_uid)
    with ledger.reading() as db:
        return float(db.execute(query).scalar_one())


def config(state_dir: Path, pacs_port: int, scores_early: bool) -> Config:
    """Return a configuration as it is without further settings."""
    return Config.model_validate(
        {
            "node": {"ae_title": NODE, "state_dir": state_dir, "min_free_mb": 0},
            "listener": {"host": LOOPBACK, "port": 0},
            "peers": [
                {
                    "name": "modality",
                    "ae_title": MODALITY,
                    "host": LOOPBACK,
                    "port": 104,
                    "sends": True,
                    "results_to": ["pacs"],
                },
                {
                    "name": "pacs",
                    "ae_title": AE_TITLE,
                    "host": LOOPBACK,
                    "port": pacs_port,
                    "receives": "default",
                },
            ],
            "models": [{"name": "breast-area", "mode": "deliver"}],
            "inference": {"scores_early": scores_early},
        }
    )


ROWS = {
    "settling, s": "settling",
    "analysing and building, s": "analysing",
    "delivering, s": "delivering",
    "in all, s": "in_all",
    "inferences after it": "inferences",
    "seconds of those": "inference_s",
}
"""What is shown, and the attribute of a timing that says it."""

if __name__ == "__main__":
    main()
