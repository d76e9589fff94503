"""What was found out about receiving, as tables, beside what it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.receivers import ON_SQLITE, ORTHANC, STORESCP
from benchmarks.section import Figures, Section, Target

FLOOR, ONE_SYNC = "floor: the node's syncs", "floor with one sync"
MAMMOGRAMS, SMALL = "mammograms", "small objects"
ASSOCIATIONS = (1, 4)
_IS_FLAT = 1.25


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is sent."""

    rounds: int = 5
    rounds_apart: int = 3
    """Of studies by their size, and of objects over an association each."""
    warming: int = 100
    """Objects that a receiver has taken before the clock starts."""
    mammograms: int = 16
    small: int = 1200
    sizes: tuple[int, ...] = (300, 1200, 10_000)
    """Of studies, in objects."""
    single: int = 300
    """Objects that come over an association each."""
    slices: int = 4000


@dataclass(frozen=True, slots=True)
class Taken:
    """What a receiver needed for all objects."""

    wall_s: float
    cpu_s: float = 0
    """Of its own process, and of its children if it has one for each association."""
    peak_mb: float = 0
    """The most memory that a process of it has had."""


@dataclass(frozen=True, slots=True)
class Measured:
    """All of it."""

    amounts: Amounts
    rates: Mapping[tuple[str, int, str], Taken]
    """By load, number of associations and receiver."""
    by_size: Mapping[tuple[str, int], Taken]
    """By node and number of objects."""
    single: Mapping[str, Taken]
    slices: Mapping[str, Taken]


def over(several: int) -> str:
    """Return the words for a number of associations."""
    return "over one association" if several == 1 else f"over {several} associations"


def of(found: Measured) -> Section:
    """Return the section."""
    amounts = found.amounts
    words = (
        f"{amounts.mammograms} generated mammograms of 17 MB and {amounts.small} MR objects of 128"
        " kB, over one association and, dealt out, over four. The sender is DCMTK's storescu with"
        " TCP_NODELAY=1 and PDUs of 131072 bytes, on loopback; all receivers write to the same"
        f" disk, one after the other, in {amounts.rounds} rounds, of which the median counts;"
        f" studies by their size, and objects over an association each, in {amounts.rounds_apart}"
        " rounds; the study of many slices once. Each has taken"
        f" {amounts.warming} small objects before the clock starts. Mammograms are received by a"
        " node without a model, so that nothing is decoded meanwhile; all else by one that reads"
        " mammograms alone. CPU is that of the process that receives,"
        " without PostgreSQL's server. Orthanc is as its package installs it: it"
        " syncs the file of an object and not its index. storescp syncs nothing. The floor is a"
        " plain loop, without a network, that writes the same bytes and makes the syncs that the"
        " node makes of each object (file, folder, SQLite's log), with as many threads as there"
        " are associations; those that wait at the same moment share the syncs of folder and log,"
        " as in the node."
    )
    figures = (_rates(found), _small_cpu(found), _sizes(found), _single(found), _slices(found))
    return Section("Receiving", words, figures, tuple(_targets(found)))


def _rates(found: Measured) -> Figures:
    columns = [(load, several) for load in (MAMMOGRAMS, SMALL) for several in ASSOCIATIONS]
    heads = (f"{load} {over(several)}" for load, several in columns)
    rows = []
    for name in dict.fromkeys(name for _, _, name in found.rates):
        seconds = [found.rates[load, several, name].wall_s for load, several in columns]
        orthanc = [found.rates[load, several, ORTHANC].wall_s for load, several in columns]
        cells = (
            f"{own:.2f} s ({its / own:.2f})" for own, its in zip(seconds, orthanc, strict=True)
        )
        rows.append((name, *cells))
    title = "Time, and in brackets the rate, of which Orthanc's is 1"
    return Figures(title, ("receiver", *heads), tuple(rows))


def _small_cpu(found: Measured) -> Figures:
    heads = ("receiver", *map(over, ASSOCIATIONS))
    names = dict.fromkeys(name for _, _, name in found.rates if name not in (FLOOR, ONE_SYNC))
    rows = tuple(
        (name, *(f"{_small_ms(found, name, several):.2f}" for several in ASSOCIATIONS))
        for name in names
    )
    return Figures("CPU of the receiver, ms per small object", heads, rows)


def _small_ms(found: Measured, name: str, several: int) -> float:
    return 1000 * found.rates[SMALL, several, name].cpu_s / found.amounts.small


def _sizes(found: Measured) -> Figures:
    sizes = found.amounts.sizes
    rows = tuple(
        (name, *(f"{_of_size_ms(found, name, size):.2f}" for size in sizes))
        for name in dict.fromkeys(name for name, _ in found.by_size)
    )
    heads = ("receiver", *(f"{size} objects" for size in sizes))
    return Figures("CPU, ms per object of 8 kB, by the size of its study", heads, rows)


def _of_size_ms(found: Measured, name: str, size: int) -> float:
    return 1000 * found.by_size[name, size].cpu_s / size


def _single(found: Measured) -> Figures:
    count = found.amounts.single
    rows = tuple(
        (name, f"{1000 * taken.cpu_s / count:.1f}") for name, taken in found.single.items()
    )
    title = f"{count} objects of 8 kB over an association each, four at a time"
    return Figures(title, ("receiver", "CPU, ms per object"), rows)


def _slices(found: Measured) -> Figures:
    count, orthanc = found.amounts.slices, found.slices[ORTHANC].wall_s
    rows = tuple(
        (
            name,
            f"{count / taken.wall_s:.0f} ({orthanc / taken.wall_s:.2f})",
            f"{1000 * taken.cpu_s / count:.2f}",
            f"{taken.peak_mb:.0f}",
        )
        for name, taken in found.slices.items()
    )
    heads = ("receiver", "objects a second (Orthanc's rate is 1)", "CPU, ms per object")
    title = f"A study of {count} slices of 512x512 over one association, once"
    return Figures(title, (*heads, "most memory of a process, MB"), rows)


def _targets(found: Measured) -> list[Target]:
    return [_small_alone(found), _small_of_four(found), *_of_mammograms(found), *_of_cpu(found)]


def _small_alone(found: Measured) -> Target:
    own, orthanc, whole, one = (
        found.rates[SMALL, 1, name].wall_s for name in (ON_SQLITE, ORTHANC, FLOOR, ONE_SYNC)
    )
    return Target(
        "Small objects over one association: Orthanc's time and the floor's beyond one sync",
        f"{own:.2f} s; {orthanc:.2f} + {whole - one:.2f} s",
        own <= orthanc + whole - one,
    )


def _small_of_four(found: Measured) -> Target:
    own, orthanc = (found.rates[SMALL, 4, name].wall_s for name in (ON_SQLITE, ORTHANC))
    ratio = orthanc / own
    return Target("Small objects over 4 associations: Orthanc's rate", f"{ratio:.2f} x", ratio >= 1)


def _of_mammograms(found: Measured) -> list[Target]:
    targets = []
    for several in ASSOCIATIONS:
        own, orthanc, whole, storescp = (
            found.rates[MAMMOGRAMS, several, name].wall_s
            for name in (ON_SQLITE, ORTHANC, FLOOR, STORESCP)
        )
        what = f"Mammograms {over(several)}"
        ratio, of_floor = orthanc / own, own / max(whole, storescp)
        targets += [
            Target(f"{what}: 1.2 x Orthanc's rate", f"{ratio:.2f} x", ratio >= 1.2),
            Target(
                f"{what}: at most 1.3 x the time of the floor or of storescp, whichever is longer",
                f"{of_floor:.2f} x",
                of_floor <= 1.3,
            ),
        ]
    return targets


def _of_cpu(found: Measured) -> list[Target]:
    small = _small_ms(found, ON_SQLITE, 1)
    least, most = found.amounts.sizes[0], found.amounts.sizes[-1]
    first, last = (_of_size_ms(found, ON_SQLITE, size) for size in (least, most))
    single = 1000 * found.single[ON_SQLITE].cpu_s / found.amounts.single
    return [
        Target("CPU of a small object below 3 ms", f"{small:.2f} ms", small < 3),
        Target("CPU of a small object below 2 ms (aimed at)", f"{small:.2f} ms", small < 2),
        Target(
            f"An object of a study of {most} costs what one of {least} does (at most"
            f" {_IS_FLAT:g} x the CPU)",
            f"{last:.2f} / {first:.2f} ms",
            last <= _IS_FLAT * first,
        ),
        Target(
            "An object with an association of its own: at most 20 ms of CPU",
            f"{single:.1f} ms",
            single <= 20,
        ),
    ]
