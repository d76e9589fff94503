"""A node that kills itself with SIGKILL just before, inside or just after one named call.

`POINTS` is the whole table. A process that imported the node once is forked for every start,
as systemd would start it anew but without the seconds that imports take.
"""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

from .programs import Node

_LEDGER = "node.ledger:"

OBJECTS = 4
"""Of a study that is sent."""

ALL_WAIT_WITHIN_S = 20

When = Literal["before", "inside", "after"]

ARCHIVE = "the archive"
"""The target of a point where the archive kills: it holds an object and has not said so."""


@dataclass(frozen=True, slots=True)
class Point:
    """One instant at which a node dies."""

    step: str
    name: str
    when: When
    """inside: after the last statement of the call's transaction, before COMMIT."""
    target: str
    """module:attribute, as the node itself looks it up."""
    nth: int = 1
    within: str = ""
    """A call on the same thread that names the study, where the target itself does not."""
    is_of_study: bool = True
    """Counts only calls that concern the study that was sent for this point."""
    goes_on: bool = False
    """Dies a second time, with the study of the point before."""
    is_at_stop: bool = False
    """The node is told to stop once it has acknowledged the study."""
    comes_at_once: bool = False
    """All objects of the study come at once, over an association each, and share a commit."""

    @property
    def is_write(self) -> bool:
        """Whether the call is a transaction."""
        return self.target.startswith(_LEDGER)

    @property
    def words(self) -> str:
        """The point as a row of the table."""
        return f"{self.when} {self.name}"


def _write(step: str, name: str, target: str, **more: Any) -> list[Point]:
    """Return the three instants around one transaction."""
    whens: tuple[When, ...] = ("before", "inside", "after")
    return [Point(step, name, when, target, **more) for when in whens]


def _call(step: str, name: str, target: str, **more: Any) -> list[Point]:
    """Return the two instants around anything else."""
    whens: tuple[When, ...] = ("before", "after")
    return [Point(step, name, when, target, **more) for when in whens]


_PLACE = "node.store:Store.place"
_MAKE_SURE = "node.store:Store.make_sure_of"
_WRITE = "node.store:Store.write_report"
_PROCESS = "node.flow.workflow:Workflow.process"
_LAUNCH = "node.flow.engine:DBOS.launch"
_DELIVER = "node.flow.workflow:Workflow.deliver"
_ASK = "pynetdicom.association:Association.send_n_action"
_AT_STOP: dict[str, Any] = {"is_of_study": False, "is_at_stop": True}
_AT_ONCE: dict[str, Any] = {"comes_at_once": True}
_STORE = "pynetdicom.association:Association.send_c_store"

POINTS: tuple[Point, ...] = (
    *_write("start", "the ledger's tables are made", _LEDGER + "Ledger.migrate", is_of_study=False),
    *_call("start", "the queue's tables are made", _LAUNCH, is_of_study=False),
    *_write("start", "the process is entered", _LEDGER + "Nodes.register_node", is_of_study=False),
    # 1
    *_call(
        "receive",
        "the next part of an object is written",
        "node.receive.arriving:Arriving.take",
        is_of_study=False,
        nth=2,
    ),
    Point(
        "receive",
        "the object's bytes are fsynced",
        "before",
        "node.store:fsync_path",
        within=_PLACE,
    ),
    *_call("receive", "it is renamed", "pathlib:Path.replace", within=_PLACE),
    Point("receive", "its folder is fsynced", "after", _MAKE_SURE),
    *_write(
        "receive",
        "the association's row",
        _LEDGER + "Receiving.open_association",
        is_of_study=False,
    ),
    *_write("receive", "the third object's row", _LEDGER + "Receiving.record_instance", nth=3),
    Point("receive", "the folder of all four is fsynced", "before", _MAKE_SURE, **_AT_ONCE),
    *_write("receive", "the rows of all four", _LEDGER + "Receiving.record_together", **_AT_ONCE),
    *_call("receive", "Success is sent", "pynetdicom.transport:AssociationSocket.send"),
    *_write(
        "receive",
        "the association is closed",
        _LEDGER + "Receiving.close_association",
        is_of_study=False,
    ),
    # 2
    *_write("settle", "the version is closed and enqueued", _LEDGER + "Settling.close_version"),
    # 3 to 6
    *_write("analyse", "the study is taken", _LEDGER + "Processing.begin_version"),
    *_write("recover", "its work is queued anew", _LEDGER + "Sweeping.revive", goes_on=True),
    *_write("analyse", "the second image's score", _LEDGER + "KeptScores.record_score", nth=2),
    *_call("analyse", "the objects are built", "node.analysis.pipeline:build_report_set"),
    Point("analyse", "the third object is on disk", "before", _WRITE, nth=3),
    Point(
        "analyse", "its bytes are fsynced", "before", "node.store:fsync_path", nth=3, within=_WRITE
    ),
    *_call("analyse", "it is renamed", "pathlib:Path.replace", nth=3, within=_WRITE),
    Point("analyse", "the last object is on disk", "after", _WRITE, nth=6),
    # 7
    *_write("finish", "results, reports, deliveries", _LEDGER + "Processing.finish_version"),
    # 8
    *_write("deliver", "the delivery is taken", _LEDGER + "Delivering.begin_dispatch"),
    *_write("recover", "its delivery is queued anew", _LEDGER + "Sweeping.revive", goes_on=True),
    *_call("deliver", "the first object is sent", _STORE, within=_DELIVER),
    Point("deliver", "the archive says that it has the second", "before", ARCHIVE, nth=2),
    Point("deliver", "the fifth object is sent", "after", _STORE, nth=5, within=_DELIVER),
    Point("deliver", "the last object is sent", "after", _STORE, nth=6, within=_DELIVER),
    *_write("deliver", "what the archive said", _LEDGER + "Delivering.record_sent"),
    *_write("confirm", "the transaction of the request", _LEDGER + "Delivering.ask_commitment"),
    *_call("confirm", "the request is sent", _ASK, within=_DELIVER),
    *_write("confirm", "the end of the attempt", _LEDGER + "Delivering.finish_dispatch"),
    *_write(
        "confirm",
        "the archive's report",
        _LEDGER + "Delivering.record_commitment",
        is_of_study=False,
    ),
    #
    Point("stop", "the queue lets go", "before", "node.flow.engine:Engine.stop", **_AT_STOP),
    *_write("stop", "its work is released", _LEDGER + "Nodes.retire_node", **_AT_STOP),
)


@dataclass(frozen=True, slots=True)
class Fate:
    """When a process is to die: at a point, and at which studies."""

    point: Point
    marks: tuple[str, ...]
    """UIDs, of which the arguments of a call name one if the call counts."""
    is_lasting: bool = False
    """Every start dies there; the study is fatal."""


class _Killer:
    """Wraps the calls that a fate names, in this process."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._seen = 0
        self._lock = threading.Lock()
        self._here = threading.local()
        """is_named: a call that names the study is under way; is_open: so is the target."""

    def arm(self) -> None:
        point = self._fate.point
        if point.within:
            _wrap(point.within, self._naming)
        if point.comes_at_once:
            _wrap("node.receive.together:Together._lead", self._once_all_wait)
        _wrap(point.target, self._target)
        if point.when == "inside":
            from sqlalchemy import Engine, event

            event.listen(Engine, "commit", self._on_commit)

    def _naming(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._here.is_named = self._names_the_study(args)
            try:
                return call(*args, **kwargs)
            finally:
                self._here.is_named = False

        return wrapped

    def _once_all_wait(self, lead: Callable[[Any], None]) -> Callable[[Any], None]:
        @wraps(lead)
        def wrapped(together: Any) -> None:
            if self._names_the_study([one.instance for one in together._waiting]):
                give_up_at = time.monotonic() + ALL_WAIT_WITHIN_S  # one may not have been let in
                while len(together._waiting) < OBJECTS and time.monotonic() < give_up_at:
                    time.sleep(0.01)
            lead(together)

        return wrapped

    def _target(self, call: Callable[..., Any]) -> Callable[..., Any]:
        point = self._fate.point

        @wraps(call)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            is_it = self._counts(args)
            if is_it and point.when == "before":
                self._die()
            self._here.is_open = is_it
            try:
                result = call(*args, **kwargs)
            finally:
                self._here.is_open = False
            if is_it and point.when == "after":
                self._die()
            return result

        return wrapped

    def _counts(self, args: Sequence[Any]) -> bool:
        point = self._fate.point
        is_named = getattr(self._here, "is_named", False)
        if point.within and not is_named:
            return False
        if point.is_of_study and not (is_named or self._names_the_study(args)):
            return False
        with self._lock:
            self._seen += 1
            return self._seen == point.nth or self._fate.is_lasting

    def _names_the_study(self, args: Sequence[Any]) -> bool:
        text = repr(args)
        return any(mark in text for mark in self._fate.marks)

    def _on_commit(self, _: object) -> None:
        if getattr(self._here, "is_open", False):
            self._die()

    def _die(self) -> None:
        os.write(2, f"{killed_words(self._fate.point)}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def let_die(fate: Fate) -> None:
    """Let this process die as a fate says."""
    _Killer(fate).arm()


def killed_words(point: Point) -> str:
    """Return what a process says when it has reached its point."""
    return f"Killed {point.words}"


def _wrap(target: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for one in owners:
        owner = getattr(owner, one)
    setattr(owner, name, wrapper(getattr(owner, name)))


def _run(arguments: Sequence[str], folder: str, log: str, fate: Fate | None) -> None:
    """Be `ai-node` with these arguments, in a fresh process."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    if fate is not None and fate.point.target != ARCHIVE:
        let_die(fate)
    from node import cli

    sys.argv = ["ai-node", *arguments]
    os.chdir(folder)
    cli.main()


starter = multiprocessing.get_context("forkserver")
starter.set_forkserver_preload(["node.cli", "node.app", __name__])
"""Forks a process that has imported the node, for each that is to be killed."""


def run_mortal(arguments: Sequence[str], folder: Path, log: Path, fate: Fate | None = None) -> int:
    """Run a command that may die at a point; return its exit status, below 0 if it was killed."""
    process = starter.Process(target=_run, args=(arguments, str(folder), str(log), fate))
    process.start()
    process.join(240)
    assert process.exitcode is not None, "it has not ended"
    return process.exitcode


class _Forked:
    """What is needed of subprocess.Popen."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("ai-node run", timeout or 0)
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self._process.kill()


class MortalNode(Node):
    """A node that may be told, at its start, when to die."""

    def launch(self, fate: Fate | None = None) -> None:
        """Start it; does not wait."""
        self.log.touch()
        self._log_from = self.log.stat().st_size
        arguments = ["run", "--config", str(self.config)]
        how = (arguments, str(self.config.parent), str(self.log), fate)
        process = starter.Process(target=_run, args=how)
        process.start()
        self._process = _Forked(process)

    def has_ended(self) -> bool:
        """Say whether it does not run (any more)."""
        return self._process is None or self._process.poll() is not None

    @property
    def listens(self) -> bool:
        """Whether it has said so since its start."""
        return f"Listening on 127.0.0.1:{self.port}" in self.says()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal; it may have ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def bury(self) -> int:
        """Forget a process that has ended, and return its exit status."""
        process, self._process = self._process, None
        assert process is not None
        return process.wait(10)


def _do_and_die(
    url: str, part: Callable[[Any], Any], name: str, args: tuple[Any, ...], nth: int
) -> None:
    """Call a method of a part of the ledger, and die before the nth thing it writes, or COMMIT."""
    import sqlalchemy as sa

    from node.ledger import Ledger

    seen = 0

    def count(*said: Any) -> None:
        nonlocal seen
        statement = said[2] if len(said) > 2 else "COMMIT"
        seen += not statement.startswith(("SELECT", "BEGIN"))
        if seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    ledger = Ledger(url)
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *said: count(*said))
    sa.event.listen(sa.Engine, "commit", lambda _: count())
    getattr(part(ledger), name)(*args)
    ledger.close()


def deaths_at_each_step(
    url: str, part: Callable[[Any], Any], name: str, *args: Any, is_whole: Callable[[], bool]
) -> int:
    """Have a part of the ledger do something, killed at each step in turn, until it is done.

    Each time in a process of its own; after each death it has to be whole. Returns how many.
    """
    for nth in itertools.count(1):
        process = starter.Process(target=_do_and_die, args=(url, part, name, args, nth))
        process.start()
        process.join(60)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        assert is_whole(), f"killed before step {nth} of {name}"
    return nth - 1
