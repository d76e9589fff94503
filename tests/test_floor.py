"""The floor of receiving makes the syncs that the node makes, and shares them as it does."""

from __future__ import annotations

import threading
from pathlib import Path

from engines import until

from benchmarks.floor import Loop, take


def test_each_object_is_in_a_file_of_its_own(tmp_path: Path) -> None:
    contents = [bytes([number]) * 1000 for number in range(20)]
    for name, only_file in (("all", False), ("one", True)):
        assert take(tmp_path / name, contents, 4, only_file=only_file) > 0
        written = {path.read_bytes() for path in (tmp_path / name / "received").iterdir()}
        assert written == set(contents)


def test_objects_that_wait_at_the_same_moment_share_the_syncs_of_folder_and_log(
    tmp_path: Path,
) -> None:
    (tmp_path / "received").mkdir()
    loop = Loop(tmp_path, tmp_path / "received", only_file=False)
    threads = [threading.Thread(target=loop.keep, args=(number, b"1")) for number in range(4)]
    with loop.has_one_writer:
        for one in threads:
            one.start()
        assert until(lambda: len(loop.waiting) == len(threads))
    for one in threads:
        one.join()
    assert loop.shared_syncs == 1
    loop.keep(5, b"1")
    assert loop.shared_syncs == 2
    loop.close()
