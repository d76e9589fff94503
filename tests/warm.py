"""Children of the node's own Inference that outlive a test, for tests of what is around them."""

from __future__ import annotations

import hashlib
from types import TracebackType

import pytest

from node.inference import Inference

_MOST = 3
"""So many are kept: each is a process of 200 MB."""


class Warm:
    """What `with Inference(...)` lends in place of a new child: one that did the same before."""

    def __init__(self) -> None:
        self._standing: dict[str, Inference] = {}

    def close(self) -> None:
        """End them all."""
        for inference in self._standing.values():
            inference.close()

    def lend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Lend them until the end of a test."""

        def enter(wanted: Inference) -> Inference:
            return self._kept(wanted)

        def leave(
            wanted: Inference,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            """It is used again, or ends with the session."""

        monkeypatch.setattr(Inference, "__enter__", enter)
        monkeypatch.setattr(Inference, "__exit__", leave)

    def _kept(self, wanted: Inference) -> Inference:
        key = _same_as(wanted)
        kept = self._standing.pop(key, None)
        if kept is None:
            wanted.start()
            kept = wanted
        self._standing[key] = kept  # the last one used is the last
        while len(self._standing) > _MOST:
            self._standing.pop(next(iter(self._standing))).close()
        return kept


def _same_as(wanted: Inference) -> str:
    """Return a digest of all that a child is told: settings, manifests and weights."""
    told = hashlib.sha256(repr(wanted._settings).encode())
    for package in wanted._setup.packages:
        told.update(repr(package.manifest).encode())
        told.update(package.model.weights_path.read_bytes())
    return told.hexdigest()
