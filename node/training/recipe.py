"""recipe.toml -> Recipe: all that decides which network comes out of a collection.

What a recipe does not say is what stands here. The one that was used is written into the package
as a whole, so that the same command makes the same package again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from node import toml_file
from node.manifest import Input, Licence, PartOfStudy
from node.manifest.pixels import (
    Operations,
    PixelWords,
    operations,
    pixel_words,
    shape_after,
    unplaced,
)
from node.manifest.words import Ascii, Name, Sentence, Uid, Version
from node.toml_file import Place, Section, wrong
from node.training.stages import DEFAULT_FROZEN, amiss_in_frozen
from node.training.toml_text import toml_text

RECIPE = "recipe.toml"
"""In a package that was trained."""

TrunkName = Literal["efficientnet-lite0", "inception-v3"]
Pool = Literal["log-sum-exp", "attention", "mean"]
Column = Annotated[str, toml_file.matching(r"[a-z0-9_]+", "the name of a column, in small letters")]
Weight = Annotated[float, Field(ge=0, le=10)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Epochs = Annotated[int, Field(ge=0, le=1000)]

_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_MAMMOGRAMS = Input(
    modality="MG",
    body_parts=("BREAST", "AXILLA"),
    sop_classes=(_FOR_PRESENTATION, _SECONDARY_CAPTURE),
    projections=("CC", "MLO"),
    expected_views=("R CC", "L CC", "R MLO", "L MLO"),
)
_WHOLE_BREAST: list[dict[str, Any]] = [
    {"op": "grey", "values": "voi", "scale": "range of voi"},
    {"op": "mirror", "chest_wall": "left"},
    {"op": "crop", "to": "largest component", "threshold": 0.05, "margin_px": 8},
    {
        "op": "resize",
        "height": 640,
        "width": 384,
        "fit": "stretch",
        "filter": "bilinear",
        "antialias": True,
    },
    {"op": "rank", "within": "largest component", "threshold": 0.05},
]
"""The whole breast, mirrored and cropped, in one shape; grey values by their rank in it."""


class NetworkRecipe(Section):
    """What learns: a trunk that knows photographs, and a head of our own."""

    trunk: TrunkName = "efficientnet-lite0"
    frozen: str = DEFAULT_FROZEN["efficientnet-lite0"]
    """The stage up to which the trunk stays as it comes, whose features are kept; "all": all of
    it, "none": nothing. Stages are called as `stages.STAGES` has them, and what is frozen by
    default is of the trunk, too."""
    pool: Pool = "log-sum-exp"
    """How the logits of the cells become one of the image."""
    image_weight: Weight = 0.3
    """Of the loss of each image by itself, beside that of what the network is about."""

    @model_validator(mode="before")
    @classmethod
    def _frozen_is_of_the_trunk(cls, words: Any) -> Any:
        trunk = words.get("trunk") if isinstance(words, dict) else None
        if isinstance(trunk, str) and trunk in DEFAULT_FROZEN:
            return {"frozen": DEFAULT_FROZEN[trunk], **words}
        return words

    @model_validator(mode="after")
    def _the_trunk_has_the_stage(self) -> Self:
        if words := amiss_in_frozen(self.trunk, self.frozen):
            raise wrong([(("frozen",), words)])
        return self


class Auxiliary(Section):
    """A column that is learnt beside the label, and is never an input."""

    column: Column
    weight: Weight = 0.2
    """Of its loss, beside that of the label."""
    values: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """What its words mean, 0 to 1; a word that is not here says nothing. Empty: it holds such
    numbers itself."""


class Matched(Section):
    """A column in which the two breasts of a pair are alike, where AUC is measured over pairs."""

    column: Column
    within: Annotated[float, Field(gt=0)] | None = None
    """By how much numbers may differ; None: it is the same word."""


class Labels(Section):
    """What is learnt."""

    positive: tuple[str, ...] = ()
    """Labels that count as 1, if they are others than 0 and 1."""
    auxiliary: tuple[Auxiliary, ...] = ()
    matched: tuple[Matched, ...] = ()
    """Such as machine, and age within 5 years."""
    balanced_within: Column | None = None
    """As many positive breasts as negative ones in a batch, of the same word in this column."""


class Augmentation(Section):
    """How images differ from one sight to the next, as breasts do; never left and right.

    Each image is looked at as it is and in three other ways, drawn once; if nothing but rows is
    flipped, as it is and flipped.
    """

    flip_rows: bool = True
    rotation_degrees: Annotated[float, Field(ge=0, le=45)] = 10
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """By this share larger or smaller, at most."""
    grey: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """By this share brighter, darker, harder or softer, at most."""


class Schedule(Section):
    """How long and how fast."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    head_epochs: Epochs = 60
    """Of the head alone, on kept features: to convergence."""
    head_rate: Rate = 1e-3
    """Of the head while it is alone."""
    epochs: Epochs = 8
    """Of the stages that are not frozen; 0: the head alone."""
    rate: Rate = 1e-4
    """Of these stages."""
    rate_of_head: Rate = 3e-4
    """Of the head beside them."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.05
    warm_up_epochs: Annotated[float, Field(ge=0)] = 1
    """In which the rates rise; after them they fall as a cosine does, to 0. The optimiser needs ten
    steps or so to know how large gradients are: where an epoch has few batches, give more, or the
    stages that are not frozen forget before they learn."""
    batch: Annotated[int, Field(ge=2, le=4096)] = 16
    """How many of what the network is about."""
    moving_average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What remains of the kept weights at each step; 0: the last ones are kept."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.05


class Folds(Section):
    """How the women are divided; the same women, the same folds, whoever else is there."""

    count: Annotated[int, Field(ge=2, le=20)] = 5
    salt: str = "folds 1"
    """Another one, other folds."""


class Levels(Section):
    """The operating points that are chosen."""

    specificities: Annotated[tuple[Rate, ...], Field(min_length=1)] = (0.90, 0.80)
    """The first is that of urgent; on exams of women without the disease and with both breasts."""


class Recipe(Section):
    """The whole file."""

    name: Name
    title: Ascii
    version: Version = "0.1.0"
    manufacturer: Ascii = "Unknown"
    device_uid: Uid | None = None
    """None: it follows from name and version."""
    statement: Sentence = (
        "Demonstration, not for clinical use: a score that was learnt from labelled images."
    )
    """One honest sentence: what the numbers are and are not."""
    licence: Licence = Licence(code="Apache-2.0", weights="LicenseRef-research-only")
    about: PartOfStudy = "breast"
    """What the network gives one score for: its head."""
    input: Input = _MAMMOGRAMS
    """Which images it may see."""
    pixels: PixelWords = Field(default_factory=lambda: _WHOLE_BREAST, validate_default=True)
    labels: Labels = Labels()
    network: NetworkRecipe = NetworkRecipe()
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()
    folds: Folds = Folds()
    levels: Levels = Levels()

    @property
    def operations(self) -> Operations:
        """What is done to an image, in this order."""
        return operations(self.pixels)

    @property
    def pixel_words(self) -> str:
        """All that it says of how an image is prepared."""
        return pixel_words(self.pixels)

    @model_validator(mode="after")
    def _images_are_mammograms_of_one_shape(self) -> Self:
        problems: list[tuple[Place, str]] = []
        if self.input.modality != "MG":
            words = f'expected "MG": training is of mammograms, found "{self.input.modality}"'
            problems.append((("input", "modality"), words))
        if not self.input.projections:
            problems.append((("input", "projections"), 'expected some, such as ["CC", "MLO"]'))
        of = self.operations
        problems += [
            (("pixels", *place), words) for place, words in unplaced(of, self.input.projections)
        ]
        if len(shape_after(of)) != 3:
            problems.append((("pixels",), "expected operations that end in an image, not a vector"))
        if problems:
            raise wrong(problems)
        return self

    @model_validator(mode="after")
    def _columns_are_named_once(self) -> Self:
        problems = []
        for word, columns in (
            ("auxiliary", [one.column for one in self.labels.auxiliary]),
            ("matched", [one.column for one in self.labels.matched]),
        ):
            problems += [
                (("labels", word, i, "column"), f'"{column}" is there twice')
                for i, column in enumerate(columns)
                if column in columns[:i]
            ]
        if problems:
            raise wrong(problems)
        return self


def read_recipe(path: Path) -> Recipe:
    """Read a recipe, or raise ConfigError with one line per problem."""
    return toml_file.load(path, Recipe)


def default_recipe(name: str) -> Recipe:
    """Return what `ai-node train NAME` trains by, where there is no recipe."""
    return Recipe(name=name, title=name.replace("-", " ").capitalize())


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as a TOML file, with all that it says and all that it left to us."""
    return toml_text(recipe.model_dump(mode="json"))
