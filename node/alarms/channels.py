"""The ways by which people, and programs of the site, are told of alarms."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from node.alarms.mail import send_mail, try_mail_server
from node.alarms.telling import AlarmTelling, json_of, mail_of
from node.config import AlarmMail, AlarmWebhook, Config
from node.deliver.messages.connecting import connected_to
from node.http.signed_post import host_and_port, post_signed


class AlarmChannel(Protocol):
    """One way."""

    @property
    def where(self) -> str:
        """Who is told, for people to read; without what is secret."""
        ...

    def tell(self, told: AlarmTelling) -> str:
        """Tell something; return what was amiss all the same, "" if nothing was.

        Raises DeliveryError if nobody was told.
        """
        ...

    def reach(self) -> None:
        """Go as far as can be without telling anything. Raises DeliveryError where that ends."""
        ...


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Mail to people."""

    config: Config
    mail: AlarmMail

    @property
    def where(self) -> str:
        """The addresses, and the server."""
        return f"{', '.join(self.mail.to)} by {self.mail.host}:{self.mail.port}"

    def tell(self, told: AlarmTelling) -> str:
        """Hand a mail to the server."""
        return send_mail(self.mail, mail_of(told, self.config, self.mail, time.time()))

    def reach(self) -> None:
        """Log in at the server."""
        try_mail_server(self.mail)


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Signed JSON to a program."""

    config: Config
    webhook: AlarmWebhook

    @property
    def where(self) -> str:
        """The host; the rest of the address may be secret."""
        return host_and_port(self.webhook.url)

    def tell(self, told: AlarmTelling) -> str:
        """Post it."""
        settings = self.webhook
        post_signed(
            settings.url,
            settings.secret,
            told.id,
            json_of(told, self.config),
            timeout_s=settings.timeout_s,
            tls_ca=settings.tls_ca,
        )
        return ""

    def reach(self) -> None:
        """Connect, by a TLS that can be trusted."""
        connected_to(
            self.webhook.url, timeout_s=self.webhook.timeout_s, tls_ca=self.webhook.tls_ca
        ).close()


def alarm_channels(config: Config) -> Mapping[str, AlarmChannel]:
    """Return the ways that the configuration names, by name."""
    found: dict[str, AlarmChannel] = {}
    if config.alarms.mail is not None:
        found["mail"] = MailChannel(config, config.alarms.mail)
    if config.alarms.webhook is not None:
        found["webhook"] = WebhookChannel(config, config.alarms.webhook)
    return found
