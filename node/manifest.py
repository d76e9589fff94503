"""models/<name>/manifest.toml -> Manifest: what a model package declares about itself.

A manifest says everything the node needs to run a network and to describe it honestly; a
network that fits these words needs no Python. `models/README.md` tells how to add one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from node import result, score_key, toml_file
from node.errors import ConfigError
from node.kinds import KINDS, Needs
from node.onnx_file import refuse_external_data
from node.study import Laterality, View
from node.toml_file import Place, Section, did_you_mean, matching, wrong

Name = Annotated[
    str, matching(r"[a-z0-9][a-z0-9-]{0,47}", "at most 48 small letters, digits and hyphens")
]
Uid = Annotated[
    str, matching(r"(?=.{1,64}$)[0-2](\.(0|[1-9][0-9]*))+", 'a UID such as "1.2.840.10008.1.1"')
]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}", "a SHA-256 of 64 digits and small letters")]
Ascii = Annotated[str, matching(r"[ -~]{1,64}", "1 to 64 characters of plain ASCII")]
Version = Annotated[
    str, matching(r"[0-9]+\.[0-9]+\.[0-9]+", 'a version of three numbers such as "1.0.2"')
]
Sentence = Annotated[str, matching(r"[ -~]{1,400}", "1 to 400 characters of plain ASCII")]
WeightsFile = Annotated[
    str, matching(r"[A-Za-z0-9._-]+\.onnx", 'the name of an ONNX file such as "model.onnx"')
]
DomainName = Literal["mammography", "plain"]
"""What knows the images that a model reads: the names of `node.domains.table.DOMAINS`."""
Modality = Annotated[str, matching(r"[A-Z]{2,16}", 'a Modality (0008,0060) such as "MG"')]
BodyPart = Annotated[
    str,
    matching(r"[A-Z0-9_ ]{1,16}", 'a Body Part Examined (0018,0015) such as "BREAST"'),
]
Projection = Annotated[str, matching(r"[A-Z]+", 'a view position such as "MLO"')]
ViewName = Annotated[str, matching(r"[RL] [A-Z]+", 'a side and a projection such as "R MLO"')]


class ManifestCode(Section):
    """A coded concept."""

    value: Annotated[str, Field(min_length=1, max_length=16)]
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    meaning: Ascii

    def as_code(self) -> result.Code:
        """Return it as the plain value the results carry."""
        return result.Code(self.value, self.scheme, self.meaning)


class Weights(Section):
    """The network file beside the manifest, and the hash it must have."""

    file: WeightsFile
    sha256: Sha256


class Licence(Section):
    """SPDX identifiers, or the name of a licence file in the package."""

    code: str
    weights: str


class Input(Section):
    """What the model may see; everything else is refused with a reason."""

    modality: Modality
    """A study with an instance of this Modality (0008,0060), and of one of the body parts, is in
    scope and is answered."""
    body_parts: Annotated[tuple[BodyPart, ...], Field(min_length=1)]
    """As `dicom.body_part` reads them. A mammogram need not say its own."""
    sop_classes: Annotated[tuple[Uid, ...], Field(min_length=1)]

    # What follows is of mammograms.

    projections: tuple[Projection, ...] = ()
    """View positions the model was made for, such as CC and MLO."""
    passed_over: tuple[Projection, ...] = ()
    """View positions of the same exam that the model leaves aside without a word of warning."""
    expected_views: tuple[ViewName, ...] = ()
    """A study is complete as soon as these are there: "R CC", "L MLO"."""
    implants: Literal["refuse", "analyse"] = "refuse"
    """Views with the implant displaced are analysed either way."""
    synthetic_2d: Literal["refuse", "analyse"] = "refuse"
    """2D images computed from a tomosynthesis."""

    @property
    def expected(self) -> frozenset[View]:
        """The expected views as values."""
        return frozenset(
            View(Laterality(side), projection)
            for side, projection in (name.split() for name in self.expected_views)
        )


BODY_PARTS_OF_MAMMOGRAMS = ("BREAST", "AXILLA")
OF_MAMMOGRAMS: tuple[Place, ...] = (
    *(("input", "projections"), ("input", "passed_over"), ("input", "expected_views")),
    *(("input", "implants"), ("input", "synthetic_2d")),
    *(("output", "mask", "difference"), ("output", "boxes", "same_lesion_within_mm")),
)
"""Words that mean something of mammograms alone."""


class Pixels(Section):
    """From stored values to the network's input; named operations, in this order."""

    grey: Literal["voi", "stored"]
    """voi: the first VOI LUT or window; stored: values as stored. MONOCHROME1 is inverted."""
    orientation: Literal["as stored", "chest wall left"]
    """chest wall left: mirrored if needed so that the chest wall is on the left edge."""
    height: Annotated[int, Field(ge=8, le=8192)]
    width: Annotated[int, Field(ge=8, le=8192)]
    fit: Literal["pad", "stretch"]
    """pad: keep the aspect ratio, fill the right and bottom with background."""
    scale: Literal["0..1"]
    """0..1: background to the brightest value the grey values can take."""
    channels: Literal[1, 3] = 1


class MaskOutput(Section):
    """A tensor [1, 1, height, width] that marks a region; its area is measured in cm2."""

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

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects."""
        return (self.finding.as_code(),) if self.regions == "all" else ()

    def tensor_shapes(self, pixels: Pixels) -> dict[str, tuple[int, ...]]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, 1, pixels.height, pixels.width)}

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


class ClassesOutput(Section):
    """A tensor [1, classes] of probabilities that add up to 1.

    A breast gets the mean over its images, the exam the mean over its breasts; the most probable
    class is the grade.
    """

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

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects: nothing, it grades."""
        return ()

    def tensor_shapes(self, _: Pixels) -> dict[str, tuple[int, ...]]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, len(self.classes))}


class BoxesOutput(Section):
    """A tensor [1, boxes, 5] of lesions: left, top, right, bottom, score; unused rows score 0.

    The edges are in pixels of the network's input, (0, 0) being the top left corner of the first.
    """

    kind: Literal["boxes"]
    tensor: str
    boxes: Annotated[int, Field(ge=1, le=1000)]
    """Rows of the tensor."""
    threshold: Annotated[float, Field(gt=0, lt=1)]
    """Boxes whose score is at least this become findings."""
    finding: ManifestCode
    """What is in the box."""
    label: Ascii
    """Behind the view's name: "mass" gives "R MLO mass 1"."""
    score: ManifestCode
    """The concept of the score, whose unit is percent. Probability of cancer (111047, DCM) only
    if it is calibrated."""
    decimals: Annotated[int, Field(ge=0, le=2)] = 0
    same_lesion_within_mm: Annotated[float, Field(gt=0, le=50)] | None = None
    """A finding on CC and one on MLO of a breast whose depths from the chest wall's edge differ
    by no more are called one lesion; each is matched once, the nearest first."""

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects."""
        return (self.finding.as_code(),)

    def tensor_shapes(self, _: Pixels) -> dict[str, tuple[int, ...]]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, self.boxes, 5)}


class HeatMapOutput(Section):
    """A tensor [1, 1, height, width], 0..1, over the whole of the network's input."""

    tensor: str
    height: Annotated[int, Field(ge=2, le=128)]
    width: Annotated[int, Field(ge=2, le=128)]
    concept: ManifestCode
    """What is warm in it."""


class ScoreOutput(Section):
    """A tensor [1, 1]: one score, 0..1, of the whole image.

    A breast gets the highest score of its images, the exam the highest of its breasts. Of one
    breast alone, nothing is said of the exam.
    """

    kind: Literal["score"]
    tensor: str
    label: Ascii
    """Behind what it is about: "AI score" gives "R MLO AI score"."""
    score: ManifestCode
    """The concept of the score, whose unit is percent. Probability of cancer (111047, DCM) only
    if it is calibrated."""
    decimals: Annotated[int, Field(ge=0, le=2)] = 0
    heat_map: HeatMapOutput | None = None

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects: nothing with a place."""
        return ()

    def tensor_shapes(self, _: Pixels) -> dict[str, tuple[int, ...]]:
        """Return the shape that each tensor must have, by its name."""
        shapes: dict[str, tuple[int, ...]] = {self.tensor: (1, 1)}
        if self.heat_map is not None:
            shapes[self.heat_map.tensor] = (1, 1, self.heat_map.height, self.heat_map.width)
        return shapes


Output = MaskOutput | ClassesOutput | BoxesOutput | ScoreOutput
_PLACES: Mapping[str, tuple[Needs, ...]] = {
    "mask": (Needs.MARKS, Needs.REGIONS),
    "boxes": (Needs.MARKS,),
}
"""What a kind of output says of where something is."""


class Manifest(Section):
    """The whole file."""

    name: Name
    title: Ascii
    version: Version
    manufacturer: Ascii
    device_uid: Uid
    """Fixed for this algorithm and version; another version gets another."""
    status: Literal["research", "product"]
    intended_use: Literal["measurement", "density", "detection"]
    """What it is for; none of them sets a priority."""
    domain: DomainName = "mammography"
    """What is known of the images: views and sides of breasts, or nothing, image by image."""
    statement: Sentence
    """One honest sentence for the report: what the numbers are and are not."""
    licence: Licence
    weights: Weights
    input: Input
    pixels: Pixels
    output: Annotated[Output, Field(discriminator="kind")]

    def makes(self, kind: str) -> bool:
        """Say whether results of the model can become an object of a kind."""
        return KINDS[kind].needs in self._gives

    @property
    def _gives(self) -> frozenset[Needs]:
        """What there can be in a result of the model."""
        gives = {Needs.NOTHING, *_PLACES.get(self.output.kind, ())}
        return frozenset({*gives, Needs.SUBJECT} if self.output.looks_for else gives)

    @model_validator(mode="before")
    @classmethod
    def _mammograms_are_of_breasts(cls, given: Any) -> Any:
        """Fill in the body parts, which manifests of mammography did not always name."""
        if not isinstance(given, dict) or given.get("domain", "mammography") != "mammography":
            return given
        wanted = given.get("input")
        if not isinstance(wanted, dict) or "body_parts" in wanted:
            return given
        return {**given, "input": {**wanted, "body_parts": list(BODY_PARTS_OF_MAMMOGRAMS)}}

    @model_validator(mode="after")
    def _words_are_those_of_the_domain(self) -> Self:
        if self.domain == "mammography":
            problems = list(self._amiss_in_mammography())
        else:
            problems = [
                (place, f'is of mammograms; a model of domain = "{self.domain}" has no such word')
                for place in OF_MAMMOGRAMS
                if self._says(place)
            ]
            if self.pixels.orientation == "chest wall left":
                words = 'expected "as stored": only mammograms have the chest wall at one side'
                problems.append((("pixels", "orientation"), words))
        if problems:
            raise wrong(problems)
        return self

    def _amiss_in_mammography(self) -> Iterator[tuple[Place, str]]:
        if self.input.modality != "MG":
            found = f'found "{self.input.modality}"'
            words = f'expected "MG", {found}; for others than mammograms add domain = "plain"'
            yield ("input", "modality"), words
        if "projections" not in self.input.model_fields_set:
            yield ("input", "projections"), "missing, add projections = ..."

    def _says(self, place: Place) -> bool:
        """Whether a word says something else than where it is left out."""
        section, *kind, word = map(str, place)
        table: Section = getattr(self, section)
        if kind and [getattr(table, "kind", "")] != kind:
            return False
        return bool(getattr(table, word) != type(table).model_fields[word].default)

    @model_validator(mode="after")
    def _depth_is_known_where_lesions_are_matched_by_it(self) -> Self:
        matches = isinstance(self.output, BoxesOutput) and self.output.same_lesion_within_mm
        if matches and self.pixels.orientation != "chest wall left":
            problem = 'needs the side of the chest wall: pixels.orientation = "chest wall left"'
            raise wrong([(("output", "boxes", "same_lesion_within_mm"), problem)])
        return self

    @model_validator(mode="after")
    def _expected_views_are_ones_the_model_reads(self) -> Self:
        known = {*self.input.projections, *self.input.passed_over}
        problems = [
            (("input", "expected_views", i), f'"{view}" is not of one of the projections')
            for i, view in enumerate(self.input.expected_views)
            if view.split()[1] not in known
        ]
        if problems:
            raise wrong(problems)
        return self


class Model:
    """A model package on disk: its manifest and its verified weights file.

    A manifest that is given is what was read of the folder before.
    """

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        self.folder = folder
        self.manifest = manifest or toml_file.load(folder / "manifest.toml", Manifest)
        if self.manifest.name != folder.name:
            raise ConfigError(
                f'{folder / "manifest.toml"}: name: expected "{folder.name}", the name of '
                f'its folder, found "{self.manifest.name}"; rename one of them'
            )

    @property
    def weights_path(self) -> Path:
        """The ONNX file."""
        return self.folder / self.manifest.weights.file

    def verify_weights(self) -> None:
        """Raise ConfigError unless the weights file is the one the manifest describes."""
        self.read_weights()

    def read_weights(self) -> bytes:
        """Return the bytes of the network: those that the manifest describes, and all there are."""
        try:
            content = self.weights_path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.weights_path}: cannot be read ({error.strerror})") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.manifest.weights.sha256:
            raise ConfigError(
                f"{self.weights_path}: SHA-256 is {found}, the manifest says "
                f"{self.manifest.weights.sha256}; restore the file or correct the manifest"
            )
        refuse_external_data(self.weights_path, content)
        return content

    @cached_property
    def identity(self) -> result.ModelIdentity:
        """Who speaks when this model speaks."""
        m = self.manifest
        return result.ModelIdentity(
            name=m.name,
            title=m.title,
            version=m.version,
            manufacturer=m.manufacturer,
            device_uid=m.device_uid,
            weights_sha256=m.weights.sha256,
            is_research=m.status == "research",
        )

    @cached_property
    def preprocessing_digest(self) -> str:
        """Changes whenever preparing an image, or reading the network's answer, changes."""
        text = self.manifest.pixels.model_dump_json() + self.manifest.output.model_dump_json()
        text += f" as written by schema {score_key.FORM.number}"
        if self.manifest.domain != "mammography":  # which once was all there is
            text += f" domain {self.manifest.domain}"
        return hashlib.sha256(text.encode()).hexdigest()


def open_model(name_or_folder: str, models_dir: Path) -> Model:
    """Open a model package by the name of one in `models_dir`, or by its own folder."""
    folder = Path(name_or_folder)
    if (folder / "manifest.toml").is_file():
        return load_model(folder.resolve().name, folder.resolve().parent)
    if folder.is_dir() and not (models_dir / name_or_folder / "manifest.toml").is_file():
        raise ConfigError(f"{folder / 'manifest.toml'}: missing; models/README.md tells its words")
    return load_model(name_or_folder, models_dir)


def load_model(name: str, models_dir: Path) -> Model:
    """Open a model package by name and verify its weights."""
    folder = models_dir / name
    if not (folder / "manifest.toml").is_file():
        known = sorted(p.parent.name for p in models_dir.glob("*/manifest.toml"))
        raise ConfigError(
            f'no model is called "{name}" in {models_dir}, {did_you_mean(name, known)}'
        )
    model = Model(folder)
    model.verify_weights()
    return model
