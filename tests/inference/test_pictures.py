from pathlib import Path

import numpy as np
import pytest

from node.imaging.source import mark_of
from node.inference.pictures import Pictures
from node.study import Picture


def picture(shade: int) -> Picture:
    return Picture(np.full((10, 10), shade, np.uint8), 1.0)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths:
        path.write_bytes(b"image")
    return paths


def test_a_picture_is_given_out_once(files: list[Path]) -> None:
    pictures, (path, other, _) = Pictures(), files
    pictures.keep(path, mark_of(path), picture(1))
    assert pictures.has(path)
    assert not pictures.has(other)
    assert pictures.take(other) is None
    found = pictures.take(path)
    assert found is not None
    assert found.grey.max() == 1
    assert pictures.take(path) is None


def test_no_more_is_kept_than_there_is_room_for_and_the_first_goes_first(files: list[Path]) -> None:
    pictures = Pictures(most_bytes=200)
    for shade, path in enumerate(files):
        pictures.keep(path, mark_of(path), picture(shade))
    pictures.keep(files[2], mark_of(files[2]), picture(9))  # again: it has one place
    assert [pictures.has(path) for path in files] == [False, True, True]
    pictures.take(files[1])
    pictures.keep(files[0], mark_of(files[0]), picture(0))
    assert [pictures.has(path) for path in files] == [True, False, True]


def test_of_a_file_that_was_replaced_or_removed_there_is_no_picture(files: list[Path]) -> None:
    pictures, (replaced, removed, new) = Pictures(), files
    for path in (replaced, removed):
        pictures.keep(path, mark_of(path), picture(1))
    new.replace(replaced)
    removed.unlink()
    assert pictures.take(replaced) is None
    assert pictures.take(removed) is None
