"""A public name means one thing: it stands in one module of the node."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import node

PACKAGE = Path(node.__file__).parent

DOMAINS_ANSWERS = (
    *("read", "is_in_scope", "why_not_in_scope", "awaited", "told"),
    *("units", "combine", "grouped", "hanging"),
    *("require_visible", "require_plausible", "require_plausible_outline"),
)
CONVENTIONS = {
    "log": "a module's logger",
    "main": "what `python -m` runs",
    "commands": "those of one module of the command line",
    "build": "the one builder of a kind of result object",
    "SERIES_NUMBER": "that of the series which a kind of result object is in",
    **dict.fromkeys(DOMAINS_ANSWERS, "what a domain answers (node/domains/domain.py)"),
}
"""Names that say the same wherever they stand."""


def is_command(statement: ast.stmt) -> bool:
    """Whether this is a command of the command line, called as a person types it."""
    return isinstance(statement, ast.FunctionDef) and any(
        isinstance(one, ast.Call)
        and isinstance(one.func, ast.Attribute)
        and one.func.attr == "command"
        for one in statement.decorator_list
    )


def public_names(tree: ast.Module) -> Iterator[str]:
    """Yield what a module defines at its top, commands apart."""
    for statement in tree.body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found = [] if is_command(statement) else [statement.name]
            case ast.Assign(targets=targets):
                found = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                found = [name]
            case _:
                found = []
        yield from (name for name in found if not name.startswith("_"))


def homes(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names that stand in several modules, with these."""
    found = defaultdict(set)
    for module, source in sources.items():
        for name in public_names(ast.parse(source)):
            found[name].add(module)
    return {name: sorted(modules) for name, modules in found.items() if len(modules) > 1}


def test_each_public_name_stands_in_one_module() -> None:
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "versions"]
    found = homes({str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in paths})
    again = {name: found[name] for name in found.keys() - CONVENTIONS.keys()}
    assert not again, f"say in its name what each of them is: {again}"


def test_what_counts_as_a_public_name_is_seen_wherever_it_stands() -> None:
    everything = """
import typer
from elsewhere import Taken
_private = 1
LIMIT: int = 2
FIRST, SECOND = 1, 2
def made() -> None: ...
class Made: ...
@app.command("say")
def said() -> None: ...
@cached
def kept() -> None: ...
"""
    names = {"LIMIT", "FIRST", "SECOND", "made", "Made", "kept"}
    assert homes({"a": everything, "b": everything}).keys() == names
    assert homes({"a": everything, "b": "def made(): ..."}) == {"made": ["a", "b"]}
    assert homes({"a": everything, "b": "", "c": "LIMIT = LIMIT = 3"}) == {"LIMIT": ["a", "c"]}
