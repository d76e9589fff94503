"""What people do to a study from its page, each asked back once."""

from __future__ import annotations

from typing import Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

Action = Literal["read", "unread", "release", "retry"]


def question_view(request: Request, action: Action) -> Response:
    """Ask whether that is really to be done."""
    raise HTTPException(404)


def act_view(request: Request, action: Action) -> Response:
    """Do it, and go back to the study."""
    raise HTTPException(404)
