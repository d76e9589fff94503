"""Digests of the sources that read and judge an image: do they do what their number stands for?

`python tests/source_digests.py` renews tests/score_key.json; tests/test_score_key.py says when.

A part's digest covers what its names in `node.score_key` begin, and all of ours that these refer
to, up to where another part begins. It is the same after a pure move, another order or layout of
the source, other comments or docstrings, and in every version of Python.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import node
from node import score_key

PACKAGE = Path(node.__file__).parent
RECORD = Path(__file__).with_name("score_key.json")
PLAIN = (
    *("node.errors", "node.study", "node.result", "node.config", "node.manifest"),
    *("node.inference.messages", "node.inference.line", "node.domains.table"),
)
"""Not followed into: they hold what is handed around. What of it bears on a score is in the key by
its value (manifest, image), or is a part of its own (the form of a score, what a domain judges)."""

Place = tuple[str, str]
"""A module, and a name in it."""
SourceOf = Callable[[str], str]
Recorded = dict[str, dict[str, int | str]]


@dataclass(frozen=True, slots=True)
class Names:
    """What the names at the top of a module mean."""

    defined: dict[str, list[ast.stmt]]
    imported: dict[str, Place]
    """Of a name from elsewhere the module and its name there, "" if it is the module itself."""


def source_of(module: str) -> str:
    """Return the source of one of our modules."""
    return file_of(module).read_text("utf-8")


@cache
def file_of(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def digests(read: SourceOf = source_of) -> dict[str, str]:
    """Return the digest of each part, by its name."""
    sources = Sources(read)
    beginnings = {
        name: [sources.found(*_place(source)) for source in part.sources]
        for name, part in score_key.parts().items()
    }
    return {
        name: sources.digest(places, {p for other in beginnings.values() for p in other})
        for name, places in beginnings.items()
    }


def recorded() -> Recorded:
    """Return the number and the digest of each part when they were recorded."""
    found: Recorded = json.loads(RECORD.read_text("utf-8"))
    return found


def record() -> None:
    """Write down the numbers and digests as they are now."""
    numbers = {name: part.number for name, part in score_key.parts().items()}
    found = {name: {"number": numbers[name], "digest": d} for name, d in digests().items()}
    RECORD.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


class Sources:
    """Our modules, read once."""

    def __init__(self, read: SourceOf) -> None:
        self._read = read
        self._names: dict[str, Names] = {}

    def found(self, module: str, name: str) -> Place:
        """Return where a name is defined that a module has, or raise LookupError."""
        names = self._names_of(module)
        if name in names.defined:
            return module, name
        if name not in names.imported:
            raise LookupError(f"{module} has no {name}; correct the name in node/score_key.py")
        return self.found(*names.imported[name])

    def digest(self, places: list[Place], ends: set[Place]) -> str:
        """Return the digest of what is defined at these places and of all it refers to."""
        waiting, seen = list(places), set[Place]()
        texts = set()
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            for statement in self._names_of(place[0]).defined[place[1]]:
                texts.add(self._text(statement, place[0]))
                waiting += [p for p in self._referred(statement, place[0]) if p not in ends]
        return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()

    def _referred(self, statement: ast.stmt, module: str) -> Iterator[Place]:
        for part in ast.walk(statement):
            place = self._meaning(part, module)
            if place is not None and not place[0].startswith(PLAIN):
                yield place

    def _meaning(self, part: ast.AST, module: str) -> Place | None:
        """Return where what is named is defined, None unless that is at the top of a module."""
        names = self._names_of(module)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            home, own = names.imported.get(part.value.id, ("", "?"))
            if own or part.attr not in self._all_names(home):
                return None
            return self.found(home, part.attr)
        if not isinstance(part, ast.Name):
            return None
        if part.id in names.defined or names.imported.get(part.id, ("", ""))[1]:
            return self.found(module, part.id)
        return None

    def _all_names(self, module: str) -> set[str]:
        names = self._names_of(module)
        return {*names.defined, *names.imported}

    def _names_of(self, module: str) -> Names:
        if module not in self._names:
            self._names[module] = _names_in(ast.parse(self._read(module)), module)
        return self._names[module]

    def _text(self, part: Any, module: str) -> str:
        """Write a piece of a syntax tree as text that depends only on what it does."""
        if isinstance(part, list):
            return "[" + " ".join(self._text(one, module) for one in part) + "]"
        if not isinstance(part, ast.AST):
            return ascii(part)
        place = self._meaning(part, module)
        if place is not None:  # by whatever way it is named here
            part = ast.Name(place[1])
        if isinstance(part, ast.Constant):
            return ascii(part.value)
        fields = [
            f"{name}={self._text(value, module)}"
            for name, value in _fields(part)
            if value is not None and value != []
        ]
        return f"{type(part).__name__}({' '.join(fields)})"


def _place(source: str) -> Place:
    module, _, name = source.partition(":")
    return module, name


def _names_in(tree: ast.Module, module: str) -> Names:
    names = Names({}, {})
    for statement in tree.body:
        for name in _defined(statement):
            names.defined.setdefault(name, []).append(statement)
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("node"):
            home = statement.module or ""
            for alias in statement.names:
                inner = f"{home}.{alias.name}"
                place = (inner, "") if file_of(inner).is_file() else (home, alias.name)
                names.imported[alias.asname or alias.name] = place
        elif isinstance(statement, ast.Import) and any(
            alias.name.startswith("node") for alias in statement.names
        ):
            raise ValueError(f"{module}: write `from node import ...`, which can be followed")
    return names


def _defined(statement: ast.stmt) -> list[str]:
    """Return the names that a statement gives a meaning to."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            parts = [part for target in targets for part in ast.walk(target)]
            return [part.id for part in parts if isinstance(part, ast.Name)]
        case _:
            pass
    inner = [part for part in ast.iter_child_nodes(statement) if isinstance(part, ast.stmt)]
    return [name for part in inner for name in _defined(part)]


def _fields(part: ast.AST) -> Iterator[tuple[str, Any]]:
    for name, value in ast.iter_fields(part):
        if name in ("ctx", "kind", "type_comment"):
            continue
        if name in ("name", "id") and isinstance(part, ast.FunctionDef | ast.ClassDef | ast.Name):
            yield name, value.lstrip("_")  # a move may make it public
        elif name == "body" and isinstance(value, list):
            yield name, [one for one in value if not _is_docstring(one)]
        elif isinstance(part, ast.JoinedStr):
            yield name, _merged(value)
        else:
            yield name, value


def _is_docstring(statement: ast.AST) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _merged(pieces: list[Any]) -> list[Any]:
    """Join what stands side by side in an f-string: versions of Python cut it differently."""
    merged: list[Any] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(str(last.value) + str(piece.value))
        elif not isinstance(piece, ast.Constant) or piece.value:
            merged.append(piece)
    return merged


if __name__ == "__main__":
    record()
