"""`ai-node models`: list, check and make model packages."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.common import CONFIG, ConfigOption, errors_as_messages, out, working_on

if TYPE_CHECKING:
    from node.manifest import Model


models = typer.Typer(
    no_args_is_help=True, help="List the model packages. Check one before a hospital does."
)


@models.command("list")
def list_models(config: ConfigOption = CONFIG) -> None:
    """List the models of every folder that is looked into: `[node] models_dir`, and what we bring.

    Of two of one name the first is used. Without a configuration there is only what we bring.
    """
    from node.config import models_dirs_here
    from node.packages.listing import listed

    with errors_as_messages():
        for line in listed(models_dirs_here(config)):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


ModelArgument = Annotated[
    str, typer.Argument(help="The name of a model, as `models list` shows it, or its folder.")
]


FilesOption = Annotated[
    Path | None,
    typer.Option("--files", help="A folder of DICOM images that the model was made for."),
]


@models.command("check")
def check_model(
    model: ModelArgument, files: FilesOption = None, config: ConfigOption = CONFIG
) -> None:
    """Try a model package: its weights, its network on generated exams, its reference, its card.

    Its answers must be repeatable, differ for different images, and have the form that the
    manifest says; where `reference/` holds answers, they must be those. Also on every other device
    that ONNX Runtime can use here, how far its answers differ from those of the CPU. Of volumes it
    may take minutes. Exit code 0 only if every check is passed.
    """
    from node.config import models_dirs_here
    from node.packages.checking import check_package

    is_ok = True
    with errors_as_messages():
        checks = check_package(_opened(model, config), files, models_dirs_here(config))
        for finding in working_on("Checking", checks):
            word = "[green]ok    [/green]" if finding.is_ok else "[red]FAILED[/red]"
            out.print(f"{word} {finding.what:<10} ", end="", highlight=False)
            out.print(finding.words, markup=False, highlight=False, soft_wrap=True)
            is_ok = is_ok and finding.is_ok
    raise typer.Exit(0 if is_ok else 1)


@models.command("tensor")
def show_tensor(
    model: ModelArgument,
    files: Annotated[list[Path], typer.Argument(help="DICOM images, or folders of them.")],
    picture: Annotated[
        Path | None, typer.Option("--out", help="Draw what the network gets, as a PNG file.")
    ] = None,
    config: ConfigOption = CONFIG,
) -> None:
    """Show what a network gets of images or volumes: shape, numbers, place, and a picture of it.

    Compare it with what the network had in training: that is where most goes wrong.
    """
    from node.packages.exams import files_of
    from node.packages.tensors import show_tensors

    with errors_as_messages():
        for line in show_tensors(_opened(model, config), files_of(files), picture):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


@models.command("reference")
def reference_of_model(
    model: ModelArgument,
    files: FilesOption = None,
    where: Annotated[
        str, typer.Option("--from", help="With --files: where others get these files.")
    ] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Write down what a model says now, into `reference/` of its package; `check` compares it.

    Of a generated exam, or of the studies in a folder; their files are named by SHA-256, and not
    copied.
    """
    from node.config import bundled_models_dir
    from node.errors import ConfigError
    from node.manifest.package import MANIFEST
    from node.packages.checking import THREADS
    from node.packages.reference import write_reference

    with errors_as_messages():
        opened = _opened(model, config)
        if opened.folder.parent == bundled_models_dir() and not (Path(model) / MANIFEST).is_file():
            raise ConfigError(
                f"{model} comes with the node: copy {opened.folder}, or give that path to "
                "overwrite it"
            )
        written = write_reference(opened, THREADS, files, where)
        out.print(f"wrote {written.path}: {written.words}", markup=False, soft_wrap=True)


@models.command("digests")
def digests_of_images(
    model: ModelArgument,
    folder: Annotated[Path, typer.Argument(help="DICOM objects, PNG, JPEG, TIFF or PGM.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Print the digests of images that a model has learnt from, for its `training-images.txt`.

    `ai-node evaluate` then leaves their patients out. What is no image is told on standard error;
    if an image cannot be read, the exit code is 1.
    """
    from node.evaluation.digests import digests_of

    unreadable = list[str]()
    with errors_as_messages():
        wanted = _opened(model, config).manifest.input
        told = functools.partial(typer.echo, err=True)
        for digest in digests_of(folder, wanted, told, unreadable.append):
            typer.echo(digest)
    for words in unreadable:
        typer.echo(words, err=True)
    if unreadable:
        typer.echo("These are missing in the list: evaluate would not know them.", err=True)
        raise typer.Exit(1)


@models.command("new")
def new_model(
    name: Annotated[str, typer.Argument(help="What the package is to be called.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The network.")],
    into: Annotated[
        Path, typer.Option("--into", help="The folder that holds your packages.")
    ] = Path("models"),
) -> None:
    """Begin a model package: looks at an ONNX file, writes manifest and card with open questions.

    While a question is open the package is not used: it is told by file and line.
    """
    from node.packages.beginning import begin_package

    with errors_as_messages():
        for line in begin_package(name, onnx, into):
            out.print(line, markup=False, highlight=False, soft_wrap=True)


def _opened(name_or_folder: str, config: Path) -> Model:
    """Open a model by its folder, or by its name among those that a configuration can use."""
    from node.config import models_dirs_here
    from node.manifest import open_model

    return open_model(name_or_folder, *models_dirs_here(config))
