"""How an object at a destination is named."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reference:
    """One object at a destination."""

    study_uid: str
    series_uid: str
    sop_class: str
    sop_uid: str
