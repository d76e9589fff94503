"""Checks of the machine: folders, disks, clock, and the port."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shutil
import socket
import stat
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node.config import Config
from node.dimse import Address, Rejected, addresses, echo
from node.doctor.verdict import Verdict, failed, ok, warning
from node.errors import DeliveryError
from node.site import local_zone
from node.store import Store

_WRITES = 5
_SLOW_MS = 200
"""An object that takes so long to be safe on disk holds its sender up."""
_CONTENT = bytes(1 << 16)
_RESERVE = 4
"""With less free space than so many times what the node insists on, it will soon be full."""
_IN_MEMORY = ("tmpfs", "ramfs")
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs")


# Folders


def check_folders(config: Config) -> Iterator[Verdict]:
    """Write into each folder as the node does, and time it."""
    node = config.node
    for key, folder in {"state_dir": node.state_dir, "store_dir": config.store_dir}.items():
        there, *_ = (path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            yield failed(key, f"{there} is a file", "Name a folder, or one that can be made.")
            continue
        try:
            took_ms = durable_write_ms(folder)
        except OSError as error:
            yield unwritable(key, folder, error)
            continue
        yield _verdict_on_folder(key, folder, took_ms)
        yield from _doubts_about_owner(key, folder)
        yield from _doubts_about_readers(key, folder)
    yield from _doubts_about_store(config.store_dir)


def durable_write_ms(folder: Path) -> float:
    """Return how long an object takes to be safe in a folder, as the store does it."""
    with tempfile.TemporaryDirectory(prefix=".ai-node-doctor-", dir=nearest(folder)) as trial:
        store = Store(Path(trial))
        store.prepare()
        times = []
        for number in range(_WRITES):
            started = time.monotonic()
            store.write_report(_CONTENT, "1.2", f"1.2.{number}")
            times.append(time.monotonic() - started)
    return statistics.median(times) * 1000


def _verdict_on_folder(key: str, folder: Path, took_ms: float) -> Verdict:
    mount = mount_of(nearest(folder))
    words = f"{folder}: {_user()} can write, safe on disk ({mount.kind}) in {took_ms:.0f} ms"
    if not folder.exists():
        words += "; it will be made at the first start"
    if mount.kind in _IN_MEMORY:
        return warning(key, f"{words}, which is memory", "Choose a folder on a disk: this is lost.")
    if key == "state_dir" and mount.kind in _NETWORK:
        remedy = "Choose a folder on a local disk; only store_dir may be shared."
        return failed(key, f"{words}, over the network", remedy)
    if mount.kind in _NETWORK and "soft" in mount.options:
        return failed(key, f"{words}, mounted soft", "Mount it hard: docs/several-machines.md, 2.")
    if took_ms > _SLOW_MS:
        remedy = "Use a faster disk: every object received waits for this."
        return warning(key, f"{words}, which is slow", remedy)
    return ok(key, words)


def unwritable(what: str, folder: Path, error: OSError) -> Verdict:
    """Return that a folder cannot be written to, and the command that gives it to who runs this."""
    user = _user()
    words = f"{folder} cannot be written to by {user} ({error.strerror})"
    if os.geteuid() == 0:
        return failed(what, words, "Choose a folder on a disk that can be written to.")
    give = f"chown -R {user}" if folder.is_dir() else f"install -d -o {user}"
    remedy = f"If the node runs as {user}: sudo {give} {folder}"
    there = nearest(folder)
    owner = _name_of(there.stat().st_uid)
    if owner not in ("root", user):
        remedy += f". If it runs as {owner}, to whom {there} belongs: sudo -u {owner} ai-node ..."
    return failed(what, words, f"{remedy}. Else run this as the user it runs as.")


def _doubts_about_owner(key: str, folder: Path) -> Iterator[Verdict]:
    owner = nearest(folder).stat().st_uid
    if folder.exists() and owner != os.geteuid():
        name = _name_of(owner)
        words = f"{folder} belongs to {name}, and this is run by {_user()}"
        yield warning(key, words, f"Run it as the node does: sudo -u {name} ai-node doctor ...")


def _doubts_about_readers(key: str, folder: Path) -> Iterator[Verdict]:
    if folder.exists() and may_be_read_by_all(folder):
        words = f"{folder} can be read by every user of this machine: it says who people are"
        yield warning(key, words, f"Close it to others: chmod -R o= {folder}")


def may_be_read_by_all(folder: Path) -> bool:
    """Say whether a user with no right of its own may look into a folder."""
    path = folder.resolve()
    can_be_reached = all(above.stat().st_mode & stat.S_IXOTH for above in path.parents)
    return can_be_reached and bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH))


def _doubts_about_store(store_dir: Path) -> Iterator[Verdict]:
    names = ("incoming", "received", "reports", "unreadable", "contradicting")
    parts = [store_dir / name for name in names]
    if len({part.stat().st_dev for part in parts if part.exists()}) > 1:
        words = f"the folders in {store_dir} lie on different disks: objects cannot be renamed"
        yield failed("store_dir", words, "Mount one disk at store_dir, and none inside it.")


def nearest(folder: Path) -> Path:
    """Return a folder, or while it is not there the nearest one above it that is."""
    return folder if folder.is_dir() else nearest(folder.parent)


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a folder lies."""

    kind: str
    """The file system: ext4, xfs, nfs4, tmpfs; "unknown" where Linux does not say."""
    options: tuple[str, ...] = ()


def mount_of(folder: Path, table: Path = Path("/proc/self/mountinfo")) -> Mount:
    """Return the mount that a folder lies on, by the table of mounts (proc(5))."""
    found, longest = Mount("unknown"), -1
    for line in table.read_text("utf-8", "replace").splitlines() if table.exists() else ():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        kind, _, options = after.split()[:3]
        if folder.resolve().is_relative_to(point) and len(point.parts) >= longest:
            found, longest = Mount(kind, tuple(options.split(","))), len(point.parts)
    return found


def _user() -> str:
    return _name_of(os.geteuid())


def _name_of(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return f"user {user_id}"


# Disk


def check_disk(config: Config) -> Iterator[Verdict]:
    """Compare the free space with what the node insists on."""
    least = config.node.least_free
    for key, folder in {"store_dir": config.store_dir, "state_dir": config.node.state_dir}.items():
        free = shutil.disk_usage(nearest(folder)).free
        words = f"{free / 1e9:.1f} GB free for {key}; below {least / 1e9:.1f} GB images are refused"
        if free < least:
            yield failed("disk", words, "Make room or use a larger disk; or lower min_free_mb.")
        elif free < _RESERVE * least:
            yield warning("disk", words, "Make room, or use a larger disk.")
        else:
            yield ok("disk", words)


# Clock


def check_clock(config: Config) -> Iterator[Verdict]:
    """Say what the time is where, for a person to compare."""
    zone = local_zone(config)
    now = datetime.now(zone)
    where = "[node] timezone" if config.node.timezone else "of this machine"
    words = f"{now:%Y-%m-%d %H:%M:%S} {zone} ({where})"
    if config.node.timezone is None and str(zone) in ("UTC", "Etc/UTC"):
        remedy = (
            'If the clocks on your walls differ, set [node] timezone, such as "Europe/Berlin"; '
            'if they show this, set it to "UTC".'
        )
        yield warning("clock", words, remedy)
    else:
        yield ok("clock", words)


# Port


def check_port(config: Config) -> Iterator[Verdict]:
    """See whether the port is free, or taken by the node itself."""
    host, port = config.listener.host, config.listener.port
    where = addresses.place(host, port)
    try:
        _listen(host, port)
    except OSError as error:
        yield _verdict_on_port(config, where, error)
    else:
        yield ok("port", f"{where} is free")


def _listen(host: str, port: int) -> None:
    address = addresses.to_listen_on(host, port)
    with socket.socket(socket.AF_INET if len(address) == 2 else socket.AF_INET6) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        addresses.take_both_families(probe)
        probe.bind(address)


def _verdict_on_port(config: Config, where: str, error: OSError) -> Verdict:
    if error.errno not in (errno.EADDRINUSE, errno.EACCES):
        remedy = "Give [listener] host an address of this machine, or 0.0.0.0 for all of them."
        return failed("port", f"cannot listen on {where} ({error.strerror})", remedy)
    runs = is_running(config.node.state_dir)
    if runs is None:
        words = f"{_user()} may not see whether it is the node that has {where}"
        remedy = "Run this as the user the node runs as: sudo -u ai-node ai-node doctor ..."
        return warning("port", words, remedy)
    if runs:
        return _verdict_on_running(config, where)
    # Below 1024 an ordinary user hears EACCES, whoever has the port.
    if error.errno == errno.EADDRINUSE or _is_answered(config):
        find = f"`sudo ss -ltnp 'sport = :{config.listener.port}'` names it"
        remedy = f"{find}. Stop it, or change [listener] port."
        return failed("port", f"{where} is taken by another program", remedy)
    remedy = (
        "See that its unit may: the lines on ports below 1024 in systemd/ai-node.service. "
        "Or use a port from 1024 on."
    )
    return warning("port", f"{_user()} may not try {where}: whether the node may is open", remedy)


def _is_answered(config: Config) -> bool:
    try:
        here = addresses.near(config.listener.host), config.listener.port
        with socket.create_connection(here, timeout=2):
            return True
    except OSError:
        return False


def _verdict_on_running(config: Config, where: str) -> Verdict:
    here = addresses.near(config.listener.host)
    node = Address(config.node.ae_title, here, config.listener.port, timeout_s=10)
    try:
        answer = _answer_of(node)
    except DeliveryError as error:
        remedy = "Look into its log and start it again: journalctl -u ai-node; systemctl restart."
        return failed("port", f"the node is running, but {error}", remedy)
    return ok("port", f"the node is running and {answer} on {where}")


def _answer_of(node: Address) -> str:
    """Call the running node. That it does not know us is an answer, too."""
    try:
        echo(node, node.ae_title)
    except Rejected:
        return "answers (it does not let us in, and should not)"
    return "answers C-ECHO"


def is_running(state_dir: Path) -> bool | None:
    """Say whether a node has the lock of a state folder; None if we may not look."""
    try:
        with (state_dir / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except PermissionError:
        return None
    except OSError:
        return False
    return False
