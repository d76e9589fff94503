"""Scores images while their study still arrives, so that after the last one only it is left.

It fills the table of scores and nothing more: it owns no job and decides nothing.
What it fails at, or does not get to, the analysis does again by itself. The models that may rank a
study come first, for all that has come; the others look only while no complete study waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Sequence

from sqlalchemy.exc import OperationalError

from node.analysis.pipeline import Pipeline, score_unit
from node.analysis.selection import select
from node.dicom.header import read_header
from node.domains.table import is_in_scope
from node.errors import InferenceUnavailable, ModelError, StudyError, Unreadable
from node.ledger import Claiming
from node.manifest import Model
from node.store import Store
from node.study import Instance

log = logging.getLogger(__name__)

_NOT_SCORED = "Not scored as it arrived: %s: %s"

_LOOK_EVERY_S = 2.0
_BREATH_S = 0.1
"""After a look that scored nothing: of thousands of objects no model reads, each wakes us."""
_REST = 20
"""Times as long as such a look took, if that is longer."""
_PAUSE_S = 30.0
"""After a failure that is not an image's."""
_AT_MOST_LATER = 2000
"""Images that only models that rank have seen: what was before them is left to the analysis."""


class EarlyScorer:
    """One thread; it asks for one image at a time, so that an analysis waits for one at most."""

    def __init__(
        self,
        claiming: Claiming,
        store: Store,
        pipeline: Pipeline,
        models: Sequence[Model],
        ranking: Collection[str] = (),
    ) -> None:
        """Make one for these models, of which those of these names may rank a study."""
        self._claiming = claiming
        self._store = store
        self._pipeline = pipeline
        # Of several images at once none is scored before the others are there.
        self._models = tuple(m for m in models if m.manifest.unit.of == "image")
        self._ranking = frozenset(ranking)
        self._later: deque[tuple[Instance, list[Model]]] = deque(maxlen=_AT_MOST_LATER)
        self._modalities = frozenset(model.manifest.input.modality for model in self._models)
        self._is_wanted = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="early scorer", daemon=True)

    @property
    def is_at_work(self) -> bool:
        """Whether it has begun, and not ended."""
        return self._thread.is_alive()

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

    def score_what_came(self) -> bool:
        """Score every image that nobody has begun with; return whether there was any."""
        has_found = self._rank_what_came()
        return self._score_the_rest() or has_found

    def _rank_what_came(self) -> bool:
        has_found = False
        while found := self._claiming.arriving(self._store, self._modalities):
            readers = {instance.sop_uid: self._readers(instance) for instance in found}
            self._claiming.pass_over([sop_uid for sop_uid, models in readers.items() if not models])
            for instance in found:  # each is claimed then, by us or by another
                models = readers[instance.sop_uid]
                if self._is_stopped.is_set():
                    return True
                if not self._ranking and self._claiming.is_any_waiting():
                    return has_found  # unclaimed, so that another node may be quicker
                if models and self._claiming.claim(instance.sop_uid):
                    self._begin(instance, models)
                has_found = has_found or bool(models)
        return has_found

    def _begin(self, instance: Instance, models: Sequence[Model]) -> None:
        if not self._ranking:
            return self._score(instance, models)
        ranking = [model for model in models if model.manifest.name in self._ranking]
        others = [model for model in models if model not in ranking]
        if others:
            self._later.append((instance, others))
        if ranking:
            self._score(instance, ranking)
        return None

    def _score_the_rest(self) -> bool:
        """Let the other models look at what the analysis has not begun with."""
        has_scored = False
        while self._later and not self._is_stopped.is_set():
            if self._is_wanted.is_set() or self._claiming.is_any_waiting():
                break  # what has come since, or is complete, is due before
            instance, models = self._later.popleft()
            if self._claiming.is_arriving(instance.study_uid):
                self._score(instance, models)
                has_scored = True
        return has_scored

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            self._is_wanted.wait(_LOOK_EVERY_S)
            self._is_wanted.clear()
            try:
                began_at = time.monotonic()
                if not self.score_what_came():
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

    def _readers(self, instance: Instance) -> list[Model]:
        """Return the models that an instance is in the scope of."""
        return [m for m in self._models if is_in_scope(instance.shown, m.manifest)]

    def _score(self, instance: Instance, models: Sequence[Model]) -> None:
        try:
            headers = {instance.sop_uid: read_header(instance.path)}
        except (Unreadable, OSError) as error:
            log.info(_NOT_SCORED, instance.sop_uid, error, extra={"study": instance.study_uid})
            return
        for model in models:
            try:
                for unit in select([instance], headers, model).units:
                    score_unit(self._pipeline, unit, model)
            except (StudyError, ModelError, OSError) as error:
                log.info(_NOT_SCORED, instance.sop_uid, error, extra={"study": instance.study_uid})
