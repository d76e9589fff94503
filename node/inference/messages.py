"""What parent and child say to each other: JSON with a schema, and raw bytes; never a pickle.

The child decodes hostile images, so whatever it says may be an attacker's: the parent believes
only an answer that fits the question it asked.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, TypeAdapter

from node import config, score_json
from node.inference.line import Message
from node.inference.solid_messages import BREASTS, require_of_volumes
from node.manifest import (
    BoxesOutput,
    ClassesOutput,
    HeatMapOutput,
    Manifest,
    MapOutput,
    MaskOutput,
    Model,
    NumberOutput,
    Output,
    ScoreOutput,
    SolidsOutput,
)
from node.result import Code, HeatMap, Measurement, OutputScore, UnitScore
from node.study import LONGEST_SIDE_PX, PRE_CONTRAST, Picture, Unit, View, VolumePicture

LONGEST_WORDS = 4000
FARTHEST_MM = 1000.0
"""A body moves no farther in a magnet."""


def _printable(words: str) -> str:
    if not words.isprintable():
        raise ValueError("not printable")
    return words


# Names of files are bytes, and need not be text.
File = Annotated[
    Path,
    PlainSerializer(lambda path: os.fsencode(path).decode("latin-1")),
    PlainValidator(lambda name: Path(os.fsdecode(name.encode("latin-1")))),
]
Words = Annotated[str, Field(max_length=LONGEST_WORDS), AfterValidator(_printable)]
Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE_PX)]


# --- questions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Package:
    """A model as the parent has read it."""

    folder: File
    manifest: Manifest

    @property
    def model(self) -> Model:
        """The model, whatever its manifest's file has become."""
        return Model(self.folder, self.manifest)


@dataclass(frozen=True, slots=True)
class Setup:
    """The first thing a child hears."""

    settings: config.InferenceSettings
    packages: tuple[Package, ...]
    kind: Literal["setup"] = "setup"


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image, and what it shows."""

    path: File
    view: View | None


@dataclass(frozen=True, slots=True)
class ShownFrame:
    """A slice of a volume."""

    path: File
    number: int | None
    """From 1; None of a file that is one slice."""


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """Run a model on what it reads at once."""

    images: dict[str, ShownImage]
    """By role; a role of the model that has none is blank."""
    unit: str
    """Its key."""
    model_name: str
    volumes: dict[str, tuple[ShownFrame, ...]] = field(default_factory=dict)
    """By role, of a model that reads volumes."""
    followed: dict[str, tuple[ShownFrame, ...]] = field(default_factory=dict)
    """By name, of a model that measures how signal follows the contrast agent."""
    kind: Literal["score"] = "score"

    @classmethod
    def about(cls, unit: Unit, model: Model) -> Self:
        """Return the question what a model says of a unit."""
        images = {role: ShownImage(i.path, i.view) for role, i in unit.instances.items()}
        volumes, followed = (
            {
                role: tuple(ShownFrame(one.instance.path, one.number) for one in volume)
                for role, volume in of.items()
            }
            for of in (unit.volumes, unit.followed)
        )
        return cls(images, unit.key, model.manifest.name, volumes, followed)


@dataclass(frozen=True, slots=True)
class PictureJob:
    """Draw an image as a display shows it."""

    path: File
    sop_uid: str
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True, slots=True)
class VolumePictureJob:
    """Draw slices of a phase, and what it adds to another."""

    before: tuple[ShownFrame, ...]
    after: tuple[ShownFrame, ...]
    """The same slices of the phase that is shown; none if that is the first."""
    places: tuple[int, ...]
    """Of the slices that are drawn, from 0."""
    sop_uid: str
    """Of the first, for the log."""
    kind: Literal["volume picture"] = "volume picture"


@dataclass(frozen=True, slots=True)
class SlicesPictureJob:
    """Draw slices of several phases on one scale of grey."""

    frames: tuple[ShownFrame, ...]
    sop_uid: str
    """Of the first, for the log."""
    kind: Literal["picture of slices"] = "picture of slices"


@dataclass(frozen=True, slots=True)
class PixelDigestJob:
    """Digest the decoded pixels of an object."""

    path: File
    sop_uid: str
    kind: Literal["pixel digest"] = "pixel digest"


ImageJob = ScoreJob | PictureJob | VolumePictureJob | SlicesPictureJob | PixelDigestJob
Question = Setup | ImageJob
_QUESTION = TypeAdapter[Question](Annotated[Question, Field(discriminator="kind")])


def asked(question: Question) -> Message:
    """Return a question as it is sent."""
    return Message(_QUESTION.dump_json(question))


def question_in(message: Message) -> Question:
    """Return the question that was sent."""
    return _QUESTION.validate_json(message.head)


# --- answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotReady:
    """Why the networks are not loaded: the configuration's fault."""

    __pydantic_config__ = score_json.STRICT
    words: Words
    kind: Literal["not ready"] = "not ready"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error: its class in node.errors, and words without patient data."""

    __pydantic_config__ = score_json.STRICT
    error: Literal["Unreadable", "StudyError", "ModelError"]
    words: Words
    kind: Literal["failure"] = "failure"


@dataclass(frozen=True, slots=True)
class _Ready:
    __pydantic_config__ = score_json.STRICT
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True)
class _Scored:
    """The body is the score, as the ledger keeps it."""

    __pydantic_config__ = score_json.STRICT
    kind: Literal["score"] = "score"


@dataclass(frozen=True, slots=True)
class _Drawn:
    """The body is the grey values, row by row."""

    __pydantic_config__ = score_json.STRICT
    rows: Side
    columns: Side
    scale: Annotated[float, Field(gt=0, le=1)]
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True, slots=True)
class _Size:
    __pydantic_config__ = score_json.STRICT
    rows: Side
    columns: Side
    scale: Annotated[float, Field(gt=0, le=1)]

    @property
    def pixels(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class _DrawnVolume:
    """The body is the grey values of each slice in the order of the question, then the rest."""

    __pydantic_config__ = score_json.STRICT
    slices: list[_Size]
    projection: _Size | None
    kind: Literal["volume picture"] = "volume picture"


@dataclass(frozen=True, slots=True)
class _Digested:
    __pydantic_config__ = score_json.STRICT
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    kind: Literal["pixel digest"] = "pixel digest"


Answer = NotReady | Failure | UnitScore | Picture | VolumePicture | str | None
"""None says that all is ready, a text is a digest."""
_KIND = Field(discriminator="kind")
_HEAD = TypeAdapter[object](
    Annotated[_Ready | NotReady | Failure | _Scored | _Drawn | _DrawnVolume | _Digested, _KIND]
)
_GREETING = TypeAdapter[_Ready | NotReady](Annotated[_Ready | NotReady, _KIND])
_SCORED = TypeAdapter[_Scored | Failure](Annotated[_Scored | Failure, _KIND])
_DRAWN = TypeAdapter[_Drawn | Failure](Annotated[_Drawn | Failure, _KIND])
_DRAWN_VOLUME = TypeAdapter[_DrawnVolume | Failure](Annotated[_DrawnVolume | Failure, _KIND])
_DIGESTED = TypeAdapter[_Digested | Failure](Annotated[_Digested | Failure, _KIND])


def reason_of(error: Exception) -> str:
    """Return what an error says, as an answer may hold it."""
    return "".join(c if c.isprintable() else "?" for c in str(error))[:LONGEST_WORDS]


def answered(answer: Answer) -> Message:
    """Return an answer as it is sent."""
    match answer:
        case UnitScore():
            return Message(_HEAD.dump_json(_Scored()), score_json.dumped(answer))
        case Picture() | VolumePicture():
            return _drawn(answer)
        case str():
            return Message(_HEAD.dump_json(_Digested(answer)))
        case None:
            return Message(_HEAD.dump_json(_Ready()))
        case NotReady() | Failure():
            return Message(_HEAD.dump_json(answer))


def _drawn(answer: Picture | VolumePicture) -> Message:
    if isinstance(answer, Picture):
        rows, columns = answer.grey.shape
        head = _Drawn(rows, columns, answer.scale)
        return Message(_HEAD.dump_json(head), answer.grey.tobytes())
    slices, projection = list(answer.slices.values()), answer.projection
    sizes = [_size(one) for one in slices]
    of_all = _DrawnVolume(sizes, None if projection is None else _size(projection))
    pictures = slices if projection is None else [*slices, projection]
    return Message(_HEAD.dump_json(of_all), b"".join(one.grey.tobytes() for one in pictures))


def _size(picture: Picture) -> _Size:
    rows, columns = picture.grey.shape
    return _Size(rows, columns, picture.scale)


# What follows raises ValueError for whatever is no answer to the question.


def greeting_in(message: Message) -> NotReady | None:
    """Return the answer to a Setup."""
    _require(not message.body, "bytes that belong to nothing")
    head = _GREETING.validate_json(message.head)
    return head if isinstance(head, NotReady) else None


def digest_in(message: Message) -> str | Failure:
    """Return the answer to a PixelDigestJob."""
    _require(not message.body, "bytes that belong to nothing")
    head = _DIGESTED.validate_json(message.head)
    return head if isinstance(head, Failure) else head.digest


def picture_in(message: Message) -> Picture | Failure:
    """Return the answer to a PictureJob."""
    head = _DRAWN.validate_json(message.head)
    if isinstance(head, Failure):
        return head
    _require(len(message.body) == head.rows * head.columns, "a picture of another size")
    grey = np.frombuffer(message.body, np.uint8).reshape(head.rows, head.columns)
    return Picture(grey, head.scale)


def volume_picture_in(
    message: Message, places: Sequence[int], has_projection: bool
) -> VolumePicture | Failure:
    """Return the answer to a VolumePictureJob of these slices, of one phase or of two.

    Or to a SlicesPictureJob of as many, without projection.
    """
    head = _DRAWN_VOLUME.validate_json(message.head)
    if isinstance(head, Failure):
        return head
    _require(len(head.slices) == len(places), "other slices than were asked for")
    _require((head.projection is not None) == has_projection, "a projection too many, or none")
    sizes = [*head.slices, *([head.projection] if head.projection is not None else [])]
    ends = list(accumulate(size.pixels for size in sizes))
    _require(len(message.body) == (ends[-1] if ends else 0), "pictures of another size")
    body = np.frombuffer(message.body, np.uint8)
    pictures = [
        Picture(
            body[end - size.rows * size.columns : end].reshape(size.rows, size.columns), size.scale
        )
        for size, end in zip(sizes, ends, strict=True)
    ]
    projection = pictures.pop() if has_projection else None
    return VolumePicture(dict(zip(places, pictures, strict=True)), projection)


def score_in(
    message: Message,
    unit: str,
    outputs: Sequence[Output],
    volumes: Mapping[str, int] | None = None,
    followed: Collection[str] = (),
    batch: int = 1,
) -> UnitScore | Failure:
    """Return the answer to a ScoreJob about a unit with this key, by a model with these outputs.

    `volumes`: by role how many slices there are, of a unit of volumes; `followed`: the names of
    the phases whose signal is followed; `batch`: how many images are made of each volume.
    """
    head = _SCORED.validate_json(message.head)
    if isinstance(head, Failure):
        return head
    score = score_json.loaded(message.body)
    _require(score.unit == unit, "a score of another image")
    _require(len(score.outputs) == len(outputs), "other outputs than the manifest names")
    for one, output in zip(score.outputs, outputs, strict=True):
        _require_fitting(one, unit, output)
    is_possible = all(mm is None or 0 <= mm <= FARTHEST_MM for _, mm in score.displaced)
    _require(is_possible, "a displacement that cannot be")
    roles = tuple(volumes or {})
    has_pre = PRE_CONTRAST in roles
    compared = sorted(role for role in roles if has_pre and role != PRE_CONTRAST)
    are_those = sorted(role for role, _ in score.displaced) == compared
    _require(are_those, "displacements of other phases than were read")
    _require(has_pre or score.breasts is None, "breasts that nobody looked for")
    is_once = score.unread in ((), *((side,) for side in BREASTS), BREASTS)
    _require(is_once and (has_pre or not score.unread), "breasts that nobody looked for")
    require_of_volumes(score, outputs, volumes or {}, followed, batch)
    return score


def _require_fitting(score: OutputScore, unit: str, output: Output) -> None:
    of_unit, of_mark = _concepts(output)
    may_lack = isinstance(output, NumberOutput) and (output.needs or output.none_if is not None)
    is_named = _named(score.measurements) == of_unit or (may_lack and not score.measurements)
    _require(bool(is_named), "other numbers than the manifest names")
    _require(of_mark is not None or not score.marks, "marks of a model that makes none")
    classes = range(len(output.classes)) if isinstance(output, BoxesOutput) else range(0)
    for mark in score.marks:
        _require(_named(mark.measurements) == of_mark, "other numbers than the manifest names")
        is_closed = len(mark.outline) > 3 and mark.outline[0] == mark.outline[-1]
        _require(is_closed, "an outline that is not closed")
        is_known = mark.of_class in classes if classes else mark.of_class is None
        _require(is_known, "a mark of no class that the manifest names")
    _require_heat_map(score.heat_map, unit, output.warmth)


def _require(is_so: bool, what_else: str) -> None:
    if not is_so:
        raise ValueError(what_else)


def _named(measurements: tuple[Measurement, ...]) -> tuple[Code, ...]:
    return tuple(measurement.concept for measurement in measurements)


def _concepts(output: Output) -> tuple[tuple[Code, ...], tuple[Code, ...] | None]:
    """Return what numbers there must be of a unit, and of each mark if there may be marks."""
    match output:
        case ClassesOutput() | ScoreOutput():
            return tuple(code.as_code() for code in output.codes), None
        case NumberOutput():
            return (output.quantity.as_code(),), None
        case BoxesOutput():
            return (), (output.score.as_code(),)
        case MaskOutput():
            return (), (output.area.as_code(),)
        case MapOutput() | SolidsOutput():
            return (), None


def _require_heat_map(found: HeatMap | None, unit: str, output: HeatMapOutput | None) -> None:
    _require((found is None) == (output is None), "a heat map too many, or none")
    if found is not None and output is not None:
        _require(found.sop_uid == unit, "a heat map of another image")
        _require(found.concept == output.concept.as_code(), "another heat map")
        fits = 1 <= found.rows <= output.height and 1 <= found.columns <= output.width
        cells = len(base64.b64decode(found.values, validate=True))
        _require(fits and cells == found.rows * found.columns, "a heat map of another size")
