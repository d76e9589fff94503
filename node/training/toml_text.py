"""Plain data -> a TOML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from node.toml_file import quoted


def toml_text(words: Mapping[str, Any]) -> str:
    """Return tables, values and lists as a TOML file; what is None is left out."""
    return "\n".join(_table((), words)).lstrip("\n") + "\n"


def _table(place: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a table: its own values first, then the tables in it."""
    tables = dict[str, Any]()
    for key, value in table.items():
        if isinstance(value, Mapping) or _is_list_of_tables(value):
            tables[key] = value
        elif value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in tables.items():
        name = ".".join(map(_key, (*place, key)))
        if isinstance(value, Mapping):
            yield from ("", f"[{name}]", *_table((*place, key), value))
        else:
            for one in value:
                yield from ("", f"[[{name}]]", *_table((*place, key), one))


def _value(value: object) -> str:
    """Return a value on its line: tables that lie in lists of lists are written within."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        words = [f"{_key(key)} = {_value(one)}" for key, one in value.items() if one is not None]
        return f"{{ {', '.join(words)} }}"
    return quoted(value)


def _is_list_of_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) for v in value)


def _key(key: str) -> str:
    is_bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if is_bare else quoted(key)
