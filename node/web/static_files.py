"""Style sheet and script: read once, and kept by browsers until they change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_YEAR_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class _StaticFile:
    content: bytes
    media_type: str
    digest: str


@cache
def _files() -> dict[str, _StaticFile]:
    return {path.name: _read(path) for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES}


def _read(path: Path) -> _StaticFile:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    return _StaticFile(content, _MEDIA_TYPES[path.suffix], digest)


def static_address(name: str) -> str:
    """Return the address of a file, another one whenever it changes."""
    return f"/static/{name}?v={_files()[name].digest}"


def static_view(request: Request) -> Response:
    """Answer with a file, by its name in the folder: nothing else is ever looked for."""
    file = _files().get(request.path_params["name"])
    if file is None:
        raise HTTPException(404)
    is_lasting = request.query_params.get("v") == file.digest
    keep = f"public, max-age={_YEAR_S}, immutable" if is_lasting else "no-cache"
    return Response(file.content, media_type=file.media_type, headers={"cache-control": keep})
