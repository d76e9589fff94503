"""Rules about what is not as it usually is: sender-silent, and shifted."""

from __future__ import annotations

from collections.abc import Iterator

from node.alarms.watched import Watched
from node.ledger import Trouble
from node.overview.health import Alarm
from node.overview.shift import shifted
from node.overview.silence import silent_senders
from node.site import local_zone


def senders_silent(watched: Watched) -> Iterator[Trouble]:
    """Yield each sender that has sent nothing where it usually has by now."""
    config = watched.config
    for one in silent_senders(watched.ledger, config, local_zone(config)):
        yield Trouble("sender-silent", one.sender, Alarm.LOOK, one.words, one.what_to_do, one.since)


def models_shifted(watched: Watched) -> Iterator[Trouble]:
    """Yield each model that says other things of a sender's exams than at first."""
    for one in shifted(watched.ledger, watched.config):
        yield Trouble("shifted", one.subject, Alarm.LOOK, one.words, one.what_to_do, one.since)
