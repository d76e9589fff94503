"""/health/live, /health/ready, /health and /metrics: GET and HEAD, and nothing else.

Host headers are not looked at: load balancers ask by address. Nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from node.monitoring.backend import Monitored, part_as_json
from node.monitoring.collector import StateCollector
from node.overview.health import Alarm, NodePart, worst_alarm

_UNCACHED = {"Cache-Control": "no-store"}


def monitoring_application(monitored: Monitored) -> Starlette:
    """Return what answers."""
    application = Starlette(
        routes=[
            Route("/health", _health),
            Route("/health/live", _live),
            Route("/health/ready", _ready),
            Route("/metrics", _metrics),
        ]
    )
    application.router.redirect_slashes = False
    application.state.monitored = monitored
    application.state.collector = StateCollector(monitored)
    return application


async def _live(request: Request) -> Response:
    """Whether the process turns: else whoever watches it should start it again.

    It takes neither thread nor connection: it answers however long a database makes others wait.
    """
    is_alive = _monitored(request).process.is_alive()
    return _answer({"alive": is_alive}, is_well=is_alive)


def _ready(request: Request) -> Response:
    """Whether each part, or the one that is asked for, does its work."""
    name = request.query_params.get("part", "")
    monitored = _monitored(request)
    if name == "listener":
        return _answer_on(monitored.own_listener())
    found = monitored.parts()
    if not name:
        return _answer_on(found)
    asked = tuple(part for part in found if part.name == name)
    if asked:
        return _answer_on(asked)
    if worst_alarm(found) == Alarm.ACT and len(found) == 1:
        return _answer_on(found)  # of no part is anything known
    words = f"there is no such part; there are: {', '.join(part.name for part in found)}"
    return PlainTextResponse(f"{words}\n", 404, _UNCACHED)


def _health(request: Request) -> Response:
    """Both at once."""
    monitored = _monitored(request)
    return _answer_on(monitored.parts(), is_alive=monitored.process.is_alive())


def _metrics(request: Request) -> Response:
    collector: StateCollector = request.app.state.collector
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(collector), 200, _UNCACHED, content_type)


def _monitored(request: Request) -> Monitored:
    monitored: Monitored = request.app.state.monitored
    return monitored


def _answer_on(parts: Sequence[NodePart], is_alive: bool | None = None) -> Response:
    is_ready = worst_alarm(parts) < Alarm.ACT
    said: dict[str, object] = {} if is_alive is None else {"alive": is_alive}
    said |= {"ready": is_ready, "parts": [part_as_json(part) for part in parts]}
    return _answer(said, is_well=is_ready and is_alive is not False)


def _answer(said: dict[str, object], *, is_well: bool) -> Response:
    return JSONResponse(said, 200 if is_well else 503, _UNCACHED)
