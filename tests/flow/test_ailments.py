"""A node knows which of its parts are ill and since when, and says it once."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import pytest

from node.flow.ailments import Ailments, trouble_of_store
from node.ledger import Ill, OwnPart
from node.store import Store


def test_a_part_is_ill_from_when_it_was_first_seen_so_until_it_is_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = {"words": ""}
    ailments = Ailments({OwnPart.INFERENCE: lambda: said["words"], OwnPart.QUEUE: lambda: ""})
    assert ailments.look() == {}
    said["words"] = "no memory"
    before = time.time()
    first = ailments.look()[OwnPart.INFERENCE]
    assert before <= first.since <= time.time()
    said["words"] = "still no memory"
    assert ailments.look() == {OwnPart.INFERENCE: Ill(first.since, "still no memory")}
    with caplog.at_level(logging.INFO):
        caplog.clear()
        said["words"] = ""
        assert ailments.look() == {}
    assert [record.getMessage() for record in caplog.records] == ["The inference is well again"]


def test_a_part_that_stays_ill_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    ailments = Ailments({OwnPart.DISK: lambda: "full"})
    for _ in range(3):
        ailments.look()
    assert [record.getMessage() for record in caplog.records] == ["The disk is ill: full"]


def test_a_store_with_room_that_can_be_written_to_is_well(store: Store) -> None:
    assert trouble_of_store(store, 0) == ""
    assert list(store.incoming.iterdir()) == []


def test_a_store_with_less_room_than_is_wanted_is_in_trouble(store: Store) -> None:
    words = trouble_of_store(store, 1 << 60)
    assert re.fullmatch(rf"{store.root}: \d+ MB free, less than min_free_mb = {1 << 40}", words)
    assert re.fullmatch(
        rf"{store.root}: [\d.]+ % of the disk in use, refuse_from_percent = 0.001 reached",
        trouble_of_store(store, 0, 0.001),
    )
    assert trouble_of_store(store, 0, 99.99) == ""


def test_a_store_that_is_not_there_is_in_trouble(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    words = f"{gone} cannot be written to (No such file or directory); is its disk mounted?"
    assert trouble_of_store(Store(gone), 0) == words


def test_a_store_whose_folder_is_a_file_is_in_trouble(store: Store) -> None:
    store.incoming.rmdir()
    store.incoming.touch()
    assert "cannot be written to (File exists)" in trouble_of_store(store, 0)
