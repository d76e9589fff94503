"""What a check says: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of the examination."""

    what: str
    state: Literal["ok", "warning", "failed"]
    """warning: the node runs, but not as one would wish."""
    words: str
    remedy: str = ""
    """What a person does about it; there is one unless all is well."""


def ok(what: str, words: str) -> Verdict:
    """Return that all is well."""
    return Verdict(what, "ok", words)


def warning(what: str, words: str, remedy: str) -> Verdict:
    """Return that something is not as one would wish."""
    return Verdict(what, "warning", words, remedy)


def failed(what: str, words: str, remedy: str) -> Verdict:
    """Return that something does not work."""
    return Verdict(what, "failed", words, remedy)


def counted_things(things: Sized, word: str) -> str:
    """Return how many there are, in words."""
    return f"{len(things)} {word}" + ("" if len(things) == 1 else "s")
