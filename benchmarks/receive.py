"""How fast are objects kept? The node beside Orthanc, DCMTK and what syncing costs, in one run.

    .venv/bin/python -m benchmarks.receive [--quick] [--rounds 5] [--folder /tmp]

Each receiver gets the same objects from DCMTK's storescu, on loopback and on the same disk, in turn
with the others; of the rounds the median counts. The node answers Success after fsync and commit.
Machines differ, so read the ratios, not the seconds. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from postgres import PostgreSQL, is_installed

from benchmarks import floor, receive_section, section
from benchmarks.made_objects import write_mammograms, write_slices
from benchmarks.receive_section import (
    ASSOCIATIONS,
    FLOOR,
    MAMMOGRAMS,
    ONE_SYNC,
    SMALL,
    Amounts,
    Measured,
    Taken,
    over,
)
from benchmarks.receivers import (
    AT_ONCE,
    LOOPBACK,
    MODEL,
    ON_POSTGRESQL,
    ON_SQLITE,
    ORTHANC,
    PATIENCE_S,
    PDU,
    PLAIN,
    RECEIVER,
    SENDER,
    STORESCP,
    Running,
    peak_of,
    running,
)

QUICK = Amounts(
    rounds=1,
    rounds_apart=1,
    warming=5,
    mammograms=4,
    small=100,
    sizes=(50, 200),
    single=20,
    slices=100,
)
_SMALL, _TINY, _SLICE = 256, 64, 512
"""Rows and columns of slices: 128 kB, 8 kB, 512 kB."""
_AT_A_TIME = 4
_TRIES = 5


def main() -> int:
    """Measure, print, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few objects, to try it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-postgresql", action="store_true", help="even if it is installed")
    parser.add_argument("--folder", help="on the disk that is measured")
    section.add_option(parser)
    options = parser.parse_args()
    amounts = QUICK if options.quick else Amounts(rounds=options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder) as name, ExitStack() as stack:
        server = None
        if is_installed() and not options.no_postgresql:
            server = stack.enter_context(closing(PostgreSQL(settings=())))
        found = Bench(Path(name), amounts, server).measure()
    return section.finish(receive_section.of(found), options)


class Bench:
    """Measures in a folder of its own."""

    def __init__(self, folder: Path, amounts: Amounts, server: PostgreSQL | None) -> None:
        self._folder = folder
        self._amounts = amounts
        self._server = server
        self._nodes = (ON_SQLITE, ON_POSTGRESQL) if server else (ON_SQLITE,)
        self._receivers = (ORTHANC, STORESCP, PLAIN, *self._nodes)
        self._console = Console(highlight=False)
        self._warming = write_slices(folder / "warming", amounts.warming, _TINY)

    def measure(self) -> Measured:
        """Return all that is found."""
        rates = self._rates(MAMMOGRAMS) | self._rates(SMALL)
        by_size, single = self._by_size(), self._single()
        return Measured(self._amounts, rates, by_size, single, self._slices())

    def _rates(self, load: str) -> dict[tuple[str, int, str], Taken]:
        files = {several: self._files(load, several) for several in ASSOCIATIONS}
        found = defaultdict[tuple[str, int, str], list[Taken]](list)
        for number in range(self._amounts.rounds):
            for name in self._receivers:
                with self._started(name, MODEL if load == SMALL else "") as receiver:
                    for several, paths in files.items():
                        taken = self._send(receiver, paths, several)
                        found[load, several, name].append(taken)
                        self._say(f"round {number + 1}, {name}, {load} {over(several)}", taken)
            for several, paths in files.items():
                for name in (FLOOR, ONE_SYNC):
                    taken = self._floor(paths, several, is_one=name == ONE_SYNC)
                    found[load, several, name].append(taken)
                    self._say(f"round {number + 1}, {name}, {load} {over(several)}", taken)
        for several in ASSOCIATIONS:
            shutil.rmtree(self._folder / f"{load}-{several}")
        return {key: _median(several) for key, several in found.items()}

    def _files(self, load: str, several: int) -> list[Path]:
        folder = self._folder / f"{load}-{several}"
        if load == MAMMOGRAMS:
            return write_mammograms(folder, self._amounts.mammograms)
        return write_slices(folder, self._amounts.small, _SMALL)

    def _floor(self, paths: Sequence[Path], threads: int, *, is_one: bool) -> Taken:
        contents = [path.read_bytes() for path in paths]
        place = self._folder / "floor"
        wall_s = floor.take(place, contents, threads, only_file=is_one)
        shutil.rmtree(place)
        return Taken(wall_s)

    def _by_size(self) -> dict[tuple[str, int], Taken]:
        found = defaultdict[tuple[str, int], list[Taken]](list)
        for size in self._amounts.sizes:
            paths = write_slices(self._folder / "size", size, _TINY)
            for _ in range(self._amounts.rounds_apart):
                for name in self._nodes:
                    with self._started(name, MODEL) as receiver:
                        taken = self._send(receiver, paths)
                    found[name, size].append(taken)
                    self._say(f"{name}, a study of {size}", taken)
            shutil.rmtree(self._folder / "size")
        return {key: _median(several) for key, several in found.items()}

    def _single(self) -> dict[str, Taken]:
        found = defaultdict[str, list[Taken]](list)
        paths = write_slices(self._folder / "single", self._amounts.single, _TINY)
        for name in self._receivers * self._amounts.rounds_apart:
            with (
                self._started(name, MODEL) as receiver,
                ThreadPoolExecutor(_AT_A_TIME) as pool,
                _timed(receiver) as taken,
            ):
                failed = sum(pool.map(lambda path: _sender(receiver, [path]).wait() != 0, paths))
            if failed:
                raise SystemExit(f"{name} did not take {failed} of {len(paths)} objects")
            found[name].append(taken[0])
            self._say(f"{name}, {len(paths)} associations", taken[0])
        return {name: _median(several) for name, several in found.items()}

    def _slices(self) -> dict[str, Taken]:
        found = {}
        paths = write_slices(self._folder / "slices", self._amounts.slices, _SLICE)
        for name in self._receivers:
            with self._started(name, MODEL) as receiver, peak_of(receiver) as peak:
                taken = self._send(receiver, paths)
            found[name] = Taken(taken.wall_s, taken.cpu_s, peak.mb)
            self._say(f"{name}, {len(paths)} slices", found[name])
        return found

    @contextmanager
    def _started(self, name: str, settings: str) -> Iterator[Running]:
        """Run a receiver that has received some objects, in a folder and on a ledger of its own."""
        database = ""
        if self._server and name == ON_POSTGRESQL:
            database = self._server.new_database(is_empty=True)
        place = self._folder / "receiver"
        with running(name, place, settings, database) as receiver:
            self._warm(receiver)
            yield receiver
        shutil.rmtree(place)

    def _warm(self, receiver: Running) -> None:
        """Have it take some objects; on a busy machine some abort what comes while they start."""
        for _ in range(_TRIES):
            if not _sender(receiver, self._warming).wait():
                receiver.wait_until_it_rests()
                return
        raise SystemExit(f"{receiver.name} takes no object")

    def _send(self, receiver: Running, paths: Sequence[Path], several: int = 1) -> Taken:
        os.sync()
        with _timed(receiver) as taken:
            senders = [_sender(receiver, paths[part::several]) for part in range(several)]
            failed = [sender.args for sender in senders if sender.wait()]
        if failed:
            raise SystemExit(f"storescu failed: {failed[0]!r:.300}")
        return taken[0]

    def _say(self, what: str, taken: Taken) -> None:
        self._console.print(
            f"{what}: {taken.wall_s:.2f} s, CPU {taken.cpu_s:.2f} s", soft_wrap=True
        )


@contextmanager
def _timed(receiver: Running) -> Iterator[list[Taken]]:
    taken: list[Taken] = []
    before_s, began_at = receiver.cpu_s(), time.perf_counter()
    yield taken
    taken.append(Taken(time.perf_counter() - began_at, receiver.cpu_s() - before_s))


def _sender(receiver: Running, paths: Sequence[Path]) -> subprocess.Popen[bytes]:
    command = ["storescu", "-ta", str(PATIENCE_S), "-pdu", str(PDU), "-aet", SENDER]
    to = ["-aec", RECEIVER, LOOPBACK, str(receiver.port)]
    return subprocess.Popen([*command, *to, *map(str, paths)], env=AT_ONCE)


def _median(several: Sequence[Taken]) -> Taken:
    return Taken(median(one.wall_s for one in several), median(one.cpu_s for one in several))


if __name__ == "__main__":
    sys.exit(main())
