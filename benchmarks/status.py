"""What do `ai-node status` and a scrape cost? CPU seconds, on a ledger of many studies.

    .venv/bin/python benchmarks/status.py [--studies 100000]

The command is a process of its own, with everything that it imports; a scrape is made in this
process, anew each time (a node keeps what it has counted for ten seconds). The ledger is SQLite.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ledgers import fill

from node.config import load_config
from node.current import Current
from node.ledger import Ledger, Nodes, Role
from node.monitoring.backend import Monitored, ThisProcess
from node.monitoring.collector import StateCollector

SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
min_free_mb = 0
[[peers]]
name = "modality"
ae_title = "MODALITY"
host = "127.0.0.1"
port = 104
sends = true
results_to = ["pacs"]
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
receives = "default"
"""
_AT_ONCE = 10_000
_RUNS = 5


def main() -> None:
    """Fill a ledger and print what each costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    count = parser.parse_args().studies
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.toml"
        path.write_text(SETTINGS)
        (path.parent / "state").mkdir()
        config = load_config(path)
        ledger = Ledger(config.database_url)
        ledger.migrate()
        for first in range(0, count, _AT_ONCE):
            fill(ledger, min(_AT_ONCE, count - first), first=first)
        _make_some_unfinished(ledger)
        Nodes(ledger).register_node("a", "here:/state 1")
        command = [sys.executable, "-m", "node", "status", "-c", str(path)]
        process = ThisProcess(Role.ALL, lambda: True, lambda: True, dict)

        def run() -> None:
            found = subprocess.run(command, check=False, capture_output=True, env=os.environ)
            assert found.returncode in (0, 1, 2), found.stderr

        def scrape() -> None:
            list(StateCollector(Monitored(Current(config), ledger, process)).collect())

        print(f"{count} studies, CPU seconds (median of {_RUNS}, least, most):")  # noqa: T201
        for name, work, who in (
            ("ai-node status", run, resource.RUSAGE_CHILDREN),
            ("a scrape", scrape, resource.RUSAGE_SELF),
        ):
            took = sorted(_cpu_s(work, who) for _ in range(_RUNS))
            words = f"{statistics.median(took):.2f}, {took[0]:.2f}, {took[-1]:.2f}"
            print(f"  {name:<16} {words}")  # noqa: T201
        ledger.close()


def _make_some_unfinished(ledger: Ledger) -> None:
    """Let one study in a thousand wait for its destination, and one be given up."""
    with ledger.writing() as db:
        for state, error, rest in (("queued", "no answer", 1), ("dead", "refused", 2)):
            words = f"UPDATE dispatch SET state = '{state}', error = '{error}', next_at = 2000"
            db.execute(sa.text(f"{words} WHERE rowid % 1000 = {rest}"))
        recent = "finished_at = julianday('now') * 86400.0 - 210866760000.0 - 60"
        db.execute(sa.text(f"UPDATE study_version SET {recent}"))


def _cpu_s(work: Callable[[], None], who: int) -> float:
    before = resource.getrusage(who)
    work()
    after = resource.getrusage(who)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
