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

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from node import pixels
from node.errors import ConfigError, ModelError, StudyError, Unreadable
from node.inference.boxes import score_boxes
from node.inference.classes import score_classes
from node.inference.line import Line, Message
from node.inference.mask import score_mask
from node.inference.messages import (
    Failure,
    Job,
    NotReady,
    PictureJob,
    PixelDigestJob,
    ScoreJob,
    Setup,
    answered,
    question_in,
    words_of,
)
from node.inference.onnx import Session
from node.inference.whole_image import score_image
from node.manifest import BoxesOutput, ClassesOutput, MaskOutput, Pixels, ScoreOutput
from node.result import ImageScore
from node.study import Picture

PR_SET_PDEATHSIG = 1
BOX = PIL.Image.Resampling.BOX
CELLS = 24
"""Rows and columns of cells on which a breast is looked for."""
MOST_OF_GREY = 0.75
"""Where what is darker than the mean has more than this share of the grey of the rest, no air is
visible: noise, one tone, or tissue from edge to edge."""
MOST_OF_ROWS = 0.8
"""No breast is bright in more than this share of the rows throughout the last quarter."""
MOST_OF_CHEST_WALL = 2.0
"""No breast is so many times as bright in the last quarter as at the chest wall, in most rows."""
FEWEST_PIXELS = 8
"""A strip narrower than this, as the network sees it, shows nobody anything."""


def serve(file_descriptor: int) -> None:
    """Answer questions until the parent closes the pipe, however it does that."""
    _die_with_the_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent drains, then closes the pipe
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its tracebacks may quote a header
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
            line.send(_answer(networks, job))


class _Networks:
    """The loaded sessions, by model name."""

    def __init__(self, setup: Setup) -> None:
        self._models = {package.manifest.name: package.model for package in setup.packages}
        self._sessions = {
            name: Session(model, setup.settings.threads, setup.settings.provider)
            for name, model in self._models.items()
        }
        for session in self._sessions.values():
            session.warm_up()

    def score(self, job: ScoreJob) -> ImageScore:
        """Decode, prepare, run, and read the answer."""
        model = self._models[job.model_name]
        image = pixels.open_image(job.path)
        tensor, geometry = pixels.prepare(image, model.manifest.pixels, job.laterality)
        output, sop_uid = model.manifest.output, job.sop_uid
        is_outline = isinstance(output, MaskOutput) and output.regions == "largest"
        if not is_outline:  # an outline of the breast shows by itself that it is none
            seen = tensor[0, 0, : geometry.height, : geometry.width]
            refuse_what_is_no_breast(seen, model.manifest.pixels)
        answers = self._sessions[job.model_name].run(tensor)
        match output:
            case ClassesOutput():
                return score_classes(sop_uid, answers[output.tensor][0], output)
            case ScoreOutput():
                return score_image(sop_uid, answers, model.manifest, geometry)
            case BoxesOutput():
                rows = answers[output.tensor][0]
                return score_boxes(sop_uid, rows, model.manifest, geometry, image.spacing_mm)
            case MaskOutput():
                mask, spacing_mm = answers[output.tensor][0, 0], image.measured_spacing_mm
                return score_mask(sop_uid, mask, model.manifest, geometry, spacing_mm)


def refuse_what_is_no_breast(seen: pixels.Float32, prepared_as: Pixels) -> None:
    """Raise StudyError if an image, shape (height, width), shows no air, or air in the wrong place.

    Only means over large cells are looked at: noise is grey there, and small labels are lost.
    A film that was turned over is not always noticed: many have as much black on either side.
    """
    if min(seen.shape) < FEWEST_PIXELS:
        raise StudyError("no breast found in this image: it is a strip of a few pixels")
    small = PIL.Image.fromarray(np.ascontiguousarray(seen)).resize((CELLS, CELLS), BOX)
    cells = np.asarray(small, dtype=np.float64)
    mean = np.clip(cells.mean(), cells.min(), cells.max())  # rounding may set it beside equal cells
    if cells[cells <= mean].mean() >= MOST_OF_GREY * cells[cells >= mean].mean():
        raise StudyError("no breast found in this image: no dark air beside bright tissue")
    outer = cells[:, -CELLS // 4 :] > mean
    is_as_shown = prepared_as.grey == "voi" and prepared_as.orientation == "chest wall left"
    if is_as_shown and outer.all(axis=1).mean() > MOST_OF_ROWS:
        raise StudyError(
            "no breast found in this image: the side opposite the chest wall is bright, as in an"
            " image shown inverted"
        )
    if is_as_shown and _is_turned_over(cells, mean):
        raise StudyError(
            "no breast found in this image where its laterality and Patient Orientation say: it is"
            " brighter along the side opposite the chest wall"
        )


def _is_turned_over(cells: NDArray[np.float64], mean: float) -> bool:
    """Whether most rows that show tissue on a side show it opposite the chest wall.

    The last column is left out, where a film may have a bright edge.
    """
    inner, outer = (
        part.mean(axis=1) for part in (cells[:, : CELLS // 4], cells[:, -CELLS // 4 : -1])
    )
    has_tissue = np.maximum(inner, outer) > mean
    if not has_tissue.any():
        return False
    ratios = outer[has_tissue] / np.maximum(inner[has_tissue], 1e-3)
    return bool(np.median(ratios) > MOST_OF_CHEST_WALL)


def _open(setup: Setup) -> tuple[_Networks | None, NotReady | None]:
    if setup.settings.provider == "cpu":  # others map address space they never use
        limit = setup.settings.memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        return _Networks(setup), None
    except (ConfigError, ModelError) as error:
        return None, NotReady(words_of(error))
    except MemoryError:
        words = f"[inference] memory_mb = {setup.settings.memory_mb} is too little for the models"
        return None, NotReady(words)


def _answer(networks: _Networks, job: Job) -> Message:
    try:
        return answered(_result(networks, job))
    except Unreadable as error:
        failure = Failure("Unreadable", words_of(error))
    except StudyError as error:
        failure = Failure("StudyError", words_of(error))
    except ModelError as error:
        failure = Failure("ModelError", words_of(error))
    except MemoryError:
        words = "the image needs more memory than [inference] memory_mb"
        failure = Failure("ModelError", words)
    return answered(failure)


def _result(networks: _Networks, job: Job) -> ImageScore | Picture | str:
    match job:
        case ScoreJob():
            return networks.score(job)
        case PictureJob():
            return pixels.picture(pixels.open_image(job.path))
        case PixelDigestJob():
            return pixels.pixel_digest(job.path)


def _die_with_the_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies; elsewhere the closed pipe must do."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
