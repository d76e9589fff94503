"""Warm child processes that decode and run networks, with a deadline and a memory limit.

A poisonous image, a leaking codec or a network that never ends kills a child, never the node:
the call raises ModelError and the child is replaced. Where no child can be started there is
nobody to ask: that raises InferenceUnavailable, and says nothing about the image.
Children are started as plain commands, not by multiprocessing, so that they import neither the
parent's main module nor what it imports, and nothing that they say is unpickled: a child in
an attacker's hands can lie, and no more.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pydantic import ValidationError

from node import config
from node.errors import ConfigError, InferenceUnavailable, ModelError, StudyError, Unreadable
from node.imaging.source import mark_of
from node.inference.line import Line, Message
from node.inference.messages import (
    Failure,
    ImageJob,
    Package,
    PictureJob,
    PixelDigestJob,
    Question,
    ScoreJob,
    Setup,
    ShownFrame,
    SlicesPictureJob,
    VolumePictureJob,
    asked,
    digest_in,
    greeting_in,
    picture_in,
    score_in,
    volume_picture_in,
)
from node.inference.pictures import Pictures
from node.logs import form_in_use
from node.manifest import Model
from node.result import UnitScore
from node.study import Frame, Instance, Picture, Unit, VolumePicture

START_S = 120
"""A child may take this long to import, load its networks and run each once."""
COMMAND = "import sys; from node.inference.child import serve; serve(int(sys.argv[1]), sys.argv[2])"
_CLOSED = "inference is shutting down"
_ERRORS = {kind.__name__: kind for kind in (Unreadable, StudyError, ModelError)}
_Answer = TypeVar("_Answer")


class Inference:
    """The children; any thread may call, and waits while all of them are busy."""

    def __init__(
        self,
        settings: config.InferenceSettings,
        models: Sequence[Model],
        on_scored: Callable[[Model, float], None] = lambda model, took_s: None,
        *,
        draws_for: Callable[[Model], bool] = lambda model: False,
    ) -> None:
        self._settings = settings
        self._on_scored = on_scored
        """Told how long a model took for one unit, in seconds."""
        self._draws_for = draws_for
        """Of which models the images they score will be shown: each is drawn while it is decoded,
        before the process that did so is free again."""
        self._pictures = Pictures()
        packages = tuple(Package(model.folder, model.manifest) for model in models)
        self._setup = Setup(settings, packages)
        self._free: queue.SimpleQueue[_Child | None] = queue.SimpleQueue()
        self._children: set[_Child] = set()
        # Linux kills a child when the *thread* that started it ends (PR_SET_PDEATHSIG), so one
        # thread that lives as long as we do starts them all.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="inference-starter")
        self._is_closed = False
        self._lock = threading.Lock()
        self._lacking = 0
        self._why_lacking = ""

    @property
    def trouble(self) -> str:
        """Why none of the processes can be started, "" if there are some."""
        with self._lock:
            if not self._lacking or self._lacking < self._settings.processes:
                return ""
            return f"no inference process can be started: {self._why_lacking}"

    @property
    def lesser_trouble(self) -> str:
        """Why some of them cannot be started while others work, "" if that is not so."""
        total = self._settings.processes
        with self._lock:
            if not 0 < self._lacking < total:
                return ""
            words = f"{self._lacking} of {total} inference processes cannot be started"
            return f"{words}: {self._why_lacking}"

    def start(self) -> None:
        """Start the children and wait until their networks have run; or raise ConfigError."""
        try:
            for _ in range(self._settings.processes):
                self._free.put(self._new_child())
        except BaseException:
            self.close()
            raise

    def score(self, unit: Unit, model: Model) -> UnitScore:
        """Run a model on what it reads at once."""
        slices = {role: len(volume) for role, volume in unit.volumes.items()}
        outputs = model.manifest.outputs
        read = partial(
            score_in,
            unit=unit.key,
            outputs=outputs,
            volumes=slices,
            followed=unit.followed.keys(),
            batch=model.manifest.image_batch,
        )
        job = ScoreJob.about(unit, model)
        is_of_image = model.manifest.unit.of == "image" and not unit.all_volumes
        is_drawn = is_of_image and self._draws_for(model)
        drawn = unit.instance if is_drawn else None
        return self._ask(job, read, partial(self._on_scored, model), drawn)

    def picture(self, instance: Instance) -> Picture:
        """Return an image as a display shows it."""
        drawn = self._pictures.take(instance.path)
        return drawn or self._ask(PictureJob(instance.path, instance.sop_uid), picture_in)

    def volume_picture(
        self, before: Sequence[Frame], after: Sequence[Frame], places: Sequence[int]
    ) -> VolumePicture:
        """Return slices of a phase, `after` if there is one, and what it adds to that before."""
        first, last = (
            tuple(ShownFrame(one.instance.path, one.number) for one in frames)
            for frames in (before, after)
        )
        job = VolumePictureJob(first, last, tuple(places), before[0].instance.sop_uid)
        read = partial(volume_picture_in, places=job.places, has_projection=bool(last))
        return self._ask(job, read)

    def slice_pictures(self, frames: Sequence[Frame]) -> tuple[Picture, ...]:
        """Return slices of several phases, all on one scale of grey."""
        shown = tuple(ShownFrame(one.instance.path, one.number) for one in frames)
        job = SlicesPictureJob(shown, frames[0].instance.sop_uid)
        read = partial(volume_picture_in, places=range(len(shown)), has_projection=False)
        return tuple(self._ask(job, read).slices.values())

    def pixel_digest(self, path: Path, sop_uid: str = "") -> str:
        """Return a digest of an object's decoded pixels, "" if it has none; needs no model.

        Two objects with the same show the same values, however they are encoded. Raises
        Unreadable if the pixels cannot be decoded, hence not compared. The UID is for the log.
        """
        return self._ask(PixelDigestJob(path, sop_uid), digest_in)

    def mend(self) -> None:
        """Replace a child that has died while nobody needed it; whoever is at work is left alone.

        Else nobody would know that none can be started, or can be again, before an image comes.
        """
        try:
            child = self._free.get_nowait()
        except queue.Empty:  # all are at work
            return
        try:
            if not self._is_closed and (child is None or child.has_ended):
                child = self._replaced(child)
        except InferenceUnavailable:
            child = None  # the next one to ask tries again
        finally:
            self._free.put(child)

    def close(self) -> None:
        """Stop the children; a call under way raises InferenceUnavailable."""
        self._is_closed = True
        for child in tuple(self._children):
            self._discard(child)
        self._free.put(None)
        self._starter.shutdown()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self,
        job: ImageJob,
        read: Callable[[Message], _Answer | Failure],
        on_answer: Callable[[float], None] = lambda took_s: None,
        drawn: Instance | None = None,
    ) -> _Answer:
        with self._child() as child:
            begun = time.monotonic()
            answer = child.ask(job, read, self._settings.deadline_s)
            took_s = time.monotonic() - begun
            if drawn is not None and not isinstance(answer, Failure):
                self._draw(child, drawn)
        if isinstance(answer, Failure):
            raise _ERRORS[answer.error](answer.words)
        on_answer(took_s)
        return answer

    def _draw(self, child: _Child, instance: Instance) -> None:
        """Keep the picture of an image that a child has just decoded; if there is one, as it is."""
        path = instance.path
        if self._pictures.has(path):
            return
        try:
            mark = mark_of(path)
            job = PictureJob(path, instance.sop_uid)
            answer = child.ask(job, picture_in, self._settings.deadline_s)
        except (ModelError, OSError):  # it has its score; whoever asks for the picture is told
            return
        if not isinstance(answer, Failure):
            self._pictures.keep(path, mark, answer)

    @contextlib.contextmanager
    def _child(self) -> Iterator[_Child]:
        """Lend a free child; one that does not survive is replaced by the next call."""
        child = self._free.get()
        if self._is_closed:
            self._free.put(None)  # wakes the next caller that waits
            raise InferenceUnavailable(_CLOSED)
        try:
            if child is None or child.has_ended:
                former, child = child, None  # so that its place is known to be empty if it fails
                child = self._replaced(former)
            yield child
        except ModelError as error:
            if self._is_closed:  # we ended it
                raise InferenceUnavailable(_CLOSED) from error
            raise
        finally:
            if child is not None and child.is_broken:
                self._discard(child)
            self._free.put(child)

    def _replaced(self, child: _Child | None) -> _Child:
        if child is not None:
            self._discard(child)
        try:
            started = self._new_child()
        except (ConfigError, OSError) as error:  # it started before: the machine's, no image's
            if self._is_closed:
                raise InferenceUnavailable(_CLOSED) from error
            with self._lock:
                self._lacking += child is not None  # else its place was empty before
                self._why_lacking = str(error)
            raise InferenceUnavailable(f"no inference process can be started: {error}") from error
        with self._lock:
            self._lacking -= child is None
        return started

    def _new_child(self) -> _Child:
        try:
            child = self._starter.submit(_Child).result()
        except RuntimeError as error:
            raise InferenceUnavailable(_CLOSED) from error
        self._children.add(child)
        try:
            problem = child.ask(self._setup, greeting_in, START_S)
        except ModelError as error:
            self._discard(child)
            raise ConfigError(
                f"inference cannot start: {error}; if memory is short, raise "
                f"[inference] memory_mb (now {self._settings.memory_mb})"
            ) from error
        if problem is not None:
            self._discard(child)
            raise ConfigError(problem.words)
        return child

    def _discard(self, child: _Child) -> None:
        self._children.discard(child)
        child.kill()


class _Child:
    """One process and the line to it; does one thing at a time."""

    def __init__(self) -> None:
        near_end, far_end = socket.socketpair()
        self._line = Line(near_end)
        with far_end:
            number = far_end.fileno()
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-P", "-c", COMMAND, str(number), form_in_use()],
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
            )
        self.is_broken = False
        """Whether it died, hangs, or said something nobody understands."""

    @property
    def has_ended(self) -> bool:
        """Whether it must not be used any more; what it says unasked is no answer to anything."""
        is_alive = not self.is_broken and self._process.poll() is None
        return not (is_alive and self._line.is_silent)

    def ask(
        self, question: Question, read: Callable[[Message], _Answer], deadline_s: float
    ) -> _Answer:
        """Ask one thing and read the answer, or raise ModelError."""
        content = asked(question)
        self.is_broken = True  # until it has answered: a late answer would be to another question
        until = time.monotonic() + deadline_s
        try:
            self._line.send(content, until)
            answer = read(self._line.receive(until))
        except TimeoutError as error:
            raise ModelError(
                f"the inference process took longer than {deadline_s:g} s and was killed"
            ) from error
        except (EOFError, OSError) as error:
            raise ModelError(f"the inference process {self._ending()}") from error
        except ValueError as error:
            raise ModelError(
                f"the inference process answered with {_what_was_wrong(error)} and was killed"
            ) from None  # the cause may quote it, hence patient data
        self.is_broken = False
        return answer

    def kill(self) -> None:
        """End the process at once; it holds nothing worth saving."""
        self.is_broken = True
        self._process.kill()
        self._process.wait()
        self._line.close()

    def _ending(self) -> str:
        """Say how the process ended."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"was killed by signal {-code}"


def _what_was_wrong(error: ValueError) -> str:
    """Say it without what the child said."""
    if isinstance(error, ValidationError):
        return f"what is no answer ({error.errors()[0]['type']})"
    return str(error)
