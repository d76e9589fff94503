"""Checks of the destinations that are no peers: whether a folder takes what the node would put in.

What is written for trial has a hidden name, and is removed at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.config import Config, FolderSettings
from node.doctor.machine import durable_write_ms, may_be_read_by_all, mount_of, unwritable
from node.doctor.verdict import Verdict, failed, ok, warning


def check_destinations(config: Config) -> Iterator[Verdict]:
    """Look at each folder that results are put into, and write into it as the node does."""
    for folder in config.folders:
        yield from _check_folder(folder)


def _check_folder(folder: FolderSettings) -> Iterator[Verdict]:
    what, path = f"folder {folder.name}", folder.path
    if not path.is_dir():
        words = f"{path} is {'a file' if path.exists() else 'not there'}"
        remedy = (
            "If it is a network share, mount it; else make it. The node does not, so that nothing "
            "is put where a share should be."
        )
        yield failed(what, words, remedy)
        return
    try:
        took_ms = durable_write_ms(path)
    except OSError as error:
        yield unwritable(what, path, error)
        return
    kinds = " and ".join(folder.kinds)
    words = f"{path} ({mount_of(path).kind}) takes {kinds}; a file is safe in {took_ms:.0f} ms"
    yield ok(what, words)
    if may_be_read_by_all(path):
        words = f"{path} can be read by every user of this machine: results say who people are"
        yield warning(what, words, f"Close it to others: chmod -R o= {path}")
