"""A UnitScore as JSON, and back: what the inference child answers and what the ledger keeps.

Numbers come back as exactly the ones they were.
"""

from __future__ import annotations

from pydantic import ConfigDict, TypeAdapter

from node.result import UnitScore

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Nothing is converted, nothing is passed over, and every number is one."""

# A dataclass cannot be given this by its adapter, a tuple of one can.
_SCORE = TypeAdapter(tuple[UnitScore], config=STRICT)


def dumped(score: UnitScore) -> bytes:
    """Return a score as JSON."""
    return _SCORE.dump_json((score,))[1:-1]


def loaded(text: str | bytes) -> UnitScore:
    """Return the score that JSON describes, or raise ValueError."""
    content = text.encode() if isinstance(text, str) else text
    (score,) = _SCORE.validate_json(b"[" + content + b"]")
    return score
