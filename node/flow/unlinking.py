"""The files that rows say are removed: they go a moment later, and while a backup copies, none."""

from __future__ import annotations

import time
from dataclasses import dataclass

from node.ledger import Unlinking
from node.store import Store

_PORTION = 500
"""Files that go between two looks at whether a backup has begun."""
UNLINK_FOR_S = 20.0
"""What is left then goes with the next sweep."""


@dataclass(frozen=True, slots=True)
class Unlinker:
    """Removes files. Every node may do so at once, and each as often as it likes."""

    unlinking: Unlinking
    store: Store

    def unlink(self) -> None:
        """Remove what is to go; what cannot be removed is tried again the next time."""
        give_up_at, after = time.monotonic() + UNLINK_FOR_S, ""
        while paths := self.unlinking.due(after, _PORTION):
            self.unlinking.gone(self.store.remove_for_good(paths))
            after = paths[-1]
            if time.monotonic() >= give_up_at:
                return
