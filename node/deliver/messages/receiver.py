"""Who is told of triage levels: a reading list by HL7, or a program by a webhook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Protocol

from node.config import HL7Settings, WebhookSettings
from node.deliver.messages.hl7 import authority_of, build_hl7, why_unsayable
from node.deliver.messages.level_message import LevelMessage
from node.deliver.messages.mllp import REFUSED, exchange
from node.deliver.messages.webhook import build_json
from node.errors import DeliveryError
from node.http.signed_post import post_signed
from node.study import Whose


class MessageRefused(DeliveryError):  # noqa: N818 - an answer, not a failure
    """The receiver will not have the message as it is: a person must see to it."""


class Receiver(Protocol):
    """One of them."""

    def told_of(self, whose: Whose) -> Whose:
        """Return no more of whose a study is than it is told."""
        ...

    def why_unsayable(self, whose: Whose) -> str:
        """Return why nothing can be said of such a study, "" if something can."""
        ...

    def build(
        self,
        message: LevelMessage,
        former: Sequence[LevelMessage],
        *,
        control_id: str,
        zone: tzinfo,
    ) -> bytes:
        """Return the bytes that are sent; `former` are those of the same thread that it may have.

        Raises DeliveryError if that cannot be written.
        """
        ...

    def bring(self, content: bytes, control_id: str) -> None:
        """Send them; return once it has acknowledged them.

        Raises MessageRefused if it will not have them, else DeliveryError: try again later.
        """
        ...


@dataclass(frozen=True, slots=True)
class HL7Receiver:
    """A reading list that HL7 messages are sent to."""

    settings: HL7Settings

    def told_of(self, whose: Whose) -> Whose:
        """Return all, as it is written: the message must find its order."""
        return replace(whose, issuer=authority_of(whose, self.settings))

    def why_unsayable(self, whose: Whose) -> str:
        """Return what is missing without which the message finds no order."""
        return why_unsayable(whose, self.settings)

    def build(
        self,
        message: LevelMessage,
        former: Sequence[LevelMessage],
        *,
        control_id: str,
        zone: tzinfo,
    ) -> bytes:
        """Return an ORU^R01."""
        return build_hl7(message, former, self.settings, control_id=control_id, zone=zone)

    def bring(self, content: bytes, control_id: str) -> None:
        """Send it by MLLP."""
        said = exchange(content, self.settings)
        name = self.settings.name
        if said.control_id != control_id:
            raise DeliveryError(f"{name} answered to another message (MSA-2)")
        if said.code in REFUSED:
            why = f": {said.why}" if said.why else "; its own log says why"
            raise MessageRefused(f"{name} answered {said.code}{why}")


@dataclass(frozen=True, slots=True)
class WebhookReceiver:
    """A program that JSON is posted to."""

    settings: WebhookSettings

    def told_of(self, whose: Whose) -> Whose:
        """Return what the setting `shows` allows."""
        shown: Mapping[str, Whose] = {
            "nothing": Whose(),
            "accession": Whose(accession_number=whose.accession_number),
            "patient": whose,
        }
        return replace(shown[self.settings.shows])

    def why_unsayable(self, whose: Whose) -> str:
        """Return "": it knows the study by its UID."""
        return ""

    def build(
        self,
        message: LevelMessage,
        former: Sequence[LevelMessage],
        *,
        control_id: str,
        zone: tzinfo,
    ) -> bytes:
        """Return JSON."""
        return build_json(message, shows=self.settings.shows)

    def bring(self, content: bytes, control_id: str) -> None:
        """Post it, signed."""
        settings = self.settings
        post_signed(
            settings.url,
            settings.secret,
            control_id,
            content,
            timeout_s=settings.timeout_s,
            tls_ca=settings.tls_ca,
        )


def receiver_of(settings: HL7Settings | WebhookSettings) -> Receiver:
    """Return who is meant by a table of the configuration."""
    if isinstance(settings, HL7Settings):
        return HL7Receiver(settings)
    return WebhookReceiver(settings)
