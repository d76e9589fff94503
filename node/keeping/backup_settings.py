"""What was told the node, in a backup: its configuration, the files it names, its model packages.

Always copied, never linked: people change them in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from node.config import Config
from node.keeping.files import Pair, files_below, put_all

FOLDERS = frozenset({"state_dir", "store_dir", "models_dir", "path"})
"""Settings that name no file."""
ELSEWHERE = "elsewhere"
"""Below it, files that the configuration names outside its folder, by their whole paths."""


def put_settings(config: Config, config_path: Path, target: Path, former: Path | None) -> list[str]:
    """Copy all of it; return what was not there.

    What is as in the former backup is linked there: those copies nobody changes.
    """
    pairs = list(_pairs(config, config_path.resolve(), target))
    fresh, same = [], []
    for pair in pairs:
        if former is not None:
            like = Pair(pair.source, former / pair.target.relative_to(target))
            if like.is_unchanged():
                same.append(Pair(like.target, pair.target))
                continue
        fresh.append(pair)
    try:
        put_all(same, links=True)
    except OSError:  # a file system without links
        fresh = pairs
    return [str(pair.source) for pair in put_all(fresh, links=False)]


def _pairs(config: Config, config_path: Path, target: Path) -> Iterator[Pair]:
    base, settings = config_path.parent, target / "configuration"
    yield Pair(config_path, settings / config_path.name)
    for path in sorted({path.resolve() for path in _files_in(config)} - {config_path}):
        within = path.relative_to(base) if path.is_relative_to(base) else None
        yield Pair(path, settings / (within or Path(ELSEWHERE, *path.parts[1:])))
    if (models := config.node.models_dir) is not None:
        for relative in files_below(models):
            yield Pair(models / relative, target / "models" / relative)


def _files_in(section: BaseModel) -> Iterator[Path]:
    """Yield the files that a configuration names: keys and certificates; all else are folders."""
    for name, value in section:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, BaseModel):
                yield from _files_in(one)
            elif isinstance(one, Path) and name not in FOLDERS:
                yield one
