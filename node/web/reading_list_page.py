"""The reading list, and the search."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node.web.showing import render


def reading_list_view(request: Request) -> Response:
    """Show which studies somebody should read, in their order."""
    return render(request, "reading_list.html")


def search_view(request: Request) -> Response:
    """Answer a search."""
    raise HTTPException(404)
