"""What is said where a page cannot be shown: plain words, nothing of a patient or of our code."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from node.web.showing import render

_TITLES = {
    400: "This request cannot be understood",
    401: "Somebody has to log in",
    403: "This is not allowed",
    404: "There is no such page",
    405: "This address is not asked in that way",
    409: "This cannot be done as things are",
    413: "This is too long",
    415: "This is no form",
    421: "This page goes by another name",
    429: "Too many attempts",
    500: "Something went wrong here",
    503: "The database does not answer",
}
_WORDS = {
    404: "Look at the address, or go by the reading list.",
    405: "Go by the reading list.",
    500: "The log of the node says more. What you wanted may not have been done: look before you "
    "try again.",
}


def error_page(
    request: Request, status: int, words: str = "", *, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """Return a page that says what is wrong and what to do."""
    title = _TITLES.get(status, "This cannot be shown")
    said = words or _WORDS.get(status, "")
    page = render(request, "error.html", status=status, title=title, words=said)
    page.headers.update(headers or {})
    return page


def http_error_view(request: Request, error: Exception) -> Response:
    """Answer what a view, or the router, raised on purpose; its own words, if it has some."""
    assert isinstance(error, HTTPException)
    is_plain = error.detail == HTTPException(error.status_code).detail
    words = "" if is_plain else error.detail
    return error_page(request, error.status_code, words, headers=dict(error.headers or {}))
