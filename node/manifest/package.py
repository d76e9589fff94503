"""models/<name>/manifest.toml -> Manifest: what a model package declares about itself.

A manifest says everything the node needs to run a network and to describe it honestly; a
network that fits these words needs no Python. `models/README.md` tells how to add one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from node import result, toml_file
from node.config import names_of_models
from node.errors import ConfigError
from node.kinds import KINDS, Needs
from node.manifest.inputs import (
    BODY_PARTS_OF_DOMAINS,
    REGION,
    Input,
    InputTensor,
    MadeShape,
    ManifestUnit,
    amiss_in_expected_phases,
    amiss_in_inputs,
    amiss_in_slices,
)
from node.manifest.of_volumes import amiss_in_volume_outputs
from node.manifest.output_words import TensorShape
from node.manifest.outputs import BoxesOutput, MaskOutput, Output, tensor_shapes_of
from node.manifest.pixels import (
    Operations,
    PixelWords,
    are_of_volumes,
    batch_of,
    chest_wall,
    of_mammograms,
    operations,
    pixel_words,
    shape_after,
    unplaced,
)
from node.manifest.together import (
    Numbered,
    amiss_in_about,
    amiss_in_combination,
    amiss_in_expected,
    amiss_in_former,
    amiss_in_means,
    amiss_in_names,
    amiss_in_places,
    amiss_in_tensors,
    amiss_in_triage,
    amiss_in_triage_of_phases,
    amiss_in_what_points_are_about,
    completed,
    narrower,
    with_shared_words,
)
from node.manifest.triage import ManifestTriage
from node.manifest.volume_outputs import NumberOutput, SolidsOutput
from node.manifest.voxels import Mip, needs_pre
from node.manifest.words import (
    Ascii,
    GrownSection,
    Name,
    Sentence,
    Sha256,
    Uid,
    Version,
    WeightsFile,
)
from node.onnx_file import refuse_external_data, refuse_other_files
from node.toml_file import Place, Section, did_you_mean, wrong

DomainName = Literal["mammography", "plain", "breast_mr"]
"""What knows the images that a model reads: the names of `node.domains.table.DOMAINS`."""


MANIFEST = "manifest.toml"
"""In a package."""


class Weights(Section):
    """The network file beside the manifest, and the hash it must have."""

    file: WeightsFile
    sha256: Sha256


class Licence(Section):
    """SPDX identifiers, or the name of a licence file in the package."""

    code: str
    weights: str


OF_MAMMOGRAMS: tuple[Place, ...] = tuple(
    ("input", word)
    for word in ("projections", "passed_over", "expected_views", "implants", "synthetic_2d")
)
"""Words of [input] that mean something of mammograms alone."""
OF_BREAST_MR: tuple[Place, ...] = (("input", "expected_phases"),)
"""Words of [input] that mean something of dynamic series alone."""
_GIVES: Mapping[str, tuple[Needs, ...]] = {
    "regions": (Needs.MARKS, Needs.REGIONS),
    "boxes": (Needs.MARKS,),
    "solids": (Needs.SOLIDS,),
}
"""What an output says of where something is, and what can be made of that."""
_EACH_IMAGE = ManifestUnit(of="image")


class Manifest(GrownSection):
    """The whole file."""

    LATER: ClassVar[frozenset[str]] = frozenset({"unit", "inputs", "output", "outputs", "triage"})

    name: Name
    title: Ascii
    version: Version
    manufacturer: Ascii
    device_uid: Uid
    """Fixed for this algorithm and version; another version gets another."""
    status: Literal["research", "demonstration", "product"]
    intended_use: Literal["measurement", "density", "detection", "triage"]
    """What it is for; triage alone sets a level."""
    domain: DomainName = "mammography"
    """What is known of the images: views and sides of breasts, or nothing, image by image; or the
    phases of breast MRI, which are volumes."""
    statement: Sentence
    """One honest sentence for the report: what the numbers are and are not."""
    licence: Licence
    weights: Weights
    input: Input
    unit: ManifestUnit = _EACH_IMAGE
    """What the network reads at once."""
    inputs: tuple[InputTensor, ...] = ()
    """Empty: it has one input, which takes the image."""
    pixels: PixelWords
    """How an image is prepared: `operations` has it in one form."""
    output: Annotated[Output, Field(discriminator="kind")] | None = None
    """As manifests of one output may write it. It stands among the outputs, which is where it is
    to be read: by the name of its kind, combined as it always was."""
    outputs: tuple[Annotated[Output, Field(discriminator="kind")], ...] = ()
    triage: ManifestTriage | None = None
    """From which score which level follows."""

    def at_points(self, urgent: str | None, soon: str | None) -> Self:
        """Return it with levels from others of its operating points on; None: as it says.

        `soon` may be "", which is no such level. Raises ConfigError, a line for each problem.
        """
        where = f"[[models]] {self.name}"
        if self.triage is None:
            words = "have no effect: this model does not triage; leave them out"
            raise ConfigError(f"{where}: urgent and soon {words}")
        named = {"urgent": urgent, "soon": soon}
        chosen = {word: name or None for word, name in named.items() if name is not None}
        triage = self.triage.model_copy(update=chosen)
        problems = []
        for place, words in amiss_in_triage(self._numbered, triage, self.intended_use):
            problems.append(f"{where}: {place[-1]}: {words}")
            if place[-1] == "soon" and soon is None:
                said = f'soon = "{triage.soon}" is its package\'s: name a lower one, or "" for none'
                problems.append(f"{where}: {said}")
        if problems:
            raise ConfigError("\n".join(problems))
        return self.model_copy(update={"triage": triage})

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects, found or not; what is measured is not looked for."""
        is_measured = self.intended_use == "measurement"
        outputs = (
            one for one in self.outputs if not (is_measured and isinstance(one, SolidsOutput))
        )
        return tuple(dict.fromkeys(code for one in outputs for code in one.looks_for))

    @property
    def operations(self) -> Operations:
        """What is done to an image, in this order."""
        return operations(self.pixels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of what is made of one image, without the batch axis."""
        return shape_after(self.operations)

    @property
    def sees_region(self) -> bool:
        """Whether it is wanted where the breasts are, apart from what operations look at."""
        is_taken = any(REGION in one.roles for one in self.inputs)
        return is_taken or any(isinstance(one, SolidsOutput) for one in self.outputs)

    @property
    def is_followed(self) -> bool:
        """Whether enhancement is measured over time, in all phases."""
        return any(isinstance(one, SolidsOutput) and one.curve for one in self.outputs)

    @property
    def image_batch(self) -> int:
        """How many images are made of each phase: 1, or so many slices."""
        return batch_of(self.operations)

    @property
    def tensor_shapes(self) -> dict[str, TensorShape]:
        """The shape that each tensor of the outputs must have, by its name."""
        shapes: dict[str, TensorShape] = {}
        for one in self.outputs:
            of_one = tensor_shapes_of(one, self.image_shape, self.image_batch)
            for tensor, shape in of_one.items():
                shapes[tensor] = narrower(shapes.get(tensor, shape), shape) or shape
        return shapes

    @property
    def tensors_of_none(self) -> frozenset[str]:
        """The tensors of numbers, of which NaN says that there is none."""
        numbers = [one for one in self.outputs if isinstance(one, NumberOutput)]
        of_others = {one.tensor for one in self.outputs if not isinstance(one, NumberOutput)}
        return frozenset(one.tensor for one in numbers if one.none_if is not None) - of_others

    def makes(self, kind: str) -> bool:
        """Say whether results of the model can become an object of a kind."""
        return not self._gives.isdisjoint(KINDS[kind].needs)

    @property
    def _gives(self) -> frozenset[Needs]:
        """What there can be in a result of the model."""
        gives = {need for one in self.outputs for need in _GIVES.get(one.places, ())}
        return frozenset({Needs.NOTHING, *gives, *([Needs.SUBJECT] if self.looks_for else [])})

    @property
    def _numbered(self) -> Numbered:
        """The outputs with their places; pydantic names the kind in them, too."""
        if self.output is not None:
            return [(("output", self.output.kind), one) for one in self.outputs]
        return [(("outputs", i, one.kind), one) for i, one in enumerate(self.outputs)]

    @model_validator(mode="before")
    @classmethod
    def _breasts_are_the_body_part(cls, given: Any) -> Any:
        """Fill in the body parts, which manifests of mammography did not always name."""
        if not isinstance(given, dict):
            return given
        wanted, domain = given.get("input"), given.get("domain", "mammography")
        body_parts = BODY_PARTS_OF_DOMAINS.get(domain) if isinstance(domain, str) else None
        if body_parts is None or not isinstance(wanted, dict) or "body_parts" in wanted:
            return given
        return {**given, "input": {**wanted, "body_parts": list(body_parts)}}

    @model_validator(mode="after")
    def _outputs_are_complete(self) -> Self:
        """Require the author's choices, then write down whatever follows from them."""
        if (self.output is None) == ("outputs" not in self.model_fields_set):
            words = "missing, add [[outputs]]" if self.output is None else "is beside [output]"
            raise wrong([(("outputs",), f"{words}: one table for each answer of the network")])
        former = [] if self.output is None else [self.output]
        self.__dict__["outputs"] = self.outputs or tuple(former)  # frozen, but not yet made
        problems = list(amiss_in_about(self._numbered, self.unit.of))
        if former:
            problems += amiss_in_former(self._numbered)
        else:
            problems += amiss_in_combination(
                self._numbered, self.unit.of, self.domain, is_repeated=self.unit.is_repeated
            )
        if problems:
            raise wrong(problems)
        is_repeated = self.unit.is_repeated
        outputs = (
            completed(one, self.unit.of, bool(former), is_repeated=is_repeated)
            for one in self.outputs
        )
        self.__dict__["outputs"] = tuple(with_shared_words(tuple(outputs)))
        return self

    @model_validator(mode="after")
    def _words_are_those_of_the_domain(self) -> Self:
        if self.domain == "mammography":
            problems = list(self._amiss_in_mammography())
        else:
            problems = [
                (place, f'is of mammograms; a model of domain = "{self.domain}" has no such word')
                for place in self._said_of_mammograms()
            ]
            problems += [(("pixels", *place), words) for place, words in of_mammograms(self.pixels)]
        if self.domain == "breast_mr":
            problems += self._amiss_in_breast_mr()
        else:
            problems += [
                (place, f'is of breast MRI; a model of domain = "{self.domain}" has no such word')
                for place in self._said_beside_defaults(OF_BREAST_MR)
            ]
            if are_of_volumes(self.operations):
                words = '"signal" is of volumes: domain = "breast_mr"'
                problems.append((("pixels", 0, "signal", "op"), words))
        if problems:
            raise wrong(problems)
        return self

    def _amiss_in_breast_mr(self) -> Iterator[tuple[Place, str]]:
        if self.input.modality != "MR":
            yield ("input", "modality"), f'expected "MR", found "{self.input.modality}"'
        if self.input.body_parts != ("BREAST",):
            yield ("input", "body_parts"), 'expected ["BREAST"], or leave it out'
        if not are_of_volumes(self.operations):
            words = 'expected op = "signal" first: phases are volumes, of signal on one scale'
            yield ("pixels", 0), words
        for place, words in (
            *amiss_in_slices(self.input),
            *amiss_in_expected_phases(self.input, self.unit.roles),
        ):
            yield ("input", *place), words
        if "unit" not in self.model_fields_set:
            words = 'of a breast MRI phases are read at once: of = "exam", roles = ["pre", ...]'
            yield ("unit",), f"missing: {words}"
            return
        yield from self._amiss_in_looking_at_pre()
        if self.triage:
            yield from amiss_in_triage_of_phases(self.input, self.unit)

    def _amiss_in_looking_at_pre(self) -> Iterator[tuple[Place, str]]:
        has_voxels = not any(isinstance(one, Mip) for one in self.operations)
        for i, one in enumerate(self.inputs):
            if REGION in one.roles and not has_voxels:
                words = f'"{REGION}" is of voxels, and "mip" leaves none'
                yield ("inputs", i, "roles", one.roles.index(REGION)), words
        if self.unit.roles and "pre" not in self.unit.roles:
            for at, word in needs_pre(self.operations):
                op = self.operations[at].op
                yield ("pixels", at, op, word), 'of "pre", which is no role of [unit]'

    def _amiss_in_mammography(self) -> Iterator[tuple[Place, str]]:
        if self.input.modality != "MG":
            found = f'found "{self.input.modality}"'
            words = f'expected "MG", {found}; for others than mammograms add domain = "plain"'
            yield ("input", "modality"), words
        if "projections" not in self.input.model_fields_set:
            yield ("input", "projections"), "missing, add projections = ..."
        for place, words in unplaced(self.operations, self.input.projections):
            yield ("pixels", *place), words
        if self.triage:
            for words in amiss_in_expected(self.input, self.unit):
                yield ("input", "expected_views"), words

    def _said_beside_defaults(self, places: Iterable[Place]) -> Iterator[Place]:
        """Yield words of [input] that say something else than where they are left out."""
        for place in places:
            if getattr(self.input, str(place[-1])) != Input.model_fields[str(place[-1])].default:
                yield place

    def _said_of_mammograms(self) -> Iterator[Place]:
        """Yield words that say something else than where they are left out."""
        if self.triage and self.domain != "breast_mr":
            yield ("triage",)
        yield from self._said_beside_defaults(OF_MAMMOGRAMS)
        if self.unit.of != "image" and self.domain != "breast_mr":
            yield ("unit", "of")
        for place, output in self._numbered:
            if isinstance(output, MaskOutput) and output.difference is not None:
                yield (*place, "difference")
            if isinstance(output, BoxesOutput) and output.same_lesion_within_mm is not None:
                yield (*place, "same_lesion_within_mm")

    @model_validator(mode="after")
    def _depth_is_known_where_lesions_are_matched_by_it(self) -> Self:
        for place, output in self._numbered:
            matches = isinstance(output, BoxesOutput) and output.same_lesion_within_mm
            if matches and chest_wall(self.operations) is None:
                problem = (
                    'needs the side of the chest wall: pixels.orientation = "chest wall left", '
                    'or op = "mirror"'
                )
                raise wrong([((*place, "same_lesion_within_mm"), problem)])
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

    @model_validator(mode="after")
    def _what_is_read_at_once_is_known(self) -> Self:
        is_of_phases = self.domain == "breast_mr"
        amiss = self.unit.amiss_in_phases() if is_of_phases else self.unit.amiss(self.input)
        problems = [(("unit", *place), words) for place, words in amiss]
        if not problems:
            is_compared = any(needs_pre(self.operations)) or self.sees_region
            made = MadeShape(self.image_shape, self.image_batch, is_compared)
            of_inputs = amiss_in_inputs(self.inputs, self.unit, made)
            problems = [(("inputs", *place), words) for place, words in of_inputs]
        if self.unit.of != "image" and not self.inputs:
            words = "missing: several images at once need [[inputs]] with tensor, roles and join"
            problems.append((("inputs",), words))
        if problems:
            raise wrong(problems)
        return self

    @model_validator(mode="after")
    def _outputs_fit_one_another(self) -> Self:
        outputs = self._numbered
        problems = [
            *amiss_in_names(outputs),
            *amiss_in_tensors(outputs, self.image_shape, self.image_batch),
            *amiss_in_places(outputs, self.unit.of, self.image_shape),
            *amiss_in_what_points_are_about(outputs, self.unit.of),
            *amiss_in_volume_outputs(
                outputs,
                self.unit,
                is_of_mr=self.domain == "breast_mr",
                batch=self.image_batch,
            ),
            *amiss_in_triage(outputs, self.triage, self.intended_use),
        ]
        if self.output is None and self.intended_use in ("detection", "triage"):
            problems += amiss_in_means(outputs, self.intended_use)
        if problems:
            raise wrong(problems)
        return self


ChosenPoints = tuple[str | None, str | None]
"""The operating points from which on a study is urgent and soon; None: as the package says."""


class Model:
    """A model package on disk: its manifest and its verified weights file.

    A manifest that is given is what was read of the folder before.
    """

    def __init__(self, folder: Path, manifest: Manifest | None = None) -> None:
        self.folder = folder
        if manifest is None:
            refuse_open_questions(folder / MANIFEST)
        self.manifest = manifest or toml_file.load(folder / MANIFEST, Manifest)
        if self.manifest.name != folder.name:
            raise ConfigError(
                f'{folder / MANIFEST}: name: expected "{folder.name}", the name of '
                f'its folder, found "{self.manifest.name}"; rename one of them'
            )
        self.as_packaged = self.manifest
        """What the package says, wherever a site lets its levels begin."""
        self.points: ChosenPoints | None = None
        """Where a site lets its levels begin, if it says so: `at_points`."""
        self.package_digest = package_digest(folder / MANIFEST) if manifest is None else ""
        """Of all that makes a difference in the package, as it was when this was read of it."""

    def at_points(self, urgent: str | None, soon: str | None) -> Model:
        """Return the model as a site wants it: `Manifest.at_points`."""
        model = Model(self.folder, self.manifest.at_points(urgent, soon))
        model.as_packaged = self.as_packaged
        model.points = urgent, soon
        model.package_digest = self.package_digest
        return model

    def in_folder(self, folder: Path) -> Model:
        """Return the same model, whose files lie in another folder."""
        model = Model(folder, self.manifest)
        model.as_packaged = self.as_packaged
        model.points = self.points
        model.package_digest = self.package_digest
        return model

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
        refuse_other_files(self.weights_path, content)
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
            is_research=m.status != "product",
            is_demonstration=m.status == "demonstration",
        )

    @cached_property
    def preprocessing_digest(self) -> str:
        """Changes whenever preparing an image, or what is made of the answers, changes."""
        m = self.manifest
        text = pixel_words(m.pixels)
        text += "".join(one.model_dump_json() for one in ([m.output] if m.output else m.outputs))
        text += " as written by schema 2"  # the former number: UIDs of results depend on it
        later = m.model_dump_json(include={"unit", "inputs", "triage"})
        if later != "{}":  # nothing of these was said by manifests of before
            text += later
        if self.manifest.domain != "mammography":  # which once was all there is
            text += f" domain {self.manifest.domain}"
        return hashlib.sha256(text.encode()).hexdigest()


def package_digest(manifest: Path) -> str:
    """Return what tells two packages of the same name and version apart.

    Of what the manifest says, the digest of the weights among it; comments, order and blanks make
    no difference, nor does the card. Raises ConfigError if the manifest goes,
    or changes, just then.
    """
    try:
        said = tomllib.loads(manifest.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{manifest}: has changed while it was read ({error}); put the whole package in its "
            "place, then reload or start again"
        ) from error
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


CARD = "README.md"
"""The model card, in a package."""
OPEN_QUESTION = "OPEN QUESTION"
"""What a line of a card holds, and a comment of a manifest begins with, that nobody has answered
yet: `ai-node models new` writes them, and a package that has any is not used."""
_ASKS = re.compile(rf"^\s*#+\s*{OPEN_QUESTION}\b:?\s*(.*)")


def refuse_open_questions(path: Path) -> None:
    """Raise ConfigError with the questions in a manifest that nobody has answered."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return  # whoever loads it says what is wrong
    asked = [(n, found[1]) for n, line in enumerate(lines, 1) if (found := _ASKS.match(line))]
    if asked:
        questions = "\n".join(f"{path}:{n}: open question: {question}" for n, question in asked)
        raise ConfigError(f"{questions}\nAnswer each below its line, then delete that line.")


def open_model(name_or_folder: str, *folders: Path) -> Model:
    """Open a model package by its name in one of the folders, or by its own folder."""
    folder = Path(name_or_folder)
    if (folder / MANIFEST).is_file():
        return load_model(folder.resolve().name, folder.resolve().parent)
    if folder.is_dir() and package_folder(name_or_folder, *folders) is None:
        raise ConfigError(f"{folder / MANIFEST}: missing; models/README.md tells its words")
    return load_model(name_or_folder, *folders)


def load_model(name: str, *folders: Path) -> Model:
    """Open a model package by name, in the first of the folders that has it; verify its weights."""
    folder = package_folder(name, *folders)
    if folder is None:
        known = sorted({known for one in folders for known in names_of_models(one)})
        places = " or ".join(map(str, dict.fromkeys(folders)))
        raise ConfigError(f'no model is called "{name}" in {places}, {did_you_mean(name, known)}')
    model = Model(folder)
    model.verify_weights()
    return model


def package_folder(name: str, *folders: Path) -> Path | None:
    """Return the first package of a name."""
    return next((one / name for one in folders if (one / name / MANIFEST).is_file()), None)


def package_folders(folder: Path) -> list[Path]:
    """Return all packages of a folder, whole or not, by name."""
    return [folder / name for name in names_of_models(folder)]


def other_with_device_uid(model: Model, folders: Iterable[Path]) -> Model | None:
    """Return a package of these folders, no copy of the model, that has its device UID."""
    places = {path.resolve() for folder in folders for path in package_folders(folder)}
    for path in sorted(places - {model.folder.resolve()}):
        with contextlib.suppress(ConfigError):  # whoever uses that one is told
            other = Model(path)
            if is_same_device(model, other) and not is_copy(model, other):
                return other
    return None


def is_same_device(one: Model, other: Model) -> bool:
    """Return whether two packages say that they are the same algorithm in the same version."""
    return one.manifest.device_uid == other.manifest.device_uid


def is_copy(one: Model, other: Model) -> bool:
    """Return whether two packages say the same things, by the same network."""
    return one.as_packaged == other.as_packaged
