"""What is kept of images that were looked at, whatever happens to its files or to the disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from node.errors import ConfigError
from node.training.kept_arrays import DONE, KeptArrays, open_arrays

SHAPES = {"early": (6, 2, 3), "late": (6, 5)}


def opened(folder: Path) -> KeptArrays:
    return open_arrays(folder, SHAPES, np.float16, "the features need", "name another folder")


def filled(folder: Path) -> None:
    for array in opened(folder).arrays:
        array[:] = 1
        array.flush()
    (folder / DONE).write_text("6")


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    begun = opened(tmp_path)
    assert ([one.shape for one in begun.arrays], begun.done) == ([*SHAPES.values()], 0)
    assert not any(one.any() for one in begun.arrays)
    filled(tmp_path)
    again = opened(tmp_path)
    assert again.done == 6
    assert all((one == 1).all() for one in again.arrays)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("is_cut", [False, True])
def test_where_an_array_is_gone_no_row_is_taken_for_seen(
    name: str, is_cut: bool, tmp_path: Path
) -> None:
    filled(tmp_path)
    if is_cut:
        os.truncate(tmp_path / name, 8)
    else:
        (tmp_path / name).unlink()

    assert opened(tmp_path).done == 0
    assert opened(tmp_path).done == 0, "nor after a stop before the first row"


def test_new_arrays_have_their_room_on_the_disk(tmp_path: Path) -> None:
    open_arrays(tmp_path, {"large": (1 << 20,)}, np.float32, "it needs", "name another folder")

    assert (tmp_path / "large").stat().st_blocks * 512 >= 4 << 20


def test_a_disk_without_room_is_told_before_anything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2 * 10**9))
    large = {"large": (10**9,)}

    words = f"{tmp_path}: it needs 4.0 GB and 2.0 GB are free; name another folder"
    with pytest.raises(ConfigError, match=words):
        open_arrays(tmp_path, large, np.float32, "it needs", "name another folder")


def test_a_disk_that_gives_no_room_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    filled(tmp_path)
    (tmp_path / "late").unlink()
    monkeypatch.setattr(os, "posix_fallocate", full)

    with pytest.raises(ConfigError, match=r"the features need 0\.0 GB .* \(Disk quota exceeded\)"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["early"]
