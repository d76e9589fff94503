"""The commands that take a folder of DICOM files: send it, or analyse it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.common import err, errors_as_messages, find_dicom, out, progress
from node.errors import NodeError
from node.numbers_in_words import counted

if TYPE_CHECKING:
    from node.offline import StudyOutcome

commands = typer.Typer()


@commands.command()
def send(
    folder: Annotated[Path, typer.Argument(help="A DICOM file, or a folder of them.")],
    to: Annotated[str, typer.Option(help="Where to: AET@HOST:PORT.")],
    aet: Annotated[str, typer.Option(help="The AE title we call ourselves.")] = "AINODE-SEND",
) -> None:
    """Send DICOM files by C-STORE, as they lie on disk.

    For example: `ai-node send exam/ --to AINODE@127.0.0.1:11112 --aet ORTHANC`. The other side
    must know the AE title we call ourselves.
    """
    from node.dimse import Address, SendOutcome
    from node.dimse import send as send_files

    with errors_as_messages():
        ae_title, host, port = _parse_address(to)
        paths = find_dicom(folder)
        bad: list[SendOutcome] = []
        with progress("Sending", len(paths)) as advance:

            def on_sent(outcome: SendOutcome) -> None:
                if outcome.state != "sent":
                    bad.append(outcome)
                advance()

            send_files(paths, Address(ae_title, host, port), aet, on_sent)
    for outcome in bad:
        err.print(f"{outcome.path}: {outcome.words}", markup=False, soft_wrap=True)
    out.print(f"{len(paths) - len(bad)} of {len(paths)} objects stored by {to}.")
    raise typer.Exit(1 if bad else 0)


@commands.command()
def analyse(
    folder: Annotated[Path, typer.Argument(help="A folder with the DICOM files of studies.")],
    out_dir: Annotated[
        Path,
        typer.Option("--out", help="Where results go; former ones of a study are replaced."),
    ],
    model: Annotated[
        str, typer.Option(help="The model to run: the name of a bundled one, or its folder.")
    ] = "breast-area",
    preset: Annotated[
        str, typer.Option(help="Which kinds of object: a preset, as destinations have one.")
    ] = "default",
) -> None:
    """Analyse files without network or database, exactly as the node would.

    Phantoms, test patients and old studies too, which a node excludes.
    For example: `ai-node analyse exam/ --out results/`. Each study gets a folder of its own with
    the Structured Report and the captures as DICOM files. Of an MRI it says what each series was
    taken for and why, and when each phase was taken (docs/breast-mr.md). Exit code 1 if a file was
    damaged or a study was held because its files contradict one another; the others are analysed.
    Also if there was no study at all.
    """
    from node.config import bundled_models_dir, has_level_in_lists, presets
    from node.errors import ConfigError
    from node.manifest import Model, open_model
    from node.manifest.package import package_folders
    from node.offline import analyse_folder

    with errors_as_messages():
        if preset not in presets():
            raise ConfigError(f'--preset: no "{preset}"; there are: {", ".join(presets())}')
        opened = open_model(model, bundled_models_dir())
        paths = find_dicom(folder, and_called_so=True)
        with progress("Reading", len(paths)) as advance:
            outcome = analyse_folder(
                paths,
                out_dir,
                opened,
                advance,
                presets()[preset],
                has_level_in_lists=has_level_in_lists(preset),
                others=[Model(one).manifest for one in package_folders(bundled_models_dir())],
            )
        for line in (*outcome.damaged, *outcome.of_no_study):
            err.print(line, markup=False, highlight=False, soft_wrap=True)
        for study in outcome.studies:
            _print_outcome(study)
        if outcome.unmade:
            kinds = " and ".join(outcome.unmade)
            out.print(
                f"Not written: {kinds}, which no result of {opened.manifest.name} can become."
            )
        if not outcome.studies:
            passed = f": {counted(outcome.own, 'file')} are results already" if outcome.own else ""
            out.print(f"There is no study to analyse{passed}.")
    raise typer.Exit(0 if outcome.is_clean and outcome.studies else 1)


def _print_outcome(study: StudyOutcome) -> None:
    """Print what became of a study, and of an MRI what it was taken for, whatever the model."""
    out.print(f"Study {study.study_uid}: {study.words}", markup=False, soft_wrap=True)
    for line in (*study.details, *map(str, study.written)):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    if study.replaced:
        out.print(f"  replaced {counted(study.replaced, 'former result')}")
    for line in study.told:
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _parse_address(text: str) -> tuple[str, str, int]:
    from node.dimse.addresses import without_brackets

    ae_title, _, rest = text.rpartition("@")
    host, _, port = rest.rpartition(":")
    if not (ae_title and host and port.isdecimal()):
        raise NodeError(f"--to {text!r}: expected AET@HOST:PORT, such as AINODE@127.0.0.1:11112")
    return ae_title, without_brackets(host), int(port)
