"""A table of labelled images -> examples to learn from: what the node gives a network of each.

They are read as at run time, by the same selection, refusals and preparation, so that training
and ward see one tensor. What was prepared is kept in a folder: an image is read again only if its
file, what the table says of its pixels, the recipe's operations or the code that reads changed.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node import __version__
from node.analysis.selection import select
from node.dicom.header import read_header
from node.errors import ConfigError, ModelError, StudyError
from node.evaluation.cases import LEFT_ASIDE
from node.evaluation.collection import LabelledExam, LabelledImage, collect, given
from node.evaluation.evaluating import Progressing
from node.evaluation.labels import LabelRow, LabelTable, refuse
from node.evaluation.running import processes_here, threads
from node.identity import stable_uid
from node.imaging.digests import pixel_digest
from node.imaging.image import Image
from node.imaging.resampling import resized
from node.inference.inputs import prepared_image
from node.manifest import InputTensor, Manifest, Model
from node.manifest.pixels import Operations
from node.score_key import JUDGES, VOLUME_MAKERS
from node.study import Instance, Laterality, StudyVersion
from node.toml_file import did_you_mean, shown
from node.training.kept import (
    REDUCED_PX,
    KeptArray,
    KeptImage,
    KeptImages,
    Reduction,
    in_base64,
)
from node.training.recipe import Auxiliary, Recipe
from node.training.studies import prepared_study
from node.training.trunk_pixels import makes_bytes

IMAGE_TENSOR = "image"
"""Of a network that reads single images, or slices."""
KEPT_IMAGES = "images"
"""In the work folder; each way of preparation has a folder below it."""
_BINARY = {"0": 0.0, "1": 1.0}
_READ_BY = ("decoding", "grey", "preparation", "plausibility")
"""Parts of our own code that decide what is kept of an image."""


@dataclass(frozen=True, slots=True)
class Example:
    """An image that the node gives to a network."""

    row: LabelRow
    """What the table says of it; `row.columns` by name."""
    exam: int
    """Number of the exam, from 1 in the order of the table."""
    woman: str
    side: Laterality | None
    projection: str
    pixel_digest: str
    """As a line of `training-images.txt`."""
    label: float
    """0 or 1."""
    auxiliary: Mapping[str, float] = field(default_factory=dict)
    """0..1, by column; only those that are known of this image."""
    slice: int | None = None
    """Of breast MRI: which image of the study it is, from 1; None: it is one by itself."""

    @property
    def breast(self) -> tuple[int, str]:
        """The exam and side: what a breast is."""
        return self.exam, str(self.side or "")


class Tensors:
    """What the network gets of each example, in their order, read from the disk when asked for."""

    def __init__(self, kept: KeptArray, places: Sequence[int]) -> None:
        self._kept = kept
        self._places = np.asarray(places, dtype=np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, channels, height, width)."""
        return len(self._places), *self._kept.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 where the recipe makes bytes, else float16."""
        return self._kept.dtype

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, which: Any) -> KeptArray:
        """Return one (an int) or several (a slice, a list of numbers, a mask), in memory."""
        return np.array(self._kept[self._places[which]])


@dataclass(frozen=True, slots=True)
class RefusedImage:
    """An image that the node gives to no network."""

    row: LabelRow
    reason: str


@dataclass(frozen=True, slots=True)
class Examples:
    """All that there is to learn from."""

    table: LabelTable
    images: tuple[Example, ...]
    tensors: Tensors
    """`tensors[i]` is of `images[i]`."""
    reductions: NDArray[np.float32]
    """(n, 32, 32): each image made small, by which near-duplicates are found."""
    refused: tuple[RefusedImage, ...]


def read_examples(
    table: LabelTable,
    recipe: Recipe,
    work: Path,
    progress: Progressing,
    processes: int | None = None,
) -> Examples:
    """Return what there is to learn from, or raise ConfigError with all that contradicts itself.

    Cut short, the next call goes on where it was.
    """
    truths = _truths(table, recipe)
    model = Model(Path(recipe.name), reading_manifest(recipe))
    with progress("Reading", len(table.rows)) as advance:
        exams = collect(table, model.manifest, advance)
    shape, dtype = _kept_shape(model.manifest), kept_dtype(recipe.operations)
    with KeptImages(work / KEPT_IMAGES / _preparation(recipe), shape, dtype) as kept:
        keys = _keys(exams)
        unread = [
            exam for exam in exams if any(kept.find(keys[i.row.line]) is None for i in exam.images)
        ]

        def read(exam: LabelledExam) -> None:
            for line, (image, tensor) in _read(exam, model, dtype).items():
                kept.record(keys[line], image, tensor)
            advance()

        count = processes or processes_here()
        with progress("Preparing", len(unread)) as advance, threads(count, "training") as pool:
            for _ in pool.map(read, unread):
                pass
        found = _examples(table, exams, truths, keys, kept)
    _require_some(found)
    return found


def _require_some(found: Examples) -> None:
    """Raise ConfigError, with the reasons, if the node gives no image to the network."""
    if not found.images:
        reasons = Counter(one.reason for one in found.refused).most_common()
        refuse(
            [
                f"{found.table.path}: none of its {len(found.refused)} images is given to the "
                "network, as a node would refuse them too:",
                *(f"{count} images: {reason}" for reason, count in reasons),
            ]
        )


# --- what the table says ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Truth:
    """What a row is to teach."""

    label: float
    auxiliary: Mapping[str, float]


def _truths(table: LabelTable, recipe: Recipe) -> dict[int, _Truth]:
    """Return what each row is to teach, by its line."""
    labels = recipe.labels
    wanted = [("labels", one.column) for one in labels.auxiliary]
    wanted += [("labels", one.column) for one in labels.matched]
    wanted += [("labels", labels.balanced_within)] if labels.balanced_within else []
    if recipe.regression is not None:
        together = {one.column: None for by in recipe.regression.alike for one in by}
        wanted += [("regression", column) for column in together]
    problems = [
        f"{table.path}: no column {name}, which the recipe names under [{place}]; "
        f"{did_you_mean(name, table.columns)}"
        for place, name in wanted
        if name not in table.columns
    ]
    said = {row.label for row in table.rows}
    problems += [
        f"{table.path}: no row has the label {shown(name)}, which the recipe names under [labels] "
        f"positive; {did_you_mean(name, sorted(said))}"
        for name in labels.positive
        if name not in said
    ]
    refuse(problems)
    truths = dict[int, _Truth]()
    for row in table.rows:
        auxiliary = dict[str, float]()
        for one in labels.auxiliary:
            value, amiss = _auxiliary(row.columns.get(one.column, ""), one)
            problems += [table.problem(row, amiss)] if amiss else []
            if value is not None:
                auxiliary[one.column] = value
        if labels.positive:
            label = float(row.label in labels.positive)
        elif row.label in _BINARY:
            label = _BINARY[row.label]
        else:
            label = 0.0
            words = "expected 0 or 1, or name what counts as 1 in the recipe: [labels] positive"
            problems.append(table.problem(row, f"label: {words}; found {shown(row.label)}"))
        truths[row.line] = _Truth(label, auxiliary)
    refuse(problems)
    return truths


def _auxiliary(said: str, one: Auxiliary) -> tuple[float | None, str]:
    """Return what a cell of an auxiliary column means, if anything, and what is wrong with it."""
    if one.values:
        return one.values.get(said), ""
    if not said:
        return None, ""
    try:
        value = float(said)
    except ValueError:
        value = np.nan
    if not 0 <= value <= 1:
        words = "or say in the recipe what its words mean: [[labels.auxiliary]] values"
        return None, f"{one.column}: expected a number from 0 to 1, {words}; found {shown(said)}"
    return value, ""


# --- what is kept -----------------------------------------------------------------------------


def reading_manifest(recipe: Recipe) -> Manifest:
    """Return a manifest under which images are read as those of the trained package will be."""
    words: dict[str, Any] = {
        **words_of_phases(recipe),
        "name": recipe.name,
        "title": recipe.title,
        "version": recipe.version,
        "manufacturer": recipe.manufacturer,
        "device_uid": recipe.device_uid or stable_uid("model", recipe.name, recipe.version),
        "status": "demonstration",
        "intended_use": "measurement",
        "statement": recipe.statement,
        "licence": recipe.licence,
        "weights": {"file": "model.onnx", "sha256": "0" * 64},
        "input": recipe.input,
        "pixels": recipe.pixels,
        "outputs": [
            {
                "name": "score",
                "kind": "score",
                "tensor": "score",
                "label": "score",
                "score": {"value": "SCORE", "scheme": "99AINODE", "meaning": "Score"},
                **({} if recipe.is_of_phases else _UNCOMBINED),
            }
        ],
    }
    return Manifest.model_validate(words)


_UNCOMBINED = {"combine": {"breast": "none", "exam": "none"}}


def words_of_phases(recipe: Recipe) -> dict[str, Any]:
    """Return what the manifest of a package of breast MRI says that others do not."""
    if not recipe.is_of_phases:
        return {}
    assert recipe.unit is not None, "the recipe has seen to it"
    channels = recipe.channels or ()
    image = InputTensor(
        tensor=IMAGE_TENSOR, roles=channels, join="channels" if len(channels) > 1 else None
    )
    return {
        "domain": "breast_mr",
        "unit": recipe.unit.model_dump(mode="json"),
        "inputs": [image.model_dump(mode="json")],
    }


def _kept_shape(manifest: Manifest) -> tuple[int, ...]:
    """Return the shape of what is kept of a row: an image, or all images of a study."""
    if manifest.domain != "breast_mr":
        return manifest.image_shape
    (image,) = manifest.inputs
    return image.shape(manifest.image_shape, manifest.image_batch)


def kept_dtype(of: Operations) -> np.dtype[Any]:
    """Return what tensors are kept as: bytes if that is what operations make, else float16."""
    return np.dtype(np.uint8 if makes_bytes(of) else np.float16)


def _preparation(recipe: Recipe) -> str:
    """Return a name for all that decides what is kept of an image, but for the image."""
    parts = {name: JUDGES[name].number for name in _READ_BY}
    words = [__version__, parts, recipe.input.model_dump(mode="json"), recipe.pixel_words]
    if recipe.is_of_phases:
        words += [{name: part.number for name, part in VOLUME_MAKERS.items()}]
        words += [words_of_phases(recipe)]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]


def _keys(exams: Sequence[LabelledExam]) -> dict[int, str]:
    """Return for each line a key of its file and of the exam, which images are selected by."""
    keys = dict[int, str]()
    for exam in exams:
        files = {image.row.line: _file_words(image) for image in exam.images}
        together = sorted(files.values())
        for line, words in files.items():
            keys[line] = hashlib.sha256(json.dumps([words, together]).encode()).hexdigest()
    return keys


def _file_words(image: LabelledImage) -> str:
    """Return what tells a file from others and from what it was before, without reading it."""
    row = image.row
    paths = [row.path] if image.study is None else image.study.paths
    words = list[Any]()
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        words += [str(path.resolve()), state.st_size, state.st_mtime_ns]
    words += [str(row.side), row.projection, row.bits, row.spacing_mm, row.chest_wall]
    return json.dumps([*words, row.is_inverted])


# --- reading ----------------------------------------------------------------------------------

_Read = tuple[KeptImage, KeptArray | None]


def _read(exam: LabelledExam, model: Model, dtype: np.dtype[Any]) -> dict[int, _Read]:
    """Return what is made of each image of an exam, by its line."""
    read = dict[int, _Read]()
    reasons = {image.row.line: LEFT_ASIDE for image in exam.images}
    if exam.why_held:
        return {line: _not_given(f"held: {exam.why_held}") for line in reasons}
    with tempfile.TemporaryDirectory(prefix="ai-node-train-") as folder:
        taken = given(exam, model.manifest.input, Path(folder))
        reasons |= taken.refused
        if taken.version is not None and taken.studies:
            read |= dict.fromkeys(reasons, _of_study(taken.version, model, dtype))
        elif taken.version is not None:
            lines = {sop_uid: line for line, sop_uid in taken.sop_uids.items()}
            chosen, refused = _chosen(taken.version, model)
            reasons |= {lines[sop_uid]: reason for sop_uid, reason in refused.items()}
            for instance in chosen:
                read[lines[instance.sop_uid]] = _prepared(instance, model.manifest, dtype)
    return {line: _not_given(reason) for line, reason in reasons.items()} | read


def _of_study(version: StudyVersion, model: Model, dtype: np.dtype[Any]) -> _Read:
    """Return what is made of a breast MRI; without a reduction, for none is compared."""
    try:
        study = prepared_study(version, model)
    except (StudyError, ModelError) as error:
        return _not_given(str(error))
    blank = in_base64(np.zeros((REDUCED_PX, REDUCED_PX), np.float32))
    return KeptImage(study.pixel_digest, reduced=blank), study.images.astype(dtype)


def _not_given(reason: str) -> _Read:
    return KeptImage(reason=reason), None


def _chosen(version: StudyVersion, model: Model) -> tuple[list[Instance], dict[str, str]]:
    """Return the images that the node would give to the network, and why not the others."""
    headers = {one.sop_uid: read_header(one.path) for one in version.instances}
    selection = select(version.instances, headers, model)
    chosen = [instance for unit in selection.units for instance in unit.instances.values()]
    return chosen, {one.sop_uid: one.reason for one in selection.refused}


def _prepared(instance: Instance, manifest: Manifest, dtype: np.dtype[Any]) -> _Read:
    try:
        image, prepared = prepared_image(instance.path, instance.view, manifest)
        digest = pixel_digest(instance.path)
    except (StudyError, ModelError) as error:
        return _not_given(str(error))
    tensor = prepared.tensor[0].astype(dtype)
    return KeptImage(digest, reduced=in_base64(reduced(image))), tensor


def reduced(image: Image) -> Reduction:
    """Return an image made small, its brighter half on the left."""
    small = resized(image.grey("voi"), REDUCED_PX, REDUCED_PX, "box", antialias=True)
    half = REDUCED_PX // 2
    is_right = small[:, half:].sum() > small[:, :half].sum()
    return np.asarray(small[:, ::-1] if is_right else small, dtype=np.float32)


# --- all of them ------------------------------------------------------------------------------


def _examples(
    table: LabelTable,
    exams: Sequence[LabelledExam],
    truths: Mapping[int, _Truth],
    keys: Mapping[int, str],
    kept: KeptImages,
) -> Examples:
    images, places, reductions = list[Example](), list[int](), list[Reduction]()
    refused = list[RefusedImage]()
    first = dict[tuple[str, str], LabelRow]()
    for exam, image in _in_order(table, exams):
        row, known = image.row, kept.find(keys[image.row.line])
        assert known is not None, "each was read"
        before = first.setdefault((exam.patient, known.pixel_digest), row) if known.reduced else row
        if known.place is None or before is not row:
            words = f"the same pixels as {table.place(before)}, of the same woman"
            refused.append(RefusedImage(row, known.reason or words))
            continue
        truth = truths[row.line]
        example = Example(
            row=row,
            exam=exam.number,
            woman=exam.patient,
            side=image.side,
            projection=image.projection,
            pixel_digest=known.pixel_digest,
            label=truth.label,
            auxiliary=truth.auxiliary,
        )
        of_row = [example] if image.study is None else _slices_of(example, kept.per_row)
        images += of_row
        places += (known.place * len(of_row) + i for i in range(len(of_row)))
        reductions += [known.reduction] * len(of_row)
    return Examples(
        table,
        tuple(images),
        Tensors(kept.tensors(), places),
        np.array(reductions, np.float32).reshape(-1, REDUCED_PX, REDUCED_PX),
        tuple(refused),
    )


def _slices_of(study: Example, count: int) -> list[Example]:
    """Return the images of a breast MRI, each with the label of the study."""
    numbers = range(1, count + 1)
    return [replace(study, projection=f"slice {number}", slice=number) for number in numbers]


def _in_order(
    table: LabelTable, exams: Sequence[LabelledExam]
) -> Iterator[tuple[LabelledExam, LabelledImage]]:
    """Yield the images in the order of the table, each with its exam."""
    found = {image.row.line: (exam, image) for exam in exams for image in exam.images}
    for row in table.rows:
        yield found[row.line]
