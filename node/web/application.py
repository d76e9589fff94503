"""The routes of the page, each with who may go there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import get_args

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.errors import Unreadable
from node.overview.shared_count import SharedCount
from node.overview.system import system_counts
from node.store import checked_uid
from node.web.access import Gate
from node.web.acting import Action, act_view, question_view
from node.web.backend import Backend, Person, person_of
from node.web.error_pages import http_error_view
from node.web.logging_in import Logins
from node.web.pictures import capture_view
from node.web.reading_list_page import reading_list_view, search_view
from node.web.showing import stale_style_view
from node.web.static_files import static_view
from node.web.study_page import object_view, study_view
from node.web.system_page import system_view

_View = Callable[[Request], Response]


def web_application(backend: Backend) -> Starlette:
    """Return the page as an ASGI application. It is asked by HTTP alone."""
    assert backend.config.web is not None, "who has no table [web] has no page"
    made = Starlette(
        routes=list(_routes(Logins(backend.config.web))),
        middleware=[Middleware(Gate, backend)],
        exception_handlers={HTTPException: http_error_view},
    )
    made.state.backend = backend
    made.state.system_counts = SharedCount(lambda: system_counts(backend.ledger, backend.config))
    return made


def _routes(logins: Logins) -> Iterable[Route]:
    """Yield every address there is; who is at the gate (access.py) may look at all of them."""
    yield Route("/static/{name}", static_view)
    yield Route("/login", logins.form_view)
    yield Route("/login", logins.login_view, methods=["POST"])
    yield Route("/logout", logins.logout_view, methods=["POST"])
    yield Route("/", reading_list_view)
    yield Route("/search", search_view, methods=["POST"])
    yield Route("/system", system_view)
    yield Route("/stale.css", stale_style_view)
    study = "/studies/{study_uid}"
    yield Route(study, _of_a_uid(study_view))
    yield Route(f"{study}/captures/{{sop_uid}}.png", _of_a_uid(capture_view))
    yield Route(f"{study}/objects/{{sop_uid}}", _only(_may_download, _of_a_uid(object_view)))
    for action in get_args(Action):
        may = _may_act if action in ("release", "retry") else _may_mark
        for view, method in ((question_view, "GET"), (act_view, "POST")):
            guarded = _only(may, _of_a_uid(partial(view, action=action)))
            yield Route(f"{study}/{action}", guarded, methods=[method])


def _of_a_uid(view: _View) -> _View:
    """Answer only where every UID of the address is one."""

    @wraps(view)
    def checked(request: Request) -> Response:
        try:
            for uid in request.path_params.values():
                checked_uid(uid)
        except Unreadable:
            raise HTTPException(404) from None
        return view(request)

    return checked


def _only(why_not: Callable[[Person], str], view: _View) -> _View:
    """Answer only who may; the others are told why not."""

    @wraps(view)
    def guarded(request: Request) -> Response:
        if words := why_not(person_of(request)):
            raise HTTPException(403, words)
        return view(request)

    return guarded


def _may_mark(person: Person) -> str:
    return "" if person.may_mark else _LOG_IN


def _may_act(person: Person) -> str:
    if person.may_act:
        return ""
    return "This is for operators; you may read." if person.may_mark else _LOG_IN


def _may_download(person: Person) -> str:
    if person.may_download:
        return ""
    words = (
        "Result objects say whose they are: they are to be had here only where the configuration "
        'says [web] shows = "patient".'
    )
    return words if person.may_mark else _LOG_IN


_LOG_IN = (
    "This is only for who has logged in. Nobody can yet: on the machine of the node, `ai-node web "
    "passwd NAME` makes the first user."
)
