"""The same analysis without network or database: files in, result objects out."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import MediaStorageDirectoryStorage
from tzlocal import get_localzone

from node import config
from node.analysis.pipeline import Pipeline, ScoresInMemory, Task, analyse
from node.dicom.header import read_header, uids_of_damaged
from node.dicom.untrusted import failing_as
from node.domains.description import describe
from node.domains.scope import why_out_of_scope
from node.domains.table import is_study_in_scope, told_of
from node.errors import ConfigError, Held, OfNoStudy, Unreadable
from node.identity import disagreement, identity_of, is_own
from node.inference import Inference
from node.manifest import Manifest, Model
from node.outputs import wording
from node.outputs.report_set import Built, to_bytes
from node.result import Evaluation, Finding, Result
from node.store import dataset_digest
from node.study import Instance, Shown, StudyVersion

log = logging.getLogger(__name__)

WRITTEN = re.compile(r"[A-Z]+-\d+-\d+(-\d+)?\.dcm")
"""What the files this module writes are called: modality, series number, instance number, and a
number more where several series have the same, as Segmentations of several images do."""


@dataclass(frozen=True, slots=True)
class StudyOutcome:
    """What became of one study of a folder."""

    study_uid: str
    words: str
    details: tuple[str, ...] = ()
    """What was not analysed and why, one line for each reason."""
    written: tuple[Path, ...] = ()
    replaced: int = 0
    """How many objects of an earlier analysis they took the place of."""
    analysed: int = 0
    """How many of its images the model analysed."""
    result: Result | None = None
    """What the model says of it; None if it was not asked."""
    is_held: bool = False
    """The files contradict one another: nothing was analysed on a guess."""
    told: tuple[str, ...] = ()
    """What it was taken for, whatever the model: of an MRI its series and phases, line by line."""


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """What became of a folder."""

    studies: tuple[StudyOutcome, ...]
    damaged: tuple[str, ...]
    """One line for each file that could not be read."""
    of_no_study: tuple[str, ...]
    """One line for each file that is whole and nobody's, such as a hanging protocol."""
    own: int
    """How many files were results themselves, which nothing is made of."""
    unmade: tuple[str, ...]
    """The kinds of object asked for that no result of this model becomes."""

    @property
    def is_clean(self) -> bool:
        """Whether every file could be read and every study be told from the others."""
        return not self.damaged and not any(study.is_held for study in self.studies)


@dataclass(slots=True)
class _Study:
    """The files of one study, as they are read."""

    instances: list[Instance] = field(default_factory=list)
    identities: set[str] = field(default_factory=set)
    held: str = ""
    damaged: list[str] = field(default_factory=list)
    """Why files of it cannot be read, a reason for each."""

    def add(self, instance: Instance, identity: str) -> None:
        self.instances.append(instance)
        self.identities.add(identity)
        self.held = disagreement(self.identities) or self.held


@dataclass(slots=True)
class _Files:
    """The files of a folder, as they are read."""

    studies: dict[str, _Study] = field(default_factory=dict)
    first: dict[str, Instance] = field(default_factory=dict)
    """With each SOP Instance UID."""
    damaged: dict[Path, str] = field(default_factory=dict)
    of_no_study: list[str] = field(default_factory=list)
    own: int = 0

    def add(self, header: Dataset, path: Path) -> None:
        described = describe(header, path, dataset_digest(path))
        if is_own(header):
            self.own += 1
            return
        instance = replace(described, identity=identity_of(header))
        _sort(self.studies, instance, self.first.setdefault(instance.sop_uid, instance))


def analyse_folder(  # noqa: PLR0913 - all but the first four by name or rarely
    paths: Sequence[Path],
    out_dir: Path,
    model: Model,
    on_read: Callable[[], None],
    outputs: Sequence[str] = (),
    *,
    has_level_in_lists: bool = False,
    settings: config.InferenceSettings | None = None,
    others: Sequence[Manifest] = (),
) -> FolderOutcome:
    """Analyse every study among the files, and write its result objects to a folder of its own.

    What an earlier analysis wrote there is replaced. `outputs` are the kinds of object to build,
    those of the default preset if there are none; `has_level_in_lists` as in `Pipeline`;
    `settings` those of the child that runs the network, as usual if there are none; `others` what
    else could be given for `model`: one that reads what this does not is named.
    """
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out_dir}: cannot be a folder ({error.strerror})") from error
    read = _read(paths, on_read)
    settings = settings or config.InferenceSettings()
    with Inference(settings, (model,), draws_for=lambda model: True) as inference:
        kinds = tuple(outputs) or config.presets()["default"]
        pipeline = Pipeline(
            inference,
            ScoresInMemory(),
            get_localzone(),
            kinds,
            has_level_in_lists=has_level_in_lists,
        )
        outcomes = [
            replace(
                _analyse_study(pipeline, model, study_uid, study, out_dir / study_uid, others),
                told=told_of([instance.shown for instance in study.instances]),
            )
            for study_uid, study in read.studies.items()
        ]
    unmade = tuple(kind for kind in kinds if not model.manifest.makes(kind))
    damaged = tuple(f"{path}: {reason}" for path, reason in read.damaged.items())
    return FolderOutcome(tuple(outcomes), damaged, tuple(read.of_no_study), read.own, unmade)


def _read(paths: Sequence[Path], on_read: Callable[[], None]) -> _Files:
    """Sort the files by study, and count our own; a file that is there twice is taken once."""
    files = _Files()
    for path in paths:
        try:
            files.add(read_header(path), path)
        except OfNoStudy as error:
            files.of_no_study.append(f"{path}: {error}; passed over")
        except (Unreadable, OSError) as error:
            if not _is_directory(path):
                files.damaged[path] = str(error)
        on_read()
    for path, reason in files.damaged.items():
        if (study := files.studies.get(uids_of_damaged(path).study)) is not None:
            study.damaged.append(reason)
    return files


def _sort(studies: dict[str, _Study], instance: Instance, known: Instance) -> None:
    """Put an instance into its study; `known` is the first with its SOP Instance UID."""
    if known is not instance and known.digest == instance.digest:
        return
    studies.setdefault(instance.study_uid, _Study()).add(instance, instance.identity)
    if known is not instance:
        for study_uid in (known.study_uid, instance.study_uid):
            studies[study_uid].held = (
                f"{known.path.name} and {instance.path.name} are different objects "
                "with the same SOP Instance UID"
            )


def _is_directory(path: Path) -> bool:
    """Whether a file is a DICOMDIR, the table of contents of a disc."""
    try:
        with failing_as("no file meta information"):
            meta = read_file_meta_info(path)
            return bool(meta.MediaStorageSOPClassUID == MediaStorageDirectoryStorage)
    except Unreadable:  # then it is a damaged file
        return False


def _analyse_study(
    pipeline: Pipeline,
    model: Model,
    study_uid: str,
    study: _Study,
    folder: Path,
    others: Sequence[Manifest],
) -> StudyOutcome:
    if study.held:
        return _held(study_uid, study.held)
    shown = [instance.shown for instance in study.instances]
    if not is_study_in_scope(shown, model.manifest):
        why = why_out_of_scope(shown, [model.manifest])
        details = (why, *_next_steps(shown, others))
        return StudyOutcome(study_uid, f"out of scope of {model.manifest.name}", details)
    version = _version(study_uid, study)
    name = model.manifest.name
    try:
        (result,), objects = analyse(pipeline, Task(version, (model,), frozenset({name})))
    except Held as error:
        return _held(study_uid, str(error))
    written, replaced = _write(objects, folder)
    words, details = _words(result), tuple(_details(result))
    return StudyOutcome(study_uid, words, details, written, replaced, len(result.analysed), result)


def _next_steps(shown: Collection[Shown], others: Sequence[Manifest]) -> Iterator[str]:
    """Yield which of the other models read a study, and how one is given."""
    for name in sorted({one.name for one in others if is_study_in_scope(shown, one)}):
        yield f"{name} reads it: --model {name}"


def _held(study_uid: str, reason: str) -> StudyOutcome:
    return StudyOutcome(study_uid, f"held, nothing was analysed: {reason}", is_held=True)


def _version(study_uid: str, study: _Study) -> StudyVersion:
    instances = study.instances
    decided_at = datetime.now(UTC).replace(microsecond=0)
    # Stands in for the identity of an installation: other input or another time, other UIDs.
    text = " ".join([*sorted(i.digest for i in instances), decided_at.isoformat()])
    given = f"{len(instances)} {'file' if len(instances) == 1 else 'files'} given"
    refused = wording.refused_as_damaged(study.damaged)
    return StudyVersion(
        study_uid=study_uid,
        number=1,
        reason=f"{given}, {refused}" if refused else given,
        damaged=len(study.damaged),
        instances=tuple(instances),
        decided_at=decided_at,
        installation=f"offline {hashlib.sha256(text.encode()).hexdigest()[:32]}",
    )


def _write(objects: Iterable[Built], folder: Path) -> tuple[tuple[Path, ...], int]:
    """Return the files written, and how many of an earlier analysis were replaced by them."""
    contents: dict[str, bytes] = {}
    for built in objects:
        made = built.dataset
        number, stem = 1, f"{made.Modality}-{made.SeriesNumber}-{made.InstanceNumber}"
        while (name := f"{stem}-{number}.dcm" if number > 1 else f"{stem}.dcm") in contents:
            number += 1
        contents[name] = to_bytes(made)
    folder.mkdir(parents=True, exist_ok=True)
    former = [p for p in folder.iterdir() if WRITTEN.fullmatch(p.name) and _is_ours(p)]
    for path in former:
        path.unlink()
    written = []
    for name, content in contents.items():
        path = folder / name
        path.write_bytes(content)
        written.append(path)
    return tuple(written), len(former)


def _is_ours(path: Path) -> bool:
    try:
        return is_own(read_header(path))
    except Unreadable:
        return False


def _words(result: Result) -> str:
    if not result.analysed:
        why_not = f"not analysed: {result.reason}"
        return "; ".join(filter(None, [wording.level_in_brief(result), why_not]))
    level = list(filter(None, [wording.level_in_brief(result)]))
    counted = [wording.found(result)] if result.looked_for else []
    findings = () if counted else result.findings  # of a detector there may be dozens
    subjects: list[Finding | Evaluation] = [*findings, *result.evaluations]
    numbers = [line for about in subjects for line in wording.in_brief(about)]
    volumes = wording.volumes_in_brief(result)
    return "; ".join([*level, *counted, *volumes, *numbers]) or wording.conclusion(result)


def _details(result: Result) -> list[str]:
    return [f"not analysed: {line}" for line in wording.refusals(result.refused)]
