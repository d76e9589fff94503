"""How many there are, in words."""

from __future__ import annotations


def counted(count: int, word: str, words: str = "") -> str:
    """Return how many there are: "1 study", "2 studies"."""
    return f"{count} {word if count == 1 else words or f'{word}s'}"


def counted_studies(count: int) -> str:
    """Return "1 study", or "2 studies"."""
    return counted(count, "study", "studies")
