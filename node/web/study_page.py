"""One study, with all that is known of it, and its result objects as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from node.dicom.body_part import body_part_in_words
from node.domains.breast_mr.telling import ToldStudy, phases_in_brief
from node.ledger import InstanceState, Mode, Remembering, WebRole, words_of_message
from node.outputs import wording
from node.overview import (
    DeliveryOverview,
    MessageOverview,
    ModelOverview,
    Standing,
    StudyOverview,
    study_overview,
)
from node.overview.health import node_parts
from node.overview.mri import told_of_study
from node.overview.next_step import is_for_a_person, next_step
from node.overview.objects import (
    InstanceOverview,
    ReportOverview,
    StudyObjects,
    find_report,
    study_objects,
)
from node.result import Evaluation, Finding, Result, Solid
from node.web.acting import ACTIONS_IN_WORDS, possible_actions
from node.web.backend import Backend, Person, backend_of, person_of
from node.web.mri_table import mri_in_words
from node.web.pictures import source_of_capture, why_no_pictures
from node.web.showing import render
from node.web.study_words import (
    StudyRow,
    ToldLine,
    delivering,
    is_lacking,
    leading_first,
    study_row,
)

_DONE = {
    "read": "Marked as read.",
    "unread": "It is on the reading list again.",
    "release": "Released: it goes on.",
    "retry": "Its results are sent again.",
}


@dataclass(frozen=True, slots=True)
class _Figure:
    of: str
    what: str
    value: str


@dataclass(frozen=True, slots=True)
class _ModelCard:
    name: str
    title: str
    version: str
    level: str
    is_shadow: bool
    is_demonstration: bool
    lines: Sequence[str]
    figures: Sequence[_Figure]
    refusals: Sequence[str]


@dataclass(frozen=True, slots=True)
class _SentObject:
    sop_uid: str
    what: str
    state: str
    is_bad: bool
    sent_at: float | None
    confirmed_by: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class _Destination:
    name: str
    words: str
    next_at: float | None
    objects: Sequence[_SentObject]


@dataclass(frozen=True, slots=True)
class _Told:
    what: str
    made_at: float
    state: str
    is_bad: bool
    acknowledged_at: float | None
    next_at: float | None
    error: str


@dataclass(frozen=True, slots=True)
class _List:
    name: str
    why_nothing: str
    """Why it is told nothing now, "" if it is."""
    messages: Sequence[_Told]


@dataclass(frozen=True, slots=True)
class _Came:
    what: str
    sop_uid: str
    received_at: float
    lines: Sequence[ToldLine]


@dataclass(frozen=True, slots=True)
class _Made:
    sop_uid: str
    what: str


@dataclass(frozen=True, slots=True)
class _Step:
    words: str
    seconds: float
    at: float
    """When it ended."""


@dataclass(frozen=True, slots=True)
class _Picture:
    address: str
    words: str


@dataclass(frozen=True, slots=True)
class _Button:
    key: str
    words: str


def study_view(request: Request) -> Response:
    """Show a study."""
    backend, person = backend_of(request), person_of(request)
    study_uid = request.path_params["study_uid"]
    study = study_overview(backend.ledger, study_uid)
    if study is None:
        remembered = Remembering(backend.ledger).find(study_uid)
        words = "not known here" if remembered is None else remembered.words
        raise HTTPException(404, f"Study {study_uid} is {words}.")
    objects = study_objects(backend.ledger, study_uid)
    names = _names(objects.reports)
    row = study_row(study, backend)
    is_operator = person.role == WebRole.OPERATOR
    models = leading_first(study.models) if is_operator else delivering(study.models)
    told = told_of_study(backend.ledger, study)
    return render(
        request,
        "study.html",
        is_renewed=True,
        parts=node_parts(backend.ledger, backend.config),
        row=row,
        done=_DONE.get(request.query_params.get("done", ""), ""),
        facts=[(words, value) for words, value in _facts(study, row, told) if value],
        next_step=_next_step(study, person),
        buttons=[_Button(one, ACTIONS_IN_WORDS[one]) for one in possible_actions(study, person)],
        captures=list(_pictures(backend, study_uid, objects)),
        why_no_captures=_why_no_captures(backend, objects.reports),
        models=list(map(_card, models)),
        standing_line=wording.standing_line([one.result.model for one in models if one.result]),
        destinations=_destinations(study, names),
        lists=_lists(study),
        reports=[_Made(one.sop_uid, names[one.sop_uid]) for one in objects.reports],
        may_download=person.may_download,
        why_no_download=_why_no_download(backend, person),
        steps=list(_steps(study, objects)),
        mri=mri_in_words(told),
        damaged=wording.refused_as_damaged(study.damaged),
        instances=[_came(one, study) for one in objects.instances],
        history=study.history,
    )


def object_view(request: Request) -> Response:
    """Answer with a result object, as the file that was sent."""
    backend = backend_of(request)
    sop_uid = request.path_params["sop_uid"]
    report = find_report(backend.ledger, request.path_params["study_uid"], sop_uid)
    if report is None or not (path := backend.store.path(report.path)).is_file():
        raise HTTPException(404, "There is no such result object here.")
    return FileResponse(path, media_type="application/dicom", filename=f"{sop_uid}.dcm")


def _facts(
    study: StudyOverview, row: StudyRow, told: ToldStudy | None
) -> Iterator[tuple[str, str]]:
    yield "Patient ID", row.patient_id
    yield "Accession number", row.accession_number
    yield "Description", row.description
    yield "Study date", row.study_date
    yield "Modality", row.modalities
    shown = row.views or ("" if told is None else phases_in_brief(told))
    yield "Images", f"{row.images}: {shown}" if shown else str(row.images)
    yield "Came from", study.sender
    yield "Why it started", f"{row.reason} (version {study.version})" if row.reason else ""


def _next_step(study: StudyOverview, person: Person) -> str:
    """Return what `ai-node studies` says, and who else can do it than who asks, or the button."""
    words = next_step(study)
    if not words:
        return ""
    wants = "Release" if is_for_a_person(study) else ""
    wants = "Send again" if study.state == Standing.UNDELIVERED else wants
    if not wants:
        return words
    if person.may_act:
        return f"{words}; or {wants}, below"
    return f"{words}; or an operator who has logged in here ({wants})"


def _names(reports: Sequence[ReportOverview]) -> Mapping[str, str]:
    """Return what each result object is called: "Secondary Capture 2"."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    several = [report.kind for report in reports]
    for report in reports:
        number = counts[report.kind] = counts.get(report.kind, 0) + 1
        name = report.kind.replace("-", " ")
        names[report.sop_uid] = f"{name} {number}" if several.count(report.kind) > 1 else name
    return names


def _pictures(backend: Backend, study_uid: str, objects: StudyObjects) -> Iterator[_Picture]:
    if why_no_pictures(backend):
        return
    captures = [report for report in objects.reports if report.kind == "capture"]
    views = {one.sop_uid: one.view for one in objects.instances}
    for number, report in enumerate(captures, start=1):
        words = "Summary page" if number == 1 else f"Page {number} of {len(captures)}"
        if number > 1:
            words = views.get(_source(backend, report), "") or words
        yield _Picture(f"/studies/{study_uid}/captures/{report.sop_uid}.png", words)


def _source(backend: Backend, report: ReportOverview) -> str:
    try:
        return source_of_capture(backend.store.path(report.path))
    except FileNotFoundError:  # the store no longer keeps it
        return ""


def _why_no_captures(backend: Backend, reports: Sequence[ReportOverview]) -> str:
    has_some = any(report.kind == "capture" for report in reports)
    return why_no_pictures(backend) if has_some else ""


def _why_no_download(backend: Backend, person: Person) -> str:
    if backend.web.shows != "patient":
        return (
            "They say whose study this is, so they are to be had here only where the "
            'configuration says [web] shows = "patient".'
        )
    return "" if person.may_download else "They are for who has logged in."


def _card(model: ModelOverview) -> _ModelCard:
    result = model.result
    return _ModelCard(
        name=model.model,
        title=result.model.title if result else model.model,
        version=model.version,
        level=model.level,
        is_shadow=model.mode == Mode.SHADOW,
        is_demonstration=bool(result and result.model.is_demonstration),
        lines=list(_lines(result)) if result else [model.outcome],
        figures=list(_figures(result)) if result else [],
        refusals=wording.refusals(result.refused) if result else [],
    )


def _lines(result: Result) -> Iterator[str]:
    yield f"{wording.conclusion(result).rstrip('.')}."
    triage = result.triage
    if triage is not None:
        yield f"AI triage level: {wording.level_name(result)}. {wording.MEANINGS[triage.level]}"
        yield from wording.why_level(triage)
        yield from filter(None, [wording.at_point(triage)])
    yield " ".join(wording.intended_use(result.model))
    yield from result.statements
    yield from filter(None, [wording.score_meaning(result)])
    yield f"Algorithm: {wording.model(result)}."


def _figures(result: Result) -> Iterator[_Figure]:
    """Yield what was measured: volumes that count first, those that a rule left out last."""
    subjects: list[Finding | Evaluation] = [*result.evaluations, *result.findings]
    yield from _volumes(one for one in result.solids if not one.is_left_out)
    for subject in subjects:
        if isinstance(subject, Evaluation) and subject.grade is not None:
            grade = subject.grade
            yield _Figure(subject.label, grade.concept.meaning, grade.value.meaning)
        for one in subject.measurements:
            yield _Figure(subject.label, one.concept.meaning, wording.quantity(one))
    yield from _volumes(one for one in result.solids if one.is_left_out)


def _volumes(solids: Iterable[Solid]) -> Iterator[_Figure]:
    """Yield how large solids are, and what they consist of."""
    for solid in solids:
        for one in solid.measurements:
            yield _Figure(wording.solid_label(solid), one.concept.meaning, wording.quantity(one))


def _destinations(study: StudyOverview, names: Mapping[str, str]) -> list[_Destination]:
    by_name: dict[str, list[DeliveryOverview]] = {}
    for one in study.deliveries:
        by_name.setdefault(one.destination, []).append(one)
    return [
        _Destination(
            name=name,
            words=_in_states(of_it),
            next_at=next((one.next_at for one in of_it if one.next_at), None),
            objects=[
                _SentObject(
                    sop_uid=one.sop_uid,
                    what=names.get(one.sop_uid, "object"),
                    state=one.standing,
                    is_bad=is_lacking(one),
                    sent_at=one.sent_at,
                    confirmed_by=one.confirmed_by,
                    error=one.error,
                )
                for one in of_it
            ],
        )
        for name, of_it in by_name.items()
    ]


def _lists(study: StudyOverview) -> list[_List]:
    nothing = study.told_nothing
    names = dict.fromkeys([*(message.destination for message in study.messages), *nothing])
    return [
        _List(
            name,
            nothing.get(name, ""),
            [_told(one) for one in study.messages if one.destination == name],
        )
        for name in names
    ]


def _told(one: MessageOverview) -> _Told:
    return _Told(
        what=words_of_message(one.kind, one.level),
        made_at=one.made_at,
        state=one.standing,
        is_bad=one.is_given_up,
        acknowledged_at=one.acknowledged_at,
        next_at=one.next_at,
        error=one.error or "",
    )


def _in_states(deliveries: Sequence[DeliveryOverview]) -> str:
    states = [one.standing for one in deliveries]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _steps(study: StudyOverview, objects: StudyObjects) -> Iterator[_Step]:
    """Yield how long each step took that has ended; the first image begins the first."""
    came = [one.received_at for one in objects.instances if one.version == study.version]
    sent_at = max((one.sent_at for one in study.deliveries if one.sent_at), default=None)
    steps: list[tuple[str, float | None]] = [
        ("received", study.last_at),
        ("waited for completeness", study.closed_at),
        ("queue", study.begun_at),
        ("analysis and building", study.analysed_at),
        ("sending", sent_at),
        ("confirmation", objects.confirmed_at),
    ]
    before: float | None = min([*came, study.last_at])
    for words, at in steps:
        if at is not None and before is not None:
            yield _Step(words, max(0.0, at - before), at)
        before = at or before


def _came(one: InstanceOverview, study: StudyOverview) -> _Came:
    part = body_part_in_words(one.body_part).lower() if one.body_part else ""
    what = [one.view or part, one.modality]
    if one.view and not one.is_standard:
        what.append("not a standard view")
    return _Came(
        what=", ".join(filter(None, what)),
        sop_uid=one.sop_uid,
        received_at=one.received_at,
        lines=list(_fate(one, study)),
    )


def _fate(one: InstanceOverview, study: StudyOverview) -> Iterator[ToldLine]:
    """Yield what became of an object: whoever looked at it has had its say."""
    if one.state == InstanceState.OWN:
        yield ToldLine("made by this node, not analysed", is_bad=False)
        return
    if one.state == InstanceState.WITHDRAWN:
        yield ToldLine(f"withdrawn: {one.why_withdrawn or 'by a rejection note'}", is_bad=True)
    if one.corrected:
        times = "once" if one.corrected == 1 else f"{one.corrected} times"
        yield ToldLine(f"came again with a corrected header, {times}", is_bad=False)
    is_excluded = bool(one.why_excluded) and not study.is_by_hand
    if is_excluded:
        yield ToldLine(f"excluded: {one.why_excluded}", is_bad=True)
    elif one.why_excluded:
        yield ToldLine(f"{one.why_excluded}, released by hand", is_bad=False)
    results = [model.result for model in delivering(study.models) if model.result]
    said = [line for result in results for line in _said_of(one.sop_uid, result)]
    yield from said
    if not said and one.state == InstanceState.CURRENT and not is_excluded:
        is_forgotten = study.recalled_at is not None and any(
            model.result is None and model.finished_at is not None for model in study.models
        )
        words = "what models said of it is forgotten" if is_forgotten else _NOT_LOOKED_AT
        yield ToldLine(words, is_bad=False)


_NOT_LOOKED_AT = "kept; no model has looked at it"


def _said_of(sop_uid: str, result: Result) -> Iterator[ToldLine]:
    name = result.model.name
    if sop_uid in result.analysed:
        yield ToldLine(f"analysed by {name}", is_bad=False)
    for refusal in result.refused:
        if refusal.sop_uid == sop_uid:
            yield ToldLine(f"not analysed by {name}: {refusal.reason}", is_bad=True)
