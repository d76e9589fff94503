"""recipe.toml -> Recipe: all that decides which network comes out of a collection.

What a recipe does not say is what stands here. The one that was used is written into the package
as a whole, so that the same command makes the same package again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from node import toml_file
from node.errors import ConfigError
from node.manifest import Input, Licence, ManifestUnit, PartOfStudy
from node.manifest.pixels import (
    Operations,
    PixelWords,
    Rank,
    Resize,
    operations,
    pixel_words,
    shape_after,
    unplaced,
)
from node.manifest.words import Ascii, Name, RoleName, Sentence, Uid, Version
from node.toml_file import Place, Section, did_you_mean, shown, wrong
from node.training.of_phases import MAGNETIC_RESONANCE, amiss_in_phases, with_words_of_phases
from node.training.stages import ALL, DEFAULT_FROZEN, STAGES, amiss_in_frozen
from node.training.toml_text import toml_text
from node.training.trunk_pixels import amiss_for_trunk

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


class Lesions(Section):
    """A first step: the later stages are taught where lesions lie, from boxes around them.

    Cells in a box are told from the other cells of the same film, so nothing is learnt of what
    differs between films. The labels that [regression] learns from are not seen here.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    epochs: Annotated[int, Field(ge=1, le=1000)] = 6
    rate: Rate = 1e-4
    """Of the later stages."""
    head_rate: Rate = 1e-3
    """Of what makes a logit of a cell."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.05
    batch: Annotated[int, Field(ge=1, le=4096)] = 16
    """Films."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    warm_up_steps: Annotated[int, Field(ge=0)] = 40
    """In which the rates rise; they fall as a cosine does, to 0 at the end."""
    moving_average: Annotated[float, Field(ge=0, lt=1)] = 0.98
    """What remains of the kept weights at each step; 0: the last ones are kept."""
    shift_cells: Annotated[int, Field(ge=0, le=8)] = 1
    """By so many of the last cells a film is moved, at most."""
    flip_rows: bool = True


class RegressedFeatures(Section):
    """What becomes of an image after a stage: the numbers that a regression goes by."""

    after: str
    """A stage; the trunk says how its stages are called."""
    pool: Literal["mean, highest, deviation", "lesions"] = "mean, highest, deviation"
    """Over the cells: these three numbers of each channel; or their mean, in which a cell counts
    as the softmax of its lesion logit, after the last stage and with [lesions]."""
    c: Annotated[float, Field(gt=0, le=1e6)] = 1e-2
    """The inverse of the strength of L2, as scikit-learn's C."""


class Alike(Section):
    """A column of the table by which images are divided into groups."""

    column: Column
    edges: tuple[float, ...] = ()
    """Numbers are put into the intervals between these, each edge into the upper one. None: it is
    the same word. What is no number is a word."""

    @model_validator(mode="after")
    def _edges_rise(self) -> Self:
        if list(self.edges) != sorted(set(self.edges)):
            raise wrong([(("edges",), f"expected numbers that rise, found {list(self.edges)}")])
        return self


class Regression(Section):
    """Linear scores of pooled features, instead of a head and stages that learn the labels.

    There is one for each of the features by each of the weightings, in units of its own standard
    deviation; the logit is their mean.
    """

    features: Annotated[tuple[RegressedFeatures, ...], Field(min_length=1)]
    alike: Annotated[tuple[tuple[Alike, ...], ...], Field(min_length=1)] = ((),)
    """Weightings. In each the positive breasts weigh as much as the negative ones within each
    group that these columns make; without columns, overall."""


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
    data: str = ""
    """For the card: who made the images, and what their licence allows. No line is a heading,
    here and in `remarks`: the card's own ones divide it."""
    limits: str = ""
    """For the card's first part: what is known of where it fails."""
    remarks: str = ""
    """For the card: what its reader must know of how the recipe came about."""
    about: PartOfStudy = "breast"
    """What the network gives one score for: its head."""
    heat_map: bool = False
    """Whether the package says what each cell of an image adds; of about = "image" alone."""
    input: Input = _MAMMOGRAMS
    """Which images it may see; of modality = "MR" studies of the breast."""
    unit: ManifestUnit | None = None
    """Of breast MRI: which phases are read, as in a manifest."""
    channels: tuple[RoleName, ...] | None = None
    """Of breast MRI: the phases that are the channels of an image, one or three."""
    pixels: PixelWords = Field(default_factory=lambda: _WHOLE_BREAST, validate_default=True)
    labels: Labels = Labels()
    network: NetworkRecipe = NetworkRecipe()
    augmentation: Augmentation = Augmentation()
    schedule: Schedule = Schedule()
    lesions: Lesions | None = None
    """None: the later stages stay as they come until they learn the labels."""
    regression: Regression | None = None
    """None: a head learns the labels, and then the later stages with it, as [schedule] says."""
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

    @property
    def is_of_phases(self) -> bool:
        """Whether it learns from breast MRI, whose studies have one label each."""
        return self.input.modality == MAGNETIC_RESONANCE

    @model_validator(mode="before")
    @classmethod
    def _breast_mr_has_words_of_its_own(cls, words: Any) -> Any:
        return with_words_of_phases(words) if isinstance(words, dict) else words

    @model_validator(mode="after")
    def _images_are_of_phases(self) -> Self:
        of_phases = {("unit",): self.unit, ("channels",): self.channels}
        problems: list[tuple[Place, str]] = []
        if not self.is_of_phases:
            problems += [(k, "is of breast MRI") for k, v in of_phases.items() if v is not None]
        else:
            unit, channels = self.unit, self.channels or ()
            problems += amiss_in_phases(self.input, unit, channels, self.operations)
            if self.about != "exam":
                words = f'expected "exam": a breast MRI shows both breasts, found "{self.about}"'
                problems.append((("about",), words))
            if self.regression is not None:
                problems.append((("regression",), "is of mammograms; a head learns here"))
        if problems:
            raise wrong(problems)
        return self

    @model_validator(mode="after")
    def _images_are_mammograms_of_one_shape(self) -> Self:
        if self.is_of_phases:
            return self
        problems: list[tuple[Place, str]] = []
        if self.input.modality != "MG":
            found = f'found "{self.input.modality}"'
            words = f'expected "MG" or "MR": training is of mammograms and breast MRI, {found}'
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

    @property
    def roles(self) -> tuple[str, ...]:
        """Which images the network reads at once; () if single ones, or slices."""
        if self.about == "image" or self.is_of_phases:
            return ()
        return self.input.projections if self.about == "breast" else self.input.expected_views

    @model_validator(mode="after")
    def _what_is_read_at_once_is_named(self) -> Self:
        if self.is_of_phases:
            return self
        projections = self.input.projections
        if self.about == "breast" and len(projections) < 2:
            words = (
                'expected "image": a breast has one projection here, [input] projections = '
                f'{shown(list(projections))}, found "breast"'
            )
            raise wrong([(("about",), words)])
        wanted = [f"{side} {one}" for one in projections for side in ("R", "L")]
        if self.about == "exam" and sorted(self.roles) != sorted(wanted):
            words = (
                f'about = "exam" reads both breasts in all projections at once: expected '
                f"{shown(wanted)}, found {shown(list(self.roles))}"
            )
            raise wrong([(("input", "expected_views"), words)])
        return self

    @model_validator(mode="after")
    def _words_for_the_card_have_no_headings(self) -> Self:
        words = 'a line begins with "#", which the card takes for a heading; write it without'
        problems: list[tuple[Place, str]] = [
            ((name,), f"{words}, found {shown(line.strip())}")
            for name in ("statement", "data", "limits", "remarks")
            for line in getattr(self, name).splitlines()
            if line.lstrip().startswith("#")
        ]
        if problems:
            raise wrong(problems)
        return self

    @model_validator(mode="after")
    def _the_trunk_can_take_the_images(self) -> Self:
        found = amiss_for_trunk(self.operations, self.network.trunk)
        if problems := [(("pixels", *place), words) for place, words in found]:
            raise wrong(problems)
        return self

    @model_validator(mode="after")
    def _cells_of_one_image_are_shown(self) -> Self:
        if not self.heat_map:
            return self
        problems: list[tuple[Place, str]] = []
        if self.about != "image":
            words = f'expected about = "image": it shows the cells of one, found "{self.about}"'
            problems.append((("heat_map",), words))
        if self.regression is not None and self.lesions is None:
            words = "a regression has one with [lesions] alone: it shows where lesions lie"
            problems.append((("heat_map",), words))
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

    @model_validator(mode="after")
    def _regression_is_all_that_learns_labels(self) -> Self:
        if self.regression is None:
            words = "is the first step of [regression], which is not there"
            if self.lesions is not None:
                raise wrong([(("lesions",), words)])
            return self
        problems = [
            (place, "says nothing where [regression] learns the labels; take it out")
            for place, is_there in _without_meaning(self)
            if is_there
        ]
        if self.about != "image":
            words = (
                f'expected "image": [regression] gives one score per image, found "{self.about}"'
            )
            problems.append((("about",), words))
        problems += _problems_of_features(self, self.regression)
        if problems:
            raise wrong(problems)
        return self

    @model_validator(mode="after")
    def _films_can_be_brought_to_the_form_of_images(self) -> Self:
        if self.lesions is None:
            return self
        problems: list[tuple[Place, str]] = []
        if self.network.frozen in (ALL, STAGES[self.network.trunk][-1]):
            words = "expected a stage before the last one: [lesions] teaches those after it"
            problems.append((("network", "frozen"), words))
        if self.form_of_films is None:
            words = (
                'expected operations that end in op = "resize" with fit = "stretch" and op = '
                '"rank": films with boxes are brought to that form'
            )
            problems.append((("pixels",), words))
        if problems:
            raise wrong(problems)
        return self

    @property
    def form_of_films(self) -> tuple[Resize, Rank] | None:
        """What is done to a film that is cut to its breast; None: images have no such form."""
        match self.operations[-2:]:
            case (Resize(fit="stretch") as size, Rank() as rank):
                return size, rank
            case _:
                return None


def _without_meaning(recipe: Recipe) -> list[tuple[Place, bool]]:
    """Return what says nothing beside [regression], and whether the file has it."""
    said, of_network = recipe.model_fields_set, recipe.network.model_fields_set
    return [
        (("schedule",), "schedule" in said),
        (("augmentation",), "augmentation" in said),
        (("network", "pool"), "pool" in of_network),
        (("network", "image_weight"), "image_weight" in of_network),
        (("labels", "auxiliary"), bool(recipe.labels.auxiliary)),
        (("labels", "balanced_within"), recipe.labels.balanced_within is not None),
    ]


def _problems_of_features(recipe: Recipe, regression: Regression) -> list[tuple[Place, str]]:
    problems = list[tuple[Place, str]]()
    trunk, stages = recipe.network.trunk, STAGES[recipe.network.trunk]
    for i, one in enumerate(regression.features):
        place: Place = ("regression", "features", i)
        if one.after not in stages:
            words = f"{trunk} has no stage {shown(one.after)}; {did_you_mean(one.after, stages)}"
            problems.append(((*place, "after"), words))
        if one.pool == "lesions" and (recipe.lesions is None or one.after != stages[-1]):
            words = f'"lesions" needs [lesions], and after = "{stages[-1]}"'
            problems.append(((*place, "pool"), words))
        if (one.after, one.pool) in [(o.after, o.pool) for o in regression.features[:i]]:
            problems.append((place, f'"{one.pool}" after {one.after} is there twice'))
    return problems


def read_recipe(path: Path) -> Recipe:
    """Read a recipe, or raise ConfigError with one line per problem."""
    return toml_file.load(path, Recipe)


def default_recipe(name: str) -> Recipe:
    """Return what `ai-node train NAME` trains by, where there is no recipe."""
    return Recipe(name=name, title=name.replace("-", " ").capitalize())


def recipe_called(name_or_file: str, positive: tuple[str, ...]) -> Recipe:
    """Return the recipe in a file, or the default one under a name, or raise ConfigError."""
    if name_or_file.endswith(".toml"):
        if positive:
            raise ConfigError(
                "--positive: the recipe says which labels count as 1: [labels] positive"
            )
        return read_recipe(Path(name_or_file))
    labels = Labels(positive=positive)
    try:
        return default_recipe(name_or_file).model_copy(update={"labels": labels})
    except ValidationError as error:
        raise ConfigError(
            f"{name_or_file}: expected a name for the package, of small letters, digits and "
            "hyphens, or the path of a recipe (.toml)"
        ) from error


def recipe_text(recipe: Recipe) -> str:
    """Return a recipe as a TOML file, with all that it says and all that it left to us."""
    words = recipe.model_dump(mode="json")
    if recipe.regression is not None:
        for place, _ in _without_meaning(recipe):
            *tables, key = map(str, place)
            table = words
            for name in tables:
                table = table[name]
            del table[key]
    return toml_text(words)
