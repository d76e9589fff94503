"""The processes that run networks for one configuration, and beside them those of former packages.

A package that the configuration does not name any more has a process of its own while work needs
it: it is started by the first study that was closed for it, and ends when none comes any more.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.config import InferenceSettings
from node.errors import ConfigError, InferenceUnavailable
from node.inference import Inference
from node.manifest import Model
from node.result import UnitScore
from node.study import Frame, Instance, Picture, Unit, VolumePicture

FORMER_FOR_S = 60.0
"""A process of a former package waits so long for more work."""

_CLOSED = "inference is shutting down"

OnScored = Callable[[Model, float], None]


@dataclass(slots=True)
class _Former:
    """A process of a former package."""

    inference: Inference
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)


class Networks:
    """What runs the networks of one configuration. Safe to use from many threads."""

    def __init__(
        self,
        settings: InferenceSettings,
        models: tuple[Model, ...],
        on_scored: OnScored,
        draws_for: Callable[[Model], bool],
    ) -> None:
        self.settings, self.models = settings, models
        """Models in their kept copies: a process that is replaced later finds the same files."""
        self._on_scored = on_scored
        self._main = Inference(settings, models, on_scored, draws_for=draws_for)
        self._digests = frozenset(model.package_digest for model in models)
        self._former: dict[str, _Former] = {}
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        """Taken before the other, by who may start a process: that takes seconds."""
        self._users = 0
        self._is_retired = False
        self._is_closed = False

    def runs(self, settings: InferenceSettings, digests: frozenset[str]) -> bool:
        """Whether it is what another configuration needs, too."""
        return self.settings == settings and self._digests == digests

    @property
    def trouble(self) -> str:
        """As `Inference.trouble`."""
        return self._main.trouble

    @property
    def lesser_trouble(self) -> str:
        """As `Inference.lesser_trouble`."""
        return self._main.lesser_trouble

    def start(self) -> None:
        """Start the processes of the configuration, or raise ConfigError."""
        self._main.start()

    def score(self, unit: Unit, model: Model) -> UnitScore:
        """Run a model on what it reads at once."""
        if model.package_digest in self._digests:
            return self._main.score(unit, model)
        with self._former_process(model) as inference:
            return inference.score(unit, model)

    def picture(self, instance: Instance) -> Picture:
        """Return an image as a display shows it."""
        return self._main.picture(instance)

    def volume_picture(
        self, before: Sequence[Frame], after: Sequence[Frame], places: Sequence[int]
    ) -> VolumePicture:
        """Return slices of a phase, `after` if there is one, and what it adds to that before."""
        return self._main.volume_picture(before, after, places)

    def slice_pictures(self, frames: Sequence[Frame]) -> tuple[Picture, ...]:
        """Return slices of several phases, all on one scale of grey."""
        return self._main.slice_pictures(frames)

    def pixel_digest(self, path: Path) -> str:
        """Return a digest of an object's decoded pixels."""
        return self._main.pixel_digest(path)

    def mend(self) -> None:
        """Replace a process that has died, and end those of packages that nobody needs any more."""
        self._main.mend()
        with self._lock:
            before = time.monotonic() - FORMER_FOR_S
            idle = [d for d, one in self._former.items() if not one.users and one.used_at < before]
            ended = [self._former.pop(digest) for digest in idle]
        for one in ended:
            one.inference.close()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Be somebody's while the block runs: it ends no sooner, though another has its place."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                is_over = self._is_retired and not self._users
            if is_over:
                self.close()

    def retire(self) -> None:
        """End as soon as nobody uses it: another configuration has other networks."""
        with self._lock:
            self._is_retired = True
            is_over = not self._users
        if is_over:
            self.close()

    def close(self) -> None:
        """End at once; what is under way raises InferenceUnavailable."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            former, self._former = list(self._former.values()), {}
        self._main.close()
        for one in former:
            one.inference.close()

    @contextlib.contextmanager
    def _former_process(self, model: Model) -> Iterator[Inference]:
        with self._starting:
            one = self._former_of(model)
        try:
            yield one.inference
        finally:
            with self._lock:
                one.users -= 1
                one.used_at = time.monotonic()

    def _former_of(self, model: Model) -> _Former:
        with self._lock:
            if self._has_ended():
                raise InferenceUnavailable(_CLOSED)
            if (one := self._former.get(model.package_digest)) is not None:
                one.users += 1
                return one
        inference = self._started(model)
        with self._lock:
            is_over = self._has_ended()
            one = self._former[model.package_digest] = _Former(inference, users=1)
        if is_over:
            inference.close()
            raise InferenceUnavailable(_CLOSED)
        return one

    def _has_ended(self) -> bool:
        return self._is_closed

    def _started(self, model: Model) -> Inference:
        settings = self.settings.model_copy(update={"processes": 1})
        inference = Inference(settings, (model,), self._on_scored)
        try:
            inference.start()
        except ConfigError as error:
            raise InferenceUnavailable(
                f"the former package {model.folder} cannot be loaded: {error}"
            ) from error
        return inference
