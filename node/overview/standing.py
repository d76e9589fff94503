"""What there is to tell of a study, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from node.ledger import TOLD_NOTHING, DeliveryState, DispatchState, HeldBecause, MessageKind, Mode
from node.numbers_in_words import counted
from node.outputs import wording
from node.result import Result


class Standing(StrEnum):
    """Where a study stands."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    RUNNING = "running"
    DELIVERING = "delivering"
    DONE = "done"
    UNDELIVERED = "undelivered"
    """Results are there, and do not reach everybody who should have them."""
    HELD = "held"
    """Nothing of it is analysed or sent before a person has looked."""
    CANCELLED = "cancelled"
    OUT_OF_SCOPE = "out of scope"
    EXCLUDED = "excluded"
    """It is analysed only if a person says so."""
    WITHDRAWN = "withdrawn"
    """No image of it is left that may be used."""
    KEPT = "kept"
    """Nothing but objects that say nothing."""


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """One model's work on the newest version of a study."""

    model: str
    version: str
    mode: Mode
    result: Result | None
    outcome: str
    """What came of it, in a line."""
    level: str
    """The triage level that it gives, "" if it does not triage; of one in shadow, for nobody."""
    score: float | None = None
    """0..1: the one that decides its level, or the only one it gives."""
    analysed: int | None = None
    """Images; None until there is a result."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """How many images were not analysed, by the reason."""
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveryOverview:
    """One object at one destination."""

    destination: str
    sop_uid: str
    state: DeliveryState
    error: str | None
    sent_at: float | None
    confirmed_by: str | None
    """How that was found out, as its destination calls it: commitment, find."""
    next_at: float | None
    """When its destination is tried or asked again; None if that is not put off."""
    is_given_up: bool = False
    """Whether it is not accepted, and tried again only if a person says so."""

    @property
    def standing(self) -> str:
        """Its state in a word, "given up" of what is queued and never tried again by itself."""
        return "given up" if self.is_given_up else str(self.state)


_STANDING_OF_MESSAGE: Mapping[DispatchState, str] = {
    DispatchState.QUEUED: "waiting",
    DispatchState.RUNNING: "waiting",
    DispatchState.FINISHED: "acknowledged",
    DispatchState.DEAD: "given up",
    DispatchState.CANCELLED: "out of date",
}


@dataclass(frozen=True, slots=True)
class MessageOverview:
    """What a reading list was told, or is to be. Times are epoch seconds, UTC."""

    destination: str
    control_id: str
    """What it goes by at its receiver: MSH-10, webhook-id."""
    kind: MessageKind
    level: str
    version: int
    """Of the study, that it speaks of."""
    state: DispatchState
    error: str | None
    made_at: float
    acknowledged_at: float | None
    next_at: float | None
    """When it is sent again; None if that is not put off."""

    @property
    def standing(self) -> str:
        """Its state in a word or two: "out of date" is what another has taken the place of."""
        return _STANDING_OF_MESSAGE[self.state]

    @property
    def is_given_up(self) -> bool:
        """Whether it is sent again only if a person says so."""
        return self.state == DispatchState.DEAD


@dataclass(frozen=True, slots=True)
class AskedBackOverview:
    """That a peer is asked for images of a study. Times are epoch seconds, UTC."""

    peer: str | None
    """Whom it was last asked of; None if nobody has been yet."""
    attempts: int
    """How often somebody was asked, without all being here since."""
    error: str | None
    """What came of the last."""
    since: float
    next_at: float
    """Before which it is not asked again; while one is being asked, before which no other is."""

    @property
    def words(self) -> str:
        """What there is to tell of it, in a line."""
        if self.peer is None or not self.attempts:
            return "images are asked back, no attempt has ended"
        times = counted(self.attempts, "attempt")
        return f"images asked back from {self.peer}, {times}: {self.error or 'in vain'}"


@dataclass(frozen=True, slots=True)
class StudyOverview:
    """Where a study stands. Times are epoch seconds, UTC, by the ledger's clock."""

    study_uid: str
    sender: str
    state: Standing
    """Where there is more to say of it, `error` does."""
    version: int
    """0 until the study has been closed for the first time."""
    reason: str
    """Why the newest version was closed then."""
    images: int
    views: tuple[str, ...]
    """Of each image that shows one: "R MLO", or "R CC (not a standard view)"."""
    models: tuple[ModelOverview, ...]
    deliveries: tuple[DeliveryOverview, ...]
    history: tuple[tuple[float, str], ...]
    last_at: float
    closed_at: float | None
    done_at: float | None
    """When the last object was stored at its last destination."""
    error: str | None
    held_because: HeldBecause | None
    is_by_hand: bool = False
    """Whether a person has let it be analysed though it was excluded."""
    damaged: tuple[str, ...] = ()
    """Why objects of it were refused as damaged, a reason for each."""
    level: str = ""
    """The study's triage level, "" if no model gives one. Of the newest finished version; higher
    while the study is held, or a version is being analysed that has found more."""
    is_demonstration: bool = False
    """Whether that is a demonstration model's."""
    levels: tuple[tuple[int, str], ...] = ()
    """The level of each version that had one."""
    level_words: str = ""
    """What it was before, if it was another: "urgent in version 1, now routine"."""
    waiting_s: float | None = None
    """Since the last image; None if no model gives a level."""

    accession_number: str = ""
    """This, and what follows, as the object said it that came last and said something."""
    patient_id: str = ""
    patient_name: str = ""
    """As sent: "Doe^Jane"."""
    study_date: str = ""
    """As sent: "20261128"."""
    study_description: str = ""
    modalities: tuple[str, ...] = ()
    """Of its images, each once."""
    first_at: float = 0.0
    """When the first object of the version that is received now came, or of the newest."""
    last_image_at: float = 0.0
    """Unlike `last_at` not moved by a release, nor by what is no image."""
    begun_at: float | None = None
    """When the work on the newest version began."""
    analysed_at: float | None = None
    """When that ended."""
    read_at: float | None = None
    """When somebody marked it as read; a new image, or a higher level, undoes that."""
    read_by: str | None = None
    kept_at: float | None = None
    """Since when a person lets nobody remove it (`ai-node hold`); None if nobody does."""
    kept_by: str | None = None
    kept_why: str | None = None
    images_removed_at: float | None = None
    """When images of it were removed by [retention]; None if all are there."""
    results_removed_at: float | None = None
    recalled_at: float | None = None
    """When its rows were made again: what its models had said, and its labels, are forgotten."""
    asked_back: AskedBackOverview | None = None
    """None if nothing of it is."""
    asked_at: float = 0.0
    """When all this was read."""
    messages: tuple[MessageOverview, ...] = ()
    """What reading lists were told of its level, by whom and in the order in which they were."""

    @property
    def told_nothing(self) -> dict[str, str]:
        """The reading lists that could not be told of its level by now, each with the reason."""
        found: dict[str, str] = {}
        for at, event in self.history if self.level else ():
            name, nothing, why = event.partition(f" {TOLD_NOTHING}")
            later = (one for one in self.messages if one.destination == name and one.made_at >= at)
            if nothing and not any(later):
                found[name] = why.removeprefix(" yet").removeprefix(": ")
        return found

    @property
    def refusals(self) -> list[str]:
        """What was not analysed and why, a line for each reason; what models say alike, once."""
        results = [model.result for model in self.models if model.result is not None]
        if results:
            return wording.refusals(dict.fromkeys(r for result in results for r in result.refused))
        counts: dict[str, int] = {}
        for model in self.models:
            for reason, count in model.refused.items():
                counts[reason] = max(count, counts.get(reason, 0))
        return [wording.refused_for(reason, count) for reason, count in counts.items()]

    @property
    def received_s(self) -> float:
        """From its first object to its last image."""
        return max(0.0, self.last_image_at - self.first_at)

    @property
    def waited_s(self) -> float | None:
        """From the last image until the work began, None if it has not."""
        return _between(self.last_at, self.begun_at)

    @property
    def analysed_s(self) -> float | None:
        """From there until its results were there, with all attempts, None if they are not."""
        return _between(self.begun_at, self.analysed_at)

    @property
    def delivered_s(self) -> float | None:
        """From there until the last object was at its last destination, None if it is not."""
        return _between(self.analysed_at, self.done_at)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)
