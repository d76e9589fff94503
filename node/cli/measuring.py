"""The commands on labelled images: measure a model, train one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from node.cli.common import err, errors_as_messages, out, progress_with_time_left

commands = typer.Typer()


LabelsOption = Annotated[
    Path | None,
    typer.Option(help="The table (CSV): path, patient, label, and side, view, ..."),
]


CollectionOption = Annotated[
    str | None,
    typer.Option(help="Instead of a table, the folder holds this collection as it is published."),
]


@commands.command()
def evaluate(  # noqa: PLR0913 - one for each thing that may be asked
    model: Annotated[str, typer.Argument(help="The name of a bundled model, or its folder.")],
    folder: Annotated[
        Path, typer.Argument(help="Where the paths of the table begin, or a collection lies.")
    ],
    labels: LabelsOption = None,
    collection: CollectionOption = None,
    label: Annotated[
        str | None,
        typer.Option(help="The column whose words are the labels, if it is not `label`."),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Where report, figures and pictures go.")
    ] = Path("evaluation"),
    by: Annotated[
        list[str] | None,
        typer.Option(help="Break figures down by a column: device, age, view. Repeatable."),
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(help="A label, or a class of the model, that counts as 1. Repeatable."),
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            min=0, max=1, help="Measure there, too: 0.71 calls 71 % positive. Repeatable."
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of exams with the disease where it is to be used."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many at once; as many as there are CPUs.")
    ] = None,
) -> None:
    """Measure a model on labelled images, through the node's own pipeline.

    For example: `ai-node evaluate breast-density images/ --labels labels.csv --by device`, or of a
    collection as it is published: `--collection cbis-ddsm` (docs/train.md says which there are).
    The table has a line for each image: `path` below the folder, `patient` (any word, the same for
    all of one), `label` (0 or 1, a name, or a class of the model); of image files also `side`
    (R, L) and `view` (CC, MLO), which DICOM files say themselves; `exam` where a patient has
    several. Other columns are there to break down by. PNG, JPEG, TIFF and PGM become the objects
    that a modality would send.

    AUC, sensitivity, specificity and calibration per image, breast and exam, with 95 % intervals by
    drawing patients; what was not assessed is counted with its reason. Cut short, the same command
    goes on where it was. docs/evaluate.md has an example. Exit code 1 if nothing was measured.
    """
    from node.config import bundled_models_dir
    from node.evaluation.evaluating import EvaluationSettings, evaluate_model
    from node.evaluation.labels import labelled_by
    from node.evaluation.report import summary, write_evaluation
    from node.evaluation.running import processes_here
    from node.manifest import open_model
    from node.training.collections.table import labelled_images

    with errors_as_messages():
        table = labelled_images(folder, labels, collection)
        settings = EvaluationSettings(
            table=table if label is None else labelled_by(table, label),
            out_dir=out_dir,
            by=tuple(by or ()),
            positive=tuple(positive or ()),
            thresholds=tuple(threshold or ()),
            prevalence=prevalence,
            processes=processes or processes_here(),
        )
        opened = open_model(model, bundled_models_dir())
        try:
            document = evaluate_model(opened, settings, progress_with_time_left)
        except KeyboardInterrupt:
            err.print(f"Stopped. The same command goes on; what is scored is kept in {out_dir}.")
            raise typer.Exit(130) from None
        written = write_evaluation(document, out_dir)
    for line in (*summary(document), *map(str, written)):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if any(case.said for case in document.cases) else 1)


@commands.command()
def train(  # noqa: PLR0913 - one for each thing that may be asked
    recipe: Annotated[
        str, typer.Argument(help="A name for the package, or a recipe (TOML) that says all.")
    ],
    folder: Annotated[
        Path, typer.Argument(help="Where the paths of the table begin, or a collection lies.")
    ],
    labels: LabelsOption = None,
    collection: CollectionOption = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(help="A label that counts as 1, without a recipe. Repeatable."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="A table of boxes around lesions, of a recipe that has [lesions]."),
    ] = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="The folder of packages: it gets one more.")
    ] = Path("packages"),
    work: Annotated[
        Path, typer.Option(help="What takes long is kept here, and the recipes that were tried.")
    ] = Path("training"),
    compare_on: Annotated[
        list[int] | None,
        typer.Option(
            "--compare-on",
            min=0,
            help="Measure the recipe on this fold, to compare recipes; no package. Repeatable.",
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many at once; as many as there are CPUs.")
    ] = None,
) -> None:
    """Train a network on labelled images, and make a model package of it.

    For example: `ai-node train my-triage images/ --labels labels.csv`; or, of a collection as it is
    published, `ai-node train lesions cbis-ddsm/ --collection cbis-ddsm`. The table is that of
    `ai-node evaluate`; of breast MRI, by a recipe, a line is of a study. Women are dealt into
    folds; a network of each fold is measured on women whom it never saw, and printed. The package
    has the network, its manifest with calibration and operating points, a card with figures,
    reference answers, and the recipe, which makes it again.

    Needs the optional group `training` (torch). A GPU is used where there is one; two CPU cores do
    for a small set. Stopped, the same command goes on where it was. docs/train.md leads from a
    download to a report in the viewer.
    """
    from node.evaluation.report import summary
    from node.evaluation.running import processes_here
    from node.training.collections.table import labelled_images
    from node.training.group import require_torch
    from node.training.lesion_boxes import read_lesion_boxes
    from node.training.packing import cross_validation_table
    from node.training.recipe import recipe_called

    with errors_as_messages():
        asked = recipe_called(recipe, tuple(positive or ()))
        require_torch()
        from node.training.running import TrainingSettings, measure_recipe, train_package

        given = ["--labels", labels.name] if labels else ["--collection", str(collection)]
        films = ["--boxes", f"{boxes.parent.name}/{boxes.name}"] if boxes else []
        settings = TrainingSettings(
            recipe=asked,
            table=labelled_images(folder, labels, collection),
            out=out_dir,
            work=work,
            train=shlex.join(["ai-node", "train", "recipe.toml", folder.name, *given, *films]),
            evaluate=shlex.join(
                ["ai-node", "evaluate", f"{out_dir.name or '.'}/{asked.name}", folder.name, *given]
                + [part for word in asked.labels.positive for part in ("--positive", word)]
            ),
            processes=processes or processes_here(),
            boxes=read_lesion_boxes(boxes, boxes.parent) if boxes else None,
        )
        try:
            if compare_on:
                found = measure_recipe(settings, compare_on, progress_with_time_left)
                out.print(cross_validation_table(found, asked.about), markup=False, soft_wrap=True)
                return
            trained = train_package(settings, progress_with_time_left)
        except KeyboardInterrupt:
            err.print(f"Stopped. The same command goes on; what was computed is kept in {work}.")
            raise typer.Exit(130) from None
    for line in (
        "Cross-validation:",
        cross_validation_table(trained.cross_validation, asked.about),
        "",
        "The package, on women whom it never saw:",
        *summary(trained.this_file),
        "",
        *trained.next_steps(),
    ):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
