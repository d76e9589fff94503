"""What arrives: instances, what they show, and the version of a study they make up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Laterality(StrEnum):
    """Image Laterality (0020,0062)."""

    RIGHT = "R"
    LEFT = "L"
    BOTH = "B"

    @property
    def word(self) -> str:
        """What a sentence calls it."""
        return {"R": "right", "L": "left", "B": "both"}[self]


@dataclass(frozen=True, slots=True)
class View:
    """A side and a projection, such as right MLO; `str(view)` is "R MLO"."""

    laterality: Laterality
    projection: str
    """CC, MLO, ML, LM, XCCL, ...: the View Position (0018,5101) defined terms."""

    def __str__(self) -> str:
        return f"{self.laterality} {self.projection}"


@dataclass(frozen=True, slots=True)
class Site:
    """A body part, with a side if it has one."""

    body_part: str
    """As `dicom.body_part` reads it: "BREAST"; "" if nobody said."""
    laterality: Laterality | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What an object shows, as the domains read it from its header at reception."""

    modality: str
    """Modality (0008,0060)."""
    sop_class: str
    body_part: str = ""
    """As `dicom.body_part` reads it: "CHEST"; "" if the object does not say, or came when that
    was not looked at."""
    view: View | None = None
    """None if the object shows no mammographic view, or contradicts itself about it."""
    is_standard: bool = True
    """False for magnified, spot, specimen and other images that do not stand for their view."""
    details: str = ""
    """What else a domain read that a study is judged by, as that domain writes it; "" if nothing,
    or if the object came when that was not looked at."""

    @property
    def site(self) -> Site:
        """Where it was taken."""
        return Site(self.body_part, self.view.laterality if self.view else None)


@dataclass(frozen=True, slots=True)
class StudyLabels:
    """What people know a study by: on one line each, decoded, bounded, "" if not said."""

    accession_number: str = ""
    patient_id: str = ""
    patient_name: str = ""
    """As sent: "Doe^Jane"."""
    study_date: str = ""
    """As sent: "20261128"."""
    study_description: str = ""


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose a study is, as others are told: decoded, else as sent; "" of what is not said."""

    patient_id: str = ""
    issuer: str = ""
    """Issuer of Patient ID (0010,0021)."""
    patient_name: str = ""
    """As sent: "Doe^Jane"."""
    birth_date: str = ""
    """As sent: "19500101"."""
    accession_number: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One DICOM object on disk, exactly as it came off the network (Part 10, as sent)."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    modality: str
    path: Path
    digest: str
    """SHA-256 of the encoded data set as sent, without preamble and file meta."""
    body_part: str = ""
    view: View | None = None
    is_standard: bool = True
    identity: str = ""
    """What its header said at reception of whose study it is (`identity.identity_of`), if kept."""
    details: str = ""

    @property
    def shown(self) -> Shown:
        """What it shows."""
        return Shown(
            self.modality,
            self.sop_class,
            self.body_part,
            self.view,
            self.is_standard,
            self.details,
        )


NO_IMAGES = frozenset(("KO", "PR", "SR"))
"""Modalities of objects that are no images."""

IMAGE = "image"
"""The role of an image that a model reads by itself."""

PRE_CONTRAST = "pre"
"""The phase of a breast MRI before contrast: what the others are compared with."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of an instance."""

    instance: Instance
    number: int | None = None
    """From 1; None of an instance that is one image."""


@dataclass(frozen=True, slots=True)
class PhaseRead:
    """A phase of a dynamic series as a model has read it, and its times."""

    role: str
    """"pre", "early", "post 1"."""
    name: str
    """"pre", "post 2"."""
    slices: int
    middle_s: float | None
    """The middle of its acquisition, in seconds after the injection; None if not known."""
    rests_on: str
    """What its time rests on, in words that may leave the node."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What a model reads at once, and one score is kept for.

    An image or several, or a volume or several; each by its role.
    """

    instances: Mapping[str, Instance]
    """The images by role; none of what is of volumes."""
    name: str
    """What it is called in a result, plain ASCII: "R MLO"."""
    volumes: Mapping[str, tuple[Frame, ...]] = field(default_factory=dict)
    """By role the slices of each, in the order of space; none of what is of images."""
    phases: tuple[PhaseRead, ...] = ()
    """Of volumes: when each was acquired."""
    doubts: tuple[str, ...] = ()
    """What a reader of the result should know of it: "Compressed with loss"."""
    followed: Mapping[str, tuple[Frame, ...]] = field(default_factory=dict)
    """By name the slices of the phases in which it is measured how what was found follows the
    contrast agent; none where nobody asks for that."""
    followed_phases: tuple[PhaseRead, ...] = ()
    """When these were acquired."""

    @property
    def instance(self) -> Instance:
        """The instance of a unit that has one."""
        (instance,) = self.instances.values()
        return instance

    @property
    def sop_uid(self) -> str:
        """The SOP Instance UID of a unit that has one instance."""
        return self.instance.sop_uid

    @property
    def sop_uids(self) -> tuple[str, ...]:
        """The SOP Instance UIDs, each once, in the order of its roles."""
        volumes = (*self.volumes.values(), *self.followed.values())
        frames = (frame for volume in volumes for frame in volume)
        instances = (*self.instances.values(), *(frame.instance for frame in frames))
        return tuple(dict.fromkeys(instance.sop_uid for instance in instances))

    @property
    def key(self) -> str:
        """What its score goes by within a study: of one image its SOP Instance UID."""
        if not self.volumes:
            return " ".join(self.sop_uids)
        slices = [
            [role, frame.instance.sop_uid, frame.number]
            for role, volume in self.all_volumes.items()
            for frame in volume
        ]
        return f"volumes {hashlib.sha256(json.dumps(slices).encode()).hexdigest()}"

    @property
    def _followed(self) -> list[tuple[str, tuple[Frame, ...]]]:
        return [(f"followed {name}", volume) for name, volume in self.followed.items()]

    @property
    def all_volumes(self) -> dict[str, tuple[Frame, ...]]:
        """All that a score of volumes depends on, by role and by what is followed."""
        return {**self.volumes, **dict(self._followed)}

    @property
    def laterality(self) -> Laterality | None:
        """Its side, if all of it has one."""
        sides = {instance.shown.site.laterality for instance in self.instances.values()}
        return sides.pop() if len(sides) == 1 else None


@dataclass(frozen=True, slots=True)
class FormerReport:
    """A result object of the version before."""

    kind: str
    path: Path
    """Where its file is, or was: it may be removed by now."""
    sop_class: str = ""
    sop_uid: str = ""
    series_uid: str = ""
    """"" if nobody has written it down: then its file says so, if it is there."""
    made_by: tuple[str, ...] = ()
    """The models that a structured report is of, as Manufacturer's Model Name has them."""


@dataclass(frozen=True, slots=True)
class StudyVersion:
    """A study as it was when it was closed: what is analysed, and why it was closed then."""

    study_uid: str
    number: int
    """1 for the first, one more for each time late images reopened the study."""
    reason: str
    """Why it was closed, in words a person reads: "4/4 views, association ended",
    "quiet 60 s, R MLO missing"."""
    instances: tuple[Instance, ...]
    """In the order in which they came; behind them those that were corrected, the latest last."""
    decided_at: datetime
    """The time (UTC) every object built of this version carries, however often it is rebuilt."""
    installation: str
    """Identity of this installation: keeps the UIDs of test and production apart."""
    replaces: datetime | None = None
    """When the version before this one was reported (UTC), None for the first."""
    predecessors: tuple[FormerReport, ...] = ()
    """The report objects of that version."""
    damaged: int = 0
    """How many objects of the study had been refused as damaged when it was closed."""


def damaged_in_words(count: int) -> str:
    """Return "1 object refused as damaged", "" if none was."""
    return f"{count} object{'s' * (count > 1)} refused as damaged" if count else ""


LONGEST_SIDE_PX = 2048
"""Of a picture."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image as a display shows it: what captures are drawn on."""

    grey: NDArray[np.uint8]
    """Shape (rows, columns), neither above LONGEST_SIDE_PX; 0 is black; MONOCHROME1 and VOI are
    already applied."""
    scale: float
    """Pixels of the picture per pixel of the stored matrix, at most 1."""


@dataclass(frozen=True, slots=True)
class VolumePicture:
    """A volume as captures are drawn on it."""

    slices: Mapping[int, Picture]
    """By their places in the stack, as stored, all on one scale of grey."""
    projection: Picture | None
    """The most that the contrast agent adds along the body, as `imaging.standard_view` shows it;
    None of a phase alone."""
