"""What the labels of a table mean for a model: which are positive, which are its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from node.errors import ConfigError
from node.evaluation.collection import LabelledExam
from node.evaluation.labels import LabelRow, LabelTable, refuse
from node.manifest import ClassesOutput, Manifest
from node.toml_file import did_you_mean

BINARY = frozenset({"0", "1"})


@dataclass(frozen=True, slots=True)
class Truth:
    """How labels are read; of several images the highest counts."""

    positive: frozenset[str]
    """Labels that count as 1; empty if none does, and only classes can be told from one another."""
    grades: Mapping[str, int] = field(default_factory=dict)
    """The place of each label among the classes of the model, if that is what labels are."""
    positive_classes: frozenset[int] = frozenset()
    """Places of the classes whose probabilities add up to that of a positive case."""

    def is_positive(self, labels: Sequence[str]) -> bool:
        """Whether one of these labels is positive."""
        return not self.positive.isdisjoint(labels)

    def grade(self, labels: Sequence[str]) -> int:
        """Return the place of the highest of the classes that these labels name."""
        return max(self.grades[label] for label in labels)


def class_names(output: ClassesOutput) -> list[str]:
    """Return what the classes are called here: by the values of their codes."""
    return [one.grade.value for one in output.classes]


def read_truth(table: LabelTable, manifest: Manifest, positive: Sequence[str]) -> Truth:
    """Return what the labels mean, or raise ConfigError with what to write."""
    labels = frozenset(row.label for row in table.rows)
    places = _places_of_classes(manifest)
    for name in positive:
        if name not in labels and name.casefold() not in places:
            known = sorted({*labels, *(_names_of_classes(manifest))})
            raise ConfigError(
                f"--positive {name}: neither a label nor a class, {_near(name, known)}"
            )
    grades = {label: places[label.casefold()] for label in labels if label.casefold() in places}
    is_graded = len(grades) == len(labels) and not (labels <= BINARY and positive)
    classes = frozenset(places[name.casefold()] for name in positive if name.casefold() in places)
    if labels <= BINARY and not is_graded:
        chosen = frozenset({"1"})
    else:
        chosen = frozenset(n for n in labels if n in positive or grades.get(n, -1) in classes)
    truth = Truth(chosen, grades if is_graded else {}, classes)
    refuse(list(_not_understood(table, truth, manifest, labels)))
    return truth


def _places_of_classes(manifest: Manifest) -> dict[str, int]:
    """Return the place of each class by all that it is called."""
    output = manifest.output
    found = dict[str, int]()
    for place, one in enumerate(output.classes if isinstance(output, ClassesOutput) else ()):
        for name in (one.grade.value, one.grade.meaning):
            found.setdefault(name.casefold(), place)
    return found


def _names_of_classes(manifest: Manifest) -> list[str]:
    output = manifest.output
    return class_names(output) if isinstance(output, ClassesOutput) else []


def _near(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known[:20])


def _not_understood(
    table: LabelTable, truth: Truth, manifest: Manifest, labels: frozenset[str]
) -> Iterator[str]:
    """Yield what is wrong with labels as a whole, or with the first row of each odd one."""
    names = ", ".join(_names_of_classes(manifest))
    is_classless = bool(names) and not truth.positive_classes
    if truth.grades or (not is_classless and (labels <= BINARY or truth.positive)):
        return
    if labels <= BINARY:
        yield f"{table.path}: say which class of the model 1 is: --positive CLASS, one of {names}"
        return
    expected, remedy = "0 or 1", "to count a name as 1: --positive NAME"
    if names:
        expected = f"one of the classes {names}"
        remedy = "to compare 0 and 1 with classes: --positive CLASS"
    first = dict[str, LabelRow]()
    for row in table.rows:
        first.setdefault(row.label, row)
    for label, row in first.items():
        if label.casefold() not in {*BINARY, *_places_of_classes(manifest)}:
            yield table.problem(row, f'label: expected {expected}, found "{label}"; {remedy}')


def refuse_contradicting_grades(
    table: LabelTable, exams: Sequence[LabelledExam], truth: Truth
) -> None:
    """Raise ConfigError if images of one breast are labelled with different grades."""
    problems = []
    for exam in exams if truth.grades else ():
        first = dict[str, LabelRow]()
        for image in exam.images:
            row = image.row
            known = first.setdefault(str(image.side), row) if image.side else row
            if truth.grades[known.label] != truth.grades[row.label]:
                words = f'found "{row.label}", and "{known.label}" in line {known.line}'
                problems.append(table.problem(row, f"label: a breast has one grade; {words}"))
    refuse(problems)
