"""A TOML file -> a checked table, or a ConfigError with one line per problem.

A line reads `node.toml:12: listener.prot: unknown key, did you mean "port"?`: file, line,
key, what is wrong and what to do.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from node.errors import ConfigError

Place = tuple[str | int, ...]
"""Where a value is: ("peers", 0, "port")."""


class Section(BaseModel):
    """A table of a file: unknown keys are errors, nan and inf no numbers, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Table = TypeVar("Table", bound=Section)
ProblemsOf = Callable[[Table], Iterable[tuple[Place, str]]]
"""Finds problems in a table, each with its place in it."""


def load(
    path: Path, schema: type[Table], *, problems_of: ProblemsOf[Table] = lambda _: ()
) -> Table:
    """Read and check a file; `problems_of` finds what only the world outside of it can tell."""
    text = _read(path)
    try:
        checked = schema.model_validate(tomllib.loads(text))
        if problems := list(problems_of(checked)):
            raise wrong(problems)
        return checked
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}{_syntax_problem(str(error))}") from error
    except ValidationError as error:
        lines = line_numbers(text)
        found = []
        for details in _of_their_own(error.errors()):
            place, within = _located(schema, details["loc"])
            if details["type"].startswith("union_tag"):
                place = (*place, details["ctx"]["discriminator"].strip("'"))
            found.append((_nearest(lines, place), _problem(details, place, within)))
        found.sort()
        raise ConfigError("\n".join(f"{path}:{n}: {problem}" for n, problem in found)) from error


def load_table(path: Path, name: str, schema: type[Table]) -> Table | None:
    """Read one table of a file, whatever is wrong with the others; None if it is itself."""
    with contextlib.suppress(ConfigError, tomllib.TOMLDecodeError, ValidationError):
        head = rf"^[ \t]*\[[ \t]*{re.escape(name)}[ \t]*\]"
        if found := re.search(rf"{head}.*?(?=^[ \t]*\[|\Z)", _read(path), re.MULTILINE | re.DOTALL):
            return schema.model_validate(tomllib.loads(found[0])[name])
    return None


def _of_their_own(errors: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Yield what is wrong by itself: a list with a wrong item is not also too short."""
    places = [one["loc"] for one in errors]
    for one in errors:
        inside = (loc for loc in places if len(loc) > len(one["loc"]))
        if one["type"] != "too_short" or one["loc"] not in (
            loc[: len(one["loc"])] for loc in inside
        ):
            yield one


def matching(pattern: str, expected: str) -> AfterValidator:
    """Return a check that a string matches as a whole; `expected` describes one that does."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}, found {shown(value)}")
        return value

    return AfterValidator(check)


def shown(value: object) -> str:
    """Return a value as the file has it, cut if it is long, and without the password of a URL."""
    text = _SECRET.sub("***", json.dumps(value, default=str, ensure_ascii=False))
    return text if len(text) <= 60 else f"{text[:57]}..."


def quoted(value: object) -> str:
    """Return a value as a file has it: text, numbers, lists of them."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(quoted, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


_SECRET = re.compile(r"(?<=://).*(?=@)|(?<=password=)[^&\"]*")


def wrong(problems: Iterable[tuple[Place, str]]) -> ValidationError:
    """Return the error to raise in a model validator: each problem with its place in the table."""
    return ValidationError.from_exception_data(
        "file",
        [
            InitErrorDetails(
                # The problem is no template itself: it may hold braces.
                type=PydanticCustomError("wrong", "{problem}", {"problem": problem}),
                loc=place,
                input=None,
            )
            for place, problem in problems
        ],
    )


def did_you_mean(found: str, known: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: the nearest known ones."""
    close = difflib.get_close_matches(found, known, n=1, cutoff=0.5)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known are: {', '.join(known) or 'none'}"


# Lines


_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r]+|\#[^\n]*)
    |(?P<quoted>\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\])*"|'[^']*')
    |(?P<bare>[A-Za-z0-9_-]+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def line_numbers(text: str) -> dict[Place, int]:
    """Return the line of every table and key of a valid TOML text, but those of inline tables."""
    lines: dict[Place, int] = {}
    last: dict[Place, int] = {}  # the index of the last table of each array of tables
    table: Place = ()
    for line, brackets, keys in _statements(text):
        place = table if brackets == 0 else ()
        for key in keys:
            if place in last:
                place = (*place, last[place])
            place = (*place, key)
            lines.setdefault(place, line)
        if brackets == 2:
            last[place] = last.get(place, -1) + 1
        if brackets:
            table = (*place, last[place]) if place in last else place
            lines[table] = line
    return lines


def _statements(text: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the line, the number of opening brackets (0 to 2) and the keys of each statement."""
    line = start = 1
    depth, brackets, keys, in_value = 0, 0, list[str](), False
    for token in _TOKEN.finditer(text + "\n"):
        found, kind = token.group(), token.lastgroup
        if found == "\n" and depth == 0:
            if keys:
                yield start, brackets, keys
            start, brackets, keys, in_value = line + 1, 0, [], False
        elif found == "=":
            in_value = True
        elif found in ("[", "{"):
            depth += 1
            brackets += not in_value
        elif found in ("]", "}"):
            depth -= 1
        elif kind in ("bare", "quoted") and not in_value:
            keys.append(found if kind == "bare" else tomllib.loads(f"key = {found}")["key"])
        line += found.count("\n")


def _nearest(lines: dict[Place, int], place: Place) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


# Words


_EXPECTED = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number not below {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number not above {le}",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "path_type": "a path in quotes",
    "tuple_type": 'a list such as ["one", "two"]',
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _problem(error: ErrorDetails, place: Place, table: type[Section]) -> str:
    context = error.get("ctx", {})
    found = context.get("tag", error["input"])
    key = ".".join(part for part in place if isinstance(part, str))
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key, {did_you_mean(str(place[-1]), tuple(table.model_fields))}"
    if error["type"] in ("missing", "union_tag_not_found"):
        is_table = len(place) == 1
        line = f"[{place[-1]}]" if is_table else f"{place[-1]} = ..."
        return f"{key}: missing, add {line}"
    if words := _one_or_several(error, key, table):
        return f"{key}: {words}"
    if error["type"] in _EXPECTED:
        expected = _EXPECTED[error["type"]].format(**context).replace("'", '"')
        return f"{key}: expected {expected}{_what_was_found(found, error, key, table)}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _what_was_found(found: object, error: ErrorDetails, key: str, table: type[Section]) -> str:
    """Return what is there instead, unless it may be a secret, or stand where one belongs."""
    field = table.model_fields.get(key.rpartition(".")[2])
    if field is not None and not field.repr:
        return ""
    if error["type"] in ("model_type", "model_attributes_type") and isinstance(found, str):
        return ", found text"
    return f", found {shown(found)}"


def _one_or_several(error: ErrorDetails, key: str, table: type[Section]) -> str:
    """Say that there is a list of tables where one is, or one where a list is, "" if not."""
    found, last = error["input"], key.rpartition(".")[2]
    if error["type"] in ("model_type", "model_attributes_type") and isinstance(found, list):
        several = f", or [[{key}s]] for several" if f"{last}s" in table.model_fields else ""
        return f"expected one table, found a list of them: write [{key}]{several}"
    if error["type"] == "tuple_type" and isinstance(found, dict):
        return f"expected a list of tables, found one: write [[{key}]] for each"
    return ""


def _located(schema: type[Section], loc: Place) -> tuple[Place, type[Section]]:
    """Return the place of an error in the file, and what the table it is in may hold.

    Of a table that comes in several kinds pydantic names the kind too, as if it were a key.
    """
    place: Place = ()
    table, annotation, kinds = schema, None, list[type[Section]]()
    for part in loc:
        if named := [kind for kind in kinds if len(kinds) > 1 and part in _called(kind)]:
            table, kinds = named[0], []
            continue
        place = (*place, part)
        if isinstance(part, str):
            annotation = table.model_fields[part].annotation if part in table.model_fields else None
        kinds = _tables_in(annotation, is_list=isinstance(part, int))
        table = kinds[0] if len(kinds) == 1 else table
    return place, table


def _called(kind: type[Section]) -> tuple[Any, ...]:
    """Return by which words a table says of which kind it is."""
    return tuple(
        word
        for field in kind.model_fields.values()
        if get_origin(field.annotation) is Literal
        for word in get_args(field.annotation)
    )


def _tables_in(annotation: Any, is_list: bool) -> list[type[Section]]:
    """Return the tables that a value may be, or that it may be a list of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [] if is_list else [annotation]
    if get_origin(annotation) is tuple:
        return _tables_in(get_args(annotation)[0], is_list=False) if is_list else []
    return [kind for part in get_args(annotation) for kind in _tables_in(part, is_list)]


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text, save the file as UTF-8") from error


def _syntax_problem(message: str) -> str:
    """Return tomllib's message with the line number in front, where it names one."""
    place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if place is None:
        return f": not valid TOML: {message}"
    return f":{place[1]}: not valid TOML: {message[: place.start()]} (column {place[2]})"
