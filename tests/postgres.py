"""A PostgreSQL server of the tests' own, and databases on it for the asking."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import psycopg
import pytest
from ports import free_port

from node.ledger import Ledger

DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.interop))
NewDatabase = Callable[[Path], str]
"""Makes a database, in a folder if it is a file, and returns its address."""

USER = "postgres"
QUICK = ("fsync=off", "full_page_writes=off")
"""For tests that do not ask what is left after a power cut."""
_SETTINGS = ("unix_socket_directories=", "listen_addresses=127.0.0.1", "max_connections=200")
_DEBIAN = "/usr/lib/postgresql"


class PostgreSQL:
    """A server on a free port of loopback, with a password; gone with its folder."""

    def __init__(self, settings: Sequence[str] = QUICK) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self._numbers = count(1)
        self._template = ""
        # Not below pytest's folder: the server runs as another user, who may not look into it.
        self._folder = Path(tempfile.mkdtemp(prefix="ai-node-postgresql-"))
        password = self._folder / "password"
        password.write_text(self.password, "ascii")
        if os.getuid() == 0:
            for path in (self._folder, password):
                shutil.chown(path, "postgres", "postgres")
        who = ("--username", USER, "--auth", "scram-sha-256", "--pwfile", str(password))
        self._run("initdb", *who, "--encoding", "UTF8", "--no-locale", "--no-sync")
        options = " ".join(f"-c {one}" for one in (*_SETTINGS, *settings, f"port={self.port}"))
        self._start = ("--log", str(self._folder / "log"), "--options", options, "start")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run("pg_ctl", "--wait", *self._start)

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is as if it had been killed."""
        self._run("pg_ctl", "--mode", mode, "stop")

    def close(self) -> None:
        """Stop it and leave nothing."""
        if (self._folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder)

    def url(self, database: str) -> str:
        """Return the address of a database as node.toml has it."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self, *, is_empty: bool = False) -> str:
        """Make a database that holds the ledger's tables, or nothing; return its address."""
        template = "template1"
        if not is_empty:
            template = self._template = self._template or self._migrated()
        return self._create(template)

    def _migrated(self) -> str:
        url = self._create("template1")
        ledger = Ledger(url)
        ledger.migrate()
        ledger.close()
        return url.rpartition("/")[2]

    def _create(self, template: str) -> str:
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        # It refuses to run as root.
        as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
        command = [_find(program), "--pgdata", str(self._folder / "data"), *arguments]
        subprocess.run(
            [*as_user, *command] if os.getuid() == 0 else command,
            check=True,
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,  # not a pipe: the server would hold it open
            timeout=120,
        )


def is_installed() -> bool:
    """Return whether a server can be started, for who can do without."""
    return _newest("initdb") is not None


def _find(program: str) -> str:
    """Return the newest of a program, or fail."""
    found = _newest(program)
    if found is None:
        pytest.fail(f"{program} is not installed: apt-get install postgresql", pytrace=False)
    return found


def _newest(program: str) -> str | None:
    """Return the newest of a program, which Debian does not put on the PATH."""
    installed = sorted(Path(_DEBIAN).glob(f"*/bin/{program}"), key=_version)
    return str(installed[-1]) if installed else shutil.which(program)


def _version(path: Path) -> float:
    return float(path.relative_to(_DEBIAN).parts[0])
