"""The first configuration of a site: every setting explained, what was chosen filled in.

It is written from config/node.example.toml, and counts as written only once it loads. What the
administrator of the PACS has to enter follows from it.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydicom.uid import UID

from node.config import (
    AETitle,
    Config,
    Host,
    Peer,
    PeerName,
    Port,
    bundled_models_dir,
    example_path,
    load_config,
    names_of_models,
)
from node.dimse.addresses import is_every, place, plain_address, without_brackets
from node.errors import ConfigError
from node.manifest import load_model
from node.toml_file import did_you_mean

_HEAD = """\
# Configuration of the AI node, written by `ai-node init`. After a change:
#
#     ai-node doctor --config {name}
#
# and restart the node. Everything behind a single "#" is optional and shows the value that holds
# when the line is left out, or an example where there is none. Times are in seconds. Paths are
# relative to the folder of this file."""

_INSTEAD = """\
# A modality takes no results: in its table, this says where those of its studies go instead.
# results_to = ["pacs"]"""

_ANOTHER = """\
# Another one; what is explained above can be set for it, too.
[[peers]]"""

_FORM = "NAME=AET@HOST:PORT, such as pacs=PACS@192.0.2.10:104"


_RETENTION: dict[str, float] = {
    "images_days": 30,
    "results_days": 90,
    "records_days": 365,
    "out_of_scope_days": 3,
    "excluded_days": 30,
    "neighbours_days": 7,
    "unreadable_days": 90,
    "clean_from_percent": 80,
    "refuse_from_percent": 95,
}
"""For a site whose archive is its PACS: docs/retention.md says how to choose others."""

Ask = Callable[[str, str], str]
"""Asks a person, offering a default ("" is none), and returns the answer."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the options of the command say; None or nothing where they are silent."""

    ae_title: str | None = None
    port: int | None = None
    state_dir: Path | None = None
    peers: Sequence[str] = ()
    """NAME=AET@HOST:PORT of those that send and receive."""
    senders: Sequence[str] = ()
    """The same of those that only send; their results go to all of the former."""
    models: Sequence[str] = ()
    """NAME or NAME=MODE."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a site says of itself; everything else has a value that suits most."""

    ae_title: str
    port: int
    state_dir: str
    peers: tuple[Peer, ...]
    models: tuple[tuple[str, str], ...]
    """Name and mode."""


def choose(given: Given, ask: Ask | None) -> Choices:
    """Ask for what is not given; or, with nobody to ask, take what suits most."""
    asked = ask or (lambda question, default: default)
    return Choices(
        ae_title=given.ae_title or _ask(asked, "AE title of this node", "AINODE", AETitle),
        port=_ask(asked, "Port it listens on", "11112", Port) if given.port is None else given.port,
        state_dir=str(given.state_dir or asked("Folder for studies and results", "state")),
        peers=_peers(given, ask),
        models=_models(given, asked),
    )


def _peers(given: Given, ask: Ask | None) -> tuple[Peer, ...]:
    if ask is not None and not given.peers and not given.senders:
        return _ask_peers(ask)
    if not given.peers:
        raise ConfigError(f"no PACS is named: give --peer {_FORM}")
    pacs = [_parse("--peer", text, {"receives": "default"}) for text in given.peers]
    to = {"results_to": tuple(peer.name for peer in pacs)}
    return (*pacs, *(_parse("--sender", text, to) for text in given.senders))


def _parse(option: str, text: str, role: dict[str, Any]) -> Peer:
    parts = re.fullmatch(r"(?P<name>[^=]+)=(?P<ae_title>.+)@(?P<host>[^@]+):(?P<port>\d+)", text)
    if parts is None:
        raise ConfigError(f"{option} {text!r}: expected {_FORM}")
    if not 1 <= int(parts["port"]) <= 65535:
        raise ConfigError(f"{option} {text!r}: expected a port from 1 to 65535, as the last number")
    try:
        host = without_brackets(parts["host"])
        return Peer.model_validate({**parts.groupdict(), "host": host, "sends": True, **role})
    except ValidationError as error:
        problems = [
            f"{option} {text!r}: {each['loc'][0]}: {_words(each)}" for each in error.errors()
        ]
        raise ConfigError("\n".join(problems)) from error


def _models(given: Given, ask: Ask) -> tuple[tuple[str, str], ...]:
    if given.models:
        pairs = (text.partition("=") for text in given.models)
        return tuple((name, mode or "deliver") for name, _, mode in pairs)
    known = names_of_models(bundled_models_dir())
    question = f"Model to run (there are: {', '.join(known)})"
    name = _ask(ask, question, "breast-area", _one_of(known))
    results = "Its results: deliver (send them) or shadow (keep them here)"
    return ((name, _ask(ask, results, "deliver", _one_of(("deliver", "shadow", "off")))),)


def _one_of(known: Collection[str]) -> Any:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f'there is no "{value}", {did_you_mean(value, known)}')
        return value

    return Annotated[str, AfterValidator(check)]


def _ask_peers(ask: Ask) -> tuple[Peer, ...]:
    pacs = _ask_peer(ask, "The PACS, which sends studies and gets the results", "pacs")
    peers = [pacs.model_copy(update={"receives": "default"})]
    while ask("Does a modality send to this node itself? (y/n)", "n").lower().startswith("y"):
        taken = [peer.name for peer in peers]
        modality = _ask_peer(ask, "The modality, whose results go to the PACS", "modality", taken)
        peers.append(modality.model_copy(update={"results_to": (pacs.name,)}))
    return tuple(peers)


def _ask_peer(ask: Ask, what: str, name: str, taken: Collection[str] = ()) -> Peer:
    def check(value: str) -> str:
        if value in taken:
            raise ValueError(f'"{value}" is there already, give each its own name')
        return value

    return Peer(
        name=_ask(ask, f"{what}. A name for it", name, Annotated[PeerName, AfterValidator(check)]),
        ae_title=_ask(ask, "  its AE title", "", AETitle),
        host=_ask(ask, "  its host name or address", "", Host),
        port=_ask(ask, "  its port", "104", Port),
        sends=True,
    )


def _ask(ask: Ask, question: str, default: str, kind: Any) -> Any:
    """Ask until the answer is one that the configuration takes."""
    problem = ""
    while True:
        try:
            return TypeAdapter(kind).validate_python(ask(problem + question, default).strip())
        except ValidationError as error:
            problem = f"{_words(error.errors()[0])}.\n"


def _words(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Value error, ")


# Written


def refuse_to_replace(path: Path, *, is_forced: bool) -> None:
    """Raise ConfigError if a file is there that nobody said to replace."""
    if path.exists() and not is_forced:
        raise ConfigError(f"{path} is there already; --force replaces it, --config names another")


def write_config(path: Path, choices: Choices) -> Config:
    """Write a configuration, and return it as it is loaded; one that does not load is not left."""
    draft = path.with_name(f"{path.name}.part")
    try:
        draft.write_text(config_text(choices, path.name), "utf-8")
        try:
            loaded = load_config(draft)
        except ConfigError as error:
            raise ConfigError(_by_option(str(error), draft)) from error
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return loaded


_OPTIONS = {
    "node.ae_title": "--ae-title",
    "node.state_dir": "--state-dir",
    "listener.port": "--port",
    "peers": "--peer or --sender",
    "models": "--model",
}


def _by_option(problems: str, draft: Path) -> str:
    """Name the options, in place of the lines of a file that is not left."""
    lines = []
    for line in problems.splitlines():
        said = re.sub(rf"^{re.escape(str(draft))}:(\d+: )?", "", line).strip()
        key = next((key for key in _OPTIONS if said.startswith(key)), "")
        lines.append(_OPTIONS.get(key, "") + re.sub(r"^\.", ": ", said.removeprefix(key)))
    return "\n".join(lines)


def config_text(choices: Choices, name: str) -> str:
    """Return the configuration as a file of a name has it."""
    tables = _tables(example_path().read_text("utf-8"))
    first, *others = choices.peers
    filled = {
        "[node]": [_with(tables["[node]"], ae_title=choices.ae_title, state_dir=choices.state_dir)],
        "[listener]": [_with(tables["[listener]"], port=choices.port)],
        "[[peers]]": [
            f"{_with(tables['[[peers]]'], **_settings(first))}\n\n{_INSTEAD}",
            *("\n".join([_ANOTHER, *_lines(_settings(peer))]) for peer in others),
        ],
        "[retention]": [_with(tables["[retention]"], **_RETENTION)],
        "[[models]]": [
            _with(tables["[[models]]"], name=model, mode=mode) for model, mode in choices.models
        ],
    }
    parts = [part for header, table in tables.items() for part in filled.get(header, [table])]
    return "\n\n".join([_HEAD.format(name=name), *parts]) + "\n"


def _tables(example: str) -> dict[str, str]:
    """Return the text of the first table of each name, comments and all, by its header.

    Of optional tables of one name all are kept: each explains something else.
    """
    found: dict[str, list[str]] = {}
    paragraphs: list[str] = []
    for paragraph in example.strip().split("\n\n"):
        header = re.search(r"^(# )?(\[.*\])$", paragraph, re.MULTILINE)
        if header:
            paragraphs = found.get(header[2], []) if header[1] else []
            found.setdefault(header[2], paragraphs)
        paragraphs.append(paragraph)
    return {header: "\n\n".join(paragraphs) for header, paragraphs in found.items()}


def _with(table: str, **settings: str | float | bool | list[str]) -> str:
    """Fill settings in where the example has them, commented out or not."""
    for line in _lines(settings):
        key = line.partition(" ")[0]
        (found,) = re.findall(rf"^(?:# )?{key} = .*$", table, re.MULTILINE)
        table = table.replace(found, line)
    return table


def _settings(peer: Peer) -> dict[str, Any]:
    """Return what was chosen of a peer."""
    return peer.model_dump(exclude_unset=True, mode="json")


def _lines(settings: dict[str, Any]) -> Iterator[str]:
    for key, value in settings.items():
        yield f"{key} = {json.dumps(value, ensure_ascii=False)}"


# What the PACS has to know


def pacs_side(config: Config) -> list[str]:
    """Return what to enter on the other systems, line by line."""
    lines = []
    for peer in config.peers:
        here = f"{config.node.ae_title}, address {_our_address(config, peer)}"
        lines += [
            "",
            f"On {peer.name} ({peer.ae_title} at {place(peer.host, peer.port)}), enter:",
            f"  a destination     AE title {here}, port {config.listener.port}",
            "  what to send it   " + "; ".join(_inputs(config)),
        ]
        if peer.receives:
            lines += [
                f"  let it store      {peer.ae_title} must take C-STORE from {here}:",
                "                    Comprehensive SR and Secondary Capture, into the same study",
                f"  if you have it    storage commitment and C-FIND (Study Root) for {here};",
                "                    reports of storage commitment go to the port above",
            ]
        else:
            lines += [f"  results           go to {', '.join(peer.results_to)}, not here"]
    return lines


def _inputs(config: Config) -> Iterator[str]:
    """Say what the models read."""
    for model in config.models:
        if model.mode != "off":
            wanted = load_model(model.name, *config.models_dirs).manifest.input
            parts = ", ".join(wanted.body_parts)
            of = "" if wanted.modality == "MG" else f" of {parts}"
            yield f"{wanted.modality}{of}: {', '.join(UID(uid).name for uid in wanted.sop_classes)}"


def _our_address(config: Config, peer: Peer) -> str:
    """Return the address from which this machine would call a peer; nothing is sent for that."""
    if not is_every(config.listener.host):
        return config.listener.host
    try:
        kind, _, _, _, address = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return plain_address(str(probe.getsockname()[0]))
    except (OSError, UnicodeError):
        return socket.gethostname()
