"""Everything a report set is built from, decided and recorded before the first byte is built."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from functools import cached_property

from pydicom import Dataset

from node.dicom.rejection_note import read_rejection_note
from node.domains.naming import image_name
from node.errors import Held
from node.identity import stable_uid
from node.outputs import verbatim
from node.result import Priority, Result
from node.study import Instance, Laterality, Picture, StudyVersion, View, VolumePicture
from node.triage import FormerLevel


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The report of a former version of the study, which one of this version replaces."""

    series_uid: str
    sop_class: str
    sop_uid: str


@dataclass(frozen=True)  # without slots: what is asked for many times is kept beside the fields
class Draft:
    """One report set before it is built."""

    version: StudyVersion
    results: tuple[Result, ...]
    """One per delivering model, in the order of the configuration; never empty."""
    headers: Mapping[str, Dataset]
    """Header (without pixels) of every instance that was read, by SOP Instance UID: of all that a
    model considered, and of others as far as they are needed.

    Freshly read and not looked at: pydicom decodes an element when it is first read, and only
    what is not decoded can be copied byte for byte.
    """
    pictures: Mapping[str, Picture]
    """What a display shows of every analysed image, by SOP Instance UID; of volumes by
    `Pictured.key`."""
    local_zone: tzinfo
    """The zone of times in objects whose source does not say its own (0008,0201)."""
    configuration_digest: str
    """Changes with every setting that changes what is said: another result, another UID."""
    predecessors: Mapping[tuple[str, str], Predecessor] = field(default_factory=dict)
    """The documents that were sent before this version, by name of the model and kind."""
    hanging: tuple[View, ...] = ()
    """What has a place of its own on the summary page, there or not, in order."""
    decided_by: Result | None = None
    """The result whose triage level is the study's, None if no model gives one."""
    former_levels: tuple[FormerLevel, ...] = ()
    """The triage levels of the versions before."""
    demonstration_may_rank: bool = False
    """A demonstration model's level is the study's."""
    has_level_in_lists: bool = False
    """Series Descriptions name the level, for lists that show nothing else."""
    volumes: Mapping[str, VolumePicture] = field(default_factory=dict)
    """The volume that a model's captures are drawn on, by its name."""
    kinds: frozenset[str] = frozenset()
    """The kinds of object that the set is built of: one may refer to another."""

    @property
    def level(self) -> Priority | None:
        """The study's triage level."""
        triage = self.decided_by.triage if self.decided_by else None
        return triage.level if triage else None

    @cached_property
    def source(self) -> Dataset:
        """The header whose patient and study attributes every object of the set copies.

        No rejection note's, which describes what it rejects. One with a Patient ID, if there is
        any. An analysed image's, else a refused one's, else
        any: what a workstation added to the study may describe the patient otherwise than the
        modality did. Of these the latest: while a study is being corrected, the others may still
        bear the former name.
        """
        analysed = {uid for result in self.results for uid in result.analysed}
        refused = {refusal.sop_uid for result in self.results for refusal in result.refused}
        latest_first = reversed(self.version.instances)
        readable = (i.sop_uid for i in latest_first if i.sop_uid in self.headers)

        def rank(sop_uid: str) -> tuple[bool, ...]:
            is_note, has_no_id = _fitness(self.headers[sop_uid])
            return is_note, has_no_id, sop_uid not in analysed, sop_uid not in refused

        return self.headers[min(readable, key=rank)]

    @cached_property
    def source_zone(self) -> tzinfo | None:
        """The zone the source declares (0008,0201), None if it declares none that is valid."""
        offset = re.fullmatch(
            r"([+-])(\d\d)([0-5]\d)", verbatim.plain(self.source, "TimezoneOffsetFromUTC")
        )
        if offset is None:
            return None
        sign, hours, minutes = offset.groups()
        distance = timedelta(hours=int(hours), minutes=int(minutes))
        if distance > timedelta(hours=14):
            return None
        return timezone(-distance if sign == "-" else distance)

    def instance(self, sop_uid: str) -> Instance:
        """Return the instance of the version with this SOP Instance UID."""
        try:
            return self._instances[sop_uid]
        except KeyError:
            words = "a result refers to an image of another study; nothing is sent"
            raise Held(words) from None

    @cached_property
    def _instances(self) -> Mapping[str, Instance]:
        return {instance.sop_uid: instance for instance in self.version.instances}

    def name_of(self, sop_uid: str) -> str:
        """Return what an image is called: "R MLO"."""
        return image_name(self.instance(sop_uid).shown, self.headers[sop_uid])

    def side_of(self, sop_uids: Sequence[str]) -> Laterality | None:
        """Return the side that these images show, None if there are several or none is known."""
        views = [self.instance(sop_uid).view for sop_uid in sop_uids]
        sides = {view.laterality for view in views if view is not None}
        return sides.pop() if len(sides) == 1 else None

    def uid(self, *parts: str) -> str:
        """Return the UID of a thing that belongs to this version: same input, same UID."""
        return stable_uid(
            self.version.installation,
            self.version.study_uid,
            str(self.version.number),
            self.configuration_digest,
            *(f"{r.model.name} {r.model.version} {r.model.weights_sha256}" for r in self.results),
            *parts,
        )

    def series_uid(self, *parts: str) -> str:
        """Return the UID of a series, shared by the versions of a study that say the same of it."""
        return stable_uid(self.version.installation, self.version.study_uid, "series", *parts)


def has_source(results: Sequence[Result], headers: Mapping[str, Dataset]) -> bool:
    """Return whether one of these headers is `Draft.source`, whatever the other objects say."""
    told = {uid for result in results for uid in result.analysed}
    told |= {refusal.sop_uid for result in results for refusal in result.refused}
    return any(not any(_fitness(headers[sop_uid])) for sop_uid in told if sop_uid in headers)


def _fitness(header: Dataset) -> tuple[bool, bool]:
    """Return what keeps a header from being the source: a rejection note's, without Patient ID."""
    is_note = read_rejection_note(header) is not None
    return is_note, not verbatim.value_bytes(header, "PatientID").strip()


def local_time(draft: Draft, moment: datetime) -> datetime:
    """Return a moment (UTC) in the study's own zone (0008,0201), else in the configured one."""
    return moment.astimezone(draft.source_zone or draft.local_zone)
