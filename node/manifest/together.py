"""What holds for all outputs of a package: names, sides, combination, places, operating points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from node.manifest.inputs import EACH_POST, Input, ManifestUnit, PartOfStudy
from node.manifest.output_words import Combination, ImageShape, TensorShape
from node.manifest.outputs import ClassesOutput, Output, ScoreOutput, tensor_shapes_of
from node.manifest.triage import ManifestPoint, ManifestTriage
from node.study import Laterality, View
from node.toml_file import Place

OF_FORMER_MANIFESTS = {
    "score": Combination(breast="highest", exam="highest"),
    "classes": Combination(breast="mean", exam="mean"),
}
"""What an [output] means, which says nothing of combination."""
UNCOMBINED = Combination(breast="none", exam="none")

Numbered = Sequence[tuple[Place, Output]]
"""Each output with its place in the manifest."""


def part_of(output: Output, unit: PartOfStudy) -> PartOfStudy:
    """Return what an output is about: all that is read at once, if it does not say."""
    if output.about in ("R breast", "L breast"):
        return "breast"
    return output.about or unit  # type: ignore[return-value]  # the sides are gone


def completed(
    output: Output, unit: PartOfStudy, is_former: bool, *, is_repeated: bool = False
) -> Output:
    """Return an output with every word in it that follows from others.

    `is_repeated`: the network answers several times of what it is about, phase by phase.
    """
    words: dict[str, object] = {"about": output.about or unit}
    if not output.name:
        words["name"] = output.kind
    if isinstance(output, ScoreOutput | ClassesOutput):
        said = output.combine or Combination()
        if is_former:
            said = OF_FORMER_MANIFESTS[output.kind]
        below = part_of(output, unit)
        words["combine"] = Combination(
            breast=said.breast or "none" if below == "image" else "none",
            exam=said.exam or "none" if below != "exam" or is_repeated else "none",
        )
    return output.model_copy(update=words)


def with_shared_words(outputs: Sequence[Output]) -> Iterator[Output]:
    """Yield the outputs, the second side of a thing with what was said of its first."""
    first: dict[str, Output] = {}
    for output in outputs:
        other = first.setdefault(output.name, output)
        shared = _SAID_ONCE & type(output).model_fields.keys() - output.model_fields_set
        said = {word: getattr(other, word) for word in shared & type(other).model_fields.keys()}
        yield output.model_copy(update=said) if other is not output and said else output


_SAID_ONCE = {"calibration", "operating_points", "negatives"}


def amiss_in_former(outputs: Numbered) -> Iterator[tuple[Place, str]]:
    """Yield words that came with [[outputs]], where an [output] means what it always meant."""
    for place, output in outputs:
        for word in sorted(output.LATER & output.model_fields_set):
            yield (*place, word), "is a word of [[outputs]]: write that for [output], with a name"


def amiss_in_about(outputs: Numbered, unit: PartOfStudy) -> Iterator[tuple[Place, str]]:
    """Yield where an output is about something that it cannot be about."""
    for place, output in outputs:
        if output.about is None:
            continue
        if output.about in ("R breast", "L breast"):
            if unit != "exam":
                yield (
                    (*place, "about"),
                    'a side is of what reads the whole exam: [unit] of = "exam"',
                )
        elif output.about != unit:
            yield (*place, "about"), f'expected "{unit}", which [unit] says the network reads'


def amiss_in_combination(
    outputs: Numbered, unit: PartOfStudy, domain: str, *, is_repeated: bool = False
) -> Iterator[tuple[Place, str]]:
    """Yield where the author has not chosen how answers combine, or chose it of what is not."""
    for place, output in outputs:
        if not isinstance(output, ScoreOutput | ClassesOutput):
            continue
        below = part_of(output, unit)
        needed: tuple[str, ...] = ()
        if domain == "mammography":
            needed = {"image": ("breast", "exam"), "breast": ("exam",), "exam": ()}[below]
        elif is_repeated:
            needed = ("exam",)
        said = output.combine or Combination()
        for word in ("breast", "exam"):
            choice = getattr(said, word)
            if choice is None and word in needed:
                rest = ' | "mean of views"' if word == "breast" else ""
                words = (
                    f"missing: what is said of the {word}? combine = "
                    f'{{ {word} = "highest" | "mean"{rest} | "none" }}'
                )
                yield (*place, "combine", word), words
            elif choice not in (None, "none") and word not in needed:
                yield (*place, "combine", word), f"of what it is about nothing is a {word}'s part"


def amiss_in_means(outputs: Numbered, intended_use: str) -> Iterator[tuple[Place, str]]:
    """Yield where a mean over breasts would hide the one that is ill."""
    for place, output in outputs:
        if output.combines and output.combines.exam == "mean":
            yield (
                (*place, "combine", "exam"),
                'a mean over breasts hides the one that is ill (intended_use = "'
                f'{intended_use}"): write "highest" or "none"',
            )


def amiss_in_names(outputs: Numbered) -> Iterator[tuple[Place, str]]:
    """Yield where two outputs could not be told apart; two sides of one thing share its name."""
    for i, (place, output) in enumerate(outputs):
        for _, other in outputs[:i]:
            if (output.name or output.kind) == (other.name or other.kind):
                yield from _amiss_in_sides(place, output, other)
            elif output.label == other.label:
                yield (*place, "label"), f'is that of the output "{other.name}", too'


def _amiss_in_sides(place: Place, output: Output, other: Output) -> Iterator[tuple[Place, str]]:
    sides = {output.about, other.about}
    if sides != {"R breast", "L breast"} or output.kind != other.kind:
        words = f'"{output.name}" is there twice, and not about "R breast" and "L breast"'
        yield (*place, "name"), words
        return
    own = {"tensor", "element", "about"}
    for word in sorted(type(output).model_fields.keys() - own):
        if getattr(output, word) != getattr(other, word):
            yield (*place, word), f'differs from that of the other side of "{output.name}"'


def narrower(one: TensorShape, other: TensorShape) -> TensorShape | None:
    """Return the shape that is both, None if nothing is."""
    pairs = zip(one, other, strict=False)
    if len(one) != len(other) or any(a != b and None not in (a, b) for a, b in pairs):
        return None
    return tuple(b if a is None else a for a, b in zip(one, other, strict=True))


def amiss_in_tensors(
    outputs: Numbered, of_image: ImageShape, batch: int
) -> Iterator[tuple[Place, str]]:
    """Yield where a tensor would have to be of two shapes."""
    known: dict[str, TensorShape] = {}
    for place, output in outputs:
        for tensor, shape in tensor_shapes_of(output, of_image, batch).items():
            both = narrower(known.get(tensor, shape), shape)
            if both is None:
                words = f'"{tensor}" is of {shape} here, and of {known[tensor]} for another output'
                yield (*place, "tensor"), words
            known[tensor] = both or shape


def amiss_in_places(
    outputs: Numbered, unit: PartOfStudy, of_image: ImageShape
) -> Iterator[tuple[Place, str]]:
    """Yield where the network would have to say where on which image something is."""
    for place, output in outputs:
        if output.places == "solids":
            if len(of_image) != 4:
                yield (*place, "kind"), "there are solids in volumes alone, of breast MRI"
        elif output.places and unit != "image":
            words = (
                "a place is on one image, and the network reads several at once: such a model "
                "gives scores and classes"
            )
            yield (*place, "kind"), words
        elif output.places and len(of_image) != 3:
            yield (*place, "kind"), "there are no places in a vector, which [[pixels]] end in"
    maps = [place for place, output in outputs if output.places == "warmth"]
    for place in maps[1:]:
        yield (*place, "kind"), "is a second heat map; the report shows one"


def amiss_in_what_points_are_about(
    outputs: Numbered, unit: PartOfStudy
) -> Iterator[tuple[Place, str]]:
    """Yield where an operating point is about something of which there is no score."""
    for place, output in outputs:
        if not isinstance(output, ScoreOutput):
            continue
        there = {part_of(output, unit)}
        combine = output.combine or UNCOMBINED
        there |= {"breast"} if combine.breast not in (None, "none") else set()
        there |= {"exam"} if combine.exam not in (None, "none") else set()
        for i, point in enumerate(output.operating_points):
            if point.about not in there:
                words = f"there is no score of that, only of: {', '.join(sorted(there))}"
                yield (*place, "operating_points", i, "about"), words


def amiss_in_expected(wanted: Input, unit: ManifestUnit) -> Iterator[str]:
    """Yield why an exam of which something was not seen could be called routine.

    What is not expected is not missed: both sides of whatever is, and what is read at once.
    """
    read = [view for view in wanted.expected if view.projection in wanted.projections]
    if not read:
        yield (
            "missing: without them nobody knows that a view is missing, and "
            'intended_use = "triage" must not call such an exam routine'
        )
    projections = {view.projection for view in read}
    projections |= {role.split()[-1] for role in unit.roles}
    both = {
        View(side, projection)
        for projection in projections
        for side in (Laterality.RIGHT, Laterality.LEFT)
    }
    if missing := sorted(map(str, both - wanted.expected)):
        named = ", ".join(f'"{view}"' for view in missing)
        yield (
            f"without {named}, which nobody would miss: an exam of which only one side was seen "
            "must not be called routine"
        )


def amiss_in_triage_of_phases(wanted: Input, unit: ManifestUnit) -> Iterator[tuple[Place, str]]:
    """Yield why a breast MRI of which something was not seen could be called routine."""
    if "pre" not in unit.roles:
        yield (
            ("unit", "roles"),
            'without "pre" nobody sees whether both breasts are in the images, and '
            'intended_use = "triage" must not call an exam of one routine',
        )
    if unit.is_repeated and wanted.expected_phases is None:
        yield (
            ("input", "expected_phases"),
            f'missing: without it nobody knows that a phase of "{EACH_POST}" is missing, and '
            'intended_use = "triage" must not call such an exam routine',
        )


def amiss_in_triage(
    outputs: Numbered, triage: ManifestTriage | None, intended_use: str
) -> Iterator[tuple[Place, str]]:
    """Yield why no level follows from the words, or why they have no effect."""
    if (triage is None) != (intended_use != "triage"):
        yield (
            (("triage",), 'has no effect: write intended_use = "triage"')
            if triage
            else (("triage",), 'missing: intended_use = "triage" needs [triage] output and urgent')
        )
    if triage is None:
        return
    output = next((o for _, o in outputs if (o.name or o.kind) == triage.output), None)
    if not isinstance(output, ScoreOutput):
        scores = [f'"{o.name or o.kind}"' for _, o in outputs if isinstance(o, ScoreOutput)]
        words = f"expected the name of a score ({', '.join(scores) or 'there is none'}), found"
        yield ("triage", "output"), f'{words} "{triage.output}"'
        return
    sides = {o.about for _, o in outputs if (o.name or o.kind) == triage.output}
    for side, other in (("R breast", "L breast"), ("L breast", "R breast")):
        if side in sides and other not in sides:
            words = f'"{triage.output}" is about the {side} alone: add that of the {other}'
            yield ("triage", "output"), words
    points = {point.name: point for point in output.operating_points}
    for word, name in (("urgent", triage.urgent), ("soon", triage.soon)):
        if name is not None and name not in points:
            known = ", ".join(f'"{point}"' for point in points) or "of which there is none"
            words = f'expected an operating point of "{triage.output}" ({known}), found "{name}"'
            yield ("triage", word), words
    yield from _amiss_in_order(points, triage)


def _amiss_in_order(
    points: dict[str, ManifestPoint], triage: ManifestTriage
) -> Iterator[tuple[Place, str]]:
    urgent, soon = points.get(triage.urgent), points.get(triage.soon or "")
    if urgent is None or soon is None:
        return
    if urgent.about != soon.about:
        yield ("triage", "soon"), f"is about the {soon.about}, urgent about the {urgent.about}"
    elif soon.threshold >= urgent.threshold:
        words = (
            f"its threshold ({soon.threshold:g}) must be below that of urgent"
            f" ({urgent.threshold:g})"
        )
        yield ("triage", "soon"), words
