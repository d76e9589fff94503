"""Which destination each peer of a configuration is."""

from __future__ import annotations

from node.config import Config
from node.deliver.destination import Destination
from node.deliver.dimse import DimseDestination


def destination_of(config: Config, name: str) -> Destination:
    """Return how results get to the peer of this name: all peers speak DIMSE.

    Raises DeliveryError if there is no such peer any more.
    """
    peer = config.peer(name)
    return DimseDestination(peer, config.node.ae_title, config.delivery.commitment_wait_s)
