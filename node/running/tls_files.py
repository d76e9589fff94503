"""Whether the files are there, and are PEM, that connections to others need for TLS."""

from __future__ import annotations

from collections.abc import Iterator

from node.config import AlarmMail, AlarmWebhook, Config, HL7Settings, WebhookSettings
from node.errors import DeliveryError
from node.http.trust import trusting


def faults_of_tls_files(config: Config) -> Iterator[str]:
    """Yield whom nobody can be connected to with TLS as the files are, each with what to do."""
    connections: list[tuple[str, HL7Settings | WebhookSettings | AlarmMail | AlarmWebhook]] = [
        (f'Destination "{one.name}"', one) for one in config.lists
    ]
    if config.alarms.webhook is not None:
        connections.append(("[alarms.webhook]", config.alarms.webhook))
    if config.alarms.mail is not None:
        connections.append(("[alarms.mail]", config.alarms.mail))
    for where, one in connections:
        own = (one.tls_certificate, one.tls_key) if isinstance(one, HL7Settings) else (None, None)
        try:
            trusting(one.tls_ca, *own)
        except DeliveryError as error:
            yield f"{where}: {error}."
