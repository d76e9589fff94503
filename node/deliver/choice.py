"""Which destination each name of a configuration is."""

from __future__ import annotations

from node.config import Config
from node.deliver.destination import Destination
from node.deliver.dimse import DimseDestination
from node.deliver.folder import FolderDestination
from node.deliver.messages.receiver import Receiver, receiver_of
from node.errors import DeliveryError


def destination_of(config: Config, name: str) -> Destination:
    """Return how results get to who has this name: a folder, or a peer, which speaks DIMSE.

    Raises DeliveryError if nobody has it any more.
    """
    for folder in config.folders:
        if folder.name == name:
            return FolderDestination(name, folder.path)
    peer = config.peer(name)
    return DimseDestination(peer, config.node.ae_title, config.delivery.commitment_wait_s)


def receiver_named(config: Config, name: str) -> Receiver:
    """Return who is told of triage levels under this name.

    Raises DeliveryError if there is no such destination any more.
    """
    for settings in config.lists:
        if settings.name == name:
            return receiver_of(settings)
    raise DeliveryError(f"no destination is called {name} any more")
