"""Does a large ledger cost more? A thousand objects beside a million, step by step.

    .venv/bin/python -m benchmarks.ledger_scale [--objects 1000000] [--folder /tmp]

A ledger is filled straight into its tables: half of the objects in mammography exams of four that
are analysed and sent, half in MR studies of 500 that no model reads. Then each thing is done that a
node does for every object, every few seconds or for every page. On SQLite the steps of its machine
are counted; on PostgreSQL, with a server of its own, the rows that are looked at. Neither depends
on the machine; the CPU of this process does. What costs more than twice as much beside a million is
named, and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from costs import counted
from ledgers import NODE, Desk, fill
from postgres import PostgreSQL, is_installed
from retained import Site

from benchmarks import section
from benchmarks.section import Figures, Section, Target
from node.config import Completeness, bundled_models_dir
from node.flow.completeness import Settler
from node.ledger import (
    Asking,
    Forgetting,
    Hurrying,
    Ledger,
    Mode,
    Outstanding,
    Telling,
    now,
    schema,
)
from node.ledger.retaining import BEGINNING
from node.manifest import load_model
from node.overview import Wanted, list_page
from node.store import Store

SMALL = 1000
_OF_MR = 500
"""Objects of a study of MR."""
_OF_EXAM = 4
_OF_THIS_WEEK = 100
_AT_ONCE = 5000
_RUNS = 5
_MUCH_MORE = 2.0
_NOISE = 50
"""So few steps or rows more are no growth."""
_YEAR_S = 365 * 86_400.0


def main() -> int:
    """Fill the ledgers, print what each step costs, and return 1 if something grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--no-postgresql", action="store_true", help="even if it is installed")
    parser.add_argument("--folder", help="where the SQLite files are made")
    section.add_option(parser)
    options = parser.parse_args()
    compared = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        files = (f"sqlite:///{name}/{size}.db" for size in ("small", "large"))
        steps = "steps of SQLite's machine"
        compared.append(compare(steps, Path(name), files, options.objects))
        if is_installed() and not options.no_postgresql:
            with closing(PostgreSQL()) as server:
                databases = (server.new_database() for _ in range(2))
                rows = "rows that PostgreSQL looks at"
                compared.append(compare(rows, Path(name), databases, options.objects))
    return section.finish(section_of(compared), options)


def compare(counted: str, folder: Path, urls: Iterator[str], objects: int) -> Compared:
    """Return what each step costs in a small and in a large ledger."""
    small, large = (measure(next(urls), folder, of) for of in (SMALL, objects))
    return Compared(counted, objects, small, large)


def section_of(compared: Sequence[Compared]) -> Section:
    """Return what was found, beside what it should be."""
    words = (
        f"Ledgers of {SMALL} objects and of {compared[0].objects}, filled straight into their"
        " tables: half of the objects in mammography exams of four that are analysed and sent,"
        " half in MR studies of 500 that no model reads. Then each thing is done that a node does"
        " for every object, every few seconds or for every page. Steps and rows do not depend on"
        " the machine; the CPU of the node's process does. Of five runs the median counts, without"
        " the first."
    )
    figures = tuple(one.figures() for one in compared)
    return Section("A large ledger", words, figures, tuple(one.target() for one in compared))


@dataclass(frozen=True, slots=True)
class Measured:
    """The median of a few runs."""

    work: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Compared:
    """What each step costs, by its name."""

    counted: str
    objects: int
    small: Mapping[str, Measured]
    large: Mapping[str, Measured]

    def growing(self) -> list[str]:
        """Return the names of what costs more."""
        return [
            name
            for name, few in self.small.items()
            if self.large[name].work > _MUCH_MORE * few.work + _NOISE
        ]

    def figures(self) -> Figures:
        """Return the table."""
        rows = tuple(
            (
                name,
                f"{few.work:.0f}",
                f"{self.large[name].work:.0f}",
                f"{few.cpu_ms:.1f} / {self.large[name].cpu_ms:.1f}",
            )
            for name, few in self.small.items()
        )
        heads = ("step", f"{SMALL} objects", f"{self.objects} objects", "CPU, ms")
        return Figures(f"What each step takes: {self.counted}", heads, rows)

    def target(self) -> Target:
        """Return that nothing costs more than twice as much."""
        growing = self.growing()
        words = (
            f"Receive, settle, list and sweep take at most {_MUCH_MORE:g} x as many {self.counted}"
        )
        return Target(words, "more: " + ", ".join(growing) if growing else "none more", not growing)


def measure(url: str, folder: Path, objects: int) -> Mapping[str, Measured]:
    """Fill a ledger and return what each step costs in it."""
    ledger = Ledger(url)
    ledger.migrate()
    began_at = time.monotonic()
    fill_with(ledger, objects)
    Console().print(f"{objects} objects put in within {time.monotonic() - began_at:.0f} s")
    found = {}
    store = Store(folder)
    store.prepare()
    for name, step in steps(Desk(ledger, store)).items():
        step = step if isinstance(step, Step) else Step(step)
        runs = [run(ledger, step) for _ in range(_RUNS)][1:]  # the first warms up
        found[name] = Measured(*(statistics.median(one) for one in zip(*runs, strict=True)))
    ledger.close()
    return found


def fill_with(ledger: Ledger, objects: int) -> None:
    """Put in so many objects, and have a server count them as it does by itself in time."""
    exams = objects // 2 // _OF_EXAM
    for first in range(0, exams, _AT_ONCE):
        fill(ledger, min(_AT_ONCE, exams - first), first=first)
    with ledger.reading() as db:
        study = dict(db.execute(sa.select(schema.study).limit(1)).mappings().one())
        image = dict(db.execute(sa.select(schema.instance).limit(1)).mappings().one())
        version = dict(db.execute(sa.select(schema.study_version).limit(1)).mappings().one())
    of_mr = {"modality": "MR", "view": None, "body_part": "HEAD"}
    for number in range(max(objects // 2 // _OF_MR, 1)):
        uid = {"study_uid": f"1.8.{number}"}
        rows = [
            image | uid | of_mr | {"sop_uid": f"1.8.{number}.{n}", "path": f"received/{number}.{n}"}
            for n in range(_OF_MR)
        ]
        with ledger.writing() as db:
            db.execute(schema.study.insert(), study | uid)
            db.execute(schema.instance.insert(), rows)
            db.execute(schema.study_version.insert(), version | uid | {"state": "out of scope"})
    # As on a site: a hundred exams of this week, all others older, read, and removed since.
    place = sa.cast(sa.func.substr(schema.study.c.study_uid, 5), sa.Integer)
    is_new = (place < _OF_THIS_WEEK) & schema.study.c.study_uid.like("1.9.%")
    days = sa.case((is_new, 2 + place % 4), else_=10 + place % 390)
    came_at = now() - days * 86_400.0
    names = ("first_at", "last_at", "last_image_at", "read_at")
    gone = ("images_removed_at", "neighbours_removed_at", "results_removed_at")
    with ledger.writing() as db:
        db.execute(schema.study.update().values(dict.fromkeys((*names, *gone), came_at)))
    if not ledger.has_one_writer:  # a server does so by itself; SQLite is never told to
        with ledger.writing() as db:
            db.execute(sa.text("ANALYZE"))


@dataclass(frozen=True, slots=True)
class Step:
    """What a node does, and what must have come before."""

    take: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def run(ledger: Ledger, step: Step) -> tuple[float, float]:
    """Do a step twice: return the steps or rows that it took, and CPU in ms of the other time."""
    step.prepare()
    before_s = _cpu_s()
    step.take()
    took_ms = 1000 * (_cpu_s() - before_s)
    step.prepare()
    with _looked_at(ledger) as looked, counted() as cost:  # counting costs something itself
        step.take()
    return (cost.steps or looked()), took_ms


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def _looked_at(ledger: Ledger) -> Iterator[Callable[[], float]]:
    """Yield who says how many rows of tables and indexes a server has looked at since."""
    if ledger.has_one_writer:
        yield lambda: 0.0
        return
    before = _rows_looked_at(ledger)
    yield lambda: _rows_looked_at(ledger) - before


def _rows_looked_at(ledger: Ledger) -> float:
    ledger.close()  # a session that ends says what it has done
    time.sleep(0.1)
    with ledger.reading() as db:
        query = """
            SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)
                 + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
        """
        return float(db.execute(sa.text(query)).scalar_one())


def steps(desk: Desk) -> Mapping[str, Step | Callable[[], object]]:
    """Return what a node does, by name."""
    ledger = desk.ledger
    numbers = count()
    mammography = load_model("breast-area", bundled_models_dir())
    patient = Completeness(settle_s=3600, quiet_s=3600)
    came: list[str] = []
    waiting = Settler(desk.settling, desk.enqueue, patient, [(mammography, Mode.DELIVER)])
    site = Site(desk)
    desk.nodes.register_node(NODE)
    desk.receive("1.7.1.0", study="1.7.1", body_part="BREAST")

    def receive(study: str, **how: Any) -> None:
        sop_uid = f"{study}.{next(numbers)}.9"
        assert desk.receiving.is_unheard_of(study, sop_uid)
        assert desk.receive(sop_uid, study=study, **how) == "new"

    exams = count()

    def come() -> None:
        study = f"1.7.3.{next(exams)}"
        for view in ("R CC", "L CC", "R MLO", "L MLO"):
            receive(study, body_part="BREAST", view=view)
        came.append(study)

    def close() -> None:
        (study,) = came
        came.clear()
        waiting.settle([study])
        assert desk.settling.arrival(study) is None, "its association has ended, so it is closed"

    mr: dict[str, Any] = {"modality": "MR", "view": None, "is_in_scope": False}
    return {
        "receive: one more": lambda: receive("1.7.1", body_part="BREAST"),
        "receive: a new study": lambda: receive(f"1.7.2.{next(numbers)}", body_part="BREAST"),
        "receive: late, of 500": lambda: receive("1.8.0", **mr),
        "receive: one that we have": lambda: desk.receive("1.8.0.1", study="1.8.0", **mr),
        "settle: nothing is quiet": waiting.settle,
        "settle: an exam that is complete": Step(close, come),
        "early scoring: nothing to do": lambda: desk.claiming.arriving(desk.store, {"CR"}),
        "early scoring: does anything wait": desk.claiming.is_any_waiting,
        "list: first page": lambda: list_page(ledger, Wanted(), open_days=7),
        "list: failed": lambda: list_page(ledger, Wanted(sought="failed"), open_days=7),
        "list: a study": lambda: list_page(ledger, Wanted(study_uid="1.9.1"), open_days=7),
        "sweep: reconcile": desk.sweeping.unfinished,
        "sweep: destinations": lambda: Hurrying(ledger).probe(desk.enqueue),
        "sweep: what is to be told": Telling(ledger).asked,
        "sweep: ask back": lambda: Asking(ledger).take(60),
        "sweep: retention": site.retention.sweep,
        "sweep: forgetting": lambda: Forgetting(ledger).removed_after(BEGINNING, _YEAR_S, 3),
        "sweep: what is unfinished": Outstanding(ledger).unfinished,
        "sweep: what is held": Outstanding(ledger).held,
    }


if __name__ == "__main__":
    sys.exit(main())
