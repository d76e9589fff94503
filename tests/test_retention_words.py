"""What [retention] removes is said in words, and what of it can hardly be meant."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from node.config import Config, Node, RetentionSettings
from node.retention_words import advice_on_retention, removals_in_words


def site(folder: Path, min_free_mb: int = 0, **retention: Any) -> Config:
    node = Node(ae_title="AINODE", state_dir=folder, min_free_mb=min_free_mb)
    return Config(node=node, retention=RetentionSettings.model_validate(retention))


class _Usage:
    total, used, free = 100 << 30, 40 << 30, 40 << 30  # and 20 kept for root


@pytest.fixture(autouse=True)
def _half_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: _Usage)


def test_where_nothing_is_set_nothing_is_removed_which_is_said_with_how_full_the_disk_is(
    tmp_path: Path,
) -> None:
    assert list(removals_in_words(site(tmp_path))) == []
    for found in (site(tmp_path / "not" / "yet"), site(tmp_path, refuse_from_percent=95)):
        (words,) = advice_on_retention(found)
        assert words.startswith("[retention] removes nothing")
        assert f"{found.store_dir} is ever removed: its disk is 50 % full;" in words


def test_every_setting_that_removes_is_said(tmp_path: Path) -> None:
    every: dict[str, Any] = {
        name: 12 for name in RetentionSettings.model_fields if name.endswith("_days")
    }
    marks: dict[str, Any] = {"clean_from_percent": 77, "refuse_from_percent": 93.5}
    lines = list(removals_in_words(site(tmp_path, **every, **marks)))
    assert sum("after 12 days" in line for line in lines) == len(every) == 7
    assert any(line.startswith("From 77 % of the disk in use on images go") for line in lines)
    assert "From 93.5 % in use on images are refused" in lines
    assert list(advice_on_retention(site(tmp_path, **every, **marks))) == []


def test_images_that_never_go_are_advised_against(tmp_path: Path) -> None:
    (words,) = advice_on_retention(site(tmp_path, results_days=90))
    assert "neither images_days nor clean_from_percent" in words
    assert "never removed: its disk is 50 % full" in words
    assert list(advice_on_retention(site(tmp_path, images_days=0.5))) == []
    (line, *_) = (one for one in removals_in_words(site(tmp_path, images_days=0.5)) if "Rec" in one)
    assert line.endswith("go after 0.5 days")


def test_cleaning_that_begins_too_late_is_advised_against(tmp_path: Path) -> None:
    assert list(advice_on_retention(site(tmp_path, 8191, clean_from_percent=90))) == []
    (words,) = advice_on_retention(site(tmp_path, 8193, clean_from_percent=90))
    assert "leaves 8192 MB of this disk free, less than min_free_mb = 8193" in words
