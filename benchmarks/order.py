"""How long studies wait for their turn while more comes than can be done: nothing starves.

    .venv/bin/python benchmarks/order.py [--seed 1]

A simulation of one process by the node's own table of waits (`ledger.order`), beside a line in
which all wait alike. It says the longest wait of each kind, and by how much later a newcomer
anything was overtaken: never by one of four hours later, however much comes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from waiting import RUSHES, by_order, exams, in_line, longest_by_kind, overtaken_by_s, turns

from node.ledger.order import OVERTAKEN_WITHIN_S


def main() -> None:
    """Simulate and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for rush in RUSHES:
        coming = exams(rush, options.seed)
        ordered, lined = list(turns(coming, by_order)), list(turns(coming, in_line))
        table = Table("longest after it came, in minutes", "by the order of work", "in a line")
        longest, beside = longest_by_kind(ordered), longest_by_kind(lined)
        for kind, wait_s in longest.items():
            table.add_row(kind, f"{wait_s / 60:.0f}", f"{beside[kind] / 60:.0f}")
        console = Console()
        console.print(f"{rush.name}: {len(coming)} exams", table)
        most_s = overtaken_by_s(ordered)
        console.print(f"overtaken by what came at most {most_s / 60:.0f} minutes later\n")
        assert most_s < OVERTAKEN_WITHIN_S


if __name__ == "__main__":
    main()
