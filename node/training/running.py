"""`ai-node train`: labelled images and a recipe -> a package that was measured on unseen women.

A network learns for each fold, from the women of all others. That of the last fold is shipped: when
to stop was chosen on half A of its women, calibration and operating points on half B (on all of
them, where there is nothing to choose before). What takes long is kept in the work folder: the same
command goes on where it was stopped.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from errno import EACCES, ENOTDIR
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import ConfigError
from node.evaluation.digests import digests_of_files
from node.evaluation.evaluating import (
    EvaluationDocument,
    EvaluationSettings,
    Progressing,
    evaluate_model,
)
from node.evaluation.labels import LabelTable, refuse
from node.evaluation.report import in_figures
from node.manifest import CARD, HeatMapOutput, InputTensor, ManifestUnit, Model
from node.training.choosing import Chosen, choose_points, platt, said_parts
from node.training.examples import RefusedImage, read_examples, reading_manifest
from node.training.export import CELLS_TENSOR, SCORE_TENSOR, export_network
from node.training.features import replaced
from node.training.learners import Learnt, learner_of
from node.training.lesion_boxes import BoxedFilms
from node.training.measuring import (
    CrossValidation,
    ScoredBreast,
    counted_part,
    cross_validation,
)
from node.training.packing import (
    GENERATED_FILES,
    OUTPUT,
    CardFacts,
    ExportedNetwork,
    Tried,
    amiss_in_card,
    amiss_in_cross_validation,
    asked_thresholds,
    finish_package,
    refuse_learnt,
    write_trained_package,
)
from node.training.recipe import RECIPE, Recipe
from node.training.scoring import chosen_epochs, require_whole_exams, scored
from node.training.splits import ExampleIndices, Half, divide, require_apart
from node.training.units import units_of

TRIED, TOOK, LOCK = "tried.jsonl", "took", "lock"
"""In the work folder: recipes that were measured, seconds by step of each, who is at work."""
DRAFT, WHOLE, FIRST_LOOK, SECOND_LOOK = "draft", "whole", "first-look", "second-look"
"""In the work folder: the package before thresholds were chosen and after, evaluations of both."""
COMPARED_CASES, COMPARED_STUDIES = 16, 4
"""Cases by which ONNX Runtime is compared with torch; studies have many images each."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What is asked for."""

    recipe: Recipe
    table: LabelTable
    out: Path
    """The folder of packages; this one's has the recipe's name."""
    work: Path
    """What was computed once is kept here; several recipes may share it."""
    train: str
    """The command, for the card."""
    evaluate: str
    """The command that measures the package on the same table, for the card."""
    processes: int
    boxes: BoxedFilms | None = None
    """Films with boxes around lesions, of a recipe that has [lesions]."""


@dataclass(frozen=True, slots=True)
class TrainedPackage:
    """What came of it."""

    model: Model
    cross_validation: CrossValidation
    this_file: EvaluationDocument
    chosen: Chosen
    parity: float
    """By how much the scores of torch and ONNX Runtime differed at most."""
    took: str
    refused: tuple[RefusedImage, ...]

    def next_steps(self) -> Iterator[str]:
        """Yield what was made, and what to do with it."""
        folder = self.model.folder
        yield f"{folder}: {self.model.manifest.title} {self.model.manifest.version}. {self.took}"
        yield f"ONNX Runtime and torch differ by {self.parity:.1g} at most."
        for reason, count in Counter(one.reason for one in self.refused).most_common():
            yield f"Left out, {count:,} images: {reason}"
        if not self.chosen.points:
            yield f"No level follows from the score: {self.chosen.why_no_points}."
        yield f"Read its card, {folder / CARD}; then try it: ai-node models check {folder}"
        yield (
            f"To run it beside a study: [node] models_dir = {str(folder.parent)!r} and [[models]] "
            f'name = "{self.model.manifest.name}", mode = "shadow" in the configuration.'
        )


def train_package(settings: TrainingSettings, progress: Progressing) -> TrainedPackage:
    """Train, measure and write a package; raise ConfigError with what stands against it."""
    _require_own(settings.out / settings.recipe.name)
    with work_folder(settings.work):
        road = _Road(settings, progress)
        learnt = [road.learn(fold) for fold in range(road.division.count)]
        return road.packed(road.measured(learnt), learnt[-1])


def measure_recipe(
    settings: TrainingSettings, folds: Sequence[int], progress: Progressing
) -> CrossValidation:
    """Measure a recipe on some folds alone, to compare it with others; nothing is packed."""
    count = settings.recipe.folds.count
    if wrong := [fold for fold in folds if not 0 <= fold < count]:
        raise ConfigError(f"fold {wrong[0]}: expected folds from 0 to {count - 1}")
    with work_folder(settings.work):
        road = _Road(settings, progress)
        return road.measured([road.learn(fold) for fold in sorted(set(folds))])


@dataclass(frozen=True, slots=True)
class _OfFold:
    fold: int
    watched: ExampleIndices
    learnt: Learnt


class _Road:
    """From the images to what was learnt of them, and on to the package."""

    def __init__(self, settings: TrainingSettings, progress: Progressing) -> None:
        self._settings, self._recipe = settings, settings.recipe
        self._progress = progress
        words = self._recipe.model_dump(mode="json")
        table = settings.table.sha256
        self._key_of_data = _digest([table, *(words[part] for part in ("labels", "folds"))])
        """Of what recipes that are compared must have in common."""
        boxes = settings.boxes.sha256 if settings.boxes else ""
        of_phases = [words["unit"], words["channels"]] if self._recipe.is_of_phases else []
        self._key = _digest([table, boxes, [words[part] for part in _DECIDING], *of_phases])
        """Of what decides which network comes out."""
        self._clock = _Clock(settings.work / f"{TOOK}-{self._key}.json")
        _require_boxes(self._recipe, settings.boxes)
        with self._clock.step("images"):
            self.examples = read_examples(
                settings.table, self._recipe, settings.work, progress, settings.processes
            )
            self.division = divide(self.examples, self._recipe.folds)
            self._boxed = self._boxed_digests()
        if self._recipe.about == "exam" and not self._recipe.is_of_phases:
            require_whole_exams(self.examples)
        with self._clock.step("features"):
            self._learner = learner_of(
                self._recipe, self.examples, settings.boxes, settings.work, progress
            )

    def _boxed_digests(self) -> frozenset[str]:
        """Return the digests of films with boxes; raise ConfigError if they are in the table.

        The weights depend on all of them, whichever fold is kept back.
        """
        boxes = self._settings.boxes
        if boxes is None:
            return frozenset()
        found = digests_of_files([film.path for film in boxes.films], self._recipe.input)
        women = {image.woman: image.row for image in self.examples.images}
        pixels = {image.pixel_digest: image.row for image in self.examples.images}
        table = self.examples.table
        problems = list[str]()
        for film in boxes.films:
            if row := pixels.get(found[film.path]):
                problems.append(f"{film.source}: the same pixels as {table.place(row)}")
            elif row := women.get(film.patient):
                problems.append(
                    f"{film.source}: patient {film.patient}, as in {table.place(row)}; if that is "
                    "somebody else, give one of them another name"
                )
        if problems:
            problems.append(
                "networks of all folds learn from who has boxes: she must not be measured"
            )
        refuse(problems)
        return frozenset(found.values())

    def learn(self, fold: int) -> _OfFold:
        """Learn from the women of the other folds."""
        division, images = self.division, self.examples.images
        others, watched = division.others(fold), division.kept_back(fold)
        parts = {"what is learnt from": others, "what is measured": watched}
        require_apart({name: [images[i] for i in part] for name, part in parts.items()})
        with self._clock.step("learning"):
            learnt = self._learner.learn(f"fold {fold}", others.tolist(), watched.tolist())
        return _OfFold(fold, watched, learnt)

    def measured(self, folds: Sequence[_OfFold]) -> CrossValidation:
        """Return what the networks say of women whom they never saw."""
        images, is_half_b = self.examples.images, self.division.is_half_b
        about = self._recipe.about
        everything = list[ScoredBreast]()
        for one in folds:
            mine = [images[i] for i in one.watched]
            halves = is_half_b[one.watched]
            epochs = chosen_epochs(about, mine, halves, one.learnt.logits)
            logits = np.where(
                halves, one.learnt.logits[epochs[Half.A]], one.learnt.logits[epochs[Half.B]]
            )
            everything += scored(about, mine, logits, [one.fold] * len(mine))
        labels = self._recipe.labels
        within = [labels.balanced_within] if labels.balanced_within else []
        found = cross_validation(everything, labels.matched, within=within)
        self._remember(found, [one.fold for one in folds])
        return found

    def _remember(self, found: CrossValidation, folds: Sequence[int]) -> None:
        """Add the recipe to those that were tried here: nothing that was measured is left out."""
        on = (
            "all folds"
            if len(folds) == self.division.count
            else "folds " + ", ".join(map(str, folds))
        )
        tried = Tried(
            self._recipe.title,
            on,
            in_figures(found.plain.auc),
            in_figures(found.matched.auc) if found.matched else "-",
            counted_part(self._recipe.about),
        )
        words = {"recipe": self._key, "on_what": self._key_of_data, **asdict(tried)}
        before = self._lines_tried()
        if words not in before:
            lines = [json.dumps(line) for line in [*before, words]]
            replaced(self._settings.work / TRIED, ("\n".join(lines) + "\n").encode())

    def _tried(self) -> tuple[Tried, ...]:
        names = [one.name for one in fields(Tried)]
        return tuple(
            Tried(**{name: one[name] for name in names})
            for one in self._lines_tried()
            if one.get("on_what") == self._key_of_data
        )

    def _lines_tried(self) -> list[dict[str, Any]]:
        """Return what was measured in this work folder; lines that do not say so count breasts."""
        path = self._settings.work / TRIED
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return [{"per": "breast"} | json.loads(line) for line in lines]

    # --- the package --------------------------------------------------------------------------

    def packed(self, cross: CrossValidation, last: _OfFold) -> TrainedPackage:
        """Write, measure and describe the package of a fold's network."""
        settings, recipe = self._settings, self._recipe
        network, parity = self._exported(last)
        learnt_from, kept_back = self._apart(last)
        draft = settings.work / DRAFT / recipe.name
        with self._clock.step("evaluation"):
            first = self._evaluated(
                write_trained_package(draft, recipe, network, learnt_from), FIRST_LOOK
            )
        chosen = self._chosen(first, last.fold, kept_back)
        whole = settings.work / WHOLE / recipe.name
        shutil.rmtree(whole, ignore_errors=True)
        model = write_trained_package(whole, recipe, network, learnt_from, chosen)
        with self._clock.step("evaluation"):
            document = self._evaluated(model, SECOND_LOOK, chosen)
        facts = CardFacts(
            data=self._data(),
            licence=f"Licence of the weights: {recipe.licence.weights}.",
            train=settings.train,
            evaluate=" ".join([settings.evaluate, asked_thresholds(chosen)]).strip(),
            took=self._clock.words(),
            cross_validation=cross,
            this_file=document,
            chosen=chosen,
            tried=self._tried(),
        )
        finish_package(model, recipe, facts)
        amiss = [*amiss_in_card(model, document), *amiss_in_cross_validation(model, cross)]
        if amiss:
            raise ConfigError(
                "the card that was written does not say what was measured, so there is no package; "
                "report this mistake of `ai-node train`:\n" + "\n".join(amiss)
            )
        model = _put(model, settings.out / recipe.name)
        refused = self.examples.refused
        return TrainedPackage(model, cross, document, chosen, parity, facts.took, refused)

    def _epoch(self, last: _OfFold) -> int:
        """Return the epoch of the last fold's network, chosen on half A of its women."""
        mine = [self.examples.images[i] for i in last.watched]
        halves = self.division.is_half_b[last.watched]
        return chosen_epochs(self._recipe.about, mine, halves, last.learnt.logits)[Half.A]

    def _apart(self, last: _OfFold) -> tuple[set[str], ExampleIndices]:
        """Return what the shipped weights depend on, by pixels, and the images that remain."""
        nothing_was_chosen = len(last.learnt.logits) == 1
        half = None if nothing_was_chosen else Half.B
        kept_back = self.division.kept_back(last.fold, half)
        images, measured = self.examples.images, set(kept_back.tolist())
        learnt_from = {image.pixel_digest for i, image in enumerate(images) if i not in measured}
        learnt_from |= self._boxed
        refuse_learnt(learnt_from, {images[i].pixel_digest for i in measured})
        return learnt_from, kept_back

    def _exported(self, last: _OfFold) -> tuple[ExportedNetwork, float]:
        recipe = self._recipe
        roles = recipe.roles
        path = self._settings.work / DRAFT / "network.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        cases = list(self._cases(last.watched, roles))
        network = last.learnt.network(self._epoch(last))
        exported = export_network(network, roles, cases, path, has_cells=recipe.heat_map)
        unit = ManifestUnit(of="image")
        inputs = tuple(
            InputTensor(tensor=tensor, roles=(role,)) for role, tensor in exported.inputs.items()
        )
        if roles:
            unit = ManifestUnit(of=recipe.about, roles=roles, missing="blank", repeated="last")
        elif recipe.is_of_phases:
            manifest = reading_manifest(recipe)
            unit, inputs = manifest.unit, manifest.inputs
        heat_map = None
        if exported.cells is not None:
            height, width = exported.cells
            heat_map = HeatMapOutput.model_validate(
                {"tensor": CELLS_TENSOR, "height": height, "width": width, "concept": _WARM}
            )
        shipped = ExportedNetwork(
            path.read_bytes(),
            SCORE_TENSOR,
            unit=unit,
            inputs=inputs,
            heat_map=heat_map,
        )
        return shipped, exported.parity

    def _cases(
        self, watched: ExampleIndices, roles: Sequence[str]
    ) -> Iterator[list[NDArray[np.float32]]]:
        """Yield real inputs: an image, or one for each role; of slices those of a study."""
        images, tensors = self.examples.images, self.examples.tensors
        if self._recipe.is_of_phases:
            units = units_of([images[int(i)] for i in watched], "exam")
            for unit in units[:COMPARED_STUDIES]:
                yield [tensors[watched[list(unit.images)]].astype(np.float32)]
            return
        if not roles:
            yield from ([tensors[int(i)].astype(np.float32)] for i in watched[:COMPARED_CASES])
            return
        has_side = self._recipe.about == "exam"
        found = dict[tuple[object, ...], dict[str, int]]()
        for i in map(int, watched):
            image = images[i]
            role = f"{image.side} {image.projection}" if has_side else image.projection
            key = (image.exam,) if has_side else image.breast
            found.setdefault(key, {})[role] = i
        blank = np.zeros(tensors.shape[1:], np.float32)
        for places in list(found.values())[:COMPARED_CASES]:
            yield [
                tensors[places[role]].astype(np.float32) if role in places else blank
                for role in roles
            ]

    def _evaluated(
        self, model: Model, folder: str, chosen: Chosen | None = None
    ) -> EvaluationDocument:
        settings = self._settings
        points = tuple(point.threshold for point in chosen.points) if chosen else ()
        asked = EvaluationSettings(
            table=settings.table,
            out_dir=settings.work / folder / self._recipe.name,
            positive=self._recipe.labels.positive,
            thresholds=points,
            processes=settings.processes,
        )
        return evaluate_model(model, asked, self._progress)

    def _chosen(self, first: EvaluationDocument, fold: int, kept_back: ExampleIndices) -> Chosen:
        recipe = self._recipe
        positive = frozenset(recipe.labels.positive or ("1",))
        said = said_parts(first.cases, OUTPUT, positive, recipe.about)
        women = len({one.woman for one in said})
        whole = len(kept_back) == len(self.division.kept_back(fold))
        part = f"fold {fold}" if whole else f"half B of fold {fold}"
        parts = f"{len(said)} {counted_part(recipe.about)}s"
        data = f"{parts} of {women} women whom the weights never saw ({part})."
        if recipe.is_of_phases:
            return Chosen(platt(said, data), (), (), data, "a package of breast MRI has no levels")
        return choose_points(said, recipe.levels.specificities, platt(said, data), data)

    def _data(self) -> str:
        """Return what was learnt from, in sentences."""
        images, of_exams = self.examples.images, self._recipe.about == "exam"
        parts = [image.exam if of_exams else image.breast for image in images]
        positive = {part for part, image in zip(parts, images, strict=True) if image.label > 0.5}
        women = {image.woman for image in images}
        words = [self._recipe.data.strip()] if self._recipe.data else []
        of_studies = f" of {len({*parts}):,} studies" if self._recipe.is_of_phases else ""
        words.append(
            f"{self._settings.table.name}: {len(images):,} images{of_studies} of {len(women):,} "
            "women; "
            f"{len(positive):,} of {len({*parts}):,} {counted_part(self._recipe.about)}s are "
            "positive."
        )
        if boxes := self._settings.boxes:
            of = len({film.patient for film in boxes.films})
            words.append(f"{boxes.path.name}: boxes on {len(boxes.films):,} films of {of:,} women.")
        if refused := len(self.examples.refused):
            words.append(f"{refused:,} images were left out.")
        return " ".join(words)


_WARM = {"value": "CELLS", "scheme": "99AINODE", "meaning": "What each place adds to the score"}


_DECIDING = (
    *("about", "input", "pixels", "labels", "network", "augmentation", "schedule"),
    *("lesions", "regression", "folds"),
)
"""Parts of a recipe that the network depends on."""


def _digest(words: Sequence[object]) -> str:
    return sha256(json.dumps(words).encode()).hexdigest()[:16]


def _require_own(folder: Path) -> None:
    """Raise ConfigError if nothing can be written there, or a package lies there of another."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(folder.parent, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR))
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be written ({error.strerror}); name another folder: --out"
        ) from error
    if folder.exists() and any(folder.iterdir()) and not (folder / RECIPE).exists():
        raise ConfigError(
            f"{folder}: a package that `ai-node train` has not made; give the recipe another name, "
            "or name another folder: --out"
        )


def _put(model: Model, folder: Path) -> Model:
    """Bring a package that is whole to its place.

    What an earlier one left and this one has not goes; what somebody added, a licence, stays.
    """
    for written in (*GENERATED_FILES, "reference"):
        if (old := folder / written).is_dir():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
    shutil.copytree(model.folder, folder, dirs_exist_ok=True)
    return Model(folder)


def _require_boxes(recipe: Recipe, boxes: BoxedFilms | None) -> None:
    if recipe.lesions is not None and boxes is None:
        raise ConfigError("the recipe has [lesions]: name the table of boxes, --boxes boxes.csv")
    if recipe.lesions is None and boxes is not None:
        raise ConfigError("--boxes: the recipe has no [lesions], which is what learns from boxes")


@contextmanager
def work_folder(work: Path) -> Iterator[None]:
    """Keep a second run away from the same work folder; the lock goes with the process."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / LOCK).open("w")
    except OSError as error:
        raise ConfigError(
            f"{work}: cannot be used ({error.strerror}); name another folder: --work"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{work}: another training works there; wait for it, or name another folder: --work"
            ) from None
        yield


class _Clock:
    """How long each step took, all runs by one recipe on one table together."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what is done inside as a step, if it comes to an end or not."""
        begun = time.monotonic()
        try:
            yield
        finally:
            seconds = self._seconds()
            seconds[name] = seconds.get(name, 0.0) + time.monotonic() - begun
            replaced(self._path, json.dumps(seconds).encode())

    def _seconds(self) -> dict[str, float]:
        if not self._path.exists():
            return {}
        found: dict[str, float] = json.loads(self._path.read_text("utf-8"))
        return found

    def words(self) -> str:
        """Return it in a sentence."""
        seconds = self._seconds()
        parts = ", ".join(f"{name} {_minutes(of)}" for name, of in seconds.items())
        return f"It took {_minutes(sum(seconds.values()))} ({parts})."


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
