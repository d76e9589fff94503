"""docs/retention.md says what is removed when as the configuration and the ledger have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.config import Config, Peer, RetentionSettings, load_config
from node.initial_config import Choices, config_text
from node.ledger.owed import REASONS
from node.overview.disk_space import DiskSpace
from node.overview.space_taken import Blocked, BlockedBecause, BlockingStudy, filling
from node.overview.status import rows_of_blocked, rows_of_disks
from node.retention_words import removals_in_words

DOCUMENT = (Path(__file__).parent.parent / "docs" / "retention.md").read_text("utf-8")
WORDS = " ".join(DOCUMENT.split())
GB = 1_000_000_000


def section(heading: str) -> str:
    return DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def loaded(folder: Path, text: str) -> Config:
    path = folder / "node.toml"
    path.write_text(text, "utf-8")
    return load_config(path)


def test_its_table_is_what_a_new_site_begins_with(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    said = loaded(tmp_path, f'[node]\nae_title = "AINODE"\nstate_dir = "state"\n{block}')
    pacs = Peer(name="pacs", ae_title="PACS", host="192.0.2.1", port=104, sends=True)
    text = config_text(Choices("AINODE", 104, "state", (pacs,), ()), "node.toml")
    assert loaded(tmp_path, text).retention == said.retention
    assert len(list(removals_in_words(said))) == 10


def test_every_setting_is_explained() -> None:
    named = re.findall(r"^\| `([a-z_]+)` \|", section("What goes, and when"), re.MULTILINE)
    assert sorted(named) == sorted(RetentionSettings.model_fields)


def test_every_reason_for_which_nothing_is_removed_is_explained() -> None:
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section("What is never removed"), re.MULTILINE)
    assert sorted(row for row in rows if row != "why") == sorted(REASONS)


def disk(used_percent: float, a_day: float = 0) -> DiskSpace:
    free = round(1000 * GB * (1 - used_percent / 100))
    return DiskSpace(
        "store_dir", Path("/srv"), free, 1000 * GB, 50 * GB, None, used_percent, 80, 95, a_day
    )


def test_the_days_that_fit_are_what_status_prints() -> None:
    exams, megabytes, a_day, total, percent, part, days = re.findall(
        r"(\d+) exams of (\d+) MB are ([\d.]+) GB a day; of a disk of (\d+) GB, (\d+) % are (\d+) "
        r"GB, which hold (\d+) days",
        WORDS,
    )[0]
    assert float(a_day) * 1000 == int(exams) * int(megabytes)
    assert int(total) * int(percent) / 100 == int(part)
    found = disk(19, float(a_day) * GB)
    assert found.days_that_fit == pytest.approx(int(days), abs=0.5)
    rows = dict(rows_of_disks([found]))
    (printed,) = re.findall(r"^a day {2,}(.+)$", DOCUMENT, re.MULTILINE)
    assert rows["a day"] == printed
    (of_disk,) = re.findall(r"^disk {2,}(.+)$", DOCUMENT, re.MULTILINE)
    assert of_disk == rows["disk"]


def test_the_alarm_tells_half_way_between_the_watermarks() -> None:
    assert "half way between `clean_from_percent` and `refuse_from_percent`" in WORDS
    assert filling(disk(87.4), 0, ()) is None
    assert filling(disk(87.5), 0, ()) is not None


def test_what_blocks_is_printed_as_it_says() -> None:
    printed = re.findall(r"^blocked {2,}(.+)$", DOCUMENT, re.MULTILINE)
    at = 100 * 86_400.0
    root = "1.2.826.0.1.3680043.8.498"
    held = BlockingStudy(f"{root}.7", at - 63 * 86_400, GB)
    given_up = BlockingStudy(f"{root}.9", at - 12 * 86_400, GB)
    blocked = (
        Blocked(BlockedBecause.HELD, 412, round(41.2 * GB), False, (held,)),
        Blocked(BlockedBecause.GIVEN_UP, 9, round(0.9 * GB), False, (given_up,)),
    )
    assert [words for _, words in rows_of_blocked(blocked, at)] == printed
