"""What a process works by just now: its configuration, and the models that this one names.

Rooms that last as long as the process, such as the listener, ask at each use and store nothing of
it: a reload puts another in its place, whole and at once. What works for one configuration alone is
made anew for each (`running.rooms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from node.config import Config
from node.manifest import Model


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be worked by, and its models as they were when it was read."""

    config: Config
    models: Mapping[str, Model] = field(default_factory=dict)
    """By name: those that are not off."""


class Current:
    """Holds what is worked by now. Safe to use from many threads."""

    def __init__(self, config: Config, models: Mapping[str, Model] | None = None) -> None:
        self._loaded = Loaded(config, models or {})

    @property
    def loaded(self) -> Loaded:
        """Return both: whoever needs more than one thing of them asks once."""
        return self._loaded

    @property
    def config(self) -> Config:
        """The configuration."""
        return self._loaded.config

    @property
    def models(self) -> Mapping[str, Model]:
        """The models."""
        return self._loaded.models

    def become(self, loaded: Loaded) -> None:
        """Work by another from now on."""
        self._loaded = loaded
