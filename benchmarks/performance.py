"""Measures all that docs/performance.md says, and writes it.

    .venv/bin/python -m benchmarks.performance [--only receive ...] [--folder /tmp]
    .venv/bin/python -m benchmarks.performance --quick --to FOLDER

Each benchmark runs in a process of its own, one after the other, for some 30 minutes in all. What
they find is recorded in docs/performance.json, and the page is made of that alone. Measure on a
machine that does nothing else. With `--only`, the others stay as they were recorded.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console

from benchmarks import performance_page
from benchmarks.performance_page import MEASURED, Entry, Recorded
from benchmarks.section import Section

ROOT = Path(__file__).parents[1]
QUICK: Mapping[str, tuple[str, ...]] = {
    "receive": ("--quick",),
    "arrival": ("--exams", "1"),
    "captures": ("--exams", "1"),
    "throughput": ("--exams", "2", "--exams-alone", "2", "--rounds", "1"),
    "ledger_scale": ("--objects", "10000"),
}
_PACKAGES = ("pynetdicom", "pydicom", "sqlalchemy", "numpy", "onnxruntime", "imagecodecs")


def main() -> int:
    """Run the benchmarks, record what they find and write the page; return 1 if one ends early."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=MEASURED, default=MEASURED)
    parser.add_argument("--quick", action="store_true", help="small amounts, to try it")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="where the page is written")
    parser.add_argument("--folder", type=Path, help="on the disk that is measured")
    options = parser.parse_args()
    if options.quick and options.to == ROOT / "docs":
        parser.error("--quick measures nothing: name another folder with --to")
    options.to.mkdir(parents=True, exist_ok=True)
    folder = options.folder or Path(tempfile.gettempdir())
    recorded = _begun(options.to, machine(folder), is_trial=options.quick)
    console, failed = Console(highlight=False), []
    for number, name in enumerate(options.only, start=1):
        console.rule(f"{number} of {len(options.only)}: {name}")
        began_at = time.monotonic()
        section = run(name, QUICK[name] if options.quick else (), folder)
        if section is None:
            failed.append(name)
            continue
        minutes = (time.monotonic() - began_at) / 60
        entry = Entry(f"{datetime.now(UTC):%Y-%m-%d}", minutes, section)
        recorded = recorded.having(name, entry)
        performance_page.write(recorded, options.to)
    console.print(f"{options.to / performance_page.NAME} is written")
    if failed:
        console.print(f"ended early, and not recorded: {', '.join(failed)}")
    return int(bool(failed))


def _begun(folder: Path, now_on: Mapping[str, str], *, is_trial: bool) -> Recorded:
    """Return what was recorded before on this very machine, else nothing."""
    nothing = Recorded(is_trial, now_on, {})
    before = performance_page.read(folder) or nothing
    return before if (before.is_trial, before.machine) == (is_trial, now_on) else nothing


def run(name: str, options: tuple[str, ...], folder: Path) -> Section | None:
    """Run a benchmark, which shows what it does; return what it found, None if it ended early."""
    with tempfile.TemporaryDirectory() as place:
        found = Path(place) / "found.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", str(found)]
        subprocess.run(command, check=False, cwd=ROOT, env=os.environ | {"TMPDIR": str(folder)})
        if not found.exists():
            return None
        return TypeAdapter(Section).validate_json(found.read_bytes())


def machine(folder: Path) -> Mapping[str, str]:
    """Return what the numbers depend on."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text("utf-8"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    said = {
        "processor": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GB",
        "disk": _said(["findmnt", "-no", "FSTYPE,SOURCE", "-T", str(folder)]),
        "system": f"{platform.system()} {platform.release()}",
        "ai-node": version("dicom-ai-node"),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "PostgreSQL": _version_of("psql"),
        "Orthanc": _version_of("Orthanc"),
        "DCMTK": _version_of("storescu"),
    }
    return said | {name: version(name) for name in _PACKAGES}


def _version_of(program: str) -> str:
    found = re.search(r"\d+(\.\d+)+", _said([program, "--version"]))
    return found[0] if found else "not installed"


def _said(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return " ".join((ran.stdout + ran.stderr).split())


if __name__ == "__main__":
    sys.exit(main())
