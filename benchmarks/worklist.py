"""How fast is a page of the reading list? A hundred studies beside a hundred thousand, in one run.

    .venv/bin/python benchmarks/worklist.py [--studies 100000] [--runs 40] [--postgresql URL]

A ledger is filled straight into its tables, as a site's would be after a year: versions, results
with outlines, deliveries, histories, most of it old and read. What is measured is all that a page
asks of it (`node.overview.list_page`: a page of 50, with its counts), how long the ledger takes to
open, how long a node needs from its start until its page answers, and what the page takes by HTTP.
With `--postgresql`, an empty database of a server is measured, too; its tables are made. Times are
of the wall clock, on this machine, in milliseconds unless the row says otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from node.ledger import Ledger, schema
from node.overview import Wanted, list_page, study_overview
from node.result import Code, Finding, Measurement, ModelIdentity, Region, Result
from node.study import Laterality

OPEN_DAYS = 7.0
DAY_S = 86_400.0
DAYS = 400
"""Over which the studies have come."""
_POINTS = 80
"""Of an outline."""
_AT_ONCE = 2000
"""Studies that are put in at once."""
_LEVELS = {"urgent": 3, "soon": 7, "not assessed": 5, "routine": 45, None: 40}
_SENDERS = {"mammography-1": 60, "mammography-2": 38, "unit-on-wheels": 2}
_AREA = Measurement(
    Code("1", "99T", "Area"), 123.4, Code("cm2", "UCUM", "square centimetre"), decimals=1
)

Row = tuple[Any, ...]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--postgresql", help="the address of an empty database, as in node.toml")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for size in ("small", "large"):
            (Path(name) / size).mkdir()
        small, large = (f"sqlite:///{name}/{size}/ledger.db" for size in ("small", "large"))
        compare("SQLite", Path(name), (small, large), options.studies, options.runs)
    if options.postgresql:
        with tempfile.TemporaryDirectory() as name:
            both = None, options.postgresql
            compare("PostgreSQL", Path(name), both, options.studies, options.runs)


def compare(name: str, folder: Path, both: tuple[str | None, str], studies: int, runs: int) -> None:
    """Measure a ledger of a hundred studies and a large one; the small one may be left out."""
    table = Table(
        "asked for", "100 studies", f"{studies} studies", title=f"{name}, p50 / p95 in ms"
    )
    found: list[dict[str, str]] = []
    for size, url, count in zip(("small", "large"), both, (100, studies), strict=True):
        of_one = {} if url is None else measure(url, count, runs)
        found.append(of_one if url is None else of_one | by_http(folder / size, url, count, runs))
    for asked in found[1]:
        table.add_row(asked, *(of_one.get(asked, "-") for of_one in found))
    Console().print(table)


def measure(url: str, studies: int, runs: int) -> dict[str, str]:
    """Fill a ledger and return how long what is asked of it takes."""
    started = time.perf_counter()
    ledger = Ledger(url)
    ledger.migrate()
    fill(ledger, studies)
    ledger.close()
    filled_s = time.perf_counter() - started
    started = time.perf_counter()
    ledger = Ledger(url)
    ledger.migrate()
    found = {"(to fill it, s)": f"{filled_s:.0f}"}
    found["to open the ledger"] = f"{1000 * (time.perf_counter() - started):.0f}"
    for name, ask in questions(ledger, studies).items():
        found[name] = in_ms(timed(ask, runs))
    ledger.close()
    return found


NODE = """
[node]
ae_title = "BENCHMARK"
state_dir = "."
min_free_mb = 0
{database}
[listener]
host = "127.0.0.1"
port = {port}
[[peers]]
name = "mammography-1"
ae_title = "SENDER"
host = "127.0.0.1"
port = 104
sends = true
[web]
port = {web_port}
"""


def by_http(folder: Path, url: str, studies: int, runs: int) -> dict[str, str]:
    """Start a node on a ledger; return how long that takes, and its pages."""
    folder.mkdir(exist_ok=True)
    port, web_port = free_port(), free_port()
    database = "" if url.startswith("sqlite") else f'database = "{url}"'
    settings = NODE.format(database=database, port=port, web_port=web_port)
    (folder / "node.toml").write_text(settings)
    page = f"http://127.0.0.1:{web_port}"
    command = [sys.executable, "-m", "node", "run", "--config", "node.toml"]
    with (folder / "log").open("w") as log:
        started = time.perf_counter()
        node = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            wait_until_it_answers(page, node)
            found = {"node, from start to page (s)": f"{time.perf_counter() - started:.1f}"}
            wait_until_it_listens(port, node)
            found["node, from start to C-STORE (s)"] = f"{time.perf_counter() - started:.1f}"
            timed(partial(get, page), runs)  # a start has work of its own to do, for some seconds
            for name, path in (
                ("HTTP, open list", "/"),
                ("HTTP, urgent", "/?show=urgent"),
                ("HTTP, failed", "/?show=failed"),
                ("HTTP, all", "/?show=all"),
                ("HTTP, a study", f"/studies/1.9.{studies // 2}"),
                ("HTTP, system", "/system"),
            ):
                found[name] = in_ms(timed(partial(get, page + path), runs))
        finally:
            node.terminate()
            node.wait(60)
    return found


def get(address: str) -> int:
    """Fetch a page; return its size."""
    with urllib.request.urlopen(address, timeout=60) as answer:
        return len(answer.read())


def wait_until_it_answers(address: str, node: subprocess.Popen[bytes]) -> None:
    """Return as soon as a page is served."""
    for _ in range(6000):
        with contextlib.suppress(OSError):
            get(f"{address}/login")
            return
        if node.poll() is not None:
            raise SystemExit("the node has ended; it was not let start as it is set")
        time.sleep(0.01)
    raise SystemExit("no page after a minute")


def wait_until_it_listens(port: int, node: subprocess.Popen[bytes]) -> None:
    """Return as soon as images are taken, hence networks have been loaded."""
    for _ in range(6000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if node.poll() is not None:
            raise SystemExit("the node has ended; its log says why")
        time.sleep(0.01)
    raise SystemExit("no listener after a minute")


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def questions(ledger: Ledger, studies: int) -> Mapping[str, Callable[[], object]]:
    """Return what is asked of a ledger, by name."""

    def page(**wanted: Any) -> Callable[[], object]:
        return lambda: list_page(ledger, Wanted(**wanted), open_days=OPEN_DAYS)

    def deep(pages: int, **wanted: Any) -> Callable[[], object]:
        after = ""
        for _ in range(pages):
            found = list_page(ledger, Wanted(**wanted, after=after), open_days=OPEN_DAYS)
            after = found.following or after
        return page(**wanted, after=after)

    middle = studies // 2
    return {
        "open list, first page": page(is_open=True),
        "open list, 12th page": deep(11, is_open=True),
        "all, first page": page(),
        "all, 101st page": deep(100),
        **{f"open, {level}": page(is_open=True, level=level) for level in ("urgent", "none")},
        **{f"open, {sender}": page(is_open=True, sender=sender) for sender in _SENDERS},
        **{f"all, {sender}": page(sender=sender) for sender in _SENDERS},
        "all, urgent": page(level="urgent"),
        "open, a model of all": page(is_open=True, model="breast-triage"),
        "open, a model of few": page(is_open=True, model="new-model"),
        "all, a model of few": page(model="new-model"),
        "all, a model of none": page(model="no-model"),
        **{
            sought: page(sought=sought)
            for sought in ("today", "waiting", "failed", "held", "excluded")
        },
        "open, failed": page(is_open=True, sought="failed"),
        "an accession number": page(accession_number=f"A{middle}"),
        "a patient ID": page(patient_id=f"P{middle // 3}"),
        "a patient ID that many share": page(patient_id="UNKNOWN"),
        "a study UID": page(study_uid=f"1.9.{middle}"),
        "one study, whole": lambda: study_overview(ledger, f"1.9.{middle}"),
    }


def timed(ask: Callable[[], object], runs: int) -> Sequence[float]:
    """Return the seconds of each run, after one that warms up."""
    ask()
    found = []
    for _ in range(runs):
        started = time.perf_counter()
        ask()
        found.append(time.perf_counter() - started)
    return found


def in_ms(seconds: Sequence[float]) -> str:
    """Return median and 95th percentile."""
    p95 = statistics.quantiles(seconds, n=20)[-1]
    return f"{1000 * statistics.median(seconds):.1f} / {1000 * p95:.1f}"


def fill(ledger: Ledger, studies: int) -> None:
    """Put in so many studies, the newest a minute old."""
    chance = random.Random(15)
    result = result_as_written()
    at = time.time() - 60
    for first in range(0, studies, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, studies))
        rows: dict[sa.Table, list[dict[str, Any]]] = {}
        for number in numbers:
            came_at = at - number * DAYS * DAY_S / studies
            for table, row in of_study(number, came_at, at, chance, result):
                rows.setdefault(table, []).append(row)
        with ledger.writing() as db:
            for table, of_it in rows.items():
                put(db, table, of_it)
    with ledger.writing() as db:
        if db.dialect.name == "postgresql":  # as its own housekeeping does before long
            db.execute(sa.text("ANALYZE"))


def of_study(
    number: int, came_at: float, at: float, chance: random.Random, result: str
) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """Yield the rows of a study, as the node would have written them."""
    uid = f"1.9.{number}"
    is_old = at - came_at > OPEN_DAYS * DAY_S
    level = one_of(_LEVELS, chance)
    fate = chance.random()
    state = "finished"
    if level is None:
        state = chance.choice(("finished", "finished", "excluded", "out of scope"))
    is_held, is_dead = fate < 0.0005, 0.001 < fate < 0.006
    is_waiting = number < 40 and number % 2 == 0
    is_read = chance.random() < (0.7 if is_old else 0.3)
    key = {"study_uid": uid, "number": 1}
    yield (
        schema.study,
        {
            "study_uid": uid,
            "sender": one_of(_SENDERS, chance),
            "state": "closed",
            "held_reason": "they disagree about Patient ID" if is_held else None,
            "held_because": "identity" if is_held else None,
            "identity": "a b c d",
            "version": 1,
            "revision": 0,
            "is_by_hand": False,
            "level": level,
            "first_at": came_at - 90,
            "last_at": came_at,
            "last_image_at": came_at,
            "accession_number": f"A{number}",
            "patient_name": f"Name{number}^First",
            "patient_id": "UNKNOWN" if number % 40 == 0 else f"P{number // 3}",
            "study_date": "20261128",
            "study_description": "MG screening, both sides",
            "read_at": came_at + 3600 if is_read else None,
            "read_by": "reader" if is_read else None,
        },
    )
    for place, view in enumerate(("R CC", "L CC", "R MLO", "L MLO")):
        yield (
            schema.instance,
            {
                "sop_uid": f"{uid}.{place}",
                "study_uid": uid,
                "series_uid": f"{uid}.0",
                "sop_class": "1.2.840.10008.5.1.4.1.1.1.2",
                "modality": "MG",
                "view": view,
                "transfer_syntax": "1.2.840.10008.1.2.4.70",
                "body_part": "BREAST",
                "is_standard": True,
                "path": f"received/{uid}/{place}.dcm",
                "digest": f"{number:064x}",
                "identity": "a b c d",
                "state": "current",
                "version": 1,
                "association_id": f"association {number}",
                "received_at": came_at,
                "intake": None,
            },
        )
    yield (
        schema.study_version,
        {
            **key,
            "reason": "4/4 views",
            "state": "queued" if is_waiting else state,
            "revision": 0,
            "damaged": 0,
            "attempt": 1,
            "crashes": 0,
            "failures": 0,
            "troubles": 0,
            "level": level,
            "closed_at": came_at + 5,
            "error": None if state == "finished" else "no model reads it",
            "last_image_at": came_at,
            "decided_at": came_at + 6,
            "finished_at": came_at + 40,
        },
    )
    yield from ((schema.history, row) for row in history(uid, came_at))
    if state != "finished":
        return
    yield from ((schema.analysis, row) for row in analyses(key, number, level, came_at, result))
    yield (
        schema.dispatch,
        {
            **key,
            "destination": "pacs",
            "state": "dead" if is_dead else "finished",
            "attempt": 1,
            "error": "0xA700 out of resources" if is_dead else None,
            "asks": 0,
            "deadline_at": came_at + DAY_S,
        },
    )
    for place in range(5):
        yield (
            schema.delivery,
            {
                **key,
                "sop_uid": f"2.25.{number}{place}",
                "destination": "pacs",
                "state": "queued" if is_dead else "confirmed",
                "sent_at": came_at + 45,
                "confirmed_by": "commitment",
                "confirmed_at": came_at + 60,
            },
        )


def history(uid: str, came_at: float) -> Iterator[dict[str, Any]]:
    """Yield what happened to a study."""
    for seconds, event in enumerate(
        ("version 1 closed: 4/4 views", "version 1 finished", "delivered to pacs, confirmed")
    ):
        yield {"at": came_at + 10 * seconds, "study_uid": uid, "event": event}


def analyses(
    key: Mapping[str, Any], number: int, level: str | None, came_at: float, result: str
) -> Iterator[dict[str, Any]]:
    """Yield what models said of a study."""
    models = ["breast-area", "breast-triage", *(["new-model"] if number % 500 == 0 else [])]
    for model in models:
        is_triage = model == "breast-triage"
        yield {
            **key,
            "model": model,
            "model_version": "1.0.0",
            "weights_sha256": "0" * 64,
            "mode": "deliver",
            "result": result,
            "analysed": 4,
            "refusals": "{}",
            "brief": f"AI triage level {level}: the score is 37 %; 4 of 4 images analysed",
            "level": level if is_triage else None,
            "score": 0.37 if is_triage else None,
            "finished_at": came_at + 40,
        }


def one_of(shares: Mapping[Any, int], chance: random.Random) -> Any:
    """Return one of the keys, as often as its share says."""
    return chance.choices(list(shares), list(shares.values()))[0]


def put(db: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, all with the same columns, as fast as the driver does."""
    columns = list(rows[0])
    names, values = ", ".join(columns), [[row[column] for column in columns] for row in rows]
    cursor = db.connection.cursor()
    if db.dialect.name == "postgresql":
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
    else:
        places = ", ".join("?" for _ in columns)
        cursor.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({places})", values)
    cursor.close()


def result_as_written() -> str:
    """Return the JSON of a result with an outline on each of four images."""
    outline = tuple((1234.5678 + n, 987.6543 + n) for n in range(_POINTS - 1))
    names: Iterable[tuple[str, Laterality]] = (
        *(("R CC", Laterality.RIGHT), ("L CC", Laterality.LEFT)),
        *(("R MLO", Laterality.RIGHT), ("L MLO", Laterality.LEFT)),
    )
    findings = tuple(
        Finding(
            label=f"{name} outline",
            kind=Code("76752008", "SCT", "Breast"),
            laterality=side,
            region=Region(f"1.9.0.{number}", (*outline, outline[0])),
            measurements=(_AREA,),
        )
        for number, (name, side) in enumerate(names)
    )
    model = ModelIdentity("breast-area", "Breast Area", "1.0.0", "Bench", "2.25.1", "0" * 64)
    uids = tuple(finding.region.sop_uid for finding in findings)
    return TypeAdapter(Result).dump_json(Result(model, uids, findings=findings)).decode()


if __name__ == "__main__":
    main()
