"""What a model says about a study version, in words every output builder understands.

Positions are (column, row) in the stored pixel matrix, (0.0, 0.0) being the top left
corner of the top left pixel (PS3.3 C.18.6), whatever was flipped, cropped or resized
before the model saw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import total_ordering

from node.study import Laterality, PhaseRead

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: Code Value, Coding Scheme Designator, Code Meaning."""

    value: str
    scheme: str
    meaning: str


PERCENT = Code("%", "UCUM", "percent")


@total_ordering
class Priority(Enum):
    """Triage level; the later here, the higher, and the sooner a person should look.

    "Not assessed" sorts above routine: what nobody has judged must not sink to the bottom.
    Stored as its word, so that a level more changes none that is known.
    """

    ROUTINE = "routine"
    NOT_ASSESSED = "not assessed"
    SOON = "soon"
    URGENT = "urgent"

    def __lt__(self, other: Priority) -> bool:
        rising = [*Priority]
        return rising.index(self) < rising.index(other)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which algorithm spoke; the same words in every object and in the ledger."""

    name: str
    """The package's name, "breast-area"."""
    title: str
    """Algorithm Name (111001, DCM) = Manufacturer's Model Name, "Breast Area"."""
    version: str
    manufacturer: str
    device_uid: str
    weights_sha256: str
    is_research: bool = True
    is_demonstration: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number with its meaning and unit (a NUM content item)."""

    concept: Code
    value: float
    unit: Code
    decimals: int = 1
    """How many decimals the number is worth; every object writes the same ones."""
    is_score: bool = False
    """Whether it says how sure the model is; the others are measured."""


@dataclass(frozen=True, slots=True)
class Region:
    """A closed outline on one image; the last point repeats the first."""

    sop_uid: str
    outline: tuple[Point, ...]
    is_box: bool = False
    """Whether it is a box around something, not the thing's own edge."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something with a place (a TID 1410 group)."""

    label: str
    """Tracking Identifier, plain ASCII: "Right MLO breast outline"."""
    kind: Code
    laterality: Laterality | None
    """None if it has no side, or none is known."""
    region: Region
    measurements: tuple[Measurement, ...] = ()
    lesion: str = ""
    """Findings on several images that are one lesion share it; empty if it stands alone."""
    output: str = ""
    """The name that the manifest gives the output that says it."""

    @property
    def score(self) -> Measurement | None:
        """How sure the model is of it."""
        return next((m for m in self.measurements if m.is_score), None)


@dataclass(frozen=True, slots=True)
class Grade:
    """One of several grades that exclude one another (a CODE content item)."""

    concept: Code
    value: Code


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Numbers about images, a breast or the exam, without a place (a TID 1501 group)."""

    label: str
    sop_uids: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    laterality: Laterality | None = None
    grade: Grade | None = None
    output: str = ""
    """The name that the manifest gives the output that says it; "" if none says it alone."""
    about: str = ""
    """"image", "breast" or "exam"."""


Interval = tuple[float, float]
"""Of 95 % confidence: lower and upper end."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold of a score, with what was measured at it; shares are 0..1."""

    name: str
    threshold: float
    """On the score as it is reported, 0..1; a score that is at least as high is positive."""
    sensitivity: float
    sensitivity_interval: Interval
    specificity: float
    specificity_interval: Interval
    positives: int
    """How many with the disease were measured."""
    negatives: int
    data: str
    """What they were, in a sentence."""


@dataclass(frozen=True, slots=True)
class Triage:
    """The level that a model gives a study, and why."""

    level: Priority
    why: str
    """One sentence of plain ASCII."""
    about: str = ""
    """What the score that decided is about: "L breast malignancy"; "" if nothing was assessed."""
    score: Measurement | None = None
    """The one that decided."""
    point: OperatingPoint | None = None
    """What the score has reached; for routine, the lowest that it has not."""
    rank: int | None = None
    """Than how many of 100 without the disease the score is higher, if that was measured."""
    among: str = ""
    """Who those 100 are, as the package says it: plain ASCII; "" if there is no rank."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where on an image a network looked, coarse, in the orientation of the stored matrix."""

    sop_uid: str
    concept: Code
    rows: int
    columns: int
    values: str
    """Base64 of rows x columns bytes, row by row: 0 is nothing, 255 the most it can say."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom of what the map covers; it may reach beyond the image."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One instance that was not analysed, and why, in words a radiologist understands."""

    sop_uid: str
    what: str
    """What it is, without patient data: "R MLO", or the SOP class's name."""
    reason: str
    is_failure: bool = False
    """Whether it should have been analysed and could not be; else it was left out by a rule."""


@dataclass(frozen=True, slots=True)
class SliceStack:
    """The slices of a phase that solids lie on, in the order of space."""

    slices: tuple[tuple[str, int | None], ...]
    """SOP Instance UID, and the frame from 1 of an object of many."""
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Solid:
    """Something that takes up room: voxels of a stack (a segment, PS3.3 C.8.20.4)."""

    label: str
    """Plain ASCII: "L breast enhancing volume above threshold"."""
    kind: Code
    laterality: Laterality | None
    measurements: tuple[Measurement, ...]
    """Its volume in ml, and what else was measured on it."""
    bits: str
    """Base64 of zlib's of eight voxels a byte, the first in the lowest bit: slice by slice of the
    result's stack, row by row."""
    decisive: tuple[int, ...] = ()
    """Places, from 0, of the slices of the stack that say most about it, the first most."""
    is_left_out: bool = False
    """A rule took it away from what is measured: it is reported and drawn, and counts nowhere."""
    of_it: tuple[str, ...] = ()
    """What the measurements behind the first are of, each in a word: "washout"; () if nothing says
    that shorter than their concepts."""
    output: str = ""
    """The name that the manifest gives the output that says it."""
    site: Code | None = None
    """The part of the body that it lies in; None of the breast that it is of, or not known."""


@dataclass(frozen=True, slots=True)
class UptakeCurve:
    """How the signal of something follows the contrast agent."""

    label: str
    laterality: Laterality | None
    points: tuple[tuple[float, float], ...]
    """Seconds after the injection, and percent of enhancement over the phase before it."""


@dataclass(frozen=True, slots=True)
class Pictured:
    """An image that stands for a volume where it is shown."""

    name: str
    """"pre, slice 32 of 64"."""
    sop_uid: str
    frame: int | None = None
    """From 1, of an object of many."""

    @property
    def key(self) -> str:
        """What its picture goes by among those of a draft."""
        return self.sop_uid if self.frame is None else f"{self.sop_uid} {self.frame}"


@dataclass(frozen=True, slots=True)
class Result:
    """Everything one model says about one study version."""

    model: ModelIdentity
    analysed: tuple[str, ...]
    """SOP Instance UIDs of the images that were analysed."""
    refused: tuple[Refusal, ...] = ()
    findings: tuple[Finding, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    statements: tuple[str, ...] = ()
    """Plain ASCII sentences for the Impression: missing views, what the numbers mean."""
    reason: str = ""
    """Why nothing was analysed; empty if something was."""
    ran_on: str = ""
    """The execution provider, "CPU"; empty if nothing ran."""
    looked_for: tuple[Code, ...] = ()
    """What the model detects, found or not; empty if it measures or grades."""
    heat_maps: tuple[HeatMap, ...] = ()
    triage: Triage | None = None
    """None if the model does not triage."""
    breasts: Laterality | None = None
    """Of volumes: which breasts the images show; None if that could not be seen."""
    pictured: tuple[Pictured, ...] = ()
    """Of volumes: the images that are shown of all that was analysed; else each is."""
    stack: SliceStack | None = None
    """What its solids lie on; None if there are none."""
    contrasted: SliceStack | None = None
    """The same slices of the phase that shows the solids: pictures are of what it adds to `stack`.
    None if there is none."""
    solids: tuple[Solid, ...] = ()
    """What counts first."""
    phases: tuple[PhaseRead, ...] = ()
    """Those that were read, in order."""
    curves: tuple[UptakeCurve, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every image the model should have read was read."""
        return bool(self.analysed) and not self.refused


def deciding_score(result: Result) -> float | None:
    """Return the score, 0..1, that decides a result's level; else the only one that it gives.

    None if there is none, or of several that decide nothing.
    """
    triage = result.triage.score if result.triage is not None else None
    said = [m for one in result.evaluations for m in one.measurements if m.is_score]
    found = triage or (said[0] if len(said) == 1 else None)
    if found is None:
        return None
    return found.value / 100 if found.unit.value == PERCENT.value else found.value


@dataclass(frozen=True, slots=True)
class Mark:
    """One place a network pointed at."""

    outline: tuple[Point, ...]
    """Closed: the last point repeats the first."""
    measurements: tuple[Measurement, ...] = ()
    is_box: bool = False
    depth_mm: float | None = None
    """How far its middle lies from the chest wall's edge of the image, if that is known."""
    of_class: int | None = None
    """Which one, from 0, of the classes that its output tells apart, if it does."""


@dataclass(frozen=True, slots=True)
class SolidSaid:
    """Voxels that a network marked."""

    part: int
    """Place in the manifest's list of parts."""
    side: Laterality | None
    """Which breast; None of both."""
    ml: float
    """On the network's grid."""
    bits: str
    """As `Solid.bits`, on the slices of the phase before contrast, in their order."""
    decisive: tuple[int, ...] = ()
    """As `Solid.decisive`."""
    percents: tuple[tuple[str, float], ...] = ()
    """Where that is followed over time: of each phase after contrast, by its name, by how many
    percent its mean signal exceeds that before contrast."""


@dataclass(frozen=True, slots=True)
class DecidingSlice:
    """Of a batch of slices the one whose answer stands for all."""

    number: int
    """From 0, of so many as the network reads."""
    nearest: int | None
    """The slice of the phase before contrast that lies nearest, from 0; None if these lie across
    it, or it is beside them all."""


@dataclass(frozen=True, slots=True)
class OutputScore:
    """What a network said at one of its outputs, in the coordinates and units of the image."""

    measurements: tuple[Measurement, ...] = ()
    """About all that it read at once: one per number the manifest names, in its order, as the
    network gave them, not calibrated."""
    marks: tuple[Mark, ...] = ()
    """The surest, or largest, first."""
    heat_map: HeatMap | None = None
    solids: tuple[SolidSaid, ...] = ()
    """Part by part, the right side first."""
    deciding: DecidingSlice | None = None


@dataclass(frozen=True, slots=True)
class UnitScore:
    """What a network said about what it read at once."""

    unit: str
    """The unit's key: the SOP Instance UIDs of its images."""
    outputs: tuple[OutputScore, ...]
    """In the order in which the manifest names them."""
    mirrored: tuple[str, ...] = ()
    """Roles of images that lie mirrored against their laterality by their pixels alone."""
    displaced: tuple[tuple[str, float | None], ...] = ()
    """Of phases by role: how far, in mm, the body lies from where it was before contrast; None if
    that could not be measured."""
    stack: tuple[int, int, int] | None = None
    """Slices, rows and columns of what solids lie on."""
    remarks: tuple[str, ...] = ()
    """What a reader should know of how it was prepared."""
    breasts: Laterality | None = None
    """Of phases: which breasts are seen in that before contrast; None if that cannot be seen."""
    unread: tuple[Laterality, ...] = ()
    """Breasts that are not found there, or of which a part lies outside of what the network saw."""
