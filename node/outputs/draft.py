"""Everything a report set is built from, decided and recorded before the first byte is built."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from pydicom import Dataset

from node.result import Result
from node.study import Picture, StudyVersion


@dataclass(frozen=True, slots=True)
class Draft:
    """One report set before it is built."""

    version: StudyVersion
    results: tuple[Result, ...]
    """One per delivering model, in the order of the configuration; never empty."""
    headers: Mapping[str, Dataset]
    """Header (without pixels) of every instance of the version, by SOP Instance UID."""
    pictures: Mapping[str, Picture]
    """What a display shows of every analysed image, by SOP Instance UID."""
    local_zone: tzinfo
    """The zone of times in objects whose source does not say its own (0008,0201)."""
    configuration_digest: str
    """Changes with every setting that changes what is said: another result, another UID."""

    @property
    def source(self) -> Dataset:
        """The header whose patient and study attributes every object of the set copies."""
        return self.headers[self.version.instances[0].sop_uid]

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
        """Return the UID of a series, which all versions of a study share."""
        return stable_uid(self.version.installation, self.version.study_uid, "series", *parts)


def stable_uid(*parts: str) -> str:
    """Return a UID (2.25 form, PS3.5 B.2) that depends on the parts and on nothing else."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def local_time(draft: Draft, moment: datetime) -> datetime:
    """Return a moment (UTC) in the study's own zone (0008,0201), else in the configured one."""
    offset = str(draft.source.get("TimezoneOffsetFromUTC") or "")
    try:
        zone = datetime.strptime(offset, "%z").tzinfo
    except ValueError:
        zone = None
    return moment.astimezone(zone or draft.local_zone)
