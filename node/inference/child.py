"""The inference child: decodes, prepares, runs, and answers one question at a time."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.errors import ConfigError, ModelError, StudyError, Unreadable
from node.imaging.digests import pixel_digest
from node.imaging.grey import Float32
from node.imaging.preparation import picture
from node.imaging.volume import Slice
from node.imaging.volume_pictures import slice_pictures, volume_picture
from node.imaging.voxels import require_comparable
from node.inference.answers import OnImage, read_output
from node.inference.following import with_percents
from node.inference.inputs import (
    inputs_of,
    joined,
    prepared_image,
    prepared_phases,
    slices_by_role,
)
from node.inference.last_image import LastImage
from node.inference.line import Line, Message
from node.inference.memory import FreeMemory
from node.inference.messages import (
    Failure,
    ImageJob,
    NotReady,
    PictureJob,
    PixelDigestJob,
    ScoreJob,
    Setup,
    ShownFrame,
    ShownImage,
    SlicesPictureJob,
    VolumePictureJob,
    answered,
    question_in,
    reason_of,
)
from node.inference.on_volumes import OnVolumes, on_volumes
from node.inference.onnx import OnnxSession
from node.inference.session import warm_up
from node.inference.solid_messages import remark_of
from node.logs import about, start_logging
from node.logs.lines import LogForm
from node.manifest import Manifest, SolidsOutput
from node.result import OutputScore, UnitScore
from node.study import IMAGE, PRE_CONTRAST, Picture, VolumePicture

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


def serve(file_descriptor: int, form: LogForm) -> None:
    """Answer questions until the parent closes the pipe, however it does that.

    `form` is that of the parent's log.
    """
    _die_with_the_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent drains, then closes the pipe
    start_logging(form=form)
    try:
        _serve(file_descriptor)
    except Exception:  # Python would print its words, which may quote a value
        log.exception("The inference process ends")
        raise SystemExit(1) from None


def _serve(file_descriptor: int) -> None:
    with (
        contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError),
        contextlib.closing(Line(socket.socket(fileno=file_descriptor))) as line,
    ):
        setup = question_in(line.receive())
        assert isinstance(setup, Setup), "it comes first"
        networks, greeting = _open(setup)
        line.send(answered(greeting))
        while networks is not None:
            job = question_in(line.receive())
            assert not isinstance(job, Setup), "it comes once"
            with about(job.unit if isinstance(job, ScoreJob) else job.sop_uid):
                answer = _answer(networks, job)
            line.send(answer)


class _Networks:
    """The loaded sessions, by model name."""

    def __init__(self, setup: Setup) -> None:
        self._models = {package.manifest.name: package.model for package in setup.packages}
        self._sessions = {
            name: OnnxSession(model, setup.settings.threads, setup.settings.provider)
            for name, model in self._models.items()
        }
        self._inputs = {
            name: inputs_of(self._models[name].manifest, session)
            for name, session in self._sessions.items()
        }
        for session in self._sessions.values():
            warm_up(session)
        self.images, self.memory = LastImage(), FreeMemory()

    def score(self, job: ScoreJob) -> UnitScore:
        """Decode, prepare, run, and read the answers."""
        if job.volumes:
            return self._score_volumes(job)
        manifest = self._models[job.model_name].manifest
        seen = {
            role: self._seen(role, image, job.unit, manifest) for role, image in job.images.items()
        }
        given = joined(
            self._inputs[job.model_name],
            {role: image.tensor for role, image in seen.items()},
            manifest.image_shape,
        )
        answers = self._sessions[job.model_name].run(given)
        on = seen[IMAGE].on if manifest.unit.of == "image" else None
        outputs = (read_output(output, answers, manifest, on) for output in manifest.outputs)
        mirrored = (role for role, image in seen.items() if image.is_against_laterality)
        return UnitScore(job.unit, tuple(outputs), tuple(mirrored))

    def _seen(self, role: str, shown: ShownImage, unit: str, manifest: Manifest) -> _Seen:
        """Prepare an image; raise StudyError if the network must not get it."""
        opening = self.images.open
        try:
            image, prepared = prepared_image(shown.path, shown.view, manifest, opening)
        except StudyError as error:
            if role == IMAGE:
                raise
            raise type(error)(f"{role}: {error}") from error
        grid = prepared.grid
        on = None if grid is None else OnImage(unit, image, grid)
        return _Seen(prepared.tensor, on, prepared.is_against_laterality)

    def _score_volumes(self, job: ScoreJob) -> UnitScore:
        manifest = self._models[job.model_name].manifest
        slices = slices_by_role(_frames(job.volumes))
        phases = prepared_phases(slices, manifest)
        given = joined(
            self._inputs[job.model_name],
            phases.tensors,
            manifest.image_shape,
            manifest.image_batch,
        )
        answers = self._sessions[job.model_name].run(given)
        on = on_volumes(slices, require_comparable(slices).stacks, phases)
        outputs = [read_output(one, answers, manifest, None, on) for one in manifest.outputs]
        outputs, unfollowed = self._followed(job, outputs, on, slices)
        doubts = phases.region.doubts if phases.region else ()
        has_solids = any(isinstance(one, SolidsOutput) for one in manifest.outputs)
        return UnitScore(
            job.unit,
            tuple(outputs),
            displaced=phases.displaced,
            breasts=phases.breasts,
            unread=phases.unread,
            stack=on.size if has_solids else None,
            remarks=tuple(map(remark_of, (*doubts, *unfollowed))),
        )

    def _followed(
        self,
        job: ScoreJob,
        outputs: list[OutputScore],
        on: OnVolumes,
        slices: Mapping[str, Sequence[Slice]],
    ) -> tuple[list[OutputScore], tuple[str, ...]]:
        """Return what was said with how signal follows the contrast agent, if that is wanted."""
        manifest = self._models[job.model_name].manifest
        if not manifest.is_followed or PRE_CONTRAST not in slices:
            return outputs, ()
        after = slices_by_role(_frames(job.followed))
        return with_percents(outputs, manifest, on, slices[PRE_CONTRAST], after)


def _frames(
    volumes: Mapping[str, tuple[ShownFrame, ...]],
) -> dict[str, list[tuple[Path, int | None]]]:
    return {role: [(one.path, one.number) for one in volume] for role, volume in volumes.items()}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a network gets of an image; the image itself is let go."""

    tensor: Float32
    on: OnImage | None
    """How it lies on the image, if it is no vector."""
    is_against_laterality: bool


def _open(setup: Setup) -> tuple[_Networks | None, NotReady | None]:
    if setup.settings.provider == "cpu":  # others map address space they never use
        limit = setup.settings.memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        return _Networks(setup), None
    except (ConfigError, ModelError) as error:
        return None, NotReady(reason_of(error))
    except MemoryError:
        words = f"[inference] memory_mb = {setup.settings.memory_mb} is too little for the models"
        return None, NotReady(words)


def _answer(networks: _Networks, job: ImageJob) -> Message:
    try:
        return answered(_result(networks, job))
    except Unreadable as error:
        failure = Failure("Unreadable", reason_of(error))
    except StudyError as error:
        failure = Failure("StudyError", reason_of(error))
    except ModelError as error:
        failure = Failure("ModelError", reason_of(error))
    except MemoryError:
        is_of_volumes = isinstance(job, ScoreJob) and job.volumes
        what = "the exam's volumes need" if is_of_volumes else "the image needs"
        words = f"{what} more memory than [inference] memory_mb"
        failure = Failure("ModelError", words)
    return answered(failure)


def _result(networks: _Networks, job: ImageJob) -> UnitScore | Picture | VolumePicture | str:
    if isinstance(job, PictureJob) or (isinstance(job, ScoreJob) and not job.volumes):
        networks.memory.keep()
    else:
        networks.images.forget()
        networks.memory.give_back()
    match job:
        case ScoreJob():
            return networks.score(job)
        case PictureJob():
            return picture(networks.images.open(job.path))
        case VolumePictureJob():
            frames = {
                role: [(one.path, one.number) for one in volume]
                for role, volume in (("before", job.before), ("after", job.after))
            }
            slices = slices_by_role(frames)
            return volume_picture(slices["before"], slices.get("after", ()), job.places)
        case SlicesPictureJob():
            asked = {str(at): [(one.path, one.number)] for at, one in enumerate(job.frames)}
            return slice_pictures([one for (one,) in slices_by_role(asked).values()])
        case PixelDigestJob():
            return pixel_digest(job.path)


def _die_with_the_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies; elsewhere the closed pipe must do."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
