"""The urgent exam that comes last is reported first: benchmarks/urgent_last.py with few exams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "urgent_last.py"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_urgent_leaves_before_any_other_report_is_built() -> None:
    command = [sys.executable, str(BENCHMARK), "--exams", "5"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "the urgent one (urgent) had" in ended.stdout
    assert "So it must be" in ended.stdout
