"""Which destination each peer of a configuration is."""

from __future__ import annotations

from node.config import Config
from node.deliver.destination import Destination
from node.deliver.dimse import DimseDestination
from node.deliver.messages.receiver import Receiver, receiver_of
from node.errors import DeliveryError


def destination_of(config: Config, name: str) -> Destination:
    """Return how results get to the peer of this name: all peers speak DIMSE.

    Raises DeliveryError if there is no such peer any more.
    """
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
