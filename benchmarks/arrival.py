"""Where the time goes between the last image stored and the last result stored.

    .venv/bin/python -m benchmarks.arrival [--pause 3] [--exams 3]

A four-view exam of generated mammograms of full size comes view by view over one association, with
a pause after each, to a node in this process. By two clocks: the sender releases it right after the
last view, and nothing is waited for; or keeps it open, and `settle_s` is. Once more with all images
scored at the end, not as they come. After each exam a bare script without a node does the same
(`benchmarks.bare`). Machines differ, so read the ratio, not the seconds.
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
from pydicom import dcmread
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from rich.console import Console
from rich.table import Table

from benchmarks.bare import FULL_SIZE, PACKAGE, Bare
from node.app import App
from node.config import Config
from node.dimse import Address
from node.inference import Inference
from node.ledger import Job, Ledger, Receiving, schema
from node.manifest import Model, load_model
from node.overview import StudyOverview, study_overviews
from node.result import UnitScore
from node.study import Unit
from node.trial import phantom
from node.trial.pacs import AE_TITLE, Pacs

LOOPBACK, NODE, MODALITY = "127.0.0.1", "AINODE", "MODALITY"
GIVE_UP_AFTER_S = 300


@dataclass(frozen=True, slots=True)
class Way:
    """How an exam comes, and what the node does meanwhile."""

    name: str
    is_released: bool
    """The association ends with the last view; else it is kept open until the results are there."""
    scores_early: bool


WAYS = (
    Way("released", is_released=True, scores_early=True),
    Way("kept open", is_released=False, scores_early=True),
    Way("released, scored at the end", is_released=True, scores_early=False),
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one exam, in seconds."""

    releasing: float
    """From the last image until its association has ended; of one that is kept open, `settle_s`."""
    closing: float
    """From then until the study counts as complete."""
    beginning: float
    """Until an analysis has taken it."""
    analysing: float
    """What was not scored before, and building the result objects."""
    taking: float
    """Until somebody begins to send them."""
    delivering: float
    """Until the last of them is stored."""
    inferences: int
    """How many were running or begun after the last image had come."""
    inference_s: float
    bare: float
    """What a script without a node needs from the last view on."""

    @property
    def ratio(self) -> float:
        """How much of what is allowed it took: 1.3 times that of the script, and 0.5 s."""
        return self.after / (1.3 * self.bare + 0.5)

    @property
    def in_all(self) -> float:
        """From the last image until the last result is stored."""
        return self.releasing + self.after

    @property
    def after(self) -> float:
        """The same, without what the sender or `settle_s` takes."""
        parts = (self.closing, self.beginning, self.analysing, self.taking, self.delivering)
        return sum(parts)


@dataclass(slots=True)
class Watch:
    """When inferences took place, and when what else that no ledger keeps."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    ended_at: float = 0.0
    sends_at: float = 0.0

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
        timings = [
            measure(Path(folder) / f"way-{n}", exams, options.pause, way)
            for n, way in enumerate(WAYS)
        ]
    table = Table("after the last image", *(way.name for way in WAYS))
    for name, attribute in ROWS.items():
        medians = (statistics.median(getattr(one, attribute) for one in of) for of in timings)
        table.add_row(name, *(f"{median:.2f}" for median in medians))
    words = f"Median of {options.exams} exams, {options.pause:g} s between views"
    Console().print(words, table)


def measure(
    folder: Path, exams: Sequence[Sequence[Path]], pause_s: float, way: Way
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

    class TimedApp(App):
        def _deliver(self, job: Job) -> None:
            watch.sends_at = time.time()
            super()._deliver(job)

    class Ending(Receiving):
        def close_association(self, association_id: str) -> None:
            super().close_association(association_id)
            watch.ended_at = time.time()

    with (
        Pacs(folder / "pacs") as pacs,
        mock.patch("node.running.networks.Inference", Timed),
        mock.patch("node.app.Receiving", Ending),
    ):
        node = TimedApp(config(folder / "state", pacs.port, way.scores_early))
        node.start()
        try:
            bare = Bare(load_model(PACKAGE.name, PACKAGE.parent))
            to = Address(AE_TITLE, LOOPBACK, pacs.port)
            return [
                replace(
                    timing(node, watch, exam, pause_s, way), bare=bare.last_view(exam, to).in_all
                )
                for exam in exams
            ]
        finally:
            node.stop()


def timing(node: App, watch: Watch, exam: Sequence[Path], pause_s: float, way: Way) -> Timing:
    """Send an exam view by view, wait for its results, and return how long each step took."""
    association = associate(node.port, exam)
    for number, path in enumerate(exam):
        if number:
            time.sleep(pause_s)
        if association.send_c_store(path).Status != 0:
            raise SystemExit("the node did not take an image")
    if way.is_released:
        association.release()
    seen = wait_for_the_newest(node.ledger)
    if not way.is_released:
        association.release()
    assert seen.closed_at is not None, "done"
    begun_at, built_at, stored_at = steps(node.ledger, seen.study_uid)
    settle_s = node.config.completeness.settle_s
    ended_at = watch.ended_at if way.is_released else seen.last_at + settle_s
    count, inference_s = watch.since(seen.last_at)
    return Timing(
        releasing=ended_at - seen.last_at,
        closing=seen.closed_at - ended_at,
        beginning=begun_at - seen.closed_at,
        analysing=built_at - begun_at,
        taking=watch.sends_at - built_at,
        delivering=stored_at - watch.sends_at,
        inferences=count,
        inference_s=inference_s,
        bare=0,
    )


def associate(port: int, exam: Sequence[Path]) -> Association:
    """Open an association for an exam, as a modality does."""
    ae = AE(ae_title=MODALITY)
    for path in exam:
        header = dcmread(path, stop_before_pixels=True)
        context = build_context(header.SOPClassUID, header.file_meta.TransferSyntaxUID)
        if context not in ae.requested_contexts:
            ae.requested_contexts = [*ae.requested_contexts, context]
    association = ae.associate(LOOPBACK, port, ae_title=NODE)
    if not association.is_established:
        raise SystemExit("the node lets nobody in")
    return association


def wait_for_the_newest(ledger: Ledger) -> StudyOverview:
    """Return the study that came last, once its results are delivered."""
    give_up_at = time.monotonic() + GIVE_UP_AFTER_S
    while time.monotonic() < give_up_at:
        seen = study_overviews(ledger)[0]
        if seen.state == "done":
            return seen
        time.sleep(0.2)
    raise SystemExit("the results did not come")


def steps(ledger: Ledger, study_uid: str) -> tuple[float, float, float]:
    """Return when the analysis began, its objects were recorded, and the last one was stored."""
    version, delivery = schema.study_version, schema.delivery
    query = sa.select(version.c.decided_at, version.c.finished_at)
    stored = sa.select(sa.func.max(delivery.c.sent_at)).where(delivery.c.study_uid == study_uid)
    with ledger.reading() as db:
        begun_at, built_at = db.execute(query.where(version.c.study_uid == study_uid)).one()
        return float(begun_at), float(built_at), float(db.execute(stored).scalar_one())


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
    "release by its sender, or settle_s": "releasing",
    "closing the study": "closing",
    "until the analysis begins": "beginning",
    "analysing and building": "analysing",
    "until sending begins": "taking",
    "sending until the last is stored": "delivering",
    "in all": "in_all",
    "without release or settle_s": "after",
    "a script without a node": "bare",
    "of 1.3 times that and 0.5 s": "ratio",
    "inferences after it": "inferences",
    "seconds of those": "inference_s",
}
"""What is shown, and the attribute of a timing that says it."""

if __name__ == "__main__":
    main()
