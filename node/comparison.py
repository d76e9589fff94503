"""An instance that came again beside the one we have: what is the same, and what is not."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import Literal

from pydicom import dcmread

from node import config
from node.errors import ConfigError, ModelError, StudyError
from node.inference import Inference
from node.resent import changed_attributes
from node.selection import read_header

log = logging.getLogger(__name__)

Pixels = Literal["same", "other", "unknown"]


class Comparison:
    """Compares files, with a child process of its own that decodes: a poisonous image kills that.

    It is started when it is first needed; most instances that come again need no decoding.
    """

    def __init__(self, settings: config.Inference) -> None:
        self._settings = settings.model_copy(update={"processes": 1})
        self._inference: Inference | None = None
        self._lock = threading.Lock()

    def compare(self, before: Path, after: Path) -> tuple[Pixels, tuple[str, ...]]:
        """Return how the pixels compare, and which attributes differ that may matter."""
        changed = changed_attributes(read_header(before), read_header(after))
        return self._pixels(before, after), changed

    def close(self) -> None:
        """End the child process, if there is one."""
        with self._lock:
            if self._inference is not None:
                self._inference.close()
                self._inference = None

    def _pixels(self, before: Path, after: Path) -> Pixels:
        if _encoded(before) == _encoded(after):
            return "same"
        try:
            with self._lock:
                decoder = self._decoder()
                is_same = decoder.pixel_digest(before) == decoder.pixel_digest(after)
        except (StudyError, ModelError, ConfigError) as error:
            log.warning("Two files of one instance cannot be compared: %s", error)
            return "unknown"
        return "same" if is_same else "other"

    def _decoder(self) -> Inference:
        if self._inference is None:
            started = Inference(self._settings, ())
            started.start()
            self._inference = started
        return self._inference


def _encoded(path: Path) -> str:
    """Return a digest of the pixel data as it was sent, and of how to read it."""
    dataset = dcmread(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return hashlib.sha256(syntax.encode() + dataset.get("PixelData", b"")).hexdigest()
