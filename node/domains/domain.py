"""What a domain knows. A module that has these functions is one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydicom import Dataset

from node.imaging.grey import Float32
from node.imaging.grid import PlaneGrid, Points
from node.imaging.visibility import Hidden
from node.manifest import Input, Manifest, ManifestUnit, Model
from node.result import Evaluation, Refusal, SliceStack, Solid, UnitScore, UptakeCurve
from node.study import Instance, Shown, Unit, View


@dataclass(frozen=True, slots=True)
class Awaited:
    """What a study must show to be complete for some models: what of it is there and what not."""

    what: str = ""
    """What these are: "views"; "" if nothing is waited for."""
    there: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """Each in a fixed order, in a word or two: "R MLO"."""
    in_words: str = ""
    """What of it is there, where more is to be said than what is missing: "pre + 4 of 5 posts"."""
    is_uncounted: bool = False
    """Nobody knows how much is to come: then only quiet says that all is there."""
    is_relative: bool = False
    """Whether a part is whole is judged by the others alone: where all lack the same, because all
    of them come piece by piece, each looks whole. So not while somebody is still sending."""
    comes_in_parts: bool = False
    """Much else comes that is read with it, as a rule series by series, each over an association of
    its own: that one of these has ended says nothing."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a model is shown of a study, and what it is not shown, each in a fixed order."""

    units: tuple[Unit, ...]
    """As they are hung."""
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Combined:
    """What the scores of the units of a study say together."""

    evaluations: tuple[Evaluation, ...] = ()
    lesions: Mapping[tuple[int, str, int], str] = field(default_factory=dict)
    """Marks that are one lesion share a name: by the output's place in the manifest, SOP Instance
    UID, and place among the marks there."""
    remarks: tuple[str, ...] = ()
    """Sentences on how this was done."""
    gaps: tuple[str, ...] = ()
    """Sentences on what the model would have read, and could not."""
    missing: tuple[str, ...] = ()
    """What it would have read and could not, each in a word or two: "R MLO"."""
    stack: SliceStack | None = None
    """What solids lie on."""
    contrasted: SliceStack | None = None
    """The same slices of the phase that shows them."""
    solids: tuple[Solid, ...] = ()
    curves: tuple[UptakeCurve, ...] = ()


class Domain(Protocol):
    """What differs between modalities; everything else is the same for all."""

    def read(self, header: Dataset, shown: Shown, /) -> Shown:
        """Return what an object shows, with what this domain reads; as it is, if it is not ours.

        At reception, before any model is asked: of every object, whatever models there are.
        """
        ...

    def is_in_scope(self, shown: Shown, wanted: Input, /) -> bool:
        """Whether a study with such an object may get an answer of a model with this input."""
        ...

    def why_not_in_scope(self, shown: Collection[Shown], wanted: Input, /) -> str:
        """Return why a study that shows this gets none after all, for what it shows as a whole.

        "" if it gets one. In words that may leave the node: "MR of the knee: Body Part Examined".
        """
        ...

    def told(self, shown: Collection[Shown], /) -> tuple[str, ...]:
        """Return what this domain takes a study for that shows this, and why, line by line."""
        ...

    def awaited(self, shown: Collection[Shown], wanted: Sequence[Input], /) -> Awaited:
        """Return what models with these inputs wait for, of a study that shows this so far."""
        ...

    def units(
        self, instances: Sequence[Instance], headers: Mapping[str, Dataset], wanted: Input, /
    ) -> Selection:
        """Divide the images that a model reads from what it must not see; the rest appears nowhere.

        The instances are those of a study, in the order in which they came, each with a header.
        Of a domain of volumes: nothing, for `grouped` finds them.
        """
        ...

    def grouped(
        self,
        selection: Selection,
        wanted: ManifestUnit,
        instances: Sequence[Instance],
        headers: Mapping[str, Dataset],
        /,
    ) -> Selection:
        """Make units of several images, or of volumes, of those of one, which were selected."""
        ...

    def require_visible(self, hidden: Hidden, /) -> None:
        """Raise StudyError if the window, VOI LUT or padding of an image hides what it shows."""
        ...

    def require_plausible(self, seen: Float32, manifest: Manifest, /) -> None:
        """Raise StudyError if an image, as the network sees it, is not what it reads."""
        ...

    def require_plausible_outline(
        self, region: Points, grid: PlaneGrid, manifest: Manifest, /
    ) -> None:
        """Raise StudyError if a network's only region cannot be what every image shows."""
        ...

    def combine(
        self, model: Model, units: Sequence[Unit], scores: Mapping[str, UnitScore], /
    ) -> Combined:
        """Combine the scores of these units, by their keys; each has one."""
        ...

    def hanging(self) -> tuple[View, ...]:
        """Return what has a place of its own on the summary page, there or not, in order."""
        ...
