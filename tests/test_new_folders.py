"""A new folder is made sure of by whoever comes into it, until somebody has."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from node.new_folders import NewFolders


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which folders have been synced."""
    found: list[Path] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    return found


def test_the_name_of_a_new_folder_is_made_sure_of_once(tmp_path: Path, synced: list[Path]) -> None:
    folders, folder = NewFolders(), tmp_path / "one" / "new"
    folders.make(folder, parents=True)
    for _ in range(2):
        folders.make_sure_of(folder)
    assert synced == [folder.parent]


def test_what_could_not_be_made_sure_of_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    folders, folder = NewFolders(), tmp_path / "new"
    folders.make(folder)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        for _ in range(2):
            with pytest.raises(OSError, match="Input/output"):
                folders.make_sure_of(folder)
    folders.make_sure_of(folder)


def test_only_a_folder_that_may_not_last_is_removed_and_only_if_it_is_empty(tmp_path: Path) -> None:
    folders = NewFolders()
    lasting, new, used = (tmp_path / name for name in ("lasting", "new", "used"))
    for folder in (lasting, new, used):
        folders.make(folder)
    folders.make_sure_of(lasting)
    (used / "object").touch()
    for folder in (lasting, new, used):
        folders.remove(folder)
    assert sorted(tmp_path.iterdir()) == [lasting, used]


def test_what_was_there_before_is_nobodys_to_make_sure_of(
    tmp_path: Path, synced: list[Path]
) -> None:
    NewFolders().make_sure_of(tmp_path)
    assert synced == []
