"""Captures as pictures."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response


def capture_view(request: Request) -> Response:
    """Answer with a capture as PNG."""
    raise HTTPException(404)
