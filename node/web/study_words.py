"""A study in the words of its row and its page, no more of whose it is than the site lets show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.ledger import DeliveryState, Mode
from node.overview import DeliveryOverview, ModelOverview, Standing, StudyOverview
from node.web.backend import Backend
from node.web.showing import dicom_date, one_line, person_name

NOT_RANKED_YET = (Standing.RECEIVING, Standing.QUEUED, Standing.RUNNING)
_NOT_ANALYSED = (
    *(Standing.EXCLUDED, Standing.OUT_OF_SCOPE, Standing.WITHDRAWN),
    *(Standing.KEPT, Standing.CANCELLED, Standing.HELD),
)
_BAD = (Standing.HELD, Standing.UNDELIVERED, Standing.CANCELLED)


@dataclass(frozen=True, slots=True)
class ShortAnswer:
    """What a model that delivers says, in a few words."""

    model: str
    words: str


@dataclass(frozen=True, slots=True)
class ToldLine:
    """A line of several, and whether somebody should look."""

    words: str
    is_bad: bool


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as its row tells it, and the head of its page."""

    study_uid: str
    label: str
    """What people know it by: the patient's name, or the accession number; "" as the site wants."""
    numbers: Sequence[str]
    """Patient ID and accession number beside that, as the site wants."""
    accession_number: str
    patient_id: str
    description: str
    study_date: str
    modalities: str
    level: str
    level_words: str
    no_level: str
    """What is said where there is no level."""
    is_demonstration: bool
    seen: str
    """That it was shown so, for a form: its last image, and its level."""
    waiting_s: float
    """Since the last image, or until it was read."""
    images: int
    views: str
    reason: str
    state: str
    is_bad: bool
    error: str
    answers: Sequence[ShortAnswer]
    deliveries: Sequence[ToldLine]
    took_s: float | None
    """From the last image to the last object at its last destination."""
    read_at: float | None
    read_by: str
    kept_at: float | None
    kept_by: str
    kept_why: str
    images_removed_at: float | None
    results_removed_at: float | None
    recalled_at: float | None
    viewer: str


def study_row(study: StudyOverview, backend: Backend) -> StudyRow:
    """Return a study's row, no more of whose it is than [web] shows says."""
    shows = backend.web.shows
    is_known = shows != "nothing"
    is_patient_known = shows == "patient"
    accession = one_line(study.accession_number) if is_known else ""
    name = person_name(study.patient_name) if is_patient_known else ""
    patient_id = one_line(study.patient_id) if is_patient_known else ""
    label = name or patient_id or accession
    waited_until = study.asked_at if study.read_at is None else study.read_at
    return StudyRow(
        study_uid=study.study_uid,
        label=label,
        numbers=[one for one in (patient_id, accession) if one and one != label],
        accession_number=accession,
        patient_id=patient_id,
        description=one_line(study.study_description) if is_known else "",
        study_date=dicom_date(study.study_date),
        modalities=", ".join(map(one_line, study.modalities)),
        level=study.level,
        level_words=study.level_words,
        no_level=_no_level(study),
        is_demonstration=study.is_demonstration,
        seen=f"{study.last_image_at}~{study.level}",
        waiting_s=max(0.0, waited_until - study.last_image_at),
        images=study.images,
        views=views_in_words(study.views),
        reason=study.reason,
        state=str(study.state),
        is_bad=study.state in _BAD,
        error="; ".join(filter(None, [_asked_back(study), study.error])),
        answers=[ShortAnswer(one.model, one_line(one.outcome)) for one in delivering(study.models)],
        deliveries=deliveries_in_words(study.deliveries),
        took_s=None if study.done_at is None else max(0.0, study.done_at - study.last_image_at),
        read_at=study.read_at,
        read_by=study.read_by or "",
        kept_at=study.kept_at,
        kept_by=study.kept_by or "",
        kept_why=study.kept_why or "",
        images_removed_at=study.images_removed_at,
        results_removed_at=study.results_removed_at,
        recalled_at=study.recalled_at,
        viewer=backend.viewer(study.study_uid),
    )


def _asked_back(study: StudyOverview) -> str:
    return "" if study.asked_back is None else study.asked_back.words


def delivering(models: Iterable[ModelOverview]) -> list[ModelOverview]:
    """Return the models whose results are sent: what others say is for operators alone."""
    return leading_first(model for model in models if model.mode == Mode.DELIVER)


def leading_first(models: Iterable[ModelOverview]) -> list[ModelOverview]:
    """Return those first that give a level, and of these whose results are sent."""
    return sorted(models, key=lambda model: (model.mode != Mode.DELIVER, not model.level))


def _no_level(study: StudyOverview) -> str:
    if study.state in NOT_RANKED_YET:
        return "not ranked yet"
    return "not analysed" if study.state in _NOT_ANALYSED else "no triage model for it"


def views_in_words(views: Sequence[str]) -> str:
    """Return "R CC, L CC, R MLO (2)": as mammograms are hung, CC first, right before left."""

    def hanging(view: str) -> tuple[str, bool]:
        side, _, projection = view.partition(" ")
        return projection, side != "R"

    counts = Counter(views)
    return ", ".join(
        _unbroken(view if counts[view] == 1 else f"{view} ({counts[view]})")
        for view in sorted(counts, key=hanging)
    )


def _unbroken(view: str) -> str:
    """Keep "R MLO" on one line."""
    return view.replace(" ", "\u00a0", 1)


def is_lacking(one: DeliveryOverview) -> bool:
    """Return whether a destination does not get an object unless a person sees to it."""
    return one.is_given_up or one.state == DeliveryState.REFUSED


def deliveries_in_words(deliveries: Sequence[DeliveryOverview]) -> list[ToldLine]:
    """Return a line for each destination: "pacs: 6 confirmed"."""
    states: dict[str, Counter[str]] = {}
    bad = {one.destination for one in deliveries if is_lacking(one)}
    for one in deliveries:
        states.setdefault(one.destination, Counter())[one.standing] += 1
    return [
        ToldLine(
            f"{destination}: {', '.join(f'{count} {state}' for state, count in counts.items())}",
            is_bad=destination in bad,
        )
        for destination, counts in states.items()
    ]
