"""When is a study complete, and why: decided from what arrived, the reason kept in words.

In order of strength: every expected view is there and it has been quiet for a moment; no
association that brought images is open and it has been quiet for longer; the final limit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from node import config
from node.analysis.selection import expected_views, is_in_scope
from node.ledger import Arrival, Closing, Enqueue, Ledger, PlannedAnalysis
from node.manifest import Model
from node.study import Laterality, View

log = logging.getLogger(__name__)


def why_complete(
    arrival: Arrival, expected: frozenset[View], settings: config.Completeness
) -> str | None:
    """Return why the study is complete, or None if it is not."""
    there = expected & set(arrival.views)
    missing = sorted(expected - there, key=_hanging_order)
    # Of images that are being corrected all are there, some of them as they were before.
    is_being_corrected = arrival.revision_reason is not None and arrival.open_associations > 0
    is_all_there = bool(expected) and not missing and not is_being_corrected
    if is_all_there and arrival.quiet_s >= settings.settle_s:
        return f"{len(there)}/{len(expected)} views"
    words = _words_of_missing(missing, there=len(there))
    if arrival.open_associations == 0 and arrival.quiet_s >= settings.quiet_s:
        return f"quiet {settings.quiet_s:g} s{words}"
    if arrival.age_s >= settings.final_s:
        return f"final limit {settings.final_s:g} s{words}"
    return None


def _words_of_missing(missing: Sequence[View], *, there: int) -> str:
    if not missing:
        return ""
    names = ", ".join(map(str, missing))
    return f", none of {names}" if len(missing) > 1 and not there else f", {names} missing"


class Settler:
    """Closes the studies that are complete, each in one transaction with its work."""

    def __init__(
        self,
        ledger: Ledger,
        enqueue: Enqueue,
        settings: config.Completeness,
        models: Sequence[tuple[Model, str]],
    ) -> None:
        self._ledger = ledger
        self._enqueue = enqueue
        self._settings = settings
        self._models = models
        """Each enabled model with its mode."""
        self._sop_classes = frozenset(
            sop_class for model, _ in models for sop_class in model.manifest.input.sop_classes
        )

    def settle(self) -> None:
        """Look at every study that is being received. Repeats safely, on any node."""
        # Before that, nothing makes a study complete.
        quiet_s = min(self._settings.settle_s, self._settings.quiet_s)
        for arrival in self._ledger.arrivals(
            self._sop_classes, quiet_s=quiet_s, age_s=self._settings.final_s
        ):
            in_scope = [
                (model, mode)
                for model, mode in self._models
                if is_in_scope(arrival.modalities, model)
            ]
            expected = expected_views([model for model, _ in in_scope], arrival.modalities)
            reason = why_complete(arrival, expected, self._settings)
            if reason is None:
                continue
            closing = _closing(arrival, reason, in_scope)
            if self._ledger.close_version(arrival, closing, self._enqueue):
                words = f"{closing.reason}; {closing.why_not}" if closing.why_not else reason
                log.info("Study %s is complete: %s", arrival.study_uid, words)


def _closing(arrival: Arrival, reason: str, in_scope: Sequence[tuple[Model, str]]) -> Closing:
    """Return what is to be done with a complete study, and why nothing if so."""
    if arrival.revision_reason:
        reason = f"{arrival.revision_reason}; {reason}"
    if not in_scope and arrival.rejected:
        return Closing(reason, state="rejected", why_not=f"no image is left: {arrival.rejected}")
    if not in_scope:
        modalities = ", ".join(sorted(arrival.modalities)) or "it"
        return Closing(reason, state="out of scope", why_not=f"no model reads {modalities}")
    if arrival.intake:
        return Closing(reason, state="not analysed", why_not=arrival.intake)
    planned = (
        PlannedAnalysis(
            model=model.manifest.name,
            model_version=model.manifest.version,
            weights_sha256=model.manifest.weights.sha256,
            mode=mode,
        )
        for model, mode in in_scope
    )
    return Closing(reason, tuple(planned))


def _hanging_order(view: View) -> tuple[str, bool]:
    return view.projection, view.laterality != Laterality.RIGHT
