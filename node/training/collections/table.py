"""Which collections can be read as they are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from node.errors import ConfigError
from node.evaluation.labels import LabelTable, read_labels
from node.toml_file import did_you_mean
from node.training.collections import cbis_ddsm, mini_mias, rsna_screening

Reader = Callable[[Path], LabelTable]
"""Reads the folder of a collection, or raises ConfigError with all that is wrong with it."""

COLLECTIONS: Mapping[str, Reader] = {
    "cbis-ddsm": cbis_ddsm.read_cbis_ddsm,
    "mini-mias": mini_mias.read_mini_mias,
    "rsna-screening": rsna_screening.read_rsna_screening,
}


def labelled_images(folder: Path, labels: Path | None, collection: str | None) -> LabelTable:
    """Return the table of a folder: that of a CSV file, or of a collection that lies there."""
    if (labels is None) == (collection is None):
        known = ", ".join(COLLECTIONS)
        raise ConfigError(
            "say what the images show: either --labels with a table, or --collection with one of "
            f"{known}"
        )
    if labels is not None:
        return read_labels(labels, folder)
    assert collection is not None
    if collection not in COLLECTIONS:
        raise ConfigError(f"--collection {collection}: {did_you_mean(collection, [*COLLECTIONS])}")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder; name the one that holds {collection}")
    return COLLECTIONS[collection](folder)
