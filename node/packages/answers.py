"""What can be noticed of a network's answers: random, blind, normalised, logits, y before x.

Each function yields sentences: what is amiss, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.inference.answers import activated
from node.inference.classes import TOLERANCE
from node.inference.session import Session, Tensor
from node.manifest import (
    BoxesOutput,
    ClassesOutput,
    Manifest,
    MapOutput,
    MaskOutput,
    Model,
    NumberOutput,
    Output,
    ScoreOutput,
    SolidsOutput,
)
from node.packages.exams import GIVE_FILES, PreparedUnit, tensors_of

SAME = 1e-6
"""Answers that differ by no more, of 1 or of the largest, are the same answer."""
REPEATABLE = 1e-4
"""By so much two runs may differ: not all devices add in the same order each time."""
_BREAST = 0.02
"""Above this share of its range a tensor shows something, and not its background."""
_SPREAD = 0.5

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was given to the network, and what it said, twice."""

    name: str
    seen: Tensor | None
    """What is made of the image, if the network reads one."""
    answers: Mapping[str, Tensor]
    again: Mapping[str, Tensor]


def ask(model: Model, session: Session, units: Sequence[PreparedUnit]) -> list[Asked]:
    """Run a network twice on each unit."""
    asked = []
    for unit in units:
        given = tensors_of(model, session, unit.by_role)
        seen = unit.images[0].prepared.tensor if len(unit.images) == 1 else None
        asked.append(Asked(unit.name, seen, session.run(given), session.run(given)))
    return asked


BLACK_UNIT = PreparedUnit("a black image")
"""Nothing in any role: no image is like it, and nothing but that is expected of the answer."""


def amiss_in_answers(manifest: Manifest, asked: Sequence[Asked], black: Asked) -> Iterator[str]:
    """Yield what is amiss in the answers."""
    yield from _not_repeatable(asked)
    yield from _out_of_range(manifest, asked)
    yield from _blind(manifest, [*asked, black])
    for output in manifest.outputs:
        if isinstance(output, BoxesOutput):
            yield from _amiss_in_boxes(output, manifest, asked)


def blind_roles(model: Model, session: Session, units: Sequence[PreparedUnit]) -> Iterator[str]:
    """Yield the roles whose images change no answer, of a network that reads several at once."""
    whole = [unit.by_role for unit in units if len(unit.by_role) > 1]
    answers = [session.run(tensors_of(model, session, images)) for images in whole]
    given = dict.fromkeys(role for one in model.manifest.inputs for role in one.roles)
    for role in (given or model.manifest.unit.all_roles) if whole else ():
        others = ({key: one for key, one in images.items() if key != role} for images in whole)
        without = [session.run(tensors_of(model, session, images)) for images in others]
        if all(_same(*pair) for pair in zip(answers, without, strict=True)):
            yield (
                f"the answers are the same whether {role!r} is there or black: its input is not "
                "used; compare [[inputs]] with the graph"
            )


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(
        _largest_difference(one[name], other[name]) <= _allowed(SAME, one[name]) for name in one
    )


def _not_repeatable(asked: Sequence[Asked]) -> Iterator[str]:
    for name in asked[0].answers:
        for one in asked:
            difference = _largest_difference(one.answers[name], one.again[name])
            if difference > _allowed(REPEATABLE, one.answers[name]):
                yield (
                    f"two runs on one image ({one.name}) differ by {difference:.2g} in {name!r}: "
                    "something random is left in the graph; export it for inference, after "
                    "model.eval(), without dropout or noise"
                )
                break


def _largest_difference(one: Tensor, other: Tensor) -> float:
    return float(differences(one, other).max(initial=0))


def differences(one: NDArray[Any], other: NDArray[Any]) -> _Numbers:
    """Return how far values differ: NaN, where there is no number, from itself not at all."""
    apart = np.abs(one.astype(np.float64) - other)
    both = np.isnan(one) & np.isnan(other)
    return np.where(both, 0, np.where(np.isnan(apart), np.inf, apart))


def _allowed(share: float, of: Tensor) -> float:
    return share * max(1.0, float(np.nan_to_num(np.abs(of)).max(initial=0)))


# Range


def _out_of_range(manifest: Manifest, asked: Sequence[Asked]) -> Iterator[str]:
    for output in manifest.outputs:
        for tensor, raw, activation in _scores(output, asked):
            values = np.stack([activated(row, activation).astype(np.float64) for row in raw])
            if values.size and (values.min() < 0 or values.max() > 1 + TOLERANCE):
                yield _as_logits(tensor, values, isinstance(output, ClassesOutput))
            elif isinstance(output, ClassesOutput) and not _adds_up(values):
                most = float(values.sum(axis=-1).max())
                yield (
                    f"{tensor!r} holds probabilities that add up to {most:.3g}, expected 1: of "
                    'logits add activation = "softmax"; of scores that do not exclude one another '
                    'write several outputs of kind = "score" with element = 0, 1, ...'
                )
            elif activation != "none" and _is_activated_already(np.stack(raw), activation):
                yield (
                    f'activation = "{activation}" is applied to {tensor!r}, which holds '
                    "probabilities already: take the word out"
                )


def _scores(output: Output, asked: Sequence[Asked]) -> Iterator[tuple[str, list[Tensor], str]]:
    """Yield what must be 0..1, by tensor: of each image, and the activation that is applied."""
    match output:
        case ScoreOutput():
            rows = [one.answers[output.tensor][0] for one in asked]
            if output.activation != "softmax" and output.element is not None:
                rows = [row[output.element : output.element + 1] for row in rows]
            yield output.tensor, rows, output.activation
        case ClassesOutput():
            yield output.tensor, [one.answers[output.tensor][0] for one in asked], output.activation
        case BoxesOutput():
            scores = [one.answers[output.tensor][0, :, 4] for one in asked]
            yield output.tensor, scores, output.activation
        case MaskOutput() | MapOutput() | SolidsOutput():
            yield output.tensor, [one.answers[output.tensor][0] for one in asked], output.activation
        case NumberOutput():
            pass  # it may be any
    if isinstance(output, ScoreOutput) and output.warmth is not None:
        tensor = output.warmth.tensor
        yield tensor, [one.answers[tensor][0] for one in asked], "none"


def _as_logits(tensor: str, values: _Numbers, is_of_classes: bool) -> str:
    words = f"{tensor!r} holds {values.min():.3g} to {values.max():.3g}, expected 0..1: "
    is_percent = np.allclose(values.sum(axis=-1), 100) if is_of_classes else values.max() > 2
    if values.min() >= 0 and values.max() <= 100 and is_percent:
        return f"{words}they look like percent; end the graph in a division by 100"
    word = "softmax" if is_of_classes else "sigmoid"
    return f'{words}they look like logits; add activation = "{word}", or end the graph in it'


def _adds_up(values: _Numbers) -> bool:
    return bool(np.all(np.abs(values.sum(axis=-1) - 1) <= TOLERANCE))


def _is_activated_already(raw: Tensor, activation: str) -> bool:
    """Whether what is taken for logits cannot be any."""
    if raw.min() < 0 or raw.max() > 1:
        return False
    if activation == "softmax":
        return bool(np.all(np.abs(raw.astype(np.float64).sum(axis=-1) - 1) <= TOLERANCE))
    return bool(raw.size >= 100 and np.ptp(raw) > _SPREAD)


# Blindness


def _blind(manifest: Manifest, asked: Sequence[Asked]) -> Iterator[str]:
    """Yield tensors that are the same for all images, though something is said in them."""
    for output in manifest.outputs:
        rows = [one.answers[output.tensor] for one in asked]
        if isinstance(output, ScoreOutput) and output.element is not None:
            rows = [row[..., output.element] for row in rows]
        same = all(_largest_difference(row, rows[0]) <= _allowed(SAME, rows[0]) for row in rows)
        if same and not _finds_nothing(output, asked[0]):
            yield (
                f"{output.tensor!r} is the same{_says(rows)} for all of {len(asked)} images "
                f"that differ clearly, {_unlike(manifest)}, and black: the network "
                "does not look at its input; export it with the input that it is run "
                f"on, or, if it is right to say the same of these, {GIVE_FILES}"
            )


def _unlike(manifest: Manifest) -> str:
    planted = "lesions" if manifest.unit.is_of_volumes else "a bright disc"
    return f"exams with and without {planted}"


def _finds_nothing(output: Output, one: Asked) -> bool:
    """Whether a detector, which may find nothing anywhere, has found nothing, or a number none."""
    if isinstance(output, BoxesOutput):
        return not len(_sure(output, one))
    is_of_all = isinstance(output, MaskOutput) and output.regions == "all"
    if isinstance(output, MaskOutput | SolidsOutput) and (is_of_all or output.places == "solids"):
        marked = activated(one.answers[output.tensor], output.activation) > output.threshold
        return not bool(marked.any())
    if isinstance(output, NumberOutput):
        return bool(np.isnan(one.answers[output.tensor]).all())
    return False


def _says(rows: Sequence[Tensor]) -> str:
    return f" ({float(rows[0].reshape(-1)[0]):.3g})" if rows[0].size == 1 else ""


# Boxes


def _amiss_in_boxes(
    output: BoxesOutput, manifest: Manifest, asked: Sequence[Asked]
) -> Iterator[str]:
    used = np.concatenate([_sure(output, one) for one in asked]).astype(np.float64)
    if not len(used):  # what is in rows that are none is nobody's affair
        return
    left, top, right, bottom = used[:, :4].T
    height, width = manifest.image_shape[-2:]
    if used[:, :4].min() >= -1 and used[:, :4].max() <= 2:
        yield (
            f"{output.tensor!r} holds edges of {used[:, :4].min():.3g} to {used[:, :4].max():.3g}, "
            "which look normalised; end the graph in a multiplication by width and height, "
            f"{width} and {height}"
        )
    elif np.mean((right <= left) | (bottom <= top)) > 0.5:
        yield (
            f"{output.tensor!r} holds boxes whose right is not right of their left, or whose "
            "bottom is not below their top: they look like centre and size; expected are left, "
            "top, right, bottom"
        )
    elif _is_row_first(output, asked, (height, width)):
        yield (
            f"{output.tensor!r} holds boxes that lie outside the image or what is seen in it, and "
            "inside if rows and columns are exchanged: they look like top, left, bottom, right; "
            "expected are left, top, right, bottom"
        )


def _is_row_first(output: BoxesOutput, asked: Sequence[Asked], size: tuple[int, int]) -> bool:
    """Whether the sure boxes lie where something is only if y is taken for x."""
    straight, exchanged = [], []
    for one in asked:
        if one.seen is None:
            continue
        plane = one.seen[0, 0]
        shown = plane > plane.min() + _BREAST * np.ptp(plane)
        for left, top, right, bottom in _sure(output, one)[:, :4].tolist():
            straight.append(_lies_on(shown, (left, top, right, bottom), size))
            exchanged.append(_lies_on(shown, (top, left, bottom, right), size))
    if not straight:
        return False
    return bool(np.mean(straight) < 0.5 and np.mean(exchanged) - np.mean(straight) > _SPREAD / 2)


def _lies_on(
    shown: NDArray[np.bool_], box: tuple[float, float, float, float], size: tuple[int, int]
) -> bool:
    left, top, right, bottom = box
    height, width = size
    x, y = int((left + right) / 2), int((top + bottom) / 2)
    return (
        right <= width + 1
        and bottom <= height + 1
        and bool(shown[min(y, height - 1), min(x, width - 1)])
    )


def _sure(output: BoxesOutput, one: Asked) -> Tensor:
    rows = one.answers[output.tensor][0]
    found: Tensor = rows[activated(rows[:, 4], output.activation) >= output.threshold]
    return found
