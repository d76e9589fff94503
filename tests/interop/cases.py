"""What models may say of an exam: every case that an object must come out right in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

import factories
from outputs.drafts import (
    DEMONSTRATION,
    DETECTOR,
    MODEL,
    PRODUCT,
    after,
    as_version_2,
    detected,
    graded,
    scored,
    segmented,
    triage_at,
    triaged,
    with_result,
)

from node.kinds import KINDS
from node.outputs.case import Draft, Predecessor
from node.result import Priority
from node.trial import phantom

from .sources import Source

NUMBERS: tuple[str, ...] = (
    "measurement-report",
    "measurement-report-3d",
    "capture",
    "encapsulated-pdf",
)
"""What there is in every case."""
MARKS: tuple[str, ...] = (
    *NUMBERS,
    "mammography-cad",
    "presentation-state",
    "key-images",
)
EVERYTHING: tuple[str, ...] = (*MARKS, "segmentation")


@dataclass(frozen=True, slots=True)
class Case:
    """What is said, and the kinds of object that have something to say of it."""

    made: Callable[[Source], Draft]
    kinds: tuple[str, ...]


def _of_nothing(source: Source) -> Draft:
    return detected(source.exam(dict.fromkeys(phantom.EXAM, "the images are For Processing")))


def _partly(source: Source) -> Draft:
    return detected(source.exam({factories.R_MLO: "the view is magnified"}))


def _one_failed(source: Source) -> Draft:
    """An image that should have been analysed could not be; above, a rule left it out."""
    made = _partly(source)
    refused = tuple(replace(refusal, is_failure=True) for refusal in made.results[0].refused)
    return with_result(made, refused=refused)


def _a_day_later(source: Source) -> Draft:
    """A second version that supersedes the reports of the first."""
    made = as_version_2(_partly(source))
    decided_at = made.version.decided_at + timedelta(days=1)
    former = {
        (DETECTOR.name, kind): Predecessor("2.25.111", KINDS[kind].sop_class, f"2.25.{number}")
        for number, kind in enumerate(("measurement-report", "mammography-cad"), 112)
    }
    version = replace(made.version, decided_at=decided_at)
    return replace(made, version=version, predecessors=former)


def _several_models(source: Source) -> Draft:
    made = source.exam()
    density = replace(MODEL, name="density", title="Density", device_uid="2.25.45")
    said = (
        made,
        detected(made),
        segmented(made),
        scored(made),
        with_result(graded(made), model=density),
    )
    return replace(made, results=tuple(one.results[0] for one in said))


def _triaged_with_marks(source: Source) -> Draft:
    """A detector that triages, in the preset that names the level in lists."""
    made = with_result(detected(source.exam()), triage=triage_at(Priority.URGENT))
    return replace(made, has_level_in_lists=True)


def _level_changed(source: Source) -> Draft:
    made = triaged(source.exam(), Priority.ROUTINE, PRODUCT)
    return after(made, Priority.URGENT, Priority.SOON)


def _shown_only(source: Source) -> Draft:
    """A demonstration model triages, and nothing follows."""
    made = triaged(source.exam(), Priority.URGENT, DEMONSTRATION)
    return replace(made, has_level_in_lists=True)


CASES: Mapping[str, Case] = {
    "areas": Case(Source.exam, (*NUMBERS, "segmentation", "presentation-state")),
    "detected": Case(lambda source: detected(source.exam()), MARKS),
    "segmented": Case(lambda source: segmented(source.exam()), EVERYTHING),
    "scored": Case(lambda source: scored(source.exam()), NUMBERS),
    "graded": Case(lambda source: graded(source.exam()), NUMBERS),
    "nothing found": Case(
        lambda source: with_result(detected(source.exam()), findings=()),
        (*NUMBERS, "mammography-cad"),
    ),
    "partly": Case(_partly, MARKS),
    "one failed": Case(_one_failed, MARKS),
    "not analysed": Case(_of_nothing, (*NUMBERS, "mammography-cad")),
    "version 2": Case(lambda source: as_version_2(segmented(source.exam())), EVERYTHING),
    "version 2, a day later": Case(_a_day_later, MARKS),
    "several models": Case(_several_models, EVERYTHING),
    "urgent": Case(_triaged_with_marks, MARKS),
    "soon": Case(lambda source: triaged(source.exam(), Priority.SOON), NUMBERS),
    "not assessed": Case(
        lambda source: after(triaged(source.exam(), Priority.NOT_ASSESSED), Priority.ROUTINE),
        NUMBERS,
    ),
    "level lowered": Case(_level_changed, NUMBERS),
    "urgent of a demonstration": Case(_shown_only, NUMBERS),
}
