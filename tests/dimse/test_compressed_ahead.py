"""Captures are compressed while those before them are sent, and nothing of it is left."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest
from outputs.drafts import draft

from node.dimse import compressed_ahead
from node.dimse.compressed_ahead import CompressedAhead
from node.dimse.lossless import LosslessName, write_compressed
from node.errors import Unreadable
from node.outputs import capture
from node.outputs.report_set import to_bytes


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("captures")
    paths = []
    for number, one in enumerate(capture.build(draft())):
        paths.append(folder / f"{number}.dcm")
        paths[-1].write_bytes(to_bytes(one))
    assert len(paths) > 2
    return paths


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[Path, threading.Event]]:
    """The captures that are begun with, each once its event is set."""
    begun: dict[Path, threading.Event] = {}

    def write(path: Path, name: LosslessName, target: BinaryIO) -> None:
        begun.setdefault(path, threading.Event()).set()
        write_compressed(path, name, target)

    monkeypatch.setattr(compressed_ahead, "write_compressed", write)
    yield begun


def jpeg_ls(paths: list[Path]) -> CompressedAhead:
    return CompressedAhead([(path, "jpeg-ls") for path in paths])


def test_each_is_what_it_is_compressed_alone(captures: list[Path]) -> None:
    with jpeg_ls(captures) as compressed:
        for path in captures:
            assert path in compressed
            alone = BytesIO()
            write_compressed(path, "jpeg-ls", alone)
            with compressed.take(path) as file:
                file.seek(0)
                assert file.read() == alone.getvalue()
    assert Path("another") not in compressed


def test_the_next_is_begun_with_while_one_is_sent_and_not_all_at_once(
    captures: list[Path], begun: dict[Path, threading.Event]
) -> None:
    first, second, third, *_, last = captures
    for path in (second, third):
        begun[path] = threading.Event()
    with jpeg_ls(captures) as compressed, compressed.take(first):
        for path in (second, third):
            assert begun[path].wait(20)
        assert last not in begun


def test_those_that_were_passed_over_are_not_waited_for(captures: list[Path]) -> None:
    with jpeg_ls(captures) as compressed, compressed.take(captures[-1]) as file:
        assert file.tell()


def test_one_that_cannot_be_compressed_is_told_and_the_next_is(
    captures: list[Path], tmp_path: Path
) -> None:
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(b"no DICOM")
    with jpeg_ls([odd, captures[0]]) as compressed:
        with pytest.raises(Unreadable):
            compressed.take(odd)
        compressed.take(captures[0]).close()


def test_of_what_was_not_sent_no_file_stays_open(captures: list[Path]) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no path in it need be there
    with pytest.raises(ZeroDivisionError), jpeg_ls(captures) as compressed:
        compressed.take(captures[0]).close()
        raise ZeroDivisionError
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
