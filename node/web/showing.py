"""Templates to pages: everything from outside is escaped; the words for times, sizes and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from node import __version__
from node.overview.health import NodePart
from node.site import local_zone
from node.web.backend import Person, backend_of, csrf_of
from node.web.static_files import static_address

STALE_AFTER = 2.5
"""A page that has not been renewed for so many of its refresh times says that it is too old."""
_TEMPLATES = Path(__file__).parent / "templates"
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_DIRECTIONS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the order of what follows; each foreign text has a direction of its own."""
_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Sheet:
    """What every template is told about the page itself."""

    ae_title: str
    version: str
    here: str
    """Where it stands in the navigation: "list", "system", "" if nowhere."""
    refresh_s: float | None
    """How often it renews itself; None: it does not."""
    grows_old: bool
    """Whether it holds what changes: it then says itself when it has become too old."""
    made_at: float
    zone: tzinfo
    has_pages: bool
    """Whether who asks may go further than to the login."""
    ill: Sequence[NodePart]
    """The parts of the node without which the list cannot be trusted, as far as they are ill."""


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    is_renewed: bool = False,
    grows_old: bool = False,
    parts: Sequence[NodePart] = (),
    **values: Any,
) -> HTMLResponse:
    """Return a page: the template is given who asks, and what its forms need, too.

    One that is renewed, or `grows_old`, says itself when it has become too old: each page with
    studies or buttons. Of `parts` those that are ill are told above all else.
    """
    person: Person | None = getattr(request.state, "person", None)
    is_known = person is not None and person.role is not None
    backend = backend_of(request)
    zone = local_zone(backend.config)
    page = Sheet(
        ae_title=backend.config.node.ae_title,
        version=__version__,
        here={"reading_list.html": "list", "system.html": "system"}.get(template, ""),
        refresh_s=backend.web.refresh_s if is_renewed else None,
        grows_old=is_renewed or grows_old,
        made_at=datetime.now(zone).timestamp(),
        zone=zone,
        has_pages=is_known or not getattr(request.state, "has_users", True),
        ill=[part for part in parts if part.is_ill and not part.name.startswith("node ")],
    )
    text = (
        _environment()
        .get_template(template)
        .render(page=page, person=person, csrf=csrf_of(request), **values)
    )
    return HTMLResponse(text, status)


def stale_style_view(request: Request) -> Response:
    """Answer with the style that reveals how old a page is, whatever has become of the node."""
    delay_s = STALE_AFTER * backend_of(request).web.refresh_s
    style = f".stale {{ animation-delay: {delay_s:.3f}s; }}\n"
    return Response(style, media_type="text/css", headers={"cache-control": "no-cache"})


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
    made.filters |= {
        "clock": _clock,
        "duration": duration,
        "moment": _moment,
        "plain": one_line,
        "sentence": sentence,
        "size": size,
        "stamp": _stamp,
    }
    return made


def _local(context: jinja2.runtime.Context, at: float) -> datetime:
    page: Sheet = context["page"]
    return datetime.fromtimestamp(at, page.zone)


@jinja2.pass_context
def _clock(context: jinja2.runtime.Context, at: float) -> str:
    """Return "12:03:05"."""
    return f"{_local(context, at):%H:%M:%S}"


@jinja2.pass_context
def _moment(context: jinja2.runtime.Context, at: float) -> str:
    """Return "12:03:05", of another day "2026-11-28 12:03"."""
    local = _local(context, at)
    is_today = local.date() == _local(context, context["page"].made_at).date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%Y-%m-%d %H:%M}"


@jinja2.pass_context
def _stamp(context: jinja2.runtime.Context, at: float) -> str:
    """Return a time as machines read it, with its offset from UTC."""
    return _local(context, at).isoformat(timespec="seconds")


def duration(seconds: float | None) -> str:
    """Return "8.2 s", "31 s", "3 min", "1 h 05 min" or "2 d 3 h"; "-" if it is not known."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    for limit, words in (
        (10, f"{max(seconds, 0.0):.1f} s"),
        (120, f"{whole} s"),
        (3600, f"{whole // 60} min"),
        (172_800, f"{whole // 3600} h {whole // 60 % 60:02} min"),
    ):
        if whole < limit:
            return words
    return f"{whole // 86_400} d {whole // 3600 % 24} h"


def size(count: float) -> str:
    """Return a number of bytes: "3.4 GB"."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.{0 if unit == 0 or count >= 99.95 else 1}f} {_UNITS[unit]}"


def sentence(text: str) -> str:
    """Return words with a capital and a full stop: "make room" is "Make room."."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def one_line(text: object) -> str:
    """Return somebody's text on one line, in the direction of its own letters."""
    return re.sub(" +", " ", _DIRECTIONS.sub("", _UNPRINTABLE.sub(" ", str(text)))).strip()


def person_name(text: str) -> str:
    """Return a PN (PS3.5 6.2.1) as people write it: "Doe, Jane"; its groups beside each other."""
    groups = []
    for group in one_line(text).split("="):
        family, *rest = (part.strip() for part in group.split("^"))
        groups.append(", ".join(filter(None, [family, " ".join(filter(None, rest))])))
    return " / ".join(filter(None, groups))


def dicom_date(text: str) -> str:
    """Return a DA, "20261128", as "2026-11-28"; what is no date as it is."""
    written = one_line(text)
    is_date = re.fullmatch(r"[0-9]{8}", written)
    return f"{written[:4]}-{written[4:6]}-{written[6:]}" if is_date else written
