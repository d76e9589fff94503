"""How many examples the property tests try: some while one works, all of them in .ci/run."""

from __future__ import annotations

import os

from hypothesis import settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "short")
"""Which of the profiles here: "short", or "ci" for all examples."""
_SHARES = {"short": 10, "ci": 1}
_FEWEST = 10


def examples(count: int) -> int:
    """Return how many examples to try where CI tries so many."""
    return min(count, max(_FEWEST, count // _SHARES[PROFILE]))


def load_profile() -> None:
    """Have tests that say nothing of it try so many, too."""
    # These machines are shared: how long one example takes says nothing.
    default = settings()
    count = examples(default.max_examples)
    settings.register_profile(PROFILE, default, deadline=None, max_examples=count)
    settings.load_profile(PROFILE)
