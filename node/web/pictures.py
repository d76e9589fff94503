"""Captures as pictures."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image
from pydicom import dcmread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from node.overview.objects import find_report
from node.web.backend import Backend, backend_of

LARGEST_PX = (1600, 1600)
"""Width and height: a screen's, not a film's."""
_KEPT_S = 3600
"""Browsers ask again after so long: an object never changes, who may see it might."""


def why_no_pictures(backend: Backend) -> str:
    """Return why no capture may be seen at this site, "" if they may."""
    if backend.web.shows != "nothing":
        return ""
    return (
        "They are pictures of the patient, in which a modality may have written a name: they are "
        'not to be had where the configuration says [web] shows = "nothing".'
    )


def capture_view(request: Request) -> Response:
    """Answer with a capture as PNG."""
    backend = backend_of(request)
    if words := why_no_pictures(backend):
        raise HTTPException(403, words)
    study_uid, sop_uid = request.path_params["study_uid"], request.path_params["sop_uid"]
    report = find_report(backend.ledger, study_uid, sop_uid)
    if report is None or report.kind != "capture":
        raise HTTPException(404, "There is no such capture here.")
    try:
        picture, has_names = _as_png(backend.store.path(report.path))
    except FileNotFoundError:
        raise HTTPException(404, "This capture is not in the store any more.") from None
    if has_names and backend.web.shows != "patient":
        words = (
            "What its modality wrote into this image may show whose it is (Burned In Annotation), "
            'so it is to be had only where [web] shows = "patient".'
        )
        raise HTTPException(403, words)
    keep = f"private, max-age={_KEPT_S}"
    return Response(picture, media_type="image/png", headers={"cache-control": keep})


@lru_cache(maxsize=1024)
def source_of_capture(path: Path) -> str:
    """Return the SOP Instance UID of the one image that a capture of ours shows, else "".

    A path is never written twice. Raises FileNotFoundError.
    """
    capture = dcmread(path, stop_before_pixels=True)
    sources = capture.get("SourceImageSequence") or []
    return str(sources[0].ReferencedSOPInstanceUID) if len(sources) == 1 else ""


@lru_cache(maxsize=64)
def _as_png(path: Path) -> tuple[bytes, bool]:
    """Return a capture of ours as PNG, and whether it may show whose it is.

    A path is never written twice. Raises FileNotFoundError.
    """
    capture = dcmread(path)
    picture = Image.fromarray(capture.pixel_array)
    picture.thumbnail(LARGEST_PX, Image.Resampling.LANCZOS)
    made = io.BytesIO()
    picture.save(made, "png", compress_level=6)
    return made.getvalue(), str(capture.get("BurnedInAnnotation", "")) != "NO"
