"""What one MR image says of itself: a slice, or a frame of an enhanced object.

Plain values, as they will be kept beside the object in the ledger: `as_text` and `from_text`.
What they mean is for `series` (what an image shows) and `phases` (when it was taken) to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from node.errors import StudyError

Numeric = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of one image; None, "" and () are what is not said."""

    sop_uid: str
    series_uid: str
    frame: int | None = None
    """From 1; None of an object that is one slice."""
    series_number: int | None = None
    is_readable: bool = True
    """Whether it is an MR Image, Enhanced MR or Legacy Converted Enhanced MR."""
    why_not_asked: str = ""
    """Why its frames were not asked, in words: then nothing is known of what they show."""
    maker: str = ""
    """GE, SIEMENS or PHILIPS, by Manufacturer (0008,0070)."""

    # What it shows
    image_type: tuple[str, ...] = ()
    """Image Type (0008,0008), of a frame Frame Type (0008,9007)."""
    is_compressed_with_loss: bool = False
    contrast: str = ""
    """Acquisition Contrast (0008,9209)."""
    calculation: str = ""
    """Volume Based Calculation Technique (0008,9207)."""
    sequence: tuple[str, ...] = ()
    """Scanning Sequence (0018,0020): SE, IR, GR, EP; of enhanced objects told from their own."""
    variant: tuple[str, ...] = ()
    """Sequence Variant (0018,0021)."""
    options: tuple[str, ...] = ()
    """Scan Options (0018,0022)."""
    dimensions: str = ""
    """MR Acquisition Type (0018,0023): 2D or 3D."""
    sequence_name: str = ""
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    flip_degrees: float | None = None
    b_value: float | None = None
    """Diffusion b-value (0018,9087), else the makers', in s/mm2."""
    is_b_value_private: bool = False
    fat: str = ""
    """"suppressed" or "kept", where an attribute says so."""
    fat_by: str = ""
    """Which attribute."""

    # Contrast agent
    agent: str = ""
    """"given" or "none"."""
    agent_by: str = ""
    bolus_s: float | None = None
    """Contrast/Bolus Start Time (0018,1042), in seconds of the calendar as all times here."""

    # When
    temporal_position: int | None = None
    temporal_by: str = ""
    temporal_positions: int | None = None
    """Number of Temporal Positions (0020,0105)."""
    temporal_resolution_s: float | None = None
    acquisition_number: int | None = None
    trigger_s: float | None = None
    """Trigger Time (0018,1060), or Temporal Position Time Offset (0020,930D)."""
    acquired_s: float | None = None
    """When its acquisition began."""
    acquired_by: str = ""
    content_s: float | None = None
    series_s: float | None = None
    duration_s: float | None = None
    """How long what it belongs to was acquired: a frame's phase, else the whole acquisition."""
    duration_by: str = ""
    is_duration_of_frame: bool = False

    # Where
    position: Numeric = ()
    """Image Position (Patient), mm."""
    orientation: Numeric = ()
    size: tuple[int, ...] = ()
    """Rows, columns."""
    spacing: Numeric = ()
    """Between rows, between columns, mm."""
    no_plane: str = ""
    """Why it is not known where it lies, in words."""
    locations: int | None = None
    """How many slices a phase has, where a maker says so."""

    # Of what
    body_part: str = ""
    """As `dicom.body_part` reads it."""
    coil: str = ""
    coil_by: str = ""
    protocol: str = ""
    series_description: str = ""
    study_description: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether all is known that is asked; of what came before that was kept, its body part."""
        return bool(self.sop_uid) and not self.why_not_asked


_FIELDS = {field.name: field for field in fields(Facts)}


def as_text(facts: Sequence[Facts]) -> str:
    """Return what an object says as compact JSON: what all its frames share is written once."""
    rows = [
        {
            name: list(value) if isinstance(value, tuple) else value
            for name, field in _FIELDS.items()
            if (value := getattr(one, name)) != field.default
        }
        for one in facts
    ]
    shared = {
        name: value
        for name, value in (rows[0] if rows else {}).items()
        if all(name in row and row[name] == value for row in rows)
    }
    own = [{k: v for k, v in row.items() if k not in shared} for row in rows]
    return json.dumps([shared, own], separators=(",", ":"), sort_keys=True)


def from_text(text: str) -> tuple[Facts, ...]:
    """Return what `as_text` has written; raise StudyError of anything else."""
    try:
        shared, own = json.loads(text)
        return tuple(Facts(**{k: _as_kept(v) for k, v in (shared | row).items()}) for row in own)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise StudyError("what is kept of an MR object cannot be read") from None


def _as_kept(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
