"""The benchmarks of docs/performance.md run, and say something of each receiver and database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from benchmarks.receivers import ON_POSTGRESQL, ON_SQLITE, ORTHANC, PLAIN, STORESCP
from benchmarks.section import Section

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.interop


def found_by(name: str, options: list[str], folder: Path) -> Section:
    found = folder / "found.json"
    options = [*options, "--folder", str(folder), "--json", str(found)]
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.exists(), ended.stdout[-2000:] + ended.stderr[-3000:]
    return TypeAdapter(Section).validate_json(found.read_bytes())


@pytest.mark.timeout(1200)
def test_receiving_is_measured_with_each_receiver(tmp_path: Path) -> None:
    section = found_by("receive", ["--quick"], tmp_path)
    rates, cpu, by_size, single, slices = section.figures
    everybody = {ORTHANC, STORESCP, PLAIN, ON_SQLITE, ON_POSTGRESQL}
    assert everybody <= {row[0] for row in rates.rows}
    for figures in (cpu, single, slices):
        assert {row[0] for row in figures.rows} == everybody
    assert {row[0] for row in by_size.rows} == {ON_SQLITE, ON_POSTGRESQL}
    assert len(section.targets) == 10


@pytest.mark.timeout(600)
def test_a_ledger_costs_no_more_with_more_objects_in_it(tmp_path: Path) -> None:
    # With less than that PostgreSQL reads some tables from end to end, which costs it less.
    section = found_by("ledger_scale", ["--objects", "200000"], tmp_path)
    assert [target.verdict for target in section.targets] == ["yes", "yes"]
