"""What a network answers, one section for each kind, and how answers combine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from node import result
from node.manifest.output_words import (
    Combination,
    ImageShape,
    OutputWords,
    Places,
    TensorShape,
)
from node.manifest.triage import (
    Calibration,
    ManifestNegatives,
    ManifestPoint,
    Temperature,
    amiss_in_calibration,
    amiss_in_points,
)
from node.manifest.volume_outputs import NumberOutput, SolidsOutput
from node.manifest.words import Ascii, CodeText, ManifestCode
from node.toml_file import Place, Section, wrong

OverSlices = Literal["highest", "mean"]


class MaskOutput(OutputWords):
    """A tensor [1, 1, height, width] that marks a region; its area is measured in cm2."""

    LATER: ClassVar[frozenset[str]] = frozenset({"name", "about", "activation"})

    kind: Literal["mask"]
    tensor: str
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    regions: Literal["largest", "all"] = "largest"
    """largest: the breast, which every image shows; all: lesions, each one a finding."""
    min_area_mm2: Annotated[float, Field(ge=0)] = 0
    """Of a region, where all count: what is smaller is dropped."""
    finding: ManifestCode
    """What the region is."""
    label: Ascii
    """Behind the view's name: "outline" gives "R MLO outline"."""
    area: ManifestCode
    """The concept of the measured area; its unit is cm2 (UCUM)."""
    decimals: Annotated[int, Field(ge=0, le=4)] = 1
    difference: ManifestCode | None = None
    """Left-right difference of the areas of one projection, in percent of the larger."""
    activation: Literal["none", "sigmoid"] = "none"

    @property
    def places(self) -> Places:
        """Regions."""
        return "regions"

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects."""
        return (self.finding.as_code(),) if self.regions == "all" else ()

    def tensor_shapes(self, of_image: ImageShape) -> dict[str, TensorShape]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, 1, *of_image[1:])}

    @model_validator(mode="after")
    def _words_fit_the_regions(self) -> Self:
        if self.regions == "all" and self.difference is not None:
            raise wrong([(("difference",), 'is of breasts, not of lesions (regions = "all")')])
        if self.regions == "largest" and self.min_area_mm2:
            raise wrong([(("min_area_mm2",), 'is of lesions, add regions = "all"')])
        return self


class Class(Section):
    """One of the classes that exclude one another."""

    grade: ManifestCode
    """What is written if this class is the most probable."""
    probability: ManifestCode
    """The concept of its probability; the unit is percent."""


class ClassesOutput(OutputWords):
    """A tensor [1, classes] of probabilities that add up to 1; the most probable is the grade."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"name", "about", "activation", "combine", "highest_by", "calibration", "over_slices"}
    )

    kind: Literal["classes"]
    tensor: str
    label: Ascii
    """Behind whom it is about: "breast density" gives "R breast density"."""
    concept: ManifestCode
    """What is graded."""
    classes: Annotated[tuple[Class, ...], Field(min_length=2)]
    """In the order of the tensor."""
    decimals: Annotated[int, Field(ge=0, le=2)] = 0
    """Of the probabilities in percent."""
    activation: Literal["none", "softmax"] = "none"
    combine: Combination | None = None
    over_slices: OverSlices | None = None
    """Of a batch of slices: what is said of all of them."""
    highest_by: CodeText | None = None
    """Value of a grade: "highest" is the part where this class is the most probable."""
    calibration: Temperature | None = None

    @property
    def codes(self) -> tuple[ManifestCode, ...]:
        """The concepts of its probabilities."""
        return tuple(one.probability for one in self.classes)

    @property
    def combines(self) -> Combination | None:
        """How it is combined."""
        return self.combine or Combination()

    @property
    def deciding(self) -> int:
        """Place of the class by which the highest is found."""
        return [one.grade.value for one in self.classes].index(self.highest_by or "")

    def tensor_shapes(self, _: ImageShape) -> dict[str, TensorShape]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, len(self.classes))}

    @model_validator(mode="after")
    def _words_fit_one_another(self) -> Self:
        problems = [*self._amiss_in_highest()]
        problems += amiss_in_calibration(self.codes, self.calibration, ("classes",))
        if problems:
            raise wrong(problems)
        return self

    def _amiss_in_highest(self) -> Iterator[tuple[Place, str]]:
        combine = self.combine or Combination()
        is_by_one = "highest" in (combine.breast, combine.exam, self.over_slices)
        grades = [one.grade.value for one in self.classes]
        if is_by_one and self.highest_by is None:
            words = f'missing: "highest" by which class? One of {", ".join(grades)}'
            yield ("highest_by",), words
        elif self.highest_by is not None and not is_by_one:
            yield ("highest_by",), 'has no effect: nothing is combined by "highest"'
        elif self.highest_by not in (None, *grades):
            yield ("highest_by",), f"expected the value of a grade: {', '.join(grades)}"


class BoxClass(Section):
    """What a box may hold, where the network tells several things apart."""

    finding: ManifestCode
    label: Ascii
    """Behind the view's name: "mass" gives "R MLO mass 1"."""


class BoxesOutput(OutputWords):
    """A tensor [1, boxes, 5] of lesions: left, top, right, bottom, score; unused rows score 0.

    The edges are in pixels of the network's input, (0, 0) being the top left corner of the first.
    """

    LATER: ClassVar[frozenset[str]] = frozenset({"name", "about", "activation", "form", "classes"})

    kind: Literal["boxes"]
    tensor: str
    boxes: Annotated[int, Field(ge=1, le=1000)]
    """Rows of the tensor."""
    threshold: Annotated[float, Field(gt=0, lt=1)]
    """Boxes whose score is at least this become findings."""
    finding: ManifestCode
    """What is in the box; of several classes what all of them are."""
    label: Ascii
    """Behind the view's name: "mass" gives "R MLO mass 1"."""
    score: ManifestCode
    """The concept of the score, whose unit is percent."""
    decimals: Annotated[int, Field(ge=0, le=2)] = 0
    same_lesion_within_mm: Annotated[float, Field(gt=0, le=50)] | None = None
    """A finding on CC and one on MLO of a breast whose depths from the chest wall's edge differ
    by no more are called one lesion; each is matched once, the nearest first."""
    activation: Literal["none", "sigmoid"] = "none"
    """Of the scores."""
    form: Literal["left top right bottom score", "left top right bottom score class"] = (
        "left top right bottom score"
    )
    """What a row holds."""
    classes: tuple[BoxClass, ...] = ()
    """In the order of the numbers in the last place of a row, from 0."""

    @property
    def places(self) -> Places:
        """Boxes."""
        return "boxes"

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects."""
        of_classes = (one.finding.as_code() for one in self.classes)
        return tuple(dict.fromkeys(of_classes)) or (self.finding.as_code(),)

    def tensor_shapes(self, _: ImageShape) -> dict[str, TensorShape]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, self.boxes, len(self.form.split()))}

    @model_validator(mode="after")
    def _words_fit_the_form(self) -> Self:
        problems = [*amiss_in_calibration((self.score,), None, ("score",))]
        if self.classes and not self.form.endswith("class"):
            words = 'need rows that hold them: form = "left top right bottom score class"'
            problems.append((("classes",), words))
        if self.form.endswith("class") and not self.classes:
            problems.append((("classes",), "missing: a finding and a label of each class"))
        if problems:
            raise wrong(problems)
        return self


class HeatMapOutput(Section):
    """A tensor [1, 1, height, width], 0..1, over the whole of the network's input."""

    tensor: str
    height: Annotated[int, Field(ge=2, le=128)]
    width: Annotated[int, Field(ge=2, le=128)]
    concept: ManifestCode
    """What is warm in it."""

    @property
    def tensor_shape(self) -> TensorShape:
        """The shape that the tensor must have."""
        return 1, 1, self.height, self.width


class MapOutput(OutputWords):
    """A heat map by itself."""

    kind: Literal["heat map"]
    tensor: str
    label: Ascii
    height: Annotated[int, Field(ge=2, le=128)]
    width: Annotated[int, Field(ge=2, le=128)]
    concept: ManifestCode
    """What is warm in it."""
    activation: Literal["none", "sigmoid"] = "none"

    @property
    def places(self) -> Places:
        """Warmth."""
        return "warmth"

    @property
    def warmth(self) -> HeatMapOutput:
        """What it is beside a score."""
        words = {"tensor", "height", "width", "concept"}
        return HeatMapOutput(**{word: getattr(self, word) for word in words})

    def tensor_shapes(self, _: ImageShape) -> dict[str, TensorShape]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: self.warmth.tensor_shape}


class ScoreOutput(OutputWords):
    """A tensor [1, 1]: one score, 0..1, of the whole of what the network reads."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {
            *("name", "about", "activation", "element"),
            *("combine", "calibration", "operating_points", "negatives", "over_slices"),
        }
    )

    kind: Literal["score"]
    tensor: str
    label: Ascii
    """Behind what it is about: "AI score" gives "R MLO AI score"."""
    score: ManifestCode
    """The concept of the score, whose unit is percent."""
    decimals: Annotated[int, Field(ge=0, le=2)] = 0
    heat_map: HeatMapOutput | None = None
    element: Annotated[int, Field(ge=0)] | None = None
    """Which one of the tensor's last axis, from 0, if there are several."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    combine: Combination | None = None
    calibration: Annotated[Calibration, Field(discriminator="kind")] | None = None
    over_slices: OverSlices | None = None
    """Of a batch of slices: what is said of all of them."""
    operating_points: tuple[ManifestPoint, ...] = ()
    negatives: ManifestNegatives | None = None

    @property
    def places(self) -> Places:
        """Warmth, if there is a heat map."""
        return "warmth" if self.heat_map else ""

    @property
    def warmth(self) -> HeatMapOutput | None:
        """The map beside the score."""
        return self.heat_map

    @property
    def codes(self) -> tuple[ManifestCode, ...]:
        """The concept of the score."""
        return (self.score,)

    @property
    def combines(self) -> Combination | None:
        """How it is combined."""
        return self.combine or Combination()

    def tensor_shapes(self, _: ImageShape) -> dict[str, TensorShape]:
        """Return the shape that each tensor must have, by its name."""
        shapes: dict[str, TensorShape] = {self.tensor: (1, 1 if self.element is None else None)}
        if self.heat_map is not None:
            shapes[self.heat_map.tensor] = self.heat_map.tensor_shape
        return shapes

    @model_validator(mode="after")
    def _words_fit_one_another(self) -> Self:
        problems = [
            (("operating_points", *place), words)
            for place, words in amiss_in_points(self.operating_points)
        ]
        problems += amiss_in_calibration((self.score,), self.calibration, ("score",))
        if self.activation == "softmax" and self.element is None:
            problems.append((("element",), "missing: softmax is over several, which is meant?"))
        if problems:
            raise wrong(problems)
        return self


Output = (
    MaskOutput | ClassesOutput | BoxesOutput | ScoreOutput | MapOutput | NumberOutput | SolidsOutput
)


def tensor_shapes_of(output: Output, of_image: ImageShape, batch: int) -> dict[str, TensorShape]:
    """Return the shape that each tensor must have: of a batch of slices an answer for each."""
    shapes = output.tensor_shapes(of_image)
    if isinstance(output, ScoreOutput | ClassesOutput) and output.over_slices is not None:
        shapes[output.tensor] = (batch, *shapes[output.tensor][1:])
    return shapes
