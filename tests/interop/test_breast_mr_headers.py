"""Generated breast MRI in every style before dciodvfy: no errors but those of a sourced habit."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.study import StudyPlan, breast_mr
from node.trial.breast_mr.styles import STYLES

from .validators import dciodvfy

pytestmark = pytest.mark.interop

TRIGGER_TIME = "TriggerTime(0018,1060)"
"""The standard has it of gated images alone; styles.py (D2, D3) says who writes it of phases."""


@pytest.mark.parametrize("name", STYLES)
def test_dciodvfy_finds_no_error_in_a_generated_study(name: str, tmp_path: Path) -> None:
    style = STYLES[name]
    plan = StudyPlan(style=style, shape=(4, 16, 16), schedule=PhaseTimes(posts=2))
    errors = []
    for number, one in enumerate(breast_mr("valid", plan)):
        path = tmp_path / f"{number}.dcm"
        one.save_as(path, enforce_file_format=True)
        errors += [line for line in dciodvfy(path) if not line.startswith("Warning")]
    if style.trigger_time:
        errors = [line for line in errors if TRIGGER_TIME not in line]
    assert errors == []


def test_dciodvfy_finds_no_error_in_a_generated_knee(tmp_path: Path) -> None:
    for number, one in enumerate(knee_mr("valid", shape=(2, 16, 16))):
        path = tmp_path / f"{number}.dcm"
        one.save_as(path, enforce_file_format=True)
        assert [line for line in dciodvfy(path) if not line.startswith("Warning")] == []
