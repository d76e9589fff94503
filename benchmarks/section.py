"""What a benchmark has found out, in a form that a terminal and a page can both show."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Target:
    """What should be, and whether it is."""

    words: str
    measured: str
    is_met: bool

    @property
    def verdict(self) -> str:
        """Return the word for a table."""
        return "yes" if self.is_met else "NO"


@dataclass(frozen=True, slots=True)
class Figures:
    """A table: of the first column the words, of the others numbers."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """All that one benchmark says."""

    title: str
    words: str
    """How it was measured. Paragraphs."""
    figures: tuple[Figures, ...] = ()
    targets: tuple[Target, ...] = ()


def show(section: Section) -> None:
    """Print it."""
    console = Console()
    console.print(section.words, markup=False, highlight=False)
    for one in section.figures:
        table = Table(*one.heads, title=one.title)
        for row in one.rows:
            table.add_row(*row)
        console.print(table)
    for target in section.targets:
        words = f"{target.verdict:4} {target.words}: {target.measured}"
        console.print(words, markup=False, highlight=False)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark be asked for its section as JSON."""
    parser.add_argument("--json", type=Path, help="write what is found into this file, too")


def finish(section: Section, options: argparse.Namespace) -> int:
    """Print what was found, write it where it was asked for; return the exit code."""
    show(section)
    if options.json:
        options.json.write_bytes(TypeAdapter(Section).dump_json(section))
    return 0 if all(target.is_met for target in section.targets) else 1
