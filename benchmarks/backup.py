"""How long a backup takes, beside `cp --archive` of the same store: the first, and one a day later.

    .venv/bin/python benchmarks/backup.py [--studies 50] [--megabytes 8]

All end when everything is on disk. Copied, as to another disk, and linked, as on the store's own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ledgers import fill

from node import config
from node.keeping import backup
from node.ledger import Ledger, schema
from node.store import Store

FIRST = 100_000
"""The number of the first study of the day after."""


@contextlib.contextmanager
def quiet(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show nothing."""
    yield lambda: None


def receive(ledger: Ledger, store: Store, size: int, *, first: int, studies: int) -> None:
    """Put in studies of four objects each, with their files."""
    fill(ledger, studies, first=first)
    table = schema.instance
    with ledger.writing() as db:
        rows = db.execute(sa.select(table.c.sop_uid, table.c.study_uid, table.c.path)).all()
        for row in rows:
            path = store.path(f"received/{row.study_uid}/{row.sop_uid}.dcm")
            if path.exists():
                continue
            path.parent.mkdir(exist_ok=True)
            content = os.urandom(size)
            path.write_bytes(content)
            relative = str(path.relative_to(store.root))
            values = {"path": relative, "digest": sha256(content).hexdigest()}
            db.execute(table.update().where(table.c.sop_uid == row.sop_uid).values(values))
    os.sync()


def timed(what: str, work: Callable[[], object], beside_s: float | None = None) -> float:
    """Print how long something takes, and beside what else."""
    begun = time.monotonic()
    work()
    took_s = time.monotonic() - begun
    ratio = "" if beside_s is None else f"{took_s / beside_s:8.2f} x cp"
    print(f"{what:<36}{took_s:8.2f} s{ratio}")  # noqa: T201
    return took_s


def main() -> None:
    """Fill a store, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--megabytes", type=float, default=8, help="of each of their four objects")
    given = parser.parse_args()
    studies, size = given.studies, int(given.megabytes * 1e6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder / "state" / "store")
        store.prepare()
        path = folder / "node.toml"
        path.touch()
        wanted = config.Config(
            node=config.Node(ae_title="AINODE", state_dir=folder / "state", min_free_mb=0)
        )
        ledger = Ledger(wanted.database_url)
        ledger.migrate()
        receive(ledger, store, size, first=0, studies=studies)

        def back_up(to: str) -> Callable[[], object]:
            return lambda: backup.back_up(ledger, wanted, path, folder / to, progress=quiet)

        def copy() -> None:
            subprocess.run(["cp", "--archive", store.root, folder / "cp"], check=True)
            os.sync()

        print(f"{studies} studies, {studies * 4} objects, {studies * 4 * size / 1e9:.1f} GB")  # noqa: T201
        cp_s = timed("cp --archive, and sync", copy)
        timed("first backup, linked", back_up("linked"), cp_s)
        as_on_another_disk = lambda source, target: False  # noqa: E731
        setattr(backup, "may_link", as_on_another_disk)  # noqa: B010 - for mypy
        timed("first backup, copied", back_up("copied"), cp_s)
        receive(ledger, store, size, first=FIRST, studies=max(1, studies // 50))
        timed("a day later, 2 % more, copied", back_up("copied"), cp_s)
        ledger.close()


if __name__ == "__main__":
    main()
