"""Rules about what the node stands on: disk, clock and certificate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from node.alarms.certificates import (
    CertificateEnd,
    ReceiverCertificates,
    ends_in_file,
    shown_day,
)
from node.alarms.watched import Watched
from node.config import HL7Settings
from node.ledger import Trouble, now
from node.overview.disk_space import DiskSpace, disk_spaces
from node.overview.health import Alarm, node_parts
from node.overview.space_taken import filling, gigabytes, space_blocked

_SMALL_SHARE = 0.1
"""Of a small disk for state_dir that much is enough."""
_DAY_S = 86_400.0
_MORE_ROOM = "make room, or use a larger disk"


def disks_full(watched: Watched) -> Iterator[Trouble]:
    """Yield each disk that is nearly full, and that the store's takes nothing any more."""
    with watched.ledger.reading() as db:
        at = float(db.execute(sa.select(now())).scalar_one())
    parts = node_parts(watched.ledger, watched.config)
    ill = [part for part in parts if part.name == "disk" and part.is_ill]
    for part in ill:
        yield Trouble(
            "disk", "store_dir", part.alarm, part.words, part.what_to_do, part.since or at
        )
    for disk in disk_spaces(watched.ledger, watched.config):
        if disk.folder == watched.config.store_dir:
            if not ill:
                yield from _of_store(disk, watched, at)
        else:
            yield from _of_state(disk, watched, at)


def _of_store(disk: DiskSpace, watched: Watched, at: float) -> Iterator[Trouble]:
    blocked = space_blocked(watched.ledger, watched.config)
    found = filling(disk, watched.config.node.least_free, blocked)
    if found is not None:
        yield Trouble("disk", "store_dir", Alarm.LOOK, found.words, found.what_to_do, at)


def _of_state(disk: DiskSpace, watched: Watched, at: float) -> Iterator[Trouble]:
    if disk.free < min(watched.config.node.least_free, _SMALL_SHARE * disk.total):
        words = f"{disk.folder}: {gigabytes(disk.free)} of {gigabytes(disk.total)} free"
        words += "; without room for the node's state nothing is taken or analysed"
        yield Trouble("disk", f"{watched.place}: state_dir", Alarm.ACT, words, _MORE_ROOM, at)


def clocks_differ(watched: Watched) -> Iterator[Trouble]:
    """Yield that the clock of this machine is not that of the database."""
    with watched.ledger.reading() as db:
        asked_at = time.time()
        theirs = float(db.execute(sa.select(now())).scalar_one())
        answered_at = time.time()
    ahead_s = (asked_at + answered_at) / 2 - theirs
    unsure_s = (answered_at - asked_at) / 2
    if abs(ahead_s) - unsure_s > watched.config.alarms.clock_seconds:
        machine = watched.place.partition(":")[0]
        how = "ahead of" if ahead_s > 0 else "behind"
        yield Trouble(
            "clock",
            f"{watched.place}: clock",
            Alarm.LOOK,
            f"the clock of {machine} is {abs(ahead_s):.0f} s {how} the database's",
            f"synchronise both by NTP: `timedatectl` on {machine}, and on the database's machine",
            theirs,
        )


class Certificates:
    """The rule of certificates, which remembers what receivers have shown."""

    def __init__(self) -> None:
        self._receivers = ReceiverCertificates()

    def ending(self, watched: Watched) -> Iterator[Trouble]:
        """Yield each certificate that ends soon: our own, and those that receivers show."""
        with watched.ledger.reading() as db:
            at = float(db.execute(sa.select(now())).scalar_one())
        within_s = watched.config.alarms.certificate_days * _DAY_S
        for setting, path in _own_certificates(watched):
            end = ends_in_file(path)
            if end is not None and end.ends_at - at < within_s:
                subject = f"{watched.place}: {setting}"
                yield _of_certificate(f"{path} ({setting})", subject, end, at)
        for name, end in self._receivers.ends(watched.config):
            if end.ends_at - at < within_s:
                yield _of_certificate(f"what {name} shows", name, end, at)


def _of_certificate(what: str, subject: str, end: CertificateEnd, at: float) -> Trouble:
    is_over = end.ends_at <= at
    verb = "ended" if is_over else "ends"
    return Trouble(
        "certificate",
        subject,
        Alarm.ACT if is_over else Alarm.LOOK,
        f"the certificate {verb} on {shown_day(end.ends_at)}: {what}",
        "have it renewed by who issued it, and start the node again if it is its own",
        at,
    )


def _own_certificates(watched: Watched) -> Iterator[tuple[str, Path]]:
    web = watched.config.web
    if web is not None and web.tls_certificate is not None:
        yield "[web] tls_certificate", web.tls_certificate
    for one in watched.config.lists:
        if isinstance(one, HL7Settings) and one.tls_certificate is not None:
            yield f"tls_certificate of {one.name}", one.tls_certificate
