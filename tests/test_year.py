"""A year of retention is as it should be: benchmarks/year.py with few exams."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "year.py"


def test_a_year_goes_by_with_the_disk_between_its_watermarks_and_nothing_owed_removed(
    tmp_path: Path,
) -> None:
    command = [sys.executable, str(BENCHMARK), "--exams", "200", "--folder", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr[-3000:]
    said = re.findall(r"^(yes|NO) +(.+)$", ended.stdout, re.MULTILINE)
    assert {word for word, _ in said} == {"yes"}
    assert len(said) == 25
    assert list(tmp_path.iterdir()) == []
