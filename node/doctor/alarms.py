"""Check of the alarms: whether those can be told who should be."""

from __future__ import annotations

from collections.abc import Iterator

from node.alarms.channels import alarm_channels
from node.config import Config
from node.doctor.verdict import Verdict, failed, ok
from node.errors import DeliveryError


def check_alarms(config: Config) -> Iterator[Verdict]:
    """Reach each channel, and tell it nothing."""
    channels = alarm_channels(config)
    if not channels:
        yield ok("alarms", "told to nobody: [alarms] names neither mail nor webhook")
    for name, channel in channels.items():
        try:
            channel.reach()
        except DeliveryError as error:
            remedy = f"Mend that, or [alarms.{name}]; then `ai-node alarm test`."
            yield failed("alarms", f"cannot be told by {name}: {error}", remedy)
        else:
            yield ok("alarms", f"{name} to {channel.where}; `ai-node alarm test` sends a test")
