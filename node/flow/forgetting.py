"""What nobody needs any more is forgotten, a portion at a time: every node may do so at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from node.config import RetentionSettings
from node.ledger import BEGINNING, Forgetting

log = logging.getLogger(__name__)

FORGET_EVERY_S = 60
STUDIES = 100
"""That are looked at each time."""
ROWS_OF_A_KIND = 500
"""Of each kind, that go each time."""
LONGEST_S = 10.0
"""After which the rest of a portion waits for the next time."""
NEEDED_DAYS = 7.0
"""So long stays what is no study's, whatever is set: work goes by it, and nodes are shown."""
_DAY_S = 86_400.0

ForgetJobs = Callable[[float, int], int]
"""Removes so many of what the queue keeps of jobs that are older, in seconds, and have ended."""


class Forgetter:
    """One round after the other over all studies whose files are gone; where it is, only it knows.

    So what has to stay is passed over once a round, and holds nothing up.
    """

    def __init__(
        self,
        forgetting: Forgetting,
        settings: Callable[[], RetentionSettings],
        forget_jobs: ForgetJobs,
    ) -> None:
        self._forgetting = forgetting
        self._settings = settings
        self._forget_jobs = forget_jobs
        self._place = BEGINNING

    def sweep(self) -> None:
        """Forget the next portion, if anything is to be forgotten at all."""
        days = self._settings().records_days
        if days is None:
            return
        self._forget_studies(days)
        old_s = max(days, NEEDED_DAYS) * _DAY_S
        self._forgetting.forget_rows(old_s, ROWS_OF_A_KIND)
        self._forget_jobs(old_s, ROWS_OF_A_KIND)

    def _forget_studies(self, days: float) -> None:
        ends_at = time.monotonic() + LONGEST_S
        places = self._forgetting.removed_after(self._place, days * _DAY_S, STUDIES)
        for place in places:
            _, study_uid = place
            if self._forgetting.forget_study(study_uid, days * _DAY_S):
                words = "Study %s is forgotten: nothing of it has come for %g days"
                log.info(words, study_uid, days, extra={"study": study_uid})
            self._place = place
            if time.monotonic() > ends_at:
                return
        if len(places) < STUDIES:
            self._place = BEGINNING
