"""The gate in front of every view: which requests are answered at all, and who they are from."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
import traceback
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl, quote

import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.config import WebSettings
from node.dimse.addresses import without_brackets
from node.ledger import OutcomeUnknown, People, User, WebRole, is_trouble
from node.site import local_zone
from node.web.backend import Backend, Person
from node.web.error_pages import error_page
from node.web.exposure import names_of_page, needs_https, needs_users

log = logging.getLogger(__name__)

_FORM_BYTES, _FORM_FIELDS = 64 * 1024, 50
_NOBODY = Person("", None, may_act=False, may_download=False)
_FOR_EVERYBODY = ("/static/", "/login")
_POSTS_OF_NOBODY = ("/login", "/search")
"""What may be sent without a login: nothing is changed by it."""
_TOLD_BY_PROXIES = re.compile(r"forwarded|via|x-real-ip|x-forwarded-.*")

# No Strict-Transport-Security: browsers apply it to every port of the host name, and an Orthanc at
# http://name:8042 would be out of reach. Nothing is served here without TLS where it is needed.
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
    # Others hear nothing. Not "no-referrer": browsers then send forms with the Origin "null".
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def cookie_name(request: Request, *, of_visitor: bool = False) -> str:
    """Return the name of the cookie that holds a login, or what tells one visitor from another.

    Over TLS browsers promise by its name that this very host has set it, and TLS alone carries it.
    """
    name = "ai-node-visitor" if of_visitor else "ai-node"
    return f"__Host-{name}" if request.url.scheme == "https" else name


def set_cookie(
    response: Response, request: Request, value: str, hours: float, *, of_visitor: bool = False
) -> None:
    """Let the browser keep a secret, for us alone; "" and 0 hours let it forget."""
    response.set_cookie(
        cookie_name(request, of_visitor=of_visitor),
        value,
        max_age=round(hours * 3600),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


class Gate:
    """ASGI middleware: refuses, or says who asks, and answers in words whatever goes wrong."""

    def __init__(self, app: ASGIApp, backend: Backend) -> None:
        assert backend.config.web is not None
        self._app = app
        self._backend = backend
        self._people = People(backend.ledger)
        self._silent_since: float | None = None
        """Since when the database has not answered us."""

    @property
    def _web(self) -> WebSettings:
        return self._backend.web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # the server offers neither lifespan nor WebSocket
            return
        request = Request(scope, receive)
        request.state.person = _NOBODY
        answer = _Answer(request, send)
        response: Response | None
        try:
            response = await self._refusal(request)
            if response is None:
                await self._app(scope, receive, answer)
                return
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the edge: logged, and answered in words
            response = self._failure(request, error)
            if answer.has_begun:
                return  # what is left to do is to hang up, as the server does
        await response(scope, receive, answer)

    async def _refusal(self, request: Request) -> Response | None:
        """Return the answer to who may not go on; else say in the request who it is."""
        if refusal := self._refusal_of_address(request):
            return refusal
        if request.url.path.startswith("/static/"):
            return None
        if request.method == "POST" and (refusal := await _read_form(request)):
            return refusal
        user, has_users = await anyio.to_thread.run_sync(self._who, request)
        self._silent_since = None
        _know(request, user, self._person(user))
        request.state.has_users = has_users
        if refusal := self._refusal_of_person(request, user, has_users=has_users):
            return refusal
        return _refusal_of_post(request) if request.method == "POST" else None

    def _refusal_of_address(self, request: Request) -> Response | None:
        if _host_in(request) not in names_of_page(self._web):
            words = (
                "Nobody has told the node that it is called so: the address in the browser is one "
                "of [web] host and names in its configuration, or has to be added to names."
            )
            return error_page(request, 421 if request.headers.get("host") else 400, words)
        if request.method not in ("GET", "HEAD", "POST"):
            return error_page(request, 405, headers={"allow": "GET, HEAD, POST"})
        if needs_https(self._web) and request.url.scheme != "https":
            words = (
                "This page is reached by https alone. If you came through a proxy, it must be "
                "named in [web] proxies, and must send X-Forwarded-Proto."
            )
            return error_page(request, 403, words)
        return None

    def _who(self, request: Request) -> tuple[User | None, bool]:
        token = request.cookies.get(cookie_name(request), "")
        user = self._people.who(token) if token else None
        return user, user is not None or self._people.has_users()

    def _person(self, user: User | None) -> Person:
        if user is None:
            return _NOBODY
        return Person(
            name=user.name,
            role=user.role,
            may_act=user.role == WebRole.OPERATOR,
            may_download=self._web.shows == "patient",
        )

    def _refusal_of_person(
        self, request: Request, user: User | None, *, has_users: bool
    ) -> Response | None:
        if user is not None or request.url.path.startswith(_FOR_EVERYBODY):
            return None
        if has_users or needs_users(self._web):
            return _to_the_login(request)
        if any(_TOLD_BY_PROXIES.fullmatch(name) for name in request.headers):
            words = (
                "Without a login the page is for this machine alone, and this request came through "
                "a proxy. Name it in [web] proxies, and make users by `ai-node web passwd`."
            )
            return error_page(request, 403, words)
        if request.method == "POST" and request.url.path not in _POSTS_OF_NOBODY:
            words = "Without a login nothing is changed: `ai-node web passwd NAME` makes users."
            return error_page(request, 403, words)
        return None

    def _failure(self, request: Request, error: Exception) -> Response:
        """Log what went wrong, and nothing that may be of a patient; return what is said of it."""
        if isinstance(error, SQLAlchemyError) and is_trouble(error):
            self._silent_since = self._silent_since or time.time()
            since = datetime.fromtimestamp(self._silent_since, local_zone(self._backend.config))
            log.warning("The page cannot be shown: the database does not answer")
            words = f"It has not since {since:%Y-%m-%d %H:%M:%S}. Studies may be received, or not; "
            words += "nothing that this page said before can be relied upon."
            if isinstance(error, OutcomeUnknown):
                words += " What you wanted may have been done: look before you try again."
            return error_page(request, 503, words, headers={"retry-after": "15"})
        where = "".join(traceback.format_tb(error.__traceback__))
        name = type(error).__name__
        log.error("The page cannot be shown: %s (its words may be of a patient)\n%s", name, where)
        return error_page(request, 500)


class _Answer:
    """Sends an answer, with the headers that each of ours has."""

    def __init__(self, request: Request, send: Send) -> None:
        self._request, self._send = request, send
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
            if new := getattr(self._request.state, "new_visitor", ""):
                cookie = Response()
                set_cookie(cookie, self._request, new, 24, of_visitor=True)
                headers.append("set-cookie", cookie.headers["set-cookie"])
        await self._send(message)


def _host_in(request: Request) -> str:
    """Return the host a request names, as names_of_page has it; "" if it names none."""
    found = re.fullmatch(
        r"(\[[0-9a-fA-F:.%]+\]|[^:\[\]/@\s]+)(:[0-9]{1,5})?", request.headers.get("host", "")
    )
    return "" if found is None else without_brackets(found[1]).lower().rstrip(".")


async def _read_form(request: Request) -> Response | None:
    """Read what was sent into the request; return the answer if it is none of our forms."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return error_page(request, 415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES:
            return error_page(request, 413, headers={"connection": "close"})
    try:
        fields = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=_FORM_FIELDS,
        )
    except ValueError:  # UnicodeDecodeError is one
        return error_page(request, 400)
    form: Mapping[str, str] = dict(fields)
    request.state.form = form
    return None


def _know(request: Request, user: User | None, person: Person) -> None:
    """Say in the request who asks, and what its forms are to hold."""
    request.state.person = person
    secret = request.cookies.get(cookie_name(request, of_visitor=user is None), "")
    if user is None and len(secret) < 32:
        secret = secrets.token_urlsafe(32)
        if request.method != "POST":
            request.state.new_visitor = secret
    request.state.csrf = hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()


def _to_the_login(request: Request) -> Response:
    """Send a person to the login, and tell a program that it needs one."""
    is_for_eyes = request.headers.get("sec-fetch-dest", "document") == "document"
    if request.method == "POST" or not is_for_eyes:
        words = "You have not logged in, or your login has ended."
        return error_page(request, 403 if request.method == "POST" else 401, words)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/login" if here == "/" else f"/login?next={quote(here)}", 303)


def _refusal_of_post(request: Request) -> Response | None:
    """Refuse a form that is not ours: another site may have let the browser send it."""
    origin = request.headers.get("origin")
    ours = f"{request.url.scheme}://{request.headers.get('host', '')}"
    site = request.headers.get("sec-fetch-site", "same-origin")
    is_from_here = origin in (None, ours) and site in ("same-origin", "none")
    sent = request.state.form.get("csrf", "")
    if is_from_here and hmac.compare_digest(sent.encode(), request.state.csrf.encode()):
        return None
    words = (
        "This form was not sent from a page of ours, or from one that is too old: go back, load it "
        "again, and repeat what you wanted."
    )
    if not is_from_here:
        words += " A proxy in front of us must leave the header Host as it is."
    return error_page(request, 403, words)
