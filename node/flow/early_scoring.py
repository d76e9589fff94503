"""Scores images while their study still arrives, so that after the last one only it is left.

A cache warmer and nothing more: it fills the table of scores, owns no job and decides nothing.
What it fails at, or does not get to, the analysis does again by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from sqlalchemy.exc import OperationalError

from node.analysis.pipeline import Pipeline, score_unit
from node.analysis.selection import select
from node.dicom.header import read_header
from node.errors import InferenceUnavailable, ModelError, StudyError
from node.ledger import Claiming
from node.manifest import Model
from node.store import Store
from node.study import Instance

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_BREATH_S = 0.1
"""After a look that found nothing: of thousands of objects no model reads, each wakes us."""
_REST = 20
"""Times as long as such a look took, if that is longer."""
_PAUSE_S = 30.0
"""After a failure that is not an image's."""


class Warmer:
    """One thread; it asks for one image at a time, so that an analysis waits for one at most."""

    def __init__(
        self,
        claiming: Claiming,
        store: Store,
        pipeline: Pipeline,
        models: Sequence[Model],
    ) -> None:
        self._claiming = claiming
        self._store = store
        self._pipeline = pipeline
        self._models = tuple(models)
        self._modalities = frozenset(model.manifest.input.modality for model in models)
        self._is_wanted = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warmer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Look now: something has come."""
        self._is_wanted.set()

    def stop(self) -> None:
        """Begin nothing more; what runs ends with the inference it waits for."""
        self._is_stopped.set()
        self._is_wanted.set()

    def join(self) -> None:
        """Wait for the end, once inference has been closed."""
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def warm(self) -> bool:
        """Score every image that nobody has begun with; return whether there was any."""
        has_found = False
        while found := self._claiming.arriving(self._store, self._modalities):
            has_found = True
            for instance in found:  # each is claimed then, by us or by another
                if self._is_stopped.is_set():
                    return True
                if self._claiming.claim(instance.sop_uid):
                    self._score(instance)
        return has_found

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            self._is_wanted.wait(_LOOK_EVERY_S)
            self._is_wanted.clear()
            try:
                began_at = time.monotonic()
                if not self.warm():
                    took_s = time.monotonic() - began_at
                    self._is_stopped.wait(max(_BREATH_S, _REST * took_s))
            except OperationalError:  # the sweeps say that the database is away
                self._is_stopped.wait(_PAUSE_S)
            except InferenceUnavailable as trouble:  # one image may have been claimed, not all
                if not self._is_stopped.is_set():
                    log.error("Not scoring images as they arrive, for a while: %s", trouble)  # noqa: TRY400 - the machine's
                self._is_stopped.wait(_PAUSE_S)
            except Exception:  # nothing depends on it; the next look may succeed
                if not self._is_stopped.is_set():
                    log.exception("Scoring images as they arrive failed; trying again")
                self._is_stopped.wait(_PAUSE_S)

    def _score(self, instance: Instance) -> None:
        for model in self._models:
            try:
                headers = {instance.sop_uid: read_header(instance.path)}
                for unit in select([instance], headers, model).units:
                    score_unit(self._pipeline, unit, model)
            except (StudyError, ModelError, OSError) as error:
                log.info("Not scored as it arrived: %s: %s", instance.sop_uid, error)
