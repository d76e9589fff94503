"""Which installation a store belongs to: it says so itself, in a file.

A ledger that does not know the objects of a store would leave waiting results unsent for ever, and
answer an exam that comes again with a second report. So a node starts only where the two agree.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from node.errors import ConfigError
from node.store import BELONGS, Store

_REMEDY = (
    "name the ledger that knows them in [node] database, or restore it from a backup. If it is "
    "lost for good: `ai-node check --deep --repair --new-ledger` (docs/operate.md)"
)


def owner_of(store: Store) -> str | None:
    """Return the installation that a store belongs to, None if it does not say.

    Raises OSError if that cannot be found out, ConfigError if it says nothing that we understand.
    """
    path = store.root / BELONGS
    try:
        found = json.loads(path.read_bytes())["installation"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str):
        raise ConfigError(
            f"{path} does not say which installation the store belongs to: it is damaged. Restore "
            "it from a backup; if this ledger is the right one for sure, remove it"
        )
    return found


def has_objects(store: Store) -> bool:
    """Whether there is at least one object, received or made."""
    for tree in ("received", "reports"):
        for folder in store.folders(tree):
            with contextlib.suppress(FileNotFoundError), os.scandir(store.path(folder)) as entries:
                if any(entries):
                    return True
    return False


def fault_of_belonging(store: Store, installation: str | None) -> str:
    """Return why a ledger must not be used with a store, "" if it may be.

    `installation`: whose ledger it is, None if no node has ever run on it.
    """
    owner = owner_of(store)
    is_former = owner is None and installation is not None  # as earlier releases left them
    if is_former or (owner is not None and owner == installation):
        return ""
    ours = "new" if installation is None else f"that of {installation}"
    whose = "objects" if owner is None else f"the objects of another installation ({owner})"
    if has_objects(store):
        return (
            f"store_dir {store.root} holds {whose}, and the ledger is {ours}: it knows nothing of "
            f"them, of results that wait, or of what was sent; {_REMEDY}"
        )
    if owner is None:
        return ""
    return (
        f"store_dir {store.root} belongs to another installation ({owner}), and the ledger is "
        f"{ours}. Each needs a folder of its own; if that one is gone for good, remove "
        f"{store.root / BELONGS}"
    )


def fault_of_emptiness(store: Store, names_files: Callable[[], bool]) -> str:
    """Return why a store is taken for one whose disk is not mounted, "" if it is not.

    `names_files`: whether the ledger says that files are there; asked only if nothing is, not even
    the file that says whose it is.
    """
    if owner_of(store) is not None or has_objects(store) or not names_files():
        return ""
    return (
        f"store_dir {store.root} is not that of this ledger: nothing is there, and the ledger "
        "names files in it. If its disk is not mounted, mount it; if it is lost, put a backup back "
        "(docs/operate.md), or say so: `ai-node check --deep --repair --store-is-lost`"
    )


def belong_to(store: Store, installation: str) -> None:
    """Let a store say whose it is, if it does not yet; raise ConfigError if it is another's.

    Several machines may do so at once, at their first start.
    """
    if owner_of(store) is None:
        _write(store, installation, is_first=True)
    if fault := fault_of_belonging(store, installation):
        raise ConfigError(f"[node] {fault}")


def adopt(store: Store, installation: str) -> None:
    """Let a store belong to an installation, whoever's it was.

    For whoever has made sure that its ledger knows every object there.
    """
    _write(store, installation, is_first=False)


def _write(store: Store, installation: str, *, is_first: bool) -> None:
    """Write whose it is, durably; as the first, only if nobody else has."""
    store.root.mkdir(parents=True, exist_ok=True)
    temporary = store.root / f".{BELONGS}.{uuid.uuid4().hex}"
    since = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    content = json.dumps({"installation": installation, "since": since}, indent=1)
    try:
        with temporary.open("w", encoding="ascii") as file:
            file.write(f"{content}\n")
            file.flush()
            os.fsync(file.fileno())
        _name(temporary, store, is_first=is_first)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(store.root, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _name(temporary: os.PathLike[str], store: Store, *, is_first: bool) -> None:
    target = store.root / BELONGS
    if is_first:
        try:
            os.link(temporary, target)  # unlike a rename it never takes another's place
        except FileExistsError:  # another machine was faster: whose it says, we shall read
            return
        except OSError:  # a file system without hard links
            if target.exists():
                return
        else:
            return
    os.replace(temporary, target)  # noqa: PTH105 - beside link
