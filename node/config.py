"""node.toml -> Config: read once, checked whole, frozen, passed down."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from node.errors import ConfigError
from node.manifest import bundled_models_dir

AETitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$")
]
"""PS3.5 6.2: printable ASCII without backslash, no leading or trailing blank."""
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=48)]


class Section(BaseModel):
    """A table of the file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(Section):
    """Who we are, and where we keep things."""

    ae_title: AETitle
    state_dir: Path
    """Ledger, locks and temporary files; local disk. Relative to the configuration file."""
    store_dir: Path | None = None
    """Received and result objects; default: inside state_dir."""
    models_dir: Path | None = None
    """Model packages; default: the ones that come with the node."""
    timezone: str | None = None
    """IANA name; for studies that do not say their time zone. Default: the machine's."""
    min_free_mb: Annotated[int, Field(ge=0)] = 2048
    """Below this free space on the store's disk C-STORE answers 0xA700 (out of resources)."""

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{name!r} is not an IANA time zone such as Europe/Berlin") from error
        return name


class Listener(Section):
    """The socket that studies come to."""

    host: str = "0.0.0.0"  # noqa: S104 - a PACS must be able to reach us
    port: Port = 11112
    max_associations: Annotated[int, Field(ge=1)] = 50
    max_pdu: Annotated[int, Field(ge=4096)] = 262_144
    idle_timeout_s: Seconds = 60
    """An association that says nothing for this long is aborted."""


class Peer(Section):
    """An application entity we know."""

    name: Name
    ae_title: AETitle
    host: str
    port: Port
    addresses: tuple[str, ...] = ()
    """Other addresses or networks (CIDR) it may send from."""
    sends: bool = False
    """Its studies are accepted."""
    receives: Literal["default"] | None = None
    """The preset by which results are sent to it; results of its own studies go back to it."""
    results_to: tuple[Name, ...] = ()
    """For a peer that takes no results: the peers that get the results of its studies."""
    timeout_s: Seconds = 120
    """How long we wait for an answer from it."""

    @field_validator("addresses")
    @classmethod
    def _addresses_parse(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ipaddress.ip_network(address, strict=False)
        return addresses


class Model(Section):
    """A model and what is done with its results."""

    name: str
    mode: Literal["off", "shadow", "deliver"]
    """off: not run; shadow: run and stored, nothing sent; deliver: sent."""


class Completeness(Section):
    """When is a study complete."""

    settle_s: Seconds = 3
    """Quiet time once every expected view is there."""
    quiet_s: Seconds = 60
    """Quiet time without open association when views are missing."""
    final_s: Seconds = 1800
    """After this long, whatever is there is analysed."""


class Inference(Section):
    """The child processes that decode and run."""

    processes: Annotated[int, Field(ge=1)] = 1
    threads: Annotated[int, Field(ge=1)] = 2
    """Threads of each ONNX Runtime session."""
    deadline_s: Seconds = 120
    """One image may take this long; then the child is killed."""
    memory_mb: Annotated[int, Field(ge=512)] = 4096
    """Address space one child may use."""


class Delivery(Section):
    """How results are sent, and how long we keep trying."""

    retry_first_s: Seconds = 30
    retry_max_s: Seconds = 3600
    """The delay doubles from the first to this."""
    deliver_within_s: Seconds = 259_200
    """After this long a delivery is given up, shown as dead, and can be re-sent by hand."""


class Config(Section):
    """The whole file."""

    node: Node
    listener: Listener = Listener()
    peers: tuple[Peer, ...] = ()
    models: tuple[Model, ...] = ()
    completeness: Completeness = Completeness()
    inference: Inference = Inference()
    delivery: Delivery = Delivery()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("peers", [peer.name for peer in self.peers]),
            ("models", [model.name for model in self.models]),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two {what} are called {name!r}; names must differ")
        return self

    @model_validator(mode="after")
    def _results_go_to_peers_that_take_them(self) -> Self:
        takes = {peer.name: peer.receives is not None for peer in self.peers}
        for peer in self.peers:
            if peer.receives and peer.results_to:
                raise ValueError(
                    f"peer {peer.name!r} has both receives and results_to; results go back to it, "
                    "or to others: keep one"
                )
            for name in peer.results_to:
                if name not in takes:
                    raise ValueError(f"peer {peer.name!r}: results_to names unknown peer {name!r}")
                if not takes[name]:
                    raise ValueError(
                        f"peer {peer.name!r}: results_to names {name!r}, which takes no results; "
                        'add receives = "default" to it'
                    )
        return self

    @property
    def store_dir(self) -> Path:
        """Where objects lie."""
        return self.node.store_dir or self.node.state_dir / "store"

    @property
    def models_dir(self) -> Path:
        """Where model packages lie."""
        return self.node.models_dir or bundled_models_dir()

    def peer(self, name: str) -> Peer:
        """Return a peer by name."""
        return next(peer for peer in self.peers if peer.name == name)

    def destinations_of(self, sender: str) -> tuple[str, ...]:
        """Return the names of the peers that get the results of a sender's studies."""
        for peer in self.peers:
            if peer.name == sender:
                return (peer.name,) if peer.receives else peer.results_to
        return ()


def load(path: Path) -> Config:
    """Read and check a configuration file; paths in it are relative to its folder."""
    try:
        config = Config.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
    base = path.resolve().parent
    node = config.node.model_copy(
        update={
            key: base / value
            for key in ("state_dir", "store_dir", "models_dir")
            if (value := getattr(config.node, key)) is not None
        }
    )
    return config.model_copy(update={"node": node})
