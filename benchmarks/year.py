"""A year of retention in minutes: what goes, what stays, and what comes again.

    .venv/bin/python benchmarks/year.py [--exams 30000] [--folder /dev/shm]

Exams come day by day as rows and small files, a third of them MR that no model reads, and the
node's own sweeps remove and forget. Two things are not as they are on a site: the disk is a quota
that the store counts, of 50 days of exams; and the ledger's clock, SQLite's, is set on by hours at
a time. Of every hundred exams some are owed something, for ever or for some days. At the end
objects of removed and of forgotten studies come again. Each expectation is answered yes or no, and
any no makes the exit code 1. Costs are counted in the database's own steps, which do not depend on
the machine.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ledgers import MAMMOGRAPHY, RECEIVING, Desk, is_mammogram
from retained import READERS, Site, small_object

from node.config import Completeness, RetentionSettings, bundled_models_dir
from node.current import Current
from node.flow.completeness import Settler
from node.flow.forgetting import Forgetter
from node.flow.retention import Retention
from node.flow.unlinking import Unlinker
from node.ledger import (
    Asking,
    Forgetting,
    Ledger,
    Mode,
    Recorded,
    Retaining,
    Settling,
    Unlinking,
    now,
    schema,
)
from node.manifest import load_model
from node.numbers_in_words import counted_studies
from node.receive.asking_back import AskingBack
from node.receive.header_changes import header_digest
from node.receive.reception import Reception
from node.store import Room, Store, dataset_digest

DAYS = 365
DAY_S = 86_400.0
ROUNDS = 4
"""A day, in each of which some exams come, and it is swept; of few exams fewer."""
CLEAN_FROM, REFUSE_FROM = 80.0, 95.0
DAYS_ON_DISK = 50
SETTINGS = RetentionSettings(
    images_days=90,  # never reached: the disk is full before
    results_days=60,
    records_days=120,
    out_of_scope_days=3,
    clean_from_percent=CLEAN_FROM,
    refuse_from_percent=REFUSE_FROM,
)
_SWEEPS = 2
"""At least, in a round."""
_FEWER_SWEEPS = 7 * 24
"""A walk begins anew each week, not each hour: there are a few sweeps a day, not one a minute."""
_MOST_SWEEPS = 24 * 60 // ROUNDS
"""One a minute."""
_UNDELIVERED_DAYS = 60
"""So long the results of some exams wait for their destination: longer than others' images stay."""
_GOES_WITHIN_DAYS = 7
"""What was owed something for so long goes within so many days after that: nothing is older."""
_STEPS_AT_ONCE = 100
_FEW_EXAMS = 1000
_FLAT = 1.5
"""What costs at most so many times as much in the last month as in the first is flat."""
_STUDY_UIDS = "1.2.826.0.1.3680043.8.498.9{:07d}"
"""All as long as the other, so that they are exchanged in files without parsing these."""


_PATIENT = {"PatientID": "PH-1"}


class Clock:
    """The ledger's clock, SQLite's `julianday('now')`, and what SQLite has to do meanwhile."""

    def __init__(self) -> None:
        self.at = time.time()
        self.steps = 0

    def listen(self, connection: Any, record: object) -> None:
        """Set a connection by this clock."""
        connection.create_function("julianday", 1, lambda _: self.at / DAY_S + 2440587.5)
        connection.set_progress_handler(self._step, _STEPS_AT_ONCE)

    def _step(self) -> int:
        self.steps += _STEPS_AT_ONCE
        return 0


@dataclass(frozen=True, slots=True)
class SmallStore(Store):
    """A store on a disk of a few megabytes: it counts what it writes and removes."""

    quota: list[int] = field(default_factory=lambda: [0])
    sizes: dict[str, int] = field(default_factory=dict)
    """Of the files that lie in it, by their paths."""
    used: list[int] = field(default_factory=lambda: [0])

    def room(self) -> Room:
        """Return how much room the quota leaves."""
        quota, used = self.quota[0], self.used[0]
        return Room(quota, used, max(quota - used, 0))

    def put(self, relative: str, content: bytes) -> None:
        """Write a file as one would lie there that was received long ago."""
        path = self.path(relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._count(relative, len(content))

    def remove(self, relative: str) -> None:
        """Remove a file, and count that."""
        Store.remove(self, relative)
        self._count(relative, 0)

    def remove_for_good(self, relatives: Iterable[str]) -> list[str]:
        """Remove files, and count that."""
        gone = Store.remove_for_good(self, relatives)
        for relative in gone:
            self._count(relative, 0)
        return gone

    def _place(self, temporary: Path, relative: str) -> str:
        size = temporary.stat().st_size
        Store._place(self, temporary, relative)
        self._count(relative, size)
        return relative

    def _count(self, relative: str, size: int) -> None:
        self.used[0] += size - self.sizes.pop(relative, 0)
        if size:
            self.sizes[relative] = size


Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A study as the node itself has written it, of which others are made."""

    uid: str
    at: float
    rows: dict[sa.Table, list[Row]]
    files: dict[str, bytes]

    @property
    def size(self) -> int:
        """Of its files, in bytes."""
        return sum(map(len, self.files.values()))

    def like(self, uid: str, at: float, store: SmallStore) -> Iterator[tuple[sa.Table, Row]]:
        """Put the files of another study into the store, and yield its rows."""
        digests = {}
        for path, content in self.files.items():
            relative = path.replace(self.uid, uid)
            store.put(relative, content.replace(self.uid.encode(), uid.encode()))
            if relative.startswith("received"):
                digests[relative] = dataset_digest(store.path(relative))
        for table, rows in self.rows.items():
            for row in rows:
                new = {name: self._other(value, uid, at) for name, value in row.items()}
                if table is schema.instance:
                    new["digest"] = digests[new["path"]]
                yield table, new

    def _other(self, value: Any, uid: str, at: float) -> Any:
        if isinstance(value, str):
            return value.replace(self.uid, uid)
        is_time = isinstance(value, float) and value > 1e9
        return value + at - self.at if is_time else value


class Year:
    """A site, day by day."""

    def __init__(self, folder: Path, exams: int) -> None:
        self.clock = Clock()
        sa.event.listen(sa.Engine, "connect", self.clock.listen)
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
        self.ledger.migrate()
        self.store = SmallStore(folder / "store")
        self.store.prepare()
        self.store.quota[0] = 1 << 40
        self.desk = Desk(self.ledger, self.store)
        self.desk.nodes.register_node("alone")
        self.exams = exams
        self.rounds = min(ROUNDS * DAYS, exams // 2)
        self.mammograms, self.mr = self._templates()
        a_day = exams / DAYS * 2 / 3 * self.mammograms.size
        self.store.quota[0] = round(DAYS_ON_DISK * a_day) + 8 * self.mr.size
        self.came = 0
        self.owed: dict[str, float] = {}
        """Until when nothing of these studies may go; infinity: for ever."""
        self.owed_until: dict[str, float] = {}
        """Until when something was owed, of those that are looked at again a few days later."""
        self.delivered_late = 0
        self.stayed = set[str]()
        self.retention = self._retention()
        forgetting = Forgetting(self.ledger)
        self.forgetter = Forgetter(forgetting, lambda: SETTINGS, lambda age_s, count: 0)
        self.months: defaultdict[int, Month] = defaultdict(Month)
        self.lost = set[str]()

    def _templates(self) -> tuple[Template, Template]:
        site = Site(self.desk)
        uid, other = _STUDY_UIDS.format(9_999_999), _STUDY_UIDS.format(9_999_998)
        site.keep(uid, 2, **_PATIENT)
        site.done(uid, **_PATIENT)
        for number in (2, 3, 4):
            site.keep(other, number, Modality="MR")
        site.apart(other, Modality="MR")
        return self._taken(uid), self._taken(other)

    def _taken(self, uid: str) -> Template:
        """Take a study out of ledger and store."""
        rows: dict[sa.Table, list[Row]] = {}
        with self.ledger.writing() as db:
            at = db.execute(sa.select(now())).scalar_one()
            for table in schema.metadata.sorted_tables:
                if "study_uid" not in table.c or table is schema.study_to_tell:
                    continue
                is_its = table.c.study_uid == uid
                columns = [column for column in table.c if column.key != "id"]
                found = db.execute(sa.select(*columns).where(is_its)).all()
                if found:
                    keys = [column.key for column in columns]
                    rows[table] = [dict(zip(keys, row, strict=True)) for row in found]
                db.execute(table.delete().where(is_its))
        paths = [row["path"] for t in (schema.instance, schema.report) for row in rows.get(t, ())]
        files = {path: self.store.path(path).read_bytes() for path in paths}
        self.store.remove_for_good(paths)
        return Template(uid, at, rows, files)

    def _retention(self) -> Retention:
        unlinker = Unlinker(Unlinking(self.ledger), self.store)
        retaining = Retaining(self.ledger)
        return Retention(
            retaining, unlinker, lambda: SETTINGS, lambda: READERS, header_digest, self._slowly
        )

    def _slowly(self) -> float:
        """Return a clock by which a day is a few minutes: so many fewer sweeps there are here."""
        return self.clock.at / _FEWER_SWEEPS

    # Day by day

    def go_by(self) -> None:
        """Let the year go by."""
        month = -1
        for number in range(self.rounds):
            day = number * DAYS // self.rounds
            if day // 30 != month:
                self._end_month(month)
            month = day // 30
            self._come(round((number + 1) * self.exams / self.rounds))
            self.months[month].peak(self.store.used_percent())
            self._sweep(self.months[month])
            self.months[month].rest(self.store.used_percent())
            self.clock.at += DAYS * DAY_S / self.rounds
            self._deliver_what_waited()
        self._end_month(month)

    def _end_month(self, month: int) -> None:
        self._look_at_what_is_owed()
        if month in self.months:
            print(self.months[month].line(month + 1), flush=True)  # noqa: T201

    def _come(self, until: int) -> None:
        rows: defaultdict[sa.Table, list[Row]] = defaultdict(list)
        for number in range(self.came, until):
            uid = _STUDY_UIDS.format(number)
            template = self.mr if number % 3 == 2 else self.mammograms
            for table, row in template.like(uid, self.clock.at, self.store):
                rows[table].append(row | self._debt(number, table, uid))
        self.came = max(self.came, until)
        with self.ledger.writing() as db:
            for table, many in rows.items():
                db.execute(table.insert(), many)

    def _debt(self, number: int, table: sa.Table, uid: str) -> Row:
        """Return what a row has that is not as others, for some exams are owed something."""
        kind, is_mr = number % 100, number % 3 == 2
        debt: Row = {}
        until = float("inf")
        if table is schema.study:
            if kind == 1:
                debt = {"held_because": "pixels", "held_reason": "they contradict"}
            elif kind == 5:
                debt = {"kept_at": self.clock.at}
            elif kind not in (3, 7, 9) or is_mr:
                return debt
            if kind == 9:
                until = self.clock.at + _UNDELIVERED_DAYS * DAY_S
            self.owed[uid] = until
        elif table is schema.instance:
            debt = {"committed_at": self.clock.at if kind == 7 and not is_mr else None}
        elif table is schema.dispatch and kind in (3, 9):
            debt = {"state": "dead" if kind == 3 else "queued"}
        return debt

    def _deliver_what_waited(self) -> None:
        due = [uid for uid, until in self.owed.items() if until <= self.clock.at]
        self._look_at_what_was_owed()
        if due:
            self._look_at_what_is_owed(due)
            table = schema.dispatch
            with self.ledger.writing() as db:
                done = table.update().where(table.c.study_uid.in_(due)).values(state="finished")
                db.execute(done)
            for uid in due:
                self.owed_until[uid] = self.owed.pop(uid)

    def _look_at_what_was_owed(self) -> None:
        """Remember what stays on a full disk though it is owed nothing any more, and is oldest."""
        over = self.clock.at - _GOES_WITHIN_DAYS * DAY_S
        for uid in [uid for uid, until in self.owed_until.items() if until <= over]:
            del self.owed_until[uid]
            self.delivered_late += 1
            paths = [path.replace(self.mammograms.uid, uid) for path in self.mammograms.files]
            is_left = any(self.store.path(p).exists() for p in paths if p.startswith("received"))
            if is_left:
                self.stayed.add(uid)

    def _sweep(self, month: Month) -> None:
        """Sweep until nothing goes any more, as often as a node would at most."""
        number, before = 0, -1
        while (
            number < _SWEEPS
            or before != len(self.store.sizes)
            or (self.store.used_percent() >= CLEAN_FROM and number < _MOST_SWEEPS)
        ):
            before = len(self.store.sizes)
            steps, cpu_s = self.clock.steps, time.process_time()
            self.retention.sweep()
            gone = before - len(self.store.sizes)
            month.swept(self.clock.steps - steps, time.process_time() - cpu_s, gone)
            number += 1
        for _ in range(_SWEEPS):
            self.forgetter.sweep()

    def count(self, table: sa.Table) -> int:
        """Return how many rows a table has."""
        with self.ledger.reading() as db:
            return int(db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    def _look_at_what_is_owed(self, uids: Iterable[str] | None = None) -> None:
        """Remember of which owed studies something is gone."""
        for uid in self.owed if uids is None else uids:
            template = self.mr if int(uid[-7:]) % 3 == 2 else self.mammograms
            paths = [path.replace(template.uid, uid) for path in template.files]
            if any(not self.store.path(path).exists() for path in paths):
                self.lost.add(uid)

    # What comes again

    def rows_of(self, table: sa.Table, uid: str) -> list[Row]:
        """Return the rows of a study."""
        with self.ledger.reading() as db:
            query = sa.select(table).where(table.c.study_uid == uid)
            return [dict(row) for row in db.execute(query).mappings()]

    def removed(self, count: int, *, is_mr: bool = False) -> list[str]:
        """Return some studies whose images are removed, and whose rows are there."""
        table = schema.study
        query = sa.select(table.c.study_uid).where(table.c.images_removed_at.is_not(None))
        with self.ledger.reading() as db:
            uids = db.execute(query.order_by(table.c.last_at.desc())).scalars()
            return [uid for uid in uids if (int(uid[-7:]) % 3 == 2) == is_mr][:count]

    def forgotten(self, count: int) -> list[str]:
        """Return some studies whose rows are gone, and of which something is remembered."""
        query = sa.select(schema.remembered_study.c.study_uid).limit(count)
        with self.ledger.reading() as db:
            return list(db.execute(query).scalars())


@dataclass(slots=True)
class Month:
    """What thirty days were like."""

    most: float = 0.0
    """Percent of the disk in use, before a round of sweeps."""
    rests: list[float] = field(default_factory=list)
    """And after."""
    files: int = 0
    steps: int = 0
    """Of the database, in sweeps in which something went."""
    idle: list[int] = field(default_factory=list)
    """In each in which nothing did."""
    cpu_s: float = 0.0

    def peak(self, percent: float) -> None:
        """Note how much is in use before it is swept."""
        self.most = max(self.most, percent)

    def rest(self, percent: float) -> None:
        """Note how much is in use after that."""
        self.rests.append(percent)

    def swept(self, steps: int, cpu_s: float, files: int) -> None:
        """Note what a sweep took, and how many files went."""
        self.cpu_s += cpu_s
        self.files += files
        if files:
            self.steps += steps
        else:
            self.idle.append(steps)

    @property
    def steps_a_file(self) -> float:
        """What the database has to do for each file that goes."""
        return self.steps / max(self.files, 1)

    @property
    def steps_idle(self) -> float:
        """What it has to do in a sweep in which nothing goes, at most, but for some."""
        return sorted(self.idle)[len(self.idle) * 9 // 10] if self.idle else 0.0

    def line(self, number: int) -> str:
        """Return the month in a line."""
        return (
            f"month {number:2d}: disk at most {self.most:4.1f} % full, {max(self.rests):4.1f} % "
            f"after sweeps; {self.files:6d} files removed, {self.steps_a_file:6.0f} steps and "
            f"{1000 * self.cpu_s / max(self.files, 1):5.1f} ms of CPU each; a sweep without any "
            f"{self.steps_idle:6.0f} steps"
        )


class Again:
    """What comes again of studies that are removed or forgotten, by the node's own ways."""

    def __init__(self, year: Year) -> None:
        self._year = year
        ledger, store = year.ledger, year.store
        config = RECEIVING.model_copy(update={"retention": SETTINGS})
        self.reception = Reception(Current(config), store, year.desk.receiving, is_mammogram)
        model = load_model(MAMMOGRAPHY.name, bundled_models_dir())
        self._settler = Settler(
            Settling(ledger), year.desk.enqueue, Completeness(), [(model, Mode.DELIVER)]
        )
        self._asking = AskingBack(
            Current(config), store, Asking(ledger), self.reception, is_mammogram
        )

    def come(self, template: Template, uid: str, number: int, **changed: bytes) -> Recorded:
        """Receive an object of a study again."""
        name = next(n for n in template.files if f"/{template.uid}.{number}." in n)
        content = template.files[name].replace(template.uid.encode(), uid.encode())
        if pixels := changed.get("pixels"):
            content = content[: -len(pixels)] + pixels
        return self._receive(content)

    def come_late(self, uid: str) -> Recorded:
        """Receive an image that was not there before."""
        path = self._year.store.incoming / f"{uuid.uuid4()}.dcm"
        small_object(uid, f"{uid}.9", **_PATIENT).save_as(path, enforce_file_format=True)
        return self._receive(path.read_bytes())

    def _receive(self, content: bytes) -> Recorded:
        path = self._year.store.incoming / f"{uuid.uuid4()}.dcm"
        path.write_bytes(content)
        came = self.reception.begin("modality")
        try:
            return self.reception.keep(path, came)
        finally:
            self.reception.end(came)

    def settle(self) -> None:
        """Let half an hour go by."""
        for _ in range(2):
            self._year.clock.at += 900
            self._year.retention.sweep()
            self._settler.settle()
            self._asking.look()

    def versions(self, uid: str) -> list[tuple[int, str]]:
        """Return the versions of a study that there are."""
        rows = self._year.rows_of(schema.study_version, uid)
        return sorted((row["number"], str(row["state"])) for row in rows)

    def held(self, uid: str) -> str:
        """Return what a study is held for."""
        (row,) = self._year.rows_of(schema.study, uid)
        return str(row["held_because"] or "")


Expectation = tuple[str, bool]


def _expect_of_disk(year: Year) -> Iterator[Expectation]:
    months = list(year.months.values())
    most, full = max(month.most for month in months), [m for m in months if m.most >= CLEAN_FROM]
    yield f"the disk was {most:.1f} % full at most, less than {REFUSE_FROM:g} %", most < REFUSE_FROM
    rests = max(max(month.rests) for month in months)
    words = f"after each round of sweeps less than {CLEAN_FROM:g} % ({rests:.1f} %)"
    yield words, rests < CLEAN_FROM
    yield f"it had to be cleaned in {len(full)} months, the last among them", months[-1] in full
    least = min(full[-1].rests) if full else 0.0
    words = f"and no more went than had to: {least:.1f} % in use at least in the last month"
    yield words, least > CLEAN_FROM - 10
    counted = sum(path.stat().st_size for path in _files(year.store))
    yield "what the store counted is what lies in it", counted == year.store.used[0]


def _files(store: Store) -> Iterator[Path]:
    for tree in ("received", "reports"):
        yield from (path for path in store.path(tree).rglob("*") if path.is_file())


def _expect_of_owed(year: Year) -> Iterator[Expectation]:
    yield f"of {len(year.owed)} exams that are owed something nothing is gone", not year.lost
    words = f"of {year.delivered_late} that were delivered late none stayed for a week after that"
    yield words, year.delivered_late > 0 and not year.stayed
    known: set[str] = set()
    with year.ledger.reading() as db:
        for table in (schema.instance, schema.report):
            is_there = table.c.removed_at.is_(None)
            known.update(db.execute(sa.select(table.c.path).where(is_there)).scalars())
    left = year.count(schema.unlinking)
    there = {str(path.relative_to(year.store.root)) for path in _files(year.store)}
    yield f"each of {len(there)} files has a row, and each row its file", there == known
    yield "no file waits for its removal", left == 0


def _expect_of_costs(year: Year) -> Iterator[Expectation]:
    months = list(year.months.values())
    last = months[11]
    full = next(month for month in months if month.most >= CLEAN_FROM)
    for what, when, before, after in (
        ("a file that goes", "in which it was full", full.steps_a_file, last.steps_a_file),
        ("a sweep in which nothing goes", "of all", months[0].steps_idle, last.steps_idle),
    ):
        words = f"{what}: {before:.0f} steps in the first month {when}, {after:.0f} in the last"
        yield words, after <= _FLAT * max(before, _STEPS_AT_ONCE)
    count = len(year.forgotten(10**9))
    yield f"{count} studies are forgotten, and remembered in brief", count > 0
    rows = year.count(schema.study)
    most = year.exams * 121 / DAYS + len(year.owed)
    yield f"{rows} studies have rows, of {year.came} that came", rows <= most * 1.05


def _expect_of_again(year: Year) -> Iterator[Expectation]:
    again = Again(year)
    count = 6 if year.exams > _FEW_EXAMS else 2  # they are kept, and the disk of few exams is small
    try:
        for kind, uids in (
            ("removed", year.removed(count)),
            ("forgotten", year.forgotten(count)),
        ):
            yield from _expect_of_resends(again, year, kind, uids[::2])
            yield from _expect_of_late_images(again, year, kind, uids[1::2])
        yield from _expect_of_mr(again, year)
    finally:
        again.reception.close()


def _expect_of_resends(
    again: Again, year: Year, kind: str, uids: Sequence[str]
) -> Iterator[Expectation]:
    before = len(year.store.sizes)
    said = [again.come(year.mammograms, uid, number) for uid in uids for number in (1, 2)]
    is_nothing_kept = len(year.store.sizes) == before
    again.settle()
    is_quiet = all(again.versions(uid) == [(1, "finished")] for uid in uids)
    studies = f"{counted_studies(len(uids))} {kind}"
    words = f"the same again of {studies} is the same, and nothing is made of it"
    yield words, {*said} == {"same"} and is_nothing_kept and is_quiet
    other = [again.come(year.mammograms, uid, 1, pixels=b"\xff\x0f") for uid in uids]
    is_held = all(again.held(uid) == "pixels" for uid in uids)
    words = "other pixels of these contradict, and they are held"
    yield words, {*other} == {"contradicts"} and is_held


def _expect_of_late_images(
    again: Again, year: Year, kind: str, uids: Sequence[str]
) -> Iterator[Expectation]:
    said = {again.come_late(uid) for uid in uids}
    again.settle()
    is_none = all(again.versions(uid) == [(1, "finished")] for uid in uids)
    is_held = all(again.held(uid) == "missing" for uid in uids)
    words = (
        f"a late image of {counted_studies(len(uids))} {kind} makes no report without the others"
    )
    yield words, bool(uids) and said == {"new"} and is_none
    yield "they are held for want of these, where nobody can be asked", is_held
    back = {again.come(year.mammograms, uid, number) for uid in uids for number in (1, 2)}
    again.settle()
    again.settle()
    versions = [again.versions(uid) for uid in uids]
    is_second = all(one == [(1, "finished"), (2, "queued")] for one in versions)
    words = "sent again they go on by themselves, as version 2: there is no second first report"
    yield words, back == {"restored"} and is_second


def _expect_of_mr(again: Again, year: Year) -> Iterator[Expectation]:
    uids = year.removed(3, is_mr=True)
    said = {again.come(year.mr, uid, 1) for uid in uids}
    again.settle()
    is_quiet = all(again.versions(uid) == [(1, "out of scope")] for uid in uids)
    words = f"MR of {counted_studies(len(uids))} removed is the same, and is not analysed"
    yield words, bool(uids) and said == {"same"} and is_quiet
    uid = _STUDY_UIDS.format(2)
    is_gone = not year.rows_of(schema.study, uid)
    kept = again.come(year.mr, uid, 1)
    again.settle()
    words = "MR of a forgotten study is new, and out of scope again"
    yield words, is_gone and kept == "new" and again.versions(uid) == [(1, "out of scope")]


def run(folder: Path, exams: int) -> bool:
    """Let a year go by; print what came of it, and return whether it was as expected."""
    began = time.monotonic()
    year = Year(folder, exams)
    try:
        year.go_by()
        is_so = True
        for expected in (_expect_of_disk, _expect_of_owed, _expect_of_costs, _expect_of_again):
            for words, holds in expected(year):
                print(f"{'yes' if holds else 'NO ':<4} {words}", flush=True)  # noqa: T201
                is_so &= holds
    finally:
        sa.event.remove(sa.Engine, "connect", year.clock.listen)
        year.ledger.close()
    print(f"{year.came} exams in {time.monotonic() - began:.0f} s")  # noqa: T201
    return is_so


def main() -> None:
    """Let a year go by."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exams", type=int, default=30_000, help="in the year")
    parser.add_argument("--folder", type=Path, default=None, help="for ledger and store")
    given = parser.parse_args()
    logging.getLogger("node").setLevel(logging.CRITICAL)  # each removal is a line
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        sys.exit(0 if run(Path(folder), given.exams) else 1)


if __name__ == "__main__":
    main()
