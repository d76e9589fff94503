"""The reading list, and the search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.ledger import Outstanding
from node.outputs import wording
from node.overview import AT_MOST_COUNTED, ListPage, Wanted, list_page
from node.overview.health import node_parts
from node.overview.models_shown import models_shown
from node.overview.reading_list import Sought
from node.web.backend import Backend, backend_of, form_of, person_of
from node.web.showing import one_line, render
from node.web.study_words import study_row

LIMIT = 50
"""Studies on a page."""
_FOUND_AT_MOST = 200
"""Of one patient."""
_REASONS = 3
_FIRST, _TRAIL = "0", 20
"""What the first page is called among those that one can go back to, and how many these are."""
_LEVELS = ("urgent", "soon", "not assessed")
_FILTERS = (
    ("", "To read"),
    *((level, level.capitalize()) for level in _LEVELS),
    ("today", "Today"),
    ("waiting", "Waiting"),
    ("failed", "Failed"),
    ("held", "Held"),
    ("excluded", "Excluded"),
    ("all", "All"),
)
_NOTHING = {
    "": "Nothing waits to be read.",
    "today": "No image has come today.",
    "waiting": "Nothing is being received, analysed or sent.",
    "failed": "Nothing has failed.",
    "held": "Nothing is held.",
    "excluded": "Nothing is excluded.",
    "all": "No study has come yet.",
}


@dataclass(frozen=True, slots=True)
class _Filter:
    key: str
    words: str
    address: str
    is_chosen: bool
    count: str | None


@dataclass(frozen=True, slots=True)
class _Choice:
    name: str
    words: str
    values: Sequence[str]
    chosen: str


@dataclass(frozen=True, slots=True)
class _Search:
    by: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Newcomer:
    """Why nothing has come back yet: what came was excluded by itself."""

    count: str
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the address of a list says; all of it is in the addresses that lead on from it."""

    show: str = ""
    """One of the filters; "" is the open list."""
    sender: str = ""
    model: str = ""
    accession: str = ""
    study: str = ""
    after: str = ""
    """What the page begins after, "" for the first."""
    trail: str = ""
    """What the pages before it begin after, with commas; "0" for the first."""

    def address(self, **other: str) -> str:
        """Return the address of the first page of the same list, with something else asked."""
        kept = {name: getattr(self, name) for name in self.__slots__[:-2]}
        words = urlencode({name: value for name, value in (kept | other).items() if value})
        return f"/?{words}" if words else "/"

    def address_behind(self, following: str) -> str:
        """Return the address of the page that begins after this."""
        trail = [*filter(None, self.trail.split(",")), self.after or _FIRST]
        return self.address(after=following, trail=",".join(trail[-_TRAIL:]))

    def address_before(self) -> str:
        """Return the address of the page before, as far as that is known."""
        *before, last = self.trail.split(",")
        return self.address(after="" if last == _FIRST else last, trail=",".join(before))

    def wanted(self) -> Wanted:
        is_level = self.show in _LEVELS
        is_search = bool(self.accession or self.study)
        return Wanted(
            is_open=(is_level or not self.show) and not is_search,
            sought=self.show if self.show in get_args(Sought) else "",  # type: ignore[arg-type]
            level=self.show if is_level else "",
            sender=self.sender,
            model=self.model,
            accession_number=self.accession,
            study_uid=self.study,
            after=self.after,
            limit=LIMIT,
        )


def reading_list_view(request: Request) -> Response:
    """Show which studies somebody should read, in their order; or others, as the address asks."""
    backend = backend_of(request)
    asked = _asked(request.query_params, backend)
    page = list_page(backend.ledger, asked.wanted(), open_days=backend.web.open_days)
    found_by = {"study": asked.study} if asked.study else {"accession": asked.accession}
    by, text = next(iter(found_by.items()))
    return render(
        request,
        "reading_list.html",
        is_renewed=True,
        parts=node_parts(backend.ledger, backend.config),
        marked=_marked(request),
        newcomer=None if page.studies else _newcomer(backend, page),
        search=_Search(by if text else "", text),
        next_address=asked.address_behind(page.following) if page.following else "",
        previous_address=asked.address_before() if asked.trail else "",
        first_address=asked.address() if asked.after else "",
        **_list_words(request, asked, page),
    )


def search_view(request: Request) -> Response:
    """Answer a search: by an address where that says nothing of a patient, else by the list."""
    backend, form = backend_of(request), form_of(request)
    by, text = form.get("by", ""), form.get("text", "").strip()
    if by not in dict(searches(backend)):
        raise _not_sought(backend)
    if by == "study":
        return RedirectResponse(f"/?study={quote(text)}", 303)
    if by == "accession":
        return RedirectResponse(f"/?accession={quote(text)}", 303)
    wanted = Wanted(patient_id=text, limit=_FOUND_AT_MOST)
    page = list_page(backend.ledger, wanted, open_days=backend.web.open_days)
    if not text:
        page = ListPage((), "", page.counts)
    words = _list_words(request, _Asked(show="all"), page) | {
        "heading": f"{len(page.studies)} found",
        "nothing": "No study of this patient ID is known here.",
        "title": "Search",
        "shown_by": "by patient ID; as it was when you searched, not renewed",
        "choices": (),
        "filters": [replace(one, is_chosen=False) for one in _filters(_Asked(), page)],
    }
    return render(
        request,
        "reading_list.html",
        grows_old=True,
        parts=node_parts(backend.ledger, backend.config),
        marked="",
        newcomer=None,
        search=_Search(by, text),
        next_address="",
        previous_address="",
        first_address="",
        **words,
    )


def searches(backend: Backend) -> Iterator[tuple[str, str]]:
    """Yield what may be searched by, as the site wants."""
    if backend.web.shows == "patient":
        yield "patient", "patient ID"
    if backend.web.shows != "nothing":
        yield "accession", "accession number"
    yield "study", "study UID"


def _not_sought(backend: Backend) -> HTTPException:
    words = f'This is not sought where the configuration says [web] shows = "{backend.web.shows}".'
    return HTTPException(403, words)


def _asked(said: Mapping[str, str], backend: Backend) -> _Asked:
    asked = _Asked(**{name: said.get(name, "").strip() for name in _Asked.__slots__})
    if asked.show not in dict(_FILTERS):
        known = ", ".join(f'"{key}"' for key, _ in _FILTERS if key)
        raise HTTPException(400, f'There is no filter "{one_line(asked.show)}", expected {known}.')
    if asked.accession and "accession" not in dict(searches(backend)):
        raise _not_sought(backend)
    return asked


def _list_words(request: Request, asked: _Asked, page: ListPage) -> dict[str, Any]:
    """Return what a list says, whatever it was asked by."""
    backend = backend_of(request)
    words = dict(_FILTERS)[asked.show]
    is_search = bool(asked.accession or asked.study)
    heading = "Search" if is_search else "Reading list" if not asked.show else f"{words} studies"
    urgent = page.counts.get("urgent", 0)
    return {
        "title": f"({_counted(urgent)} urgent) {heading}" if urgent else heading,
        "heading": heading,
        "shown_by": _shown_by(asked),
        "nothing": "No such study is known here." if is_search else _nothing(asked),
        "standing_line": wording.standing_line(models_shown(backend.ledger, page.studies)),
        "rows": [study_row(study, backend) for study in page.studies],
        "filters": list(_filters(asked, page)),
        "choices": _choices(asked, backend),
        "kept": [("show", asked.show)] if asked.show else [],
        "searches": list(searches(backend)),
        "may_mark": person_of(request).may_mark,
        "may_act": person_of(request).may_act,
        "is_by_level": asked.wanted().is_open,
        "demonstration_ranks": backend.config.triage.demonstration_may_rank,
        "limit": LIMIT,
    }


def _shown_by(asked: _Asked) -> str:
    said = {
        "sender": asked.sender,
        "model": asked.model,
        "accession number": asked.accession,
        "study UID": asked.study,
    }
    return ", ".join(f"{words} {one_line(value)}" for words, value in said.items() if value)


def _nothing(asked: _Asked) -> str:
    where = " Not from this sender or by this model." if asked.sender or asked.model else ""
    if asked.show in _LEVELS:
        return f"Nothing that waits to be read is {asked.show}.{where}"
    return _NOTHING[asked.show] + where


def _filters(asked: _Asked, page: ListPage) -> Iterator[_Filter]:
    for show, words in _FILTERS:
        count = page.counts.get(show)
        yield _Filter(
            key=show.replace(" ", "-") or "open",
            words=words,
            address=asked.address(show=show, accession="", study=""),
            is_chosen=show == asked.show and not (asked.accession or asked.study),
            count=None if count is None else _counted(count),
        )


def _choices(asked: _Asked, backend: Backend) -> list[_Choice]:
    config = backend.config
    senders = [peer.name for peer in config.peers if peer.sends]
    models = [model.name for model in config.models if model.mode == "deliver"]
    found = [
        _Choice("sender", "Sender", senders, asked.sender),
        _Choice("model", "Model", models, asked.model),
    ]
    return [choice for choice in found if len(choice.values) > 1 or choice.chosen]


def _counted(count: int) -> str:
    """Return "12", or "1000+" where no more are _counted."""
    return f"{count}+" if count >= AT_MOST_COUNTED else str(count)


def _newcomer(backend: Backend, page: ListPage) -> _Newcomer | None:
    """Return why nothing came back, where all that a sender has sent so far was excluded."""
    if not page.counts.get("excluded"):  # of late: what was excluded before is of no interest
        return None
    found = [one for one in Outstanding(backend.ledger).excluded() if one.is_newcomer]
    if not found:
        return None
    reasons = [*dict.fromkeys(reason for one in found for reason in one.reasons)]
    return _Newcomer(str(sum(one.excluded for one in found)), reasons[:_REASONS])


def _marked(request: Request) -> str:
    """Return the study that the address says was marked as read, if it still is."""
    backend, study_uid = backend_of(request), request.query_params.get("marked", "")
    if not study_uid:
        return ""
    wanted = Wanted(study_uid=study_uid, limit=1)
    found = list_page(backend.ledger, wanted, open_days=backend.web.open_days).studies
    return study_uid if found and found[0].read_at is not None else ""
