"""Exams -> Results, by the node's own pipeline in several processes; what was scored is kept."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from threading import Lock

from tzlocal import get_localzone

from node import config, score_json
from node.analysis.pipeline import Pipeline, RunsNetworks, ScoresInMemory, Task, analyse
from node.domains.table import is_study_in_scope
from node.errors import ConfigError, ModelError, StudyError
from node.evaluation.collection import GivenExam, LabelledExam, given
from node.inference import Inference
from node.manifest import Model
from node.result import Result, UnitScore

KEPT_SCORES = "scores.jsonl"
"""In the folder of an evaluation: what it was cut short at is not computed again."""
TRAINING_IMAGES = "training-images.txt"
"""In a model package: the digest of each image it has learnt from (see models/README.md)."""


class ScoresInFile:
    """Scores of this evaluation and of those before it, in a file that only grows."""

    def __init__(self, file: TextIOWrapper, known: ScoresInMemory) -> None:
        self._file = file
        self._known = known
        self._lock = Lock()

    def find_score(self, image_digest: str, model_digest: str) -> UnitScore | None:
        """Return a score recorded before."""
        return self._known.find_score(image_digest, model_digest)

    def record_score(self, image_digest: str, model_digest: str, score: UnitScore) -> None:
        """Keep a score."""
        line = json.dumps([image_digest, model_digest, score_json.dumped(score).decode()])
        with self._lock:
            self._known.record_score(image_digest, model_digest, score)
            self._file.write(line + "\n")
            self._file.flush()


@contextlib.contextmanager
def kept_scores(path: Path) -> Iterator[ScoresInFile]:
    """Open the scores that were kept in a file; a line that was cut short is passed over."""
    known = ScoresInMemory()
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        for line in file:
            with contextlib.suppress(ValueError):
                image_digest, model_digest, score = json.loads(line)
                known.record_score(image_digest, model_digest, score_json.loaded(score))
        if file.tell() and not line.endswith("\n"):
            file.write("\n")
        yield ScoresInFile(file, known)


@dataclass(frozen=True, slots=True)
class AnsweredExam:
    """What a model said of an exam."""

    exam: LabelledExam
    result: Result | None
    """None if nothing was given to the model."""
    sop_uids: Mapping[int, str]
    """By the line of the table."""
    refused: Mapping[int, str]
    """What was not even given to the model, by the line of the table."""
    trained_on: frozenset[int] = frozenset()
    """Lines of images that the model has learnt from: then the exam was not given to it."""
    highest_of_16_bits: int | None = None
    is_in_scope: bool = True
    """Whether a node would ask the model at all; not of what could not be given to it."""


def training_digests(model: Model) -> frozenset[str] | None:
    """Return digests of the images that a package has learnt from, None if it does not say."""
    path = model.folder / TRAINING_IMAGES
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read") from error
    found = [line.partition("#")[0].strip() for line in lines]
    for number, digest in enumerate(found, start=1):
        if digest and not (len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
            raise ConfigError(f"{path}:{number}: expected a SHA-256 of 64 digits and small letters")
    return frozenset(found) - {""}


def run_exams(
    exams: Sequence[LabelledExam],
    model: Model,
    scores_path: Path,
    processes: int,
    on_done: Callable[[], None],
) -> list[AnsweredExam]:
    """Return what a model says of each exam, in their order."""
    settings = config.InferenceSettings(processes=processes)
    trained_on = training_digests(model)
    with (
        kept_scores(scores_path) as scores,
        Inference(settings, (model,)) as inference,
        threads(processes, "evaluation") as pool,
    ):
        pipeline = Pipeline(inference, scores, get_localzone(), outputs=())

        def one(exam: LabelledExam) -> AnsweredExam:
            answered = _answered(exam, model, pipeline, trained_on or frozenset())
            on_done()
            return answered

        return list(pool.map(one, exams))


@contextlib.contextmanager
def threads(count: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """Lend threads; who is interrupted does not wait for what was not begun."""
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def processes_here() -> int:
    """Return how many processes keep this machine busy."""
    return os.cpu_count() or 1


def _answered(
    exam: LabelledExam, model: Model, pipeline: Pipeline, trained_on: frozenset[str]
) -> AnsweredExam:
    with tempfile.TemporaryDirectory(prefix="ai-node-evaluate-") as folder:
        taken = given(exam, model.manifest.input, Path(folder))
        if taken.version is None:
            return AnsweredExam(exam, None, taken.sop_uids, taken.refused, is_in_scope=False)
        shown = [instance.shown for instance in taken.version.instances]
        is_meant = is_study_in_scope(shown, model.manifest)
        if known := _lines_trained_on(taken, pipeline.inference, trained_on):
            return AnsweredExam(exam, None, taken.sop_uids, taken.refused, known)
        if exam.why_held:
            words = f"held: {exam.why_held}"
            refused = {image.row.line: words for image in exam.images}
            return AnsweredExam(exam, None, {}, refused, is_in_scope=is_meant)
        (result,), _ = analyse(pipeline, Task(taken.version, (model,), frozenset()))
    return AnsweredExam(
        exam,
        result,
        taken.sop_uids,
        taken.refused,
        highest_of_16_bits=taken.highest_of_16_bits,
        is_in_scope=is_meant,
    )


def _lines_trained_on(
    taken: GivenExam, inference: RunsNetworks, trained_on: frozenset[str]
) -> frozenset[int]:
    if taken.version is None or not trained_on:
        return frozenset()
    paths = {instance.sop_uid: instance.path for instance in taken.version.instances}
    found = set[int]()
    for line, sop_uid in taken.sop_uids.items():
        for one in taken.studies.get(line, (sop_uid,)):
            # What cannot be read the model will not read either.
            with contextlib.suppress(StudyError, ModelError):
                if inference.pixel_digest(paths[one]) in trained_on:
                    found.add(line)
                    break
    return frozenset(found)
