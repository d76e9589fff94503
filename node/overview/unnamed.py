"""What waits for somebody whom the configuration does not name: renamed, or taken out."""

from __future__ import annotations

from collections.abc import Iterator

from node.config import Config
from node.ledger import Ledger, Names, Waiting
from node.numbers_in_words import counted


def waits_for_nobody(ledger: Ledger, config: Config) -> Iterator[str]:
    """Yield a sentence for each name for which something waits and that nobody has any more."""
    known = {*(peer.name for peer in config.peers), *config.receivers}
    for name, waiting in Names(ledger).waiting().items():
        if name not in known:
            yield (
                f"{_what(waiting)} for {name}, which no peer or destination is called any more: if "
                f"it is now another name, `ai-node rename-peer {name} NEW`; else put it back"
            )


def _what(waiting: Waiting) -> str:
    said = [
        counted(count, *words)
        for count, words in (
            (waiting.deliveries, ("delivery", "deliveries")),
            (waiting.messages, ("message", "messages")),
            (waiting.analyses, ("study to be analysed", "studies to be analysed")),
            (waiting.receiving, ("study being received", "studies being received")),
        )
        if count
    ]
    total = waiting.deliveries + waiting.messages + waiting.analyses + waiting.receiving
    return f"{', '.join(said)} {'waits' if total == 1 else 'wait'}"
