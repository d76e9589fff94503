"""The same analysis without network or database: files in, result objects out."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tzlocal import get_localzone

from node import config
from node.errors import NodeError, Unreadable
from node.files import dataset_digest
from node.identity import is_own
from node.inference import Inference
from node.manifest import Model, load_model
from node.outputs.table import PRESETS, to_bytes
from node.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.result import Result
from node.selection import describe, is_in_scope, read_header
from node.study import Instance, StudyVersion

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """What became of one study of a folder."""

    study_uid: str
    words: str
    written: tuple[Path, ...] = ()


def analyse_folder(
    paths: Sequence[Path], out_dir: Path, model_name: str, on_read: Callable[[], None]
) -> list[FolderOutcome]:
    """Analyse every study among the files, and write its result objects to a folder of its own."""
    model = load_model(model_name, config.bundled_models_dir())
    by_study = _read(paths, on_read)
    with Inference(config.Inference(), (model,)) as inference:
        pipeline = Pipeline(inference, ScoresInMemory(), get_localzone(), PRESETS["default"])
        return [
            _analyse_study(pipeline, model, study_uid, instances, out_dir)
            for study_uid, instances in by_study.items()
        ]


def _read(paths: Sequence[Path], on_read: Callable[[], None]) -> dict[str, list[Instance]]:
    by_study: dict[str, list[Instance]] = defaultdict(list)
    for path in paths:
        try:
            header = read_header(path)
            if not is_own(header):
                instance = describe(header, path, dataset_digest(path))
                by_study[instance.study_uid].append(instance)
        except Unreadable as error:
            raise NodeError(f"{path}: {error}") from error
        on_read()
    return dict(by_study)


def _analyse_study(
    pipeline: Pipeline, model: Model, study_uid: str, instances: list[Instance], out_dir: Path
) -> FolderOutcome:
    if not is_in_scope({instance.modality for instance in instances}, model):
        return FolderOutcome(study_uid, f"out of scope of {model.manifest.name}")
    version = StudyVersion(
        study_uid=study_uid,
        number=1,
        reason=f"{len(instances)} files given",
        instances=tuple(instances),
        decided_at=datetime.now(UTC).replace(microsecond=0),
        installation="offline",
    )
    name = model.manifest.name
    results, objects = analyse(pipeline, Task(version, (model,), frozenset({name})))
    folder = out_dir / study_uid
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for dataset in objects:
        path = folder / f"{dataset.Modality}-{dataset.SeriesNumber}-{dataset.InstanceNumber}.dcm"
        path.write_bytes(to_bytes(dataset))
        written.append(path)
    return FolderOutcome(study_uid, _words(results[0]), tuple(written))


def _words(result: Result) -> str:
    if not result.analysed:
        return f"not analysed: {result.reason}"
    measured = [(finding.label, finding.measurements) for finding in result.findings]
    measured += [(about.label, about.measurements) for about in result.evaluations]
    return "; ".join(
        f"{label} {m.value:.{m.decimals}f} {m.unit.value}"
        for label, measurements in measured
        for m in measurements
    )
