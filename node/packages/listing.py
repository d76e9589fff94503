"""Which packages there are, where they lie, and which of them is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from node.errors import ConfigError
from node.manifest import Model, is_copy, package_folders


def listed(folders: Sequence[Path]) -> Iterator[str]:
    """Yield lines on every package; of one that cannot be used, why."""
    used: dict[str, Path] = {}
    for folder in folders:
        yield f"In {folder}:"
        paths = package_folders(folder)
        for path in paths:
            yield from (f"  {line}" for line in _lines(path, used.setdefault(path.name, path)))
        if not paths:
            yield "  no model"


def _lines(path: Path, used: Path) -> Iterator[str]:
    try:
        model = Model(path)
        about = model.manifest
        words = f"{about.version}, {about.status}, {about.intended_use}"
        yield f"{about.name} {words}{_beside(model, used)}"
        yield f"  {about.statement}"
    except ConfigError as error:
        first, *more = str(error).splitlines()
        yield f"{path.name} cannot be used: {first}" + (f" (and {len(more)} more)" if more else "")


def _beside(model: Model, used: Path) -> str:
    if used == model.folder:
        return ""
    try:
        same = ", the same" if is_copy(model, Model(used)) else ", which is another"
    except ConfigError:
        same = ""
    return f"; not used: {used} is taken{same}"
