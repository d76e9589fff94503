"""Logging in and out; guessing is slow."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import threading
import time
from collections import OrderedDict, deque
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.config import WebSettings
from node.dimse.addresses import plain_address
from node.ledger import People
from node.web.access import cookie_name, set_cookie
from node.web.backend import backend_of, form_of, person_of
from node.web.showing import render

log = logging.getLogger(__name__)

_OF_A_NAME, _OF_AN_ADDRESS = 10, 40
"""How many attempts there are in a while; behind one address a whole hospital may sit."""
_WHILE_S = 300.0
_MOST_REMEMBERED = 10_000
_WAITING = 3
"""Who may wait for a hash, each of which takes 64 MiB and a moment."""


class Attempts:
    """Counts what was tried lately, and forgets the oldest if it is too much."""

    def __init__(self, allowed: int, within_s: float = _WHILE_S) -> None:
        self._allowed, self._within_s = allowed, within_s
        self._made_at: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Count an attempt, and return 0; or count none, and return the seconds to wait."""
        time_s = time.monotonic()
        with self._lock:
            made_at = self._made_at.setdefault(key, deque())
            self._made_at.move_to_end(key)
            while made_at and made_at[0] <= time_s - self._within_s:
                made_at.popleft()
            if len(self._made_at) > _MOST_REMEMBERED:
                self._made_at.popitem(last=False)
            if len(made_at) >= self._allowed:
                return made_at[0] + self._within_s - time_s
            made_at.append(time_s)
            return 0.0

    def forgive(self, key: str) -> None:
        """Take back the last attempt: it was right."""
        with self._lock:
            if made_at := self._made_at.get(key):
                made_at.pop()


class Logins:
    """The views of logging in and out."""

    def __init__(self, web: WebSettings) -> None:
        self._hours = web.session_hours
        self._of_name = Attempts(_OF_A_NAME)
        self._of_address = Attempts(_OF_AN_ADDRESS)
        self._queue = threading.BoundedSemaphore(_WAITING)
        self._hashing = threading.Lock()

    def form_view(self, request: Request) -> Response:
        """Ask for name and password."""
        following = _ours(request.query_params.get("next", ""))
        if person_of(request).role is not None:
            return RedirectResponse(following, 303)
        return _form(request, following)

    def login_view(self, request: Request) -> Response:
        """Begin a login, by a new token whatever the browser had before."""
        form = form_of(request)
        name, following = form.get("name", "").strip().lower(), _ours(form.get("next", ""))
        keys = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest(), _network_of(request)
        wait_s = max(self._of_name.take(keys[0]), self._of_address.take(keys[1]))
        if wait_s:
            raise _too_many(wait_s)
        token = self._token(request, name, form.get("password", ""))
        if token is None:
            return _form(request, following, "Name and password do not belong together.")
        self._of_name.forgive(keys[0])
        self._of_address.forgive(keys[1])
        log.info("%s has logged in to the page", name)
        response = RedirectResponse(following, 303)
        set_cookie(response, request, token, self._hours)
        set_cookie(response, request, "", 0, of_visitor=True)
        return response

    def logout_view(self, request: Request) -> Response:
        """End a login, here and on the node."""
        if token := request.cookies.get(cookie_name(request)):
            People(backend_of(request).ledger).log_out(token)
        response = RedirectResponse("/login", 303)
        set_cookie(response, request, "", 0)
        return response

    def _token(self, request: Request, name: str, password: str) -> str | None:
        people = People(backend_of(request).ledger)
        if not self._queue.acquire(blocking=False):
            raise _too_many(1)
        try:
            with self._hashing:
                token = people.log_in(name, password, self._hours)
        finally:
            self._queue.release()
        if token is None:
            # A name that nobody has is often a password, typed where it does not belong.
            known = name if any(user.name == name for user in people.users()) else "an unknown name"
            log.warning("Login to the page refused: %s, from %s", known, _network_of(request))
        return token


def _form(request: Request, following: str, problem: str = "") -> Response:
    return render(
        request,
        "login.html",
        status=403 if problem else 200,
        problem=problem,
        following=following,
        has_users=request.state.has_users,
    )


def _ours(address: str) -> str:
    """Return a page of ours to go on to: no other site is gone to on somebody's word."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\", "/log"))
    return address if is_ours and unquote(address).isprintable() else "/"


def _network_of(request: Request) -> str:
    """Return who asks, as far as that is one place: of IPv6 the /64 that one customer has."""
    try:
        address = ipaddress.ip_address(plain_address(request.client.host if request.client else ""))
    except ValueError:
        return "an unknown address"
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _too_many(wait_s: float) -> HTTPException:
    seconds = max(1, round(wait_s))
    words = f"Somebody tried too often to log in by this name, or from here. Wait {seconds} s."
    return HTTPException(429, words, {"retry-after": str(seconds)})
