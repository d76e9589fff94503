"""The order of work: what waits with others is begun by when it is due, the earliest first.

What is due when follows from how long it may be let wait for what matters more: a table of
waits, added to the time from which on something waits for its turn. So whatever it is, it is
overtaken only by what begins to wait less than a while later, and nothing starves. What runs is
never interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from node.ledger.states import Stage
from node.result import Priority

SenderPriority = Literal["high", "normal", "low"]
"""`[[peers]] priority`: all that is known of a study before a model has looked at it."""

MINUTE_S = 60.0

_KNOWN = (Priority.URGENT, Priority.SOON)

_TRIAGE: Mapping[SenderPriority, float] = {
    "high": 10 * MINUTE_S,
    "normal": 30 * MINUTE_S,
    "low": 50 * MINUTE_S,
}
"""Of a study of which nothing is known. One that was urgent or soon before has no wait at all."""

_REPORT: Mapping[Priority | None, float] = {
    Priority.URGENT: 60 * MINUTE_S,
    Priority.SOON: 100 * MINUTE_S,
    Priority.NOT_ASSESSED: 160 * MINUTE_S,
    Priority.ROUTINE: 230 * MINUTE_S,
    None: 230 * MINUTE_S,
}
_SENDER: Mapping[SenderPriority, float] = {
    "high": 0.0,
    "normal": 5 * MINUTE_S,
    "low": 10 * MINUTE_S,
}
"""Added to that: less than what lies between two levels."""

OVERTAKEN_WITHIN_S = 240 * MINUTE_S
"""The bound: nothing is overtaken by what begins to wait that much later, or more."""


def wait_s(stage: Stage, level: Priority | None, sender: SenderPriority = "normal") -> float:
    """Return how long something may wait for what matters more, in seconds.

    Of an analysis by its stage, of a delivery or a message as of a report; `level` is the study's
    as far as it is known.
    """
    if stage == Stage.TRIAGE:
        return 0.0 if level in _KNOWN else _TRIAGE[sender]
    return _REPORT[level] + _SENDER[sender]


def due_at(
    stage: Stage, level: Priority | None, since: float, sender: SenderPriority = "normal"
) -> float:
    """Return when something is due that waits for its turn since then (epoch seconds, UTC).

    Of what waits in one queue, or in the lane of one destination, the earliest is begun first, to
    the second: what is due within the same one may be begun in any order.
    """
    return since + wait_s(stage, level, sender)
