"""How the node is: its parts, peers, models, disks, and the nodes beside it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response


def system_view(request: Request) -> Response:
    """Show how the node is."""
    raise HTTPException(404)
