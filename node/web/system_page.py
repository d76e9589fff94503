"""How the node is: its parts, peers, models, disks, and the nodes beside it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from node.ledger import Nodes, Presence, Role
from node.overview.health import node_parts
from node.web.backend import backend_of
from node.web.showing import render

_DOES = {
    Role.ALL: "receives, works, shows",
    Role.LISTENER: "receives",
    Role.WORKER: "works",
    Role.WEB: "shows",
}


@dataclass(frozen=True, slots=True)
class _NodeLine:
    place: str
    does: str
    state: str
    is_bad: bool
    last_at: float


def system_view(request: Request) -> Response:
    """Show how the node is."""
    backend = backend_of(request)
    parts = node_parts(backend.ledger, backend.config)
    return render(
        request,
        "system.html",
        is_renewed=True,
        parts=parts,
        own_parts=[part for part in parts if not part.name.startswith("node ")],
        peers=[],
        models=[],
        are_shadows_hidden=False,
        disks=[],
        nodes=[_line(one) for one in Nodes(backend.ledger).presences()],
    )


def _line(one: Presence) -> _NodeLine:
    return _NodeLine(one.place, _DOES[one.role], one.state, one.state == "silent", one.last_at)
