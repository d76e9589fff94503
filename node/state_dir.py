"""The state folder of a process: whose it is, and that nobody else has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from node.errors import ConfigError


@contextlib.contextmanager
def kept_from_others() -> Iterator[None]:
    """Let nobody but our user and group read what this process creates meanwhile.

    Ledger and objects say who people are. The umask it was started with stays where it is stricter.
    """
    before = os.umask(0o077)
    os.umask(before | 0o027)
    try:
        yield
    finally:
        os.umask(before)


def lock_state_dir(state_dir: Path, name: str = "lock") -> IO[str]:
    """Keep a second process away from the same state; the lock goes with the process.

    Of another name: away from those alone that take that one.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = (state_dir / name).open("w")
    except OSError as error:
        raise ConfigError(
            f"state_dir {state_dir} cannot be written ({error.strerror}); "
            "create it and give it to the user the node runs as"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigError(
            f"another ai-node is running on state_dir {state_dir}; stop it, or use another folder"
        ) from None
    return lock


def place_of(state_dir: Path, name: str = "place") -> str:
    """Return what tells people, and then other nodes, whose state folder this is.

    Of another name: what else there is of ours in that folder.
    """
    path = state_dir / name
    if not path.exists():
        temporary = path.with_name(f"{name}.part")
        temporary.write_text(str(uuid.uuid4()), "ascii")
        temporary.replace(path)
    return f"{socket.gethostname()}:{state_dir} {path.read_text('ascii').strip()}"
