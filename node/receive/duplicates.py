"""An instance that came again beside the one we have: what is the same, and what is not."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from node import config
from node.dicom.header import read_header
from node.dicom.untrusted import text
from node.errors import InferenceUnavailable, ModelError, StudyError, Unreadable
from node.imaging.digests import encoded_digest
from node.inference import Inference
from node.ledger import Former, Kept
from node.logs import about
from node.receive.header_changes import changed_attributes, header_digest

log = logging.getLogger(__name__)

_HEADER_IS_OTHER = ("its header differs from the removed one",)
_HEADER_IS_UNKNOWN = ("what it was is not known, its file here is lost",)
PixelComparison = Literal["same", "other", "unknown"]


def compare_with_digests(
    kept: Kept, transfer_syntax: str, after: Path
) -> tuple[PixelComparison, tuple[str, ...]]:
    """Compare an instance whose file is not there any more with what came again, by its digests.

    ("unknown", ...) if it has none, or is encoded otherwise: encoded pixels alone were digested.
    """
    changed: tuple[str, ...] = ()
    if not _is_header(kept.header_digest, after):
        changed = _HEADER_IS_OTHER if kept.header_digest else _HEADER_IS_UNKNOWN
    try:
        digest = encoded_digest(after)
    except Unreadable as error:
        log.warning("What came again of %s cannot be compared: %s", kept.path, error)
        return "unknown", changed
    if kept.pixels_digest == digest:
        return "same", changed
    is_known = kept.pixels_digest and kept.transfer_syntax == transfer_syntax
    return "other" if is_known else "unknown", changed


def is_one_of_gone(gone: Iterable[Former], after: Path) -> bool:
    """Return whether what came again is as it was before a correction, the file of which is gone.

    By its header alone: had it other pixels, it would contradict what we have.
    """
    return any(_is_header(one.header_digest, after) for one in gone)


def _is_header(digest: str, path: Path) -> bool:
    return digest != "" and digest == header_digest(path)


class Comparison:
    """Compares files, with a child process of its own that decodes: a poisonous image kills that.

    It is started when it is first needed; most instances that come again need no decoding.
    """

    def __init__(self, settings: Callable[[], config.InferenceSettings]) -> None:
        self._settings_of_now = settings
        self._settings: config.InferenceSettings | None = None
        """By which the child was started."""
        self._inference: Inference | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def compare(self, before: Path, after: Path) -> tuple[PixelComparison, tuple[str, ...]]:
        """Return how the pixels compare, and which attributes differ that may matter.

        ("unknown", ()) if a header cannot be read. That of `after` was read when it came: what
        was damaged since is the one that we have, and the new one must not be blamed for it.
        Raises ModelError, InferenceUnavailable or OSError for a trouble of the machine's: it says
        nothing of them.
        """
        try:
            header = read_header(before)
            changed = changed_attributes(header, read_header(after))
        except Unreadable as error:
            words = "%s cannot be compared with what came again: one of the two is damaged: %s"
            log.error(words, before.name, error)  # noqa: TRY400 - the disk's
            return "unknown", ()
        with about(sop_uid := text(header, "SOPInstanceUID")):
            return self._pixels(before, after, sop_uid), changed

    def close(self) -> None:
        """End the child process, if there is one, and with it a comparison under way."""
        self._is_closed = True
        if self._inference is not None:
            self._inference.close()

    def _pixels(self, before: Path, after: Path, sop_uid: str) -> PixelComparison:
        try:
            if encoded_digest(before) == encoded_digest(after):
                return "same"
            is_same = self._digest(before, sop_uid) == self._digest(after, sop_uid)
        except StudyError as error:
            log.warning("Two files of one instance cannot be compared: %s", error)
            return "unknown"
        return "same" if is_same else "other"

    def _digest(self, path: Path, sop_uid: str) -> str:
        with self._lock:
            try:
                return self._decoder().pixel_digest(path, sop_uid)
            except ModelError:  # it was killed, perhaps for want of memory: once more
                return self._decoder().pixel_digest(path, sop_uid)

    def _decoder(self) -> Inference:
        if self._is_closed:
            raise InferenceUnavailable("the node is stopping")
        wanted = self._settings_of_now().model_copy(update={"processes": 1})
        if self._inference is not None and wanted != self._settings:
            self._inference.close()  # whoever compares has the lock: nobody waits for it
            self._inference = None
        if self._inference is None:
            started = Inference(wanted, ())
            started.start()
            self._inference, self._settings = started, wanted
        return self._inference
