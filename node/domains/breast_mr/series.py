"""What an MR image shows, and what a series of them, each with the reason in words.

Standard attributes come first (PS3.3 C.8.3.1 and C.8.13.3), then the makers' and sites' habits,
then what weighting the times of the sequence make. No reason quotes a description: it may name a
patient.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.domains.breast_mr import habits
from node.domains.breast_mr.facts import Facts


class SeriesKind(StrEnum):
    """What an image, or a series, is taken for."""

    DYNAMIC = "dynamic T1"
    """Has phases: `phases` says which."""
    T1 = "T1"
    T2 = "T2"
    STIR = "STIR"
    DIFFUSION = "diffusion"
    ADC = "ADC"
    SUBTRACTION = "subtraction"
    MIP = "projection"
    LOCALISER = "localiser"
    REFORMATTED = "reformatted"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Taken:
    """What an image is taken for, and why."""

    kind: SeriesKind
    reason: str
    may_be_phase: bool = False
    """Whether it can belong to a phase: T1-weighted, of a gradient echo, as acquired."""


_STANDARD_TYPES = {
    "LOCALIZER": SeriesKind.LOCALISER,
    "PROJECTION IMAGE": SeriesKind.MIP,
    "MAX_IP": SeriesKind.MIP,
    "MIN_IP": SeriesKind.MIP,
    "MODULUS SUBTRACT": SeriesKind.SUBTRACTION,
    "PHASE SUBTRACT": SeriesKind.SUBTRACTION,
    "SUBTRACTION": SeriesKind.SUBTRACTION,
    "DIFFUSION MAP": SeriesKind.ADC,
    "MPR": SeriesKind.REFORMATTED,
    "CURVED_MPR": SeriesKind.REFORMATTED,
    "IMAGE ADDITION": SeriesKind.OTHER,
    "DENSITY MAP": SeriesKind.OTHER,
    "T1 MAP": SeriesKind.OTHER,
    "T2 MAP": SeriesKind.OTHER,
    "PHASE MAP": SeriesKind.OTHER,
    "VELOCITY MAP": SeriesKind.OTHER,
    "PERFUSION": SeriesKind.OTHER,
}
"""Of Image Type (PS3.3 C.8.3.1.1.1; of enhanced objects C.8.16.1)."""

_OF_HABIT = {
    "adc": SeriesKind.ADC,
    "diffusion": SeriesKind.DIFFUSION,
    "mip": SeriesKind.MIP,
    "reformatted": SeriesKind.REFORMATTED,
    "susceptibility": SeriesKind.OTHER,
    "perfusion": SeriesKind.OTHER,
    "localiser": SeriesKind.LOCALISER,
    "subtraction": SeriesKind.SUBTRACTION,
}

_CONTRASTS = {
    "T1": SeriesKind.T1,
    "T2": SeriesKind.T2,
    "STIR": SeriesKind.STIR,
    "DIFFUSION": SeriesKind.DIFFUSION,
    **dict.fromkeys(
        (
            *("FLOW_ENCODED", "FLUID_ATTENUATED", "PERFUSION", "PROTON_DENSITY", "T2_STAR"),
            *("TAGGING", "TIME_OF_FLIGHT", "MAGNETIZATION_TRANSFER", "SUSCEPTIBILITY"),
        ),
        SeriesKind.OTHER,
    ),
}
"""Of Acquisition Contrast (PS3.3 C.8.13.3.1.2)."""

_LONGEST_ECHO_OF_T1_MS = 35
_SHORTEST_ECHO_OF_T2_MS = 60
_LONGEST_REPETITION_OF_T1_MS = 1200
_SHORTEST_REPETITION_OF_T2_MS = 1500
_LONGEST_ECHO_OF_GRADIENT_MS = 10
_LONGEST_INVERSION_OF_STIR_MS = 300
_SHORTEST_INVERSION_OF_FLUID_MS = 1500
"""Between the two a weighting is not named: it is proton density, or a mixture. The usual ranges
of textbooks (McRobbie and others, MRI from Picture to Proton); nothing hangs on their edges."""


def taken(facts: Facts) -> Taken:
    """Return what an image shows."""
    if not facts.is_readable:
        return Taken(SeriesKind.OTHER, "no MR Image, Enhanced MR or Legacy Converted Enhanced MR")
    if facts.why_not_asked:
        return Taken(SeriesKind.OTHER, facts.why_not_asked)
    return _by_diffusion(facts) or _by_type(facts) or _by_words(facts) or _by_weighting(facts)


def _by_diffusion(facts: Facts) -> Taken | None:
    """Return what a b-value above 0 says: a diffusion image, and no map."""
    if not facts.b_value:
        return None
    if "ADC" in facts.image_type:
        if facts.is_b_value_private:  # `habits.B_VALUE_OF_MAP`
            return None
        reason = "Image Type says ADC, but there is a Diffusion b-value above 0"
        return Taken(SeriesKind.OTHER, f"contradicts itself: {reason}")
    return Taken(SeriesKind.DIFFUSION, f"Diffusion b-value of {facts.b_value:g} s/mm2")


def _by_type(facts: Facts) -> Taken | None:
    for value in (*facts.image_type[2:], facts.calculation):
        kind = _STANDARD_TYPES.get(value)
        habit = None if kind else habits.first_match(habits.IMAGE_TYPES, value)
        if habit and habit.means == "diffusion" and "ADC" in facts.image_type:
            continue
        if kind or habit:
            assert kind or habit
            found = kind or _OF_HABIT[habit.means if habit else ""]
            return Taken(found, f"Image Type says {value}")
    if (kind := _CONTRASTS.get(facts.contrast)) not in (
        None,
        SeriesKind.T1,
        SeriesKind.T2,
        SeriesKind.STIR,
    ):
        assert kind
        return Taken(kind, f"Acquisition Contrast says {facts.contrast}")
    return None


def _by_words(facts: Facts) -> Taken | None:
    """Return what a description, or the name of a sequence, says that no attribute does."""
    if habit := habits.first_match(habits.SERIES_WORDS, facts.series_description):
        return Taken(_OF_HABIT[habit.means], f"Series Description says {habit.says}")
    habit = habits.first_match(habits.SEQUENCE_NAMES, facts.sequence_name)
    if habit and habit.means in _OF_HABIT:
        return Taken(_OF_HABIT[habit.means], f"{habit.says} says {habit.means}")
    return None


def _by_weighting(facts: Facts) -> Taken:
    how = _sequence_words(facts)
    if (kind := _CONTRASTS.get(facts.contrast)) is not None:
        return _as_acquired(facts, kind, f"Acquisition Contrast says {facts.contrast}{how}")
    if reason := _why_no_weighting(facts):
        return Taken(SeriesKind.OTHER, reason)
    kind = _of_gradient_echo(facts) if is_gradient_echo(facts) else _of_spin_echo(facts)
    if kind is SeriesKind.OTHER:
        return Taken(kind, f"neither T1- nor T2-weighted{how}")
    return _as_acquired(
        facts, kind, f"{kind}-weighted{how}" if kind != SeriesKind.STIR else f"STIR{how}"
    )


def _why_no_weighting(facts: Facts) -> str:
    if "TOF" in facts.variant:
        return "Sequence Variant says time of flight"
    if not facts.sequence and not habits.meanings(habits.SEQUENCE_NAMES, facts.sequence_name):
        return "Scanning Sequence missing"
    return "Echo Time missing" if facts.echo_ms is None else ""


def _as_acquired(facts: Facts, kind: SeriesKind, reason: str) -> Taken:
    """Say whether an image may belong to a phase: a derived one was made of others."""
    is_derived = facts.image_type[:1] == ("DERIVED",) and not facts.is_compressed_with_loss
    if is_derived:
        reason = f"{reason}; derived"
    may_be = kind is SeriesKind.T1 and is_gradient_echo(facts) and not is_derived
    return Taken(kind, reason, may_be)


def _of_gradient_echo(facts: Facts) -> SeriesKind:
    return (
        SeriesKind.T1 if (facts.echo_ms or 0) <= _LONGEST_ECHO_OF_GRADIENT_MS else SeriesKind.OTHER
    )


def _of_spin_echo(facts: Facts) -> SeriesKind:
    echo, repetition = facts.echo_ms or 0, facts.repetition_ms
    if "EP" in facts.sequence or repetition is None:
        return SeriesKind.OTHER
    if "IR" in facts.sequence and facts.inversion_ms:
        return _of_inversion(facts.inversion_ms, echo)
    if echo >= _SHORTEST_ECHO_OF_T2_MS and repetition >= _SHORTEST_REPETITION_OF_T2_MS:
        return SeriesKind.T2
    is_t1 = echo <= _LONGEST_ECHO_OF_T1_MS and repetition <= _LONGEST_REPETITION_OF_T1_MS
    return SeriesKind.T1 if is_t1 else SeriesKind.OTHER


def _of_inversion(inversion: float, echo: float) -> SeriesKind:
    if inversion <= _LONGEST_INVERSION_OF_STIR_MS:
        return SeriesKind.STIR
    is_fluid = inversion >= _SHORTEST_INVERSION_OF_FLUID_MS
    return SeriesKind.T1 if not is_fluid and echo <= _LONGEST_ECHO_OF_T1_MS else SeriesKind.OTHER


def is_gradient_echo(facts: Facts) -> bool:
    """Whether it is of a gradient echo, as every fast dynamic series is."""
    if facts.sequence:
        return "GR" in facts.sequence and "EP" not in facts.sequence
    return "gradient" in habits.meanings(habits.SEQUENCE_NAMES, facts.sequence_name)


def _sequence_words(facts: Facts) -> str:
    names = {"GR": "gradient echo", "SE": "spin echo", "IR": "inversion recovery"}
    parts = [
        *(names[one] for one in ("IR", "SE", "GR") if one in facts.sequence),
        *(["echo planar"] if "EP" in facts.sequence else []),
        *([f"TR {facts.repetition_ms:g} ms"] if facts.repetition_ms else []),
        *([f"TE {facts.echo_ms:g} ms"] if facts.echo_ms else []),
        *([f"TI {facts.inversion_ms:g} ms"] if facts.inversion_ms else []),
        *([f"flip angle {facts.flip_degrees:g} degrees"] if facts.flip_degrees else []),
        *([facts.dimensions] if facts.dimensions in ("2D", "3D") else []),
    ]
    return f": {', '.join(parts)}" if parts else ""


_FAT_KEPT = re.compile(r"(?<![A-Z])NON?[- ]?(FS|FAT ?SAT)(?![A-Z])", re.IGNORECASE)
_FAT_SUPPRESSED = re.compile(
    r"(?<![A-Z])(FS|FAT ?SAT|FATSAT|SPAIR|SPIR|STIR)(?![A-Z])", re.IGNORECASE
)
"""What the methods are called, whoever made the scanner."""


def fat_suppression(facts: Facts) -> tuple[bool | None, str]:
    """Return whether fat is suppressed, None if nothing says it, and what says so."""
    if facts.fat:
        return facts.fat == "suppressed", facts.fat_by
    inversion = facts.inversion_ms or 0
    if "IR" in facts.sequence and 0 < inversion <= _LONGEST_INVERSION_OF_STIR_MS:
        return True, "Inversion Time"
    if _FAT_KEPT.search(facts.series_description):
        return False, "Series Description"
    if _FAT_SUPPRESSED.search(facts.series_description):
        return True, "Series Description"
    return None, ""


_PARALLEL = 0.995
"""Cosine between normals of the slices of one stack: 6 degrees."""


def directions(facts: Sequence[Facts]) -> int:
    """Return in how many directions the slices of a series look."""
    found: list[tuple[float, ...]] = []
    for orientation in sorted({one.orientation for one in facts if one.orientation}):
        a, b, c, d, e, f = orientation
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        if not any(
            abs(sum(x * y for x, y in zip(normal, other, strict=True))) > _PARALLEL
            for other in found
        ):
            found.append(normal)
    return len(found)
