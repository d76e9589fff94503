"""Where the time goes between the last image stored and the last result stored.

    .venv/bin/python -m benchmarks.arrival [--pause 3] [--exams 3]

A four-view exam of generated mammograms of full size comes view by view over one association, with
a pause after each, to a node in this process. By two clocks: the sender releases it right after the
last view, and nothing is waited for; or keeps it open, and `settle_s` is. Once more with all images
scored at the end, not as they come; and what a plain script takes for the last view alone. Machines
differ, so read the ratio, not the seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, SecondaryCaptureImageStorage
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from rich.console import Console

from benchmarks import arrival_section, section
from benchmarks.bare import FULL_SIZE, PACKAGE, Bare, Parts, takes_jpegls
from node.app import App
from node.config import Config, InferenceSettings
from node.dimse import Address
from node.ledger import Job, Ledger, schema
from node.manifest import load_model
from node.metrics import REGISTRY
from node.overview import StudyOverview, study_overviews
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
    """From the last image until the node knows that its association has ended, which its sender
    releases at once; of one that is kept open, `settle_s`."""
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
    """How many ended after the last image had been answered."""
    inference_s: float

    @property
    def in_all(self) -> float:
        """From the last image until the last result is stored."""
        return self.releasing + self.without_settle_s

    @property
    def without_settle_s(self) -> float:
        """The same of one whose association is kept open, without `settle_s`."""
        parts = (self.closing, self.beginning, self.analysing, self.taking, self.delivering)
        return sum(parts)


class TimedApp(App):
    """A node that says when it began to send, which no ledger keeps."""

    sends_at = 0.0

    def _deliver(self, job: Job) -> None:
        self.sends_at = time.time()
        super()._deliver(job)


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pause", type=float, default=3, help="seconds between two views")
    parser.add_argument("--exams", type=int, default=3, help="of which the median is shown")
    section.add_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exams = [
            phantom.save(
                phantom.exam(f"arrival {n}", technique=FULL_SIZE), Path(folder) / f"exam-{n}"
            )
            for n in range(options.exams)
        ]
        timings: dict[Way, list[Timing]] = {}
        bare: list[Parts] = []
        for number, way in enumerate(WAYS):
            Console().print(f"{way.name}: {len(exams)} exams")
            timings[way] = measure(Path(folder) / f"way-{number}", exams, options.pause, way)
            bare += by_script(Path(folder) / f"script-{number}", exams)
    return section.finish(arrival_section.of(timings, bare, options.pause), options)


def by_script(folder: Path, exams: Sequence[Sequence[Path]]) -> list[Parts]:
    """Return what the last view of each exam costs without a node, with as many threads."""
    script = Bare(load_model(PACKAGE.name, PACKAGE.parent), InferenceSettings().threads)
    with takes_jpegls(folder) as pacs:
        to = Address(AE_TITLE, LOOPBACK, pacs.port)
        script.last_view(exams[0], to)  # to warm up, as the node is
        return [script.last_view(exam, to) for exam in exams]


def measure(
    folder: Path, exams: Sequence[Sequence[Path]], pause_s: float, way: Way
) -> list[Timing]:
    """Return the timing of each exam, one after the other, at a node of its own."""
    with takes_jpegls(folder) as pacs:
        node = TimedApp(config(folder / "state", pacs.port, way.scores_early))
        node.start()
        try:
            found = [timing(node, exam, pause_s, way) for exam in exams]
        finally:
            node.stop()
        require_compressed(pacs)
        return found


def require_compressed(pacs: Pacs) -> None:
    """End the benchmark if captures came otherwise than from the script."""
    metas = [one.read().file_meta for one in pacs.kept.values()]
    syntaxes = {
        meta.TransferSyntaxUID
        for meta in metas
        if meta.MediaStorageSOPClassUID == SecondaryCaptureImageStorage
    }
    if syntaxes != {JPEGLSLossless}:
        raise SystemExit(f"the node sent its captures as {sorted(syntaxes)}, not as JPEG-LS")


def timing(node: TimedApp, exam: Sequence[Path], pause_s: float, way: Way) -> Timing:
    """Send an exam view by view, wait for its results, and return how long each step took."""
    association = associate(node.port, exam)
    for number, path in enumerate(exam):
        if number:
            time.sleep(pause_s)
        if association.send_c_store(path).Status != 0:
            raise SystemExit("the node did not take an image")
    before = inferences()
    if way.is_released:
        association.release()
    seen = wait_for_the_newest(node.ledger)
    if not way.is_released:
        association.release()
    assert seen.closed_at is not None, "done"
    begun_at, built_at, stored_at = steps(node.ledger, seen.study_uid)
    settle_s = node.config.completeness.settle_s
    released_at = newest_end(node.ledger)
    ended_at = released_at if way.is_released else seen.last_at + settle_s
    count, inference_s = (now - then for now, then in zip(inferences(), before, strict=True))
    return Timing(
        releasing=ended_at - seen.last_at,
        closing=seen.closed_at - ended_at,
        beginning=begun_at - seen.closed_at,
        analysing=built_at - begun_at,
        taking=node.sends_at - built_at,
        delivering=stored_at - node.sends_at,
        inferences=round(count),
        inference_s=inference_s,
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


def newest_end(ledger: Ledger) -> float:
    """Return when the node wrote down that the newest association has ended, 0 if it has not."""
    association = schema.association
    query = sa.select(association.c.closed_at).order_by(association.c.opened_at.desc()).limit(1)
    with ledger.reading() as db:
        return float(db.execute(query).scalar_one() or 0)


def inferences() -> tuple[float, float]:
    """Return how many inferences the node of this process has had until now, and their seconds."""
    samples = [one for family in REGISTRY.collect() for one in family.samples]
    count, total = (
        sum(one.value for one in samples if one.name == f"ai_node_inference_seconds_{what}")
        for what in ("count", "sum")
    )
    return count, total


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


if __name__ == "__main__":
    sys.exit(main())
