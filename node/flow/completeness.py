"""When is a study complete, and why: decided from what arrived, the reason kept in words.

In order of strength: every expected view or phase is there, and no association that brought images
is open; or it has been quiet for a moment, and where a phase is judged by the others alone none is
open, too; no association that brought images is open and it has been quiet for longer; the final
limit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy.exc import SQLAlchemyError

from node import config
from node.analysis.pipeline import ranks
from node.domains.domain import Awaited
from node.domains.table import is_in_scope
from node.flow.study_scope import StudyScope, StudyScopes, words_of_awaited
from node.ledger import (
    Arrival,
    Closing,
    Enqueue,
    Mode,
    PlannedAnalysis,
    Settling,
    Stage,
    StudyArriving,
    VersionState,
)
from node.ledger.order import SenderPriority
from node.logs import naming
from node.manifest import Manifest, Model
from node.outputs.wording import refused_as_damaged
from node.result import Priority

log = logging.getLogger(__name__)


def why_complete(arrival: Arrival, awaited: Awaited, settings: config.Completeness) -> str | None:
    """Return why the study is complete, or None if it is not."""
    there, missing = awaited.there, awaited.missing
    # Of images that are being corrected all are there, some of them as they were before.
    # And what looks whole by itself alone may be half of it.
    is_in_doubt = arrival.revision_reason is not None or awaited.is_relative
    is_whole = bool(there) and not missing and not awaited.is_uncounted
    has_ended = arrival.open_associations == 0
    damaged = f", {refused_as_damaged(arrival.damaged)}" if arrival.damaged else ""
    counted = f"{len(there)}/{len(there)} {awaited.what}"
    is_over = has_ended and (arrival.came_with_one or not awaited.comes_in_parts)
    if is_whole and is_over and not is_in_doubt and arrival.quiet_s >= settings.ended_s:
        return f"{counted}, association ended{damaged}"
    if is_whole and (has_ended or not is_in_doubt) and arrival.quiet_s >= settings.settle_s:
        return f"{counted}, quiet {settings.settle_s:g} s{damaged}"
    said = words_of_awaited(awaited)
    words = (f", {said}" if said else "") + damaged
    if has_ended and arrival.quiet_s >= settings.quiet_s:
        return f"quiet {settings.quiet_s:g} s{words}"
    if arrival.age_s >= settings.final_s:
        return f"final limit {settings.final_s:g} s{words}"
    return None


_NOTHING_COMES_BACK = (
    "Study %s of %s is excluded (%s): it is kept, not analysed, and nothing comes back. If it "
    "is to be analysed all the same: ai-node release %s. The next of this sender are no warning"
)


_REST = 20
"""Times as long as the processor was busy with a look at a study in vain, before it was quiet."""

_UNJUDGED = Awaited(is_uncounted=True)


class Settler:
    """Closes the studies that are complete, each in one transaction with its work."""

    def __init__(  # noqa: PLR0913 - all but the first four by name
        self,
        settling: Settling,
        enqueue: Enqueue,
        settings: config.Completeness,
        models: Sequence[tuple[Model, Mode]],
        *,
        demonstration_may_rank: bool = False,
        priority_of: Callable[[str], SenderPriority] = lambda sender: "normal",
        directions: Callable[[str], Mapping[str, frozenset[str]]] | None = None,
    ) -> None:
        """Make one; `directions` says who gets the results of a sender's studies."""
        self._directions = directions
        self._priority_of = priority_of
        self._settling = settling
        self._enqueue = enqueue
        self._settings = settings
        self._models = models
        """Each enabled model with its mode."""
        self._rests: dict[str, float] = {}
        """Until when studies are left alone that were looked at before they were quiet: some come
        over an association for each of thousands of objects."""
        self._told = set[str]()
        """The senders of whom an excluded study has been told as a warning."""
        self._ranking = [
            model
            for model, mode in models
            if mode == Mode.DELIVER and ranks(model, demonstration_may_rank=demonstration_may_rank)
        ]
        self._scopes = StudyScopes(settling, [model.manifest for model, _ in models])
        self._scopes_of_held = StudyScopes(settling, [model.manifest for model in self._ranking])

    @property
    def ranking(self) -> frozenset[str]:
        """The names of the models that may rank a study."""
        return frozenset(model.manifest.name for model in self._ranking)

    def settle(self, among: Collection[str] | None = None) -> dict[str, float]:
        """Look at every study that is being received, or at these. Repeats safely, on any node.

        A study whose judging fails of a defect is held, once it is as quiet as makes any study
        complete: it stops no other, and a person hears of it. Returns which of the studies should
        be looked at again, and after how many seconds.
        """
        now = time.monotonic()
        resting = {uid: at - now for uid, at in self._rests.copy().items() if at > now}
        if among is None:
            self._sweep(resting)
            return {}
        if due := [uid for uid in among if uid not in resting]:
            for one in self._found(due):
                self._look(one)
        return {uid: resting[uid] for uid in among if uid in resting}

    def _sweep(self, resting: Collection[str]) -> None:
        waiting = set[str]()
        for one in self._found(None):
            is_left_alone = self._is_early(one) and one.study_uid in resting
            if is_left_alone or not self._look(one):
                waiting.add(one.study_uid)
        self._scopes.forget_all_but(waiting)
        self._rests = {uid: at for uid, at in self._rests.copy().items() if uid in waiting}

    def _found(self, among: Collection[str] | None) -> Sequence[StudyArriving]:
        settings = self._settings
        return self._settling.arriving(
            quiet_s=self._quiet_s, age_s=settings.final_s, ended_s=settings.ended_s, among=among
        )

    @property
    def _quiet_s(self) -> float:
        """Before that, nothing makes a study complete but that its associations have ended."""
        return min(self._settings.settle_s, self._settings.quiet_s)

    def _is_early(self, one: StudyArriving) -> bool:
        return one.quiet_s < self._quiet_s and one.age_s < self._settings.final_s

    def _look(self, one: StudyArriving) -> bool:
        """Look at one study; return whether it is closed, or held, or not received any more."""
        began_at = time.thread_time()
        arrival = self._settling.arrival(one.study_uid)
        is_over = arrival is None or self._settle(arrival)
        if not is_over and self._is_early(one):
            took_s = time.thread_time() - began_at
            self._rests[one.study_uid] = time.monotonic() + _REST * took_s
        return is_over

    def _settle(self, arrival: Arrival) -> bool:
        """Close a study if it is complete; return whether it is closed, or held."""
        try:
            judged = self._judged(arrival)
        except SQLAlchemyError:  # the database is away, and slow to say so
            raise
        except Exception as defect:  # noqa: BLE001 - a person hears of it
            return self._hold(arrival, defect)
        if judged is None:
            return False
        closing, removed = judged
        if closing.state == VersionState.QUEUED and removed:
            self._settling.ask_back(arrival.study_uid, removed)
            return False  # until all is here: the sweep that asks sees to it
        is_closed = self._settling.close_version(arrival, closing, self._enqueue)
        if is_closed:
            with naming(study=arrival.study_uid, peer=arrival.sender):
                self._say_complete(arrival, closing)
        return is_closed

    def _judged(self, arrival: Arrival) -> tuple[Closing, int] | None:
        """Return what is to be done with a study, None if it is not complete.

        And of how many images that are needed for it the files are removed.
        """
        scope = self._scopes.of(arrival)
        reason = why_complete(arrival, scope.awaited, self._settings)
        if reason is None:
            return None
        in_scope = [one for one in self._models if one[0].manifest.name in scope.names]
        closing = self._closing(arrival, reason, in_scope, scope)
        return closing, _removed(arrival, [model.manifest for model, _ in in_scope])

    def _hold(self, arrival: Arrival, defect: Exception) -> bool:
        """Hold a study that cannot be judged; return whether it is held.

        While it still comes, another object may make it one that can.
        """
        if why_complete(arrival, _UNJUDGED, self._settings) is None:
            return False
        why = f"it cannot be judged: {type(defect).__name__}, as the log says"
        if not self._settling.hold_unjudged(arrival, why):
            return False
        with naming(study=arrival.study_uid, peer=arrival.sender):
            words = "Study %s cannot be judged: a defect of this software"
            log.error(words, arrival.study_uid, exc_info=defect)
        return True

    def _say_complete(self, arrival: Arrival, closing: Closing) -> None:
        """Say why a study was started, or not; who tries a node hears why nothing comes back."""
        words = f"{closing.reason}; {closing.why_not}" if closing.why_not else closing.reason
        log.info("Study %s is complete: %s", arrival.study_uid, words)
        if closing.state == VersionState.EXCLUDED and arrival.sender not in self._told:
            self._told.add(arrival.sender)
            uid = arrival.study_uid
            log.warning(_NOTHING_COMES_BACK, uid, arrival.sender, closing.why_not, uid)

    def see_to_held(self) -> None:
        """Let held studies stand before routine that a model is to judge. Repeats safely."""
        held = self._settling.held_below(Priority.NOT_ASSESSED) if self._ranking else ()
        for arrival in held:
            in_scope = self._ranking_in_scope(arrival)
            if in_scope and not why_all_excluded(arrival, [model.manifest for model in in_scope]):
                self._settling.leave_unassessed(
                    arrival.study_uid,
                    is_demonstration=all(model.identity.is_demonstration for model in in_scope),
                )
        self._scopes_of_held.forget_all_but({arrival.study_uid for arrival in held})

    def _ranking_in_scope(self, arrival: Arrival) -> list[Model]:
        """Return the ranking models of a held study; of one that cannot be judged, by its objects.

        Rather one too many: it only stands before routine.
        """
        try:
            names = self._scopes_of_held.of(arrival).names
        except SQLAlchemyError:
            raise
        except Exception:
            log.debug("Study %s still cannot be judged", arrival.study_uid, exc_info=True)
            return [
                model
                for model in self._ranking
                if any(is_in_scope(one, model.manifest) for one in arrival.shown)
            ]
        return [model for model in self._ranking if model.manifest.name in names]

    def _closing(
        self,
        arrival: Arrival,
        reason: str,
        in_scope: Sequence[tuple[Model, Mode]],
        scope: StudyScope,
    ) -> Closing:
        """Return what is to be done with a complete study, and why nothing if so."""
        if arrival.revision_reason:
            reason = f"{arrival.revision_reason}; {reason}"
        if arrival.why_withdrawn and not self._is_any_left(arrival):
            return Closing(
                reason,
                state=VersionState.WITHDRAWN,
                why_not=f"no image is left: {arrival.why_withdrawn}",
            )
        if not in_scope:
            return Closing(reason, state=VersionState.OUT_OF_SCOPE, why_not=scope.why_not)
        if why := why_all_excluded(arrival, [model.manifest for model, _ in in_scope]):
            return Closing(reason, state=VersionState.EXCLUDED, why_not=why)
        planned = (
            PlannedAnalysis(
                model=model.manifest.name,
                model_version=model.manifest.version,
                weights_sha256=model.manifest.weights.sha256,
                mode=mode,
                package_digest=model.package_digest or None,
                levels_from=model.points,
            )
            for model, mode in in_scope
        )
        is_ranked = any(model is one for model, _ in in_scope for one in self._ranking)
        return Closing(
            reason,
            tuple(planned),
            stage=Stage.TRIAGE if is_ranked else Stage.REPORT,
            sender_priority=self._priority_of(arrival.sender),
            directions=None if self._directions is None else self._directions(arrival.sender),
        )

    def _is_any_left(self, arrival: Arrival) -> bool:
        """Whether a model may read an object, whatever its study is of as a whole."""
        manifests = [model.manifest for model, _ in self._models]
        return any(is_in_scope(one, each) for one in arrival.shown for each in manifests)


def _removed(arrival: Arrival, manifests: Sequence[Manifest]) -> int:
    """Return of how many images that a model reads the files are removed: none is done without."""
    return sum(
        part.removed
        for part in arrival.parts
        if any(is_in_scope(part.shown, manifest) for manifest in manifests)
    )


def why_all_excluded(arrival: Arrival, manifests: Sequence[Manifest]) -> str | None:
    """Return why a study is excluded: if every image that a model reads would be."""
    reasons = [
        one.why_excluded
        for one in arrival.parts
        if any(
            is_in_scope(one.shown, manifest) and one.shown.sop_class in manifest.input.sop_classes
            for manifest in manifests
        )
    ]
    is_excluded = reasons and all(reasons) and not arrival.is_by_hand
    return reasons[0] if is_excluded else None
