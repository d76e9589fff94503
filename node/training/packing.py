"""A trained network, what was chosen and what was measured -> a model package.

Nothing is in the card that was not measured, and what is in its tables is compared with what the
commands say that it names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from node.errors import ConfigError
from node.evaluation.cases import CaseAbout
from node.evaluation.counting import AtThreshold, QuestionFigures
from node.evaluation.evaluating import EvaluationDocument
from node.evaluation.plots import calibration_plot, roc_plot
from node.evaluation.report import in_figures, in_percent
from node.evaluation.running import TRAINING_IMAGES
from node.identity import stable_uid
from node.manifest import CARD, HeatMapOutput, InputTensor, ManifestUnit, Model, PartOfStudy
from node.manifest.package import MANIFEST
from node.manifest.pixels import batch_of
from node.packages.beginning import WEIGHTS
from node.packages.reference import write_reference
from node.training.card_words import how_points_count, sides_compared, what_it_is
from node.training.choosing import URGENT_POINT, Chosen, manifest_points
from node.training.measuring import CountedPart, CrossValidation, PartFigures, counted_part
from node.training.recipe import RECIPE, Recipe, recipe_text
from node.training.toml_text import toml_text

OUTPUT = "score"
"""What the manifest, the evaluation and the operating points call the score."""
CROSS_VALIDATION, THIS_FILE = "Cross-validation", "This file"
"""Sections of the card with the two tables."""
ROC, CALIBRATION = "roc.png", "calibration.png"
GENERATED_FILES = (CARD, MANIFEST, WEIGHTS, RECIPE, TRAINING_IMAGES, ROC, CALIBRATION)
"""Files of a trained package, beside its reference answers."""
_REFERENCE_THREADS = 2
_EACH_IMAGE = ManifestUnit(of="image")


@dataclass(frozen=True, slots=True)
class ExportedNetwork:
    """A network as ONNX, in one file, and what the graph does not say of itself."""

    content: bytes
    tensor: str
    """Of the score, 0 to 1, shape [1, 1]."""
    unit: ManifestUnit = _EACH_IMAGE
    """What it reads at once."""
    inputs: tuple[InputTensor, ...] = ()
    """Empty: one input, of one image."""
    heat_map: HeatMapOutput | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A recipe that was tried, whether or not it is the one that was taken."""

    name: str
    on: str
    """On which folds: "folds 1, 2, 3"."""
    plain: str
    """AUC with its interval, as in the first table."""
    matched: str
    per: CountedPart = "breast"


@dataclass(frozen=True, slots=True)
class CardFacts:
    """All that the card is written from."""

    data: str
    """What it learnt from, in a sentence: collection, women, images."""
    licence: str
    """What may be done with the weights, in a sentence."""
    train: str
    """The command that makes the package again."""
    evaluate: str
    """The command that prints the second table."""
    took: str
    """How long it took, on what."""
    cross_validation: CrossValidation
    this_file: EvaluationDocument
    chosen: Chosen
    tried: tuple[Tried, ...] = ()
    """Every recipe that was measured in the same work folder."""


# --- the package ------------------------------------------------------------------------------


def write_trained_package(
    folder: Path,
    recipe: Recipe,
    network: ExportedNetwork,
    learnt_from: Collection[str],
    chosen: Chosen | None = None,
) -> Model:
    """Write all of a package but its card and reference answers, and return it.

    `learnt_from` are the pixel digests of every image that the weights, or the choice of the
    epoch, depend on. Without `chosen` it is the package that is evaluated to choose: its score is
    as the network says it, and no level follows.
    """
    if folder.name != recipe.name:
        raise ConfigError(f'{folder}: expected a folder named "{recipe.name}", as the recipe says')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(network.content)
    (folder / MANIFEST).write_text(manifest_text(recipe, network, chosen), "utf-8")
    (folder / TRAINING_IMAGES).write_text(training_images_text(recipe, learnt_from), "utf-8")
    (folder / RECIPE).write_text(recipe_text(recipe), "utf-8")
    model = Model(folder)
    model.verify_weights()
    return model


def manifest_text(recipe: Recipe, network: ExportedNetwork, chosen: Chosen | None) -> str:
    """Return manifest.toml."""
    said = recipe.model_dump(mode="json")
    output = _output_words(network, chosen)
    triages = any(point["name"] == URGENT_POINT for point in output.get("operating_points", ()))
    if recipe.is_of_phases and batch_of(recipe.operations) > 1:
        output["over_slices"] = "highest"
    words: dict[str, Any] = {
        **({"domain": "breast_mr"} if recipe.is_of_phases else {}),
        "name": recipe.name,
        "title": recipe.title,
        "version": recipe.version,
        "manufacturer": recipe.manufacturer,
        "device_uid": recipe.device_uid or stable_uid("model", recipe.name, recipe.version),
        "status": "demonstration",
        "intended_use": "triage" if triages else "detection",
        "statement": recipe.statement,
        "licence": said["licence"],
        "weights": {"file": WEIGHTS, "sha256": hashlib.sha256(network.content).hexdigest()},
        "input": said["input"],
        **_unit_words(network),
        "pixels": said["pixels"],
        "outputs": [output],
    }
    if triages:
        words["triage"] = {"output": OUTPUT, "urgent": URGENT_POINT}
    return f"# Written by `ai-node train`; {RECIPE} makes it again.\n{toml_text(words)}"


def _unit_words(network: ExportedNetwork) -> dict[str, Any]:
    words: dict[str, Any] = {}
    if network.unit.of != "image":
        words["unit"] = network.unit.model_dump(mode="json")
    if network.inputs:
        words["inputs"] = [one.model_dump(mode="json") for one in network.inputs]
    return words


def _output_words(network: ExportedNetwork, chosen: Chosen | None) -> dict[str, Any]:
    """Return [[outputs]]: the score, how it combines, and what was chosen for it."""
    words: dict[str, Any] = {
        "name": OUTPUT,
        "kind": "score",
        "tensor": network.tensor,
        "label": "AI score",
        "decimals": 1,
        "score": {"value": "AI-SCORE", "scheme": "99AINODE", "meaning": "AI score"},
        "combine": _COMBINED[network.unit.of],
    }
    if network.heat_map is not None:
        words["heat_map"] = network.heat_map.model_dump(mode="json")
    return words | (_chosen_words(chosen) if chosen is not None else {})


_COMBINED: Mapping[PartOfStudy, dict[str, str] | None] = {
    "image": {"breast": "mean of views", "exam": "highest"},
    "breast": {"exam": "highest"},
    "exam": None,
}


def _chosen_words(chosen: Chosen) -> dict[str, Any]:
    words: dict[str, Any] = {}
    if chosen.calibration is not None:
        words["calibration"] = chosen.calibration.model_dump(mode="json")
    if points := [point.model_dump(mode="json") for point in manifest_points(chosen)]:
        words["operating_points"] = points
    negatives = chosen.manifest_negatives()
    if points and negatives is not None:
        words["negatives"] = negatives.model_dump(mode="json")
    return words


def training_images_text(recipe: Recipe, learnt_from: Collection[str]) -> str:
    """Return training-images.txt: each digest once, in an order that tells nothing."""
    digests = sorted(set(learnt_from))
    head = f"# {len(digests)} images that {recipe.name} {recipe.version} has learnt from, or by "
    return "\n".join([f"{head}which its epoch was chosen.", *digests]) + "\n"


def refuse_learnt(learnt_from: Collection[str], measured: Collection[str]) -> None:
    """Raise ConfigError if an image that is measured is one that was learnt from."""
    if both := {*learnt_from} & {*measured}:
        raise ConfigError(
            f"{len(both)} of {len({*measured})} images that are to be measured have been learnt "
            f"from ({min(both)[:12]}...): measure women whom the network never saw"
        )


# --- the card's tables ------------------------------------------------------------------------

CardRow = tuple[str, ...]


def cross_validation_rows(found: CrossValidation) -> list[CardRow]:
    """Return the first table, as `ai-node train` prints it too."""
    rows = [_row("AUC within folds, averaged", found.plain)]
    rows += [
        _row(f"fold {number}", part)
        for number, part in found.of_fold.items()
        if part.auc.value is not None
    ]
    if found.matched is not None:
        columns = " and ".join(found.alone)
        rows.append(_row(f"matched: pairs alike in {columns}", found.matched))
    rows += [_row(f"{column} alone, without any image", one) for column, one in found.alone.items()]
    for column, parts in found.within.items():
        rows += [_row(f"within {column} {value}", one) for value, one in parts.items()]
    return rows


def _row(what: str, part: PartFigures) -> CardRow:
    pairs = "" if part.pairs is None else f"{part.pairs:,}"
    counts = (f"{part.positives:,}", f"{part.negatives:,}", f"{part.women:,}")
    return what, in_figures(part.auc), *counts, pairs


_CROSS_COLUMNS = ("AUC (95 %)", "positive", "negative", "women", "pairs")


def cross_validation_table(found: CrossValidation, about: PartOfStudy) -> str:
    """Return the first table as the card has it, for whoever prints it.

    `about`: what the network gives one score for.
    """
    columns = (f"per {counted_part(about)}", *_CROSS_COLUMNS)
    return _table(columns, cross_validation_rows(found))


def this_file_rows(document: EvaluationDocument, about: PartOfStudy) -> list[CardRow]:
    """Return the second table: cells that `ai-node evaluate` writes into evaluation.md.

    `about` is what the network gives one score for. Of what it says nothing of there is no row.
    Unless it reads exams at once there is of exams the specificity alone: their AUC would be of
    what is there, not of what is shown, for of a woman with the disease there may be one breast,
    of others both.
    """
    question = question_of(document)
    counted = CaseAbout(counted_part(about))
    rows: list[CardRow] = []
    for of in dict.fromkeys((CaseAbout(about), counted)):
        figures = question.about.get(of)
        if figures is None or figures.auc.value is None:
            continue
        counts = figures.counts
        numbers = f"{counts.positives:,} positive, {counts.negatives:,} negative"
        rows.append((f"AUC, {of}", in_figures(figures.auc), numbers))
    for at in _thresholds(question, CaseAbout.EXAM):
        if at.stated is not None:
            share = f"{at.true_negatives} of {at.true_negatives + at.false_positives}"
            rows.append((f"specificity, exam, {at.name}", in_percent(at.specificity), share))
    for at in _thresholds(question, counted):
        if at.stated is not None or counted == CaseAbout.BREAST:  # points are stated of exams
            share = f"{at.true_positives} of {at.true_positives + at.false_negatives}"
            rows.append((f"sensitivity, {counted}, {at.name}", in_percent(at.sensitivity), share))
    parts = question.about.get(counted)
    if parts is not None and parts.calibration is not None:
        calibration, cases = parts.calibration, f"{parts.counts.cases:,} {counted}s"
        rows.append((f"Brier score, {counted}", in_figures(calibration.brier), cases))
    return rows


def _thresholds(question: QuestionFigures, about: CaseAbout) -> tuple[AtThreshold, ...]:
    figures = question.about.get(about)
    return figures.thresholds if figures is not None else ()


def question_of(document: EvaluationDocument) -> QuestionFigures:
    """Return what an evaluation says of the score."""
    for question in document.questions:
        if question.name == OUTPUT:
            return question
    raise ConfigError(f"the evaluation of {document.model.name} says nothing of its {OUTPUT}")


def asked_thresholds(chosen: Chosen) -> str:
    """Return the options under which `ai-node evaluate` says what the second table has."""
    return " ".join(f"--threshold {point.threshold!r}" for point in chosen.points)


def _table(columns: Sequence[str], rows: Sequence[CardRow]) -> str:
    lines = (columns, ["---"] * len(columns), *rows)
    return "\n".join(f"| {' | '.join(map(_in_a_cell, line))} |" for line in lines)


def _in_a_cell(words: str) -> str:
    """Return words on one line, and without what divides cells: a table's column may have any."""
    return " ".join(words.replace("|", "/").split())


def amiss_in_card(model: Model, document: EvaluationDocument) -> Iterator[str]:
    """Yield where the card's second table is not what an evaluation says, to the last decimal."""
    rows = this_file_rows(document, model.manifest.unit.of)
    yield from _differences(model.folder / CARD, THIS_FILE, rows)


def amiss_in_cross_validation(model: Model, found: CrossValidation) -> Iterator[str]:
    """Yield where the card's first table is not what was measured, to the last decimal."""
    yield from _differences(model.folder / CARD, CROSS_VALIDATION, cross_validation_rows(found))


def _differences(card: Path, section: str, found: Sequence[CardRow]) -> Iterator[str]:
    said = table_in(card, section)
    now = {_in_a_cell(what): tuple(map(_in_a_cell, cells)) for what, *cells in found}
    for what in dict.fromkeys([*said, *now]):
        if said.get(what) != now.get(what):
            words = (
                " | ".join(cells) if cells is not None else "nothing"
                for cells in (said.get(what), now.get(what))
            )
            yield f'{card}: "{section}", {what}: the card says {" and it is ".join(words)}'


def table_in(card: Path, section: str) -> Mapping[str, CardRow]:
    """Return the rows of the table in a section of a card, by their first cell."""
    try:
        lines = iter(card.read_text("utf-8").splitlines())
    except OSError as error:
        raise ConfigError(f"{card}: cannot be read ({error.strerror})") from error
    rows = dict[str, CardRow]()
    for line in lines:
        if line.strip("# ") == section and line.startswith("#"):
            break
    for line in lines:
        if line.startswith("#") or (rows and not line.startswith("|")):
            break
        if line.startswith("|"):
            what, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[what] = tuple(cells)
    if not rows:
        raise ConfigError(f'{card}: no table in a section "{section}"')
    return dict(list(rows.items())[2:])


# --- the card ---------------------------------------------------------------------------------


def finish_package(model: Model, recipe: Recipe, facts: CardFacts) -> list[Path]:
    """Write the card, its pictures and the reference answers; return what was written."""
    written = _write_plots(model.folder, facts.this_file, recipe.about)
    card = model.folder / CARD
    card.write_text(card_text(recipe, facts, [path.name for path in written]), "utf-8")
    reference = write_reference(model, _REFERENCE_THREADS).path
    return [card, *written, reference]


def _write_plots(folder: Path, document: EvaluationDocument, about: PartOfStudy) -> list[Path]:
    question = question_of(document)
    shown = {CaseAbout(about), CaseAbout(counted_part(about))}
    question = replace(question, about={k: v for k, v in question.about.items() if k in shown})
    paths = []
    for name, picture in ((ROC, roc_plot(question)), (CALIBRATION, calibration_plot(question))):
        if picture is not None:
            Image.fromarray(picture).save(folder / name)
            paths.append(folder / name)
    return paths


def card_text(recipe: Recipe, facts: CardFacts, plots: Sequence[str]) -> str:
    """Return the model card: first what it is not."""
    pictures = {ROC: "ROC curves of this file", CALIBRATION: "Calibration of this file"}
    return _CARD.format(
        title=recipe.title,
        version=recipe.version,
        statement=recipe.statement,
        data=facts.data,
        licence=facts.licence,
        remarks=recipe.remarks,
        limits=f"- {recipe.limits}\n" if recipe.limits else "",
        what_it_is=what_it_is(recipe),
        folds=recipe.folds.count,
        recipe=RECIPE,
        train=facts.train,
        evaluate=facts.evaluate,
        took=facts.took,
        cross=cross_validation_table(facts.cross_validation, recipe.about),
        file=_table(("", "value (95 %)", "of"), this_file_rows(facts.this_file, recipe.about)),
        points=_points(facts.chosen, recipe.about),
        how_points_count=how_points_count(recipe.about),
        plots="\n\n".join(f"![{pictures[name]}]({name})" for name in plots),
        tried=_tried(facts.tried),
        training_images=TRAINING_IMAGES,
        each_image="one slice of each study" if recipe.is_of_phases else "each image",
        sides=sides_compared(recipe),
    )


def _points(chosen: Chosen, about: PartOfStudy) -> str:
    if not chosen.points:
        return f"None: {chosen.why_no_points}. No level follows from the score."
    lines = [
        f"- **{point.name}**, from {point.threshold:g} on: specificity "
        f"{in_percent(point.specificity)}, {point.true_negatives} of {point.negatives} exams; "
        f"sensitivity {in_percent(point.sensitivity)}, {point.true_positives} of "
        f"{point.positives} affected {counted_part(about)}s"
        for point in chosen.points
    ]
    return "\n".join([*lines, "", f"Chosen on: {chosen.data}"])


def _tried(tried: Sequence[Tried]) -> str:
    if not tried:
        return "This recipe alone."
    rows = [(one.name, one.on, one.per, one.plain, one.matched) for one in tried]
    return _table(("recipe", "measured on", "per", "AUC", "matched"), rows)


_CARD = """\
# {title} {version}

**Demonstration, not for clinical use; not a medical device.**

{statement}

## What it is not

- **It excludes nothing.** A low score means nothing for a patient.
- **It is no probability of disease**: it holds for a mixture like that which it learnt from, of
  which the section below says how many had the label; of those who are screened few have it.
- **Nothing was measured but what stands in this card**: on other devices and other women it may be
  worth nothing.
{limits}- It knows neither age, nor history, nor former images; {sides}.
- It ships switched off: where no configuration names it, it does not run; its level ranks nothing
  unless the site says so of a demonstration.

## What it is

{what_it_is}

`manifest.toml` says how an image is prepared, `{recipe}` all that it was trained by.

## What it learnt from

{data} {licence}

Women were dealt into {folds} folds by a digest of their name. `{training_images}` has the digest
of {each_image} that these weights, or the choice of their epoch, depend on: `ai-node evaluate`
leaves out all images of such women.

    {train}

makes the package again. {took}

## Measured

Intervals: 95 %, by drawing women.

### Cross-validation

A network for each fold, which never saw the women of that fold; printed by the command above.
What is shipped is one of these networks: this table is of the recipe, the next one of the file.

{cross}

"Alone" is what can be told without looking at an image. What a network tells beyond that shows in
matched pairs.

### This file

The shipped weights, on images that they never saw, through the node:

    {evaluate}

{file}

Calibration and thresholds were fitted on these same images: figures that depend on them are
flattered, AUC is not.

{plots}

### Operating points

{points}

{how_points_count}

### Tried

Recipes that were measured with the same command, on these folds, to compare them:

{tried}

{remarks}
"""
