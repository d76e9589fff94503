"""Select, infer, conclude, build: one study from instances to result objects, as one call.

No network and no database: the durable `process` job, `ai-node analyse` and the tests all
call `analyse`, so that there is one order of things, written once.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from functools import cache, lru_cache
from pathlib import Path
from typing import Protocol

from pydicom import Dataset

from node import score_key
from node.analysis.conclusion import conclude, not_analysed, refused_images
from node.analysis.selection import select
from node.analysis.turns import TurnsByName
from node.config import Provider
from node.dicom.header import DEFER_BYTES, read_header
from node.domains.table import domain_of, is_in_scope
from node.errors import ModelError, StudyError, Unreadable
from node.identity import is_whole
from node.imaging.digests import image_digest, slices_digest
from node.imaging.source import FileMark, mark_of
from node.imaging.voxels import naming_phase
from node.logs import about
from node.manifest import Model
from node.outputs.case import Draft, Predecessor, has_source
from node.outputs.report_set import Built, build_report_set
from node.outputs.volume_panels import decisive_places
from node.result import Refusal, Result, SliceStack, UnitScore
from node.study import (
    FormerReport,
    Frame,
    Instance,
    Picture,
    StudyVersion,
    Unit,
    View,
    VolumePicture,
)
from node.triage import FormerLevel, FoundBefore, deciding, may_rank, with_level_found_before

log = logging.getLogger(__name__)


class Scores(Protocol):
    """Where scores are remembered, by what they depend on: digests of the image and the model."""

    def find_score(self, image_digest: str, model_digest: str, /) -> UnitScore | None:
        """Return a score recorded before, perhaps of other instances of the same images."""
        ...

    def record_score(self, image_digest: str, model_digest: str, score: UnitScore, /) -> None:
        """Keep a score."""
        ...


class RunsNetworks(Protocol):
    """Who decodes images and runs networks: `Inference`, or several of them."""

    def score(self, unit: Unit, model: Model, /) -> UnitScore:
        """Run a model on what it reads at once."""
        ...

    def picture(self, instance: Instance, /) -> Picture:
        """Return an image as a display shows it."""
        ...

    def volume_picture(
        self, before: Sequence[Frame], after: Sequence[Frame], places: Sequence[int], /
    ) -> VolumePicture:
        """Return slices of a phase, `after` if there is one, and what it adds to that before."""
        ...

    def slice_pictures(self, frames: Sequence[Frame], /) -> tuple[Picture, ...]:
        """Return slices of several phases, all on one scale of grey."""
        ...

    def pixel_digest(self, path: Path, /) -> str:
        """Return a digest of an object's decoded pixels."""
        ...


class ScoresInMemory:
    """Scores of one call, for an analysis without a ledger."""

    def __init__(self) -> None:
        self._scores: dict[tuple[str, str], UnitScore] = {}

    def find_score(self, image_digest: str, model_digest: str) -> UnitScore | None:
        """Return a score recorded before."""
        return self._scores.get((image_digest, model_digest))

    def record_score(self, image_digest: str, model_digest: str, score: UnitScore) -> None:
        """Keep a score."""
        self._scores[image_digest, model_digest] = score


MODEL_FAILED = "the model failed on this"
"""How the reason begins, where that is all that can be said."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What an analysis needs besides the study: the same for every study of a configuration."""

    inference: RunsNetworks
    scores: Scores
    local_zone: tzinfo
    outputs: tuple[str, ...]
    """Kinds of object to build."""
    provider: Provider = "cpu"
    """What the networks run on."""
    demonstration_may_rank: bool = False
    """A demonstration model may set a study's triage level."""
    has_level_in_lists: bool = False
    """Series Descriptions name the triage level."""
    turns: TurnsByName = field(default_factory=TurnsByName, compare=False, repr=False)
    """An image that is being scored as it comes is waited for by the analysis of its study."""


@dataclass(frozen=True, slots=True)
class Task:
    """One study version, and the models that are to read it."""

    version: StudyVersion
    models: tuple[Model, ...]
    delivering: frozenset[str]
    """Names of the models whose results go into the report set."""
    is_last_try: bool = True
    """A model's failure becomes part of the answer, rather than an error to try again."""
    why_given_up: str = ""
    """If not empty: touch no pixels, and give this as the reason why nothing was analysed."""
    former_levels: tuple[FormerLevel, ...] = ()
    """The triage levels of the versions before."""
    found_before: FoundBefore | None = None
    """What an attempt before this one found, of which there is no report."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What the models say that may rank a study, and what was read of it for them."""

    results: tuple[Result, ...]
    decided_by: Result | None
    """The one whose triage level is the study's; None if no model may rank it."""
    headers: Mapping[str, Dataset]
    damaged: Mapping[str, str]


def ranks(model: Model, *, demonstration_may_rank: bool) -> bool:
    """Whether a model may set the level of a study if its results are delivered."""
    is_real = may_rank(model.identity, demonstration_may_rank=demonstration_may_rank)
    return model.manifest.triage is not None and is_real


def rank(pipeline: Pipeline, task: Task) -> Ranked:
    """Run only the models whose triage level may be the study's. Raises as `analyse` does."""
    wanted = _wanted(task)
    headers, damaged = _headers([i for i in task.version.instances if wanted(i)])
    results = tuple(
        _run(pipeline, task, model, headers, damaged)
        for model in task.models
        if model.manifest.name in task.delivering
        and ranks(model, demonstration_may_rank=pipeline.demonstration_may_rank)
    )
    results = _with_level_found_before(pipeline, task, results)
    return Ranked(results, _deciding(pipeline, task, results), headers, damaged)


def _with_level_found_before(
    pipeline: Pipeline, task: Task, results: tuple[Result, ...]
) -> tuple[Result, ...]:
    """Let the model that found a higher level before keep it; where that is gone, another."""
    found = task.found_before
    by = next((one for one in results if found and one.model.name == found.model), None)
    by = by or _deciding(pipeline, task, results)
    if found is None or by is None:
        return results
    kept = with_level_found_before(by, found.level)
    return tuple(kept if result is by else result for result in results)


def analyse(
    pipeline: Pipeline,
    task: Task,
    decided: Callable[[Result], None] = lambda result: None,
    ranked: Ranked | None = None,
) -> tuple[tuple[Result, ...], list[Built]]:
    """Return every model's result and the report set of the delivering ones.

    `decided` is called with the result whose triage level is the study's, if there is one, before
    anything is built of it. `ranked`: what `rank` said of the same task just before.

    Raises ModelError if a model failed and it is worth another try, and InferenceUnavailable,
    whichever try it is, if there was nobody to ask.
    """
    ranked = ranked or rank(pipeline, task)
    known = {result.model.name: result for result in ranked.results}
    headers, damaged = dict(ranked.headers), ranked.damaged
    results = tuple(
        known.get(model.manifest.name) or _run(pipeline, task, model, headers, damaged)
        for model in task.models
    )
    by = _deciding(pipeline, task, results)
    delivered = _delivered(task, results)
    if by is not None:
        decided(by)
    if delivered and not has_source(delivered, headers):
        is_read = _wanted(task)
        headers |= _headers([i for i in task.version.instances if not is_read(i)])[0]
    if not delivered or not headers:
        return results, []
    draft = Draft(
        version=task.version,
        results=delivered,
        headers=headers,
        pictures=_pictures(pipeline, task, delivered),
        volumes=_volumes(pipeline, task, delivered),
        local_zone=pipeline.local_zone,
        configuration_digest=_configuration_digest(pipeline, task),
        predecessors=_predecessors(task.version, delivered),
        hanging=_hanging(task.models),
        decided_by=by,
        former_levels=task.former_levels,
        demonstration_may_rank=pipeline.demonstration_may_rank,
        has_level_in_lists=pipeline.has_level_in_lists,
    )
    return results, build_report_set(draft, pipeline.outputs)


def _delivered(task: Task, results: Sequence[Result]) -> tuple[Result, ...]:
    return tuple(result for result in results if result.model.name in task.delivering)


def _deciding(pipeline: Pipeline, task: Task, results: Sequence[Result]) -> Result | None:
    may_rank = pipeline.demonstration_may_rank
    return deciding(_delivered(task, results), demonstration_may_rank=may_rank)


def _wanted(task: Task) -> Callable[[Instance], bool]:
    """Return which headers are to be read: of thousands of other objects, none.

    Those of the modalities that a model reads, for it says why it refuses one; of mammograms,
    which the CAD report names; and those whose identity was not kept when they came.
    """
    modalities = {"MG", *(model.manifest.input.modality for model in task.models)}
    return lambda instance: instance.modality in modalities or not is_whole(instance.identity)


_OF_SLICES = 1 << 12
"""Makers write 100 kB beside each of thousands of slices: it stays on disk until asked for."""


def _headers(instances: Iterable[Instance]) -> tuple[dict[str, Dataset], dict[str, str]]:
    headers, damaged = {}, {}
    for instance in instances:
        try:
            bytes_kept = _OF_SLICES if instance.modality == "MR" else DEFER_BYTES
            headers[instance.sop_uid] = read_header(instance.path, bytes_kept)
        except Unreadable as error:
            damaged[instance.sop_uid] = str(error)
    return headers, damaged


def _run(
    pipeline: Pipeline,
    task: Task,
    model: Model,
    headers: Mapping[str, Dataset],
    damaged: Mapping[str, str],
) -> Result:
    readable = [i for i in task.version.instances if i.sop_uid in headers]
    selection = select(readable, headers, model)
    refused = [
        Refusal(i.sop_uid, str(i.view or i.modality), damaged[i.sop_uid], is_failure=True)
        for i in task.version.instances
        if i.sop_uid in damaged and is_in_scope(i.shown, model.manifest)
    ]
    refused += selection.refused
    if task.why_given_up:
        return not_analysed(model, refused, task.why_given_up)
    scores: dict[str, UnitScore] = {}
    for unit in selection.units:
        try:
            scores[unit.key] = score_unit(pipeline, unit, model)
        except StudyError as error:
            refused += refused_images(unit, str(error))
        except ModelError as error:
            if not task.is_last_try:
                raise
            log.warning("%s failed on %s: %s", model.manifest.name, unit.key, error)
            what = "image" if len(unit.instances) == 1 else unit.name
            refused += refused_images(unit, f"{MODEL_FAILED} {what}")
    result = conclude(model, selection.units, refused, scores, task.version.damaged)
    return replace(result, ran_on=pipeline.provider.upper() if result.analysed else "")


def score_unit(pipeline: Pipeline, unit: Unit, model: Model) -> UnitScore:
    """Return what a model says of a unit, running it only if that is not known yet."""
    with about(unit.key):
        key = image_digest_of(unit), model_digest_of(model, pipeline.provider)
        score = pipeline.scores.find_score(*key)
        if score is None:
            score = _new_score(pipeline, unit, model, key)
    return replace(score, unit=unit.key)  # it may be known from other instances


def _new_score(pipeline: Pipeline, unit: Unit, model: Model, key: tuple[str, str]) -> UnitScore:
    """Run a model on a unit, unless another thread is just doing it and records what it says."""
    with pipeline.turns.alone(key):
        score = pipeline.scores.find_score(*key)
        if score is None:
            score = pipeline.inference.score(unit, model)
            pipeline.scores.record_score(*key, score)
        return score


def image_digest_of(unit: Unit) -> str:
    """Return what a score depends on besides the model: images and views, not who the patient is.

    Of volumes each slice in its order, and where it lies. Raises Unreadable; OSError passes.
    """
    images: list[list[str | int | None]] = [
        [role, _known_digest(image.path, mark_of(image.path)), str(image.view or "")]
        for role, image in unit.instances.items()
    ]
    digest_of = cache(slices_digest)  # an object of many frames is read once
    for role, volume in unit.all_volumes.items():
        with naming_phase(role):
            images += [[role, digest_of(one.instance.path), one.number] for one in volume]
    return hashlib.sha256(json.dumps(images).encode()).hexdigest()


@lru_cache(maxsize=4096)
def _known_digest(path: Path, mark: FileMark) -> str:
    """Return `image_digest` of a file: read when it came, and not again while it is the same."""
    return image_digest(path)


def model_digest_of(model: Model, provider: Provider) -> str:
    """Return what a score depends on besides the image: model, provider, and our own code."""
    outputs = model.manifest.outputs
    readers = [output.kind for output in outputs]
    if any(output.warmth is not None for output in outputs):
        readers.append("heat map")  # beside a score, too
    is_of_volumes = model.manifest.unit.is_of_volumes
    numbers = score_key.numbers_for(readers, of_volumes=is_of_volumes)
    text = f"{_settings_digest(model, provider)} {numbers}"
    return hashlib.sha256(text.encode()).hexdigest()


def _settings_digest(model: Model, provider: Provider) -> str:
    """Cover weights, preprocessing and provider."""
    where = "" if provider == "cpu" else f" {provider}"
    text = f"{model.manifest.weights.sha256} {model.preprocessing_digest}{where}"
    return hashlib.sha256(text.encode()).hexdigest()


def _pictures(pipeline: Pipeline, task: Task, results: Sequence[Result]) -> dict[str, Picture]:
    """Return the pictures of the images that are shown, without those that cannot be drawn."""
    pictured = {one.key: one for result in results for one in result.pictured}
    alone = {
        uid
        for result in results
        if result.stack is None and not result.pictured
        for uid in result.analysed
    }
    pictures = {}
    for instance in task.version.instances:
        if instance.sop_uid in alone:
            with _left_out_at_last(task, f"picture of {instance.sop_uid}"):
                pictures[instance.sop_uid] = pipeline.inference.picture(instance)
    instances = {instance.sop_uid: instance for instance in task.version.instances}
    frames = [Frame(instances[one.sop_uid], one.frame) for one in pictured.values()]
    if frames:
        with _left_out_at_last(task, f"pictures of slices, of {frames[0].instance.sop_uid} first"):
            drawn = pipeline.inference.slice_pictures(frames)
            pictures |= dict(zip(pictured, drawn, strict=True))
    return pictures


def _volumes(pipeline: Pipeline, task: Task, results: Sequence[Result]) -> dict[str, VolumePicture]:
    """Return the volumes that captures are drawn on, by the model's name."""
    instances = {instance.sop_uid: instance for instance in task.version.instances}

    def frames(stack: SliceStack | None) -> list[Frame]:
        return [Frame(instances[uid], number) for uid, number in (stack.slices if stack else ())]

    volumes = {}
    for result in results:
        if result.stack is None:
            continue
        before, after = frames(result.stack), frames(result.contrasted)
        with _left_out_at_last(task, f"picture of the volume of {result.model.name}"):
            volumes[result.model.name] = pipeline.inference.volume_picture(
                before, after, decisive_places(result)
            )
    return volumes


@contextmanager
def _left_out_at_last(task: Task, what: str) -> Iterator[None]:
    """Go on without what cannot be drawn, once it has been tried often enough."""
    try:
        yield
    except (ModelError, StudyError) as error:
        if not task.is_last_try:
            raise ModelError(str(error)) from error
        log.warning("No %s: %s", what, error)


def _hanging(models: Sequence[Model]) -> tuple[View, ...]:
    """Return what has a place on the summary page, for one of the models."""
    places = (view for model in models for view in domain_of(model.manifest).hanging())
    return tuple(dict.fromkeys(places))


def _predecessors(
    version: StudyVersion, results: Sequence[Result]
) -> dict[tuple[str, str], Predecessor]:
    """Return the former version's documents, by the model's name and the kind."""
    found = {}
    for former in version.predecessors:
        document, made_by = _document(former)
        for result in results:
            if document is not None and result.model.title in made_by:
                found[result.model.name, former.kind] = document
    return found


def _document(former: FormerReport) -> tuple[Predecessor | None, Collection[str]]:
    """Return what names a former report, and the models it is of: as recorded, else as it says."""
    if former.series_uid:
        document = Predecessor(former.series_uid, former.sop_class, former.sop_uid)
        return document, former.made_by
    try:
        header = read_header(former.path)
    except (Unreadable, OSError):  # the reference is optional, the answer is not
        name = former.path.name
        log.warning("The former report %s cannot be read, and is not referred to", name)
        return None, ()
    document = Predecessor(
        str(header.SeriesInstanceUID), str(header.SOPClassUID), str(header.SOPInstanceUID)
    )
    return document, models_named_in(header)


def models_named_in(report: Dataset) -> tuple[str, ...]:
    """Return the models that a structured report is of, as Manufacturer's Model Name has them.

    () for any other object: none is named as the predecessor of one.
    """
    made_by = (
        report.get("ContributingEquipmentSequence") or () if report.get("Modality") == "SR" else ()
    )
    return tuple(str(one.get("ManufacturerModelName", "")) for one in made_by)


def _configuration_digest(pipeline: Pipeline, task: Task) -> str:
    """Cover every setting that changes what the objects say."""
    settings: dict[str, object] = {
        "models": [_settings_digest(model, pipeline.provider) for model in task.models],
        "outputs": pipeline.outputs,
        "zone": str(pipeline.local_zone),
        "set_aside": task.why_given_up,  # the former name: UIDs of results depend on it
    }
    # Only where it is so: what is said without them keeps its UIDs.
    for name in ("demonstration_may_rank", "has_level_in_lists"):
        if getattr(pipeline, name):
            settings[name] = True
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()
