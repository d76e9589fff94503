"""How large the captures of an exam are, and what it costs to compress them.

    .venv/bin/python -m benchmarks.captures [--exams 3]

Four-view exams of generated mammograms of full size are analysed, and what is to be sent of each is
compressed in each way that `captures` of a peer knows, as it is before it leaves: encoded, decoded
again, compared and written. Exit code 1 if those of an exam are more than 6 MB in the first way of
the default.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import get_args

from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from rich.console import Console

from benchmarks import section
from benchmarks.bare import FULL_SIZE, PACKAGE
from benchmarks.section import Figures, Section, Target
from node.config import CompressedBy, Peer
from node.dimse.lossless import syntax_of, write_compressed
from node.manifest import load_model
from node.offline import analyse_folder
from node.trial import phantom

AT_MOST_MB = 6.0
AS_RECORDED = "not compressed"
DEFAULT: tuple[CompressedBy, ...] = Peer.model_fields["captures"].default


@dataclass(frozen=True, slots=True)
class Captured:
    """All captures of one exam, in one way."""

    pages: int
    bytes: int
    cpu_s: float = 0

    @property
    def mb(self) -> float:
        """Of an exam."""
        return self.bytes / 1e6

    @property
    def ms_a_page(self) -> float:
        """CPU."""
        return 1000 * self.cpu_s / self.pages


def main() -> int:
    """Measure, print, and return 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exams", type=int, default=3, help="of which the median is shown")
    section.add_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(Path(folder) / str(n), f"captures {n}") for n in range(options.exams)]
    return section.finish(of(found), options)


def measure(folder: Path, name: str) -> Mapping[str, Captured]:
    """Return what the captures of one exam are, by the way they are compressed."""
    images = phantom.save(phantom.exam(name, technique=FULL_SIZE), folder / "exam")
    model = load_model(PACKAGE.name, PACKAGE.parent)
    (study,) = analyse_folder(images, folder / "out", model, lambda: None).studies
    pages = [path for path in study.written if _is_capture(path)]
    found = {AS_RECORDED: Captured(len(pages), sum(path.stat().st_size for path in pages))}
    for way in get_args(CompressedBy):
        found[way] = compressed(pages, way)
        Console(highlight=False).print(f"{name}, {way}: {found[way].mb:.2f} MB")
    return found


def _is_capture(path: Path) -> bool:
    return bool(dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID == _CAPTURE)


_CAPTURE = SecondaryCaptureImageStorage


def compressed(pages: Sequence[Path], way: CompressedBy) -> Captured:
    """Compress each page, and count its bytes and the CPU."""
    size, began_at = 0, time.process_time()
    for page in pages:
        written = BytesIO()
        write_compressed(page, way, written)
        size += written.getbuffer().nbytes
    return Captured(len(pages), size, time.process_time() - began_at)


def of(found: Sequence[Mapping[str, Captured]]) -> Section:
    """Return the section."""
    pages = found[0][AS_RECORDED].pages
    words = (
        f"The {pages} captures of an exam of four generated mammograms of 4096 x 3328 (model"
        f" {PACKAGE.name}): as they are recorded, and in each way in which they may go to a peer"
        " that accepts it. The CPU is that of reading, encoding, decoding again, comparing and"
        f" writing. As it comes, the node proposes {' and '.join(DEFAULT)}, in this order. Of"
        f" {len(found)} exams the median counts; films have more grain, and compress less."
    )
    rows = tuple(_row(way, [one[way] for one in found]) for way in found[0])
    heads = ("captures", "transfer syntax", "MB an exam", f"{AT_MOST_MB:g} MB or less")
    table = Figures("Captures of an exam", (*heads, "CPU, ms a page"), rows)
    first = median(one[DEFAULT[0]].mb for one in found)
    target = Target(
        f"Captures of a four-view exam in {DEFAULT[0]}, which is proposed first: at most"
        f" {AT_MOST_MB:g} MB",
        f"{first:.2f} MB",
        first <= AT_MOST_MB,
    )
    return Section("Small results", words, (table,), (target,))


def _row(way: str, several: Sequence[Captured]) -> tuple[str, ...]:
    size = median(one.mb for one in several)
    is_small = "yes" if size <= AT_MOST_MB else "no"
    if way == AS_RECORDED:
        return way, "1.2.840.10008.1.2.1", f"{size:.2f}", is_small, ""
    cpu = f"{median(one.ms_a_page for one in several):.0f}"
    (known,) = (name for name in get_args(CompressedBy) if name == way)
    return way, syntax_of(known), f"{size:.2f}", is_small, cpu


if __name__ == "__main__":
    sys.exit(main())
