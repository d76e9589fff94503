"""The first step of a recipe with [lesions]: later stages are taught where lesions lie.

Films come with boxes. A cell of the last features is positive if its middle lies in a box (at
least the one that is nearest to the middle of the box), negative if at least half of it is breast
and it does not touch a positive one; others count for nothing. Positive and negative cells weigh
the same within each film, so nothing is learnt of what differs between films, and no film without
a lesion is needed. A fifth of the women is left out, and says how well cells are told apart.

What the frozen stages see is kept on the disk, as it is and with its rows turned. All that is
random follows from the seed and the number of the epoch, and after each epoch all that the next
one begins with is on the disk: a run that was stopped ends with the same weights, bit for bit on a
CPU.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from node import __version__
from node.evaluation.evaluating import Progressing
from node.imaging.components import Bools
from node.manifest.pixels import Rank, Resize
from node.training.features import FLUSHED_AFTER, device_here, replaced
from node.training.kept_arrays import DONE, open_arrays
from node.training.lesion_boxes import BoxedFilm, BoxedFilms, LesionBox, SeenFilm, seen_film
from node.training.networks import as_colours
from node.training.recipe import Lesions, Recipe
from node.training.stages import frozen_stages
from node.training.trunks import Trunk, begun_trunk, weights_digest

ONE_IN = 5
"""So many women are learnt from but for one, whose films say how well cells are told apart."""
FILMS_AT_ONCE = 4
LEAST_BREAST = 0.5
"""Of a negative cell."""
_STATE = "last.pt"


@dataclass(frozen=True, slots=True)
class TaughtLesions:
    """What came out of the first step."""

    key: str
    """Of all that it follows from."""
    weights: Mapping[str, Tensor]
    """Of the later stages, by their names in the trunk."""
    cell_weight: Tensor
    """(1, channels, 1, 1): of the lesion logit of a cell of the last features."""
    cell_bias: Tensor
    """(1,)"""
    losses: tuple[float, ...]
    """Mean of each epoch."""
    area_under_curve: float | None
    """How often a cell in a box has a higher logit than another one of the same film, on films of
    women that were not learnt from; None: there were none."""
    measured_films: int
    """On how many."""


def taught(recipe: Recipe, boxes: BoxedFilms, work: Path, progress: Progressing) -> TaughtLesions:
    """Return what films with boxes teach, by a recipe that has [lesions].

    What an earlier run has learnt is not learnt again. Raise ConfigError if a film cannot be used.
    """
    lesions, form = recipe.lesions, recipe.form_of_films
    assert lesions is not None
    assert form is not None
    films_key = _key_of_films(recipe, form, boxes)
    words = [films_key, lesions.model_dump(mode="json"), [film.patient for film in boxes.films]]
    key = hashlib.sha256(json.dumps(words).encode()).hexdigest()
    folder = work / "lesions" / key[:16]
    folder.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    trunk = begun_trunk(recipe.network.trunk).to(device_here())
    frozen = frozen_stages(trunk.name, recipe.network.frozen)
    sight = _SightOfFilms(trunk, frozen, form, lesions.flip_rows)
    kept = sight.kept(boxes.films, work / "films" / films_key[:16], progress)
    teacher = _Teacher(lesions, kept, trunk, trunk.stages[len(frozen) :], folder)
    teacher.teach(progress)
    return teacher.taught(key)


def _key_of_films(recipe: Recipe, form: tuple[Resize, Rank], boxes: BoxedFilms) -> str:
    """Return a digest of all that what is kept of the films follows from."""
    assert recipe.lesions is not None
    words = [
        *(__version__, torch.__version__, recipe.lesions.flip_rows),
        *(recipe.network.trunk, weights_digest(recipe.network.trunk), recipe.network.frozen),
        [part.model_dump(mode="json") for part in form],
        boxes.sha256,
        [hashlib.sha256(film.path.read_bytes()).hexdigest() for film in boxes.films],
    ]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


# --- films ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CellsOfFilm:
    """What is said of the cells of a film, each (rows, columns)."""

    is_lesion: Bools
    is_used: Bools
    """Those that are learnt from; the rim of a box is not."""


def cells_of(film: SeenFilm, rows: int, columns: int) -> CellsOfFilm:
    """Return which cells lie in a box, and which of all are learnt from."""
    is_lesion = np.zeros((rows, columns), bool)
    for box in film.boxes:
        is_lesion |= _cells_in(box, rows, columns)
    beside = np.pad(is_lesion, 1)
    near = np.zeros_like(is_lesion)
    for row in range(3):
        for column in range(3):
            near |= beside[row : row + rows, column : column + columns]
    is_breast = torch.from_numpy((film.ranks > 0).astype(np.float32))
    share = functional.adaptive_avg_pool2d(is_breast[None], (rows, columns))[0].numpy()
    return CellsOfFilm(is_lesion, (share > LEAST_BREAST) & (is_lesion | ~near))


def _cells_in(box: LesionBox, rows: int, columns: int) -> Bools:
    """Return the cells whose middle lies in a box that is widened to the size of one."""
    return np.outer(
        _middles_in(box.top, box.bottom, rows), _middles_in(box.left, box.right, columns)
    )


def _middles_in(low: float, high: float, count: int) -> Bools:
    middle, half = (low + high) / 2, 0.5 / count
    middles = (np.arange(count) + 0.5) / count
    found = (middles >= min(low, middle - half)) & (middles <= max(high, middle + half))
    return np.asarray(found, np.bool_)


@dataclass(frozen=True, slots=True)
class _KeptFilms:
    """Of all films, in the order of the table."""

    maps: NDArray[np.float16]
    """(1 or 2, n, channels, rows, columns): what the frozen stages see; rows as they are, and
    turned."""
    cells: tuple[CellsOfFilm, ...]
    is_held_out: Bools
    """(n,)"""


@dataclass(frozen=True, slots=True)
class _SightOfFilms:
    """How films are looked at."""

    trunk: Trunk
    frozen: Sequence[str]
    form: tuple[Resize, Rank]
    is_flipped: bool
    """Whether with rows turned, too."""

    def kept(self, films: Sequence[BoxedFilm], folder: Path, progress: Progressing) -> _KeptFilms:
        """Return what the frozen stages see; what an earlier run kept is not looked at again."""
        folder.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            first = self._see(torch.zeros(1, 1, self.form[0].height, self.form[0].width))
            last = self.trunk(first, self.trunk.stages[len(self.frozen) :])
        of_maps = 1 + self.is_flipped, len(films), *first.shape[1:]
        words = "what is seen of the films needs", "name another folder"
        before = open_arrays(folder, {"maps.f16": of_maps}, np.float16, *words)
        maps, cells_file = before.arrays[0], folder / "cells.npy"
        done = before.done if cells_file.exists() else 0
        shape = len(films), 2, *last.shape[2:]
        cells = np.load(cells_file) if done else np.zeros(shape, np.bool_)
        starts = range(done, len(films), FILMS_AT_ONCE)
        with progress("Looking at films", len(starts)) as advance, torch.inference_mode():
            for start in starts:
                stop = min(start + FILMS_AT_ONCE, len(films))
                self._keep(films[start:stop], maps[:, start:stop], cells[start:stop])
                if stop % (FILMS_AT_ONCE * FLUSHED_AFTER) == 0 or stop == len(films):
                    maps.flush()
                    replaced(cells_file, _as_npy(cells))
                    replaced(folder / DONE, str(stop).encode())
                advance()
        is_held_out = np.array([is_left_out(film.patient) for film in films])
        if is_held_out.all():
            is_held_out[:] = False
        return _KeptFilms(maps, tuple(CellsOfFilm(one[0], one[1]) for one in cells), is_held_out)

    def _keep(self, films: Sequence[BoxedFilm], maps: NDArray[np.float16], cells: Bools) -> None:
        """Look at some films, and write down what is seen and which cells are in a box."""
        seen = [seen_film(film, *self.form) for film in films]
        images = torch.from_numpy(np.stack([one.ranks for one in seen]))[:, None]
        for direction in range(len(maps)):
            turned = images.flip(2) if direction else images
            maps[direction] = self._see(turned).half().cpu().numpy()
        for place, one in enumerate(seen):
            of = cells_of(one, cells.shape[2], cells.shape[3])
            cells[place] = of.is_lesion, of.is_used

    def _see(self, images: Tensor) -> Tensor:
        colours = as_colours(images.to(device_here()), 1)
        return self.trunk(colours.contiguous(memory_format=torch.channels_last), self.frozen)


def _as_npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def is_left_out(patient: str) -> bool:
    """Tell whether a woman is of the fifth that says how well cells are told apart."""
    digest = hashlib.sha256(patient.encode()).hexdigest()
    return int(digest[:8], 16) % ONE_IN == 0


# --- learning ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FilmBatch:
    maps: Tensor
    is_lesion: Tensor
    """(n, rows, columns), 0 or 1; so is the next one."""
    is_used: Tensor


def moved(array: NDArray[Any], down: int, right: int, *, is_repeated: bool) -> NDArray[Any]:
    """Return what lies on the last two axes, moved; what comes in is the edge again, or 0."""
    rows, columns = np.arange(array.shape[-2]) - down, np.arange(array.shape[-1]) - right
    inside_rows = rows.clip(0, array.shape[-2] - 1)
    inside_columns = columns.clip(0, array.shape[-1] - 1)
    found = array[..., inside_rows[:, None], inside_columns]
    if not is_repeated:
        is_there = np.outer(rows == inside_rows, columns == inside_columns)
        found = np.where(is_there, found, np.zeros((), array.dtype))
    return np.asarray(found)


def lesion_loss(logits: Tensor, is_lesion: Tensor, is_used: Tensor) -> Tensor:
    """Return the cross-entropy of cells, (n, rows, columns) each; 1 of both kinds in each film."""
    lesion, other = is_lesion * is_used, (1 - is_lesion) * is_used
    weights = sum(one / one.sum((1, 2), keepdim=True).clamp(min=1) for one in (lesion, other))
    each = functional.binary_cross_entropy_with_logits(logits, is_lesion, reduction="none")
    return (each * weights).sum() / len(logits)


@dataclass(slots=True)
class _Taught:
    """All that the next epoch begins with, beside the present weights."""

    optimizer: torch.optim.Optimizer
    kept: dict[str, Tensor]
    """The moving average of what learns."""
    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)


class _Cells(nn.Module):
    """The stages that learn, and the logit of a cell."""

    def __init__(self, trunk: Trunk, later: Sequence[str], dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.later = tuple(later)
        self.dropout = dropout
        self.logit = nn.Conv2d(trunk.channels[trunk.stages[-1]], 1, 1)
        nn.init.zeros_(self.logit.weight)
        nn.init.zeros_(self.logit.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (n, rows, columns) of what the frozen stages see."""
        features = self.trunk(maps, self.later)
        return self.logit(functional.dropout(features, self.dropout, self.training))[:, 0]


class _Teacher:
    def __init__(
        self,
        lesions: Lesions,
        films: _KeptFilms,
        trunk: Trunk,
        later: Sequence[str],
        folder: Path,
    ) -> None:
        self._lesions = lesions
        self._films = films
        self._folder = folder
        self._network = _Cells(trunk, later, lesions.dropout).to(device_here())
        self._highest = [lesions.rate, lesions.head_rate, lesions.head_rate]
        # Biases do not decay.
        groups = [
            {"params": trunk.learning(later), "weight_decay": lesions.weight_decay},
            {"params": [self._network.logit.weight], "weight_decay": lesions.weight_decay},
            {"params": [self._network.logit.bias], "weight_decay": 0.0},
        ]
        self._state = _Taught(torch.optim.AdamW(groups, lr=lesions.rate), self._present())
        self._learnt_from = np.flatnonzero(~films.is_held_out)
        self._steps = -(-len(self._learnt_from) // lesions.batch)

    def teach(self, progress: Progressing) -> None:
        """Learn the epochs that an earlier run has not."""
        path, state = self._folder / _STATE, self._state
        if path.exists():
            before = torch.load(path, map_location=device_here(), weights_only=True)
            self._take(before["weights"])
            state.optimizer.load_state_dict(before["optimizer"])
            state.kept = dict(before["kept"])
            state.epoch, state.step = before["epoch"], before["step"]
            state.losses = list(before["losses"])
        left = self._lesions.epochs - state.epoch
        with progress("Learning where lesions lie", left * self._steps) as advance:
            for _ in range(left):
                self._learn_epoch(advance)
                buffer = io.BytesIO()
                torch.save(
                    {
                        "epoch": state.epoch,
                        "step": state.step,
                        "weights": self._present(),
                        "kept": state.kept,
                        "optimizer": state.optimizer.state_dict(),
                        "losses": state.losses,
                    },
                    buffer,
                )
                replaced(path, buffer.getvalue())

    def taught(self, key: str) -> TaughtLesions:
        """Return what was learnt; the network has the kept weights from now on."""
        self._take(self._state.kept)
        areas = self._areas_under_curve()
        kept = {name: value.cpu() for name, value in self._state.kept.items()}
        return TaughtLesions(
            key=key,
            weights={
                name.removeprefix("trunk."): value
                for name, value in kept.items()
                if name.startswith("trunk.")
            },
            cell_weight=kept["logit.weight"],
            cell_bias=kept["logit.bias"],
            losses=tuple(self._state.losses),
            area_under_curve=float(np.mean(areas)) if areas else None,
            measured_films=len(areas),
        )

    def _learn_epoch(self, advance: Callable[[], None]) -> None:
        state, seed = self._state, self._lesions.seed
        torch.manual_seed((seed << 20) + state.epoch)
        random = np.random.default_rng([seed, state.epoch])
        order = random.permutation(self._learnt_from)
        losses = []
        self._network.train()
        for first in range(0, len(order), self._lesions.batch):
            batch = self._drawn(order[first : first + self._lesions.batch].tolist(), random)
            share = self._rate_at(state.step)
            for group, highest in zip(state.optimizer.param_groups, self._highest, strict=True):
                group["lr"] = highest * share
            loss = lesion_loss(self._network(batch.maps), batch.is_lesion, batch.is_used)
            state.optimizer.zero_grad()
            loss.backward()
            state.optimizer.step()
            state.step += 1
            self._average()
            losses.append(loss.detach())
            advance()
        state.epoch += 1
        state.losses.append(float(torch.stack(losses).mean()))

    def _rate_at(self, step: int) -> float:
        """Return the share of the highest rates at a step."""
        rising = min(1.0, (step + 1) / max(1, self._lesions.warm_up_steps))
        falling = math.cos(math.pi * step / (self._steps * self._lesions.epochs))
        return rising * 0.5 * (1 + falling)

    def _average(self) -> None:
        """Move the kept weights towards the present ones, faster at first."""
        remains = min(self._lesions.moving_average, self._state.step / (10 + self._state.step))
        present = dict(self._network.named_parameters())
        with torch.no_grad():
            for name, value in self._state.kept.items():
                value.lerp_(present[name], 1 - remains)

    def _drawn(self, films: Sequence[int], random: np.random.Generator) -> _FilmBatch:
        """Return films, each in a direction of its rows and moved by some cells."""
        maps, lesion, used = list[NDArray[Any]](), list[NDArray[Any]](), list[NDArray[Any]]()
        most = self._lesions.shift_cells
        for film in films:
            direction = int(random.integers(len(self._films.maps)))
            down, right = (int(one) for one in random.integers(-most, most + 1, 2))
            seen, of = self._films.maps[direction, film], self._films.cells[film]
            step = -1 if direction else 1
            rows, columns = of.is_used.shape
            by = round(seen.shape[1] / rows) * down, round(seen.shape[2] / columns) * right
            maps.append(moved(seen, *by, is_repeated=True))
            lesion.append(moved(of.is_lesion[::step], down, right, is_repeated=False))
            used.append(moved(of.is_used[::step], down, right, is_repeated=False))
        return _FilmBatch(
            _as_maps(np.stack(maps)), *(_as_numbers(np.stack(one)) for one in (lesion, used))
        )

    def _areas_under_curve(self) -> list[float]:
        """Return the area of each film that was not learnt from and has cells of both kinds."""
        self._network.eval()
        areas = []
        with torch.inference_mode():
            for film in np.flatnonzero(self._films.is_held_out).tolist():
                of = self._films.cells[film]
                logits = self._network(_as_maps(self._films.maps[0, film][None]))[0].cpu().numpy()
                inside, other = (
                    logits[of.is_used & of.is_lesion],
                    logits[of.is_used & ~of.is_lesion],
                )
                if len(inside) and len(other):
                    difference = inside[:, None] - other[None]
                    areas.append(float(np.mean(difference > 0) + np.mean(difference == 0) / 2))
        return areas

    def _present(self) -> dict[str, Tensor]:
        """Return a copy of what learns."""
        return {
            name: value.detach().clone()
            for name, value in self._network.named_parameters()
            if value.requires_grad
        }

    def _take(self, weights: Mapping[str, Tensor]) -> None:
        found = self._network.load_state_dict(dict(weights), strict=False)
        assert not found.unexpected_keys


def _as_maps(array: NDArray[Any]) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(device_here()).float()
    return tensor.contiguous(memory_format=torch.channels_last)


def _as_numbers(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32)).to(device_here())
