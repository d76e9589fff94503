"""What differs between two configurations, in words; and what of it only a restart can change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from node.config import Config
from node.current import Loaded
from node.manifest import Model
from node.toml_file import Section, shown

_FIXED: Mapping[str, tuple[str, ...]] = {
    "node": ("ae_title", "state_dir", "store_dir", "database", "dead_after_s"),
    "listener": ("host", "port", "max_pdu", "idle_timeout_s"),
    "inference": ("processes",),
    "logs": ("format",),
}
"""By table: what a process has from its start to its end."""
_NAMED = ("peers", "destinations", "models")
"""Tables of which there are several, each with its name."""


def needs_restart(former: Config, new: Config) -> list[str]:
    """Return the settings that differ and that only a restart can change: "[node] state_dir"."""
    return [
        f"[{table}] {key}"
        for table, keys in _FIXED.items()
        for key in keys
        if getattr(getattr(former, table), key) != getattr(getattr(new, table), key)
    ]


def changes_in_words(former: Loaded, new: Loaded) -> list[str]:
    """Return what differs, a line for each thing; nothing of what may be a secret."""
    said = [*_of_tables(former.config, new.config)]
    for table in _NAMED:
        said += _of_named(table, getattr(former.config, table), getattr(new.config, table))
    return [*said, *_of_packages(former.models, new.models)]


def _of_tables(former: Config, new: Config) -> Iterator[str]:
    for table in type(new).model_fields:
        if table in _NAMED:
            continue
        before, now = getattr(former, table), getattr(new, table)
        if before is None or now is None:
            if before is not now:
                yield f"[{table}] {'is new' if before is None else 'is gone'}"
        elif differing := _differing(before, now):
            yield f"[{table}] {', '.join(differing)}"


def _of_named(table: str, former: Iterable[Section], new: Iterable[Section]) -> Iterator[str]:
    what = table.removesuffix("s")
    before, now = ({getattr(one, "name"): one for one in each} for each in (former, new))  # noqa: B009
    for name in now.keys() - before.keys():
        yield f"{what} {name} is new"
    for name in before.keys() - now.keys():
        yield f"{what} {name} is gone"
    for name in before.keys() & now.keys():
        if type(before[name]) is not type(now[name]):
            yield f"{what} {name} is of another kind"
        elif differing := _differing(before[name], now[name]):
            yield f"{what} {name}: {', '.join(differing)}"
    if list(before) != list(now) and before.keys() == now.keys():
        yield f"the order of [[{table}]]"


def _differing(before: Section, now: Section) -> list[str]:
    """Return the settings of a table that differ, with their values where anybody may see them."""
    found = []
    for key, field in type(now).model_fields.items():
        values = getattr(before, key), getattr(now, key)
        if values[0] == values[1]:
            continue
        is_plain = all(isinstance(one, (str, int, float)) for one in values)
        if is_plain and field.repr:
            found.append(f"{key} {shown(values[1])} (before: {shown(values[0])})")
        else:
            found.append(key)
    return found


def _of_packages(former: Mapping[str, Model], new: Mapping[str, Model]) -> Iterator[str]:
    for name in sorted(former.keys() & new.keys()):
        before, now = former[name], new[name]
        if before.package_digest != now.package_digest:
            versions = f"{now.manifest.version} (before: {before.manifest.version})"
            yield f"the package of model {name}: version {versions}"
