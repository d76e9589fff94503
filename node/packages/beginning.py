"""An ONNX file -> the beginning of a package: what the graph says, guesses, and open questions.

A guess stands under its question; while a question stands, the package is not loaded.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from node.errors import ConfigError
from node.inference.onnx import FLOATS, Graph, GraphTensor, remedy_of_input
from node.manifest import CARD, OPEN_QUESTION
from node.manifest.inputs import REGION
from node.manifest.words import Name
from node.onnx_file import opset_of
from node.packages.beginning_phases import reads_phases, write_phases
from node.packages.beginning_solids import MOST_PARTS, ask_solids, write_number, write_parts
from node.packages.draft import (
    ManifestDraft,
    Reads,
    as_list,
    guessed_code,
    guessed_label,
    output_called,
)
from node.toml_file import quoted

WEIGHTS = "model.onnx"
_EXAM = ("R CC", "L CC", "R MLO", "L MLO")
_BREAST = ("CC", "MLO")
_HEIGHT, _WIDTH = 1024, 832
"""Where the graph takes any size."""
_VIEW = re.compile(r"(?:^|[^a-z])(?:(l|r)(?:eft|ight)?)?[-_. ]?(cc|mlo)(?![a-z])")
_MOST_BOXES = 1000


def begin_package(name: str, onnx: Path, into: Path) -> Iterator[str]:
    """Write a package's folder, and yield what was found and what is to be done."""
    _require_name(name)
    folder = into / name
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; give another name, or remove it")
    draft = ManifestDraft(name, Graph(onnx))
    with _naming(onnx):
        reads = _reads(draft.graph)
    yield from _found(draft.graph)
    with _naming(onnx):
        _write_manifest(draft, reads)
    folder.mkdir(parents=True)
    shutil.copyfile(onnx, folder / WEIGHTS)
    (folder / "manifest.toml").write_text("\n".join(draft.lines) + "\n", "utf-8")
    (folder / CARD).write_text(_card(draft), "utf-8")
    yield f"wrote {folder}: manifest.toml with {draft.questions} open questions, {CARD}, {WEIGHTS}"
    yield "Answer them there: docs/models.md shows how, models/README.md tells every word. Then:"
    yield f"ai-node models check {folder}"


@contextmanager
def _naming(onnx: Path) -> Iterator[None]:
    """Name the file of which something is refused."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{onnx}: {error}") from error


def _require_name(name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        words = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"the package's name: {words}") from None


def _found(graph: Graph) -> Iterator[str]:
    yield f"operators of ONNX opset {opset_of(graph.content) or 'unsaid'}, all in one file"
    for what, tensors in (("takes", graph.inputs), ("gives", graph.outputs)):
        for one in tensors:
            yield f"{what} {one.name!r}, {one.type}, {_sizes(one.shape)}"


def _sizes(shape: Sequence[int | None]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape) or "one number"


# What it reads


def _reads(graph: Graph) -> Reads:
    for one in graph.inputs:
        if remedy := remedy_of_input(one):
            raise ConfigError(f"input {one.name!r} is {one.type} {_sizes(one.shape)}: {remedy}")
    if any(len(one.shape) == 5 for one in graph.inputs):
        return reads_phases(graph)
    if len(graph.inputs) == 1:
        return _reads_one(graph.inputs[0])
    views = [_view_of(one.name) for one in graph.inputs]
    usual = {2: _BREAST, 4: _EXAM}.get(len(views))
    if usual is None or len({one.shape[1:] for one in graph.inputs}) > 1:
        named = " and ".join(f"{one.name!r} of {_sizes(one.shape)}" for one in graph.inputs)
        raise ConfigError(
            f"it has {len(views)} inputs, {named}: two images of one size (CC and MLO of a breast) "
            "or four (the views of an exam) can be guessed; what is no image (age, a mask) cannot "
            "be given: make it a constant of the graph. Of others write the manifest yourself, as "
            "models/README.md tells"
        )
    is_sure = set(views) == set(usual)
    roles = tuple(views) if is_sure else usual
    inputs = tuple((one.name, (role,), "") for one, role in zip(graph.inputs, roles, strict=True))
    unit = "breast" if len(usual) == 2 else "exam"
    return Reads(unit, usual, inputs, graph.inputs[0].shape[1:], is_sure)


def _view_of(name: str) -> str:
    found = _VIEW.search(name.lower())
    return " ".join(part for part in found.groups() if part).upper() if found else ""


def _reads_one(one: GraphTensor) -> Reads:
    """Guess from the first axis and the channels whether several images are joined."""
    images, *of_image = one.shape
    for axis, join in (
        (images, "batch"),
        (of_image[0] if len(of_image) == 3 else None, "channels"),
    ):
        if axis in (2, 4):
            usual, unit = (_BREAST, "breast") if axis == 2 else (_EXAM, "exam")
            each = of_image if join == "batch" else [1, *of_image[1:]]
            return Reads(unit, usual, ((one.name, usual, join),), tuple(each), is_sure=False)
    if images not in (1, None):
        raise ConfigError(
            f"input {one.name!r} takes {images} images at once: export it for one, or for the two "
            "of a breast or the four of an exam"
        )
    return Reads("image", (), (), tuple(of_image))


# Manifest


def _write_manifest(draft: ManifestDraft, reads: Reads) -> None:
    outputs = _outputs(draft, reads)
    _head(draft, outputs, reads)
    if reads.is_of_volumes:
        write_phases(draft, reads, marks=any(one.kind == "solids" for one in outputs))
    else:
        _inputs(draft, reads)
        _pixels(draft, reads)
    for one in outputs:
        draft.write("", "[[outputs]]")
        one.write(draft)


def _head(draft: ManifestDraft, outputs: Sequence[_Guess], reads: Reads) -> None:
    title = draft.name.replace("-", " ").title()
    kinds = {one.kind for one in outputs}
    use = "density" if kinds == {"classes"} else "detection"
    use = "measurement" if kinds <= {"mask", "solids", "number"} else use
    draft.write(f'name = "{draft.name}"', f'title = "{title}"', 'version = "0.1.0"')
    draft.ask("Who makes it? It stands in every result.")
    draft.write('manufacturer = "Unknown"')
    draft.write(f'device_uid = "2.25.{uuid.uuid4().int}"    # another version gets another')
    draft.write('status = "research"')
    uses = "measurement" if reads.is_of_volumes else "measurement, density"
    draft.ask(f"What is it for: {uses}, detection or triage? Triage needs [triage].")
    draft.write(f'intended_use = "{use}"')
    if reads.is_of_volumes:
        draft.write('domain = "breast_mr"')
    draft.ask("One ASCII sentence for the report: what are the numbers, and what are they not?")
    draft.write('statement = "Not described yet."', "", "[licence]")
    draft.ask("Under which licences (SPDX) are the code and the weights?")
    draft.write('code = "NOASSERTION"', 'weights = "NOASSERTION"', "", "[weights]")
    digest = hashlib.sha256(draft.graph.content).hexdigest()
    draft.write(f'file = "{WEIGHTS}"', f'sha256 = "{digest}"', "")


def _inputs(draft: ManifestDraft, reads: Reads) -> None:
    draft.write("[input]")
    draft.ask('Mammograms? For others add domain = "plain" to the head; see docs/models.md.')
    draft.write('modality = "MG"')
    draft.ask("For Presentation, as here, or For Processing (1.2.840.10008.5.1.4.1.1.1.2.1)?")
    draft.write('sop_classes = ["1.2.840.10008.5.1.4.1.1.1.2"]')
    draft.ask("Which views was it made for?")
    draft.write('projections = ["CC", "MLO"]')
    draft.write('expected_views = ["R CC", "L CC", "R MLO", "L MLO"]')
    if reads.unit == "image":
        return
    draft.write("", "[unit]", f'of = "{reads.unit}"', f"roles = {as_list(reads.roles)}")
    draft.ask("If an image of these is missing: refuse, or blank (the network gets zeros)?")
    draft.write('missing = "refuse"', 'repeated = "refuse"')
    for tensor, roles, join in reads.inputs:
        draft.write("", "[[inputs]]", f"tensor = {quoted(tensor)}")
        if not reads.is_sure:
            draft.ask("Which image is this, or in which order are these? The graph does not tell.")
        draft.write(f"roles = {as_list(roles)}", *([f'join = "{join}"'] if join else []))


def _pixels(draft: ManifestDraft, reads: Reads) -> None:
    draft.write("", "[[pixels]]", 'op = "grey"')
    if len(reads.of_image) == 1:
        draft.ask("A vector: a histogram of the image, over stored values, as here?")
        draft.write('values = "stored"', 'scale = "none"', "", "[[pixels]]", 'op = "histogram"')
        draft.write(f"bins = {(reads.of_image[0] or 50) // max(1, _joined(reads))}")
        return
    channels, height, width = reads.of_image
    draft.ask("As displayed (voi), or as stored (scale 2^bits-1 or none)? As in training.")
    draft.write('values = "voi"', 'scale = "range of voi"', "", "[[pixels]]", 'op = "mirror"')
    draft.ask("Is the chest wall on the left in training? Else right, or without this table.")
    draft.write('chest_wall = "left"', "", "[[pixels]]", 'op = "resize"')
    if height is None or width is None:
        draft.ask(f"The graph takes any size; which one has it learnt from? Here {_HEIGHT} rows.")
    draft.write(f"height = {height or _HEIGHT}", f"width = {width or _WIDTH}")
    draft.ask("pad or stretch, with which filter, antialiased or not? As in training.")
    draft.write('fit = "pad"', 'filter = "bilinear"', "antialias = true")
    if channels not in (1, None):
        draft.write("", "[[pixels]]", 'op = "channels"', f"count = {channels}")
    draft.write("", "[[pixels]]", 'op = "normalise"')
    draft.ask(
        "Which numbers are subtracted and divided by before the network? As here it gets 0..1."
    )
    draft.write("subtract = [0.0]", "divide = [1.0]")


def _joined(reads: Reads) -> int:
    """Return how many vectors one input holds."""
    return max((len(roles) for _, roles, join in reads.inputs if join == "concatenate"), default=1)


# Outputs


@dataclass(frozen=True, slots=True)
class _Guess:
    """What an output may be."""

    tensor: str
    kind: str
    count: int
    """Of numbers, classes or boxes."""
    size: tuple[int, int]
    activation: str
    unit: str
    """What it is about: image, breast or exam."""
    is_of_volumes: bool = False
    """Whether it is of phases, not of mammograms."""
    has_classes: bool = False
    """Of boxes: each has the number of one in its last place."""
    is_count_fixed: bool = True

    def write(self, draft: ManifestDraft) -> None:
        draft.write(f'name = "{output_called(self.tensor)}"', f'kind = "{self.kind}"')
        draft.write(f"tensor = {quoted(self.tensor)}")
        _WRITE[self.kind](draft, self)
        if self.activation != "none":
            what = "did not add up to 1" if self.activation == "softmax" else "were not 0..1"
            draft.ask(f"On noise its numbers {what}, which looks like logits. Are they?")
            draft.write(f'activation = "{self.activation}"')
        if self.kind == "classes":
            _write_classes(draft, self)
        if self.kind == "solids":
            write_parts(draft, self.tensor, self.count)


def _outputs(draft: ManifestDraft, reads: Reads) -> list[_Guess]:
    answers = _sampled(draft.graph, reads)
    guesses = []
    for one in draft.graph.outputs:
        shape = _shape_of(one, answers)
        if guess := _guess(one, shape, reads, answers.get(one.name)):
            guesses.append(guess)
        else:
            what = f"{one.name!r}, {one.type}, {_sizes(shape)}"
            draft.write(f"# Not used: {what}: no output has this form.")
    if not guesses and reads.is_of_volumes:
        slices, rows, columns = reads.of_image[1:]
        raise ConfigError(
            "no output has a form that a manifest has a word for: of volumes [1, parts, slices, "
            f"rows, columns] of solids, as large as what it reads ({slices} x {rows} x {columns}) "
            f"and of {MOST_PARTS} parts at most, [1, 1] of a number, [1, n] of scores or classes, "
            "all of float32"
        )
    if not guesses:
        raise ConfigError(
            "no output has a form that a manifest has a word for: [1, n] of scores or classes, "
            "[1, boxes, 5 or 6], [1, 1, height, width] of a mask or heat map, all of float32; of a "
            f"detector keep at most {_MOST_BOXES} boxes, without those that overlap, in the graph "
            "(exporters call it nms)"
        )
    return guesses


def _sampled(graph: Graph, reads: Reads) -> dict[str, Any]:
    """Run it once on noise, in the size that the manifest will say."""
    random = np.random.default_rng(0)
    given = {}
    channels = len(reads.inputs[0][1]) if reads.inputs else 1
    for one in graph.inputs:
        filled = {
            4: [1, _channels(reads), _HEIGHT, _WIDTH],
            5: [1, channels, *(size or 1 for size in reads.of_image[1:])],
        }.get(len(one.shape), [1, 50])
        shape = [size or usual for size, usual in zip(one.shape, filled, strict=True)]
        noise = random.random(shape)
        is_region = (one.name, (REGION,), "") in reads.inputs
        given[one.name] = (np.floor(5 * noise) if is_region else noise).astype(np.float32)
    return graph.answers(given)


def _channels(reads: Reads) -> int:
    return reads.of_image[0] or 1


def _shape_of(one: GraphTensor, answers: dict[str, Any]) -> tuple[int | None, ...]:
    found = getattr(answers.get(one.name), "shape", ())
    return tuple(found) if len(found) == len(one.shape) else one.shape


def _guess(
    one: GraphTensor, shape: tuple[int | None, ...], reads: Reads, answer: Any
) -> _Guess | None:
    if one.type != FLOATS or shape[:1] not in ((1,), (None,)):
        return None
    size = (
        (reads.of_image[-2] or _HEIGHT, reads.of_image[-1] or _WIDTH)
        if len(reads.of_image) == 3
        else (0, 0)
    )
    found = _form_of_volumes(shape, reads) if reads.is_of_volumes else None
    found = found or _form(shape, size, is_image=reads.unit == "image")
    if found is None:
        return None
    kind, number, sides = found
    has_classes = kind == "boxes" and shape[2] == 6
    activation, is_fixed = _activation(kind, number, answer), one.shape[1] is not None
    return _Guess(
        one.name,
        kind,
        number,
        sides,
        activation,
        reads.unit,
        is_of_volumes=reads.is_of_volumes,
        has_classes=has_classes,
        is_count_fixed=is_fixed,
    )


_Form = tuple[str, int, tuple[int, int]]
"""Kind, how many numbers, classes, boxes or parts, and height and width."""


def _form(shape: tuple[int | None, ...], size: tuple[int, int], *, is_image: bool) -> _Form | None:
    found: _Form | None = None
    match shape[1:]:
        case (1 | 2 as count,):  # two: benign and malignant, more often than two grades
            found = ("score", count, size)
        case (int(count),) if count > 1:
            found = ("classes", count, size)
        case (int(count), 5 | 6) if count <= _MOST_BOXES and is_image and size[0]:
            found = ("boxes", count, size)
        case (1, int(height), int(width)) if (height, width) == size and is_image:
            found = ("mask", 1, size)
        case (1, int(height), int(width)) if 2 <= height <= 128 and 2 <= width <= 128 and is_image:
            found = ("heat map", 1, (height, width))
    return found


def _form_of_volumes(shape: tuple[int | None, ...], reads: Reads) -> _Form | None:
    if shape[1:] == (1,):
        return "number", 1, (0, 0)
    parts = (shape[1] if len(shape) == 5 else None) or 0
    if shape[2:] == reads.of_image[1:] and 1 <= parts <= MOST_PARTS:
        return "solids", parts, (0, 0)
    return None


def _activation(kind: str, count: int, answer: Any) -> str:
    """Return what turns the answer into 0..1, if it is not."""
    if answer is None or kind == "number":
        return "none"
    values = answer[..., 4] if kind == "boxes" else answer
    is_right = values.size == 0 or (values.min() >= 0 and values.max() <= 1)
    if kind == "classes":
        return "none" if is_right and abs(values.sum() - 1) < 0.01 else "softmax"
    several = "softmax" if kind == "score" and count > 1 else "sigmoid"
    return "none" if is_right else several


def _label(draft: ManifestDraft, guess: _Guess) -> None:
    example = '"mass" gives "R MLO mass"'
    if guess.is_of_volumes:
        example = '"uptake score" gives "Exam uptake score"'
    draft.ask(f"What is it called in reports? {example}.")
    draft.write(f"label = {quoted(guessed_label(guess.tensor))}")


def _write_score(draft: ManifestDraft, guess: _Guess) -> None:
    if guess.count > 1:
        draft.ask(
            "Is the second of two numbers the score (benign, malignant), element 1 counted from 0? "
            'Of two grades write kind = "classes".'
        )
        if guess.is_of_volumes:
            draft.write(
                '# Of a number of each breast: two of kind = "number", about = "R breast" and',
                '# "L breast", element = 0 and 1, as models/README.md, "Solids", shows them.',
            )
        draft.write("element = 1")
    _label(draft, guess)
    draft.ask_codes("The code of the score")
    draft.write(f"score = {guessed_code(guess.tensor, '', 'Score')}")
    _write_combine(draft, guess, "highest")


def _write_combine(draft: ManifestDraft, guess: _Guess, word: str) -> None:
    if guess.unit == "exam":
        return
    exam = f'exam = "{word if word == "highest" else "none"}"'
    if guess.unit == "breast":
        draft.ask("How do breasts combine to an exam? See Combination.")
        draft.write(f"combine = {{ {exam} }}")
        return
    draft.ask("How do images combine to a breast, and breasts to an exam? See Combination.")
    draft.write(f'combine = {{ breast = "{word}", {exam} }}')


def _write_head_of_classes(draft: ManifestDraft, guess: _Guess) -> None:
    draft.ask(
        f"Classes that exclude one another? Else {guess.count} outputs of kind score, element 0 ..."
    )
    _label(draft, guess)
    draft.ask_codes("What is graded")
    draft.write(f"concept = {guessed_code(guess.tensor, '', 'Grade')}")
    _write_combine(draft, guess, "mean")


def _write_classes(draft: ManifestDraft, guess: _Guess) -> None:
    for number in range(guess.count):
        draft.write("", "[[outputs.classes]]")
        if number == 0:
            draft.ask_codes("Each class and its probability, in the order of the tensor")
        for word, end in (("grade", ""), ("probability", "P")):
            meaning = f"{'Probability of class' if end else 'Class'} {number}"
            draft.write(f"{word} = {guessed_code('CLASS', f'{number}{end}', meaning)}")


def _write_boxes(draft: ManifestDraft, guess: _Guess) -> None:
    draft.ask("Rows are left, top, right, bottom in pixels of the input, then a score: as here?")
    if not guess.is_count_fixed:
        draft.ask(
            "Are there always so many rows? The graph does not say it; where there are not, end it "
            "in TopK and Pad: unused rows score 0."
        )
    draft.write(f"boxes = {guess.count}")
    draft.ask("From which score on is a box a finding?")
    draft.write("threshold = 0.5")
    _label(draft, guess)
    draft.ask_codes("What is in the boxes, and the code of the score")
    draft.write(f"finding = {guessed_code(guess.tensor, 'F', 'Finding')}")
    draft.write(f"score = {guessed_code(guess.tensor, 'S', 'Score')}")
    if guess.has_classes:
        draft.write('form = "left top right bottom score class"')
        draft.ask("Which classes are there, in the order of their numbers from 0?")
        code = guessed_code(guess.tensor, "0", "Class 0")
        draft.write(f'classes = [{{ finding = {code}, label = "class 0" }}]')


def _write_mask(draft: ManifestDraft, guess: _Guess) -> None:
    draft.ask('The whole breast (regions = "largest"), or lesions (regions = "all")?')
    draft.write('regions = "largest"')
    _label(draft, guess)
    draft.ask_codes("What is outlined")
    draft.write('finding = { value = "76752008", scheme = "SCT", meaning = "Breast" }')
    draft.write('area = { value = "42798000", scheme = "SCT", meaning = "Area" }')


def _write_map(draft: ManifestDraft, guess: _Guess) -> None:
    _label(draft, guess)
    draft.write(f"height = {guess.size[0]}", f"width = {guess.size[1]}")
    draft.ask_codes("What is warm in it")
    draft.write(f"concept = {guessed_code(guess.tensor, 'H', 'Where the network looked')}")


_WRITE: dict[str, Callable[[ManifestDraft, _Guess], None]] = {
    "score": _write_score,
    "classes": _write_head_of_classes,
    "boxes": _write_boxes,
    "mask": _write_mask,
    "heat map": _write_map,
    "number": lambda draft, guess: write_number(draft, guess.tensor),
    "solids": lambda draft, guess: ask_solids(draft, guess.tensor, guess.count),
}


def _card(draft: ManifestDraft) -> str:
    title = draft.name.replace("-", " ").title()
    sections = {
        "What it is": "What does it read, and what does it answer? Of which architecture is it?",
        "What it is not": "What must nobody read into its numbers?",
        "What it learnt from": "Which data, how many women, which devices, which years?",
        "Measured": "How well, on which data that the weights never saw, by which command? Figures "
        "with their interval, 0.91 (0.87 to 0.94), and the number of cases, n = 322.",
        "Limits": "Where does it fail, and where was it not tried?",
    }
    parts = [f"# {title} 0.1.0\n"]
    parts += [f"## {head}\n\n{OPEN_QUESTION}: {words}\n" for head, words in sections.items()]
    return "\n".join(parts)
