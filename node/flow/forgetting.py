"""What nobody needs any more is forgotten, a portion at a time: every node may do so at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from node.config import RetentionSettings
from node.ledger import Forgetting, Place

log = logging.getLogger(__name__)

FORGET_EVERY_S = 60
STUDIES = 100
"""That are looked at each time."""
ROWS = 500
"""Of each kind, that go each time."""
LONGEST_S = 10.0
"""After which the rest of a portion waits for the next time."""
_DAY_S = 86_400.0

ForgetJobs = Callable[[float, int], int]
"""Removes so many of what the queue keeps of jobs that are older, in seconds, and have ended."""


class Forgetter:
    """One round after the other over all studies whose files are gone; where it is, only it knows.

    So what has to stay is passed over once a round, and holds nothing up.
    """

    def __init__(
        self, forgetting: Forgetting, settings: RetentionSettings, forget_jobs: ForgetJobs
    ) -> None:
        self._forgetting = forgetting
        self._settings = settings
        self._forget_jobs = forget_jobs
        self._place: Place | None = None

    def sweep(self) -> None:
        """Forget the next portion, if anything is to be forgotten at all."""
        if self._settings.records_days is None:
            return
        age_s = self._settings.records_days * _DAY_S
        self._forget_studies(age_s)
        self._forgetting.forget_rows(age_s, ROWS)
        self._forget_jobs(age_s, ROWS)

    def _forget_studies(self, age_s: float) -> None:
        ends_at = time.monotonic() + LONGEST_S
        places = self._forgetting.removed_after(self._place, age_s, STUDIES)
        for place in places:
            _, study_uid = place
            if self._forgetting.forget_study(study_uid, age_s):
                words = "Study %s is forgotten: nothing of it has come for %g days"
                days = self._settings.records_days
                log.info(words, study_uid, days, extra={"study": study_uid})
            self._place = place
            if time.monotonic() > ends_at:
                return
        if len(places) < STUDIES:
            self._place = None
