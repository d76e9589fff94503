"""One study, with all that is known of it, and its result objects as they are."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response


def study_view(request: Request) -> Response:
    """Show a study."""
    raise HTTPException(404)


def object_view(request: Request) -> Response:
    """Answer with a result object, as the file that was sent."""
    raise HTTPException(404)
