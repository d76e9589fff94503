"""What stays of an exam once its rows are gone? Bytes, and what it takes to forget and recall it.

    .venv/bin/python benchmarks/records.py [--studies 5000]

A ledger (SQLite) is filled straight into its tables with exams of four images and six result
objects that are delivered, with UIDs and digests as long as real ones. All are forgotten as a
node does it, a sweep after the other; then some are recalled. Times are of the wall clock, on this
machine, with every commit synced to the disk.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ledgers import fill

from node.config import RetentionSettings
from node.flow.forgetting import STUDIES, Forgetter
from node.ledger import Forgetting, Ledger, Remembering, schema

_UID = "'2.25.' || abs(random()) || abs(random())"
_DIGEST = "lower(hex(randomblob(32)))"
_WHOLE = (
    f"UPDATE instance SET sop_uid = {_UID}, series_uid = '2.25.' || study_uid || '0123456789',"
    f" digest = {_DIGEST}, pixels_digest = {_DIGEST}, header_digest = {_DIGEST}, removed_at = 1,"
    " size_bytes = 21000000",
    "UPDATE instance SET path = 'received/' || study_uid || '/' || sop_uid || '.dcm'",
    f"UPDATE study SET identity = {_DIGEST} || ' - ' || {_DIGEST} || ' ' || {_DIGEST} || ' -'",
    "UPDATE instance SET identity = (SELECT identity FROM study"
    " WHERE study.study_uid = instance.study_uid)",
    f"UPDATE delivery SET sop_uid = {_UID}",
    "INSERT INTO report (sop_uid, study_uid, number, position, kind, sop_class, path, digest,"
    " size_bytes, removed_at) SELECT sop_uid, study_uid, number, 1, 'capture',"
    " '1.2.840.10008.5.1.4.1.1.7', 'reports/' || study_uid || '/' || sop_uid || '.dcm',"
    f" {_DIGEST}, 1000000, 1 FROM delivery",
    "UPDATE study SET images_removed_at = 1, results_removed_at = 1",
)
"""What `fill` leaves short, and files that are gone."""
_RECALLED = 200


def main() -> None:
    """Fill a ledger, forget all of it, and print what that took and what stays."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=5000)
    count = parser.parse_args().studies
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        ledger = Ledger(f"sqlite:///{path}")
        ledger.migrate()
        empty = size_of(ledger)
        fill(ledger, count)
        with ledger.writing() as db:
            for statement in _WHOLE:
                db.execute(sa.text(statement))
        sys.stdout.write(f"{count} exams\n")
        say("rows of an exam", (size_of(ledger) - empty) / count, "bytes")
        sweeps = forget_all(ledger)
        say("remembered of an exam", remembered(ledger) / count, "bytes")
        say("the ledger with it, for an exam", (size_of(ledger) - empty) / count, "bytes")
        first, last = sweeps[: len(sweeps) // 4], sweeps[-(len(sweeps) // 4) :]
        for words, some in (("the first quarter", first), ("the last quarter", last)):
            say(f"a sweep over {STUDIES}, {words}", 1000 * statistics.median(some), "ms")
        say("to recall an exam", recall_some(ledger, count), "ms")
        ledger.close()


def forget_all(ledger: Ledger) -> list[float]:
    """Return how long each sweep took."""
    settings = RetentionSettings(images_days=1, results_days=1, records_days=1)
    forgetter = Forgetter(Forgetting(ledger), lambda: settings, lambda age_s, count: 0)
    took = []
    while is_any_left(ledger):
        began = time.perf_counter()
        forgetter.sweep()
        took.append(time.perf_counter() - began)
    return took


def recall_some(ledger: Ledger, count: int) -> float:
    """Return how many milliseconds one takes, the median of some all over the ledger."""
    remembering, took = Remembering(ledger), []
    for number in range(0, count, max(1, count // _RECALLED)):
        began = time.perf_counter()
        assert remembering.recall(f"1.9.{number}")
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took)


def is_any_left(ledger: Ledger) -> bool:
    """Return whether there is a study."""
    with ledger.reading() as db:
        return db.execute(sa.select(schema.study.c.study_uid).limit(1)).first() is not None


def remembered(ledger: Ledger) -> int:
    """Return how many bytes are remembered."""
    length = sa.func.sum(sa.func.length(schema.remembered_study.c.content))
    with ledger.reading() as db:
        return int(db.execute(sa.select(length)).scalar_one())


def size_of(ledger: Ledger) -> int:
    """Return how many bytes of its file a ledger uses."""
    with ledger.reading() as db:
        pages, free, size = (
            int(db.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * size


def say(what: str, number: float, unit: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{what:<42} {number:>10.1f} {unit}\n")


if __name__ == "__main__":
    main()
