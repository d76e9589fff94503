"""Checks of what the node works with: the database, and the models."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from node.config import Config
from node.doctor.machine import nearest, unwritable
from node.doctor.verdict import Verdict, failed, ok, warning
from node.errors import ConfigError, NodeError
from node.inference import Inference
from node.ledger import Examination
from node.manifest import Model
from node.site import (
    doubt_about_licence,
    examine_database,
    fault_of_ledger,
    faults_of_models,
    kinds_nobody_makes,
    levels_in_words,
    load_chosen,
    open_ledger,
    twice_there,
)

_TABLES = {
    "none": "its tables will be made at the first start",
    "older": "its tables are of a former release; the next start extends them",
    "current": "its tables are of this release",
}

_FILE = "sqlite:///"


def check_database(config: Config) -> Iterator[Verdict]:
    """Connect, and see whether we may do there what we must."""
    remedy = "docs/several-machines.md, 1, tells how to set it up; then try again."
    try:
        found = _examine(config)
    except ConfigError as error:
        yield failed("database", str(error), remedy)
        return
    except OSError as error:
        folder = Path(config.database_url.removeprefix(_FILE)).parent
        if folder != config.node.state_dir:  # of that one the check of the folders has told
            yield unwritable("database", folder, error)
        return
    if found.tables == "newer":
        words = f"{found.server}: its tables are of a newer release of the node"
        yield failed("database", words, "Install that release here too.")
        return
    if fault := fault_of_ledger(config):
        yield failed("database", fault, "Do what it says; until then no node starts here.")
        return
    words = f"{found.server}: {_TABLES[found.tables]}"
    if found.survives_power_cuts:
        yield ok("database", words)
    else:
        remedy = "Set fsync = on in its postgresql.conf, as it is by default."
        yield warning("database", f"{words}; it does not survive power cuts", remedy)


def _examine(config: Config) -> Examination:
    """Look at the database; in place of a file that a first start will make, make one for trial."""
    path = Path(config.database_url.removeprefix(_FILE))
    if not config.database_url.startswith(_FILE) or path.exists():
        return examine_database(config)
    with tempfile.TemporaryDirectory(prefix=".ai-node-doctor-", dir=nearest(path.parent)) as folder:
        node = config.node.model_copy(update={"state_dir": Path(folder), "database": None})
        trial = config.model_copy(update={"node": node})
        open_ledger(trial).close()
        found = examine_database(trial)
    return Examination(found.server, "none", found.survives_power_cuts)


def check_models(config: Config) -> Iterator[Verdict]:
    """Verify each model's weights and run it once, in a process of its own as the node does."""
    opened = {}
    for chosen in config.models:
        what = f"model {chosen.name}"
        if chosen.mode == "off":
            yield ok(what, "off")
            continue
        try:
            model = load_chosen(config, chosen)
            with Inference(config.inference, (model,)):
                pass  # starting means that it has loaded and run once
        except NodeError as error:
            yield failed(what, str(error), _remedy_of_model(str(error)))
            continue
        opened[chosen.name] = model
        where = config.inference.provider.upper()
        words = f"{model.identity.version}: weights verified, runs on the {where}"
        if levels := levels_in_words(model):
            words += f", {levels}"
        yield ok(what, f"{words}, mode {chosen.mode}")
        if doubt := doubt_about_licence(chosen, model):
            remedy = 'Read it. Where it does not allow that, set mode = "shadow" or "off".'
            yield warning(what, doubt, remedy)
    yield from _check_packages(config, opened)
    if len(opened) == sum(chosen.mode != "off" for chosen in config.models):
        for sentence in kinds_nobody_makes(config, opened):
            remedy = "Give it a preset that suits the models, or a model that detects or segments."
            yield warning("models", sentence, remedy)


def _check_packages(config: Config, opened: Mapping[str, Model]) -> Iterator[Verdict]:
    """Say which packages must not deliver as they are, and which are not used."""
    for name, words in faults_of_models(config, opened):
        yield failed(f"model {name}", words, f"Then look at it: ai-node models check {name}")
    for sentence in twice_there(config, opened):
        yield warning("models", sentence, "Keep the one that is meant.")


_REMEDIES = (
    (
        "[[models]]",
        "Correct urgent and soon of this model in the configuration, or leave them out.",
    ),
    ("[inference] provider", 'Install what has it (docs/install.md, "A GPU"), or set it to "cpu".'),
    ("[inference] memory_mb", "Raise [inference] memory_mb, or give the machine more memory."),
    ("manifest.toml:", "Correct the manifest there, or restore the folder from the release."),
    ("[pixels]", "Correct the manifest: it does not describe this network."),
    ("[output]", "Correct the manifest: it does not describe this network."),
)
_RESTORE = "Restore the model's folder from the release, or set its mode to off."


def _remedy_of_model(words: str) -> str:
    """Return what helps against what an error names."""
    return next((remedy for named, remedy in _REMEDIES if named in words), _RESTORE)
