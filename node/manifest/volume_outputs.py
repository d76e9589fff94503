"""What a network says of volumes: solids, and numbers that are measured."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from node import result
from node.manifest.output_words import ImageShape, OutputWords, Places, TensorShape
from node.manifest.words import Ascii, ManifestCode, RoleName
from node.toml_file import Place, Section, wrong


class NumberOutput(OutputWords):
    """A tensor [1, 1]: a number that is measured on all that the network reads."""

    LATER: ClassVar[frozenset[str]] = frozenset({"name", "about", "element", "needs", "none_if"})

    kind: Literal["number"]
    tensor: str
    label: Ascii
    """Behind what it is about: "signal enhancement ratio"."""
    quantity: ManifestCode
    """The concept of what is measured."""
    unit: ManifestCode
    """Of UCUM."""
    decimals: Annotated[int, Field(ge=0, le=4)] = 1
    element: Annotated[int, Field(ge=0)] | None = None
    """Which one of the tensor's last axis, from 0, if there are several."""
    needs: tuple[RoleName, ...] = ()
    """Roles without a phase of which there is no number."""
    none_if: Ascii | None = None
    """What it means that the network answers NaN, which it may then: there is no number, and the
    report says these words instead: "nothing there enhances". Without them NaN is an error."""

    def tensor_shapes(self, _: ImageShape) -> dict[str, TensorShape]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, 1 if self.element is None else None)}

    @model_validator(mode="after")
    def _unit_is_of_ucum(self) -> Self:
        if self.unit.scheme != "UCUM":
            words = f'expected a unit of "UCUM", found "{self.unit.scheme}"'
            raise wrong([(("unit", "scheme"), words)])
        return self


class SolidPart(Section):
    """What a channel of the tensor marks."""

    label: Ascii
    """Behind the side: "enhancing volume" gives "R breast enhancing volume"."""
    finding: ManifestCode
    """What it is."""
    volume: ManifestCode
    """The concept of its volume, whose unit is ml (UCUM)."""
    site: ManifestCode | None = None
    """The part of the body that it lies in; None is the breast."""
    left_out: bool = False
    """A rule took it away from what is measured: it is reported and drawn, and counts nowhere."""
    needs: tuple[RoleName, ...] = ()
    """Roles without a phase of which there is no such part."""
    of: Ascii | None = None
    """Label of an earlier part that it is of: its volume is said of that, and it is not drawn."""


class SolidsOutput(OutputWords):
    """A tensor [1, parts, slices, rows, columns], as large as the volume, of 0..1."""

    LATER: ClassVar[frozenset[str]] = frozenset({"name", "about"})

    kind: Literal["solids"]
    tensor: str
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A voxel above it is of the part."""
    parts: Annotated[tuple[SolidPart, ...], Field(min_length=1, max_length=32)]
    """In the order of the tensor's channels."""
    split: Literal["breasts", "none"]
    """breasts: each part is one of each breast; none: one for both."""
    smallest_ml: Annotated[float, Field(ge=0)] = 0
    """What is smaller, of a part and a side, counts as none."""
    curve: bool = False
    """Whether enhancement over time is measured within the first part that is not left out."""
    decimals: Annotated[int, Field(ge=0, le=4)] = 1
    """Of its volumes in ml."""
    activation: Literal["none", "sigmoid"] = "none"

    @property
    def label(self) -> str:
        """What tells it from other outputs."""
        return self.parts[0].label

    @property
    def places(self) -> Places:
        """Solids."""
        return "solids"

    @property
    def looks_for(self) -> tuple[result.Code, ...]:
        """What it detects."""
        whole = (one for one in self.parts if not one.left_out and one.of is None)
        found = (one.finding.as_code() for one in whole)
        return tuple(dict.fromkeys(found))

    @property
    def followed(self) -> int | None:
        """The part within which enhancement is measured over time; None if none is."""
        kept = (at for at, one in enumerate(self.parts) if not one.left_out)
        return next(kept, None) if self.curve else None

    def tensor_shapes(self, of_image: ImageShape) -> dict[str, TensorShape]:
        """Return the shape that each tensor must have, by its name."""
        return {self.tensor: (1, len(self.parts), *of_image[1:])}

    @model_validator(mode="after")
    def _parts_can_be_told_apart(self) -> Self:
        problems = list[tuple[Place, str]]()
        for at, one in enumerate(self.parts):
            whole = {other.label for other in self.parts[:at] if other.of is None}
            if one.of is not None and one.of not in whole:
                words = f'"{one.of}" is no part before it that stands for itself'
                problems.append((("parts", at, "of"), words))
            if one.of is not None and one.left_out:
                problems.append(
                    (("parts", at, "left_out"), "is of parts that stand for themselves")
                )
            if one.of is not None and one.site is not None:
                words = f'has no effect: it lies where "{one.of}" does'
                problems.append((("parts", at, "site"), words))
            if one.label in {other.label for other in self.parts[:at]}:
                problems.append((("parts", at, "label"), f'"{one.label}" is there twice'))
        if self.curve and self.followed is None:
            problems.append((("curve",), "has no effect: all parts are left out"))
        if problems:
            raise wrong(problems)
        return self
