"""What the labels of a table mean for a model: which are positive, which are its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from node.errors import ConfigError
from node.evaluation.collection import LabelledExam
from node.evaluation.labels import LabelRow, LabelTable, refuse
from node.manifest import ClassesOutput, Output
from node.toml_file import did_you_mean

BINARY = frozenset({"0", "1"})


@dataclass(frozen=True, slots=True)
class Truth:
    """How labels are read; of several images the highest counts."""

    positive: frozenset[str]
    """Labels that count as 1; empty if none does, and only classes can be told from one another."""
    grades: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By the name of an output: the place of each label among its classes, if labels are these."""
    positive_classes: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """By the name of an output: classes whose probabilities add up to that of a positive case."""

    def is_positive(self, labels: Sequence[str]) -> bool:
        """Whether one of these labels is positive."""
        return not self.positive.isdisjoint(labels)

    def grade(self, output: str, labels: Sequence[str]) -> int:
        """Return the place of the highest of the classes that these labels name."""
        return max(self.grades[output][label] for label in labels)


def class_names(output: ClassesOutput) -> list[str]:
    """Return what the classes are called here: by the values of their codes."""
    return [one.grade.value for one in output.classes]


def read_truth(table: LabelTable, outputs: Mapping[str, Output], positive: Sequence[str]) -> Truth:
    """Return what the labels mean for outputs, or raise ConfigError with what to write."""
    labels = frozenset(row.label for row in table.rows)
    places = {name: _places(o) for name, o in outputs.items() if isinstance(o, ClassesOutput)}
    _require_known(positive, labels, outputs)
    is_chosen = labels <= BINARY and bool(positive)
    grades = {
        name: {label: known[label.casefold()] for label in labels}
        for name, known in places.items()
        if not is_chosen and all(label.casefold() in known for label in labels)
    }
    classes = {
        name: found
        for name, known in places.items()
        if (found := frozenset(known[p.casefold()] for p in positive if p.casefold() in known))
    }
    named = {
        label
        for name, found in classes.items()
        for label, place in grades.get(name, {}).items()
        if place in found
    }
    chosen = {"1"} if labels <= BINARY and not grades else {*named, *(labels & {*positive})}
    truth = Truth(frozenset(chosen), grades, classes)
    refuse(list(_not_understood(table, truth, outputs, labels)))
    return truth


def _require_known(
    positive: Sequence[str], labels: frozenset[str], outputs: Mapping[str, Output]
) -> None:
    known = sorted({*labels, *_names_of_classes(outputs)})
    for name in positive:
        if name not in labels and name.casefold() not in _known_classes(outputs):
            near = did_you_mean(name, known[:20])
            raise ConfigError(f"--positive {name}: neither a label nor a class, {near}")


def _places(output: ClassesOutput) -> dict[str, int]:
    """Return the place of each class by all that it is called."""
    found = dict[str, int]()
    for place, one in enumerate(output.classes):
        for name in (one.grade.value, one.grade.meaning):
            found.setdefault(name.casefold(), place)
    return found


def _known_classes(outputs: Mapping[str, Output]) -> set[str]:
    """Return all that classes are called, in small letters."""
    classes = (one for one in outputs.values() if isinstance(one, ClassesOutput))
    return {name for one in classes for name in _places(one)}


def _names_of_classes(outputs: Mapping[str, Output]) -> list[str]:
    classes = (one for one in outputs.values() if isinstance(one, ClassesOutput))
    return list(dict.fromkeys(name for one in classes for name in class_names(one)))


def _not_understood(
    table: LabelTable, truth: Truth, outputs: Mapping[str, Output], labels: frozenset[str]
) -> Iterator[str]:
    """Yield what is wrong with labels as a whole, or with the first row of each odd one."""
    has_others = not all(isinstance(one, ClassesOutput) for one in outputs.values())
    is_asked = bool(truth.grades or (truth.positive and (has_others or truth.positive_classes)))
    if is_asked:
        return
    names = ", ".join(_names_of_classes(outputs))
    if labels <= BINARY:
        yield f"{table.path}: say which class of the model 1 is: --positive CLASS, one of {names}"
        return
    expected, remedy = "0 or 1", "to count a name as 1: --positive NAME"
    if not has_others:
        expected = f"one of the classes {names}"
        remedy = "to compare 0 and 1 with classes: --positive CLASS"
    first = dict[str, LabelRow]()
    for row in table.rows:
        first.setdefault(row.label, row)
    for label, row in first.items():
        if label.casefold() not in {*BINARY, *_known_classes(outputs)}:
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
            if any(places[known.label] != places[row.label] for places in truth.grades.values()):
                words = f'found "{row.label}", and "{known.label}" in line {known.line}'
                problems.append(table.problem(row, f"label: a breast has one grade; {words}"))
    refuse(problems)
