"""What holds for every module of the package, and no other tool looks for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "node"

IMPORT_ALL = """
import importlib, pathlib, sys

package, read = pathlib.Path(sys.argv[1]), set()

def note(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path = pathlib.Path(arguments[0])
        if path.is_relative_to(package.parent) and not {".venv", "__pycache__"} & set(path.parts):
            read.add(path)

sys.addaudithook(note)
for source in sorted(package.rglob("*.py")):
    parts = source.relative_to(package.parent).with_suffix("").parts
    if not {"training", "migrations", "__main__"} & set(parts):
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
for path in sorted(path for path in read if path.suffix != ".py"):
    print(path)
"""


def test_no_file_is_read_by_importing() -> None:
    """Whatever it held then would hold for ever, and a mistake in it would stop every command."""
    found = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(PACKAGE)],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == ""


def test_nothing_found_is_never_told_by_stop_iteration() -> None:
    """It would end a loop far away without a word, or be taken for another's."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name("next"), args=[ast.GeneratorExp()]):
                    found.append(f"{path}:{node.lineno}: next() of a search, without a default")
                case ast.ExceptHandler(type=ast.expr() as caught):
                    if "StopIteration" in ast.unparse(caught):
                        found.append(f"{path}:{node.lineno}: catches StopIteration")
                case _:
                    pass
    assert found == []
