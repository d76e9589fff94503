"""The page docs/performance.md, made of what was recorded beside it, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.section import Figures, Section, Target

NAME, RECORDED = "performance.md", "performance.json"

_TRIAL = """
**This is a trial with small amounts on a machine that did other work: its numbers say nothing.**
"""
_BEGINS = """\
<!-- Written by `python -m benchmarks.performance`; what is changed here by hand is lost. -->
# How fast it is

Measured by `python -m benchmarks.performance` in a checkout, with Orthanc, DCMTK and PostgreSQL of
the distribution: it runs the benchmarks below one after the other and writes this page. Machines
differ: read the ratios, and run it on yours (`--to` another folder), on the disk that is to hold
the store (`--folder`).
"""
_TURNS: Sequence[tuple[str, str, str]] = (
    (
        "processes",
        "`processes` in `[inference]`",
        "as many images are decoded and run at the same time, each of another study; each process"
        " takes memory of its own, `memory_mb` at most",
    ),
    (
        "threads",
        "`threads` in `[inference]`",
        "of each process; all of them together should not be more than the machine has cores",
    ),
    (
        "scoring while a study comes",
        "`scores_early` in `[inference]`",
        "less is left to do after the last image",
    ),
    (
        "quiet time",
        "`settle_s` in `[completeness]`",
        "how long nothing must come once all that is expected is there, and an association is open"
        " ([completeness](completeness.md))",
    ),
    (
        "quiet time after an association",
        "`ended_s` in `[completeness]`",
        "0 as the node comes; more for senders that open an association for each image",
    ),
    (
        "memory",
        "`memory_mb` in `[inference]`",
        "the most of each process that runs networks; the node itself keeps up to 128 MB of images"
        " that it has drawn and not yet shown",
    ),
    (
        "captures",
        "`captures` of a peer",
        "how they are compressed on their way, without loss: fewer bytes for some CPU"
        " ([transfer syntaxes](transfer-syntaxes.md#what-captures-travel-in))",
    ),
    (
        "associations",
        "`max_associations` in `[listener]`, and the sender's own setting",
        "objects that several bring at the same moment share one commit",
    ),
    (
        "disk",
        "`state_dir` and `store_dir` in `[node]`",
        "of each object a sender waits for three syncs: file, folder, ledger",
    ),
    (
        "database",
        "`database` in `[node]`",
        "SQLite, or PostgreSQL, which [several machines](several-machines.md) can share",
    ),
)
_NEVER = """
Durability is not among them: no setting lets the node answer Success before an object and its row
are on disk ([what is promised](reliability.md#what-is-promised)).
"""


MEASURED = ("receive", "arrival", "captures", "throughput", "ledger_scale")
"""The benchmarks, in the order of the page."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one benchmark found, when, and how long it took."""

    day: str
    minutes: float
    section: Section


@dataclass(frozen=True, slots=True)
class Recorded:
    """All that the page says."""

    is_trial: bool
    machine: Mapping[str, str]
    entries: Mapping[str, Entry]
    """By benchmark."""

    def having(self, name: str, entry: Entry) -> Recorded:
        """Return the same with one anew."""
        entries = {**self.entries, name: entry}
        return replace(self, entries={one: entries[one] for one in MEASURED if one in entries})


def read(folder: Path) -> Recorded | None:
    """Return what was recorded in a folder, None if nothing was."""
    try:
        return TypeAdapter(Recorded).validate_json((folder / RECORDED).read_bytes())
    except FileNotFoundError:
        return None


def write(recorded: Recorded, folder: Path) -> None:
    """Record it, and write the page."""
    as_json = TypeAdapter(Recorded).dump_json(recorded, indent=1, ensure_ascii=False)
    (folder / RECORDED).write_bytes(as_json + b"\n")
    (folder / NAME).write_text(page(recorded), "utf-8")


def page(recorded: Recorded) -> str:
    """Return the page."""
    sections = [entry.section for entry in recorded.entries.values()]
    parts = [
        _BEGINS,
        *([_TRIAL.lstrip()] if recorded.is_trial else []),
        _shortfall([target for section in sections for target in section.targets]),
        *_missing([name for name in MEASURED if name not in recorded.entries]),
        "## On what\n\n" + _table(("what", "which"), list(recorded.machine.items())),
        *("\n".join(_lines(name, entry)) for name, entry in recorded.entries.items()),
        "## What you can turn\n\n" + _table(("what", "where", "what it does"), _TURNS) + _NEVER,
    ]
    return "\n".join(parts)


def _shortfall(targets: Sequence[Target]) -> str:
    missed = [target for target in targets if not target.is_met]
    if not missed:
        return f"All {len(targets)} targets are met.\n"
    lines = [f"- {target.words}: **{target.measured}**" for target in missed]
    return "\n".join([f"Of {len(targets)} targets {len(missed)} are not met:", "", *lines, ""])


def _missing(names: Sequence[str]) -> Iterator[str]:
    if names:
        listed = ", ".join(f"`{name}`" for name in names)
        yield f"**Not on this page, because it was not measured here: {listed}.**\n"


def _lines(name: str, entry: Entry) -> Iterator[str]:
    section = entry.section
    yield f"## {section.title}\n"
    yield f"{section.words}\n"
    yield f"`python -m benchmarks.{name}`, on {entry.day}, within {entry.minutes:.0f} minutes.\n"
    for figures in section.figures:
        yield f"{figures.title}:\n"
        yield _of(figures)
    if section.targets:
        rows = [(target.words, target.measured, target.verdict) for target in section.targets]
        yield _table(("should be", "is", "met"), rows)


def _of(figures: Figures) -> str:
    return _table(figures.heads, figures.rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    ruled = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in ruled)
