"""What a model may see, what of it the network reads at once, and by which tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from node.manifest.words import (
    BodyPart,
    GrownSection,
    Modality,
    Projection,
    RoleName,
    Uid,
    ViewName,
)
from node.study import IMAGE, Laterality, View
from node.toml_file import Place, Section

BODY_PARTS_OF_MAMMOGRAMS = ("BREAST", "AXILLA")
BODY_PARTS_OF_DOMAINS: Mapping[str, tuple[str, ...]] = {
    "mammography": BODY_PARTS_OF_MAMMOGRAMS,
    "breast_mr": ("BREAST",),
}
"""Of what a domain's objects are, so that a manifest need not say it."""
OF_SLICES: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
}
"""SOP classes of which volumes are made: those of `imaging.planes.SLICED`, which holds them."""
PartOfStudy = Literal["image", "breast", "exam"]
"""What something is about, which side of it left open."""


class Input(GrownSection):
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

    # What follows is of dynamic contrast-enhanced series.

    expected_phases: Annotated[int, Field(ge=2, le=100)] | None = None
    """A study is complete as soon as so many are there, the one before contrast counted."""

    LATER = frozenset({"expected_phases"})

    @property
    def expected(self) -> frozenset[View]:
        """The expected views as values."""
        return frozenset(map(view_called, self.expected_views))


EACH_POST = "each post"
"""The role that every phase after the contrast agent takes in turn, in a unit of its own."""
BY_TIME = ("early", "late")
"""Roles of the phase that was acquired nearest to a moment after the injection."""


REGION = "region"
"""What an input takes beside phases: of which part of the body each voxel is, as the phase before
contrast shows it."""


def amiss_in_slices(wanted: Input) -> Iterator[tuple[Place, str]]:
    """Yield SOP classes of which no volume is made."""
    known = ", ".join(f"{name} {uid}" for uid, name in OF_SLICES.items())
    for i, uid in enumerate(wanted.sop_classes):
        if uid not in OF_SLICES:
            yield ("sop_classes", i), f'no volume is made of "{uid}"; expected {known}'


def amiss_in_expected_phases(wanted: Input, roles: Sequence[str]) -> Iterator[tuple[Place, str]]:
    """Yield that a study would be complete without a phase that is read."""
    numbers = {role: int(role.removeprefix("post ")) for role in roles if role.startswith("post ")}
    last = max(numbers, key=numbers.__getitem__, default="")
    count = wanted.expected_phases
    if last and count is not None and count <= numbers[last]:
        without = f"a study of {count} phases is complete without it"
        yield (
            ("expected_phases",),
            f"expected at least {numbers[last] + 1}, as {last} is read: {without}",
        )


def is_phase(role: str) -> bool:
    """Whether a role is one of a dynamic series: "pre", "post 1", "early", "each post"."""
    return role in ("pre", EACH_POST, *BY_TIME) or role.startswith("post ")


class PhaseMoment(Section):
    """Which phase is meant: the one whose middle of acquisition lies nearest, if near enough."""

    middle_s: Annotated[float, Field(gt=0, le=3600)]
    """In seconds after the injection."""
    within_s: Annotated[float, Field(gt=0, le=1800)]
    """Farther from that no phase is taken."""

    @property
    def earliest_s(self) -> float:
        """When the middle of a phase may lie at the earliest."""
        return self.middle_s - self.within_s

    @property
    def latest_s(self) -> float:
        """When it may lie at the latest."""
        return self.middle_s + self.within_s


def view_called(name: str) -> View:
    """Return the view with a name such as "R MLO"."""
    side, projection = name.split()
    return View(Laterality(side), projection)


class ManifestUnit(GrownSection):
    """What the network reads at once, and answers once."""

    LATER: ClassVar[frozenset[str]] = frozenset({"early", "late", "optional", "most_displaced_mm"})

    of: PartOfStudy
    roles: tuple[RoleName, ...] = ()
    """Of an exam views ("R CC"), of a breast projections ("CC"); which image is which. Of a breast
    MRI phases ("pre", "post 1", "early", "late", "each post"), each of which is a volume."""
    missing: Literal["refuse", "blank"] = "refuse"
    """A role without an image: the unit is not analysed, or the network gets zeros there."""
    repeated: Literal["refuse", "first", "last"] = "refuse"
    """Several images of one role: not analysed, or the first or last by time of acquisition."""
    early: PhaseMoment | None = None
    """When the phase "early" was acquired."""
    late: PhaseMoment | None = None
    """When the phase "late" was acquired."""
    optional: tuple[RoleName, ...] = ()
    """Phases without which the others are read all the same: the network gets zeros there."""
    most_displaced_mm: Annotated[float, Field(gt=0, le=100)] | None = None
    """If the body moved farther between the phase before contrast and another, or it cannot be
    measured how far, the exam is not analysed."""

    @property
    def is_of_volumes(self) -> bool:
        """Whether it reads phases, not images."""
        return any(map(is_phase, self.roles))

    @property
    def is_repeated(self) -> bool:
        """Whether it is read several times of one study, phase by phase."""
        return EACH_POST in self.roles

    @property
    def all_roles(self) -> tuple[str, ...]:
        """The roles, of one image as well."""
        return self.roles or (IMAGE,)

    def amiss(self, wanted: Input) -> Iterator[tuple[Place, str]]:
        """Yield what cannot be, of a model of mammograms."""
        for word in sorted(self.LATER & self.model_fields_set):
            yield (word,), "is of breast MRI"
        if self.of == "image":
            for word in ("roles", "missing", "repeated"):
                if word in self.model_fields_set:
                    yield (word,), 'is of several images: of = "breast" or "exam"'
            return
        if len(self.roles) < 2:
            yield ("roles",), f"expected the images of {self._example}"
        yield from self._amiss_in_roles(wanted)

    def amiss_in_phases(self) -> Iterator[tuple[Place, str]]:
        """Yield what cannot be, of a model of breast MRI."""
        if self.of != "exam":
            yield ("of",), 'expected "exam": a breast MRI shows both breasts at once'
        if not self.roles:
            yield ("roles",), 'missing: which phases? roles = ["pre", "post 1"]'
        if self.repeated != "refuse":
            yield ("repeated",), "is of mammograms: there is one phase of each name"
        for i, role in enumerate(self.roles):
            if role == REGION:
                yield ("roles", i), f'"{role}" is no phase: [[inputs]] name it beside these roles'
            elif not is_phase(role):
                known = '"pre", "post 1", "post 2", ..., "early", "late", "each post"'
                yield ("roles", i), f'"{role}" is no phase: {known}'
            elif role in self.roles[:i]:
                yield ("roles", i), f'"{role}" is there twice'
        yield from self._amiss_in_moments()

    def _amiss_in_moments(self) -> Iterator[tuple[Place, str]]:
        """Yield where a moment is missing or has no effect, and what cannot be left out."""
        for role, moment in self.moments.items():
            if role in self.roles and moment is None:
                yield (role,), "missing: when? { middle_s = 150, within_s = 60 }"
            elif moment is not None and role not in self.roles:
                yield (role,), f'has no effect: "{role}" is none of the roles'
        if self.early and self.late and self.early.latest_s >= self.late.earliest_s:
            yield (
                ("late",),
                f"expected all of it after {self.early.latest_s:g} s, when early ends, else one "
                f"phase may be both; begins at {self.late.earliest_s:g} s",
            )
        yield from self._amiss_in_leaving_out()

    def _amiss_in_leaving_out(self) -> Iterator[tuple[Place, str]]:
        if self.most_displaced_mm is not None and "pre" not in self.roles:
            yield ("most_displaced_mm",), 'is measured against "pre", which is none of the roles'
        for i, role in enumerate(self.optional):
            if role not in self.roles:
                yield ("optional", i), f'"{role}" is none of the roles'
            elif role == "pre":
                yield ("optional", i), "nothing is compared without the phase before contrast"
        if self.roles and set(self.roles) <= {"pre", *self.optional}:
            yield ("optional",), "of the phases after contrast one must be needed"

    @property
    def moments(self) -> dict[str, PhaseMoment | None]:
        """When the phases that are told by their time were acquired."""
        return {"early": self.early, "late": self.late}

    @property
    def _example(self) -> str:
        if self.of == "exam":
            return 'an exam, such as ["R CC", "L CC", "R MLO", "L MLO"]'
        return 'a breast, such as ["CC", "MLO"]'

    def _amiss_in_roles(self, wanted: Input) -> Iterator[tuple[Place, str]]:
        for i, role in enumerate(self.roles):
            *side, projection = role.split()
            if (self.of == "exam") != bool(side) or role == IMAGE:
                yield ("roles", i), f'"{role}" is none of the images of {self._example}'
            elif projection not in wanted.projections:
                yield ("roles", i), f'"{role}" is not of one of the projections of [input]'
            elif role in self.roles[:i]:
                yield ("roles", i), f'"{role}" is there twice'
        read = {role.split()[-1] for role in self.roles}
        for projection in wanted.projections:
            if projection not in read:
                words = f"{projection} of input.projections has no role: add it, or pass it over"
                yield ("roles",), words


class InputTensor(Section):
    """One of the network's inputs, and the images it gets."""

    tensor: str
    roles: Annotated[tuple[RoleName, ...], Field(min_length=1)]
    """One image as it is, or several joined in this order."""
    join: Literal["batch", "channels", "concatenate"] | None = None
    """batch: along axis 0; channels: along axis 1; concatenate: vectors, one behind the other."""

    def shape(self, of_image: tuple[int, ...], batch: int = 1) -> tuple[int, ...]:
        """Return the shape of the tensor, from that of one image without the batch axis.

        `batch`: how many images are made of each role.
        """
        count = len(self.roles)
        if self.join == "batch":
            return count * batch, *of_image
        return batch, count * of_image[0], *of_image[1:]


@dataclass(frozen=True, slots=True)
class MadeShape:
    """What operations make of an image, or of a phase."""

    shape: tuple[int, ...]
    """Of one image, without the batch axis."""
    batch: int
    """How many images are made of each phase."""
    needs_pre: bool
    """Whether they look at the phase before contrast, whichever phase they are of."""


def amiss_in_inputs(
    inputs: tuple[InputTensor, ...], unit: ManifestUnit, made: MadeShape
) -> Iterator[tuple[Place, str]]:
    """Yield what cannot be, each with its place in the list."""
    for i, one in enumerate(inputs):
        for j, role in enumerate(one.roles):
            if words := _why_not_given(role, unit):
                yield (i, "roles", j), words
        if one.tensor in {other.tensor for other in inputs[:i]}:
            yield (i, "tensor"), f'"{one.tensor}" is there twice'
        if words := _join_amiss(one, made):
            yield (i, "join"), words
    given = {role for one in inputs for role in one.roles}
    unseen = {"pre"} if made.needs_pre or REGION in given else set[str]()
    for role in unit.all_roles:
        if inputs and role not in given | unseen:
            yield (0, "roles"), f'no input takes "{role}" of [unit]'


def _why_not_given(role: str, unit: ManifestUnit) -> str:
    """Return why an input cannot take a role, "" if it can."""
    if role == REGION and unit.is_of_volumes:
        return "" if "pre" in unit.roles else f'"{role}" needs "pre" among the roles of [unit]'
    named = ", ".join(f'"{one}"' for one in unit.all_roles)
    return "" if role in unit.all_roles else f'"{role}" is no role of [unit], which has {named}'


def _join_amiss(one: InputTensor, made: MadeShape) -> str:
    axes = len(made.shape)
    if len(one.roles) == 1:
        return "is of several roles" if one.join else ""
    if one.join is None:
        return 'missing: how are the images joined? "batch", "channels" or "concatenate"'
    rules = (
        (
            one.join == "batch" and made.batch > 1,
            'expected "channels": slices are the batch already',
        ),
        (
            one.join == "channels" and axes == 1,
            'expected "concatenate" or "batch": the operations of [[pixels]] give vectors',
        ),
        (
            one.join == "concatenate" and axes > 1,
            'expected "batch" or "channels": only vectors are concatenated',
        ),
    )
    return next((why for is_so, why in rules if is_so), "")
