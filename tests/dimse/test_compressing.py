"""Captures are compressed ahead, each once, and whatever was not sent leaves nothing behind."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest
from outputs.drafts import draft

from node.dimse.compressing import CompressedAhead, ToCompress
from node.dimse.lossless import write_compressed
from node.outputs import capture
from node.outputs.report_set import to_bytes


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> list[ToCompress]:
    folder = tmp_path_factory.mktemp("captures")
    found = []
    for number, one in enumerate(capture.build(draft())):
        path = folder / f"{number}.dcm"
        path.write_bytes(to_bytes(one))
        found.append(ToCompress(path, str(one.SOPInstanceUID), "jpeg-ls"))
    return found


def compressed(capture: ToCompress) -> bytes:
    target = BytesIO()
    write_compressed(capture.path, capture.way, target)
    return target.getvalue()


def nameless_files() -> int:
    links = Path("/proc/self/fd").iterdir()
    return sum("(deleted)" in str(link.readlink()) for link in links if link.is_symlink())


def test_each_capture_comes_as_it_is_compressed_alone(captures: list[ToCompress]) -> None:
    before = nameless_files()
    ahead = CompressedAhead(captures)
    for one in captures:
        with ExitStack() as stack:
            path = ahead.compressed(one.path, stack)
            assert path is not None
            assert path.read_bytes() == compressed(one)
    ahead.close()
    assert nameless_files() == before


def test_one_may_be_passed_over_and_what_nobody_asked_for_is_let_go(
    captures: list[ToCompress],
) -> None:
    before = nameless_files()
    ahead = CompressedAhead(captures)
    last = captures[-1]
    with ExitStack() as stack:
        path = ahead.compressed(last.path, stack)
        assert path is not None
        assert path.read_bytes() == compressed(last)
    ahead.close()
    assert nameless_files() == before


def test_what_goes_as_it_is_has_no_compressed_file(captures: list[ToCompress]) -> None:
    ahead = CompressedAhead(captures[:1])
    with ExitStack() as stack:
        assert ahead.has(captures[0].path)
        assert not ahead.has(captures[1].path)
        assert ahead.compressed(captures[1].path, stack) is None
    ahead.close()


def test_one_that_is_asked_for_twice_goes_as_it_is(captures: list[ToCompress]) -> None:
    ahead = CompressedAhead(captures[:1])
    with ExitStack() as stack:
        assert ahead.compressed(captures[0].path, stack) is not None
        assert ahead.compressed(captures[0].path, stack) is None
    ahead.close()


def test_without_room_for_them_captures_go_as_they_are(
    captures: list[ToCompress],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "is not there"))
    ahead = CompressedAhead(captures[:1])
    with ExitStack() as stack:
        assert ahead.compressed(captures[0].path, stack) is None
    ahead.close()
    assert "is sent as it is, not compressed" in caplog.text
