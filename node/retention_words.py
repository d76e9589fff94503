"""What [retention] removes when, in words, and what of it can hardly be meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node.config import Config, RetentionSettings
from node.numbers_in_words import counted
from node.store import Room, room_in

_WHAT = {
    "out_of_scope_days": "Studies that no model reads go",
    "excluded_days": "Studies that are excluded by themselves go",
    "neighbours_days": "Of studies that are done, what no model reads goes",
    "images_days": "Received images of studies that are done go",
    "results_days": "Results that are where they belong go",
    "records_days": "All other records of such a study but a small one go",
    "unreadable_days": "What was put aside (unreadable, contradicting, of no row) goes",
}
"""What goes, in the order in which it does."""


def removals_in_words(config: Config) -> Iterator[str]:
    """Yield what is removed when, line by line; nothing if nothing ever is."""
    kept = config.retention
    if not removes_something(kept):
        return
    for name, what in _WHAT.items():
        days = getattr(kept, name)
        yield f"{what} {'at no time' if days is None else f'after {_days(days)}'}"
    if kept.clean_from_percent is not None:
        yield (
            f"From {kept.clean_from_percent:g} % of the disk in use on images go before their days "
            "are over, the oldest first, but no results"
        )
    if kept.refuse_from_percent is not None:
        yield f"From {kept.refuse_from_percent:g} % in use on images are refused"
    yield (
        "Never removed is what is owed: what waits, runs, is undelivered or unconfirmed, held, "
        "given up, promised by storage commitment, or kept by `ai-node hold`"
    )


def removes_something(kept: RetentionSettings) -> bool:
    """Return whether anything is ever removed."""
    return kept.clean_from_percent is not None or any(
        getattr(kept, name) is not None for name in _WHAT
    )


def advice_on_retention(config: Config) -> Iterator[str]:
    """Yield what is allowed but hardly meant, a sentence each, with how full the disk is."""
    kept, room = config.retention, _room(config.store_dir)
    full = "" if room is None else f": its disk is {room.used_percent:.0f} % full"
    if not removes_something(kept):
        yield (
            f"[retention] removes nothing, so nothing in {config.store_dir} is ever removed{full}; "
            "`ai-node init` writes values for a new site, docs/retention.md says how to choose."
        )
        return
    if kept.images_days is None and kept.clean_from_percent is None:
        yield (
            "[retention] has neither images_days nor clean_from_percent: the received images of "
            f"{config.store_dir} are never removed{full}."
        )
    least_free = config.node.least_free
    if kept.clean_from_percent is not None and room is not None:
        free = room.free_at(kept.clean_from_percent)
        if free < least_free:
            yield (
                f"[retention] clean_from_percent = {kept.clean_from_percent:g} leaves "
                f"{free >> 20} MB of this disk free, less than min_free_mb = "
                f"{config.node.min_free_mb}: images are refused before anything is cleaned."
            )


def _room(folder: Path) -> Room | None:
    """Return how much room a folder has, or will have; None if that cannot be found out."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), None)
    try:
        return None if there is None else room_in(there)
    except OSError:
        return None


def _days(days: float) -> str:
    return counted(int(days), "day") if days == int(days) else f"{days:g} days"
