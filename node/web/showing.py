"""Templates to pages: everything from outside is escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from node.web.backend import csrf_of
from node.web.static_files import static_address

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = static_address
    return made


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page: the template is given who asks, and what its forms need, too."""
    person = getattr(request.state, "person", None)
    page = _environment().get_template(template)
    text = page.render(person=person, csrf=csrf_of(request), path=request.url.path, **values)
    return HTMLResponse(text, status)
