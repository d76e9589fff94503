"""Times of headers as numbers: seconds of the machine's clock, comparable within a study."""

from __future__ import annotations

from datetime import datetime, timedelta

_BEGINNING = datetime(1900, 1, 1)
_DAY_S = 86_400


def moment_from(date: str, time: str) -> float | None:
    """Return DA and TM (PS3.5 6.2) as seconds since 1900; None if that is no time.

    Without a date it is a time of the first day.
    """
    clock, _, fraction = time.replace(":", "").partition(".")
    if not clock.isascii() or not (clock + fraction).isdigit() or len(clock) not in (2, 4, 6):
        return None
    hours, minutes, seconds = (int(clock.ljust(6, "0")[at : at + 2]) for at in (0, 2, 4))
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    try:
        day = datetime.strptime(date.replace(".", "")[:8], "%Y%m%d") if date else _BEGINNING
    except ValueError:
        return None
    since = day - _BEGINNING + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return since.total_seconds() + float(f"0.{fraction or 0}")


def moment_of(said: str) -> float | None:
    """Return DT (PS3.5 6.2) as seconds; its zone says nothing within a study."""
    return moment_from(said[:8], said[8:].split("+")[0].split("-")[0])


def clock_words(seconds: float) -> str:
    """Return the time of day: "10:15:03"."""
    return f"{_BEGINNING + timedelta(seconds=seconds % _DAY_S):%H:%M:%S}"
