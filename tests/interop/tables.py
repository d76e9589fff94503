"""Tables in documents that are what tests find: compared with it, or written by the tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentTable:
    """The table of a document between `<!-- the table -->` and `<!-- end -->`."""

    document: Path
    head: Row

    def rows(self) -> dict[str, Row]:
        """Return its rows by their first cell."""
        rows = {}
        for line in self.document.read_text("utf-8").splitlines():
            cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
            if line.startswith("| ") and len(cells) == len(self.head) and cells != self.head:
                rows[cells[0]] = cells
        return rows

    def write(self, row: Row, order: Sequence[str]) -> None:
        """Write or replace a row, and keep those rows that are in the order of first cells."""
        rows = self.rows() | {row[0]: row}
        lines = [self.head, ("---",) * len(self.head)]
        lines += [rows[first] for first in order if first in rows]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("| --- ", "|---")
        text = self.document.read_text("utf-8")
        before, _, rest = text.partition("<!-- the table -->\n")
        _, _, after = rest.partition("<!-- end -->")
        written = f"{before}<!-- the table -->\n{table}<!-- end -->{after}"
        self.document.write_text(written, "utf-8")
